//! The reconciler: the source's log is the authority, and this is what makes the target agree.
//!
//! [`run`] supervises one session after another. A session has an intake (the source's change
//! stream), a foreign intake (the target's own, for writes that are not ours) and one applier, which
//! is the only task that writes; it resumes from `segue.progress`. Does not mirror: early writes go
//! on while it is away.

mod applier;
mod budget;
mod error;
mod foreign;
mod intake;
mod keys;
mod metrics;
mod relations;
mod replication;
mod session;
mod slot;
mod source;
mod spool;
mod stats;
mod succession;
mod supervisor;

use std::path::PathBuf;

use control::Dsn;
use tokio_util::sync::CancellationToken;

pub use error::ReconcilerError;
pub use protocol::decide::repair::{Limit, Policy};

/// What a reconciler needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The database that is moved.
    pub source: Dsn,
    /// Where it is moved to.
    pub target: Dsn,
    /// Whether repairs are made.
    pub repair: Policy,
    /// How many of one table; none for as many as there are.
    pub max_repairs: Option<Limit>,
    /// How long divergences that are over, their journal, and events are kept.
    pub retention: std::time::Duration,
    /// Where large transactions wait for their commit.
    pub spool_directory: PathBuf,
}

/// Reconciles until `shutdown` is cancelled. `ready` is called once, when the stream has been taken
/// over. An error means that a person has to do something; nothing is lost by it.
pub async fn run(
    config: Config,
    shutdown: CancellationToken,
    ready: impl FnOnce(),
) -> Result<(), ReconcilerError> {
    supervisor::run(config, shutdown, ready).await
}
