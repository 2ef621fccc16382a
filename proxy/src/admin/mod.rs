//! The admin console: a database that the proxy itself is, for `psql -d segue`.
//!
//! ```text
//! startup packet ─► [`login`] may it come in? ─► [`visit`] frames ─► pgwire ─► [`handler`]
//!                                                     commands ◄── [`command`] ◄──┘
//!                        [`perform`] asks workers, mirror and configuration; [`show`] draws tables
//! ```
//!
//! pgwire's server API answers: it builds what the console says and decodes bodies that were cut
//! here, under the console's own limit. Does not touch any client's session: it asks its worker.

mod client;
mod command;
mod configuration;
mod handler;
mod login;
mod perform;
mod show;
mod table;
mod visit;
mod visits;

pub use configuration::{ChangeError, Changes, Configuration, SettingRow};
pub(crate) use login::{LoginError, Visitor, is_wanted};
pub(crate) use visit::visit;
pub(crate) use visits::Visits;

use std::sync::Arc;

use control::Dsn;

use crate::mirroring::CaptureSource;
use crate::registry::Workers;
use crate::settings::LiveSettings;
use crate::statistics::Rates;
use crate::table_totals::TableTotals;

/// How many commands a text holds, or what the first that is none is told. Carries nothing out: for
/// whoever wants to know that no text harms the console.
pub fn count_commands(text: &str) -> Result<usize, String> {
    match command::commands(text) {
        (commands, None) => Ok(commands.len()),
        (_, Some(error)) => Err(error.to_string()),
    }
}

/// What the console can show and change.
#[derive(Debug)]
pub(crate) struct Console {
    pub(crate) configuration: Arc<dyn Configuration>,
    pub(crate) settings: LiveSettings,
    pub(crate) workers: Workers,
    pub(crate) visits: Arc<Visits>,
    pub(crate) rates: Arc<Rates>,
    pub(crate) tables: Arc<TableTotals>,
    pub(crate) source: Dsn,
    /// Nothing if no writes are captured.
    pub(crate) capture: Option<CaptureSource>,
}
