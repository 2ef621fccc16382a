//! What became of the carried tables' writes, by table: counted by a worker for itself.
//!
//! Bounded by the contract. Other threads ask by message, and what has been told is counted from
//! nothing again: so a table costs its worker a few words, and nothing while nobody writes to it. Does
//! not count what is not carried.

use std::cell::RefCell;
use std::sync::Arc;

use protocol::contract::{Contract, TableIndex};
use protocol::decide::drop_reason::DropReason;
use protocol::decide::statement::DeferReason;

/// What was counted of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TableCount {
    /// Statements that ran with the hidden column.
    pub(crate) statements: u64,
    /// Rows that were captured and committed: the last version of each in its transaction.
    pub(crate) rows: u64,
    /// Transactions that wrote to it and were left to the stream, by reason.
    pub(crate) deferred: Vec<(DeferReason, u64)>,
    /// Captured transactions that wrote to it and were not mirrored, by reason.
    pub(crate) failed: Vec<(DropReason, u64)>,
}

/// The counts of one worker since they were taken last.
#[derive(Debug)]
pub(crate) struct TableCounts(RefCell<Counts>);

#[derive(Debug)]
struct Counts {
    contract: Arc<Contract>,
    /// By place in the contract.
    counts: Vec<TableCount>,
    /// Those with anything counted.
    used: Vec<TableIndex>,
    /// What was counted under contracts before, by canonical name.
    before: Vec<(String, TableCount)>,
}

impl TableCount {
    /// Adds what another has counted.
    pub(crate) fn add(&mut self, other: &Self) {
        self.statements = self.statements.saturating_add(other.statements);
        self.rows = self.rows.saturating_add(other.rows);
        for (reason, count) in &other.deferred {
            tally(&mut self.deferred, *reason, *count);
        }
        for (reason, count) in &other.failed {
            tally(&mut self.failed, *reason, *count);
        }
    }

    /// Transactions that the log brings, or has brought.
    pub(crate) fn left(&self) -> u64 {
        let deferred = self.deferred.iter().map(|(_, count)| count);
        deferred
            .chain(self.failed.iter().map(|(_, count)| count))
            .sum()
    }

    const fn is_nothing(&self) -> bool {
        self.statements == 0 && self.rows == 0 && self.deferred.is_empty() && self.failed.is_empty()
    }
}

/// Adds to the count of a reason. There are few.
pub(crate) fn tally<R: Copy + Eq>(counts: &mut Vec<(R, u64)>, reason: R, count: u64) {
    match counts.iter_mut().find(|(known, _)| *known == reason) {
        Some((_, total)) => *total = total.saturating_add(count),
        None => counts.push((reason, count)),
    }
}

impl TableCounts {
    pub(super) fn of(contract: &Arc<Contract>) -> Self {
        Self(RefCell::new(Counts {
            contract: Arc::clone(contract),
            counts: vec![TableCount::default(); contract.tables.len()],
            used: Vec::new(),
            before: Vec::new(),
        }))
    }

    /// From now on places are those of `contract`.
    pub(super) fn change(&self, contract: &Arc<Contract>) {
        let mut counts = self.0.borrow_mut();
        if !Arc::ptr_eq(&counts.contract, contract) && *counts.contract != **contract {
            let before = counts.take();
            counts.before = before;
            counts.counts = vec![TableCount::default(); contract.tables.len()];
        }
        counts.contract = Arc::clone(contract);
    }

    /// A statement on this table ran with the hidden column.
    pub(super) fn statement(&self, table: TableIndex) {
        self.with(table, |count| count.statements += 1);
    }

    /// A captured row of this table was committed.
    pub(super) fn row(&self, table: TableIndex) {
        self.with(table, |count| count.rows += 1);
    }

    /// A transaction that wrote to this table was left to the stream.
    pub(super) fn deferred(&self, table: TableIndex, reason: DeferReason) {
        self.with(table, |count| tally(&mut count.deferred, reason, 1));
    }

    /// What was counted since this was asked last, by canonical name.
    pub(crate) fn take(&self) -> Vec<(String, TableCount)> {
        self.0.borrow_mut().take()
    }

    fn with(&self, table: TableIndex, add: impl FnOnce(&mut TableCount)) {
        let mut counts = self.0.borrow_mut();
        let Counts { counts, used, .. } = &mut *counts;
        if let Some(count) = counts.get_mut(table.as_usize()) {
            if count.is_nothing() {
                used.push(table);
            }
            add(count);
        }
    }
}

impl Counts {
    fn take(&mut self) -> Vec<(String, TableCount)> {
        let mut taken = std::mem::take(&mut self.before);
        for table in self.used.drain(..) {
            let count = self.counts.get_mut(table.as_usize());
            if let (Some(count), Some(table)) = (count, self.contract.table(table)) {
                taken.push((table.name.clone(), std::mem::take(count)));
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use protocol::contract::Table;

    use super::*;

    fn contract(names: &[&str]) -> Arc<Contract> {
        let table = |name: &&str| Table {
            name: (*name).to_owned(),
            schema: "public".to_owned(),
            relation: (*name).to_owned(),
            columns: Vec::new(),
            key: Vec::new(),
        };
        let tables = names.iter().map(table).collect();
        Arc::new(Contract { version: 1, tables })
    }

    const FIRST: TableIndex = TableIndex::new(0);
    const SECOND: TableIndex = TableIndex::new(1);

    #[test]
    fn what_was_told_is_counted_from_nothing_again() {
        let counts = TableCounts::of(&contract(&["a", "b"]));
        counts.statement(SECOND);
        counts.row(SECOND);
        counts.row(SECOND);
        counts.row(TableIndex::new(7));
        let count = TableCount {
            statements: 1,
            rows: 2,
            ..TableCount::default()
        };
        assert_eq!(counts.take(), [("b".to_owned(), count)]);
        assert_eq!(counts.take(), []);
    }

    #[test]
    fn counts_stay_with_their_tables_when_the_contract_changes() {
        let counts = TableCounts::of(&contract(&["a", "b"]));
        for reason in [DeferReason::Bulk, DeferReason::Cursor, DeferReason::Bulk] {
            counts.deferred(SECOND, reason);
        }
        counts.change(&contract(&["b"]));
        counts.deferred(FIRST, DeferReason::Bulk);
        let mut total = TableCount::default();
        for (name, count) in counts.take() {
            assert_eq!(name, "b");
            total.add(&count);
        }
        let expected = [(DeferReason::Bulk, 3), (DeferReason::Cursor, 1)];
        assert_eq!(total.deferred, expected);
    }
}
