//! A worker: one thread with one runtime, whose connections stay on it.
//!
//! What its sessions share is not shared between threads. Does not accept connections.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Starting;
use crate::admin::Console;
use crate::authentication::Authenticator;
use crate::complaints::Complaints;
use crate::config::Config;
use crate::connection::{self, Surroundings};
use crate::error::ProxyError;
use crate::listener::Accepted;
use crate::metrics;
use crate::mirroring::CaptureSource;
use crate::registry::{Attendant, Numbers, Phase, Registry};
use crate::settings::LiveSettings;
use crate::source::Source;

/// Connections that may wait for their worker: they are taken as fast as it comes around.
const ACCEPTED_MAX: usize = 64;

/// How long sessions may take for their last words once they have been told to end.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// A worker's thread.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Where its clients are handed to it.
    pub(crate) clients: mpsc::Sender<Accepted>,
    thread: JoinHandle<io::Result<()>>,
}

impl Worker {
    /// Starts the thread with this number.
    pub(crate) fn start(
        number: usize,
        starting: Starting<'_>,
        attendant: Attendant,
    ) -> Result<Self, ProxyError> {
        let (clients, accepted) = mpsc::channel(ACCEPTED_MAX);
        let shared = Shared {
            config: starting.config.clone(),
            settings: starting.settings.clone(),
            capture: starting.capture.cloned(),
            shutdown: starting.shutdown.clone(),
            numbers: starting.numbers.clone(),
            complaints: Arc::clone(starting.complaints),
            authenticator: starting.authenticator.clone(),
            attendant,
            console: Arc::clone(starting.console),
        };
        let thread = std::thread::Builder::new()
            .name(format!("segue-proxy-{number}"))
            .spawn(move || {
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default())?;
                runtime.block_on(serve(shared, accepted));
                Ok(())
            })
            .map_err(ProxyError::Thread)?;
        Ok(Self { clients, thread })
    }

    /// Waits for the thread, having been asked to end through its token.
    pub(crate) async fn join(self) -> Result<(), ProxyError> {
        drop(self.clients);
        let joined = tokio::task::spawn_blocking(|| self.thread.join()).await;
        match joined {
            Ok(Ok(ended)) => ended.map_err(ProxyError::Thread),
            Ok(Err(_)) | Err(_) => Err(ProxyError::WorkerDied),
        }
    }
}

/// What a worker's thread takes with it.
struct Shared {
    config: Config,
    settings: LiveSettings,
    capture: Option<CaptureSource>,
    shutdown: CancellationToken,
    numbers: Numbers,
    complaints: Arc<Complaints>,
    authenticator: Authenticator,
    attendant: Attendant,
    console: Arc<Console>,
}

/// Serves clients until the proxy goes down, then lets them end.
async fn serve(shared: Shared, mut accepted: mpsc::Receiver<Accepted>) {
    let Shared {
        config,
        settings,
        capture,
        shutdown,
        numbers,
        complaints,
        authenticator,
        attendant,
        console,
    } = shared;
    let registry = Registry::new(numbers);
    // Ends with the runtime: until the last session has, there is something to ask.
    let capture = capture.map(|source| Rc::new(source.capture()));
    let tables = capture.as_ref().map(|capture| capture.tables());
    drop(tokio::task::spawn_local(
        attendant.attend(Rc::clone(&registry), tables),
    ));
    let surroundings = Rc::new(Surroundings {
        source: Source::new(&config.source),
        authenticator,
        config,
        settings: settings.clone(),
        capture,
        registry,
        spares: Rc::default(),
        console,
        complaints,
        shutdown: shutdown.clone(),
    });
    let connections = TaskTracker::new();
    loop {
        let client = tokio::select! {
            client = accepted.recv() => client,
            () = shutdown.cancelled() => None,
        };
        let Some(client) = client else {
            break;
        };
        let surroundings = Rc::clone(&surroundings);
        connections.spawn_local(async move {
            let served = tokio::task::spawn_local(connection::serve(surroundings, client)).await;
            if served.is_err_and(|ended| ended.is_panic()) {
                metrics::connection_panicked();
            }
        });
    }
    connections.close();
    surroundings.registry.enter(Phase::Draining);
    let drain_timeout = settings.current().drain_timeout;
    let drained = tokio::time::timeout(drain_timeout, connections.wait()).await;
    if drained.is_err() {
        tracing::info!(
            count = connections.len(),
            "ending sessions in a transaction"
        );
        surroundings.registry.enter(Phase::Ending);
        // Whoever has not taken its last words by now is closed with the runtime.
        drop(tokio::time::timeout(END_TIMEOUT, connections.wait()).await);
    }
}
