//! What goes wrong on a connection, and what the server says about it.

use std::fmt;
use std::io;

use bytes::Bytes;
use control::{ConnectError, Side};
use protocol::reader::{ReadError, Reader};

use super::EncodeError;

/// A connection failed, or the server refused a statement.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// No session.
    #[error(transparent)]
    Connect(Box<ConnectError>),
    /// The server has gone.
    #[error("the {side} closed the connection")]
    Closed {
        /// Which of the two databases.
        side: Side,
    },
    /// The operating system says that the connection broke.
    #[error("the connection to the {side} broke")]
    Io {
        /// Which of the two databases.
        side: Side,
        /// What it said.
        source: io::Error,
    },
    /// What came is not the protocol.
    #[error("the {side} sent {what}")]
    Protocol {
        /// Which of the two databases.
        side: Side,
        /// What came.
        what: String,
    },
    /// A message that cannot be decoded.
    #[error("the {side} sent a message that cannot be read")]
    Unreadable {
        /// Which of the two databases.
        side: Side,
        /// Why not.
        source: ReadError,
    },
    /// A message that cannot be sent.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The server refused a statement; the session stays usable unless the error was fatal.
    #[error("the {side} says: {error}")]
    Server {
        /// Which of the two databases.
        side: Side,
        /// What it said.
        error: Box<ServerError>,
    },
}

impl ConnectionError {
    pub(super) fn io(side: Side, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            Self::Closed { side }
        } else {
            Self::Io { side, source }
        }
    }

    /// Of a statement that the server refused.
    pub fn server(side: Side, error: ServerError) -> Self {
        Self::Server {
            side,
            error: Box::new(error),
        }
    }

    /// The SQLSTATE, if the server said anything.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Server { error, .. } => Some(&error.sqlstate),
            Self::Connect(_)
            | Self::Closed { .. }
            | Self::Io { .. }
            | Self::Protocol { .. }
            | Self::Unreadable { .. }
            | Self::Encode(_) => None,
        }
    }

    /// The metric label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Closed { .. } => "closed",
            Self::Io { .. } => "io",
            Self::Protocol { .. } | Self::Unreadable { .. } => "protocol",
            Self::Encode(_) => "encode",
            Self::Server { .. } => "server",
        }
    }
}

impl From<ConnectError> for ConnectionError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(Box::new(error))
    }
}

/// An `ErrorResponse`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerError {
    /// `ERROR`, `FATAL` or `PANIC`, never translated.
    pub severity: String,
    /// The SQLSTATE.
    pub sqlstate: String,
    /// What it says first.
    pub message: String,
    /// More of it.
    pub detail: Option<String>,
    /// What may mend it.
    pub hint: Option<String>,
    /// The table concerned, where the server says so.
    pub table: Option<String>,
    /// The constraint concerned, where the server says so.
    pub constraint: Option<String>,
}

impl ServerError {
    /// Decodes the body of an `ErrorResponse` or a `NoticeResponse`.
    pub fn parse(body: Bytes) -> Result<Self, ReadError> {
        let mut reader = Reader::new(body);
        let mut error = Self::default();
        loop {
            let field = reader.u8("error field")?;
            if field == 0 {
                reader.finish()?;
                return Ok(error);
            }
            // The text may be in the server's encoding, which nobody has promised to be UTF-8.
            let text = reader.cstr("error text")?;
            let text = String::from_utf8_lossy(&text).into_owned();
            match field {
                b'V' => error.severity = text,
                b'S' if error.severity.is_empty() => error.severity = text,
                b'C' => error.sqlstate = text,
                b'M' => error.message = text,
                b'D' => error.detail = Some(text),
                b'H' => error.hint = Some(text),
                b't' => error.table = Some(text),
                b'n' => error.constraint = Some(text),
                _ => {}
            }
        }
    }

    /// Whether the server ends the session with it.
    pub fn is_fatal(&self) -> bool {
        self.severity == "FATAL" || self.severity == "PANIC"
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.sqlstate)
    }
}
