//! A process of the reconciler: one task, one statement after the other, in the order of
//! `apply::logged` and of the applier.
//!
//! Does not decide: the decisions are `protocol`'s own code.

use std::collections::BTreeMap;

use protocol::decide::floor::Floor;
use protocol::decide::reread::Horizon;
use protocol::decide::sweep::{Sighting, Sweep, has_passed};
use protocol::decide::verdict::{Entry, Proof};
use protocol::lsn::Lsn;
use protocol::op_id::OpId;
use protocol::revision::{Epoch, Revision};
use protocol::xid::Snapshot;

use crate::config::{Config, Feature, Omission};
use crate::row::{ByKey, Row, key, op, rev};
use crate::source::{Logged, ORIGIN, xid};
use crate::target::{Holder, Owed};
use crate::world::World;

/// What was reported of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Found {
    Wrong(u8, OpId),
    LostMirror(OpId),
    Phantom(Option<OpId>),
    Foreign(u8),
}

/// What a target transaction has written and nobody sees yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Pending {
    /// In the order in which they are written.
    pub(crate) rows: Vec<(u8, Option<Row>)>,
    pub(crate) entries: ByKey<Option<Option<Entry>>>,
    pub(crate) owed: BTreeMap<u8, Owed>,
    /// Rows of the set that look like phantoms.
    pub(crate) suspects: Vec<u8>,
    pub(crate) settled: Vec<u8>,
    pub(crate) found: Vec<Found>,
    pub(crate) taken: Vec<OpId>,
    pub(crate) truncated: Option<Revision>,
}

/// The next statement of a target transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    Begin,
    Lock { part: u8, place: u8 },
    Judge { part: u8 },
    LockTable { part: u8 },
    Empty { part: u8 },
    Commit,
}

/// Some source transactions, or one in segments, on their way into the target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Batch {
    pub(crate) count: u8,
    /// Each row behind a savepoint.
    pub(crate) is_careful: bool,
    pub(crate) stage: Stage,
    pub(crate) entries: ByKey<Option<Entry>>,
    pub(crate) pending: Pending,
}

/// What is done with rows that were read at the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    Owed,
    Backfill,
}

/// Rows read at the source, on their way into the target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Reading {
    pub(crate) purpose: Purpose,
    pub(crate) keys: Vec<u8>,
    pub(crate) rows: ByKey<Option<Row>>,
    pub(crate) snapshot: Snapshot,
    pub(crate) as_of: u64,
    pub(crate) stage: Stage,
    pub(crate) entries: ByKey<Option<Entry>>,
    pub(crate) pending: Pending,
}

/// What a process is at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Work {
    /// Holder and position are its own; then the source's snapshot, then what the target holds.
    Start,
    Load,
    /// The gate is gone, and the source stands here.
    Arm(u64),
    Idle,
    Batch(Batch),
    Reading(Reading),
    Sweep(Vec<Sighting>),
    /// What others wrote to the target.
    Foreign(Vec<u8>),
    /// The raise is written under this id.
    Raise(u64),
    Raised(Revision),
    Drained,
}

/// What an idle process may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Job {
    Batch(u8),
    Hear,
    Sweep,
    Foreign,
    Raise,
    Collect,
    Read(Purpose),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) holder: u8,
    pub(crate) position: u64,
    pub(crate) passed: u64,
    pub(crate) floor: Floor,
    pub(crate) horizon: Horizon,
    pub(crate) sweep: Sweep,
    pub(crate) owed: BTreeMap<u8, Owed>,
    /// How much others had written to the target when a row was first seen to look like a phantom.
    pub(crate) suspects: BTreeMap<u8, u8>,
    pub(crate) work: Work,
    /// Its connection to the source is gone: what it has begun at the target may still end.
    pub(crate) is_cut: bool,
}

impl Process {
    pub(crate) fn new(holder: u8, position: u64) -> Self {
        Self {
            holder,
            position,
            passed: position,
            floor: Floor::unknown(),
            horizon: Horizon::starting_at(xid(0)),
            sweep: Sweep::default(),
            owed: BTreeMap::new(),
            suspects: BTreeMap::new(),
            work: Work::Start,
            is_cut: false,
        }
    }

    pub(crate) const fn me(&self) -> Holder {
        Holder::Reconciler(self.holder)
    }

    pub(crate) fn owe(&mut self, key: u8, owed: Owed) {
        let held = self.owed.entry(key).or_default();
        *held = held.and(owed);
    }

    pub(crate) fn ready<'a>(&self, world: &'a World) -> Vec<&'a Logged> {
        let source = &world.source;
        let logged = source.logged.iter();
        logged
            .filter(|one| one.end > self.position && one.end <= source.flushed)
            .collect()
    }

    /// Where a keepalive puts the stream: behind every record before the next transaction's commit.
    pub(crate) fn heard(&self, world: &World) -> u64 {
        let mut logged = world.source.logged.iter();
        let bound = logged.find(|one| one.end > self.position);
        let bound = bound.map_or(u64::MAX, |one| one.end - 2);
        self.passed.max(world.source.flushed.min(bound))
    }

    /// Whether its next statement has to wait.
    pub(crate) fn waits(&self, world: &World, config: &Config) -> bool {
        let target = &world.target;
        let is_held = |held: Option<u8>| held.is_some_and(|held| held != self.holder);
        match &self.work {
            Work::Start
            | Work::Load
            | Work::Arm(_)
            | Work::Idle
            | Work::Sweep(_)
            | Work::Foreign(_)
            | Work::Raise(_)
            | Work::Raised(_)
            | Work::Drained => false,
            Work::Batch(batch) => match batch.stage {
                Stage::Begin => is_held(target.progress_lock),
                Stage::Lock { part, place } => {
                    let keys = world.keys_of(self, batch, part, config);
                    self.is_locked_out(world, keys[usize::from(place)], config)
                }
                Stage::LockTable { .. } => is_held(target.table_lock),
                Stage::Empty { .. } => (0..config.keys()).any(|key| {
                    target.entries[usize::from(key)].is_some()
                        && self.is_locked_out(world, key, config)
                }),
                Stage::Judge { .. } | Stage::Commit => false,
            },
            Work::Reading(reading) => match reading.stage {
                Stage::Begin => {
                    let is_flushed = world.source.flushed >= reading.as_of;
                    let goes_on = is_flushed || config.omits(Omission::FlushedReads);
                    !goes_on || is_held(target.progress_lock)
                }
                Stage::Lock { place, .. } => {
                    self.is_locked_out(world, reading.keys[usize::from(place)], config)
                }
                Stage::Judge { .. }
                | Stage::LockTable { .. }
                | Stage::Empty { .. }
                | Stage::Commit => false,
            },
        }
    }

    fn is_locked_out(&self, world: &World, key: u8, config: &Config) -> bool {
        let holder = world.target.locks[usize::from(key)];
        let is_mine = holder.is_none_or(|held| held == self.me());
        !is_mine && !config.omits(Omission::Lock)
    }

    /// Begins a job.
    pub(crate) fn begin(&mut self, world: &mut World, job: Job, config: &Config) {
        match job {
            Job::Hear => self.passed = self.heard(world),
            Job::Collect => self.collect(world),
            Job::Batch(count) => {
                self.work = Work::Batch(Batch {
                    count,
                    is_careful: false,
                    stage: Stage::Begin,
                    entries: ByKey::default(),
                    pending: Pending::default(),
                });
            }
            Job::Sweep => self.work = Work::Sweep(unverified(world)),
            Job::Foreign => self.work = Work::Foreign(world.target.foreign.clone()),
            Job::Raise => {
                self.floor.observe(world.target.xmin());
                let to = rev(Epoch::FIRST, self.passed);
                let is_higher = self.floor.effective().is_none_or(|floor| to > floor);
                if self.floor.is_settled() && is_higher && world.target.gate.is_some() {
                    let xid = world.target.burn_xid();
                    world.target.raising = Some(xid);
                    self.work = Work::Raise(xid);
                }
            }
            Job::Read(purpose) => self.read(world, purpose, config),
        }
    }

    fn read(&mut self, world: &World, purpose: Purpose, config: &Config) {
        let source = &world.source;
        let snapshot = if config.omits(Omission::Visibility) {
            source.hasty_snapshot()
        } else {
            source.snapshot()
        };
        let keys: Vec<u8> = match purpose {
            Purpose::Owed => self.owed.keys().copied().collect(),
            Purpose::Backfill => world.target.backfill.iter().map(|at| at.next).collect(),
        };
        self.horizon.observe(&snapshot);
        self.work = Work::Reading(Reading {
            purpose,
            keys,
            rows: source.visible,
            snapshot,
            as_of: source.insert,
            stage: Stage::Begin,
            entries: ByKey::default(),
            pending: Pending::default(),
        });
    }

    /// `DELETE … FOR UPDATE SKIP LOCKED` of what the floor covers.
    fn collect(&self, world: &mut World) {
        let Some(floor) = self.floor.effective() else {
            return;
        };
        let target = &mut world.target;
        for (entry, lock) in target.entries.iter_mut().zip(&target.locks) {
            let is_covered = entry.as_ref().is_some_and(|held| {
                let is_settled = held.xid.is_none_or(|xid| xid < self.floor.source_xmin());
                held.proof == Proof::Verified && held.rev <= floor && is_settled
            });
            if is_covered && lock.is_none() {
                *entry = None;
            }
        }
    }

    /// The next statement outside the target transactions of a batch or a re-read. Tells whether the
    /// process goes on living.
    pub(crate) fn step_alone(&mut self, world: &mut World, config: &Config) -> bool {
        match std::mem::replace(&mut self.work, Work::Idle) {
            Work::Start => {
                self.horizon = Horizon::starting_at(world.source.snapshot().xmax());
                self.work = Work::Load;
            }
            Work::Load => {
                for (key, owed) in world.target.owed.clone() {
                    self.owe(key, owed);
                }
                match world.target.gate {
                    Some(floor) => self.work = Work::Raised(floor),
                    None if config.omits(Omission::ArmAbove) => self.work = Work::Arm(ORIGIN),
                    None => self.work = Work::Arm(world.source.insert),
                }
            }
            Work::Arm(at) => {
                let floor = rev(Epoch::FIRST, at);
                world.target.gate = Some(floor);
                self.work = Work::Raised(floor);
            }
            Work::Sweep(sightings) => return self.sweep(world, sightings, config),
            Work::Foreign(written) => return self.take_foreign(world, &written, config),
            Work::Raise(number) => {
                world.target.raising = None;
                let to = rev(Epoch::FIRST, self.passed);
                if let Some(gate) = &mut world.target.gate {
                    *gate = to.max(*gate);
                    let raised = *gate;
                    self.raise_committed(raised, number, config);
                }
            }
            Work::Raised(floor) => {
                self.floor.raised(floor, world.target.xmax());
                self.work = Work::Drained;
            }
            Work::Drained => self.floor.observe(world.target.xmin()),
            Work::Idle | Work::Batch(_) | Work::Reading(_) => {}
        }
        true
    }

    fn raise_committed(&mut self, raised: Revision, number: u64, config: &Config) {
        if config.omits(Omission::Drain) {
            self.floor.raised(raised, xid(0));
            self.floor.observe(xid(u64::MAX));
        } else if config.omits(Omission::DrainByOwnXid) {
            self.floor.raised(raised, xid(number));
            self.work = Work::Drained;
        } else {
            self.work = Work::Raised(raised);
        }
    }

    fn sweep(&mut self, world: &mut World, sightings: Vec<Sighting>, config: &Config) -> bool {
        let (snapshot, insert) = (world.source.snapshot(), world.source.insert);
        self.sweep.observe(sightings, Lsn::new(insert));
        self.horizon.observe(&snapshot);
        if config.has(Feature::Floors) {
            let here = rev(Epoch::FIRST, insert);
            self.floor.source_settled_below(snapshot.xmin(), here);
        }
        if config.omits(Omission::Sweep) {
            return true;
        }
        let late = self.sweep.passed_by(Lsn::new(self.passed));
        let late = late.iter().map(crate::row::id);
        let late: Vec<u8> = late.filter(|id| !self.owed.contains_key(id)).collect();
        late.is_empty() || self.owe_alone(world, &late, Owed::default(), config)
    }

    /// Rows owed in a target transaction of their own. Tells whether the process goes on living.
    fn owe_alone(&mut self, world: &mut World, keys: &[u8], owed: Owed, config: &Config) -> bool {
        if world.target.holder != self.holder && !config.omits(Omission::Progress) {
            return false;
        }
        for key in keys {
            let held = world.target.owed.entry(*key).or_default();
            *held = held.and(owed);
            self.owe(*key, owed);
        }
        true
    }

    /// What others wrote is reported and read again.
    fn take_foreign(&mut self, world: &mut World, written: &[u8], config: &Config) -> bool {
        let owed = Owed {
            is_foreign: true,
            xid: None,
        };
        if !self.owe_alone(world, written, owed, config) {
            return false;
        }
        let count = written.len().min(world.target.foreign.len());
        world.target.foreign.drain(..count);
        for key in written {
            world.judge_report(Found::Foreign(*key), config);
        }
        true
    }

    /// Whether a keepalive would tell it anything.
    pub(crate) fn would_hear(&self, world: &World) -> bool {
        let heard = self.heard(world);
        !has_passed(Lsn::new(self.passed), Lsn::new(heard))
    }
}

pub(crate) fn unverified(world: &World) -> Vec<Sighting> {
    let entries = (0..).zip(&world.target.entries);
    let held = entries.filter_map(|(id, entry)| entry.as_ref().map(|held| (id, held)));
    held.filter(|(_, held)| held.proof == Proof::Unverified)
        .map(|(id, held)| Sighting {
            key: key(id),
            rev: held.rev,
            op_id: held.op_id,
        })
        .collect()
}

/// The operation of a logged transaction.
pub(crate) fn op_of(one: &Logged) -> OpId {
    op(Epoch::FIRST, one.xid)
}
