//! `make driver-suites`: the test suites of drivers, directly and through the proxy.
//!
//! Each way gets a server of its own. Exit code 0 only if every test ends as it does directly. Does
//! not fetch the suites: `tests/drivers/suites.sh` does.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a program for a person"
)]

mod results;
mod suite;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use harness::{
    Database, Installation, Launch, Server, ServerOptions, installation::workspace, ports,
    segue::binary_beside,
};

use results::Results;
use suite::Suite;

const USAGE: &str = "\
usage: driver_suites MIRROR [pgx|asyncpg|psycopg2|tokio-postgres|node-postgres|pgjdbc]...

MIRROR  off  the proxy only relays
        dry  `--mirror dry` with a contract that holds whatever tables the suite has made so far, so
             that its writes are rewritten, and their rows sent nowhere";

/// The contract of whatever tables there are.
const CONTRACT: &str = include_str!("../../../../suites/contract.sql");
/// How long a statement behind a schema change waits for the catalog to be read.
const CATALOG_WAIT: &str = "5s";
/// The database that the suites work in.
const DATABASE: &str = "suite";

/// Whether writes are captured on their way through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mirror {
    Dry,
    Off,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match compare_all().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("driver_suites: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn compare_all() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let mirror = match arguments.next().as_deref() {
        Some("" | "dry") => Mirror::Dry,
        Some("off") => Mirror::Off,
        _ => bail!("{USAGE}"),
    };
    let names: Vec<String> = arguments.collect();
    let mut differing = 0;
    for suite in Suite::ALL {
        if !names.is_empty() && !names.iter().any(|name| name == suite.name()) {
            continue;
        }
        let directory = workspace().join("target/driver-suites").join(suite.name());
        if !directory.join(".complete").exists() {
            println!("{}: skipped, its suite was not fetched", suite.name());
            continue;
        }
        differing += compare(suite, mirror, directory.canonicalize()?).await?;
    }
    Ok(if differing == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// How many tests of a suite end otherwise through the proxy.
async fn compare(suite: Suite, mirror: Mirror, directory: PathBuf) -> Result<usize> {
    let name = suite.name();
    let server = server(suite, mirror, &directory).await?;
    let direct = server.database(DATABASE);
    let direct = play(suite, &directory, (&direct, server.directory()), "direct")?;
    println!("{name} directly: {direct}");
    drop(server);
    let server = self::server(suite, mirror, &directory).await?;
    let source = server.database(DATABASE);
    let binary = binary_beside(&std::env::current_exe()?)?;
    let launch = Launch::new(binary, &source, &source).with_uris(Some(&source.uri()), None);
    let metrics = format!("127.0.0.1:{}", ports::free()?);
    let sockets = server.directory().join("proxy");
    std::fs::create_dir(&sockets)?;
    let listen = sockets.to_string_lossy();
    let mut arguments = vec!["--metrics", &metrics, "--listen", &listen];
    arguments.extend(match mirror {
        Mirror::Off => ["--mirror", "off"].as_slice(),
        Mirror::Dry => &["--mirror", "dry", "--catalog-wait", CATALOG_WAIT],
    });
    let mut segue = launch.proxy(&arguments).await?;
    let proxied = source.through(segue.port());
    let proxied = play(suite, &directory, (&proxied, &sockets), "proxied")?;
    ensure!(segue.ended()?.is_none(), "the proxy died:\n{}", segue.log());
    println!("{name} through the proxy: {proxied}");
    if mirror == Mirror::Dry {
        println!("{name}: {} statements captured", captured(&metrics)?);
    }
    let differing = direct.differing(&proxied);
    for line in &differing {
        println!("differs: {name} {line}");
    }
    println!("{name}: {} tests, {} differ", direct.len(), differing.len());
    Ok(differing.len())
}

/// How many statements ran with a hidden column: a run without any proves nothing of them.
fn captured(metrics: &str) -> Result<u64> {
    let url = format!("http://{metrics}/metrics");
    let output = Command::new("curl").args(["-fsS", &url]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let found = lines.find_map(|it| it.strip_prefix("segue_proxy_captured_statements_total "));
    Ok(found.unwrap_or("0").parse()?)
}

async fn server(suite: Suite, mirror: Mirror, directory: &Path) -> Result<Server> {
    let server = Server::start(Installation::for_source()?, ServerOptions::default()).await?;
    let maintenance = server.database("postgres");
    maintenance
        .execute(&format!("CREATE DATABASE {DATABASE}"))
        .await?;
    let database = server.database(DATABASE);
    suite.prepare(directory, &server, &database)?;
    if mirror == Mirror::Dry {
        // Both ways have Segue's schema: some tests list what there is.
        database.execute(CONTRACT).await?;
    }
    Ok(server)
}

/// Runs a suite on a database, which is also reached by a socket in a directory; what it printed is
/// kept beside the suite.
fn play(
    suite: Suite,
    directory: &Path,
    (on, sockets): (&Database, &Path),
    way: &str,
) -> Result<Results> {
    let output = suite
        .command(directory, on, sockets)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not run the suite of {}", suite.name()))?;
    let printed = [output.stdout, output.stderr].concat();
    let kept = directory.join(format!("{way}.log"));
    std::fs::write(&kept, &printed)?;
    let results = suite.read(&String::from_utf8_lossy(&printed));
    ensure!(results.len() > 0, "no test ran; see {}", kept.display());
    Ok(results)
}
