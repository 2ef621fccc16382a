//! What the target says of the log that it follows. Does not change it.

use apply::connection::Connection;
use bytes::Bytes;
use control::Side;
use protocol::decide::failover::{Epochs, Followed, History};
use protocol::lsn::Lsn;
use protocol::revision::{Epoch, Revision};

use crate::error::ReconcilerError;

/// Where `segue.progress` stands, and in which history.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) followed: Followed,
    pub(crate) epochs: Epochs,
}

impl Progress {
    /// Reads it for a stream.
    pub(crate) async fn read(
        target: &mut Connection,
        stream: &str,
    ) -> Result<Self, ReconcilerError> {
        let sql = format!(
            "SELECT p.system_identifier, p.timeline::text, coalesce(e.history, ''), p.epoch::text, \
                    p.commit_lsn::text, \
                    (SELECT g.floor::text FROM segue.mirror_gate g WHERE g.epoch = p.epoch) \
             FROM segue.progress p LEFT JOIN segue.epoch e USING (epoch) WHERE stream = '{stream}'"
        );
        let rows = target.query_simple(&sql).await?;
        let no_progress = || ReconcilerError::NoProgress {
            stream: stream.to_owned(),
        };
        let followed = rows.first().and_then(|row| followed(row));
        let followed = followed.ok_or_else(no_progress)?;
        let sql = "SELECT epoch::text, begins_at::text FROM segue.epoch ORDER BY epoch";
        let rows = target.query_simple(sql).await?;
        let mut begun = rows.iter().map(|row| begun(row));
        let first = begun.next().flatten();
        let mut epochs = Epochs::starting_with(first.map_or(followed.epoch, |(epoch, _)| epoch));
        for begun in begun {
            let (epoch, lsn) = begun.ok_or(ReconcilerError::Answer {
                side: Side::Target,
                what: "a row of segue.epoch",
            })?;
            epochs.begin(epoch, lsn);
        }
        Ok(Self { followed, epochs })
    }

    /// What is followed, with the floor as it stands in the transaction under way.
    pub(super) async fn read_floor(
        target: &mut Connection,
        followed: &Followed,
    ) -> Result<Followed, ReconcilerError> {
        let epoch = followed.epoch;
        let sql = format!("SELECT floor::text FROM segue.mirror_gate WHERE epoch = {epoch}");
        let rows = target.query_simple(&sql).await?;
        Ok(Followed {
            floor: rows.first().and_then(|row| floor(row, 0)),
            ..followed.clone()
        })
    }
}

fn followed(row: &[Option<Bytes>]) -> Option<Followed> {
    Some(Followed {
        system_identifier: text(row, 0)?,
        history: History::parse(text(row, 1)?.parse().ok()?, &text(row, 2)?).ok()?,
        epoch: epoch(row, 3)?,
        position: text(row, 4)?.parse().ok()?,
        floor: floor(row, 5),
    })
}

fn floor(row: &[Option<Bytes>], place: usize) -> Option<Lsn> {
    let packed = text(row, place)?.parse().ok()?;
    Revision::from_packed(packed).ok().map(Revision::lsn)
}

fn begun(row: &[Option<Bytes>]) -> Option<(Epoch, Lsn)> {
    Some((epoch(row, 0)?, text(row, 1)?.parse().ok()?))
}

fn epoch(row: &[Option<Bytes>], place: usize) -> Option<Epoch> {
    let number: i32 = text(row, place)?.parse().ok()?;
    Epoch::try_from(number).ok()
}

pub(super) fn text(row: &[Option<Bytes>], place: usize) -> Option<String> {
    let column = row.get(place)?.as_ref()?;
    Some(String::from_utf8_lossy(column).into_owned())
}
