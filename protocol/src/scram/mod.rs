//! SCRAM-SHA-256, both ends of it, as types that each allow the next step alone.
//!
//! [RFC 5802](https://www.rfc-editor.org/rfc/rfc5802) and 7677, as
//! [PostgreSQL uses them](https://www.postgresql.org/docs/current/sasl-authentication.html): the
//! user's name is that of the startup packet. The end that clients talk to ([`server`]) checks a
//! proof and learns the client's key from it; the end that talks to a server ([`client`]) proves
//! with that key. Nobody needs a password. Does not make nonces, and does not do I/O.

pub mod client;
mod key;
mod message;
mod secret;
pub mod server;

pub use key::ClientKey;
pub use message::ScramError;
pub use secret::{Secret, SecretError};

/// Without channel binding.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

/// With channel binding.
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// The one kind of channel binding that PostgreSQL knows.
const END_POINT: &str = "tls-server-end-point";

#[cfg(test)]
mod tests;
