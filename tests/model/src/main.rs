//! `make model SECONDS=.. SEED=..`: each feature alone and the pairs to their end, then seeded walks
//! through the product until the time is up.
//!
//! Exit code 0 only if nothing was found. The seed of a walk that found something is printed.

#![expect(clippy::print_stdout, reason = "this is a program for a person")]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use model::{Config, Counterexample, explore, table, walk};

/// Without an argument.
const SECONDS_DEFAULT: u64 = 300;

/// Some hundred bytes a state, and the frontier.
const STATES_MAX: usize = 1_500_000;

/// Steps of a walk: several times what its transactions take.
const STEPS_MAX: usize = 600;

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |what: &str, default: u64| match arguments.next().as_deref() {
        None | Some("") => Ok(default),
        Some(text) => text.parse().with_context(|| format!("{what}: {text:?}")),
    };
    let seconds = number("SECONDS", SECONDS_DEFAULT)?;
    let seed = number("SEED", 1)?;
    #[expect(
        clippy::disallowed_types,
        reason = "no runtime whose clock could be paused"
    )]
    let begun = std::time::Instant::now();
    let is_over = || begun.elapsed() > Duration::from_secs(seconds);
    let alone = table::ALONE.iter().map(|(config, _)| *config);
    let pairs = table::PAIRS
        .iter()
        .map(|pair| Config::with(pair).sized(2, 1));
    for config in alone.chain(pairs) {
        if is_over() {
            break;
        }
        match explore(&config, STATES_MAX) {
            Ok(explored) => println!("{:?}: {explored:?}", config.features),
            Err(found) => return Ok(tell(&config, None, &found)),
        }
    }
    let mut walks = 0_u64;
    // One walk at least, so that a seed can be replayed with SECONDS=0.
    while walks == 0 || !is_over() {
        for features in table::PRODUCTS {
            let config = Config::with(features).sized(3, 2);
            if let Err(found) = walk(&config, seed + walks, STEPS_MAX) {
                return Ok(tell(&config, Some(seed + walks), &found));
            }
        }
        walks += 1;
    }
    println!("{walks} seeds from {seed}: nothing found");
    Ok(ExitCode::SUCCESS)
}

fn tell(config: &Config, seed: Option<u64>, found: &Counterexample) -> ExitCode {
    println!("{config:?}");
    if let Some(seed) = seed {
        println!("seed {seed}; again with: make model SECONDS=0 SEED={seed}");
    }
    for step in &found.steps {
        println!("  {step}");
    }
    println!("{}", found.what);
    ExitCode::FAILURE
}
