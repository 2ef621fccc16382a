//! What the system says of a process.
//!
//! Does not look at its children.

use anyhow::{Context, Result};

/// Time on the processors, in microseconds, of all threads that live.
pub(crate) fn cpu_microseconds(pid: u32) -> Result<f64> {
    let mut nanoseconds = 0.0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // Finer than the ticks of /proc/PID/stat. A thread may end meanwhile.
        if let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) {
            let first = text.split_whitespace().next();
            let spent: f64 = first.context("schedstat is empty")?.parse()?;
            nanoseconds += spent;
        }
    }
    Ok(nanoseconds / 1e3)
}

/// Resident memory, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kilobytes: u64 = kilobytes.context("no VmRSS")?.trim().parse()?;
    Ok(kilobytes * 1024)
}
