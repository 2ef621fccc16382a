//! What is left to be repaired, by this session's clock.
//!
//! Does not decide: [`protocol::decide::repair`] does.

use std::time::Duration;

use protocol::contract::TableIndex;
use protocol::decide::repair::{Permission, Repairs};
use tokio::time::Instant;

/// What is on record may be older than the session: its clock begins here.
const BEGINNING: Duration = Duration::from_hours(10 * 365 * 24);

/// The repairs of all tables and a clock.
#[derive(Debug)]
pub struct RepairBook {
    repairs: Repairs,
    opened: Instant,
}

impl Default for RepairBook {
    fn default() -> Self {
        Self {
            repairs: Repairs::default(),
            opened: Instant::now(),
        }
    }
}

impl RepairBook {
    /// Starts over with `repairs`.
    pub fn replace(&mut self, repairs: Repairs) {
        self.repairs = repairs;
    }

    /// The time that [`Repairs`] are asked with.
    pub fn now(&self) -> Duration {
        BEGINNING + self.opened.elapsed()
    }

    /// An earlier process made so many, the first of them so long ago.
    pub fn recall(&mut self, table: TableIndex, ago: Duration, count: u64) {
        self.repairs
            .recall(table, self.now().saturating_sub(ago), count);
    }

    /// The table's repairs have been stopped before.
    pub fn stop(&mut self, table: TableIndex) {
        self.repairs.stop(table);
    }

    /// A person lets the table's repairs go on.
    pub fn resume(&mut self, table: TableIndex) {
        self.repairs.resume(table);
    }

    /// The tables whose repairs wait for a person.
    pub fn stopped(&self) -> impl Iterator<Item = TableIndex> {
        self.repairs.stopped()
    }

    /// Whether the table's repairs wait for a person.
    pub(super) fn is_stopped(&self, table: TableIndex) -> bool {
        self.repairs.is_stopped(table)
    }

    pub(super) fn ask(&mut self, table: TableIndex) -> Permission {
        let now = self.now();
        self.repairs.ask(table, now)
    }

    /// For decisions that may be taken back with their transaction.
    pub(super) fn clone_repairs(&self) -> Repairs {
        self.repairs.clone()
    }
}
