//! End-to-end tests: the `segue` binary between real PostgreSQL servers.
//!
//! Does not test what a crate can test alone.

// Each module says that it is a test, for clippy: in tests an unwrap is an assertion.
#[cfg(test)]
mod bench;
#[cfg(test)]
mod broken_backends;
#[cfg(test)]
mod budget;
#[cfg(test)]
mod capture_table;
#[cfg(test)]
mod capture_transactions;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod console;
mod constraints;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod divergence;
#[cfg(test)]
mod drift;
#[cfg(test)]
mod drivers;
#[cfg(test)]
mod dry;
#[cfg(test)]
mod endpoint;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod fidelity;
#[cfg(test)]
mod ground;
#[cfg(test)]
mod hard_rows;
#[cfg(test)]
mod hard_tables;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod lost_slots;
#[cfg(test)]
mod many_tables;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod mid_commit;
#[cfg(test)]
mod mirror;
#[cfg(test)]
mod mirror_faults;
#[cfg(test)]
mod month;
#[cfg(test)]
mod negotiation;
#[cfg(test)]
mod progress;
#[cfg(test)]
mod repairs;
#[cfg(test)]
mod replication;
#[cfg(test)]
mod revisions;
#[cfg(test)]
mod scram;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod signals;
#[cfg(test)]
mod sizes;
#[cfg(test)]
mod stream;
#[cfg(test)]
mod streaming;
#[cfg(test)]
mod sync;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod tls_source;
#[cfg(test)]
mod types;
#[cfg(test)]
mod versions;
#[cfg(test)]
mod ways;
#[cfg(test)]
mod wire;

/// The binary under test.
#[cfg(test)]
const SEGUE: &str = env!("CARGO_BIN_EXE_segue");
