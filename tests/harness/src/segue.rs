//! The `segue` binary: its servers as children, its other commands run to their end.
//!
//! Does not know where the binary is: tests and demo say so.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    database::Database,
    guardian::{Ending, Guardian},
    ports,
    process::Process,
};

/// How long a command or a start may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// Numbers the output files.
static RUN_COUNT: AtomicU32 = AtomicU32::new(0);

/// How to call the binary for one pair of databases.
#[derive(Debug, Clone)]
pub struct Launch {
    binary: PathBuf,
    source: Option<String>,
    target: Option<String>,
    environment: Vec<(String, String)>,
}

/// A command that has ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its exit code; -1 for a signal.
    pub code: i32,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
}

impl Launch {
    /// With both sides.
    pub fn new(binary: impl Into<PathBuf>, source: &Database, target: &Database) -> Self {
        Self {
            binary: binary.into(),
            source: Some(source.uri()),
            target: Some(target.uri()),
            environment: Vec::new(),
        }
    }

    /// With other connection strings, or none.
    #[must_use]
    pub fn with_uris(&self, source: Option<&str>, target: Option<&str>) -> Self {
        Self {
            source: source.map(str::to_owned),
            target: target.map(str::to_owned),
            ..self.clone()
        }
    }

    /// With a variable in the environment.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(&self.binary);
        // A segue.toml of whoever runs the tests must not be read.
        command.current_dir(Guardian::of_this_process()?.directory());
        command.args(arguments);
        if let Some(source) = &self.source {
            command.args(["--source", source]);
        }
        if let Some(target) = &self.target {
            command.args(["--target", target]);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Runs a command to its end, whatever its exit code.
    pub async fn run_to_end(&self, arguments: &[&str]) -> Result<Ended> {
        let stem = unused_stem(arguments.first().copied().unwrap_or("segue"))?;
        let mut command = self.command(arguments)?;
        let mut process = Process::start("segue", &mut command, &stem, Ending::Kill)?;
        let status = process.ended(PATIENCE).await?;
        Ok(Ended {
            code: status.code().unwrap_or(-1),
            output: process.output(),
            errors: process.errors(),
        })
    }

    /// `segue setup`, which has to succeed.
    pub async fn setup(&self) -> Result<String> {
        let ended = self.run_to_end(&["setup"]).await?;
        ensure!(
            ended.code == 0,
            "segue setup: exit code {}: {}",
            ended.code,
            ended.errors
        );
        Ok(ended.output)
    }

    /// A command with `--json`, and its exit code.
    pub async fn json(&self, arguments: &[&str]) -> Result<(i32, Value)> {
        let arguments = [arguments, &["--json"]].concat();
        let ended = self.run_to_end(&arguments).await?;
        let value = serde_json::from_str(&ended.output)
            .with_context(|| format!("{arguments:?} printed no JSON: {ended:?}"))?;
        Ok((ended.code, value))
    }

    /// `segue status --json`.
    pub async fn status(&self) -> Result<Value> {
        Ok(self.json(&["status"]).await?.1)
    }

    /// `segue report --json`.
    pub async fn report(&self) -> Result<Value> {
        Ok(self.json(&["report"]).await?.1)
    }

    /// `segue run`: proxy and reconciler in one process.
    pub async fn run(&self, arguments: &[&str]) -> Result<Segue> {
        Segue::start(self, "run", arguments, ports::free()?).await
    }

    /// `segue proxy`.
    pub async fn proxy(&self, arguments: &[&str]) -> Result<Segue> {
        Segue::start(self, "proxy", arguments, ports::free()?).await
    }

    /// `segue reconciler`.
    pub async fn reconciler(&self, arguments: &[&str]) -> Result<Segue> {
        Segue::start(self, "reconciler", arguments, 0).await
    }
}

/// A running `segue run`, `proxy` or `reconciler`.
#[derive(Debug)]
pub struct Segue {
    launch: Launch,
    subcommand: &'static str,
    arguments: Vec<String>,
    port: u16,
    process: Process,
}

impl Segue {
    async fn start(
        launch: &Launch,
        subcommand: &'static str,
        arguments: &[&str],
        port: u16,
    ) -> Result<Self> {
        let arguments: Vec<String> = arguments.iter().map(|&one| one.to_owned()).collect();
        let process = start(launch, subcommand, &arguments, port).await?;
        Ok(Self {
            launch: launch.clone(),
            subcommand,
            arguments,
            port,
            process,
        })
    }

    /// The proxy's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.errors()
    }

    /// Sends a signal by name (`HUP`, `STOP`).
    pub fn signal(&self, name: &str) -> Result<()> {
        self.process.signal(name)
    }

    /// kill -9.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts it once more as it was, on the same port.
    pub async fn run_again(&mut self) -> Result<()> {
        self.kill()?;
        self.process = start(&self.launch, self.subcommand, &self.arguments, self.port).await?;
        Ok(())
    }

    /// SIGTERM; the exit code.
    pub async fn terminate(mut self) -> Result<i32> {
        let status = self.process.terminate(PATIENCE).await?;
        Ok(status.code().unwrap_or(-1))
    }

    /// Its exit code, if it has ended.
    pub fn ended(&mut self) -> Result<Option<i32>> {
        Ok(self
            .process
            .status()?
            .map(|status| status.code().unwrap_or(-1)))
    }
}

async fn start(
    launch: &Launch,
    subcommand: &str,
    arguments: &[String],
    port: u16,
) -> Result<Process> {
    let mut listen = format!("127.0.0.1:{port}");
    let mut arguments = arguments.to_vec();
    // What a test wants to be listened on comes on top.
    if let Some(place) = arguments.iter().position(|it| it == "--listen") {
        let further = arguments.drain(place..place + 2).nth(1);
        listen = format!("{listen},{}", further.unwrap_or_default());
    }
    let mut all = vec![subcommand];
    let proxies = matches!(subcommand, "run" | "proxy");
    if proxies {
        all.extend(["--listen", &listen]);
    }
    all.extend(arguments.iter().map(String::as_str));
    let mut command = launch.command(&all)?;
    let stem = unused_stem(subcommand)?;
    let mut process = Process::start("segue", &mut command, &stem, Ending::Kill)?;
    if proxies {
        process.line("segue proxy ready on ", PATIENCE).await?;
    }
    if matches!(subcommand, "run" | "reconciler") {
        process.line("segue reconciler ready", PATIENCE).await?;
    }
    Ok(process)
}

fn unused_stem(subcommand: &str) -> Result<PathBuf> {
    let number = RUN_COUNT.fetch_add(1, Ordering::Relaxed);
    Ok(Guardian::of_this_process()?
        .directory()
        .join(format!("segue-{number}-{subcommand}")))
}

/// The binary beside this one: `target/<profile>/segue`.
pub fn binary_beside(executable: &Path) -> Result<PathBuf> {
    let binary = executable.with_file_name("segue");
    ensure!(
        binary.exists(),
        "{} is missing: cargo build",
        binary.display()
    );
    Ok(binary)
}
