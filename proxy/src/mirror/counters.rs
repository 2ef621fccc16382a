//! What this proxy has captured, deferred and lost since it started.
//!
//! Does not keep anything per connection; tables have a book of their own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::staleness::Staleness;
use super::{DropReason, MirrorTransaction};
use crate::metrics;
use crate::table_totals::TableTotals;

/// Totals; shared by the workers and the mirror. All atomics are relaxed: they are only counted,
/// nothing is decided by them.
#[derive(Debug, Default)]
pub struct Counters {
    captured: AtomicU64,
    accepted: AtomicU64,
    queued: AtomicUsize,
    /// By reason. Off the hot path: a deferral or a failure is no captured transaction.
    deferred: Mutex<BTreeMap<&'static str, u64>>,
    failed: Mutex<BTreeMap<&'static str, u64>>,
    staleness: Mutex<Staleness>,
    /// Acknowledgements that waited for the target, and those that went without it, by reason.
    confirmed: AtomicU64,
    unconfirmed: Mutex<BTreeMap<&'static str, u64>>,
    tables: Arc<TableTotals>,
}

impl Counters {
    /// A transaction was committed whole under capture.
    pub(crate) fn captured(&self) {
        self.captured.fetch_add(1, Ordering::Relaxed);
        metrics::transaction_captured();
    }

    /// A captured statement has been run.
    #[expect(clippy::unused_self, reason = "counted beside the others")]
    pub(crate) fn captured_statement(&self) {
        metrics::statement_captured();
    }

    /// A transaction was left to the stream.
    pub(crate) fn deferred(&self, reason: &'static str) {
        count(&mut self.deferred.lock(), reason);
        metrics::transaction_deferred(reason);
    }

    /// A captured transaction was not mirrored.
    pub(crate) fn dropped(&self, transaction: &MirrorTransaction, reason: DropReason) {
        self.failed(reason.label());
        self.tables.failed(transaction, reason);
    }

    /// By table, for whoever asks the workers.
    pub(crate) fn tables(&self) -> Arc<TableTotals> {
        Arc::clone(&self.tables)
    }

    /// A captured transaction was not mirrored, and nothing more is known of it.
    pub(crate) fn failed(&self, reason: &'static str) {
        count(&mut self.failed.lock(), reason);
        metrics::transaction_failed(reason);
    }

    /// The target has committed transactions, so long after their clients' acknowledgements.
    pub(crate) fn accepted(&self, staleness: impl Iterator<Item = Duration>, now: Instant) {
        let mut distribution = self.staleness.lock();
        for staleness in staleness {
            self.accepted.fetch_add(1, Ordering::Relaxed);
            distribution.record(staleness, now);
            metrics::transaction_accepted(staleness);
        }
    }

    /// A client that waited was answered once the target had its transaction.
    pub(crate) fn confirmed(&self) {
        self.confirmed.fetch_add(1, Ordering::Relaxed);
        metrics::sync_confirmed();
    }

    /// A client was answered that would have waited for the target, or did in vain.
    pub(crate) fn unconfirmed(&self, reason: &'static str) {
        count(&mut self.unconfirmed.lock(), reason);
        metrics::sync_unconfirmed(reason);
    }

    pub(crate) fn queued(&self, transactions: usize) {
        self.queued.store(transactions, Ordering::Relaxed);
        metrics::queue_transactions(transactions);
    }

    /// Everything at one time.
    pub(crate) fn tally(&self, now: Instant) -> Tally {
        let quantiles = self.staleness.lock().quantiles(now);
        let list = |reasons: &Mutex<BTreeMap<&'static str, u64>>| {
            let reasons = reasons.lock();
            reasons.iter().map(|(reason, it)| (*reason, *it)).collect()
        };
        Tally {
            captured: self.captured.load(Ordering::Relaxed),
            accepted: self.accepted.load(Ordering::Relaxed),
            queued: self.queued.load(Ordering::Relaxed),
            deferred: list(&self.deferred),
            failed: list(&self.failed),
            sync_confirmed: self.confirmed.load(Ordering::Relaxed),
            sync_unconfirmed: list(&self.unconfirmed),
            staleness_p50: quantiles.map(|(median, _)| median),
            staleness_p99: quantiles.map(|(_, high)| high),
        }
    }

    /// The object that `segue.proxy.counters` holds.
    pub fn to_json(&self, now: Instant) -> Value {
        let quantiles = self.staleness.lock().quantiles(now);
        json!({
            "captured": self.captured.load(Ordering::Relaxed),
            "transactions": self.accepted.load(Ordering::Relaxed),
            "deferred": *self.deferred.lock(),
            "failed": *self.failed.lock(),
            "sync_confirmed": self.confirmed.load(Ordering::Relaxed),
            "sync_unconfirmed": *self.unconfirmed.lock(),
            "queue_transactions": self.queued.load(Ordering::Relaxed),
            "tables": self.tables.to_json(),
            "staleness_seconds_p50": quantiles.map(|(median, _)| median.as_secs_f64()),
            "staleness_seconds_p99": quantiles.map(|(_, high)| high.as_secs_f64()),
        })
    }
}

/// What has been counted, for people.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    pub(crate) captured: u64,
    pub(crate) accepted: u64,
    /// Transactions that wait for the target.
    pub(crate) queued: usize,
    pub(crate) deferred: Vec<(&'static str, u64)>,
    pub(crate) failed: Vec<(&'static str, u64)>,
    /// Commits under `sync` that were acknowledged once the target had them.
    pub(crate) sync_confirmed: u64,
    /// Those that were acknowledged without it, by reason.
    pub(crate) sync_unconfirmed: Vec<(&'static str, u64)>,
    /// Over about the last minute; nothing if nothing was mirrored in it.
    pub(crate) staleness_p50: Option<Duration>,
    pub(crate) staleness_p99: Option<Duration>,
}

fn count(totals: &mut BTreeMap<&'static str, u64>, reason: &'static str) {
    let total = totals.entry(reason).or_default();
    *total = total.saturating_add(1);
}
