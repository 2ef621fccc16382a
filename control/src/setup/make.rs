//! Running the steps, and undoing them if one fails. Does not check anything: that was before.

use protocol::lsn::Lsn;
use protocol::revision::{Epoch, Revision};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::{Examined, Step, sql};
use crate::error::ControlError;
use crate::names::Names;
use crate::side::Side;

/// Makes everything and returns where the stream starts.
pub(super) async fn everything(examined: &Examined) -> Result<Lsn, ControlError> {
    let mut start = None;
    for (done, step) in examined.report.steps.iter().enumerate() {
        if let Err(error) = run(examined, step, &mut start).await {
            undo(examined, done).await;
            return Err(error);
        }
    }
    start.ok_or_else(|| unreadable("no slot was made".to_owned()))
}

async fn run(
    examined: &Examined,
    step: &Step,
    start: &mut Option<Lsn>,
) -> Result<(), ControlError> {
    let client = client_of(examined, step.side);
    let text = match *start {
        Some(lsn) => with_start(&step.sql, lsn)?,
        None => step.sql.clone(),
    };
    tracing::info!(side = %step.side, "making {}", step.what);
    // Several statements in one simple query are one transaction.
    let replies = client.simple_query(&text).await.map_err(|error| {
        ControlError::query(step.side, format!("make the {}", step.what), &error)
    })?;
    if start.is_none() {
        *start = replies.iter().find_map(first_column);
    }
    Ok(())
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

fn client_of(examined: &Examined, side: Side) -> &Client {
    match side {
        Side::Source => &examined.source,
        Side::Target => &examined.target,
    }
}

/// Takes away what the first `done` steps have made, last first.
async fn undo(examined: &Examined, done: usize) {
    for step in examined.report.steps.iter().take(done).rev() {
        let sql = undo_sql(step, &examined.names);
        if let Err(error) = client_of(examined, step.side).batch_execute(&sql).await {
            let message = crate::error::describe(&error);
            tracing::error!(side = %step.side, %message, "cannot undo {}: run segue setup --remove", step.what);
        }
    }
}

fn undo_sql(step: &Step, names: &Names) -> String {
    let (publication, slot) = match step.side {
        Side::Source => (&names.publication, &names.slot),
        Side::Target => (&names.target_publication, &names.target_slot),
    };
    match step.what {
        "slot" => format!("SELECT pg_catalog.pg_drop_replication_slot('{slot}')"),
        _ => format!("DROP PUBLICATION IF EXISTS \"{publication}\"; DROP SCHEMA segue CASCADE"),
    }
}
