//! Carrying out commands.
//!
//! What changes something is logged with who asked for it. Does not read texts.

use std::time::Duration;

use pgwire::error::ErrorInfo;

use super::command::Command;
use super::configuration::{ChangeError, Changes};
use super::table::{Columns, Table};
use super::{Console, show};
use crate::registry::{ClientRow, PauseError, State};

/// Sessions that are named when they keep a pause from being complete.
const NAMED_MAX: usize = 10;

/// What a command came to.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) table: Option<Table>,
    pub(super) tag: &'static str,
    pub(super) notices: Vec<String>,
}

impl Done {
    const fn with(tag: &'static str, notices: Vec<String>) -> Self {
        Self {
            table: None,
            tag,
            notices,
        }
    }
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The configuration does not allow it.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// There is no client with this number.
    #[error("there is no client {0}")]
    NoClient(u64),
    /// Sessions are paused, or about to be.
    #[error("the proxy is paused already")]
    Paused,
    /// Sessions are not paused.
    #[error("the proxy is not paused")]
    NotPaused,
    /// Sessions did not come to rest.
    #[error(
        "{} still in a transaction after {timeout:?}, so nothing is paused",
        sessions(busy.len())
    )]
    NotAtRest {
        /// Those that did not.
        busy: Vec<ClientRow>,
        /// How long they were waited for.
        timeout: Duration,
    },
}

fn sessions(count: usize) -> String {
    match count {
        0 => "sessions were".to_owned(),
        1 => "1 session was".to_owned(),
        _ => format!("{count} sessions were"),
    }
}

impl Refused {
    const fn sqlstate(&self) -> &'static str {
        match self {
            Self::Change(ChangeError::Unknown { .. }) | Self::NoClient(_) => "42704",
            Self::Change(ChangeError::NeedsRestart { .. }) => "55P02",
            Self::Change(ChangeError::Refused { .. }) => "22023",
            Self::Paused | Self::NotPaused => "55000",
            Self::NotAtRest { .. } => "55P03",
        }
    }

    fn detail(&self) -> Option<String> {
        let Self::NotAtRest { busy, .. } = self else {
            return None;
        };
        let named = busy.iter().take(NAMED_MAX).map(|row| {
            format!(
                "client {} ({}@{}, {}, server process {})",
                row.number,
                row.identity.user,
                row.identity.database,
                row.state.label(),
                row.server_pid
            )
        });
        Some(named.collect::<Vec<_>>().join("; "))
    }

    const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Change(ChangeError::Unknown { .. }) => {
                Some("HELP lists what can be shown, and SHOW CONFIG the settings.")
            }
            Self::Change(ChangeError::NeedsRestart { .. }) => {
                Some("Change it in segue.toml and start the proxy again.")
            }
            Self::Change(ChangeError::Refused { .. }) => None,
            Self::NoClient(_) => Some("SHOW CLIENTS lists them."),
            Self::Paused => Some("RESUME lets clients go on."),
            Self::NotPaused => Some("SHOW STATE says how it is."),
            Self::NotAtRest { .. } => {
                Some("Give it more time (PAUSE 60), or end them: KILL and the number.")
            }
        }
    }
}

impl From<Refused> for ErrorInfo {
    fn from(refused: Refused) -> Self {
        let (severity, code) = ("ERROR".to_owned(), refused.sqlstate().to_owned());
        let mut info = Self::new(severity, code, refused.to_string());
        info.detail = refused.detail();
        info.hint = refused.hint().map(str::to_owned);
        info
    }
}

/// The columns that a command's answer has; none if it has no rows.
pub(super) fn columns(command: &Command) -> Option<Columns> {
    match command {
        Command::Show(subject) => Some(show::columns(*subject)),
        Command::ShowSetting(_) => Some(show::config::VALUE),
        Command::Pause(_)
        | Command::Resume
        | Command::Kill(_)
        | Command::Set { .. }
        | Command::Reload
        | Command::Courtesy(_) => None,
    }
}

/// A command that changes something, for the log. A value is left out: somebody may try to set a
/// connection string.
fn told(command: &Command) -> Option<String> {
    match command {
        Command::Pause(_) => Some("PAUSE".to_owned()),
        Command::Resume => Some("RESUME".to_owned()),
        Command::Kill(number) => Some(format!("KILL {number}")),
        Command::Set { name, .. } => Some(format!("SET {name}")),
        Command::Reload => Some("RELOAD".to_owned()),
        Command::Show(_) | Command::ShowSetting(_) | Command::Courtesy(_) => None,
    }
}

/// Does what `visitor` asks for.
pub(super) async fn perform(
    console: &Console,
    command: &Command,
    visitor: &str,
) -> Result<Done, Refused> {
    if let Some(words) = told(command) {
        tracing::info!("the admin console was told to {words} by {visitor}");
    }
    match command {
        Command::Show(subject) => Ok(shown(show::table(console, *subject).await)),
        Command::ShowSetting(name) => {
            let table = show::config::value(console.configuration.as_ref(), name)?;
            Ok(shown(table))
        }
        Command::Pause(timeout) => pause(console, *timeout).await,
        Command::Resume => {
            if !console.workers.resume().await {
                return Err(Refused::NotPaused);
            }
            Ok(Done::with("RESUME", Vec::new()))
        }
        Command::Kill(number) => {
            if !console.visits.end(*number) && !console.workers.end(*number).await {
                return Err(Refused::NoClient(*number));
            }
            Ok(Done::with("KILL", Vec::new()))
        }
        Command::Set { name, value } => {
            console.configuration.set(name, value)?;
            Ok(Done::with("SET", Vec::new()))
        }
        Command::Reload => {
            let Changes { now, at_restart } = console.configuration.reload()?;
            let notices = now.into_iter().chain(at_restart).collect();
            Ok(Done::with("RELOAD", notices))
        }
        Command::Courtesy(_) => Ok(Done::default()),
    }
}

const fn shown(table: Table) -> Done {
    Done {
        table: Some(table),
        tag: "SHOW",
        notices: Vec::new(),
    }
}

async fn pause(console: &Console, timeout: Option<Duration>) -> Result<Done, Refused> {
    let timeout = timeout.unwrap_or(console.settings.current().pause_timeout);
    match console.workers.pause(timeout).await {
        Ok(()) => Ok(Done::with("PAUSE", Vec::new())),
        Err(PauseError::Already) => Err(Refused::Paused),
        Err(PauseError::NotAtRest(clients)) => {
            let busy = |row: &ClientRow| match row.state {
                State::Active | State::InTransaction | State::InFailedTransaction => true,
                State::Login | State::Idle | State::Paused => false,
            };
            Err(Refused::NotAtRest {
                busy: clients.into_iter().filter(busy).collect(),
                timeout,
            })
        }
    }
}
