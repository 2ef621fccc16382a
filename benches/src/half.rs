//! Half load: what dual write costs a client where nothing is saturated.
//!
//! The rate is half of what dual write itself does on this machine in this run: source, target and
//! reconciler share it, and half of a pass-through's throughput may be more than they can do at all.
//! Does not measure other ways.

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
        let full = full_load(field, plan, samples, cell).await?;
        let rate = Some((full / 2.0).round().max(1.0));
        for round in 1..=plan.rounds {
            for way in Way::HALF {
                let sample = one(field, plan, Cell { way, rate, ..cell }).await?;
                told(&format!("half load, round {round}: {}", sample.line()));
                samples.push(sample);
            }
        }
    }
    Ok(())
}

/// What dual write does of this load at full speed, in transactions per second.
async fn full_load(field: &mut Field, plan: &Plan, samples: &[Sample], cell: Cell) -> Result<f64> {
    let known = samples.iter().filter(|it| {
        (it.cell.way, it.cell.load, it.cell.clients) == (Way::DualWrite, cell.load, CLIENTS)
            && it.cell.rate.is_none()
    });
    if let Some(full) = median(known.map(|it| it.transactions_per_second)) {
        return Ok(full);
    }
    let way = Way::DualWrite;
    let sample = one(field, plan, Cell { way, ..cell }).await?;
    Ok(sample.transactions_per_second)
}

/// One measurement, with what belongs to its way beside it.
async fn one(field: &mut Field, plan: &Plan, cell: Cell) -> Result<Sample> {
    match cell.way {
        Way::DualWrite => {
            field.start_reconciler().await?;
            let sample = measure::measure(field, plan, cell).await?;
            field.stop_reconciler().await?;
            Ok(sample)
        }
        Way::Replicated => {
            field.start_replication().await?;
            let sample = measure::measure(field, plan, cell).await?;
            field.stop_replication().await?;
            Ok(sample)
        }
        Way::Decoded => {
            field.start_decoding().await?;
            let sample = measure::measure(field, plan, cell).await?;
            field.stop_decoding()?;
            Ok(sample)
        }
        Way::Direct | Way::Pgbouncer | Way::PassThrough | Way::PassThroughTwo | Way::Dry => {
            measure::measure(field, plan, cell).await
        }
    }
}
