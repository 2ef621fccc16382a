//! Segue: control.

pub mod report;
pub mod status;
