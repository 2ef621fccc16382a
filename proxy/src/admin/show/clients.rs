//! `SHOW CLIENTS`: a row a client.

use crate::admin::table::{Columns, Kind, Value};
use crate::clock::utc;
use crate::registry::ClientRow;

pub(super) const COLUMNS: Columns = &[
    ("id", Kind::Count),
    ("user", Kind::Text),
    ("database", Kind::Text),
    ("application_name", Kind::Text),
    ("state", Kind::Text),
    ("addr", Kind::Text),
    ("port", Kind::Count),
    ("tls", Kind::Text),
    ("connect_time", Kind::Text),
    ("transactions", Kind::Count),
    ("queries", Kind::Count),
    ("bytes_in", Kind::Count),
    ("bytes_out", Kind::Count),
    ("server_pid", Kind::Count),
    ("captured", Kind::Text),
];

pub(super) fn rows(clients: Vec<ClientRow>) -> Vec<Vec<Value>> {
    clients.into_iter().map(row).collect()
}

fn row(client: ClientRow) -> Vec<Value> {
    let ClientRow {
        number,
        identity,
        server_pid,
        progress,
        state,
    } = client;
    vec![
        number.into(),
        identity.user.into(),
        identity.database.into(),
        identity.application_name.into(),
        state.label().into(),
        identity
            .peer
            .map_or_else(|| "unix".to_owned(), |peer| peer.ip().to_string())
            .into(),
        identity.peer.map(|peer| u64::from(peer.port())).into(),
        identity.tls.into(),
        utc(identity.connected).into(),
        progress.transactions.into(),
        progress.queries.into(),
        progress.from_client.into(),
        progress.to_client.into(),
        (server_pid > 0).then_some(u64::from(server_pid)).into(),
        identity.captured.label().into(),
    ]
}
