//! When it is too late for an early write: the log is faster just now.
//!
//! A transaction that the target refused because the log had brought it says how long the log takes.
//! What has been in the queue for longer than that will be refused too, and sending it would only
//! keep what comes behind it from being early. Short of a target that cannot keep up this never
//! happens. Does not look at the log itself.

use std::time::Duration;

use tokio::time::Instant;

/// Commits of one row that overtook each other are refused for the same reason, after milliseconds:
/// they say nothing of the log.
const LATE_MIN: Duration = Duration::from_millis(100);
/// How long a refusal tells of the log's pace.
const MEMORY: Duration = Duration::from_millis(500);

/// How late is too late.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    told: Option<Told>,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    limit: Duration,
    until: Instant,
}

impl Lateness {
    /// The target had this transaction, or something newer, already.
    pub(super) fn refused(&mut self, committed: Instant, now: Instant) {
        let limit = now.saturating_duration_since(committed).max(LATE_MIN);
        let told = self.told.filter(|told| now < told.until);
        self.told = Some(Told {
            limit: told.map_or(limit, |told| told.limit.min(limit)),
            until: now + MEMORY,
        });
    }

    /// Whether there is no use in sending what was committed then.
    pub(super) fn is_too_late(&self, committed: Instant, now: Instant) -> bool {
        self.told.is_some_and(|told| {
            now < told.until && now.saturating_duration_since(committed) > told.limit
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_later_than_what_the_log_had_brought_is_not_sent() {
        let mut lateness = Lateness::default();
        let start = Instant::now();
        let now = start + Duration::from_secs(10);
        let ago = |millis| now - Duration::from_millis(millis);
        assert!(!lateness.is_too_late(ago(5_000), now));
        lateness.refused(ago(400), now);
        assert!(lateness.is_too_late(ago(401), now));
        assert!(!lateness.is_too_late(ago(399), now));
        // The fastest counts, but not what can have another cause.
        lateness.refused(ago(3), now);
        assert!(lateness.is_too_late(ago(101), now));
        assert!(!lateness.is_too_late(ago(99), now));
        assert!(!lateness.is_too_late(ago(9_000), now + MEMORY));
    }
}
