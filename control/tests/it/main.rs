//! Setup against real PostgreSQL servers.
//!
//! Does not run the binary: that is tested in the workspace's own `tests/it`.

#[cfg(test)]
mod setup;
