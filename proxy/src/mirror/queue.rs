//! The workers' end of the mirror: a bounded queue that never makes them wait.
//!
//! Does not look into transactions but for their size.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use protocol::op_id::OpId;
use protocol::row::Image;
use tokio::sync::{mpsc, oneshot};

use super::{Counters, Delivered, DropReason, MirrorTransaction};
use crate::config::MirrorMode;

/// Transactions that may wait for the target: seconds of work, after which early is no longer early.
pub(super) const TRANSACTIONS_MAX: usize = 16_384;
/// Bytes of rows that may wait.
pub(super) const BYTES_MAX: usize = 64 << 20;
/// Op records of deferred and dropped transactions that may wait for the next batch.
const NOTES_MAX: usize = 8192;

const TARGET_DOWN: u8 = 1;
const GATE_SHUT: u8 = 2;

/// Where committed transactions go; cheap to clone.
#[derive(Debug, Clone)]
pub struct MirrorHandle {
    mode: MirrorMode,
    counters: Arc<Counters>,
    transactions: mpsc::Sender<Envelope>,
    notes: Notes,
    load: Arc<Load>,
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
    /// 0 while the mirror tries; else why it does not.
    broken: AtomicU8,
}

impl Load {
    pub(super) fn took(&self, size: usize) {
        self.bytes.fetch_sub(size, Ordering::Relaxed);
    }

    /// Why there is no use in trying, or nothing while there is.
    pub(super) fn set_broken(&self, reason: Option<DropReason>) {
        let broken = match reason {
            None => 0,
            Some(DropReason::GateShut) => GATE_SHUT,
            Some(_) => TARGET_DOWN,
        };
        self.broken.store(broken, Ordering::Relaxed);
    }

    fn broken(&self) -> Option<DropReason> {
        match self.broken.load(Ordering::Relaxed) {
            0 => None,
            GATE_SHUT => Some(DropReason::GateShut),
            _ => Some(DropReason::TargetDown),
        }
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
    pub(super) transactions: mpsc::Receiver<Envelope>,
    pub(super) notes: mpsc::Receiver<OpNote>,
    /// For what the target refuses.
    pub(super) refusals: Notes,
    pub(super) load: Arc<Load>,
}

/// Both ends of a new queue.
pub(super) fn queue(mode: MirrorMode, counters: Arc<Counters>) -> (MirrorHandle, QueueEnd) {
    let (transactions, transactions_end) = mpsc::channel(TRANSACTIONS_MAX);
    let (notes, notes_end) = mpsc::channel(NOTES_MAX);
    let notes = Notes(notes);
    let load = Arc::new(Load::default());
    let end = QueueEnd {
        transactions: transactions_end,
        notes: notes_end,
        refusals: notes.clone(),
        load: Arc::clone(&load),
    };
    let handle = MirrorHandle {
        mode,
        counters,
        transactions,
        notes,
        load,
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

    /// Puts a committed transaction in the queue, or drops it with a reason. With `--mirror sync`
    /// the client waits for what is returned.
    pub fn send(&self, transaction: MirrorTransaction) -> Option<oneshot::Receiver<Delivered>> {
        match self.mode {
            MirrorMode::Off | MirrorMode::Dry => None,
            MirrorMode::Async => {
                self.enqueue(transaction, None);
                None
            }
            MirrorMode::Sync => {
                let (waiting, delivered) = oneshot::channel();
                self.enqueue(transaction, Some(waiting));
                Some(delivered)
            }
        }
    }

    fn enqueue(&self, transaction: MirrorTransaction, waiting: Option<oneshot::Sender<Delivered>>) {
        let op_id = transaction.op_id();
        let size = size_of(&transaction);
        let envelope = Envelope {
            transaction,
            size,
            waiting,
        };
        let reason = if let Some(reason) = self.load.broken() {
            Some(reason)
        } else if self.load.bytes.load(Ordering::Relaxed).saturating_add(size) > BYTES_MAX {
            Some(DropReason::QueueFull)
        } else {
            self.load.bytes.fetch_add(size, Ordering::Relaxed);
            let full = self.transactions.try_send(envelope).is_err();
            if full {
                self.load.took(size);
            }
            full.then_some(DropReason::QueueFull)
        };
        if let Some(reason) = reason {
            self.counters.failed(reason.label());
            self.notes.note(op_id, NoteOutcome::Dropped, reason.label());
        }
    }

    /// The stream will bring this transaction, on purpose.
    pub(crate) fn note_deferred(&self, op_id: OpId, reason: &'static str) {
        if matches!(self.mode, MirrorMode::Async | MirrorMode::Sync) {
            self.notes.note(op_id, NoteOutcome::Deferred, reason);
        }
    }
}

/// What a transaction costs to hold.
fn size_of(transaction: &MirrorTransaction) -> usize {
    let rows = transaction.rows.iter();
    rows.map(|row| row.image.as_ref().map_or(0, Image::size) + row.key.bytes().len() + 256)
        .sum()
}
