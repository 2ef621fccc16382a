//! The mirror: committed transactions on their way to the target, early.
//!
//! Workers put transactions into one bounded queue and go on; one thread of its own takes them out
//! in order and writes them through one session, so that commits of one key keep their order.
//! What cannot be sent is dropped with a reason and counted: the stream brings it. Does not retry a
//! transaction, and never makes a client wait unless it asked for `--mirror sync`.

mod breaker;
mod counters;
mod lateness;
mod ledger;
mod queue;
mod records;
mod refusals;
mod serving;
mod session;
mod settle;
mod shunned;
mod staleness;
mod supervise;
mod thread;

use std::sync::Arc;

use apply::EarlyTransaction;
use protocol::contract::Contract;
use tokio::time::Instant;

pub use counters::Counters;
pub use queue::MirrorHandle;
pub(crate) use refusals::RefusalLog;
pub use thread::{MirrorConfig, start};

/// One committed source transaction.
#[derive(Debug)]
pub struct MirrorTransaction {
    /// What goes to the target.
    pub early: EarlyTransaction,
    /// What the keys' tables refer to.
    pub contract: Arc<Contract>,
    /// When the source's acknowledgement reached the proxy.
    pub committed: Instant,
}

/// What became of a transaction that a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// The target has committed it.
    Accepted,
    /// It was not mirrored, for this reason; the stream brings it.
    Failed(DropReason),
}

/// Why a captured transaction was not mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// The queue had no room.
    QueueFull,
    /// There is no session at the target.
    TargetDown,
    /// The session ended while the transaction was on its way: it may have been written.
    ConnectionLost,
    /// The reconciler has not opened the gate, or for another epoch.
    GateShut,
    /// At or under the floor: too late.
    Floor,
    /// The target holds something newer.
    Newer,
    /// It waited for so long that the log has brought it, as it had brought others.
    Late,
    /// A unique or exclusion constraint, because rows are at different points in time (rule 10).
    UniqueViolation,
    /// The log, or another writer, holds the row.
    LockTimeout,
    /// Any other constraint, which the source does not have.
    ConstraintViolation,
    /// A table is not what the contract says, or may not be written to.
    TargetSchema,
    /// The target has no room, on disk or in memory.
    TargetExhausted,
    /// The target takes no writes.
    TargetReadOnly,
    /// Any other error of the target.
    TargetError,
    /// The rows cannot be expressed: a revision out of range.
    Unrepresentable,
    /// The proxy is going down.
    Shutdown,
}

impl DropReason {
    /// Each of them.
    pub const ALL: [Self; 16] = [
        Self::QueueFull,
        Self::TargetDown,
        Self::ConnectionLost,
        Self::GateShut,
        Self::Floor,
        Self::Newer,
        Self::Late,
        Self::UniqueViolation,
        Self::LockTimeout,
        Self::ConstraintViolation,
        Self::TargetSchema,
        Self::TargetExhausted,
        Self::TargetReadOnly,
        Self::TargetError,
        Self::Unrepresentable,
        Self::Shutdown,
    ];

    /// The stable name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TargetDown => "target_down",
            Self::ConnectionLost => "connection_lost",
            Self::GateShut => "gate_shut",
            Self::Floor => "floor",
            Self::Newer => "newer",
            Self::Late => "late",
            Self::UniqueViolation => "unique_violation",
            Self::LockTimeout => "lock_timeout",
            Self::ConstraintViolation => "constraint_violation",
            Self::TargetSchema => "target_schema",
            Self::TargetExhausted => "target_exhausted",
            Self::TargetReadOnly => "target_read_only",
            Self::TargetError => "target_error",
            Self::Unrepresentable => "unrepresentable",
            Self::Shutdown => "shutdown",
        }
    }
}
