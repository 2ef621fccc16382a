//! The mirror gate and its floor (rules 4 to 6), and the entries that a floor makes dispensable.

use std::time::Duration;

use protocol::decide::failover::floor_bound;
use protocol::lsn::Lsn;
use protocol::revision::Revision;
use protocol::xid::Xid;
use tokio::time::Instant;

use super::Applier;
use crate::error::ReconcilerError;

/// How far the floor stays behind the source: early writes come within milliseconds, and the few
/// that take longer are the stream's. It does not wait for the stream: what that brings later than
/// this needs no entry.
const FLOOR_AGE: Duration = Duration::from_secs(5);

/// Entries dropped at once, so that a batch never waits long behind it.
const DROPPED_MAX: usize = 50_000;

impl Applier<'_> {
    /// Opens the gate where it is not there: a crash of the target has emptied it together with all
    /// entries. What committed at the source before now is then left to the stream (rule 6). Where it
    /// is open, the floor rises to now: what has piled up in the log needs no entries, for the price
    /// of the early writes that are on their way at this moment.
    pub(crate) async fn arm(&mut self) -> Result<(), ReconcilerError> {
        self.here = self.source.whereabouts(&self.identity.slot).await?;
        let insert = self.revision(self.here.insert_lsn)?;
        let xmin = self.here.snapshot.xmin();
        self.floor.source_settled_below(xmin, insert);
        let found = self
            .target_text("SELECT floor::text FROM segue.mirror_gate")
            .await?;
        match found.and_then(|floor| floor.parse().ok()) {
            Some(packed) => match Revision::from_packed(packed) {
                Ok(floor) if floor < insert => {
                    let lsn = floor_bound(self.here.insert_lsn, self.here.standbys);
                    self.raise_to(lsn).await
                }
                Ok(floor) => self.rely_on(floor).await,
                Err(_) => self.arm_anew().await,
            },
            None => self.arm_anew().await,
        }
    }

    async fn arm_anew(&mut self) -> Result<(), ReconcilerError> {
        let floor = self.revision(self.here.insert_lsn)?;
        let epoch = self.identity.epochs.current();
        self.execute(&format!(
            "INSERT INTO segue.mirror_gate (epoch, floor) VALUES ({epoch}, {floor})"
        ))
        .await?;
        let lsn = self.here.insert_lsn;
        tracing::info!(%lsn, "gate armed");
        self.event(
            "gate_armed",
            &format!(
                "the gate was shut, as it is after a crash of the target and at a failover of the \
                 source; mirroring starts again above {lsn}, in epoch {epoch}, and the log brings \
                 everything before"
            ),
        )
        .await?;
        self.rely_on(floor).await
    }

    /// `floor` stands at the target.
    async fn rely_on(&mut self, floor: Revision) -> Result<(), ReconcilerError> {
        let xmax = self
            .target_xid("SELECT pg_snapshot_xmax(pg_current_snapshot())")
            .await?;
        self.floor.raised(floor, xmax);
        let xmin = self
            .target_xid("SELECT pg_snapshot_xmin(pg_current_snapshot())")
            .await?;
        self.floor.observe(xmin);
        Ok(())
    }

    /// Raises the floor behind the source, one drain at a time, and drops what it covers.
    pub(super) async fn raise_floor(&mut self) -> Result<(), ReconcilerError> {
        let insert = self.revision(self.here.insert_lsn)?;
        let xmin = self.here.snapshot.xmin();
        self.floor.source_settled_below(xmin, insert);
        let xmin = self
            .target_xid("SELECT pg_snapshot_xmin(pg_current_snapshot())")
            .await?;
        self.floor.observe(xmin);
        self.history
            .push_back((Instant::now(), self.here.insert_lsn));
        let mut reached = None;
        while let Some((at, lsn)) = self.history.front().copied() {
            if at.elapsed() < FLOOR_AGE {
                break;
            }
            reached = Some(lsn);
            self.history.pop_front();
        }
        if let (Some(lsn), true) = (reached, self.floor.is_settled()) {
            let lsn = floor_bound(lsn, self.here.standbys);
            self.raise_to(lsn).await?;
        }
        self.drop_entries().await
    }

    async fn raise_to(&mut self, lsn: Lsn) -> Result<(), ReconcilerError> {
        let floor = self.revision(lsn)?;
        if self
            .floor
            .effective()
            .is_some_and(|effective| floor <= effective)
        {
            return Ok(());
        }
        let epoch = self.identity.epochs.current();
        let raised = self
            .target_text(&format!(
                "UPDATE segue.mirror_gate SET floor = greatest(floor, {floor}) \
                 WHERE epoch = {epoch} RETURNING floor::text"
            ))
            .await?;
        let raised = raised.and_then(|floor| floor.parse().ok());
        match raised.map(Revision::from_packed) {
            Some(Ok(floor)) => self.rely_on(floor).await?,
            Some(Err(_)) => {}
            // Somebody has shut the gate: no early write enters, whatever its revision, and entries
            // go as they do under a floor that was raised. Only a new session opens it again, above
            // where the source is then.
            None => self.rely_on(floor).await?,
        }
        Ok(())
    }

    /// Entries that an early writer holds are passed over: it would wait for us, and we for it.
    async fn drop_entries(&mut self) -> Result<(), ReconcilerError> {
        let Some(floor) = self.floor.effective() else {
            return Ok(());
        };
        let xmin = self.floor.source_xmin();
        self.execute(&format!(
            "SET LOCAL enable_seqscan = on; \
             DELETE FROM segue.row_rev WHERE ctid = ANY (ARRAY(\
               SELECT ctid FROM segue.row_rev \
               WHERE verified AND rev <= {floor} AND coalesce(xid, 0) < {xmin} \
               LIMIT {DROPPED_MAX} FOR UPDATE SKIP LOCKED))"
        ))
        .await
    }

    pub(super) fn revision(&self, lsn: Lsn) -> Result<Revision, ReconcilerError> {
        let revision = self.identity.epochs.revision(lsn);
        revision.map_err(|error| ReconcilerError::Logged(error.into()))
    }

    pub(super) async fn target_xid(&mut self, sql: &str) -> Result<Xid, ReconcilerError> {
        let text = self.target_text(sql).await?;
        let id = text.and_then(|text| text.parse().ok());
        id.map(Xid::new).ok_or(ReconcilerError::Answer {
            side: control::Side::Target,
            what: "a transaction id",
        })
    }
}
