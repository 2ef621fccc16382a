//! What a proxy costs: direct, pgbouncer, Segue passing through and Segue writing twice, side by
//! side in one run on servers of its own.
//!
//! The ways are interleaved round by round, so that a machine that grows slower grows slower for
//! all. Does not tune the servers beyond their defaults.

mod figures;
mod measure;
mod way;

use std::path::PathBuf;

use anyhow::Result;

pub use figures::{Figure, json, markdown};
use measure::Sample;
use way::Field;

/// What is run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The `segue` binary.
    pub binary: PathBuf,
    /// The median is taken of so many rounds.
    pub rounds: u32,
    /// Seconds of one measurement.
    pub seconds: u32,
    /// pgbench's scale: 100,000 rows each.
    pub scale: u32,
    /// Numbers of clients.
    pub clients: Vec<u32>,
}

impl Plan {
    /// For figures worth quoting.
    pub fn full(binary: PathBuf) -> Self {
        Self {
            binary,
            rounds: 5,
            seconds: 5,
            scale: 10,
            clients: vec![1, 8],
        }
    }

    /// Only to see that it works.
    pub fn quick(binary: PathBuf) -> Self {
        Self {
            binary,
            rounds: 1,
            seconds: 1,
            scale: 1,
            clients: vec![2],
        }
    }
}

/// One way from pgbench to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// No proxy.
    Direct,
    /// pgbouncer in session mode.
    Pgbouncer,
    /// `segue proxy --mirror off`.
    PassThrough,
    /// `segue proxy` with a target, and a reconciler.
    DualWrite,
}

impl Way {
    const ALL: [Self; 4] = [
        Self::Direct,
        Self::Pgbouncer,
        Self::PassThrough,
        Self::DualWrite,
    ];

    /// As the table names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Pgbouncer => "pgbouncer",
            Self::PassThrough => "segue pass-through",
            Self::DualWrite => "segue dual-write",
        }
    }
}

/// What pgbench does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Workload {
    /// One row read by its key.
    Select,
    /// One row changed by its key.
    Update,
}

impl Workload {
    const ALL: [Self; 2] = [Self::Select, Self::Update];

    /// As the table names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Update => "update",
        }
    }

    fn script(self) -> &'static str {
        match self {
            Self::Select => {
                "\\set aid random(1, 100000 * :scale)\n\
                 SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n"
            }
            Self::Update => {
                "\\set aid random(1, 100000 * :scale)\n\
                 UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;\n"
            }
        }
    }
}

/// Runs the plan; `told` hears of each measurement.
pub async fn run(plan: &Plan, mut told: impl FnMut(&str)) -> Result<Vec<Figure>> {
    let mut field = Field::prepare(plan).await?;
    let ways: Vec<Way> = Way::ALL.into_iter().filter(|way| field.has(*way)).collect();
    if !field.has(Way::Pgbouncer) {
        told("pgbouncer is not installed: left out");
    }
    let mut samples: Vec<Sample> = Vec::new();
    for round in 1..=plan.rounds {
        for &clients in &plan.clients {
            for workload in Workload::ALL {
                for &way in &ways {
                    let sample =
                        measure::measure(&mut field, plan, (way, workload, clients)).await?;
                    told(&format!(
                        "round {round}: {:<6} {clients} clients {:<18} {:>9.0} transactions/s",
                        workload.name(),
                        way.name(),
                        sample.transactions_per_second
                    ));
                    samples.push(sample);
                }
            }
        }
    }
    Ok(figures::medians(&samples))
}
