//! What it costs to apply a log: Segue beside PostgreSQL's own replication and beside a reader that
//! throws the log away.
//!
//! Writes pile up at the source while nobody reads; then one reader is started and timed from its
//! first transaction to its last. Databases and servers are the same for all readers of a round. Does
//! not look at clients: [`crate::half`] does.

mod ground;
mod steady;
mod watch;

use anyhow::Result;

use self::ground::Ground;
pub use self::steady::SteadyFigure;
use crate::figures::median;

/// How much is written for the readers.
#[derive(Debug, Clone, Copy)]
pub struct LogPlan {
    /// The median is taken of so many rounds.
    pub rounds: u32,
    /// Rows that pile up for each reader.
    pub rows: u32,
    /// pgbench's scale: 100,000 rows each, of which no two writes of a round change the same.
    pub scale: u32,
    /// Seconds of the steady load.
    pub seconds: u32,
    /// Its transactions a second.
    pub rate: u32,
}

impl LogPlan {
    /// For figures worth quoting: about four minutes.
    pub const fn full() -> Self {
        Self {
            rounds: 3,
            rows: 60_000,
            scale: 2,
            seconds: 20,
            rate: 1_000,
        }
    }

    /// Only to see that it works.
    pub const fn quick() -> Self {
        Self {
            rounds: 1,
            rows: 2_000,
            scale: 1,
            seconds: 2,
            rate: 100,
        }
    }
}

/// Who reads the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reader {
    /// `pg_recvlogical` into `/dev/null`: the limit.
    Nowhere,
    /// PostgreSQL's own subscription.
    Native,
    /// Segue, of rows that the mirror has brought.
    Verifying,
    /// Segue, of rows that nobody has brought.
    Applying,
}

impl Reader {
    /// As the tables name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nowhere => "pg_recvlogical to nowhere",
            Self::Native => "native replication",
            Self::Verifying => "segue, the mirror was first",
            Self::Applying => "segue, deferred",
        }
    }
}

/// What piles up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Transactions that update one row.
    Single,
    /// Transactions that update 1,000 rows.
    BulkUpdate,
    /// Transactions that insert 1,000 rows.
    BulkInsert,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Single, Self::BulkUpdate, Self::BulkInsert];

    /// As the tables name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "update, a row a transaction",
            Self::BulkUpdate => "update, 1,000 rows a transaction",
            Self::BulkInsert => "insert, 1,000 rows a transaction",
        }
    }

    /// The mirror leaves bulk to the log.
    const fn readers(self) -> &'static [Reader] {
        match self {
            Self::Single => &[
                Reader::Nowhere,
                Reader::Native,
                Reader::Verifying,
                Reader::Applying,
            ],
            Self::BulkUpdate | Self::BulkInsert => {
                &[Reader::Nowhere, Reader::Native, Reader::Applying]
            }
        }
    }
}

/// Microseconds on the processors for each row, by process.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cpu {
    /// The source's walsender, and the backend that reads rows there again.
    pub source: f64,
    /// `pg_recvlogical` or the reconciler.
    pub program: f64,
    /// The apply worker, or the target's backend that writes for the reconciler.
    pub target: f64,
    /// The target's walsender, which tells the reconciler of others' writes.
    pub watching: f64,
}

/// The medians of one reader of one pile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogFigure {
    /// What had piled up.
    pub shape: Shape,
    /// Who read it.
    pub reader: Reader,
    /// Rows that it got rid of in a second.
    pub rows_per_second: f64,
    /// What that cost.
    pub cpu: Cpu,
    /// Bytes of the target's log for each row, the mirror's part included; none to nowhere.
    pub wal_bytes: Option<f64>,
}

/// Everything about the log.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogFigures {
    /// Piles.
    pub piles: Vec<LogFigure>,
    /// A steady load.
    pub steady: Option<SteadyFigure>,
}

impl LogFigures {
    /// The figure of `reader` for the same pile.
    pub(crate) fn same(&self, figure: &LogFigure, reader: Reader) -> Option<&LogFigure> {
        let mut piles = self.piles.iter();
        piles.find(|it| (it.shape, it.reader) == (figure.shape, reader))
    }
}

impl Cpu {
    /// What applying costs, wherever: without the source's part, which all readers have.
    pub fn applying(&self) -> f64 {
        self.program + self.target + self.watching
    }
}

/// Measures everything; `told` hears of each measurement.
pub(crate) async fn measure(plan: &crate::Plan, told: &mut impl FnMut(&str)) -> Result<LogFigures> {
    let Some(log) = plan.log else {
        return Ok(LogFigures::default());
    };
    let mut ground = Box::pin(Ground::prepare(&plan.binary, log)).await?;
    let mut samples: Vec<LogFigure> = Vec::new();
    for round in 1..=log.rounds {
        for shape in Shape::ALL {
            for &reader in shape.readers() {
                let sample = Box::pin(ground.measure(shape, reader)).await?;
                told(&format!(
                    "round {round}: {:<32} {:<27} {:>8.0} rows/s, {:>5.1} µs of CPU a row",
                    shape.name(),
                    reader.name(),
                    sample.rows_per_second,
                    sample.cpu.applying()
                ));
                samples.push(sample);
            }
        }
    }
    let steady = Box::pin(steady::measure(&mut ground, log, told)).await?;
    Ok(LogFigures {
        piles: medians(&samples),
        steady: Some(steady),
    })
}

fn medians(samples: &[LogFigure]) -> Vec<LogFigure> {
    let mut cells: Vec<_> = samples.iter().map(|it| (it.shape, it.reader)).collect();
    cells.sort_unstable();
    cells.dedup();
    let figure = |(shape, reader)| {
        let mine = samples
            .iter()
            .filter(move |it| (it.shape, it.reader) == (shape, reader));
        let all = |pick: fn(&LogFigure) -> Option<f64>| median(mine.clone().filter_map(pick));
        let cpu = |pick: fn(&LogFigure) -> Option<f64>| all(pick).unwrap_or(f64::NAN);
        LogFigure {
            shape,
            reader,
            rows_per_second: all(|it| Some(it.rows_per_second)).unwrap_or(f64::NAN),
            cpu: Cpu {
                source: cpu(|it| Some(it.cpu.source)),
                program: cpu(|it| Some(it.cpu.program)),
                target: cpu(|it| Some(it.cpu.target)),
                watching: cpu(|it| Some(it.cpu.watching)),
            },
            wal_bytes: all(|it| it.wal_bytes),
        }
    };
    cells.into_iter().map(figure).collect()
}
