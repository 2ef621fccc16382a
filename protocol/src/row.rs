//! Row images and row keys: one encoding for the mirror and the stream.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::contract::{KeyForm, Table, TableIndex};

/// One column of a row image, as a peer sent it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Datum {
    /// SQL NULL.
    Null,
    /// The type's send format. What both paths carry wherever the type has one.
    Binary(Bytes),
    /// The type's output text, for types without a send function. Only the stream carries it.
    Text(Bytes),
    /// A `TOAST`ed value that the update did not touch and the stream therefore left out.
    Unchanged,
}

impl fmt::Debug for Datum {
    /// Shows the size, never the value: images end up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Binary(bytes) => write!(f, "binary[{}]", bytes.len()),
            Self::Text(bytes) => write!(f, "text[{}]", bytes.len()),
            Self::Unchanged => f.write_str("unchanged"),
        }
    }
}

impl Datum {
    /// How many bytes of value it holds.
    pub fn size(&self) -> usize {
        match self {
            Self::Binary(bytes) | Self::Text(bytes) => bytes.len(),
            Self::Null | Self::Unchanged => 0,
        }
    }
}

/// All columns of a row version, in the order of the contract's [`Table::columns`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Image(Vec<Datum>);

impl Image {
    /// An image of these columns.
    pub fn new(columns: Vec<Datum>) -> Self {
        Self(columns)
    }

    /// The columns.
    pub fn columns(&self) -> &[Datum] {
        &self.0
    }

    /// Whether every column is known.
    pub fn is_full(&self) -> bool {
        !self.0.contains(&Datum::Unchanged)
    }

    /// Takes columns that are unknown here from `earlier`, an older version of the same row in the
    /// same source transaction (rule 3).
    #[must_use]
    pub fn filled_from(mut self, earlier: &Self) -> Self {
        for (column, before) in self.0.iter_mut().zip(&earlier.0) {
            if *column == Datum::Unchanged {
                *column = before.clone();
            }
        }
        self
    }

    /// Indexes of the columns that are known here and differ in `other`.
    pub fn differing(&self, other: &Self) -> Vec<usize> {
        let pairs = self.0.iter().zip(&other.0).enumerate();
        pairs
            .filter(|(_, (mine, theirs))| **mine != Datum::Unchanged && mine != theirs)
            .map(|(index, _)| index)
            .collect()
    }

    /// How many bytes of value it holds.
    pub fn size(&self) -> usize {
        self.0.iter().map(Datum::size).sum()
    }
}

/// Which row of which table: the table and the key columns in index order, each in its send format
/// with a 32-bit length before it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowKey {
    table: TableIndex,
    bytes: Bytes,
}

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:", self.table)?;
        self.bytes
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A row image has no usable key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the image of a row of {table} has no value for its key column {column}")]
pub struct KeyError {
    table: String,
    column: String,
}

impl RowKey {
    /// The key of the row whose image this is. The one place where keys are made, for both paths.
    pub fn of(index: TableIndex, table: &Table, image: &Image) -> Result<Self, KeyError> {
        let mut bytes = BytesMut::with_capacity(16);
        for column in &table.key {
            match (table.columns.get(*column), image.columns().get(*column)) {
                (Some(definition), Some(Datum::Binary(value) | Datum::Text(value))) => {
                    bytes.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
                    put_normal_form(&mut bytes, definition.key_form, value);
                }
                (definition, _) => {
                    return Err(KeyError {
                        table: table.name.clone(),
                        column: definition
                            .map(|found| found.name.clone())
                            .unwrap_or_default(),
                    });
                }
            }
        }
        Ok(Self {
            table: index,
            bytes: bytes.freeze(),
        })
    }

    /// A key read back from the `segue` schema.
    pub fn from_stored(table: TableIndex, bytes: Bytes) -> Self {
        Self { table, bytes }
    }

    /// The table's place in the contract.
    pub const fn table(&self) -> TableIndex {
        self.table
    }

    /// The encoded key columns, as the `segue` schema stores them.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The values of the key columns, in index order.
    pub fn values(&self) -> Vec<Bytes> {
        let mut reader = crate::reader::Reader::new(self.bytes.clone());
        std::iter::from_fn(|| reader.nullable("key column").ok().flatten()).collect()
    }
}

/// Rule 14: keys are compared as the key's type does. A numeric's display scale (bytes 6 and 7 of
/// its send format) does not take part in equality.
fn put_normal_form(out: &mut BytesMut, form: KeyForm, value: &Bytes) {
    match (form, value.get(..6), value.get(8..)) {
        (KeyForm::Numeric, Some(head), Some(digits)) => {
            out.put_slice(head);
            out.put_u16(least_scale(head, digits));
            out.put_slice(digits);
        }
        (KeyForm::Numeric | KeyForm::Bytes | KeyForm::Unordered, _, _) => out.put_slice(value),
    }
}

/// The smallest display scale that hides no digit: `numeric_recv` cuts off what the scale hides, and
/// the normal form is also what the target is asked for.
fn least_scale(head: &[u8], digits: &[u8]) -> u16 {
    let weight = match head {
        [_, _, high, low, ..] => i16::from_be_bytes([*high, *low]),
        _ => 0,
    };
    let groups = i64::try_from(digits.len() / 2).unwrap_or(0);
    let fraction_digits = (groups - 1 - i64::from(weight)) * 4;
    let last = match digits {
        [.., high, low] => u16::from_be_bytes([*high, *low]),
        _ => 0,
    };
    let hidden = [10, 100, 1000]
        .iter()
        .filter(|power| last % **power == 0)
        .count();
    let scale = fraction_digits - i64::try_from(hidden).unwrap_or(0);
    u16::try_from(scale).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Column, Form};

    fn table(form: KeyForm) -> Table {
        Table {
            name: "public.t".into(),
            schema: "public".into(),
            relation: "t".into(),
            columns: vec![
                Column {
                    name: "v".into(),
                    type_name: "text".into(),
                    type_oid: 25,
                    form: Form::Plain,
                    key_form: KeyForm::Bytes,
                },
                Column {
                    name: "id".into(),
                    type_name: "x".into(),
                    type_oid: 1,
                    form: Form::Plain,
                    key_form: form,
                },
            ],
            key: vec![1],
        }
    }

    fn key(form: KeyForm, value: &'static [u8]) -> RowKey {
        let image = Image::new(vec![Datum::Null, Datum::Binary(Bytes::from_static(value))]);
        RowKey::of(TableIndex::new(0), &table(form), &image).unwrap()
    }

    #[test]
    fn a_key_gives_its_values_back() {
        let key = key(KeyForm::Bytes, b"\0\0\0\x07");
        assert_eq!(&key.bytes()[..], b"\0\0\0\x04\0\0\0\x07");
        assert_eq!(key.values(), [Bytes::from_static(b"\0\0\0\x07")]);
    }

    #[test]
    fn numerics_that_differ_in_scale_only_are_one_key() {
        let one: &[u8] = &[0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
        let one_point_zero: &[u8] = &[0, 1, 0, 0, 0, 0, 0, 1, 0, 1];
        assert_eq!(
            key(KeyForm::Numeric, one),
            key(KeyForm::Numeric, one_point_zero)
        );
        assert_ne!(
            key(KeyForm::Bytes, one),
            key(KeyForm::Bytes, one_point_zero)
        );
    }

    #[test]
    fn a_numeric_key_keeps_the_digits_behind_its_point() {
        let stored = |value: &[u8]| {
            let value = Bytes::copy_from_slice(value);
            let image = Image::new(vec![Datum::Null, Datum::Binary(value)]);
            let key = RowKey::of(TableIndex::new(0), &table(KeyForm::Numeric), &image).unwrap();
            let scale = key.values()[0].slice(6..8);
            u16::from_be_bytes([scale[0], scale[1]])
        };
        // 1.5 sent as 1.500, 0.00012, 12 sent as 12.00, 0 sent as 0.0.
        assert_eq!(stored(&[0, 2, 0, 0, 0, 0, 0, 3, 0, 1, 0x13, 0x88]), 1);
        assert_eq!(stored(&[0, 1, 0xff, 0xfe, 0, 0, 0, 5, 0x04, 0xb0]), 6);
        assert_eq!(stored(&[0, 1, 0, 0, 0, 0, 0, 2, 0, 12]), 0);
        assert_eq!(stored(&[0, 0, 0, 0, 0, 0, 0, 1]), 0);
    }

    #[test]
    fn a_null_key_column_is_refused() {
        let image = Image::new(vec![Datum::Null, Datum::Null]);
        assert!(RowKey::of(TableIndex::new(0), &table(KeyForm::Bytes), &image).is_err());
    }

    #[test]
    fn unchanged_columns_are_filled_and_never_differ() {
        let value = Datum::Binary(Bytes::from_static(b"x"));
        let partial = Image::new(vec![Datum::Unchanged, Datum::Null]);
        let before = Image::new(vec![value.clone(), value.clone()]);
        assert_eq!(partial.differing(&before), [1]);
        assert!(!partial.is_full());
        let full = partial.filled_from(&before);
        assert_eq!(full.columns(), [value, Datum::Null]);
    }
}
