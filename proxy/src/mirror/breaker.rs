//! Whether the mirror tries, and how long it waits before it tries again.
//!
//! Does not count drops.

use std::sync::Arc;
use std::time::Duration;

use super::DropReason;
use super::queue::Load;
use crate::metrics;

/// The first pause; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// A target that is back is noticed within this time.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Open while there is no use in trying: workers then drop what they have at once.
#[derive(Debug)]
pub(super) struct Breaker {
    load: Arc<Load>,
    reason: Option<DropReason>,
    pause: Duration,
}

impl Breaker {
    /// Closed: what comes before the first session waits in the queue.
    pub(super) const fn new(load: Arc<Load>) -> Self {
        Self {
            load,
            reason: None,
            pause: PAUSE_MIN,
        }
    }

    pub(super) fn open(&mut self, reason: DropReason) {
        // A target that is back with its gate still shut is a step further: its gate opens soon.
        if self.reason != Some(reason) {
            self.pause = PAUSE_MIN;
        }
        self.reason = Some(reason);
        self.load.set_broken(Some(reason));
        metrics::breaker(true);
    }

    pub(super) fn close(&mut self) {
        if let Some(reason) = self.reason.take() {
            tracing::info!(reason = reason.label(), "the mirror resumes");
        }
        self.pause = PAUSE_MIN;
        self.load.set_broken(None);
        metrics::breaker(false);
    }

    pub(super) const fn reason(&self) -> Option<DropReason> {
        self.reason
    }

    /// How long to wait now; jittered, so that many proxies do not come back at once.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        pause.mul_f64(rand::random_range(0.5..1.0))
    }

    /// A transaction of this size has left the queue.
    pub(super) fn took(&self, size: usize) {
        self.load.took(size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_until_it_closes() {
        let mut breaker = Breaker::new(Arc::default());
        breaker.open(DropReason::TargetDown);
        let pauses: Vec<Duration> = (0..8).map(|_| breaker.pause()).collect();
        assert!(pauses[0] <= PAUSE_MIN && pauses[7] >= PAUSE_MAX / 2);
        assert!(pauses.iter().all(|pause| *pause <= PAUSE_MAX));
        breaker.open(DropReason::GateShut);
        assert!(breaker.pause() <= PAUSE_MIN);
        breaker.close();
        assert_eq!(breaker.reason(), None);
        assert!(breaker.pause() <= PAUSE_MIN);
    }
}
