//! What is done once a second: the sweep for phantoms, the floor, the account.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use control::Side;
use control::status::SlotFacts;
use protocol::contract::TableIndex;
use protocol::decide::sweep::Sighting;
use protocol::decide::verdict::OwedWhy;
use protocol::op_id::OpId;
use protocol::revision::Revision;
use protocol::row::RowKey;

use super::{Applier, HEAD_START, HEAD_START_FACTOR};
use crate::error::ReconcilerError;
use crate::stats::Positions;

/// Unverified entries looked at in a sweep. They live for milliseconds; those beyond are seen when
/// these are gone.
const SIGHTINGS_MAX: usize = 10_000;

/// Counts written by one statement.
const TABLE_COUNTS_MAX: usize = 1_000;

/// Divergences kept at most, the open ones besides: each with two rows in the journal.
const DIVERGENCES_MAX: u32 = 100_000;

/// Divergences removed at once: the log waits meanwhile.
const REMOVED_MAX: u32 = 5_000;

/// Events kept at most.
const EVENTS_MAX: u32 = 10_000;

/// Records of transactions that nobody has asked for, kept at most.
const OPS_MAX: u32 = 1_000_000;

/// Rounds between removals of old samples and records.
const TIDY_ROUNDS: u64 = 60;

/// Rounds between looks for transactions that nobody ends: they matter after minutes.
const FORGOTTEN_ROUNDS: u64 = 10;

/// Rounds between looks for tables that the stream says nothing of.
const SIGN_ROUNDS: u64 = 3;

/// Proxies report once a second; what has not come by then will not come.
const STRANGERS_AGE_MAX: Duration = Duration::from_secs(4);

/// A row that is owed for longer says that something holds it up.
const OWED_ALARM_SECONDS: u64 = 60;

impl Applier<'_> {
    pub(super) async fn keep_house(&mut self) -> Result<(), ReconcilerError> {
        let sightings = self.unverified().await?;
        self.here = self.source.whereabouts(&self.identity.slot).await?;
        self.sweep.observe(sightings, self.here.insert_lsn);
        self.horizon.observe(&self.here.snapshot);
        self.owe_phantoms().await?;
        self.raise_floor().await?;
        self.hear_of_strangers().await?;
        self.keep_repairs().await?;
        if self.rounds.is_multiple_of(FORGOTTEN_ROUNDS) {
            self.stats.oldest_transaction = self.source.oldest_transaction().await?;
        }
        self.report().await?;
        self.head_start = self.measure_head_start().await?;
        self.watch_tables().await?;
        self.certify().await?;
        if self.rounds.is_multiple_of(TIDY_ROUNDS) {
            self.tidy().await?;
        }
        self.rounds += 1;
        Ok(())
    }

    /// Stops tables that are no longer what the contract says, and lets them go on.
    async fn watch_tables(&mut self) -> Result<(), ReconcilerError> {
        if self.rounds.is_multiple_of(SIGN_ROUNDS) {
            self.look_at_signs().await?;
            self.look_at_refused().await?;
        }
        crate::metrics::tables_stopped(self.drift.len());
        self.resume_stopped().await
    }

    async fn unverified(&mut self) -> Result<Vec<Sighting>, ReconcilerError> {
        let sql = format!(
            r#"SET LOCAL enable_seqscan = on;
               SELECT "table", encode(key, 'hex'), rev::text, replace(op_id::text, '-', '')
               FROM (
                   (SELECT * FROM segue.row_rev AS held
                    WHERE NOT verified AND op_id IS NOT NULL AND NOT EXISTS (
                        SELECT FROM segue.owed AS o
                        WHERE o."table" = held."table" AND o.key = held.key)
                    LIMIT {SIGHTINGS_MAX})
                   UNION ALL
                   (SELECT held.* FROM segue.row_rev AS held JOIN segue.owed AS o USING ("table", key)
                    WHERE NOT held.verified AND held.op_id IS NOT NULL
                    LIMIT {SIGHTINGS_MAX})) AS seen"#
        );
        let rows = self.writer.connection().query_simple(&sql).await?;
        let mut sightings = Vec::with_capacity(rows.len());
        for row in rows {
            sightings.push(self.sighting(&row).ok_or(ReconcilerError::Answer {
                side: Side::Target,
                what: "an entry of segue.row_rev",
            })?);
        }
        Ok(sightings)
    }

    fn sighting(&self, row: &[Option<Bytes>]) -> Option<Sighting> {
        let key = self.stored_key(row)?;
        let rev = text(row, 2)?.parse().ok()?;
        let op_id = match text(row, 3) {
            Some(digits) => Some(u128::from_str_radix(&digits, 16).ok()?),
            None => None,
        };
        Some(Sighting {
            key,
            rev: Revision::from_packed(rev).ok()?,
            op_id: op_id.map(|id| OpId::from_bytes(id.to_be_bytes())),
        })
    }

    /// A key from its table's name and its bytes in hexadecimal, the first two columns of a row.
    pub(super) fn stored_key(&self, row: &[Option<Bytes>]) -> Option<RowKey> {
        let (index, _) = self.contract.find_name(&text(row, 0)?)?;
        let hex = text(row, 1)?;
        let bytes: Option<Bytes> = (0..hex.len() / 2)
            .map(|place| {
                let pair = hex.get(place * 2..place * 2 + 2)?;
                u8::from_str_radix(pair, 16).ok()
            })
            .collect();
        Some(RowKey::from_stored(index, bytes?))
    }

    async fn owe_phantoms(&mut self) -> Result<(), ReconcilerError> {
        let late = self.sweep.passed_by(self.passed);
        let late: Vec<_> = late
            .into_iter()
            .filter(|key| !self.owed.contains(key) && !self.is_set_aside(key))
            .collect();
        if late.is_empty() {
            return Ok(());
        }
        self.writer.owe(&late, OwedWhy::Unverified).await?;
        for key in late {
            self.owed.add(key, OwedWhy::Unverified.label(), None);
        }
        Ok(())
    }

    /// Proxies say once a second what they left to the stream, so the log is often there first: rows
    /// counted as unmirrored get their reason afterwards.
    async fn hear_of_strangers(&mut self) -> Result<(), ReconcilerError> {
        let anything = "SELECT '1' FROM segue.op LIMIT 1";
        if !self.strangers.is_empty() && self.target_text(anything).await?.is_some() {
            let ops: Vec<OpId> = self.strangers.iter().map(|(op_id, ..)| *op_id).collect();
            let outcomes = self.writer.outcomes(&ops).await?;
            for (op_id, table, rows, _) in &self.strangers {
                if let Some(outcome) = outcomes.get(op_id) {
                    self.stats.explained(*table, *outcome, *rows);
                }
            }
            self.strangers
                .retain(|(op_id, ..)| !outcomes.contains_key(op_id));
        }
        self.strangers
            .retain(|(_, _, _, since)| since.elapsed() < STRANGERS_AGE_MAX);
        Ok(())
    }

    async fn report(&mut self) -> Result<(), ReconcilerError> {
        self.report_tables().await?;
        let lag = self.stats.lag(&self.here, self.passed);
        let proven = self.stats.percentiles();
        crate::metrics::lag_measured(lag.bytes, lag.seconds, self.owed.len());
        self.watch_budget();
        let positions = Positions {
            received: self.passed.max(*self.durable.borrow()),
            applied: self.passed,
            floor: self.floor.effective().map(|floor| floor.lsn().to_string()),
        };
        let counters = self.stats.counters(&self.here, &positions, lag, proven);
        let [verified, applied, repaired] = self.stats.totals();
        let stream = literal(&self.identity.stream);
        let json = literal(&counters.to_string());
        self.execute(&format!(
            "INSERT INTO segue.reconciler (stream, at, counters) \
             VALUES ({stream}, clock_timestamp(), {json}) \
             ON CONFLICT (stream) DO UPDATE SET at = excluded.at, counters = excluded.counters; \
             INSERT INTO segue.sample (at, lag_bytes, lag_seconds, staleness_seconds_p50, \
                 staleness_seconds_p99, verified, applied, repaired) \
             SELECT clock_timestamp(), {}, {}, \
                    max((counters ->> 'staleness_seconds_p50')::float8), \
                    max((counters ->> 'staleness_seconds_p99')::float8), \
                    {verified}, {applied}, {repaired} \
             FROM segue.proxy WHERE lease > clock_timestamp() - interval '5 seconds' \
             ON CONFLICT (at) DO NOTHING",
            lag.bytes, lag.seconds
        ))
        .await?;
        if self.owed.alarm(OWED_ALARM_SECONDS) {
            let text = self.owed_words();
            tracing::warn!(owed = self.owed.len(), "{text}");
            self.event("owed_long", &text).await?;
        }
        Ok(())
    }

    /// What holds up a row that has been owed for long, as far as the target has said it.
    fn owed_words(&self) -> String {
        let refused = self.writer.refusal();
        let refused = refused.filter(|(key, _)| self.owed.contains(key));
        match refused.and_then(|(key, said)| Some((self.contract.table(key.table())?, said))) {
            Some((table, said)) => format!(
                "a row of {} has been owed for more than {OWED_ALARM_SECONDS} seconds: {said}",
                table.name
            ),
            None => format!("a row has been owed for more than {OWED_ALARM_SECONDS} seconds"),
        }
    }

    fn watch_budget(&mut self) {
        let slot = SlotFacts {
            wal_bytes: self.here.slot_wal_bytes,
            budget_bytes: self.here.slot_wal_budget_bytes,
            lost: None,
        };
        crate::metrics::slot_measured(slot.wal_bytes, slot.budget_bytes);
        if let Some(words) = self.stats.budget.observe(&slot) {
            tracing::warn!("{words}");
        }
    }

    /// Adds what was counted by table since the last time. Counted again only if it was not written.
    async fn report_tables(&mut self) -> Result<(), ReconcilerError> {
        let named = self.stats.tables().iter().filter_map(|((table, ..), _)| {
            let name = &self.contract.table(*table)?.name;
            Some((*table, literal(name)))
        });
        let literals: BTreeMap<TableIndex, String> = named.collect();
        let counts = self.stats.tables().iter();
        let rows = counts.filter_map(|((table, verdict, why), count)| {
            let name = literals.get(table)?;
            Some(format!("({name}, '{verdict}', '{why}', {count})"))
        });
        let rows: Vec<String> = rows.collect();
        for rows in rows.chunks(TABLE_COUNTS_MAX) {
            self.execute(&format!(
                "INSERT INTO segue.table_count AS held (\"table\", verdict, why, count) VALUES {} \
                 ON CONFLICT (\"table\", verdict, why) DO UPDATE \
                 SET count = greatest(held.count + excluded.count, 0)",
                rows.join(", ")
            ))
            .await?;
        }
        self.stats.forget_tables();
        Ok(())
    }

    /// As the proxies that are alive report their staleness; none alive, none waited for.
    async fn measure_head_start(&mut self) -> Result<Duration, ReconcilerError> {
        let sql = "SELECT coalesce(max((counters ->> 'staleness_seconds_p50')::float8), 0)::text \
                   FROM segue.proxy WHERE lease > clock_timestamp() - interval '5 seconds' \
                   HAVING count(*) > 0";
        let seconds: Option<f64> = self
            .target_text(sql)
            .await?
            .and_then(|seconds| seconds.parse().ok());
        let usual = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Ok(usual.map_or(Duration::ZERO, |usual| {
            (usual * HEAD_START_FACTOR).clamp(*HEAD_START.start(), *HEAD_START.end())
        }))
    }

    /// Takes away what is old or too much. What is open stays, however old it is. The journal goes
    /// with its divergence by a statement: in this session no foreign key does anything.
    async fn tidy(&mut self) -> Result<(), ReconcilerError> {
        let seconds = self.retention.as_secs();
        self.execute(&format!(
            "DELETE FROM segue.sample WHERE at < clock_timestamp() - interval '1 day'; \
             DELETE FROM segue.op WHERE mirrored_at < clock_timestamp() - interval '10 minutes'; \
             DELETE FROM segue.op WHERE ctid IN \
                 (SELECT ctid FROM segue.op ORDER BY mirrored_at DESC OFFSET {OPS_MAX}); \
             DELETE FROM segue.proxy WHERE lease < clock_timestamp() - interval '1 day'; \
             DELETE FROM segue.event WHERE at < clock_timestamp() - interval '{seconds} seconds' \
                 OR id <= (SELECT max(id) - {EVENTS_MAX} FROM segue.event); \
             WITH gone AS ( \
                 DELETE FROM segue.divergence WHERE id IN ( \
                     SELECT id FROM segue.divergence WHERE state <> 'open' \
                     AND (detected_at < clock_timestamp() - interval '{seconds} seconds' \
                          OR id <= (SELECT max(id) - {DIVERGENCES_MAX} FROM segue.divergence)) \
                     ORDER BY id LIMIT {REMOVED_MAX}) \
                 RETURNING id) \
             DELETE FROM segue.journal WHERE divergence IN (SELECT id FROM gone)"
        ))
        .await
    }

    /// Records what happened to the machinery.
    pub(crate) async fn event(&mut self, kind: &str, text: &str) -> Result<(), ReconcilerError> {
        self.execute(&format!(
            "INSERT INTO segue.event (kind, text) VALUES ({}, {})",
            literal(kind),
            literal(text)
        ))
        .await
    }

    pub(super) async fn execute(&mut self, sql: &str) -> Result<(), ReconcilerError> {
        self.writer.connection().query_simple(sql).await?;
        Ok(())
    }

    /// The first value of a query's answer.
    pub(super) async fn target_text(
        &mut self,
        sql: &str,
    ) -> Result<Option<String>, ReconcilerError> {
        let rows = self.writer.connection().query_simple(sql).await?;
        Ok(rows.first().and_then(|row| text(row, 0)))
    }
}

pub(super) fn text(row: &[Option<Bytes>], place: usize) -> Option<String> {
    let column = row.get(place)?.as_ref()?;
    Some(String::from_utf8_lossy(column).into_owned())
}

pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
