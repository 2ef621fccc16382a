//! The target: rows, entries with their locks, gate, floors, progress and owed rows, and its own log.
//!
//! A row is written at the commit: under its entry's lock nobody can tell when before. Does not
//! decide anything of the logged path.

use std::collections::BTreeMap;

use protocol::decide::verdict::{Entry, EntryKind, Proof};
use protocol::op_id::OpId;
use protocol::revision::Revision;
use protocol::xid::Xid;

use crate::config::{Config, Omission};
use crate::early::Early;
use crate::row::{ByKey, Row};
use crate::source::{ORIGIN, xid};

/// Who holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Holder {
    Early(u8),
    Reconciler(u8),
}

/// A row of `segue.owed`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Owed {
    pub(crate) is_foreign: bool,
    /// The logged transaction that a re-read has to contain.
    pub(crate) xid: Option<Xid>,
}

impl Owed {
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            is_foreign: self.is_foreign || other.is_foreign,
            xid: self.xid.max(other.xid),
        }
    }
}

/// A table that is being filled, a row each chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Backfill {
    /// What the source's snapshot has to have reached.
    pub(crate) xmax: u64,
    pub(crate) next: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) rows: ByKey<Option<Row>>,
    /// What a crash brings back: early transactions commit asynchronously.
    pub(crate) durable: ByKey<Option<Row>>,
    pub(crate) entries: ByKey<Option<Entry>>,
    pub(crate) locks: ByKey<Option<Holder>>,
    pub(crate) accepted: Vec<OpId>,
    pub(crate) gate: Option<Revision>,
    pub(crate) table_floor: Option<Revision>,
    pub(crate) table_lock: Option<u8>,
    pub(crate) owed: BTreeMap<u8, Owed>,
    pub(crate) progress: u64,
    pub(crate) progress_lock: Option<u8>,
    pub(crate) holder: u8,
    /// Rows that the log has deleted while the table is being filled.
    pub(crate) tombstones: ByKey<bool>,
    pub(crate) backfill: Option<Backfill>,
    /// What its own log holds of others, and nobody has read: the keys.
    pub(crate) foreign: Vec<u8>,
    /// How much of that there has been.
    pub(crate) foreign_count: u8,
    pub(crate) early: Vec<Early>,
    /// The id of a raise that has not committed.
    pub(crate) raising: Option<u64>,
    pub(crate) next_xid: u64,
}

impl Target {
    pub(crate) fn new(rows: ByKey<Option<Row>>) -> Self {
        Self {
            rows,
            durable: rows,
            entries: ByKey::default(),
            locks: ByKey::default(),
            accepted: Vec::new(),
            gate: None,
            table_floor: None,
            table_lock: None,
            owed: BTreeMap::new(),
            progress: ORIGIN,
            progress_lock: None,
            holder: 0,
            tombstones: ByKey::default(),
            backfill: None,
            foreign: Vec::new(),
            foreign_count: 0,
            early: Vec::new(),
            raising: None,
            next_xid: 1,
        }
    }

    pub(crate) const fn xmax(&self) -> Xid {
        xid(self.next_xid)
    }

    pub(crate) fn xmin(&self) -> Xid {
        let running = self.early.iter().filter_map(Early::xid);
        xid(running.chain(self.raising).min().unwrap_or(self.next_xid))
    }

    pub(crate) const fn burn_xid(&mut self) -> u64 {
        self.next_xid += 1;
        self.next_xid - 1
    }

    pub(crate) fn has_unverified(&self) -> bool {
        let mut entries = self.entries.iter().flatten();
        entries.any(|held| held.proof == Proof::Unverified)
    }

    /// Takes the key's lock unless somebody else has it.
    pub(crate) fn lock(&mut self, key: u8, me: Holder) -> bool {
        let held = &mut self.locks[usize::from(key)];
        if held.is_none() {
            *held = Some(me);
        }
        *held == Some(me)
    }

    pub(crate) fn unlock(&mut self, me: Holder) {
        for held in &mut self.locks {
            if *held == Some(me) {
                *held = None;
            }
        }
        if let Holder::Reconciler(number) = me {
            self.table_lock = self.table_lock.filter(|held| *held != number);
            self.progress_lock = self.progress_lock.filter(|held| *held != number);
        }
    }

    /// UNLOGGED tables are empty after a crash, and whatever was under way is gone.
    pub(crate) fn crash(&mut self, takes_back: bool) {
        self.early.clear();
        self.entries = ByKey::default();
        self.locks = ByKey::default();
        self.accepted.clear();
        self.gate = None;
        self.raising = None;
        self.table_lock = None;
        self.progress_lock = None;
        if takes_back {
            self.rows = self.durable;
        }
        self.durable = self.rows;
    }

    /// A chunk of a table that is being filled is there.
    pub(crate) fn end_chunk(&mut self, config: &Config) {
        if let Some(backfill) = &mut self.backfill {
            backfill.next += 1;
            if backfill.next == config.keys() {
                self.backfill = None;
                self.tombstones = ByKey::default();
            }
        }
    }

    /// What `rows` are once they are written by one of ours.
    pub(crate) fn stored(row: Option<Row>, config: &Config) -> Option<Row> {
        let stamp = u8::from(config.omits(Omission::ReplicaRole)) << 7;
        row.map(|row| Row {
            value: row.value ^ stamp,
            ..row
        })
    }

    /// A write of ours, as the target's own log has it: marked.
    pub(crate) fn log_own(&mut self, key: u8, config: &Config) {
        if config.omits(Omission::Origins) {
            self.log_foreign(key);
        }
    }

    pub(crate) fn log_foreign(&mut self, key: u8) {
        self.foreign.push(key);
        self.foreign_count += 1;
    }
}

pub(crate) const fn kind_of(row: Option<Row>) -> EntryKind {
    match row {
        Some(_) => EntryKind::Row,
        None => EntryKind::Tombstone,
    }
}

/// Whether two rows have the same unique value.
pub(crate) fn violates(rows: ByKey<Option<Row>>) -> bool {
    match rows.map(|row| row.map(|row| row.long)) {
        [Some(first), Some(second), _] if first == second => true,
        [Some(first), _, Some(third)] if first == third => true,
        [_, Some(second), Some(third)] => second == third,
        [..] => false,
    }
}
