//! `make demo`: Segue on two servers of its own, explained line by line, in about a minute.
//!
//! Exit code 0 only if every claim that it makes on its way was checked and true. Leaves nothing
//! running and no data behind, but for the report's page.

mod application;
mod narrator;
mod story;

use std::process::ExitCode;

use anyhow::{Result, bail};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match tell_or_stop().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "this is a program for a person")]
            {
                eprintln!("\nThe demo failed: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Returning early drops the servers, which stops them; what ends us harder than that is left to
/// the guardian.
async fn tell_or_stop() -> Result<()> {
    tokio::select! {
        told = story::tell() => told,
        signal = tokio::signal::ctrl_c() => {
            signal?;
            bail!("interrupted")
        }
    }
}
