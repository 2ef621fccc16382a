//! Which steps each party could take next.
//!
//! Does not take them.

use super::{Action, World, Write};
use crate::config::{Config, Feature, Omission};
use crate::process::{Job, Process, Purpose, Work};
use crate::source::Kind;

impl World {
    pub(super) fn source_actions(&self, config: &Config, actions: &mut Vec<Action>) {
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
            let rows = self.source.visible.iter().flatten().count();
            if config.has(Feature::Exchange) && rows == usize::from(config.keys()) {
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
            let free = (1..=config.keys() + 1).filter(|long| self.source.is_free(*long));
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

    pub(super) fn mirror_actions(&self, config: &Config, actions: &mut Vec<Action>) {
        for (place, message) in (0_u8..).zip(&self.queue) {
            actions.push(Action::Lose(place));
            actions.push(Action::Mirror(place));
            if config.has(Feature::Groups) {
                let others = place + 1..u8::try_from(self.queue.len()).unwrap_or(u8::MAX);
                actions.extend(others.map(|other| Action::Group(place, other)));
            }
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
        for key in (0..config.keys()).filter(|_| self.budget.foreign > 0) {
            actions.push(Action::Meddle {
                key,
                is_deletion: false,
            });
            if self.target.rows[usize::from(key)].is_some() {
                actions.push(Action::Meddle {
                    key,
                    is_deletion: true,
                });
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

    pub(super) fn process_actions(&self, config: &Config, actions: &mut Vec<Action>) {
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
            if self.budget.owed > 0 && process.holder == self.target.holder {
                actions.extend((0..config.keys()).map(|key| Action::Owe(place, key)));
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
        if !self.target.foreign.is_empty() {
            jobs.push(Job::Foreign);
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
            .is_some_and(|backfill| xmin >= backfill.xmax || is_early)
        {
            jobs.push(Job::Read(Purpose::Backfill));
        }
        jobs
    }
}
