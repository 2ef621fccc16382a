//! What a connection string said, keyword by keyword, and how it is completed.
//!
//! Does not know where the pairs come from.

use std::path::PathBuf;
use std::time::Duration;

use super::encryption::EncryptionParts;
use super::{Defaults, Dsn, DsnError, Host, Password, passfile};

/// libpq waits for ever by default; a command that hangs says nothing, so Segue gives up in time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const DEFAULT_PORT: u16 = 5432;

const LOCALHOST: &str = "localhost";

/// What a string said, before it is completed.
#[derive(Default)]
pub(super) struct Parts {
    host: Option<String>,
    hostaddr: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    passfile: Option<PathBuf>,
    encryption: EncryptionParts,
    options: Option<String>,
    application_name: Option<String>,
    connect_timeout: Option<Duration>,
}

impl Parts {
    pub(super) fn put(&mut self, keyword: &str, value: String) -> Result<(), DsnError> {
        if self.encryption.put(keyword, &value)? {
            return Ok(());
        }
        match keyword {
            "host" => self.host = Some(one_host(value)?),
            "hostaddr" => self.hostaddr = Some(one_host(value)?),
            "port" => self.port = port(value)?,
            "user" => self.user = Some(value),
            "password" => self.password = Some(value),
            "dbname" => self.database = Some(value),
            "passfile" => self.passfile = Some(value.into()),
            "options" => self.options = Some(value),
            "application_name" => self.application_name = Some(value),
            "connect_timeout" => self.connect_timeout = connect_timeout(value)?,
            "krbsrvname"
            | "gsslib"
            | "keepalives"
            | "keepalives_idle"
            | "keepalives_interval"
            | "keepalives_count"
            | "tcp_user_timeout"
            | "fallback_application_name"
            | "client_encoding"
            | "target_session_attrs"
            | "load_balance_hosts" => {}
            _ => {
                return Err(DsnError::Keyword {
                    keyword: keyword.to_owned(),
                });
            }
        }
        Ok(())
    }

    pub(super) fn complete(self, defaults: &Defaults) -> Result<Dsn, DsnError> {
        let user = present(self.user)
            .or_else(|| defaults.user.clone())
            .ok_or(DsnError::NoUser)?;
        let (name, address) = (present(self.host), present(self.hostaddr));
        let is_named = name.is_some() || address.is_none();
        let encryption = self.encryption;
        let mut dsn = Dsn {
            server_name: name.clone().unwrap_or_else(|| LOCALHOST.to_owned()),
            encryption: Box::new(encryption.complete(defaults.certificates.as_deref(), is_named)?),
            host: host(address.or(name)),
            port: self.port.unwrap_or(DEFAULT_PORT),
            database: present(self.database).unwrap_or_else(|| user.clone()),
            user,
            password_in_text: self.password.is_some(),
            password: self.password.map(Password),
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
        None => Host::Tcp(LOCALHOST.to_owned()),
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
