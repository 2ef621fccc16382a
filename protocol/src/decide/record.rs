//! The hidden column's value: one stored row, as `record_send` writes it.
//!
//! Its first four fields are ours and fixed by type; the rest is the row. Does not know the table:
//! whether the columns are those of the contract is decided where the catalog is.
//!
//! See `record_send` in PostgreSQL's `src/backend/utils/adt/rowtypes.c`.

use bytes::{BufMut, Bytes, BytesMut};

use crate::lsn::Lsn;
use crate::reader::{ReadError, Reader};
use crate::xid::Xid;

/// Types of the four fields before the row: `pg_lsn`, `xid8`, `text`, `oid`.
const HEAD_TYPES: [u32; 4] = [3220, 5069, 25, 26];

/// The most bytes of a record that are asked for. One of this size has been cut off, or might have
/// been. Twice what a transaction may hold, and what a proxy has in memory for one row.
pub const RECORD_BYTES_MAX: usize = 2 << 20;

/// How the server sent the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueFormat {
    /// The text of a bytea, hexadecimal or escaped.
    Text,
    /// The bytes themselves.
    Binary,
}

/// One column: its type's OID and its value.
pub type RecordColumn = (u32, Option<Bytes>);

/// One row as a captured statement stored or deleted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturedRow {
    /// `pg_current_wal_insert_lsn()` while the row was locked.
    pub lsn: Lsn,
    /// The top-level transaction.
    pub xid: Xid,
    /// Whether the commit is acknowledged only once it is safe (`synchronous_commit` is not off).
    pub durable: bool,
    /// The table that holds the row: a leaf, if it is partitioned.
    pub table_oid: u32,
    /// The columns in the order of `*`: type OID, and the value in the type's send format.
    pub columns: Vec<RecordColumn>,
}

/// Why a hidden column could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It is as large as was asked for: the rest has been cut off.
    #[error("the captured record is larger than {RECORD_BYTES_MAX} bytes")]
    Cut,
    /// The record's bytes end early or go on.
    #[error("the captured record is malformed")]
    Malformed(#[source] ReadError),
    /// The text form of the bytea is neither hexadecimal nor escaped.
    #[error("the captured record's text form is not that of a bytea")]
    NotBytea,
    /// A field at the head is not what the rewrite put there.
    #[error("field {place} of the captured record has type {found} where {expected} was written")]
    Head {
        /// Which field, from 0.
        place: usize,
        /// The type found.
        found: u32,
        /// The type that the rewrite has there.
        expected: u32,
    },
}

impl From<ReadError> for RecordError {
    fn from(error: ReadError) -> Self {
        Self::Malformed(error)
    }
}

/// Reads one hidden column.
pub fn decode(value: &Bytes, format: ValueFormat) -> Result<CapturedRow, RecordError> {
    let record = match format {
        ValueFormat::Binary => value.clone(),
        ValueFormat::Text => bytea_of_text(value).ok_or(RecordError::NotBytea)?,
    };
    if record.len() >= RECORD_BYTES_MAX {
        return Err(RecordError::Cut);
    }
    let mut reader = Reader::new(record);
    let count = usize::try_from(reader.u32("column count")?).unwrap_or(usize::MAX);
    let [lsn, xid, setting, table] = head(&mut reader)?;
    let row = CapturedRow {
        lsn: Lsn::new(number(lsn, "lsn", Reader::u64)?),
        xid: Xid::new(number(xid, "xid", Reader::u64)?),
        durable: setting != "off",
        table_oid: number(table, "table", Reader::u32)?,
        columns: columns(&mut reader, count.saturating_sub(HEAD_TYPES.len()))?,
    };
    reader.finish()?;
    Ok(row)
}

fn head(reader: &mut Reader) -> Result<[Bytes; 4], RecordError> {
    let mut fields = [const { Bytes::new() }; 4];
    for (place, (field, expected)) in fields.iter_mut().zip(HEAD_TYPES).enumerate() {
        let found = reader.u32("type")?;
        if found != expected {
            return Err(RecordError::Head {
                place,
                found,
                expected,
            });
        }
        *field = reader.nullable("head")?.unwrap_or_default();
    }
    Ok(fields)
}

fn number<T>(
    field: Bytes,
    name: &'static str,
    read: impl FnOnce(&mut Reader, &'static str) -> Result<T, ReadError>,
) -> Result<T, ReadError> {
    let mut reader = Reader::new(field);
    let value = read(&mut reader, name)?;
    reader.finish()?;
    Ok(value)
}

fn columns(reader: &mut Reader, count: usize) -> Result<Vec<RecordColumn>, ReadError> {
    // Eight bytes a column at least: a count that promises more is refused before it is believed.
    let mut columns = Vec::with_capacity(count.min(reader.remaining() / 8));
    for _ in 0..count {
        columns.push((reader.u32("type")?, reader.nullable("column")?));
    }
    Ok(columns)
}

/// The bytes that a bytea's output text stands for, under either setting of `bytea_output`.
fn bytea_of_text(text: &[u8]) -> Option<Bytes> {
    match text.strip_prefix(b"\\x") {
        Some(digits) => bytes_of_hex(digits),
        None => bytes_of_escapes(text),
    }
}

/// Without a branch for each digit: a simple query's row comes this way, and is long.
fn bytes_of_hex(digits: &[u8]) -> Option<Bytes> {
    let (pairs, rest) = digits.as_chunks::<2>();
    let mut seen = 0;
    let byte = |&[high, low]: &[u8; 2]| {
        let (high, low) = (hex_digit(high), hex_digit(low));
        seen |= high | low;
        high << 4 | low
    };
    let bytes: Vec<u8> = pairs.iter().map(byte).collect();
    (rest.is_empty() && seen <= 0xf).then(|| bytes.into())
}

/// The digit's value; more than 15 for what is none.
const fn hex_digit(digit: u8) -> u8 {
    let number = digit.wrapping_sub(b'0');
    let letter = (digit | 0x20).wrapping_sub(b'a');
    if number < 10 {
        number
    } else if letter < 6 {
        letter + 10
    } else {
        u8::MAX
    }
}

fn bytes_of_escapes(mut text: &[u8]) -> Option<Bytes> {
    let mut bytes = BytesMut::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        text = match (first, rest) {
            (b'\\', [b'\\', rest @ ..]) => {
                bytes.put_u8(b'\\');
                rest
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..]) => {
                bytes.put_u8((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest
            }
            (b'\\', _) => return None,
            (byte, rest) => {
                bytes.put_u8(*byte);
                rest
            }
        };
    }
    Some(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_u32(6);
        for (kind, value) in [
            (3220, &7_u64.to_be_bytes()[..]),
            (5069, &9_u64.to_be_bytes()),
            (25, b"on"),
            (26, &16400_u32.to_be_bytes()),
            (23, &5_i32.to_be_bytes()),
        ] {
            bytes.put_u32(kind);
            bytes.put_u32(u32::try_from(value.len()).unwrap());
            bytes.put_slice(value);
        }
        bytes.put_u32(25);
        bytes.put_i32(-1);
        bytes
    }

    fn expected() -> CapturedRow {
        CapturedRow {
            lsn: Lsn::new(7),
            xid: Xid::new(9),
            durable: true,
            table_oid: 16400,
            columns: vec![(23, Some(Bytes::from_static(b"\0\0\0\x05"))), (25, None)],
        }
    }

    #[test]
    fn what_may_have_been_cut_off_is_not_read() {
        let cut = Bytes::from(vec![0; RECORD_BYTES_MAX]);
        assert_eq!(decode(&cut, ValueFormat::Binary), Err(RecordError::Cut));
    }

    fn escaped(bytes: &[u8]) -> String {
        let one = |byte: &u8| match byte {
            b'\\' => "\\\\".to_owned(),
            0x20..=0x7e => char::from(*byte).to_string(),
            other => format!("\\{other:03o}"),
        };
        bytes.iter().map(one).collect()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes
            .iter()
            .fold("\\x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
    }

    #[test]
    fn all_three_forms_of_a_record_are_the_same_row() {
        let forms = [
            (Bytes::from(record()), ValueFormat::Binary),
            (Bytes::from(hex(&record())), ValueFormat::Text),
            (Bytes::from(escaped(&record())), ValueFormat::Text),
        ];
        for (value, format) in forms {
            assert_eq!(decode(&value, format), Ok(expected()), "{value:?}");
        }
    }

    #[test]
    fn synchronous_commit_off_is_not_durable() {
        let mut bytes = record();
        let place = bytes.windows(2).position(|pair| pair == b"on").unwrap();
        bytes.splice(place - 4..place + 2, *b"\0\0\0\x03off");
        let row = decode(&bytes.into(), ValueFormat::Binary).unwrap();
        assert!(!row.durable);
    }

    #[test]
    fn a_record_of_another_shape_is_refused() {
        let mut other_type = record();
        other_type[7] = 1;
        assert!(matches!(
            decode(&other_type.into(), ValueFormat::Binary),
            Err(RecordError::Head { place: 0, .. })
        ));
        let mut trailing = record();
        trailing.push(0);
        assert!(decode(&trailing.into(), ValueFormat::Binary).is_err());
        assert_eq!(
            decode(&Bytes::from_static(b"\\9"), ValueFormat::Text),
            Err(RecordError::NotBytea)
        );
        assert_eq!(
            decode(&Bytes::from_static(b"\\x0"), ValueFormat::Text),
            Err(RecordError::NotBytea)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let value = Bytes::from(bytes);
            drop(decode(&value, ValueFormat::Binary));
            drop(decode(&value, ValueFormat::Text));
        }

        #[test]
        fn no_damage_to_a_record_panics(place in 0_usize..80, byte: u8, length in 0_usize..80) {
            let mut bytes = record();
            if let Some(found) = bytes.get_mut(place) {
                *found = byte;
            }
            bytes.truncate(length);
            drop(decode(&Bytes::from(bytes), ValueFormat::Binary));
        }

        #[test]
        fn escapes_give_their_bytes_back(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = escaped(&bytes);
            prop_assert_eq!(bytea_of_text(text.as_bytes()), Some(Bytes::from(bytes.clone())));
            prop_assert_eq!(bytea_of_text(hex(&bytes).as_bytes()), Some(Bytes::from(bytes)));
        }
    }
}
