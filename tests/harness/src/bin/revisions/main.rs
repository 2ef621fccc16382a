//! `make revisions SECONDS=.. SEED=..`: the inequality of revisions, on a server of its own.
//!
//! Exit code 0 only if no exception was found.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a program for a person"
)]

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use harness::{
    Durability, Installation, Server, ServerOptions,
    revisions::{self, Plan, Summary},
};

/// Without an argument.
const SECONDS_DEFAULT: u64 = 60;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match measure().await {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\nThe inequality does not hold, or was not measured: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> Result<Summary> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |what: &str, default: u64| match arguments.next().as_deref() {
        None | Some("") => Ok(default),
        Some(text) => text.parse().with_context(|| format!("{what}: {text:?}")),
    };
    let plan = Plan {
        duration: Duration::from_secs(number("seconds", SECONDS_DEFAULT)?),
        seed: number("seed", u64::from(rand::random::<u32>()))?,
    };
    let options = ServerOptions {
        durability: Durability::Durable,
        ..ServerOptions::default()
    };
    let server = Server::start(Installation::for_source()?, options).await?;
    println!("revisions: {:?}, seed {}", plan.duration, plan.seed);
    revisions::run(&server.database("postgres"), plan).await
}
