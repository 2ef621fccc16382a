//! How messages lie in a spool: a length, the position in the log, the message as it came.
//!
//! Does not look into the message.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::lsn::Lsn;

/// What stands before each message.
const HEADER_LENGTH: usize = 12;

/// A message of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The start of its log record.
    pub lsn: Lsn,
    /// The message, with its owner behind the tag.
    pub payload: Bytes,
}

impl Record {
    /// How many bytes it takes in the spool.
    pub const fn length(&self) -> usize {
        HEADER_LENGTH + self.payload.len()
    }

    /// Writes it behind what `spool` holds. No message of PostgreSQL's is longer than 1 GiB.
    pub fn put(&self, spool: &mut BytesMut) {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        spool.reserve(self.length());
        spool.put_u32(length);
        spool.put_u64(self.lsn.as_u64());
        spool.put_slice(&self.payload);
    }
}

/// Reads a spool a part at a time.
#[derive(Debug, Default)]
pub struct Records {
    unread: BytesMut,
}

impl Records {
    /// Takes the next part of the spool.
    pub fn feed(&mut self, part: &[u8]) {
        self.unread.extend_from_slice(part);
    }

    /// The next record that is there as a whole.
    #[expect(clippy::should_implement_trait, reason = "it goes on after None")]
    pub fn next(&mut self) -> Option<Record> {
        let mut header = self.unread.get(..HEADER_LENGTH)?;
        let length = usize::try_from(header.get_u32()).ok()?;
        let lsn = Lsn::new(header.get_u64());
        if self.unread.len() - HEADER_LENGTH < length {
            return None;
        }
        self.unread.advance(HEADER_LENGTH);
        let payload = self.unread.split_to(length).freeze();
        Some(Record { lsn, payload })
    }

    /// Bytes of a record that is not there as a whole.
    pub fn unread(&self) -> usize {
        self.unread.len()
    }
}
