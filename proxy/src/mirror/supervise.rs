//! The mirror from one session at the target to the next.
//!
//! ```text
//! waiting for the contract ─► opening ─► serving ─► (session of no further use) ─┐
//!            ▲                   └──────────────────────────► pausing ◄──────────┘
//!            └─────────────────────────────────────────────────┘
//! ```
//!
//! While there is no use in trying, the breaker is open: workers drop at once and this thread tries
//! again, with growing pauses. Does not serve: [`super::serving`] does.

use std::sync::Arc;
use std::time::Duration;

use apply::EarlyWriter;
use control::Dsn;
use protocol::contract::Contract;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::breaker::Breaker;
use super::lateness::Lateness;
use super::ledger::Ledger;
use super::queue::{Envelope, Hurry, Work};
use super::session::Session;
use super::shunned::Shunned;
use super::{DropReason, MirrorConfig};

/// How often the catalog is looked at while its first reading is awaited.
const CATALOG_PERIOD: Duration = Duration::from_millis(50);

/// The mirror's thread, whatever it is at.
pub(super) struct Mirror {
    pub(super) config: MirrorConfig,
    pub(super) target: Dsn,
    pub(super) queue: mpsc::Receiver<Envelope>,
    pub(super) hurry: Hurry,
    pub(super) breaker: Breaker,
    pub(super) ledger: Ledger,
    pub(super) shunned: Shunned,
    pub(super) lateness: Lateness,
    pub(super) shutdown: CancellationToken,
}

/// Why serving ended.
pub(super) enum Ended {
    /// The proxy goes down, and everything has been sent.
    Shutdown,
    /// The session is of no further use.
    Session,
}

impl Mirror {
    pub(super) fn new(
        config: MirrorConfig,
        target: Dsn,
        ledger: Ledger,
        work: Work,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            config,
            target,
            queue: work.transactions,
            hurry: work.hurry,
            breaker: Breaker::new(work.load),
            ledger,
            shunned: Shunned::default(),
            lateness: Lateness::default(),
            shutdown,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let Some(contract) = self.contract().await else {
                break;
            };
            if matches!(self.attempt(contract).await, Ended::Shutdown) || !self.pause().await {
                break;
            }
        }
        while let Ok(envelope) = self.queue.try_recv() {
            self.ledger.dropped(envelope, DropReason::Shutdown);
        }
    }

    /// Opens a session and uses it for as long as it is of use.
    async fn attempt(&mut self, contract: Arc<Contract>) -> Ended {
        let proxy_id = self.config.proxy_id;
        let names = &self.config.names;
        let opening = EarlyWriter::open(&self.target, names, Arc::clone(&contract), proxy_id);
        let shutdown = self.shutdown.clone();
        match shutdown.run_until_cancelled(opening).await {
            None => Ended::Shutdown,
            Some(Ok(writer)) => {
                if !self.breaker.is_retrying() {
                    tracing::info!(target = %self.target.server(), "the mirror has a session");
                }
                self.serve(Session::new(writer, contract)).await
            }
            Some(Err(error)) => {
                if self.breaker.open(DropReason::TargetDown) {
                    tracing::warn!(%error, "the mirror has no session at the target");
                }
                Ended::Session
            }
        }
    }

    /// The contract, once the catalog has been read; nothing if the proxy goes down before.
    async fn contract(&self) -> Option<Arc<Contract>> {
        loop {
            let view = self.config.catalog.view();
            if view.facts.is_known() {
                return Some(Arc::clone(&view.facts.contract));
            }
            let sleeping = self.shutdown.run_until_cancelled(sleep(CATALOG_PERIOD));
            sleeping.await?;
        }
    }

    /// Waits before the next attempt. While the breaker is open what comes is dropped; else it waits
    /// in the queue. False if the proxy goes down.
    async fn pause(&mut self) -> bool {
        let until = Instant::now() + self.breaker.pause();
        let shutdown = self.shutdown.clone();
        let reason = self.breaker.reason();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return false,
                () = sleep_until(until) => return true,
                envelope = self.queue.recv(), if reason.is_some() => match envelope {
                    Some(envelope) => {
                        let reason = reason.unwrap_or(DropReason::TargetDown);
                        self.ledger.dropped(envelope, reason);
                    }
                    None => return false,
                },
            }
        }
    }
}
