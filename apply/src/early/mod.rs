//! Early writes: what the mirror brings, whole source transactions, one or several of them in one
//! target transaction.
//!
//! Every group passes `segue.admit` first, which holds rules 1, 2 and 5, and its rows follow in the
//! same target transaction. What is refused or fails takes its group along, and is named, so that
//! the others can go again. Does not queue, retry or decide what to mirror.

mod admit;
mod group;
mod writer;

use std::time::SystemTime;

use protocol::contract::TableIndex;
use protocol::op_id::OpId;
use protocol::revision::{Epoch, Revision};
use protocol::row::{Image, RowKey};
use protocol::xid::Xid;

pub use writer::EarlyWriter;

/// The effect of one committed source transaction.
#[derive(Debug, Clone)]
pub struct EarlyTransaction {
    /// Its idempotency key.
    pub op_id: OpId,
    /// The epoch under which it was captured.
    pub epoch: Epoch,
    /// Its id at the source.
    pub xid: Xid,
    /// When the proxy saw the COMMIT succeed.
    pub committed_at: SystemTime,
    /// The last version of each row that it wrote: no key comes twice.
    pub rows: Vec<EarlyRow>,
}

impl EarlyTransaction {
    /// How many bytes of value it holds.
    pub fn size(&self) -> usize {
        self.rows.iter().map(EarlyRow::size).sum()
    }
}

/// One row version.
#[derive(Debug, Clone)]
pub struct EarlyRow {
    /// Which row.
    pub key: RowKey,
    /// Which version of it.
    pub rev: Revision,
    /// What was done to it.
    pub write: EarlyWrite,
}

impl EarlyRow {
    fn size(&self) -> usize {
        let image = match &self.write {
            EarlyWrite::Upsert(image) => image.size(),
            EarlyWrite::Delete => 0,
        };
        image + self.key.bytes().len()
    }
}

/// What a source transaction did to a row.
#[derive(Debug, Clone)]
pub enum EarlyWrite {
    /// Inserted it or changed it; the row is now this.
    Upsert(Image),
    /// Deleted it.
    Delete,
}

/// What became of a group, all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EarlyOutcome {
    /// Committed at the target. Not durable yet: its commit is asynchronous.
    Accepted,
    /// Refused by rule 2; the stream brings it.
    Refused {
        /// The rule.
        refusal: Refusal,
        /// The places in the group of those that it refused, from 0; nothing if it was all of them.
        members: Vec<usize>,
    },
    /// Failed at the target or before it; the stream brings it.
    Failed {
        /// The SQLSTATE; empty where the server was not asked.
        sqlstate: String,
        /// What was wrong.
        message: String,
        /// Whose row it was, if it was a row's.
        culprit: Option<Culprit>,
    },
    /// The connection went before the answer: committed or not, nobody knows.
    Lost,
}

/// A row that the target does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Culprit {
    /// The place in the group of the transaction that wrote it, from 0.
    pub member: usize,
    /// Its table.
    pub table: TableIndex,
}

/// Why rule 2 refused a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The gate is shut or of another epoch (SG001).
    Gate,
    /// At or under a floor (SG002).
    Floor,
    /// The target has something newer, or has it from the log already (SG003).
    Newer,
}

impl Refusal {
    /// The refusal that `segue.admit` raises under this SQLSTATE.
    pub fn from_sqlstate(sqlstate: &str) -> Option<Self> {
        match sqlstate {
            "SG001" => Some(Self::Gate),
            "SG002" => Some(Self::Floor),
            "SG003" => Some(Self::Newer),
            _ => None,
        }
    }

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Floor => "floor",
            Self::Newer => "newer",
        }
    }
}
