//! The logical replication stream of the `pgoutput` plugin.
//!
//! See <https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>.
