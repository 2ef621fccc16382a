//! The application of the demo: pgbench and a small shop, by all of PostgreSQL's protocols.
//!
//! Knows nothing of Segue: all it is given is a connection string.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::{
    Database,
    guardian::{Ending, Guardian},
    process::Process,
    shop::{self, Shopper},
    tool::{self, PgbenchSummary},
};

/// How long pgbench may take beyond the time it was given.
const PATIENCE: Duration = Duration::from_mins(1);

/// pgbench's tables at scale 1 and the shop with its first customers.
pub(crate) async fn fill(database: &Database, visits: u32) -> Result<()> {
    let mut command = tool::client_program("pgbench", database)?;
    let output = command.args(["-i", "-q", "-s", "1"]).output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "pgbench -i: {told}");
    database.execute(shop::PGBENCH_HISTORY_KEY).await?;
    database.execute(shop::SCHEMA).await?;
    shop_for(database, &mut Shopper::new(1, "first"), visits).await
}

/// So many visits to the shop over one connection, by the extended protocol.
pub(crate) async fn shop_for(
    database: &Database,
    shopper: &mut Shopper,
    visits: u32,
) -> Result<()> {
    let mut client = database.connect().await?;
    for _ in 0..visits {
        shopper.visit(&mut client).await?;
    }
    Ok(())
}

/// A few orders by psql, so by the simple protocol.
pub(crate) fn shop_by_psql(database: &Database, shopper: &mut Shopper) -> Result<()> {
    for _ in 0..5 {
        tool::psql(database, &shopper.script())?;
    }
    Ok(())
}

/// pgbench in the background.
#[derive(Debug)]
pub(crate) struct Pgbench {
    process: Process,
    seconds: u64,
}

impl Pgbench {
    /// Starts it with four clients and this query mode.
    pub(crate) fn start(database: &Database, mode: &str, seconds: u64) -> Result<Self> {
        let mut command = tool::client_program("pgbench", database)?;
        let time = seconds.to_string();
        command.args(["-n", "-c", "4", "-M", mode, "-T", &time]);
        let stem = Guardian::of_this_process()?
            .directory()
            .join(format!("pgbench-{mode}"));
        let process = Process::start("pgbench", &mut command, &stem, Ending::Kill)?;
        Ok(Self { process, seconds })
    }

    /// Waits for its end.
    pub(crate) async fn summary(mut self) -> Result<PgbenchSummary> {
        let patience = Duration::from_secs(self.seconds) + PATIENCE;
        let status = self.process.ended(patience).await?;
        anyhow::ensure!(
            status.success(),
            "pgbench: {status}: {}",
            self.process.errors()
        );
        PgbenchSummary::read(&self.process.output()).context("pgbench")
    }
}
