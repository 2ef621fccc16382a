//! `segue report`.

use std::path::{Path, PathBuf};

use super::facts::From;
use super::{Context, block_on};
use crate::exit::{Exit, Failure};
use crate::target::{self, Target};
use crate::{output, render};
use clap::{Args, Subcommand};
use control::report::{DivergenceDetail, DivergencePage, Page};

/// Divergences on a page, if nothing is said.
const LIMIT_DEFAULT: usize = 100;

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  segue report --target postgres://segue@new-server/shop
  segue report --since 2h --html report.html
  segue report --json | jq .summary
  segue report show 17
  segue report --state open --table public.item --limit 50
  segue report --after 117 --limit 50     the page behind number 117
  segue report --html for-all.html --redact
  segue report --api http://127.0.0.1:9188

Without --limit, --after, --state or --table it shows everything at once: the newest 1000
divergences, what became of each table, what happened. With one of them, divergences in the order of
their numbers, and where the next page begins.

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
    #[command(flatten)]
    paging: Paging,
}

/// What makes it a page of divergences.
#[derive(Debug, Args)]
#[group(multiple = true, conflicts_with = "html")]
struct Paging {
    /// Only divergences in this state
    #[arg(long, value_name = "STATE", value_parser = Page::STATES)]
    state: Option<String>,
    /// Only divergences of this table, named as the report names it
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
    /// So many divergences, by number [default: 100 if it is a page]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Only divergences behind this number: where the last page ended
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(i64).range(0..))]
    after: Option<i64>,
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
                None if self.list.paging.is_wanted() => self.list.print_page(&mut target).await,
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

    async fn print_page(&self, target: &mut Target) -> Result<Exit, Failure> {
        let mut page = self.paging.read(target, self.since.as_deref()).await?;
        if self.redact {
            page.redact();
        }
        if self.json {
            output::json(&page)?;
        } else {
            output::text(&render::report::page(&page))?;
        }
        Ok(Exit::of_open(page.summary.open))
    }
}

impl Paging {
    const fn is_wanted(&self) -> bool {
        self.state.is_some() || self.table.is_some() || self.limit.is_some() || self.after.is_some()
    }

    /// More than one question holds is asked for in several.
    async fn read(
        &self,
        target: &mut Target,
        since: Option<&str>,
    ) -> Result<DivergencePage, Failure> {
        let limit = self.limit.map_or(LIMIT_DEFAULT, |limit| limit as usize);
        let mut wanted = Page {
            since: target::since(since),
            state: self.state.clone(),
            table: self.table.clone(),
            after: self.after.unwrap_or_default(),
            limit: limit.min(Page::LIMIT_MAX),
        };
        let mut all = target.page(&wanted).await?;
        while let Some(after) = all.next_after
            && all.divergences.len() < limit
        {
            wanted.after = after;
            wanted.limit = (limit - all.divergences.len()).min(Page::LIMIT_MAX);
            all.append(target.page(&wanted).await?);
        }
        Ok(all)
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
