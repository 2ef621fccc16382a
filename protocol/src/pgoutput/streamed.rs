//! Transactions that the server sends before they end (protocol version 2): their blocks, and the
//! messages inside one.
//!
//! Inside a block each message carries the id of the transaction or subtransaction that it belongs
//! to. Does not collect the blocks of a transaction: [`crate::decide::streamed`] does.

use bytes::Bytes;

use super::{Commit, Message, invalid};
use crate::reader::{ReadError, Reader};

/// What follows belongs to this transaction, until the block ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamStart {
    /// The low 32 bits of its top-level transaction id.
    pub xid: u32,
    /// Whether it is the transaction's first block.
    pub place: BlockPlace,
}

/// Where a block stands among those of its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockPlace {
    /// Nothing of the transaction has been sent before.
    First,
    /// It goes on.
    Later,
}

/// A transaction whose changes have been sent has committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamCommit {
    /// The low 32 bits of its top-level transaction id.
    pub xid: u32,
    /// Where and when.
    pub commit: Commit,
}

/// A transaction, or a part of it, has been rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamAbort {
    /// The low 32 bits of its top-level transaction id.
    pub xid: u32,
    /// The subtransaction that was rolled back; the same id if it was all of it.
    pub subxid: u32,
}

/// A message inside a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// The transaction or subtransaction that it belongs to; none for an Origin.
    pub owner: Option<u32>,
    /// The message as it would stand outside of a block.
    pub message: Message,
}

/// Whose message this is, without reading all of it.
pub fn owner(payload: &Bytes) -> Result<Option<u32>, ReadError> {
    let mut reader = Reader::new(payload.clone());
    let tag = reader.u8("message tag")?;
    owner_behind(tag, &mut reader)
}

/// Decodes a message that stands inside a block.
pub fn decode(payload: Bytes) -> Result<Owned, ReadError> {
    let mut reader = Reader::new(payload);
    let tag = reader.u8("message tag")?;
    let owner = owner_behind(tag, &mut reader)?;
    let message = Message::decode_body(tag, &mut reader)?;
    reader.finish()?;
    Ok(Owned { owner, message })
}

fn owner_behind(tag: u8, reader: &mut Reader) -> Result<Option<u32>, ReadError> {
    match tag {
        b'R' | b'Y' | b'I' | b'U' | b'D' | b'T' | b'M' => {
            reader.u32("transaction id of a streamed message").map(Some)
        }
        b'O' => Ok(None),
        tag => Err(invalid("tag of a streamed message", tag)),
    }
}

pub(super) fn start(reader: &mut Reader) -> Result<Message, ReadError> {
    let xid = reader.u32("transaction id")?;
    let place = match reader.u8("first block flag")? {
        0 => BlockPlace::Later,
        1 => BlockPlace::First,
        flag => return Err(invalid("first block flag", flag)),
    };
    Ok(Message::StreamStart(StreamStart { xid, place }))
}

pub(super) fn commit(reader: &mut Reader) -> Result<Message, ReadError> {
    let xid = reader.u32("transaction id")?;
    let commit = Commit::decode(reader)?;
    Ok(Message::StreamCommit(StreamCommit { xid, commit }))
}

pub(super) fn abort(reader: &mut Reader) -> Result<Message, ReadError> {
    Ok(Message::StreamAbort(StreamAbort {
        xid: reader.u32("transaction id")?,
        subxid: reader.u32("subtransaction id")?,
    }))
}
