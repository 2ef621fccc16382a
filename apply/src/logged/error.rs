//! Why logged writes could not be applied.

use protocol::lsn::Lsn;
use protocol::reader::ReadError;
use protocol::revision::RevisionError;

use crate::connection::{ConnectionError, EncodeError};
use crate::session::SessionError;
use crate::statements::WriteError;

/// The logged path failed.
#[derive(Debug, thiserror::Error)]
pub enum LoggedError {
    /// The connection to the target, or a statement on it.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// Another one writes, or an older self still does.
    #[error(
        "the stream {stream} is no longer where this reconciler left it ({expected}): \
         another reconciler has taken over"
    )]
    Displaced {
        /// The stream.
        stream: String,
        /// The position expected.
        expected: Lsn,
    },
    /// A log position that no revision can hold.
    #[error("a log position cannot become a revision")]
    Revision(#[from] RevisionError),
    /// What the target's `segue` schema holds cannot be read.
    #[error("the target's segue schema holds something that cannot be read")]
    Stored(#[from] ReadError),
    /// The contract and the schema do not fit.
    #[error("the contract has no table {name}; run segue setup again")]
    UnknownTable {
        /// The name found.
        name: String,
    },
    /// A row cannot be put into a statement.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The session does not fit the contract.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl From<EncodeError> for LoggedError {
    fn from(error: EncodeError) -> Self {
        Self::Connection(error.into())
    }
}

impl LoggedError {
    /// The SQLSTATE, if the target said anything.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Connection(error) => error.sqlstate(),
            Self::Displaced { .. }
            | Self::Revision(_)
            | Self::Stored(_)
            | Self::UnknownTable { .. }
            | Self::Write(_)
            | Self::Session(_) => None,
        }
    }

    /// Whether it is about the row itself: a constraint that the row breaks now (rule 10), or a
    /// value that the target does not take.
    pub fn is_about_the_row(&self) -> bool {
        self.sqlstate()
            .is_some_and(|code| code.starts_with("23") || code.starts_with("22"))
    }

    /// Whether a table may no longer be what the contract says: a column or the table itself is not
    /// there, is of another type or may not be used, or what was prepared for it is of no use.
    pub fn is_about_the_schema(&self) -> bool {
        matches!(self, Self::Write(WriteError::KeyLost { .. }))
            || self.sqlstate().is_some_and(is_about_the_schema)
    }

    /// Whether another row is in the way, unique or exclusion: it may only be at another point in
    /// time (rule 10).
    pub fn is_a_collision(&self) -> bool {
        matches!(self.sqlstate(), Some("23505" | "23P01"))
    }
}

/// Whether an SQLSTATE says that a table or a column is not there, is of another type or may not be
/// used, or that what was prepared for it is of no use.
pub fn is_about_the_schema(sqlstate: &str) -> bool {
    let classes = ["42", "0A", "26"];
    classes.iter().any(|class| sqlstate.starts_with(class))
}
