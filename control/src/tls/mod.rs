//! TLS: what every encrypted connection of Segue's rests on, whichever end it is.
//!
//! rustls does the cryptography, with ring. Here are the files, the trust in a server's certificate
//! as libpq has it, and channel binding. Does not open connections, and does not know of clients.

mod chain;
mod client;
mod end_point;
mod fault;
mod files;
mod subject;
mod verifier;

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;

pub use client::ServerTls;
pub use end_point::end_point;
pub use fault::TlsFault;
pub use files::{FileFault, authorities, certificates, private_key};

/// The protocol's name in ALPN, registered for PostgreSQL.
pub const ALPN: &[u8] = b"postgresql";

/// The cryptography that all connections use.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    Arc::clone(&PROVIDER)
}
