//! The facts of a status, as JSON names them.
//!
//! Does not read them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One reading of the migration's state. The field names are the JSON names.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StatusFacts {
    /// When the target was read, RFC 3339.
    pub at: String,
    /// The target database's name.
    pub database: String,
    /// The phase, or none before the first setup was finished.
    pub phase: Option<String>,
    /// The authority's generation.
    pub epoch: Option<i32>,
    /// The failover that began it; none if none did.
    #[serde(default)]
    pub failover: Option<Failover>,
    /// Bytes of the source's log that the target has not applied.
    pub lag_bytes: Option<i64>,
    /// How far the target's applied state is behind the source.
    pub lag_seconds: Option<f64>,
    /// From a source commit to the moment when the log proved its rows.
    pub proven_seconds_p50: Option<f64>,
    /// As `proven_seconds_p50`, of the slowest hundredth.
    pub proven_seconds_p99: Option<f64>,
    /// Source transactions that the log has proven since the reconciler started.
    #[serde(default)]
    pub proven_transactions: u64,
    /// Rows that have to be read again by key.
    pub owed_rows: i64,
    /// How long the oldest of them has waited.
    pub owed_seconds_max: Option<f64>,
    /// What the reconciler said of rows that have waited for long: which table, and what the target
    /// says of them.
    #[serde(default)]
    pub owed_said: Option<String>,
    /// Tables that are not what the contract says at one side; their changes are kept.
    pub stopped_tables: Vec<StoppedTable>,
    /// Divergences that were found and not yet repaired.
    pub open_divergences: i64,
    /// Of those, the ones whose repair is held back.
    #[serde(default)]
    pub held_divergences: i64,
    /// Of those, the ones of a dry run.
    #[serde(default)]
    pub dry_divergences: i64,
    /// Tables whose repairs have stopped at their limit.
    #[serde(default)]
    pub stopped_repairs: Vec<StoppedRepairs>,
    /// Whether others' writes at the target are found: it has a slot of its own.
    #[serde(default)]
    pub finds_foreign_writes: bool,
    /// Tables at the target without a key: they are not carried.
    #[serde(default)]
    pub tables_without_key: Names,
    /// Tables that this role may not read and write.
    #[serde(default)]
    pub tables_without_privilege: Names,
    /// What will need a person soon, in words; nothing if all is well.
    #[serde(default)]
    pub attention: Vec<String>,
    /// Log that the source holds back for the slot.
    pub slot_wal_bytes: Option<i64>,
    /// `max_slot_wal_keep_size`; none if the source sets no bound.
    pub slot_wal_budget_bytes: Option<i64>,
    /// The source's transaction that has been open for longest, where that is long.
    #[serde(default)]
    pub oldest_transaction: Option<OpenTransaction>,
    /// That the slot is lost, why, and what mends it; none while it can be read.
    #[serde(default)]
    pub slot_lost: Option<String>,
    /// What became of the rows that the log brought.
    pub rows: Rows,
    /// What the proxies did, summed over them.
    pub mirror: Mirror,
    /// The reconciler's last word.
    pub reconciler: Reconciler,
    /// The source position up to which the target holds everything, as last recorded.
    pub applied_lsn: Option<String>,
}

/// A failover of the source, and what is still to be read again because of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Failover {
    /// When its epoch began, RFC 3339.
    pub since: String,
    /// The new source's timeline.
    pub timeline: i32,
    /// Where the old history ends.
    pub begins_at_lsn: String,
    /// When all that it touched had been verified; until then no certificate holds.
    pub verified_at: Option<String>,
    /// Rows of transactions that the new source does not have, not yet settled.
    pub lost_rows: i64,
    /// Tables of which every row is read again, and rows of them that have been so far.
    pub recheck_tables: i64,
    /// See `recheck_tables`.
    pub recheck_rows: i64,
}

/// A table whose changes wait until both sides agree on it again.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StoppedTable {
    /// Its canonical name.
    pub table: String,
    /// What is not as the contract says, and what is to be done.
    pub what: String,
    /// What is read again once it goes on: the rows that changed (`keys`), or the whole `table`.
    pub reread: String,
    /// For how long it has been stopped.
    pub seconds: f64,
    /// Rows that are kept; not among `owed_rows`.
    pub kept_rows: i64,
}

/// A table whose repairs wait for a person.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StoppedRepairs {
    /// Its canonical name.
    pub table: String,
    /// RFC 3339.
    pub stopped_at: String,
    /// Its open divergences that are held back.
    pub held: i64,
}

/// A transaction of the source that nobody has ended.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct OpenTransaction {
    /// For how long it has been open.
    pub seconds: f64,
    /// Whose it is.
    pub who: String,
}

/// Some tables: how many, and the first of their names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Names {
    /// How many there are.
    pub count: i64,
    /// The first few.
    pub first: Vec<String>,
}

/// Rows from the log, by verdict.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rows {
    /// The mirror had brought them, and they were equal.
    pub verified: u64,
    /// The log had to bring them.
    pub applied: u64,
    /// The target held something else; it was put right.
    pub repaired: u64,
    /// A newer version stood there already.
    pub superseded: u64,
    /// The target holds something else, and its repair is held back.
    #[serde(default)]
    pub held: u64,
    /// The target held the same, and nothing tells that the mirror had brought it.
    #[serde(default)]
    pub unchanged: u64,
    /// Of those applied: no proxy had said anything of their transaction.
    pub unmirrored: u64,
    /// Those applied, by reason.
    pub applied_why: BTreeMap<String, u64>,
}

/// The mirror's own account.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Mirror {
    /// Whether early writes are admitted at the target.
    pub gate: Gate,
    /// Proxies that renewed their lease lately.
    pub proxies: u64,
    /// Transactions captured whole.
    pub captured: u64,
    /// Of those, the ones that the target has committed early.
    pub accepted: u64,
    /// Transactions left to the log on purpose, by reason.
    pub deferred: BTreeMap<String, u64>,
    /// Captured transactions that did not reach the target early, by reason.
    pub failed: BTreeMap<String, u64>,
    /// From a source commit to the same rows on the target, at the slowest living proxy.
    pub staleness_seconds_p50: Option<f64>,
    /// As `staleness_seconds_p50`, of the slowest hundredth.
    pub staleness_seconds_p99: Option<f64>,
}

/// The mirror gate at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Early writes are admitted.
    Open,
    /// All writes are left to the log.
    #[default]
    Shut,
}

/// Whether a reconciler is there.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Reconciler {
    /// When it last reported, RFC 3339; none if one never did.
    pub reported_at: Option<String>,
    /// How long ago that was, by the target's clock.
    pub silent_seconds: Option<f64>,
}

impl Reconciler {
    /// Whether the last report is older than `bound_seconds`, or there never was one.
    pub fn is_silent(&self, bound_seconds: f64) -> bool {
        self.silent_seconds
            .is_none_or(|seconds| seconds > bound_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_scripts_rely_on_is_there() {
        let json = serde_json::to_value(StatusFacts::default()).unwrap();
        for name in [
            "phase",
            "epoch",
            "lag_bytes",
            "lag_seconds",
            "proven_seconds_p50",
            "proven_seconds_p99",
            "owed_rows",
            "open_divergences",
            "stopped_tables",
            "slot_wal_bytes",
            "slot_wal_budget_bytes",
        ] {
            assert!(json.get(name).is_some(), "{name}");
        }
        for name in ["verified", "applied", "repaired", "superseded"] {
            assert!(json["rows"][name].is_u64(), "rows.{name}");
        }
        for name in ["captured", "deferred", "failed"] {
            assert!(!json["mirror"][name].is_null(), "mirror.{name}");
        }
        for name in ["staleness_seconds_p50", "staleness_seconds_p99"] {
            assert!(json["mirror"].get(name).is_some(), "mirror.{name}");
        }
    }

    #[test]
    fn a_reconciler_that_never_reported_is_silent() {
        assert!(Reconciler::default().is_silent(10.0));
        let reported = |silent_seconds| Reconciler {
            reported_at: None,
            silent_seconds: Some(silent_seconds),
        };
        assert!(reported(10.5).is_silent(10.0));
        assert!(!reported(0.4).is_silent(10.0));
    }
}
