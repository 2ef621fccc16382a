//! The end that talks to a server: it proves itself with a client's key.
//!
//! Does not know passwords.

use super::key::{ClientKey, equal, sign, xor};
use super::message::{Attributes, ScramError, decode, encode};
use super::{END_POINT, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, Secret};

/// How the login is bound to the TLS connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// We cannot bind.
    Unsupported,
    /// We could; the server did not offer it.
    NotOffered,
    /// To the server's certificate, by this name.
    EndPoint(Vec<u8>),
}

impl Binding {
    /// The mechanism that goes with it.
    pub const fn mechanism(&self) -> &'static str {
        match self {
            Self::Unsupported | Self::NotOffered => SCRAM_SHA_256,
            Self::EndPoint(_) => SCRAM_SHA_256_PLUS,
        }
    }

    fn header(&self) -> String {
        match self {
            Self::Unsupported => "n,,".to_owned(),
            Self::NotOffered => "y,,".to_owned(),
            Self::EndPoint(_) => format!("p={END_POINT},,"),
        }
    }

    fn input(&self) -> Vec<u8> {
        let mut input = self.header().into_bytes();
        if let Self::EndPoint(name) = self {
            input.extend(name);
        }
        input
    }
}

/// The first message has been made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    binding: Binding,
    nonce: String,
}

/// The server has asked for a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenged {
    /// What the server's secret was hashed with.
    pub salt: Vec<u8>,
    /// How often.
    pub iterations: u32,
    binding: Binding,
    bare: String,
    server_first: String,
    nonce: String,
}

/// The proof has been made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    auth_message: String,
}

impl Begun {
    /// Begins. `nonce` is fresh, printable and has no comma.
    pub const fn new(binding: Binding, nonce: String) -> Self {
        Self { binding, nonce }
    }

    /// What the server is sent first.
    pub fn message(&self) -> String {
        format!("{}{}", self.binding.header(), self.bare())
    }

    /// PostgreSQL takes the name from the startup packet.
    fn bare(&self) -> String {
        format!("n=,r={}", self.nonce)
    }

    /// Reads the server's answer.
    pub fn challenged(self, message: &[u8]) -> Result<Challenged, ScramError> {
        let mut parts = Attributes::of(message)?;
        let server_first = parts.rest().unwrap_or_default().to_owned();
        let nonce = parts.value("r", "the server's nonce is missing")?;
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(ScramError::Nonce);
        }
        let salt = decode(
            parts.value("s", "the salt is missing")?,
            "the salt is not base64",
        )?;
        let iterations = parts.value("i", "the iteration count is missing")?;
        let iterations = iterations.parse().map_err(|_| ScramError::Malformed {
            what: "the iteration count is no number",
        })?;
        Ok(Challenged {
            salt,
            iterations,
            bare: self.bare(),
            nonce: nonce.to_owned(),
            binding: self.binding,
            server_first,
        })
    }
}

impl Challenged {
    /// Whether the server has the same secret as far as can be seen: a new password has a new salt.
    pub fn is_for(&self, secret: &Secret) -> bool {
        self.salt == secret.salt && self.iterations == secret.iterations
    }

    /// The last message, which proves the key.
    pub fn prove(self, key: &ClientKey) -> (String, Proved) {
        let input = encode(&self.binding.input());
        let last = format!("c={input},r={}", self.nonce);
        let auth_message = format!("{},{},{last}", self.bare, self.server_first);
        let signature = sign(&key.stored_key(), auth_message.as_bytes());
        let proof = encode(&xor(&key.0, &signature));
        (format!("{last},p={proof}"), Proved { auth_message })
    }
}

impl Proved {
    /// Whether the server has proved in turn that it has the secret.
    pub fn verify(&self, message: &[u8], secret: &Secret) -> Result<(), ScramError> {
        let mut parts = Attributes::of(message)?;
        let first = parts.part().unwrap_or_default();
        if let Some(error) = first.strip_prefix("e=") {
            return Err(ScramError::Refused {
                error: error.to_owned(),
            });
        }
        let signature = first.strip_prefix("v=").ok_or(ScramError::Malformed {
            what: "the server's signature is missing",
        })?;
        let signature = decode(signature, "the server's signature is not base64")?;
        let expected = sign(&secret.server_key, self.auth_message.as_bytes());
        match signature.try_into() {
            Ok(signature) if equal(&signature, &expected) => Ok(()),
            Ok(_) | Err(_) => Err(ScramError::Impostor),
        }
    }
}
