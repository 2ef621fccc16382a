//! Query: runs a text of statements.

use bytes::{Bytes, BytesMut};

use super::{Tag, write};
use crate::reader::{ReadError, Reader};

/// Runs a text of any number of statements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The text, in the client's encoding.
    pub text: Bytes,
}

impl Query {
    /// Reads the message's body.
    pub fn decode(body: Bytes) -> Result<Self, ReadError> {
        let mut reader = Reader::new(body);
        let text = reader.cstr("query")?;
        reader.finish()?;
        Ok(Self { text })
    }

    /// Appends the message.
    pub fn encode(&self, out: &mut BytesMut) {
        write::frame(out, Tag::Query.as_byte(), |out| {
            write::cstr(out, &self.text);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_not_utf8_comes_out_as_it_went_in() {
        let body = Bytes::from_static(b"SELECT '\xe9'\0");
        let mut out = BytesMut::new();
        Query::decode(body.clone()).unwrap().encode(&mut out);
        assert_eq!(out[5..], body);
    }

    #[test]
    fn a_text_without_its_zero_byte_is_refused() {
        assert!(Query::decode(Bytes::from_static(b"SELECT 1")).is_err());
        assert!(Query::decode(Bytes::new()).is_err());
        assert!(Query::decode(Bytes::from_static(b"a\0b\0")).is_err());
    }
}
