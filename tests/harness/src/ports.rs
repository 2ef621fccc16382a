//! Loopback ports for those who have to know theirs before they listen.
//!
//! Does not use the ports that the kernel hands out by itself: between the moment that such a port is
//! found and the moment that a child listens on it, any connection of a test could take it.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};

/// The first port that is looked at; those under it are other people's.
const LOWEST: u32 = 10_000;

/// Where the kernel's own begin, as Linux does it unless told otherwise.
const KERNELS: u32 = 32_768;

/// How far apart processes begin whose ids are neighbours: tests that run at the same time.
const STRIDE: u32 = 211;

/// How many ports this process has looked at.
static LOOKED_AT: AtomicU32 = AtomicU32::new(0);

/// A loopback port that nobody listens on, that this process has not been given before, and that the
/// kernel gives to nobody.
pub fn free() -> Result<u16> {
    let end = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .filter(|&begin| begin > LOWEST)
        .unwrap_or(KERNELS);
    let count = end - LOWEST;
    let first = std::process::id().wrapping_mul(STRIDE);
    (0..count)
        .map(|_| LOOKED_AT.fetch_add(1, Ordering::Relaxed))
        .map(|step| LOWEST + first.wrapping_add(step) % count)
        .filter_map(|port| u16::try_from(port).ok())
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .context("no free loopback port")
}
