//! The reconciler as it uses the decisions: one task, one target statement after the other, with the
//! rest of the world at work before each.
//!
//! The order is that of `apply::logged` and of the applier. Does not decide: that code runs as it is.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;

use super::source::{Logged, id, key};
use super::target::{Holder, OwedRecord};
use super::{Interrupted, Kind, Rule, World};
use crate::decide::assembly::{Assembly, LoggedWrite, Segment};
use crate::decide::floor::Floor;
use crate::decide::reread::Horizon;
use crate::decide::sweep::{Sighting, Sweep, has_passed};
use crate::decide::verdict::{Entry, OwedWhy, Proof};
use crate::decide::working_set::{Extent, FindingKind, MirrorOutcome, Net, Operation, WorkingSet};
use crate::lsn::Lsn;
use crate::op_id::OpId;
use crate::revision::{Epoch, Revision};
use crate::row::Image;
use crate::xid::{Snapshot, Xid};

pub(super) type Step<T> = Result<T, Interrupted>;

pub(super) fn rev(lsn: u64) -> Revision {
    Revision::logged(Epoch::FIRST, Lsn::new(lsn)).unwrap()
}

pub(super) fn op(xid: Xid) -> OpId {
    OpId::of(1, Epoch::FIRST, xid)
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Owed {
    pub(super) is_foreign: bool,
    pub(super) xid: Option<Xid>,
    /// The stream is to come here first.
    after: u64,
}

/// A process of the reconciler.
#[derive(Debug)]
pub(super) struct Reconciler {
    holder: u64,
    pub(super) position: u64,
    pub(super) passed: u64,
    floor: Floor,
    pub(super) horizon: Horizon,
    pub(super) sweep: Sweep,
    pub(super) owed: BTreeMap<u8, Owed>,
    history: Vec<u64>,
    pub(super) transaction: Transaction,
}

/// What the target transaction under way has written and nobody sees yet.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) rows: BTreeMap<u8, Option<Image>>,
    pub(super) entries: BTreeMap<u8, Option<Entry>>,
    pub(super) owed: BTreeMap<u8, Option<OwedRecord>>,
    pub(super) findings: Vec<(u8, Kind)>,
    taken: Vec<OpId>,
}

impl Reconciler {
    /// What a process does when it starts.
    pub(super) fn start(world: &mut World) -> Step<Self> {
        world.holders += 1;
        let holder = world.holders;
        world.target.holder = holder;
        let position = world.target.progress;
        world.others()?;
        let xmax = world.source.snapshot().xmax();
        let mut me = Self {
            holder,
            position,
            passed: position,
            floor: Floor::unknown(),
            horizon: Horizon::starting_at(xmax),
            sweep: Sweep::default(),
            owed: BTreeMap::new(),
            history: Vec::new(),
            transaction: Transaction::default(),
        };
        world.others()?;
        for (id, owed) in world.target.owed.clone() {
            me.add_owed(id, owed.is_foreign, owed.xid);
        }
        let (xmin, insert) = (world.source.snapshot().xmin(), rev(world.source.insert));
        me.floor.source_settled_below(xmin, insert);
        world.others()?;
        let floor = if let Some(gate) = &mut world.target.gate {
            *gate = insert.max(*gate);
            *gate
        } else {
            let floor = rev(world.source.insert);
            world.others()?;
            world.target.gate = Some(floor);
            floor
        };
        world.others()?;
        me.floor.raised(floor, world.target.xmax());
        Ok(me)
    }

    pub(super) const fn holder(&self) -> u64 {
        self.holder
    }

    fn add_owed(&mut self, id: u8, is_foreign: bool, xid: Option<Xid>) {
        let owed = self.owed.entry(id).or_insert(Owed {
            is_foreign,
            xid,
            after: 0,
        });
        owed.xid = owed.xid.max(xid);
        owed.is_foreign |= is_foreign;
    }

    /// One turn of the applier's loop.
    pub(super) fn turn(&mut self, world: &mut World) -> Step<()> {
        match world.rng.random_range(0..10) {
            0..5 => self.apply_next(world),
            5..7 => self.keep_house(world),
            7 => self.take_foreign(world),
            _ => self.read_owed_again(world),
        }
    }

    fn apply_next(&mut self, world: &mut World) -> Step<()> {
        let flushed = world.source.flushed;
        let mut ready = world.source.logged.iter();
        let position = self.position;
        let count = world.rng.random_range(0..4);
        let batch: Vec<Logged> = ready
            .by_ref()
            .filter(|one| one.end > position && one.end <= flushed)
            .take(count)
            .cloned()
            .collect();
        if let [one] = batch.as_slice()
            && world.rng.random_bool(0.3)
        {
            self.apply_stepwise(world, one)?;
        } else if !batch.is_empty() {
            self.apply(world, &batch)?;
        }
        self.hear_of_position(world);
        Ok(())
    }

    /// A keepalive names the end of any record behind which no transaction is still to be sent.
    fn hear_of_position(&mut self, world: &mut World) {
        let (position, flushed) = (self.position, world.source.flushed);
        let mut later = world.source.logged.iter();
        let bound = later
            .find(|one| one.end > position)
            .map_or(u64::MAX, |one| one.end);
        let ends = world.source.boundaries.iter().copied();
        let ends: Vec<u64> = ends
            .filter(|end| *end > self.passed && *end <= flushed && *end < bound)
            .collect();
        if let Some(last) = ends.len().checked_sub(1) {
            let place = if world.is_quiet {
                last
            } else {
                world.rng.random_range(0..=last)
            };
            self.passed = ends[place];
        }
    }

    fn apply(&mut self, world: &mut World, batch: &[Logged]) -> Step<()> {
        let end = batch.last().map_or(self.position, |one| one.end);
        let writes: Vec<Vec<LoggedWrite>> = batch.iter().map(whole).collect();
        let keys = writes.iter().flatten().map(|write| id(&write.key));
        let keys: BTreeSet<u8> = keys.collect();
        self.begin(world)?;
        self.lock(world, &keys)?;
        let ops: Vec<OpId> = batch.iter().map(|one| op(one.xid)).collect();
        let outcomes = self.outcomes(world, &ops)?;
        let mut set = self.read(world, &keys)?;
        for (one, writes) in batch.iter().zip(&writes) {
            let operation = operation(one, Extent::Whole, outcomes.get(&op(one.xid)).copied());
            set.judge(&operation, writes).unwrap();
        }
        let net = set.finish(&self.effective(world));
        self.write(world, net)?;
        self.commit(world, end)?;
        for one in batch {
            self.horizon.applied(one.xid);
        }
        self.end_of_old_self(world)
    }

    /// A large transaction: pieces of it, each locked and judged alone, in one target transaction.
    fn apply_stepwise(&mut self, world: &mut World, one: &Logged) -> Step<()> {
        self.begin(world)?;
        let outcomes = self.outcomes(world, &[op(one.xid)])?;
        let operation = operation(one, Extent::Piece, outcomes.get(&op(one.xid)).copied());
        let count = one.changes.len();
        let cuts: Vec<usize> = (1..count).filter(|_| world.rng.random_bool(0.5)).collect();
        let mut assembly = Assembly::default();
        for (place, change) in one.changes.iter().enumerate() {
            assembly.change(change.clone());
            if !cuts.contains(&(place + 1)) && place + 1 < count {
                continue;
            }
            let writes = writes_of(assembly.take());
            let keys = writes.iter().map(|write| id(&write.key)).collect();
            self.lock(world, &keys)?;
            let mut set = self.read(world, &keys)?;
            set.judge(&operation, &writes).unwrap();
            let net = set.finish(&self.effective(world));
            self.write(world, net)?;
        }
        self.commit(world, one.end)?;
        self.horizon.applied(one.xid);
        self.end_of_old_self(world)
    }

    /// Without the compare-and-set, what an older self did stays when it ends.
    fn end_of_old_self(&self, world: &World) -> Step<()> {
        let is_old = world.target.holder != self.holder;
        if is_old { Err(Interrupted) } else { Ok(()) }
    }

    pub(super) fn begin(&mut self, world: &mut World) -> Step<()> {
        self.transaction = Transaction::default();
        world.others()?;
        world.displace()?;
        let progress = (world.target.progress, world.target.holder);
        let is_mine = progress == (self.position, self.holder);
        if is_mine || world.broken.is(Rule::Progress) {
            Ok(())
        } else {
            Err(Interrupted)
        }
    }

    pub(super) fn lock(&mut self, world: &mut World, keys: &BTreeSet<u8>) -> Step<()> {
        let me = Holder::Reconciler(self.holder);
        for id in keys {
            world.others()?;
            if world.broken.is(Rule::LockFirst) {
                continue;
            }
            while world.target.locks.get(id).is_some_and(|held| *held != me) {
                world.others()?;
                world.let_early_work();
            }
            world.target.locks.insert(*id, me);
        }
        Ok(())
    }

    fn outcomes(&mut self, world: &mut World, ops: &[OpId]) -> Step<BTreeMap<OpId, MirrorOutcome>> {
        world.others()?;
        let said = ops.iter().filter_map(|op_id| {
            let outcome = world.target.ops.get(op_id)?;
            Some((*op_id, *outcome))
        });
        let said: BTreeMap<_, _> = said.collect();
        self.transaction.taken.extend(said.keys());
        Ok(said)
    }

    fn read(&self, world: &mut World, keys: &BTreeSet<u8>) -> Step<WorkingSet> {
        let mut set = WorkingSet::default();
        let entries: Vec<Option<Entry>> = keys.iter().map(|id| self.entry(world, *id)).collect();
        for (id, entry) in keys.iter().zip(entries) {
            world.others()?;
            set.insert(key(*id), entry, self.row(world, *id));
        }
        Ok(set)
    }

    pub(super) fn entry(&self, world: &World, id: u8) -> Option<Entry> {
        let own = self.transaction.entries.get(&id).cloned();
        own.unwrap_or_else(|| world.target.entries.get(&id).cloned())
    }

    pub(super) fn row(&self, world: &World, id: u8) -> Option<Image> {
        let own = self.transaction.rows.get(&id).cloned();
        own.unwrap_or_else(|| world.target.rows.get(&id).cloned())
    }

    fn effective(&self, world: &World) -> Floor {
        if world.broken.is(Rule::KeepEntries) {
            let mut floor = Floor::unknown();
            floor.raised(Revision::from_packed(i64::MAX).unwrap(), Xid::new(0));
            floor.observe(Xid::new(1));
            floor.source_settled_below(Xid::new(u64::MAX), rev(1));
            return floor;
        }
        self.floor
    }

    fn write(&mut self, world: &mut World, net: Net) -> Step<()> {
        world.others()?;
        let own = &mut self.transaction;
        for found in net.findings {
            let kind = match found.kind {
                FindingKind::Wrong(_) => Kind::Wrong(found.op_id),
                FindingKind::LostMirror => Kind::LostMirror(found.op_id),
            };
            own.findings.push((id(&found.key), kind));
        }
        let rows = net.upserts.into_iter();
        own.rows
            .extend(rows.map(|(key, row)| (id(&key), Some(row))));
        own.rows
            .extend(net.deletes.iter().map(|key| (id(key), None)));
        world.others()?;
        let own = &mut self.transaction;
        let kept = net.kept.into_iter();
        own.entries
            .extend(kept.map(|(key, entry)| (id(&key), Some(entry))));
        own.entries
            .extend(net.dropped.iter().map(|key| (id(key), None)));
        for row in net.owed {
            self.owe(world, id(&row.key), row.why == OwedWhy::Foreign, row.xid);
        }
        Ok(())
    }

    /// `INSERT … ON CONFLICT DO UPDATE` of `segue.owed`.
    fn owe(&mut self, world: &World, id: u8, is_foreign: bool, xid: Option<Xid>) {
        let own = self.transaction.owed.get(&id).copied();
        let held = own.unwrap_or_else(|| world.target.owed.get(&id).copied());
        let record = OwedRecord {
            is_foreign: is_foreign || held.is_some_and(|held| held.is_foreign),
            xid: xid.max(held.and_then(|held| held.xid)),
        };
        self.transaction.owed.insert(id, Some(record));
    }

    pub(super) fn commit(&mut self, world: &mut World, end: u64) -> Step<()> {
        world.others()?;
        let own = std::mem::take(&mut self.transaction);
        let target = &mut world.target;
        for (id, row) in own.rows {
            match row {
                Some(row) => target.rows.insert(id, row),
                None => target.rows.remove(&id),
            };
        }
        for (id, entry) in own.entries {
            match entry {
                Some(entry) => target.entries.insert(id, entry),
                None => target.entries.remove(&id),
            };
        }
        for (id, owed) in own.owed {
            if let Some(owed) = owed {
                target.owed.insert(id, owed);
                self.add_owed(id, owed.is_foreign, owed.xid);
            } else {
                target.owed.remove(&id);
                self.owed.remove(&id);
            }
        }
        for taken in own.taken {
            target.ops.remove(&taken);
        }
        target.progress = target.progress.max(end);
        target.unlock(Holder::Reconciler(self.holder));
        world.findings.extend(own.findings);
        self.position = end;
        self.passed = self.passed.max(end);
        Ok(())
    }

    fn keep_house(&mut self, world: &mut World) -> Step<()> {
        world.others()?;
        let unverified = world.target.entries.iter();
        let unverified = unverified.filter(|(_, held)| held.proof == Proof::Unverified);
        let sightings = unverified.map(|(id, held)| Sighting {
            key: key(*id),
            rev: held.rev,
            op_id: held.op_id,
        });
        let sightings = sightings.collect();
        world.others()?;
        let (snapshot, insert) = (world.source.snapshot(), world.source.insert);
        self.sweep.observe(sightings, Lsn::new(insert));
        self.horizon.observe(&snapshot);
        if !world.broken.is(Rule::Phantoms) {
            self.owe_phantoms(world)?;
        }
        self.raise_floor(world, &snapshot, insert)
    }

    fn owe_phantoms(&mut self, world: &mut World) -> Step<()> {
        let late = self.sweep.passed_by(Lsn::new(self.passed));
        let late = late.iter().map(id);
        let late: Vec<u8> = late.filter(|id| !self.owed.contains_key(id)).collect();
        for id in late {
            world.others()?;
            let held = world.target.owed.get(&id).copied();
            let record = held.unwrap_or(OwedRecord {
                is_foreign: false,
                xid: None,
            });
            world.target.owed.insert(id, record);
            self.add_owed(id, false, None);
        }
        Ok(())
    }

    fn raise_floor(&mut self, world: &mut World, here: &Snapshot, insert: u64) -> Step<()> {
        self.floor.source_settled_below(here.xmin(), rev(insert));
        world.others()?;
        self.floor.observe(world.target.xmin());
        self.history.push(insert);
        if self.floor.is_settled() && self.history.len() > world.rng.random_range(1..4) {
            let to = rev(self.history.remove(0));
            if self
                .floor
                .effective()
                .is_none_or(|effective| to > effective)
            {
                world.others()?;
                if let Some(gate) = &mut world.target.gate {
                    *gate = to.max(*gate);
                    let raised = *gate;
                    world.others()?;
                    self.floor.raised(raised, world.target.xmax());
                    world.others()?;
                    self.floor.observe(world.target.xmin());
                }
            }
        }
        world.others()?;
        self.drop_entries(world);
        Ok(())
    }

    fn drop_entries(&self, world: &mut World) {
        let Some(floor) = self.floor.effective() else {
            return;
        };
        let xmin = self.floor.source_xmin();
        let locks = &world.target.locks;
        world.target.entries.retain(|id, held| {
            let settled = held.xid.is_none_or(|xid| xid < xmin);
            let proven = held.proof == Proof::Verified;
            !(proven && held.rev <= floor && settled && !locks.contains_key(id))
        });
    }

    fn take_foreign(&mut self, world: &mut World) -> Step<()> {
        let count = world.target.foreign.len();
        if count == 0 {
            return Ok(());
        }
        world.others()?;
        let here = world.source.insert;
        self.begin(world)?;
        let written: Vec<u8> = world
            .target
            .foreign
            .iter()
            .take(count)
            .map(|(id, _)| *id)
            .collect();
        for id in &written {
            self.transaction.findings.push((*id, Kind::Foreign));
            self.owe(world, *id, true, None);
        }
        self.commit(world, self.position)?;
        let count = count.min(world.target.foreign.len());
        world.target.foreign.drain(..count);
        for id in written {
            if let Some(owed) = self.owed.get_mut(&id) {
                owed.after = here;
            }
        }
        self.read_owed_again(world)
    }

    fn read_owed_again(&mut self, world: &mut World) -> Step<()> {
        let passed = Lsn::new(self.passed);
        let mut due: Vec<u8> = Vec::new();
        for (id, owed) in &self.owed {
            // A log far behind does not hold up a repair for ever.
            if has_passed(passed, Lsn::new(owed.after)) || world.rng.random_bool(0.05) {
                due.push(*id);
            }
        }
        if due.is_empty() {
            return Ok(());
        }
        world.others()?;
        let is_hasty = world.broken.is(Rule::Visibility);
        let snapshot = if is_hasty {
            world.source.hasty_snapshot()
        } else {
            world.source.snapshot()
        };
        let rows = world.source.visible.clone();
        world.others()?;
        let as_of = world.source.insert;
        while world.source.flushed < as_of && !world.broken.is(Rule::Durable) {
            world.others()?;
            world.source.flush();
        }
        self.horizon.observe(&snapshot);
        let fresh: Vec<(u8, Option<Image>)> =
            due.iter().map(|id| (*id, rows.get(id).cloned())).collect();
        self.settle(world, &fresh, &snapshot)
    }
}

fn operation(one: &Logged, extent: Extent, outcome: Option<MirrorOutcome>) -> Operation {
    Operation {
        op_id: op(one.xid),
        xid: one.xid,
        epoch: Epoch::FIRST,
        outcome,
        extent,
    }
}

fn whole(one: &Logged) -> Vec<LoggedWrite> {
    let mut assembly = Assembly::default();
    for change in &one.changes {
        assembly.change(change.clone());
    }
    writes_of(assembly.take())
}

fn writes_of(segments: Vec<Segment>) -> Vec<LoggedWrite> {
    let writes = segments.into_iter().flat_map(|segment| match segment {
        Segment::Writes(writes) => writes,
        Segment::Truncate(_) => panic!("nothing here empties tables"),
    });
    writes.collect()
}
