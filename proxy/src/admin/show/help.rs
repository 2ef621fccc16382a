//! `HELP` and `SHOW VERSION`.

use crate::admin::table::{Columns, Kind, Value};

pub(super) const COLUMNS: Columns = &[("command", Kind::Text), ("what", Kind::Text)];

pub(super) const VERSION: Columns = &[("version", Kind::Text)];

const COMMANDS: [(&str, &str); 17] = [
    ("SHOW CLIENTS", "who is connected, and what each is doing"),
    ("SHOW SERVERS", "the connections to the source"),
    (
        "SHOW STATS",
        "totals, and averages per second over the last minute",
    ),
    (
        "SHOW MIRROR",
        "what becomes of writes: queue, staleness, captured, deferred, failed",
    ),
    (
        "SHOW TABLES",
        "whose writes are captured, and why others are not",
    ),
    (
        "SHOW DATABASES",
        "which database is mirrored, and which are passed through",
    ),
    (
        "SHOW STATE",
        "whether the proxy is paused, and clients by state",
    ),
    (
        "SHOW CONFIG",
        "every setting: value, default, when a change takes effect, who gave it",
    ),
    ("SHOW name", "one setting's value"),
    ("SHOW VERSION", "the proxy's version"),
    (
        "PAUSE [seconds]",
        "let transactions end and begin no new ones; clients wait",
    ),
    ("RESUME", "let clients go on"),
    ("KILL id", "end one client's session"),
    (
        "SET name = value",
        "change a setting until the next RELOAD or start",
    ),
    ("RELOAD", "read the configuration again, as SIGHUP does"),
    ("HELP", "this"),
    ("\\q", "leave"),
];

pub(super) fn rows() -> Vec<Vec<Value>> {
    let rows = COMMANDS.iter();
    rows.map(|(command, what)| vec![(*command).into(), (*what).into()])
        .collect()
}

pub(super) fn version() -> Vec<Vec<Value>> {
    vec![vec![concat!("segue ", env!("CARGO_PKG_VERSION")).into()]]
}
