//! The servers, the proxies and the databases that are measured.
//!
//! The mirrored database is another one than the plain one, and its reconciler runs only while it
//! is measured: the other ways must not pay for decoding their writes.

use std::{os::unix::fs::PermissionsExt, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use harness::{
    Bed, Database, Durability, Launch, Pair, Process, Segue, ServerOptions,
    account::Account,
    guardian::{Ending, Guardian},
    ports, tool, wait,
};

use crate::{Plan, Way, load};

/// Where Debian installs it; it is not in everybody's PATH.
const PGBOUNCER: &str = "/usr/sbin/pgbouncer";

/// PostgreSQL's own publication, subscription and slot.
pub(crate) const SUBSCRIPTION: &str = "bench";
/// The slot of which the log is decoded and thrown away.
const NOWHERE: &str = "nowhere";

/// Room for everything but idle connections.
const CONNECTIONS_MAX: usize = 200;

/// All that stands by for the measurements.
pub(crate) struct Field {
    plain: Database,
    mirrored: Bed,
    replicated: Bed,
    launch: Launch,
    pass_through: Segue,
    pass_through_two: Segue,
    pass_through_replicated: Segue,
    pgbouncer: Option<(Process, u16)>,
    reconciler: Option<Segue>,
    decoder: Option<Process>,
    _pair: Pair,
}

/// A way that is open: where pgbench goes, and whose CPU time counts.
pub(crate) struct Open {
    pub(crate) database: Database,
    pub(crate) proxy: Option<u32>,
    dual: Option<Segue>,
}

impl Field {
    pub(crate) async fn prepare(plan: &Plan) -> Result<Self> {
        let options = ServerOptions {
            durability: Durability::Durable,
            settings: vec![format!(
                "max_connections={}",
                CONNECTIONS_MAX + 2 * plan.idle
            )],
            ..ServerOptions::default()
        };
        let pair = Pair::start(options).await?;
        let unmirrored = pair.source.database("plain");
        let both = |name| Bed {
            source: pair.source.database(name),
            target: pair.target.database(name),
        };
        let (mirrored, replicated) = (both("mirrored"), both("replicated"));
        for database in [
            &unmirrored,
            &mirrored.source,
            &mirrored.target,
            &replicated.source,
            &replicated.target,
        ] {
            let maintenance = database.clone().of_name("postgres");
            maintenance
                .execute(&format!("CREATE DATABASE {}", database.name))
                .await?;
            fill(database, plan.scale)?;
            database.execute(load::SCHEMA).await?;
        }
        let launch = mirrored.launch(&plan.binary);
        launch.setup().await?;
        let pass_through = async |database: &Database, workers| {
            let launch = launch.with_uris(Some(&database.uri()), None);
            launch
                .proxy(&["--mirror", "off", "--workers", workers])
                .await
        };
        subscribe(&replicated).await?;
        Ok(Self {
            pass_through: pass_through(&unmirrored, "1").await?,
            pass_through_two: pass_through(&unmirrored, "2").await?,
            pass_through_replicated: pass_through(&replicated.source, "1").await?,
            pgbouncer: pgbouncer(&unmirrored, plan.idle + 100).await?,
            plain: unmirrored,
            mirrored,
            replicated,
            launch,
            reconciler: None,
            decoder: None,
            _pair: pair,
        })
    }

    pub(crate) fn has(&self, way: Way) -> bool {
        match way {
            Way::Pgbouncer => self.pgbouncer.is_some(),
            Way::Direct
            | Way::PassThrough
            | Way::PassThroughTwo
            | Way::DualWrite
            | Way::Dry
            | Way::Decoded
            | Way::Replicated => true,
        }
    }

    pub(crate) async fn open(&self, way: Way) -> Result<Open> {
        let through = |proxy: &Segue| Open {
            database: self.plain.through(proxy.port()),
            proxy: Some(proxy.pid()),
            dual: None,
        };
        Ok(match way {
            Way::Direct => Open {
                database: self.plain.clone(),
                proxy: None,
                dual: None,
            },
            Way::Pgbouncer => {
                let (process, port) = self.pgbouncer.as_ref().context("no pgbouncer")?;
                Open {
                    database: self.plain.through(*port),
                    proxy: Some(process.pid()),
                    dual: None,
                }
            }
            Way::PassThrough => through(&self.pass_through),
            Way::PassThroughTwo => through(&self.pass_through_two),
            Way::DualWrite => self.mirroring("async").await?,
            Way::Dry => self.mirroring("dry").await?,
            Way::Decoded | Way::Replicated => {
                let proxy = &self.pass_through_replicated;
                Open {
                    database: self.replicated.source.through(proxy.port()),
                    proxy: Some(proxy.pid()),
                    dual: None,
                }
            }
        })
    }

    async fn mirroring(&self, mode: &str) -> Result<Open> {
        let arguments = ["--mirror", mode, "--workers", "1"];
        let proxy = self.launch.proxy(&arguments).await?;
        Ok(Open {
            database: self.mirrored.source.through(proxy.port()),
            proxy: Some(proxy.pid()),
            dual: Some(proxy),
        })
    }

    /// Ends what was started for the way; the staleness of the target, p50 and p99 in seconds, if
    /// anything was `mirrored`.
    pub(crate) async fn close(&self, open: Open, mirrored: bool) -> Result<Option<(f64, f64)>> {
        let Some(proxy) = open.dual else {
            return Ok(None);
        };
        let mut staleness = None;
        if mirrored && self.reconciler.is_some() {
            // The proxy writes its figures once a second; those of before the last writes are older.
            let mark = "SELECT max(lease) FROM segue.proxy";
            let before = self.mirrored.target.value(mark).await?;
            wait::until_true("the proxy's figures", async || {
                Ok(self.mirrored.target.value(mark).await? > before)
            })
            .await?;
            let status = self.launch.status().await?;
            let mirror = &status["mirror"];
            let both =
                ["staleness_seconds_p50", "staleness_seconds_p99"].map(|it| mirror[it].as_f64());
            staleness = both[0].zip(both[1]);
        }
        if self.reconciler.is_some() {
            self.mirrored.caught_up().await?;
        }
        ensure!(proxy.terminate().await? == 0, "the proxy did not end well");
        Ok(staleness)
    }

    /// Starts the reconciler and waits until dual writes are possible.
    pub(crate) async fn start_reconciler(&mut self) -> Result<()> {
        self.reconciler = Some(self.launch.reconciler(&[]).await?);
        // What the other ways have written meanwhile has to be decoded and skipped first.
        self.mirrored.caught_up().await?;
        let armed = "SELECT count(*) FROM segue.mirror_gate";
        wait::until_true("the mirror gate to be armed", async || {
            Ok(self.mirrored.target.value(armed).await? == "1")
        })
        .await
    }

    pub(crate) async fn stop_reconciler(&mut self) -> Result<()> {
        if let Some(reconciler) = self.reconciler.take() {
            let code = reconciler.terminate().await?;
            ensure!(code == 0, "the reconciler did not end well");
        }
        Ok(())
    }

    /// Lets the target's own subscriber run, until it has what was written before.
    pub(crate) async fn start_replication(&self) -> Result<()> {
        let target = &self.replicated.target;
        target
            .execute(&format!("ALTER SUBSCRIPTION {SUBSCRIPTION} ENABLE"))
            .await?;
        self.catch_up(SUBSCRIPTION).await
    }

    /// Waits until a slot's reader has been sent what was written before it came.
    async fn catch_up(&self, slot: &str) -> Result<()> {
        let source = &self.replicated.source;
        let now = source.value("SELECT pg_current_wal_insert_lsn()").await?;
        let sent = format!(
            "SELECT coalesce(bool_and(sent_lsn >= '{now}'), false) FROM pg_stat_replication \
             JOIN pg_replication_slots ON active_pid = pid WHERE slot_name = '{slot}'"
        );
        wait::until_true("the log's reader to catch up", async || {
            Ok(source.value(&sent).await? == "t")
        })
        .await
    }

    pub(crate) async fn stop_replication(&self) -> Result<()> {
        let target = &self.replicated.target;
        target
            .execute(&format!("ALTER SUBSCRIPTION {SUBSCRIPTION} DISABLE"))
            .await
    }

    /// Lets the log be decoded, and thrown away.
    pub(crate) async fn start_decoding(&mut self) -> Result<()> {
        self.decoder = Some(receive_to_nowhere(&self.replicated.source)?);
        let caught_up = self.catch_up(NOWHERE).await;
        caught_up.with_context(|| {
            self.decoder
                .as_ref()
                .map_or_else(String::new, Process::errors)
        })
    }

    pub(crate) fn stop_decoding(&mut self) -> Result<()> {
        self.decoder
            .take()
            .map_or(Ok(()), |mut decoder| decoder.kill())
    }

    /// The reconciler's process id, while it runs.
    pub(crate) fn reconciler(&self) -> Option<u32> {
        self.reconciler.as_ref().map(Segue::pid)
    }
}

/// `pg_recvlogical`, which has the log decoded and throws it away.
pub(crate) fn receive_to_nowhere(source: &Database) -> Result<Process> {
    let mut command = tool::client_program("pg_recvlogical", source)?;
    command.args(["--dbname", &source.name, "--slot", NOWHERE, "--start"]);
    command.args(["--no-loop", "--file", "/dev/null"]);
    let publication = format!("publication_names={SUBSCRIPTION}");
    command.args(["-o", "proto_version=1", "-o", &publication]);
    let stem = Guardian::of_this_process()?.directory().join("decoder");
    Process::start("pg_recvlogical", &mut command, &stem, Ending::Kill)
}

/// PostgreSQL's own logical replication of all tables; it stands still at first.
pub(crate) async fn subscribe(bed: &Bed) -> Result<()> {
    let Database {
        port, user, name, ..
    } = &bed.source;
    let publish = format!("CREATE PUBLICATION {SUBSCRIPTION} FOR ALL TABLES");
    bed.source.execute(&publish).await?;
    bed.target
        .execute(&format!(
            "CREATE SUBSCRIPTION {SUBSCRIPTION} CONNECTION 'host=127.0.0.1 port={port} user={user} dbname={name}' \
             PUBLICATION {SUBSCRIPTION} WITH (copy_data = false, enabled = false, create_slot = false)"
        ))
        .await?;
    for slot in [SUBSCRIPTION, NOWHERE] {
        let create = format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')");
        bed.source.execute(&create).await?;
    }
    Ok(())
}

pub(crate) fn fill(database: &Database, scale: u32) -> Result<()> {
    let mut command = tool::client_program("pgbench", database)?;
    let output = command
        .args(["-i", "-q", "-s", &scale.to_string()])
        .output()?;
    ensure!(
        output.status.success(),
        "pgbench -i: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

async fn pgbouncer(database: &Database, connections: usize) -> Result<Option<(Process, u16)>> {
    if Command::new(PGBOUNCER).arg("--version").output().is_err() {
        return Ok(None);
    }
    let port = ports::free()?;
    let directory = Guardian::of_this_process()?.directory().join("pgbouncer");
    std::fs::create_dir(&directory)?;
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755))?;
    let account = Account::for_servers()?;
    let settings: PathBuf = directory.join("pgbouncer.ini");
    std::fs::write(
        &settings,
        format!(
            "[databases]\n{name} = host=127.0.0.1 port={server} user={user}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = session\nmax_client_conn = {connections}\n\
             default_pool_size = {connections}\n",
            name = database.name,
            server = database.port,
            user = database.user,
        ),
    )?;
    let mut command = account.command(PGBOUNCER);
    command.arg(&settings);
    let stem = directory.join("pgbouncer");
    let mut process = Process::start("pgbouncer", &mut command, &stem, Ending::Kill)?;
    let pooled = database.through(port);
    wait::until_true("pgbouncer to answer", async || {
        Ok(pooled.value("SELECT 1").await? == "1")
    })
    .await
    .with_context(|| process.errors())?;
    ensure!(
        process.status()?.is_none(),
        "pgbouncer has ended: {}",
        process.errors()
    );
    // An idle moment for its connection to close.
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(Some((process, port)))
}
