//! Which worker the next client goes to: the one with the fewest, counted in handfuls.
//!
//! A thread that has little to do sleeps between two frames, and to be woken costs more than to
//! forward them: 8 clients that wait for each answer fill half of a worker, and cost a fifth less
//! there than on two. So a worker gets its handful before the next one gets its first. Does not move
//! a client later on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Clients that a worker gets before another one, with no more of these handfuls, gets its next.
const HANDFUL: usize = 8;

/// How many clients each worker has.
#[derive(Debug)]
pub(crate) struct Balance(Vec<Arc<AtomicUsize>>);

impl Balance {
    pub(crate) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Arc::default()).collect())
    }

    /// The number of the worker for the next client, and that client's seat there. Counts may change
    /// meanwhile: balance need not be exact, so their order does not matter.
    pub(crate) fn seat(&self) -> (usize, Seat) {
        let counts = self.0.iter().enumerate();
        let handfuls = |count: &AtomicUsize| count.load(Ordering::Relaxed) / HANDFUL;
        match counts.min_by_key(|(_, count)| handfuls(count)) {
            Some((number, count)) => {
                count.fetch_add(1, Ordering::Relaxed);
                (number, Seat(Arc::clone(count)))
            }
            None => (0, Seat(Arc::new(AtomicUsize::new(1)))),
        }
    }
}

/// A client's seat at its worker, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers_of(balance: &Balance, count: usize) -> (Vec<usize>, Vec<Seat>) {
        (0..count).map(|_| balance.seat()).unzip()
    }

    #[test]
    fn a_handful_stays_together_and_many_are_shared_evenly() {
        let balance = Balance::new(2);
        let (first, first_seats) = workers_of(&balance, HANDFUL);
        assert_eq!(first, [0; HANDFUL]);
        let (second, _second_seats) = workers_of(&balance, HANDFUL);
        assert_eq!(second, [1; HANDFUL]);
        let (more, _more_seats) = workers_of(&balance, 6 * HANDFUL);
        let of_first = more.iter().filter(|number| **number == 0).count();
        assert_eq!(of_first, 3 * HANDFUL);
        drop(first_seats);
        let (next, _next_seats) = workers_of(&balance, 1);
        assert_eq!(next, [0], "clients that left make room");
    }
}
