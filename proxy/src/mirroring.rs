//! What capture needs besides the workers: the catalog reader and the mirror's thread.
//!
//! Started before the first client and ended after the last, so that what clients have committed
//! can still be sent. Does not take part in sessions.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::capture::Capture;
use crate::catalog::{self, CatalogHandle, ContractFrom};
use crate::config::{Config, MirrorMode};
use crate::error::ProxyError;
use crate::mirror::{self, MirrorConfig, MirrorHandle};
use crate::settings::LiveSettings;
use crate::table_totals::TableTotals;

/// Clients are served without a mirror sooner than not at all.
const PREPARATION_MAX: Duration = Duration::from_secs(3);

/// What a worker needs to capture: handles that cross threads.
#[derive(Debug, Clone)]
pub(crate) struct CaptureSource {
    pub(crate) catalog: CatalogHandle,
    pub(crate) mirror: MirrorHandle,
    catalog_wait: Duration,
}

impl CaptureSource {
    /// The part that stays on its worker's thread.
    pub(crate) fn capture(self) -> Capture {
        Capture::new(self.catalog, self.mirror).with_catalog_wait(self.catalog_wait)
    }
}

/// The catalog reader and the mirror, running.
#[derive(Debug)]
pub(crate) struct Mirroring {
    source: CaptureSource,
    end: CancellationToken,
    reader: JoinHandle<()>,
    mirror_ended: oneshot::Receiver<()>,
}

impl Mirroring {
    /// Starts both, if writes are to be captured.
    pub(crate) fn start(
        config: &Config,
        settings: &LiveSettings,
    ) -> Result<Option<Self>, ProxyError> {
        if !config.captures() {
            return Ok(None);
        }
        let end = CancellationToken::new();
        let catalog = CatalogHandle::new();
        let mirror = MirrorConfig {
            mode: config.mirror,
            target: config.target.clone(),
            names: control::names(config.source.database()),
            catalog: catalog.clone(),
            proxy_id: rand::random(),
        };
        let (mirror, mirror_ended) =
            mirror::start(mirror, end.clone()).map_err(ProxyError::Thread)?;
        let contract = match config.mirror {
            MirrorMode::Dry => ContractFrom::SetupOrCatalog,
            MirrorMode::Off | MirrorMode::Async | MirrorMode::Sync => ContractFrom::Setup,
        };
        let source = config.source.clone();
        let (handle, settings) = (catalog.clone(), settings.clone());
        let reading = catalog::run(source, contract, handle, settings, end.clone());
        Ok(Some(Self {
            source: CaptureSource {
                catalog,
                mirror,
                catalog_wait: config.catalog_wait,
            },
            reader: tokio::spawn(reading),
            end,
            mirror_ended,
        }))
    }

    /// Waits, not for long, until the first client's writes can be captured.
    pub(crate) async fn prepared(&self) {
        let known = tokio::time::timeout(PREPARATION_MAX, self.source.catalog.known());
        if known.await.is_err() {
            tracing::warn!(
                "the source's catalog is not known yet; nothing is captured until it is"
            );
        }
    }

    /// What the workers get.
    pub(crate) fn source(&self) -> CaptureSource {
        self.source.clone()
    }

    /// What becomes of each table's writes.
    pub(crate) fn tables(&self) -> Arc<TableTotals> {
        self.source.mirror.counters().tables()
    }

    /// Ends both, once what was queued has been sent or its time is over.
    pub(crate) async fn end(self) {
        self.end.cancel();
        // The sender is dropped with its thread, whether or not it said something.
        drop(self.mirror_ended.await);
        drop(self.reader.await);
    }
}
