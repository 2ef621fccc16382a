//! Undoing a repair: puts back what stood there before, if the row is still what the repair left.
//!
//! Under rule 1's lock, in a transaction of its own, journaled, and by a session with an origin of
//! ours, so that the row is not taken for somebody else's write. It is a deliberate difference from
//! then on: its entry says that nobody vouches for the row, so that the next logged change of it
//! ends it, whole or, where the log lacks columns, by reading the row again. Does not decide:
//! [`protocol::decide::repair::may_undo`] does.

use bytes::Bytes;
use control::schema::ROWS_LOCK;
use control::{Dsn, Names};
use protocol::contract::{Contract, Table, quote_identifier};
use protocol::decide::repair::{Repaired, UndoRefusal, may_undo};

use crate::connection::{Connection, ConnectionError};
use crate::session::{SessionError, SessionKind, open_target};
use crate::statements::{WriteError, key_operators};

/// A transaction that holds the row ends within this, or a person wants to know.
const LOCK_TIMEOUT: &str = "5s";

/// A repair could not be undone.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// No session, or one that was lost.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A statement failed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// There is no such divergence.
    #[error("there is no divergence {id}; segue report lists them")]
    Unknown {
        /// The number given.
        id: i64,
    },
    /// It may not be undone.
    #[error("divergence {id} cannot be undone: {why}")]
    Refused {
        /// Its number.
        id: i64,
        /// Why not.
        why: UndoRefusal,
    },
    /// The journal does not hold the row as the server can read it again.
    #[error("divergence {id} cannot be undone: its journal was written by an older version")]
    NotKept {
        /// Its number.
        id: i64,
    },
    /// The table has lost its key at the target.
    #[error(transparent)]
    Key(#[from] WriteError),
    /// The contract does not have the table any more.
    #[error("divergence {id} cannot be undone: the table {table} is no longer carried")]
    TableGone {
        /// Its number.
        id: i64,
        /// The table.
        table: String,
    },
    /// The target does not take the row as it was.
    #[error("divergence {id} cannot be undone: the target does not take the row back: {message}")]
    NotTaken {
        /// Its number.
        id: i64,
        /// What the server said.
        message: String,
    },
}

impl UndoError {
    /// The exit code of a command that ends with it.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Session(_) | Self::Connection(_) | Self::Unknown { .. } => 1,
            Self::Refused { .. }
            | Self::NotKept { .. }
            | Self::Key(_)
            | Self::TableGone { .. }
            | Self::NotTaken { .. } => 4,
        }
    }
}

/// What the journal holds of a repair.
struct Kept {
    table: String,
    state: String,
    key_hex: String,
    before: Option<String>,
    after: Option<String>,
}

/// Undoes the repair of the divergence `id`. Nothing has changed if it fails.
pub async fn undo(dsn: &Dsn, contract: &Contract, names: &Names, id: i64) -> Result<(), UndoError> {
    let mut connection = open_target(dsn, names, SessionKind::Logged).await?;
    // Rows pass through this process as text.
    // A log that is behind locks no entries: before all else, it is waited for.
    let begin = format!(
        "SET client_encoding TO 'UTF8'; SET lock_timeout TO '{LOCK_TIMEOUT}'; BEGIN; \
         SELECT pg_advisory_xact_lock_shared({ROWS_LOCK})"
    );
    connection.query_simple(&begin).await?;
    let undone = within(&mut connection, contract, id).await;
    let end = if undone.is_ok() { "COMMIT" } else { "ROLLBACK" };
    connection.query_simple(end).await?;
    undone
}

async fn within(
    connection: &mut Connection,
    contract: &Contract,
    id: i64,
) -> Result<(), UndoError> {
    let kept = kept(connection, id).await?;
    let Some((_, table)) = contract.find_name(&kept.table) else {
        let table = kept.table;
        return Err(UndoError::TableGone { id, table });
    };
    let row = RowSql::of(connection, table, &kept).await?;
    // Rule 1: the lock in a statement of its own, before any test.
    connection.query_simple(&lock(&kept)).await?;
    let now = match &row.value {
        Some(value) => text(connection, &row.now(value), id).await?,
        None => None,
    };
    let found = Repaired {
        state: &kept.state,
        before: kept.before.as_deref(),
        after: kept.after.as_deref(),
        now: now.as_deref(),
    };
    may_undo(found).map_err(|why| UndoError::Refused { id, why })?;
    let Some(value) = &row.value else {
        return Err(UndoError::NotKept { id });
    };
    let sql = row.put_back(value, kept.before.is_some());
    connection
        .query_simple(&sql)
        .await
        .map_err(|error| about_the_row(error, id))?;
    connection.query_simple(&record(&kept, id, &row)).await?;
    Ok(())
}

async fn kept(connection: &mut Connection, id: i64) -> Result<Kept, UndoError> {
    let sql = format!(
        r#"SELECT d."table", d.state, encode(d.key, 'hex'), j.before_row, j.after_row,
                  (j.before IS NULL) = (j.before_row IS NULL)
                  AND (j.after IS NULL) = (j.after_row IS NULL)
           FROM segue.divergence AS d LEFT JOIN LATERAL (
               SELECT * FROM segue.journal AS j WHERE j.divergence = d.id AND j.act = 'repair'
               ORDER BY j.id DESC LIMIT 1) AS j ON true
           WHERE d.id = {id} FOR UPDATE OF d"#
    );
    let rows = connection.query_simple(&sql).await?;
    let Some(row) = rows.first() else {
        return Err(UndoError::Unknown { id });
    };
    let column = |place: usize| string(row.get(place)?.as_ref());
    let kept = Kept {
        table: column(0).unwrap_or_default(),
        state: column(1).unwrap_or_default(),
        key_hex: column(2).unwrap_or_default(),
        before: column(3),
        after: column(4),
    };
    let is_whole = column(5).as_deref() != Some("f");
    if kept.state == "repaired" && !is_whole {
        return Err(UndoError::NotKept { id });
    }
    Ok(kept)
}

fn lock(kept: &Kept) -> String {
    format!(
        r#"INSERT INTO segue.row_rev AS held ("table", key, rev, from_log, verified, tombstone)
           VALUES ({}, '\x{}', 0, true, true, false)
           ON CONFLICT ("table", key) DO UPDATE SET key = excluded.key"#,
        literal(&kept.table),
        kept.key_hex
    )
}

/// The entry, the journal and the divergence afterwards. An entry without an operation that is not
/// verified: it supersedes nothing, and a logged change that lacks columns does not trust the row.
fn record(kept: &Kept, id: i64, row: &RowSql) -> String {
    let of_row = |value: &Option<String>| {
        value
            .as_ref()
            .map_or_else(|| "NULL".to_owned(), |it| literal(it))
    };
    format!(
        r#"UPDATE segue.row_rev AS held
           SET op_id = NULL, xid = NULL, from_log = true, verified = false, tombstone = {tombstone},
               rev = CASE held.rev WHEN 0 THEN coalesce(d.source_rev, d.target_rev) ELSE held.rev END
           FROM segue.divergence AS d
           WHERE d.id = {id} AND held."table" = d."table" AND held.key = d.key;
           INSERT INTO segue.journal
               (divergence, "table", key, before, after, before_row, after_row, act)
           SELECT d.id, d."table", d.key, j.after, j.before, {after}, {before}, 'undo'
           FROM segue.divergence AS d JOIN LATERAL (
               SELECT * FROM segue.journal AS j WHERE j.divergence = d.id AND j.act = 'repair'
               ORDER BY j.id DESC LIMIT 1) AS j ON true
           WHERE d.id = {id};
           UPDATE segue.divergence
           SET state = 'ignored',
               repair = 'undone by ' || session_user || ' at ' || to_char(clock_timestamp()
                        AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
                        || ': {name} differs until the row''s next change at the source'
           WHERE id = {id}"#,
        tombstone = kept.before.is_none(),
        after = of_row(&kept.after),
        before = of_row(&kept.before),
        name = row.name.replace('\'', "''"),
    )
}

/// What the statements on the row are made of.
struct RowSql {
    /// The canonical name.
    name: String,
    columns: Vec<String>,
    /// The key's columns, each with the equality of the table's index.
    key: Vec<(String, String)>,
    /// Either form of the row: both have its key.
    value: Option<String>,
    before: Option<String>,
}

impl RowSql {
    async fn of(
        connection: &mut Connection,
        table: &Table,
        kept: &Kept,
    ) -> Result<Self, UndoError> {
        let column = |place: &usize| {
            table
                .columns
                .get(*place)
                .map(|it| quote_identifier(&it.name))
        };
        let typed = |text: &String| format!("{}::{}", literal(text), table.name);
        let operators = key_operators::<UndoError>(connection, table).await?;
        Ok(Self {
            name: table.name.clone(),
            columns: (0..table.columns.len())
                .filter_map(|it| column(&it))
                .collect(),
            key: table.key.iter().filter_map(column).zip(operators).collect(),
            value: kept.after.as_ref().or(kept.before.as_ref()).map(typed),
            before: kept.before.as_ref().map(typed),
        })
    }

    fn key_test(&self, value: &str) -> String {
        let tests = self
            .key
            .iter()
            .map(|(column, is)| format!(r#""segue: row".{column} {is} ({value}).{column}"#));
        tests.collect::<Vec<_>>().join(" AND ")
    }

    fn now(&self, value: &str) -> String {
        format!(
            r#"SELECT "segue: row"::text FROM {} AS "segue: row" WHERE {}"#,
            self.name,
            self.key_test(value)
        )
    }

    fn put_back(&self, value: &str, was_there: bool) -> String {
        let (name, test) = (&self.name, self.key_test(value));
        let delete = format!(r#"DELETE FROM {name} AS "segue: row" WHERE {test}"#);
        match &self.before {
            Some(before) if was_there => {
                let values = self.columns.iter().map(|it| format!("({before}).{it}"));
                format!(
                    "{delete}; INSERT INTO {name} ({}) OVERRIDING SYSTEM VALUE VALUES ({})",
                    self.columns.join(", "),
                    values.collect::<Vec<_>>().join(", ")
                )
            }
            Some(_) | None => delete,
        }
    }
}

async fn text(
    connection: &mut Connection,
    sql: &str,
    id: i64,
) -> Result<Option<String>, UndoError> {
    let rows = connection.query_simple(sql).await;
    let rows = rows.map_err(|error| about_the_row(error, id))?;
    let column = rows.first().and_then(|row| row.first());
    Ok(column.and_then(|column| string(column.as_ref())))
}

/// The row's text may be of a table that was another one then, or stand against another row now.
fn about_the_row(error: ConnectionError, id: i64) -> UndoError {
    if let ConnectionError::Server { error, .. } = error {
        let message = error.message;
        return UndoError::NotTaken { id, message };
    }
    UndoError::Connection(error)
}

fn string(column: Option<&Bytes>) -> Option<String> {
    column.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// An SQL literal, whatever `standard_conforming_strings` is.
fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''").replace('\\', "\\\\");
    format!("E'{doubled}'")
}
