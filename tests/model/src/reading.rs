//! The target transactions of a process in which rows that were read at the source are used: owed
//! rows, and chunks of a table that is being filled.
//!
//! Does not read them.

use protocol::decide::reread::{Ending, OwedRead, Reread, RowEnding, Turn, resolved};
use protocol::decide::verdict::{Entry, EntryKind};
use protocol::lsn::Lsn;
use protocol::revision::{Epoch, Revision};

use crate::batch::written;
use crate::config::{Config, Feature, Omission};
use crate::process::{Found, Pending, Process, Purpose, Reading, Stage, Work};
use crate::row::{Row, key, rev};
use crate::world::World;

impl Process {
    /// The next statement of a re-read. Tells whether the process goes on living.
    pub(crate) fn step_reading(
        &mut self,
        world: &mut World,
        mut reading: Reading,
        config: &Config,
    ) -> bool {
        match reading.stage {
            Stage::Begin => {
                if self.is_cut || !self.compare_progress(world, config) {
                    return false;
                }
                reading.stage = if reading.keys.is_empty() {
                    Stage::Commit
                } else {
                    Stage::Lock { part: 0, place: 0 }
                };
            }
            Stage::Lock { part, place } => {
                let key = reading.keys[usize::from(place)];
                reading.entries[usize::from(key)] = self.lock(world, key, &reading.pending, config);
                reading.stage = if usize::from(place) + 1 < reading.keys.len() {
                    let place = place + 1;
                    Stage::Lock { part, place }
                } else {
                    Stage::Judge { part }
                };
            }
            Stage::Judge { .. } => {
                match reading.purpose {
                    Purpose::Owed => self.settle(world, &mut reading, config),
                    Purpose::Backfill => fill(world, &mut reading, config),
                }
                reading.stage = Stage::Commit;
            }
            Stage::LockTable { .. } | Stage::Empty { .. } | Stage::Commit => {
                return self.commit_reading(world, reading, config);
            }
        }
        self.work = Work::Reading(reading);
        true
    }

    fn settle(&self, world: &World, reading: &mut Reading, config: &Config) {
        for id in reading.keys.clone() {
            let entry = reading.entries[usize::from(id)].clone();
            let fresh = reading.rows[config.place(id)];
            let differs = world.target.rows[config.place(id)] != fresh;
            let owed = self.owed.get(&id).copied().unwrap_or_default();
            let ending = self.horizon.settle(
                &reading.snapshot,
                &OwedRead {
                    entry: entry.as_ref(),
                    xid: owed.xid,
                    passed: self.passed_rev(id, entry.as_ref(), config),
                    is_known: owed.is_foreign,
                    is_cleared: self.is_cleared(id, world, config),
                    differs,
                },
            );
            let (row, is_phantom) = match ending {
                Ending::Later(_) if config.omits(Omission::RereadTest) => {
                    (RowEnding::Written, false)
                }
                Ending::Later(_) => continue,
                Ending::Suspected => {
                    reading.pending.suspects.push(id);
                    continue;
                }
                Ending::Settled { row, is_phantom } => (row, is_phantom),
            };
            if row == RowEnding::Repaired {
                let op_id = entry.as_ref().and_then(|held| held.op_id);
                reading.pending.found.push(if owed.is_foreign {
                    Found::Foreign(id)
                } else {
                    Found::Phantom(op_id)
                });
            }
            if differs {
                reading.pending.rows.push((id, fresh));
            }
            if let (Some(entry), true) = (entry, is_phantom) {
                let passed = rev(Epoch::FIRST, self.passed);
                reading.pending.entries[usize::from(id)] = Some(Some(resolved(&entry, passed)));
            }
            reading.pending.settled.push(id);
        }
    }

    fn passed_rev(&self, id: u8, entry: Option<&Entry>, config: &Config) -> Option<Revision> {
        if config.omits(Omission::RereadUnverified) {
            return entry.map(|held| held.rev);
        }
        self.sweep.passed_rev(&key(id), Lsn::new(self.passed))
    }

    /// Whether the target's log has told all that others had written when the row first looked like
    /// a phantom.
    fn is_cleared(&self, id: u8, world: &World, config: &Config) -> bool {
        let target = &world.target;
        let has_told =
            |count: &u8| target.foreign.len() <= usize::from(target.foreign_count - count);
        !config.has(Feature::Foreign) || self.suspects.get(&id).is_some_and(has_told)
    }

    fn commit_reading(&mut self, world: &mut World, reading: Reading, config: &Config) -> bool {
        let Reading {
            purpose,
            keys,
            mut pending,
            snapshot,
            ..
        } = reading.clone();
        let gone = pending.rows.iter().map(|(key, _)| (*key, None));
        let mut steps: Vec<(u8, Option<Row>)> = gone.collect();
        if config.omits(Omission::AsASet) {
            steps.clear();
        }
        let back = pending.rows.iter().filter(|(_, row)| row.is_some());
        steps.extend(back);
        if config.omits(Omission::AsASet) {
            let gone = pending.rows.iter().filter(|(_, row)| row.is_none());
            steps.extend(gone);
        }
        let (rows, refused) = written(world.target.rows, &steps, config);
        if let Some(blocked) = refused.first() {
            // The set goes again without the row that the target does not take.
            world.target.unlock(self.me());
            let mut rest = reading;
            rest.keys = keys.into_iter().filter(|key| key != blocked).collect();
            rest.pending = Pending::default();
            rest.stage = Stage::Begin;
            self.work = Work::Reading(rest);
            return true;
        }
        if purpose == Purpose::Backfill {
            let judged = self.horizon.judge(&snapshot, None, None, Turn::ToCome);
            if judged != Reread::Usable && !config.omits(Omission::SlotSnapshot) {
                world.target.unlock(self.me());
                self.work = Work::Idle;
                return true;
            }
            world.target.end_chunk(config);
        }
        for key in &pending.suspects {
            let count = world.target.foreign_count;
            self.suspects.entry(*key).or_insert(count);
        }
        self.publish(world, rows, std::mem::take(&mut pending), config);
        self.work = Work::Idle;
        world.target.holder == self.holder
    }
}

/// Rule 9: a row only where the target has none and no tombstone stands.
fn fill(world: &World, reading: &mut Reading, config: &Config) {
    for id in reading.keys.clone() {
        let place = config.place(id);
        let entry = &reading.entries[usize::from(id)];
        let early = entry
            .as_ref()
            .is_some_and(|held| held.kind == EntryKind::Tombstone);
        let is_gone = world.target.tombstones[place] || early;
        let is_free = world.target.rows[place].is_none() || config.omits(Omission::InsertOnly);
        let may = !is_gone || config.omits(Omission::Tombstones);
        if let (Some(row), true, true) = (reading.rows[place], is_free, may) {
            reading.pending.rows.push((id, Some(row)));
        }
    }
}
