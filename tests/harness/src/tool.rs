//! PostgreSQL's own programs: psql, pgbench and `pg_dump`, run to their end.
//!
//! Does not interpret what they print, but for pgbench's summary.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{database::Database, installation::Installation};

/// A client program, given the connection by libpq's environment.
pub fn client_program(name: &str, database: &Database) -> Result<Command> {
    // Clients of the older server talk to both; the unpacked newer one may lack them.
    let with_clients = Installation::all()
        .into_iter()
        .find(|one| one.program(name).exists());
    let installation = with_clients.with_context(|| format!("no {name} on this machine"))?;
    let mut command = Command::new(installation.program(name));
    command
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", database.port.to_string())
        .env("PGUSER", &database.user)
        .env("PGDATABASE", &database.name)
        .env("PGCONNECT_TIMEOUT", "20")
        .stdin(Stdio::null());
    if let Some(password) = &database.password {
        command.env("PGPASSWORD", password);
    }
    Ok(command)
}

/// What `psql -XAt` prints for a script; stops at the first error.
pub fn psql(database: &Database, script: &str) -> Result<String> {
    let mut command = client_program("psql", database)?;
    command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", script]);
    checked(&command.output()?, "psql")
}

/// Runs a file through psql in one session, statement by statement (simple protocol).
pub fn psql_file(database: &Database, file: &Path) -> Result<String> {
    let mut command = client_program("psql", database)?;
    command
        .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-f"])
        .arg(file);
    checked(&command.output()?, "psql")
}

/// pgbench with these arguments.
pub fn pgbench(database: &Database, arguments: &[&str]) -> Result<PgbenchSummary> {
    let mut command = client_program("pgbench", database)?;
    command.args(arguments);
    PgbenchSummary::read(&checked(&command.output()?, "pgbench")?)
}

/// Copies schema and rows: `pg_dump | psql`.
pub fn copy_database(from: &Database, to: &Database) -> Result<()> {
    let mut dump = client_program("pg_dump", from)?;
    let mut dump = dump.arg("--no-owner").stdout(Stdio::piped()).spawn()?;
    let pipe = dump.stdout.take().context("pg_dump has no output")?;
    let mut load = client_program("psql", to)?;
    load.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null"])
        .stdin(pipe);
    checked(&load.output()?, "psql")?;
    ensure!(dump.wait()?.success(), "pg_dump failed");
    Ok(())
}

fn checked(output: &Output, name: &str) -> Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "{name} ended with {}: {text}{}",
            output.status,
            lossy(&output.stderr)
        );
    }
    Ok(text)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What pgbench says at its end.
#[derive(Debug, Clone, PartialEq)]
pub struct PgbenchSummary {
    /// Transactions that went through.
    pub transactions: u64,
    /// Transactions that failed.
    pub failed: u64,
    /// Transactions a second, without the time to connect.
    pub transactions_per_second: f64,
}

impl PgbenchSummary {
    /// Reads it from what pgbench printed.
    pub fn read(text: &str) -> Result<Self> {
        let number = |prefix: &str| -> Option<&str> {
            let line = text.lines().find_map(|line| line.strip_prefix(prefix))?;
            line.trim().split([' ', '/']).next()
        };
        let summary = || -> Option<Self> {
            Some(Self {
                transactions: number("number of transactions actually processed:")?
                    .parse()
                    .ok()?,
                failed: number("number of failed transactions:")
                    .unwrap_or("0")
                    .parse()
                    .ok()?,
                transactions_per_second: number("tps =")?.parse().ok()?,
            })
        };
        summary().with_context(|| format!("pgbench printed no summary: {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_pgbench_is_read() {
        let text = "number of transactions per client: 5\n\
                    number of transactions actually processed: 40/40\n\
                    number of failed transactions: 0 (0.000%)\n\
                    latency average = 1.2 ms\n\
                    tps = 812.5 (without initial connection time)\n";
        let summary = PgbenchSummary::read(text).unwrap();
        assert_eq!(
            summary,
            PgbenchSummary {
                transactions: 40,
                failed: 0,
                transactions_per_second: 812.5
            }
        );
    }
}
