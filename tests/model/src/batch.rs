//! The target transactions of a process: batches of logged transactions, and rows read again.
//!
//! Does not take the statements outside them.

use std::collections::BTreeSet;

use protocol::decide::assembly::{LoggedWrite, Segment};
use protocol::decide::floor::Floor;
use protocol::decide::reread::{Reread, Turn};
use protocol::decide::verdict::{Entry, EntryKind, Path, Proof};
use protocol::decide::working_set::{
    Extent, FindingKind, MirrorOutcome, Net, Operation, WorkingSet,
};
use protocol::lsn::Lsn;
use protocol::revision::{Epoch, Revision};

use crate::config::{Config, Feature, Omission};
use crate::process::{Batch, Found, Pending, Process, Purpose, Reading, Stage, Work, op_of};
use crate::row::{ByKey, Row, id, image, key, rev, row_of};
use crate::source::{Logged, xid};
use crate::target::violates;
use crate::world::World;

/// What is locked and judged at once.
enum Part<'a> {
    Writes(Vec<(&'a Logged, Vec<LoggedWrite>)>),
    Truncate(Lsn),
}

impl World {
    fn parts<'a>(&'a self, process: &Process, batch: &Batch) -> Vec<Part<'a>> {
        let mut ready = process.ready(self);
        ready.truncate(usize::from(batch.count));
        if let [one] = ready.as_slice()
            && one.has_truncated()
        {
            let segments = one.segments().into_iter();
            return segments
                .map(|segment| match segment {
                    Segment::Writes(writes) => Part::Writes(vec![(*one, writes)]),
                    Segment::Truncate(truncation) => Part::Truncate(truncation.lsn),
                })
                .collect();
        }
        let writes = ready.into_iter().map(|one| {
            let segments = one.segments().into_iter();
            let writes = segments.flat_map(|segment| match segment {
                Segment::Writes(writes) => writes,
                Segment::Truncate(_) => Vec::new(),
            });
            (one, writes.collect())
        });
        vec![Part::Writes(writes.collect())]
    }

    pub(crate) fn keys_of(&self, process: &Process, batch: &Batch, part: u8) -> Vec<u8> {
        match self.parts(process, batch).get(usize::from(part)) {
            Some(Part::Writes(writes)) => {
                let writes = writes.iter().flat_map(|(_, writes)| writes);
                let keys: BTreeSet<u8> = writes.map(|write| id(&write.key)).collect();
                keys.into_iter().collect()
            }
            Some(Part::Truncate(_)) | None => Vec::new(),
        }
    }
}

impl Process {
    /// The next statement of a batch. Tells whether the process goes on living.
    pub(crate) fn step_batch(
        &mut self,
        world: &mut World,
        mut batch: Batch,
        config: &Config,
    ) -> bool {
        match batch.stage {
            Stage::Begin => {
                if !self.compare_progress(world, config) {
                    return false;
                }
                batch.stage = stage_of(world, self, &batch, 0);
            }
            Stage::Lock { part, place } => {
                let keys = world.keys_of(self, &batch, part);
                let key = keys[usize::from(place)];
                batch.entries[usize::from(key)] = self.lock(world, key, &batch.pending, config);
                batch.stage = if usize::from(place) + 1 < keys.len() {
                    let place = place + 1;
                    Stage::Lock { part, place }
                } else {
                    Stage::Judge { part }
                };
            }
            Stage::Judge { part } => {
                self.judge(world, &mut batch, part, config);
                batch.stage = stage_of(world, self, &batch, part + 1);
            }
            Stage::LockTable { part } => {
                world.target.table_lock = Some(self.holder);
                batch.stage = Stage::Empty { part };
            }
            Stage::Empty { part } => {
                self.empty(world, &mut batch, part, config);
                batch.stage = stage_of(world, self, &batch, part + 1);
            }
            Stage::Commit => return self.commit_batch(world, batch, config),
        }
        self.work = Work::Batch(batch);
        true
    }

    fn compare_progress(&self, world: &mut World, config: &Config) -> bool {
        let target = &mut world.target;
        if config.omits(Omission::Progress) {
            return true;
        }
        target.progress_lock = Some(self.holder);
        let is_mine = (target.progress, target.holder) == (self.position, self.holder);
        if !is_mine {
            target.unlock(self.me());
        }
        is_mine
    }

    /// Locks an entry and returns it.
    fn lock(
        &self,
        world: &mut World,
        key: u8,
        pending: &Pending,
        config: &Config,
    ) -> Option<Entry> {
        if !config.omits(Omission::Lock) {
            world.target.lock(key, self.me());
        }
        let own = pending.entries[usize::from(key)].clone();
        own.unwrap_or_else(|| world.target.entries[usize::from(key)].clone())
    }

    fn judge(&self, world: &World, batch: &mut Batch, part: u8, config: &Config) {
        let parts = world.parts(self, batch);
        let Some(Part::Writes(writes)) = parts.get(usize::from(part)) else {
            return;
        };
        let mut set = WorkingSet::default();
        for id in world.keys_of(self, batch, part) {
            let row = seen(world, &batch.pending, id).map(|row| image(id, row, false));
            set.insert(key(id), batch.entries[usize::from(id)].clone(), row);
        }
        let extent = if parts.len() > 1 {
            Extent::Piece
        } else {
            Extent::Whole
        };
        for (one, writes) in writes {
            let op_id = op_of(one);
            let is_accepted = world.target.accepted.contains(&op_id);
            let operation = Operation {
                op_id,
                xid: xid(one.xid),
                epoch: Epoch::FIRST,
                outcome: is_accepted.then_some(MirrorOutcome::Accepted),
                extent,
            };
            batch.pending.taken.push(op_id);
            let judged = set.judge(&operation, writes);
            debug_assert!(judged.is_ok(), "positions here are small");
        }
        batch.pending.take(set.finish(&self.floor_for(config)));
    }

    fn floor_for(&self, config: &Config) -> Floor {
        let mut floor = self.floor;
        if config.omits(Omission::Entries) {
            floor = Floor::unknown();
            floor.raised(rev(Epoch::FIRST, 1 << 50), xid(0));
            floor.observe(xid(1));
            floor.source_settled_below(xid(u64::MAX), rev(Epoch::FIRST, 1));
        }
        floor
    }

    /// TRUNCATE: rows whose entries are newer stay.
    fn empty(&self, world: &mut World, batch: &mut Batch, part: u8, config: &Config) {
        let lsn = match world.parts(self, batch).get(usize::from(part)) {
            Some(Part::Truncate(lsn)) => lsn.as_u64(),
            Some(Part::Writes(_)) | None => return,
        };
        let floor = rev(Epoch::FIRST, lsn);
        for id in 0..config.keys() {
            let place = usize::from(id);
            let entry = self.lock(world, id, &batch.pending, config);
            let survives = entry.as_ref().is_some_and(|held| held.rev > floor);
            if !survives {
                batch.pending.entries[place] = Some(None);
            }
            if !survives || config.omits(Omission::Survivors) {
                batch.pending.rows.push((id, None));
            }
        }
        batch.pending.truncated = Some(floor);
    }

    fn commit_batch(&mut self, world: &mut World, mut batch: Batch, config: &Config) -> bool {
        let (ends, xids): (Vec<u64>, Vec<u64>) = {
            let mut ready = self.ready(world);
            ready.truncate(usize::from(batch.count));
            ready.iter().map(|one| (one.end, one.xid)).unzip()
        };
        let has_savepoints = batch.is_careful || batch.pending.truncated.is_some();
        let has_constraint = config.has(Feature::Exchange);
        let (rows, refused) = written(world.target.rows, &batch.pending.rows, has_constraint);
        if !refused.is_empty() && config.omits(Omission::Violation) {
            // Tried again for ever.
            batch.is_careful = true;
            self.work = Work::Batch(batch);
            return true;
        }
        if !refused.is_empty() && !has_savepoints {
            world.target.unlock(self.me());
            batch = Batch {
                count: batch.count,
                is_careful: true,
                stage: Stage::Begin,
                entries: ByKey::default(),
                pending: Pending::default(),
            };
            self.work = Work::Batch(batch);
            return true;
        }
        for key in refused {
            let last = xids.last().map(|id| xid(*id));
            batch.pending.owed.insert(key, last);
        }
        if config.has(Feature::Backfill) && world.target.backfill.is_some() {
            for (key, row) in &batch.pending.rows {
                world.target.tombstones[usize::from(*key)] |= row.is_none();
            }
            for (key, entry) in (0_usize..).zip(&batch.pending.entries) {
                let entry = entry.as_ref().and_then(Option::as_ref);
                let is_gone = entry.is_some_and(|held| held.kind == EntryKind::Tombstone);
                world.target.tombstones[key] |= is_gone;
            }
        }
        let end = ends.last().copied().unwrap_or(self.position);
        world.target.progress = end.max(world.target.progress);
        self.position = end;
        self.passed = self.passed.max(end);
        if batch.pending.truncated.is_some() {
            self.horizon.truncated(xid(xids[0]));
        }
        for one in xids {
            self.horizon.applied(xid(one));
        }
        self.publish(world, rows, batch.pending, config);
        self.work = Work::Idle;
        world.target.holder == self.holder
    }

    /// What everybody sees from now on.
    fn publish(
        &mut self,
        world: &mut World,
        rows: ByKey<Option<Row>>,
        pending: Pending,
        config: &Config,
    ) {
        let target = &mut world.target;
        target.rows = rows;
        if config.has(Feature::Crashes) {
            target.durable = rows;
        }
        if let Some(floor) = pending.truncated
            && !config.omits(Omission::TableFloor)
        {
            target.table_floor = target.table_floor.max(Some(floor));
        }
        for (held, entry) in target.entries.iter_mut().zip(pending.entries) {
            if let Some(entry) = entry {
                *held = entry;
            }
        }
        target
            .accepted
            .retain(|op_id| !pending.taken.contains(op_id));
        for key in pending.settled {
            target.owed.remove(&key);
            self.owed.remove(&key);
        }
        for (key, xid) in pending.owed {
            let owed = target.owed.entry(key).or_insert(xid);
            *owed = (*owed).max(xid);
            self.owe(key, xid);
        }
        target.unlock(self.me());
        for found in pending.found {
            world.judge_report(found);
        }
    }

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
        let passed = rev(Epoch::FIRST, self.passed);
        for id in reading.keys.clone() {
            let entry = reading.entries[usize::from(id)].clone();
            let is_phantom = entry
                .as_ref()
                .is_some_and(|held| self.has_passed_by(id, held));
            let turn = if is_phantom || config.omits(Omission::RereadUnverified) {
                Turn::Passed
            } else {
                Turn::ToCome
            };
            let owed = self.owed.get(&id).copied().flatten();
            let judged = self
                .horizon
                .judge(&reading.snapshot, entry.as_ref(), owed, turn);
            if judged != Reread::Usable && !config.omits(Omission::RereadTest) {
                continue;
            }
            let fresh = reading.rows[usize::from(id)];
            let differs = world.target.rows[usize::from(id)] != fresh;
            let op_id = entry.as_ref().and_then(|held| held.op_id);
            if is_phantom && differs {
                reading.pending.found.push(Found::Phantom(op_id));
            }
            if differs {
                reading.pending.rows.push((id, fresh));
            }
            if let (Some(entry), true) = (entry, is_phantom) {
                reading.pending.entries[usize::from(id)] = Some(Some(proven(&entry, passed)));
            }
            reading.pending.settled.push(id);
        }
    }

    fn commit_reading(&mut self, world: &mut World, reading: Reading, config: &Config) -> bool {
        let Reading {
            purpose,
            keys,
            mut pending,
            snapshot,
            ..
        } = reading.clone();
        let has_constraint = config.has(Feature::Exchange);
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
        let (rows, refused) = written(world.target.rows, &steps, has_constraint);
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
        pending.rows.clear();
        if purpose == Purpose::Backfill {
            let judged = self.horizon.judge(&snapshot, None, None, Turn::ToCome);
            if judged != Reread::Usable && !config.omits(Omission::SlotSnapshot) {
                world.target.unlock(self.me());
                self.work = Work::Idle;
                return true;
            }
            world.target.backfill = None;
            world.target.tombstones = ByKey::default();
        }
        self.publish(world, rows, pending, config);
        self.work = Work::Idle;
        world.target.holder == self.holder
    }
}

impl Pending {
    fn take(&mut self, net: Net) {
        // In any order: here in one.
        let mut deletes: Vec<u8> = net.deletes.iter().map(id).collect();
        deletes.sort_unstable();
        self.rows.extend(deletes.into_iter().map(|key| (key, None)));
        let upserts = net.upserts.iter();
        self.rows
            .extend(upserts.map(|(key, row)| (id(key), Some(row_of(row)))));
        for (key, entry) in net.kept {
            self.entries[usize::from(id(&key))] = Some(Some(entry));
        }
        for key in net.dropped {
            self.entries[usize::from(id(&key))] = Some(None);
        }
        for row in net.owed {
            let owed = self.owed.entry(id(&row.key)).or_insert(row.xid);
            *owed = (*owed).max(row.xid);
        }
        self.found
            .extend(net.findings.iter().map(|found| match found.kind {
                FindingKind::Wrong(_) => Found::Wrong(found.op_id),
                FindingKind::LostMirror => Found::LostMirror(found.op_id),
            }));
    }
}

/// Rule 9: a row only where the target has none and no tombstone stands.
fn fill(world: &World, reading: &mut Reading, config: &Config) {
    for id in reading.keys.clone() {
        let place = usize::from(id);
        let entry = &reading.entries[place];
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

/// A phantom's entry once its row is right: it refuses late twins and supersedes nothing.
fn proven(entry: &Entry, passed: Revision) -> Entry {
    Entry {
        rev: passed,
        op_id: None,
        xid: None,
        path: Path::Logged,
        proof: Proof::Verified,
        kind: entry.kind,
    }
}

fn stage_of(world: &World, process: &Process, batch: &Batch, part: u8) -> Stage {
    match world.parts(process, batch).get(usize::from(part)) {
        None => Stage::Commit,
        Some(Part::Truncate(_)) => Stage::LockTable { part },
        Some(Part::Writes(_)) => Stage::Lock { part, place: 0 },
    }
}

/// The row as the transaction sees it.
fn seen(world: &World, pending: &Pending, id: u8) -> Option<Row> {
    let mut own = pending.rows.iter().rev();
    let own = own.find(|(key, _)| *key == id).map(|(_, row)| *row);
    own.unwrap_or_else(|| world.target.rows[usize::from(id)])
}

/// The rows after these writes, without those that a constraint refuses.
fn written(
    before: ByKey<Option<Row>>,
    writes: &[(u8, Option<Row>)],
    has_constraint: bool,
) -> (ByKey<Option<Row>>, Vec<u8>) {
    let (mut rows, mut refused) = (before, Vec::new());
    for (key, row) in writes {
        let held = std::mem::replace(&mut rows[usize::from(*key)], *row);
        if has_constraint && violates(rows) {
            rows[usize::from(*key)] = held;
            refused.push(*key);
        }
    }
    (rows, refused)
}
