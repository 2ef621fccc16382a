//! Decisions: input in, next state and actions out. No I/O, no clock.

pub mod record;
pub mod statement;
pub mod transaction;
