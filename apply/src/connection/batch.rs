//! Building a pipeline: statements, their parameters and where each transaction ends.
//!
//! Nothing is sent before [`Connection::flush`]. A message that cannot be built leaves nothing
//! behind in the buffer. Does not remember which statements were prepared.

use postgres_protocol::IsNull;
use postgres_protocol::message::frontend::{self, BindError};

use super::{Connection, FRAME_BYTES_MAX};

/// A message that cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Longer than a server accepts.
    #[error("a message would be longer than a server accepts")]
    TooLong,
    /// A zero byte inside a string.
    #[error("a name or a statement has a zero byte inside")]
    Nul,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The type's output text.
    Text,
    /// The type's send format.
    Binary,
}

impl Format {
    const fn code(self) -> i16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }
}

/// The value of a statement's parameter.
#[derive(Debug, Clone, Copy)]
pub enum Parameter<'a> {
    /// SQL NULL.
    Null,
    /// In the type's send format.
    Binary(&'a [u8]),
    /// As text.
    Text(&'a [u8]),
}

impl<'a> Parameter<'a> {
    const fn format(self) -> Format {
        match self {
            Self::Text(_) => Format::Text,
            Self::Null | Self::Binary(_) => Format::Binary,
        }
    }

    const fn value(self) -> Option<&'a [u8]> {
        match self {
            Self::Null => None,
            Self::Binary(value) | Self::Text(value) => Some(value),
        }
    }
}

impl Connection {
    /// Prepares `sql` under `name`; the server infers the types of the parameters.
    pub fn prepare(&mut self, name: &str, sql: &str) -> Result<(), EncodeError> {
        self.add(|out| frontend::parse(name, sql, [], out).map_err(|_| EncodeError::Nul))
    }

    /// Runs the prepared statement `name`. `results` holds a format for each result column, or one
    /// for all of them.
    pub fn execute(
        &mut self,
        name: &str,
        parameters: &[Parameter<'_>],
        results: &[Format],
    ) -> Result<(), EncodeError> {
        let formats = parameters.iter().map(|parameter| parameter.format().code());
        let results = results.iter().map(|format| format.code());
        self.add(|out| {
            frontend::bind(
                "",
                name,
                formats,
                parameters,
                |parameter, out| match parameter.value() {
                    None => Ok(IsNull::Yes),
                    Some(value) => {
                        out.extend_from_slice(value);
                        Ok(IsNull::No)
                    }
                },
                results,
                out,
            )
            .map_err(|error| match error {
                BindError::Conversion(_) | BindError::Serialization(_) => EncodeError::TooLong,
            })?;
            frontend::execute("", 0, out).map_err(|_| EncodeError::Nul)
        })
    }

    /// Ends what belongs together: outside a transaction block, all statements since the last Sync
    /// are one transaction, which commits here.
    pub fn sync(&mut self) {
        frontend::sync(&mut self.outgoing);
    }

    /// Removes what was added since [`Self::unsent`] was `start`, with no flush in between.
    pub fn take_back(&mut self, start: usize) {
        self.outgoing.truncate(start);
    }

    fn add(
        &mut self,
        write: impl FnOnce(&mut bytes::BytesMut) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let start = self.outgoing.len();
        let written = write(&mut self.outgoing).and_then(|()| {
            if self.outgoing.len() - start > FRAME_BYTES_MAX {
                Err(EncodeError::TooLong)
            } else {
                Ok(())
            }
        });
        if written.is_err() {
            self.outgoing.truncate(start);
        }
        written
    }
}
