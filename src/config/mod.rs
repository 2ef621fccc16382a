//! The configuration: read once, judged once, all its problems reported at once, then passed down.
//!
//! The only module that reads the environment. Does not connect to anything.

mod client_tls;
mod judge;
mod layers;
mod secrets;
mod setting;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use control::dsn::{Dsn, Password};
use proxy::address::Address;
use proxy::settings::{IdleLimits, MirrorChoice, SyncSettings};
use proxy::{AuthenticationSettings, ClientTls, MirrorMode};
use reconciler::{Limit, Policy};
use tracing_subscriber::filter::Targets;

use self::judge::Judge;
pub(crate) use self::layers::Environment;
use self::layers::Layers;
pub(crate) use self::layers::{Given, Origin, Sources};
pub(crate) use self::setting::Setting;
pub(crate) use self::values::duration;
use crate::exit::Failure;

/// The settings, judged.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The source.
    pub(crate) source: Option<Dsn>,
    /// The target.
    pub(crate) target: Option<Dsn>,
    /// Where the proxy accepts clients.
    pub(crate) listen: Vec<Address>,
    /// What the mirror does.
    pub(crate) mirror: MirrorMode,
    /// What single tables ask of the mirror.
    pub(crate) mirror_tables: BTreeMap<String, MirrorChoice>,
    /// How clients wait for the target where the mirror is `sync`.
    pub(crate) sync: SyncSettings,
    /// How long a write behind a schema change waits for the proxy to read the catalog.
    pub(crate) catalog_wait: Duration,
    /// The proxy's worker threads.
    pub(crate) workers: NonZeroUsize,
    /// Clients of the proxy at one time.
    pub(crate) clients_max: usize,
    /// How long a client may take to say what it wants.
    pub(crate) startup_timeout: Duration,
    /// How long a client may do nothing.
    pub(crate) idle: IdleLimits,
    /// How long clients in a transaction may go on when the proxy is going down.
    pub(crate) drain_timeout: Duration,
    /// Whether the proxy's clients may or must encrypt.
    pub(crate) client_tls: ClientTls,
    /// How long `PAUSE` waits for sessions in a transaction.
    pub(crate) pause_timeout: Duration,
    /// The admin console's database; empty: there is no console.
    pub(crate) admin_database: String,
    /// Who may use the console, if not whoever is on this machine.
    pub(crate) admin_users: Vec<String>,
    /// Where the proxy finds the secrets of roles.
    pub(crate) authentication: AuthenticationSettings,
    /// The proxy's endpoint.
    pub(crate) metrics: Option<SocketAddr>,
    /// The reconciler's endpoint.
    pub(crate) http: Option<SocketAddr>,
    /// What the endpoints ask for.
    pub(crate) http_token: Option<Password>,
    /// Whether the reconciler repairs.
    pub(crate) repair: Policy,
    /// How many rows of one table; none for as many as there are.
    pub(crate) max_repairs: Option<Limit>,
    /// How long divergences that are over, and events, are kept.
    pub(crate) retention: Duration,
    /// Where the reconciler keeps large transactions until they commit.
    pub(crate) spool_dir: PathBuf,
    /// Tables to carry; empty: every table with a key.
    pub(crate) tables: Vec<String>,
    /// How logs are written.
    pub(crate) log_format: LogFormat,
    /// What is logged.
    pub(crate) log_level: Targets,
    /// The file read, if any.
    pub(crate) file: Option<PathBuf>,
    /// What the user should hear.
    pub(crate) warnings: Vec<String>,
    /// What was given, as text, and by whom.
    given: BTreeMap<Setting, Given>,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("is not one of text, json".to_owned()),
        }
    }
}

/// Which databases a command cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Neither.
    Nothing,
    /// The source.
    Source,
    /// The target.
    Target,
    /// Both.
    Both,
}

impl Needs {
    const fn source(self) -> bool {
        matches!(self, Self::Source | Self::Both)
    }

    const fn target(self) -> bool {
        matches!(self, Self::Target | Self::Both)
    }
}

impl Settings {
    /// Reads all layers and judges them. The failure names every problem.
    pub(crate) fn read(sources: &Sources, needs: Needs) -> Result<Self, Failure> {
        let mut judge = Judge::new(Layers::read(sources), &sources.environment);
        let settings = judge.settings(needs);
        match judge.layers.problems.as_slice() {
            [] => Ok(settings),
            [one] => Err(Failure::usage(one.clone())),
            many => Err(Failure::usage(format!(
                "the configuration has {} problems:\n  - {}",
                many.len(),
                many.join("\n  - ")
            ))),
        }
    }

    /// The part that the proxy follows while it runs.
    pub(crate) fn of_proxy(&self) -> proxy::settings::Settings {
        proxy::settings::Settings {
            sync: self.sync,
            mirror_tables: self.mirror_tables.clone(),
            clients_max: self.clients_max,
            startup_timeout: self.startup_timeout,
            idle: self.idle,
            drain_timeout: self.drain_timeout,
            client_tls: self.client_tls.clone(),
            pause_timeout: self.pause_timeout,
            admin_database: self.admin_database.clone(),
            admin_users: self.admin_users.clone(),
            authentication: self.authentication.clone(),
        }
    }

    /// A setting's value as it would be written, secrets left out.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all others are shown as they were given"
    )]
    pub(crate) fn text(&self, setting: Setting) -> String {
        let dsn = |dsn: &Option<Dsn>| dsn.as_ref().map(Dsn::to_string);
        let depends = match setting {
            Setting::Source => dsn(&self.source),
            Setting::Target => dsn(&self.target),
            Setting::Mirror => Some(format!("{:?}", self.mirror).to_lowercase()),
            Setting::Workers => Some(self.workers.to_string()),
            Setting::SpoolDir => Some(self.spool_dir.display().to_string()),
            Setting::ClientTls => Some(self.client_tls.to_string()),
            Setting::ClientTlsCert => self.certificate(),
            _ => None,
        };
        depends
            .or_else(|| self.given.get(&setting).map(|given| given.value.clone()))
            .unwrap_or_else(|| setting.facts().default.to_owned())
    }

    /// The path, and a mark by which a renewed certificate is told from the one before.
    fn certificate(&self) -> Option<String> {
        let path = &self.given.get(&Setting::ClientTlsCert)?.value;
        let mark = self.client_tls.identity()?.mark();
        Some(format!("{path} ({mark})"))
    }

    /// Who gave a setting's value; nobody, if it is the default.
    pub(crate) fn origin(&self, setting: Setting) -> Option<&Origin> {
        self.given.get(&setting).map(|given| &given.origin)
    }

    /// The same in a word.
    pub(crate) fn origin_text(&self, setting: Setting) -> String {
        let origin = self.origin(setting);
        origin.map_or_else(|| "default".to_owned(), ToString::to_string)
    }

    /// Whether a setting is another one here than there.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all others show their whole value"
    )]
    pub(crate) fn differs(&self, other: &Self, setting: Setting) -> bool {
        match setting {
            // Their texts leave the passwords out.
            Setting::Source => self.source != other.source,
            Setting::Target => self.target != other.target,
            Setting::HttpTokenFile => self.http_token != other.http_token,
            Setting::AuthFile => self.authentication.file != other.authentication.file,
            _ => self.text(setting) != other.text(setting),
        }
    }

    /// The source, where the command needs it.
    pub(crate) fn source(&self) -> Result<&Dsn, Failure> {
        self.source.as_ref().ok_or_else(|| missing(Setting::Source))
    }

    /// The target, where the command needs it.
    pub(crate) fn target(&self) -> Result<&Dsn, Failure> {
        self.target.as_ref().ok_or_else(|| missing(Setting::Target))
    }
}

fn missing(setting: Setting) -> Failure {
    Failure::usage(missing_text(setting))
}

fn missing_text(setting: Setting) -> String {
    format!(
        "no {name} is given: set {flag} postgres://USER@HOST:PORT/DATABASE, {variable}, or {name} \
         in segue.toml",
        name = setting.name(),
        flag = setting.flag(),
        variable = setting.variable(),
    )
}
