//! `segue setup`: looks at everything first, refuses with every reason at once, and only then makes
//! what Segue needs in both databases. What a failed call has made, it takes away again.
//!
//! Does not copy rows: the databases start equal, or a backfill follows.

mod make;
mod prior;
mod progress;
mod remove;
mod server;
mod sql;

use protocol::lsn::Lsn;
use serde::Serialize;
use tokio_postgres::Client;

use crate::connect::connect;
use crate::contract::{self, LeftOut, Selection};
use crate::dsn::Dsn;
use crate::error::ControlError;
use crate::names::names;
use crate::side::Side;

use progress::Unwatched;
pub use progress::{Moment, Watch};
pub use remove::{RemoveReport, remove, remove_watched};
use server::{source_checks, target_checks};

const APPLICATION_NAME: &str = "segue setup";

/// What to set up.
#[derive(Debug)]
pub struct Options {
    /// The database that is moved.
    pub source: Dsn,
    /// Where it is moved to.
    pub target: Dsn,
    /// Which of its tables.
    pub tables: Selection,
}

/// What setup found, and what it did about it. With refusals in it, nothing was changed.
#[derive(Debug, Serialize)]
pub struct SetupReport {
    /// How it ended.
    pub outcome: Outcome,
    /// The source's database.
    pub database: String,
    /// The tables carried.
    pub tables: Vec<String>,
    /// The tables left out, with the reason.
    pub left_out: Vec<LeftOut>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// What has to be mended first.
    pub refusals: Vec<String>,
    /// The statements, in the order in which they are run.
    pub steps: Vec<Step>,
    /// What the roles need, a sentence each.
    pub privileges: Vec<String>,
    /// Where the stream starts, once it is set up.
    #[serde(serialize_with = "as_text")]
    pub start_lsn: Option<Lsn>,
}

/// How a setup ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything was made.
    SetUp,
    /// Everything was there already, under the same contract.
    AlreadySetUp,
    /// Everything was there already, in an older version's form, and is now in this one's.
    Upgraded,
    /// The target's slot was lost, and has been made again.
    SlotMade,
    /// Nothing was changed, and nothing stands against it.
    Possible,
    /// Nothing was changed, and something stands against it.
    Refused,
}

/// One step of setup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// `source` or `target`.
    #[serde(serialize_with = "as_side")]
    pub side: Side,
    /// What it makes.
    pub what: &'static str,
    /// The statements; those of one step are one transaction.
    pub sql: String,
    /// What takes it away again, if a later step fails.
    #[serde(skip)]
    pub undo: String,
}

impl SetupReport {
    /// The exit code of the command.
    pub const fn exit_code(&self) -> u8 {
        match self.outcome {
            Outcome::SetUp
            | Outcome::AlreadySetUp
            | Outcome::Upgraded
            | Outcome::SlotMade
            | Outcome::Possible => 0,
            Outcome::Refused => 4,
        }
    }
}

/// Both sides, looked at.
struct Examined<'a> {
    options: &'a Options,
    watch: &'a dyn Watch,
    source: Client,
    target: Client,
    prior: prior::State,
    report: SetupReport,
}

/// Looks at both sides and changes nothing.
pub async fn check(options: &Options) -> Result<SetupReport, ControlError> {
    check_watched(options, &Unwatched).await
}

/// As [`check`], with somebody told what it is at.
pub async fn check_watched(
    options: &Options,
    watch: &dyn Watch,
) -> Result<SetupReport, ControlError> {
    Ok(examine(options, watch).await?.report)
}

/// Looks at both sides and, unless something stands against it, makes what is missing.
pub async fn run(options: &Options) -> Result<SetupReport, ControlError> {
    run_watched(options, &Unwatched).await
}

/// As [`run`], with somebody told what it is at.
pub async fn run_watched(
    options: &Options,
    watch: &dyn Watch,
) -> Result<SetupReport, ControlError> {
    let mut examined = examine(options, watch).await?;
    if examined.report.outcome == Outcome::Possible {
        if matches!(
            examined.prior,
            prior::State::Older | prior::State::WithoutTargetSlot
        ) {
            make::upgrades(&examined).await?;
            examined.report.outcome = if examined.prior == prior::State::Older {
                Outcome::Upgraded
            } else {
                Outcome::SlotMade
            };
        } else {
            let start = make::everything(&examined).await?;
            examined.report.start_lsn = Some(start);
            examined.report.outcome = Outcome::SetUp;
        }
    }
    Ok(examined.report)
}

async fn examine<'a>(
    options: &'a Options,
    watch: &'a dyn Watch,
) -> Result<Examined<'a>, ControlError> {
    let at = |doing, side| watch.at(&Moment::of(doing, side));
    at("connect", Side::Source);
    let source = connect(&options.source, Side::Source, APPLICATION_NAME).await?;
    at("connect", Side::Target);
    let target = connect(&options.target, Side::Target, APPLICATION_NAME).await?;
    let names = names(options.source.database());
    let source_facts = server::facts(&source, Side::Source).await?;
    let target_facts = server::facts(&target, Side::Target).await?;
    let survey = contract::build(&source, &target, &options.tables, |side| {
        at("read the tables", side);
    })
    .await?;
    at("look for an earlier setup", Side::Target);
    let prior = prior::find(&source, &target, &names).await?;
    let mut report = SetupReport {
        outcome: Outcome::Possible,
        database: options.source.database().to_owned(),
        tables: survey
            .contract
            .tables
            .iter()
            .map(|table| table.name.clone())
            .collect(),
        left_out: survey.left_out.clone(),
        warnings: survey.warnings.clone(),
        refusals: survey.refusals.clone(),
        steps: Vec::new(),
        privileges: sql::privileges(options.source.user(), options.target.user()),
        start_lsn: None,
    };
    let mut already = prior.judge(&survey.contract, &mut report.refusals)?;
    if already == prior::State::Nothing {
        source_checks(&source_facts, &mut report);
        target_checks(&source_facts, &target_facts, &mut report);
        server::name_checks(&source_facts, &survey.contract, &mut report);
    }
    let publishable: &[String] = if target_facts.has_a_log() {
        &survey.target_publishable
    } else {
        &[]
    };
    report.steps = match already {
        prior::State::Older => prior.upgrades(),
        prior::State::Nothing | prior::State::Complete | prior::State::WithoutTargetSlot => {
            sql::steps(&names, &survey.contract, publishable, &source_facts)?
        }
    };
    let slot_again = prior.target_slot_again(report.steps.clone());
    if already == prior::State::Complete && report.refusals.is_empty() && !slot_again.is_empty() {
        already = prior::State::WithoutTargetSlot;
        report.steps = slot_again;
    }
    report.outcome = match already {
        _ if !report.refusals.is_empty() => Outcome::Refused,
        prior::State::Complete => Outcome::AlreadySetUp,
        prior::State::Nothing | prior::State::Older | prior::State::WithoutTargetSlot => {
            Outcome::Possible
        }
    };
    Ok(Examined {
        options,
        watch,
        source,
        target,
        prior: already,
        report,
    })
}

#[expect(clippy::ref_option, reason = "serde passes references")]
fn as_text<S: serde::Serializer>(lsn: &Option<Lsn>, out: S) -> Result<S::Ok, S::Error> {
    match lsn {
        Some(lsn) => out.collect_str(lsn),
        None => out.serialize_none(),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn as_side<S: serde::Serializer>(side: &Side, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(side)
}
