//! Opening SQL sessions, and saying in one sentence why one could not be opened.
//!
//! Does not retry: whoever needs a connection for long has its own backoff.

use std::error::Error as _;
use std::io;

use tokio_postgres::Client;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use crate::dsn::Dsn;
use crate::server::{Route, ServerStream, Way};
use crate::side::Side;
use crate::tls::TlsFault;

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
    /// The connection could not be encrypted as asked.
    #[error(transparent)]
    Tls(#[from] TlsFault),
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
    /// The word for it in a metric's label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable { .. } => "unreachable",
            Self::Timeout => "timeout",
            Self::UnknownDatabase => "unknown_database",
            Self::Password | Self::PasswordMissing => "password",
            Self::Forbidden { .. } => "forbidden",
            Self::Full { .. } => "full",
            Self::NotReady { .. } => "not_ready",
            Self::Server { .. } => "server",
            Self::Tls(_) => "tls",
            Self::Protocol { .. } => "protocol",
        }
    }

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
        if let Some(fault) = TlsFault::from_io(error) {
            return Self::Tls(fault);
        }
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

    /// Whether the server might let us in on a connection that is encrypted otherwise. As in libpq
    /// 17, only what was said before authentication began counts: that the server's rules have no
    /// line for this kind of connection.
    pub const fn invites_another_way(&self) -> bool {
        matches!(self, Self::Forbidden { .. } | Self::Tls(_))
    }

    /// The cause to tell of two that failed: TLS that could not be had says more than the refusal
    /// of a connection without.
    fn or_then(self, later: Self) -> Self {
        match self {
            Self::Tls(_) => self,
            Self::Refused
            | Self::Unreachable { .. }
            | Self::Timeout
            | Self::UnknownDatabase
            | Self::Password
            | Self::PasswordMissing
            | Self::Forbidden { .. }
            | Self::Full { .. }
            | Self::NotReady { .. }
            | Self::Server { .. }
            | Self::Protocol { .. } => later,
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
            text if text.contains("channel binding") => Self::Tls(TlsFault::ChannelBinding {
                why: "the server did not ask for SCRAM over TLS",
            }),
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
    let error = |cause| ConnectError::new(side, dsn, cause);
    let route = Route::new(dsn).map_err(|fault| error(fault.into()))?;
    let mut attempts = Attempts::at(&route);
    let (client, connection) = loop {
        match session(&route, attempts.way(), &config).await {
            Ok(session) => break session,
            Err(cause) => attempts.go_on(cause).map_err(error)?,
        }
    };
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%side, %error, "session ended");
        }
    });
    Ok(client)
}

async fn session(
    route: &Route,
    way: Way,
    config: &tokio_postgres::Config,
) -> Result<(Client, Connection), ConnectCause> {
    let stream = route.open(way).await?;
    let session = config.connect_raw(stream, AsItIs);
    let session = tokio::time::timeout(route.dsn().connect_timeout(), session).await;
    let session = session.map_err(|_| ConnectCause::Timeout)?;
    session.map_err(|error| ConnectCause::from_client(&error))
}

/// The ways to a server, tried in turn as long as what it says gives reason to.
#[derive(Debug)]
pub struct Attempts {
    way: Way,
    later: std::slice::Iter<'static, Way>,
    failed: Option<ConnectCause>,
}

impl Attempts {
    /// Begins with the first way.
    pub fn at(route: &Route) -> Self {
        let mut later = route.ways().iter();
        Self {
            way: later.next().copied().unwrap_or(Way::Clear),
            later,
            failed: None,
        }
    }

    /// The way to try now.
    pub const fn way(&self) -> Way {
        self.way
    }

    /// Goes on to the next way after a failure; gives the failure to tell if there is no point in
    /// any other.
    pub fn go_on(&mut self, cause: ConnectCause) -> Result<(), ConnectCause> {
        let invited = cause.invites_another_way();
        let cause = match self.failed.take() {
            Some(earlier) => earlier.or_then(cause),
            None => cause,
        };
        match self.later.next() {
            Some(way) if invited => {
                self.way = *way;
                self.failed = Some(cause);
                Ok(())
            }
            _ => Err(cause),
        }
    }
}

type Connection = tokio_postgres::Connection<ServerStream, ServerStream>;

/// Hands a stream to `tokio_postgres` that is encrypted already, or is not to be.
struct AsItIs;

impl TlsConnect<ServerStream> for AsItIs {
    type Stream = ServerStream;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<ServerStream>>;

    fn connect(self, stream: ServerStream) -> Self::Future {
        std::future::ready(Ok(stream))
    }
}

impl TlsStream for ServerStream {
    fn channel_binding(&self) -> ChannelBinding {
        match self.end_point() {
            Some(name) => ChannelBinding::tls_server_end_point(name),
            None => ChannelBinding::none(),
        }
    }
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
