//! The slot's WAL budget: said before it is used up, by the reconciler while it works and by the
//! supervisor while it cannot.
//!
//! Does not decide how much is too much: [`control::status::SlotFacts`] does, as it does for the
//! status.

use std::time::Duration;

use control::status::{SlotFacts, read_slot};
use control::{Dsn, Side, names};
use tokio::time::{Instant, timeout};

/// How often the source is asked while there is no session: log grows by gigabytes in minutes at
/// worst, and the first warning comes at 70 %.
const PERIOD: Duration = Duration::from_secs(5);

/// Nobody waits for this longer than for the next attempt.
const PATIENCE: Duration = Duration::from_secs(5);

/// A warning is worth repeating when so much more of the budget is used.
const STEP_PERCENT: i64 = 5;

/// What has been said of the budget.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// In steps of [`STEP_PERCENT`]; nothing while all is well.
    said: Option<i64>,
    asked: Option<Instant>,
}

impl Budget {
    /// What there is to say now: nothing if it has been said.
    pub(crate) fn observe(&mut self, slot: &SlotFacts) -> Option<String> {
        let Some(words) = slot.attention() else {
            self.said = None;
            return None;
        };
        let held = slot.wal_bytes.unwrap_or_default();
        let budget = slot.budget_bytes.unwrap_or(i64::MAX).max(1);
        let used = held.saturating_mul(100) / budget / STEP_PERCENT;
        if self.said.is_some_and(|said| said >= used) {
            return None;
        }
        self.said = Some(used);
        Some(words)
    }

    /// Asks the source, if it is time, and says in the log what there is to say. The target is away.
    pub(crate) async fn ask(&mut self, source: &Dsn) {
        if self.asked.is_some_and(|asked| asked.elapsed() < PERIOD) {
            return;
        }
        self.asked = Some(Instant::now());
        let asked = timeout(PATIENCE, async {
            let client = control::connect(source, Side::Source, "segue reconciler")
                .await
                .ok()?;
            let slot = names(source.database()).slot;
            read_slot(&client, &slot).await.ok()
        });
        let Some(slot) = asked.await.ok().flatten() else {
            return;
        };
        crate::metrics::slot_measured(slot.wal_bytes, slot.budget_bytes);
        if let Some(words) = self.observe(&slot) {
            tracing::warn!("{words}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_said_when_it_begins_to_run_out_and_again_as_it_does() {
        let mut budget = Budget::default();
        let mut at = |percent: i64| {
            let slot = SlotFacts {
                wal_bytes: Some(percent << 20),
                budget_bytes: Some(100 << 20),
                lost: None,
            };
            budget.observe(&slot).is_some()
        };
        let said = [10, 69, 71, 72, 74, 75, 76, 91, 91, 60, 71].map(&mut at);
        let expected = [
            false, false, true, false, false, true, false, true, false, false, true,
        ];
        assert_eq!(said, expected);
    }
}
