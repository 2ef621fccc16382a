//! Reading the source: where it is, and rows by key as of a known snapshot (rules 7, 8 and 12).
//!
//! Does not decide whether a re-read may be used.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use apply::connection::{Connection, ConnectionError};
use apply::statements::{Statement, Statements, to_target};
use control::{Dsn, Side};
use protocol::contract::{Contract, Table, TableIndex};
use protocol::decide::sweep::has_passed;
use protocol::lsn::Lsn;
use protocol::row::{Image, RowKey};
use protocol::xid::Snapshot;

use crate::error::ReconcilerError;
use crate::keys;

/// An asynchronous commit is flushed within three `wal_writer_delay`s (600 ms by default).
const FLUSH_PAUSE: Duration = Duration::from_millis(10);

/// What each standby has: as its slot says, or, where the role may see it, the sender that feeds it.
const STANDBYS: &str = "\
SELECT restart_lsn FROM pg_replication_slots WHERE slot_type = 'physical' AND active
UNION ALL
SELECT flush_lsn FROM pg_stat_replication WHERE state IN ('streaming', 'catchup')
AND pid NOT IN (SELECT active_pid FROM pg_replication_slots
                WHERE slot_type = 'logical' AND active_pid IS NOT NULL)";

/// A standby that is further behind is not waited for with the floor, in bytes: what is remembered
/// above it would not be small any more.
const STANDBY_LAG_MAX: u32 = 256 << 20;

const SETTINGS: [(&str, &str); 8] = [
    ("application_name", "segue reconciler"),
    ("search_path", "pg_catalog"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "3"),
    ("statement_timeout", "0"),
];

/// A session of the source.
#[derive(Debug)]
pub(crate) struct Source {
    connection: Connection,
    statements: Statements,
    contract: Arc<Contract>,
}

/// Where the source is.
#[derive(Debug, Clone)]
pub(crate) struct Whereabouts {
    pub(crate) insert_lsn: Lsn,
    pub(crate) snapshot: Snapshot,
    /// Seconds since 1970 by the source's clock.
    pub(crate) clock_seconds: f64,
    /// The log that the slot holds back.
    pub(crate) slot_wal_bytes: Option<i64>,
    /// What the slowest of the standbys has that are near; none if there is none that is known.
    pub(crate) standbys: Option<Lsn>,
    /// `max_slot_wal_keep_size`; none if there is no bound.
    pub(crate) slot_wal_budget_bytes: Option<i64>,
}

/// Rows read by key.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) snapshot: Snapshot,
    /// An insert position taken after the read; flushed when this is handed out.
    pub(crate) as_of: Lsn,
    /// A row each key, in the target's form.
    pub(crate) rows: Vec<Option<Image>>,
}

impl Source {
    pub(crate) async fn open(dsn: &Dsn, contract: Arc<Contract>) -> Result<Self, ReconcilerError> {
        Self::open_at(dsn, Side::Source, contract).await
    }

    /// A session that reads keys; at the target, too.
    pub(crate) async fn open_at(
        dsn: &Dsn,
        side: Side,
        contract: Arc<Contract>,
    ) -> Result<Self, ReconcilerError> {
        let mut connection = Connection::connect(dsn, side, &SETTINGS)
            .await
            .map_err(ConnectionError::from)?;
        apply::session::use_server_encoding(&mut connection).await?;
        let statements = Statements::load(&mut connection, &contract).await?;
        Ok(Self {
            connection,
            statements,
            contract,
        })
    }

    pub(crate) async fn whereabouts(&mut self, slot: &str) -> Result<Whereabouts, ReconcilerError> {
        let sql = format!(
            "SELECT pg_current_wal_insert_lsn(), pg_current_snapshot(), \
                    extract(epoch FROM clock_timestamp()), \
                    (SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), restart_lsn)::bigint \
                     FROM pg_replication_slots WHERE slot_name = '{slot}'), \
                    (SELECT setting::bigint * 1048576 FROM pg_settings \
                     WHERE name = 'max_slot_wal_keep_size' AND setting <> '-1'), \
                    (SELECT min(lsn) FROM ({STANDBYS}) AS standby (lsn) \
                     WHERE pg_current_wal_insert_lsn() - lsn < {STANDBY_LAG_MAX})"
        );
        let rows = self.connection.query_simple(&sql).await?;
        let text = |place: usize| {
            let column = rows.first()?.get(place)?.as_ref()?;
            Some(String::from_utf8_lossy(column).into_owned())
        };
        let read = || {
            Some(Whereabouts {
                insert_lsn: text(0)?.parse().ok()?,
                snapshot: Snapshot::parse(&text(1)?)?,
                clock_seconds: text(2)?.parse().ok()?,
                slot_wal_bytes: text(3).and_then(|bytes| bytes.parse().ok()),
                slot_wal_budget_bytes: text(4).and_then(|bytes| bytes.parse().ok()),
                standbys: text(5).and_then(|lsn| lsn.parse().ok()),
            })
        };
        read().ok_or(ReconcilerError::Answer {
            side: Side::Source,
            what: "its position",
        })
    }

    /// The transaction with an id of its own that has been open for longest, a prepared one too: for
    /// how many seconds, and whose it is. Others' sessions show theirs to roles that may see them.
    pub(crate) async fn oldest_transaction(
        &mut self,
    ) -> Result<Option<(f64, String)>, ReconcilerError> {
        let sql = "\
            SELECT extract(epoch FROM clock_timestamp() - since)::text, who FROM (
                SELECT xact_start, format('the session %s of %s%s', pid, usename,
                                          ' (' || nullif(application_name, '') || ')')
                FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND xact_start IS NOT NULL
                UNION ALL SELECT prepared, 'the prepared transaction ' || gid FROM pg_prepared_xacts
            ) AS open (since, who) ORDER BY since LIMIT 1";
        let rows = self.connection.query_simple(sql).await?;
        let text = |place: usize| {
            let column = rows.first()?.get(place)?.as_ref()?;
            Some(String::from_utf8_lossy(column).into_owned())
        };
        let seconds = text(0).and_then(|seconds| seconds.parse().ok());
        Ok(seconds.zip(text(1)))
    }

    /// Reads rows by key in one snapshot, and returns once what was read is safe on the source's
    /// disk: what a crash could take back is never used.
    pub(crate) async fn read(&mut self, keys: &[RowKey]) -> Result<Rows, ReconcilerError> {
        self.prepare(keys).await?;
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_current_snapshot()";
        let snapshot = self.text(begin).await?;
        let snapshot = Snapshot::parse(&snapshot).ok_or(ReconcilerError::Answer {
            side: Side::Source,
            what: "a snapshot",
        })?;
        for key in keys {
            self.statements.select(&mut self.connection, key)?;
        }
        self.connection.sync();
        self.connection.flush().await?;
        let reply = self.connection.reply().await?;
        if let Some(error) = reply.error {
            return Err(ConnectionError::server(Side::Source, error).into());
        }
        let mut rows = Vec::with_capacity(keys.len());
        for (key, result) in keys.iter().zip(reply.results) {
            rows.push(self.image(key, result.rows)?);
        }
        let as_of = self
            .position("COMMIT; SELECT pg_current_wal_insert_lsn()")
            .await?;
        while !has_passed(
            self.position("SELECT pg_current_wal_flush_lsn()").await?,
            as_of,
        ) {
            tokio::time::sleep(FLUSH_PAUSE).await;
        }
        Ok(Rows {
            snapshot,
            as_of,
            rows,
        })
    }

    /// Prepares what reads rows with these keys; says nothing to the source if it has been.
    async fn prepare(&mut self, keys: &[RowKey]) -> Result<(), ReconcilerError> {
        let tables: HashSet<_> = keys.iter().map(RowKey::table).collect();
        self.statements.turn();
        let mut added = Vec::new();
        for table in tables {
            let (connection, statement) = (&mut self.connection, Statement::Select(table));
            if self.statements.prepare_apart(connection, statement)? {
                added.push(statement);
            }
        }
        self.connection.flush().await?;
        let mut failed = None;
        for statement in added {
            if let Some(error) = self.connection.reply().await?.error {
                self.statements.forget(statement);
                failed = Some(error);
            }
        }
        let failed = failed.map(|error| ConnectionError::server(Side::Source, error));
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Differs once a published table was dropped or renamed, or partitions came or went.
    pub(crate) async fn publication_sign(
        &mut self,
        publication: &str,
    ) -> Result<String, ReconcilerError> {
        let publication = publication.replace('\'', "''");
        self.text(&format!(
            "SELECT concat(count(*), '/', \
                    sum(hash_record_extended(ROW(c.oid, c.relname, c.relnamespace), 0)), '/', \
                    (SELECT sum(hash_record_extended(ROW(inhrelid, inhparent), 0)) \
                     FROM pg_inherits)) \
             FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid \
             JOIN pg_class c ON c.oid = r.prrelid WHERE p.pubname = '{publication}'"
        ))
        .await
    }

    /// Begins to read all keys of a table; [`Self::more_keys`] goes on.
    pub(crate) async fn begin_keys(&mut self, table: &Table) -> Result<(), ReconcilerError> {
        let sql = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {}",
            keys::cursor(table)
        );
        self.connection.query_simple(&sql).await?;
        Ok(())
    }

    /// Some more keys; none when all have been read.
    pub(crate) async fn more_keys(
        &mut self,
        index: TableIndex,
        table: &Table,
    ) -> Result<Vec<RowKey>, ReconcilerError> {
        let some = keys::fetch(&mut self.connection, index, table).await?;
        if some.is_empty() {
            self.connection.query_simple("COMMIT").await?;
        }
        Ok(some)
    }

    /// The first value of a query's answer, if there is one.
    pub(crate) async fn optional(&mut self, sql: &str) -> Result<Option<String>, ReconcilerError> {
        let rows = self.connection.query_simple(sql).await?;
        let column = rows
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next().flatten());
        Ok(column.map(|text| String::from_utf8_lossy(&text).into_owned()))
    }

    fn image(
        &self,
        key: &RowKey,
        rows: Vec<Vec<Option<bytes::Bytes>>>,
    ) -> Result<Option<Image>, ReconcilerError> {
        let (Some(columns), Some(table)) =
            (rows.into_iter().next(), self.contract.table(key.table()))
        else {
            return Ok(None);
        };
        let image = self.statements.image(key.table(), columns)?;
        let image = to_target(table, &image).map_err(|source| {
            let side = Side::Source;
            ReconcilerError::Stream { side, source }
        })?;
        Ok(Some(image))
    }

    async fn position(&mut self, sql: &str) -> Result<Lsn, ReconcilerError> {
        self.text(sql)
            .await?
            .parse()
            .map_err(|_| ReconcilerError::Answer {
                side: Side::Source,
                what: "a log position",
            })
    }

    async fn text(&mut self, sql: &str) -> Result<String, ReconcilerError> {
        self.optional(sql).await?.ok_or(ReconcilerError::Answer {
            side: Side::Source,
            what: "one value",
        })
    }
}
