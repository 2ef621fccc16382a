//! Segue: protocol.
