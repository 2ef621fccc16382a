//! `SHOW MIRROR`: what has become of writes since the start.

use tokio::time::Instant;

use crate::admin::table::{Columns, Kind, Value};
use crate::config::MirrorMode;
use crate::mirror::{DropReason, MirrorHandle};
use crate::mirroring::CaptureSource;

pub(super) const COLUMNS: Columns = &[
    ("item", Kind::Text),
    ("reason", Kind::Text),
    ("value", Kind::Text),
];

pub(super) fn rows(capture: Option<&CaptureSource>) -> Vec<Vec<Value>> {
    match capture {
        None => vec![fact("mode", "off")],
        Some(capture) => known(&capture.mirror),
    }
}

fn fact(item: &str, value: impl Into<Value>) -> Vec<Value> {
    vec![item.into(), Value::Null, value.into()]
}

fn count(item: &str, reason: &str, count: u64) -> Vec<Value> {
    vec![item.into(), reason.into(), count.to_string().into()]
}

fn known(mirror: &MirrorHandle) -> Vec<Vec<Value>> {
    let tally = mirror.counters().tally(Instant::now());
    let milliseconds = |seconds: Option<std::time::Duration>| {
        seconds.map(|it| format!("{:.1} ms", it.as_secs_f64() * 1000.0))
    };
    let mut rows = vec![
        fact("mode", mode(mirror.mode())),
        fact("breaker", mirror.broken().map_or("closed", |_| "open")),
        fact("breaker_reason", mirror.broken().map(DropReason::label)),
        fact("queue_transactions", tally.queued.to_string()),
        fact("queue_bytes", mirror.queue_bytes().to_string()),
        fact("staleness_p50", milliseconds(tally.staleness_p50)),
        fact("staleness_p99", milliseconds(tally.staleness_p99)),
        fact("captured", tally.captured.to_string()),
        fact("accepted", tally.accepted.to_string()),
        fact("deferred", sum(&tally.deferred)),
        fact("failed", sum(&tally.failed)),
        fact("sync_confirmed", tally.sync_confirmed.to_string()),
        fact("sync_unconfirmed", sum(&tally.sync_unconfirmed)),
    ];
    for (item, reasons) in [
        ("deferred", tally.deferred),
        ("failed", tally.failed),
        ("sync_unconfirmed", tally.sync_unconfirmed),
    ] {
        let reasons = reasons.iter();
        rows.extend(reasons.map(|(reason, total)| count(item, reason, *total)));
    }
    rows
}

fn sum(reasons: &[(&'static str, u64)]) -> String {
    let total: u64 = reasons.iter().map(|(_, count)| count).sum();
    total.to_string()
}

/// The word that the setting has for it.
pub(super) const fn mode(mode: MirrorMode) -> &'static str {
    match mode {
        MirrorMode::Off => "off",
        MirrorMode::Dry => "dry",
        MirrorMode::Async => "async",
        MirrorMode::Sync => "sync",
    }
}
