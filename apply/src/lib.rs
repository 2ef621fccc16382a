//! Segue: apply.
