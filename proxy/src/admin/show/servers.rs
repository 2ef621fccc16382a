//! `SHOW SERVERS`: a row a connection to the source. Each belongs to one client.

use control::Dsn;
use control::dsn::Host;

use crate::admin::table::{Columns, Kind, Value};
use crate::clock::utc;
use crate::registry::{ClientRow, State};

pub(super) const COLUMNS: Columns = &[
    ("pid", Kind::Count),
    ("client_id", Kind::Count),
    ("user", Kind::Text),
    ("database", Kind::Text),
    ("state", Kind::Text),
    ("addr", Kind::Text),
    ("port", Kind::Count),
    ("connect_time", Kind::Text),
    ("bytes_in", Kind::Count),
    ("bytes_out", Kind::Count),
];

pub(super) fn rows(source: &Dsn, clients: Vec<ClientRow>) -> Vec<Vec<Value>> {
    let connected = clients.into_iter().filter(|client| client.server_pid > 0);
    connected.map(|client| row(source, client)).collect()
}

fn row(source: &Dsn, client: ClientRow) -> Vec<Value> {
    let address = match source.host() {
        Host::Tcp(name) => name.clone(),
        Host::Unix(directory) => directory.display().to_string(),
    };
    // The source knows of no pause: to it the session is idle.
    let state = match client.state {
        State::Paused => State::Idle,
        other @ (State::Login
        | State::Active
        | State::Idle
        | State::InTransaction
        | State::InFailedTransaction) => other,
    };
    vec![
        u64::from(client.server_pid).into(),
        client.number.into(),
        client.identity.user.into(),
        client.identity.database.into(),
        state.label().into(),
        address.into(),
        u64::from(source.port()).into(),
        utc(client.identity.connected).into(),
        client.progress.from_source.into(),
        client.progress.to_source.into(),
    ]
}
