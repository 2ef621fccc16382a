//! What a session tells its worker's registry, and how it does as it is asked there.
//!
//! Costs a handful of stores per wake-up. Does not end the session: the relay does.

use std::task::Context;

use protocol::wire::backend::{self, ErrorFields, Severity, TransactionStatus};
use protocol::wire::frame::Header;
use protocol::wire::frontend::Tag;

use super::{Pairing, Session};
use crate::metrics;
use crate::registry::{Phase, Progress, State};

/// Counts that the registry shows and the channels do not keep.
#[derive(Debug, Default)]
pub(super) struct Watched {
    has_begun: bool,
    /// No new request is taken between transactions.
    is_pausing: bool,
    transactions: u64,
    queries: u64,
}

impl<C, S> Session<C, S> {
    /// Whether the session has to end now.
    pub(super) fn is_asked_to_end(&mut self, context: &Context<'_>) -> bool {
        let phase = self.member.phase(context.waker());
        self.watched.is_pausing = phase == Phase::Paused && self.member.heeds_pauses();
        match phase {
            Phase::Running => false,
            Phase::Paused => {
                if self.watched.is_pausing && self.is_at_rest() {
                    self.member.came_to_rest();
                }
                false
            }
            Phase::Draining => self.is_between_transactions(),
            Phase::Ending => true,
        }
    }

    /// Whether the source has nothing of this session's to do, and will not get anything while no
    /// request is taken.
    fn is_at_rest(&self) -> bool {
        self.watched.has_begun
            && self.is_quiet()
            && self.held.is_none()
            && self.from_client.pending() == 0
            && !self.from_client.is_within_frame()
            && self.from_source.is_decided()
            && !self.from_source.is_within_frame()
    }

    /// Whether nothing of the client's is under way: not a request, not a transaction.
    fn is_between_transactions(&self) -> bool {
        self.is_quiet()
            && self.from_client.is_decided()
            && !self.from_client.is_within_frame()
            && self.from_source.is_decided()
            && !self.from_source.is_within_frame()
    }

    /// Whether the source is in no transaction of this session's, as far as it has said.
    fn is_quiet(&self) -> bool {
        self.status == TransactionStatus::Idle
            && (self.queue.is_idle() || self.pairing == Pairing::Lost)
    }

    /// Whether a frame of the client's may be decided about now. In a pause one is left where it is
    /// that would begin something new: between transactions, and behind requests that will be
    /// answered without it, since their answers say whether a transaction goes on.
    pub(super) fn may_take(&self, tag: Tag) -> bool {
        if !self.watched.is_pausing || matches!(tag, Tag::Password | Tag::Terminate) {
            return true;
        }
        !self.is_quiet() && !self.queue.is_complete()
    }

    /// Whether the client is kept from beginning anything.
    pub(super) fn is_pausing(&self) -> bool {
        self.watched.is_pausing
    }

    /// Whether more is read from the client: in a pause no more than one read, so that what waits
    /// there stays bounded.
    pub(super) fn may_read(&self) -> bool {
        !self.watched.is_pausing || self.from_client.is_decided()
    }

    /// A ReadyForQuery in answer to the client.
    pub(super) fn saw_ready(&mut self) {
        let watched = &mut self.watched;
        if !watched.has_begun {
            watched.has_begun = true;
            self.member.began();
            return;
        }
        watched.queries += 1;
        if self.status == TransactionStatus::Idle {
            watched.transactions += 1;
        }
    }

    /// Something has failed: before the session has begun, that is the login.
    #[cold]
    pub(super) fn saw_error(&self, fields: &ErrorFields) {
        if self.watched.has_begun || fields.severity() != Severity::Fatal {
            return;
        }
        let sqlstate = fields.sqlstate().map_or(&b""[..], |it| it.as_ref());
        metrics::login_refused(match sqlstate {
            b"28P01" => "password",
            b"28000" => "forbidden",
            b"3D000" => "unknown_database",
            b"53300" => "full",
            b"57P01" | b"57P02" | b"57P03" => "not_ready",
            _ => "other",
        });
    }

    /// A frame that says something of the session itself.
    #[cold]
    pub(super) fn saw_fact(&self, tag: backend::Tag, header: Header) {
        let body = self.from_source.body_so_far(header);
        if tag == backend::Tag::BackendKeyData
            && let Some(&pid) = body.first_chunk()
        {
            self.member.served_by(u32::from_be_bytes(pid));
        }
        if tag == backend::Tag::ParameterStatus
            && let Some(name) = body.strip_prefix(b"application_name\0")
        {
            let name = name.strip_suffix(b"\0").unwrap_or(name);
            self.member
                .calls_itself(String::from_utf8_lossy(name).into_owned());
        }
    }

    /// Shows the registry how far the session is.
    pub(super) fn publish(&self) {
        let progress = Progress {
            transactions: self.watched.transactions,
            queries: self.watched.queries,
            from_client: self.from_client.received(),
            to_client: self.from_source.sent(),
            from_source: self.from_source.received(),
            to_source: self.from_client.sent(),
        };
        self.member.publish(progress, self.state());
    }

    pub(super) fn state(&self) -> State {
        if !self.watched.has_begun {
            return State::Login;
        }
        if self.pairing == Pairing::Kept && !self.queue.is_idle() {
            return State::Active;
        }
        match self.status {
            TransactionStatus::Idle => State::Idle,
            TransactionStatus::InTransaction => State::InTransaction,
            TransactionStatus::Failed => State::InFailedTransaction,
        }
    }
}
