//! The suites: how each is run and how its list of results is read.
//!
//! Does not start servers.

use std::{path::Path, process::Command};

use anyhow::Result;
use harness::{Database, tool};

use crate::results::Results;

/// A driver that is published with its tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    /// The Go driver.
    Pgx,
    /// The asynchronous Python driver.
    Asyncpg,
}

impl Suite {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::Pgx, Self::Asyncpg];

    /// Its name, and its directory's.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pgx => "pgx",
            Self::Asyncpg => "asyncpg",
        }
    }

    /// Makes the types and roles that it expects.
    pub(crate) fn prepare(self, directory: &Path, database: &Database) -> Result<()> {
        match self {
            Self::Pgx => {
                let setup = directory.join("testsetup/postgresql_setup.sql");
                tool::psql_file(database, &setup).map(drop)
            }
            Self::Asyncpg => Ok(()),
        }
    }

    /// The command that runs it, under a limit of time.
    pub(crate) fn command(self, directory: &Path, database: &Database) -> Command {
        let mut command = Command::new("timeout");
        command.arg("1800").current_dir(directory);
        match self {
            Self::Pgx => {
                // Packages one after the other: some of their tests count what others do.
                command.args(["go", "test", "-p", "1", "-count=1", "-json", "./..."]);
                let connection = format!(
                    "host=127.0.0.1 port={} user={} dbname={}",
                    database.port, database.user, database.name
                );
                command.env("PGX_TEST_DATABASE", connection);
            }
            Self::Asyncpg => {
                command.arg(directory.join("bin/python"));
                command.args(["-m", "unittest", "discover", "-v", "-s", "tests", "-t", "."]);
                command
                    .env("PGHOST", "127.0.0.1")
                    .env("PGPORT", database.port.to_string())
                    .env("PGUSER", &database.user)
                    .env("PGDATABASE", &database.name);
            }
        }
        command
    }

    /// Reads what it printed.
    pub(crate) fn read(self, printed: &str) -> Results {
        let lines = printed.lines();
        match self {
            Self::Pgx => lines.filter_map(go_result).collect(),
            Self::Asyncpg => lines.filter_map(unittest_result).collect(),
        }
    }
}

/// `{"Action":"pass","Package":"…","Test":"…"}`. Names with a temporary directory in them are never
/// the same twice.
fn go_result(line: &str) -> Option<(String, String)> {
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    let outcome = event["Action"].as_str()?;
    let (package, test) = (event["Package"].as_str()?, event["Test"].as_str()?);
    let is_outcome = matches!(outcome, "pass" | "fail" | "skip") && !test.contains("/tmp/");
    is_outcome.then(|| (format!("{package} {test}"), outcome.to_owned()))
}

/// `test_name (module.Class.test_name) ... ok`; a reason behind the outcome is left out.
fn unittest_result(line: &str) -> Option<(String, String)> {
    let (test, outcome) = line.split_once(" ... ")?;
    let outcome = outcome.split(' ').next()?;
    let is_outcome = matches!(outcome, "ok" | "FAIL" | "ERROR" | "skipped");
    is_outcome.then(|| (test.to_owned(), outcome.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_go_and_of_unittest_are_read() {
        let go = r#"{"Time":"t","Action":"run","Package":"p","Test":"One"}
            {"Action":"pass","Package":"p","Test":"One","Elapsed":0.1}
            {"Action":"skip","Package":"p","Test":"Two"}
            {"Action":"pass","Package":"p"}
            {"Action":"pass","Package":"p","Test":"Three/'/tmp/x'"}"#;
        assert_eq!(Suite::Pgx.read(go).to_string(), "2 tests: 1 pass, 1 skip");
        let python = "test_one (tests.test_a.A.test_one) ... ok\n\
                      test_two (tests.test_a.A.test_two) ... skipped 'no cluster'\nRan 2 tests";
        let read = Suite::Asyncpg.read(python);
        assert_eq!(read.to_string(), "2 tests: 1 ok, 1 skipped");
    }
}
