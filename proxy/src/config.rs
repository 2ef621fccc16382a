//! What the proxy has to be told once; what may change while it runs is in `settings`. Read and
//! validated by the binary.
//!
//! Does not read files or the environment.

use std::num::NonZeroUsize;
use std::time::Duration;

use control::Dsn;

use crate::address::Address;

/// What becomes of captured transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorMode {
    /// Nothing is captured.
    Off,
    /// Captured and counted, and not sent.
    Dry,
    /// Sent; the client does not wait.
    Async,
    /// Sent; the client's acknowledgement waits for the target, up to a deadline.
    Sync,
}

/// What a proxy needs from its start to its end.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where clients connect. Default 127.0.0.1:6432.
    pub listen: Vec<Address>,
    /// The database that is mirrored. Clients authenticate there as themselves; the proxy itself
    /// reads the catalog with this string.
    pub source: Dsn,
    /// Where captured writes go. Without it the proxy is a pure pass-through.
    pub target: Option<Dsn>,
    /// What becomes of captured writes.
    pub mirror: MirrorMode,
    /// How long a write behind a schema change waits until the proxy has read the catalog again;
    /// without that it is left to the log. Default 0.
    pub catalog_wait: Duration,
    /// Threads that serve clients. Default: the cores, at most 4.
    pub workers: NonZeroUsize,
}

impl Config {
    /// The defaults for a source.
    pub fn new(source: Dsn) -> Self {
        Self {
            listen: vec![Address::Tcp(([127, 0, 0, 1], 6432).into())],
            source,
            target: None,
            mirror: MirrorMode::Async,
            catalog_wait: Duration::ZERO,
            workers: default_workers(),
        }
    }

    /// Whether writes are captured: there is somewhere for them to go, or they are to be counted.
    pub(crate) fn captures(&self) -> bool {
        match self.mirror {
            MirrorMode::Off => false,
            MirrorMode::Dry => true,
            MirrorMode::Async | MirrorMode::Sync => self.target.is_some(),
        }
    }
}

/// One thread per core, at most four: more only spread what one core forwards in its spare time.
fn default_workers() -> NonZeroUsize {
    const WORKERS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);
    std::thread::available_parallelism().map_or(NonZeroUsize::MIN, |cores| cores.min(WORKERS_MAX))
}
