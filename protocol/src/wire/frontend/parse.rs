//! Parse: makes a statement of a text.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Tag, write};
use crate::reader::{ReadError, Reader};

/// Makes the statement `name` (empty: the unnamed one) of one statement's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parse {
    /// The statement's name.
    pub name: Bytes,
    /// Its text, in the client's encoding.
    pub query: Bytes,
    /// The count of parameter types and the types, as they came.
    pub types: Bytes,
}

impl Parse {
    /// Reads the message's body.
    pub fn decode(body: Bytes) -> Result<Self, ReadError> {
        let mut reader = Reader::new(body);
        let name = reader.cstr("statement name")?;
        let query = reader.cstr("query")?;
        let types = reader.clone().take_rest();
        let count = reader.count16("parameter type count")?;
        reader.bytes("parameter types", count * 4)?;
        reader.finish()?;
        Ok(Self { name, query, types })
    }

    /// Appends the message.
    pub fn encode(&self, out: &mut BytesMut) {
        write::frame(out, Tag::Parse.as_byte(), |out| {
            write::cstr(out, &self.name);
            write::cstr(out, &self.query);
            out.put_slice(&self.types);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_comes_out_as_it_went_in() {
        let body = Bytes::from_static(b"s1\0SELECT $1\0\0\x01\0\0\0\x17");
        let parse = Parse::decode(body.clone()).unwrap();
        assert_eq!(parse.name, "s1");
        assert_eq!(parse.query, "SELECT $1");
        let mut out = BytesMut::new();
        parse.encode(&mut out);
        assert_eq!(out[5..], body);
        assert_eq!(out[..5], *b"P\0\0\0\x17");
    }

    #[test]
    fn a_type_count_beyond_the_message_is_refused() {
        assert!(Parse::decode(Bytes::from_static(b"\0SELECT 1\0\0\x01")).is_err());
        assert!(Parse::decode(Bytes::from_static(b"\0SELECT 1\0\xff\xff")).is_err());
        assert!(Parse::decode(Bytes::from_static(b"\0SELECT 1")).is_err());
    }
}
