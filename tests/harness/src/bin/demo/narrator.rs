//! The demo's voice: what is done, what came of it, and what was checked.
//!
//! Does not decide what is true: a failed check ends the story as an error.

#![expect(
    clippy::print_stdout,
    reason = "the demo explains itself on standard output"
)]

use anyhow::{Result, ensure};
use tokio::time::Instant;

/// Tells the story, with the seconds since its beginning.
#[derive(Debug)]
pub(crate) struct Narrator {
    begun: Instant,
    chapter: u32,
    checks: u32,
}

impl Narrator {
    pub(crate) fn begin() -> Self {
        Self {
            begun: Instant::now(),
            chapter: 0,
            checks: 0,
        }
    }

    /// A new chapter.
    pub(crate) fn chapter(&mut self, title: &str) {
        self.chapter += 1;
        println!("\n{}. {title}", self.chapter);
    }

    /// What is being done.
    pub(crate) fn say(&self, line: &str) {
        println!("  {:5.1} s  {line}", self.seconds());
    }

    /// Somebody else's words.
    pub(crate) fn quote(text: &str) {
        for line in text.trim_end().lines() {
            println!("           | {line}");
        }
    }

    /// A claim, and whether it is so.
    pub(crate) fn check(&mut self, claim: &str, holds: bool) -> Result<()> {
        ensure!(holds, "this was not so: {claim}");
        self.checks += 1;
        println!("  {:5.1} s  [ok] {claim}", self.seconds());
        Ok(())
    }

    /// The end.
    pub(crate) fn end(&self) {
        println!(
            "\nAll {} checks held, in {:.0} seconds.",
            self.checks,
            self.seconds()
        );
    }

    fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }
}
