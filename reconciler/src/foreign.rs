//! The foreign intake: reads the target's own stream for writes that are not ours.
//!
//! Every session of Segue marks its writes with an origin `segue_…`; what has another origin, or
//! none, was written by somebody else. Does not judge whether it did harm: the re-read does.

use std::time::Duration;

use apply::logged::ForeignAuthor;
use control::Side;
use protocol::lsn::Lsn;
use protocol::pgoutput::Message;
use protocol::pgoutput::frame::Frame;
use protocol::row::{Image, RowKey};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::error::ReconcilerError;
use crate::relations::{Drift, Relations};
use crate::replication::{FRAMES_IN_A_ROW_MAX, Stream};

/// What the origins of Segue's own sessions begin with.
const OWN_ORIGINS: &str = "segue_";

/// A foreign transaction is handed over in pieces of this many rows.
const ROWS_MAX: usize = 5_000;

const CONFIRM_INTERVAL: Duration = Duration::from_millis(500);

/// Rows that somebody else wrote.
#[derive(Debug)]
pub(crate) struct ForeignPart {
    /// The keys, where they lie in the target's log, and what they were given.
    pub(crate) rows: Vec<(RowKey, Lsn, Option<Image>)>,
    /// Tables that were emptied.
    pub(crate) emptied: Vec<protocol::contract::TableIndex>,
    /// Tables that are no longer what the contract says.
    pub(crate) drifted: Vec<Drift>,
    /// Who wrote all that.
    pub(crate) author: ForeignAuthor,
    /// Where the target's stream goes on after it.
    pub(crate) end_lsn: Lsn,
}

/// Whose transaction is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Author {
    Segue,
    SomebodyElse,
}

/// Reads the target's stream.
pub(crate) struct ForeignIntake {
    stream: Stream,
    relations: Relations,
    parts: mpsc::Sender<ForeignPart>,
    durable: watch::Receiver<Lsn>,
    author: Author,
    part: ForeignPart,
    handed: Lsn,
    received: Lsn,
}

impl ForeignPart {
    fn empty() -> Self {
        Self {
            author: ForeignAuthor::default(),
            rows: Vec::new(),
            emptied: Vec::new(),
            drifted: Vec::new(),
            end_lsn: Lsn::ZERO,
        }
    }
}

impl ForeignIntake {
    pub(crate) fn new(
        stream: Stream,
        relations: Relations,
        parts: mpsc::Sender<ForeignPart>,
        durable: watch::Receiver<Lsn>,
    ) -> Self {
        let start = *durable.borrow();
        Self {
            stream,
            relations,
            parts,
            durable,
            author: Author::SomebodyElse,
            part: ForeignPart::empty(),
            handed: start,
            received: start,
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
        let durable = *self.durable.borrow();
        let pending = durable < self.handed || !self.part.rows.is_empty();
        let durable = if pending {
            durable
        } else {
            durable.max(self.received)
        };
        self.stream
            .confirm(self.received.max(durable), durable)
            .await
    }

    async fn frame(&mut self, frame: Frame) -> Result<(), ReconcilerError> {
        match frame {
            Frame::Keepalive { end, .. } => {
                self.received = self.received.max(end);
                self.confirm().await
            }
            Frame::Data { start, payload, .. } => {
                if self.author == Author::Segue && Message::is_of_a_row(&payload) {
                    return Ok(());
                }
                let message = Message::decode(payload).map_err(|source| {
                    let side = Side::Target;
                    ReconcilerError::Stream { side, source }
                })?;
                self.message(message, start).await
            }
        }
    }

    async fn message(&mut self, message: Message, lsn: Lsn) -> Result<(), ReconcilerError> {
        let foreign = self.author == Author::SomebodyElse;
        let change = match message {
            Message::Begin(begin) => {
                self.author = Author::SomebodyElse;
                self.part = ForeignPart::empty();
                self.part.author.xid = begin.xid;
                self.part.author.committed_at = begin.committed_at;
                return Ok(());
            }
            Message::Origin { name, .. } => {
                if name.starts_with(OWN_ORIGINS) {
                    self.author = Author::Segue;
                }
                self.part.author.origin = Some(name);
                return Ok(());
            }
            Message::Relation(relation) => {
                let drift = self.relations.describe(&relation).await?;
                self.part.drifted.extend(drift);
                return Ok(());
            }
            Message::Commit(commit) => {
                self.received = self.received.max(commit.end_lsn);
                return self.commit(commit.end_lsn).await;
            }
            Message::Insert { relation, new } if foreign => {
                self.relations.change(relation, lsn, None, Some(&new))?
            }
            Message::Update { relation, old, new } if foreign => {
                self.relations
                    .change(relation, lsn, old.as_ref(), Some(&new))?
            }
            Message::Delete { relation, old } if foreign => {
                self.relations.change(relation, lsn, Some(&old), None)?
            }
            Message::Truncate { relations } if foreign => {
                let tables = relations
                    .iter()
                    .filter_map(|oid| self.relations.emptied(*oid));
                self.part.emptied.extend(tables.map(|(table, _)| table));
                return Ok(());
            }
            Message::Insert { .. }
            | Message::Update { .. }
            | Message::Delete { .. }
            | Message::Truncate { .. }
            | Message::Type { .. }
            | Message::Logical { .. }
            // Not asked for.
            | Message::StreamStart(_)
            | Message::StreamStop
            | Message::StreamCommit(_)
            | Message::StreamAbort(_) => return Ok(()),
        };
        if let Some(change) = change {
            let moved = match (change.before, &change.after) {
                (Some(before), Some((after, _))) if before == *after => None,
                (before, _) => before,
            };
            let rows = &mut self.part.rows;
            rows.extend(moved.map(|key| (key, lsn, None)));
            rows.extend(change.after.map(|(key, image)| (key, lsn, Some(image))));
            if rows.len() >= ROWS_MAX {
                // Noted twice is harmless, should this end before the rest.
                self.hand_over(self.handed).await;
            }
        }
        Ok(())
    }

    async fn commit(&mut self, end_lsn: Lsn) -> Result<(), ReconcilerError> {
        let ForeignPart {
            rows,
            emptied,
            drifted,
            ..
        } = &self.part;
        if !rows.is_empty() || !emptied.is_empty() || !drifted.is_empty() {
            self.hand_over(end_lsn).await;
        }
        Ok(())
    }

    async fn hand_over(&mut self, end_lsn: Lsn) {
        let rest = ForeignPart {
            author: self.part.author.clone(),
            ..ForeignPart::empty()
        };
        let mut part = std::mem::replace(&mut self.part, rest);
        part.end_lsn = end_lsn;
        self.handed = end_lsn;
        if self.parts.send(part).await.is_err() {
            tracing::debug!("the applier has ended");
        }
    }
}
