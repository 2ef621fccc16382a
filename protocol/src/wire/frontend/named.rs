//! Describe and Close: both name a statement or a portal.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Tag, write};
use crate::reader::{ReadError, Reader};

/// A statement or a portal, by its name (empty: the unnamed one).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Named {
    /// A statement.
    Statement(Bytes),
    /// A portal.
    Portal(Bytes),
}

impl Named {
    fn decode(body: Bytes) -> Result<Self, ReadError> {
        let mut reader = Reader::new(body);
        let kind = reader.u8("kind")?;
        let name = reader.cstr("name")?;
        reader.finish()?;
        match kind {
            b'S' => Ok(Self::Statement(name)),
            b'P' => Ok(Self::Portal(name)),
            other => Err(ReadError::Invalid {
                field: "kind",
                value: i64::from(other),
            }),
        }
    }

    fn encode(&self, out: &mut BytesMut, tag: Tag) {
        let (kind, name) = match self {
            Self::Statement(name) => (b'S', name),
            Self::Portal(name) => (b'P', name),
        };
        write::frame(out, tag.as_byte(), |out| {
            out.put_u8(kind);
            write::cstr(out, name);
        });
    }
}

/// Asks what a statement or portal returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Describe(pub Named);

impl Describe {
    /// Reads the message's body.
    pub fn decode(body: Bytes) -> Result<Self, ReadError> {
        Named::decode(body).map(Self)
    }

    /// Appends the message.
    pub fn encode(&self, out: &mut BytesMut) {
        self.0.encode(out, Tag::Describe);
    }
}

/// Forgets a statement or portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close(pub Named);

impl Close {
    /// Reads the message's body.
    pub fn decode(body: Bytes) -> Result<Self, ReadError> {
        Named::decode(body).map(Self)
    }

    /// Appends the message.
    pub fn encode(&self, out: &mut BytesMut) {
        self.0.encode(out, Tag::Close);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn describe_and_close_come_out_as_they_went_in() {
        let mut out = BytesMut::new();
        let describe = Describe::decode(Bytes::from_static(b"Sname\0")).unwrap();
        describe.encode(&mut out);
        let close = Close::decode(Bytes::from_static(b"P\0")).unwrap();
        close.encode(&mut out);
        assert_eq!(out, &b"D\0\0\0\x0aSname\0C\0\0\0\x06P\0"[..]);
        assert!(Close::decode(Bytes::from_static(b"X\0")).is_err());
    }
}
