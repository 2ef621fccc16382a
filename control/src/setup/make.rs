//! Running the steps, and undoing them if one fails. Does not check anything: that was before.

use protocol::lsn::Lsn;
use protocol::revision::{Epoch, Revision};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::progress::tell_waits;
use super::{Examined, Moment, Step, sql};
use crate::dsn::Dsn;
use crate::error::ControlError;
use crate::side::Side;

/// How long a step may wait for other transactions: a command that hangs says nothing.
const PATIENCE: &str = "SET statement_timeout = '2min'";

/// Makes everything and returns where the stream starts.
pub(super) async fn everything(examined: &Examined<'_>) -> Result<Lsn, ControlError> {
    let mut start = None;
    for (done, step) in examined.report.steps.iter().enumerate() {
        if let Err(error) = run(examined, done, step, &mut start).await {
            undo(examined, done).await;
            return Err(error);
        }
    }
    start.ok_or_else(|| unreadable("no slot was made".to_owned()))
}

/// Brings an older setup to this version. A step that fails has changed nothing.
pub(super) async fn upgrades(examined: &Examined<'_>) -> Result<(), ControlError> {
    for (done, step) in examined.report.steps.iter().enumerate() {
        run(examined, done, step, &mut None).await?;
    }
    Ok(())
}

async fn run(
    examined: &Examined<'_>,
    done: usize,
    step: &Step,
    start: &mut Option<Lsn>,
) -> Result<(), ControlError> {
    let client = client_of(examined, step.side);
    let text = match *start {
        Some(lsn) => with_start(&step.sql, lsn)?,
        None => step.sql.clone(),
    };
    let moment = Moment {
        step: Some((done + 1, examined.report.steps.len())),
        ..Moment::of(&doing(step), step.side)
    };
    examined.watch.at(&moment);
    let limit = client.batch_execute(PATIENCE).await;
    let failed = |error| ControlError::query(step.side, doing(step), &error);
    limit.map_err(failed)?;
    let pid = client.query_one("SELECT pg_backend_pid()", &[]).await;
    let pid = pid.map_err(failed)?.get(0);
    // Several statements in one simple query are one transaction.
    let replies = tokio::select! {
        replies = client.simple_query(&text) => replies,
        never = tell_waits(examined.watch, &moment, dsn_of(examined, step.side), pid) => {
            match never {}
        }
    };
    let replies = match replies {
        Ok(replies) => replies,
        Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => {
            return Err(held_up(client, step).await);
        }
        Err(error) => return Err(failed(error)),
    };
    if start.is_none() {
        *start = replies.iter().find_map(first_column);
    }
    Ok(())
}

/// Names who keeps a step from ending: a slot waits for every transaction that was open before it,
/// and so may a lock on a table.
async fn held_up(client: &Client, step: &Step) -> ControlError {
    const OPEN: &str = "\
        SELECT string_agg(who, ', ') FROM (
            SELECT 'the session ' || pid FROM pg_stat_activity
            WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
            UNION ALL SELECT 'the prepared transaction ' || gid FROM pg_prepared_xacts
        ) AS open (who)";
    let row = client.query_one(OPEN, &[]).await;
    let open = row.ok().and_then(|row| row.get::<_, Option<String>>(0));
    ControlError::Query {
        side: step.side,
        doing: doing(step),
        message: format!(
            "transactions that were open before have not ended in two minutes; end them and run \
             segue setup again: {}",
            open.unwrap_or_else(|| "they have ended now".to_owned())
        ),
        sqlstate: Some(SqlState::QUERY_CANCELED.code().to_owned()),
    }
}

fn doing(step: &Step) -> String {
    format!("make the {}", step.what)
}

fn first_column(reply: &SimpleQueryMessage) -> Option<Lsn> {
    if let SimpleQueryMessage::Row(row) = reply {
        row.get(0).and_then(|text| text.parse().ok())
    } else {
        None
    }
}

fn with_start(text: &str, lsn: Lsn) -> Result<String, ControlError> {
    let revision =
        Revision::logged(Epoch::FIRST, lsn).map_err(|error| unreadable(error.to_string()))?;
    Ok(text
        .replace(sql::START_LSN, &lsn.to_string())
        .replace(sql::START_REVISION, &revision.to_string()))
}

fn unreadable(reason: String) -> ControlError {
    ControlError::Stored {
        side: Side::Source,
        what: "a slot",
        reason,
    }
}

const fn dsn_of<'a>(examined: &Examined<'a>, side: Side) -> &'a Dsn {
    match side {
        Side::Source => &examined.options.source,
        Side::Target => &examined.options.target,
    }
}

const fn client_of<'a>(examined: &'a Examined<'_>, side: Side) -> &'a Client {
    match side {
        Side::Source => &examined.source,
        Side::Target => &examined.target,
    }
}

/// Takes away what the first `done` steps have made, last first.
async fn undo(examined: &Examined<'_>, done: usize) {
    for step in examined.report.steps.iter().take(done).rev() {
        let client = client_of(examined, step.side);
        if let Err(error) = client.batch_execute(&step.undo).await {
            let message = crate::error::describe(&error);
            tracing::error!(side = %step.side, %message, "cannot undo {}: run segue setup --remove", step.what);
        }
    }
}
