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
    server::free_port,
    tool, wait,
};

use crate::{Plan, Way, load};

/// Where Debian installs it; it is not in everybody's PATH.
const PGBOUNCER: &str = "/usr/sbin/pgbouncer";

/// Room for everything but idle connections.
const CONNECTIONS_MAX: usize = 200;

/// All that stands by for the measurements.
pub(crate) struct Field {
    plain: Database,
    mirrored: Bed,
    launch: Launch,
    pass_through: Segue,
    pass_through_two: Segue,
    pgbouncer: Option<(Process, u16)>,
    reconciler: Option<Segue>,
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
        let mirrored = Bed {
            source: pair.source.database("mirrored"),
            target: pair.target.database("mirrored"),
        };
        for database in [&unmirrored, &mirrored.source, &mirrored.target] {
            let maintenance = database.clone().of_name("postgres");
            maintenance
                .execute(&format!("CREATE DATABASE {}", database.name))
                .await?;
            fill(database, plan.scale)?;
            database.execute(load::SCHEMA).await?;
        }
        let launch = mirrored.launch(&plan.binary);
        launch.setup().await?;
        let pass = launch.with_uris(Some(&unmirrored.uri()), None);
        let pass_through =
            async |workers| pass.proxy(&["--mirror", "off", "--workers", workers]).await;
        Ok(Self {
            pass_through: pass_through("1").await?,
            pass_through_two: pass_through("2").await?,
            pgbouncer: pgbouncer(&unmirrored, plan.idle + 100).await?,
            plain: unmirrored,
            mirrored,
            launch,
            reconciler: None,
            _pair: pair,
        })
    }

    pub(crate) fn has(&self, way: Way) -> bool {
        match way {
            Way::Pgbouncer => self.pgbouncer.is_some(),
            Way::Direct | Way::PassThrough | Way::PassThroughTwo | Way::DualWrite => true,
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
            Way::DualWrite => {
                let arguments = ["--mirror", "async", "--workers", "1"];
                let proxy = self.launch.proxy(&arguments).await?;
                Open {
                    database: self.mirrored.source.through(proxy.port()),
                    proxy: Some(proxy.pid()),
                    dual: Some(proxy),
                }
            }
        })
    }

    /// Ends what was started for the way; the staleness of the target, p50 and p99 in seconds, if
    /// anything was `mirrored`.
    pub(crate) async fn close(&self, open: Open, mirrored: bool) -> Result<Option<(f64, f64)>> {
        let Some(proxy) = open.dual else {
            return Ok(None);
        };
        let mut staleness = None;
        if mirrored {
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
        self.mirrored.caught_up().await?;
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

    /// The reconciler's process id, while it runs.
    pub(crate) fn reconciler(&self) -> Option<u32> {
        self.reconciler.as_ref().map(Segue::pid)
    }
}

fn fill(database: &Database, scale: u32) -> Result<()> {
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
    let port = free_port()?;
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
