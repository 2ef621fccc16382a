//! Whether a slot can still be read, and what to say where it cannot.
//!
//! Does not make slots: `segue setup` does.

use control::Side;

use crate::error::ReconcilerError;

/// The columns that [`judge`] reads; versions before 17 know no reason.
pub(crate) fn query(slot: &str) -> String {
    format!(
        "SELECT coalesce(wal_status, ''), coalesce(to_jsonb(s) ->> 'invalidation_reason', '') \
         FROM pg_catalog.pg_replication_slots s WHERE slot_name = '{slot}'"
    )
}

/// Why a slot cannot be read any more; none where it can.
pub(crate) fn judge(found: Option<(&str, &str)>) -> Option<String> {
    match found {
        None => Some("it is gone".to_owned()),
        Some(("lost", "" | "wal_removed")) => {
            Some("the server has removed log that it needed (max_slot_wal_keep_size)".to_owned())
        }
        Some(("lost", reason)) => Some(format!("the server has invalidated it ({reason})")),
        Some(_) => None,
    }
}

/// What a lost slot of a side means.
pub(crate) fn lost(side: Side, slot: &str, why: String) -> ReconcilerError {
    let slot = slot.to_owned();
    ReconcilerError::SlotLost { side, slot, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: Option<(&str, &str)>, expected: Option<&str>) {
        let judged = judge(found);
        match (&judged, expected) {
            (None, None) => {}
            (Some(why), Some(part)) => assert!(why.contains(part), "{why}"),
            (Some(_), None) | (None, Some(_)) => panic!("{found:?}: {judged:?}"),
        }
    }

    #[test]
    fn a_slot_that_is_gone_or_invalidated_is_lost_and_one_that_only_holds_much_is_not() {
        check(None, Some("gone"));
        check(Some(("lost", "")), Some("max_slot_wal_keep_size"));
        check(
            Some(("lost", "wal_removed")),
            Some("max_slot_wal_keep_size"),
        );
        check(Some(("lost", "idle_timeout")), Some("idle_timeout"));
        check(Some(("lost", "rows_removed")), Some("rows_removed"));
        check(Some(("reserved", "")), None);
        check(Some(("extended", "")), None);
        // It may still be read in time.
        check(Some(("unreserved", "")), None);
        check(Some(("", "")), None);
    }
}
