//! The task that keeps the reading of the catalog current.
//!
//! A cheap question every few seconds, everything again if its answer changed. Reconnects by
//! itself. Does not stop clients: while nothing is known they are only not captured.

use std::time::Duration;

use control::{Dsn, Side};
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::CatalogHandle;
use super::choices::{self, Choices};
use super::load::{ContractFrom, LoadError, find, fingerprint, load};
use crate::metrics;
use crate::settings::LiveSettings;

/// Between two looks at what others may have changed past this proxy.
const PERIOD: Duration = Duration::from_secs(5);
/// After a failure, growing to the second.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Reads until `shutdown`.
pub async fn run(
    source: Dsn,
    contract: ContractFrom,
    handle: CatalogHandle,
    settings: LiveSettings,
    shutdown: CancellationToken,
) {
    let reader = Reader {
        source,
        contract,
        handle,
        generation: 0,
        fingerprint: String::new(),
        roles: Vec::new(),
        settings,
        choices: Choices::new(),
    };
    // On the heap: the future holds every question's.
    shutdown
        .run_until_cancelled_owned(Box::pin(reader.run()))
        .await;
}

struct Reader {
    source: Dsn,
    contract: ContractFrom,
    handle: CatalogHandle,
    /// Of the latest facts.
    generation: u64,
    fingerprint: String,
    /// Whose privileges the latest facts hold besides those of roles that can log in.
    roles: Vec<String>,
    settings: LiveSettings,
    /// What the latest facts were put under.
    choices: Choices,
}

impl Reader {
    async fn run(mut self) {
        let mut pause = RETRY_MIN;
        let mut told = String::new();
        loop {
            let began = Instant::now();
            let failed =
                match control::connect(&self.source, Side::Source, "segue proxy catalog").await {
                    Ok(client) => self
                        .keep_current(&client)
                        .await
                        .err()
                        .map(|it| it.to_string()),
                    Err(error) => Some(error.to_string()),
                };
            if began.elapsed() > PERIOD {
                pause = RETRY_MIN;
                told.clear();
            }
            if let Some(error) = failed.filter(|error| *error != told) {
                tracing::warn!(
                    error,
                    "the source's catalog cannot be read; nothing is captured until it is"
                );
                told = error;
            }
            sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    async fn keep_current(&mut self, client: &Client) -> Result<(), LoadError> {
        loop {
            self.read(client).await?;
            // Elapsed, woken or told of other settings: look again in any case.
            tokio::select! {
                () = sleep(PERIOD) => (),
                () = self.handle.shared.wake.notified() => (),
                () = self.settings.changed() => (),
            }
        }
    }

    async fn read(&mut self, client: &Client) -> Result<(), LoadError> {
        let changes = self.handle.changes();
        let roles = self.handle.roles();
        let found = find(client, self.contract).await?;
        let now = fingerprint(client, found).await?;
        let choices = self.settings.current().mirror_tables.clone();
        if now == self.fingerprint && roles == self.roles && choices == self.choices {
            self.handle.publish(None, changes);
            return Ok(());
        }
        let generation = self.generation.saturating_add(1);
        let view = load(client, generation, &roles, found).await?;
        metrics::catalog_read();
        tracing::debug!(generation, tables = view.facts.tables.len(), "catalog read");
        let view = choices::put(view, &choices);
        self.handle.publish(Some(view), changes);
        self.choices = choices;
        self.generation = generation;
        self.fingerprint = now;
        self.roles = roles;
        Ok(())
    }
}
