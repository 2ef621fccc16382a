//! The servers and the proxy that a suite runs on, one pair per way.
//!
//! Does not look at results.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::account::Account;
use harness::guardian::{Ending, Guardian};
use harness::segue::{Launch, binary_beside};
use harness::server::free_port;
use harness::{Installation, Process, Server, ServerOptions};

use crate::Order;
use crate::results::Results;
use crate::suite::{Mirror, Run, Suite};

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
}

impl<'order> Ground<'order> {
    pub(crate) fn new(order: &'order Order) -> Result<Self> {
        let installation = Installation::all().into_iter();
        let installation = installation
            .rev()
            .find(|one| one.version == VERSION)
            .context("no PostgreSQL 15 on this machine")?;
        // The clone may lie where the servers' account cannot read.
        let inputs = directory("inputs")?;
        copy(&order.suite.directory(&order.source), &inputs)?;
        let library = inputs.join("lib");
        std::fs::create_dir(&library)?;
        if order.suite == Suite::Regress {
            copy(&inputs.join("regress.so"), &library)?;
            let modules = installation.programs.join("../lib");
            for module in ["autoinc.so", "refint.so"] {
                copy(&modules.join(module), &library)?;
            }
        }
        Ok(Self {
            order,
            installation,
            inputs,
        })
    }

    /// Runs the suite on a server.
    pub(crate) async fn direct(&self) -> Result<Results> {
        let server = self.server().await?;
        self.play("direct", server.port()).await
    }

    /// Runs it on another server through a proxy. Says what was captured, if anything was to be.
    pub(crate) async fn proxied(&self) -> Result<(Results, Option<String>)> {
        let server = self.server().await?;
        let source = server.database(self.order.suite.database());
        let binary = binary_beside(&std::env::current_exe()?)?;
        let launch = Launch::new(binary, &source, &source).with_uris(Some(&source.uri()), None);
        let metrics = format!("127.0.0.1:{}", free_port()?);
        let mut arguments = vec!["--metrics", &metrics];
        arguments.extend(match self.order.mirror {
            Mirror::Off => ["--mirror", "off"].as_slice(),
            Mirror::On => &["--mirror", "dry", "--catalog-wait", CATALOG_WAIT],
        });
        let mut segue = launch.proxy(&arguments).await?;
        let results = self.play("proxied", segue.port()).await;
        ensure!(segue.ended()?.is_none(), "the proxy died:\n{}", segue.log());
        let captured = match self.order.mirror {
            Mirror::Off => None,
            Mirror::On => Some(captured(&metrics)?),
        };
        let log = self.kept("proxy.log");
        std::fs::write(log, segue.log())?;
        let code = segue.terminate().await?;
        ensure!(code == 0, "the proxy ended with exit code {code}");
        Ok((results?, captured))
    }

    async fn server(&self) -> Result<Server> {
        let options = ServerOptions {
            settings: SERVER_SETTINGS.map(str::to_owned).into(),
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
        if self.order.mirror == Mirror::On {
            server.database(name).execute(CONTRACT).await?;
        }
        Ok(server)
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
        Results::read(&list, outputs).with_context(|| driver.errors())
    }

    fn kept(&self, name: &str) -> PathBuf {
        crate::kept(self.order).join(name)
    }
}

/// A new directory that the servers' account may write to.
fn directory(name: &str) -> Result<PathBuf> {
    let directory = Guardian::of_this_process()?.directory().join(name);
    std::fs::create_dir(&directory)?;
    Account::for_servers()?.own(&directory)?;
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
