//! Why a client did not get as far as a session, and what it is told.
//!
//! Does not log: the connection does, once.

use std::io;

use bytes::Bytes;
use control::ConnectCause;
use protocol::scram::ScramError;
use protocol::wire::backend::Severity;
use protocol::wire::error_response;

/// Why a client did not get as far as a session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthenticationError {
    /// No connection.
    #[error("the source could not be reached")]
    Source(#[source] ConnectCause),
    /// The source's connection broke in the middle of it.
    #[error("the connection to the source broke")]
    SourceBroke(#[source] io::Error),
    /// The client's connection broke, or it sent what is no frame.
    #[error("the connection to the client broke")]
    Client(#[source] io::Error),
    /// The client closed the connection. psql does before it asks for a password.
    #[error("the client left")]
    Left,
    /// It took longer than a client may.
    #[error("the client did not authenticate in time")]
    TooSlow,
    /// The proxy is going down.
    #[error("the proxy is going down")]
    ShutDown,
    /// The client sent something else than an answer.
    #[error("the client sent a message with tag 0x{tag:02x} where an answer was due")]
    Unexpected {
        /// What it sent.
        tag: u8,
    },
    /// The exchange with the client went wrong.
    #[error("the client's SCRAM exchange is wrong")]
    ClientScram(#[source] ScramError),
    /// The exchange with the source went wrong.
    #[error("the source's SCRAM exchange is wrong")]
    SourceScram(#[source] ScramError),
    /// Nothing to speak SCRAM with.
    #[error("there is no SCRAM secret for the role, and the login is between two TLS connections")]
    NoSecret,
}

impl AuthenticationError {
    /// What the client is told before its connection is closed.
    pub(crate) fn farewell(&self) -> Option<Bytes> {
        let fatal = |sqlstate, message: &str, detail: Option<&str>, hint: Option<&str>| {
            Some(error_response(
                Severity::Fatal,
                sqlstate,
                message,
                detail,
                hint,
            ))
        };
        match self {
            Self::Client(_) | Self::Left => None,
            Self::TooSlow => {
                let message = "canceling authentication due to timeout";
                fatal("57014", message, None, None)
            }
            Self::ShutDown => {
                let message = "terminating connection due to administrator command";
                fatal("57P01", message, None, None)
            }
            Self::Source(cause) => {
                let message = "the source database could not be reached";
                fatal("08001", message, Some(&cause.to_string()), None)
            }
            Self::SourceBroke(_) => fatal(
                "08006",
                "the connection to the source database was lost",
                None,
                None,
            ),
            Self::Unexpected { tag } => {
                let message = format!("expected SASL response, got message type {tag}");
                fatal("08P01", &message, None, None)
            }
            Self::ClientScram(error) => match error {
                ScramError::Downgrade => fatal(
                    "28000",
                    "SCRAM channel binding negotiation error",
                    Some(
                        "The client supports SCRAM channel binding but thinks the server does not. \
                         However, this server does support channel binding.",
                    ),
                    None,
                ),
                ScramError::Binding => fatal("28000", &error.to_string(), None, None),
                ScramError::Malformed { .. }
                | ScramError::BindingType
                | ScramError::BindingFlag
                | ScramError::Nonce
                | ScramError::Impostor
                | ScramError::Refused { .. } => fatal("08P01", &error.to_string(), None, None),
            },
            Self::SourceScram(_) => fatal(
                "08P01",
                "the source database did not prove that it knows this role",
                None,
                Some("Check that the proxy's source is the server that it should be."),
            ),
            Self::NoSecret => fatal(
                "28000",
                "SCRAM channel binding cannot pass through the segue proxy for this role",
                Some(
                    "The client and the source database both support it, each over a TLS \
                     connection of its own, and the proxy has no SCRAM secret for the role.",
                ),
                Some(
                    "Let the role of the proxy's source string read pg_authid, set auth_query or \
                     auth_file, or connect with channel_binding=disable.",
                ),
            ),
        }
    }
}
