//! The proxy: it speaks PostgreSQL's protocol between applications and the source database,
//! forwards every byte, and captures the effect of each write on the way.
//!
//! [`run`] is the way in. Threads: whoever calls it accepts; workers serve, each connection staying
//! on its worker. Does not read configuration and installs no signal handlers.

pub mod address;
pub mod admin;
mod authentication;
mod balance;
mod cancel;
pub mod capture;
pub mod catalog;
mod client_stream;
mod clock;
mod complaints;
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
mod statistics;
mod table_totals;
mod tls;
mod worker;

pub use authentication::{AuthQuery, AuthenticationSettings, ClientKeys, UserList};
pub use config::{Config, MirrorMode};
pub use error::ProxyError;
pub use tls::{ClientTls, Identity, IdentityFiles};

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use admin::{Configuration, Console, Visits};
use authentication::{Authenticator, Secrets};
use complaints::Complaints;
use listener::{Acceptor, Listener};
use mirroring::{CaptureSource, Mirroring};
use registry::{Attendant, Numbers};
use settings::LiveSettings;
use statistics::Rates;
use worker::Worker;

/// Serves clients until `shutdown` is cancelled and its sessions have ended. `ready` is called with
/// the places once all of them accept connections.
pub async fn run(
    config: Config,
    live: Live,
    shutdown: CancellationToken,
    ready: impl FnOnce(Vec<String>),
) -> Result<(), ProxyError> {
    let Live {
        settings,
        configuration,
    } = live;
    let listeners = listener::bind(&config.listen).await?;
    let mirroring = Mirroring::start(&config, &settings)?;
    let capture = mirroring.as_ref().map(Mirroring::source);
    let tables = mirroring.as_ref().map(Mirroring::tables);
    let (asked, attendants) = registry::attendants(config.workers.get());
    let numbers = Numbers::default();
    let console = Arc::new(Console {
        configuration,
        settings: settings.clone(),
        workers: asked.clone(),
        visits: Visits::new(numbers.clone()),
        rates: Arc::new(Rates::new(Instant::now())),
        tables: tables.unwrap_or_default(),
        source: config.source.clone(),
        capture: capture.clone(),
    });
    let complaints = Arc::new(Complaints::default());
    let authenticator = Authenticator {
        secrets: Secrets::start(&config.source, shutdown.clone()),
        keys: Arc::default(),
    };
    let starting = Starting {
        config: &config,
        settings: &settings,
        capture: capture.as_ref(),
        shutdown: &shutdown,
        numbers: &numbers,
        console: &console,
        complaints: &complaints,
        authenticator: &authenticator,
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

    let (rates, tables) = (Arc::clone(&console.rates), Arc::clone(&console.tables));
    let sampling = CancellationToken::new();
    let until = sampling.clone();
    let sampler = tokio::spawn(async move { rates.sample(&tables, &asked, until).await });
    drop(console);

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
    sampling.cancel();
    drop(sampler.await);
    if let Some(mirroring) = mirroring {
        mirroring.end().await;
    }
    Ok(())
}

/// What may change while the proxy runs, and who changes it.
#[derive(Debug)]
pub struct Live {
    /// What is in force.
    pub settings: LiveSettings,
    /// What the admin console shows and changes.
    pub configuration: Arc<dyn Configuration>,
}

/// What every worker starts from.
#[derive(Debug, Clone, Copy)]
struct Starting<'a> {
    config: &'a Config,
    settings: &'a LiveSettings,
    capture: Option<&'a CaptureSource>,
    shutdown: &'a CancellationToken,
    numbers: &'a Numbers,
    console: &'a Arc<Console>,
    complaints: &'a Arc<Complaints>,
    authenticator: &'a Authenticator,
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
