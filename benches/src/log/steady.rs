//! A steady load through proxy and reconciler: how far the log is behind, what a verified row costs,
//! and how soon somebody else's write at the target is noticed.
//!
//! Does not saturate anything.

use std::{collections::HashMap, process::Stdio};

use anyhow::{Context, Result, ensure};
use harness::{tool, wait};

use super::{Cpu, LogPlan, ground::Ground, watch::Crew};
use crate::{Load, measure::percentile};

/// Corruptions a second.
const PLANTED_PER_SECOND: u64 = 10;

/// What a steady load showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SteadyFigure {
    /// Transactions a second, of one row each.
    pub rate: u32,
    /// From a commit at the source until the log has proven it, durably: p50 and p99.
    pub proven_seconds: (f64, f64),
    /// From somebody else's commit at the target until it was noted: p50 and p99.
    pub detected_seconds: (f64, f64),
    /// Corruptions planted, all of them found.
    pub planted: usize,
    /// For each verified row.
    pub cpu: Cpu,
}

pub(super) async fn measure(
    ground: &mut Ground,
    plan: LogPlan,
    told: &mut impl FnMut(&str),
) -> Result<SteadyFigure> {
    let reconciler = ground.launch.reconciler(&[]).await?;
    ground.mirrored.caught_up().await?;
    let arguments = ["--mirror", "async", "--workers", "1"];
    let proxy = ground.launch.proxy(&arguments).await?;
    let crew = ground
        .reconciler_crew(Crew::default(), reconciler.pid())
        .await?;
    let before = (verified(ground).await?, crew.cpu()?);
    let file = harness::guardian::Guardian::of_this_process()?
        .directory()
        .join("steady.sql");
    std::fs::write(&file, Load::UpdatePrepared.script())?;
    let mut pgbench =
        tool::client_program("pgbench", &ground.mirrored.source.through(proxy.port()))?
            .args(["-n", "-M", "prepared", "-j", "1", "-c", "8", "-f"])
            .arg(&file)
            .args([
                "-T",
                &plan.seconds.to_string(),
                "-R",
                &plan.rate.to_string(),
            ])
            .args(["-s", &plan.scale.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
    let planted = plant(ground, u64::from(plan.seconds) * PLANTED_PER_SECOND).await?;
    let status = ground.launch.status().await?;
    ensure!(pgbench.wait()?.success(), "pgbench failed");
    ground.mirrored.caught_up().await?;
    let detected = detected(ground, &planted).await?;
    let rows = verified(ground).await? - before.0;
    let figure = SteadyFigure {
        rate: plan.rate,
        proven_seconds: both(&status, "proven_seconds")?,
        detected_seconds: (percentile(&detected, 500), percentile(&detected, 990)),
        planted: planted.len(),
        cpu: crew.cpu()?.since(before.1, rows),
    };
    told(&format!(
        "steady load: {} rows/s, proven p99 {:.0} ms, detected p99 {:.0} ms",
        plan.rate,
        figure.proven_seconds.1 * 1e3,
        figure.detected_seconds.1 * 1e3
    ));
    for process in [proxy, reconciler] {
        ensure!(
            process.terminate().await? == 0,
            "a process did not end well"
        );
    }
    Ok(figure)
}

/// Changes rows at the target one by one; when each was, by the target's clock.
async fn plant(ground: &Ground, count: u64) -> Result<HashMap<String, f64>> {
    let target = ground.mirrored.target.connect().await?;
    let mut planted = HashMap::new();
    let mut ticks =
        tokio::time::interval(std::time::Duration::from_millis(1000 / PLANTED_PER_SECOND));
    for id in 1..=count {
        ticks.tick().await;
        let sql = format!(
            "UPDATE planted SET word = 'wrong' WHERE id = {id} \
             RETURNING id, extract(epoch FROM clock_timestamp())"
        );
        let rows = harness::database::rows(&target, &sql).await?;
        planted.extend(rows.into_iter().filter_map(at));
    }
    Ok(planted)
}

/// How long each took to be found, sorted.
async fn detected(ground: &Ground, planted: &HashMap<String, f64>) -> Result<Vec<f64>> {
    let target = &ground.mirrored.target;
    let sql = "SELECT key_columns ->> 'id', extract(epoch FROM detected_at) FROM segue.divergence \
               WHERE \"table\" = 'public.planted' AND kind = 'foreign_write'";
    let mut found: Vec<f64> = Vec::new();
    wait::until_true("every corruption to be found", async || {
        let rows = target.rows(sql).await?;
        let times = rows.into_iter().filter_map(at);
        found = times
            .filter_map(|(id, at)| Some(at - planted.get(&id)?))
            .collect();
        Ok(found.len() >= planted.len())
    })
    .await?;
    found.sort_by(f64::total_cmp);
    Ok(found)
}

fn at(row: Vec<Option<String>>) -> Option<(String, f64)> {
    let mut columns = row.into_iter().flatten();
    Some((columns.next()?, columns.next()?.parse().ok()?))
}

/// The reconciler tells once a second what it has done.
async fn verified(ground: &Ground) -> Result<f64> {
    let mark = "SELECT max(at) FROM segue.reconciler";
    let target = &ground.mirrored.target;
    let before = target.value(mark).await?;
    wait::until_true("the reconciler's account", async || {
        Ok(target.value(mark).await? > before)
    })
    .await?;
    let status = ground.launch.status().await?;
    status["rows"]["verified"]
        .as_f64()
        .context("no count of verified rows")
}

fn both(status: &serde_json::Value, name: &str) -> Result<(f64, f64)> {
    let one = |suffix: &str| status[format!("{name}_{suffix}")].as_f64();
    one("p50")
        .zip(one("p99"))
        .with_context(|| format!("no {name}"))
}
