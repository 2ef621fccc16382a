//! A real target for a suite: a second server with the tables that the suite finds, a contract, a
//! proxy that mirrors and a reconciler; and the reckoning when the suite has ended.
//!
//! Does not know which suite it is.

use std::fmt;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use harness::compare::{Comparison, compare_where};
use harness::ports;
use harness::segue::{Launch, Segue, binary_beside};
use harness::{Database, Installation, Server, ServerOptions, bed::Bed, tool};
use serde_json::Value;

/// How long a statement behind a schema change waits for the catalog to be read.
const CATALOG_WAIT: &str = "5s";

/// What the restored schema brings along that acts by itself, and is not to.
const PASSIVE: &str = "\
DO $$ DECLARE one record; BEGIN
    FOR one IN SELECT evtname FROM pg_event_trigger LOOP
        EXECUTE format('DROP EVENT TRIGGER %I', one.evtname);
    END LOOP;
    FOR one IN SELECT tgname, tgrelid::regclass AS of FROM pg_trigger WHERE NOT tgisinternal LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s', one.tgname, one.of);
    END LOOP;
    FOR one IN SELECT rulename, ev_class::regclass AS of FROM pg_rewrite
               WHERE rulename <> '_RETURN' AND ev_class >= 16384 LOOP
        EXECUTE format('DROP RULE %I ON %s', one.rulename, one.of);
    END LOOP;
END $$";

/// Source and target, with a contract.
pub(crate) struct Mirrored {
    bed: Bed,
    launch: Launch,
    /// The tables of the contract, by canonical name.
    tables: Vec<String>,
    /// Runs for as long as this is kept.
    _target: Server,
}

impl Mirrored {
    /// Starts the target, gives it the source's schema and sets up what can be carried. The tables
    /// have to be empty.
    pub(crate) async fn start(source: Database, installation: Installation) -> Result<Self> {
        let server = Server::start(installation, ServerOptions::default()).await?;
        let target = server.database(&source.name);
        let make = format!("CREATE DATABASE {} TEMPLATE template0", source.name);
        server.database("postgres").execute(&make).await?;
        restore_schema(&source, &target)?;
        target.execute(PASSIVE).await?;
        let binary = binary_beside(&std::env::current_exe()?)?;
        let bed = Bed { source, target };
        let launch = bed.launch(binary);
        let (_, check) = launch.json(&["setup", "--check"]).await?;
        let tables = strings(&check["tables"]);
        ensure!(!tables.is_empty(), "no table can be carried: {check}");
        let mut setup = vec!["setup"];
        for table in &tables {
            setup.extend(["--table", table]);
        }
        let ended = launch.run_to_end(&setup).await?;
        ensure!(ended.code == 0, "segue setup: {}", ended.errors);
        Ok(Self {
            bed,
            launch,
            tables,
            _target: server,
        })
    }

    /// Proxy and reconciler. The endpoint for metrics is returned, too.
    pub(crate) async fn run(&self) -> Result<(Segue, String)> {
        let http = format!("127.0.0.1:{}", ports::free()?);
        let arguments = ["--http", &http, "--catalog-wait", CATALOG_WAIT];
        Ok((self.launch.run(&arguments).await?, http))
    }

    /// Waits until the target has what the source has, and says what came of it.
    pub(crate) async fn reckon(&self) -> Result<Reckoning> {
        self.bed.caught_up().await?;
        let is_carried = |name: &str| self.tables.iter().any(|table| table == name);
        let mut compared = None;
        let equal = harness::wait::until_true("both sides to be equal", async || {
            let comparison = compare_where(&self.bed.source, &self.bed.target, is_carried).await?;
            let equal = comparison.is_equal();
            compared = Some(comparison);
            Ok(equal)
        });
        let waited = equal.await;
        let Some(compared) = compared else {
            waited?;
            anyhow::bail!("nothing was compared");
        };
        Ok(Reckoning {
            contract: self.tables.len(),
            compared,
            report: self.launch.report().await?,
        })
    }
}

/// What a suite has left at the target.
pub(crate) struct Reckoning {
    /// How many tables the contract has.
    contract: usize,
    compared: Comparison,
    report: Value,
}

impl Reckoning {
    /// Whether the log never found the mirror wrong, and the sides are equal but for rows that the
    /// status says are owed: what the target refuses (a test stores bytes that are no text).
    pub(crate) fn is_clean(&self) -> bool {
        let summary = &self.report["summary"];
        self.differing_rows() <= self.owed_rows()
            && ["open", "repaired", "ignored"]
                .iter()
                .all(|state| summary[state] == 0)
    }

    fn differing_rows(&self) -> u64 {
        let differing = self.compared.tables.iter().filter(|it| !it.is_equal());
        // A table that could not be read may differ in any number of rows.
        let rows = differing.map(|it| match it.unread {
            None => u64::try_from(it.differences.len()).unwrap_or(u64::MAX),
            Some(_) => u64::MAX,
        });
        rows.fold(0, u64::saturating_add)
    }

    fn owed_rows(&self) -> u64 {
        let owed = &self.report["status"]["owed_rows"];
        owed.as_u64().unwrap_or_default()
    }
}

impl fmt::Display for Reckoning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = &self.report["status"];
        let (rows, mirror) = (&status["rows"], &status["mirror"]);
        let tables = &self.compared.tables;
        let count: usize = tables.iter().map(|it| it.source_count).sum();
        let (equal, differing): (Vec<_>, Vec<_>) = tables.iter().partition(|it| it.is_equal());
        writeln!(
            f,
            "{} tables in the contract, {} compared row by row ({count} rows): {} equal at the target",
            self.contract,
            tables.len(),
            equal.len()
        )?;
        for table in differing {
            write!(f, "{table}")?;
        }
        writeln!(f, "{} rows are owed to the target", self.owed_rows())?;
        writeln!(
            f,
            "at the target early: {} of {} captured transactions; not: {}",
            mirror["accepted"], mirror["captured"], mirror["failed"]
        )?;
        write!(
            f,
            "rows from the log: {} verified, {} applied, {} repaired, {} superseded; divergences: {}",
            rows["verified"],
            rows["applied"],
            rows["repaired"],
            rows["superseded"],
            self.report["summary"]
        )?;
        for one in self.report["divergences"].as_array().into_iter().flatten() {
            write!(
                f,
                "\n{} {}: {} {}, columns {}",
                one["state"], one["kind"], one["table"], one["key"], one["columns"]
            )?;
        }
        Ok(())
    }
}

/// What cannot be made at the target (it has other roles) is left out: a table that is not there, or
/// not the same, is in no contract.
fn restore_schema(from: &Database, to: &Database) -> Result<()> {
    let mut dump = tool::client_program("pg_dump", from)?;
    dump.args(["--schema-only", "--no-owner", "--no-privileges"]);
    let mut dump = dump.stdout(Stdio::piped()).spawn()?;
    let pipe = dump.stdout.take().context("pg_dump has no output")?;
    let mut load = tool::client_program("psql", to)?;
    load.args(["-Xq", "-o", "/dev/null"])
        .stdin(pipe)
        .stderr(Stdio::null());
    ensure!(load.status()?.success(), "psql failed");
    ensure!(dump.wait()?.success(), "pg_dump failed");
    Ok(())
}

fn strings(value: &Value) -> Vec<String> {
    let all = value.as_array().into_iter().flatten();
    all.filter_map(|one| one.as_str().map(str::to_owned))
        .collect()
}
