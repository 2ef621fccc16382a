//! What the proxy reports at the target: op records, in batches, and its own row every second.
//!
//! A session of its own, so that reports never stand between transactions. Does not matter to any
//! row: what cannot be reported is left out.

use std::sync::Arc;
use std::time::Duration;

use control::{Dsn, Side};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::Counters;
use super::queue::{NoteOutcome, OpNote};

/// How often the proxy's row is written.
const PERIOD: Duration = Duration::from_secs(1);
/// After a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Records sent at once.
const BATCH_MAX: usize = 1000;

const WRITE_NOTES: &str = "\
INSERT INTO segue.op (op_id, proxy, outcome, reason, mirrored_at)
SELECT pg_catalog.encode(n.op_id, 'hex')::uuid, pg_catalog.encode($1, 'hex')::uuid, n.outcome, n.reason, clock_timestamp()
FROM ROWS FROM (unnest($2::bytea[]), unnest($3::text[]), unnest($4::text[])) AS n(op_id, outcome, reason)
ON CONFLICT (op_id) DO NOTHING";

const WRITE_PROXY: &str = "\
INSERT INTO segue.proxy (id, lease, counters)
VALUES (pg_catalog.encode($1, 'hex')::uuid, clock_timestamp(), $2::text::jsonb)
ON CONFLICT (id) DO UPDATE SET lease = excluded.lease, counters = excluded.counters";

/// How often it is looked whether records pile up.
const TIDY_PERIOD: Duration = Duration::from_mins(1);

/// The reconciler takes records away as it reads them, and old ones once a minute. While there is
/// none the proxies do, so that a reconciler that is away for a month costs the target no room.
const TIDY: &str = "\
DELETE FROM segue.op WHERE mirrored_at < clock_timestamp() - interval '10 minutes'
AND NOT EXISTS (SELECT FROM segue.reconciler WHERE at > clock_timestamp() - interval '2 minutes')";

/// Reports until `shutdown`, and once more then.
pub(super) async fn run(
    target: Dsn,
    proxy_id: [u8; 16],
    notes: mpsc::Receiver<OpNote>,
    counters: Arc<Counters>,
    shutdown: CancellationToken,
) {
    let mut records = Records {
        proxy_id,
        notes,
        counters,
    };
    while !shutdown.is_cancelled() {
        let opened = control::connect(&target, Side::Target, "segue proxy records");
        let Some(opened) = shutdown.run_until_cancelled(opened).await else {
            return;
        };
        let error = match opened {
            Ok(client) => match records.report(&client, &shutdown).await {
                Ok(()) => return,
                Err(error) => control::describe(&error),
            },
            Err(error) => error.to_string(),
        };
        tracing::debug!(error, "the proxy cannot report at the target");
        records.forget_old();
        shutdown.run_until_cancelled(sleep(RETRY)).await;
    }
}

struct Records {
    proxy_id: [u8; 16],
    notes: mpsc::Receiver<OpNote>,
    counters: Arc<Counters>,
}

impl Records {
    async fn report(
        &mut self,
        client: &Client,
        shutdown: &CancellationToken,
    ) -> Result<(), tokio_postgres::Error> {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tidying = interval(TIDY_PERIOD);
        tidying.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => self.write_proxy(client).await?,
                _ = tidying.tick() => client.batch_execute(TIDY).await?,
                // At once: the stream brings the transaction in a moment, and what is known of it
                // then is what the reconciler counts.
                note = self.notes.recv() => match note {
                    Some(note) => self.write_notes(client, note).await?,
                    None => break,
                },
            }
        }
        while let Ok(note) = self.notes.try_recv() {
            self.write_notes(client, note).await?;
        }
        self.write_proxy(client).await
    }

    /// Writes this record and those that have gathered behind it.
    async fn write_notes(
        &mut self,
        client: &Client,
        first: OpNote,
    ) -> Result<(), tokio_postgres::Error> {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(note) = self.notes.try_recv()
        {
            batch.push(note);
        }
        let ids: Vec<Vec<u8>> = batch.iter().map(|it| it.op_id.to_bytes().into()).collect();
        let outcomes: Vec<&str> = batch.iter().map(|it| outcome_name(it.outcome)).collect();
        let reasons: Vec<&str> = batch.iter().map(|it| it.reason).collect();
        let proxy = &self.proxy_id[..];
        client
            .execute(WRITE_NOTES, &[&proxy, &ids, &outcomes, &reasons])
            .await?;
        Ok(())
    }

    async fn write_proxy(&self, client: &Client) -> Result<(), tokio_postgres::Error> {
        let counters = self.counters.to_json(Instant::now()).to_string();
        let proxy = &self.proxy_id[..];
        client.execute(WRITE_PROXY, &[&proxy, &counters]).await?;
        Ok(())
    }

    /// Records of a time without a target say nothing that it would not find out by itself.
    fn forget_old(&mut self) {
        while self.notes.try_recv().is_ok() {}
    }
}

const fn outcome_name(outcome: NoteOutcome) -> &'static str {
    match outcome {
        NoteOutcome::Deferred => "deferred",
        NoteOutcome::Dropped => "dropped",
    }
}
