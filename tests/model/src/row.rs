//! Rows of two columns besides their key, and the protocol's types for them.
//!
//! Does not hold more than three keys.

use bytes::Bytes;
use protocol::contract::{Column, KeyForm, Table, TableIndex};
use protocol::lsn::Lsn;
use protocol::op_id::OpId;
use protocol::revision::{Epoch, Revision};
use protocol::row::{Datum, Image, RowKey};
use protocol::xid::Xid;

use crate::config::{Config, Feature, Omission};

pub(crate) const KEYS_MAX: usize = 3;

/// One value for each key that there can be.
pub(crate) type ByKey<T> = [T; KEYS_MAX];

/// A row: a value that every write changes, and a long one, which is the unique one too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Row {
    pub(crate) value: u8,
    pub(crate) long: u8,
}

const fn all_bytes() -> [u8; 256] {
    let mut bytes = [0; 256];
    let mut place = 0;
    let mut byte = 0_u8;
    while place < 256 {
        bytes[place] = byte;
        byte = byte.wrapping_add(1);
        place += 1;
    }
    bytes
}

static BYTES: [u8; 256] = all_bytes();

fn bytes(value: u8) -> Bytes {
    let place = usize::from(value);
    Bytes::from_static(&BYTES[place..=place])
}

pub(crate) fn key(id: u8) -> RowKey {
    RowKey::from_stored(TableIndex::new(0), bytes(id))
}

pub(crate) fn id(key: &RowKey) -> u8 {
    key.bytes()[0]
}

/// The key under which a row goes. Where keys can be spelled, it is the display scale of a numeric
/// one, which each whole write of the row changes: 0 in the normal form.
pub(crate) fn key_of(id: u8, row: Row, config: &Config) -> u8 {
    if !config.has(Feature::Spellings) {
        return id;
    }
    let key_form = if config.omits(Omission::NormalForm) {
        KeyForm::Bytes
    } else {
        KeyForm::Numeric
    };
    let table = Table {
        name: "public.t".into(),
        schema: "public".into(),
        relation: "t".into(),
        columns: vec![Column {
            key_form,
            ..Column::plain("id", "numeric", 1700)
        }],
        key: vec![0],
    };
    // One digit, 1, of weight 0: as 1 and as 1.0.
    let number = [0, 1, 0, 0, 0, 0, 0, row.long % 2, 0, 1];
    let image = Image::new(vec![Datum::Binary(Bytes::copy_from_slice(&number))]);
    let key = RowKey::of(TableIndex::new(0), &table, &image).expect("it has a key");
    key.values()[0][7]
}

/// The image of a row; without `long`, as the log has it of an UPDATE that left it alone.
pub(crate) fn image(key: u8, row: Row, is_partial: bool) -> Image {
    let long = if is_partial {
        Datum::Unchanged
    } else {
        Datum::Binary(bytes(row.long))
    };
    Image::new(vec![
        Datum::Binary(bytes(key)),
        Datum::Binary(bytes(row.value)),
        long,
    ])
}

/// The row of an image that has all columns.
pub(crate) fn row_of(image: &Image) -> Row {
    let value = |datum: &Datum| match datum {
        Datum::Binary(bytes) => bytes[0],
        Datum::Null | Datum::Text(_) | Datum::Unchanged => u8::MAX,
    };
    match image.columns() {
        [_, short, long] => Row {
            value: value(short),
            long: value(long),
        },
        _ => Row { value: 0, long: 0 },
    }
}

pub(crate) fn rev(epoch: Epoch, lsn: u64) -> Revision {
    Revision::logged(epoch, Lsn::new(lsn)).expect("positions here are small")
}

pub(crate) fn early_rev(epoch: Epoch, insert: u64) -> Revision {
    Revision::early(epoch, Lsn::new(insert)).expect("positions here are small")
}

pub(crate) fn op(epoch: Epoch, xid: u64) -> OpId {
    OpId::of(1, epoch, Xid::new(xid))
}
