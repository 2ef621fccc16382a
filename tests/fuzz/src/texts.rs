//! What users and servers write: connection strings, commands of the console, numbers.

use control::Dsn;
use control::dsn::Defaults;
use protocol::lsn::Lsn;
use protocol::xid::{Snapshot, Xid};
use proxy::admin::count_commands;

/// Connection strings of both kinds; no text shows a password.
pub(super) fn dsn(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(read) = Dsn::parse(text, &Defaults::default()) {
        drop((format!("{read:?}"), read.server(), read.to_tokio_postgres()));
    }
}

/// A text is as many commands as its parts have, on lines of their own.
pub(super) fn console(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(count) = count_commands(text) else {
        return;
    };
    assert_eq!(count_commands(&format!("SHOW HELP;{text}")), Ok(count + 1));
}

/// Positions and snapshots, as servers write them. What a snapshot has not seen begin it does not
/// contain.
pub(super) fn numbers(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(lsn) = text.parse::<Lsn>() {
        assert_eq!(lsn.to_string().parse(), Ok(lsn));
    }
    if let Some(snapshot) = Snapshot::parse(text) {
        assert!(!snapshot.contains(Xid::new(u64::MAX)), "{snapshot:?}");
    }
}
