//! Early transactions, statement by statement as `segue.admit` and the rows after it.
//!
//! Several of the mirror's messages may share one; what stands against a member is named, that member
//! is left to the log, and the rest goes again. Does not decide which share.

use protocol::decide::verdict::{Entry, Path, Proof};

use crate::config::{Config, Feature, Omission};
use crate::source::{EarlyRow, Message, xid};
use crate::target::{Holder, Target, kind_of, violates};

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
    members: Vec<Message>,
    /// Of each row the latest version that its members have, with its member.
    rows: Vec<(EarlyRow, usize)>,
    number: u8,
    next: Statement,
    xid: Option<u64>,
}

/// What comes of a statement.
enum Outcome {
    Done,
    /// This member cannot be written now.
    Refused(usize),
    /// Nor can any other.
    Failed,
}

impl Early {
    fn new(members: Vec<Message>, number: u8, config: &Config) -> Self {
        let mut rows: Vec<(EarlyRow, usize)> = Vec::new();
        for (member, message) in members.iter().enumerate() {
            for row in &message.rows {
                match rows.iter_mut().find(|(held, _)| held.key == row.key) {
                    Some(held) if held.0.rev < row.rev => *held = (*row, member),
                    Some(_) => {}
                    None => rows.push((*row, member)),
                }
            }
        }
        rows.sort_unstable();
        Self {
            members,
            rows,
            number,
            next: first_statement(config),
            xid: None,
        }
    }

    pub(crate) const fn xid(&self) -> Option<u64> {
        self.xid
    }
}

impl Target {
    pub(crate) fn begin_early(&mut self, members: Vec<Message>, config: &Config) {
        let taken: Vec<u8> = self.early.iter().map(|one| one.number).collect();
        let number = (0..=u8::MAX)
            .find(|number| !taken.contains(number))
            .unwrap_or(0);
        self.early.push(Early::new(members, number, config));
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
                let key = one.rows[usize::from(row)].0.key;
                let holder = self.locks[usize::from(key)];
                let is_free = holder.is_none_or(|held| held == Holder::Early(one.number));
                !is_free && !config.omits(Omission::Lock)
            }
        }
    }

    /// The next statement of an early transaction that does not wait. Tells whether it goes on.
    pub(crate) fn step_early(&mut self, place: usize, config: &Config) -> bool {
        let next = self.early[place].next;
        match self.execute(place, next, config) {
            Outcome::Done if next != Statement::Commit => {
                let count = self.early[place].rows.len();
                self.early[place].next = following(next, count, config);
                true
            }
            Outcome::Refused(member) if self.early[place].members.len() > 1 => {
                let number = self.early[place].number;
                self.unlock(Holder::Early(number));
                let mut members = std::mem::take(&mut self.early[place].members);
                members.remove(member);
                self.early[place] = Early::new(members, number, config);
                true
            }
            Outcome::Done | Outcome::Refused(_) | Outcome::Failed => {
                self.end_early(place);
                false
            }
        }
    }

    fn execute(&mut self, place: usize, statement: Statement, config: &Config) -> Outcome {
        match statement {
            Statement::Xid => {
                if config.has(Feature::Floors) {
                    self.early[place].xid = Some(self.burn_xid());
                }
                Outcome::Done
            }
            Statement::Lock(row) => {
                let (row, member) = self.early[place].rows[usize::from(row)];
                let holder = Holder::Early(self.early[place].number);
                if !config.omits(Omission::Lock) && !self.lock(row.key, holder) {
                    return Outcome::Failed;
                }
                if self.admits(place, (row, member), config) {
                    Outcome::Done
                } else {
                    Outcome::Refused(member)
                }
            }
            Statement::Gate => self.pass_gate(place, config),
            Statement::Commit => self.commit_early(place, config),
        }
    }

    fn admits(&self, place: usize, (row, member): (EarlyRow, usize), config: &Config) -> bool {
        let op_id = self.early[place].members[member].op_id;
        let Some(held) = &self.entries[usize::from(row.key)] else {
            return true;
        };
        let is_own = held.path == Path::Logged && held.op_id == Some(op_id);
        config.omits(Omission::EntryTest) || (held.rev < row.rev && !is_own)
    }

    fn pass_gate(&self, place: usize, config: &Config) -> Outcome {
        let Some(floor) = self.gate else {
            return Outcome::Failed;
        };
        let is_above = |row: &EarlyRow| {
            config.omits(Omission::FloorTest)
                || row.rev > floor && self.table_floor.is_none_or(|at| row.rev > at)
        };
        let mut rows = self.early[place].rows.iter();
        let refused = rows.find(|(row, _)| !is_above(row));
        refused.map_or(Outcome::Done, |(_, member)| Outcome::Refused(*member))
    }

    fn commit_early(&mut self, place: usize, config: &Config) -> Outcome {
        let written = self.early[place].rows.clone();
        let mut rows = self.rows;
        for (row, member) in &written {
            rows[config.place(row.key)] = Self::stored(row.row, config);
            if config.has(Feature::Exchange) && violates(rows) {
                return Outcome::Refused(*member);
            }
        }
        self.rows = rows;
        let members = self.early[place].members.clone();
        for (row, member) in written {
            self.entries[usize::from(row.key)] = Some(Entry {
                rev: row.rev,
                op_id: Some(members[member].op_id),
                xid: Some(xid(members[member].xid)),
                path: Path::Early,
                proof: Proof::Unverified,
                kind: kind_of(row.row),
            });
            self.log_own(row.key, config);
        }
        for message in members {
            if !self.accepted.contains(&message.op_id) {
                self.accepted.push(message.op_id);
            }
        }
        self.accepted.sort_unstable();
        Outcome::Done
    }
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
