//! Keys and what is computed with them. Does not stretch passwords: nobody has one here.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The size of SHA-256's block: HMAC fills shorter keys up with zeros.
const BLOCK_SIZE: usize = 64;

/// A hash or a signature.
pub(super) type Hash = [u8; 32];

/// What proves a client to any server that has the same secret. Shown nowhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClientKey(pub(super) Hash);

impl ClientKey {
    /// The key with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What a server keeps to check it.
    pub fn stored_key(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKey(..)")
    }
}

/// HMAC-SHA-256.
pub(super) fn sign(key: &Hash, message: &[u8]) -> Hash {
    let mut block = [0; BLOCK_SIZE];
    for (place, byte) in block.iter_mut().zip(key) {
        *place = *byte;
    }
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(message);
    mac.finalize().into_bytes().into()
}

pub(super) fn xor(left: &Hash, right: &Hash) -> Hash {
    let mut both = *left;
    for (place, byte) in both.iter_mut().zip(right) {
        *place ^= byte;
    }
    both
}

/// Compares in a time that does not tell where the difference is.
pub(super) fn equal(left: &Hash, right: &Hash) -> bool {
    xor(left, right).iter().fold(0, |all, byte| all | byte) == 0
}
