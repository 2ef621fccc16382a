//! What goes wrong for every client alike is said once and then summed up: while the source is down a
//! line for each client that comes would bury everything else.
//!
//! Shared by the workers, off the hot path. Does not count for metrics.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::mirror::RefusalLog;

/// What clients are turned away for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Complaint {
    /// The source cannot be reached.
    Source,
    /// All places are taken.
    NoPlace,
}

/// When each kind was said last, and how often it came since.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    source: Mutex<RefusalLog>,
    no_place: Mutex<RefusalLog>,
    /// The source could not be reached the last time. Relaxed: a line in the log hangs on it.
    source_is_down: AtomicBool,
}

impl Complaints {
    /// How many clients a line said now stands for, or nothing if it is too soon for one.
    pub(crate) fn due(&self, complaint: Complaint, now: Instant) -> Option<u64> {
        match complaint {
            Complaint::Source => {
                self.source_is_down.store(true, Ordering::Relaxed);
                self.source.lock().due(now)
            }
            Complaint::NoPlace => self.no_place.lock().due(now),
        }
    }

    /// The source has been reached: whether that is news, and of how many clients nothing was said.
    pub(crate) fn source_is_back(&self) -> Option<u64> {
        let was_down = self.source_is_down.load(Ordering::Relaxed)
            && self.source_is_down.swap(false, Ordering::Relaxed);
        was_down.then(|| self.source.lock().rest())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_source_that_is_down_is_said_once_and_its_return_too() {
        let complaints = Complaints::default();
        let now = Instant::now();
        assert_eq!(complaints.source_is_back(), None);
        assert_eq!(complaints.due(Complaint::Source, now), Some(1));
        for _ in 0..9 {
            assert_eq!(complaints.due(Complaint::Source, now), None);
        }
        assert_eq!(
            complaints.due(Complaint::NoPlace, now),
            Some(1),
            "another kind"
        );
        assert_eq!(complaints.source_is_back(), Some(9));
        assert_eq!(complaints.source_is_back(), None);
        let later = now + Duration::from_mins(1);
        assert_eq!(complaints.due(Complaint::Source, later), Some(1));
    }
}
