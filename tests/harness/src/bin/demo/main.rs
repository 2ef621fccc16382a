//! `make demo`: Segue on two servers of its own, explained line by line, in about a minute.
//!
//! Exit code 0 only if every claim that it makes on its way was checked and true. Leaves nothing
//! running and no data behind, but for the report's page.

mod application;
mod narrator;
mod story;

use anyhow::Result;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    tokio::select! {
        told = story::tell() => told,
        // Returning drops the servers; what a second Ctrl-C interrupts is left to the guardian.
        signal = tokio::signal::ctrl_c() => {
            signal?;
            anyhow::bail!("interrupted: stopping the servers")
        }
    }
}
