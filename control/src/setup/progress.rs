//! What setup is at, told as it goes: with thousands of tables it takes seconds, and a slot waits for
//! whatever transaction is open.
//!
//! Does not show it.

use std::convert::Infallible;
use std::time::Duration;

use tokio_postgres::{Client, SimpleQueryMessage};

use super::APPLICATION_NAME;
use crate::connect::connect;
use crate::dsn::Dsn;
use crate::side::Side;

/// How long a statement runs before it is asked what it waits for, and how often then.
const ASK_PERIOD: Duration = Duration::from_secs(1);

/// One thing that setup does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// What it is: `read the tables`.
    pub doing: String,
    /// Where.
    pub side: Side,
    /// Its place among the steps that change something, from 1, and how many those are; nothing
    /// before the first of them.
    pub step: Option<(usize, usize)>,
    /// Who keeps it from going on.
    pub waits_for: Option<String>,
}

/// Is told what setup does.
pub trait Watch: Sync {
    /// This begins, or still waits.
    fn at(&self, moment: &Moment);
}

/// Nobody looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unwatched;

impl Watch for Unwatched {
    fn at(&self, _: &Moment) {}
}

impl Moment {
    pub(super) fn of(doing: &str, side: Side) -> Self {
        Self {
            doing: doing.to_owned(),
            side,
            step: None,
            waits_for: None,
        }
    }
}

/// Tells, over a session of its own, what the session `pid` waits for, as long as it is polled.
pub(super) async fn tell_waits(
    watch: &dyn Watch,
    moment: &Moment,
    dsn: &Dsn,
    pid: i32,
) -> Infallible {
    tokio::time::sleep(ASK_PERIOD).await;
    if let Ok(client) = connect(dsn, moment.side, APPLICATION_NAME).await {
        while let Ok(waits_for) = blockers(&client, pid).await {
            if waits_for.is_some() {
                watch.at(&Moment {
                    waits_for,
                    ..moment.clone()
                });
            }
            tokio::time::sleep(ASK_PERIOD).await;
        }
    }
    // Without an answer it goes on unexplained.
    std::future::pending().await
}

/// Who keeps the session `pid` from going on.
async fn blockers(client: &Client, pid: i32) -> Result<Option<String>, tokio_postgres::Error> {
    let sql = format!(
        "SELECT string_agg(who, ', ') FROM (
             SELECT format('the session %s of %s%s, in a transaction for %s s', pid, usename,
                           ' (' || nullif(application_name, '') || ')',
                           coalesce(extract(epoch FROM clock_timestamp() - xact_start)::int8, 0))
             FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids({pid}))
             UNION ALL SELECT 'the prepared transaction ' || gid FROM pg_prepared_xacts
             WHERE 0 = ANY (pg_blocking_pids({pid}))
         ) AS blocking (who)"
    );
    let replies = client.simple_query(&sql).await?;
    let who = replies.iter().find_map(|reply| {
        if let SimpleQueryMessage::Row(row) = reply {
            row.get(0)
        } else {
            None
        }
    });
    Ok(who.map(str::to_owned))
}
