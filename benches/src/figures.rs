//! Medians over the rounds, as a Markdown table and as JSON.
//!
//! Ratios are of medians. Does not round what goes into the JSON.

use serde_json::{Value, json};

use crate::{
    Plan, Way, Workload,
    measure::{Sample, percentile},
};

/// The medians of one way under one load.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// How pgbench went to the database.
    pub way: Way,
    /// What it did.
    pub workload: Workload,
    /// With how many clients.
    pub clients: u32,
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

pub(crate) fn medians(samples: &[Sample]) -> Vec<Figure> {
    let mut loads: Vec<_> = samples
        .iter()
        .map(|s| (s.workload, s.clients, s.way))
        .collect();
    loads.sort_unstable();
    loads.dedup();
    let figure = |(workload, clients, way)| {
        let mine: Vec<&Sample> = samples
            .iter()
            .filter(|s| (s.workload, s.clients, s.way) == (workload, clients, way))
            .collect();
        let all = |pick: fn(&Sample) -> Option<f64>| median(mine.iter().filter_map(|s| pick(s)));
        let staleness = all(|s| s.staleness_seconds.map(|both| both.0))
            .zip(all(|s| s.staleness_seconds.map(|both| both.1)));
        Figure {
            way,
            workload,
            clients,
            transactions_per_second: all(|s| Some(s.transactions_per_second)).unwrap_or(f64::NAN),
            latency_microseconds_p50: all(|s| Some(s.latency_microseconds_p50)).unwrap_or(f64::NAN),
            latency_microseconds_p99: all(|s| Some(s.latency_microseconds_p99)).unwrap_or(f64::NAN),
            proxy_cpu_microseconds: all(|s| s.proxy_cpu_microseconds),
            staleness_seconds: staleness,
        }
    };
    loads.into_iter().map(figure).collect()
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    (!values.is_empty()).then(|| percentile(&values, 500))
}

/// Throughput as a share of another way's under the same load.
fn ratio(figures: &[Figure], figure: &Figure, other: Way) -> Option<f64> {
    let same =
        |f: &&Figure| (f.workload, f.clients, f.way) == (figure.workload, figure.clients, other);
    let other = figures.iter().find(same)?;
    Some(figure.transactions_per_second / other.transactions_per_second)
}

const HEADER: &str = "\
| load | way | tx/s | of direct | of pgbouncer | p50 ms | p99 ms | proxy CPU µs/tx | staleness p50 / p99 ms |
|---|---|---:|---:|---:|---:|---:|---:|---:|
";

/// The table for README.md.
pub fn markdown(figures: &[Figure]) -> String {
    let rows: Vec<String> = figures.iter().map(|figure| row(figures, figure)).collect();
    [HEADER, &rows.concat()].concat()
}

fn row(figures: &[Figure], figure: &Figure) -> String {
    let none = || "–".to_owned();
    let share = |way| ratio(figures, figure, way).map_or_else(none, |ratio| format!("{ratio:.2}"));
    let cpu = figure
        .proxy_cpu_microseconds
        .map_or_else(none, |cpu| format!("{cpu:.1}"));
    let staleness = figure.staleness_seconds.map_or_else(none, |(p50, p99)| {
        format!("{:.1} / {:.1}", p50 * 1e3, p99 * 1e3)
    });
    format!(
        "| {}, {} client{} | {} | {:.0} | {} | {} | {:.3} | {:.3} | {cpu} | {staleness} |\n",
        figure.workload.name(),
        figure.clients,
        if figure.clients == 1 { "" } else { "s" },
        figure.way.name(),
        figure.transactions_per_second,
        share(Way::Direct),
        share(Way::Pgbouncer),
        figure.latency_microseconds_p50 / 1e3,
        figure.latency_microseconds_p99 / 1e3,
    )
}

/// The same for programs.
pub fn json(plan: &Plan, figures: &[Figure]) -> Value {
    let one = |figure: &Figure| {
        json!({
            "workload": figure.workload.name(),
            "clients": figure.clients,
            "way": figure.way.name(),
            "transactions_per_second": figure.transactions_per_second,
            "latency_microseconds_p50": figure.latency_microseconds_p50,
            "latency_microseconds_p99": figure.latency_microseconds_p99,
            "proxy_cpu_microseconds": figure.proxy_cpu_microseconds,
            "staleness_seconds_p50": figure.staleness_seconds.map(|both| both.0),
            "staleness_seconds_p99": figure.staleness_seconds.map(|both| both.1),
            "throughput_of_direct": ratio(figures, figure, Way::Direct),
            "throughput_of_pgbouncer": ratio(figures, figure, Way::Pgbouncer),
        })
    };
    json!({
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "scale": plan.scale,
        "figures": figures.iter().map(one).collect::<Vec<_>>(),
    })
}
