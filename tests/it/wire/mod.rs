//! What a client sees through the proxy is what it sees without it, byte by byte.

mod connections;
mod copy;
mod extended;
mod simple;
