//! The tables about the log.

use serde_json::{Value, json};

use super::{fixed, times};
use crate::{LogFigure, LogFigures, Reader, SteadyFigure};

const PILES: &str = "\
\n| a log that has piled up | reader | rows/s | of native | CPU µs/row | of native | its program, the target's backend, its log's reader | source's walsender | target's WAL bytes/row | of native |
|---|---|---:|---:|---:|---:|---|---:|---:|---:|
";

const STEADY: &str = "\
\n| steady rows/s | commit to proof p50 / p99 ms | somebody else's write to its note p50 / p99 ms | CPU µs/verified row | its program, the target's backend, its log's reader |
|---:|---|---|---:|---|
";

/// Nothing where nothing was measured.
pub(super) fn markdown(figures: &LogFigures) -> String {
    let mut text = String::new();
    if !figures.piles.is_empty() {
        text.push_str(PILES);
    }
    for figure in &figures.piles {
        text.push_str(&pile(figures, figure));
    }
    if let Some(figure) = &figures.steady {
        text.push_str(STEADY);
        text.push_str(&steady(figure));
    }
    text
}

fn pile(figures: &LogFigures, figure: &LogFigure) -> String {
    let native = figures.same(figure, Reader::Native);
    let of = |pick: fn(&LogFigure) -> Option<f64>| {
        let other = native.and_then(pick);
        times(pick(figure).zip(other).map(|(mine, other)| mine / other))
    };
    let cpu = &figure.cpu;
    format!(
        "| {} | {} | {:.0} | {} | {:.1} | {} | {} | {:.1} | {} | {} |\n",
        figure.shape.name(),
        figure.reader.name(),
        figure.rows_per_second,
        of(|it| Some(it.rows_per_second)),
        cpu.applying(),
        of(|it| Some(it.cpu.applying())),
        parts(figure.cpu),
        cpu.source,
        fixed(figure.wal_bytes, 0),
        of(|it| it.wal_bytes),
    )
}

fn steady(figure: &SteadyFigure) -> String {
    let milliseconds = |(p50, p99): (f64, f64)| format!("{:.0} / {:.0}", p50 * 1e3, p99 * 1e3);
    format!(
        "| {} | {} | {} | {:.0} | {} |\n",
        figure.rate,
        milliseconds(figure.proven_seconds),
        milliseconds(figure.detected_seconds),
        figure.cpu.applying(),
        parts(figure.cpu),
    )
}

fn parts(cpu: crate::Cpu) -> String {
    format!("{:.1}, {:.1}, {:.1}", cpu.program, cpu.target, cpu.watching)
}

/// Everything for programs.
pub(super) fn json(figures: &LogFigures) -> Value {
    let cpu = |cpu: &crate::Cpu| {
        json!({
            "source": cpu.source,
            "program": cpu.program,
            "target": cpu.target,
            "watching": cpu.watching,
        })
    };
    let pile = |figure: &LogFigure| {
        json!({
            "pile": figure.shape.name(),
            "reader": figure.reader.name(),
            "rows_per_second": figure.rows_per_second,
            "cpu_microseconds_per_row": cpu(&figure.cpu),
            "target_wal_bytes_per_row": figure.wal_bytes,
        })
    };
    let steady = figures.steady.as_ref().map(|figure| {
        json!({
            "rows_per_second": figure.rate,
            "proven_seconds_p50": figure.proven_seconds.0,
            "proven_seconds_p99": figure.proven_seconds.1,
            "detected_seconds_p50": figure.detected_seconds.0,
            "detected_seconds_p99": figure.detected_seconds.1,
            "planted": figure.planted,
            "cpu_microseconds_per_row": cpu(&figure.cpu),
        })
    });
    json!({
        "piles": figures.piles.iter().map(pile).collect::<Vec<_>>(),
        "steady": steady,
    })
}
