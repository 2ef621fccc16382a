//! What the console shows: a table a subject.
//!
//! Each subject says its columns without being asked for its rows: a client may want a description
//! first.

mod clients;
pub(super) mod config;
mod databases;
mod help;
mod mirror;
mod servers;
mod state;
mod stats;
mod tables;

use super::Console;
use super::command::Subject;
use super::table::{Columns, Table};

/// The columns of a subject.
pub(super) const fn columns(subject: Subject) -> Columns {
    match subject {
        Subject::Clients => clients::COLUMNS,
        Subject::Config => config::COLUMNS,
        Subject::Databases => databases::COLUMNS,
        Subject::Help => help::COLUMNS,
        Subject::Mirror => mirror::COLUMNS,
        Subject::Servers => servers::COLUMNS,
        Subject::State => state::COLUMNS,
        Subject::Stats => stats::COLUMNS,
        Subject::Tables => tables::COLUMNS,
        Subject::Version => help::VERSION,
    }
}

/// The rows of now.
pub(super) async fn table(console: &Console, subject: Subject) -> Table {
    let rows = match subject {
        Subject::Clients => {
            let mut clients = console.workers.clients().await;
            clients.extend(console.visits.rows());
            clients.sort_by_key(|client| client.number);
            clients::rows(clients)
        }
        Subject::Config => config::rows(console.configuration.as_ref()),
        Subject::Databases => databases::rows(console, &console.workers.clients().await),
        Subject::Help => help::rows(),
        Subject::Mirror => mirror::rows(console.capture.as_ref()),
        Subject::Servers => servers::rows(&console.source, console.workers.clients().await),
        Subject::State => state::rows(console, console.workers.totals().await),
        Subject::Stats => stats::rows(console, console.workers.totals().await),
        Subject::Tables => tables::rows(console).await,
        Subject::Version => help::version(),
    };
    Table {
        columns: columns(subject),
        rows,
    }
}
