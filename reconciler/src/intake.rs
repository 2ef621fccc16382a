//! The intake: reads the source's stream, assembles transactions and hands them to the applier.
//!
//! Large transactions come as they run; they wait in the spool until they commit, and are read from
//! there as if they had just come.
//!
//! What it may tell the source to forget is what the applier has made durable at the target; while
//! nothing is under way, also what held nothing for us. Does not write anywhere.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use control::Side;
use protocol::decide::assembly::{Assembly, Segment, Truncation};
use protocol::lsn::Lsn;
use protocol::pgoutput::frame::{Frame, ReplyWanted};
use protocol::pgoutput::{Begin, Commit, Message, StreamCommit, streamed};
use protocol::reader::ReadError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::ReconcilerError;
use crate::relations::{Drift, Relations};
use crate::replication::{FRAMES_IN_A_ROW_MAX, Stream};
use crate::spool::{Spool, Write};

/// A transaction of more changes is applied in pieces: what is locked and held at once is bounded.
const CHANGES_MAX: usize = 10_000;

/// The same in bytes of values.
const BYTES_MAX: usize = 16 << 20;

/// What may wait for the applier: a few of the largest pieces.
const QUEUE_KIBIBYTES_MAX: u32 = 64 << 10;

/// Pieces that may wait for the applier.
pub(crate) const QUEUE_PARTS_MAX: usize = 4096;

/// Well below `wal_sender_timeout` (60 s by default, and never below 1 s in practice).
const CONFIRM_INTERVAL: Duration = Duration::from_millis(500);

/// What ends a block.
const STREAM_STOP: u8 = b'E';

/// A piece of a source transaction, or a position.
#[derive(Debug)]
pub(crate) enum Part {
    /// Changes of one transaction.
    Changes(Piece),
    /// Everything up to here has been sent, and nothing was for us since the last piece.
    Position(Lsn),
    /// From here on a table is no longer what the contract says.
    Drift(Drift),
}

impl Part {
    /// When a whole transaction arrived; none for what need not wait.
    pub(crate) fn arrived(&self) -> Option<Instant> {
        match self {
            Self::Changes(piece) => piece.end.map(|end| end.arrived),
            Self::Position(_) | Self::Drift(_) => None,
        }
    }
}

/// A source transaction, or a stretch of a large one.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) begin: Begin,
    pub(crate) segments: Vec<Segment>,
    /// There with the last piece.
    pub(crate) end: Option<End>,
    /// Keeps the queue within its bound in bytes.
    pub(crate) _room: OwnedSemaphorePermit,
}

/// The end of a source transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) end_lsn: Lsn,
    /// How old the commit was when the source sent it, by the source's own clock.
    pub(crate) age_when_sent: Duration,
    pub(crate) arrived: Instant,
}

/// A transaction of which the Commit has not come.
struct Open {
    begin: Begin,
    assembly: Assembly,
}

/// What an intake works with.
pub(crate) struct Incoming {
    pub(crate) stream: Stream,
    pub(crate) relations: Relations,
    pub(crate) spool: Spool,
}

/// Reads one stream.
pub(crate) struct Intake {
    stream: Stream,
    relations: Relations,
    spool: Spool,
    parts: mpsc::Sender<Part>,
    durable: watch::Receiver<Lsn>,
    room: Arc<Semaphore>,
    open: Option<Open>,
    /// The end of the last transaction handed over.
    handed: Lsn,
    /// The furthest position that the source has told.
    received: Lsn,
    /// When the source was answered last.
    confirmed_at: Instant,
}

impl Intake {
    pub(crate) fn new(
        incoming: Incoming,
        parts: mpsc::Sender<Part>,
        durable: watch::Receiver<Lsn>,
    ) -> Self {
        let start = *durable.borrow();
        Self {
            stream: incoming.stream,
            relations: incoming.relations,
            spool: incoming.spool,
            parts,
            durable,
            room: Arc::new(Semaphore::new(QUEUE_KIBIBYTES_MAX as usize)),
            open: None,
            handed: start,
            received: start,
            confirmed_at: Instant::now(),
        }
    }

    /// Runs until it is cancelled or the stream breaks.
    pub(crate) async fn run(mut self, cancel: CancellationToken) -> Result<(), ReconcilerError> {
        let mut interval = tokio::time::interval(CONFIRM_INTERVAL);
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    self.confirm().await?;
                    self.stream.close().await;
                    return Ok(());
                }
                changed = self.durable.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    self.confirm().await?;
                }
                _ = interval.tick() => self.confirm().await?,
                frame = self.stream.next() => {
                    self.frame(frame?).await?;
                    self.take_arrived().await?;
                }
            }
        }
    }

    /// What came together with a frame: waiting for each by itself would cost more than taking it.
    async fn take_arrived(&mut self) -> Result<(), ReconcilerError> {
        for _ in 0..FRAMES_IN_A_ROW_MAX {
            match self.stream.arrived()? {
                Some(frame) => self.frame(frame).await?,
                None => break,
            }
        }
        Ok(())
    }

    async fn confirm(&mut self) -> Result<(), ReconcilerError> {
        let durable = *self.durable.borrow_and_update();
        let idle = self.open.is_none() && durable >= self.handed;
        let durable = if idle {
            durable.max(self.received)
        } else {
            durable
        };
        self.confirmed_at = Instant::now();
        self.stream.confirm(self.received, durable).await
    }

    async fn frame(&mut self, frame: Frame) -> Result<(), ReconcilerError> {
        match frame {
            Frame::Keepalive { end, reply, .. } => {
                self.received = self.received.max(end);
                if self.open.is_none() {
                    // The applier hears of it in its turn, or of a later one.
                    if let Err(error) = self.parts.try_send(Part::Position(end)) {
                        tracing::trace!(%error, "position not handed over");
                    }
                }
                if reply == ReplyWanted::Now || self.open.is_none() {
                    self.confirm().await?;
                }
                Ok(())
            }
            Frame::Data { start, payload, .. } if self.is_kept(&payload) => {
                self.keep(start, payload).await
            }
            Frame::Data {
                start,
                sent_at,
                payload,
            } => {
                let message = Message::decode(payload).map_err(unreadable)?;
                self.message(message, start, sent_at).await
            }
        }
    }

    /// Whether a message is part of a block, and not its end.
    fn is_kept(&self, payload: &Bytes) -> bool {
        self.spool.in_block() && payload.first() != Some(&STREAM_STOP)
    }

    /// Keeps a message of a transaction that has not ended.
    async fn keep(&mut self, lsn: Lsn, payload: Bytes) -> Result<(), ReconcilerError> {
        // Whose work it is at the source does not matter.
        let Some(owner) = streamed::owner(&payload).map_err(unreadable)? else {
            return Ok(());
        };
        let write = self.spool.add(owner, lsn, payload)?;
        self.write(write).await
    }

    async fn write(&mut self, write: Option<Write>) -> Result<(), ReconcilerError> {
        match write {
            None => Ok(()),
            Some(write) => {
                let written = self.meanwhile(write.run()).await?;
                written.map_err(|source| self.spool.failed(source))
            }
        }
    }

    async fn message(
        &mut self,
        message: Message,
        lsn: Lsn,
        sent_at: i64,
    ) -> Result<(), ReconcilerError> {
        match message {
            Message::Begin(begin) => {
                let assembly = Assembly::default();
                self.open = Some(Open { begin, assembly });
                Ok(())
            }
            Message::Commit(commit) => self.commit(commit, sent_at).await,
            Message::StreamStart(start) => self.spool.start(start),
            Message::StreamStop => {
                let write = self.spool.stop()?;
                self.write(write).await
            }
            Message::StreamAbort(abort) => self.spool.abort(abort),
            Message::StreamCommit(StreamCommit { xid, commit }) => {
                self.replay(xid, commit).await?;
                self.commit(commit, sent_at).await
            }
            Message::Relation(_)
            | Message::Insert { .. }
            | Message::Update { .. }
            | Message::Delete { .. }
            | Message::Truncate { .. }
            | Message::Origin { .. }
            | Message::Type { .. }
            | Message::Logical { .. } => self.change(message, lsn).await,
        }
    }

    /// Reads a transaction from the spool, at its place in the order of commits.
    async fn replay(&mut self, xid: u32, commit: Commit) -> Result<(), ReconcilerError> {
        let begin = Begin {
            commit_lsn: commit.commit_lsn,
            committed_at: commit.committed_at,
            xid,
        };
        let assembly = Assembly::default();
        self.open = Some(Open { begin, assembly });
        let mut reading = self.spool.commit(xid)?;
        // Without an applier nobody waits for the rest.
        while !self.parts.is_closed() {
            while let Some(record) = reading.next() {
                let owned = streamed::decode(record.payload).map_err(unreadable)?;
                if reading.replay().counts(owned.owner) {
                    self.change(owned.message, record.lsn).await?;
                }
            }
            let Some(more) = reading.more() else { break };
            let part = self.meanwhile(more).await?;
            reading.feed(&part.map_err(|source| self.spool.failed(source))?);
        }
        Ok(())
    }

    /// What stands between the beginning and the end of a transaction.
    async fn change(&mut self, message: Message, lsn: Lsn) -> Result<(), ReconcilerError> {
        match message {
            Message::Relation(relation) => {
                let drift = self.relations.describe(&relation).await?;
                self.tell(drift).await
            }
            Message::Insert { relation, new } => {
                let change = self.relations.change(relation, lsn, None, Some(&new))?;
                self.add(change).await
            }
            Message::Update { relation, old, new } => {
                let change = self
                    .relations
                    .change(relation, lsn, old.as_ref(), Some(&new))?;
                self.add(change).await
            }
            Message::Delete { relation, old } => {
                let change = self.relations.change(relation, lsn, Some(&old), None)?;
                self.add(change).await
            }
            Message::Truncate { relations } => {
                let tables = relations.iter();
                let tables = tables
                    .filter_map(|oid| self.relations.emptied(*oid))
                    .collect();
                if let Some(open) = &mut self.open {
                    open.assembly.truncate(Truncation { lsn, tables });
                }
                Ok(())
            }
            Message::Origin { .. }
            | Message::Type { .. }
            | Message::Logical { .. }
            | Message::Begin(_)
            | Message::Commit(_)
            | Message::StreamStart(_)
            | Message::StreamStop
            | Message::StreamCommit(_)
            | Message::StreamAbort(_) => Ok(()),
        }
    }

    /// Goes before the changes that it is about: those of a transaction under way have not been
    /// handed over.
    async fn tell(&mut self, drift: Option<Drift>) -> Result<(), ReconcilerError> {
        let Some(drift) = drift else { return Ok(()) };
        let parts = self.parts.clone();
        if let Ok(place) = self.meanwhile(parts.reserve()).await? {
            place.send(Part::Drift(drift));
        }
        Ok(())
    }

    async fn commit(&mut self, commit: Commit, sent_at: i64) -> Result<(), ReconcilerError> {
        let age = sent_at.saturating_sub(commit.committed_at);
        let end = End {
            end_lsn: commit.end_lsn,
            age_when_sent: Duration::from_micros(u64::try_from(age).unwrap_or(0)),
            arrived: Instant::now(),
        };
        self.received = self.received.max(commit.end_lsn);
        self.hand_over(Some(end)).await?;
        self.open = None;
        self.handed = commit.end_lsn;
        Ok(())
    }

    async fn add(
        &mut self,
        change: Option<protocol::decide::assembly::Change>,
    ) -> Result<(), ReconcilerError> {
        let (Some(change), Some(open)) = (change, &mut self.open) else {
            return Ok(());
        };
        open.assembly.change(change);
        if open.assembly.count() >= CHANGES_MAX || open.assembly.size() >= BYTES_MAX {
            self.hand_over(None).await?;
        }
        Ok(())
    }

    /// Hands over what has been assembled; while the queue is full, the source is still answered.
    async fn hand_over(&mut self, end: Option<End>) -> Result<(), ReconcilerError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let begin = open.begin;
        let kibibytes = u32::try_from(open.assembly.size() >> 10).unwrap_or(u32::MAX);
        let segments = open.assembly.take();
        let wanted = kibibytes.clamp(1, QUEUE_KIBIBYTES_MAX);
        let free = Arc::clone(&self.room).try_acquire_many_owned(wanted);
        let room = if let Ok(room) = free {
            room
        } else {
            let room = Arc::clone(&self.room).acquire_many_owned(wanted);
            let Ok(room) = self.meanwhile(room).await? else {
                return Ok(());
            };
            room
        };
        let parts = self.parts.clone();
        let piece = Piece {
            begin,
            segments,
            end,
            _room: room,
        };
        let Err(full) = parts.try_send(Part::Changes(piece)) else {
            return Ok(());
        };
        // A closed queue means that the applier has ended; so will this task.
        if let Ok(place) = self.meanwhile(parts.reserve()).await? {
            place.send(full.into_inner());
        }
        Ok(())
    }

    /// Waits for `wanted` and answers the source meanwhile, and between many short waits.
    async fn meanwhile<T>(
        &mut self,
        wanted: impl Future<Output = T>,
    ) -> Result<T, ReconcilerError> {
        tokio::pin!(wanted);
        loop {
            let due = self.confirmed_at + CONFIRM_INTERVAL;
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(due) => self.confirm().await?,
                done = &mut wanted => return Ok(done),
            }
        }
    }
}

const fn unreadable(source: ReadError) -> ReconcilerError {
    ReconcilerError::Stream {
        side: Side::Source,
        source,
    }
}
