//! What Segue knows about PostgreSQL's bytes and its own rules, as pure functions and types.
//!
//! Floor 0 is the wire ([`wire`]), the change stream ([`pgoutput`]) and the values that travel
//! through both. Floor 1 ([`decide`]) holds every decision correctness rests on. Nothing here does
//! I/O, reads a clock, draws a random number or holds a global, and nothing a peer sends can make
//! it panic.
#![deny(clippy::expect_used, clippy::indexing_slicing, clippy::unreachable)]

pub mod contract;
pub mod decide;
pub mod lsn;
pub mod op_id;
pub mod pgoutput;
pub mod reader;
pub mod remap;
pub mod revision;
pub mod row;
pub mod scram;
pub mod wire;
pub mod xid;
