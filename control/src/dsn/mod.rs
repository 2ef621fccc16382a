//! Where a server is and who asks: connection strings with libpq's meanings.
//!
//! URIs and keyword strings are understood; the environment is not read here, it comes in as
//! [`Defaults`]. Does not connect, and does not support several hosts in one string.

mod keywords;
mod passfile;
mod uri;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// libpq waits for ever by default; a command that hangs says nothing, so Segue gives up in time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const DEFAULT_PORT: u16 = 5432;

/// What the surroundings of the process add to a connection string that does not say it itself.
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    /// `PGUSER`, else the operating system's user name.
    pub user: Option<String>,
    /// `PGPASSWORD`.
    pub password: Option<Password>,
    /// `PGPASSFILE`, else `~/.pgpass`.
    pub passfile: Option<PathBuf>,
}

/// A secret: shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// The secret `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one who has to prove it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A host name or an IP address.
    Tcp(String),
    /// The directory of a Unix-domain socket.
    Unix(PathBuf),
}

/// How the string wants the connection encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Only if the server insists.
    Allow,
    /// If the server can.
    Prefer,
}

/// A connection string, understood and completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dsn {
    host: Host,
    port: u16,
    user: String,
    password: Option<Password>,
    database: String,
    sslmode: SslMode,
    sslrootcert: Option<PathBuf>,
    options: Option<String>,
    application_name: Option<String>,
    connect_timeout: Duration,
    password_in_text: bool,
    warnings: Vec<String>,
}

/// A connection string that cannot be used. Never contains the string: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DsnError {
    /// Neither a URI nor keywords.
    #[error(
        "the connection string cannot be read: {reason}; write postgres://USER@HOST:PORT/DATABASE"
    )]
    Shape {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A keyword that libpq does not have, or that Segue does not support.
    #[error("the connection string has the parameter {keyword:?}, which is not supported")]
    Keyword {
        /// The keyword.
        keyword: String,
    },
    /// A parameter's value is not one of those allowed.
    #[error("the connection string has {keyword}={value}, which is not {expected}")]
    Value {
        /// The parameter.
        keyword: &'static str,
        /// Its value.
        value: String,
        /// What would be allowed.
        expected: &'static str,
    },
    /// TLS is asked for.
    #[error(
        "the connection string asks for sslmode={sslmode}, and TLS to servers is not supported yet; \
         use sslmode=prefer or disable over a network that you trust"
    )]
    Tls {
        /// The mode asked for.
        sslmode: String,
    },
    /// More than one host.
    #[error("the connection string names several hosts; name the one that is to be used")]
    SeveralHosts,
    /// Nobody to connect as.
    #[error("the connection string names no user; write postgres://USER@HOST:PORT/DATABASE")]
    NoUser,
}

impl DsnError {
    /// The exit code of a command that ends with it: wrong usage.
    pub const fn exit_code(&self) -> u8 {
        2
    }
}

impl Dsn {
    /// Reads a URI or a keyword string and completes it.
    pub fn parse(text: &str, defaults: &Defaults) -> Result<Self, DsnError> {
        let text = text.trim();
        let pairs = match uri::rest_of(text) {
            Some(rest) => uri::pairs(rest)?,
            None => keywords::pairs(text)?,
        };
        let mut parts = Parts::default();
        for (keyword, value) in pairs {
            parts.put(&keyword, value)?;
        }
        parts.complete(defaults)
    }

    /// The same server and user, another database.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        Self {
            database: database.to_owned(),
            ..self.clone()
        }
    }

    /// Where the server is.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// Its port; part of the socket's name for a Unix-domain socket.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The role to connect as.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// What proves it.
    pub const fn password(&self) -> Option<&Password> {
        self.password.as_ref()
    }

    /// The database to connect to.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// How the connection is to be encrypted.
    pub const fn sslmode(&self) -> SslMode {
        self.sslmode
    }

    /// The certificates to trust, for when TLS is supported.
    pub fn sslrootcert(&self) -> Option<&Path> {
        self.sslrootcert.as_deref()
    }

    /// Command-line options for the server process.
    pub fn options(&self) -> Option<&str> {
        self.options.as_deref()
    }

    /// The application name that the string asks for.
    pub fn application_name(&self) -> Option<&str> {
        self.application_name.as_deref()
    }

    /// How long to wait for the server's first answer.
    pub const fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Whether the string itself holds the password, so that other users of the machine may read it.
    pub const fn password_in_text(&self) -> bool {
        self.password_in_text
    }

    /// What the user should hear about how the string was completed.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// `127.0.0.1:5432`, `[::1]:5432` or `/run/postgresql/.s.PGSQL.5432`.
    pub fn server(&self) -> String {
        match &self.host {
            Host::Tcp(name) if name.contains(':') => format!("[{name}]:{}", self.port),
            Host::Tcp(name) => format!("{name}:{}", self.port),
            Host::Unix(directory) => socket_path(directory, self.port).display().to_string(),
        }
    }

    /// The socket's path, where the server is reached through one.
    pub fn socket(&self) -> Option<PathBuf> {
        match &self.host {
            Host::Tcp(_) => None,
            Host::Unix(directory) => Some(socket_path(directory, self.port)),
        }
    }

    /// The same for `tokio_postgres`.
    pub fn to_tokio_postgres(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        match &self.host {
            Host::Tcp(name) => config.host(name),
            Host::Unix(directory) => config.host_path(directory),
        };
        config
            .port(self.port)
            .user(&self.user)
            .dbname(&self.database)
            .ssl_mode(tokio_postgres::config::SslMode::Disable)
            .connect_timeout(self.connect_timeout);
        if let Some(password) = &self.password {
            config.password(password.reveal());
        }
        if let Some(options) = &self.options {
            config.options(options);
        }
        config
    }
}

impl fmt::Display for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Tcp(_) => write!(
                f,
                "postgres://{}@{}/{}",
                self.user,
                self.server(),
                self.database
            ),
            Host::Unix(directory) => write!(
                f,
                "postgres://{}@/{}?host={}&port={}",
                self.user,
                self.database,
                directory.display(),
                self.port
            ),
        }
    }
}

fn socket_path(directory: &Path, port: u16) -> PathBuf {
    directory.join(format!(".s.PGSQL.{port}"))
}

/// What a string said, before it is completed.
#[derive(Default)]
struct Parts {
    host: Option<String>,
    hostaddr: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    passfile: Option<PathBuf>,
    sslmode: Option<SslMode>,
    sslrootcert: Option<PathBuf>,
    options: Option<String>,
    application_name: Option<String>,
    connect_timeout: Option<Duration>,
}

impl Parts {
    fn put(&mut self, keyword: &str, value: String) -> Result<(), DsnError> {
        match keyword {
            "host" => self.host = Some(one_host(value)?),
            "hostaddr" => self.hostaddr = Some(one_host(value)?),
            "port" => self.port = port(value)?,
            "user" => self.user = Some(value),
            "password" => self.password = Some(value),
            "dbname" => self.database = Some(value),
            "passfile" => self.passfile = Some(value.into()),
            "sslmode" => self.sslmode = Some(sslmode(&value)?),
            "sslrootcert" => self.sslrootcert = Some(value.into()),
            "options" => self.options = Some(value),
            "application_name" => self.application_name = Some(value),
            "connect_timeout" => self.connect_timeout = connect_timeout(value)?,
            "sslcert"
            | "sslkey"
            | "sslpassword"
            | "sslcrl"
            | "sslcrldir"
            | "sslcompression"
            | "sslsni"
            | "ssl_min_protocol_version"
            | "ssl_max_protocol_version"
            | "gssencmode"
            | "krbsrvname"
            | "gsslib"
            | "channel_binding"
            | "keepalives"
            | "keepalives_idle"
            | "keepalives_interval"
            | "keepalives_count"
            | "tcp_user_timeout"
            | "fallback_application_name"
            | "client_encoding"
            | "target_session_attrs"
            | "load_balance_hosts"
            | "sslcertmode"
            | "sslnegotiation" => {}
            _ => {
                return Err(DsnError::Keyword {
                    keyword: keyword.to_owned(),
                });
            }
        }
        Ok(())
    }

    fn complete(self, defaults: &Defaults) -> Result<Dsn, DsnError> {
        let user = present(self.user)
            .or_else(|| defaults.user.clone())
            .ok_or(DsnError::NoUser)?;
        let mut dsn = Dsn {
            host: host(present(self.hostaddr).or_else(|| present(self.host))),
            port: self.port.unwrap_or(DEFAULT_PORT),
            database: present(self.database).unwrap_or_else(|| user.clone()),
            user,
            password_in_text: self.password.is_some(),
            password: self.password.map(Password),
            sslmode: self.sslmode.unwrap_or(SslMode::Prefer),
            sslrootcert: self.sslrootcert,
            options: present(self.options),
            application_name: present(self.application_name),
            connect_timeout: self.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
            warnings: Vec::new(),
        };
        if dsn.password.is_none() {
            dsn.password.clone_from(&defaults.password);
        }
        let passfile = self.passfile.or_else(|| defaults.passfile.clone());
        if let (None, Some(path)) = (&dsn.password, passfile) {
            match passfile::password(&path, &dsn) {
                Ok(password) => dsn.password = password,
                Err(warning) => dsn.warnings.push(warning),
            }
        }
        Ok(dsn)
    }
}

fn present(value: Option<String>) -> Option<String> {
    value.filter(|text| !text.is_empty())
}

fn host(text: Option<String>) -> Host {
    match text {
        None => Host::Tcp("localhost".to_owned()),
        Some(path) if path.starts_with('/') => Host::Unix(path.into()),
        Some(name) => Host::Tcp(name),
    }
}

fn one_host(value: String) -> Result<String, DsnError> {
    if value.contains(',') {
        return Err(DsnError::SeveralHosts);
    }
    Ok(value)
}

fn port(value: String) -> Result<Option<u16>, DsnError> {
    if value.is_empty() {
        return Ok(None);
    }
    match value.parse() {
        Ok(0) | Err(_) => Err(DsnError::Value {
            keyword: "port",
            value,
            expected: "a port between 1 and 65535",
        }),
        Ok(port) => Ok(Some(port)),
    }
}

fn sslmode(value: &str) -> Result<SslMode, DsnError> {
    match value {
        "disable" => Ok(SslMode::Disable),
        "allow" => Ok(SslMode::Allow),
        "prefer" => Ok(SslMode::Prefer),
        "require" | "verify-ca" | "verify-full" => Err(DsnError::Tls {
            sslmode: value.to_owned(),
        }),
        _ => Err(DsnError::Value {
            keyword: "sslmode",
            value: value.to_owned(),
            expected: "one of disable, allow, prefer, require, verify-ca, verify-full",
        }),
    }
}

/// As in libpq, zero, a negative number or nothing means no limit of its own.
fn connect_timeout(value: String) -> Result<Option<Duration>, DsnError> {
    if value.is_empty() {
        return Ok(None);
    }
    match value.parse::<i64>() {
        Ok(seconds) => Ok(u64::try_from(seconds)
            .ok()
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs)),
        Err(_) => Err(DsnError::Value {
            keyword: "connect_timeout",
            value,
            expected: "a number of seconds",
        }),
    }
}

#[cfg(test)]
mod tests;
