//! The rows themselves: reading, writing and deleting by key, many at once where the table lets us.
//!
//! Does not decide anything: what is written is a net effect.

use std::collections::{BTreeMap, HashMap, HashSet};

use protocol::contract::TableIndex;
use protocol::decide::verdict::OwedWhy;
use protocol::decide::working_set::{Net, OwedRow};
use protocol::row::{Image, RowKey};
use protocol::xid::Xid;

use super::locks::Held;
use super::{LoggedError, LoggedWriter, table_of};
use crate::connection::ResultSet;
use crate::statements::Statement;
use crate::statements::many::{self, ManyStatement, ManyStatements};

/// Rows of a table that are worth a statement for many.
const MANY: usize = 3;

/// Reads that were queued, a result each.
pub(super) struct Reads<'k> {
    results: Vec<Vec<&'k RowKey>>,
}

impl Reads<'_> {
    pub(super) const fn len(&self) -> usize {
        self.results.len()
    }
}

/// Writes of one kind to one table, which one statement does.
#[derive(Debug, Clone, Copy)]
enum Writes<'a> {
    Delete(&'a [&'a RowKey]),
    Update(&'a [&'a (RowKey, Image)]),
    Insert(&'a [&'a (RowKey, Image)]),
}

impl<'a> Writes<'a> {
    const fn len(self) -> usize {
        match self {
            Self::Delete(keys) => keys.len(),
            Self::Update(rows) | Self::Insert(rows) => rows.len(),
        }
    }

    /// The first half and the rest.
    fn halves(self) -> (Self, Self) {
        let middle = self.len().div_ceil(2);
        match self {
            Self::Delete(keys) => {
                let (one, other) = keys.split_at(middle);
                (Self::Delete(one), Self::Delete(other))
            }
            Self::Update(rows) => {
                let (one, other) = rows.split_at(middle);
                (Self::Update(one), Self::Update(other))
            }
            Self::Insert(rows) => {
                let (one, other) = rows.split_at(middle);
                (Self::Insert(one), Self::Insert(other))
            }
        }
    }

    fn first_key(self) -> Option<&'a RowKey> {
        match self {
            Self::Delete(keys) => keys.first().copied(),
            Self::Update(rows) | Self::Insert(rows) => rows.first().map(|(key, _)| key),
        }
    }
}

/// A net effect by kind and table, in the order in which it is written: deletes first, because a
/// unique value may have moved from a row that went.
struct Grouped<'a> {
    deletes: BTreeMap<TableIndex, Vec<&'a RowKey>>,
    updates: BTreeMap<TableIndex, Vec<&'a (RowKey, Image)>>,
    inserts: BTreeMap<TableIndex, Vec<&'a (RowKey, Image)>>,
}

impl<'a> Grouped<'a> {
    fn of(net: &'a Net) -> Self {
        let (updates, inserts) = net.upserts.split_at(net.updates.min(net.upserts.len()));
        let mut deletes: BTreeMap<TableIndex, Vec<&RowKey>> = BTreeMap::new();
        for key in &net.deletes {
            deletes.entry(key.table()).or_default().push(key);
        }
        Self {
            deletes,
            updates: by_table(updates),
            inserts: by_table(inserts),
        }
    }

    fn writes(&self) -> impl Iterator<Item = Writes<'_>> {
        let deletes = self.deletes.values().map(|keys| Writes::Delete(keys));
        let updates = self.updates.values().map(|rows| Writes::Update(rows));
        let inserts = self.inserts.values().map(|rows| Writes::Insert(rows));
        deletes.chain(updates).chain(inserts)
    }
}

fn by_table(rows: &[(RowKey, Image)]) -> BTreeMap<TableIndex, Vec<&(RowKey, Image)>> {
    let mut tables: BTreeMap<TableIndex, Vec<&(RowKey, Image)>> = BTreeMap::new();
    for row in rows {
        tables.entry(row.0.table()).or_default().push(row);
    }
    tables
}

impl LoggedWriter {
    /// Finds out what is to be known of tables of which many rows are touched. Nothing may be in
    /// flight.
    pub(super) async fn learn(&mut self, keys: &[RowKey]) -> Result<(), LoggedError> {
        for table in self.unknown(keys) {
            let (many, connection) = (&mut self.many, &mut self.connection);
            many.learn(connection, &self.rows, &self.contract, table)
                .await?;
        }
        Ok(())
    }

    /// As [`Self::learn`], inside a transaction, which goes on whatever is found.
    pub(super) async fn learn_inside(&mut self, keys: &[RowKey]) -> Result<(), LoggedError> {
        if self.unknown(keys).is_empty() {
            return Ok(());
        }
        self.simple("SAVEPOINT learnt").await?;
        self.learn(keys).await?;
        self.simple("ROLLBACK TO learnt; RELEASE learnt").await
    }

    fn unknown(&self, keys: &[RowKey]) -> Vec<TableIndex> {
        let mut counts: BTreeMap<TableIndex, usize> = BTreeMap::new();
        for key in keys {
            *counts.entry(key.table()).or_default() += 1;
        }
        let many = counts.into_iter().filter(|(_, count)| *count >= MANY);
        many.map(|(table, _)| table)
            .filter(|table| self.many.is_unknown(*table))
            .collect()
    }

    /// Adds reads of the rows with these keys.
    pub(super) fn queue_reads<'k>(&mut self, keys: &'k [RowKey]) -> Result<Reads<'k>, LoggedError> {
        let mut tables: BTreeMap<TableIndex, Vec<&RowKey>> = BTreeMap::new();
        for key in keys {
            tables.entry(key.table()).or_default().push(key);
        }
        let mut results = Vec::with_capacity(tables.len());
        for (index, keys) in tables {
            if self.takes_many(index, keys.len()) {
                self.queue_by_keys(ManyStatement::Read, &keys)?;
                results.push(keys);
            } else {
                for key in keys {
                    self.queue_select(key)?;
                    results.push(vec![key]);
                }
            }
        }
        Ok(Reads { results })
    }

    /// The rows that were found.
    pub(super) fn found_rows(
        &self,
        reads: &Reads<'_>,
        results: impl Iterator<Item = ResultSet>,
    ) -> Result<HashMap<RowKey, Image>, LoggedError> {
        let mut found = HashMap::new();
        for (keys, result) in reads.results.iter().zip(results) {
            let table = keys.first().map(|key| key.table());
            let is_many = table.is_some_and(|table| self.takes_many(table, keys.len()));
            for mut row in result.rows {
                let place = if is_many {
                    ManyStatements::place(&mut row)
                } else {
                    Some(0)
                };
                if let Some(key) = place.and_then(|place| keys.get(place)) {
                    let image = self.rows.image(key.table(), row)?;
                    found.insert((*key).clone(), image);
                }
            }
        }
        Ok(found)
    }

    fn takes_many(&self, table: TableIndex, count: usize) -> bool {
        count >= MANY && self.many.has(table)
    }

    fn queue_by_keys(
        &mut self,
        statement: ManyStatement,
        keys: &[&RowKey],
    ) -> Result<(), LoggedError> {
        let Some(first) = keys.first() else {
            return Ok(());
        };
        let table = (first.table(), table_of(&self.contract, first)?);
        let connection = &mut self.connection;
        let keys = keys.iter().copied();
        Ok(self.many.by_keys(connection, statement, table, keys)?)
    }

    pub(super) fn queue_select(&mut self, key: &RowKey) -> Result<(), LoggedError> {
        self.ready(Statement::Select(key.table()))?;
        Ok(self.rows.select(&mut self.connection, key)?)
    }

    pub(super) fn queue_delete(&mut self, key: &RowKey) -> Result<(), LoggedError> {
        self.ready(Statement::Delete(key.table()))?;
        Ok(self.rows.delete(&mut self.connection, key)?)
    }

    pub(super) fn queue_upsert(&mut self, key: &RowKey, image: &Image) -> Result<(), LoggedError> {
        self.ready(Statement::Upsert(key.table()))?;
        Ok(self.rows.upsert(&mut self.connection, key.table(), image)?)
    }

    /// Has `statement` prepared in front of its use, which is what comes next in the batch.
    pub(super) fn ready(&mut self, statement: Statement) -> Result<(), LoggedError> {
        self.rows.turn();
        self.rows.prepare(&mut self.connection, statement)?;
        Ok(())
    }

    /// Adds the writes of a net effect.
    pub(super) fn queue_rows(&mut self, net: &Net) -> Result<(), LoggedError> {
        let grouped = Grouped::of(net);
        for writes in grouped.writes() {
            self.queue_writes(writes)?;
        }
        Ok(())
    }

    fn queue_writes(&mut self, writes: Writes<'_>) -> Result<(), LoggedError> {
        let index = writes.first_key().map(RowKey::table);
        let is_many = index.is_some_and(|index| self.takes_many(index, writes.len()));
        match writes {
            Writes::Delete(keys) if is_many => self.queue_by_keys(ManyStatement::Delete, keys),
            Writes::Delete(keys) => keys.iter().try_for_each(|key| self.queue_delete(key)),
            Writes::Update(rows) if is_many && are_plain(rows) => {
                self.queue_by_rows(ManyStatement::Update, rows)
            }
            Writes::Insert(rows) if is_many && are_plain(rows) => {
                self.queue_by_rows(ManyStatement::Insert, rows)
            }
            Writes::Update(rows) | Writes::Insert(rows) => rows
                .iter()
                .try_for_each(|(key, image)| self.queue_upsert(key, image)),
        }
    }

    fn queue_by_rows(
        &mut self,
        statement: ManyStatement,
        rows: &[&(RowKey, Image)],
    ) -> Result<(), LoggedError> {
        let Some((first, _)) = rows.first() else {
            return Ok(());
        };
        let images = rows.iter().map(|(_, image)| image);
        let connection = &mut self.connection;
        Ok(self
            .many
            .by_rows(connection, statement, first.table(), images)?)
    }

    /// Writes a net effect within the transaction under way, statement by statement behind
    /// savepoints. What meets a constraint is halved until the rows that the target does not take now
    /// are found: they are owed, under `xid`.
    pub(super) async fn write_carefully(
        &mut self,
        mut net: Net,
        held: &Held,
        xid: Option<Xid>,
    ) -> Result<Net, LoggedError> {
        self.queue_notes(&net.findings)?;
        self.run().await?;
        let mut refused = Vec::new();
        let grouped = Grouped::of(&net);
        for writes in grouped.writes() {
            self.write_halving(writes, &mut refused).await?;
        }
        for key in refused {
            let why = OwedWhy::Constraint;
            *net.tally.owed_why.entry(why.label()).or_default() += 1;
            net.owed.push(OwedRow { key, why, xid });
        }
        self.queue_after(&net, held)?;
        let owed: HashSet<RowKey> = super::owed_keys(&net.owed);
        self.queue_completions(&net.findings, &owed)?;
        self.run().await?;
        Ok(net)
    }

    async fn write_halving(
        &mut self,
        all: Writes<'_>,
        refused: &mut Vec<RowKey>,
    ) -> Result<(), LoggedError> {
        // The last of these is written next.
        let mut pending = vec![all];
        while let Some(writes) = pending.pop() {
            self.simple("SAVEPOINT row").await?;
            self.queue_writes(writes)?;
            match self.run().await {
                Ok(_) => self.simple("RELEASE row").await?,
                Err(error) if error.is_about_the_row() => {
                    self.simple("ROLLBACK TO row; RELEASE row").await?;
                    if writes.len() > 1 {
                        let (first, rest) = writes.halves();
                        pending.extend([rest, first]);
                        continue;
                    }
                    if error.is_a_collision() {
                        tracing::debug!(%error, "a row is owed");
                    } else {
                        tracing::warn!(%error, "a row is owed");
                    }
                    refused.extend(writes.first_key().cloned());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether the rows can go into one array.
fn are_plain(rows: &[&(RowKey, Image)]) -> bool {
    let size: usize = rows.iter().map(|(_, image)| image.size()).sum();
    size <= many::ROW_BYTES_MAX && rows.iter().all(|(_, image)| many::is_plain(image))
}
