//! ParameterStatus: a run-time parameter's value, sent at startup and whenever it changes.

use bytes::Bytes;

use crate::reader::{ReadError, Reader};

/// A run-time parameter's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterStatus {
    /// The parameter.
    pub name: Bytes,
    /// Its value.
    pub value: Bytes,
}

impl ParameterStatus {
    /// Reads the message's body.
    pub fn decode(body: Bytes) -> Result<Self, ReadError> {
        let mut reader = Reader::new(body);
        let status = Self {
            name: reader.cstr("parameter name")?,
            value: reader.cstr("parameter value")?,
        };
        reader.finish()?;
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_value_are_read() {
        let body = Bytes::from_static(b"TimeZone\0UTC\0");
        let status = ParameterStatus::decode(body).unwrap();
        assert_eq!(
            (status.name, status.value),
            ("TimeZone".into(), "UTC".into())
        );
        assert!(ParameterStatus::decode(Bytes::from_static(b"TimeZone\0")).is_err());
    }
}
