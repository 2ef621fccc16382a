//! Reading the messages: attributes with commas between them.
//!
//! Every read is checked: they come from peers. Does not know what follows what.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A message that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// Not what the grammar says.
    #[error("malformed SCRAM message: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// The channel binding asked for is not the one there is.
    #[error("unsupported SCRAM channel-binding type")]
    BindingType,
    /// The mechanism and the flag in the message contradict each other.
    #[error("malformed SCRAM message: the mechanism and the channel-binding flag do not agree")]
    BindingFlag,
    /// The client would bind and thinks that we cannot: somebody between us has taken it out.
    #[error("SCRAM channel binding negotiation error")]
    Downgrade,
    /// The TLS connection is not the one that the client sees.
    #[error("SCRAM channel binding check failed")]
    Binding,
    /// The nonce is not the one of this exchange.
    #[error("invalid SCRAM response: nonce does not match")]
    Nonce,
    /// The server does not know the secret.
    #[error("the server's SCRAM signature is wrong")]
    Impostor,
    /// The server says no.
    #[error("the server ended the SCRAM exchange: {error}")]
    Refused {
        /// What it said.
        error: String,
    },
}

/// What is left of a message.
pub(super) struct Attributes<'a> {
    rest: Option<&'a str>,
}

impl<'a> Attributes<'a> {
    pub(super) fn of(message: &'a [u8]) -> Result<Self, ScramError> {
        let text = std::str::from_utf8(message).map_err(|_| ScramError::Malformed {
            what: "it is not UTF-8",
        })?;
        Ok(Self { rest: Some(text) })
    }

    /// The next part, whatever it is.
    pub(super) fn part(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        let (part, left) = match rest.split_once(',') {
            Some((part, left)) => (part, Some(left)),
            None => (rest, None),
        };
        self.rest = left;
        Some(part)
    }

    /// What has not been read.
    pub(super) const fn rest(&self) -> Option<&'a str> {
        self.rest
    }

    /// The value of the next attribute, which has to be this one.
    pub(super) fn value(&mut self, name: &str, what: &'static str) -> Result<&'a str, ScramError> {
        let part = self.part().and_then(|part| part.strip_prefix(name));
        let value = part.and_then(|part| part.strip_prefix('='));
        value.ok_or(ScramError::Malformed { what })
    }
}

pub(super) fn decode(text: &str, what: &'static str) -> Result<Vec<u8>, ScramError> {
    let bytes = STANDARD.decode(text);
    bytes.map_err(|_| ScramError::Malformed { what })
}

pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Printable ASCII without commas, as the RFC has it.
pub(super) fn is_nonce(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b',')
}
