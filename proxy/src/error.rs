//! Why the proxy could not run.

use std::io;

use crate::address::Address;

/// Why the proxy could not run.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {}", mend(source))]
    Listen {
        /// The address.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// No address was given.
    #[error("there is no address to listen on; give one with --listen")]
    NoAddress,
    /// A thread could not be started.
    #[error("cannot start a worker thread")]
    Thread(#[source] io::Error),
    /// A thread has ended when it should not have.
    #[error("a worker thread has died; this is a bug in segue")]
    WorkerDied,
}

impl ProxyError {
    /// The exit code of a command that ends with it.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NoAddress => 2,
            Self::Listen { .. } | Self::Thread(_) | Self::WorkerDied => 1,
        }
    }
}

/// What mends the usual cases.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the system's own words do for all other cases"
)]
fn mend(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "it is in use; stop what listens there or choose another --listen address".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "permission denied; choose a port above 1023, or a directory that may be written to"
                .to_owned()
        }
        io::ErrorKind::NotFound => "there is no such directory".to_owned(),
        io::ErrorKind::InvalidInput => "the path is too long for a socket".to_owned(),
        io::ErrorKind::AddrNotAvailable => "it is not an address of this machine".to_owned(),
        _ => error.to_string(),
    }
}
