//! The command line: what can be asked for, and who answers.
//!
//! Flags stay texts here; `config` judges them together with the file and the environment.

mod config;
mod facts;
mod proxy;
mod reconciler;
mod repair;
mod report;
mod run;
mod servers;
mod setup;
mod status;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{Environment, Needs, Setting, Settings, Sources};
use crate::exit::{Exit, Failure};
use crate::output;

/// Moves a live PostgreSQL database to another store without losing a row and without a
/// maintenance window.
#[derive(Debug, Parser)]
#[command(
    name = "segue",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = "\
Exit codes: 0 all well, 1 it failed, 2 wrong usage or configuration, 3 it worked and divergences
are open, 4 refused.

Every setting can stand in segue.toml, in the environment (SEGUE_SOURCE, …) or in a flag; the last
one wins.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings of every command")]
struct Shared {
    /// Configuration file [default: ./segue.toml, if present; environment: `SEGUE_CONFIG`]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The source: a PostgreSQL URI
    #[arg(long, global = true, value_name = "URI")]
    source: Option<String>,
    /// The target: a PostgreSQL URI
    #[arg(long, global = true, value_name = "URI")]
    target: Option<String>,
    /// How logs are written to stderr: text or json [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
    /// What is logged: a level, or levels by part (info,proxy=debug) [default: info]
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the `segue` schema, publications and slots in both databases
    Setup(setup::Arguments),
    /// Forward clients to the source and mirror their writes to the target
    Proxy(proxy::Arguments),
    /// Follow the source's change stream: prove, apply, repair and report
    Reconciler(reconciler::Arguments),
    /// Proxy and reconciler in one process
    Run(run::Arguments),
    /// Show the state of the migration on one screen
    Status(status::Arguments),
    /// Show where the target was not what the source's log says, and what was done about it
    Report(report::Arguments),
    /// Let a table's repairs go on, or undo one
    Repair(repair::Arguments),
    /// Look at the configuration
    Config(config::Arguments),
}

/// What a command starts from.
#[derive(Debug, Clone)]
pub(crate) struct Context(Sources);

impl Context {
    /// Adds a command's own flags.
    fn with(mut self, flags: impl IntoIterator<Item = (Setting, Option<String>)>) -> Self {
        let given = flags
            .into_iter()
            .filter_map(|(setting, value)| Some((setting, value?)));
        self.0.flags.extend(given);
        self
    }

    /// Reads and judges the configuration.
    pub(crate) fn settings(&self, needs: Needs) -> Result<Settings, Failure> {
        Settings::read(&self.0, needs)
    }

    /// As [`Context::settings`], for commands that keep no log: warnings go to stderr.
    fn settings_aloud(&self, needs: Needs) -> Result<Settings, Failure> {
        let settings = self.settings(needs)?;
        for warning in &settings.warnings {
            output::complain(&format!("warning: {warning}"));
        }
        Ok(settings)
    }
}

impl Arguments {
    /// Does what was asked for.
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let context = Context(Sources {
            file: self.shared.config,
            environment: Environment::of_process(),
            ..Sources::default()
        })
        .with([
            (Setting::Source, self.shared.source),
            (Setting::Target, self.shared.target),
            (Setting::LogFormat, self.shared.log_format),
            (Setting::LogLevel, self.shared.log_level),
        ]);
        match self.command {
            Command::Setup(arguments) => arguments.run(context),
            Command::Proxy(arguments) => arguments.run(context),
            Command::Reconciler(arguments) => arguments.run(context),
            Command::Run(arguments) => arguments.run(context),
            Command::Status(arguments) => arguments.run(&context),
            Command::Report(arguments) => arguments.run(&context),
            Command::Repair(arguments) => arguments.run(&context),
            Command::Config(arguments) => arguments.run(&context),
        }
    }
}

/// Runs a command's future on this thread.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?
        .block_on(future)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_setting_has_its_flag() {
        let mut command = Arguments::command();
        command.build();
        let flags: Vec<String> = command
            .get_subcommands()
            .flat_map(clap::Command::get_arguments)
            .filter_map(|flag| Some(format!("--{}", flag.get_long()?)))
            .collect();
        for setting in Setting::ALL {
            assert!(flags.contains(&setting.flag()), "{}", setting.flag());
        }
    }

    #[test]
    fn every_command_has_an_example() {
        let mut command = Arguments::command();
        command.build();
        let ours = command
            .get_subcommands()
            .filter(|it| it.get_name() != "help");
        for command in ours {
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Example"), "{}", command.get_name());
        }
    }
}
