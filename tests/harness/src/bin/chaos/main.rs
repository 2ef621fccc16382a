//! `make chaos SECONDS=.. SEED=..`: load and kill -9 on servers of its own, then the reckoning.
//!
//! Exit code 0 only if nothing was found.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a program for a person"
)]

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use harness::{
    chaos::{self, Plan, Summary},
    segue::binary_beside,
};

/// Without an argument.
const SECONDS_DEFAULT: u64 = 60;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match rage_or_stop().await {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\nChaos found something: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn rage_or_stop() -> Result<Summary> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |what: &str, default: u64| match arguments.next().as_deref() {
        None | Some("") => Ok(default),
        Some(text) => text.parse().with_context(|| format!("{what}: {text:?}")),
    };
    let seconds = number("seconds", SECONDS_DEFAULT)?;
    let seed = number("seed", u64::from(rand::random::<u32>()))?;
    println!("chaos: {seconds} s, seed {seed}");
    let plan = Plan {
        seed,
        duration: Duration::from_secs(seconds),
    };
    let binary = binary_beside(&std::env::current_exe()?)?;
    tokio::select! {
        summary = chaos::run(&binary, plan) => summary,
        signal = tokio::signal::ctrl_c() => {
            signal?;
            bail!("interrupted")
        }
    }
}
