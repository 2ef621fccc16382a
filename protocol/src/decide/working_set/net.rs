//! What comes of a batch: what has to be written, what was found, and the counts.
//!
//! Does not judge.

use std::collections::BTreeMap;

use super::{Extent, MirrorOutcome, Operation};
use crate::contract::TableIndex;
use crate::decide::assembly::LoggedWrite;
use crate::decide::repair::Hold;
use crate::decide::verdict::{Difference, Entry, OwedWhy, Repair};
use crate::op_id::OpId;
use crate::revision::Revision;
use crate::row::{Image, RowKey};
use crate::xid::Xid;

/// Something that the mirror and the log disagreed about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The row.
    pub key: RowKey,
    /// What is wrong.
    pub kind: FindingKind,
    /// The log's revision.
    pub source_rev: Revision,
    /// The revision of the target's entry.
    pub target_rev: Option<Revision>,
    /// The source transaction.
    pub op_id: OpId,
    /// Places of the columns that differed.
    pub columns: Vec<usize>,
    /// How it is mended.
    pub repair: Repair,
    /// Why that is held back, if it is.
    pub hold: Option<Hold>,
}

/// The kind of a [`Finding`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingKind {
    /// The mirror wrote something else.
    Wrong(Difference),
    /// The mirror said that it had written the transaction, and nothing of it is there.
    LostMirror,
}

impl FindingKind {
    /// The name in `segue.divergence`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Wrong(Difference::MissingRow) => "missing_row",
            Self::Wrong(Difference::ExtraRow) => "extra_row",
            Self::Wrong(Difference::DifferentRow) => "different_row",
            Self::LostMirror => "lost_mirror",
        }
    }
}

/// How many rows came to which end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// The mirror had brought what the log says.
    pub verified: u64,
    /// The target held what the log says, and nothing tells that the mirror had brought it.
    pub unchanged: u64,
    /// The log's version was written.
    pub applied: u64,
    /// A divergence was mended.
    pub repaired: u64,
    /// A divergence was left as it is: its repair is held back.
    pub held: u64,
    /// A newer write of another operation stood.
    pub superseded: u64,
    /// Applied rows by reason.
    pub applied_why: BTreeMap<&'static str, u64>,
    /// Rows to be read again, by reason.
    pub owed_why: BTreeMap<&'static str, u64>,
    /// The same by table, verdict and reason.
    pub tables: BTreeMap<TableCount, u64>,
}

/// What rows of a table are counted under: the table, the verdict and, where there is one, why.
pub type TableCount = (TableIndex, &'static str, &'static str);

/// What applied rows are counted under: what a proxy said of their transaction and its reason, where
/// it said so and that is `why` they were applied.
pub fn applied_under(
    table: TableIndex,
    why: &'static str,
    outcome: Option<MirrorOutcome>,
) -> TableCount {
    let said = outcome.filter(|outcome| outcome.label() == why);
    match said.and_then(MirrorOutcome::reason) {
        Some(reason) => (table, why, reason),
        None => (table, "applied", why),
    }
}

/// A row that has to be read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwedRow {
    /// The key.
    pub key: RowKey,
    /// Why.
    pub why: OwedWhy,
    /// The logged transaction that a re-read has to contain.
    pub xid: Option<Xid>,
}

/// What has to be written at the target after a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Net {
    /// Rows to delete.
    pub deletes: Vec<RowKey>,
    /// Rows to write whole: first those that were there, then those that were not, each in the order
    /// of their last versions. A row that goes on may free a unique value, a new one cannot.
    pub upserts: Vec<(RowKey, Image)>,
    /// How many of [`Self::upserts`] were there.
    pub updates: usize,
    /// Entries that stay.
    pub kept: Vec<(RowKey, Entry)>,
    /// Entries that are not needed.
    pub dropped: Vec<RowKey>,
    /// Rows to read again.
    pub owed: Vec<OwedRow>,
    /// Divergences.
    pub findings: Vec<Finding>,
    /// Transactions of which no proxy had said anything yet, and their rows that were applied.
    pub unmirrored: Vec<(OpId, TableIndex, u64)>,
    /// The counts.
    pub tally: Tally,
}

impl Tally {
    pub(super) fn superseded(&mut self, table: TableIndex) {
        self.superseded += 1;
        self.of_table(table, "superseded", "");
    }

    pub(super) fn equal(&mut self, table: TableIndex, is_own: bool) {
        if is_own {
            self.verified += 1;
            self.of_table(table, "verified", "");
        } else {
            self.unchanged += 1;
            self.of_table(table, "unchanged", "");
        }
    }

    pub(super) fn held(&mut self, table: TableIndex) {
        self.held += 1;
        self.of_table(table, "held", "");
    }

    /// Of a piece it cannot be told whether the mirror was wrong or had a later version.
    pub(super) fn mend(&mut self, table: TableIndex, is_whole: bool) {
        if is_whole {
            self.repaired += 1;
            self.of_table(table, "repaired", "");
        } else {
            self.apply(table, "later_version", None);
        }
    }

    pub(super) fn apply(
        &mut self,
        table: TableIndex,
        why: &'static str,
        outcome: Option<MirrorOutcome>,
    ) {
        *self.applied_why.entry(why).or_default() += 1;
        self.applied += 1;
        let (table, verdict, why) = applied_under(table, why, outcome);
        self.of_table(table, verdict, why);
    }

    /// Counts a row under its table.
    pub fn of_table(&mut self, table: TableIndex, verdict: &'static str, why: &'static str) {
        *self.tables.entry((table, verdict, why)).or_default() += 1;
    }
}

impl Net {
    pub(super) fn mend(
        &mut self,
        write: &LoggedWrite,
        (repair, kind): (Repair, Difference),
        operation: &Operation,
    ) {
        let (table, is_whole) = (write.key.table(), operation.extent == Extent::Whole);
        match (repair, kind) {
            (Repair::Reread, Difference::MissingRow) => {
                self.owe(write, OwedWhy::PartialWithoutRow, operation);
            }
            (Repair::Reread, Difference::ExtraRow | Difference::DifferentRow) => {
                self.tally.mend(table, is_whole);
                self.owe(write, OwedWhy::PartialOverWrong, operation);
            }
            (Repair::Write, _) => self.tally.mend(table, is_whole),
        }
    }

    pub(super) fn owe(&mut self, write: &LoggedWrite, why: OwedWhy, operation: &Operation) {
        *self.tally.owed_why.entry(why.label()).or_default() += 1;
        self.owed.push(OwedRow {
            key: write.key.clone(),
            why,
            xid: Some(operation.xid),
        });
    }
}
