//! One-dimensional arrays in their send format, for the set-based statements on `segue`'s tables.

use bytes::{BufMut, BytesMut};

/// The OIDs of the element types used.
pub(crate) mod element {
    pub(crate) const BOOL: u32 = 16;
    pub(crate) const BYTEA: u32 = 17;
    pub(crate) const INT8: u32 = 20;
    pub(crate) const INT4: u32 = 23;
    pub(crate) const TEXT: u32 = 25;
    pub(crate) const TID: u32 = 27;
    pub(crate) const TIMESTAMPTZ: u32 = 1184;
    pub(crate) const UUID: u32 = 2950;
}

/// An array under construction.
#[derive(Debug)]
pub(crate) struct Array {
    bytes: BytesMut,
    count: i32,
    has_null: bool,
}

/// Where the header keeps the flag and the length.
const FLAG_AT: usize = 4;
const LENGTH_AT: usize = 12;

impl Array {
    pub(crate) fn of(element_oid: u32) -> Self {
        let mut bytes = BytesMut::with_capacity(256);
        bytes.put_i32(1);
        bytes.put_i32(0);
        bytes.put_u32(element_oid);
        bytes.put_i32(0);
        bytes.put_i32(1);
        Self {
            bytes,
            count: 0,
            has_null: false,
        }
    }

    pub(crate) fn push(&mut self, value: &[u8]) {
        self.count += 1;
        self.bytes
            .put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
        self.bytes.put_slice(value);
    }

    /// An element that is written in place.
    pub(crate) fn push_with(&mut self, write: impl FnOnce(&mut BytesMut)) {
        self.count += 1;
        let length_at = self.bytes.len();
        self.bytes.put_i32(0);
        write(&mut self.bytes);
        let length = i32::try_from(self.bytes.len() - length_at - 4).unwrap_or(i32::MAX);
        if let Some(place) = self.bytes.get_mut(length_at..length_at + 4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }

    pub(crate) fn push_option(&mut self, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.push(value);
        } else {
            self.count += 1;
            self.has_null = true;
            self.bytes.put_i32(-1);
        }
    }

    pub(crate) fn finish(mut self) -> BytesMut {
        let mut put = |at: usize, value: i32| {
            if let Some(place) = self.bytes.get_mut(at..at + 4) {
                place.copy_from_slice(&value.to_be_bytes());
            }
        };
        put(FLAG_AT, i32::from(self.has_null));
        put(LENGTH_AT, self.count);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_counts_its_elements_and_marks_nulls() {
        let mut array = Array::of(element::TEXT);
        array.push(b"a");
        array.push_option(None);
        array.push_with(|out| out.put_slice(b"bc"));
        let expected = [
            0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 25, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 1, b'a', 0xff,
            0xff, 0xff, 0xff, 0, 0, 0, 2, b'b', b'c',
        ];
        assert_eq!(array.finish()[..], expected);
    }
}
