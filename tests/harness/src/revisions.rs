//! The inequality that the two paths rest on, measured: for one row's committed versions
//! `c1 < r1 - 1 < c2 < r2 - 1 …`, where `c` is the log's position of a version and `r` what the
//! statement that made it saw in its own RETURNING.
//!
//! Writers fight for a few rows with updates, upserts, deletes, re-inserts and savepoints that are
//! rolled back; then the log is decoded and compared. Does not run Segue: it tests PostgreSQL.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use protocol::decide::record::{CapturedRow, ValueFormat, decode};
use protocol::lsn::Lsn;
use protocol::pgoutput::{Message, Old, Tuple};
use protocol::row::Datum;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::Instant;
use tokio_postgres::Client;

use crate::Database;

/// Rows that are fought for.
const ROW_COUNT: i32 = 5;
const WRITER_COUNT: u64 = 12;
/// The hidden column, as a captured statement has it.
const HIDDEN: &str = "pg_catalog.record_send(ROW(pg_catalog.pg_current_wal_insert_lsn(),\
    pg_catalog.pg_current_xact_id(),pg_catalog.current_setting('synchronous_commit'),\
    hot.tableoid,hot.*))";
/// The key, a number that no other version has, and a value that may lie outside the row.
const SCHEMA: &str = "
    CREATE TABLE hot (id int PRIMARY KEY, version bigint NOT NULL, word text);
    ALTER TABLE hot REPLICA IDENTITY FULL;
    CREATE SEQUENCE hot_version;
    CREATE PUBLICATION hot FOR TABLE hot";

/// What to do, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Drives what the writers do.
    pub seed: u64,
    /// How long they write.
    pub duration: Duration,
}

/// What was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Committed versions.
    pub versions: usize,
    /// Those of them that are the end of a row.
    pub deletes: usize,
    /// Versions whose statement was rolled back.
    pub rolled_back: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            versions,
            deletes,
            rolled_back,
        } = self;
        write!(
            f,
            "{versions} committed versions of {ROW_COUNT} rows, {deletes} of them deletes, and \
             {rolled_back} rolled back: no exception"
        )
    }
}

/// One version of a row: its number, and whether it is the row's end.
type Version = (i64, bool);

/// A version as the statement saw it.
#[derive(Debug, Clone, Copy)]
struct Seen {
    version: Version,
    early: Lsn,
}

/// A version as the log has it.
#[derive(Debug, Clone, Copy)]
struct Logged {
    id: i32,
    version: Version,
    lsn: Lsn,
}

/// Writes and compares; an error names the first exception.
pub async fn run(database: &Database, plan: Plan) -> Result<Summary> {
    let observer = database.connect().await?;
    let slot = format!("revisions_{}", database.name);
    observer.batch_execute(SCHEMA).await?;
    let sql = format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')");
    observer.batch_execute(&sql).await?;
    let deadline = Instant::now() + plan.duration;
    let mut writers = Vec::new();
    for number in 0..WRITER_COUNT {
        let client = database.connect().await?;
        client
            .batch_execute("SET deadlock_timeout = '20ms'")
            .await?;
        let writer = Writer {
            client,
            random: StdRng::seed_from_u64(plan.seed.wrapping_add(number)),
            committed: Vec::new(),
            rolled_back: 0,
        };
        writers.push(tokio::spawn(writer.write_until(deadline)));
    }
    let mut seen = HashMap::new();
    let mut rolled_back = 0;
    for writer in writers {
        let written = writer.await??;
        rolled_back += written.rolled_back;
        seen.extend(written.committed.iter().map(|it| (it.version, it.early)));
    }
    let logged = logged(&observer, &slot).await?;
    let sql = format!("SELECT pg_drop_replication_slot('{slot}')");
    observer.batch_execute(&sql).await?;
    compare(&seen, &logged)?;
    Ok(Summary {
        versions: logged.len(),
        deletes: logged.iter().filter(|it| it.version.1).count(),
        rolled_back,
    })
}

struct Writer {
    client: Client,
    random: StdRng,
    committed: Vec<Seen>,
    rolled_back: usize,
}

impl Writer {
    async fn write_until(mut self, deadline: Instant) -> Result<Self> {
        while Instant::now() < deadline {
            let mut seen = Vec::new();
            let ends_well = match self.transaction(&mut seen).await {
                Ok(()) => self.random.random_bool(0.85),
                // A deadlock.
                Err(_) => false,
            };
            if ends_well {
                self.client.batch_execute("COMMIT").await?;
                self.committed.append(&mut seen);
            } else {
                self.client.batch_execute("ROLLBACK").await?;
                self.rolled_back += seen.len();
            }
        }
        Ok(self)
    }

    async fn transaction(&mut self, seen: &mut Vec<Seen>) -> Result<()> {
        self.client.batch_execute("BEGIN").await?;
        for _ in 0..self.random.random_range(1..=4) {
            let kept = seen.len();
            let savepoint = self.random.random_bool(0.3);
            if savepoint {
                self.client.batch_execute("SAVEPOINT s").await?;
            }
            let sql = self.statement();
            for row in self.client.query(&sql, &[]).await? {
                let value = Bytes::from(row.get::<_, Vec<u8>>(0));
                let row = decode(&value, ValueFormat::Binary)?;
                seen.push(seen_version(&row, sql.starts_with("DELETE"))?);
            }
            if savepoint && self.random.random_bool(0.5) {
                self.client.batch_execute("ROLLBACK TO s").await?;
                self.rolled_back += seen.len() - kept;
                seen.truncate(kept);
            }
        }
        Ok(())
    }

    fn statement(&mut self) -> String {
        let id = self.random.random_range(1..=ROW_COUNT);
        // Past two kilobytes a value is moved out of the row, in records of its own.
        let length = match self.random.random_range(0..10) {
            0 => 200,
            1 => 20,
            _ => 1,
        };
        let word = format!(
            "(SELECT string_agg(md5(n::text || random()), '') FROM generate_series(1, {length}) n)"
        );
        match self.random.random_range(0..10) {
            0..5 => format!(
                "INSERT INTO hot VALUES ({id}, nextval('hot_version'), {word}) ON CONFLICT (id) \
                 DO UPDATE SET version = excluded.version, word = excluded.word RETURNING {HIDDEN}"
            ),
            5..8 => format!(
                "UPDATE hot SET version = nextval('hot_version') WHERE id = {id} RETURNING {HIDDEN}"
            ),
            _ => format!("DELETE FROM hot WHERE id = {id} RETURNING {HIDDEN}"),
        }
    }
}

fn seen_version(row: &CapturedRow, is_delete: bool) -> Result<Seen> {
    let number = row.columns.get(1).and_then(|(_, value)| value.as_ref());
    Ok(Seen {
        version: (number_of(number)?, is_delete),
        early: Lsn::new(row.lsn.as_u64() - 1),
    })
}

fn number_of(value: Option<&Bytes>) -> Result<i64> {
    let bytes = value.context("a version without a number")?;
    Ok(i64::from_be_bytes(bytes.as_ref().try_into()?))
}

/// Everything that the log has, in its order.
async fn logged(observer: &Client, slot: &str) -> Result<Vec<Logged>> {
    let sql = format!(
        "SELECT lsn::text, data FROM pg_logical_slot_get_binary_changes('{slot}', NULL, NULL, \
         'proto_version', '1', 'publication_names', 'hot', 'binary', 'true')"
    );
    let mut logged = Vec::new();
    for row in observer.query(&sql, &[]).await? {
        let lsn = row.get::<_, &str>(0).parse()?;
        let (tuple, is_delete) = match Message::decode(Bytes::from(row.get::<_, Vec<u8>>(1)))? {
            Message::Insert { new, .. } | Message::Update { new, .. } => (new, false),
            Message::Delete {
                old: Old::Full(old),
                ..
            } => (old, true),
            Message::Delete { .. } => bail!("a delete without its row"),
            Message::Begin(_)
            | Message::Commit(_)
            | Message::Origin { .. }
            | Message::Relation(_)
            | Message::Type { .. }
            | Message::Truncate { .. }
            | Message::Logical { .. }
            | Message::StreamStart(_)
            | Message::StreamStop
            | Message::StreamCommit(_)
            | Message::StreamAbort(_) => continue,
        };
        logged.push(logged_version(&tuple, is_delete, lsn)?);
    }
    Ok(logged)
}

fn logged_version(tuple: &Tuple, is_delete: bool, lsn: Lsn) -> Result<Logged> {
    let [Datum::Binary(id), Datum::Binary(version), ..] = tuple.0.as_slice() else {
        bail!("a version without its key or number: {tuple:?}");
    };
    Ok(Logged {
        id: i32::from_be_bytes(id.as_ref().try_into()?),
        version: (number_of(Some(version))?, is_delete),
        lsn,
    })
}

fn compare(seen: &HashMap<Version, Lsn>, logged: &[Logged]) -> Result<()> {
    ensure!(
        seen.len() == logged.len(),
        "{} versions were seen to be committed, and the log has {}",
        seen.len(),
        logged.len()
    );
    let mut last: HashMap<i32, Lsn> = HashMap::new();
    for found in logged {
        let early = seen.get(&found.version);
        let early = *early.with_context(|| format!("{found:?} was not seen"))?;
        let before = last.insert(found.id, early).unwrap_or_default();
        ensure!(
            before < found.lsn && found.lsn < early,
            "{found:?} does not lie between {before}, where the row's last version was seen, and \
             {early}, where it was seen itself"
        );
    }
    Ok(())
}
