//! The target: rows, entries with their locks, gate, floor, progress and owed rows, and the early
//! transactions under way, statement by statement as `segue.admit` and the rows after it do.
//!
//! Does not decide anything of the logged path.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::source::EarlyRow;
use super::{Broken, Rule};
use crate::decide::verdict::{Entry, EntryKind, Path, Proof};
use crate::decide::working_set::MirrorOutcome;
use crate::op_id::OpId;
use crate::revision::Revision;
use crate::row::Image;
use crate::xid::Xid;

/// Who holds an entry's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    Early(u64),
    Reconciler(u64),
}

/// One source transaction on its way through the mirror.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) op_id: OpId,
    pub(super) xid: Xid,
    pub(super) rows: Vec<EarlyRow>,
}

/// An early transaction: of each row the latest version that its members have, with its member.
#[derive(Debug)]
struct Early {
    number: u64,
    members: Vec<Message>,
    rows: Vec<(EarlyRow, usize)>,
    /// Statements done: 0 nothing, 1 the xid, then a lock each row, gate and floor, a row each.
    done: usize,
    xid: Option<u64>,
}

/// A row of `segue.owed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OwedRecord {
    pub(super) is_foreign: bool,
    pub(super) xid: Option<Xid>,
}

#[derive(Debug, Default)]
pub(super) struct Target {
    pub(super) rows: BTreeMap<u8, Image>,
    pub(super) entries: BTreeMap<u8, Entry>,
    pub(super) ops: HashMap<OpId, MirrorOutcome>,
    pub(super) gate: Option<Revision>,
    pub(super) owed: BTreeMap<u8, OwedRecord>,
    pub(super) progress: u64,
    pub(super) holder: u64,
    pub(super) locks: BTreeMap<u8, Holder>,
    /// Somebody else's writes, as the target's own stream will tell them.
    pub(super) foreign: VecDeque<(u8, Option<Image>)>,
    early: Vec<Early>,
    next_xid: u64,
    next_number: u64,
}

impl Target {
    pub(super) fn new(progress: u64) -> Self {
        Self {
            progress,
            ..Self::default()
        }
    }

    pub(super) fn xmax(&self) -> Xid {
        Xid::new(self.next_xid)
    }

    pub(super) fn xmin(&self) -> Xid {
        let running = self.early.iter().filter_map(|one| one.xid);
        Xid::new(running.min().unwrap_or(self.next_xid))
    }

    pub(super) fn has_unverified(&self) -> bool {
        let mut entries = self.entries.values();
        entries.any(|held| held.proof == Proof::Unverified)
    }

    pub(super) fn early_count(&self) -> usize {
        self.early.len()
    }

    /// Source transactions that share a target transaction.
    pub(super) fn begin_early(&mut self, members: Vec<Message>) {
        let mut latest: BTreeMap<u8, (EarlyRow, usize)> = BTreeMap::new();
        for (member, message) in members.iter().enumerate() {
            for row in &message.rows {
                let held = latest.get(&row.0);
                if held.is_none_or(|((_, rev, _), _)| *rev < row.1) {
                    latest.insert(row.0, (row.clone(), member));
                }
            }
        }
        self.next_number += 1;
        self.early.push(Early {
            number: self.next_number,
            members,
            rows: latest.into_values().collect(),
            done: 0,
            xid: None,
        });
    }

    /// What stands against a group goes, and the rest goes again.
    fn refuse_early(&mut self, place: usize, member: usize) {
        let mut members = std::mem::take(&mut self.early[place].members);
        self.end_early(place);
        members.remove(member);
        if !members.is_empty() {
            self.begin_early(members);
        }
    }

    /// UNLOGGED tables are empty after a crash, and whatever was under way is gone.
    pub(super) fn crash(&mut self) {
        self.early.clear();
        self.entries.clear();
        self.ops.clear();
        self.gate = None;
        self.locks.clear();
    }

    /// The next statement of an early transaction; `times_out` if it would give up waiting.
    pub(super) fn step_early(&mut self, place: usize, times_out: bool, broken: Broken) {
        let one = &mut self.early[place];
        let (done, count) = (one.done, one.rows.len());
        one.done += 1;
        if done == 0 {
            one.xid = Some(self.next_xid);
            self.next_xid += 1;
        } else if done <= count {
            self.lock_early(place, done - 1, times_out, broken);
        } else if done == count + 1 {
            let floor = self.gate;
            let under = |(_, rev, _): &EarlyRow| floor.is_none_or(|floor| *rev <= floor);
            let mut rows = self.early[place].rows.iter();
            if let Some((_, member)) = rows.find(|(row, _)| under(row)) {
                let member = *member;
                self.refuse_early(place, member);
            }
        } else if done > 2 * count + 1 {
            self.commit_early(place);
        }
    }

    fn lock_early(&mut self, place: usize, row: usize, times_out: bool, broken: Broken) {
        let one = &mut self.early[place];
        let me = Holder::Early(one.number);
        let ((id, rev, _), member) = one.rows[row].clone();
        let op_id = one.members[member].op_id;
        if !broken.is(Rule::LockFirst) {
            if self.locks.get(&id).is_some_and(|holder| *holder != me) {
                one.done -= 1;
                if times_out {
                    self.end_early(place);
                }
                return;
            }
            self.locks.insert(id, me);
        }
        let refused = self.entries.get(&id).is_some_and(|held| {
            let own = held.path == Path::Logged && held.op_id == Some(op_id);
            held.rev >= rev || own
        });
        if refused && !broken.is(Rule::EntryTest) {
            self.refuse_early(place, member);
        }
    }

    fn commit_early(&mut self, place: usize) {
        let members = std::mem::take(&mut self.early[place].members);
        for ((id, rev, row), member) in std::mem::take(&mut self.early[place].rows) {
            let message = &members[member];
            let kind = if row.is_some() {
                EntryKind::Row
            } else {
                EntryKind::Tombstone
            };
            let entry = Entry {
                rev,
                op_id: Some(message.op_id),
                xid: Some(message.xid),
                path: Path::Early,
                proof: Proof::Unverified,
                kind,
            };
            self.entries.insert(id, entry);
            match row {
                Some(row) => self.rows.insert(id, row),
                None => self.rows.remove(&id),
            };
        }
        for message in members {
            self.ops.insert(message.op_id, MirrorOutcome::Accepted);
        }
        self.end_early(place);
    }

    fn end_early(&mut self, place: usize) {
        let number = self.early.remove(place).number;
        self.unlock(Holder::Early(number));
    }

    pub(super) fn unlock(&mut self, holder: Holder) {
        self.locks.retain(|_, held| *held != holder);
    }
}
