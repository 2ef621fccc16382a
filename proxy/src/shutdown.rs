//! How a worker's sessions end: first those that are idle, then those that become idle, at last all.
//!
//! One flag per worker, looked at where a session stands between requests. It is not a token of
//! tokio's because every wake-up of every session would take that token's lock. Does not wait.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::task::Waker;

/// What sessions are asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing.
    Running,
    /// End between transactions.
    Draining,
    /// End now.
    Ending,
}

/// The sessions of one worker and what they are asked to do.
#[derive(Debug)]
pub(crate) struct Drain {
    phase: Cell<Phase>,
    sessions: RefCell<HashMap<u64, Waker>>,
    numbers: Cell<u64>,
}

impl Drain {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            phase: Cell::new(Phase::Running),
            sessions: RefCell::default(),
            numbers: Cell::new(0),
        })
    }

    /// Asks every session.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        for waker in self.sessions.borrow().values() {
            waker.wake_by_ref();
        }
    }

    /// A session's part of it.
    pub(crate) fn member(self: &Rc<Self>) -> Member {
        self.numbers.set(self.numbers.get() + 1);
        Member {
            drain: Rc::clone(self),
            number: self.numbers.get(),
            registered: false,
        }
    }
}

/// One session's part in its worker's drain.
#[derive(Debug)]
pub(crate) struct Member {
    drain: Rc<Drain>,
    number: u64,
    registered: bool,
}

impl Member {
    /// What the session is asked to do. `waker` is remembered the first time: a session is one task
    /// and keeps its waker.
    pub(crate) fn phase(&mut self, waker: &Waker) -> Phase {
        if !self.registered {
            self.registered = true;
            let mut sessions = self.drain.sessions.borrow_mut();
            sessions.insert(self.number, waker.clone());
        }
        self.drain.phase.get()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.drain.sessions.borrow_mut().remove(&self.number);
    }
}
