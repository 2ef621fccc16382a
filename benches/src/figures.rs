//! Medians over the rounds.
//!
//! Ratios are of medians. Does not round.

use crate::{
    IdleFigure, Load, LogFigures, Way,
    measure::{Cell, Sample, percentile},
};

/// Everything that was measured.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Figures {
    /// By load, clients and way; at half load too.
    pub loads: Vec<Figure>,
    /// What an idle connection takes.
    pub idle: Vec<IdleFigure>,
    /// What it costs to apply a log.
    pub log: LogFigures,
}

/// The medians of one way under one load.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// How pgbench went to the database.
    pub way: Way,
    /// What it did.
    pub load: Load,
    /// With how many clients.
    pub clients: u32,
    /// How many transactions a second it was told to do; none: as many as go.
    pub rate: Option<f64>,
    /// Throughput.
    pub transactions_per_second: f64,
    /// Half of the transactions took no longer.
    pub latency_microseconds_p50: f64,
    /// All but one in a hundred took no longer.
    pub latency_microseconds_p99: f64,
    /// CPU time of the proxy for one transaction; none without a proxy.
    pub proxy_cpu_microseconds: Option<f64>,
    /// From a source commit to the row on the target, p50 and p99; only for dual writes.
    pub staleness_seconds: Option<(f64, f64)>,
}

impl Figures {
    /// The figure of another way under the same load.
    pub(crate) fn same(&self, figure: &Figure, way: Way) -> Option<&Figure> {
        let key = |it: &Figure| (it.load, it.clients, it.rate.is_some());
        let mut loads = self.loads.iter();
        loads.find(|it| it.way == way && key(it) == key(figure))
    }

    /// Throughput as a share of another way's under the same load.
    pub fn throughput_of(&self, figure: &Figure, way: Way) -> Option<f64> {
        let other = self.same(figure, way)?;
        Some(figure.transactions_per_second / other.transactions_per_second)
    }

    /// The proxy's CPU time as a multiple of another way's under the same load.
    pub fn cpu_of(&self, figure: &Figure, way: Way) -> Option<f64> {
        let other = self.same(figure, way)?.proxy_cpu_microseconds?;
        Some(figure.proxy_cpu_microseconds? / other)
    }

    /// The median latency as a multiple of another way's under the same load.
    pub fn p50_of(&self, figure: &Figure, way: Way) -> Option<f64> {
        let other = self.same(figure, way)?.latency_microseconds_p50;
        Some(figure.latency_microseconds_p50 / other)
    }
}

pub(crate) fn medians(samples: &[Sample]) -> Vec<Figure> {
    let key = |cell: &Cell| (cell.rate.is_some(), cell.load, cell.clients, cell.way);
    let mut cells: Vec<Cell> = samples.iter().map(|sample| sample.cell).collect();
    cells.sort_by_key(key);
    cells.dedup_by_key(|cell| key(cell));
    let figure = |cell: Cell| {
        let mine = samples.iter().filter(|it| key(&it.cell) == key(&cell));
        let mine: Vec<&Sample> = mine.collect();
        let all = |pick: fn(&Sample) -> Option<f64>| median(mine.iter().filter_map(|it| pick(it)));
        let staleness = all(|it| it.staleness_seconds.map(|both| both.0))
            .zip(all(|it| it.staleness_seconds.map(|both| both.1)));
        Figure {
            way: cell.way,
            load: cell.load,
            clients: cell.clients,
            rate: cell.rate,
            transactions_per_second: all(|it| Some(it.transactions_per_second)).unwrap_or(f64::NAN),
            latency_microseconds_p50: all(|it| Some(it.latency_microseconds_p50))
                .unwrap_or(f64::NAN),
            latency_microseconds_p99: all(|it| Some(it.latency_microseconds_p99))
                .unwrap_or(f64::NAN),
            proxy_cpu_microseconds: all(|it| it.proxy_cpu_microseconds),
            staleness_seconds: staleness,
        }
    };
    cells.into_iter().map(figure).collect()
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    (!values.is_empty()).then(|| percentile(&values, 500))
}
