//! Transactions that arrive in blocks before they end: which message belongs to whom, and what an
//! abort takes back.
//!
//! Each transaction has a spool, a file to which its messages are only added. A rollback to a
//! savepoint takes back what the subtransaction wrote: its messages name it, so they are passed over
//! when the spool is read; where they are the last in the spool, it is cut off before them, so that
//! a loop of attempts does not fill the disk. Subtransactions of the one rolled back are told of one
//! by one, each before or after it. What is kept in memory is one number a rolled-back
//! subtransaction.
//!
//! Does no I/O: it says where to write, where to cut and what to pass over.

mod record;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

pub use self::record::{Record, Records};
use crate::pgoutput::{BlockPlace, StreamAbort, StreamStart};

/// The server broke its own rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Disorder {
    /// A block inside a block.
    #[error("a block of transaction {xid} begins inside another block")]
    Nested {
        /// The inner one's transaction.
        xid: u32,
    },
    /// Something that belongs into a block stands outside, or the other way round.
    #[error("{what} stands {where_found} a block")]
    Misplaced {
        /// What.
        what: &'static str,
        /// `inside` or `outside`.
        where_found: &'static str,
    },
    /// A later block without a first one.
    #[error("transaction {xid} goes on, but has not begun")]
    NotBegun {
        /// The transaction.
        xid: u32,
    },
    /// Two first blocks.
    #[error("transaction {xid} begins again")]
    BegunTwice {
        /// The transaction.
        xid: u32,
    },
}

/// All transactions that have begun to arrive and not ended.
#[derive(Debug, Default)]
pub struct Streams {
    transactions: HashMap<u32, Transaction>,
    /// Whose block is under way.
    block: Option<u32>,
}

/// One of them.
#[derive(Debug, Default)]
struct Transaction {
    /// How long its spool is.
    length: u64,
    /// Who wrote the end of the spool, and where that began.
    tail: Option<(u32, u64)>,
    taken_back: HashSet<u32>,
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Whose spool.
    pub xid: u32,
    /// Where in it.
    pub offset: u64,
}

/// What an abort means for the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenBack {
    /// Nothing had arrived.
    Nothing,
    /// The spool is shortened to this length, which it may have already.
    Part {
        /// Its new length.
        length: u64,
    },
    /// The spool goes.
    Whole,
}

/// What counts of a spool whose transaction has committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replay {
    /// How long the spool is.
    pub length: u64,
    taken_back: HashSet<u32>,
}

impl Replay {
    /// Whether a message of this owner counts.
    pub fn counts(&self, owner: Option<u32>) -> bool {
        owner.is_none_or(|owner| !self.taken_back.contains(&owner))
    }
}

impl Streams {
    /// Whether a block is under way: what comes then is read by [`crate::pgoutput::streamed`].
    pub const fn in_block(&self) -> bool {
        self.block.is_some()
    }

    /// How many transactions have begun to arrive and not ended.
    pub fn count(&self) -> usize {
        self.transactions.len()
    }

    /// A block begins.
    pub fn start(&mut self, start: StreamStart) -> Result<(), Disorder> {
        let xid = start.xid;
        if self.in_block() {
            return Err(Disorder::Nested { xid });
        }
        match (start.place, self.transactions.contains_key(&xid)) {
            (BlockPlace::First, true) => return Err(Disorder::BegunTwice { xid }),
            (BlockPlace::Later, false) => return Err(Disorder::NotBegun { xid }),
            (BlockPlace::First, false) => {
                self.transactions.insert(xid, Transaction::default());
            }
            (BlockPlace::Later, true) => {}
        }
        self.block = Some(xid);
        Ok(())
    }

    /// A message of so many bytes arrives inside the block; where it goes.
    pub fn add(&mut self, owner: u32, length: usize) -> Result<Place, Disorder> {
        let outside = Disorder::Misplaced {
            what: "a streamed message",
            where_found: "outside",
        };
        let xid = self.block.ok_or(outside)?;
        let transaction = self.transactions.get_mut(&xid).ok_or(outside)?;
        let offset = transaction.length;
        transaction.length += u64::try_from(length).unwrap_or(u64::MAX);
        if transaction.tail.is_none_or(|(last, _)| last != owner) {
            transaction.tail = Some((owner, offset));
        }
        Ok(Place { xid, offset })
    }

    /// The block ends.
    pub fn stop(&mut self) -> Result<(), Disorder> {
        let outside = Disorder::Misplaced {
            what: "the end of a block",
            where_found: "outside",
        };
        self.block.take().map(drop).ok_or(outside)
    }

    /// A transaction or a part of it was rolled back.
    pub fn abort(&mut self, abort: StreamAbort) -> Result<TakenBack, Disorder> {
        self.outside("an abort")?;
        if abort.subxid == abort.xid {
            let gone = self.transactions.remove(&abort.xid);
            return Ok(gone.map_or(TakenBack::Nothing, |_| TakenBack::Whole));
        }
        let Some(transaction) = self.transactions.get_mut(&abort.xid) else {
            return Ok(TakenBack::Nothing);
        };
        transaction.taken_back.insert(abort.subxid);
        if let Some((owner, start)) = transaction.tail
            && owner == abort.subxid
        {
            transaction.length = start;
            transaction.tail = None;
        }
        Ok(TakenBack::Part {
            length: transaction.length,
        })
    }

    /// A transaction has committed: what there is of it counts now, and none of it is kept here. Of
    /// one that has never begun, nothing.
    pub fn commit(&mut self, xid: u32) -> Result<Replay, Disorder> {
        self.outside("a commit")?;
        let transaction = self.transactions.remove(&xid).unwrap_or_default();
        Ok(Replay {
            length: transaction.length,
            taken_back: transaction.taken_back,
        })
    }

    const fn outside(&self, what: &'static str) -> Result<(), Disorder> {
        match self.block {
            None => Ok(()),
            Some(_) => Err(Disorder::Misplaced {
                what,
                where_found: "inside",
            }),
        }
    }
}
