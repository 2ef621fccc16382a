//! The suites: how each is run and how its list of results is read.
//!
//! Does not start servers.

use std::{path::Path, process::Command};

use anyhow::Result;
use harness::{Database, tool};

use crate::results::Results;

/// tokio-postgres's tests have their server's port in the text.
const TOKIO_POSTGRES: &str = "\
    rm -rf tests && cp -r tests.published tests && \
    find tests -name '*.rs' -exec sed -i \"s/5433/$PGPORT/g; s/user=postgres/user=postgres dbname=$PGDATABASE/g\" {} + && \
    cargo test --no-fail-fast --test test \
      --features with-serde_json-1,with-uuid-1,with-chrono-0_4 2>&1";

/// node-postgres's tests are programs; what each of them asserts shows in its exit code.
const NODE_POSTGRES: &str = "\
    cd packages/pg && node script/create-test-tables.js postgres:// && \
    for test in $(find test/integration -name '*-tests.js' | sort); do \
      if timeout 60 node $test postgres:// 2>&1; then echo; echo \"$test ... ok\"; \
      else echo; echo \"$test ... FAIL\"; fi; \
    done";

/// A driver that is published with its tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    /// The Go driver.
    Pgx,
    /// The asynchronous Python driver.
    Asyncpg,
    /// The Python driver over libpq.
    Psycopg2,
    /// The Rust driver.
    TokioPostgres,
    /// The Node.js driver.
    NodePostgres,
}

impl Suite {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Pgx,
        Self::Asyncpg,
        Self::Psycopg2,
        Self::TokioPostgres,
        Self::NodePostgres,
    ];

    /// Its name, and its directory's.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pgx => "pgx",
            Self::Asyncpg => "asyncpg",
            Self::Psycopg2 => "psycopg2",
            Self::TokioPostgres => "tokio-postgres",
            Self::NodePostgres => "node-postgres",
        }
    }

    /// Makes the types and roles that it expects.
    pub(crate) fn prepare(self, directory: &Path, database: &Database) -> Result<()> {
        match self {
            Self::Pgx => {
                let setup = directory.join("testsetup/postgresql_setup.sql");
                tool::psql_file(database, &setup).map(drop)
            }
            Self::Psycopg2 | Self::TokioPostgres => {
                let extensions = "CREATE EXTENSION hstore; CREATE EXTENSION citext; \
                                  CREATE EXTENSION ltree";
                tool::psql(database, extensions).map(drop)
            }
            Self::Asyncpg | Self::NodePostgres => Ok(()),
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
            }
            Self::Psycopg2 => {
                command.arg(directory.join("bin/python"));
                command.args(["-m", "unittest", "-v", "tests.test_suite"]);
                command
                    .env("PSYCOPG2_TESTDB", &database.name)
                    // As the database itself.
                    .env("PSYCOPG2_TEST_REPL_DSN", "");
            }
            Self::TokioPostgres => {
                command.args(["sh", "-c", TOKIO_POSTGRES]);
                command.env("CARGO_TARGET_DIR", directory.join("target"));
            }
            Self::NodePostgres => {
                command.args(["sh", "-c", NODE_POSTGRES]);
            }
        }
        command
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", database.port.to_string())
            .env("PGUSER", &database.user)
            .env("PGDATABASE", &database.name);
        command
    }

    /// Reads what it printed.
    pub(crate) fn read(self, printed: &str) -> Results {
        let lines = printed.lines();
        match self {
            Self::Pgx => lines.filter_map(go_result).collect(),
            Self::Asyncpg | Self::Psycopg2 | Self::NodePostgres => {
                lines.filter_map(unittest_result).collect()
            }
            Self::TokioPostgres => lines.filter_map(cargo_result).collect(),
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

/// `test name ... ok`.
fn cargo_result(line: &str) -> Option<(String, String)> {
    let (test, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let is_outcome = matches!(outcome, "ok" | "FAILED" | "ignored");
    is_outcome.then(|| (test.to_owned(), outcome.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_every_suite_are_read() {
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
        let rust = "test types::one ... ok\ntest two ... FAILED\ntest result: ok. 1 passed";
        let read = Suite::TokioPostgres.read(rust);
        assert_eq!(read.to_string(), "2 tests: 1 FAILED, 1 ok");
    }
}
