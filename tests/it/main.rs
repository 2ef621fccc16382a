//! End-to-end tests: the `segue` binary between real PostgreSQL servers.
//!
//! Does not test what a crate can test alone.

mod servers;

/// The binary under test.
const SEGUE: &str = env!("CARGO_BIN_EXE_segue");
