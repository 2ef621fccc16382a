//! Real drivers: what they see through a mirroring proxy is what they see without it.
//!
//! `tests/drivers/README.md` says what the programs do. Does not fetch them: the set-up does, where
//! their toolchains are found.

mod tokio_postgres;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use harness::{Bed, Database, Installation, Pair, ServerOptions, installation::workspace, tool};

use crate::ground::Ground;

/// How long a program may take on a machine shared with other work, in seconds.
const PATIENCE: &str = "300";

/// The schema of the programs, at a database that is used directly and at a mirrored pair.
struct Stage {
    direct: Database,
    ground: Ground,
}

impl Stage {
    /// Both are copies of one database, so that even their OIDs are equal.
    async fn new() -> Self {
        Self::on(Pair::shared().await.unwrap()).await
    }

    async fn on(pair: &Pair) -> Self {
        let schema = std::fs::read_to_string(programs().join("schema.sql")).unwrap();
        let copies: [Bed; 2] = pair.copies(&schema, 2).await.unwrap().try_into().unwrap();
        let [direct, bed] = copies;
        Self {
            direct: direct.source,
            ground: Ground::on(bed).await,
        }
    }

    /// Runs a program directly and through the proxy, and compares what it printed, and then the
    /// two databases. `captured_min` keeps a test that captures nothing from proving nothing.
    async fn check(self, captured_min: u64, mut run: impl AsyncFnMut(&Database) -> String) {
        let (segue, proxied) = self.ground.run().await;
        let direct = masked(&run(&self.direct).await, &self.direct);
        let through = masked(&run(&proxied).await, &proxied);
        let failed: Vec<_> = direct.lines().filter(|it| it.contains("failed:")).collect();
        assert!(failed.is_empty() && !direct.is_empty(), "{failed:#?}");
        for (expected, seen) in direct.lines().zip(through.lines()) {
            assert_eq!(seen, expected, "through the proxy, and directly");
        }
        assert_eq!(through.lines().count(), direct.lines().count());
        self.ground.converges_without_divergence().await;
        self.ground
            .status_reaches("/mirror/captured", captured_min)
            .await;
        assert_eq!(segue.terminate().await.unwrap(), 0);
    }
}

#[tokio::test]
async fn psql_sees_no_difference() {
    Stage::new().await.check(14, psql).await;
}

#[tokio::test]
async fn psycopg_sees_no_difference() {
    check(python("psycopg"), "Python 3", 25).await;
}

/// psycopg's libpq is that of 18: cancel keys are longer then.
#[tokio::test]
async fn psycopg_sees_no_difference_by_protocol_3_2() {
    let (Some(newest), Some(mut program)) = (Installation::of(18), python("psycopg")) else {
        println!("skipped: PostgreSQL 18 and psycopg are not both here");
        return;
    };
    program.env("PGMINPROTOCOLVERSION", "3.2");
    program.env("PGMAXPROTOCOLVERSION", "latest");
    let pair = Pair::of(newest.clone(), newest, ServerOptions::default()).await;
    let pair = pair.unwrap();
    let stage = Stage::on(&pair).await;
    stage
        .check(25, async |database| output(&program, database))
        .await;
}

#[tokio::test]
async fn asyncpg_sees_no_difference() {
    check(python("asyncpg"), "Python 3", 50).await;
}

#[tokio::test]
async fn node_postgres_sees_no_difference() {
    let modules = fetched("node/node_modules");
    let script = programs().join("node-postgres/scenarios.js");
    let program = modules.map(|modules| {
        let mut command = Command::new("node");
        command.arg("--no-deprecation").arg(script);
        command.env("NODE_PATH", modules);
        command
    });
    check(program, "Node.js and npm", 90).await;
}

#[tokio::test]
async fn pgx_sees_no_difference() {
    let program = fetched("pgx/scenarios").map(Command::new);
    check(program, "Go", 60).await;
}

#[tokio::test]
async fn jdbc_sees_no_difference() {
    let program = fetched("jdbc/Scenarios.class").map(|_| {
        let directory = workspace().join("target/drivers/jdbc");
        let mut command = Command::new("java");
        command.arg("-cp");
        command.arg(format!("{0}:{0}/*", directory.display()));
        command.arg("Scenarios");
        command
    });
    check(program, "a JDK and Maven", 90).await;
}

#[tokio::test]
async fn tokio_postgres_sees_no_difference() {
    Stage::new().await.check(30, tokio_postgres::run).await;
}

fn python(driver: &str) -> Option<Command> {
    let script = programs().join(driver).join("scenarios.py");
    fetched("python/bin/python").map(|interpreter| {
        let mut command = Command::new(interpreter);
        command.arg(script);
        command
    })
}

/// Runs a program that takes a URL, if the set-up could bring it.
async fn check(program: Option<Command>, needs: &str, captured_min: u64) {
    let Some(program) = program else {
        println!("skipped: the driver is not in target/drivers; the set-up needs {needs} for it");
        return;
    };
    let run = async |database: &Database| output(&program, database);
    Stage::new().await.check(captured_min, run).await;
}

/// What the program prints about a database.
fn output(program: &Command, database: &Database) -> String {
    let environment = program.get_envs();
    let output = Command::new("timeout")
        .arg(PATIENCE)
        .arg(program.get_program())
        .args(program.get_args())
        .arg(database.uri())
        .envs(environment.filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Errors are part of what psql shows.
async fn psql(database: &Database) -> String {
    let command = tool::client_program("psql", database).unwrap();
    let script = "exec \"$0\" -X <\"$1\" 2>&1";
    let file = programs().join("psql/scenarios.sql");
    let output = Command::new("timeout")
        .args([PATIENCE, "sh", "-c", script])
        .arg(command.get_program())
        .arg(file)
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Without what must differ: the database's name, and the number of a server process.
fn masked(text: &str, database: &Database) -> String {
    let without_name = text.replace(&format!("\"{}\"", database.name), "\"database\"");
    let mut parts = without_name.split("PID ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |masked, part| {
        masked + "PID" + part.trim_start_matches(|it: char| it.is_ascii_digit())
    })
}

fn programs() -> PathBuf {
    workspace().join("tests/drivers")
}

/// A file that the set-up brought, if it is there.
fn fetched(name: impl AsRef<Path>) -> Option<PathBuf> {
    let path = workspace().join("target/drivers").join(name);
    path.exists().then_some(path)
}
