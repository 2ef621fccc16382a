//! Segue: reconciler.
