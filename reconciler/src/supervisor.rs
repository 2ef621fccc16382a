//! The supervisor: begins a session again after every failure that passes by itself.
//!
//! Does not keep anything between sessions but totals: where to go on is in `segue.progress`.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::error::{ReconcilerError, Retry, Sending};
use crate::session::{self, Attempt};
use crate::stats::Stats;

/// The first pause after a lost session.
const PAUSE: Duration = Duration::from_millis(200);

/// The longest pause: a server that is back is found within this.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A session that lasted this long was a good one: the next pause is short again.
const GOOD_SESSION: Duration = Duration::from_secs(10);

pub(crate) async fn run(
    config: Config,
    shutdown: CancellationToken,
    ready: impl FnOnce(),
) -> Result<(), ReconcilerError> {
    let holder = new_holder();
    let mut stats = Stats::default();
    let mut ready = Some(ready);
    let mut before = None;
    let mut sending = Sending::Early;
    let mut pause = PAUSE;
    loop {
        let started = Instant::now();
        let attempt = Attempt {
            config: &config,
            holder: &holder,
            stats: &mut stats,
            sending,
            before: before
                .as_ref()
                .map(|(text, lost): &(String, Instant)| (text.clone(), lost.elapsed())),
        };
        let mut has_begun = false;
        let begun = || {
            has_begun = true;
            if let Some(ready) = ready.take() {
                ready();
            }
        };
        let session = Box::pin(session::run(attempt, &shutdown, begun));
        let error = tokio::select! {
            result = session => match result {
                Ok(()) if shutdown.is_cancelled() => return Ok(()),
                Ok(()) => continue,
                Err(error) => error,
            },
            () = give_up(&shutdown) => return Ok(()),
        };
        // Before anything has run, a person is waiting for the sentence.
        if error.retry() == Retry::Never || ready.is_some() {
            return Err(error);
        }
        sending = error.sending(sending);
        if started.elapsed() > GOOD_SESSION {
            pause = PAUSE;
        }
        crate::metrics::session_lost(error.kind());
        tracing::warn!(error = %sentence(&error), "session lost, trying again");
        // What began the outage says more than the attempts after it.
        if has_begun || before.is_none() {
            before = Some((sentence(&error), Instant::now()));
        }
        let jittered = pause.mul_f64(rand::rng().random_range(0.5..1.0));
        let waited = async {
            let asked = stats.budget.ask(&config.source);
            tokio::join!(tokio::time::sleep(jittered), asked)
        };
        tokio::select! {
            ((), ()) = waited => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// How long a session may take to end politely.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A session that hangs in a connection attempt or a lock does not keep the process alive.
async fn give_up(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(DRAIN_TIMEOUT).await;
}

/// An error with its causes.
fn sentence(error: &ReconcilerError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// A random uuid in text.
fn new_holder() -> String {
    let id: u128 = rand::rng().random();
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        id >> 96,
        (id >> 80) & 0xffff,
        (id >> 64) & 0xffff,
        (id >> 48) & 0xffff,
        id & 0xffff_ffff_ffff
    )
}
