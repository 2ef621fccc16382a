//! The reconciler's own account: totals, time to proof and lag, as `segue.reconciler` holds them.
//!
//! Does not read a wall clock: times are the source's, or elapsed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use protocol::contract::TableIndex;
use protocol::decide::working_set::{MirrorOutcome, TableCount, Tally, UNMIRRORED, applied_under};
use protocol::lsn::Lsn;
use serde_json::json;
use tokio::time::Instant;

use crate::budget::Budget;
use crate::intake::End;
use crate::source::Whereabouts;

/// What the percentiles look back on.
const WINDOW: Duration = Duration::from_secs(10);

/// Samples kept at most; above, the older half goes.
const SAMPLES_MAX: usize = 20_000;

/// Positions of the source kept to tell how old the applied state is; one a second.
const MARKS_MAX: usize = 3_600;

/// Totals since the process started.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    verified: u64,
    unchanged: u64,
    applied: u64,
    repaired: u64,
    superseded: u64,
    transactions: u64,
    applied_why: BTreeMap<&'static str, u64>,
    owed_why: BTreeMap<&'static str, u64>,
    held: u64,
    /// By table, since they were last written; a reason may be corrected afterwards.
    tables: BTreeMap<TableCount, i64>,
    divergences: u64,
    proven: VecDeque<(Instant, f64)>,
    marks: VecDeque<(f64, Lsn)>,
    /// The source's transaction that had been open for longest when that was asked: seconds, whose.
    pub(crate) oldest_transaction: Option<(f64, String)>,
    /// What has been said of the slot's WAL budget.
    pub(crate) budget: Budget,
}

/// How far the target is behind the source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Lag {
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
}

/// The time to proof over the last seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Proven {
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
}

impl Stats {
    pub(crate) fn judged(&mut self, tally: &Tally, findings: usize) {
        crate::metrics::rows_judged(tally);
        crate::metrics::divergences_found(findings);
        self.verified += tally.verified;
        self.unchanged += tally.unchanged;
        self.applied += tally.applied;
        self.repaired += tally.repaired;
        self.superseded += tally.superseded;
        self.held += tally.held;
        for (place, count) in &tally.tables {
            *self.tables.entry(*place).or_default() += i64::try_from(*count).unwrap_or(i64::MAX);
        }
        self.divergences += u64::try_from(findings).unwrap_or(u64::MAX);
        for (why, count) in &tally.applied_why {
            *self.applied_why.entry(why).or_default() += count;
        }
        for (why, count) in &tally.owed_why {
            *self.owed_why.entry(why).or_default() += count;
        }
    }

    /// A proxy has said why it had left rows to the stream.
    pub(crate) fn explained(&mut self, table: TableIndex, outcome: MirrorOutcome, rows: u64) {
        let moved = i64::try_from(rows).unwrap_or(i64::MAX);
        let before = applied_under(table, UNMIRRORED, None);
        let now = applied_under(table, outcome.label(), Some(outcome));
        *self.tables.entry(before).or_default() -= moved;
        *self.tables.entry(now).or_default() += moved;
        let unmirrored = self.applied_why.entry(UNMIRRORED).or_default();
        *unmirrored = unmirrored.saturating_sub(rows);
        *self.applied_why.entry(outcome.label()).or_default() += rows;
    }

    /// A transaction is durable at the target.
    pub(crate) fn proven(&mut self, end: &End) {
        self.transactions += 1;
        let seconds = (end.age_when_sent + end.arrived.elapsed()).as_secs_f64();
        crate::metrics::transaction_proven(seconds);
        if self.proven.len() >= SAMPLES_MAX {
            self.proven.drain(..SAMPLES_MAX / 2);
        }
        self.proven.push_back((Instant::now(), seconds));
    }

    pub(crate) fn percentiles(&mut self) -> Proven {
        while self
            .proven
            .front()
            .is_some_and(|(at, _)| at.elapsed() > WINDOW)
        {
            self.proven.pop_front();
        }
        let mut sorted: Vec<f64> = self.proven.iter().map(|(_, seconds)| *seconds).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |hundredths: usize| {
            let place = (sorted.len() * hundredths / 100).min(sorted.len().saturating_sub(1));
            sorted.get(place).copied()
        };
        Proven {
            p50: at(50),
            p99: at(99),
        }
    }

    /// How far behind `here` the target is, being at `passed`.
    pub(crate) fn lag(&mut self, here: &Whereabouts, passed: Lsn) -> Lag {
        while self.marks.get(1).is_some_and(|(_, lsn)| *lsn <= passed) {
            self.marks.pop_front();
        }
        let bytes = here.insert_lsn.bytes_since(passed);
        let since_mark = match self.marks.front() {
            Some((seconds, lsn)) if *lsn <= passed => here.clock_seconds - seconds,
            Some(_) => f64::INFINITY,
            None => 0.0,
        };
        let newest = self.proven.back();
        let newest = newest.map(|(at, seconds)| seconds + at.elapsed().as_secs_f64());
        let seconds = if protocol::decide::sweep::has_passed(passed, here.insert_lsn) {
            0.0
        } else {
            since_mark.min(newest.unwrap_or(f64::INFINITY)).max(0.0)
        };
        if self.marks.len() < MARKS_MAX {
            self.marks.push_back((here.clock_seconds, here.insert_lsn));
        }
        let seconds = if seconds.is_finite() { seconds } else { 0.0 };
        Lag { bytes, seconds }
    }

    /// The totals in the form that `status` reads.
    pub(crate) fn counters(
        &self,
        here: &Whereabouts,
        positions: &Positions,
        lag: Lag,
        proven: Proven,
    ) -> serde_json::Value {
        let unmirrored = self.applied_why.get(UNMIRRORED).copied().unwrap_or(0);
        json!({
            "verified": self.verified,
            "unchanged": self.unchanged,
            "applied": self.applied,
            "repaired": self.repaired,
            "superseded": self.superseded,
            "held": self.held,
            "unmirrored": unmirrored,
            "transactions": self.transactions,
            "applied_why": self.applied_why,
            "owed_why": self.owed_why,
            "divergences": self.divergences,
            "proven_seconds_p50": proven.p50,
            "proven_seconds_p99": proven.p99,
            "lag_bytes": lag.bytes,
            "lag_seconds": lag.seconds,
            "received_lsn": positions.received.to_string(),
            "applied_lsn": positions.applied.to_string(),
            "slot_wal_bytes": here.slot_wal_bytes,
            "slot_wal_budget_bytes": here.slot_wal_budget_bytes,
            "oldest_transaction": self.oldest_transaction.as_ref().map(|(seconds, who)| {
                json!({"seconds": seconds, "who": who})
            }),
            "floor": positions.floor,
        })
    }

    /// The counts by table that have not been written yet.
    pub(crate) const fn tables(&self) -> &BTreeMap<TableCount, i64> {
        &self.tables
    }

    /// They have been written.
    pub(crate) fn forget_tables(&mut self) {
        self.tables.clear();
    }

    pub(crate) const fn totals(&self) -> [u64; 3] {
        [self.verified, self.applied, self.repaired]
    }
}

/// Where things stand, for the account.
#[derive(Debug, Clone)]
pub(crate) struct Positions {
    pub(crate) received: Lsn,
    pub(crate) applied: Lsn,
    pub(crate) floor: Option<String>,
}

#[cfg(test)]
mod tests {
    use protocol::xid::Snapshot;

    use super::*;

    fn here(clock_seconds: f64, lsn: u64) -> Whereabouts {
        Whereabouts {
            insert_lsn: Lsn::new(lsn),
            snapshot: Snapshot::parse("1:1:").unwrap(),
            clock_seconds,
            standbys: None,
            slot_wal_bytes: None,
            slot_wal_budget_bytes: None,
        }
    }

    #[tokio::test]
    async fn lag_is_the_age_of_the_newest_position_that_was_passed() {
        let mut stats = Stats::default();
        assert!(stats.lag(&here(10.0, 1000), Lsn::new(1000)).seconds < 0.001);
        stats.lag(&here(11.0, 2000), Lsn::new(1000));
        let lag = stats.lag(&here(14.0, 3000), Lsn::new(2100));
        assert_eq!(lag.bytes, 900);
        assert!((lag.seconds - 3.0).abs() < 0.001);
    }
}
