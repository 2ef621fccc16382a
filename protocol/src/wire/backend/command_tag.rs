//! CommandComplete: what a statement did.

use bytes::Bytes;

use crate::reader::{ReadError, Reader};

/// The text of CommandComplete, such as `INSERT 0 1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandTag(Bytes);

impl CommandTag {
    /// Reads the message's body.
    pub fn decode(body: Bytes) -> Result<Self, ReadError> {
        let mut reader = Reader::new(body);
        let text = reader.cstr("command tag")?;
        reader.finish()?;
        Ok(Self(text))
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is exactly `text`.
    pub fn is(&self, text: &str) -> bool {
        self.0 == text.as_bytes()
    }

    /// The number of rows at its end, where there is one.
    pub fn rows(&self) -> Option<u64> {
        let text = std::str::from_utf8(&self.0).ok()?;
        text.rsplit_once(' ')?.1.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_counts_rows() {
        let tags: [(&[u8], _); 4] = [
            (b"INSERT 0 12\0", Some(12)),
            (b"UPDATE 0\0", Some(0)),
            (b"BEGIN\0", None),
            (b"DROP TABLE\0", None),
        ];
        for (body, rows) in tags {
            let tag = CommandTag::decode(Bytes::from_static(body)).unwrap();
            assert_eq!(tag.rows(), rows);
        }
        assert!(CommandTag::decode(Bytes::from_static(b"BEGIN")).is_err());
    }
}
