//! The rules of DESIGN section 3 as a model: a source, a mirror, a target and a reconciler of one to
//! three rows, in which every order of their steps is tried.
//!
//! The decisions are `protocol`'s own code; what is modelled is everything around them: transactions,
//! snapshots, locks, crashes. A configuration ([`Config`]) is the base (a mirror that loses, doubles
//! and is late) with some features; [`table`] says which are explored to the end, which rules can be
//! left out in which of them, and how many states there are. Does not model time, failover, and more
//! than one table.

#![expect(
    clippy::option_option,
    reason = "outside: whether anything was done to a row; inside: whether there is one since"
)]

mod batch;
mod config;
mod early;
mod explore;
mod process;
mod reading;
mod row;
mod source;
pub mod table;
mod target;
mod world;

#[cfg(test)]
mod tests;

pub use self::config::{Config, Feature, Omission};
pub use self::explore::{Counterexample, Explored, Model, explore, walk};
pub use self::world::{Action, World};
