//! `segue setup`.

use std::io::IsTerminal;

use clap::Args;
use control::contract::Selection;
use control::setup::{self, Options, Outcome, RemoveReport, SetupReport};
use control::{ControlError, Dsn};

use super::{Context, block_on};
use crate::config::{Needs, Setting};
use crate::exit::{Exit, Failure};
use crate::progress::{Format, Progress};
use crate::{output, render};

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
#[command(after_help = "\
Examples:
  segue setup --check --source postgres://segue@old/shop --target postgres://segue@new/shop
  segue setup --print     the SQL that setup would run, and the privileges that it needs
  segue setup
  segue setup --table public.customer --table public.orders
  segue setup --progress json    says on stderr what it is at, a JSON object a line
  segue setup --remove    takes everything of Segue's away again

Looks at everything first and changes nothing if anything stands against it. Run again, it changes
nothing either. The tables of both databases have to be equal at that moment: nobody may have
written to the source since they were copied.")]
pub(super) struct Arguments {
    /// Carry this table; may be repeated [default: every table with a key]
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
    /// Only look, and say whether setup is possible
    #[arg(long, conflicts_with_all = ["print", "remove"])]
    check: bool,
    /// Only print the SQL and the privileges that it needs
    #[arg(long, conflicts_with = "remove")]
    print: bool,
    /// Remove schema, publications, slots and origins from both sides
    #[arg(long)]
    remove: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// How progress is shown on stderr
    #[arg(long, value_name = "FORMAT", default_value = "auto", value_enum)]
    progress: Format,
}

impl Arguments {
    pub(super) fn run(self, context: Context) -> Result<Exit, Failure> {
        let tables = (!self.tables.is_empty()).then(|| self.tables.join(","));
        let context = context.with([(Setting::Tables, tables)]);
        let settings = context.settings_aloud(Needs::Both)?;
        let (source, target) = (settings.source()?, settings.target()?);
        if self.remove {
            return block_on(self.remove(source, target));
        }
        let options = Options {
            source: source.clone(),
            target: target.clone(),
            tables: match settings.tables.as_slice() {
                [] => Selection::All,
                named => Selection::Named(named.to_vec()),
            },
        };
        block_on(self.set_up(&options))
    }

    async fn set_up(&self, options: &Options) -> Result<Exit, Failure> {
        let progress = Progress::new("setup", self.progress);
        let report = if self.check || self.print {
            setup::check_watched(options, &progress).await
        } else {
            setup::run_watched(options, &progress).await
        };
        drop(progress);
        let mut report = report.map_err(|error| failure(&error))?;
        if !self.print {
            report.steps.clear();
            report.privileges.clear();
        }
        self.show(&report)?;
        match report.outcome {
            Outcome::SetUp
            | Outcome::AlreadySetUp
            | Outcome::Upgraded
            | Outcome::SlotMade
            | Outcome::Possible => Ok(Exit::Well),
            Outcome::Refused => Err(refused(report.refusals)),
        }
    }

    /// A refusal has its own sentence; beside it only what was asked for is printed.
    fn show(&self, report: &SetupReport) -> Result<(), Failure> {
        if self.json {
            output::json(report)
        } else if self.print {
            output::text(&render::setup::sql(report))
        } else if report.outcome == Outcome::Refused {
            Ok(())
        } else {
            output::text(&render::setup::text(report))
        }
    }

    async fn remove(&self, source: &Dsn, target: &Dsn) -> Result<Exit, Failure> {
        let progress = Progress::new("setup --remove", self.progress);
        let report = setup::remove_watched(source, target, &progress).await;
        drop(progress);
        let report: RemoveReport = report.map_err(|error| failure(&error))?;
        if self.json {
            output::json(&report)?;
        } else {
            output::text(&render::setup::removed(&report))?;
        }
        Ok(Exit::Well)
    }
}

/// A log gets one line; a person at a terminal can work through a list.
fn refused(reasons: Vec<String>) -> Failure {
    if reasons.len() > 1 && std::io::stderr().is_terminal() {
        return Failure {
            exit: Exit::Refused,
            message: format!("setup is refused:\n  - {}", reasons.join("\n  - ")),
        };
    }
    failure(&ControlError::Refused { reasons })
}

fn failure(error: &ControlError) -> Failure {
    Failure::with_code(error, error.exit_code())
}
