//! Simulation: the decisions of this floor, unchanged, in a world of a few keys.
//!
//! One seed drives the source, the mirror, the target's statements, the reconciler, foreign writes
//! and crashes. At the end of a schedule the target must equal the source, nothing may be owed, and
//! every finding must be explained by something that was planted. Rules 1 to 4, 7, 8, 12 and 13 of
//! DESIGN section 3 each have a test that leaves them out and expects to be caught.
//!
//! Does not model TRUNCATE, constraints, backfill, failover or more than one table, and leaves out
//! neither rule 5 nor rule 6.

mod reconciler;
mod settle;
mod source;
mod target;

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use self::reconciler::{Reconciler, Step, op};
use self::source::{Ended, KEYS, Source, image, long_of};
use self::target::{Holder, Message, Target};
use crate::decide::working_set::MirrorOutcome;
use crate::lsn::Lsn;
use crate::op_id::OpId;
use crate::revision::{Epoch, Revision};
use crate::row::{Datum, Image};

/// Schedules of the suite: some seconds without optimisation.
const SEEDS: u64 = 3_000;

/// Schedules within which a broken variant has to be caught.
const SEEDS_BROKEN: u64 = 20_000;

/// Turns of the reconciler after which a quiet world must have converged.
const TURNS_MAX: u32 = 600;

/// A rule that a broken variant leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// 1: every writer locks the entry first.
    LockFirst,
    /// 2: an early write gives way to what is newer or the log's own.
    EntryTest,
    /// 3: progress is compared and set.
    Progress,
    /// 4: the log leaves its entry while the floor does not cover it.
    KeepEntries,
    /// 7: a logged transaction need not be visible.
    Visibility,
    /// 8: a re-read supersedes nothing that it did not see.
    Reread,
    /// 12: what was read is used only once it is flushed.
    Durable,
    /// 13: an entry that the log has passed by is owed.
    Phantoms,
}

/// The rule left out, if any.
#[derive(Debug, Clone, Copy)]
struct Broken(Option<Rule>);

impl Broken {
    fn is(self, rule: Rule) -> bool {
        self.0 == Some(rule)
    }
}

/// A crash, or another process has taken over: whoever was at work starts anew.
#[derive(Debug)]
struct Interrupted;

/// What was reported of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Wrong(OpId),
    LostMirror(OpId),
    Phantom(Option<OpId>),
    Foreign,
}

/// What was planted, and may therefore be found.
#[derive(Debug, Default)]
struct Planted {
    corrupted: BTreeSet<OpId>,
    lies: BTreeSet<OpId>,
    phantoms: BTreeSet<OpId>,
    foreign: BTreeSet<u8>,
}

/// Which faults a schedule has.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is drawn by itself")]
struct Faults {
    crashes: bool,
    foreign: bool,
    lies: bool,
    phantoms: bool,
    displacement: bool,
}

struct World {
    rng: StdRng,
    broken: Broken,
    faults: Faults,
    source: Source,
    target: Target,
    /// Transactions that the mirror has not begun to write.
    queue: Vec<Message>,
    planted: Planted,
    findings: Vec<(u8, Kind)>,
    is_quiet: bool,
    is_nested: bool,
    holders: u64,
    crashes: u32,
}

impl World {
    fn new(seed: u64, broken: Broken) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let faults = Faults {
            crashes: rng.random_bool(0.5),
            foreign: rng.random_bool(0.3),
            lies: rng.random_bool(0.3),
            phantoms: rng.random_bool(0.3),
            displacement: rng.random_bool(0.3),
        };
        let source = Source::new(rng.random_range(3..20));
        let target = Target::new(source.insert);
        Self {
            rng,
            broken,
            faults,
            source,
            target,
            queue: Vec::new(),
            planted: Planted::default(),
            findings: Vec::new(),
            is_quiet: false,
            is_nested: false,
            holders: 0,
            crashes: 0,
        }
    }

    /// Everybody else works for a while: between any two statements of the reconciler.
    fn others(&mut self) -> Step<()> {
        let crashes = self.crashes;
        for _ in 0..self.rng.random_range(0..5) {
            match self.rng.random_range(0..200) {
                0..80 => self.let_early_work(),
                _ if self.is_quiet => {}
                80..160 => self.let_source_work(),
                160..190 => self.let_mirror_work(),
                190..193 if self.faults.foreign => self.write_as_somebody_else(),
                193..196 if self.faults.phantoms => self.plant_phantom(),
                // The rows of a phantom whose entry is lost are for verification by ranges to find.
                196 if self.faults.crashes && !self.faults.phantoms => {
                    self.crashes += 1;
                    self.target.crash();
                }
                197 if self.faults.crashes => {
                    self.crashes += 1;
                    self.source.crash();
                }
                _ => {}
            }
        }
        if self.crashes == crashes {
            Ok(())
        } else {
            Err(Interrupted)
        }
    }

    fn let_source_work(&mut self) {
        if let Some(ended) = self.source.step(&mut self.rng) {
            self.mirror(ended);
        }
    }

    fn mirror(&mut self, ended: Ended) {
        if ended.rows.is_empty() {
            return;
        }
        let op_id = op(ended.xid);
        let mut rows = ended.rows;
        if self.faults.lies && self.rng.random_bool(0.1) {
            let (id, rev, row) = &mut rows[0];
            if let Some(whole) = row {
                // What the log does not tell of the version that it ends with shows in nothing else.
                let is_last = self.source.is_last(ended.xid, *id, *rev);
                let long = if is_last { 98 } else { long_of(whole) };
                *whole = image(*id, 99, Some(long));
                self.planted.corrupted.insert(op_id);
            }
        }
        self.queue.push(Message {
            op_id,
            xid: ended.xid,
            rows,
        });
    }

    /// The mirror is out of order, loses, doubles, and once in a while lies.
    fn let_mirror_work(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        let place = self.rng.random_range(0..self.queue.len());
        match self.rng.random_range(0..20) {
            0..2 => {
                let lost = self.queue.remove(place);
                if self.rng.random_bool(0.5) {
                    let said = self.target.ops.entry(lost.op_id);
                    said.or_insert(MirrorOutcome::Dropped(None));
                }
            }
            2 if self.faults.lies => {
                let lost = self.queue.remove(place);
                self.planted.lies.insert(lost.op_id);
                self.target.ops.insert(lost.op_id, MirrorOutcome::Accepted);
            }
            3..5 => {
                let doubled = self.queue[place].clone();
                self.target.begin_early(vec![doubled]);
            }
            _ => {
                let group = self.group(place);
                self.target.begin_early(group);
            }
        }
    }

    /// What shares a target transaction: neighbours, some of which have overtaken each other. A
    /// phantom goes alone.
    fn group(&mut self, place: usize) -> Vec<Message> {
        if self.faults.phantoms {
            return vec![self.queue.remove(place)];
        }
        let count = self.rng.random_range(1..=3).min(self.queue.len() - place);
        let mut group: Vec<Message> = self.queue.drain(place..place + count).collect();
        if self.rng.random_bool(0.3) {
            group.reverse();
        }
        group
    }

    fn let_early_work(&mut self) {
        let count = self.target.early_count();
        if count > 0 {
            let place = self.rng.random_range(0..count);
            let times_out = self.rng.random_bool(0.2);
            self.target.step_early(place, times_out, self.broken);
        }
    }

    fn write_as_somebody_else(&mut self) {
        let id = self.rng.random_range(0..KEYS);
        let row = self.rng.random_bool(0.7).then(|| image(id, 77, Some(77)));
        match &row {
            Some(row) => self.target.rows.insert(id, row.clone()),
            None => self.target.rows.remove(&id),
        };
        self.planted.foreign.insert(id);
        self.target.foreign.push_back((id, row));
    }

    /// A transaction that was mirrored and never logged.
    fn plant_phantom(&mut self) {
        let xid = self.source.burn_xid();
        let id = self.rng.random_range(0..KEYS);
        let rev = Revision::early(Epoch::FIRST, Lsn::new(self.source.insert)).unwrap();
        let row = self.rng.random_bool(0.7).then(|| image(id, 55, Some(55)));
        self.planted.phantoms.insert(op(xid));
        self.queue.push(Message {
            op_id: op(xid),
            xid,
            rows: vec![(id, rev, row)],
        });
    }

    /// Once in a while another process takes over, works, and leaves the older one to go on.
    fn displace(&mut self) -> Step<()> {
        let is_due = !self.is_nested && !self.is_quiet && self.faults.displacement;
        if !is_due || !self.rng.random_bool(0.05) {
            return Ok(());
        }
        let crashes = self.crashes;
        self.is_nested = true;
        if let Ok(mut other) = Reconciler::start(self) {
            for _ in 0..self.rng.random_range(5..60) {
                if other.turn(self).is_err() {
                    break;
                }
            }
        }
        let latest = self.holders;
        self.target.unlock(Holder::Reconciler(latest));
        self.is_nested = false;
        if self.crashes == crashes {
            Ok(())
        } else {
            Err(Interrupted)
        }
    }

    /// Runs until the source is idle and everything has been delivered.
    fn run(&mut self) -> Result<(), String> {
        let mut process: Option<Reconciler> = None;
        let mut turns = 0;
        loop {
            if !self.is_quiet && self.source.budget == 0 {
                self.be_quiet();
            }
            if self.is_quiet {
                turns += 1;
                if turns > TURNS_MAX {
                    return Err("it does not come to rest".to_owned());
                }
            }
            let mut me = match process.take() {
                Some(me) => me,
                None => match Reconciler::start(self) {
                    Ok(me) => me,
                    Err(Interrupted) => continue,
                },
            };
            let crashes_rarely = !self.is_quiet && self.rng.random_bool(0.01);
            if me.turn(self).is_ok() && !crashes_rarely {
                if self.is_quiet && self.is_at_rest(&me) {
                    return self.check();
                }
                process = Some(me);
            } else {
                self.target.unlock(Holder::Reconciler(me.holder()));
            }
        }
    }

    fn be_quiet(&mut self) {
        while !self.source.is_idle() {
            self.let_source_work();
        }
        for message in std::mem::take(&mut self.queue) {
            if self.rng.random_bool(0.9) {
                self.target.begin_early(vec![message]);
            }
        }
        self.is_quiet = true;
    }

    fn is_at_rest(&self, me: &Reconciler) -> bool {
        let unverified = self.target.has_unverified() && !self.broken.is(Rule::Phantoms);
        self.target.early_count() == 0
            && me.passed == self.source.insert
            && self.target.foreign.is_empty()
            && self.target.owed.is_empty()
            && me.owed.is_empty()
            && !unverified
    }

    fn check(&self) -> Result<(), String> {
        if self.target.rows != self.source.visible {
            let (target, source) = (shown(&self.target.rows), shown(&self.source.visible));
            return Err(format!("target {target:?}, source {source:?}"));
        }
        let false_report = self.findings.iter().find(|(id, kind)| {
            let planted = &self.planted;
            let is_foreign = planted.foreign.contains(id);
            !match kind {
                Kind::Wrong(op_id) => is_foreign || planted.corrupted.contains(op_id),
                Kind::LostMirror(op_id) => planted.lies.contains(op_id),
                Kind::Phantom(op_id) => op_id.is_some_and(|id| planted.phantoms.contains(&id)),
                Kind::Foreign => is_foreign,
            }
        });
        match false_report {
            Some((id, kind)) => Err(format!("false report of row {id}: {kind:?}")),
            None => Ok(()),
        }
    }
}

/// Rows by their values: an image does not show any.
fn shown(rows: &BTreeMap<u8, Image>) -> Vec<Vec<u8>> {
    let value = |datum: &Datum| match datum {
        Datum::Binary(value) => value[0],
        Datum::Null | Datum::Text(_) | Datum::Unchanged => panic!("rows here are whole"),
    };
    let rows = rows.values();
    rows.map(|row| row.columns().iter().map(value).collect())
        .collect()
}

fn run(seed: u64, rule: Option<Rule>) -> Result<(), String> {
    World::new(seed, Broken(rule)).run()
}

#[track_caller]
fn replay(seed: u64) {
    if let Err(wrong) = run(seed, None) {
        panic!("seed {seed}: {wrong}");
    }
}

#[track_caller]
fn is_caught(rule: Rule) {
    let caught = (0..SEEDS_BROKEN).find(|seed| run(*seed, Some(rule)).is_err());
    assert!(caught.is_some(), "{rule:?} can be left out");
}

#[test]
fn the_target_converges_and_the_report_is_true() {
    (0..SEEDS).for_each(replay);
}

/// `make simulation SEED=..`; without a seed there is nothing to do.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the one argument that a test can be given"
)]
fn the_seed_of_the_command_line_passes() {
    if let Some(seed) = std::env::var("SEED").ok().filter(|seed| !seed.is_empty()) {
        replay(seed.parse().expect("SEED is a number"));
    }
}

/// Seeds that a failure has printed stay here.
#[test]
fn seeds_that_failed_once_pass() {
    // A resolved phantom's entry superseded a logged write that came afterwards.
    replay(336);
}

#[test]
fn rule_1_without_the_lock_is_caught() {
    is_caught(Rule::LockFirst);
}

#[test]
fn rule_2_without_the_test_of_the_entry_is_caught() {
    is_caught(Rule::EntryTest);
}

#[test]
fn rule_3_without_the_comparison_of_progress_is_caught() {
    is_caught(Rule::Progress);
}

#[test]
fn rule_4_without_the_logs_own_entry_is_caught() {
    is_caught(Rule::KeepEntries);
}

#[test]
fn rule_7_with_logged_taken_for_visible_is_caught() {
    is_caught(Rule::Visibility);
}

#[test]
fn rule_8_with_any_re_read_used_is_caught() {
    is_caught(Rule::Reread);
}

#[test]
fn rule_12_with_unflushed_reads_used_is_caught() {
    is_caught(Rule::Durable);
}

#[test]
fn rule_13_without_the_sweep_is_caught() {
    is_caught(Rule::Phantoms);
}
