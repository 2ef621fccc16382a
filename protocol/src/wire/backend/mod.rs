//! What a server sends: tags, the messages that Segue looks into, and those that it says itself.
//!
//! See <https://www.postgresql.org/docs/current/protocol-message-formats.html>. Does not decode
//! what is only forwarded (COPY data, notifications).

mod authentication;
mod command_tag;
mod data_row;
mod error;
mod ready;
mod row_description;
mod status;

pub use authentication::Authentication;
pub use command_tag::CommandTag;
pub use data_row::{CutRow, DataRow};
pub use error::{ErrorFields, Severity, error_response};
pub use ready::{ReadyForQuery, TransactionStatus};
pub use row_description::{Field, RowDescription};
pub use status::ParameterStatus;

use bytes::BytesMut;

use super::write;

/// The letter of a backend message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tag {
    /// A step of authentication.
    Authentication,
    /// The numbers that a cancel request needs.
    BackendKeyData,
    /// Answers Bind.
    BindComplete,
    /// Answers Close.
    CloseComplete,
    /// A statement has ended.
    CommandComplete,
    /// COPY in both directions begins.
    CopyBothResponse,
    /// A piece of COPY data.
    CopyData,
    /// The end of COPY data.
    CopyDone,
    /// COPY from the client begins.
    CopyInResponse,
    /// COPY to the client begins.
    CopyOutResponse,
    /// A row.
    DataRow,
    /// An empty text has ended.
    EmptyQueryResponse,
    /// Something failed.
    ErrorResponse,
    /// Answers a function call.
    FunctionCallResponse,
    /// The server knows less of the protocol than the client asked for.
    NegotiateProtocolVersion,
    /// What was described returns no rows.
    NoData,
    /// A warning or a hint, at any time.
    NoticeResponse,
    /// A NOTIFY, at any time.
    NotificationResponse,
    /// The types of a statement's parameters.
    ParameterDescription,
    /// A run-time parameter's value, at any time.
    ParameterStatus,
    /// Answers Parse.
    ParseComplete,
    /// The row limit of Execute was reached.
    PortalSuspended,
    /// The server waits for the next request.
    ReadyForQuery,
    /// The columns of the rows that follow or were asked for.
    RowDescription,
    /// A letter that is not known today.
    Unknown(u8),
}

impl Tag {
    /// The tag with this letter.
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            b'R' => Self::Authentication,
            b'K' => Self::BackendKeyData,
            b'2' => Self::BindComplete,
            b'3' => Self::CloseComplete,
            b'C' => Self::CommandComplete,
            b'W' => Self::CopyBothResponse,
            b'd' => Self::CopyData,
            b'c' => Self::CopyDone,
            b'G' => Self::CopyInResponse,
            b'H' => Self::CopyOutResponse,
            b'D' => Self::DataRow,
            b'I' => Self::EmptyQueryResponse,
            b'E' => Self::ErrorResponse,
            b'V' => Self::FunctionCallResponse,
            b'v' => Self::NegotiateProtocolVersion,
            b'n' => Self::NoData,
            b'N' => Self::NoticeResponse,
            b'A' => Self::NotificationResponse,
            b't' => Self::ParameterDescription,
            b'S' => Self::ParameterStatus,
            b'1' => Self::ParseComplete,
            b's' => Self::PortalSuspended,
            b'Z' => Self::ReadyForQuery,
            b'T' => Self::RowDescription,
            other => Self::Unknown(other),
        }
    }

    /// The letter.
    pub const fn as_byte(self) -> u8 {
        match self {
            Self::Authentication => b'R',
            Self::BackendKeyData => b'K',
            Self::BindComplete => b'2',
            Self::CloseComplete => b'3',
            Self::CommandComplete => b'C',
            Self::CopyBothResponse => b'W',
            Self::CopyData => b'd',
            Self::CopyDone => b'c',
            Self::CopyInResponse => b'G',
            Self::CopyOutResponse => b'H',
            Self::DataRow => b'D',
            Self::EmptyQueryResponse => b'I',
            Self::ErrorResponse => b'E',
            Self::FunctionCallResponse => b'V',
            Self::NegotiateProtocolVersion => b'v',
            Self::NoData => b'n',
            Self::NoticeResponse => b'N',
            Self::NotificationResponse => b'A',
            Self::ParameterDescription => b't',
            Self::ParameterStatus => b'S',
            Self::ParseComplete => b'1',
            Self::PortalSuspended => b's',
            Self::ReadyForQuery => b'Z',
            Self::RowDescription => b'T',
            Self::Unknown(byte) => byte,
        }
    }
}

/// Appends a ParameterDescription with a body that the server has sent before.
pub fn parameter_description(out: &mut BytesMut, body: &[u8]) {
    let tag = Tag::ParameterDescription.as_byte();
    write::frame(out, tag, |out| out.extend_from_slice(body));
}

/// Appends a NoData, which answers Describe where there is nothing to describe.
pub fn no_data(out: &mut BytesMut) {
    write::frame(out, Tag::NoData.as_byte(), |_| ());
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
