//! Decisions: input in, next state and actions out. No I/O, no clock.

pub mod assembly;
pub mod drop_reason;
pub mod failover;
pub mod floor;
pub mod names;
pub mod record;
pub mod repair;
pub mod reply_queue;
pub mod reread;
#[cfg(test)]
mod simulation;
pub mod statement;
pub mod streamed;
pub mod sweep;
pub mod transaction;
pub mod verdict;
pub mod working_set;
