//! One measurement: pgbench for some seconds, each transaction's latency, the proxy's CPU time.
//!
//! Does not average latencies: percentiles are of all transactions of the measurement.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use harness::{guardian::Guardian, tool};

use crate::{Plan, Way, Workload, way::Field};

/// What one measurement gave.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) way: Way,
    pub(crate) workload: Workload,
    pub(crate) clients: u32,
    pub(crate) transactions_per_second: f64,
    pub(crate) latency_microseconds_p50: f64,
    pub(crate) latency_microseconds_p99: f64,
    pub(crate) proxy_cpu_microseconds: Option<f64>,
    pub(crate) staleness_seconds: Option<(f64, f64)>,
}

pub(crate) async fn measure(
    field: &mut Field,
    plan: &Plan,
    (way, workload, clients): (Way, Workload, u32),
) -> Result<Sample> {
    let open = field.open(way).await?;
    let directory = Guardian::of_this_process()?.directory().join("bench");
    std::fs::create_dir_all(&directory)?;
    let script = directory.join("script.sql");
    std::fs::write(&script, workload.script())?;
    let before = open.proxy.map(cpu_seconds).transpose()?;
    let mut command = tool::client_program("pgbench", &open.database)?;
    command
        .current_dir(&directory)
        .args([
            "-n",
            "-M",
            "prepared",
            "-j",
            "1",
            "-l",
            "--log-prefix=latency",
            "-f",
            "script.sql",
        ])
        .args(["-c", &clients.to_string(), "-T", &plan.seconds.to_string()])
        .args(["-s", &plan.scale.to_string()]);
    let output = command.output()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "pgbench: {told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let summary = tool::PgbenchSummary::read(&told)?;
    let after = open.proxy.map(cpu_seconds).transpose()?;
    ensure!(
        summary.failed == 0,
        "pgbench: {} transactions failed",
        summary.failed
    );
    let latencies = latencies(&directory)?;
    std::fs::remove_dir_all(&directory)?;
    let staleness = field.close(open).await?;
    Ok(Sample {
        way,
        workload,
        clients,
        transactions_per_second: summary.transactions_per_second,
        latency_microseconds_p50: percentile(&latencies, 500),
        latency_microseconds_p99: percentile(&latencies, 990),
        proxy_cpu_microseconds: before
            .zip(after)
            .map(|(before, after)| (after - before) * 1e6 / summary.transactions.max(1) as f64),
        staleness_seconds: staleness.filter(|_| workload == Workload::Update),
    })
}

/// User and system time of a process, all its threads.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold spaces; fields 14 and 15 of proc(5) are counted after it.
    let (_, fields) = stat
        .rsplit_once(')')
        .context("/proc/PID/stat has no name")?;
    let ticks =
        |index: usize| -> Option<f64> { fields.split_whitespace().nth(index)?.parse().ok() };
    let ticks = ticks(11)
        .zip(ticks(12))
        .context("/proc/PID/stat has no times")?;
    Ok((ticks.0 + ticks.1) / ticks_per_second()?)
}

fn ticks_per_second() -> Result<f64> {
    let output = Command::new("getconf").arg("CLK_TCK").output()?;
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .context("getconf CLK_TCK")
}

/// Microseconds of each transaction from pgbench's log, sorted.
fn latencies(directory: &Path) -> Result<Vec<f64>> {
    let mut latencies = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("latency.") {
            let text = std::fs::read_to_string(entry.path())?;
            let third = |line: &str| {
                line.split(' ')
                    .nth(2)
                    .and_then(|text| text.parse::<f64>().ok())
            };
            latencies.extend(text.lines().filter_map(third));
        }
    }
    ensure!(!latencies.is_empty(), "pgbench logged no transaction");
    latencies.sort_by(f64::total_cmp);
    Ok(latencies)
}

/// The value that so many thousandths of a sorted, non-empty list do not exceed.
pub(crate) fn percentile(sorted: &[f64], thousandths: usize) -> f64 {
    let rank = (sorted.len() * thousandths).div_ceil(1000).max(1);
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        assert!((percentile(&sorted, 500) - 50.0).abs() < f64::EPSILON);
        assert!((percentile(&sorted, 990) - 99.0).abs() < f64::EPSILON);
        assert!((percentile(&[7.0], 500) - 7.0).abs() < f64::EPSILON);
    }
}
