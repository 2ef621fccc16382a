//! What a proxy costs: direct, pgbouncer, Segue passing through and Segue writing twice, side by
//! side in one run on servers of its own.
//!
//! The ways are interleaved round by round, so that a machine that grows slower grows slower for
//! all. Does not tune the servers beyond their defaults.

mod field;
mod figures;
mod half;
mod idle;
mod load;
mod log;
mod measure;
mod process;
pub mod soak;
mod table;
mod way;

use std::path::PathBuf;

use anyhow::Result;

use field::Field;
pub use figures::{Figure, Figures};
pub use idle::IdleFigure;
pub use load::Load;
pub use log::{Cpu, LogFigure, LogFigures, LogPlan, Reader, Shape, SteadyFigure};
use measure::{Cell, Sample};
pub use table::{json, markdown, readme};
pub use way::Way;

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
    /// What is measured as fast as it goes.
    pub loads: Vec<Load>,
    /// What is measured at half of dual write's throughput.
    pub half: Vec<Load>,
    /// Connections that are opened to see what an idle one takes; none: it is not looked at.
    pub idle: usize,
    /// What piles up for the readers of the log; none: they are not looked at.
    pub log: Option<LogPlan>,
}

impl Plan {
    /// For figures worth quoting: about a quarter of an hour.
    pub fn full(binary: PathBuf) -> Self {
        Self {
            binary,
            rounds: 3,
            seconds: 2,
            scale: 10,
            clients: vec![1, 8, 64],
            loads: Load::ALL.into(),
            half: Load::HALF.into(),
            // Two sockets each, within the 1024 files that a process usually may open.
            idle: 400,
            log: Some(LogPlan::full()),
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
            loads: vec![Load::SelectPrepared, Load::UpdatePrepared],
            half: vec![Load::UpdatePrepared],
            idle: 10,
            log: Some(LogPlan::quick()),
        }
    }

    /// Keeps the parts that are named: beginnings of loads' names, `half`, `idle`, `log`.
    pub fn keep_only(&mut self, names: &[&str]) {
        let is_named = |load: &Load| names.iter().any(|name| load.name().starts_with(name));
        if !names.contains(&"half") {
            self.half.clear();
        }
        if !names.contains(&"idle") {
            self.idle = 0;
        }
        if !names.contains(&"log") {
            self.log = None;
        }
        self.loads.retain(is_named);
    }

    const fn has_clients(&self) -> bool {
        !self.loads.is_empty() || !self.half.is_empty() || self.idle > 0
    }
}

/// Runs the plan; `told` hears of each measurement.
pub async fn run(plan: &Plan, mut told: impl FnMut(&str)) -> Result<Figures> {
    let mut figures = Figures::default();
    if plan.has_clients() {
        figures = Box::pin(run_clients(plan, &mut told)).await?;
    }
    figures.log = log::measure(plan, &mut told).await?;
    Ok(figures)
}

/// What clients see of the ways to a database.
async fn run_clients(plan: &Plan, told: &mut impl FnMut(&str)) -> Result<Figures> {
    let mut field = Field::prepare(plan).await?;
    if !field.has(Way::Pgbouncer) {
        told("pgbouncer is not installed: left out");
    }
    let mut samples: Vec<Sample> = Vec::new();
    for round in 1..=plan.rounds {
        // The reconciler decodes what the others write: it runs only where it is measured.
        for dual in [false, true] {
            let cells = cells(plan, &field, dual);
            if cells.is_empty() {
                continue;
            }
            if dual {
                field.start_reconciler().await?;
            }
            for cell in cells {
                let sample = measure::measure(&field, plan, cell).await?;
                told(&format!("round {round}: {}", sample.line()));
                samples.push(sample);
            }
            if dual {
                field.stop_reconciler().await?;
            }
        }
    }
    half::measure(&mut field, plan, &mut samples, told).await?;
    let idle = idle::measure(&mut field, plan, told).await?;
    Ok(Figures {
        loads: figures::medians(&samples),
        idle,
        log: LogFigures::default(),
    })
}

fn cells(plan: &Plan, field: &Field, dual: bool) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &clients in &plan.clients {
        for &load in &plan.loads {
            let ways = load.ways(clients).into_iter();
            let ways = ways.filter(|way| field.has(*way) && (*way == Way::DualWrite) == dual);
            cells.extend(ways.map(|way| Cell {
                way,
                load,
                clients,
                rate: None,
            }));
        }
    }
    cells
}
