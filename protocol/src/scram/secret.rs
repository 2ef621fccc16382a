//! What a server keeps of a password: `SCRAM-SHA-256$4096:salt$StoredKey:ServerKey`.
//!
//! As in `pg_authid.rolpassword`. Does not make one.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::key::Hash;

/// A role's secret. Shown nowhere: whoever has it can pose as the server.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// How often the password was hashed.
    pub iterations: u32,
    /// What it was hashed with.
    pub salt: Vec<u8>,
    pub(super) stored_key: Hash,
    pub(super) server_key: Hash,
}

/// Why a text is no secret that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Another kind: MD5, or a password in the clear.
    #[error("it is not of the form SCRAM-SHA-256$…")]
    OtherKind,
    /// Of the right kind, and broken.
    #[error("it is no whole SCRAM-SHA-256 secret")]
    Broken,
}

impl Secret {
    /// Reads the text that PostgreSQL keeps.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let rest = text.strip_prefix("SCRAM-SHA-256$");
        Self::parts(rest.ok_or(SecretError::OtherKind)?).ok_or(SecretError::Broken)
    }

    fn parts(text: &str) -> Option<Self> {
        let (stretching, keys) = text.split_once('$')?;
        let (iterations, salt) = stretching.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        Some(Self {
            iterations: iterations.parse().ok().filter(|count| *count > 0)?,
            salt: STANDARD.decode(salt).ok()?,
            stored_key: STANDARD.decode(stored).ok()?.try_into().ok()?,
            server_key: STANDARD.decode(server).ok()?.try_into().ok()?,
        })
    }

    /// What it is checked against: another one after every change of the password.
    pub const fn stored_key(&self) -> [u8; 32] {
        self.stored_key
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
