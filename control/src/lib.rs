//! The control plane: where the databases are, what Segue keeps in them, and how it gets there.
//!
//! Owns the `segue` schema of both sides. Does not apply a single row: that is the crate `apply`,
//! which uses this one and never the other way round.

mod attention;
mod connect;
pub mod contract;
pub mod dsn;
mod error;
mod names;
mod redact;
pub mod repair;
pub mod report;
pub mod schema;
pub mod server;
pub mod setup;
mod side;
pub mod status;
pub mod table_report;
pub mod tls;

pub use connect::{Attempts, ConnectCause, ConnectError, connect};
pub use dsn::{Defaults, Dsn, DsnError, Password};
pub use error::{ControlError, describe};
pub use names::{Names, names};
pub use side::Side;
