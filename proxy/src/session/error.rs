//! Why a session ended badly, and what its client is told.
//!
//! Does not log: the worker does, once.

use std::io;

use bytes::Bytes;
use protocol::decide::reply_queue::UnexpectedReply;
use protocol::reader::ReadError;
use protocol::wire::backend::Severity;
use protocol::wire::error_response;
use protocol::wire::frame::FrameError;

/// Why a session ended badly.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// The client's connection broke.
    #[error("the connection to the client broke")]
    Client(#[source] io::Error),
    /// The source's connection broke.
    #[error("the connection to the source broke")]
    Source(#[source] io::Error),
    /// The client's bytes are no frames.
    #[error("the client does not speak the protocol")]
    ClientFrame(#[source] FrameError),
    /// The source's bytes are no frames.
    #[error("the source does not speak the protocol")]
    SourceFrame(#[source] FrameError),
    /// A message of the source's that has to be understood is not what it should be.
    #[error("a message of the source could not be read")]
    SourceMessage(#[source] ReadError),
    /// The source answered what nobody had asked, on a connection whose replies are changed.
    #[error("replies of the source can no longer be told apart")]
    Pairing(#[source] UnexpectedReply),
}

impl SessionError {
    /// What the client is told before its connection is closed.
    pub(crate) fn farewell(&self) -> Option<Bytes> {
        let (sqlstate, message) = match self {
            // PostgreSQL closes the connection without a word, too.
            Self::Client(_) | Self::ClientFrame(_) => return None,
            Self::Source(_) => ("08006", "the connection to the source database was lost"),
            Self::SourceFrame(_) | Self::SourceMessage(_) | Self::Pairing(_) => (
                "08P01",
                "the source database sent what the proxy did not expect",
            ),
        };
        let hint = "The state of the last transaction is known to the source database only.";
        let hint = matches!(self, Self::Source(_)).then_some(hint);
        Some(error_response(
            Severity::Fatal,
            sqlstate,
            message,
            None,
            hint,
        ))
    }
}
