//! The applier: the one task that writes at the target.
//!
//! Batches, re-reads, foreign writes, floors and the account take turns here, so that the tests of
//! rule 8 need no further locks. Does not read the streams: parts come through bounded queues.

mod drift;
mod floors;
mod housekeeping;
mod leaves;
mod owed;
mod recheck;
mod repairs;

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use apply::logged::{Applied, LoggedWriter, SourceTransaction};
use control::{Dsn, Names};
use protocol::contract::{Contract, TableIndex};
use protocol::decide::assembly::{LoggedWrite, Segment};
use protocol::decide::failover::Epochs;
use protocol::decide::floor::Floor;
use protocol::decide::reread::Horizon;
use protocol::decide::sweep::Sweep;
use protocol::decide::working_set::Operation;
use protocol::lsn::Lsn;
use protocol::op_id::OpId;
use protocol::pgoutput::Begin;
use protocol::revision::Epoch;
use protocol::xid::Xid;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::drift::DriftBook;
use self::owed::OwedBook;
use self::recheck::RecheckBook;
use crate::error::ReconcilerError;
use crate::foreign::ForeignPart;
use crate::intake::{End, Part, Piece};
use crate::source::{Source, Whereabouts};
use crate::stats::Stats;

/// Rows locked and read at once: two round trips are shared by many, and an early writer that meets
/// one of the locks still gets it within its `lock_timeout`.
const BATCH_ROWS_MAX: usize = 1_000;

/// The same while no mirror is alive: a commit is shared by more.
const LONE_BATCH_ROWS_MAX: usize = 4_000;

/// Floors, sweeps, the account.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(1);

/// How often it is looked whether an owed row is due.
const OWED_INTERVAL: Duration = Duration::from_millis(100);

/// The same while whole tables are read again: the log and the source get their turn.
const RECHECK_PAUSE: Duration = Duration::from_millis(5);

/// How long the log leaves a transaction to the mirror, at least and at most, while one is alive:
/// an early write that comes second is refused, and the row would have been fresh no sooner.
const HEAD_START: RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_millis(250);

/// The head start in multiples of the mirror's usual time from commit to target.
const HEAD_START_FACTOR: u32 = 3;

/// While a mirror is alive, the log holds rows locked for a quarter of the time at most: an early
/// writer that waits for a row that is written all the time would come too late for the next.
const REST_FACTOR: u32 = 3;

/// The rest between two batches, at least and at most: what a batch costs the target is hardly more
/// for twenty rows than for one, and these had their head start anyway.
const REST: RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_millis(100);

/// Transactions that a proxy may still say something of: some seconds of a high load.
const STRANGERS_MAX: usize = 50_000;

/// What an applier works with.
pub(crate) struct Applier<'a> {
    pub(crate) writer: LoggedWriter,
    pub(crate) source: Source,
    pub(crate) contract: Arc<Contract>,
    pub(crate) identity: Identity,
    pub(crate) stats: &'a mut Stats,
    pub(crate) durable: watch::Sender<Lsn>,
    pub(crate) foreign_durable: watch::Sender<Lsn>,
    floor: Floor,
    horizon: Horizon,
    sweep: Sweep,
    owed: OwedBook,
    drift: DriftBook,
    recheck: RecheckBook,
    /// The session is to end, because another one has to begin with what this one has found.
    is_over: bool,
    /// Where the source was when it was asked last.
    here: Whereabouts,
    /// The stream has been applied up to here.
    passed: Lsn,
    /// Where the source was a few seconds ago: what the floor may be raised to.
    history: VecDeque<(Instant, Lsn)>,
    /// A transaction that is applied step by step.
    open: Option<Operation>,
    /// How long the log leaves a transaction to the mirror now.
    head_start: Duration,
    /// When the next batch may lock rows.
    rested: Instant,
    rounds: u64,
    /// Transactions that no proxy has said anything of, their rows by table, and since when.
    strangers: Vec<(OpId, TableIndex, u64, Instant)>,
    /// Tables whose repairs have stopped, as `segue.repair_limit` has them.
    stopped: HashSet<TableIndex>,
    /// How long what is over is kept.
    retention: Duration,
}

/// Which migration this is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) system_identifier: u64,
    pub(crate) epochs: Epochs,
    pub(crate) stream: String,
    pub(crate) slot: String,
    pub(crate) foreign_stream: String,
    pub(crate) names: Names,
    /// The source's and the target's.
    pub(crate) databases: [Dsn; 2],
}

/// Where an applier is told what to do.
pub(crate) struct Queues {
    pub(crate) parts: PartQueue,
    pub(crate) foreign: mpsc::Receiver<ForeignPart>,
}

/// The parts of the stream, each handed out when its time has come.
pub(crate) struct PartQueue {
    parts: mpsc::Receiver<Part>,
    /// Received, and not due yet.
    held: Option<Part>,
}

impl PartQueue {
    pub(crate) const fn new(parts: mpsc::Receiver<Part>) -> Self {
        Self { parts, held: None }
    }

    /// The next part, once it is due. Cancel-safe: what has been received is held.
    async fn next(&mut self, head_start: Duration, rested: Instant) -> Option<Part> {
        if self.held.is_none() {
            self.held = Some(self.parts.recv().await?);
        }
        if let Some(due) = self.held.as_ref().and_then(Part::arrived) {
            tokio::time::sleep_until(rested.max(due + head_start)).await;
        }
        self.held.take()
    }

    /// The next part, if there is one and it is due already.
    fn try_next(&mut self, head_start: Duration) -> Option<Part> {
        let part = self.held.take().or_else(|| self.parts.try_recv().ok())?;
        if part
            .arrived()
            .is_some_and(|arrived| arrived.elapsed() < head_start)
        {
            self.held = Some(part);
            return None;
        }
        Some(part)
    }
}

/// Source transactions that are applied together.
#[derive(Default)]
struct Batch {
    transactions: Vec<SourceTransaction>,
    ends: Vec<End>,
    row_count: usize,
}

impl<'a> Applier<'a> {
    pub(crate) async fn open(
        writer: LoggedWriter,
        mut source: Source,
        contract: Arc<Contract>,
        identity: Identity,
        stats: &'a mut Stats,
    ) -> Result<Self, ReconcilerError> {
        // The contract may be another one than the counts by table are of.
        stats.forget_tables();
        let here = source.whereabouts(&identity.slot).await?;
        let passed = writer.position();
        Ok(Self {
            horizon: Horizon::starting_at(here.snapshot.xmax()),
            durable: watch::Sender::new(passed),
            foreign_durable: watch::Sender::new(Lsn::ZERO),
            floor: Floor::unknown(),
            sweep: Sweep::default(),
            owed: OwedBook::default(),
            drift: DriftBook::default(),
            recheck: RecheckBook::default(),
            is_over: false,
            history: VecDeque::new(),
            open: None,
            head_start: Duration::ZERO,
            rested: Instant::now(),
            rounds: 0,
            strangers: Vec::new(),
            stopped: HashSet::new(),
            retention: Duration::MAX,
            writer,
            source,
            contract,
            identity,
            stats,
            here,
            passed,
        })
    }

    /// Works until it is cancelled, a queue ends or another session has to go on.
    pub(crate) async fn run(
        mut self,
        mut queues: Queues,
        cancel: CancellationToken,
    ) -> Result<(), ReconcilerError> {
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING_INTERVAL);
        housekeeping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut owed = tokio::time::interval(OWED_INTERVAL);
        owed.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.is_over {
            // In no fixed order: housekeeping that takes long must not keep the log from its turn.
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                _ = housekeeping.tick(), if self.open.is_none() => {
                    self.keep_house().await?;
                    housekeeping.reset();
                }
                _ = owed.tick(), if self.open.is_none() => {
                    self.read_owed_again().await?;
                    self.let_go().await?;
                    self.recheck_some().await?;
                    if self.recheck.is_reading() {
                        owed.reset_after(RECHECK_PAUSE);
                    } else {
                        owed.reset();
                    }
                }
                part = queues.foreign.recv(), if self.open.is_none() => match part {
                    Some(part) => self.take_foreign(part).await?,
                    None => return Ok(()),
                },
                part = queues.parts.next(self.head_start, self.rested),
                    if !self.recheck.holds_the_log() => match part {
                    Some(part) => self.apply_parts(part, &mut queues.parts).await?,
                    None => return Ok(()),
                },
            }
        }
        Ok(())
    }

    /// Applies a part and what has come behind it.
    async fn apply_parts(
        &mut self,
        first: Part,
        parts: &mut PartQueue,
    ) -> Result<(), ReconcilerError> {
        let begun = Instant::now();
        let mut batch = Batch::default();
        let mut is_full = false;
        let mut position = self.passed;
        let rows_max = if self.head_start > Duration::ZERO {
            BATCH_ROWS_MAX
        } else {
            LONE_BATCH_ROWS_MAX
        };
        let mut next = Some(first);
        while let Some(part) = next {
            match part {
                Part::Position(lsn) => position = position.max(lsn),
                Part::Changes(piece) => self.add(piece, &mut batch).await?,
                Part::Drift(drift) => {
                    self.flush(&mut batch).await?;
                    self.drifted(&drift).await?;
                }
            }
            is_full = batch.row_count >= rows_max;
            next = if is_full || self.is_over {
                None
            } else {
                parts.try_next(self.head_start)
            };
        }
        self.flush(&mut batch).await?;
        // A log that is behind does not rest.
        if self.head_start > Duration::ZERO && !is_full {
            let rest = begun.elapsed() * REST_FACTOR;
            self.rested = Instant::now() + rest.clamp(*REST.start(), *REST.end());
        }
        self.passed = self.passed.max(position);
        Ok(())
    }

    async fn add(&mut self, piece: Piece, batch: &mut Batch) -> Result<(), ReconcilerError> {
        let is_replay = piece
            .end
            .is_some_and(|end| end.end_lsn <= self.writer.position());
        if is_replay && self.open.is_none() {
            return Ok(());
        }
        let Some(end) = piece.end.filter(|_| self.open.is_none()) else {
            self.flush(batch).await?;
            return self.step(piece).await;
        };
        match whole(piece.segments) {
            Ok(writes) => {
                batch.row_count += writes.len();
                batch.transactions.push(SourceTransaction {
                    op_id: self.named(&piece.begin).0,
                    xid: self.xid(piece.begin.xid),
                    end_lsn: end.end_lsn,
                    writes,
                });
                batch.ends.push(end);
                Ok(())
            }
            Err(segments) => {
                self.flush(batch).await?;
                self.step(Piece { segments, ..piece }).await
            }
        }
    }

    async fn flush(&mut self, batch: &mut Batch) -> Result<(), ReconcilerError> {
        let Batch {
            mut transactions,
            ends,
            ..
        } = std::mem::take(batch);
        if transactions.is_empty() || self.is_over {
            return Ok(());
        }
        self.set_aside(&mut transactions).await?;
        let applied = match self.writer.apply(&transactions, &self.floor).await {
            Err(error) if error.is_about_the_schema() => {
                let writes = transactions.iter().flat_map(|it| &it.writes);
                let tables = writes.map(|write| write.key.table()).collect();
                return self.misfit(&tables, error.into()).await;
            }
            applied => applied?,
        };
        self.took(applied);
        let writes = transactions.iter().flat_map(|it| &it.writes);
        self.owed.touched(writes.map(|write| &write.key));
        for (transaction, end) in transactions.iter().zip(&ends) {
            self.horizon.applied(transaction.xid);
            self.stats.proven(end);
        }
        self.confirm();
        Ok(())
    }

    /// A piece of a large transaction, or one that empties tables.
    async fn step(&mut self, piece: Piece) -> Result<(), ReconcilerError> {
        if self.is_over {
            return Ok(());
        }
        let operation = match &self.open {
            Some(operation) => operation.clone(),
            None => self.begin(&piece.begin).await?,
        };
        self.open = Some(operation.clone());
        for segment in &piece.segments {
            match self.step_segment(&operation, segment).await {
                Err(error) if error.is_about_the_schema() => {
                    return self.misfit(&tables_of(segment), error).await;
                }
                stepped => stepped?,
            }
        }
        if let Some(end) = piece.end {
            self.writer.commit(end.end_lsn).await?;
            self.open = None;
            self.horizon.applied(operation.xid);
            self.stats.proven(&end);
            self.confirm();
        }
        Ok(())
    }

    async fn step_segment(
        &mut self,
        operation: &Operation,
        segment: &Segment,
    ) -> Result<(), ReconcilerError> {
        match segment {
            Segment::Writes(writes) => {
                let writes = self.set_writes_aside(writes, operation.xid).await?;
                for writes in writes.chunks(BATCH_ROWS_MAX) {
                    let applied = self.writer.step(operation, writes, &self.floor).await?;
                    self.took(applied);
                    self.owed.touched(writes.iter().map(|write| &write.key));
                }
            }
            Segment::Truncate(truncation) => {
                let truncation = self.set_truncation_aside(truncation).await?;
                let truncation = self.owe_foreign_leaves(truncation, operation.xid).await?;
                self.writer.truncate(&truncation).await?;
                self.horizon.truncated(operation.xid);
            }
        }
        Ok(())
    }

    async fn begin(&mut self, begin: &Begin) -> Result<Operation, ReconcilerError> {
        let named = self.named(begin);
        let op_id = named.0;
        self.writer.begin().await?;
        let outcomes = self.writer.outcomes(&[op_id]).await?;
        Ok(self.writer.operation(named, &outcomes))
    }

    fn took(&mut self, applied: Applied) {
        self.stats.judged(&applied.tally, applied.findings);
        let now = Instant::now();
        let room = STRANGERS_MAX.saturating_sub(self.strangers.len());
        let strangers = applied.unmirrored.into_iter().take(room);
        self.strangers
            .extend(strangers.map(|(op_id, table, rows)| (op_id, table, rows, now)));
        for row in applied.owed {
            self.owed.add(row.key, row.why.label(), row.xid);
        }
    }

    fn confirm(&mut self) {
        let position = self.writer.position();
        self.passed = self.passed.max(position);
        self.durable.send_replace(position);
    }

    fn xid(&self, low: u32) -> Xid {
        Xid::extend(low, self.here.snapshot.xmax())
    }

    /// A source transaction's key, its id, and the epoch of its commit.
    fn named(&self, begin: &Begin) -> (OpId, Xid, Epoch) {
        let xid = self.xid(begin.xid);
        let epoch = self.identity.epochs.at(begin.commit_lsn);
        (
            OpId::of(self.identity.system_identifier, epoch, xid),
            xid,
            epoch,
        )
    }
}

fn tables_of(segment: &Segment) -> BTreeSet<TableIndex> {
    match segment {
        Segment::Writes(writes) => writes.iter().map(|write| write.key.table()).collect(),
        Segment::Truncate(truncation) => truncation.tables.iter().map(|(it, _)| *it).collect(),
    }
}

/// The writes of a transaction that can be applied as a set, or its segments.
fn whole(mut segments: Vec<Segment>) -> Result<Vec<LoggedWrite>, Vec<Segment>> {
    match (segments.pop(), segments.is_empty()) {
        (None, _) => Ok(Vec::new()),
        (Some(Segment::Writes(writes)), true) => Ok(writes),
        (Some(last), _) => {
            segments.push(last);
            Err(segments)
        }
    }
}
