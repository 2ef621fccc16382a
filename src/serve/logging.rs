//! The log, on stderr.

use std::io::IsTerminal;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{LogFormat, Settings};
use crate::exit::Failure;

/// What is logged; can be changed while the process runs.
#[derive(Debug)]
pub(super) struct Levels(reload::Handle<Targets, Registry>);

impl Levels {
    /// Logs this much from now on.
    pub(super) fn set(&self, levels: &Targets) {
        if let Err(error) = self.0.reload(levels.clone()) {
            tracing::warn!("the log's level stays as it was: {error}");
        }
    }
}

/// Starts the log of this process.
pub(super) fn start(settings: &Settings) -> Result<Levels, Failure> {
    let (levels, handle) = reload::Layer::new(settings.log_level.clone());
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match settings.log_format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(levels)
        .with(lines)
        .try_init()
        .map_err(|error| Failure::of(&error))?;
    Ok(Levels(handle))
}
