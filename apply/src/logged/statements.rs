//! The statements of the logged path, prepared once per session.
//!
//! Does not hold values. Statement names are short because every execution repeats them.

use control::Side;
use protocol::contract::{Contract, TableIndex};

use super::LoggedError;
use crate::connection::{Connection, ConnectionError};
use crate::statements::{Statement, Statements};

pub(super) const BEGIN: &str = "begin";
pub(super) const COMMIT: &str = "commit";
pub(super) const PROGRESS: &str = "progress";
pub(super) const LOCK: &str = "lock";
pub(super) const OPS: &str = "ops";
pub(super) const KEEP: &str = "keep";
pub(super) const DROP: &str = "drop";
pub(super) const OWE: &str = "owe";
pub(super) const SETTLE: &str = "settle";

/// The statements on `segue`'s own tables, by name.
const CONTROL: [(&str, &str); 9] = [
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
    (
        OPS,
        "DELETE FROM segue.op WHERE op_id = ANY ($1::uuid[]) RETURNING op_id, outcome",
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
];

/// Prepares everything; a table that is not there is found out here.
pub(super) async fn prepare_all(
    connection: &mut Connection,
    contract: &Contract,
) -> Result<Statements, LoggedError> {
    let mut rows = Statements::load(connection, contract).await?;
    for (name, sql) in CONTROL {
        connection.prepare(name, sql)?;
    }
    for (index, table) in contract.tables() {
        rows.prepare(connection, Statement::Select(index))?;
        rows.prepare(connection, Statement::Upsert(index))?;
        rows.prepare(connection, Statement::Delete(index))?;
        let row = |first| {
            let test = rows.key_test(index, first)?;
            Ok::<_, LoggedError>(as_text(&table.name, &test))
        };
        connection.prepare(&note_name(index), &note(&row(9)?))?;
        connection.prepare(&complete_name(index), &complete(&row(8)?))?;
    }
    connection.sync();
    connection.flush().await?;
    match connection.reply().await?.error {
        Some(error) => Err(ConnectionError::server(Side::Target, error).into()),
        None => Ok(rows),
    }
}

/// Notes a divergence and the row as it is before the repair.
pub(super) fn note_name(table: TableIndex) -> String {
    format!("n{}", table.as_usize())
}

/// Completes the open divergences of a row with the row as it is afterwards.
pub(super) fn complete_name(table: TableIndex) -> String {
    format!("c{}", table.as_usize())
}

/// One open divergence says that others write to a row, however often they do.
/// Parameters: table, key, key columns, kind, revisions, op, columns; then the key's values.
fn note(row: &str) -> String {
    format!(
        r#"WITH noted AS (
             INSERT INTO segue.divergence
                 ("table", key, key_columns, kind, state, source_rev, target_rev, op_id, columns)
             SELECT $1::text, $2::bytea, $3::jsonb, $4::text, 'open', $5::int8, $6::int8, $7::uuid,
                    $8::text[]
             WHERE $4 <> 'foreign_write' OR NOT EXISTS (
                 SELECT FROM segue.divergence AS before
                 WHERE before."table" = $1 AND before.key = $2 AND before.state = 'open'
                   AND before.kind = 'foreign_write')
             RETURNING id)
           INSERT INTO segue.journal (divergence, "table", key, before)
           SELECT noted.id, $1, $2, {row} FROM noted"#
    )
}

/// Parameters: table, key, the key's column names, state, repair, source revision, columns; then the
/// key's values. Completes every open divergence of the row.
fn complete(row: &str) -> String {
    format!(
        r#"WITH completed AS (
             UPDATE segue.journal AS entry SET after = {row}
             FROM segue.divergence AS open
             WHERE open."table" = $1::text AND open.key = $2::bytea AND open.state = 'open'
               AND entry.divergence = open.id
             RETURNING entry.divergence, entry.before, entry.after)
           UPDATE segue.divergence AS found
           SET state = CASE
                   WHEN $4::text <> 'compare' THEN $4
                   WHEN found.kind = 'foreign_write'
                        AND completed.before IS NOT DISTINCT FROM completed.after THEN 'ignored'
                   ELSE 'repaired' END,
               repair = $5::text,
               repaired_at = CASE WHEN $4 <> 'open' THEN clock_timestamp() END,
               source_rev = coalesce(found.source_rev, $6::int8),
               columns = CASE cardinality(found.columns) WHEN 0 THEN $7::text[]
                         ELSE found.columns END,
               key_columns = coalesce(
                   (SELECT jsonb_object_agg(part.key, part.value)
                    FROM jsonb_each(coalesce(completed.before, completed.after)) AS part
                    WHERE part.key = ANY ($3::text[])), found.key_columns)
           FROM completed WHERE found.id = completed.divergence"#
    )
}

/// The row as column and text, rendered by the server that knows its types.
fn as_text(name: &str, key_test: &str) -> String {
    format!(
        "(SELECT jsonb_object_agg(part.key, part.value) FROM jsonb_each_text(\
         (SELECT to_jsonb(t) FROM {name} AS t WHERE {key_test})) AS part)"
    )
}
