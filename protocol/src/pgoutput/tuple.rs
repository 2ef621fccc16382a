//! Row versions as the stream carries them.
//!
//! Does not name columns: the order is that of the table's [`super::Relation`].

use crate::reader::{ReadError, Reader};
use crate::row::Datum;

/// The columns of one row version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuple(pub Vec<Datum>);

impl Tuple {
    pub(super) fn decode(reader: &mut Reader) -> Result<Self, ReadError> {
        let count = reader.count16("tuple column count")?;
        (0..count)
            .map(|_| datum(reader))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// What the log holds of the version before an update or a delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Old {
    /// The columns of the replica identity's index; the others are sent as NULL.
    Key(Tuple),
    /// All columns (REPLICA IDENTITY FULL).
    Full(Tuple),
}

impl Old {
    pub(super) fn decode(reader: &mut Reader) -> Result<Self, ReadError> {
        let tag = reader.u8("tuple tag")?;
        Self::decode_tagged(tag, reader)
    }

    pub(super) fn decode_tagged(tag: u8, reader: &mut Reader) -> Result<Self, ReadError> {
        match tag {
            b'K' => Tuple::decode(reader).map(Self::Key),
            b'O' => Tuple::decode(reader).map(Self::Full),
            _ => Err(super::invalid("tuple tag", tag)),
        }
    }

    /// The columns, whichever are known.
    pub const fn tuple(&self) -> &Tuple {
        match self {
            Self::Key(tuple) | Self::Full(tuple) => tuple,
        }
    }
}

fn datum(reader: &mut Reader) -> Result<Datum, ReadError> {
    match reader.u8("column tag")? {
        b'n' => Ok(Datum::Null),
        b'u' => Ok(Datum::Unchanged),
        b'b' => value(reader).map(Datum::Binary),
        b't' => value(reader).map(Datum::Text),
        tag => Err(super::invalid("column tag", tag)),
    }
}

fn value(reader: &mut Reader) -> Result<bytes::Bytes, ReadError> {
    reader.nullable("column value")?.ok_or(ReadError::Invalid {
        field: "column length",
        value: -1,
    })
}
