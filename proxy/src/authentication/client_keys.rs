//! The keys that clients' proofs have shown: what logs a role in at any server that has the same
//! secret, as the target has when its roles were copied with their secrets.
//!
//! Bounded, in memory only, never logged. Does not check that a key is still the role's: it is
//! asked for by the secret of now.

use std::collections::HashMap;

use parking_lot::Mutex;
use protocol::scram::{ClientKey, Secret};

/// More roles than a server has that people log in by.
const KEYS_MAX: usize = 10_000;

/// The keys of roles.
#[derive(Debug, Default)]
pub struct ClientKeys {
    /// Taken once a login.
    keys: Mutex<HashMap<String, ClientKey>>,
}

impl ClientKeys {
    /// Keeps the key of a role that has just proved itself.
    pub(super) fn keep(&self, role: &str, key: ClientKey) {
        let mut keys = self.keys.lock();
        if keys.len() >= KEYS_MAX && !keys.contains_key(role) {
            // Whoever it is proves itself again.
            let evicted = keys.keys().next().cloned();
            evicted.and_then(|role| keys.remove(&role));
        }
        keys.insert(role.to_owned(), key);
    }

    /// The key of a role, if it fits this secret.
    pub fn key(&self, role: &str, secret: &Secret) -> Option<ClientKey> {
        let key = *self.keys.lock().get(role)?;
        (key.stored_key() == secret.stored_key()).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the password "pencil", and what is kept of another one.
    const SECRET: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
         WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn a_key_is_given_only_for_the_secret_that_it_fits() {
        let keys = ClientKeys::default();
        let secret = Secret::parse(SECRET).unwrap();
        keys.keep("al", ClientKey::from_bytes([7; 32]));
        assert_eq!(keys.key("al", &secret), None);
        assert_eq!(keys.key("bo", &secret), None);
    }

    #[test]
    fn there_are_never_more_than_the_bound() {
        let keys = ClientKeys::default();
        for number in 0..KEYS_MAX + 5 {
            keys.keep(&number.to_string(), ClientKey::from_bytes([1; 32]));
        }
        assert_eq!(keys.keys.lock().len(), KEYS_MAX);
        assert!(!format!("{keys:?}").contains('['));
    }
}
