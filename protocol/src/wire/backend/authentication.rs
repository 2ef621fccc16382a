//! Authentication: what the server asks the client for. Only SASL's messages are looked into.
//!
//! See <https://www.postgresql.org/docs/current/sasl-authentication.html>. Does not authenticate.

use bytes::{BufMut, Bytes, BytesMut};

use super::Tag;
use crate::reader::{ReadError, Reader};
use crate::wire::write;

const OK: u32 = 0;
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

/// A step of authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    /// It is over, and the client is in.
    Ok,
    /// The client is to choose one of these mechanisms.
    Sasl {
        /// Their names, the server's favourite first.
        mechanisms: Vec<Bytes>,
    },
    /// The mechanism goes on.
    SaslContinue(Bytes),
    /// The mechanism's last word.
    SaslFinal(Bytes),
    /// Another method.
    Other,
}

impl Authentication {
    /// Decodes the body.
    pub fn decode(body: Bytes) -> Result<Self, ReadError> {
        let mut reader = Reader::new(body);
        match reader.u32("authentication request")? {
            OK => Ok(Self::Ok),
            SASL => {
                let mut mechanisms = Vec::new();
                loop {
                    let name = reader.cstr("SASL mechanism")?;
                    if name.is_empty() {
                        return Ok(Self::Sasl { mechanisms });
                    }
                    mechanisms.push(name);
                }
            }
            SASL_CONTINUE => Ok(Self::SaslContinue(reader.take_rest())),
            SASL_FINAL => Ok(Self::SaslFinal(reader.take_rest())),
            _ => Ok(Self::Other),
        }
    }

    /// Appends the frame. What was only forwarded has none.
    pub fn encode(&self, out: &mut BytesMut) {
        let (code, body): (u32, &[u8]) = match self {
            Self::Ok => (OK, &[]),
            Self::Sasl { .. } => (SASL, &[]),
            Self::SaslContinue(body) => (SASL_CONTINUE, body),
            Self::SaslFinal(body) => (SASL_FINAL, body),
            Self::Other => return,
        };
        write::frame(out, Tag::Authentication.as_byte(), |out| {
            out.put_u32(code);
            if let Self::Sasl { mechanisms } = self {
                for name in mechanisms {
                    write::cstr(out, name);
                }
                out.put_u8(0);
            }
            out.put_slice(body);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::HEADER_SIZE;

    #[test]
    fn the_steps_of_sasl_come_out_as_they_went_in() {
        let steps = [
            Authentication::Ok,
            Authentication::Sasl {
                mechanisms: vec![
                    Bytes::from("SCRAM-SHA-256-PLUS"),
                    Bytes::from("SCRAM-SHA-256"),
                ],
            },
            Authentication::SaslContinue(Bytes::from("r=x")),
            Authentication::SaslFinal(Bytes::from("v=x")),
        ];
        for step in steps {
            let mut out = BytesMut::new();
            step.encode(&mut out);
            let body = out.split_off(HEADER_SIZE).freeze();
            assert_eq!(Authentication::decode(body), Ok(step));
        }
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        for body in [
            &b""[..],
            b"\0\0\0",
            b"\0\0\0\x0aSCRAM",
            b"\0\0\0\x0aSCRAM\0",
        ] {
            assert!(Authentication::decode(Bytes::from_static(body)).is_err());
        }
        let md5 = Bytes::from_static(b"\0\0\0\x05salt");
        assert_eq!(Authentication::decode(md5), Ok(Authentication::Other));
    }
}
