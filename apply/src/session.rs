//! Target sessions as rule 15 wants them: triggers and rules asleep, fixed settings, and a
//! replication origin that tells their writes from the application's.
//!
//! Does not pool: a session is one writer's.

use bytes::Bytes;
use control::{Dsn, Names, Side};

use crate::connection::{Connection, ConnectionError};

/// Sessions that Segue may have at a target at the same time; a server has few origins
/// (`max_replication_slots`, 10 by default).
const ORIGIN_COUNT_MAX: u32 = 16;

/// Settings that fix what statements mean and how values look. Without the right to
/// `session_replication_role` the server refuses the session, which setup has found out before.
const SETTINGS: [(&str, &str); 15] = [
    ("session_replication_role", "replica"),
    ("search_path", "pg_catalog"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "3"),
    ("row_security", "off"),
    ("statement_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    // A generic plan made while a table is small must not scan it when it has grown.
    ("enable_seqscan", "off"),
    // A plan that has to scan all the same looks dear enough to compile, each time it runs.
    ("jit", "off"),
];

/// Who writes through a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// The mirror: gives way to the log after a short wait, and need not be durable.
    Early,
    /// The log: waits for every lock, and is durable when it says so.
    Logged,
}

impl SessionKind {
    const fn settings(self) -> [(&'static str, &'static str); 3] {
        match self {
            Self::Early => [
                ("application_name", "segue mirror"),
                ("lock_timeout", "200ms"),
                ("synchronous_commit", "off"),
            ],
            Self::Logged => [
                ("application_name", "segue reconciler"),
                ("lock_timeout", "0"),
                ("synchronous_commit", "on"),
            ],
        }
    }
}

/// A target session could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No connection, or a statement failed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The role may not use replication origins.
    #[error(
        "the role {role} may not use replication origins at the target; as a superuser there: \
         GRANT EXECUTE ON FUNCTION pg_replication_origin_create(text), \
         pg_replication_origin_session_setup(text) TO {role}"
    )]
    OriginForbidden {
        /// The role.
        role: String,
    },
    /// No origin is left.
    #[error(
        "no replication origin is left at the target ({tried} tried): {message}; end other \
         sessions of Segue or raise max_replication_slots there (from PostgreSQL 18 on, \
         max_active_replication_origins)"
    )]
    OriginsTaken {
        /// How many were tried.
        tried: u32,
        /// What the server said last.
        message: String,
    },
}

impl From<crate::connection::EncodeError> for SessionError {
    fn from(error: crate::connection::EncodeError) -> Self {
        Self::Connection(error.into())
    }
}

/// Opens a session for `kind`, marked with a replication origin of its own.
pub async fn open_target(
    dsn: &Dsn,
    names: &Names,
    kind: SessionKind,
) -> Result<Connection, SessionError> {
    let settings: Vec<_> = SETTINGS.into_iter().chain(kind.settings()).collect();
    let mut connection = Connection::connect(dsn, Side::Target, &settings)
        .await
        .map_err(ConnectionError::from)?;
    use_server_encoding(&mut connection).await?;
    take_origin(&mut connection, dsn, names).await?;
    Ok(connection)
}

/// Values travel in the server's encoding, so that nothing is converted on the way.
pub async fn use_server_encoding(connection: &mut Connection) -> Result<(), ConnectionError> {
    let server = connection.parameter("server_encoding").map(str::to_owned);
    match server {
        Some(encoding) if connection.parameter("client_encoding") != Some(&encoding) => {
            let sql = format!("SET client_encoding TO '{encoding}'");
            connection.query_simple(&sql).await.map(drop)
        }
        Some(_) | None => Ok(()),
    }
}

/// Marks the session with the first origin that no other session holds.
async fn take_origin(
    connection: &mut Connection,
    dsn: &Dsn,
    names: &Names,
) -> Result<(), SessionError> {
    let mut message = String::new();
    for number in 0..ORIGIN_COUNT_MAX {
        let origin = format!("{}{number}", names.origin_prefix);
        match try_origin(connection, &origin).await {
            Ok(()) => return Ok(()),
            Err(ConnectionError::Server { error, .. }) => match error.sqlstate.as_str() {
                OBJECT_IN_USE | CONFIGURATION_LIMIT_EXCEEDED => message = error.message,
                INSUFFICIENT_PRIVILEGE => {
                    let role = dsn.user().to_owned();
                    return Err(SessionError::OriginForbidden { role });
                }
                _ => {
                    let side = connection.side();
                    return Err(ConnectionError::server(side, *error).into());
                }
            },
            Err(error) => return Err(error.into()),
        }
    }
    Err(SessionError::OriginsTaken {
        tried: ORIGIN_COUNT_MAX,
        message,
    })
}

const OBJECT_IN_USE: &str = "55006";
const CONFIGURATION_LIMIT_EXCEEDED: &str = "53400";
const INSUFFICIENT_PRIVILEGE: &str = "42501";
const UNDEFINED_OBJECT: &str = "42704";
const DUPLICATE_OBJECT: &str = "42710";
const UNIQUE_VIOLATION: &str = "23505";

/// Sets the session's origin, making it first where it is not there. Origins are kept for the next
/// session: making one takes a lock that all of them share.
async fn try_origin(connection: &mut Connection, origin: &str) -> Result<(), ConnectionError> {
    let set_up = format!("SELECT pg_catalog.pg_replication_origin_session_setup('{origin}')");
    match connection.query_simple(&set_up).await {
        Ok(_) => return Ok(()),
        Err(error) if error.sqlstate() == Some(UNDEFINED_OBJECT) => {}
        Err(error) => return Err(error),
    }
    let create = format!("SELECT pg_catalog.pg_replication_origin_create('{origin}')");
    match connection.query_simple(&create).await {
        Ok(_) => {}
        // Another session of ours was quicker.
        Err(error) if matches!(error.sqlstate(), Some(DUPLICATE_OBJECT | UNIQUE_VIOLATION)) => {}
        Err(error) => return Err(error),
    }
    connection.query_simple(&set_up).await.map(drop)
}

/// A text column of a catalog query.
pub(crate) fn text(column: Option<&Option<Bytes>>) -> String {
    let bytes = column.and_then(Option::as_ref);
    bytes.map_or_else(String::new, |bytes| {
        String::from_utf8_lossy(bytes).into_owned()
    })
}
