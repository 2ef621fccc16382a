//! The framing of a replication stream inside `CopyData`, in both directions.
//!
//! Does not look into the payload. Times are microseconds since 2000-01-01 by the server's clock.
//! See <https://www.postgresql.org/docs/15/protocol-replication.html>.

use bytes::{BufMut, Bytes, BytesMut};

use crate::lsn::Lsn;
use crate::reader::{ReadError, Reader};

/// What a walsender sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A piece of the stream.
    Data {
        /// The start of the log record that the message tells of: a row's revision.
        start: Lsn,
        /// When it was sent.
        sent_at: i64,
        /// One message of the output plugin.
        payload: Bytes,
    },
    /// A sign of life: everything that committed before `end` has been sent.
    Keepalive {
        /// The position up to which the log has been decoded and sent.
        end: Lsn,
        /// When it was sent.
        sent_at: i64,
        /// Whether the server asks for an answer.
        reply: ReplyWanted,
    },
}

/// Whether a keepalive asks for an answer before the server gives the connection up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyWanted {
    /// An answer is wanted now.
    Now,
    /// None is needed.
    No,
}

impl Frame {
    /// Decodes the body of one `CopyData` message.
    pub fn decode(body: Bytes) -> Result<Self, ReadError> {
        let mut reader = Reader::new(body);
        match reader.u8("stream tag")? {
            b'w' => {
                let start = reader.u64("start LSN").map(Lsn::new)?;
                reader.u64("end LSN")?;
                let sent_at = reader.i64("send time")?;
                Ok(Self::Data {
                    start,
                    sent_at,
                    payload: reader.take_rest(),
                })
            }
            b'k' => {
                let end = reader.u64("end LSN").map(Lsn::new)?;
                let sent_at = reader.i64("send time")?;
                let reply = match reader.u8("reply flag")? {
                    0 => ReplyWanted::No,
                    _ => ReplyWanted::Now,
                };
                reader.finish()?;
                Ok(Self::Keepalive {
                    end,
                    sent_at,
                    reply,
                })
            }
            tag => Err(ReadError::Invalid {
                field: "stream tag",
                value: i64::from(tag),
            }),
        }
    }
}

/// The body of the `CopyData` message that tells the server what may be forgotten: `received` has
/// arrived, `durable` is safe at the target. The clock is not told: nothing rests on it.
pub fn standby_status(received: Lsn, durable: Lsn) -> Bytes {
    debug_assert!(durable <= received, "durable before it was received");
    let mut body = BytesMut::with_capacity(34);
    body.put_u8(b'r');
    body.put_u64(received.as_u64());
    body.put_u64(durable.as_u64());
    body.put_u64(durable.as_u64());
    body.put_i64(0);
    body.put_u8(0);
    body.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_carries_the_start_of_its_record() {
        let mut body = BytesMut::new();
        body.put_u8(b'w');
        body.put_u64(16);
        body.put_u64(32);
        body.put_i64(5);
        body.put_slice(b"B...");
        let expected = Frame::Data {
            start: Lsn::new(16),
            sent_at: 5,
            payload: Bytes::from_static(b"B..."),
        };
        assert_eq!(Frame::decode(body.freeze()), Ok(expected));
    }

    #[test]
    fn a_keepalive_may_ask_for_an_answer() {
        let mut body = BytesMut::new();
        body.put_u8(b'k');
        body.put_u64(32);
        body.put_i64(5);
        body.put_u8(1);
        let expected = Frame::Keepalive {
            end: Lsn::new(32),
            sent_at: 5,
            reply: ReplyWanted::Now,
        };
        assert_eq!(Frame::decode(body.clone().freeze()), Ok(expected));
        body.put_u8(0);
        assert!(Frame::decode(body.freeze()).is_err());
    }

    #[test]
    fn the_status_confirms_what_is_durable_only() {
        let body = standby_status(Lsn::new(9), Lsn::new(7));
        assert_eq!(body.len(), 34);
        assert_eq!(
            body[..25],
            *b"r\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x07"
        );
    }
}
