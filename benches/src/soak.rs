//! Whether anything grows with time: every kind of load at once for a while, and the memory of each
//! process as it goes.
//!
//! Does not judge: memory rises until caches are full, then it should stay.

use std::{process::Child, time::Duration};

use anyhow::{Context, Result, ensure};
use harness::{guardian::Guardian, tool};

use crate::{
    Load, Plan, Way,
    field::{Field, Open},
    process::resident_bytes,
};

/// Between two looks at the processes.
const PAUSE: Duration = Duration::from_secs(5);

/// The loads, and pgbench's arguments for each: steady clients, and some that come and go.
const LOADS: [(Load, &[&str]); 4] = [
    (Load::UpdatePrepared, &["-c", "4"]),
    (Load::SelectSimple, &["-c", "4"]),
    (Load::Tpcb, &["-c", "2"]),
    (Load::UpdateSimple, &["-c", "2", "-C"]),
];

/// Runs all loads through a pass-through and a mirroring proxy for so long; `told` hears of the
/// memory as it goes and at the end.
pub async fn run(plan: &Plan, length: Duration, mut told: impl FnMut(&str)) -> Result<()> {
    let mut field = Field::prepare(plan).await?;
    field.start_reconciler().await?;
    let open = [
        field.open(Way::PassThrough).await?,
        field.open(Way::DualWrite).await?,
    ];
    let mut watched = Vec::new();
    for (way, open) in [Way::PassThrough, Way::DualWrite].iter().zip(&open) {
        watched.push((way.name(), open.proxy.context("no proxy")?));
    }
    watched.push(("reconciler", field.reconciler().context("no reconciler")?));
    let mut load = Vec::new();
    for open in &open {
        load.extend(start(plan, open, length)?);
    }
    let mut seen: Vec<Vec<u64>> = Vec::new();
    let started = tokio::time::Instant::now();
    while started.elapsed() + PAUSE <= length {
        tokio::time::sleep(PAUSE).await;
        let memory: Result<Vec<u64>> = watched.iter().map(|it| resident_bytes(it.1)).collect();
        let memory = memory?;
        told(&line(started.elapsed(), &watched, &memory));
        seen.push(memory);
    }
    for mut pgbench in load {
        ensure!(pgbench.wait()?.success(), "pgbench failed");
    }
    for open in open {
        field.close(open, false).await?;
    }
    field.stop_reconciler().await?;
    // The first third is for caches and pools to fill.
    if let (Some(early), Some(last)) = (seen.get(seen.len() / 3), seen.last()) {
        for ((name, _), (early, last)) in watched.iter().zip(early.iter().zip(last)) {
            let (early, last) = (early / 1024, last / 1024);
            told(&format!(
                "{name}: {early} kB after a third, {last} kB at the end"
            ));
        }
    }
    Ok(())
}

fn start(plan: &Plan, open: &Open, length: Duration) -> Result<Vec<Child>> {
    let directory = Guardian::of_this_process()?.directory().join("soak");
    std::fs::create_dir_all(&directory)?;
    let mut load = Vec::new();
    for (number, (kind, arguments)) in LOADS.iter().enumerate() {
        let script = directory.join(format!("{number}.sql"));
        std::fs::write(&script, kind.script())?;
        let mut command = tool::client_program("pgbench", &open.database)?;
        command
            .args(["-n", "-M", kind.protocol(), "-f"])
            .arg(&script)
            .args(*arguments)
            .args(["-s", &plan.scale.to_string()])
            .args(["-T", &length.as_secs().to_string()])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        load.push(command.spawn()?);
    }
    Ok(load)
}

fn line(elapsed: Duration, watched: &[(&str, u32)], memory: &[u64]) -> String {
    let each = watched.iter().zip(memory);
    let each: Vec<String> = each
        .map(|((name, _), bytes)| format!("{name} {} kB", bytes / 1024))
        .collect();
    format!("{:>4} s: {}", elapsed.as_secs(), each.join(", "))
}
