//! What all workers have moved, sampled: averages for the console, numbers for the recorder.
//!
//! One task asks the workers once a second, so that sessions count in cells and nothing is recorded
//! on their way. Does not count anything itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::metrics;
use crate::registry::{Pause, Progress, Totals, Workers};
use crate::table_totals::TableTotals;

/// How often workers are asked: what a dashboard shows is no older.
const PERIOD: Duration = Duration::from_secs(1);

/// How many samples averages look back: about a minute, as pgbouncer's do.
const SAMPLES_MAX: usize = 60;

/// What was moved per second.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PerSecond {
    pub(crate) transactions: f64,
    pub(crate) queries: f64,
    pub(crate) from_client: f64,
    pub(crate) to_client: f64,
}

impl PerSecond {
    fn of(progress: Progress, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        if seconds <= 0.0 {
            return Self::default();
        }
        Self {
            transactions: progress.transactions as f64 / seconds,
            queries: progress.queries as f64 / seconds,
            from_client: progress.from_client as f64 / seconds,
            to_client: progress.to_client as f64 / seconds,
        }
    }
}

/// Averages, by class of clients.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Averages {
    pub(crate) mirrored: PerSecond,
    pub(crate) passed: PerSecond,
}

/// The samples of about the last minute.
#[derive(Debug)]
pub(crate) struct Rates {
    /// Protects the samples; taken once a second, and for a console.
    samples: Mutex<VecDeque<(Instant, Totals)>>,
}

impl Rates {
    /// From nothing.
    pub(crate) fn new(now: Instant) -> Self {
        let first = (now, Totals::default());
        Self {
            samples: Mutex::new(VecDeque::from([first])),
        }
    }

    /// Averages from the oldest sample to `totals`, which are of now.
    pub(crate) fn since(&self, totals: Totals, now: Instant) -> Averages {
        let oldest = self.samples.lock().front().copied();
        let Some((then, earlier)) = oldest else {
            return Averages::default();
        };
        let elapsed = now.saturating_duration_since(then);
        Averages {
            mirrored: PerSecond::of(totals.mirrored - earlier.mirrored, elapsed),
            passed: PerSecond::of(totals.passed - earlier.passed, elapsed),
        }
    }

    /// Keeps a sample and gives back the one before.
    fn put(&self, totals: Totals, now: Instant) -> Totals {
        let mut samples = self.samples.lock();
        let last = samples.back().map_or_else(Totals::default, |(_, it)| *it);
        samples.push_back((now, totals));
        if samples.len() > SAMPLES_MAX {
            samples.pop_front();
        }
        last
    }

    /// Samples until it is cancelled. What is moved after the last sample is not recorded.
    pub(crate) async fn sample(
        &self,
        tables: &Arc<TableTotals>,
        workers: &Workers,
        end: CancellationToken,
    ) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while end.run_until_cancelled(ticks.tick()).await.is_some() {
            let totals = workers.totals().await;
            tables.gather(workers).await;
            let last = self.put(totals, Instant::now());
            metrics::moved("mirrored", totals.mirrored - last.mirrored);
            metrics::moved("passed_through", totals.passed - last.passed);
            for (state, count) in Totals::STATES.iter().zip(totals.clients) {
                metrics::clients_in(state.metric(), count);
            }
            metrics::paused(workers.paused() != Pause::Off);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_over_the_samples_that_are_kept() {
        let mut now = Instant::now();
        let rates = Rates::new(now);
        let mut totals = Totals::default();
        for _ in 0..200 {
            now += PERIOD;
            totals.passed.queries += 10;
            totals.mirrored.to_client += 100;
            rates.put(totals, now);
        }
        let since = rates.since(totals, now);
        assert!((since.passed.queries - 10.0).abs() < 1e-6, "{since:?}");
        assert!((since.mirrored.to_client - 100.0).abs() < 1e-6, "{since:?}");
        assert_eq!(rates.samples.lock().len(), SAMPLES_MAX);
    }
}
