//! Writing rows into a target, under the rules of DESIGN section 3.
//!
//! Does not decide what is right: that is `protocol::decide`. Does not own the `segue` schema: that
//! is the crate `control`.

mod array;
pub mod connection;
pub mod early;
pub mod logged;
pub mod session;
pub mod statements;
pub mod undo;

pub use early::{
    Culprit, EarlyOutcome, EarlyRow, EarlyTransaction, EarlyWrite, EarlyWriter, Refusal,
};
