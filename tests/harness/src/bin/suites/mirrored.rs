//! A real target for a suite: a second server with the tables that the suite finds, a contract, a
//! proxy that mirrors and a reconciler; and the reckoning when the suite has ended.
//!
//! Does not know which suite it is.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use harness::compare::{Comparison, TableComparison, compare_where};
use harness::ports;
use harness::segue::{Launch, Segue, binary_beside};
use harness::{Database, Installation, Server, ServerOptions, bed::Bed, tool};
use serde_json::Value;

use crate::rules;

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

/// A source with a suite's tables and a target with the same, set up; neither server runs. What is
/// played starts from copies, so that no two ways differ in an OID or in what a page holds.
pub(crate) struct Prepared {
    source: Server,
    target: Server,
    database: String,
    /// The tables of the contract, by canonical name.
    tables: Vec<String>,
}

impl Prepared {
    /// Starts a target, gives it the source's schema and sets up what can be carried. The tables have
    /// to be empty.
    pub(crate) async fn make(
        mut source: Server,
        database: &str,
        installation: Installation,
    ) -> Result<Self> {
        let mut target = Server::start(installation, ServerOptions::default()).await?;
        let make = format!("CREATE DATABASE {database} TEMPLATE template0");
        target.database("postgres").execute(&make).await?;
        let bed = bed(&source, &target, database);
        restore_schema(&bed.source, &bed.target)?;
        bed.target.execute(PASSIVE).await?;
        let launch = launch(&bed)?;
        let (_, check) = launch.json(&["setup", "--check"]).await?;
        let tables = strings(&check["tables"]);
        ensure!(!tables.is_empty(), "no table can be carried: {check}");
        let mut setup = vec!["setup"];
        for table in &tables {
            setup.extend(["--table", table]);
        }
        let ended = launch.run_to_end(&setup).await?;
        ensure!(ended.code == 0, "segue setup: {}", ended.errors);
        source.stop().await?;
        target.stop().await?;
        Ok(Self {
            source,
            target,
            database: database.to_owned(),
            tables,
        })
    }

    /// The source alone. Publications and schemas show in what psql prints of tables, so it has
    /// Segue's; its slot is gone, for one that nobody reads keeps the catalogs from being cleaned.
    pub(crate) async fn source(&self) -> Result<Server> {
        let source = self.source.copy().await?;
        let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots";
        source.database(&self.database).execute(drop).await?;
        Ok(source)
    }

    /// Both.
    pub(crate) async fn pair(&self) -> Result<Mirrored> {
        let (source, target) = (self.source.copy().await?, self.target.copy().await?);
        let bed = bed(&source, &target, &self.database);
        Ok(Mirrored {
            launch: launch(&bed)?,
            bed,
            tables: self.tables.clone(),
            _servers: [source, target],
        })
    }
}

/// Source and target, running.
pub(crate) struct Mirrored {
    bed: Bed,
    launch: Launch,
    tables: Vec<String>,
    /// They run for as long as these are kept.
    _servers: [Server; 2],
}

impl Mirrored {
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
        let mut last = None;
        let settled = harness::wait::until_true("both sides to be equal", async || {
            let compared = compare_where(&self.bed.source, &self.bed.target, is_carried).await?;
            let owed = refused(&self.bed.target).await?;
            let settled = is_settled(&compared, &owed);
            last = Some((compared, owed));
            Ok(settled)
        });
        let waited = settled.await;
        let Some((compared, owed)) = last else {
            waited?;
            anyhow::bail!("nothing was compared");
        };
        Ok(Reckoning {
            contract: self.tables.len(),
            compared,
            owed,
            report: self.launch.report().await?,
        })
    }
}

fn bed(source: &Server, target: &Server, database: &str) -> Bed {
    Bed {
        source: source.database(database),
        target: target.database(database),
    }
}

fn launch(bed: &Bed) -> Result<Launch> {
    Ok(bed.launch(binary_beside(&std::env::current_exe()?)?))
}

/// What a suite has left at the target.
pub(crate) struct Reckoning {
    /// How many tables the contract has.
    contract: usize,
    compared: Comparison,
    owed: OwedCounts,
    report: Value,
}

/// How many rows of each table are owed to the target because it refuses them.
type OwedCounts = BTreeMap<String, usize>;

async fn refused(target: &Database) -> Result<OwedCounts> {
    let sql = r#"SELECT "table", count(*) FROM segue.owed WHERE why = 'constraint' GROUP BY 1"#;
    let mut counts = OwedCounts::new();
    for row in target.rows(sql).await? {
        if let [Some(table), Some(count)] = row.as_slice() {
            counts.insert(table.clone(), count.parse()?);
        }
    }
    Ok(counts)
}

/// Why a table may be unequal: a rule says so, and all that differs is owed to it.
fn excuse(table: &TableComparison, owed: &OwedCounts) -> Option<&'static str> {
    let is_owed =
        table.unread.is_none() && owed.get(&table.table) == Some(&table.differences.len());
    is_owed.then(|| rules::refused_rows(&table.table)).flatten()
}

fn is_settled(compared: &Comparison, owed: &OwedCounts) -> bool {
    let mut tables = compared.tables.iter();
    tables.all(|table| table.is_equal() || excuse(table, owed).is_some())
}

impl Reckoning {
    /// Whether the log never found the mirror wrong, and the sides are equal but for what a rule
    /// excuses.
    pub(crate) fn is_clean(&self) -> bool {
        let summary = &self.report["summary"];
        is_settled(&self.compared, &self.owed)
            && ["open", "repaired", "ignored"]
                .iter()
                .all(|state| summary[state] == 0)
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
            if let Some(why) = excuse(table, &self.owed) {
                writeln!(f, "  explained: {why}")?;
            }
        }
        writeln!(
            f,
            "{} rows are owed to the target; attention: {}",
            status["owed_rows"], status["attention"]
        )?;
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
