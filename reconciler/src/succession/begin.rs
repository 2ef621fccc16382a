//! The beginning of a new epoch: the slot, one transaction of the target, and then word of it to the
//! proxies through the source.
//!
//! Interrupted before the transaction has committed it begins from the start, and behind it the next
//! session says the rest. Does not open the gate again: the applier does, when lost rows are settled.

use apply::logged::LoggedError;
use control::schema::ROWS_LOCK;
use control::{ControlError, Side};
use protocol::decide::failover::{
    Continuation, Doubt, Followed, Gap, Recheck, SlotState, Standing, Succession, recognise,
};
use protocol::lsn::Lsn;
use protocol::revision::Epoch;

use super::entries::{self, Parting};
use super::{Progress, Sides, announce};
use crate::error::ReconcilerError;
use crate::replication::System;

/// From here on slots can be kept on standbys by the server itself.
const VERSION_FAILOVER_SLOTS: u32 = 170_000;

/// What a new epoch is made of.
struct Beginning<'a> {
    system: &'a System,
    progress: &'a Progress,
    epoch: Epoch,
    fork: Lsn,
    /// Where the stream goes on.
    start: Lsn,
    is_gap: bool,
}

/// Begins the epoch of the server that has been found. Durable when it returns.
pub(super) async fn begin(
    sides: &mut Sides<'_>,
    system: &System,
    progress: &Progress,
    succession: &Succession,
) -> Result<(), ReconcilerError> {
    let epoch = succession.epoch.ok_or(ReconcilerError::EpochsUsedUp)?;
    let (start, is_gap) = match succession.stream {
        Continuation::Resume(lsn) => (lsn, false),
        Continuation::NewSlot(gap) => (slot(sides, system, gap).await?, true),
    };
    let beginning = Beginning {
        system,
        progress,
        epoch,
        fork: succession.fork.unwrap_or(start),
        start,
        is_gap,
    };
    sides.target.query_simple("BEGIN").await?;
    let said = match write(sides, &beginning, succession).await {
        Ok(said) => said,
        Err(error) => {
            sides.target.query_simple("ROLLBACK").await?;
            return Err(error);
        }
    };
    sides.target.query_simple("COMMIT").await?;
    tracing::warn!("{said}");
    let mut epochs = progress.epochs.clone();
    epochs.begin(epoch, beginning.fork);
    announce(sides.source, &epochs, system.found.history.timeline).await
}

/// A slot to begin anew with, and where it begins. One that has only been read too far has all that
/// comes from there.
async fn slot(sides: &Sides<'_>, system: &System, gap: Gap) -> Result<Lsn, ReconcilerError> {
    let name = &sides.names.slot;
    if let (Gap::Ahead, SlotState::Readable { confirmed }) = (gap, system.found.slot) {
        return Ok(confirmed);
    }
    let failed = |error: tokio_postgres::Error| {
        let doing = "make the slot again";
        ReconcilerError::Control(ControlError::query(Side::Source, doing, &error))
    };
    let drop = format!(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
         WHERE slot_name = '{name}'"
    );
    sides.source.batch_execute(&drop).await.map_err(failed)?;
    let kept = if system.version >= VERSION_FAILOVER_SLOTS {
        ", failover => true"
    } else {
        ""
    };
    let make = format!(
        "SELECT lsn::text FROM pg_create_logical_replication_slot('{name}', 'pgoutput'{kept})"
    );
    let row = sides.source.query_one(&make, &[]).await.map_err(failed)?;
    let lsn: String = row.get(0);
    lsn.parse().map_err(|_| ReconcilerError::Answer {
        side: Side::Source,
        what: "where a new slot begins",
    })
}

/// Everything that the new epoch changes at the target; says what it was.
async fn write(
    sides: &mut Sides<'_>,
    beginning: &Beginning<'_>,
    succession: &Succession,
) -> Result<String, ReconcilerError> {
    let Beginning {
        system,
        progress,
        epoch,
        fork,
        is_gap,
        ..
    } = beginning;
    let followed = &progress.followed;
    let timeline = system.found.history.timeline;
    move_progress(sides, beginning).await?;
    // Early writers that are under way end first; later ones find the gate gone.
    let shut = format!("SELECT pg_advisory_xact_lock({ROWS_LOCK})");
    sides.target.query_simple(&shut).await?;
    let now = Progress::read_floor(sides.target, followed).await?;
    let recheck = match recognise(&now, &system.found) {
        Standing::Successor(now) => now.recheck,
        Standing::Same | Standing::Standby | Standing::Outdated | Standing::OtherSystem => {
            succession.recheck
        }
    };
    sides
        .target
        .query_simple("DELETE FROM segue.mirror_gate")
        .await?;
    let lost = if succession.fork.is_some() {
        let parting = Parting {
            epochs: &progress.epochs,
            fork: *fork,
            position: followed.position,
        };
        entries::part(sides.target, sides.source, &parting).await?
    } else {
        0
    };
    // No early write of an older epoch enters any more. What the log has yet to verify it will find,
    // unless it begins anew.
    let unverified = if *is_gap {
        r#"OR NOT EXISTS (SELECT FROM segue.owed o
                          WHERE o."table" = r."table" AND o.key = r.key AND o.why = 'lost')"#
    } else {
        ""
    };
    let tables = recheck_sql(sides, recheck, *fork, *epoch);
    let said = said(beginning, succession, recheck, lost);
    let (text, history) = (quoted(&said), quoted(&system.found.history.to_string()));
    let sql = format!(
        "DELETE FROM segue.row_rev r WHERE verified {unverified}; \
         {tables} \
         INSERT INTO segue.epoch (epoch, timeline, history, begins_at, why) \
         VALUES ({epoch}, {timeline}, {history}, '{fork}', 'failover'); \
         UPDATE segue.phase SET epoch = {epoch}, timeline = {timeline}; \
         INSERT INTO segue.event (kind, text) VALUES ('failover', {text})"
    );
    sides.target.query_simple(&sql).await?;
    Ok(said)
}

/// By compare-and-set, as the log moves it: an older self ends first, or has displaced us.
async fn move_progress(
    sides: &mut Sides<'_>,
    beginning: &Beginning<'_>,
) -> Result<(), ReconcilerError> {
    let followed = &beginning.progress.followed;
    let (stream, position) = (&sides.names.stream, followed.position);
    let sql = format!(
        "UPDATE segue.progress SET epoch = {}, timeline = {}, commit_lsn = '{}', holder = NULL \
         WHERE stream = '{stream}' AND epoch = {} AND timeline = {} AND commit_lsn = '{position}' \
         RETURNING stream",
        beginning.epoch,
        beginning.system.found.history.timeline,
        beginning.start,
        followed.epoch,
        followed.history.timeline,
    );
    if sides.target.query_simple(&sql).await?.is_empty() {
        return Err(ReconcilerError::Logged(LoggedError::Displaced {
            stream: stream.clone(),
            expected: position,
        }));
    }
    Ok(())
}

/// Puts down which tables are read again as a whole.
fn recheck_sql(sides: &Sides<'_>, recheck: Recheck, fork: Lsn, epoch: Epoch) -> String {
    let again = "ON CONFLICT (\"table\") DO UPDATE SET epoch = excluded.epoch, rows_read = 0;";
    match recheck {
        Recheck::LostEntries => format!(
            "INSERT INTO segue.recheck (\"table\", epoch) \
             SELECT \"table\", {epoch} FROM segue.table_floor \
             WHERE (floor & {}) >= {} {again}",
            (1_u64 << 55) - 1,
            fork.as_u64()
        ),
        Recheck::Everything(_) => {
            let tables = sides.phase.contract.tables.iter();
            let rows: Vec<String> = tables
                .map(|table| format!("({}, {epoch})", quoted(&table.name)))
                .collect();
            if rows.is_empty() {
                return String::new();
            }
            let rows = rows.join(", ");
            format!("INSERT INTO segue.recheck (\"table\", epoch) VALUES {rows} {again}")
        }
    }
}

/// What a person reads of it.
fn said(
    beginning: &Beginning<'_>,
    succession: &Succession,
    recheck: Recheck,
    lost: usize,
) -> String {
    let Beginning {
        system,
        progress,
        epoch,
        fork,
        start,
        ..
    } = beginning;
    let (from, to) = (
        progress.followed.history.timeline,
        system.found.history.timeline,
    );
    let stream = match succession.stream {
        Continuation::Resume(_) => {
            format!("the slot has survived, and the stream goes on behind {start}")
        }
        Continuation::NewSlot(gap) => format!(
            "{}, so a new stream begins at {start}",
            match gap {
                Gap::Absent => "the slot is not there",
                Gap::Lost => "the slot is invalidated",
                Gap::Ahead => "the slot is further than the target",
                Gap::UnknownFork => "nobody knows where the two histories part",
            }
        ),
    };
    let again = match recheck {
        Recheck::LostEntries => String::new(),
        Recheck::Everything(doubt) => format!(
            "; every table is read again, because {}",
            match doubt {
                Doubt::Gap(_) => "what changed before is not in the log",
                Doubt::NoEntries => "the target had lost its account of recent writes",
                Doubt::FloorAboveFork =>
                    "the standby was further behind than recent writes are remembered",
            }
        ),
    };
    format!(
        "the source has failed over from timeline {from} to {to}: epoch {epoch} begins at {fork}; \
         {stream}; {lost} rows of transactions that the new source does not have are read again{again}"
    )
}

/// What a session that goes on writes down: the history, where it was not known when the epoch
/// began, and at the source which timeline the epoch is of.
pub(super) async fn remember(
    sides: &mut Sides<'_>,
    system: &System,
    progress: &Progress,
) -> Result<(), ReconcilerError> {
    let Followed {
        epoch, position, ..
    } = &progress.followed;
    let timeline = system.found.history.timeline;
    let history = quoted(&system.found.history.to_string());
    let sql = format!(
        "INSERT INTO segue.epoch AS held (epoch, timeline, history, begins_at, why, verified_at) \
         VALUES ({epoch}, {timeline}, {history}, '{position}', 'setup', clock_timestamp()) \
         ON CONFLICT (epoch) DO UPDATE SET history = excluded.history \
         WHERE held.history = '' AND excluded.history <> ''; \
         UPDATE segue.phase SET epoch = {epoch}, timeline = {timeline} \
         WHERE epoch <> {epoch} OR timeline IS DISTINCT FROM {timeline}"
    );
    sides.target.query_simple(&sql).await?;
    announce(sides.source, &progress.epochs, timeline).await
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
