//! The configuration: read once, judged once, all its problems reported at once, then passed down.
//!
//! The only module that reads the environment. Does not connect to anything.

mod client_tls;
mod layers;
mod secrets;
mod setting;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use control::dsn::{Defaults, Dsn, Password};
use control::server::Route;
use proxy::address::Address;
use proxy::settings::{IdleLimits, MirrorChoice, SyncSettings};
use proxy::{AuthenticationSettings, ClientTls, MirrorMode};
use reconciler::{Limit, Policy};
use tracing_subscriber::filter::Targets;

pub(crate) use self::layers::Environment;
pub(crate) use self::layers::{Given, Origin, Sources};
use self::layers::{Layers, Place};
pub(crate) use self::setting::Setting;
pub(crate) use self::values::duration;
use self::values::{
    address, addresses, admin_database, clients, default_workers, directory, list, log_level,
    max_repairs, mirror, mirror_tables, repair, retention, roles, sync_policy, workers,
};
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

/// Turns texts into values and gathers what is wrong with them.
struct Judge {
    layers: Layers,
    defaults: Defaults,
    /// The system's temporary directory.
    temporary: PathBuf,
}

impl Judge {
    fn new(layers: Layers, environment: &Environment) -> Self {
        let home = environment.value("HOME");
        let defaults = Defaults {
            user: environment
                .value("PGUSER")
                .or_else(|| environment.value("USER"))
                .map(str::to_owned),
            password: environment.value("PGPASSWORD").map(Password::new),
            passfile: environment
                .value("PGPASSFILE")
                .map(PathBuf::from)
                .or_else(|| home.map(|home| Path::new(home).join(".pgpass"))),
            certificates: home.map(|home| Path::new(home).join(".postgresql")),
            keywords: Defaults::VARIABLES
                .into_iter()
                .filter_map(|(name, keyword)| Some((keyword, environment.value(name)?.to_owned())))
                .collect(),
        };
        let temporary = environment.value("TMPDIR").unwrap_or("/tmp").into();
        Self {
            layers,
            defaults,
            temporary,
        }
    }

    fn settings(&mut self, needs: Needs) -> Settings {
        let source = self.dsn(Setting::Source, needs.source());
        let target = self.dsn(Setting::Target, needs.target());
        let http_token = self.http_token();
        let settings = Settings {
            listen: self.or_default(Setting::Listen, addresses),
            mirror: self.mirror(),
            mirror_tables: self
                .value(Setting::MirrorTables, mirror_tables)
                .unwrap_or_default(),
            sync: SyncSettings {
                timeout: self.or_default(Setting::SyncTimeout, duration),
                policy: self.or_default(Setting::SyncPolicy, sync_policy),
            },
            catalog_wait: self.or_default(Setting::CatalogWait, duration),
            workers: self
                .value(Setting::Workers, workers)
                .unwrap_or_else(default_workers),
            clients_max: self.or_default(Setting::ClientsMax, clients),
            startup_timeout: self.or_default(Setting::StartupTimeout, duration),
            idle: IdleLimits {
                session: self.or_default(Setting::ClientIdleTimeout, duration),
                transaction: self.or_default(Setting::TransactionIdleTimeout, duration),
            },
            drain_timeout: self.or_default(Setting::DrainTimeout, duration),
            client_tls: self.client_tls(),
            pause_timeout: self.or_default(Setting::PauseTimeout, duration),
            admin_database: self.or_default(Setting::AdminDatabase, admin_database),
            admin_users: self.value(Setting::AdminUsers, roles).unwrap_or_default(),
            authentication: self.authentication(),
            metrics: self.endpoint(Setting::Metrics, http_token.is_some()),
            http: self.endpoint(Setting::Http, http_token.is_some()),
            repair: self.or_default(Setting::Repair, repair),
            max_repairs: self.or_default(Setting::MaxRepairs, max_repairs),
            retention: self.or_default(Setting::Retention, retention),
            spool_dir: self
                .value(Setting::SpoolDir, directory)
                .unwrap_or_else(|| self.temporary.clone()),
            tables: self.value(Setting::Tables, list).unwrap_or_default(),
            log_format: self.or_default(Setting::LogFormat, str::parse),
            log_level: self.or_default(Setting::LogLevel, log_level),
            file: self.layers.file.clone(),
            warnings: Vec::new(),
            given: BTreeMap::new(),
            http_token,
            source,
            target,
        };
        Settings {
            warnings: std::mem::take(&mut self.layers.warnings),
            given: self.given(),
            ..settings
        }
    }

    /// What was given, without the texts that may hold a password.
    fn given(&mut self) -> BTreeMap<Setting, Given> {
        let mut given = std::mem::take(&mut self.layers.given);
        for setting in [Setting::Source, Setting::Target] {
            if let Some(given) = given.get_mut(&setting) {
                given.value.clear();
            }
        }
        given
    }

    /// A setting's value; a problem with it is kept with the name of the place that gave it.
    fn value<T>(
        &mut self,
        setting: Setting,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Given { value, origin } = self.layers.get(setting)?.clone();
        match parse(value.trim()) {
            Ok(parsed) => Some(parsed),
            Err(problem) => {
                let place = Place(setting, &origin);
                self.layers
                    .problems
                    .push(format!("{place}: {value:?} {problem}"));
                None
            }
        }
    }

    /// As [`Judge::value`], or the default, which a test parses for every setting that has one.
    fn or_default<T>(&mut self, setting: Setting, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let given = self.value(setting, &parse);
        given.unwrap_or_else(|| {
            parse(setting.facts().default).expect("the default of a setting is one of its values")
        })
    }

    /// The value itself never appears in a message: it may hold a password.
    fn dsn(&mut self, setting: Setting, needed: bool) -> Option<Dsn> {
        let Some(Given { value, origin }) = self.layers.get(setting).cloned() else {
            if needed {
                self.layers.problems.push(missing_text(setting));
            }
            return None;
        };
        let place = Place(setting, &origin);
        match Dsn::parse(&value, &self.defaults) {
            Ok(dsn) => {
                // Certificates and keys that it names are read now, so that all problems are told
                // at once; those who connect read them again.
                if let Err(fault) = Route::new(&dsn) {
                    self.layers.problems.push(format!("{place}: {fault}"));
                }
                if dsn.password_in_text() && origin == Origin::Flag {
                    self.layers.warnings.push(format!(
                        "{place} holds a password, which other users of this machine can read; \
                         use PGPASSWORD, ~/.pgpass or {} instead",
                        setting.variable()
                    ));
                }
                let said = dsn.warnings().iter();
                self.layers
                    .warnings
                    .extend(said.map(|warning| format!("{place}: {warning}")));
                Some(dsn)
            }
            Err(error) => {
                self.layers.problems.push(format!("{place}: {error}"));
                None
            }
        }
    }

    /// Judged by whether a target was named, not by whether its string could be read: one mistake
    /// should not be reported twice.
    fn mirror(&mut self) -> MirrorMode {
        let has_target = self.layers.get(Setting::Target).is_some();
        let given = self.value(Setting::Mirror, |text| {
            let mirror = mirror(text)?;
            if matches!(mirror, MirrorMode::Async | MirrorMode::Sync) && !has_target {
                return Err("needs a target; dry and off do not".to_owned());
            }
            Ok(mirror)
        });
        given.unwrap_or(if has_target {
            MirrorMode::Async
        } else {
            MirrorMode::Off
        })
    }

    fn http_token(&mut self) -> Option<Password> {
        self.value(Setting::HttpTokenFile, |path| {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("cannot be read: {error}"))?;
            match text.trim() {
                "" => Err("holds no token".to_owned()),
                token => Ok(Password::new(token)),
            }
        })
    }

    /// An endpoint shows rows' keys, so strangers must not reach it unasked.
    fn endpoint(&mut self, setting: Setting, has_token: bool) -> Option<SocketAddr> {
        let has_token = has_token || self.layers.get(Setting::HttpTokenFile).is_some();
        self.value(setting, |text| {
            let address = address(text)?;
            if address.ip().is_loopback() || has_token {
                return Ok(address);
            }
            Err(format!(
                "is open to other machines; use 127.0.0.1:{}, or set {} so that only holders of \
                 the token are answered",
                address.port(),
                Setting::HttpTokenFile.name()
            ))
        })
    }
}
