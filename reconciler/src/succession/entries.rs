//! The entries of the epoch that ends, told apart: what the new source has, and what is lost.
//!
//! Runs in the transaction that begins the new epoch, with every early writer shut out, so that
//! places in the table stay what they are. Does not decide: [`fate`] does.

use std::collections::{BTreeSet, HashSet};

use apply::connection::Connection;
use control::{ControlError, Side};
use protocol::decide::failover::{Epochs, Fate, XactStatus, fate};
use protocol::lsn::Lsn;
use protocol::revision::Revision;
use protocol::xid::Xid;
use tokio_postgres::Client;

use super::progress::text;
use crate::error::ReconcilerError;

/// Transactions asked for at once, and entries changed at once.
const SOME: usize = 10_000;

/// The bits of a revision that are its position.
const LSN_MASK: u64 = (1 << 55) - 1;

/// What separates lost entries from others.
pub(super) struct Parting<'a> {
    pub(super) epochs: &'a Epochs,
    pub(super) fork: Lsn,
    /// What the target has applied of the old history.
    pub(super) position: Lsn,
}

/// An entry whose transaction the new source knows.
struct Asked {
    place: String,
    xid: Xid,
}

/// Marks the entries of lost transactions as unverified, has their rows owed, and says how many.
pub(super) async fn part(
    target: &mut Connection,
    source: &Client,
    parting: &Parting<'_>,
) -> Result<usize, ReconcilerError> {
    let (mut lost, asked) = told_apart(target, parting).await?;
    let xids: BTreeSet<Xid> = asked.iter().map(|entry| entry.xid).collect();
    let xids: Vec<Xid> = xids.into_iter().collect();
    let mut gone = HashSet::new();
    for some in xids.chunks(SOME) {
        gone.extend(ask(source, some).await?);
    }
    let asked = asked.into_iter().filter(|entry| gone.contains(&entry.xid));
    lost.extend(asked.map(|entry| entry.place));
    for some in lost.chunks(SOME) {
        let places: Vec<String> = some.iter().map(|place| format!("\"{place}\"")).collect();
        let places = format!("'{{{}}}'::tid[]", places.join(","));
        let sql = format!(
            r#"INSERT INTO segue.owed AS held ("table", key, why)
               SELECT "table", key, 'lost' FROM segue.row_rev WHERE ctid = ANY ({places})
               ON CONFLICT ("table", key) DO UPDATE SET why = 'lost' WHERE held.why <> 'foreign';
               UPDATE segue.row_rev SET verified = false, from_log = false
               WHERE ctid = ANY ({places})"#
        );
        target.query_simple(&sql).await?;
    }
    Ok(lost.len())
}

/// The places of entries that are lost for sure, and those whose transactions have to be asked for.
/// What the log has verified under the fork is kept.
async fn told_apart(
    target: &mut Connection,
    parting: &Parting<'_>,
) -> Result<(Vec<String>, Vec<Asked>), ReconcilerError> {
    let fork = parting.fork.as_u64();
    let ahead = parting.position > parting.fork;
    let sql = format!(
        "SELECT ctid::text, rev::text, xid::text FROM segue.row_rev \
         WHERE op_id IS NOT NULL \
           AND (NOT verified OR {ahead} OR (rev & {LSN_MASK}) >= {fork})"
    );
    let (mut lost, mut asked) = (Vec::new(), Vec::new());
    for row in target.query_simple(&sql).await? {
        let read = || {
            let rev = text(&row, 1)?.parse().ok()?;
            Some((text(&row, 0)?, Revision::from_packed(rev).ok()?))
        };
        let (place, rev) = read().ok_or(ReconcilerError::Answer {
            side: Side::Target,
            what: "an entry of segue.row_rev",
        })?;
        let xid = text(&row, 2).and_then(|xid| xid.parse().ok()).map(Xid::new);
        match fate(rev, xid, parting.epochs, parting.fork) {
            Fate::Kept => {}
            Fate::Lost => lost.push(place),
            Fate::Ask(xid) => asked.push(Asked { place, xid }),
        }
    }
    Ok((lost, asked))
}

/// Those of the transactions that the new source does not have. One whose id it has not come to yet
/// it cannot have.
async fn ask(source: &Client, xids: &[Xid]) -> Result<Vec<Xid>, ReconcilerError> {
    let sql = "SELECT x, CASE WHEN x::text::xid8 < pg_snapshot_xmax(pg_current_snapshot()) \
                         THEN pg_xact_status(x::text::xid8) ELSE 'aborted' END \
               FROM unnest($1::int8[]) x";
    let ids: Vec<i64> = xids.iter().map(|xid| xid.as_u64().cast_signed()).collect();
    let rows = source.query(sql, &[&ids]).await.map_err(|error| {
        let doing = "ask what became of transactions";
        ReconcilerError::Control(ControlError::query(Side::Source, doing, &error))
    })?;
    let mut gone = Vec::new();
    for row in rows {
        let (id, status): (i64, Option<&str>) = (row.get(0), row.get(1));
        let status = XactStatus::parse(status).ok_or(ReconcilerError::Answer {
            side: Side::Source,
            what: "what became of a transaction",
        })?;
        if !status.is_kept() {
            gone.push(Xid::new(id.cast_unsigned()));
        }
    }
    Ok(gone)
}
