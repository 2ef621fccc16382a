//! The working set: what the target holds of the keys of a batch, locked, and what becomes of it
//! while the batch's source transactions are judged one after the other.
//!
//! At the end only the net effect is written. Does not read or write the target itself.

mod net;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

pub use self::net::{Finding, FindingKind, Net, OwedRow, TableCount, Tally, applied_under};
use super::assembly::{LoggedRow, LoggedWrite};
use super::drop_reason::DropReason;
use super::floor::Floor;
use super::repair::{Permission, Repairs};
use super::statement::DeferReason;
use super::verdict::{
    Difference, Entry, EntryKind, Logged, OwedWhy, Path, Proof, Repair, Verdict, Why, reconcile,
};
use crate::contract::TableIndex;
use crate::op_id::OpId;
use crate::revision::{Epoch, Revision, RevisionError};
use crate::row::{Image, RowKey};
use crate::xid::Xid;

/// Why a row was applied of whose transaction no proxy had said anything.
pub const UNMIRRORED: &str = "unmirrored";

/// The source transaction whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its idempotency key.
    pub op_id: OpId,
    /// Its id at the source.
    pub xid: Xid,
    /// The authority's generation.
    pub epoch: Epoch,
    /// What a proxy said of it.
    pub outcome: Option<MirrorOutcome>,
    /// How much of it is judged at once.
    pub extent: Extent,
}

/// How much of a source transaction a call of [`WorkingSet::judge`] is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// A piece. Another one may hold the version that the mirror wrote, so nobody is accused.
    Piece,
}

/// What a proxy said of a transaction in `segue.op`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorOutcome {
    /// It is at the target.
    Accepted,
    /// It was left to the stream on purpose; the reason, where this version knows it.
    Deferred(Option<DeferReason>),
    /// It was meant to be mirrored and was not; the reason likewise.
    Dropped(Option<DropReason>),
}

impl MirrorOutcome {
    /// The name in `segue.op` and in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Deferred(_) => "deferred",
            Self::Dropped(_) => "dropped",
        }
    }

    /// The reason that was given, if one was.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Accepted => None,
            Self::Deferred(reason) => reason.map(DeferReason::label),
            Self::Dropped(reason) => reason.map(DropReason::label),
        }
    }
}

#[derive(Debug, Default)]
struct Slot {
    entry: Option<Entry>,
    row: Option<Image>,
    /// The target held the row before.
    was_there: bool,
    is_touched: bool,
    /// When it was written last, if it was.
    written: Option<u64>,
}

/// The locked keys of a batch.
#[derive(Debug, Default)]
pub struct WorkingSet {
    slots: HashMap<RowKey, Slot>,
    writes: u64,
    net: Net,
    repairs: Repairs,
    now: Duration,
}

impl WorkingSet {
    /// With so much left to be repaired. Without it nothing is held back.
    #[must_use]
    pub fn with_repairs(mut self, repairs: Repairs, now: Duration) -> Self {
        self.repairs = repairs;
        self.now = now;
        self
    }

    /// A key as it was read under its entry's lock.
    pub fn insert(&mut self, key: RowKey, entry: Option<Entry>, row: Option<Image>) {
        let slot = Slot {
            entry,
            was_there: row.is_some(),
            row,
            ..Slot::default()
        };
        self.slots.insert(key, slot);
    }

    /// Judges one source transaction's writes, or one segment of them.
    pub fn judge(
        &mut self,
        operation: &Operation,
        writes: &[LoggedWrite],
    ) -> Result<(), RevisionError> {
        let is_whole = operation.extent == Extent::Whole;
        let is_lost = is_whole && self.is_lost(operation, writes)?;
        let mut unmirrored: BTreeMap<TableIndex, u64> = BTreeMap::new();
        for write in writes {
            let rev = Revision::logged(operation.epoch, write.lsn)?;
            let slot = self.slots.entry(write.key.clone()).or_default();
            let logged = Logged {
                rev,
                op_id: operation.op_id,
                row: &write.row,
            };
            let verdict = reconcile(slot.entry.as_ref(), slot.row.as_ref(), logged);
            let entry = slot.entry.as_ref();
            let target_rev = entry.map(|entry| entry.rev);
            let is_own = entry.is_some_and(|held| held.op_id == Some(operation.op_id));
            let differing = differing(slot.row.as_ref(), &write.row);
            let table = write.key.table();
            let is_repair = is_whole && matches!(verdict, Verdict::Diverged { .. });
            let asked = is_repair.then(|| self.repairs.ask(table, self.now));
            let hold = asked.and_then(Permission::hold);
            if hold.is_none() && slot.settle(operation, rev, write, &verdict) {
                self.writes += 1;
                slot.written = Some(self.writes);
            }
            let finding = |kind, columns, repair| Finding {
                key: write.key.clone(),
                kind,
                source_rev: rev,
                target_rev,
                op_id: operation.op_id,
                columns,
                repair,
                hold,
            };
            match verdict {
                Verdict::Superseded => self.net.tally.superseded(table),
                Verdict::Verified => self.net.tally.equal(table, is_own),
                Verdict::Diverged {
                    kind,
                    columns,
                    repair,
                } => {
                    if is_whole {
                        let found = finding(FindingKind::Wrong(kind), columns, repair);
                        self.net.findings.push(found);
                    }
                    if hold.is_none() {
                        self.net.mend(write, (repair, kind), operation);
                    } else {
                        // The entry stays as it is: nobody vouches for it.
                        self.net.tally.held(table);
                        self.net.owe(write, OwedWhy::Held, operation);
                    }
                }
                Verdict::Applied { why } => {
                    let label = applied_label(why, operation.outcome, is_lost);
                    self.net.tally.apply(table, label, operation.outcome);
                    if label == UNMIRRORED {
                        *unmirrored.entry(table).or_default() += 1;
                    }
                    let lost =
                        is_lost.then(|| finding(FindingKind::LostMirror, differing, Repair::Write));
                    self.net.findings.extend(lost);
                }
                Verdict::Owed { why } => self.net.owe(write, why, operation),
            }
        }
        let rows = unmirrored.into_iter();
        let rows = rows.map(|(table, rows)| (operation.op_id, table, rows));
        self.net.unmirrored.extend(rows);
        Ok(())
    }

    /// The mirror said `accepted`, and no key has an entry of this operation or a newer one.
    fn is_lost(
        &self,
        operation: &Operation,
        writes: &[LoggedWrite],
    ) -> Result<bool, RevisionError> {
        if operation.outcome != Some(MirrorOutcome::Accepted) {
            return Ok(false);
        }
        for write in writes {
            let rev = Revision::logged(operation.epoch, write.lsn)?;
            let entry = self
                .slots
                .get(&write.key)
                .and_then(|slot| slot.entry.as_ref());
            if entry.is_some_and(|held| held.rev > rev || held.op_id == Some(operation.op_id)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What has to be written; entries go by `floor`.
    pub fn finish(mut self, floor: &Floor) -> Net {
        let mut upserts = Vec::new();
        for (key, slot) in self.slots {
            match slot.entry {
                Some(entry) if slot.is_touched => {
                    let proven = entry.proof == Proof::Verified;
                    if proven && !floor.needs_entry(entry.rev, entry.xid) {
                        self.net.dropped.push(key.clone());
                    } else {
                        self.net.kept.push((key.clone(), entry));
                    }
                }
                Some(_) => {}
                None => self.net.dropped.push(key.clone()),
            }
            match (slot.written, slot.row) {
                (Some(order), Some(image)) => upserts.push((!slot.was_there, order, key, image)),
                (Some(_), None) => self.net.deletes.push(key),
                (None, _) => {}
            }
        }
        upserts.sort_unstable_by_key(|(is_new, order, ..)| (*is_new, *order));
        self.net.updates = upserts.partition_point(|(is_new, ..)| !is_new);
        let upserts = upserts.into_iter();
        self.net.upserts = upserts.map(|(_, _, key, image)| (key, image)).collect();
        self.net
    }
}

impl Slot {
    /// Takes the verdict's consequences over; tells whether the row has to be written.
    fn settle(
        &mut self,
        operation: &Operation,
        rev: Revision,
        write: &LoggedWrite,
        verdict: &Verdict,
    ) -> bool {
        let own_rev = match (verdict, &self.entry) {
            (Verdict::Superseded, _) => return false,
            (_, Some(entry)) if entry.op_id.is_some() => rev.max(entry.rev),
            (_, Some(_) | None) => rev,
        };
        let path = match &self.entry {
            Some(entry) if *verdict == Verdict::Verified && entry.rev == own_rev => entry.path,
            Some(_) | None => Path::Logged,
        };
        self.is_touched = true;
        self.entry = Some(Entry {
            rev: own_rev,
            op_id: Some(operation.op_id),
            xid: Some(operation.xid),
            path,
            proof: Proof::Verified,
            kind: match write.row {
                LoggedRow::Present(_) => EntryKind::Row,
                LoggedRow::Absent => EntryKind::Tombstone,
            },
        });
        match verdict {
            Verdict::Superseded
            | Verdict::Verified
            | Verdict::Owed { .. }
            | Verdict::Diverged {
                kind: Difference::MissingRow,
                repair: Repair::Reread,
                ..
            } => false,
            Verdict::Diverged { .. } | Verdict::Applied { .. } => {
                self.row = match (&write.row, self.row.take()) {
                    (LoggedRow::Absent, _) => None,
                    (LoggedRow::Present(image), None) => Some(image.clone()),
                    (LoggedRow::Present(image), Some(before)) => {
                        Some(image.clone().filled_from(&before))
                    }
                };
                true
            }
        }
    }
}

fn differing(row: Option<&Image>, logged: &LoggedRow) -> Vec<usize> {
    match (row, logged) {
        (Some(row), LoggedRow::Present(image)) => image.differing(row),
        (Some(_) | None, LoggedRow::Absent) | (None, LoggedRow::Present(_)) => Vec::new(),
    }
}

/// Why a row was applied, as metrics name it.
const fn applied_label(why: Why, outcome: Option<MirrorOutcome>, is_lost: bool) -> &'static str {
    match (why, outcome) {
        (Why::LaterVersion, _) => "later_version",
        (Why::NoEntry | Why::OlderEntry, Some(MirrorOutcome::Accepted)) if is_lost => "lost_mirror",
        (Why::NoEntry | Why::OlderEntry, Some(MirrorOutcome::Accepted)) => "not_captured",
        (Why::NoEntry | Why::OlderEntry, Some(MirrorOutcome::Deferred(_))) => "deferred",
        (Why::NoEntry | Why::OlderEntry, Some(MirrorOutcome::Dropped(_))) => "dropped",
        (Why::NoEntry | Why::OlderEntry, None) => UNMIRRORED,
    }
}

#[cfg(test)]
mod tests;
