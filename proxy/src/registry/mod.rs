//! The sessions of one worker: who they are, what they have moved, and what they are asked to do.
//!
//! Stays on its worker's thread: counters are cells, and other threads ask by message
//! ([`attendant`]). What is asked of sessions is one flag per worker, looked at where a session
//! stands between requests; it is not a token of tokio's because every wake-up of every session
//! would take that token's lock.
//!
//! Does not move bytes, and ends nothing itself: sessions do as they are asked.

mod attendant;
mod client;
mod totals;
mod workers;

pub(crate) use attendant::{Attendant, attendants};
pub(crate) use client::{Captured, ClientRow, Identity, Member, Progress, State};
pub(crate) use totals::Totals;
pub(crate) use workers::{Pause, PauseError, Workers};

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use client::{Client, Rest};
use totals::EndedTotals;

/// What sessions are asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing.
    Running,
    /// Take no new request between transactions, until the phase is another one.
    Paused,
    /// End between transactions.
    Draining,
    /// End now.
    Ending,
}

/// Numbers for clients, unique in the process. Relaxed: only uniqueness matters.
#[derive(Debug, Clone, Default)]
pub(crate) struct Numbers(Arc<AtomicU64>);

impl Numbers {
    /// One that nobody has.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// The sessions of one worker.
#[derive(Debug)]
pub(crate) struct Registry {
    phase: Cell<Phase>,
    numbers: Numbers,
    clients: RefCell<BTreeMap<u64, Rc<Client>>>,
    /// What clients that have left had moved.
    ended: EndedTotals,
    /// Sessions that were under way when the pause began and have not come to rest.
    moving: Cell<usize>,
    /// Told when there is none of those left.
    rested: Notify,
}

impl Registry {
    pub(crate) fn new(numbers: Numbers) -> Rc<Self> {
        Rc::new(Self {
            phase: Cell::new(Phase::Running),
            numbers,
            clients: RefCell::default(),
            ended: EndedTotals::default(),
            moving: Cell::new(0),
            rested: Notify::new(),
        })
    }

    /// Asks every session to drain, or to end.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        for client in self.clients.borrow().values() {
            client.wake();
        }
    }

    /// Asks every session to come to rest between transactions and stay there. Does nothing once
    /// sessions are to end.
    pub(crate) fn pause(&self) {
        if self.phase.get() != Phase::Running {
            return;
        }
        let clients = self.clients.borrow();
        let moving = clients.values().filter(|client| client.is_to_rest());
        self.moving.set(moving.count());
        drop(clients);
        self.enter(Phase::Paused);
    }

    /// Lets sessions go on.
    pub(crate) fn resume(&self) {
        if self.phase.get() != Phase::Paused {
            return;
        }
        for client in self.clients.borrow().values() {
            client.go_on();
        }
        self.moving.set(0);
        self.rested.notify_waiters();
        self.enter(Phase::Running);
    }

    /// Waits until every session that was under way when the pause began is at rest or over, or
    /// the pause is.
    pub(crate) async fn rested(&self) {
        loop {
            // Nothing happens between the two: everything here is on one thread.
            let rested = self.rested.notified();
            if self.moving.get() == 0 {
                return;
            }
            rested.await;
        }
    }

    /// Asks one session to end; false if there is none with this number.
    pub(crate) fn end(&self, number: u64) -> bool {
        let clients = self.clients.borrow();
        let found = clients.get(&number);
        if let Some(client) = found {
            client.end();
        }
        found.is_some()
    }

    /// Takes a client in.
    pub(crate) fn enroll(self: &Rc<Self>, identity: Identity) -> Member {
        let client = Rc::new(Client::new(self.numbers.next(), identity));
        let mut clients = self.clients.borrow_mut();
        clients.insert(client.number(), Rc::clone(&client));
        Member::new(Rc::clone(self), client)
    }

    /// What each client is doing.
    pub(crate) fn rows(&self) -> Vec<ClientRow> {
        let clients = self.clients.borrow();
        clients.values().map(|client| client.row()).collect()
    }

    /// What has been moved since the start, by clients that have left too.
    pub(crate) fn totals(&self) -> Totals {
        let clients = self.clients.borrow();
        let mut totals = self.ended.get();
        for client in clients.values() {
            totals.add(client);
        }
        totals
    }

    fn leave(&self, client: &Client) {
        self.clients.borrow_mut().remove(&client.number());
        self.ended.add(client);
        if client.rest() == Rest::Moving {
            self.came_to_rest();
        }
    }

    fn came_to_rest(&self) {
        if self.phase.get() == Phase::Paused && self.moving.get() > 0 {
            self.moving.set(self.moving.get() - 1);
            if self.moving.get() == 0 {
                self.rested.notify_waiters();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn begun(registry: &Rc<Registry>) -> Member {
        let mut member = registry.enroll(Identity::unknown());
        member.phase(Waker::noop());
        member.began();
        member
    }

    #[tokio::test]
    async fn a_pause_is_complete_once_all_that_were_under_way_rest_or_have_left() {
        let registry = Registry::new(Numbers::default());
        let (mut first, second) = (begun(&registry), begun(&registry));
        registry.pause();
        assert_eq!(first.phase(Waker::noop()), Phase::Paused);
        let later = begun(&registry);
        first.came_to_rest();
        first.came_to_rest();
        assert_eq!(registry.moving.get(), 1);
        drop(second);
        registry.rested().await;
        drop((first, later));
        assert_eq!(registry.rows().len(), 0);
    }

    #[test]
    fn a_pause_gives_way_to_an_end_and_an_end_to_nothing() {
        let registry = Registry::new(Numbers::default());
        let mut member = begun(&registry);
        registry.pause();
        registry.enter(Phase::Draining);
        assert_eq!(member.phase(Waker::noop()), Phase::Draining);
        registry.resume();
        registry.pause();
        assert_eq!(member.phase(Waker::noop()), Phase::Draining);
    }

    #[test]
    fn one_session_can_be_asked_to_end() {
        let registry = Registry::new(Numbers::default());
        let (mut first, mut second) = (begun(&registry), begun(&registry));
        let numbers: Vec<u64> = registry.rows().iter().map(|row| row.number).collect();
        assert!(registry.end(numbers[1]));
        assert!(!registry.end(999));
        assert_eq!(first.phase(Waker::noop()), Phase::Running);
        assert_eq!(second.phase(Waker::noop()), Phase::Ending);
    }

    #[test]
    fn totals_keep_what_clients_that_left_had_moved() {
        let registry = Registry::new(Numbers::default());
        let member = begun(&registry);
        let progress = Progress {
            transactions: 2,
            queries: 3,
            from_client: 100,
            to_client: 200,
            ..Progress::default()
        };
        member.publish(progress, State::Idle);
        assert_eq!(registry.totals().passed.transactions, 2);
        drop(member);
        let totals = registry.totals();
        assert_eq!(totals.passed.queries, 3);
        assert_eq!(totals.passed.from_client, 100);
        assert_eq!(totals.mirrored.queries, 0);
    }
}
