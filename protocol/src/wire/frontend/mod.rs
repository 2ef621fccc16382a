//! What a client sends: tags, and the messages that Segue looks into.
//!
//! See <https://www.postgresql.org/docs/current/protocol-message-formats.html>. Does not decode
//! what is only forwarded (passwords, COPY data, function calls).

mod bind;
mod execute;
mod named;
mod parse;
mod query;
mod sasl;

pub use bind::Bind;
pub use execute::Execute;
pub use named::{Close, Describe, Named};
pub use parse::Parse;
pub use query::Query;
pub use sasl::{SaslInitialResponse, sasl_response};

use bytes::BytesMut;

use super::write;

/// The letter of a frontend message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tag {
    /// Makes a portal of a statement.
    Bind,
    /// Forgets a statement or portal.
    Close,
    /// A piece of COPY data.
    CopyData,
    /// The end of COPY data.
    CopyDone,
    /// Gives a COPY up.
    CopyFail,
    /// Asks what a statement or portal returns.
    Describe,
    /// Runs a portal.
    Execute,
    /// Asks for replies so far.
    Flush,
    /// Calls a function by its OID.
    FunctionCall,
    /// Makes a statement of a text.
    Parse,
    /// A password, or any other answer in authentication.
    Password,
    /// Runs a text of statements.
    Query,
    /// Ends a group of extended messages.
    Sync,
    /// Says goodbye.
    Terminate,
    /// A letter that is not known today.
    Unknown(u8),
}

impl Tag {
    /// The tag with this letter.
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            b'B' => Self::Bind,
            b'C' => Self::Close,
            b'd' => Self::CopyData,
            b'c' => Self::CopyDone,
            b'f' => Self::CopyFail,
            b'D' => Self::Describe,
            b'E' => Self::Execute,
            b'H' => Self::Flush,
            b'F' => Self::FunctionCall,
            b'P' => Self::Parse,
            b'p' => Self::Password,
            b'Q' => Self::Query,
            b'S' => Self::Sync,
            b'X' => Self::Terminate,
            other => Self::Unknown(other),
        }
    }

    /// The letter.
    pub const fn as_byte(self) -> u8 {
        match self {
            Self::Bind => b'B',
            Self::Close => b'C',
            Self::CopyData => b'd',
            Self::CopyDone => b'c',
            Self::CopyFail => b'f',
            Self::Describe => b'D',
            Self::Execute => b'E',
            Self::Flush => b'H',
            Self::FunctionCall => b'F',
            Self::Parse => b'P',
            Self::Password => b'p',
            Self::Query => b'Q',
            Self::Sync => b'S',
            Self::Terminate => b'X',
            Self::Unknown(byte) => byte,
        }
    }
}

/// Appends a Sync.
pub fn sync(out: &mut BytesMut) {
    write::frame(out, Tag::Sync.as_byte(), |_| ());
}

/// Appends a Terminate.
pub fn terminate(out: &mut BytesMut) {
    write::frame(out, Tag::Terminate.as_byte(), |_| ());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_comes_back() {
        for byte in 0..=u8::MAX {
            assert_eq!(Tag::from_byte(byte).as_byte(), byte);
        }
    }
}
