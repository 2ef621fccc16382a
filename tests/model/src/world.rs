//! The world: source, mirror, target and reconciler, each action a step of one of them.
//!
//! At rest the target must equal the source, and nothing may ever be reported that was not planted.
//! Where statements are no steps of their own, a target transaction is one step.

use protocol::op_id::OpId;
use protocol::revision::Epoch;

use crate::config::{Config, Feature, Omission};
use crate::explore::Model;
use crate::process::{Found, Job, Process, Purpose, Stage, Work};
use crate::row::{ByKey, Row, early_rev, op};
use crate::source::{EarlyRow, Kind, Message, Source};
use crate::target::{Target, violates};

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
    /// The mirror will write it once more.
    Double(u8),
    /// The mirror writes something else.
    Lie(u8),
    /// A transaction is mirrored that will never be logged.
    Plant { key: u8, is_deletion: bool },
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
    /// Verification asks for a row.
    Owe(u8),
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
            },
            planted: Vec::new(),
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
        self.target.backfill = Some(self.source.snapshot().xmax().as_u64());
    }

    fn write_twice(&mut self, config: &Config) {
        for is_captured in [true, false] {
            let place = self.source.begin(false);
            self.source.write(place, 0, Kind::Whole, is_captured);
            self.source.return_row(place);
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

    pub(crate) fn judge_report(&mut self, found: Found) {
        let op_id = match found {
            Found::Wrong(op_id) | Found::LostMirror(op_id) => Some(op_id),
            Found::Phantom(op_id) => op_id,
        };
        if !op_id.is_some_and(|op_id| self.planted.contains(&op_id)) {
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
            | Work::Raise(_)
            | Work::Raised(_)
            | Work::Drained) => {
                process.work = work;
                process.step_alone(self, config);
                true
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
            self.source.return_row(place);
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

    fn source_actions(&self, config: &Config, actions: &mut Vec<Action>) {
        let asyncs: &[bool] = if config.has(Feature::AsyncCommits) {
            &[false, true]
        } else {
            &[false]
        };
        let may_begin = self.budget.transactions > 0 && self.source.running.len() < 2;
        for key in (0..config.keys()).filter(|_| may_begin) {
            for kind in self.kinds(None, key, config) {
                for is_captured in [true, false] {
                    let write = Write {
                        key,
                        kind,
                        is_captured,
                    };
                    actions.extend(asyncs.iter().map(|is_async| Action::Begin {
                        write,
                        is_async: *is_async,
                    }));
                }
            }
        }
        let is_free = |key| self.source.seen_by(None, key).is_some();
        if may_begin && (0..config.keys()).all(is_free) {
            let are_two = self.source.visible.iter().all(Option::is_some);
            if config.has(Feature::Exchange) && are_two {
                actions.push(Action::Exchange);
            }
            if config.has(Feature::Truncate) {
                actions.push(Action::Truncate);
            }
        }
        for (place, one) in (0_u8..).zip(&self.source.running) {
            match (one.logged_to, one.returning) {
                (Some(end), _) if one.is_async || self.source.flushed >= end => {
                    actions.push(Action::Show(place));
                }
                (Some(_), _) => {}
                (None, Some(_)) => actions.push(Action::Return(place)),
                (None, None) => {
                    actions.push(Action::Commit(place));
                    if one.write_count() < usize::from(config.writes) {
                        self.more_writes(place, config, actions);
                    }
                }
            }
        }
        let waits = |process: &Process| {
            matches!(&process.work, Work::Reading(reading)
                if reading.as_of > self.source.flushed)
        };
        let is_stepwise = config.has(Feature::Visibility) || config.has(Feature::AsyncCommits);
        let is_wanted =
            is_stepwise || self.processes.iter().any(waits) || self.source.running.is_empty();
        if self.source.flushed < self.source.insert && is_wanted {
            actions.push(Action::Flush);
        }
    }

    fn more_writes(&self, place: u8, config: &Config, actions: &mut Vec<Action>) {
        let running = &self.source.running[usize::from(place)];
        for key in 0..config.keys() {
            for kind in self.kinds(Some(usize::from(place)), key, config) {
                for is_captured in [true, false] {
                    if !is_captured || !running.has_truncated() {
                        let write = Write {
                            key,
                            kind,
                            is_captured,
                        };
                        actions.push(Action::Write { place, write });
                    }
                }
            }
        }
    }

    /// What a transaction may do with a row now.
    fn kinds(&self, place: Option<usize>, key: u8, config: &Config) -> Vec<Kind> {
        let Some(row) = self.source.seen_by(place, key) else {
            return Vec::new();
        };
        if config.has(Feature::Exchange) {
            let free = (1..=3).filter(|long| self.source.is_free(*long));
            let mut kinds: Vec<Kind> = free.map(Kind::Take).collect();
            if row.is_some() {
                kinds.push(Kind::Delete);
            }
            return kinds;
        }
        match row {
            None => vec![Kind::Whole],
            Some(_) if config.has(Feature::Toast) => vec![Kind::Whole, Kind::Partial, Kind::Delete],
            Some(_) => vec![Kind::Whole, Kind::Delete],
        }
    }

    fn mirror_actions(&self, config: &Config, actions: &mut Vec<Action>) {
        for (place, message) in (0_u8..).zip(&self.queue) {
            actions.push(Action::Lose(place));
            actions.push(Action::Mirror(place));
            if self.budget.doubles > 0 {
                actions.push(Action::Double(place));
            }
            let is_phantom = self.planted.contains(&message.op_id);
            let has_row = message.rows.iter().any(|written| written.row.is_some());
            if self.budget.lies > 0 && !is_phantom && has_row {
                actions.push(Action::Lie(place));
            }
        }
        for key in (0..config.keys()).filter(|_| self.budget.phantoms > 0) {
            if self.source.seen_by(None, key).is_some() {
                for is_deletion in [false, true] {
                    actions.push(Action::Plant { key, is_deletion });
                }
            }
        }
        for place in 0..self.target.early.len() {
            let number = u8::try_from(place).unwrap_or(u8::MAX);
            if !self.target.waits(place, config) {
                actions.push(Action::Early(number));
            }
            actions.push(Action::Abort(number));
        }
    }

    fn process_actions(&self, config: &Config, actions: &mut Vec<Action>) {
        if !self.is_held() || (self.budget.takeovers > 0 && self.processes.len() < 2) {
            // Taking over waits for a target transaction of the older one.
            if self.target.progress_lock.is_none() {
                actions.push(Action::Start);
            }
        }
        for (place, process) in (0_u8..).zip(&self.processes) {
            if self.budget.crashes > 0 {
                actions.push(Action::Kill(place));
            }
            if !process.is_idle() {
                if !process.waits(self, config) {
                    actions.push(Action::Step(place));
                }
                continue;
            }
            if self.budget.owed > 0 && place == 0 {
                actions.extend((0..config.keys()).map(Action::Owe));
            }
            let jobs = self.jobs(process, config);
            actions.extend(jobs.into_iter().map(|job| Action::Job(place, job)));
        }
    }

    fn jobs(&self, process: &Process, config: &Config) -> Vec<Job> {
        let mut jobs = vec![Job::Sweep];
        let ready = process.ready(self);
        let count = ready.len().min(2);
        let first = ready.iter().take(count);
        if count > 0 {
            jobs.push(Job::Batch(1));
        }
        if count > 1 && !first.into_iter().any(|one| one.has_truncated()) {
            jobs.push(Job::Batch(2));
        }
        if process.would_hear(self) {
            jobs.push(Job::Hear);
        }
        if !process.owed.is_empty() {
            jobs.push(Job::Read(Purpose::Owed));
        }
        if config.has(Feature::Floors) {
            jobs.push(Job::Raise);
        }
        if config.has(Feature::Collection) {
            jobs.push(Job::Collect);
        }
        let xmin = self.source.snapshot().xmin().as_u64();
        let is_early = config.omits(Omission::SlotSnapshot);
        if self
            .target
            .backfill
            .is_some_and(|xmax| xmin >= xmax || is_early)
        {
            jobs.push(Job::Read(Purpose::Backfill));
        }
        jobs
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
        let row = |long| Some(Row { value: 1, long });
        let full = [
            row(1),
            (self.keys() > 1).then_some(Row { value: 1, long: 2 }),
        ];
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
            && !self.target.has_unverified()
    }

    fn act(&mut self, action: Action, config: &Config) {
        match action {
            Action::Begin { write, is_async } => {
                self.budget.transactions -= 1;
                let place = self.source.begin(is_async);
                self.write(place, write, config);
            }
            Action::Write { place, write } => {
                self.write(usize::from(place), write, config);
            }
            Action::Exchange => {
                self.budget.transactions -= 1;
                let place = self.source.begin(false);
                self.source.exchange(place);
            }
            Action::Truncate => {
                self.budget.transactions -= 1;
                let place = self.source.begin(false);
                self.source.truncate(place);
            }
            Action::Return(place) => self.source.return_row(usize::from(place)),
            Action::Commit(place) => self.commit(usize::from(place), config),
            Action::Flush => self.source.flush(),
            Action::Show(place) => self.show(usize::from(place), config),
            Action::Lose(_)
            | Action::Mirror(_)
            | Action::Double(_)
            | Action::Lie(_)
            | Action::Plant { .. }
            | Action::Early(_)
            | Action::Abort(_)
            | Action::Start
            | Action::Job(..)
            | Action::Step(_)
            | Action::Owe(_)
            | Action::Kill(_)
            | Action::CrashSource
            | Action::CrashTarget(_) => self.act_on_target(action, config),
        }
    }

    /// What the mirror or a reconciler does.
    fn act_on_target(&mut self, action: Action, config: &Config) {
        match action {
            Action::Lose(place) => drop(self.queue.remove(usize::from(place))),
            Action::Mirror(place) => {
                let message = self.queue.remove(usize::from(place));
                self.target.begin_early(message, config);
                self.run_early(config);
            }
            Action::Double(place) => {
                self.budget.doubles -= 1;
                let message = self.queue[usize::from(place)].clone();
                self.queue.push(message);
            }
            Action::Lie(place) => self.lie(usize::from(place)),
            Action::Plant { key, is_deletion } => self.plant(key, is_deletion),
            Action::Early(place) => {
                self.target.step_early(usize::from(place), config);
            }
            Action::Abort(place) => self.target.end_early(usize::from(place)),
            Action::Start => {
                self.budget.takeovers -= u8::from(self.is_held());
                self.start();
                self.run(self.processes.len() - 1, config);
            }
            Action::Job(place, job) => {
                let place = usize::from(place);
                let mut process = self.processes[place].clone();
                process.begin(self, job, config);
                self.processes[place] = process;
                self.run(place, config);
            }
            Action::Step(place) => {
                self.step(usize::from(place), config);
                // A process that has ended runs no further.
                if usize::from(place) < self.processes.len() {
                    self.run(usize::from(place), config);
                }
            }
            Action::Owe(key) => {
                self.budget.owed -= 1;
                self.target.owed.entry(key).or_insert(None);
                self.processes[0].owe(key, None);
            }
            Action::Kill(place) => {
                self.budget.crashes -= 1;
                self.end(usize::from(place));
            }
            Action::CrashSource => self.crash_source(),
            Action::CrashTarget(takes_back) => {
                self.budget.crashes -= 1;
                self.processes.clear();
                self.target.crash(takes_back);
            }
            Action::Begin { .. }
            | Action::Write { .. }
            | Action::Exchange
            | Action::Truncate
            | Action::Return(_)
            | Action::Commit(_)
            | Action::Flush
            | Action::Show(_) => {}
        }
    }
}
