//! The client's transaction as the replies tell it: which captured rows it holds when it commits.
//!
//! It is fed with what the server says (rows, command tags, errors, `ReadyForQuery`), in order, and
//! with what the analysis said of each statement. Rows are handed out only after the server said
//! that they are committed. Does not send anything and does not know how a row was mapped.

use std::collections::HashMap;

use super::statement::{DeferReason, Statement, TransactionEffect, Write};
use crate::contract::TableIndex;
use crate::lsn::Lsn;
use crate::row::{Image, RowKey};
use crate::xid::Xid;

#[cfg(test)]
mod tests;

/// Rows that one transaction may hold: a bulk write gains nothing from being early.
pub const ROWS_MAX: usize = 1000;
/// Bytes of row images that one transaction may hold; a session holds one transaction at a time.
pub const BYTES_MAX: usize = 1 << 20;
/// Open savepoints that are followed; a client that never releases them must not grow us.
const SAVEPOINTS_MAX: usize = 1000;
/// Tables of a transaction left to the stream that are told; more are only not counted.
const TABLES_MAX: usize = 100;
/// What a row costs besides its values.
const ROW_OVERHEAD: usize = 128;

/// One captured row under its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionRow {
    /// Which row.
    pub key: RowKey,
    /// `pg_current_wal_insert_lsn()` of its capture.
    pub lsn: Lsn,
    /// The row as stored; `None` if it was deleted.
    pub image: Option<Image>,
}

impl TransactionRow {
    fn size(&self) -> usize {
        let image = self.image.as_ref().map_or(0, Image::size);
        image
            .saturating_add(self.key.bytes().len())
            .saturating_add(ROW_OVERHEAD)
    }
}

/// What a transaction came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The source has committed these rows: the last version of each key.
    Committed {
        /// The top-level transaction.
        xid: Xid,
        /// The rows, in the order of their first capture.
        rows: Vec<TransactionRow>,
    },
    /// The source has committed, and the stream brings it.
    Deferred {
        /// The top-level transaction, if any of its rows told.
        xid: Option<Xid>,
        /// Why.
        reason: DeferReason,
        /// The tables that it is known to have written to, each once.
        tables: Vec<TableIndex>,
    },
}

/// What `ReadyForQuery` says of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// Not in a transaction.
    Idle,
    /// In a transaction block, failed or not.
    InBlock,
}

/// What can be taken back to a savepoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Standing {
    /// The whole transaction is left to the stream.
    deferred: Option<DeferReason>,
    /// It is left to the stream if it holds captured rows.
    suspect: Option<DeferReason>,
    /// It wrote to tables that are not carried: why those are not.
    outside: Option<DeferReason>,
}

#[derive(Debug)]
struct Savepoint {
    name: String,
    rows: usize,
    size: usize,
    standing: Standing,
    tables: usize,
}

/// The transaction that a session is in.
#[derive(Debug, Default)]
pub struct ClientTransaction {
    /// In a block, so that errors and `ReadyForQuery` do not end it.
    in_block: bool,
    xid: Option<Xid>,
    rows: Vec<TransactionRow>,
    size: usize,
    /// Where the rows of the statement that is running begin, and their size.
    statement_rows: usize,
    statement_size: usize,
    standing: Standing,
    savepoints: Vec<Savepoint>,
    /// Those that it has written to otherwise than by `rows`.
    tables: Vec<TableIndex>,
}

impl ClientTransaction {
    /// A row of the running statement.
    pub fn captured(&mut self, xid: Xid, row: TransactionRow) {
        self.saw_xid(xid);
        if self.standing.deferred.is_some() {
            return;
        }
        self.size = self.size.saturating_add(row.size());
        self.rows.push(row);
        if self.rows.len() > ROWS_MAX || self.size > BYTES_MAX {
            self.defer(DeferReason::TooLarge);
        }
    }

    /// Which source transaction this is, told by a row that itself may be of no use.
    pub fn saw_xid(&mut self, xid: Xid) {
        if self.xid.is_some_and(|seen| seen != xid) {
            self.defer(DeferReason::SeveralTransactions);
        }
        self.xid = Some(xid);
    }

    /// The transaction is left to the stream, for the first reason given.
    pub fn defer(&mut self, reason: DeferReason) {
        self.standing.deferred.get_or_insert(reason);
        for row in &self.rows {
            note(&mut self.tables, row.key.table());
        }
        // What a savepoint could bring back is kept.
        let (rows, size) = self
            .savepoints
            .last()
            .map_or((0, 0), |last| (last.rows, last.size));
        self.truncate(rows, size);
    }

    /// Whether it is left to the stream as far as it has come.
    pub const fn is_deferred(&self) -> bool {
        self.standing.deferred.is_some()
    }

    /// A statement that is about to be [`Self::completed`] with this command tag has written to this
    /// table, if it wrote, and its rows are not captured or of no use.
    pub fn wrote_to(&mut self, table: TableIndex, tag: &[u8]) {
        if Tag::of(tag).wrote_rows() != Some(0) {
            note(&mut self.tables, table);
        }
    }

    /// A statement has ended with this command tag. `statement` is what the analysis said of it,
    /// or why its text was not read.
    pub fn completed(
        &mut self,
        statement: Result<&Statement, DeferReason>,
        tag: &[u8],
    ) -> Option<Outcome> {
        let effect = statement.map_or_else(|_| effect_of_tag(tag), |it| it.transaction.clone());
        let unread = statement.err();
        if let Ok(statement) = statement {
            self.wrote(&statement.write, tag);
            if statement.touches_durability && self.xid.is_some() {
                self.defer(match statement.write {
                    Write::Suspect(reason) => reason,
                    Write::None | Write::Captured(_) | Write::Deferred(_) | Write::Outside(_) => {
                        DeferReason::NotDurable
                    }
                });
            }
        } else if let Some(reason) = unread.filter(|_| effect == TransactionEffect::None) {
            // It may have done anything, a change of synchronous_commit included.
            if self.xid.is_some() || Tag::of(tag).wrote_rows() != Some(0) {
                self.defer(reason);
            }
            self.standing.suspect.get_or_insert(reason);
        }
        self.statement_rows = self.rows.len();
        self.statement_size = self.size;
        self.transact(effect, tag)
    }

    /// A portal stopped at its row limit: what it has not shown yet was written all the same. Of a
    /// statement that has shown all that it can have written nothing is missing. Nothing is known
    /// of what is not the analysis's.
    pub fn suspended(&mut self, write: Option<&Write>) {
        let seen = self.rows.len().saturating_sub(self.statement_rows);
        match write {
            Some(Write::None) => (),
            Some(Write::Captured(it)) if seen >= it.rows_max => {
                self.statement_rows = self.rows.len();
                self.statement_size = self.size;
            }
            Some(Write::Captured(_)) | None => self.defer(DeferReason::Cursor),
            Some(Write::Deferred(reason)) => self.defer(*reason),
            Some(Write::Suspect(reason)) => {
                self.standing.suspect.get_or_insert(*reason);
            }
            Some(Write::Outside(reason)) => self.wrote_outside(*reason),
        }
    }

    /// The server reported an error: the running statement is undone, and outside a block
    /// everything since the last commit.
    pub fn failed(&mut self) {
        if self.in_block {
            self.truncate(self.statement_rows, self.statement_size);
        } else {
            self.forget();
        }
    }

    /// `ReadyForQuery`: outside a block everything since the last commit is now committed.
    pub fn ready(&mut self, status: Ready) -> Option<Outcome> {
        match status {
            Ready::InBlock => {
                self.in_block = true;
                None
            }
            // A block that nothing has ended: its COMMIT failed.
            Ready::Idle if self.in_block => {
                self.forget();
                None
            }
            Ready::Idle => self.commit(),
        }
    }

    fn transact(&mut self, effect: TransactionEffect, tag: &[u8]) -> Option<Outcome> {
        match effect {
            TransactionEffect::None => {}
            TransactionEffect::Begin => self.in_block = true,
            // A failed transaction answers COMMIT with ROLLBACK.
            TransactionEffect::Commit if tag == b"COMMIT" => return self.commit(),
            TransactionEffect::Commit | TransactionEffect::Rollback => self.forget(),
            TransactionEffect::Savepoint(name) => self.save(name),
            TransactionEffect::Release(name) => {
                if let Some(place) = self.find(&name) {
                    self.savepoints.truncate(place);
                }
            }
            TransactionEffect::RollbackTo(name) => self.rollback_to(&name),
            TransactionEffect::Prepare => {
                self.defer_if_used(DeferReason::TwoPhase);
                let outcome = self.commit();
                return outcome.filter(|_| tag == b"PREPARE TRANSACTION");
            }
            TransactionEffect::Uncertain if self.in_block => {
                self.standing.suspect.get_or_insert(DeferReason::Procedure);
            }
            TransactionEffect::Uncertain => self.defer_if_used(DeferReason::Procedure),
        }
        None
    }

    fn wrote(&mut self, write: &Write, tag: &[u8]) {
        let rows = Tag::of(tag).wrote_rows();
        match write {
            Write::Captured(_) => {
                let seen = self.rows.len().saturating_sub(self.statement_rows);
                if self.standing.deferred.is_none() && rows != Some(seen) {
                    self.defer(DeferReason::Uncaptured);
                }
            }
            Write::Deferred(_) | Write::Outside(_) if rows == Some(0) && Tag::of(tag).counts() => {}
            Write::Deferred(reason) => self.defer(*reason),
            Write::Suspect(reason) if Tag::of(tag).counts() && rows != Some(0) => {
                self.defer(*reason);
            }
            Write::Suspect(reason) => {
                self.standing.suspect.get_or_insert(*reason);
            }
            Write::Outside(reason) => self.wrote_outside(*reason),
            Write::None => {
                if rows != Some(0) && Tag::of(tag) != Tag::Copy(rows) {
                    self.defer(DeferReason::Uncaptured);
                }
            }
        }
    }

    /// Of several reasons the one counts that somebody could do something about.
    fn wrote_outside(&mut self, reason: DeferReason) {
        let outside = &mut self.standing.outside;
        if outside.is_none_or(|it| it == DeferReason::TemporaryTable) {
            *outside = Some(reason);
        }
    }

    fn save(&mut self, name: String) {
        self.in_block = true;
        if self.savepoints.len() >= SAVEPOINTS_MAX {
            // The oldest are forgotten; going back to one of them defers the transaction.
            self.savepoints.remove(0);
        }
        self.savepoints.push(Savepoint {
            name,
            rows: self.rows.len(),
            size: self.size,
            standing: self.standing,
            tables: self.tables.len(),
        });
    }

    fn rollback_to(&mut self, name: &str) {
        let Some(place) = self.find(name) else {
            self.defer(DeferReason::Uncaptured);
            return;
        };
        self.savepoints.truncate(place.saturating_add(1));
        if let Some(savepoint) = self.savepoints.last() {
            let (rows, size) = (savepoint.rows, savepoint.size);
            self.standing = savepoint.standing;
            self.tables.truncate(savepoint.tables);
            self.truncate(rows, size);
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.savepoints.iter().rposition(|it| it.name == name)
    }

    fn truncate(&mut self, rows: usize, size: usize) {
        self.rows.truncate(rows);
        self.size = size.min(self.size);
        self.statement_rows = self.statement_rows.min(rows);
        self.statement_size = self.statement_size.min(size);
    }

    fn defer_if_used(&mut self, reason: DeferReason) {
        if !self.rows.is_empty() {
            self.defer(reason);
        }
    }

    fn commit(&mut self) -> Option<Outcome> {
        let ended = std::mem::take(self);
        let Standing {
            deferred,
            suspect,
            outside,
        } = ended.standing;
        let (xid, mut tables) = (ended.xid, ended.tables);
        match (deferred, ended.xid) {
            (Some(reason), _) => Some(Outcome::Deferred {
                xid,
                reason,
                tables,
            }),
            (None, Some(id)) if !ended.rows.is_empty() => Some(match suspect {
                Some(reason) => {
                    for row in &ended.rows {
                        note(&mut tables, row.key.table());
                    }
                    Outcome::Deferred {
                        xid,
                        reason,
                        tables,
                    }
                }
                None => Outcome::Committed {
                    xid: id,
                    rows: last_versions(ended.rows),
                },
            }),
            (None, _) => outside.map(|reason| Outcome::Deferred {
                xid: None,
                reason,
                tables,
            }),
        }
    }

    fn forget(&mut self) {
        *self = Self::default();
    }
}

fn note(tables: &mut Vec<TableIndex>, table: TableIndex) {
    if tables.len() < TABLES_MAX && !tables.contains(&table) {
        tables.push(table);
    }
}

/// What counts is the last version of each key in the source transaction (rule 3).
fn last_versions(rows: Vec<TransactionRow>) -> Vec<TransactionRow> {
    // Most transactions write one row.
    if rows.len() < 2 {
        return rows;
    }
    let mut places: HashMap<RowKey, usize> = HashMap::with_capacity(rows.len());
    let mut last: Vec<TransactionRow> = Vec::with_capacity(rows.len());
    for row in rows {
        let earlier = places.get(&row.key).and_then(|place| last.get_mut(*place));
        if let Some(earlier) = earlier {
            *earlier = row;
        } else {
            places.insert(row.key.clone(), last.len());
            last.push(row);
        }
    }
    last
}

/// For texts that could not be read. ROLLBACK may be ROLLBACK TO: taken for the former, so the
/// transaction is forgotten, and what a client does after it in the same block is captured as if
/// the block had begun there; nothing that was undone is ever sent.
fn effect_of_tag(tag: &[u8]) -> TransactionEffect {
    match tag {
        b"BEGIN" | b"START TRANSACTION" => TransactionEffect::Begin,
        b"COMMIT" => TransactionEffect::Commit,
        b"ROLLBACK" => TransactionEffect::Rollback,
        b"PREPARE TRANSACTION" => TransactionEffect::Prepare,
        b"CALL" | b"DO" => TransactionEffect::Uncertain,
        _ => TransactionEffect::None,
    }
}

/// What a command tag says of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    /// INSERT, UPDATE, DELETE or MERGE of so many rows; `None` if the number cannot be read.
    Dml(Option<usize>),
    /// COPY, in either direction.
    Copy(Option<usize>),
    /// TRUNCATE.
    Truncate,
    Other,
}

impl Tag {
    fn of(tag: &[u8]) -> Self {
        let mut words = tag.split(|byte| *byte == b' ');
        let count = || {
            let last = tag.rsplit(|byte| *byte == b' ').next()?;
            std::str::from_utf8(last).ok()?.parse().ok()
        };
        match words.next() {
            Some(b"INSERT" | b"UPDATE" | b"DELETE" | b"MERGE") => Self::Dml(count()),
            Some(b"COPY") => Self::Copy(count()),
            Some(b"TRUNCATE") => Self::Truncate,
            Some(_) | None => Self::Other,
        }
    }

    /// How many rows were written at most; `None` for an unknown number.
    const fn wrote_rows(self) -> Option<usize> {
        match self {
            Self::Dml(count) | Self::Copy(count) => count,
            Self::Truncate => None,
            Self::Other => Some(0),
        }
    }

    /// Whether the tag counts all rows that the statement wrote.
    const fn counts(self) -> bool {
        matches!(self, Self::Dml(_) | Self::Copy(_))
    }
}
