//! Where the contract comes from: both catalogs when Segue is set up, `segue.phase` afterwards.
//!
//! Does not define what a contract is: that is `protocol::contract`.

mod build;
mod catalog;
pub mod drift;
mod form;
mod stored;

pub use build::{LeftOut, Selection, Survey, build, build_from_source};
pub(crate) use stored::load_older;
pub use stored::{Phase, PhaseName, load_from_source, load_from_target};

#[cfg(test)]
mod tests;
