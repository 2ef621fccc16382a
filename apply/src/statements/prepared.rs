//! Which statements a session of a server holds: prepared when they are needed first, and given up
//! again, the longest unused first, so that a session over ten thousand tables stays small.
//!
//! Does not talk to the server: it says what to close and what to prepare.

use std::collections::{HashMap, HashSet};

use super::Statement;

/// Statements that a session may hold. PostgreSQL 15 keeps 24 kB of a read by key and 40 kB of an
/// upsert over ten columns, so about 30 MB a session; what 250 tables that are written again and
/// again need fits in.
pub(super) const STATEMENT_COUNT_MAX: usize = 1_000;

/// Part of the statements given up at once, so that choosing them costs nothing in the mean.
const PART: usize = 8;

/// The statements of a session, by when they were used last.
#[derive(Debug)]
pub(super) struct Prepared {
    count_max: usize,
    held: HashMap<Statement, u64>,
    now: u64,
    /// What is used from here on has to stay.
    turn: u64,
    /// Sent, and not known to have run.
    unproven: Vec<Statement>,
    /// Given up; the server still holds them.
    doomed: HashSet<Statement>,
}

impl Prepared {
    pub(super) fn new(count_max: usize) -> Self {
        Self {
            count_max,
            held: HashMap::new(),
            now: 0,
            turn: 0,
            unproven: Vec::new(),
            doomed: HashSet::new(),
        }
    }

    /// Nothing that was used before has to stay.
    pub(super) const fn turn(&mut self) {
        self.turn = self.now + 1;
    }

    /// Notes that `statement` is used; says whether it is there.
    pub(super) fn touch(&mut self, statement: Statement) -> bool {
        self.now += 1;
        let used = self.held.get_mut(&statement);
        used.map(|used| *used = self.now).is_some()
    }

    /// `statement`, which is not there, is being prepared; these have to be closed before, whether
    /// the server has them or not.
    pub(super) fn add(&mut self, statement: Statement) -> Vec<Statement> {
        if self.held.len() >= self.count_max {
            self.give_up();
        }
        self.held.insert(statement, self.now);
        self.unproven.push(statement);
        // What was forgotten may still be there, for a table as it was.
        self.doomed.insert(statement);
        let closed: Vec<_> = self.doomed.drain().collect();
        self.unproven.extend(&closed);
        closed
    }

    fn give_up(&mut self) {
        let old = self.held.iter().filter(|(_, used)| **used < self.turn);
        let mut old: Vec<(u64, Statement)> = old.map(|(held, used)| (*used, *held)).collect();
        let count = (self.count_max / PART).max(1).min(old.len());
        old.sort_unstable_by_key(|(used, _)| *used);
        for (_, statement) in old.iter().take(count) {
            self.held.remove(statement);
            self.doomed.insert(*statement);
        }
    }

    /// All that was sent has run.
    pub(super) fn proven(&mut self) {
        self.unproven.clear();
    }

    /// Some of what was sent has not run: which part of it, nobody knows.
    pub(super) fn retract(&mut self) {
        for statement in self.unproven.drain(..) {
            self.held.remove(&statement);
            self.doomed.insert(statement);
        }
    }

    /// The server may not have it, or not as it should be.
    pub(super) fn forget(&mut self, statement: Statement) {
        self.held.remove(&statement);
        self.doomed.insert(statement);
    }

    /// As [`Self::forget`], for all statements that `is_of` chooses.
    pub(super) fn forget_all(&mut self, is_of: impl Fn(Statement) -> bool) {
        let gone = self.held.keys().copied().filter(|held| is_of(*held));
        let gone: Vec<_> = gone.collect();
        for statement in gone {
            self.forget(statement);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use protocol::contract::TableIndex;

    use super::*;

    const fn select(table: u32) -> Statement {
        Statement::Select(TableIndex::new(table))
    }

    /// Uses a statement; what is closed for it, in order of the tables, if it had to be prepared.
    fn take(prepared: &mut Prepared, table: u32) -> Option<Vec<usize>> {
        prepared.turn();
        if prepared.touch(select(table)) {
            return None;
        }
        let closed = prepared.add(select(table));
        let mut closed: Vec<_> = closed.iter().map(|it| it.table().as_usize()).collect();
        closed.sort_unstable();
        Some(closed)
    }

    #[test]
    fn a_statement_is_prepared_once() {
        let mut prepared = Prepared::new(8);
        assert_eq!(take(&mut prepared, 1), Some(vec![1]));
        assert_eq!(take(&mut prepared, 1), None);
    }

    #[test]
    fn the_longest_unused_goes_first() {
        let mut prepared = Prepared::new(3);
        for table in [1, 2, 3, 1] {
            take(&mut prepared, table);
        }
        assert_eq!(take(&mut prepared, 4), Some(vec![2, 4]));
        assert_eq!(take(&mut prepared, 1), None);
        assert_eq!(take(&mut prepared, 2), Some(vec![2, 3]));
    }

    #[test]
    fn what_this_turn_needs_stays_even_beyond_the_bound() {
        let mut prepared = Prepared::new(2);
        prepared.turn();
        for table in 0..5 {
            assert!(!prepared.touch(select(table)));
            assert_eq!(prepared.add(select(table)), [select(table)]);
        }
        assert!((0..5).all(|table| prepared.touch(select(table))));
    }

    #[test]
    fn after_a_failure_all_that_was_sent_is_closed_and_prepared_again() {
        let mut prepared = Prepared::new(2);
        take(&mut prepared, 1);
        take(&mut prepared, 2);
        prepared.proven();
        assert_eq!(take(&mut prepared, 3), Some(vec![1, 3]));
        prepared.retract();
        assert_eq!(take(&mut prepared, 2), None, "it was proven before");
        assert_eq!(
            take(&mut prepared, 4),
            Some(vec![1, 3, 4]),
            "the Close of 1 may not have run either"
        );
    }

    #[test]
    fn a_table_that_changed_is_prepared_anew() {
        let mut prepared = Prepared::new(8);
        take(&mut prepared, 1);
        take(&mut prepared, 2);
        prepared.forget_all(|statement| statement == select(1));
        assert_eq!(take(&mut prepared, 2), None);
        assert_eq!(take(&mut prepared, 1), Some(vec![1]));
    }

    proptest! {
        /// Against a server that skips what follows an error: what is thought to be there is there,
        /// and nothing else but what is doomed.
        #[test]
        fn what_is_thought_to_be_there_is_there(
            batches in prop::collection::vec((prop::collection::vec(0_u32..12, 1..6), 0_usize..8), 1..60)
        ) {
            let mut prepared = Prepared::new(5);
            let mut server = BTreeSet::new();
            for (batch, fails_at) in batches {
                let mut failed = false;
                for (place, table) in batch.iter().enumerate() {
                    failed |= place == fails_at;
                    prepared.turn();
                    if !prepared.touch(select(*table)) {
                        let closed = prepared.add(select(*table));
                        if !failed {
                            for statement in closed {
                                server.remove(&statement.table().as_usize());
                            }
                            prop_assert!(server.insert(select(*table).table().as_usize()));
                        }
                    } else if !failed {
                        prop_assert!(server.contains(&select(*table).table().as_usize()));
                    }
                    prop_assert!(prepared.held.len() <= 5);
                }
                if failed { prepared.retract() } else { prepared.proven() }
                for held in &server {
                    let statement = Statement::Select(TableIndex::new(u32::try_from(*held).unwrap()));
                    let known = prepared.held.contains_key(&statement)
                        || prepared.doomed.contains(&statement);
                    prop_assert!(known, "{held} is held for ever");
                }
            }
        }
    }
}
