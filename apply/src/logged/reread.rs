//! Rows read again from the source (rules 8, 10 and 13): compared under the entry's lock and written
//! as a set, all deletes before all inserts, so that rows that block each other come in together.
//!
//! Does not read the source: the caller brings the rows and the snapshot under which they were read.

use std::collections::{HashMap, HashSet};

use protocol::decide::repair::{Hold, Permission};
use protocol::decide::reread::{Ending, Horizon, OwedRead, RowEnding, resolved};
use protocol::decide::verdict::{Entry, OwedWhy};
use protocol::decide::working_set::{Net, OwedRow, WorkingSet};
use protocol::revision::Revision;
use protocol::row::{Image, RowKey};
use protocol::xid::{Snapshot, Xid};

use super::entries;
use super::notes::{Completion, Note, State, WRITTEN_AGAIN};
use super::truncate::quote_literal;
use super::{ForeignWrite, LoggedError, LoggedWriter, statements};

/// An owed row with what the source holds of it now.
#[derive(Debug, Clone)]
pub struct FreshRow {
    /// The key.
    pub key: RowKey,
    /// The source's row.
    pub row: Option<Image>,
    /// The logged transaction that the read has to contain.
    pub xid: Option<Xid>,
    /// Whether somebody else wrote it.
    pub is_foreign: bool,
    /// Whether it was found to differ before, and its repair held back.
    pub is_held: bool,
    /// The unverified entry that the log has passed by, as the last sweep saw it (rule 13).
    pub passed: Option<Revision>,
    /// Whether who wrote it is in the source's history.
    pub survival: Survival,
    /// What somebody else had made of the row, where that is known.
    pub foreign: Option<ForeignTrace>,
    /// It was seen to differ, and the target's own log has been read past that moment since: had
    /// somebody else made it so, that would be known.
    pub is_cleared: bool,
}

/// What a failover has done to the transaction that wrote a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// Nothing that is known.
    Kept,
    /// The new source does not have it.
    Lost,
}

/// In what somebody else's write differed from what the source holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForeignTrace {
    /// Whether it differed at all.
    pub differed: bool,
    /// Places of the columns, where both are rows.
    pub columns: Vec<usize>,
}

/// The read that the rows come from.
#[derive(Debug)]
pub struct FreshRead<'a> {
    /// Its snapshot.
    pub snapshot: &'a Snapshot,
    /// What it has to contain.
    pub horizon: &'a Horizon,
    /// The position of the source at the read, as a revision: what the report shows.
    pub as_of: Revision,
    /// The stream's position as a revision: what a resolved phantom refuses early writes under.
    pub passed: Revision,
}

/// What became of one owed row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The target held what the source holds.
    Equal,
    /// The row was only late: it was written.
    Written,
    /// Somebody else, or the mirror, had made it wrong: it was put right.
    Repaired,
    /// It has to be read again later.
    Later,
    /// It differs, and its repair is held back.
    Held,
    /// It differs and looks like a phantom; the target's own log has to tell first whether somebody
    /// else made it so.
    Suspected,
}

/// What became of a set of owed rows.
#[derive(Debug, Default)]
pub struct Settlement {
    /// Each row's end.
    pub rows: Vec<(RowKey, Settled)>,
}

/// A row of the set after the comparison.
struct Judged<'a> {
    fresh: &'a FreshRow,
    entry: Option<Entry>,
    columns: Vec<usize>,
    differs: bool,
    /// Its entry is unverified, and the log has passed it by.
    is_phantom: bool,
    /// Why its repair is held back, if it is.
    hold: Option<Hold>,
}

impl LoggedWriter {
    /// Records that somebody else wrote these rows: open divergences and owed rows, and how far the
    /// target's own stream `stream` has been read.
    pub async fn foreign(
        &mut self,
        writes: &[ForeignWrite],
        stream: &str,
        position: protocol::lsn::Lsn,
    ) -> Result<(), LoggedError> {
        self.queue_begin(self.position)?;
        let results = self.run().await?;
        self.check_progress(&results).await?;
        let mut seen = HashSet::new();
        for write in writes {
            if seen.insert(&write.key) {
                self.queue_note(&Note {
                    key: &write.key,
                    kind: "foreign_write",
                    source_rev: None,
                    target_rev: Revision::logged(self.stream.epochs.current(), write.target_lsn)
                        .ok(),
                    op_id: None,
                    columns: &[],
                    author: Some(&write.author),
                })?;
                self.queue_completion(&write.key, &Completion::OPEN)?;
            }
        }
        let owed: Vec<OwedRow> = writes
            .iter()
            .map(|write| OwedRow {
                key: write.key.clone(),
                why: OwedWhy::Foreign,
                xid: None,
            })
            .collect();
        self.queue_owed(&owed)?;
        self.run().await?;
        self.simple(&format!(
            "UPDATE segue.progress SET commit_lsn = greatest(commit_lsn, '{position}') \
             WHERE stream = {}; COMMIT",
            quote_literal(stream)
        ))
        .await
    }

    /// Compares owed rows with the target and puts them right. Durable when it returns.
    pub async fn settle(
        &mut self,
        fresh: &[FreshRow],
        read: &FreshRead<'_>,
    ) -> Result<Settlement, LoggedError> {
        let mut excluded: HashSet<RowKey> = HashSet::new();
        loop {
            let set: Vec<&FreshRow> = fresh
                .iter()
                .filter(|row| !excluded.contains(&row.key))
                .collect();
            match self.settle_set(&set, read).await? {
                Ok(mut rows) => {
                    rows.extend(excluded.into_iter().map(|key| (key, Settled::Later)));
                    return Ok(Settlement { rows });
                }
                Err(blocked) => {
                    self.roll_back().await?;
                    tracing::debug!(key = ?blocked, "an owed row is blocked by another row");
                    excluded.insert(blocked);
                }
            }
        }
    }

    /// One attempt: the outer error ends the session's use, the inner one names a row that the
    /// target does not take now.
    async fn settle_set(
        &mut self,
        set: &[&FreshRow],
        read: &FreshRead<'_>,
    ) -> Result<Result<Vec<(RowKey, Settled)>, RowKey>, LoggedError> {
        let keys: Vec<RowKey> = set.iter().map(|fresh| fresh.key.clone()).collect();
        self.queue_begin(self.position)?;
        let (mut entries, mut targets) = self.read_plain(&keys).await?;
        let mut outcome = Vec::with_capacity(set.len());
        let mut judged = Vec::new();
        let mut untouched = Vec::new();
        let (mut repairs, now) = (self.repairs.clone_repairs(), self.repairs.now());
        for fresh in set {
            let entry = entries.remove(&fresh.key).flatten();
            // Of a lost transaction it is known that its log will not come.
            let lost = entry.as_ref().map(|held| held.rev).filter(|rev| {
                fresh.survival == Survival::Lost && rev.epoch() < self.stream.epochs.current()
            });
            let row = targets.remove(&fresh.key);
            let (differs, columns) = compare(row.as_ref(), fresh.row.as_ref());
            let owed = OwedRead {
                entry: entry.as_ref(),
                xid: fresh.xid,
                passed: lost.or(fresh.passed),
                is_known: fresh.is_foreign || fresh.is_held,
                is_cleared: fresh.is_cleared,
                differs,
            };
            let (ending, is_phantom) = match read.horizon.settle(read.snapshot, &owed) {
                Ending::Later(_) => {
                    if entry.is_none() {
                        untouched.push(fresh.key.clone());
                    }
                    outcome.push((fresh.key.clone(), Settled::Later));
                    continue;
                }
                Ending::Suspected => {
                    outcome.push((fresh.key.clone(), Settled::Suspected));
                    continue;
                }
                Ending::Settled { row, is_phantom } => (row, is_phantom),
            };
            let (settled, hold) = match ending {
                RowEnding::Equal => (Settled::Equal, None),
                RowEnding::Written => (Settled::Written, None),
                RowEnding::Repaired => match repairs.ask(fresh.key.table(), now) {
                    Permission::Granted => (Settled::Repaired, None),
                    Permission::Held(hold) => (Settled::Held, Some(hold)),
                },
            };
            if hold.is_some() && entry.is_none() {
                untouched.push(fresh.key.clone());
            }
            outcome.push((fresh.key.clone(), settled));
            judged.push(Judged {
                fresh,
                entry,
                columns,
                differs,
                is_phantom,
                hold,
            });
        }
        self.note_before(&judged, read)?;
        self.run().await?;
        if let Some(blocked) = self.rewrite(&judged).await? {
            return Ok(Err(blocked));
        }
        self.leave(&judged, untouched, read).await?;
        self.repairs.replace(repairs);
        Ok(Ok(outcome))
    }

    async fn read_plain(
        &mut self,
        keys: &[RowKey],
    ) -> Result<(HashMap<RowKey, Option<Entry>>, HashMap<RowKey, Image>), LoggedError> {
        self.queue_locks(keys)?;
        for key in keys {
            self.queue_select(key)?;
        }
        let results = self.run().await?;
        self.check_progress(&results).await?;
        let mut results = results.into_iter().skip(2);
        let locked = results.next().unwrap_or_default();
        let entries = entries::entries(&self.contract, locked.rows)?;
        let mut found = HashMap::new();
        for (key, result) in keys.iter().zip(results) {
            if let Some(columns) = result.rows.into_iter().next() {
                found.insert(key.clone(), self.rows.image(key.table(), columns)?);
            }
        }
        Ok((entries, found))
    }

    /// Rows owed for other reasons are only late. A foreign write has been noted when it was seen,
    /// unless its table was emptied.
    fn note_before(
        &mut self,
        judged: &[Judged<'_>],
        read: &FreshRead<'_>,
    ) -> Result<(), LoggedError> {
        for row in judged
            .iter()
            .filter(|row| row.differs && (row.is_phantom || row.fresh.is_foreign))
            .filter(|row| !row.fresh.is_held)
        {
            // An early write that came after its log is only late; what differs is the other's work.
            let kind = if row.fresh.is_foreign {
                "foreign_write"
            } else {
                "phantom"
            };
            self.queue_note(&Note {
                key: &row.fresh.key,
                kind,
                source_rev: Some(read.as_of),
                target_rev: row.entry.as_ref().map(|entry| entry.rev),
                op_id: row.entry.as_ref().and_then(|entry| entry.op_id),
                columns: &row.columns,
                author: None,
            })?;
        }
        Ok(())
    }

    /// Deletes all rows that differ and inserts what the source holds. Tells which row the target
    /// does not take.
    async fn rewrite(&mut self, judged: &[Judged<'_>]) -> Result<Option<RowKey>, LoggedError> {
        let differing: Vec<&FreshRow> = judged
            .iter()
            .filter(|row| row.differs && row.hold.is_none())
            .map(|row| row.fresh)
            .collect();
        for fresh in &differing {
            self.queue_delete(&fresh.key)?;
        }
        self.run().await?;
        for fresh in &differing {
            if let Some(image) = &fresh.row {
                self.queue_upsert(&fresh.key, image)?;
                match self.run().await {
                    Ok(_) => {}
                    Err(error) if error.is_about_the_row() => {
                        self.refusal = Some((fresh.key.clone(), error.to_string()));
                        return Ok(Some(fresh.key.clone()));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(None)
    }

    /// Entries, owed rows and divergences after the rows are right; commits.
    async fn leave(
        &mut self,
        judged: &[Judged<'_>],
        mut dropped: Vec<RowKey>,
        read: &FreshRead<'_>,
    ) -> Result<(), LoggedError> {
        let mut kept = Vec::new();
        let (held, judged): (Vec<_>, Vec<_>) = judged.iter().partition(|row| row.hold.is_some());
        self.queue_held(&held)?;
        for row in &judged {
            match &row.entry {
                None => dropped.push(row.fresh.key.clone()),
                Some(entry) if row.is_phantom => {
                    kept.push((row.fresh.key.clone(), resolved(entry, read.passed)));
                }
                Some(_) => {}
            }
        }
        let net = Net {
            kept,
            dropped,
            ..WorkingSet::default().finish(&protocol::decide::floor::Floor::unknown())
        };
        self.queue_entries(&net)?;
        let settled: Vec<RowKey> = judged.iter().map(|row| row.fresh.key.clone()).collect();
        self.queue_settled(&settled)?;
        for row in &judged {
            self.queue_completion(&row.fresh.key, &row.completion(read.as_of))?;
        }
        self.queue(statements::COMMIT, &[])?;
        self.run().await?;
        Ok(())
    }

    /// Rows whose repair is held back stay owed, and their divergences open: with both values.
    fn queue_held(&mut self, held: &[&Judged<'_>]) -> Result<(), LoggedError> {
        let owed = held.iter().map(|row| OwedRow {
            key: row.fresh.key.clone(),
            why: OwedWhy::Held,
            xid: row.fresh.xid,
        });
        self.queue_owed(&owed.collect::<Vec<_>>())?;
        for (row, hold) in held.iter().filter_map(|row| Some((row, row.hold?))) {
            let completion = Completion {
                columns: &row.columns,
                ..Completion::held(hold)
            };
            self.queue_completion(&row.fresh.key, &completion)?;
            self.queue_proposal(&row.fresh.key, row.fresh.row.as_ref())?;
        }
        Ok(())
    }
}

impl Judged<'_> {
    /// What to say of the divergences that were open on the row.
    fn completion(&self, as_of: Revision) -> Completion<'_> {
        let (state, repair, columns): (_, _, &[usize]) = match &self.fresh.foreign {
            _ if self.differs => (State::Repaired, WRITTEN_AGAIN, &self.columns),
            Some(trace) if !trace.differed => {
                (State::Ignored, "it wrote what the source holds", &[])
            }
            Some(trace) => (
                State::Repaired,
                "a later version from the source had overwritten it",
                &trace.columns,
            ),
            // After a restart only the row as it was found is known.
            None => (State::Compare, "the row was read again and is equal", &[]),
        };
        Completion {
            state,
            repair: Some(repair),
            source_rev: Some(as_of),
            columns,
            hold: None,
        }
    }
}

fn compare(target: Option<&Image>, source: Option<&Image>) -> (bool, Vec<usize>) {
    match (target, source) {
        (None, None) => (false, Vec::new()),
        (Some(_), None) | (None, Some(_)) => (true, Vec::new()),
        (Some(target), Some(source)) => {
            let columns = source.differing(target);
            (!columns.is_empty(), columns)
        }
    }
}
