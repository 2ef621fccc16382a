//! The writers against real PostgreSQL servers.
//!
//! Does not run the binary: that is tested in the workspace's own `tests/it`.

#[cfg(test)]
mod broken;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod displaced;
#[cfg(test)]
mod early;
#[cfg(test)]
mod ground;
#[cfg(test)]
mod many_tables;
#[cfg(test)]
mod sessions;
