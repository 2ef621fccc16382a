//! After a failover: lost rows first, then tables of which every row is read again.
//!
//! Until the rows of lost transactions are settled, log and mirror wait: a later version would cover
//! the loss up. Tables are then read key by key on both sides, some keys at a time, and each key is
//! an owed row like any other. `segue.recheck` names the tables that are not done; of one that was
//! under way at the end of a session everything is read again. Does not compare rows: that is what
//! owed rows are for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use control::Side;
use protocol::contract::TableIndex;
use protocol::decide::sweep::has_passed;
use protocol::decide::verdict::OwedWhy;
use tokio::time::Instant;

use super::Applier;
use super::housekeeping::{literal, text};
use crate::error::ReconcilerError;
use crate::keys;
use crate::source::Source;

/// Log and mirror wait for lost rows for no longer: a transaction that is open at the source can
/// keep them from being read.
const LOST_PATIENCE: Duration = Duration::from_secs(30);

/// More keys are read when fewer than this wait to be compared.
const WAITING_MAX: usize = 2_000;

/// What is still to be read again.
#[derive(Debug, Default)]
pub(super) struct RecheckBook {
    tables: VecDeque<TableIndex>,
    reading: Option<Reading>,
    /// Until when log and mirror wait for lost rows.
    lost_until: Option<Instant>,
    /// The epoch has been verified.
    is_over: bool,
}

/// A table under way.
#[derive(Debug)]
struct Reading {
    table: TableIndex,
    /// Which side's keys are being read; none when all have been.
    side: Option<Side>,
    keys: Source,
    rows: u64,
}

impl RecheckBook {
    /// Whether the log waits for lost rows.
    pub(super) const fn holds_the_log(&self) -> bool {
        self.lost_until.is_some()
    }

    /// Whether a table is being read.
    pub(super) const fn is_reading(&self) -> bool {
        self.reading.is_some()
    }
}

impl Applier<'_> {
    /// Takes up what an earlier session left.
    pub(crate) async fn load_recheck(&mut self) -> Result<(), ReconcilerError> {
        let sql = r#"SELECT "table" FROM segue.recheck ORDER BY 1"#;
        for row in self.writer.connection().query_simple(sql).await? {
            let name = text(&row, 0).unwrap_or_default();
            if let Some((index, _)) = self.contract.find_name(&name) {
                self.recheck.tables.push_back(index);
            } else {
                // It has left the contract.
                self.forget_recheck(&name).await?;
            }
        }
        let epoch = self.identity.epochs.current();
        let sql = format!(
            "SELECT 'yes' FROM segue.epoch WHERE epoch = {epoch} AND verified_at IS NOT NULL"
        );
        self.recheck.is_over = self.target_text(&sql).await?.is_some();
        Ok(())
    }

    /// Opens the gate, unless lost rows come first.
    pub(crate) async fn arm_or_wait(&mut self) -> Result<(), ReconcilerError> {
        if self.owed.has_lost() {
            self.recheck.lost_until = Some(Instant::now() + LOST_PATIENCE);
            return Ok(());
        }
        self.arm().await
    }

    /// Lets log and mirror go on once lost rows are settled.
    pub(super) async fn let_go(&mut self) -> Result<(), ReconcilerError> {
        let Some(until) = self.recheck.lost_until else {
            return Ok(());
        };
        let is_late = Instant::now() >= until;
        if self.owed.has_lost() && !is_late {
            return Ok(());
        }
        if is_late {
            let text = "rows that the failover has taken back cannot be read again yet, because \
                        transactions stay open at the source; the log goes on, and may write over \
                        some of them before they are reported";
            tracing::warn!("{text}");
            self.event("lost_rows_wait", text).await?;
        }
        self.recheck.lost_until = None;
        self.arm().await
    }

    /// Reads some more keys of the table whose turn it is.
    pub(super) async fn recheck_some(&mut self) -> Result<(), ReconcilerError> {
        if self.recheck.holds_the_log() || self.owed.len() >= WAITING_MAX {
            return Ok(());
        }
        match self.recheck.reading.take() {
            None => self.begin_table().await,
            Some(reading) if self.drift.is_stopped(reading.table) => {
                // What its keys mean is not known now.
                self.recheck.tables.push_back(reading.table);
                Ok(())
            }
            Some(reading) if reading.side.is_some() => self.read_on(reading).await,
            Some(reading) => self.end_table(reading).await,
        }
    }

    async fn begin_table(&mut self) -> Result<(), ReconcilerError> {
        // What the log does not bring has to be visible (rule 9).
        if !self.horizon.is_covered_by(&self.here.snapshot) {
            return Ok(());
        }
        let stopped = |table: &TableIndex| self.drift.is_stopped(*table);
        let Some(place) = self.recheck.tables.iter().position(|it| !stopped(it)) else {
            return Ok(());
        };
        let Some(table) = self.recheck.tables.remove(place) else {
            return Ok(());
        };
        let keys = self.keys_of(table, Side::Source).await?;
        self.recheck.reading = Some(Reading {
            table,
            side: Some(Side::Source),
            keys,
            rows: 0,
        });
        Ok(())
    }

    async fn keys_of(&mut self, index: TableIndex, side: Side) -> Result<Source, ReconcilerError> {
        let [source, target] = &self.identity.databases;
        let dsn = match side {
            Side::Source => source,
            Side::Target => target,
        };
        let contract = Arc::clone(&self.contract);
        let mut keys = Source::open_at(dsn, side, Arc::clone(&contract)).await?;
        if let Some(table) = contract.table(index) {
            keys.begin_keys(table).await?;
        }
        Ok(keys)
    }

    async fn read_on(&mut self, mut reading: Reading) -> Result<(), ReconcilerError> {
        let contract = Arc::clone(&self.contract);
        let Some(table) = contract.table(reading.table) else {
            return Ok(());
        };
        let some = reading.keys.more_keys(reading.table, table).await?;
        if some.is_empty() {
            reading.side = match reading.side {
                Some(Side::Source) if keys::are_portable(table) => {
                    reading.keys = self.keys_of(reading.table, Side::Target).await?;
                    Some(Side::Target)
                }
                Some(Side::Source) => {
                    self.partly(&table.name).await?;
                    None
                }
                Some(Side::Target) | None => None,
            };
        }
        reading.rows = reading.rows.saturating_add(some.len() as u64);
        for key in some {
            if !self.owed.contains(&key) {
                self.owed.add(key, OwedWhy::Failover.label(), None);
            }
        }
        self.recheck.reading = Some(reading);
        Ok(())
    }

    async fn partly(&mut self, table: &str) -> Result<(), ReconcilerError> {
        let text = format!(
            "rows of {table} that only the target has cannot be found: its key holds values of the \
             source's own types"
        );
        tracing::warn!("{text}");
        self.event("reread_partly", &text).await
    }

    /// A table is done when each of its rows has been compared.
    async fn end_table(&mut self, reading: Reading) -> Result<(), ReconcilerError> {
        if self.owed.rechecks(reading.table) {
            self.recheck.reading = Some(reading);
            return Ok(());
        }
        let contract = Arc::clone(&self.contract);
        if let Some(table) = contract.table(reading.table) {
            tracing::info!(table = table.name, rows = reading.rows, "read again");
            self.forget_recheck(&table.name).await?;
        }
        Ok(())
    }

    async fn forget_recheck(&mut self, table: &str) -> Result<(), ReconcilerError> {
        let name = literal(table);
        let sql = format!(r#"DELETE FROM segue.recheck WHERE "table" = {name}"#);
        self.execute(&sql).await
    }

    /// Says how far it is, and that the epoch is verified once nothing is left of what came before.
    pub(super) async fn certify(&mut self) -> Result<(), ReconcilerError> {
        if self.recheck.is_over {
            return Ok(());
        }
        if let Some(reading) = &self.recheck.reading {
            let name = self
                .contract
                .table(reading.table)
                .map(|it| literal(&it.name));
            let (name, rows) = (name.unwrap_or_default(), reading.rows);
            let sql =
                format!(r#"UPDATE segue.recheck SET rows_read = {rows} WHERE "table" = {name}"#);
            return self.execute(&sql).await;
        }
        let epoch = self.identity.epochs.current();
        let (begins, passed) = (self.identity.epochs.began(), self.passed);
        if !has_passed(passed, begins) || self.recheck.holds_the_log() {
            return Ok(());
        }
        let oldest = i64::from(epoch.number()) << 55;
        let sql = format!(
            "UPDATE segue.epoch SET verified_at = clock_timestamp() \
             WHERE epoch = {epoch} AND verified_at IS NULL \
               AND NOT EXISTS (SELECT FROM segue.recheck) \
               AND NOT EXISTS (SELECT FROM segue.owed WHERE why = 'lost') \
               AND NOT EXISTS (SELECT FROM segue.row_rev \
                               WHERE NOT verified AND op_id IS NOT NULL AND rev < {oldest}) \
             RETURNING 'yes'"
        );
        if self.target_text(&sql).await?.is_some() {
            self.recheck.is_over = true;
            let text = format!("everything that the failover touched is verified: epoch {epoch}");
            tracing::info!("{text}");
            self.event("failover_verified", &text).await?;
        }
        Ok(())
    }
}
