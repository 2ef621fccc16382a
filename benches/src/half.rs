//! Half load: what dual write costs a client where nothing is saturated.
//!
//! The rate is half of what the pass-through does on this machine in this run. Does not measure
//! other ways.

use anyhow::Result;

use crate::{
    Plan, Way,
    field::Field,
    figures::median,
    measure::{self, Cell, Sample},
};

/// Enough to fill the machine when no rate is given.
const CLIENTS: u32 = 8;

pub(crate) async fn measure(
    field: &mut Field,
    plan: &Plan,
    samples: &mut Vec<Sample>,
    told: &mut impl FnMut(&str),
) -> Result<()> {
    for &load in &plan.half {
        let cell = Cell {
            way: Way::PassThrough,
            load,
            clients: CLIENTS,
            rate: None,
        };
        let known = samples.iter().filter(|it| {
            (it.cell.way, it.cell.load, it.cell.clients) == (cell.way, load, CLIENTS)
                && it.cell.rate.is_none()
        });
        let full = if let Some(full) = median(known.map(|it| it.transactions_per_second)) {
            full
        } else {
            let sample = measure::measure(field, plan, cell).await?;
            sample.transactions_per_second
        };
        let rate = Some((full / 2.0).round().max(1.0));
        for round in 1..=plan.rounds {
            let pass = measure::measure(field, plan, Cell { rate, ..cell }).await?;
            field.start_reconciler().await?;
            let cell = Cell {
                way: Way::DualWrite,
                rate,
                ..cell
            };
            let dual = measure::measure(field, plan, cell).await?;
            field.stop_reconciler().await?;
            for sample in [pass, dual] {
                told(&format!("half load, round {round}: {}", sample.line()));
                samples.push(sample);
            }
        }
    }
    Ok(())
}
