//! The configuration: read once, judged once, all its problems reported at once, then passed down.
//!
//! The only module that reads the environment. Does not connect to anything.

mod layers;
mod setting;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use control::dsn::{Defaults, Dsn, Password};
use proxy::MirrorMode;
use tracing_subscriber::filter::{LevelFilter, Targets};

pub(crate) use self::layers::Environment;
use self::layers::{Given, Layers, Origin, Place};
pub(crate) use self::setting::Setting;
use crate::exit::Failure;

/// Beside 5432, and what connection poolers use.
const LISTEN: &str = "127.0.0.1:6432";
/// Enough for a target across a continent; a client should not wait longer for a mirror.
const SYNC_TIMEOUT: Duration = Duration::from_secs(1);
/// Relaying is cheap: measurements with more cores than this would be about the server.
const WORKERS_DEFAULT_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);
/// A thread per core of the largest machines; more is a slip of the finger.
const WORKERS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);
/// Ten times what PostgreSQL itself admits by default.
const CLIENTS_MAX: usize = 1000;
/// Longer than the transactions of a web application, shorter than an orchestrator's patience.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The settings, judged.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The source.
    pub(crate) source: Option<Dsn>,
    /// The target.
    pub(crate) target: Option<Dsn>,
    /// Where the proxy accepts clients.
    pub(crate) listen: Vec<SocketAddr>,
    /// What the mirror does.
    pub(crate) mirror: MirrorMode,
    /// How long a client waits for the target under [`MirrorMode::Sync`].
    pub(crate) sync_timeout: Duration,
    /// The proxy's worker threads.
    pub(crate) workers: NonZeroUsize,
    /// Clients of the proxy at one time.
    pub(crate) clients_max: usize,
    /// How long clients in a transaction may go on when the proxy is going down.
    pub(crate) drain_timeout: Duration,
    /// The proxy's endpoint.
    pub(crate) metrics: Option<SocketAddr>,
    /// The reconciler's endpoint.
    pub(crate) http: Option<SocketAddr>,
    /// What the endpoints ask for.
    pub(crate) http_token: Option<Password>,
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
    pub(crate) fn read(
        config: Option<PathBuf>,
        environment: &Environment,
        flags: &[(Setting, String)],
        needs: Needs,
    ) -> Result<Self, Failure> {
        let mut judge = Judge::new(Layers::read(config, environment, flags), environment);
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
        };
        Self { layers, defaults }
    }

    fn settings(&mut self, needs: Needs) -> Settings {
        let source = self.dsn(Setting::Source, needs.source());
        let target = self.dsn(Setting::Target, needs.target());
        let http_token = self.http_token();
        let settings = Settings {
            listen: self.listen(),
            mirror: self.mirror(),
            sync_timeout: self
                .value(Setting::SyncTimeout, duration)
                .unwrap_or(SYNC_TIMEOUT),
            workers: self
                .value(Setting::Workers, workers)
                .unwrap_or_else(default_workers),
            clients_max: self
                .value(Setting::ClientsMax, clients)
                .unwrap_or(CLIENTS_MAX),
            drain_timeout: self
                .value(Setting::DrainTimeout, duration)
                .unwrap_or(DRAIN_TIMEOUT),
            metrics: self.endpoint(Setting::Metrics, http_token.is_some()),
            http: self.endpoint(Setting::Http, http_token.is_some()),
            tables: self.value(Setting::Tables, list).unwrap_or_default(),
            log_format: self
                .value(Setting::LogFormat, str::parse)
                .unwrap_or(LogFormat::Text),
            log_level: self
                .value(Setting::LogLevel, log_level)
                .unwrap_or_else(default_log_level),
            file: self.layers.file.clone(),
            warnings: Vec::new(),
            http_token,
            source,
            target,
        };
        Settings {
            warnings: std::mem::take(&mut self.layers.warnings),
            ..settings
        }
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

    fn listen(&mut self) -> Vec<SocketAddr> {
        self.value(Setting::Listen, |text| {
            list(text)?.iter().map(|item| address(item)).collect()
        })
        .unwrap_or_else(|| address(LISTEN).into_iter().collect())
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

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "is not an IP address with a port, such as 127.0.0.1:6432 or [::1]:6432".to_owned()
    })
}

fn list(text: &str) -> Result<Vec<String>, String> {
    let items: Vec<String> = text
        .split(',')
        .map(|item| item.trim().to_owned())
        .filter(|item| !item.is_empty())
        .collect();
    if items.is_empty() {
        return Err("names nothing".to_owned());
    }
    Ok(items)
}

fn mirror(text: &str) -> Result<MirrorMode, String> {
    match text {
        "off" => Ok(MirrorMode::Off),
        "dry" => Ok(MirrorMode::Dry),
        "async" => Ok(MirrorMode::Async),
        "sync" => Ok(MirrorMode::Sync),
        _ => Err("is not one of off, dry, async, sync".to_owned()),
    }
}

fn workers(text: &str) -> Result<NonZeroUsize, String> {
    text.parse()
        .ok()
        .filter(|count| *count <= WORKERS_MAX)
        .ok_or_else(|| format!("is not a number between 1 and {WORKERS_MAX}"))
}

fn default_workers() -> NonZeroUsize {
    std::thread::available_parallelism()
        .map_or(NonZeroUsize::MIN, |cores| cores.min(WORKERS_DEFAULT_MAX))
}

fn clients(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        Ok(_) | Err(_) => Err("is not a number of clients".to_owned()),
    }
}

/// A level, or `part=level`. [`Targets`] itself takes a bare word for a part whose every event is
/// wanted, so that a slip in a level's name would silence everything else.
fn log_level(text: &str) -> Result<Targets, String> {
    text.split(',')
        .map(str::trim)
        .try_fold(Targets::new(), |targets, directive| {
            match directive.split_once('=') {
                None => Some(targets.with_default(directive.parse::<LevelFilter>().ok()?)),
                Some(("", _)) => None,
                Some((part, level)) => {
                    Some(targets.with_target(part, level.parse::<LevelFilter>().ok()?))
                }
            }
        })
        .ok_or_else(|| {
            "is neither a level (error, warn, info, debug, trace, off) nor levels by part, such as \
             info,proxy=debug"
                .to_owned()
        })
}

fn default_log_level() -> Targets {
    Targets::new().with_default(tracing::Level::INFO)
}

/// `500ms`, `2s`, `1.5s`, `10min`, `1h` or `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const SHAPE: &str = "is not a duration such as 500ms, 2s, 10min, 1h or 7d";
    let digits = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits).ok_or(SHAPE)?;
    let number: f64 = number.parse().map_err(|_| SHAPE)?;
    let seconds = match unit.trim() {
        "ms" => number / 1000.0,
        "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86400.0,
        _ => return Err(SHAPE.to_owned()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| SHAPE.to_owned())
}
