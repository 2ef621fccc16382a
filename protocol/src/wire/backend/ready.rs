//! ReadyForQuery: the server waits for the next request.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Tag, write};
use crate::reader::{ReadError, Reader};

/// Whether the session is in a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    /// Not in a transaction.
    Idle,
    /// In a transaction.
    InTransaction,
    /// In a transaction that failed and can only be rolled back.
    Failed,
}

impl TransactionStatus {
    /// The status with this letter.
    pub const fn from_byte(byte: u8) -> Result<Self, ReadError> {
        match byte {
            b'I' => Ok(Self::Idle),
            b'T' => Ok(Self::InTransaction),
            b'E' => Ok(Self::Failed),
            other => Err(ReadError::Invalid {
                field: "transaction status",
                value: other as i64,
            }),
        }
    }
}

/// The server waits for the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadyForQuery(pub TransactionStatus);

impl ReadyForQuery {
    /// Reads the message's body.
    pub fn decode(body: Bytes) -> Result<Self, ReadError> {
        let mut reader = Reader::new(body);
        let status = TransactionStatus::from_byte(reader.u8("transaction status")?)?;
        reader.finish()?;
        Ok(Self(status))
    }

    /// Appends the message.
    pub fn encode(self, out: &mut BytesMut) {
        let status = match self.0 {
            TransactionStatus::Idle => b'I',
            TransactionStatus::InTransaction => b'T',
            TransactionStatus::Failed => b'E',
        };
        write::frame(out, Tag::ReadyForQuery.as_byte(), |out| out.put_u8(status));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_comes_back_and_others_are_refused() {
        for status in [
            TransactionStatus::Idle,
            TransactionStatus::InTransaction,
            TransactionStatus::Failed,
        ] {
            let mut out = BytesMut::new();
            ReadyForQuery(status).encode(&mut out);
            let body = out.freeze().slice(5..);
            assert_eq!(ReadyForQuery::decode(body), Ok(ReadyForQuery(status)));
        }
        for body in [&b""[..], b"X", b"II"] {
            assert!(ReadyForQuery::decode(Bytes::from_static(body)).is_err());
        }
    }
}
