//! What `segue status` and the HTTP endpoint say of a migration, read from the target alone, so that
//! it can be said while every other part is down.
//!
//! Does not decide anything: no other part of Segue reads these structs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, Transaction};

use crate::attention::attention;
use crate::error::ControlError;
use crate::schema;
use crate::side::Side;

/// A proxy that has not renewed its lease for this long no longer takes part. It renews it once a
/// second, so five were missed.
const PROXY_SILENT_SECONDS: f64 = 5.0;

/// For `map_err`: the target could not be asked for something.
pub(crate) fn cannot(doing: &'static str) -> impl FnOnce(tokio_postgres::Error) -> ControlError {
    move |error| ControlError::query(Side::Target, doing, &error)
}

/// For `map_err`: JSON in the target's `segue` schema is not what this version writes.
pub(crate) fn unreadable(what: &'static str) -> impl FnOnce(serde_json::Error) -> ControlError {
    move |error| ControlError::Stored {
        side: Side::Target,
        what,
        reason: error.to_string(),
    }
}

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
    /// What became of the rows that the log brought.
    pub rows: Rows,
    /// What the proxies did, summed over them.
    pub mirror: Mirror,
    /// The reconciler's last word.
    pub reconciler: Reconciler,
    /// The source position up to which the target holds everything, as last recorded.
    pub applied_lsn: Option<String>,
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

/// Reads the state of the migration whose target `client` is connected to.
pub async fn read(client: &mut Client) -> Result<StatusFacts, ControlError> {
    let snapshot = snapshot(client).await?;
    let facts = read_in(&snapshot).await?;
    snapshot
        .commit()
        .await
        .map_err(cannot("read the state of the migration"))?;
    Ok(facts)
}

/// A read-only transaction in which all queries see the same moment, once it is known that the
/// `segue` schema is of this version.
pub(crate) async fn snapshot(client: &mut Client) -> Result<Transaction<'_>, ControlError> {
    let snapshot = client
        .build_transaction()
        .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await
        .map_err(cannot("read the state of the migration"))?;
    let database = database(&snapshot).await?;
    schema::check_version(&snapshot, Side::Target, &database).await?;
    Ok(snapshot)
}

async fn database(snapshot: &Transaction<'_>) -> Result<String, ControlError> {
    let row = snapshot
        .query_one("SELECT pg_catalog.current_database()::text", &[])
        .await
        .map_err(cannot("read the database's name"))?;
    Ok(row.get(0))
}

/// SQL for a timestamp as RFC 3339 in UTC.
pub(crate) fn utc(timestamp: &str) -> String {
    format!(r#"to_char({timestamp} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"#)
}

/// As [`read`], within a transaction of the caller's.
pub(crate) async fn read_in(snapshot: &Transaction<'_>) -> Result<StatusFacts, ControlError> {
    let mut facts = StatusFacts::default();
    read_state(snapshot, &mut facts).await?;
    read_stopped(snapshot, &mut facts).await?;
    read_reconciler(snapshot, &mut facts).await?;
    read_proxies(snapshot, &mut facts.mirror).await?;
    read_stops(snapshot, &mut facts).await?;
    read_tables(snapshot, &mut facts).await?;
    facts.attention = attention(&facts);
    Ok(facts)
}

async fn read_state(
    snapshot: &Transaction<'_>,
    facts: &mut StatusFacts,
) -> Result<(), ControlError> {
    let row = snapshot
        .query_one(
            &format!(
                "SELECT {} AS at, current_database()::text AS database, p.phase, p.epoch,
                        EXISTS (SELECT FROM segue.mirror_gate) AS gate,
                        waiting.owed_rows, waiting.owed_seconds_max,
                        (SELECT count(*) FROM segue.divergence
                         WHERE state = 'open' AND held IS NOT NULL) AS held,
                        (SELECT count(*) FROM segue.divergence
                         WHERE state = 'open' AND held = 'dry') AS dry,
                        EXISTS (SELECT FROM pg_catalog.pg_replication_slots s
                                JOIN segue.progress g ON s.slot_name = g.stream
                                WHERE s.database = current_database()) AS finds_foreign,
                        (SELECT count(*) FROM segue.divergence WHERE state = 'open') AS open
                 FROM (SELECT count(*) AS owed_rows,
                              extract(epoch FROM clock_timestamp() - min(since) FILTER (
                                  WHERE NOT EXISTS (
                                      SELECT FROM segue.divergence d
                                      WHERE d.\"table\" = o.\"table\" AND d.key = o.key
                                        AND d.state = 'open' AND d.held IS NOT NULL)))::float8
                                  AS owed_seconds_max
                       FROM segue.owed o
                       WHERE \"table\" NOT IN (SELECT \"table\" FROM segue.stopped)) AS waiting
                 LEFT JOIN segue.phase p ON true",
                utc("clock_timestamp()")
            ),
            &[],
        )
        .await
        .map_err(cannot("read the state of the migration"))?;
    facts.at = row.get("at");
    facts.database = row.get("database");
    facts.phase = row.get("phase");
    facts.epoch = row.get("epoch");
    facts.owed_rows = row.get("owed_rows");
    facts.owed_seconds_max = row.get("owed_seconds_max");
    facts.open_divergences = row.get("open");
    facts.held_divergences = row.get("held");
    facts.dry_divergences = row.get("dry");
    facts.finds_foreign_writes = row.get("finds_foreign");
    facts.mirror.gate = if row.get("gate") {
        Gate::Open
    } else {
        Gate::Shut
    };
    Ok(())
}

async fn read_stopped(
    snapshot: &Transaction<'_>,
    facts: &mut StatusFacts,
) -> Result<(), ControlError> {
    let sql = r#"SELECT s."table", s.what, s.reread,
                        extract(epoch FROM clock_timestamp() - s.since)::float8 AS seconds,
                        (SELECT count(*) FROM segue.owed o WHERE o."table" = s."table") AS kept_rows
                 FROM segue.stopped s ORDER BY s.since, s."table""#;
    let rows = snapshot.query(sql, &[]).await;
    let rows = rows.map_err(cannot("read the stopped tables"))?;
    let stopped = rows.iter().map(|row| StoppedTable {
        table: row.get("table"),
        what: row.get("what"),
        reread: row.get("reread"),
        seconds: row.get("seconds"),
        kept_rows: row.get("kept_rows"),
    });
    facts.stopped_tables = stopped.collect();
    Ok(())
}

/// Tables named in full at most.
const NAMES_MAX: usize = 5;

async fn read_stops(
    snapshot: &Transaction<'_>,
    facts: &mut StatusFacts,
) -> Result<(), ControlError> {
    let sql = format!(
        r#"SELECT "table", {} AS at, (
               SELECT count(*) FROM segue.divergence d
               WHERE d."table" = l."table" AND d.state = 'open' AND d.held IS NOT NULL) AS held
           FROM segue.repair_limit l WHERE resumed_at IS NULL ORDER BY 1 LIMIT 100"#,
        utc("stopped_at")
    );
    let rows = snapshot.query(&sql, &[]).await;
    let rows = rows.map_err(cannot("read which repairs have stopped"))?;
    facts.stopped_repairs = rows
        .iter()
        .map(|row| StoppedRepairs {
            table: row.get(0),
            stopped_at: row.get(1),
            held: row.get(2),
        })
        .collect();
    Ok(())
}

/// Tables that are left out, or will fail, for a reason that the catalog tells.
async fn read_tables(
    snapshot: &Transaction<'_>,
    facts: &mut StatusFacts,
) -> Result<(), ControlError> {
    let sql = "
        WITH tables AS (
            SELECT c.oid, c.oid::pg_catalog.regclass::text AS name FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'
              AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'segue')
              AND n.nspname NOT LIKE 'pg\\_%'),
        keyless AS (
            SELECT name FROM tables t WHERE NOT EXISTS (
                SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = t.oid AND i.indisunique
                AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL)),
        closed AS (
            SELECT name FROM tables t WHERE NOT (
                pg_catalog.has_table_privilege(t.oid, 'SELECT')
                AND pg_catalog.has_table_privilege(t.oid, 'INSERT')
                AND pg_catalog.has_table_privilege(t.oid, 'UPDATE')
                AND pg_catalog.has_table_privilege(t.oid, 'DELETE')))
        SELECT (SELECT count(*) FROM keyless),
               ARRAY (SELECT name FROM keyless ORDER BY name LIMIT $1),
               (SELECT count(*) FROM closed),
               ARRAY (SELECT name FROM closed ORDER BY name LIMIT $1)";
    let limit = i64::try_from(NAMES_MAX).unwrap_or(i64::MAX);
    let row = snapshot.query_one(sql, &[&limit]).await;
    let row = row.map_err(cannot("look at the tables"))?;
    facts.tables_without_key = Names {
        count: row.get(0),
        first: row.get(1),
    };
    facts.tables_without_privilege = Names {
        count: row.get(2),
        first: row.get(3),
    };
    Ok(())
}

/// What the reconciler writes into `segue.reconciler.counters`. Everything may be absent: it has
/// measured nothing in its first second.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReconcilerCounters {
    verified: u64,
    applied: u64,
    repaired: u64,
    superseded: u64,
    held: u64,
    unchanged: u64,
    transactions: u64,
    unmirrored: u64,
    applied_why: BTreeMap<String, u64>,
    proven_seconds_p50: Option<f64>,
    proven_seconds_p99: Option<f64>,
    lag_bytes: Option<i64>,
    lag_seconds: Option<f64>,
    applied_lsn: Option<String>,
    slot_wal_bytes: Option<i64>,
    slot_wal_budget_bytes: Option<i64>,
}

async fn read_reconciler(
    snapshot: &Transaction<'_>,
    facts: &mut StatusFacts,
) -> Result<(), ControlError> {
    let row = snapshot
        .query_opt(
            &format!(
                "SELECT {} AS at, counters::text AS counters,
                        extract(epoch FROM clock_timestamp() - at)::float8 AS silent_seconds
                 FROM segue.reconciler ORDER BY segue.reconciler.at DESC LIMIT 1",
                utc("at")
            ),
            &[],
        )
        .await
        .map_err(cannot("read the reconciler's counters"))?;
    let Some(row) = row else { return Ok(()) };
    let counters: ReconcilerCounters = serde_json::from_str(row.get("counters"))
        .map_err(unreadable("the reconciler's counters"))?;
    facts.reconciler = Reconciler {
        reported_at: row.get("at"),
        silent_seconds: row.get("silent_seconds"),
    };
    facts.rows = Rows {
        verified: counters.verified,
        applied: counters.applied,
        repaired: counters.repaired,
        superseded: counters.superseded,
        held: counters.held,
        unchanged: counters.unchanged,
        unmirrored: counters.unmirrored,
        applied_why: counters.applied_why,
    };
    facts.proven_transactions = counters.transactions;
    facts.lag_bytes = counters.lag_bytes;
    facts.lag_seconds = counters.lag_seconds;
    facts.proven_seconds_p50 = counters.proven_seconds_p50;
    facts.proven_seconds_p99 = counters.proven_seconds_p99;
    facts.slot_wal_bytes = counters.slot_wal_bytes;
    facts.slot_wal_budget_bytes = counters.slot_wal_budget_bytes;
    facts.applied_lsn = counters.applied_lsn;
    Ok(())
}

/// What a proxy writes into `segue.proxy.counters`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProxyCounters {
    captured: u64,
    #[serde(rename = "transactions")]
    accepted: u64,
    deferred: BTreeMap<String, u64>,
    failed: BTreeMap<String, u64>,
    staleness_seconds_p50: Option<f64>,
    staleness_seconds_p99: Option<f64>,
}

async fn read_proxies(snapshot: &Transaction<'_>, mirror: &mut Mirror) -> Result<(), ControlError> {
    let rows = snapshot
        .query(
            "SELECT counters::text AS counters,
                    extract(epoch FROM clock_timestamp() - lease)::float8 AS silent_seconds
             FROM segue.proxy",
            &[],
        )
        .await
        .map_err(cannot("read the proxies' counters"))?;
    for row in rows {
        let counters: ProxyCounters =
            serde_json::from_str(row.get("counters")).map_err(unreadable("a proxy's counters"))?;
        let silent_seconds: f64 = row.get("silent_seconds");
        add_proxy(mirror, counters, silent_seconds < PROXY_SILENT_SECONDS);
    }
    Ok(())
}

/// A proxy that is gone still counts for the totals; its staleness says nothing of now.
fn add_proxy(mirror: &mut Mirror, counters: ProxyCounters, living: bool) {
    mirror.captured += counters.captured;
    mirror.accepted += counters.accepted;
    add_each(&mut mirror.deferred, counters.deferred);
    add_each(&mut mirror.failed, counters.failed);
    if living {
        mirror.proxies += 1;
        raise(
            &mut mirror.staleness_seconds_p50,
            counters.staleness_seconds_p50,
        );
        raise(
            &mut mirror.staleness_seconds_p99,
            counters.staleness_seconds_p99,
        );
    }
}

fn add_each(totals: &mut BTreeMap<String, u64>, counts: BTreeMap<String, u64>) {
    for (reason, count) in counts {
        *totals.entry(reason).or_default() += count;
    }
}

fn raise(worst: &mut Option<f64>, value: Option<f64>) {
    *worst = match (*worst, value) {
        (Some(worst), Some(value)) => Some(worst.max(value)),
        (known, None) | (None, known) => known,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(text: &str) -> ProxyCounters {
        serde_json::from_str(text).unwrap()
    }

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
    fn counts_of_all_proxies_add_up_and_the_slowest_living_one_is_shown() {
        let mut mirror = Mirror::default();
        add_proxy(
            &mut mirror,
            proxy(r#"{"captured":2,"deferred":{"bulk":1},"staleness_seconds_p99":0.5}"#),
            true,
        );
        add_proxy(
            &mut mirror,
            proxy(r#"{"captured":3,"deferred":{"bulk":1,"copy":4},"staleness_seconds_p99":0.2}"#),
            true,
        );
        add_proxy(
            &mut mirror,
            proxy(r#"{"captured":1,"staleness_seconds_p99":9.0}"#),
            false,
        );
        assert_eq!((mirror.captured, mirror.proxies), (6, 2));
        assert_eq!(
            mirror.deferred,
            BTreeMap::from([("bulk".into(), 2), ("copy".into(), 4)])
        );
        assert_eq!(mirror.staleness_seconds_p99, Some(0.5));
    }

    #[test]
    fn counters_of_other_versions_may_hold_more_and_less() {
        assert_eq!(proxy(r#"{"bypass":7}"#).captured, 0);
        assert!(serde_json::from_str::<ProxyCounters>(r#"{"captured":"x"}"#).is_err());
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
