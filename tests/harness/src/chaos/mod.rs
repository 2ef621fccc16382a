//! Chaos: a seeded load and a seeded schedule of kill -9 against proxy, reconciler, target and
//! source, with corruptions planted at the target. At the end both sides have to be equal, every
//! acknowledged commit has to be on both, and the report has to name what was planted and no more.
//!
//! The seed decides what is tried and when, not how the processes race: a seed that found
//! something may need several runs to find it again.

mod corruption;
mod faults;
mod load;

use std::{fmt, path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::{sync::watch, time::Instant};

use crate::{
    bed::{Bed, Pair},
    segue::{Launch, Segue},
    server::ServerOptions,
    wait,
};
use corruption::Planter;
use faults::Faults;
use load::{Load, SCHEMA};

/// So many lines of a log are shown when something was found.
const LOG_LINES_SHOWN: usize = 60;

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Decides the load and the faults.
    pub seed: u64,
    /// How long load and faults go on.
    pub duration: Duration,
}

/// What a run that found nothing wrong went through.
#[derive(Debug)]
pub struct Summary {
    committed: usize,
    rolled_back: usize,
    unknown: usize,
    faults: Vec<String>,
    planted: usize,
    settled: Duration,
    /// Rows that the mirror had brought, since the reconciler came up last.
    verified: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} commits acknowledged, {} rolled back, {} without an answer; {} faults; {} corruptions \
             planted, found and repaired; equal {:.1} s after the load; since its last start the reconciler verified {} rows",
            self.committed,
            self.rolled_back,
            self.unknown,
            self.faults.len(),
            self.planted,
            self.settled.as_secs_f64(),
            self.verified
        )
    }
}

/// Everything that runs, where the faults can reach it.
#[derive(Debug)]
struct Stage {
    pair: Pair,
    bed: Bed,
    launch: Launch,
    proxy: Segue,
    reconciler: Segue,
}

/// Runs a plan; an error is a finding.
pub async fn run(binary: &Path, plan: Plan) -> Result<Summary> {
    let mut stage = Stage::set(binary).await?;
    let mut faults = Faults::new(plan.seed);
    let run = act(&mut stage, plan, &mut faults).await;
    run.with_context(|| {
        format!(
            "seed {}\nfaults:\n  {}\nreconciler:\n{}\nproxy:\n{}",
            plan.seed,
            faults.told().join("\n  "),
            tail(&stage.reconciler.log()),
            tail(&stage.proxy.log())
        )
    })
}

impl Stage {
    async fn set(binary: &Path) -> Result<Self> {
        let settings = ["deadlock_timeout=100ms", "checkpoint_timeout=30s"].map(str::to_owned);
        let pair = Pair::start(ServerOptions {
            settings: settings.into(),
            ..ServerOptions::default()
        })
        .await?;
        let bed = pair.bed(SCHEMA).await?;
        let launch = bed.launch(binary);
        launch.setup().await?;
        let reconciler = launch.reconciler(&[]).await?;
        let proxy = launch.proxy(&[]).await?;
        Ok(Self {
            pair,
            bed,
            launch,
            proxy,
            reconciler,
        })
    }
}

async fn act(stage: &mut Stage, plan: Plan, faults: &mut Faults) -> Result<Summary> {
    let (stop, stopped) = watch::channel(false);
    let proxied = stage.bed.source.through(stage.proxy.port());
    let load = Load::start(&proxied, &stage.bed.source, plan.seed, &stopped);
    let planter = Planter::start(&stage.bed, proxied, plan.seed, &stopped);
    let end = Instant::now() + plan.duration;
    let raged = faults.rage(stage, end).await;
    stop.send_replace(true);
    raged?;
    let ledger = load.ended().await?;
    let corruptions = planter.ended().await?;
    let stopped_at = Instant::now();
    settle(stage).await?;
    let settled = stopped_at.elapsed();
    ledger.check("source", &stage.bed.source).await?;
    ledger.check("target", &stage.bed.target).await?;
    corruptions.check(&divergences(stage).await?)?;
    let status = stage.launch.status().await?;
    let verified = status.pointer("/rows/verified").and_then(Value::as_u64);
    Ok(Summary {
        verified: verified.unwrap_or_default(),
        committed: ledger.committed.len(),
        rolled_back: ledger.rolled_back.len(),
        unknown: ledger.unknown,
        faults: faults.told().to_vec(),
        planted: corruptions.count(),
        settled,
    })
}

/// Waits until both streams have been followed to their ends, every early write has been judged
/// and nothing is owed; then both sides have to be equal.
async fn settle(stage: &Stage) -> Result<()> {
    let target = &stage.bed.target;
    stage.bed.caught_up().await?;
    let fence = target.fence().await?;
    let read = format!(
        "SELECT count(*) FROM pg_replication_slots \
         WHERE slot_name = '{}_foreign' AND confirmed_flush_lsn >= '{fence}'",
        stage.bed.stream()
    );
    wait::until_true("the target's own log to be read", async || {
        Ok(target.value(&read).await? == "1")
    })
    .await?;
    let open = "SELECT (SELECT count(*) FROM segue.row_rev WHERE NOT verified) \
                || ' unverified, ' || (SELECT count(*) FROM segue.owed) || ' owed'";
    wait::until_true("every row to be judged", async || {
        let found = target.value(open).await?;
        ensure!(found == "0 unverified, 0 owed", "{found}");
        Ok(true)
    })
    .await?;
    stage.bed.converged().await?;
    Ok(())
}

async fn divergences(stage: &Stage) -> Result<Vec<Value>> {
    let report = stage.launch.report().await?;
    match report.get("divergences").and_then(Value::as_array) {
        Some(all) => Ok(all.clone()),
        None => bail!("the report has no divergences: {report:#}"),
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let hidden = lines.len().saturating_sub(LOG_LINES_SHOWN);
    lines.get(hidden..).unwrap_or_default().join("\n")
}
