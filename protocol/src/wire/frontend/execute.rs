//! Execute: runs a portal.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Tag, write};
use crate::reader::{ReadError, Reader};

/// Runs a portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execute {
    /// The portal's name; empty for the unnamed one.
    pub portal: Bytes,
    /// How many rows to return before the portal is suspended; zero or less for all.
    pub rows_max: i32,
}

impl Execute {
    /// Reads the message's body.
    pub fn decode(body: Bytes) -> Result<Self, ReadError> {
        let mut reader = Reader::new(body);
        let execute = Self {
            portal: reader.cstr("portal name")?,
            rows_max: reader.i32("row limit")?,
        };
        reader.finish()?;
        Ok(execute)
    }

    /// Appends the message.
    pub fn encode(&self, out: &mut BytesMut) {
        write::frame(out, Tag::Execute.as_byte(), |out| {
            write::cstr(out, &self.portal);
            out.put_i32(self.rows_max);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn execute_comes_out_as_it_went_in() {
        let body = Bytes::from_static(b"p\0\0\0\0\x05");
        let execute = Execute::decode(body.clone()).unwrap();
        assert_eq!(execute.rows_max, 5);
        let mut out = BytesMut::new();
        execute.encode(&mut out);
        assert_eq!(out[5..], body);
        assert!(Execute::decode(Bytes::from_static(b"p\0\0\0\0\x05\0")).is_err());
    }
}
