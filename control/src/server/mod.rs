//! Connections to servers, below the protocol: sockets, and the ways in which `sslmode` lets them
//! be encrypted.
//!
//! Every connection that Segue originates is opened here. Does not log in.

mod open;
mod stream;

pub use open::{Route, Way};
pub use stream::{ServerStream, Stream};
