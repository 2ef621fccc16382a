//! The task that keeps the reading of the catalog current.
//!
//! A cheap question every few seconds, and whenever a client has changed the schema; then what has
//! changed. Reconnects by itself. Does not stop clients: while nothing is known they are only not
//! captured.

use std::time::Duration;

use control::{Dsn, Side};
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::CatalogHandle;
use super::choices::{self, Choices};
use super::load::{self, LoadError};
use super::reading::Reading;
use super::signs::ContractFrom;
use crate::settings::LiveSettings;

/// Between two looks at what others may have changed past this proxy.
const PERIOD: Duration = Duration::from_secs(5);
/// Looking takes at most this part of the source's time: where very much is carried, or the source
/// has much to do, it is looked at less often, but not less than once in a while.
const LOOKING_PART: u32 = 50;
const PERIOD_MAX: Duration = Duration::from_mins(1);
/// One connection does not look with several processes.
const ALONE: &str = "SET max_parallel_workers_per_gather = 0";
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
    let publication = control::names(source.database()).publication;
    let reader = Reader {
        reading: Reading::new(publication, contract),
        source,
        handle,
        settings,
        choices: Choices::new(),
    };
    // On the heap: the future holds every question's.
    shutdown
        .run_until_cancelled_owned(Box::pin(reader.run()))
        .await;
}

/// What a look has brought.
enum Found {
    Nothing,
    Changes,
}

struct Reader {
    source: Dsn,
    handle: CatalogHandle,
    reading: Reading,
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
        client.batch_execute(ALONE).await?;
        self.reading.distrust();
        loop {
            let began = Instant::now();
            let period = match self.read(client).await? {
                Found::Nothing => (began.elapsed() * LOOKING_PART).clamp(PERIOD, PERIOD_MAX),
                Found::Changes => PERIOD,
            };
            // Elapsed, woken or told of other settings: look again in any case.
            tokio::select! {
                () = sleep(period) => (),
                () = self.handle.shared.wake.notified() => (),
                () = self.settings.changed() => (),
            }
        }
    }

    async fn read(&mut self, client: &Client) -> Result<Found, LoadError> {
        let changes = self.handle.changes();
        let roles = self.handle.roles();
        let choices = self.settings.current().mirror_tables.clone();
        self.reading.refresh(client, &roles).await?;
        if choices != self.choices {
            self.reading.renew();
            self.choices = choices;
        }
        let view = self.reading.take();
        let view = view.map(|view| choices::put(view, &self.choices));
        if let Some(view) = &view {
            let (generation, tables) = (view.facts.generation, view.facts.tables.len());
            tracing::debug!(generation, tables, "catalog read");
        }
        let found = match &view {
            Some(_) => Found::Changes,
            None => Found::Nothing,
        };
        self.handle.publish(view, changes);
        self.answer(client).await?;
        Ok(found)
    }

    /// Names the tables that do not matter to whoever asks.
    async fn answer(&self, client: &Client) -> Result<(), LoadError> {
        let asking = self.handle.asking();
        if asking.is_empty() {
            return Ok(());
        }
        let others = load::others(client, self.reading.watched()).await?;
        for asking in asking {
            // Whoever has gone away needs no answer.
            drop(asking.send(others.clone()));
        }
        Ok(())
    }
}
