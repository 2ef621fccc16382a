//! `make bench`: prints what a proxy costs as Markdown, and writes the figures as JSON.
//!
//! Does not judge: the figures are for README.md and for comparing two builds on one machine.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a program for a person"
)]

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use benches::{Load, Plan};
use harness::segue::binary_beside;

const USAGE: &str = "\
usage: benches [OPTIONS]
       benches soak [--seconds N]

Direct, pgbouncer in session mode, Segue as a pass-through with one and with two workers, and Segue
with dual write, interleaved, under pgbench; then dual write at half load, beside its parts and
PostgreSQL's own replication, and the memory of idle connections; then what it costs to apply a log,
beside PostgreSQL's own replication. Uses the segue beside this program. About a quarter of an hour.
  --only LIST     parts, with commas: beginnings of loads' names, half, idle, log (all)
  --clients LIST  numbers of clients, with commas (1,8,64)
  --rounds N      rounds to take the median of (3)
  --rows N        rows that pile up for each reader of the log (60000; at most 200000)
  --seconds N     seconds of each measurement (2)
  --scale N       pgbench's scale (10)
  --markdown FILE where to write the tables of README.md (target/bench.md)
  --json FILE     where to write the figures (target/bench.json)
  --quick         one short round of a few, to see that it works; its figures mean nothing
soak runs every kind of load at once through a pass-through and a mirroring proxy and prints the
memory of each process as it goes.
  --seconds N     for how long (60)
example: benches --only select,half --clients 8 --rounds 5";

/// What was asked for.
struct Wishes {
    plan: Plan,
    json: PathBuf,
    markdown: PathBuf,
    /// How long to soak, if that was asked for.
    soak: Option<Duration>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let ended = match wishes() {
        Ok(Some(wishes)) => Box::pin(run(wishes)).await,
        Ok(None) => {
            println!("{USAGE}");
            Ok(())
        }
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the arguments; nothing if help was asked for.
fn wishes() -> Result<Option<Wishes>> {
    let target = harness::installation::workspace().join("target");
    let mut wishes = Wishes {
        plan: Plan::full(binary_beside(&std::env::current_exe()?)?),
        json: target.join("bench.json"),
        markdown: target.join("bench.md"),
        soak: None,
    };
    let plan = &mut wishes.plan;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let missing = || format!("{argument} needs a value");
        let mut value = || arguments.next().with_context(missing);
        match argument.as_str() {
            "soak" => wishes.soak = Some(Duration::from_mins(1)),
            "--quick" => *plan = Plan::quick(plan.binary.clone()),
            "--only" => plan.keep_only(&named(&value()?)?),
            "--clients" => plan.clients = numbers(&value()?)?,
            "--rounds" => {
                plan.rounds = value()?.parse()?;
                plan.log.iter_mut().for_each(|log| log.rounds = plan.rounds);
            }
            "--rows" => {
                let rows = value()?.parse()?;
                plan.log.iter_mut().for_each(|log| log.rows = rows);
            }
            "--seconds" => {
                plan.seconds = value()?.parse()?;
                let seconds = Duration::from_secs(plan.seconds.into());
                wishes.soak = wishes.soak.map(|_| seconds);
            }
            "--scale" => plan.scale = value()?.parse()?,
            "--json" => wishes.json = PathBuf::from(value()?),
            "--markdown" => wishes.markdown = PathBuf::from(value()?),
            "--help" => return Ok(None),
            other => bail!("{other} is unknown\n{USAGE}"),
        }
    }
    Ok(Some(wishes))
}

fn named(list: &str) -> Result<Vec<&str>> {
    let names: Vec<&str> = list.split(',').collect();
    for name in &names {
        let is_load = Load::ALL.iter().any(|load| load.name().starts_with(name));
        ensure!(
            is_load || matches!(*name, "half" | "idle" | "log"),
            "{name} is no part of the benchmark\n{USAGE}"
        );
    }
    Ok(names)
}

fn numbers(list: &str) -> Result<Vec<u32>> {
    let numbers = list.split(',').map(str::parse);
    numbers.collect::<Result<_, _>>().context(list.to_owned())
}

async fn run(wishes: Wishes) -> Result<()> {
    let Wishes {
        plan,
        json,
        markdown,
        soak,
    } = wishes;
    if let Some(length) = soak {
        return Box::pin(benches::soak::run(&plan, length, |line| println!("{line}"))).await;
    }
    let figures = benches::run(&plan, |line| eprintln!("{line}")).await?;
    let tables = benches::readme(&figures);
    println!("{}\n{tables}", benches::markdown(&figures));
    let object = serde_json::to_string_pretty(&benches::json(&plan, &figures))?;
    for (file, text) in [(&json, object), (&markdown, tables)] {
        if let Some(directory) = file.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::write(file, text)?;
    }
    eprintln!("figures: {}, {}", json.display(), markdown.display());
    Ok(())
}
