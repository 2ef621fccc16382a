//! Metrics of the proxy, by event.
//!
//! Names are stable. Does not install a recorder: the binary does.
#![expect(clippy::disallowed_macros, reason = "the one place that records")]

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use crate::capture::TableCount;
use crate::registry::Progress;

/// Clients connected.
pub(crate) const CLIENTS: &str = "segue_proxy_clients_count";
/// Clients refused because all places were taken.
pub(crate) const CLIENTS_REFUSED: &str = "segue_proxy_refused_clients_total";
/// Connections that a fault of ours has ended.
pub(crate) const PANICS: &str = "segue_proxy_panics_total";
/// Transactions captured whole, committed at the source.
pub(crate) const CAPTURED: &str = "segue_proxy_captured_transactions_total";
/// Statements that ran with a hidden column.
pub(crate) const CAPTURED_STATEMENTS: &str = "segue_proxy_captured_statements_total";
/// Transactions left to the stream, by reason.
pub(crate) const DEFERRED: &str = "segue_proxy_deferred_transactions_total";
/// Captured transactions that the target has committed.
pub(crate) const ACCEPTED: &str = "segue_mirror_accepted_transactions_total";
/// Captured transactions that were not mirrored, by reason.
pub(crate) const FAILED: &str = "segue_dual_write_fail_total";
/// From the commit's acknowledgement at the proxy to the target's.
pub(crate) const STALENESS: &str = "segue_mirror_staleness_seconds";
/// Acknowledgements given once the target had the transaction.
pub(crate) const SYNC_CONFIRMED: &str = "segue_mirror_sync_confirmed_total";
/// Acknowledgements that were to wait for the target and were given without it, by reason.
pub(crate) const SYNC_UNCONFIRMED: &str = "segue_mirror_sync_unconfirmed_total";
/// Transactions waiting for the target.
pub(crate) const QUEUE: &str = "segue_mirror_queue_transactions";
/// 1 while the mirror does not try every transaction.
pub(crate) const BREAKER: &str = "segue_mirror_breaker_open";
/// Readings of the source's catalog.
pub(crate) const CATALOG_READS: &str = "segue_proxy_catalog_reads_total";
/// Tables read with them.
pub(crate) const CATALOG_TABLES_READ: &str = "segue_proxy_catalog_tables_read_total";

/// Captured rows that were committed, by table.
pub(crate) const TABLE_ROWS: &str = "segue_proxy_captured_rows_total";
/// Statements that ran with a hidden column, by table.
pub(crate) const TABLE_STATEMENTS: &str = "segue_proxy_table_captured_statements_total";
/// Transactions that wrote to a table and were left to the stream, by table and reason.
pub(crate) const TABLE_DEFERRED: &str = "segue_proxy_table_deferred_transactions_total";

/// Captured transactions that wrote to a table and were not mirrored, by table and reason.
pub(crate) const TABLE_FAILED: &str = "segue_mirror_table_failed_transactions_total";

/// Clients by what they are at.
pub(crate) const CLIENTS_IN_STATE: &str = "segue_proxy_client_states_count";
/// Transactions ended, by whether their database is mirrored.
pub(crate) const TRANSACTIONS: &str = "segue_proxy_transactions_total";
/// Requests answered up to a ReadyForQuery.
pub(crate) const QUERIES: &str = "segue_proxy_queries_total";
/// Bytes that came from clients.
pub(crate) const RECEIVED: &str = "segue_proxy_received_bytes_total";
/// Bytes that went to clients.
pub(crate) const SENT: &str = "segue_proxy_sent_bytes_total";
/// 1 while clients are kept from beginning anything.
pub(crate) const PAUSED: &str = "segue_proxy_paused";
/// Connections to the source that could not be opened, by kind.
pub(crate) const SOURCE_FAILURES: &str = "segue_proxy_source_failures_total";
/// Logins that the source, or the console, refused, by reason.
pub(crate) const LOGINS_REFUSED: &str = "segue_proxy_refused_logins_total";

/// A client's connection, counted as long as it is held.
#[derive(Debug)]
pub(crate) struct ClientConnected(());

pub(crate) fn client_connected() -> ClientConnected {
    gauge!(CLIENTS).increment(1.0);
    ClientConnected(())
}

impl Drop for ClientConnected {
    fn drop(&mut self) {
        gauge!(CLIENTS).decrement(1.0);
    }
}

pub(crate) fn client_refused() {
    counter!(CLIENTS_REFUSED).increment(1);
}

pub(crate) fn connection_panicked() {
    counter!(PANICS).increment(1);
}

pub(crate) fn transaction_captured() {
    counter!(CAPTURED).increment(1);
}

pub(crate) fn statement_captured() {
    counter!(CAPTURED_STATEMENTS).increment(1);
}

pub(crate) fn transaction_deferred(reason: &'static str) {
    counter!(DEFERRED, "reason" => reason).increment(1);
}

pub(crate) fn transaction_accepted(staleness: Duration) {
    counter!(ACCEPTED).increment(1);
    histogram!(STALENESS).record(staleness.as_secs_f64());
}

pub(crate) fn transaction_failed(reason: &'static str) {
    counter!(FAILED, "reason" => reason).increment(1);
}

pub(crate) fn sync_confirmed() {
    counter!(SYNC_CONFIRMED).increment(1);
}

pub(crate) fn sync_unconfirmed(reason: &'static str) {
    counter!(SYNC_UNCONFIRMED, "reason" => reason).increment(1);
}

pub(crate) fn queue_transactions(count: usize) {
    gauge!(QUEUE).set(count as f64);
}

pub(crate) fn breaker(open: bool) {
    gauge!(BREAKER).set(if open { 1.0 } else { 0.0 });
}

pub(crate) fn catalog_read() {
    counter!(CATALOG_READS).increment(1);
}

pub(crate) fn catalog_tables_read(count: usize) {
    counter!(CATALOG_TABLES_READ).increment(count.try_into().unwrap_or(u64::MAX));
}

/// What has become of writes to a table since this was recorded last. The names are those of the
/// contract's tables.
pub(crate) fn table(table: &str, count: &TableCount) {
    counter!(TABLE_ROWS, "table" => table.to_owned()).increment(count.rows);
    counter!(TABLE_STATEMENTS, "table" => table.to_owned()).increment(count.statements);
    let labels = |reason: &str| [("table", table.to_owned()), ("reason", reason.to_owned())];
    for (reason, transactions) in &count.deferred {
        counter!(TABLE_DEFERRED, &labels(reason.label())).increment(*transactions);
    }
    for (reason, transactions) in &count.failed {
        counter!(TABLE_FAILED, &labels(reason.label())).increment(*transactions);
    }
}

/// What clients of one class have moved since this was recorded last.
pub(crate) fn moved(class: &'static str, progress: Progress) {
    counter!(TRANSACTIONS, "class" => class).increment(progress.transactions);
    counter!(QUERIES, "class" => class).increment(progress.queries);
    counter!(RECEIVED, "class" => class).increment(progress.from_client);
    counter!(SENT, "class" => class).increment(progress.to_client);
}

pub(crate) fn clients_in(state: &'static str, count: u64) {
    gauge!(CLIENTS_IN_STATE, "state" => state).set(count as f64);
}

pub(crate) fn paused(paused: bool) {
    gauge!(PAUSED).set(if paused { 1.0 } else { 0.0 });
}

pub(crate) fn source_failed(kind: &'static str) {
    counter!(SOURCE_FAILURES, "kind" => kind).increment(1);
}

pub(crate) fn login_refused(reason: &'static str) {
    counter!(LOGINS_REFUSED, "reason" => reason).increment(1);
}
