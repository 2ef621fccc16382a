//! Tables that are no longer what the contract says: each stops by itself, and its changes are kept.
//!
//! ```text
//! carried ─► stopped ─► both sides agree, and the log is past that ─► what was kept is owed ─► carried
//! ```
//!
//! A stopped table's changes are put down as owed rows, by key, before `progress` moves past them: an
//! owed row is read again and needs no image of now. Where no key can be made, the whole table is to
//! be read again. That a table is stopped stands in `segue.stopped`, so a restart forgets nothing.
//! Does not decide by itself that a shape is the new one: both sides have to have it.

mod notice;
mod partitions;
mod resume;

use std::collections::{BTreeSet, HashMap};

use apply::logged::SourceTransaction;
use protocol::contract::{Table, TableIndex};
use protocol::decide::assembly::{LoggedWrite, Truncation};
use protocol::decide::verdict::OwedWhy;
use protocol::decide::working_set::{OwedRow, Tally};
use protocol::lsn::Lsn;
use protocol::row::RowKey;
use protocol::xid::Xid;

use self::notice::Signs;
use self::partitions::Partitions;
use super::Applier;
use super::housekeeping::{literal, text};
use crate::error::ReconcilerError;
use crate::relations::{Drift, Reread};

/// More keys than this are not kept of one table: reading all of it again is no dearer then.
const KEYS_MAX: usize = 1_000_000;

/// No contract comes to this version: while it stands, no early write enters the table.
const NEVER: i32 = i32::MAX;

/// What is known of the tables that are stopped.
#[derive(Debug, Default)]
pub(super) struct DriftBook {
    stopped: HashMap<TableIndex, Stopped>,
    /// What tells that tables were dropped, renamed or made anew.
    signs: Signs,
    partitions: Partitions,
    /// A table goes on whose rows have not all been read again.
    closing: bool,
}

#[derive(Debug)]
struct Stopped {
    what: String,
    reread: Reread,
    key_count: usize,
    /// Early writes that were let in before have ended once the target's oldest transaction is this
    /// one.
    drained_at: Option<Xid>,
    /// What both sides agreed on when they were looked at last, and a source position after that.
    agreed: Option<(Box<Table>, Lsn)>,
}

impl Stopped {
    const fn new(what: String, reread: Reread) -> Self {
        Self {
            what,
            reread,
            key_count: 0,
            drained_at: None,
            agreed: None,
        }
    }
}

impl DriftBook {
    pub(super) fn is_stopped(&self, table: TableIndex) -> bool {
        self.stopped.contains_key(&table)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stopped.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.stopped.len()
    }
}

impl Applier<'_> {
    /// Takes up what an earlier process has found.
    pub(crate) async fn load_stopped(&mut self) -> Result<(), ReconcilerError> {
        self.drift.closing = true;
        let sql = r#"SELECT "table", what, reread FROM segue.stopped"#;
        let rows = self.writer.connection().query_simple(sql).await?;
        for row in rows {
            let (Some(name), Some(what)) = (text(&row, 0), text(&row, 1)) else {
                continue;
            };
            let reread = match text(&row, 2).as_deref() {
                Some("keys") => Reread::Keys,
                _ => Reread::Table,
            };
            // One that has left the contract meanwhile is carried no more.
            if let Some((index, _)) = self.contract.find_name(&name) {
                let stopped = Stopped::new(what, reread);
                self.drift.stopped.insert(index, stopped);
            }
        }
        Ok(())
    }

    /// A relation of the stream is not what the contract says.
    pub(super) async fn drifted(&mut self, drift: &Drift) -> Result<(), ReconcilerError> {
        if let Some(stopped) = self.drift.stopped.get_mut(&drift.table) {
            stopped.agreed = None;
            if stopped.what == drift.what && stopped.reread >= drift.reread {
                return Ok(());
            }
        }
        self.stop(drift).await
    }

    /// Stops a table, or says anew why it is stopped; in the transaction under way, if there is one.
    pub(super) async fn stop(&mut self, drift: &Drift) -> Result<(), ReconcilerError> {
        let Some(table) = self.contract.table(drift.table) else {
            return Ok(());
        };
        let (what, reread) = (&drift.what, drift.reread);
        tracing::warn!(
            table = table.name,
            what,
            "the table is stopped: schema drift"
        );
        let sql = stop_sql(&table.name, drift);
        if self.open.is_some() {
            self.execute(&sql).await?;
        } else {
            self.writer.alone(&sql).await?;
        }
        let held = self.drift.stopped.entry(drift.table);
        let held = held.or_insert_with(|| Stopped::new(what.clone(), reread));
        held.what.clone_from(what);
        held.reread = held.reread.max(reread);
        held.agreed = None;
        self.owed.forget_table(drift.table);
        Ok(())
    }

    /// Takes the writes to stopped tables out of transactions, and puts their keys down.
    pub(super) async fn set_aside(
        &mut self,
        transactions: &mut [SourceTransaction],
    ) -> Result<(), ReconcilerError> {
        if self.drift.is_empty() {
            return Ok(());
        }
        let mut owed = Vec::new();
        for transaction in transactions {
            let writes = std::mem::take(&mut transaction.writes);
            let (stopped, carried) = writes
                .into_iter()
                .partition(|write| self.drift.is_stopped(write.key.table()));
            transaction.writes = carried;
            owed.extend(self.owed_rows(stopped, transaction.xid));
        }
        self.keep(owed).await
    }

    /// The same with some writes of a transaction that is applied step by step.
    pub(super) async fn set_writes_aside(
        &mut self,
        writes: &[LoggedWrite],
        xid: Xid,
    ) -> Result<Vec<LoggedWrite>, ReconcilerError> {
        let (stopped, carried) = writes
            .iter()
            .cloned()
            .partition(|write| self.drift.is_stopped(write.key.table()));
        let owed = self.owed_rows(stopped, xid);
        self.keep(owed).await?;
        Ok(carried)
    }

    /// What of a TRUNCATE is not about stopped tables; these are read again as a whole, which
    /// empties them at the target too.
    pub(super) async fn set_truncation_aside(
        &mut self,
        truncation: &Truncation,
    ) -> Result<Truncation, ReconcilerError> {
        let (stopped, carried): (Vec<_>, Vec<_>) = truncation
            .tables
            .iter()
            .cloned()
            .partition(|(table, _)| self.drift.is_stopped(*table));
        for (table, _) in stopped {
            self.reread_whole(table).await?;
        }
        Ok(Truncation {
            lsn: truncation.lsn,
            tables: carried,
        })
    }

    fn owed_rows(&self, writes: Vec<LoggedWrite>, xid: Xid) -> Vec<OwedRow> {
        let kept = writes.into_iter().filter(|write| {
            let stopped = self.drift.stopped.get(&write.key.table());
            stopped.is_some_and(|stopped| stopped.reread == Reread::Keys)
        });
        let owed = kept.map(|write| OwedRow {
            key: write.key,
            why: OwedWhy::SchemaDrift,
            xid: Some(xid),
        });
        owed.collect()
    }

    async fn keep(&mut self, owed: Vec<OwedRow>) -> Result<(), ReconcilerError> {
        if owed.is_empty() {
            return Ok(());
        }
        self.writer.owe_rows(&owed).await?;
        let mut tally = Tally::default();
        let count = u64::try_from(owed.len()).unwrap_or(u64::MAX);
        tally.owed_why.insert(OwedWhy::SchemaDrift.label(), count);
        self.stats.judged(&tally, 0);
        let mut full = BTreeSet::new();
        for row in &owed {
            if let Some(stopped) = self.drift.stopped.get_mut(&row.key.table()) {
                stopped.key_count += 1;
                if stopped.key_count > KEYS_MAX {
                    full.insert(row.key.table());
                }
            }
        }
        for table in full {
            self.reread_whole(table).await?;
        }
        Ok(())
    }

    /// A stopped table is to be read again as a whole.
    pub(super) async fn reread_whole(&mut self, table: TableIndex) -> Result<(), ReconcilerError> {
        let Some(stopped) = self.drift.stopped.get(&table) else {
            return Ok(());
        };
        if stopped.reread == Reread::Table {
            return Ok(());
        }
        let drift = Drift {
            table,
            what: stopped.what.clone(),
            columns: Vec::new(),
            reread: Reread::Table,
        };
        self.stop(&drift).await
    }

    /// Whether rows of this key wait for their table.
    pub(super) fn is_set_aside(&self, key: &RowKey) -> bool {
        self.drift.is_stopped(key.table())
    }
}

/// Everything that being stopped means at the target. Foreign writes stay named as such.
fn stop_sql(table: &str, drift: &Drift) -> String {
    let (name, what) = (literal(table), literal(&drift.what));
    let columns: Vec<String> = drift.columns.iter().map(|name| literal(name)).collect();
    let columns = columns.join(", ");
    let reread = drift.reread.label();
    let said = literal(&format!(
        "{table} is stopped: {}; its changes are kept, and it goes on by itself once both sides agree",
        drift.what
    ));
    let forget = match drift.reread {
        Reread::Keys => String::new(),
        Reread::Table => {
            format!(r#"DELETE FROM segue.owed WHERE "table" = {name} AND why <> 'foreign';"#)
        }
    };
    format!(
        r#"INSERT INTO segue.event (kind, text) VALUES ('table_stopped', {said});
           WITH noted AS (
               INSERT INTO segue.divergence ("table", key, key_columns, kind, state, columns)
               SELECT {name}, '', '{{}}', 'schema_drift', 'open', ARRAY[{columns}]::text[]
               WHERE NOT EXISTS (SELECT FROM segue.stopped WHERE "table" = {name})
               RETURNING id)
           INSERT INTO segue.stopped AS held ("table", what, reread, divergence)
           VALUES ({name}, {what}, '{reread}', (SELECT id FROM noted))
           ON CONFLICT ("table") DO UPDATE SET what = excluded.what, reread = CASE
               WHEN 'table' IN (held.reread, excluded.reread) THEN 'table' ELSE 'keys' END;
           {forget}
           INSERT INTO segue.table_floor ("table", contract) VALUES ({name}, {NEVER})
           ON CONFLICT ("table") DO UPDATE SET contract = excluded.contract"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stop_says_is_quoted() {
        let drift = Drift {
            table: TableIndex::new(0),
            what: "column it's is new".to_owned(),
            columns: vec!["it's".to_owned()],
            reread: Reread::Table,
        };
        let sql = stop_sql("public.\"o'x\"", &drift);
        assert!(sql.contains("ARRAY['it''s']::text[]"), "{sql}");
        assert!(sql.contains("'public.\"o''x\"'"), "{sql}");
        assert!(sql.contains("DELETE FROM segue.owed"), "{sql}");
    }
}
