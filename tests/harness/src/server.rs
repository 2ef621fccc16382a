//! A throw-away PostgreSQL server on a free loopback port.
//!
//! Its directory lies in the process's temporary directory. A dropped server is stopped at once.
//! Does not share anything with servers that run on the machine already.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    account::Account,
    database::Database,
    guardian::{Ending, Guardian},
    installation::Installation,
    ports,
    process::Process,
    wait,
};

/// The password of the superuser `postgres` under [`Authentication::Scram`].
pub const PASSWORD: &str = "open sesame";

/// Numbers the directories.
static SERVER_COUNT: AtomicU32 = AtomicU32::new(0);

/// What a crash of the machine may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// `fsync = off`: quick. kill -9 of the server still loses nothing.
    Fast,
    /// As in production.
    Durable,
}

/// How clients over TCP prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// No password.
    Trust,
    /// SCRAM-SHA-256 with [`PASSWORD`].
    Scram,
}

/// How to start a server.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// What a crash of the machine may cost.
    pub durability: Durability,
    /// How clients log in.
    pub authentication: Authentication,
    /// Further `name=value` settings.
    pub settings: Vec<String>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Fast,
            authentication: Authentication::Trust,
            settings: Vec::new(),
        }
    }
}

/// A server, running unless it was killed or stopped.
#[derive(Debug)]
pub struct Server {
    pub(crate) installation: Installation,
    pub(crate) options: ServerOptions,
    directory: PathBuf,
    pub(crate) port: u16,
    process: Option<Process>,
}

impl Server {
    /// Makes a cluster and starts it.
    pub async fn start(installation: Installation, options: ServerOptions) -> Result<Self> {
        let mut server = Self::in_new_directory(installation.reachable()?, options)?;
        server.make_cluster()?;
        server.run_somewhere().await?;
        Ok(server)
    }

    /// Starts another server with what this one holds, byte by byte. This one has to be stopped.
    pub async fn copy(&self) -> Result<Self> {
        ensure!(self.process.is_none(), "a server that runs is not copied");
        let mut copy = Self::in_new_directory(self.installation.clone(), self.options.clone())?;
        let output = Account::for_servers()?
            .command("cp")
            .args(["-a", "--reflink=auto"])
            .args([self.data(), copy.data()])
            .output()
            .context("could not run cp")?;
        ensure!(
            output.status.success(),
            "cp: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        copy.run_somewhere().await?;
        Ok(copy)
    }

    pub(crate) fn in_new_directory(
        installation: Installation,
        options: ServerOptions,
    ) -> Result<Self> {
        let number = SERVER_COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("server-{number}-pg{}", installation.version);
        let directory = Guardian::of_this_process()?.directory().join(name);
        std::fs::create_dir(&directory)?;
        Account::for_servers()?.own(&directory)?;
        Ok(Self {
            installation,
            options,
            directory,
            port: 0,
            process: None,
        })
    }

    /// Starts the server of this directory on a free port.
    pub(crate) async fn run_somewhere(&mut self) -> Result<()> {
        // Between finding a free port and binding it another process may take it.
        for _ in 0..20 {
            self.port = ports::free()?;
            if self.run().await.is_ok() {
                return Ok(());
            }
        }
        self.run().await
    }

    fn make_cluster(&self) -> Result<()> {
        let secret = self.directory.join("password");
        std::fs::write(&secret, PASSWORD)?;
        let account = Account::for_servers()?;
        account.own(&secret)?;
        let method = match self.options.authentication {
            Authentication::Trust => "trust",
            Authentication::Scram => "scram-sha-256",
        };
        let output = account
            .command(self.installation.program("initdb"))
            .current_dir(&self.directory)
            .arg("--pgdata")
            .arg(self.data())
            .args([
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ])
            .args(["--auth-local=trust", &format!("--auth-host={method}")])
            .arg(format!("--pwfile={}", secret.display()))
            .output()
            .context("could not run initdb")?;
        ensure!(
            output.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Starts the server of this directory and port, and waits until it accepts connections.
    pub async fn run(&mut self) -> Result<()> {
        let ready = self.data().join("postmaster.pid");
        if ready.exists() {
            std::fs::remove_file(&ready)?;
        }
        let mut command = Account::for_servers()?.command(self.installation.program("postgres"));
        command
            .current_dir(&self.directory)
            .arg("-D")
            .arg(self.data());
        for setting in self.settings() {
            command.arg("-c").arg(setting);
        }
        let stem = self.directory.join("server");
        let mut process = Process::start("postgres", &mut command, &stem, Ending::Quit)?;
        let deadline = tokio::time::Instant::now() + wait::PATIENCE;
        // The last line of postmaster.pid is the server's own word for its state.
        while !std::fs::read_to_string(&ready).is_ok_and(|text| text.trim_end().ends_with("ready"))
        {
            if let Some(status) = process.status()? {
                bail!("postgres ended with {status}:\n{}", process.errors());
            }
            if tokio::time::Instant::now() > deadline {
                bail!("postgres does not get ready:\n{}", process.errors());
            }
            tokio::time::sleep(wait::PAUSE).await;
        }
        self.process = Some(process);
        Ok(())
    }

    fn settings(&self) -> Vec<String> {
        let mut settings: Vec<String> = [
            "listen_addresses=127.0.0.1",
            "wal_level=logical",
            "max_connections=200",
            // An origin keeps its place once it was used, and every test's database has its own.
            "max_replication_slots=1000",
            "max_wal_senders=100",
            "shared_buffers=64MB",
            "dynamic_shared_memory_type=mmap",
            "max_prepared_transactions=20",
            "track_activity_query_size=64kB",
            "log_min_messages=warning",
            "log_line_prefix=%m [%p] %a ",
        ]
        .map(str::to_owned)
        .into();
        settings.push(format!("port={}", self.port));
        settings.push(format!(
            "unix_socket_directories={}",
            self.directory.display()
        ));
        if self.installation.version >= 18 {
            settings.push("max_active_replication_origins=1000".to_owned());
        }
        match self.options.durability {
            Durability::Fast => {
                settings.extend(["fsync=off", "full_page_writes=off"].map(str::to_owned));
            }
            Durability::Durable => {}
        }
        settings.extend(self.options.settings.iter().cloned());
        settings
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The server's directory: its socket and its log lie there.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Major version.
    pub fn version(&self) -> u32 {
        self.installation.version
    }

    /// The loopback port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The postmaster's process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// The server's log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("server.err")).unwrap_or_default()
    }

    /// A database of this server, which need not exist yet.
    pub fn database(&self, name: &str) -> Database {
        let password = match self.options.authentication {
            Authentication::Trust => None,
            Authentication::Scram => Some(PASSWORD.to_owned()),
        };
        Database::new(self.port, name).with_password(password)
    }

    /// kill -9 of the postmaster and all its children, as when the machine loses its power.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        let children = children(process.pid());
        process.kill()?;
        for child in &children {
            std::process::Command::new("sh")
                .args(["-c", &format!("kill -9 {child} 2>/dev/null")])
                .status()?;
        }
        let gone = children
            .iter()
            .map(|child| format!("[ ! -d /proc/{child} ]"));
        let gone: Vec<String> = gone.collect();
        if !gone.is_empty() {
            // Memory that a child still holds would keep the next postmaster from starting.
            let script = format!(
                "n=0; until {} || [ $n -gt 200 ]; do n=$((n+1)); sleep 0.02; done",
                gone.join(" && ")
            );
            std::process::Command::new("sh")
                .args(["-c", &script])
                .status()?;
        }
        Ok(())
    }

    /// SIGSTOP to the postmaster and all its children: it is there, and does nothing.
    pub fn pause(&self) -> Result<()> {
        self.signal_all("STOP")
    }

    /// Ends [`Self::pause`].
    pub fn resume(&self) -> Result<()> {
        self.signal_all("CONT")
    }

    fn signal_all(&self, signal: &str) -> Result<()> {
        let process = self.process.as_ref().context("the server does not run")?;
        process.signal(signal)?;
        for child in children(process.pid()) {
            // One that has ended meanwhile needs no signal.
            std::process::Command::new("sh")
                .args(["-c", &format!("kill -{signal} {child} 2>/dev/null")])
                .status()?;
        }
        Ok(())
    }

    /// Makes it a standby from its next start on: one without a primary, which takes no writes until
    /// it is promoted.
    pub fn stand_by(&self) -> Result<()> {
        let signal = self.data().join("standby.signal");
        std::fs::write(&signal, "")?;
        Account::for_servers()?.own(&signal)
    }

    /// Stops it in good order: clients are sent away.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        process.signal("INT")?;
        process.ended(Duration::from_secs(30)).await?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take()
            && process
                .signal("QUIT")
                .and_then(|()| process.reap())
                .is_err()
        {
            // It stays on the guardian's list.
        }
        if std::fs::remove_dir_all(&self.directory).is_err() {
            // The guardian removes what is left.
        }
    }
}

fn children(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    list.unwrap_or_default()
        .split_whitespace()
        .filter_map(|text| text.parse().ok())
        .collect()
}
