//! What `segue status` and the HTTP endpoint say of a migration, read from the target alone, so that
//! it can be said while every other part is down.
//!
//! Does not decide anything: no other part of Segue reads these structs.

mod facts;
mod proxies;
mod slot;

use std::collections::BTreeMap;

use serde::Deserialize;
use tokio_postgres::{Client, Transaction};

pub use self::facts::{
    Failover, Gate, Mirror, Names, OpenTransaction, Reconciler, Rows, StatusFacts, StoppedRepairs,
    StoppedTable,
};
use self::proxies::read_proxies;
pub use self::slot::{SlotFacts, read_slot};

use crate::attention::attention;
use crate::error::ControlError;
use crate::schema;
use crate::side::Side;

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
    read_failover(snapshot, &mut facts).await?;
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
                        (SELECT e.text FROM segue.event e WHERE e.kind = 'slot_lost' AND e.at >=
                             coalesce((SELECT max(r.at) FROM segue.reconciler r), '-infinity')
                         ORDER BY e.id DESC LIMIT 1) AS slot_lost,
                        (SELECT e.text FROM segue.event e WHERE e.kind = 'owed_long'
                             AND e.at > (SELECT min(since) FROM segue.owed)
                         ORDER BY e.id DESC LIMIT 1) AS owed_said,
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
    facts.slot_lost = row.get("slot_lost");
    facts.owed_said = row.get("owed_said");
    facts.mirror.gate = if row.get("gate") {
        Gate::Open
    } else {
        Gate::Shut
    };
    Ok(())
}

async fn read_failover(
    snapshot: &Transaction<'_>,
    facts: &mut StatusFacts,
) -> Result<(), ControlError> {
    let sql = format!(
        "SELECT {} AS since, timeline, begins_at::text AS begins_at, {} AS verified_at,
                (SELECT count(*) FROM segue.owed WHERE why = 'lost') AS lost_rows,
                r.tables, r.rows
         FROM (SELECT * FROM segue.epoch ORDER BY epoch DESC LIMIT 1) e,
              (SELECT count(*) AS tables, coalesce(sum(rows_read), 0)::int8 AS rows
               FROM segue.recheck) r
         WHERE e.why = 'failover'",
        utc("since"),
        utc("verified_at")
    );
    let row = snapshot.query_opt(&sql, &[]).await;
    let row = row.map_err(cannot("read the last failover"))?;
    facts.failover = row.map(|row| Failover {
        since: row.get("since"),
        timeline: row.get("timeline"),
        begins_at_lsn: row.get("begins_at"),
        verified_at: row.get("verified_at"),
        lost_rows: row.get("lost_rows"),
        recheck_tables: row.get("tables"),
        recheck_rows: row.get("rows"),
    });
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
    oldest_transaction: Option<OpenTransaction>,
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
    facts.oldest_transaction = counters.oldest_transaction;
    facts.applied_lsn = counters.applied_lsn;
    Ok(())
}
