//! `segue report`.

use std::path::{Path, PathBuf};

use super::facts::From;
use super::{Context, block_on};
use crate::exit::{Exit, Failure};
use crate::target::Target;
use crate::{output, render};
use clap::{Args, Subcommand};
use control::report::DivergenceDetail;

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  segue report --target postgres://segue@new-server/shop
  segue report --since 2h --html report.html
  segue report --json | jq .summary
  segue report show 17
  segue report --html for-all.html --redact
  segue report --api http://127.0.0.1:9188

Ends with 3 while divergences are open. Reads the target only, and works while every other part is
down."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    list: List,
    #[command(flatten)]
    from: From,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct List {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Write one self-contained page, with plots of lag and staleness
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    html: Option<PathBuf>,
    /// Only what was found since: a time (2026-11-23T15:00:00Z) or an age (90s, 15min, 2h, 7d)
    #[arg(long, value_name = "T")]
    since: Option<String>,
    /// Leave rows' contents out, keys too: for people who may not see them
    #[arg(long)]
    redact: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show one divergence, and the row before and after its repair
    #[command(after_help = "Example:\n  segue report show 17")]
    Show {
        /// Its number in the report
        id: i64,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        /// Leave the row's contents out
        #[arg(long)]
        redact: bool,
    },
}

impl Arguments {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        let mut target = self.from.target(context)?;
        block_on(async {
            match self.command {
                Some(Command::Show { id, json, redact }) => {
                    let mut found = find(&mut target, id).await?;
                    if redact {
                        found.redact();
                    }
                    show(&found, json)
                }
                None => self.list.print(&mut target).await,
            }
        })
    }
}

impl List {
    async fn print(&self, target: &mut Target) -> Result<Exit, Failure> {
        let mut report = target.report(self.since.as_deref()).await?;
        if self.redact {
            report.redact();
        }
        match &self.html {
            Some(path) => {
                write(path, &render::page::html(&report))?;
                output::text(&render::report::headline(&report))?;
                output::text(&format!("written to {}", path.display()))?;
            }
            None if self.json => output::json(&report)?,
            None => output::text(&render::report::text(&report))?,
        }
        Ok(Exit::of_open(report.summary.open))
    }
}

async fn find(target: &mut Target, id: i64) -> Result<DivergenceDetail, Failure> {
    let found = target.divergence(id).await?;
    found.ok_or_else(|| {
        Failure::failed(format!(
            "there is no divergence {id}; `segue report` lists them"
        ))
    })
}

fn show(found: &DivergenceDetail, json: bool) -> Result<Exit, Failure> {
    if json {
        output::json(found)?;
    } else {
        output::text(&render::report::detail(found))?;
    }
    let open = i64::from(found.divergence.state == "open");
    Ok(Exit::of_open(open))
}

fn write(path: &Path, page: &str) -> Result<(), Failure> {
    std::fs::write(path, page)
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
}
