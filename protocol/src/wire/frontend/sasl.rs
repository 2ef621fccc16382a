//! The client's part of SASL: which mechanism, and what it says. Both travel under the tag of
//! passwords. Does not know mechanisms.

use bytes::{BufMut, Bytes, BytesMut};

use super::Tag;
use crate::reader::{ReadError, Reader};
use crate::wire::write;

/// The client's choice and its first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaslInitialResponse {
    /// The mechanism.
    pub mechanism: Bytes,
    /// Its first message; empty where there was none.
    pub message: Bytes,
}

impl SaslInitialResponse {
    /// Decodes the body.
    pub fn decode(body: Bytes) -> Result<Self, ReadError> {
        let mut reader = Reader::new(body);
        let mechanism = reader.cstr("SASL mechanism")?;
        // A length, -1 for none; the message is what follows either way.
        reader.u32("length of the SASL message")?;
        Ok(Self {
            mechanism,
            message: reader.take_rest(),
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut BytesMut) {
        write::frame(out, Tag::Password.as_byte(), |out| {
            write::cstr(out, &self.mechanism);
            write::nullable(out, Some(&self.message));
        });
    }
}

/// Appends a further message of the client's.
pub fn sasl_response(out: &mut BytesMut, message: &[u8]) {
    write::frame(out, Tag::Password.as_byte(), |out| out.put_slice(message));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::HEADER_SIZE;

    #[test]
    fn the_choice_comes_out_as_it_went_in() {
        let response = SaslInitialResponse {
            mechanism: Bytes::from("SCRAM-SHA-256"),
            message: Bytes::from("n,,n=,r=x"),
        };
        let mut out = BytesMut::new();
        response.encode(&mut out);
        let body = out.split_off(HEADER_SIZE).freeze();
        assert_eq!(SaslInitialResponse::decode(body), Ok(response));
        assert!(SaslInitialResponse::decode(Bytes::from("SCRAM\0\0")).is_err());
    }
}
