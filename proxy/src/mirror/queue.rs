//! The workers' end of the mirror: a bounded queue that never makes them wait.
//!
//! Does not look into transactions but for their size.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use apply::EarlyTransaction;
use protocol::op_id::OpId;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, oneshot};

use super::{Counters, Delivered, DropReason, MirrorTransaction};
use crate::config::MirrorMode;

/// Transactions that may wait for the target: seconds of work, after which early is no longer early.
pub(super) const TRANSACTIONS_MAX: usize = 16_384;
/// Bytes of rows that may wait.
pub(super) const BYTES_MAX: usize = 64 << 20;
/// Op records of deferred and dropped transactions that may wait for the next batch.
const NOTES_MAX: usize = 8192;

/// Where committed transactions go; cheap to clone.
#[derive(Debug, Clone)]
pub struct MirrorHandle {
    mode: MirrorMode,
    counters: Arc<Counters>,
    transactions: mpsc::Sender<Envelope>,
    notes: Notes,
    load: Arc<Load>,
    hurry: Hurry,
}

/// Wakes the mirror while it gathers: a client waits for its transaction.
#[derive(Debug, Clone, Default)]
pub(super) struct Hurry(Arc<Notify>);

impl Hurry {
    /// Waits for a client that waits. Cancel-safe.
    pub(super) async fn called(&self) {
        self.0.notified().await;
    }
}

/// Where op records of transactions that are not accepted go.
#[derive(Debug, Clone)]
pub(super) struct Notes(mpsc::Sender<OpNote>);

impl Notes {
    pub(super) fn note(&self, op_id: OpId, outcome: NoteOutcome, reason: &'static str) {
        let note = OpNote {
            op_id,
            outcome,
            reason,
        };
        if self.0.try_send(note).is_err() {
            // It is a courtesy to the report, and the totals hold.
            tracing::trace!(%op_id, "no room for an op record");
        }
    }
}

/// What the queue holds. Relaxed: the bound may be missed by what is put in at the same instant.
#[derive(Debug, Default)]
pub(super) struct Load {
    bytes: AtomicUsize,
    /// 0 while the mirror tries; else why it does not: a place in [`DropReason::ALL`], from 1.
    broken: AtomicU8,
}

impl Load {
    pub(super) fn took(&self, size: usize) {
        self.bytes.fetch_sub(size, Ordering::Relaxed);
    }

    /// Why there is no use in trying, or nothing while there is.
    pub(super) fn set_broken(&self, reason: Option<DropReason>) {
        let place = reason.and_then(|reason| DropReason::ALL.iter().position(|it| *it == reason));
        let broken = place.and_then(|place| u8::try_from(place + 1).ok());
        self.broken.store(broken.unwrap_or(0), Ordering::Relaxed);
    }

    fn broken(&self) -> Option<DropReason> {
        let place = usize::from(self.broken.load(Ordering::Relaxed)).checked_sub(1)?;
        DropReason::ALL.get(place).copied()
    }
}

/// A transaction in the queue.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) transaction: MirrorTransaction,
    pub(super) size: usize,
    /// Who waits for it, with `--mirror sync`.
    pub(super) waiting: Option<oneshot::Sender<Delivered>>,
}

impl Envelope {
    /// Tells the client that waits, if it still does.
    pub(super) fn tell(self, delivered: Delivered) {
        if let Some(waiting) = self.waiting {
            let still_waits = waiting.send(delivered).is_ok();
            tracing::trace!(still_waits, ?delivered, "sync delivery");
        }
    }
}

/// What `segue.op` says of a transaction that was not accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpNote {
    pub(super) op_id: OpId,
    pub(super) outcome: NoteOutcome,
    pub(super) reason: &'static str,
}

/// The outcome of a transaction that was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoteOutcome {
    Deferred,
    Dropped,
}

/// The mirror thread's end.
#[derive(Debug)]
pub(super) struct QueueEnd {
    pub(super) work: Work,
    pub(super) notes: mpsc::Receiver<OpNote>,
    /// For what the target refuses.
    pub(super) refusals: Notes,
}

/// What is to be sent.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) transactions: mpsc::Receiver<Envelope>,
    pub(super) load: Arc<Load>,
    pub(super) hurry: Hurry,
}

/// Both ends of a new queue.
pub(super) fn queue(mode: MirrorMode, counters: Arc<Counters>) -> (MirrorHandle, QueueEnd) {
    let (transactions, transactions_end) = mpsc::channel(TRANSACTIONS_MAX);
    let (notes, notes_end) = mpsc::channel(NOTES_MAX);
    let notes = Notes(notes);
    let load = Arc::new(Load::default());
    let hurry = Hurry::default();
    let end = QueueEnd {
        work: Work {
            transactions: transactions_end,
            load: Arc::clone(&load),
            hurry: hurry.clone(),
        },
        notes: notes_end,
        refusals: notes.clone(),
    };
    let handle = MirrorHandle {
        mode,
        counters,
        transactions,
        notes,
        load,
        hurry,
    };
    (handle, end)
}

impl MirrorHandle {
    /// What is counted; the binary and the proxy row show it.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// What becomes of captured transactions.
    pub const fn mode(&self) -> MirrorMode {
        self.mode
    }

    /// Why there is no use in trying the target now, if so.
    pub(crate) fn broken(&self) -> Option<DropReason> {
        self.load.broken()
    }

    /// Bytes of rows that wait for the target.
    pub(crate) fn queue_bytes(&self) -> usize {
        self.load.bytes.load(Ordering::Relaxed)
    }

    /// Puts a committed transaction in the queue, or drops it with a reason.
    pub fn send(&self, transaction: MirrorTransaction) {
        self.enqueue(transaction, None);
    }

    /// The same for a client that waits for what is returned.
    pub fn send_awaited(&self, transaction: MirrorTransaction) -> oneshot::Receiver<Delivered> {
        let (waiting, delivered) = oneshot::channel();
        self.enqueue(transaction, Some(waiting));
        self.hurry.0.notify_one();
        delivered
    }

    fn enqueue(&self, transaction: MirrorTransaction, waiting: Option<oneshot::Sender<Delivered>>) {
        if matches!(self.mode, MirrorMode::Off | MirrorMode::Dry) {
            return;
        }
        let envelope = Envelope {
            size: size_of(&transaction.early),
            transaction,
            waiting,
        };
        let refused = match self.load.broken() {
            Some(reason) => Some((envelope, reason)),
            None => self.put(envelope).map(|it| (it, DropReason::QueueFull)),
        };
        if let Some((envelope, reason)) = refused {
            self.counters.dropped(&envelope.transaction, reason);
            let op_id = envelope.transaction.early.op_id;
            self.notes.note(op_id, NoteOutcome::Dropped, reason.label());
            envelope.tell(Delivered::Failed(reason));
        }
    }

    /// Gives back what there is no room for.
    fn put(&self, envelope: Envelope) -> Option<Envelope> {
        let size = envelope.size;
        if self.load.bytes.load(Ordering::Relaxed).saturating_add(size) > BYTES_MAX {
            return Some(envelope);
        }
        self.load.bytes.fetch_add(size, Ordering::Relaxed);
        match self.transactions.try_send(envelope) {
            Ok(()) => None,
            Err(TrySendError::Full(envelope) | TrySendError::Closed(envelope)) => {
                self.load.took(size);
                Some(envelope)
            }
        }
    }

    /// A captured transaction that cannot be expressed.
    pub(crate) fn unrepresentable(&self, op_id: OpId) {
        let reason = DropReason::Unrepresentable.label();
        self.counters.failed(reason);
        self.notes.note(op_id, NoteOutcome::Dropped, reason);
    }

    /// The stream will bring this transaction, on purpose.
    pub(crate) fn note_deferred(&self, op_id: OpId, reason: &'static str) {
        if matches!(self.mode, MirrorMode::Async | MirrorMode::Sync) {
            self.notes.note(op_id, NoteOutcome::Deferred, reason);
        }
    }
}

/// What a row costs besides its values.
const ROW_OVERHEAD: usize = 256;

/// What a transaction costs to hold.
fn size_of(transaction: &EarlyTransaction) -> usize {
    transaction.size() + transaction.rows.len() * ROW_OVERHEAD
}
