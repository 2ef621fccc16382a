//! `SHOW DATABASES`: the mirrored one, and those that clients are passed through to now.

use std::collections::BTreeMap;

use control::dsn::Host;

use crate::admin::Console;
use crate::admin::table::{Columns, Kind, Value};
use crate::registry::ClientRow;

pub(super) const COLUMNS: Columns = &[
    ("database", Kind::Text),
    ("host", Kind::Text),
    ("port", Kind::Count),
    ("mirrored", Kind::Text),
    ("clients", Kind::Count),
];

pub(super) fn rows(console: &Console, clients: &[ClientRow]) -> Vec<Vec<Value>> {
    let mirrored = console.source.database();
    let mut databases = BTreeMap::from([(mirrored, 0_u64)]);
    for client in clients {
        *databases.entry(&client.identity.database).or_default() += 1;
    }
    let host = match console.source.host() {
        Host::Tcp(name) => name.clone(),
        Host::Unix(directory) => directory.display().to_string(),
    };
    let row = |(database, clients): (&str, u64)| {
        let state = match (database == mirrored, console.capture.is_some()) {
            (true, true) => "yes",
            (true, false) => "no: mirror is off",
            (false, _) => "no: passed through",
        };
        vec![
            database.into(),
            host.as_str().into(),
            u64::from(console.source.port()).into(),
            state.into(),
            clients.into(),
        ]
    };
    databases.into_iter().map(row).collect()
}
