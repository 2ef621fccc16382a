//! Opening SQL sessions, and saying in one sentence why one could not be opened.
//!
//! Does not retry: whoever needs a connection for long has its own backoff.

use std::error::Error as _;
use std::io;

use tokio_postgres::{Client, NoTls};

use crate::dsn::Dsn;
use crate::side::Side;

/// Fixes what the texts that Segue reads from the catalogs depend on.
const SESSION_OPTIONS: &str = "-c search_path=pg_catalog -c datestyle=ISO -c intervalstyle=postgres \
     -c timezone=UTC -c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c jit=off \
     -c default_transaction_isolation=read\\ committed";

/// A session could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot connect to the {side} at {server} as {user}, database {database}: {cause}")]
pub struct ConnectError {
    /// Which of the two databases.
    pub side: Side,
    /// Host and port, or the socket.
    pub server: String,
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// Why.
    pub cause: ConnectCause,
}

/// Why a session could not be opened, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectCause {
    /// Nobody listens.
    #[error("nothing listens there; start the server, or correct host and port")]
    Refused,
    /// The host cannot be reached or its name is not known.
    #[error("{message}; correct the host, or the network between")]
    Unreachable {
        /// What the operating system said.
        message: String,
    },
    /// No answer in time.
    #[error("no answer in time; check host, port and firewall")]
    Timeout,
    /// 3D000.
    #[error("there is no such database; create it, or correct the name")]
    UnknownDatabase,
    /// 28P01.
    #[error("wrong password or no such role; correct PGPASSWORD, the passfile or the role")]
    Password,
    /// The server asks for a password.
    #[error("the server asks for a password; set PGPASSWORD or add a line to the passfile")]
    PasswordMissing,
    /// 28000.
    #[error("{message}; create the role, or allow it in the server's pg_hba.conf")]
    Forbidden {
        /// What the server said.
        message: String,
    },
    /// 53300.
    #[error("{message}; raise max_connections or the role's connection limit, or close sessions")]
    Full {
        /// What the server said.
        message: String,
    },
    /// 57P01 to 57P03.
    #[error("{message}; wait until the server is up")]
    NotReady {
        /// What the server said.
        message: String,
    },
    /// Any other answer of the server.
    #[error("{message} (SQLSTATE {sqlstate})")]
    Server {
        /// The SQLSTATE.
        sqlstate: String,
        /// What the server said.
        message: String,
    },
    /// What answers does not speak the protocol, or breaks off.
    #[error("{message}; check that a PostgreSQL server listens there")]
    Protocol {
        /// What went wrong.
        message: String,
    },
}

impl ConnectError {
    /// Of the attempt to reach `dsn`.
    pub fn new(side: Side, dsn: &Dsn, cause: ConnectCause) -> Self {
        Self {
            side,
            server: dsn.server(),
            user: dsn.user().to_owned(),
            database: dsn.database().to_owned(),
            cause,
        }
    }

    /// The exit code of a command that ends with it.
    pub const fn exit_code(&self) -> u8 {
        1
    }
}

impl ConnectCause {
    /// What an `ErrorResponse` during startup means.
    pub fn from_server(sqlstate: &str, message: &str) -> Self {
        let message = message.to_owned();
        match sqlstate {
            "3D000" => Self::UnknownDatabase,
            "28P01" => Self::Password,
            "28000" => Self::Forbidden { message },
            "53300" => Self::Full { message },
            "57P01" | "57P02" | "57P03" => Self::NotReady { message },
            _ => Self::Server {
                sqlstate: sqlstate.to_owned(),
                message,
            },
        }
    }

    /// What an error of the operating system means.
    pub fn from_io(error: &io::Error) -> Self {
        use io::ErrorKind::{
            BrokenPipe, ConnectionRefused, ConnectionReset, NotFound, TimedOut, UnexpectedEof,
        };
        let kind = error.kind();
        if matches!(kind, ConnectionRefused | NotFound) {
            Self::Refused
        } else if kind == TimedOut {
            Self::Timeout
        } else if matches!(kind, UnexpectedEof | ConnectionReset | BrokenPipe) {
            let message = "the connection broke off".to_owned();
            Self::Protocol { message }
        } else {
            let message = error.to_string();
            Self::Unreachable { message }
        }
    }

    fn from_client(error: &tokio_postgres::Error) -> Self {
        if let Some(answer) = error.as_db_error() {
            return Self::from_server(answer.code().code(), answer.message());
        }
        let Some(cause) = error.source() else {
            return Self::Protocol {
                message: error.to_string(),
            };
        };
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return Self::from_io(error);
        }
        match cause.to_string() {
            text if text == "password missing" => Self::PasswordMissing,
            text => Self::Protocol {
                message: format!("{error}: {text}"),
            },
        }
    }
}

/// Opens a session and drives it in a task of its own until the client is dropped.
pub async fn connect(
    dsn: &Dsn,
    side: Side,
    application_name: &str,
) -> Result<Client, ConnectError> {
    let mut config = dsn.to_tokio_postgres();
    let options = match dsn.options() {
        Some(theirs) => format!("{theirs} {SESSION_OPTIONS}"),
        None => SESSION_OPTIONS.to_owned(),
    };
    config.options(options).application_name(application_name);
    // A name with several addresses is tried address by address, so the whole has a limit too.
    let attempt = tokio::time::timeout(dsn.connect_timeout() * 2, config.connect(NoTls));
    let cause = match attempt.await {
        Ok(Ok((client, connection))) => {
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%side, %error, "session ended");
                }
            });
            return Ok(client);
        }
        Ok(Err(error)) => ConnectCause::from_client(&error),
        Err(_) => ConnectCause::Timeout,
    };
    Err(ConnectError::new(side, dsn, cause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsn::Defaults;

    #[test]
    fn the_sentence_names_place_role_database_and_mend() {
        let dsn = Dsn::parse("postgres://al:pw@h:7/shop", &Defaults::default()).unwrap();
        let cause = ConnectCause::from_server("3D000", "database \"shop\" does not exist");
        let text = ConnectError::new(Side::Target, &dsn, cause).to_string();
        assert_eq!(
            text,
            "cannot connect to the target at h:7 as al, database shop: there is no such database; \
             create it, or correct the name"
        );
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_refused() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let text = format!("postgres://al@127.0.0.1:{port}/shop");
        let dsn = Dsn::parse(&text, &Defaults::default()).unwrap();
        let error = connect(&dsn, Side::Source, "test").await.unwrap_err();
        assert_eq!(error.cause, ConnectCause::Refused);
    }
}
