//! What a step does to the world.
//!
//! Does not ask whether it is possible.

use super::{Action, World};
use crate::config::Config;
use crate::target::Owed;

impl World {
    /// Takes a step.
    pub(super) fn act(&mut self, action: Action, config: &Config) {
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
                self.source.exchange(place, config);
            }
            Action::Truncate => {
                self.budget.transactions -= 1;
                let place = self.source.begin(false);
                self.source.truncate(place);
            }
            Action::Return(place) => self.source.return_row(usize::from(place), config),
            Action::Commit(place) => self.commit(usize::from(place), config),
            Action::Flush => self.source.flush(),
            Action::Show(place) => self.show(usize::from(place), config),
            Action::Lose(_)
            | Action::Mirror(_)
            | Action::Group(..)
            | Action::Double(_)
            | Action::Lie(_)
            | Action::Plant { .. }
            | Action::Meddle { .. }
            | Action::Early(_)
            | Action::Abort(_)
            | Action::Start
            | Action::Job(..)
            | Action::Step(_)
            | Action::Owe(..)
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
                self.target.begin_early(vec![message], config);
                self.run_early(config);
            }
            Action::Group(first, second) => {
                let second = self.queue.remove(usize::from(second));
                let first = self.queue.remove(usize::from(first));
                self.target.begin_early(vec![first, second], config);
                self.run_early(config);
            }
            Action::Double(place) => {
                self.budget.doubles -= 1;
                let message = self.queue[usize::from(place)].clone();
                self.queue.push(message);
            }
            Action::Lie(place) => self.lie(usize::from(place)),
            Action::Plant { key, is_deletion } => self.plant(key, is_deletion),
            Action::Meddle { key, is_deletion } => self.meddle(key, is_deletion),
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
            Action::Owe(place, key) => {
                self.budget.owed -= 1;
                self.target.owed.entry(key).or_default();
                self.processes[usize::from(place)].owe(key, Owed::default());
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
