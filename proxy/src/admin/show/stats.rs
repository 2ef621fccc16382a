//! `SHOW STATS`: totals since the start, and averages over about the last minute.
//!
//! A row for the mirrored database, and one for everything that is passed through: names of other
//! databases come from clients and have no bound.

use tokio::time::Instant;

use crate::admin::Console;
use crate::admin::table::{Columns, Kind, Value};
use crate::registry::{Progress, Totals};
use crate::statistics::PerSecond;

pub(super) const COLUMNS: Columns = &[
    ("database", Kind::Text),
    ("total_xact_count", Kind::Count),
    ("total_query_count", Kind::Count),
    ("total_received", Kind::Count),
    ("total_sent", Kind::Count),
    ("avg_xact_count", Kind::Number),
    ("avg_query_count", Kind::Number),
    ("avg_recv", Kind::Number),
    ("avg_sent", Kind::Number),
];

pub(super) fn rows(console: &Console, totals: Totals) -> Vec<Vec<Value>> {
    let since = console.rates.since(totals, Instant::now());
    vec![
        row(console.source.database(), totals.mirrored, since.mirrored),
        row("(passed through)", totals.passed, since.passed),
    ]
}

fn row(database: &str, total: Progress, average: PerSecond) -> Vec<Value> {
    // Two places are enough for people, and more would pretend to be exact.
    let rounded = |rate: f64| Value::Number((rate * 100.0).round() / 100.0);
    vec![
        database.into(),
        total.transactions.into(),
        total.queries.into(),
        total.from_client.into(),
        total.to_client.into(),
        rounded(average.transactions),
        rounded(average.queries),
        rounded(average.from_client),
        rounded(average.to_client),
    ]
}
