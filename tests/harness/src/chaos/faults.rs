//! The faults: what is killed, frozen or cut off, for how long, and that it comes back.

use std::time::Duration;

use anyhow::{Result, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tokio::time::{Instant, sleep};

use super::Stage;
use crate::{database::Database, segue::Segue};

/// Between two faults, in milliseconds.
const CALM_MS: std::ops::Range<u64> = 300..3000;

/// How long a victim stays away, in milliseconds.
const AWAY_MS: std::ops::Range<u64> = 0..1500;

/// Now and then longer than the floor waits for early writes, so that some come after their log.
const LONG_AWAY_MS: std::ops::Range<u64> = 4000..8000;

/// How often that is.
const LONG_AWAY_SHARE: f64 = 0.12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    KillProxy,
    KillReconciler,
    KillTarget,
    KillSource,
    KillBothServers,
    KillBothOfSegue,
    KillTargetAndReconciler,
    KillSourceAndProxy,
    KillAll,
    FreezeProxy,
    FreezeReconciler,
    CutSessionsAtTarget,
    CutSessionsAtSource,
}

impl Fault {
    const ALL: [Self; 13] = [
        Self::KillProxy,
        Self::KillReconciler,
        Self::KillTarget,
        Self::KillSource,
        Self::KillBothServers,
        Self::KillBothOfSegue,
        Self::KillTargetAndReconciler,
        Self::KillSourceAndProxy,
        Self::KillAll,
        Self::FreezeProxy,
        Self::FreezeReconciler,
        Self::CutSessionsAtTarget,
        Self::CutSessionsAtSource,
    ];

    const fn takes_proxy(self) -> bool {
        matches!(
            self,
            Self::KillProxy | Self::KillBothOfSegue | Self::KillSourceAndProxy | Self::KillAll
        )
    }

    const fn takes_reconciler(self) -> bool {
        matches!(
            self,
            Self::KillReconciler
                | Self::KillBothOfSegue
                | Self::KillTargetAndReconciler
                | Self::KillAll
        )
    }

    const fn takes_target(self) -> bool {
        matches!(
            self,
            Self::KillTarget
                | Self::KillBothServers
                | Self::KillTargetAndReconciler
                | Self::KillAll
        )
    }

    const fn takes_source(self) -> bool {
        matches!(
            self,
            Self::KillSource | Self::KillBothServers | Self::KillSourceAndProxy | Self::KillAll
        )
    }
}

/// The schedule.
#[derive(Debug)]
pub(super) struct Faults {
    random: StdRng,
    told: Vec<String>,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            told: Vec::new(),
        }
    }

    /// What has been done.
    pub(super) fn told(&self) -> &[String] {
        &self.told
    }

    /// One fault after the other until `end`; afterwards everything runs.
    pub(super) async fn rage(&mut self, stage: &mut Stage, end: Instant) -> Result<()> {
        let begun = Instant::now();
        loop {
            let calm = Duration::from_millis(self.random.random_range(CALM_MS));
            if Instant::now() + calm > end {
                sleep(end.saturating_duration_since(Instant::now())).await;
                return Ok(());
            }
            sleep(calm).await;
            let Some(&fault) = Fault::ALL.choose(&mut self.random) else {
                return Ok(());
            };
            let is_long = self.random.random_bool(LONG_AWAY_SHARE);
            let away = if is_long { LONG_AWAY_MS } else { AWAY_MS };
            let away = Duration::from_millis(self.random.random_range(away));
            let at = begun.elapsed().as_secs_f64();
            self.told.push(format!("{at:5.1} s {fault:?} for {away:?}"));
            commit(stage, fault, away).await?;
            for (name, process) in [
                ("proxy", &mut stage.proxy),
                ("reconciler", &mut stage.reconciler),
            ] {
                let code = process.ended()?;
                ensure!(code.is_none(), "the {name} ended with {code:?} by itself");
            }
        }
    }
}

async fn commit(stage: &mut Stage, fault: Fault, away: Duration) -> Result<()> {
    match fault {
        Fault::FreezeProxy => freeze(&stage.proxy, away).await,
        Fault::FreezeReconciler => freeze(&stage.reconciler, away).await,
        Fault::CutSessionsAtTarget => cut(&stage.bed.target).await,
        Fault::CutSessionsAtSource => cut(&stage.bed.source).await,
        Fault::KillProxy
        | Fault::KillReconciler
        | Fault::KillTarget
        | Fault::KillSource
        | Fault::KillBothServers
        | Fault::KillBothOfSegue
        | Fault::KillTargetAndReconciler
        | Fault::KillSourceAndProxy
        | Fault::KillAll => kill(stage, fault, away).await,
    }
}

async fn kill(stage: &mut Stage, fault: Fault, away: Duration) -> Result<()> {
    if fault.takes_source() {
        stage.pair.source.kill()?;
    }
    if fault.takes_target() {
        stage.pair.target.kill()?;
    }
    if fault.takes_proxy() {
        stage.proxy.kill()?;
    }
    if fault.takes_reconciler() {
        stage.reconciler.kill()?;
    }
    sleep(away).await;
    if fault.takes_source() {
        stage.pair.source.run().await?;
    }
    if fault.takes_target() {
        stage.pair.target.run().await?;
    }
    if fault.takes_proxy() {
        stage.proxy.run_again().await?;
    }
    if fault.takes_reconciler() {
        stage.reconciler.run_again().await?;
    }
    Ok(())
}

async fn freeze(process: &Segue, away: Duration) -> Result<()> {
    process.signal("STOP")?;
    sleep(away).await;
    process.signal("CONT")
}

/// Ends every session but the one that says so, the walsenders too.
async fn cut(database: &Database) -> Result<()> {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE pid <> pg_backend_pid() AND backend_type IN ('client backend', 'walsender')";
    database.execute(sql).await
}
