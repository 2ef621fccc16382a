//! Segue: control.
