//! Waiting for a state by asking for it, with a deadline.
//!
//! Does not wait for time to pass: a bare sleep is no synchronisation.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// How long anything may take on a machine shared with other work.
pub const PATIENCE: Duration = Duration::from_mins(2);
/// Between two looks.
pub const PAUSE: Duration = Duration::from_millis(10);

/// Asks until the answer is `Ok(Some(_))`. An error counts as "not yet" and is told at the end:
/// servers that are being restarted refuse connections for a while.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask().await;
        if let Ok(Some(value)) = answer {
            return Ok(value);
        }
        if Instant::now() > deadline {
            return match answer {
                Err(error) => Err(error.context(format!("waited {PATIENCE:?} for {what}"))),
                Ok(_) => bail!("waited {PATIENCE:?} for {what}, in vain"),
            };
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks until the answer is true.
pub async fn until_true(what: &str, mut ask: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    until(what, async || Ok(ask().await?.then_some(()))).await
}
