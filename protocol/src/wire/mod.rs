//! PostgreSQL's frontend/backend protocol: frames cut and forwarded as they came, messages decoded
//! only where their tag matters.
//!
//! See <https://www.postgresql.org/docs/current/protocol-message-formats.html>. Does not know what
//! a frame means to a conversation: that is [`crate::decide::reply_queue`].

pub mod backend;
pub mod frame;
pub mod frontend;
pub mod startup;
mod write;

pub use backend::error_response;
