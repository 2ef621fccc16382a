//! Connections to servers, below the protocol.
//!
//! Does not log in.

mod stream;

pub use stream::{ServerStream, end_without_notice};
