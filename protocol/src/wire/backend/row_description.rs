//! RowDescription: the columns of the rows that follow or were asked for.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Tag, write};
use crate::reader::{ReadError, Reader};

/// Table OID, column number, type OID, type size, type modifier, format.
const ATTRIBUTES_SIZE: usize = 18;

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: Bytes,
    /// Table OID, column number, type OID, type size, type modifier and format, as they came.
    attributes: Bytes,
}

impl Field {
    /// The OID of the column's type.
    pub fn type_oid(&self) -> Option<u32> {
        let bytes = self.attributes.get(6..10)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }
}

/// The columns of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowDescription {
    /// The columns in order.
    pub fields: Vec<Field>,
}

impl RowDescription {
    /// Reads the message's body.
    pub fn decode(body: Bytes) -> Result<Self, ReadError> {
        let mut reader = Reader::new(body);
        let count = reader.count16("column count")?;
        let mut fields = Vec::with_capacity(count);
        for _ in 0..count {
            fields.push(Field {
                name: reader.cstr("column name")?,
                attributes: reader.bytes("column attributes", ATTRIBUTES_SIZE)?,
            });
        }
        reader.finish()?;
        Ok(Self { fields })
    }

    /// Appends the message.
    pub fn encode(&self, out: &mut BytesMut) {
        write::frame(out, Tag::RowDescription.as_byte(), |out| {
            write::count(out, self.fields.len());
            for field in &self.fields {
                write::cstr(out, &field.name);
                out.put_slice(&field.attributes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_out_as_they_went_in() {
        let body =
            Bytes::from_static(b"\0\x01id\0\0\0\x40\0\0\x01\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0");
        let description = RowDescription::decode(body.clone()).unwrap();
        let [field] = &description.fields[..] else {
            panic!("not one column");
        };
        assert_eq!(field.name, "id");
        assert_eq!(field.type_oid(), Some(23));
        let mut out = BytesMut::new();
        description.encode(&mut out);
        assert_eq!(out[5..], body);
    }

    #[test]
    fn a_count_that_is_not_true_is_refused() {
        for body in [&b"\0\x01"[..], b"\0\x01id\0", b"\xff\xff", b"\0\0x"] {
            assert!(RowDescription::decode(Bytes::from_static(body)).is_err());
        }
    }
}
