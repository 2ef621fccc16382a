//! `make regress` and `make isolation`: PostgreSQL's own test suites, directly and through the proxy.
//!
//! Each way gets a server and a database of its own; what psql or the isolation tester printed is
//! compared test by test. Exit code 0 only if nothing differs but what a rule explains or what differs
//! between two direct runs as well, and nothing at the target but what a rule explains.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a program for a person"
)]

mod ground;
mod lasting;
mod mirrored;
mod results;
mod rules;
mod suite;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use harness::installation::workspace;

use ground::{Account, Ground};
use results::Results;
use suite::{Mirror, Suite};

const USAGE: &str = "\
usage: suites regress|isolation MIRROR SOURCE [TEST...]

MIRROR  off  the proxy only relays
        dry  `--mirror dry` with a contract that holds whatever tables the suite has made so far, so
             that most of its writes are rewritten, and their rows sent nowhere; a write behind a
             schema change waits until the proxy has read the catalog again, and the regression
             tests run one after the other: else the catalog would hardly ever be known
        on   a second server, a contract, mirror async and the reconciler. A contract wants tables
             that are there before: isolation specs find theirs made and empty them, where nothing
             else changes them; the regression tests are played directly once, get keys, lose their
             rows and are frozen, and are compared when they are played again. The target has to
             equal the source in the end, and the log may not have found the mirror wrong
SOURCE  the source of PostgreSQL, as tests/suites/prepare.sh prints it
TEST    only these, in this order (regress: most need test_setup before them)";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let ended = tokio::select! {
        ended = compare_or_stop() => ended,
        signal = tokio::signal::ctrl_c() => match signal {
            Ok(()) => Err(anyhow::anyhow!("interrupted")),
            Err(error) => Err(error.into()),
        },
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("suites: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// What the command line asks for.
struct Order {
    suite: Suite,
    mirror: Mirror,
    source: PathBuf,
    tests: Vec<String>,
}

impl Order {
    fn read() -> Result<Self> {
        let mut arguments = std::env::args().skip(1);
        let suite = match arguments.next().as_deref() {
            Some("regress") => Suite::Regress,
            Some("isolation") => Suite::Isolation,
            _ => bail!("{USAGE}"),
        };
        let mirror = match arguments.next().as_deref() {
            Some("" | "off") => Mirror::Off,
            Some("dry") => Mirror::Dry,
            Some("on") => Mirror::On,
            _ => bail!("{USAGE}"),
        };
        Ok(Self {
            suite,
            mirror,
            source: arguments.next().context(USAGE)?.into(),
            tests: arguments.collect(),
        })
    }
}

async fn compare_or_stop() -> Result<ExitCode> {
    let order = Order::read()?;
    let kept = kept(&order);
    if kept.exists() {
        std::fs::remove_dir_all(&kept)?;
    }
    std::fs::create_dir_all(&kept)?;
    let mut ground = Ground::new(&order)?;
    ground.prepare().await?;
    let direct = ground.direct().await?;
    let (proxied, account) = ground.proxied().await?;
    println!("{} directly: {direct}", order.suite.name());
    println!("{} through the proxy: {proxied}", order.suite.name());
    let clean = account.as_ref().is_none_or(Account::is_clean);
    if let Some(account) = account {
        println!("{account}");
    }
    let differing = results::compare(&direct, &proxied, &kept)?;
    let excused = results::excused(&differing, &direct, &proxied);
    for (name, excuses) in &excused {
        for excuse in excuses {
            println!("explained: {name}: {}", excuse.reason());
        }
    }
    let unexplained = differing.into_iter().filter(|it| !excused.contains_key(it));
    let unexplained: Vec<String> = unexplained.collect();
    let unstable = if unexplained.is_empty() {
        Vec::new()
    } else {
        let again = ground.direct_again().await?;
        results::unstable(&unexplained, &direct, &again, &proxied, &kept)?
    };
    Ok(report(&direct, &unexplained, &unstable, &kept, clean))
}

/// Where lists, logs and differences are kept.
fn kept(order: &Order) -> PathBuf {
    let (suite, mirror) = (order.suite.name(), order.mirror.name());
    workspace().join(format!("target/suites/{suite}-mirror-{mirror}"))
}

fn report(
    direct: &Results,
    differing: &[String],
    unstable: &[String],
    kept: &Path,
    clean: bool,
) -> ExitCode {
    let (noise, counted): (Vec<&String>, Vec<&String>) =
        differing.iter().partition(|name| unstable.contains(name));
    let named = [
        ("differs", &counted),
        ("differs between two direct runs, too", &noise),
    ];
    for (how, names) in named {
        for name in names {
            let difference = kept.join(format!("{name}.diff"));
            println!("{how}: {name}  {}", difference.display());
        }
    }
    println!("{} tests, {} differ", direct.len(), counted.len());
    if !clean {
        println!("the target is not what it has to be");
    }
    if counted.is_empty() && clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
