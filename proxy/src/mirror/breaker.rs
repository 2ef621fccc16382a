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
    /// Why it was opened last, until something has worked again.
    trouble: Option<DropReason>,
    pause: Duration,
}

impl Breaker {
    /// Closed: what comes before the first session waits in the queue.
    pub(super) const fn new(load: Arc<Load>) -> Self {
        Self {
            load,
            reason: None,
            trouble: None,
            pause: PAUSE_MIN,
        }
    }

    /// Opens it; whether that is news.
    pub(super) fn open(&mut self, reason: DropReason) -> bool {
        // A target that is back with its gate still shut is a step further: its gate opens soon.
        let is_news = self.trouble != Some(reason);
        if is_news {
            self.pause = PAUSE_MIN;
        }
        self.reason = Some(reason);
        self.trouble = Some(reason);
        self.load.set_broken(Some(reason));
        metrics::breaker(true);
        is_news
    }

    /// Lets transactions through, to see whether they are taken.
    pub(super) fn close(&mut self) {
        self.reason = None;
        self.load.set_broken(None);
        metrics::breaker(false);
    }

    /// The target has taken something.
    pub(super) fn worked(&mut self) {
        if let Some(reason) = self.trouble.take() {
            tracing::info!(reason = reason.label(), "the mirror resumes");
            self.pause = PAUSE_MIN;
        }
    }

    /// Whether nothing has worked since it was opened last.
    pub(super) const fn is_retrying(&self) -> bool {
        self.trouble.is_some()
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_until_something_works() {
        let mut breaker = Breaker::new(Arc::default());
        assert!(breaker.open(DropReason::TargetExhausted));
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pauses.push(breaker.pause());
            // It is tried, and nothing comes of it.
            breaker.close();
            assert_eq!(breaker.reason(), None);
            assert!(!breaker.open(DropReason::TargetExhausted));
        }
        assert!(pauses[0] <= PAUSE_MIN && pauses[7] >= PAUSE_MAX / 2);
        assert!(pauses.iter().all(|pause| *pause <= PAUSE_MAX));
        assert!(breaker.open(DropReason::GateShut));
        assert!(breaker.pause() <= PAUSE_MIN);
        breaker.close();
        breaker.worked();
        assert!(!breaker.is_retrying());
        assert!(breaker.pause() <= PAUSE_MIN);
    }
}
