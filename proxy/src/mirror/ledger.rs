//! What became of each transaction that left the queue: it is counted, recorded, and told to the
//! client that waits.
//!
//! Does not decide it.

use std::sync::Arc;

use tokio::time::Instant;

use super::queue::{Envelope, Load, NoteOutcome, Notes};
use super::refusals::RefusalLog;
use super::{Counters, Delivered, DropReason};

/// Where fates are entered.
pub(super) struct Ledger {
    load: Arc<Load>,
    notes: Notes,
    counters: Arc<Counters>,
    refusal_log: RefusalLog,
}

impl Ledger {
    pub(super) fn new(load: Arc<Load>, notes: Notes, counters: Arc<Counters>) -> Self {
        Self {
            load,
            notes,
            counters,
            refusal_log: RefusalLog::default(),
        }
    }

    /// The target has committed these.
    pub(super) fn accepted(&self, group: Vec<Envelope>, now: Instant) {
        let committed = group.iter().map(|envelope| envelope.transaction.committed);
        let staleness = committed.map(|committed| now.saturating_duration_since(committed));
        self.counters.accepted(staleness, now);
        for envelope in group {
            self.load.took(envelope.size);
            envelope.tell(Delivered::Accepted);
        }
    }

    /// This one is left to the stream.
    pub(super) fn dropped(&self, envelope: Envelope, reason: DropReason) {
        self.load.took(envelope.size);
        self.counters.dropped(&envelope.transaction, reason);
        if reason != DropReason::ConnectionLost {
            let op_id = envelope.transaction.early.op_id;
            self.notes.note(op_id, NoteOutcome::Dropped, reason.label());
        }
        envelope.tell(Delivered::Failed(reason));
    }

    /// How many wait for the target.
    pub(super) fn queued(&self, count: usize) {
        self.counters.queued(count);
    }

    /// Says in the log what the target said, now and then.
    pub(super) fn say(&mut self, sqlstate: &str, message: &str, now: Instant) {
        if let Some(count) = self.refusal_log.due(now) {
            tracing::warn!(
                sqlstate,
                count,
                "the target refuses early writes, and the log brings them: {message}"
            );
        }
    }
}
