//! The suites: how each is run and how its list of results is read.
//!
//! Does not start servers.

use std::{path::Path, process::Command};

use anyhow::Result;
use harness::{Database, Server, tool};

use crate::results::Results;

/// tokio-postgres's tests have their server's port in the text, and the place of its socket. They
/// write to temporary tables, which the proxy leaves alone: each is played a second time with
/// ordinary ones, one after the other.
const TOKIO_POSTGRES: &str = "\
    rm -rf tests && cp -r tests.published tests && \
    find tests -name '*.rs' -exec sed -i \"s/5433/$PGPORT/g; s|/var/run/postgresql|$SOCKETS|g; \
      s/user=postgres/user=postgres dbname=$PGDATABASE/g\" {} + && \
    cargo test --no-fail-fast --test test --all-features 2>&1; \
    find tests -name '*.rs' -exec sed -i -E \
      's/CREATE TEMPORARY TABLE ([a-z_]+)/DROP TABLE IF EXISTS \\1; CREATE TABLE \\1/' {} + && \
    cargo test --no-fail-fast --test test --all-features -- --test-threads=1 2>&1 | \
      sed 's/^test /test lasting::/'";

/// The roles that its tests log in as.
const TOKIO_POSTGRES_ROLES: &str = "\
    CREATE ROLE pass_user PASSWORD 'password' LOGIN; \
    SET password_encryption TO 'md5'; CREATE ROLE md5_user PASSWORD 'password' LOGIN; \
    SET password_encryption TO 'scram-sha-256'; CREATE ROLE scram_user PASSWORD 'password' LOGIN; \
    CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree";

/// And how they are asked for their passwords.
const TOKIO_POSTGRES_HBA: &str = "\
host all pass_user  127.0.0.1/32 password
host all md5_user   127.0.0.1/32 md5
host all scram_user 127.0.0.1/32 scram-sha-256
host all all        127.0.0.1/32 trust
host replication all 127.0.0.1/32 trust
local all all trust
";

/// node-postgres's tests are programs; what each of them asserts shows in its exit code. They write
/// to temporary tables, which the proxy leaves alone: each is played a second time with ordinary
/// ones, in a schema of its own.
const NODE_POSTGRES: &str = "\
    cd packages/pg && node script/create-test-tables.js postgres:// && \
    rm -rf test/lasting && cp -r test/integration test/lasting && \
    find test/lasting -name '*.js' -exec sed -i -E 's/create temp table/CREATE TABLE/I' {} + && \
    for test in $(find test/integration test/lasting -name '*-tests.js' | sort); do \
      case $test in test/lasting/*) \
        psql -Xqc 'DROP SCHEMA public CASCADE; CREATE SCHEMA public' 2>/dev/null; \
        node script/create-test-tables.js postgres:// >/dev/null;; \
      esac; \
      if timeout 60 node $test postgres:// 2>&1; then echo; echo \"$test ... ok\"; \
      else echo; echo \"$test ... FAIL\"; fi; \
    done";

/// pgjdbc's tests take their server from system properties and print a line each.
const PGJDBC: &str = "\
    java -Xmx1g -Dbuild.properties.relative.path=. -Dtest.url.PGHOST=127.0.0.1 \
      -Dtest.url.PGPORT=$PGPORT -Dtest.url.PGDBNAME=$PGDATABASE \
      -jar junit-platform-console-standalone-*.jar execute --disable-ansi-colors --disable-banner \
      --config junit.jupiter.extensions.autodetection.enabled=true \
      --config 'junit.jupiter.execution.timeout.default=5 m' \
      --details testfeed --scan-classpath target/test-classes \
      --classpath \"target/classes:target/test-classes:$(ls lib/*.jar | grep -v junit | tr '\\n' ':')\"";

/// The role that they work as, and what it needs.
const PGJDBC_ROLE: &str = "\
    CREATE ROLE test LOGIN PASSWORD 'test'; ALTER DATABASE suite OWNER TO test; \
    GRANT ALL ON SCHEMA public TO test; CREATE EXTENSION hstore; CREATE EXTENSION citext";

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
    /// The Java driver.
    Pgjdbc,
}

impl Suite {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::Pgx,
        Self::Asyncpg,
        Self::Psycopg2,
        Self::TokioPostgres,
        Self::NodePostgres,
        Self::Pgjdbc,
    ];

    /// Its name, and its directory's.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pgx => "pgx",
            Self::Asyncpg => "asyncpg",
            Self::Psycopg2 => "psycopg2",
            Self::TokioPostgres => "tokio-postgres",
            Self::NodePostgres => "node-postgres",
            Self::Pgjdbc => "pgjdbc",
        }
    }

    /// Makes the types and roles that it expects.
    pub(crate) fn prepare(
        self,
        directory: &Path,
        server: &Server,
        database: &Database,
    ) -> Result<()> {
        match self {
            Self::Pgx => {
                let setup = directory.join("testsetup/postgresql_setup.sql");
                tool::psql_file(database, &setup).map(drop)
            }
            Self::TokioPostgres => {
                let rules = server.directory().join("data/pg_hba.conf");
                std::fs::write(rules, TOKIO_POSTGRES_HBA)?;
                tool::psql(database, "SELECT pg_reload_conf()")?;
                tool::psql(database, TOKIO_POSTGRES_ROLES).map(drop)
            }
            Self::Pgjdbc => tool::psql(database, PGJDBC_ROLE).map(drop),
            Self::Psycopg2 => {
                let extensions = "CREATE EXTENSION hstore; CREATE EXTENSION citext; \
                                  CREATE EXTENSION ltree";
                tool::psql(database, extensions).map(drop)
            }
            Self::Asyncpg | Self::NodePostgres => Ok(()),
        }
    }

    /// The command that runs it, under a limit of time. `sockets` is where the database is reached
    /// without TCP.
    pub(crate) fn command(self, directory: &Path, database: &Database, sockets: &Path) -> Command {
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
                command
                    .env("CARGO_TARGET_DIR", directory.join("target"))
                    .env("SOCKETS", sockets);
            }
            Self::NodePostgres => {
                command.args(["sh", "-c", NODE_POSTGRES]);
            }
            Self::Pgjdbc => {
                command.args(["sh", "-c", PGJDBC]);
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
            Self::Pgjdbc => lines.filter_map(junit_result).collect(),
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

/// `JUnit Jupiter > Class > method :: SUCCESSFUL`.
fn junit_result(line: &str) -> Option<(String, String)> {
    let (test, outcome) = line.trim().rsplit_once(" :: ")?;
    let is_outcome = matches!(outcome, "SUCCESSFUL" | "FAILED" | "ABORTED" | "SKIPPED");
    is_outcome.then(|| (test.to_owned(), outcome.to_lowercase()))
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
