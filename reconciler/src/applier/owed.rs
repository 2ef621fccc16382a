//! Owed rows: read again by key until what was read may be used (rules 8, 10 and 13), and the writes
//! of others at the target, which become owed rows.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use apply::logged::{ForeignTrace, ForeignWrite, FreshRead, FreshRow, Settled, Survival};
use protocol::contract::TableIndex;
use protocol::decide::sweep::has_passed;
use protocol::decide::verdict::OwedWhy;
use protocol::decide::working_set::Tally;
use protocol::lsn::Lsn;
use protocol::row::{Image, RowKey};
use protocol::xid::Xid;
use tokio::time::Instant;

use super::Applier;
use super::housekeeping::text;
use crate::error::ReconcilerError;
use crate::foreign::ForeignPart;

/// Rows read again at once.
const ROWS_MAX: usize = 500;

/// The first pause before a row is read again, doubled each time.
const PAUSE: Duration = Duration::from_millis(50);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A row whose repair is held back is looked at now and then: somebody may have put it right.
const HELD_PAUSE: Duration = Duration::from_mins(10);

/// A log that is far behind does not hold up the repair of a foreign write for longer.
const LOG_PATIENCE: Duration = Duration::from_secs(10);

/// What somebody else gave one row is remembered up to here.
const TRACES_MAX: usize = 8;

/// Rows taken up at once from what an earlier session left; the others when these are settled.
const LOADED_MAX: usize = 100_000;

/// The rows owed, as `segue.owed` holds them, with what only this process knows. Those of stopped
/// tables are not among them.
#[derive(Debug, Default)]
pub(super) struct OwedBook {
    rows: HashMap<RowKey, Owed>,
    /// `segue.owed` may hold more than was taken up.
    is_partial: bool,
    alarmed: bool,
}

#[derive(Debug)]
struct Owed {
    why: String,
    xid: Option<Xid>,
    since: Instant,
    due: Instant,
    pause: Duration,
    /// What somebody else made of the row: images, or none where it was deleted.
    traces: Vec<Option<Image>>,
    /// The stream is to come here first, so that the log's own verdict on the row is not preempted.
    after: Lsn,
    /// The target's position when the row was first seen to differ like a phantom.
    suspected_at: Option<Lsn>,
    /// Whether its repair is held back: nothing is to be done until that or the row changes.
    is_held: bool,
}

impl OwedBook {
    pub(super) fn add(&mut self, key: RowKey, why: &str, xid: Option<Xid>) {
        let now = Instant::now();
        let owed = self.rows.entry(key).or_insert_with(|| Owed {
            why: why.to_owned(),
            xid,
            since: now,
            due: now,
            pause: PAUSE,
            traces: Vec::new(),
            after: Lsn::ZERO,
            suspected_at: None,
            is_held: false,
        });
        owed.xid = owed.xid.max(xid);
        owed.due = now;
        owed.is_held = false;
        if owed.why != OwedWhy::Foreign.label() {
            why.clone_into(&mut owed.why);
        }
    }

    fn trace(&mut self, key: &RowKey, image: Option<Image>, after: Lsn) {
        if let Some(owed) = self.rows.get_mut(key) {
            owed.after = after;
            if owed.traces.len() < TRACES_MAX {
                owed.traces.push(image);
            }
        }
    }

    /// The rows of a table that is stopped wait in `segue.owed` alone.
    pub(super) fn forget_table(&mut self, table: TableIndex) {
        self.rows.retain(|key, _| key.table() != table);
    }

    /// The tables of rows that have been refused for so long, at most so many.
    pub(super) fn refused(&self, bound: Duration, count_max: usize) -> BTreeSet<TableIndex> {
        let refused = self.rows.iter().filter(|(_, owed)| {
            owed.why == OwedWhy::Constraint.label() && owed.since.elapsed() > bound
        });
        let mut tables = BTreeSet::new();
        for (key, _) in refused {
            if tables.len() < count_max {
                tables.insert(key.table());
            }
        }
        tables
    }

    pub(super) fn contains(&self, key: &RowKey) -> bool {
        self.rows.contains_key(key)
    }

    /// Whether rows of transactions that a failover has taken back are not settled yet.
    pub(super) fn has_lost(&self) -> bool {
        let mut rows = self.rows.values();
        rows.any(|owed| owed.why == OwedWhy::Lost.label())
    }

    /// Whether rows of the table wait that are read because everything is.
    pub(super) fn rechecks(&self, table: TableIndex) -> bool {
        let mut rows = self.rows.iter();
        rows.any(|(key, owed)| key.table() == table && owed.why == OwedWhy::Failover.label())
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    fn due(&self, passed: Lsn) -> Vec<RowKey> {
        let now = Instant::now();
        let due = self.rows.iter().filter(|(_, owed)| {
            let has_come = has_passed(passed, owed.after);
            owed.due <= now && (has_come || owed.since.elapsed() > LOG_PATIENCE)
        });
        due.take(ROWS_MAX).map(|(key, _)| key.clone()).collect()
    }

    fn suspect(&mut self, key: &RowKey, target_lsn: Lsn) {
        if let Some(owed) = self.rows.get_mut(key) {
            owed.suspected_at.get_or_insert(target_lsn);
        }
    }

    fn has_suspects(&self, keys: &[RowKey]) -> bool {
        let mut rows = keys.iter().filter_map(|key| self.rows.get(key));
        rows.any(|owed| owed.suspected_at.is_some())
    }

    /// Its repair is held back.
    fn hold(&mut self, key: &RowKey) {
        if let Some(owed) = self.rows.get_mut(key) {
            owed.due = Instant::now() + HELD_PAUSE;
            owed.pause = PAUSE;
            owed.is_held = true;
            if owed.why != OwedWhy::Foreign.label() {
                OwedWhy::Held.label().clone_into(&mut owed.why);
            }
        }
    }

    /// The log has been to these rows: what was held back may be right now.
    pub(super) fn touched<'a>(&mut self, keys: impl Iterator<Item = &'a RowKey>) {
        if self.rows.is_empty() {
            return;
        }
        for key in keys {
            if let Some(owed) = self.rows.get_mut(key).filter(|owed| owed.is_held) {
                owed.is_held = false;
                owed.due = Instant::now();
            }
        }
    }

    /// Repairs of the table go on.
    pub(super) fn resume(&mut self, table: TableIndex) {
        for (key, owed) in &mut self.rows {
            if owed.is_held && key.table() == table {
                owed.is_held = false;
                owed.due = Instant::now();
            }
        }
    }

    fn put_off(&mut self, key: &RowKey) {
        if let Some(owed) = self.rows.get_mut(key) {
            owed.due = Instant::now() + owed.pause;
            owed.pause = (owed.pause * 2).min(PAUSE_MAX);
        }
    }

    /// Whether a row has begun to be owed for longer than the bound; said once until none is.
    pub(super) fn alarm(&mut self, bound_seconds: u64) -> bool {
        let bound = Duration::from_secs(bound_seconds);
        let mut waiting = self.rows.values().filter(|owed| !owed.is_held);
        let late = waiting.any(|owed| owed.since.elapsed() > bound);
        let begins = late && !self.alarmed;
        self.alarmed = late;
        begins
    }
}

impl Applier<'_> {
    /// Takes up what an earlier process left.
    pub(crate) async fn load_owed(&mut self) -> Result<(), ReconcilerError> {
        let sql = format!(
            r#"SELECT "table", encode(key, 'hex'), why, xid::text FROM segue.owed
               WHERE "table" NOT IN (SELECT "table" FROM segue.stopped)
               ORDER BY why = 'lost' DESC LIMIT {LOADED_MAX}"#
        );
        let rows = self.writer.connection().query_simple(&sql).await?;
        self.owed.is_partial = rows.len() >= LOADED_MAX;
        for row in rows {
            let key = self.stored_key(&row);
            let why = text(&row, 2);
            let xid = text(&row, 3).and_then(|xid| xid.parse().ok()).map(Xid::new);
            match (key, why) {
                (Some(key), Some(why)) => self.owed.add(key, &why, xid),
                _ => {
                    return Err(ReconcilerError::Answer {
                        side: control::Side::Target,
                        what: "a row of segue.owed",
                    });
                }
            }
        }
        Ok(())
    }

    /// Where the target's own stream was left, and that we follow it; none if it has no slot.
    pub(crate) async fn foreign_position(
        &mut self,
        slot: &str,
    ) -> Result<Option<Lsn>, ReconcilerError> {
        let exists = format!("SELECT 1::text FROM pg_replication_slots WHERE slot_name = '{slot}'");
        if self.target_text(&exists).await?.is_none() {
            return Ok(None);
        }
        let position = self
            .target_text(&format!(
                "INSERT INTO segue.progress AS held \
                     (stream, epoch, commit_lsn, system_identifier, timeline) \
                 SELECT '{slot}', {}, '0/0', system_identifier::text, 1 FROM pg_control_system() \
                 ON CONFLICT (stream) DO UPDATE SET commit_lsn = held.commit_lsn \
                 RETURNING commit_lsn::text",
                self.identity.epochs.current()
            ))
            .await?;
        Ok(position.and_then(|position| position.parse().ok()))
    }

    /// Whether a stream has ever been followed.
    pub(crate) async fn has_progress(&mut self, stream: &str) -> Result<bool, ReconcilerError> {
        let sql = format!("SELECT 1::text FROM segue.progress WHERE stream = '{stream}'");
        Ok(self.target_text(&sql).await?.is_some())
    }

    /// Reads the rows that are due again and puts them right where that may be done.
    pub(super) async fn read_owed_again(&mut self) -> Result<(), ReconcilerError> {
        if self.owed.is_partial && self.owed.rows.is_empty() {
            self.load_owed().await?;
        }
        let keys = self.owed.due(self.passed);
        if keys.is_empty() {
            return Ok(());
        }
        let tables = keys.iter().map(RowKey::table).collect();
        match self.read_again(keys).await {
            Err(error) if error.is_about_the_schema() => self.misfit(&tables, error).await,
            settled => settled,
        }
    }

    async fn read_again(&mut self, keys: Vec<RowKey>) -> Result<(), ReconcilerError> {
        let cleared_to = self.cleared_to(&keys).await?;
        let read = self.source.read(&keys).await?;
        self.horizon.observe(&read.snapshot);
        let fresh: Vec<FreshRow> = keys
            .into_iter()
            .zip(read.rows)
            .filter_map(|(key, row)| self.fresh(key, row, cleared_to))
            .collect();
        let context = FreshRead {
            snapshot: &read.snapshot,
            horizon: &self.horizon,
            as_of: self.revision(read.as_of)?,
            passed: self.revision(self.passed)?,
        };
        let settlement = self.writer.settle(&fresh, &context).await?;
        let mut tally = Tally::default();
        let mut suspects = Vec::new();
        for (key, settled) in settlement.rows {
            match settled {
                Settled::Later => {
                    self.owed.put_off(&key);
                    continue;
                }
                Settled::Suspected => {
                    self.owed.put_off(&key);
                    suspects.push(key);
                    continue;
                }
                Settled::Held => {
                    tally.held += 1;
                    tally.of_table(key.table(), "held", "");
                    self.owed.hold(&key);
                    continue;
                }
                Settled::Equal => {}
                Settled::Written => {
                    tally.applied += 1;
                    *tally.applied_why.entry("read_again").or_default() += 1;
                    tally.of_table(key.table(), "applied", "read_again");
                }
                Settled::Repaired => {
                    tally.repaired += 1;
                    tally.of_table(key.table(), "repaired", "");
                }
            }
            self.owed.rows.remove(&key);
        }
        let findings = usize::try_from(tally.repaired).unwrap_or(usize::MAX);
        self.stats.judged(&tally, findings);
        self.suspect(&suspects).await
    }

    /// These rows differ now: whoever made them so is in the target's log up to here.
    async fn suspect(&mut self, keys: &[RowKey]) -> Result<(), ReconcilerError> {
        if keys.is_empty() {
            return Ok(());
        }
        let sql = "SELECT pg_current_wal_insert_lsn()::text";
        let here = self.target_text(sql).await?;
        let here: Option<Lsn> = here.and_then(|lsn| lsn.parse().ok());
        let here = here.ok_or(ReconcilerError::Answer {
            side: control::Side::Target,
            what: "a position",
        })?;
        for key in keys {
            self.owed.suspect(key, here);
        }
        Ok(())
    }

    /// Up to where everything that others wrote to the target has been noted; without a slot there
    /// is nothing to wait for.
    async fn cleared_to(&mut self, keys: &[RowKey]) -> Result<Lsn, ReconcilerError> {
        if !self.owed.has_suspects(keys) {
            return Ok(Lsn::ZERO);
        }
        let slot = &self.identity.foreign_stream;
        let sql = format!(
            "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = '{slot}'"
        );
        let confirmed = self.target_text(&sql).await?;
        let confirmed = confirmed.and_then(|lsn| lsn.parse().ok());
        Ok(confirmed.unwrap_or(Lsn::new(u64::MAX)))
    }

    fn fresh(&self, key: RowKey, row: Option<Image>, cleared_to: Lsn) -> Option<FreshRow> {
        let owed = self.owed.rows.get(&key)?;
        let suspected_at = owed.suspected_at;
        let foreign = (!owed.traces.is_empty()).then(|| trace(&owed.traces, row.as_ref()));
        Some(FreshRow {
            xid: owed.xid,
            passed: self.sweep.passed_rev(&key, self.passed),
            survival: if owed.why == OwedWhy::Lost.label() {
                Survival::Lost
            } else {
                Survival::Kept
            },
            is_foreign: owed.why == OwedWhy::Foreign.label(),
            is_held: owed.why == OwedWhy::Held.label(),
            foreign,
            is_cleared: suspected_at.is_some_and(|at| has_passed(cleared_to, at)),
            key,
            row,
        })
    }

    /// Somebody else wrote at the target: noted as open, owed, and read again at once.
    pub(super) async fn take_foreign(&mut self, part: ForeignPart) -> Result<(), ReconcilerError> {
        if part.end_lsn <= *self.foreign_durable.borrow() && part.end_lsn != Lsn::ZERO {
            // Told twice: it was recorded before the last session ended.
            return Ok(());
        }
        self.foreign_drift(&part).await?;
        for table in &part.emptied {
            if self.drift.is_stopped(*table) {
                self.reread_whole(*table).await?;
            } else {
                self.owe_table(*table).await?;
            }
        }
        let (stopped, rows): (Vec<_>, Vec<_>) = part
            .rows
            .into_iter()
            .partition(|(key, ..)| self.is_set_aside(key));
        let stopped: Vec<RowKey> = stopped.into_iter().map(|(key, ..)| key).collect();
        // Of a stopped table nothing can be shown: who wrote it is said when it is read again.
        self.writer.owe(&stopped, OwedWhy::Foreign).await?;
        let writes: Vec<ForeignWrite> = rows
            .iter()
            .map(|(key, target_lsn, _)| ForeignWrite {
                key: key.clone(),
                target_lsn: *target_lsn,
                author: part.author.clone(),
            })
            .collect();
        self.here = self.source.whereabouts(&self.identity.slot).await?;
        let here = self.here.insert_lsn;
        let stream = self.identity.foreign_stream.clone();
        let noted = self.writer.foreign(&writes, &stream, part.end_lsn).await;
        if let Err(error) = noted {
            let tables = writes.iter().map(|write| write.key.table()).collect();
            return if error.is_about_the_schema() {
                self.misfit(&tables, error.into()).await
            } else {
                Err(error.into())
            };
        }
        if !writes.is_empty() {
            tracing::warn!(rows = writes.len(), "somebody else wrote to the target");
        }
        for (key, _, image) in rows {
            self.owed.add(key.clone(), OwedWhy::Foreign.label(), None);
            self.owed.trace(&key, image, here);
        }
        self.foreign_durable.send_replace(part.end_lsn);
        self.read_owed_again().await
    }
}

impl Applier<'_> {
    /// The target's own stream shows a table that is not what the contract says.
    async fn foreign_drift(&mut self, part: &ForeignPart) -> Result<(), ReconcilerError> {
        for drift in &part.drifted {
            if self.drift.is_stopped(drift.table) {
                self.reread_whole(drift.table).await?;
            } else {
                self.drifted(drift).await?;
            }
        }
        Ok(())
    }

    /// Somebody else emptied a table at the target: every row that the source has is owed.
    async fn owe_table(&mut self, index: TableIndex) -> Result<(), ReconcilerError> {
        let contract = Arc::clone(&self.contract);
        let Some(table) = contract.table(index) else {
            return Ok(());
        };
        let text = format!(
            "somebody else emptied the table {} at the target",
            table.name
        );
        tracing::warn!("{text}");
        self.event("foreign_truncate", &text).await?;
        self.source.begin_keys(table).await?;
        loop {
            let keys = self.source.more_keys(index, table).await?;
            if keys.is_empty() {
                return Ok(());
            }
            self.writer.owe(&keys, OwedWhy::Foreign).await?;
            for key in keys {
                self.owed.add(key, OwedWhy::Foreign.label(), None);
            }
        }
    }
}

/// What somebody else's writes differed in from what the source holds now.
fn trace(images: &[Option<Image>], row: Option<&Image>) -> ForeignTrace {
    let mut found = ForeignTrace::default();
    for image in images {
        match (image, row) {
            (None, None) => {}
            (Some(image), Some(row)) => {
                for column in image.differing(row) {
                    found.differed = true;
                    if !found.columns.contains(&column) {
                        found.columns.push(column);
                    }
                }
            }
            (Some(_), None) | (None, Some(_)) => found.differed = true,
        }
    }
    found
}
