//! DataRow: the columns of a row.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Tag, write};
use crate::reader::{ReadError, Reader};

/// The columns of a row, NULL as `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataRow {
    /// The columns in order.
    pub columns: Vec<Option<Bytes>>,
}

impl DataRow {
    /// Reads the message's body.
    pub fn decode(body: Bytes) -> Result<Self, ReadError> {
        let mut reader = Reader::new(body);
        let count = reader.count16("column count")?;
        let mut columns = Vec::with_capacity(count);
        for _ in 0..count {
            columns.push(reader.nullable("column")?);
        }
        reader.finish()?;
        Ok(Self { columns })
    }

    /// Appends the message.
    pub fn encode(&self, out: &mut BytesMut) {
        write::frame(out, Tag::DataRow.as_byte(), |out| {
            write::count(out, self.columns.len());
            for column in &self.columns {
                write::nullable(out, column.as_deref());
            }
        });
    }

    /// Cuts the last column off a row without decoding the others.
    pub fn cut_last(body: Bytes) -> Result<CutRow, ReadError> {
        let mut reader = Reader::new(body);
        let count = reader.count16("column count")?;
        let Some(kept_count) = count.checked_sub(1) else {
            return Err(ReadError::Invalid {
                field: "column count",
                value: 0,
            });
        };
        let mut kept = reader.clone().take_rest();
        let size = reader.remaining();
        for _ in 0..kept_count {
            reader.nullable("column")?;
        }
        kept.truncate(size - reader.remaining());
        let last = reader.nullable("column")?;
        reader.finish()?;
        Ok(CutRow {
            kept_count,
            kept,
            last,
        })
    }
}

/// A row whose last column was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutRow {
    kept_count: usize,
    kept: Bytes,
    /// The column that was cut off.
    pub last: Option<Bytes>,
}

impl CutRow {
    /// Appends the row without its last column.
    pub fn encode(&self, out: &mut BytesMut) {
        write::frame(out, Tag::DataRow.as_byte(), |out| {
            write::count(out, self.kept_count);
            out.put_slice(&self.kept);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: &[Option<&'static str>]) -> (DataRow, Bytes) {
        let columns = columns.iter().map(|text| text.map(Bytes::from));
        let row = DataRow {
            columns: columns.collect(),
        };
        let mut out = BytesMut::new();
        row.encode(&mut out);
        (row, out.freeze())
    }

    #[test]
    fn a_row_comes_out_as_it_went_in() {
        let (row, bytes) = row(&[Some("a"), None, Some("")]);
        assert_eq!(DataRow::decode(bytes.slice(5..)), Ok(row));
    }

    #[test]
    fn the_last_column_is_cut_off_and_the_rest_is_what_it_would_have_been() {
        let (_, whole) = row(&[Some("a"), None, Some("hidden")]);
        let (_, without) = row(&[Some("a"), None]);
        let cut = DataRow::cut_last(whole.slice(5..)).unwrap();
        assert_eq!(cut.last.as_deref(), Some(&b"hidden"[..]));
        let mut out = BytesMut::new();
        cut.encode(&mut out);
        assert_eq!(out, without);
    }

    #[test]
    fn a_row_that_lies_about_its_columns_is_refused() {
        let bodies: [&[u8]; 4] = [
            b"\0\0",
            b"\0\x02\xff\xff\xff\xff",
            b"\xff\xff",
            b"\0\x01\0\0\0\x09a",
        ];
        for body in bodies {
            assert!(DataRow::cut_last(Bytes::from_static(body)).is_err());
        }
    }
}
