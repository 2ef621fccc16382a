//! `segue config check`.

use clap::{Args, Subcommand};

use super::Context;
use crate::config::Needs;
use crate::exit::{Exit, Failure};
use crate::{output, render};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  segue config check --config /etc/segue.toml")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Validate file, environment and flags; report all problems at once
    #[command(after_help = "\
Examples:
  segue config check --config /etc/segue.toml
  segue config check --json

Prints the settings as they will be used, with who gave each, passwords left out. Connects to
nothing.")]
    Check {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

impl Arguments {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.command {
            Command::Check { json } => {
                let settings = context.settings_aloud(Needs::Source)?;
                if json {
                    output::json(&render::settings::Effective::of(&settings))?;
                } else {
                    output::text(&render::settings::text(&settings))?;
                }
                Ok(Exit::Well)
            }
        }
    }
}
