//! Clients that hold a session and do nothing with it, where the configuration limits that.
//!
//! Costs nothing where it does not. Does not count the time in which a request is under way.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;

use tokio::time::{Instant, Sleep};

use super::Session;
use crate::registry::State;
use crate::settings::IdleLimits;

/// What a client did not do anything in for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Idleness {
    Session,
    Transaction,
}

/// A session's limits and its clock.
#[derive(Debug, Default)]
pub(super) struct Idle {
    limits: IdleLimits,
    /// Runs while a limit holds; made once, then only set again.
    timer: Option<Pin<Box<Sleep>>>,
    /// What the session was at when the timer was set: what the client had sent, and its state.
    since: Option<(u64, Idleness)>,
}

impl Idle {
    pub(super) fn new(limits: IdleLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }
}

impl<C, S> Session<C, S> {
    /// What the client has been idle in for too long. Asked when nothing more can be done now, so
    /// that the task is woken at the limit.
    pub(super) fn poll_idle(&mut self, context: &mut Context<'_>) -> Option<Idleness> {
        if self.idle.limits == IdleLimits::default() {
            return None;
        }
        let idleness = match self.state() {
            State::Idle => Idleness::Session,
            State::InTransaction | State::InFailedTransaction => Idleness::Transaction,
            State::Login | State::Active | State::Paused => return self.is_busy(),
        };
        let limit = match idleness {
            Idleness::Session => self.idle.limits.session,
            Idleness::Transaction => self.idle.limits.transaction,
        };
        if limit.is_zero() || self.is_pausing() {
            return self.is_busy();
        }
        let now_at = (self.from_client.received(), idleness);
        let idle = &mut self.idle;
        let timer = idle
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if idle.since != Some(now_at) {
            idle.since = Some(now_at);
            timer.as_mut().reset(Instant::now() + limit);
        }
        timer.as_mut().poll(context).is_ready().then_some(idleness)
    }

    fn is_busy(&mut self) -> Option<Idleness> {
        self.idle.since = None;
        None
    }
}
