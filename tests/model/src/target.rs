//! The target: rows, entries with their locks, gate, floors, progress and owed rows, and the early
//! transactions under way, statement by statement as `segue.admit` and the rows after it.
//!
//! A row is written at the commit: under its entry's lock nobody can tell when before. Does not
//! decide anything of the logged path.

use std::collections::BTreeMap;

use protocol::decide::verdict::{Entry, EntryKind, Path, Proof};
use protocol::op_id::OpId;
use protocol::revision::Revision;
use protocol::xid::Xid;

use crate::config::{Config, Feature, Omission};
use crate::row::{ByKey, Row};
use crate::source::{EarlyRow, Message, ORIGIN, xid};

/// Who holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Holder {
    Early(u8),
    Reconciler(u8),
}

/// The next statement of an early transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Statement {
    Xid,
    Lock(u8),
    Gate,
    Commit,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Early {
    message: Message,
    number: u8,
    next: Statement,
    xid: Option<u64>,
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
    pub(crate) owed: BTreeMap<u8, Option<Xid>>,
    pub(crate) progress: u64,
    pub(crate) progress_lock: Option<u8>,
    pub(crate) holder: u8,
    /// Rows that the log has deleted while the table is being filled.
    pub(crate) tombstones: ByKey<bool>,
    /// The table is being filled: what the source's snapshot has to have reached.
    pub(crate) backfill: Option<u64>,
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
            early: Vec::new(),
            raising: None,
            next_xid: 1,
        }
    }

    pub(crate) const fn xmax(&self) -> Xid {
        xid(self.next_xid)
    }

    pub(crate) fn xmin(&self) -> Xid {
        let running = self.early.iter().filter_map(|one| one.xid);
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

    pub(crate) fn begin_early(&mut self, message: Message, config: &Config) {
        let taken: Vec<u8> = self.early.iter().map(|one| one.number).collect();
        let number = (0..=u8::MAX)
            .find(|number| !taken.contains(number))
            .unwrap_or(0);
        self.early.push(Early {
            message,
            number,
            next: first_statement(config),
            xid: None,
        });
    }

    pub(crate) fn end_early(&mut self, place: usize) {
        let one = self.early.remove(place);
        self.unlock(Holder::Early(one.number));
    }

    /// Whether an early transaction waits for somebody's lock.
    pub(crate) fn waits(&self, place: usize, config: &Config) -> bool {
        let one = &self.early[place];
        match one.next {
            Statement::Xid | Statement::Gate => false,
            Statement::Commit => self.table_lock.is_some(),
            Statement::Lock(row) => {
                let key = one.message.rows[usize::from(row)].key;
                let holder = self.locks[usize::from(key)];
                let is_free = holder.is_none_or(|held| held == Holder::Early(one.number));
                !is_free && !config.omits(Omission::Lock)
            }
        }
    }

    /// The next statement of an early transaction that does not wait. Tells whether it goes on.
    pub(crate) fn step_early(&mut self, place: usize, config: &Config) -> bool {
        let one = &self.early[place];
        let (next, number) = (one.next, one.number);
        let goes_on = match next {
            Statement::Xid => {
                if config.has(Feature::Floors) {
                    self.early[place].xid = Some(self.burn_xid());
                }
                true
            }
            Statement::Lock(row) => {
                let row = self.early[place].message.rows[usize::from(row)];
                let is_locked =
                    config.omits(Omission::Lock) || self.lock(row.key, Holder::Early(number));
                is_locked && self.admits(place, row, config)
            }
            Statement::Gate => self.is_above_floors(place, config),
            Statement::Commit => {
                self.commit_early(place, config);
                false
            }
        };
        if goes_on {
            let count = self.early[place].message.rows.len();
            self.early[place].next = following(next, count, config);
        } else {
            self.end_early(place);
        }
        goes_on
    }

    fn admits(&self, place: usize, row: EarlyRow, config: &Config) -> bool {
        let op_id = self.early[place].message.op_id;
        let Some(held) = &self.entries[usize::from(row.key)] else {
            return true;
        };
        let is_own = held.path == Path::Logged && held.op_id == Some(op_id);
        config.omits(Omission::EntryTest) || (held.rev < row.rev && !is_own)
    }

    fn is_above_floors(&self, place: usize, config: &Config) -> bool {
        let mut rows = self.early[place].message.rows.iter();
        let Some(floor) = self.gate else {
            return false;
        };
        config.omits(Omission::FloorTest)
            || rows.all(|row| row.rev > floor && self.table_floor.is_none_or(|at| row.rev > at))
    }

    fn commit_early(&mut self, place: usize, config: &Config) {
        let message = self.early[place].message.clone();
        let mut rows = self.rows;
        for written in &message.rows {
            rows[usize::from(written.key)] = written.row;
            if config.has(Feature::Exchange) && violates(rows) {
                return;
            }
        }
        self.rows = rows;
        for written in &message.rows {
            self.entries[usize::from(written.key)] = Some(Entry {
                rev: written.rev,
                op_id: Some(message.op_id),
                xid: Some(xid(message.xid)),
                path: Path::Early,
                proof: Proof::Unverified,
                kind: kind_of(written.row),
            });
        }
        if !self.accepted.contains(&message.op_id) {
            self.accepted.push(message.op_id);
            self.accepted.sort_unstable();
        }
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
    matches!(rows, [Some(first), Some(second)] if first.long == second.long)
}

fn first_statement(config: &Config) -> Statement {
    if config.omits(Omission::XidFirst) {
        Statement::Gate
    } else {
        Statement::Xid
    }
}

fn following(statement: Statement, rows: usize, config: &Config) -> Statement {
    let has_read_gate = config.omits(Omission::XidFirst) || config.has(Feature::GateFirst);
    match statement {
        Statement::Gate if config.omits(Omission::XidFirst) => Statement::Xid,
        Statement::Xid if config.has(Feature::GateFirst) && !config.omits(Omission::XidFirst) => {
            Statement::Gate
        }
        Statement::Gate if config.has(Feature::GateFirst) => Statement::Lock(0),
        Statement::Xid => Statement::Lock(0),
        Statement::Lock(row) if usize::from(row) + 1 < rows => Statement::Lock(row + 1),
        Statement::Lock(_) if !has_read_gate => Statement::Gate,
        Statement::Lock(_) | Statement::Gate | Statement::Commit => Statement::Commit,
    }
}
