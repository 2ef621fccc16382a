//! The end that a client talks to: it checks the proof, and learns the client's key from it.
//!
//! Does not say what a failure is called: the server behind us does.

use super::key::{ClientKey, equal, sign, xor};
use super::message::{Attributes, ScramError, decode, encode, is_nonce};
use super::{END_POINT, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, Secret};

/// The client's first message: who it is not said, how it binds is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFirst {
    header: String,
    bare: String,
    nonce: String,
    binds: bool,
}

/// What the client was sent, and waits to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    first: ClientFirst,
    message: String,
    nonce: String,
}

/// What came of the proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// The client has the password of the secret.
    Proved {
        /// What proves it to others.
        client_key: ClientKey,
        /// What proves to the client that we have the secret.
        message: String,
    },
    /// It has not, or there is no secret.
    NotProved,
}

/// The flag of a client's first message, before anything else in it is looked at.
pub fn flag(message: &[u8]) -> Option<u8> {
    message.first().copied()
}

impl ClientFirst {
    /// Reads it. `can_bind`: whether the mechanism with channel binding was offered.
    pub fn parse(mechanism: &str, message: &[u8], can_bind: bool) -> Result<Self, ScramError> {
        let mut parts = Attributes::of(message)?;
        let flag = parts.part().unwrap_or_default();
        let binds = match (flag, mechanism) {
            ("y", SCRAM_SHA_256) if can_bind => return Err(ScramError::Downgrade),
            ("n" | "y", SCRAM_SHA_256) => false,
            (flag, SCRAM_SHA_256_PLUS) => match flag.strip_prefix("p=") {
                Some(END_POINT) if can_bind => true,
                Some(_) => return Err(ScramError::BindingType),
                None => return Err(ScramError::BindingFlag),
            },
            _ => return Err(ScramError::BindingFlag),
        };
        if parts.part() != Some("") {
            return Err(ScramError::Malformed {
                what: "an authorization identity is not supported",
            });
        }
        let bare = parts.rest().unwrap_or_default().to_owned();
        // The name is that of the startup packet; PostgreSQL does not look at this one either.
        parts.value("n", "the user name is missing")?;
        let nonce = parts.value("r", "the client's nonce is missing")?;
        if !is_nonce(nonce) {
            return Err(ScramError::Malformed {
                what: "the client's nonce is not printable",
            });
        }
        Ok(Self {
            header: format!("{flag},,"),
            bare,
            nonce: nonce.to_owned(),
            binds,
        })
    }

    /// Answers it. `nonce` is fresh, printable and has no comma.
    pub fn challenge(self, salt: &[u8], iterations: u32, nonce: &str) -> Challenge {
        let nonce = format!("{}{nonce}", self.nonce);
        let message = format!("r={nonce},s={},i={iterations}", encode(salt));
        Challenge {
            first: self,
            message,
            nonce,
        }
    }
}

impl Challenge {
    /// What the client is sent.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Judges the client's final message. `end_point` names the TLS connection.
    pub fn judge(
        self,
        message: &[u8],
        end_point: Option<&[u8]>,
        secret: Option<&Secret>,
    ) -> Result<Judged, ScramError> {
        let mut parts = Attributes::of(message)?;
        let whole = parts.rest().unwrap_or_default();
        let binding = parts.value("c", "the channel binding is missing")?;
        let mut expected = self.first.header.clone().into_bytes();
        if self.first.binds {
            expected.extend(end_point.ok_or(ScramError::Binding)?);
        }
        if decode(binding, "the channel binding is not base64")? != expected {
            return Err(ScramError::Binding);
        }
        if parts.value("r", "the nonce is missing")? != self.nonce {
            return Err(ScramError::Nonce);
        }
        let (proof, before) = proof(&mut parts, whole)?;
        let auth_message = format!("{},{},{before}", self.first.bare, self.message);
        let Some(secret) = secret else {
            return Ok(Judged::NotProved);
        };
        let signature = sign(&secret.stored_key, auth_message.as_bytes());
        let client_key = ClientKey(xor(&proof, &signature));
        if !equal(&client_key.stored_key(), &secret.stored_key) {
            return Ok(Judged::NotProved);
        }
        let signature = sign(&secret.server_key, auth_message.as_bytes());
        Ok(Judged::Proved {
            client_key,
            message: format!("v={}", encode(&signature)),
        })
    }
}

/// The proof, which stands last, and the message before it. Extensions are passed over.
fn proof<'a>(
    parts: &mut Attributes<'a>,
    whole: &'a str,
) -> Result<([u8; 32], &'a str), ScramError> {
    const MISSING: ScramError = ScramError::Malformed {
        what: "the proof is missing",
    };
    while let Some(part) = parts.part() {
        let Some(text) = part.strip_prefix("p=") else {
            continue;
        };
        let proof = decode(text, "the proof is not base64")?;
        let proof = proof.try_into().map_err(|_| ScramError::Malformed {
            what: "the proof has not the size of a hash",
        })?;
        if parts.rest().is_some() {
            return Err(ScramError::Malformed {
                what: "something stands behind the proof",
            });
        }
        let before = whole.strip_suffix(part).and_then(|it| it.strip_suffix(','));
        return Ok((proof, before.ok_or(MISSING)?));
    }
    Err(MISSING)
}
