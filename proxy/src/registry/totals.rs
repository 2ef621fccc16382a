//! Sums over the clients of a worker, those that have left included.
//!
//! By class, not by name: names of databases come from clients and have no bound.

use std::cell::Cell;
use std::ops::{AddAssign, Sub};

use super::client::{Client, Progress, State};

/// What clients have moved, and how many there are in each state now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    /// Clients whose writes are captured.
    pub(crate) mirrored: Progress,
    /// All others.
    pub(crate) passed: Progress,
    /// Clients in each of [`Totals::STATES`].
    pub(crate) clients: [u64; 6],
}

impl Totals {
    /// The states in the order of [`Totals::clients`].
    pub(crate) const STATES: [State; 6] = [
        State::Login,
        State::Active,
        State::Idle,
        State::InTransaction,
        State::InFailedTransaction,
        State::Paused,
    ];

    /// Adds a client that is there.
    pub(super) fn add(&mut self, client: &Client) {
        self.class(client.is_captured())
            .add_assign(client.progress());
        let state = client.row_state();
        let counted = Self::STATES.iter().zip(&mut self.clients);
        for (_, count) in counted.filter(|(known, _)| **known == state) {
            *count += 1;
        }
    }

    const fn class(&mut self, captured: bool) -> &mut Progress {
        if captured {
            &mut self.mirrored
        } else {
            &mut self.passed
        }
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.mirrored += other.mirrored;
        self.passed += other.passed;
        for (count, more) in self.clients.iter_mut().zip(other.clients) {
            *count += more;
        }
    }
}

impl AddAssign for Progress {
    fn add_assign(&mut self, other: Self) {
        self.transactions += other.transactions;
        self.queries += other.queries;
        self.from_client += other.from_client;
        self.to_client += other.to_client;
        self.from_source += other.from_source;
        self.to_source += other.to_source;
    }
}

impl Sub for Progress {
    type Output = Self;

    /// What was moved since `earlier`.
    fn sub(self, earlier: Self) -> Self {
        Self {
            transactions: self.transactions.saturating_sub(earlier.transactions),
            queries: self.queries.saturating_sub(earlier.queries),
            from_client: self.from_client.saturating_sub(earlier.from_client),
            to_client: self.to_client.saturating_sub(earlier.to_client),
            from_source: self.from_source.saturating_sub(earlier.from_source),
            to_source: self.to_source.saturating_sub(earlier.to_source),
        }
    }
}

/// What clients that have left had moved.
#[derive(Debug, Default)]
pub(super) struct EndedTotals(Cell<Totals>);

impl EndedTotals {
    pub(super) fn add(&self, client: &Client) {
        let mut totals = self.0.get();
        *totals.class(client.is_captured()) += client.progress();
        self.0.set(totals);
    }

    pub(super) const fn get(&self) -> Totals {
        self.0.get()
    }
}
