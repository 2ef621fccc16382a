//! How often the log says what is refused again and again: early writes by the target, clients by the
//! proxy.
//!
//! Does not count for the report: the counters hold every refusal with its reason.

use std::time::Duration;

use tokio::time::Instant;

/// What is refused all the time is said once in this time. Measured with a full disk: a line
/// each came to 39,000 in 12 seconds, which buries the others and fills the proxy's own disk.
const PERIOD: Duration = Duration::from_secs(5);

/// When it was said last, and how many refusals there were since.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    said: Option<Instant>,
    unsaid: u64,
}

impl RefusalLog {
    /// Notes a refusal: how many a line said now stands for, or nothing if it is too soon for one.
    pub(crate) fn due(&mut self, now: Instant) -> Option<u64> {
        self.unsaid += 1;
        let is_due = self
            .said
            .is_none_or(|said| now.saturating_duration_since(said) >= PERIOD);
        is_due.then(|| {
            self.said = Some(now);
            std::mem::take(&mut self.unsaid)
        })
    }

    /// It is over: how many no line stood for.
    pub(crate) fn rest(&mut self) -> u64 {
        self.said = None;
        std::mem::take(&mut self.unsaid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_refusal_is_said_at_once_and_the_rest_are_summed_up() {
        let mut log = RefusalLog::default();
        let start = Instant::now();
        assert_eq!(log.due(start), Some(1));
        for _ in 0..999 {
            assert_eq!(log.due(start + PERIOD / 2), None);
        }
        assert_eq!(log.due(start + PERIOD), Some(1000));
        assert_eq!(log.due(start + PERIOD), None);
    }
}
