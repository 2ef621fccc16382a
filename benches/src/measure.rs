//! One measurement: pgbench for some seconds, each transaction's latency, the proxy's CPU time.
//!
//! Does not average latencies: percentiles are of all transactions of the measurement.

use std::path::Path;

use anyhow::{Result, ensure};
use harness::{guardian::Guardian, tool};

use crate::{Load, Plan, Way, field::Field, process::cpu_microseconds};

/// What is measured at one time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) way: Way,
    pub(crate) load: Load,
    pub(crate) clients: u32,
    /// Transactions a second; as many as go where there is none.
    pub(crate) rate: Option<f64>,
}

/// What one measurement gave.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) cell: Cell,
    pub(crate) transactions_per_second: f64,
    pub(crate) latency_microseconds_p50: f64,
    pub(crate) latency_microseconds_p99: f64,
    pub(crate) proxy_cpu_microseconds: Option<f64>,
    pub(crate) staleness_seconds: Option<(f64, f64)>,
}

impl Sample {
    /// What is told of it while the program runs.
    pub(crate) fn line(&self) -> String {
        let Cell {
            way, load, clients, ..
        } = self.cell;
        format!(
            "{:<18.18} {clients:>2} clients {:<29} {:>8.0} transactions/s",
            load.name(),
            way.name(),
            self.transactions_per_second
        )
    }
}

pub(crate) async fn measure(field: &Field, plan: &Plan, cell: Cell) -> Result<Sample> {
    let open = field.open(cell.way).await?;
    let directory = Guardian::of_this_process()?.directory().join("bench");
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join("script.sql"), cell.load.script())?;
    let before = open.proxy.map(cpu_microseconds).transpose()?;
    let mut command = tool::client_program("pgbench", &open.database)?;
    command
        .current_dir(&directory)
        .args(["-n", "-M", cell.load.protocol(), "-j", "1"])
        .args(["-l", "--log-prefix=latency", "-f", "script.sql"])
        .args(["-c", &cell.clients.to_string()])
        .args(["-T", &plan.seconds.to_string()])
        .args(["-s", &plan.scale.to_string()]);
    if let Some(rate) = cell.rate {
        command.args(["-R", &rate.to_string()]);
    }
    let output = command.output()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "pgbench: {told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let summary = tool::PgbenchSummary::read(&told)?;
    let after = open.proxy.map(cpu_microseconds).transpose()?;
    ensure!(
        summary.failed == 0,
        "pgbench: {} transactions failed",
        summary.failed
    );
    let latencies = latencies(&directory)?;
    std::fs::remove_dir_all(&directory)?;
    let staleness_seconds = field.close(open, cell.load.is_mirrored()).await?;
    Ok(Sample {
        cell,
        transactions_per_second: summary.transactions_per_second,
        latency_microseconds_p50: percentile(&latencies, 500),
        latency_microseconds_p99: percentile(&latencies, 990),
        proxy_cpu_microseconds: before
            .zip(after)
            .map(|(before, after)| (after - before) / summary.transactions.max(1) as f64),
        staleness_seconds,
    })
}

/// Microseconds of each transaction from pgbench's log, sorted.
fn latencies(directory: &Path) -> Result<Vec<f64>> {
    let mut latencies = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("latency.") {
            let text = std::fs::read_to_string(entry.path())?;
            latencies.extend(text.lines().filter_map(latency));
        }
    }
    ensure!(!latencies.is_empty(), "pgbench logged no transaction");
    latencies.sort_by(f64::total_cmp);
    Ok(latencies)
}

/// What a transaction took, from a line of pgbench's log. With a rate, pgbench counts from when the
/// transaction was due and says in a seventh field how late it sent it: that is pgbench's own.
fn latency(line: &str) -> Option<f64> {
    let mut fields = line.split(' ').skip(2);
    let taken: f64 = fields.next()?.parse().ok()?;
    let late = fields.nth(3).and_then(|text| text.parse().ok());
    Some(taken - late.unwrap_or(0.0))
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

    #[test]
    fn what_pgbench_sent_late_is_no_latency() {
        assert_eq!(latency("0 199 2241 0 1175850568 995598"), Some(2241.0));
        assert_eq!(latency("0 199 2241 0 1175850568 995598 241"), Some(2000.0));
    }
}
