//! PostgreSQL's frontend/backend protocol: frames cut and forwarded as they came, messages decoded
//! only where their tag matters.
//!
//! See <https://www.postgresql.org/docs/current/protocol-message-formats.html>.
