//! Whose processor time it was: the processes of a reader, asked of both servers.
//!
//! Does not count what the servers' own background processes do.

use anyhow::{Context, Result};
use harness::Database;

use super::Cpu;
use crate::process::cpu_microseconds;

/// The processes that work for one reader.
#[derive(Debug, Default)]
pub(super) struct Crew {
    pub(super) source: Vec<u32>,
    pub(super) program: Vec<u32>,
    pub(super) target: Vec<u32>,
    pub(super) watching: Vec<u32>,
}

impl Crew {
    /// What they have used so far, in microseconds.
    pub(super) fn cpu(&self) -> Result<Cpu> {
        let sum =
            |pids: &[u32]| -> Result<f64> { pids.iter().map(|pid| cpu_microseconds(*pid)).sum() };
        Ok(Cpu {
            source: sum(&self.source)?,
            program: sum(&self.program)?,
            target: sum(&self.target)?,
            watching: sum(&self.watching)?,
        })
    }
}

impl Cpu {
    /// What was used since `before`, for each of so many rows.
    pub(super) fn since(self, before: Self, rows: f64) -> Self {
        Self {
            source: (self.source - before.source) / rows,
            program: (self.program - before.program) / rows,
            target: (self.target - before.target) / rows,
            watching: (self.watching - before.watching) / rows,
        }
    }
}

/// The processes that a query names in its first column.
pub(super) async fn pids(database: &Database, sql: &str) -> Result<Vec<u32>> {
    let rows = database.rows(sql).await?;
    let first = rows.into_iter().filter_map(|row| row.into_iter().next());
    let pids = first.flatten().map(|text| text.parse());
    pids.collect::<Result<_, _>>().context("a process id")
}
