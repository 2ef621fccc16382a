//! The `segue` binary: reads the command line, does what it says, ends with its exit code.
//!
//! Holds no decision of its own: those are in `proxy`, `reconciler`, `control` and `protocol`.

mod api;
mod cli;
mod config;
mod exit;
mod output;
mod progress;
mod render;
mod serve;
mod target;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Arguments::parse().run() {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::complain(&failure.message);
            failure.exit.into()
        }
    }
}
