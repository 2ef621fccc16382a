//! The servers and the proxy that a suite runs on, one pair per way.
//!
//! Does not look at results.

use std::fmt;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::guardian::{Ending, Guardian};
use harness::ports;
use harness::segue::{Launch, Segue, binary_beside};
use harness::{Database, Installation, Process, Server, ServerOptions};

use crate::Order;
use crate::lasting::{self, Spec};
use crate::mirrored::{Mirrored, Prepared, Reckoning};
use crate::results::Results;
use crate::suite::{LAUNCHER_FILE, Mirror, Run, Suite};

/// The servers whose tests were fetched.
const VERSION: u32 = 15;

/// A suite that takes longer hangs.
const PATIENCE: Duration = Duration::from_hours(1);

/// What `pg_regress` runs its own servers with, as far as the outputs depend on it.
const SERVER_SETTINGS: [&str; 2] = ["max_prepared_transactions=2", "synchronous_commit=on"];

/// What `pg_regress` sets for the databases that it makes.
const DATABASE_SETTINGS: [&str; 6] = [
    "lc_messages TO 'C'",
    "lc_monetary TO 'C'",
    "lc_numeric TO 'C'",
    "lc_time TO 'C'",
    "bytea_output TO 'hex'",
    "timezone_abbreviations TO 'Default'",
];

/// How long a statement behind a schema change waits for the catalog to be read.
const CATALOG_WAIT: &str = "5s";

/// The contract of whatever tables there are.
const CONTRACT: &str = include_str!("../../../../suites/contract.sql");

/// What both ways share.
pub(crate) struct Ground<'order> {
    order: &'order Order,
    installation: Installation,
    inputs: PathBuf,
    /// What makes the tables of the specs that find them made.
    making: Vec<String>,
    /// What the ways start from, where there is a target.
    prepared: Option<Prepared>,
}

impl<'order> Ground<'order> {
    pub(crate) fn new(order: &'order Order) -> Result<Self> {
        let installation = Installation::of(VERSION).context("no PostgreSQL 15 on this machine")?;
        // The clone may lie where the servers' account cannot read.
        let inputs = directory("inputs")?;
        copy(&order.suite.directory(&order.source), &inputs)?;
        let library = inputs.join("lib");
        std::fs::create_dir(&library)?;
        let mut making = Vec::new();
        match order.suite {
            Suite::Regress => {
                copy(&inputs.join("regress.so"), &library)?;
                let modules = installation.programs.join("../lib");
                for module in ["autoinc.so", "refint.so"] {
                    copy(&modules.join(module), &library)?;
                }
            }
            Suite::Isolation if order.mirror == Mirror::On => making = divide_specs(&inputs)?,
            Suite::Isolation => {}
        }
        Ok(Self {
            order,
            installation,
            inputs,
            making,
            prepared: None,
        })
    }

    /// Makes what the ways start from, where there is a target.
    pub(crate) async fn prepare(&mut self) -> Result<()> {
        if self.order.mirror == Mirror::On {
            let server = self.server().await?;
            let name = self.order.suite.database();
            let database = server.database(name);
            match self.order.suite {
                Suite::Isolation => database.execute(&self.making.concat()).await?,
                Suite::Regress => self.first_round(&database).await?,
            }
            let installation = self.installation.clone();
            self.prepared = Some(Prepared::make(server, name, installation).await?);
        }
        Ok(())
    }

    /// Runs the suite on a server.
    pub(crate) async fn direct(&self) -> Result<Results> {
        self.directly("direct").await
    }

    /// Runs it on yet another server, to tell what differs by itself.
    pub(crate) async fn direct_again(&self) -> Result<Results> {
        self.directly("again").await
    }

    async fn directly(&self, way: &str) -> Result<Results> {
        let server = match &self.prepared {
            Some(prepared) => prepared.source().await?,
            None => self.server().await?,
        };
        self.play(way, server.port()).await
    }

    /// Runs it on another server through a proxy. Says what was captured, if anything was to be.
    pub(crate) async fn proxied(&self) -> Result<(Results, Option<Account>)> {
        if let Some(prepared) = &self.prepared {
            let mirrored = prepared.pair().await?;
            let (segue, http) = mirrored.run().await?;
            let (results, captured) = self.play_through(segue, &http, Some(&mirrored)).await?;
            return Ok((results, Some(captured)));
        }
        let server = self.server().await?;
        let source = server.database(self.order.suite.database());
        let binary = binary_beside(&std::env::current_exe()?)?;
        let launch = Launch::new(binary, &source, &source).with_uris(Some(&source.uri()), None);
        let metrics = format!("127.0.0.1:{}", ports::free()?);
        let mut arguments = vec!["--metrics", &metrics];
        arguments.extend(match self.order.mirror {
            Mirror::Off | Mirror::On => ["--mirror", "off"].as_slice(),
            Mirror::Dry => &["--mirror", "dry", "--catalog-wait", CATALOG_WAIT],
        });
        let segue = launch.proxy(&arguments).await?;
        let (results, account) = self.play_through(segue, &metrics, None).await?;
        let captured = self.order.mirror != Mirror::Off;
        Ok((results, captured.then_some(account)))
    }

    async fn play_through(
        &self,
        mut segue: Segue,
        metrics: &str,
        mirrored: Option<&Mirrored>,
    ) -> Result<(Results, Account)> {
        let results = self.play("proxied", segue.port()).await;
        let reckoning = match mirrored {
            Some(mirrored) => Some(mirrored.reckon().await),
            None => None,
        };
        std::fs::write(self.kept("proxy.log"), segue.log())?;
        ensure!(segue.ended()?.is_none(), "the proxy died:\n{}", segue.log());
        let account = Account {
            specs: self.making.len(),
            captured: captured(metrics)?,
            reckoning: reckoning.transpose()?,
        };
        let code = segue.terminate().await?;
        ensure!(code == 0, "the proxy ended with exit code {code}");
        Ok((results?, account))
    }

    /// A server of its own, with a database.
    async fn server(&self) -> Result<Server> {
        let mut settings: Vec<String> = SERVER_SETTINGS.map(str::to_owned).into();
        if self.order.mirror == Mirror::On {
            // Plans, and with them the order of rows, are to depend on the tests alone: a second
            // round would find the statistics of the first, as far as these have been made.
            settings.push("autovacuum=off".to_owned());
        }
        let options = ServerOptions {
            settings,
            ..ServerOptions::default()
        };
        let server = Server::start(self.installation.clone(), options).await?;
        let maintenance = server.database("postgres");
        let name = self.order.suite.database();
        let make = format!("CREATE DATABASE {name} TEMPLATE template0");
        maintenance.execute(&make).await?;
        for setting in DATABASE_SETTINGS {
            let set = format!("ALTER DATABASE {name} SET {setting}");
            maintenance.execute(&set).await?;
        }
        if self.order.mirror == Mirror::Dry {
            server.database(name).execute(CONTRACT).await?;
        }
        Ok(server)
    }

    /// Has the regression tests make their tables.
    async fn first_round(&self, database: &Database) -> Result<()> {
        database.execute(lasting::FIRST_ROUND).await?;
        self.play("first", database.port).await?;
        // The slot waits for them.
        let prepared = "SELECT format('ROLLBACK PREPARED %L', gid) FROM pg_prepared_xacts";
        for row in database.rows(prepared).await? {
            let end = row.into_iter().flatten().next().unwrap_or_default();
            database.execute(&end).await?;
        }
        for step in lasting::BETWEEN_ROUNDS {
            database.execute(step).await?;
        }
        Ok(())
    }

    async fn play(&self, way: &str, port: u16) -> Result<Results> {
        let outputs = directory(way)?;
        let mut command = self.order.suite.command(&Run {
            programs: &self.installation.programs,
            inputs: &self.inputs,
            outputs: &outputs,
            port,
            mirror: self.order.mirror,
            tests: &self.order.tests,
        })?;
        let stem = outputs.with_extension("driver");
        let mut driver = Process::start("pg_regress", &mut command, &stem, Ending::Kill)?;
        driver.ended(PATIENCE).await?;
        let list = driver.output();
        std::fs::write(self.kept(&format!("{way}.log")), &list)?;
        // How the outputs differ from those that PostgreSQL expects; no file where none does.
        let unexpected = outputs.join("regression.diffs");
        if unexpected.exists() {
            std::fs::copy(unexpected, self.kept(&format!("{way}.diffs")))?;
        }
        Results::read(&list, outputs).with_context(|| driver.errors())
    }

    fn kept(&self, name: &str) -> PathBuf {
        crate::kept(self.order).join(name)
    }
}

/// What a proxy that captures has to show.
pub(crate) struct Account {
    /// Isolation specs whose tables were there before.
    specs: usize,
    captured: String,
    reckoning: Option<Reckoning>,
}

impl Account {
    /// Whether the log never found the mirror wrong.
    pub(crate) fn is_clean(&self) -> bool {
        self.reckoning.as_ref().is_none_or(Reckoning::is_clean)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.captured)?;
        if self.specs > 0 {
            write!(f, "\n{} specs found their tables made", self.specs)?;
        }
        match &self.reckoning {
            Some(reckoning) => write!(f, "\n{reckoning}"),
            None => Ok(()),
        }
    }
}

/// Gives specs their tables beforehand where they can have them; the statements that make them.
fn divide_specs(inputs: &Path) -> Result<Vec<String>> {
    let launcher = inputs.join(LAUNCHER_FILE);
    std::fs::write(&launcher, lasting::LAUNCHER)?;
    std::fs::set_permissions(&launcher, Permissions::from_mode(0o755))?;
    let mut making = Vec::new();
    for entry in std::fs::read_dir(inputs.join("specs"))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let text = std::fs::read_to_string(&path)?;
        if let Some(spec) = Spec::divide(&name, &text) {
            making.push(spec.making);
            std::fs::write(&path, spec.text)?;
        }
    }
    Ok(making)
}

/// A new directory that the servers' account may write to.
fn directory(name: &str) -> Result<PathBuf> {
    let directory = Guardian::of_this_process()?.directory().join(name);
    std::fs::create_dir(&directory)?;
    harness::account::Account::for_servers()?.own(&directory)?;
    Ok(directory)
}

/// Copies a file into a directory, or the contents of one directory into another.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let from = if from.is_dir() {
        from.join(".")
    } else {
        from.to_owned()
    };
    let status = Command::new("cp").arg("-R").arg(&from).arg(to).status()?;
    ensure!(status.success(), "could not copy {}", from.display());
    Ok(())
}

/// The proxy's own counts.
fn captured(metrics: &str) -> Result<String> {
    let url = format!("http://{metrics}/metrics");
    let output = Command::new("curl").args(["-fsS", &url]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let total = |name: &str| -> u64 {
        let lines = text.lines().filter(|line| line.starts_with(name));
        let numbers = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        numbers.sum()
    };
    let mut reasons: Vec<(u64, &str)> = text
        .lines()
        .filter_map(|line| {
            let line = line.strip_prefix("segue_proxy_deferred_transactions_total{reason=\"")?;
            let (reason, count) = line.split_once("\"} ")?;
            Some((count.parse().ok()?, reason))
        })
        .collect();
    reasons.sort_unstable_by(|one, other| other.cmp(one));
    let reasons: Vec<String> = reasons
        .iter()
        .map(|(count, reason)| format!("{reason} {count}"))
        .collect();
    Ok(format!(
        "captured {} statements; {} transactions whole, {} left to the log; catalog read {} times\n\
         left to the log: {}",
        total("segue_proxy_captured_statements_total"),
        total("segue_proxy_captured_transactions_total"),
        total("segue_proxy_deferred_transactions_total"),
        total("segue_proxy_catalog_reads_total"),
        reasons.join(", "),
    ))
}
