//! The proxy: it speaks PostgreSQL's protocol between applications and the source database,
//! forwards every byte, and captures the effect of each write on the way.
//!
//! [`run`] is the way in. Threads: whoever calls it accepts; workers serve, each connection staying
//! on its worker. Does not read configuration and installs no signal handlers.

pub mod address;
mod balance;
mod cancel;
pub mod capture;
pub mod catalog;
mod client_stream;
mod clock;
mod config;
mod connection;
mod error;
mod listener;
mod metrics;
pub mod mirror;
mod mirroring;
mod registry;
mod session;
pub mod settings;
mod source;
mod startup;
mod tls;
mod worker;

pub use config::{Config, MirrorMode};
pub use error::ProxyError;
pub use tls::{ClientTls, Identity, IdentityFiles};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use listener::{Acceptor, Listener};
use mirroring::{CaptureSource, Mirroring};
use registry::{Attendant, Numbers};
use settings::LiveSettings;
use worker::Worker;

/// Serves clients until `shutdown` is cancelled and its sessions have ended. `ready` is called with
/// the places once all of them accept connections.
pub async fn run(
    config: Config,
    settings: LiveSettings,
    shutdown: CancellationToken,
    ready: impl FnOnce(Vec<String>),
) -> Result<(), ProxyError> {
    let listeners = listener::bind(&config.listen).await?;
    let mirroring = Mirroring::start(&config, &settings)?;
    let capture = mirroring.as_ref().map(Mirroring::source);
    let (_asking, attendants) = registry::attendants(config.workers.get());
    let numbers = Numbers::default();
    let starting = Starting {
        config: &config,
        settings: &settings,
        capture: capture.as_ref(),
        shutdown: &shutdown,
        numbers: &numbers,
    };
    let workers = starting.workers(attendants)?;
    let clients = workers.iter().map(|worker| worker.clients.clone());
    let acceptor = Acceptor::new(clients.collect(), settings);
    if let Some(mirroring) = &mirroring {
        tokio::select! {
            () = mirroring.prepared() => (),
            () = shutdown.cancelled() => (),
        }
    }
    ready(listeners.iter().map(Listener::place).collect());

    let acceptors = TaskTracker::new();
    for listener in listeners {
        acceptors.spawn(acceptor.clone().accept(listener, shutdown.clone()));
    }
    drop(acceptor);
    acceptors.close();
    acceptors.wait().await;

    // No client comes any more; those that are there may finish what they are at. An acceptor that
    // ended by itself has lost its worker, and then the others end too.
    shutdown.cancel();
    for worker in workers {
        worker.join().await?;
    }
    if let Some(mirroring) = mirroring {
        mirroring.end().await;
    }
    Ok(())
}

/// What every worker starts from.
#[derive(Debug, Clone, Copy)]
struct Starting<'a> {
    config: &'a Config,
    settings: &'a LiveSettings,
    capture: Option<&'a CaptureSource>,
    shutdown: &'a CancellationToken,
    numbers: &'a Numbers,
}

impl Starting<'_> {
    /// A worker for each attendant.
    fn workers(self, attendants: Vec<Attendant>) -> Result<Vec<Worker>, ProxyError> {
        let attendants = attendants.into_iter().enumerate();
        let workers: Result<Vec<_>, _> = attendants
            .map(|(number, attendant)| Worker::start(number, self, attendant))
            .collect();
        if workers.is_err() {
            self.shutdown.cancel();
        }
        workers
    }
}
