//! What serves until it is told to stop: proxy, reconciler, or both in one process.
//!
//! Each part has a thread and a current-thread runtime of its own, so that neither waits for the
//! other; signals and endpoints are on the main thread. Order of an end: the parts are asked to
//! drain, they end, the endpoints end, the process ends.

mod endpoint;
mod live;
mod logging;
mod metrics;
mod parts;
mod query;
mod signals;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::live::Live;
pub(crate) use self::parts::{Announce, Loss, Part};
use self::parts::{Ended, Parts, Readiness};
use self::signals::{Signal, Signals};
use crate::config::Settings;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::target::Target;

/// What is served, and how it is seen from outside.
pub(crate) struct Serve {
    /// The parts.
    pub(crate) parts: Vec<Part>,
    /// Where metrics and health are shown, with the setting's name.
    pub(crate) endpoints: Vec<(&'static str, SocketAddr)>,
    /// What may change meanwhile.
    pub(crate) live: Arc<Live>,
}

impl Serve {
    /// Serves until a signal says stop, or until a part without which there is no point ends.
    pub(crate) fn run(self, settings: &Settings) -> Result<Exit, Failure> {
        self.live.log_with(logging::start(settings)?);
        announce(settings);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
        runtime.block_on(async {
            let readiness = Arc::new(Readiness::of(&self.parts));
            let closing = CancellationToken::new();
            let endpoints = open(self.endpoints, settings, &readiness, &closing).await?;
            let mut signals = Signals::listen()?;
            let parts = Parts::start(self.parts, &readiness)?;
            let exit = attend(parts, &mut signals, &|| self.live.reload_aloud()).await;
            closing.cancel();
            endpoints.wait().await;
            exit
        })
    }
}

/// What somebody who reads the log later has to know first.
fn announce(settings: &Settings) {
    let address = |dsn: &Option<control::Dsn>| {
        dsn.as_ref()
            .map_or_else(|| "none".to_owned(), ToString::to_string)
    };
    tracing::info!(
        source = address(&settings.source),
        target = address(&settings.target),
        "segue {} starts",
        env!("CARGO_PKG_VERSION")
    );
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
}

/// Opens the endpoints before anything else starts: an address in use should cost nothing. Without
/// one nothing is recorded either.
async fn open(
    addresses: Vec<(&'static str, SocketAddr)>,
    settings: &Settings,
    readiness: &Arc<Readiness>,
    closing: &CancellationToken,
) -> Result<TaskTracker, Failure> {
    let tracker = TaskTracker::new();
    tracker.close();
    if addresses.is_empty() {
        return Ok(tracker);
    }
    let recorder = metrics::install()?;
    tracker.spawn(metrics::upkeep(recorder.clone(), closing.clone()));
    let facts = Arc::new(endpoint::Facts {
        recorder,
        readiness: Arc::clone(readiness),
        target: settings
            .target
            .as_ref()
            .map(|target| Mutex::new(Target::new(target, settings.source.as_ref()))),
        token: settings.http_token.clone(),
    });
    for (setting, address) in addresses {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failure::failed(format!(
                "cannot listen on {address} for {setting}: {error}; choose another address"
            ))
        })?;
        let address = listener.local_addr().unwrap_or(address);
        tracing::info!("metrics and health on http://{address}");
        tracker.spawn(endpoint::serve(
            listener,
            Arc::clone(&facts),
            closing.clone(),
        ));
    }
    Ok(tracker)
}

/// Waits for what happens: a signal, or the end of a part.
async fn attend(
    mut parts: Parts,
    signals: &mut Signals,
    reload: &dyn Fn(),
) -> Result<Exit, Failure> {
    let mut exit = Ok(Exit::Well);
    loop {
        tokio::select! {
            ended = parts.next_end() => match ended {
                None => return exit,
                Some(ended) => judge(&ended, &parts, &mut exit),
            },
            signal = signals.next() => match signal {
                Signal::Reload => reload(),
                Signal::Stop if parts.are_stopping() => {
                    output::complain("stopped before it had drained");
                    signals::exit_at_once();
                }
                Signal::Stop => {
                    tracing::info!("draining; a second signal ends at once");
                    parts.stop();
                }
            },
        }
    }
}

/// What the end of a part means for the rest. The first failure is the process's.
fn judge(ended: &Ended, parts: &Parts, exit: &mut Result<Exit, Failure>) {
    let name = ended.name;
    let failure = match &ended.result {
        Ok(()) if parts.are_stopping() => {
            tracing::debug!("the {name} has ended");
            return;
        }
        Ok(()) => Failure::failed(format!("the {name} ended by itself")),
        Err(failure) => failure.clone(),
    };
    if !ended.was_ready && !parts.are_stopping() {
        *exit = Err(Failure {
            exit: failure.exit,
            message: format!("the {name} could not start: {}", failure.message),
        });
        parts.stop();
        return;
    }
    tracing::error!("the {name} stopped: {}", failure.message);
    if exit.is_ok() {
        *exit = Ok(failure.exit);
    }
    match ended.loss {
        Loss::EndsAll => parts.stop(),
        Loss::OthersGoOn => tracing::warn!("everything else goes on without the {name}"),
    }
}
