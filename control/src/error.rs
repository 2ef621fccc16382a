//! Why a question to a database, or a step of setup, failed.

use std::error::Error as _;

use crate::connect::ConnectError;
use crate::dsn::DsnError;
use crate::side::Side;

/// A command of the control plane failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A connection string is unusable.
    #[error(transparent)]
    Dsn(#[from] DsnError),
    /// No session.
    #[error(transparent)]
    Connect(Box<ConnectError>),
    /// A statement failed.
    #[error("cannot {doing} at the {side}: {message}")]
    Query {
        /// Which of the two databases.
        side: Side,
        /// What the statement was for.
        doing: String,
        /// What the server said.
        message: String,
        /// Its SQLSTATE, if the server said anything.
        sqlstate: Option<String>,
    },
    /// The schema `segue` is not there.
    #[error("the {side} has no segue schema in database {database}; run segue setup first")]
    NotSetUp {
        /// Which of the two databases.
        side: Side,
        /// Its name.
        database: String,
    },
    /// The schema `segue` is of another version.
    #[error(
        "the segue schema of the {side} is of {found}, this program is of version {expected}; \
         run segue setup to upgrade an older one, or use the program of that version"
    )]
    Version {
        /// Which of the two databases.
        side: Side,
        /// What was found.
        found: String,
        /// What this program makes.
        expected: u32,
    },
    /// What is stored cannot be read.
    #[error("the {side} holds {what} that cannot be read: {reason}; run segue setup again")]
    Stored {
        /// Which of the two databases.
        side: Side,
        /// What.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// Setup refuses.
    #[error("setup is refused: {}", reasons.join("; "))]
    Refused {
        /// Everything that was wrong.
        reasons: Vec<String>,
    },
}

impl ControlError {
    /// Of a statement that failed.
    pub fn query(side: Side, doing: impl Into<String>, error: &tokio_postgres::Error) -> Self {
        Self::Query {
            side,
            doing: doing.into(),
            message: describe(error),
            sqlstate: error.code().map(|code| code.code().to_owned()),
        }
    }

    /// The exit code of a command that ends with it.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Dsn(error) => error.exit_code(),
            Self::Connect(error) => error.exit_code(),
            Self::Query { .. } | Self::NotSetUp { .. } | Self::Stored { .. } => 1,
            Self::Version { .. } | Self::Refused { .. } => 4,
        }
    }
}

impl From<ConnectError> for ControlError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(Box::new(error))
    }
}

/// What the server said, with its detail and hint; else what broke.
pub fn describe(error: &tokio_postgres::Error) -> String {
    let Some(answer) = error.as_db_error() else {
        return match error.source() {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
    };
    let mut text = answer.message().to_owned();
    for more in [answer.detail(), answer.hint()].into_iter().flatten() {
        text.push_str("; ");
        text.push_str(more.trim_end_matches('.'));
    }
    text
}
