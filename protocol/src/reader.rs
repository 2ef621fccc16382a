//! A checked cursor over the bytes of one message.
//!
//! Every read can fail and none panics; [`Reader::finish`] makes leftover bytes an error. Integers
//! are big-endian, as everywhere in PostgreSQL's protocol.

use std::ffi::CStr;

use bytes::{Buf, Bytes};

/// Why a message could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The message ends before the field does.
    #[error("the message ends {missing} bytes before the end of {field}")]
    Short {
        /// The field that was being read.
        field: &'static str,
        /// How many bytes are missing.
        missing: usize,
    },
    /// Bytes are left after the last field.
    #[error("{count} bytes are left after the last field")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// A string has no terminating zero byte.
    #[error("{field} has no terminating zero byte")]
    Unterminated {
        /// The field that was being read.
        field: &'static str,
    },
    /// A field holds a value that the protocol does not allow.
    #[error("{field} holds {value}, which the protocol does not allow")]
    Invalid {
        /// The field that was being read.
        field: &'static str,
        /// The value found, as a number.
        value: i64,
    },
    /// Text that has to be UTF-8 is not.
    #[error("{field} is not valid UTF-8")]
    NotUtf8 {
        /// The field that was being read.
        field: &'static str,
    },
}

/// A cursor that hands out slices of the message without copying them.
#[derive(Debug, Clone)]
pub struct Reader {
    rest: Bytes,
}

impl Reader {
    /// Starts at the first byte of `message`.
    pub fn new(message: Bytes) -> Self {
        Self { rest: message }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Takes the next `count` bytes.
    pub fn bytes(&mut self, field: &'static str, count: usize) -> Result<Bytes, ReadError> {
        match count.checked_sub(self.rest.len()) {
            None | Some(0) => Ok(self.rest.split_to(count)),
            Some(missing) => Err(ReadError::Short { field, missing }),
        }
    }

    /// Takes everything that is left.
    pub fn take_rest(&mut self) -> Bytes {
        self.rest.split_off(0)
    }

    /// Takes a string up to its zero byte, which is consumed and not returned.
    pub fn cstr(&mut self, field: &'static str) -> Result<Bytes, ReadError> {
        // The standard library looks at a word at a time here.
        let length = CStr::from_bytes_until_nul(&self.rest)
            .map_err(|_| ReadError::Unterminated { field })?
            .count_bytes();
        let text = self.rest.split_to(length);
        self.rest.advance(1);
        Ok(text)
    }

    /// Takes a zero-terminated string that has to be UTF-8.
    pub fn utf8(&mut self, field: &'static str) -> Result<String, ReadError> {
        let bytes = self.cstr(field)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(ReadError::NotUtf8 { field }),
        }
    }

    /// Takes one byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, ReadError> {
        self.need(field, 1)?;
        Ok(self.rest.get_u8())
    }

    /// Takes a 16-bit integer.
    pub fn i16(&mut self, field: &'static str) -> Result<i16, ReadError> {
        self.need(field, 2)?;
        Ok(self.rest.get_i16())
    }

    /// Takes a 32-bit integer.
    pub fn i32(&mut self, field: &'static str) -> Result<i32, ReadError> {
        self.need(field, 4)?;
        Ok(self.rest.get_i32())
    }

    /// Takes an unsigned 32-bit integer.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, ReadError> {
        self.need(field, 4)?;
        Ok(self.rest.get_u32())
    }

    /// Takes a 64-bit integer.
    pub fn i64(&mut self, field: &'static str) -> Result<i64, ReadError> {
        self.need(field, 8)?;
        Ok(self.rest.get_i64())
    }

    /// Takes an unsigned 64-bit integer.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, ReadError> {
        self.need(field, 8)?;
        Ok(self.rest.get_u64())
    }

    /// Takes a 16-bit count that must not be negative.
    pub fn count16(&mut self, field: &'static str) -> Result<usize, ReadError> {
        let value = self.i16(field)?;
        usize::try_from(value).map_err(|_| ReadError::Invalid {
            field,
            value: i64::from(value),
        })
    }

    /// Takes a value with a 32-bit length before it; length -1 is NULL.
    pub fn nullable(&mut self, field: &'static str) -> Result<Option<Bytes>, ReadError> {
        match self.i32(field)? {
            -1 => Ok(None),
            length => {
                let count = usize::try_from(length).map_err(|_| ReadError::Invalid {
                    field,
                    value: i64::from(length),
                })?;
                self.bytes(field, count).map(Some)
            }
        }
    }

    /// Ends the message; leftover bytes are an error.
    pub fn finish(self) -> Result<(), ReadError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(ReadError::Trailing { count }),
        }
    }

    fn need(&self, field: &'static str, count: usize) -> Result<(), ReadError> {
        match count.checked_sub(self.rest.len()) {
            None | Some(0) => Ok(()),
            Some(missing) => Err(ReadError::Short { field, missing }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_field_says_what_is_missing() {
        let mut reader = Reader::new(Bytes::from_static(&[0, 1]));
        assert_eq!(
            reader.i32("length"),
            Err(ReadError::Short {
                field: "length",
                missing: 2
            })
        );
    }

    #[test]
    fn leftover_bytes_are_an_error() {
        let mut reader = Reader::new(Bytes::from_static(b"a\0b"));
        assert_eq!(reader.cstr("name").unwrap(), "a");
        assert_eq!(reader.finish(), Err(ReadError::Trailing { count: 1 }));
    }

    #[test]
    fn a_negative_length_other_than_null_is_refused() {
        let mut reader = Reader::new(Bytes::from_static(&[0xff, 0xff, 0xff, 0xfe]));
        assert_eq!(
            reader.nullable("value"),
            Err(ReadError::Invalid {
                field: "value",
                value: -2
            })
        );
    }
}
