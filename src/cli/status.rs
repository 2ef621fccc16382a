//! `segue status`.

use std::time::Duration;

use clap::Args;
use control::status::StatusFacts;

use super::facts::From;
use super::{Context, block_on};
use crate::exit::{Exit, Failure};
use crate::target::Target;
use crate::{output, render};

/// How often `--watch` looks: as often as the facts are written.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  segue status --target postgres://segue@new-server/shop
  segue status --watch
  segue status --check    for monitoring: ends with 3 if divergences are open, with 1 if the target
                          cannot be reached, the reconciler is silent or the slot is lost

Reads the target, and works while every other part is down. While the reconciler is silent, the
source is asked how much log its slot holds, if it is named and can be reached.")]
pub(super) struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Look again every second until interrupted
    #[arg(long)]
    watch: bool,
    /// Exit with 3 if divergences are open, with 1 if the reconciler is silent or the slot is lost
    #[arg(long, conflicts_with = "watch")]
    check: bool,
    /// Seconds without a report after which the reconciler counts as silent
    #[arg(long, value_name = "SECONDS", default_value_t = render::SILENCE_SECONDS)]
    silence: u32,
    #[command(flatten)]
    from: From,
}

impl Arguments {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        let mut target = self.from.target(context)?;
        block_on(async {
            if self.watch {
                return self.watch(&mut target).await;
            }
            let facts = target.status().await?;
            self.print(&facts)?;
            self.judge(&facts)
        })
    }

    fn print(&self, facts: &StatusFacts) -> Result<(), Failure> {
        if self.json {
            output::json(facts)
        } else {
            output::text(&render::status::text(facts, self.silence))
        }
    }

    fn judge(&self, facts: &StatusFacts) -> Result<Exit, Failure> {
        if !self.check {
            return Ok(Exit::Well);
        }
        if let Some(lost) = &facts.slot_lost {
            return Err(Failure::failed(lost));
        }
        if facts.reconciler.is_silent(self.silence.into()) {
            let wal = facts.slot_attention();
            return Err(Failure::failed(format!(
                "the reconciler {}: start `segue reconciler` or `segue run`, or look at its log{}",
                render::status::reconciler(&facts.reconciler, self.silence),
                wal.map_or_else(String::new, |wal| format!("; {wal}"))
            )));
        }
        Ok(Exit::of_open(facts.open_divergences))
    }

    /// A target that is away is said and waited for: that is when people watch.
    async fn watch(&self, target: &mut Target) -> Result<Exit, Failure> {
        let mut interval = tokio::time::interval(WATCH_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut interrupted = Box::pin(tokio::signal::ctrl_c());
        loop {
            let facts = tokio::select! {
                facts = async { interval.tick().await; target.status().await } => facts,
                _ = &mut interrupted => return Ok(Exit::Well),
            };
            if !self.json {
                output::clear_screen()?;
            }
            match facts {
                Ok(facts) => self.print(&facts)?,
                Err(failure) => output::complain(&failure.message),
            }
        }
    }
}
