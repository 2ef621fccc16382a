//! Bind: makes a portal of a statement and its parameters.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Tag, write};
use crate::reader::{ReadError, Reader};

/// Makes the portal `portal` of the statement `statement`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// The portal's name; empty for the unnamed one.
    pub portal: Bytes,
    /// The statement's name; empty for the unnamed one.
    pub statement: Bytes,
    /// Parameter formats and values with their counts, as they came.
    pub parameters: Bytes,
    /// Result formats: none for all text, one for all columns, or one a column.
    pub result_formats: Vec<i16>,
}

impl Bind {
    /// Reads the message's body.
    pub fn decode(body: Bytes) -> Result<Self, ReadError> {
        let mut reader = Reader::new(body);
        let portal = reader.cstr("portal name")?;
        let statement = reader.cstr("statement name")?;
        let parameters = parameters(&mut reader)?;
        let mut result_formats = vec![0; reader.count16("result format count")?];
        for format in &mut result_formats {
            *format = reader.i16("result format")?;
        }
        reader.finish()?;
        Ok(Self {
            portal,
            statement,
            parameters,
            result_formats,
        })
    }

    /// Reads only the two names, portal and statement, which stand at the front.
    pub fn names(body: &Bytes) -> Result<(Bytes, Bytes), ReadError> {
        let mut reader = Reader::new(body.clone());
        Ok((reader.cstr("portal name")?, reader.cstr("statement name")?))
    }

    /// Appends the message.
    pub fn encode(&self, out: &mut BytesMut) {
        write::frame(out, Tag::Bind.as_byte(), |out| {
            write::cstr(out, &self.portal);
            write::cstr(out, &self.statement);
            out.put_slice(&self.parameters);
            write::count(out, self.result_formats.len());
            for format in &self.result_formats {
                out.put_i16(*format);
            }
        });
    }
}

/// Takes the parameters' formats and values with their counts.
fn parameters(reader: &mut Reader) -> Result<Bytes, ReadError> {
    let mut all = reader.clone();
    let formats = reader.count16("parameter format count")?;
    reader.bytes("parameter formats", formats * 2)?;
    for _ in 0..reader.count16("parameter count")? {
        reader.nullable("parameter")?;
    }
    let size = all.remaining() - reader.remaining();
    all.bytes("parameters", size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bind_comes_out_as_it_went_in() {
        let body = Bytes::from_static(
            b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x04\0\0\0\x2a\xff\xff\xff\xff\0\x02\0\0\0\x01",
        );
        let bind = Bind::decode(body.clone()).unwrap();
        assert_eq!(bind.portal, "p");
        assert_eq!(bind.statement, "s");
        assert_eq!(bind.result_formats, [0, 1]);
        let mut out = BytesMut::new();
        bind.encode(&mut out);
        assert_eq!(out[5..], body);
        assert_eq!(Bind::names(&body).unwrap().1, "s");
    }

    #[test]
    fn a_bind_that_ends_early_is_refused() {
        let body = b"p\0s\0\0\0\0\x01\0\0\0\x04\0\0\0\x2a\0\x01\0\x01";
        assert!(Bind::decode(Bytes::from_static(body)).is_ok());
        for length in 0..body.len() {
            assert!(Bind::decode(Bytes::copy_from_slice(&body[..length])).is_err());
        }
    }
}
