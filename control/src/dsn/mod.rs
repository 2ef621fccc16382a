//! Where a server is and who asks: connection strings with libpq's meanings.
//!
//! URIs and keyword strings are understood; the environment is not read here, it comes in as
//! [`Defaults`]. Does not connect, and does not support several hosts in one string.

mod encryption;
mod keywords;
mod parts;
mod passfile;
mod uri;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use encryption::{
    ChannelBinding, ClientCertificate, Encryption, Negotiation, Roots, SslMode, TlsVersion,
};
use parts::Parts;

/// What the surroundings of the process add to a connection string that does not say it itself.
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    /// `PGUSER`, else the operating system's user name.
    pub user: Option<String>,
    /// `PGPASSWORD`.
    pub password: Option<Password>,
    /// `PGPASSFILE`, else `~/.pgpass`.
    pub passfile: Option<PathBuf>,
    /// `~/.postgresql`, where libpq looks for certificates that are not named.
    pub certificates: Option<PathBuf>,
    /// Further keywords with their values: `PGSSLMODE` and its kind.
    pub keywords: Vec<(&'static str, String)>,
}

impl Defaults {
    /// libpq's variables that stand for a keyword of encryption, with that keyword.
    pub const VARIABLES: [(&'static str, &'static str); 12] = [
        ("PGSSLMODE", "sslmode"),
        ("PGSSLROOTCERT", "sslrootcert"),
        ("PGSSLCERT", "sslcert"),
        ("PGSSLKEY", "sslkey"),
        ("PGSSLCRL", "sslcrl"),
        ("PGSSLCRLDIR", "sslcrldir"),
        ("PGSSLSNI", "sslsni"),
        ("PGSSLCERTMODE", "sslcertmode"),
        ("PGSSLNEGOTIATION", "sslnegotiation"),
        ("PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version"),
        ("PGSSLMAXPROTOCOLVERSION", "ssl_max_protocol_version"),
        ("PGCHANNELBINDING", "channel_binding"),
    ];
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

/// A connection string, understood and completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dsn {
    host: Host,
    port: u16,
    user: String,
    password: Option<Password>,
    database: String,
    /// As whom the server's certificate has to know it.
    server_name: String,
    encryption: Box<Encryption>,
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
    /// A mode that something else makes pointless.
    #[error(
        "the connection string has sslmode={sslmode}, which is too weak for {with}; use {use_instead}"
    )]
    Weak {
        /// The mode.
        sslmode: &'static str,
        /// What asks for more.
        with: &'static str,
        /// What would do.
        use_instead: &'static str,
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
        for (keyword, value) in &defaults.keywords {
            parts.put(keyword, value.clone())?;
        }
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
    pub const fn encryption(&self) -> &Encryption {
        &self.encryption
    }

    /// The name that the server's certificate has to be for: `host`, whatever `hostaddr` says.
    pub fn server_name(&self) -> &str {
        &self.server_name
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

    /// Role, database, password and options for `tokio_postgres`, over a stream that is open.
    pub fn to_tokio_postgres(&self) -> tokio_postgres::Config {
        use tokio_postgres::config::{ChannelBinding as Binding, SslMode as Mode, SslNegotiation};
        let mut config = tokio_postgres::Config::new();
        config
            .user(&self.user)
            .dbname(&self.database)
            // Encryption has been negotiated: what follows is the session, channel binding included.
            .ssl_mode(Mode::Require)
            .ssl_negotiation(SslNegotiation::Direct)
            .channel_binding(match self.encryption.channel_binding {
                ChannelBinding::Disable => Binding::Disable,
                ChannelBinding::Prefer => Binding::Prefer,
                ChannelBinding::Require => Binding::Require,
            });
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

#[cfg(test)]
mod tests;
