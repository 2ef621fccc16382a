//! The target transactions of a process in which logged transactions are applied.
//!
//! Does not take the statements outside them.

use std::collections::BTreeSet;

use protocol::decide::assembly::{LoggedWrite, Segment};
use protocol::decide::floor::Floor;
use protocol::decide::verdict::{Entry, EntryKind};
use protocol::decide::working_set::{
    Extent, FindingKind, MirrorOutcome, Net, Operation, WorkingSet,
};
use protocol::lsn::Lsn;
use protocol::revision::Epoch;

use crate::config::{Config, Feature, Omission};
use crate::process::{Batch, Found, Pending, Process, Stage, Work, op_of};
use crate::row::{ByKey, Row, id, image, key, rev, row_of};
use crate::source::{Logged, xid};
use crate::target::{Owed, Target, violates};
use crate::world::World;

/// What is locked and judged at once.
enum Part<'a> {
    Writes(Vec<(&'a Logged, Vec<LoggedWrite>)>),
    Truncate(Lsn),
}

impl World {
    fn parts<'a>(&'a self, process: &Process, batch: &Batch, config: &Config) -> Vec<Part<'a>> {
        let mut ready = process.ready(self);
        ready.truncate(usize::from(batch.count));
        if let [one] = ready.as_slice()
            && one.has_truncated()
        {
            let segments = one.segments(config).into_iter();
            return segments
                .map(|segment| match segment {
                    Segment::Writes(writes) => Part::Writes(vec![(*one, writes)]),
                    Segment::Truncate(truncation) => Part::Truncate(truncation.lsn),
                })
                .collect();
        }
        let writes = ready.into_iter().map(|one| {
            let segments = one.segments(config).into_iter();
            let writes = segments.flat_map(|segment| match segment {
                Segment::Writes(writes) => writes,
                Segment::Truncate(_) => Vec::new(),
            });
            (one, writes.collect())
        });
        vec![Part::Writes(writes.collect())]
    }

    pub(crate) fn keys_of(
        &self,
        process: &Process,
        batch: &Batch,
        part: u8,
        config: &Config,
    ) -> Vec<u8> {
        match self.parts(process, batch, config).get(usize::from(part)) {
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
                batch.stage = stage_of(world, self, &batch, 0, config);
            }
            Stage::Lock { part, place } => {
                let keys = world.keys_of(self, &batch, part, config);
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
                batch.stage = stage_of(world, self, &batch, part + 1, config);
            }
            Stage::LockTable { part } => {
                world.target.table_lock = Some(self.holder);
                batch.stage = Stage::Empty { part };
            }
            Stage::Empty { part } => {
                self.empty(world, &mut batch, part, config);
                batch.stage = stage_of(world, self, &batch, part + 1, config);
            }
            Stage::Commit => return self.commit_batch(world, batch, config),
        }
        self.work = Work::Batch(batch);
        true
    }

    pub(crate) fn compare_progress(&self, world: &mut World, config: &Config) -> bool {
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
    pub(crate) fn lock(
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
        let parts = world.parts(self, batch, config);
        let Some(Part::Writes(writes)) = parts.get(usize::from(part)) else {
            return;
        };
        let mut set = WorkingSet::default();
        for id in world.keys_of(self, batch, part, config) {
            let row = seen(world, &batch.pending, id, config);
            let row = row.map(|row| image(id, row, false));
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
        let lsn = match world.parts(self, batch, config).get(usize::from(part)) {
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
        let (rows, refused) = written(world.target.rows, &batch.pending.rows, config);
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
            let owed = Owed {
                is_foreign: false,
                xid: xids.last().map(|id| xid(*id)),
            };
            batch.pending.owed.insert(key, owed);
        }
        if config.has(Feature::Backfill) && world.target.backfill.is_some() {
            for (key, row) in &batch.pending.rows {
                world.target.tombstones[config.place(*key)] |= row.is_none();
            }
            for (key, entry) in (0..).zip(&batch.pending.entries) {
                let entry = entry.as_ref().and_then(Option::as_ref);
                let is_gone = entry.is_some_and(|held| held.kind == EntryKind::Tombstone);
                world.target.tombstones[config.place(key)] |= is_gone;
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
    pub(crate) fn publish(
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
            self.suspects.remove(&key);
        }
        for (key, owed) in pending.owed {
            let held = target.owed.entry(key).or_default();
            *held = held.and(owed);
            self.owe(key, owed);
        }
        for (key, _) in &pending.rows {
            target.log_own(*key, config);
        }
        target.unlock(self.me());
        for found in pending.found {
            world.judge_report(found, config);
        }
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
            let held = self.owed.entry(id(&row.key)).or_default();
            *held = held.and(Owed {
                is_foreign: false,
                xid: row.xid,
            });
        }
        self.found
            .extend(net.findings.iter().map(|found| match found.kind {
                FindingKind::Wrong(_) => Found::Wrong(id(&found.key), found.op_id),
                FindingKind::LostMirror => Found::LostMirror(found.op_id),
            }));
    }
}

fn stage_of(world: &World, process: &Process, batch: &Batch, part: u8, config: &Config) -> Stage {
    match world.parts(process, batch, config).get(usize::from(part)) {
        None => Stage::Commit,
        Some(Part::Truncate(_)) => Stage::LockTable { part },
        Some(Part::Writes(_)) => Stage::Lock { part, place: 0 },
    }
}

/// The row as the transaction sees it.
fn seen(world: &World, pending: &Pending, id: u8, config: &Config) -> Option<Row> {
    let place = config.place(id);
    let mut own = pending.rows.iter().rev();
    let own = own.find(|(key, _)| config.place(*key) == place);
    own.map_or(world.target.rows[place], |(_, row)| *row)
}

/// The rows after these writes, without those that a constraint refuses.
pub(crate) fn written(
    before: ByKey<Option<Row>>,
    writes: &[(u8, Option<Row>)],
    config: &Config,
) -> (ByKey<Option<Row>>, Vec<u8>) {
    let (mut rows, mut refused) = (before, Vec::new());
    for (key, row) in writes {
        let place = config.place(*key);
        let held = std::mem::replace(&mut rows[place], Target::stored(*row, config));
        if config.has(Feature::Exchange) && violates(rows) {
            rows[place] = held;
            refused.push(*key);
        }
    }
    (rows, refused)
}
