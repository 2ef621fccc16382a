//! What the source says of the stream's slot, for whenever the reconciler does not say it.
//!
//! Does not need the target, and does not judge how much is too much.

use tokio_postgres::Client;

use super::StatusFacts;
use crate::attention;
use crate::error::ControlError;
use crate::side::Side;

/// The stream's slot at the source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SlotFacts {
    /// Log that the source holds back for it.
    pub wal_bytes: Option<i64>,
    /// `max_slot_wal_keep_size`; none if the source sets no bound.
    pub budget_bytes: Option<i64>,
    /// Why it cannot be read any more, if so.
    pub lost: Option<String>,
}

/// Asks the source.
pub async fn read_slot(source: &Client, slot: &str) -> Result<SlotFacts, ControlError> {
    let sql = "
        SELECT pg_catalog.pg_wal_lsn_diff(
                   CASE WHEN pg_catalog.pg_is_in_recovery()
                        THEN pg_catalog.pg_last_wal_replay_lsn()
                        ELSE pg_catalog.pg_current_wal_insert_lsn() END, s.restart_lsn)::int8,
               (SELECT setting::int8 * 1048576 FROM pg_catalog.pg_settings
                WHERE name = 'max_slot_wal_keep_size' AND setting <> '-1'),
               CASE WHEN s.slot_name IS NULL THEN 'it is gone'
                    WHEN s.wal_status = 'lost' THEN 'the source has invalidated it' END
        FROM (SELECT $1::text AS name) AS wanted
        LEFT JOIN pg_catalog.pg_replication_slots s ON s.slot_name = wanted.name";
    let row = source
        .query_one(sql, &[&slot])
        .await
        .map_err(|error| ControlError::query(Side::Source, "look at the slot", &error))?;
    let why: Option<String> = row.get(2);
    Ok(SlotFacts {
        wal_bytes: row.get(0),
        budget_bytes: row.get(1),
        lost: why.map(|why| {
            format!(
                "the slot {slot} at the source is lost: {why}; what was written since is not to be \
                 had from the log: copy the database anew, then segue setup --remove and segue setup"
            )
        }),
    })
}

impl SlotFacts {
    /// What will need a person, in words, if anything will.
    pub fn attention(&self) -> Option<String> {
        let lost = self.lost.clone();
        lost.or_else(|| attention::wal(self.wal_bytes?, self.budget_bytes))
    }
}

impl StatusFacts {
    /// What of the slot will need a person, if anything will.
    pub fn slot_attention(&self) -> Option<String> {
        attention::wal(self.slot_wal_bytes?, self.slot_wal_budget_bytes)
    }

    /// Takes what the source says of the slot: it is newer than what a silent reconciler has said.
    pub fn know_slot(&mut self, slot: SlotFacts) {
        self.slot_wal_bytes = slot.wal_bytes;
        self.slot_wal_budget_bytes = slot.budget_bytes;
        self.slot_lost = self.slot_lost.take().or(slot.lost);
        self.attention = attention::attention(self);
    }
}
