//! The two suites of PostgreSQL that need nothing but a server and a client, and how each is run.
//!
//! Does not run anything.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use harness::account::Account;

/// Where the inputs have a launcher, if they have one.
pub(crate) const LAUNCHER_FILE: &str = "launcher.sh";

/// A suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    /// `src/test/regress`: one psql per test.
    Regress,
    /// `src/test/isolation`: several sessions per test, interleaved.
    Isolation,
}

/// Whether the proxy captures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mirror {
    /// It only relays.
    Off,
    /// It captures what it can, and sends it nowhere.
    Dry,
    /// It mirrors to a second server, and a reconciler follows.
    On,
}

impl Mirror {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Dry => "dry",
            Self::On => "on",
        }
    }
}

/// Where a run reads and writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run<'run> {
    /// PostgreSQL's programs.
    pub(crate) programs: &'run Path,
    /// A copy of the suite's directory that the servers' account can read.
    pub(crate) inputs: &'run Path,
    /// Where results go.
    pub(crate) outputs: &'run Path,
    pub(crate) port: u16,
    pub(crate) mirror: Mirror,
    /// The tests asked for; none for the whole schedule.
    pub(crate) tests: &'run [String],
}

impl Suite {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Regress => "regress",
            Self::Isolation => "isolation",
        }
    }

    /// The suite's directory in PostgreSQL's source.
    pub(crate) fn directory(self, source: &Path) -> PathBuf {
        source.join("src/test").join(self.name())
    }

    /// The database that it runs in.
    pub(crate) const fn database(self) -> &'static str {
        match self {
            Self::Regress => "regression",
            Self::Isolation => "isolation_regression",
        }
    }

    /// The whole suite, or the tests asked for. The database is there already: a proxy that
    /// captures has to know it.
    pub(crate) fn command(self, run: &Run<'_>) -> Result<Command> {
        let drivers = run.programs.join("../lib/pgxs/src/test");
        let (driver, schedule) = match self {
            Self::Regress => ("regress/pg_regress", "parallel_schedule"),
            Self::Isolation => ("isolation/pg_isolation_regress", "isolation_schedule"),
        };
        let mut command = Account::for_servers()?.command(drivers.join(driver));
        command
            .current_dir(run.outputs)
            .env("HOME", run.outputs)
            .arg("--inputdir")
            .arg(run.inputs)
            .arg("--outputdir")
            .arg(run.outputs)
            .arg("--bindir")
            .arg(run.programs)
            .arg("--dlpath")
            .arg(run.inputs.join("lib"))
            .args(["--host=127.0.0.1", "--user=postgres", "--use-existing"])
            .arg(format!("--port={}", run.port))
            .arg(format!("--dbname={}", self.database()));
        // Each schema change of another test would make the catalog unknown for a moment; and what
        // tests do at the same time shows in OIDs and in the order of rows.
        if run.mirror != Mirror::Off && self == Self::Regress {
            command.arg("--max-connections=1");
        }
        let launcher = run.inputs.join(LAUNCHER_FILE);
        if launcher.exists() {
            command.arg("--launcher").arg(launcher);
        }
        if run.tests.is_empty() {
            command.arg("--schedule").arg(run.inputs.join(schedule));
        } else {
            command.args(run.tests);
        }
        Ok(command)
    }
}
