//! What the reconciler tells a metrics recorder: one function per event.
#![expect(clippy::disallowed_macros, reason = "this is where metrics are made")]

use protocol::decide::working_set::Tally;

/// Rows came to their verdicts.
pub(crate) fn rows_judged(tally: &Tally) {
    let counts = [
        ("verified", tally.verified),
        ("unchanged", tally.unchanged),
        ("applied", tally.applied),
        ("repaired", tally.repaired),
        ("superseded", tally.superseded),
        ("held", tally.held),
    ];
    for (verdict, count) in counts {
        ::metrics::counter!("segue_reconciler_rows_total", "verdict" => verdict).increment(count);
    }
    for (why, count) in &tally.applied_why {
        ::metrics::counter!("segue_reconciler_applied_rows_total", "why" => *why).increment(*count);
    }
    for (why, count) in &tally.owed_why {
        ::metrics::counter!("segue_reconciler_owed_rows_total", "why" => *why).increment(*count);
    }
}

/// Divergences were noted.
pub(crate) fn divergences_found(count: usize) {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    ::metrics::counter!("segue_reconciler_divergences_total").increment(count);
}

/// A source transaction was proven, so long after its commit.
pub(crate) fn transaction_proven(seconds: f64) {
    ::metrics::histogram!("segue_reconciler_proven_seconds").record(seconds);
}

/// Once a second: how far behind, and what waits.
pub(crate) fn lag_measured(lag_bytes: u64, lag_seconds: f64, owed_rows: usize) {
    ::metrics::gauge!("segue_reconciler_lag_bytes").set(lag_bytes as f64);
    ::metrics::gauge!("segue_reconciler_lag_seconds").set(lag_seconds);
    ::metrics::gauge!("segue_reconciler_owed_rows").set(owed_rows as f64);
}

/// Once a second, and less often without a target: the log that the source holds for the slot, and
/// how much it may hold.
pub(crate) fn slot_measured(held: Option<i64>, budget: Option<i64>) {
    if let Some(held) = held {
        ::metrics::gauge!("segue_reconciler_slot_wal_bytes").set(held as f64);
    }
    if let Some(budget) = budget {
        ::metrics::gauge!("segue_reconciler_slot_wal_budget_bytes").set(budget as f64);
    }
}

/// So many tables are not what the contract says.
pub(crate) fn tables_stopped(count: usize) {
    ::metrics::gauge!("segue_reconciler_stopped_tables_count").set(count as f64);
}

/// Once a second: tables whose repairs wait for a person.
pub(crate) fn repairs_stopped(tables: usize) {
    ::metrics::gauge!("segue_reconciler_repairs_stopped_tables").set(tables as f64);
}

/// A session ended with an error and will be tried again.
pub(crate) fn session_lost(kind: &'static str) {
    ::metrics::counter!("segue_reconciler_session_losses_total", "kind" => kind).increment(1);
}
