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
pub use protocol::decide::drop_reason::DropReason;
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
