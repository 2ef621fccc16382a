//! Who answers as the source, and the beginning of a new epoch where it is another server than
//! before.
//!
//! What that means is decided by [`protocol::decide::failover`]. Here the facts are gathered and the
//! decision carried out, in one transaction of the target. Does not read any row again: that is the
//! applier's, from what is written down here.

mod begin;
mod entries;
mod progress;

use apply::connection::Connection;
use control::contract::Phase;
use control::{ControlError, Names, Side};
use protocol::decide::failover::{Epochs, Standing, recognise};
use tokio_postgres::Client;

pub(crate) use self::progress::Progress;
use crate::error::ReconcilerError;
use crate::replication::{Replication, System};
use crate::slot;

/// What a session does with the source that it has found.
pub(crate) enum Course {
    /// It follows it.
    Follow,
    /// A new epoch has begun: the next session follows that.
    Anew,
}

/// Both databases and what is known of them.
pub(crate) struct Sides<'a> {
    pub(crate) source: &'a Client,
    pub(crate) target: &'a mut Connection,
    pub(crate) names: &'a Names,
    pub(crate) phase: &'a Phase,
}

/// Looks whether the stream can go on from where it was, and begins a new epoch if the source has
/// failed over.
pub(crate) async fn look(
    mut sides: Sides<'_>,
    replication: &mut Replication,
    progress: &Progress,
) -> Result<Course, ReconcilerError> {
    let system = replication.identify().await?;
    let course = take(&mut sides, &system, progress).await;
    if let Err(error) = &course
        && error.is_told()
    {
        tell(sides.target, error).await?;
    }
    course
}

async fn take(
    sides: &mut Sides<'_>,
    system: &System,
    progress: &Progress,
) -> Result<Course, ReconcilerError> {
    let followed = &progress.followed;
    match recognise(followed, &system.found) {
        Standing::Same => {
            if let Some(why) = &system.slot_loss {
                return Err(slot::lost(Side::Source, &sides.names.slot, why.clone()));
            }
            begin::remember(sides, system, progress).await?;
            Ok(Course::Follow)
        }
        Standing::Standby => Err(ReconcilerError::Standby),
        Standing::Outdated => Err(ReconcilerError::Outdated {
            followed: followed.history.timeline,
            found: system.found.history.timeline,
        }),
        Standing::OtherSystem => Err(ReconcilerError::OtherCluster {
            expected: followed.system_identifier.clone(),
            found: system.found.system_identifier.clone(),
        }),
        Standing::Successor(succession) => {
            begin::begin(sides, system, progress, &succession).await?;
            Ok(Course::Anew)
        }
    }
}

/// Puts an error down as an event, and shuts the mirror where the log will prove nothing any more.
async fn tell(target: &mut Connection, error: &ReconcilerError) -> Result<(), ReconcilerError> {
    let text = error.to_string().replace('\'', "''");
    let kind = error.kind();
    let shut = if error.ends_the_stream() {
        "DELETE FROM segue.mirror_gate;"
    } else {
        ""
    };
    // Each start finds it again, and one event is enough.
    let sql = format!(
        "{shut} INSERT INTO segue.event (kind, text) SELECT '{kind}', '{text}' \
         WHERE '{text}' IS DISTINCT FROM (SELECT text FROM segue.event ORDER BY id DESC LIMIT 1)"
    );
    target.query_simple(&sql).await?;
    Ok(())
}

/// Lets proxies know of which epoch, and which timeline, the source is.
async fn announce(source: &Client, epochs: &Epochs, timeline: u32) -> Result<(), ReconcilerError> {
    let epoch = epochs.current();
    let sql = format!(
        "UPDATE segue.phase SET epoch = {epoch}, timeline = {timeline} \
         WHERE epoch < {epoch} OR epoch = {epoch} AND timeline IS DISTINCT FROM {timeline}"
    );
    source.batch_execute(&sql).await.map_err(|error| {
        let doing = "say which epoch it is";
        ReconcilerError::Control(ControlError::query(Side::Source, doing, &error))
    })
}
