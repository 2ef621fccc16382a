//! The world: source, mirror, target and reconciler, each action a step of one of them.
//!
//! At rest the target must equal the source, and nothing may ever be reported that was not planted.
//! Where statements are no steps of their own, a target transaction is one step.

mod act;
mod possible;

use protocol::op_id::OpId;
use protocol::revision::Epoch;

use crate::config::{Config, Feature, Omission};
use crate::explore::Model;
use crate::process::{Found, Job, Process, Stage, Work};
use crate::row::{ByKey, Row, early_rev, op};
use crate::source::{EarlyRow, Kind, Message, Source};
use crate::target::{Backfill, Target, violates};

/// What may still happen, so that the world is finite.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Budget {
    transactions: u8,
    crashes: u8,
    doubles: u8,
    owed: u8,
    takeovers: u8,
    phantoms: u8,
    lies: u8,
    foreign: u8,
}

/// The state of everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub(crate) source: Source,
    pub(crate) target: Target,
    queue: Vec<Message>,
    processes: Vec<Process>,
    holders: u8,
    budget: Budget,
    planted: Vec<OpId>,
    /// The rows that somebody else has written to at the target.
    meddled: ByKey<bool>,
    false_report: Option<Found>,
}

/// A write of a transaction, and whether the mirror is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Write {
    key: u8,
    kind: Kind,
    is_captured: bool,
}

/// A step of one party.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    private_interfaces,
    missing_docs,
    reason = "told apart by nobody outside"
)]
pub enum Action {
    /// A transaction begins, with a write.
    Begin { write: Write, is_async: bool },
    /// It writes again.
    Write { place: u8, write: Write },
    /// A transaction exchanges two rows' unique values.
    Exchange,
    /// A transaction empties the table.
    Truncate,
    /// RETURNING is evaluated.
    Return(u8),
    /// The commit record is written.
    Commit(u8),
    /// The log is flushed.
    Flush,
    /// The transaction becomes visible and is acknowledged.
    Show(u8),
    /// The mirror loses a message.
    Lose(u8),
    /// The mirror begins to write a message.
    Mirror(u8),
    /// It begins to write two as one.
    Group(u8, u8),
    /// The mirror will write it once more.
    Double(u8),
    /// The mirror writes something else.
    Lie(u8),
    /// A transaction is mirrored that will never be logged.
    Plant { key: u8, is_deletion: bool },
    /// Somebody else writes to the target.
    Meddle { key: u8, is_deletion: bool },
    /// The next statement of an early transaction.
    Early(u8),
    /// It gives up, or its proxy has died.
    Abort(u8),
    /// A reconciler starts.
    Start,
    /// An idle one begins something.
    Job(u8, Job),
    /// The next statement of one.
    Step(u8),
    /// Verification asks the process that holds `progress` for a row.
    Owe(u8, u8),
    /// A reconciler dies.
    Kill(u8),
    /// The source crashes.
    CrashSource,
    /// The target crashes; it may take early writes back.
    CrashTarget(bool),
}

impl World {
    fn new(config: &Config, source_rows: ByKey<Option<Row>>) -> Self {
        let is_filling = config.has(Feature::Backfill);
        let target_rows = if is_filling {
            ByKey::default()
        } else {
            source_rows
        };
        let limit = |feature, count| if config.has(feature) { count } else { 0 };
        let mut world = Self {
            source: Source::new(source_rows),
            target: Target::new(target_rows),
            queue: Vec::new(),
            processes: Vec::new(),
            holders: 0,
            budget: Budget {
                transactions: config.transactions,
                crashes: limit(Feature::Crashes, 1),
                doubles: 1,
                owed: limit(Feature::Rereads, 1),
                takeovers: limit(Feature::TwoReconcilers, 1),
                phantoms: limit(Feature::Phantoms, 1),
                lies: limit(Feature::Lies, 1),
                foreign: limit(Feature::Foreign, 1),
            },
            planted: Vec::new(),
            meddled: ByKey::default(),
            false_report: None,
        };
        if is_filling {
            world.begin_backfill(config);
        }
        world.start();
        while !world.processes[0].is_idle() {
            world.step(0, config);
        }
        if config.has(Feature::Written) {
            world.write_twice(config);
        }
        world
    }

    /// The slot begins behind a commit that is not visible yet, where commits take their time.
    fn begin_backfill(&mut self, config: &Config) {
        if config.has(Feature::Visibility) {
            let place = self.source.begin(false);
            self.source.write(place, 0, Kind::Whole, false);
            self.source.log(place);
            self.source.flush();
            self.target.progress = self.source.insert;
        }
        // What the slot does not hand out any more is in no log here.
        self.target.backfill = Some(Backfill {
            xmax: self.source.snapshot().xmax().as_u64(),
            next: 0,
        });
    }

    fn write_twice(&mut self, config: &Config) {
        for is_captured in [true, false] {
            let place = self.source.begin(false);
            self.source.write(place, 0, Kind::Whole, is_captured);
            self.source.return_row(place, config);
            self.source.log(place);
            self.source.flush();
            self.show(place, config);
        }
        self.budget.transactions = 0;
    }

    fn start(&mut self) {
        self.holders += 1;
        self.target.holder = self.holders;
        let process = Process::new(self.holders, self.target.progress);
        self.processes.push(process);
    }

    /// Whether the process that took over last lives: somebody sees to it that one does.
    fn is_held(&self) -> bool {
        let mut processes = self.processes.iter();
        processes.any(|one| one.holder == self.target.holder)
    }

    pub(crate) fn judge_report(&mut self, found: Found, config: &Config) {
        let is_meddled = |key| self.meddled[config.place(key)];
        let is_planted = |op_id: OpId| self.planted.contains(&op_id);
        let is_true = match found {
            Found::Wrong(key, op_id) => is_meddled(key) || is_planted(op_id),
            Found::LostMirror(op_id) => is_planted(op_id),
            Found::Phantom(op_id) => op_id.is_some_and(is_planted),
            Found::Foreign(key) => is_meddled(key),
        };
        if !is_true {
            self.false_report = Some(found);
        }
    }

    fn end(&mut self, place: usize) {
        let process = self.processes.remove(place);
        self.target.unlock(process.me());
        if matches!(process.work, Work::Raise(_)) {
            self.target.raising = None;
        }
    }

    /// The next statement of a process.
    fn step(&mut self, place: usize, config: &Config) {
        let mut process = self.processes[place].clone();
        let lives = match std::mem::replace(&mut process.work, Work::Idle) {
            Work::Batch(batch) => process.step_batch(self, batch, config),
            Work::Reading(reading) => process.step_reading(self, reading, config),
            work @ (Work::Start
            | Work::Load
            | Work::Arm(_)
            | Work::Idle
            | Work::Sweep(_)
            | Work::Foreign(_)
            | Work::Raise(_)
            | Work::Raised(_)
            | Work::Drained) => {
                process.work = work;
                process.step_alone(self, config)
            }
        };
        let lives = lives && !(process.is_cut && process.is_idle());
        self.processes[place] = process;
        if !lives {
            self.end(place);
        }
    }

    /// What else belongs to the step where a target transaction is one.
    fn run(&mut self, place: usize, config: &Config) {
        if config.has(Feature::Statements) {
            return;
        }
        let count = self.processes.len();
        while self.processes.len() == count {
            let process = &self.processes[place];
            let is_new_read = matches!(&process.work, Work::Reading(reading)
                if reading.stage == Stage::Begin);
            let is_raising =
                matches!(process.work, Work::Raise(_)) && config.has(Feature::GateFirst);
            let is_stuck = matches!(&process.work, Work::Batch(batch) if batch.is_careful)
                && config.omits(Omission::Violation);
            let has_paused = is_new_read || is_raising || is_stuck;
            if process.is_idle() || has_paused || process.waits(self, config) {
                return;
            }
            self.step(place, config);
        }
    }

    fn run_early(&mut self, config: &Config) {
        let place = self.target.early.len() - 1;
        if !config.has(Feature::Statements) && !config.has(Feature::GateFirst) {
            while self.target.step_early(place, config) {}
        }
    }

    fn show(&mut self, place: usize, config: &Config) {
        let is_async = self.source.running[place].is_async;
        if let Some(message) = self.source.show(place)
            && (!is_async || config.omits(Omission::DeferAsync))
        {
            self.queue.push(message);
        }
    }

    fn commit(&mut self, place: usize, config: &Config) {
        self.source.log(place);
        if !config.has(Feature::Visibility) {
            if !self.source.running[place].is_async {
                self.source.flush();
            }
            self.show(place, config);
        }
    }

    fn write(&mut self, place: usize, write: Write, config: &Config) {
        let Write {
            key,
            kind,
            is_captured,
        } = write;
        self.source.write(place, key, kind, is_captured);
        if !config.has(Feature::Visibility) {
            self.source.return_row(place, config);
        }
    }

    fn plant(&mut self, key: u8, is_deletion: bool) {
        let xid = self.source.burn_xid();
        self.source.record();
        let value = self.source.value();
        let op_id = op(Epoch::FIRST, xid);
        self.budget.phantoms -= 1;
        self.planted.push(op_id);
        self.queue.push(Message {
            op_id,
            xid,
            rows: vec![EarlyRow {
                key,
                rev: early_rev(Epoch::FIRST, self.source.insert),
                row: (!is_deletion).then_some(Row { value, long: value }),
            }],
        });
    }

    /// Whatever was written before is on the disk once this is.
    fn meddle(&mut self, key: u8, is_deletion: bool) {
        self.budget.foreign -= 1;
        self.meddled[usize::from(key)] = true;
        let long = 90 + key;
        let row = Row { value: 77, long };
        self.target.rows[usize::from(key)] = (!is_deletion).then_some(row);
        self.target.durable = self.target.rows;
        self.target.log_foreign(key);
    }

    fn lie(&mut self, place: usize) {
        let message = &mut self.queue[place];
        self.budget.lies -= 1;
        self.planted.push(message.op_id);
        for written in &mut message.rows {
            if let Some(row) = &mut written.row {
                row.value = 99;
            }
        }
    }

    fn crash_source(&mut self) {
        self.budget.crashes -= 1;
        self.source.crash();
        for place in (0..self.processes.len()).rev() {
            let is_at_target = match &self.processes[place].work {
                Work::Batch(_) => true,
                Work::Reading(reading) => reading.stage != Stage::Begin,
                Work::Start
                | Work::Load
                | Work::Arm(_)
                | Work::Idle
                | Work::Sweep(_)
                | Work::Foreign(_)
                | Work::Raise(_)
                | Work::Raised(_)
                | Work::Drained => false,
            };
            if is_at_target {
                self.processes[place].is_cut = true;
            } else {
                self.end(place);
            }
        }
    }
}

impl Process {
    pub(crate) fn is_idle(&self) -> bool {
        self.work == Work::Idle
    }
}

impl Model for Config {
    type State = World;
    type Action = Action;

    fn initial(&self) -> Vec<World> {
        let full = [1, 2, 3].map(|long| (long <= self.keys()).then_some(Row { value: 1, long }));
        vec![World::new(self, full), World::new(self, ByKey::default())]
    }

    fn actions(&self, world: &World) -> Vec<Action> {
        let mut actions = Vec::new();
        world.source_actions(self, &mut actions);
        world.mirror_actions(self, &mut actions);
        world.process_actions(self, &mut actions);
        if world.budget.crashes > 0 {
            actions.push(Action::CrashSource);
            // The rows of a phantom whose entry is lost are for verification by ranges to find.
            if !self.has(Feature::Phantoms) && !self.has(Feature::Lies) {
                actions.extend([Action::CrashTarget(false), Action::CrashTarget(true)]);
            }
        }
        actions
    }

    fn next(&self, before: &World, action: Action) -> World {
        let mut world = before.clone();
        world.act(action, self);
        world.queue.sort_unstable();
        world.target.early.sort_unstable();
        world
    }

    fn wrong(&self, world: &World) -> Option<String> {
        if let Some(found) = world.false_report {
            return Some(format!("a false report: {found:?}"));
        }
        if world.is_quiet() && world.target.rows != world.source.visible {
            let (target, source) = (world.target.rows, world.source.visible);
            return Some(format!(
                "the target holds {target:?}, the source {source:?}"
            ));
        }
        let breaks = self.has(Feature::Exchange) && violates(world.source.visible);
        breaks.then(|| "the source breaks its own constraint".to_owned())
    }

    fn is_at_rest(&self, world: &World) -> bool {
        world.is_quiet()
    }
}

impl World {
    /// Everything has been delivered, and all of it is proven.
    fn is_quiet(&self) -> bool {
        let mut processes = self.processes.iter();
        let Some(process) = processes.find(|one| one.holder == self.target.holder) else {
            return false;
        };
        self.processes.iter().all(Process::is_idle)
            && process.passed == self.source.insert
            && self.source.running.is_empty()
            && self.source.flushed == self.source.insert
            && self.queue.is_empty()
            && self.target.early.is_empty()
            && self.target.owed.is_empty()
            && process.owed.is_empty()
            && self.target.gate.is_some()
            && self.target.backfill.is_none()
            && self.target.foreign.is_empty()
            && !self.target.has_unverified()
    }
}
