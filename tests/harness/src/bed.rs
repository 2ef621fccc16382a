//! A pair of servers that the tests of a process share, and a pair of databases for each test.
//!
//! Does not crash anything: tests that do start a [`Pair`] of their own.

use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::Result;
use tokio::sync::OnceCell;

use crate::{
    compare::{Comparison, compare},
    database::Database,
    installation::Installation,
    segue::Launch,
    server::{Server, ServerOptions},
    wait,
};

/// Numbers the databases.
static BED_COUNT: AtomicU32 = AtomicU32::new(0);

/// A source and a target server.
#[derive(Debug)]
pub struct Pair {
    /// Version 15 where it is there.
    pub source: Server,
    /// The newest version that is there.
    pub target: Server,
}

impl Pair {
    /// Starts two servers.
    pub async fn start(options: ServerOptions) -> Result<Self> {
        Self::of(
            Installation::for_source()?,
            Installation::for_target()?,
            options,
        )
        .await
    }

    /// Starts two servers of these versions.
    pub async fn of(
        source: Installation,
        target: Installation,
        options: ServerOptions,
    ) -> Result<Self> {
        let (source, target) = tokio::try_join!(
            Server::start(source, options.clone()),
            Server::start(target, options)
        )?;
        Ok(Self { source, target })
    }

    /// The servers that this process's tests share; the guardian stops them.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<Pair> = OnceCell::const_new();
        SHARED
            .get_or_try_init(|| Self::start(ServerOptions::default()))
            .await
    }

    /// A new database on both sides, with the same schema and rows.
    pub async fn bed(&self, schema: &str) -> Result<Bed> {
        let number = BED_COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bed_{number}");
        let (source, target) = (self.source.database(&name), self.target.database(&name));
        for (server, database) in [(&self.source, &source), (&self.target, &target)] {
            server
                .database("postgres")
                .execute(&format!("CREATE DATABASE {name}"))
                .await?;
            database.execute(schema).await?;
        }
        Ok(Bed { source, target })
    }

    /// So many beds whose source databases are copies of one, so that even their OIDs are equal.
    pub async fn copies(&self, schema: &str, count: usize) -> Result<Vec<Bed>> {
        let first = self.bed(schema).await?;
        let mut beds = Vec::new();
        for number in 0..count {
            let name = format!("{}_copy_{number}", first.source.name);
            let sql = format!("CREATE DATABASE {name} TEMPLATE {}", first.source.name);
            for server in [&self.source, &self.target] {
                let maintenance = server.database("postgres");
                // The connection that made the schema may take a moment to be gone.
                wait::until_true("the template to be idle", async || {
                    maintenance.execute(&sql).await?;
                    Ok(true)
                })
                .await?;
            }
            let (source, target) = (self.source.database(&name), self.target.database(&name));
            beds.push(Bed { source, target });
        }
        Ok(beds)
    }
}

/// Two databases that start equal.
#[derive(Debug, Clone)]
pub struct Bed {
    /// At the source server.
    pub source: Database,
    /// At the target server.
    pub target: Database,
}

impl Bed {
    /// On the shared servers.
    pub async fn shared(schema: &str) -> Result<Self> {
        Pair::shared().await?.bed(schema).await
    }

    /// The binary, pointed at these two.
    pub fn launch(&self, binary: impl AsRef<Path>) -> Launch {
        Launch::new(binary.as_ref(), &self.source, &self.target)
    }

    /// The name that publication, slot and stream have.
    pub fn stream(&self) -> String {
        format!("segue_{}", self.source.name)
    }

    /// Waits until the log has been applied past everything that has committed at the source.
    pub async fn caught_up(&self) -> Result<()> {
        let fence = self.source.fence().await?;
        self.passed(&fence).await
    }

    /// Waits until the reconciler has confirmed the source's log up to an LSN.
    pub async fn passed(&self, lsn: &str) -> Result<()> {
        let source = self.source.connect().await?;
        let sql = format!(
            "SELECT 1 FROM pg_replication_slots \
             WHERE slot_name = '{}' AND confirmed_flush_lsn >= '{lsn}'",
            self.stream()
        );
        wait::until_true(&format!("the reconciler to pass {lsn}"), async || {
            Ok(!crate::database::rows(&source, &sql).await?.is_empty())
        })
        .await
    }

    /// Waits until the log has been applied, nothing is owed and both sides are equal.
    pub async fn converged(&self) -> Result<Comparison> {
        self.caught_up().await?;
        let owed = "SELECT count(*) FROM segue.owed";
        let settled = async || Ok(self.target.value(owed).await? == "0");
        wait::until_true("no row to be owed", settled).await?;
        // Foreign writes come on a stream of their own, which the fence says nothing about.
        let mut last = None;
        let equal = wait::until_true("both sides to be equal", async || {
            let comparison = compare(&self.source, &self.target).await?;
            let equal = comparison.is_equal();
            last = Some(comparison);
            Ok(equal)
        });
        let waited = equal.await;
        match last {
            Some(comparison) => {
                comparison.expect_equal()?;
                Ok(comparison)
            }
            None => Err(waited
                .err()
                .unwrap_or_else(|| anyhow::anyhow!("nothing was compared"))),
        }
    }
}
