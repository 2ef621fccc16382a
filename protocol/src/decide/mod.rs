//! Decisions: input in, next state and actions out. No I/O, no clock.
