//! `make bench`: prints a Markdown table of what a proxy costs, and writes the figures as JSON.
//!
//! Does not judge: the figures are for README.md and for comparing two builds on one machine.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a program for a person"
)]

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use benches::Plan;
use harness::segue::binary_beside;

const USAGE: &str = "\
usage: benches [--quick] [--rounds N] [--seconds N] [--json FILE]

Direct, pgbouncer in session mode, Segue as a pass-through and Segue with dual write, interleaved,
with pgbench's select and an update, prepared, 1 and 8 clients. Uses the segue beside this program.
  --quick      one short round, to see that everything works; its figures mean nothing
  --rounds N   rounds to take the median of (5)
  --seconds N  seconds of each measurement (5)
  --json FILE  where to write the figures (target/bench.json)";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let mut plan = Plan::full(binary_beside(&std::env::current_exe()?)?);
    let mut json = harness::installation::workspace().join("target/bench.json");
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .with_context(|| format!("{argument} needs a value"))
        };
        match argument.as_str() {
            "--quick" => plan = Plan::quick(plan.binary),
            "--rounds" => plan.rounds = value()?.parse()?,
            "--seconds" => plan.seconds = value()?.parse()?,
            "--json" => json = PathBuf::from(value()?),
            "--help" => {
                println!("{USAGE}");
                return Ok(());
            }
            other => bail!("{other} is unknown\n{USAGE}"),
        }
    }
    let figures = benches::run(&plan, |line| eprintln!("{line}")).await?;
    println!("{}", benches::markdown(&figures));
    if let Some(directory) = json.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(
        &json,
        serde_json::to_string_pretty(&benches::json(&plan, &figures))?,
    )?;
    eprintln!("figures: {}", json.display());
    Ok(())
}
