//! The statements of the logged path on `segue`'s own tables, prepared once per session.
//!
//! Does not hold values, and does not know the rows' own tables. Statement names are short because
//! every execution repeats them.

use control::Side;
use protocol::contract::Contract;

use super::LoggedError;
use crate::connection::{Connection, ConnectionError};
use crate::statements::Statements;

pub(super) const BEGIN: &str = "begin";
pub(super) const COMMIT: &str = "commit";
pub(super) const PROGRESS: &str = "progress";
pub(super) const LOCK: &str = "lock";
pub(super) const SHUT_OUT: &str = "shut";
pub(super) const HELD: &str = "held";
pub(super) const DROP_PLACES: &str = "places";
pub(super) const OPS: &str = "ops";
pub(super) const KEEP: &str = "keep";
pub(super) const DROP: &str = "drop";
pub(super) const OWE: &str = "owe";
pub(super) const SETTLE: &str = "settle";
pub(super) const STOP: &str = "stop";

/// The statements on `segue`'s own tables, by name.
const CONTROL: [(&str, &str); 13] = [
    (BEGIN, "BEGIN ISOLATION LEVEL READ COMMITTED"),
    (COMMIT, "COMMIT"),
    (
        PROGRESS,
        "UPDATE segue.progress SET commit_lsn = $1 \
         WHERE stream = $2 AND epoch = $3 AND commit_lsn = $4 AND holder = $5",
    ),
    // An entry that was not there comes back with revision 0, which no version has.
    (
        LOCK,
        r#"INSERT INTO segue.row_rev AS held ("table", key, rev, from_log, verified, tombstone)
           SELECT n."table", n.key, 0, true, true, false
           FROM ROWS FROM (unnest($1::text[]), unnest($2::bytea[])) AS n("table", key)
           ORDER BY n."table" COLLATE "C", n.key
           ON CONFLICT ("table", key) DO UPDATE SET key = excluded.key
           RETURNING "table", key, rev, op_id, xid, from_log, verified, tombstone"#,
    ),
    (SHUT_OUT, "SELECT pg_advisory_xact_lock($1)"),
    (
        HELD,
        r#"SELECT n.o, held.ctid, held.rev, held.op_id, held.xid, held.from_log, held.verified,
                  held.tombstone
           FROM ROWS FROM (unnest($1::text[]), unnest($2::bytea[])) WITH ORDINALITY
                AS n("table", key, o)
           JOIN segue.row_rev AS held ON held."table" = n."table" AND held.key = n.key"#,
    ),
    (
        DROP_PLACES,
        "DELETE FROM segue.row_rev WHERE ctid = ANY ($1::tid[])",
    ),
    (
        OPS,
        "DELETE FROM segue.op WHERE op_id = ANY ($1::uuid[]) RETURNING op_id, outcome, reason",
    ),
    (
        KEEP,
        r#"UPDATE segue.row_rev AS held
           SET rev = n.rev, op_id = n.op_id, xid = n.xid, from_log = n.from_log,
               verified = n.verified, tombstone = n.tombstone,
               target_rev = pg_current_wal_insert_lsn(), contract = $9::int4
           FROM ROWS FROM (unnest($1::text[]), unnest($2::bytea[]), unnest($3::int8[]),
                           unnest($4::uuid[]), unnest($5::int8[]), unnest($6::bool[]),
                           unnest($7::bool[]), unnest($8::bool[]))
                AS n("table", key, rev, op_id, xid, from_log, verified, tombstone)
           WHERE held."table" = n."table" AND held.key = n.key"#,
    ),
    (
        DROP,
        r#"DELETE FROM segue.row_rev AS held
           USING ROWS FROM (unnest($1::text[]), unnest($2::bytea[])) AS n("table", key)
           WHERE held."table" = n."table" AND held.key = n.key"#,
    ),
    // A foreign write stays named as such: whoever reads the row again reports it.
    (
        OWE,
        r#"INSERT INTO segue.owed AS held ("table", key, why, xid)
           SELECT n."table", n.key, n.why, n.xid
           FROM ROWS FROM (unnest($1::text[]), unnest($2::bytea[]), unnest($3::text[]),
                           unnest($4::int8[])) AS n("table", key, why, xid)
           ORDER BY n."table" COLLATE "C", n.key
           ON CONFLICT ("table", key) DO UPDATE
           SET xid = greatest(held.xid, excluded.xid),
               why = CASE held.why WHEN 'foreign' THEN held.why ELSE excluded.why END"#,
    ),
    (
        SETTLE,
        r#"DELETE FROM segue.owed AS held
           USING ROWS FROM (unnest($1::text[]), unnest($2::bytea[])) AS n("table", key)
           WHERE held."table" = n."table" AND held.key = n.key"#,
    ),
    (
        STOP,
        r#"INSERT INTO segue.repair_limit ("table") VALUES ($1::text)
           ON CONFLICT ("table") DO UPDATE SET stopped_at = clock_timestamp(), resumed_at = NULL"#,
    ),
];

/// Prepares these, and writes those of the tables: each is prepared in the batch that needs it
/// first. A table that has lost its key is found out here.
pub(super) async fn prepare(
    connection: &mut Connection,
    contract: &Contract,
) -> Result<Statements, LoggedError> {
    let rows = Statements::load(connection, contract).await?;
    for (name, sql) in CONTROL {
        connection.prepare(name, sql)?;
    }
    connection.sync();
    connection.flush().await?;
    match connection.reply().await?.error {
        Some(error) => Err(ConnectionError::server(Side::Target, error).into()),
        None => Ok(rows),
    }
}
