//! The mirror's thread: it is started with the proxy and ends once what was queued has been sent.
//!
//! Does not write: [`super::supervise`] does, while this thread waits.

use std::sync::Arc;
use std::thread;

use control::{Dsn, Names};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::ledger::Ledger;
use super::queue::{QueueEnd, queue};
use super::supervise::Mirror;
use super::{Counters, MirrorHandle, records};
use crate::catalog::CatalogHandle;
use crate::config::MirrorMode;

/// What the mirror needs to know.
#[derive(Debug)]
pub struct MirrorConfig {
    /// What becomes of captured transactions.
    pub mode: MirrorMode,
    /// Where they go; without one, only counting is possible.
    pub target: Option<Dsn>,
    /// Names of Segue's own objects.
    pub names: Names,
    /// Where the contract comes from.
    pub catalog: CatalogHandle,
    /// Under which this proxy reports.
    pub proxy_id: [u8; 16],
}

/// Starts the mirror. It ends once `shutdown` is cancelled and what was queued has been sent, or a
/// few seconds have passed; the receiver tells when.
pub fn start(
    config: MirrorConfig,
    shutdown: CancellationToken,
) -> std::io::Result<(MirrorHandle, oneshot::Receiver<()>)> {
    let counters = Arc::new(Counters::default());
    let (handle, end) = queue(config.mode, Arc::clone(&counters));
    let (ended, has_ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name("segue-mirror".to_owned())
        .spawn(move || {
            runtime.block_on(run(config, end, counters, shutdown));
            // Nobody may be waiting.
            ended.send(()).unwrap_or_default();
        })?;
    Ok((handle, has_ended))
}

async fn run(
    config: MirrorConfig,
    end: QueueEnd,
    counters: Arc<Counters>,
    shutdown: CancellationToken,
) {
    let Some(target) = config.target.clone() else {
        shutdown.cancelled().await;
        return;
    };
    let records = tokio::spawn(records::run(
        target.clone(),
        config.proxy_id,
        end.notes,
        Arc::clone(&counters),
        shutdown.clone(),
    ));
    if matches!(config.mode, MirrorMode::Async | MirrorMode::Sync) {
        let ledger = Ledger::new(Arc::clone(&end.work.load), end.refusals, counters);
        let mirror = Mirror::new(config, target, ledger, end.work, shutdown.clone());
        // On the heap: the future holds the opening of a session.
        Box::pin(mirror.run()).await;
    }
    shutdown.cancelled().await;
    drop(records.await);
}
