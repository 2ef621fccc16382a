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
}

impl Plan {
    /// For figures worth quoting: about twelve minutes.
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
        }
    }

    /// Keeps the parts that are named: beginnings of loads' names, `half`, `idle`.
    pub fn keep_only(&mut self, names: &[&str]) {
        let is_named = |load: &Load| names.iter().any(|name| load.name().starts_with(name));
        if !names.contains(&"half") {
            self.half.clear();
        }
        if !names.contains(&"idle") {
            self.idle = 0;
        }
        self.loads.retain(is_named);
    }
}

/// Runs the plan; `told` hears of each measurement.
pub async fn run(plan: &Plan, mut told: impl FnMut(&str)) -> Result<Figures> {
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
    half::measure(&mut field, plan, &mut samples, &mut told).await?;
    let idle = idle::measure(&mut field, plan, &mut told).await?;
    Ok(Figures {
        loads: figures::medians(&samples),
        idle,
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
