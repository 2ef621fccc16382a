//! The figures as Markdown, for a person and for README.md, and as JSON for programs.
//!
//! Does not round what goes into the JSON.

mod log;

use serde_json::{Value, json};

use crate::{Figure, Figures, Load, Plan, Way};

const HEADER: &str = "\
| load | way | tx/s | of direct | of pgbouncer | p50 ms | p99 ms | proxy CPU µs/tx | of pgbouncer | of pass-through | staleness p50 / p99 ms |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
";

/// Every figure, a row each.
pub fn markdown(figures: &Figures) -> String {
    let rows = figures.loads.iter().map(|figure| row(figures, figure));
    let rows: Vec<String> = rows.collect();
    [HEADER, &rows.concat()].concat()
}

fn row(figures: &Figures, figure: &Figure) -> String {
    format!(
        "| {} | {} | {:.0} | {} | {} | {:.3} | {:.3} | {} | {} | {} | {} |\n",
        load(figure),
        figure.way.name(),
        figure.transactions_per_second,
        fixed(figures.throughput_of(figure, Way::Direct), 2),
        fixed(figures.throughput_of(figure, Way::Pgbouncer), 2),
        figure.latency_microseconds_p50 / 1e3,
        figure.latency_microseconds_p99 / 1e3,
        fixed(figure.proxy_cpu_microseconds, 1),
        fixed(figures.cpu_of(figure, Way::Pgbouncer), 2),
        fixed(figures.cpu_of(figure, Way::PassThrough), 2),
        staleness(figure),
    )
}

/// The tables of README.md: what matters, a row for each load.
pub fn readme(figures: &Figures) -> String {
    let mut text = String::from(
        "| load | direct tx/s | pgbouncer tx/s | its CPU µs/tx | 1 worker: tx/s | CPU | 2 workers: tx/s | CPU | dual write: tx/s | CPU |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let full = figures.loads.iter().filter(|it| it.rate.is_none());
    for figure in full.filter(|it| it.way == Way::PassThrough && it.load != Load::TpcbUnkeyed) {
        text.push_str(&readme_row(figures, figure));
    }
    let duals = figures.loads.iter().filter(|it| it.way == Way::DualWrite);
    let mut half = duals.filter(|it| it.rate.is_some()).peekable();
    if half.peek().is_some() {
        text.push_str(
            "\n| half load | tx/s | pass-through p50 ms | captured, sent nowhere | log decoded to nowhere | native replication | dual write | its proxy CPU | staleness p50 / p99 ms |\n\
             |---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        );
    }
    for figure in half {
        text.push_str(&half_row(figures, figure));
    }
    if !figures.idle.is_empty() {
        text.push_str("\n| an idle connection of | kB |\n|---|---:|\n");
    }
    let idle = figures.idle.iter().map(|it| {
        let kilobytes = it.bytes_per_connection / 1024.0;
        format!("| {} | {kilobytes:.1} |\n", it.way.name())
    });
    text.extend(idle);
    text.push_str(&log::markdown(&figures.log));
    text
}

fn readme_row(figures: &Figures, pass: &Figure) -> String {
    let of = |way| figures.same(pass, way);
    let pooler = of(Way::Pgbouncer);
    let against = |figure: Option<&Figure>, way| {
        let throughput = figure.and_then(|it| figures.throughput_of(it, way));
        let cpu = figure.and_then(|it| figures.cpu_of(it, way));
        format!("{} | {}", times(throughput), times(cpu))
    };
    format!(
        "| {} | {} | {} | {} | {} | {} | {} |\n",
        load(pass),
        fixed(of(Way::Direct).map(|it| it.transactions_per_second), 0),
        fixed(pooler.map(|it| it.transactions_per_second), 0),
        fixed(pooler.and_then(|it| it.proxy_cpu_microseconds), 1),
        against(Some(pass), Way::Pgbouncer),
        against(of(Way::PassThroughTwo), Way::Pgbouncer),
        against(of(Way::DualWrite), Way::PassThrough),
    )
}

fn half_row(figures: &Figures, dual: &Figure) -> String {
    let pass = figures.same(dual, Way::PassThrough);
    let slower = |way| {
        let figure = figures.same(dual, way);
        times(figure.and_then(|it| figures.p50_of(it, Way::PassThrough)))
    };
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
        load(dual),
        fixed(dual.rate, 0),
        fixed(pass.map(|it| it.latency_microseconds_p50 / 1e3), 3),
        slower(Way::Dry),
        slower(Way::Decoded),
        slower(Way::Replicated),
        slower(Way::DualWrite),
        times(figures.cpu_of(dual, Way::PassThrough)),
        staleness(dual),
    )
}

fn load(figure: &Figure) -> String {
    let plural = if figure.clients == 1 { "" } else { "s" };
    let half = figure.rate.map(|rate| format!(", {rate:.0} tx/s"));
    format!(
        "{}, {} client{plural}{}",
        figure.load.name(),
        figure.clients,
        half.unwrap_or_default()
    )
}

fn fixed(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

fn times(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}x"))
}

fn staleness(figure: &Figure) -> String {
    let both = figure.staleness_seconds;
    both.map_or_else(
        || "–".to_owned(),
        |(p50, p99)| format!("{:.1} / {:.1}", p50 * 1e3, p99 * 1e3),
    )
}

/// Everything for programs.
pub fn json(plan: &Plan, figures: &Figures) -> Value {
    let one = |figure: &Figure| {
        json!({
            "load": figure.load.name(),
            "clients": figure.clients,
            "way": figure.way.name(),
            "rate_transactions_per_second": figure.rate,
            "transactions_per_second": figure.transactions_per_second,
            "latency_microseconds_p50": figure.latency_microseconds_p50,
            "latency_microseconds_p99": figure.latency_microseconds_p99,
            "proxy_cpu_microseconds": figure.proxy_cpu_microseconds,
            "staleness_seconds_p50": figure.staleness_seconds.map(|both| both.0),
            "staleness_seconds_p99": figure.staleness_seconds.map(|both| both.1),
            "throughput_of_direct": figures.throughput_of(figure, Way::Direct),
            "throughput_of_pgbouncer": figures.throughput_of(figure, Way::Pgbouncer),
            "cpu_of_pgbouncer": figures.cpu_of(figure, Way::Pgbouncer),
            "cpu_of_pass_through": figures.cpu_of(figure, Way::PassThrough),
            "latency_p50_of_pass_through": figures.p50_of(figure, Way::PassThrough),
        })
    };
    let idle = figures.idle.iter().map(|it| {
        json!({
            "way": it.way.name(),
            "connections": it.connections,
            "bytes_per_connection": it.bytes_per_connection,
        })
    });
    json!({
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "scale": plan.scale,
        "loads": figures.loads.iter().map(one).collect::<Vec<_>>(),
        "idle": idle.collect::<Vec<_>>(),
        "log": log::json(&figures.log),
    })
}
