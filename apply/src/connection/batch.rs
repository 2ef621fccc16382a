//! Building a pipeline: statements, their parameters and where each transaction ends.
//!
//! Nothing is sent before [`Connection::flush`]. A message that cannot be built leaves nothing
//! behind in the buffer. Does not remember which statements were prepared.

use bytes::{BufMut, BytesMut};
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
            // The server looks for the function that would read a NULL, and every type has one for text.
            Self::Null | Self::Text(_) => Format::Text,
            Self::Binary(_) => Format::Binary,
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
    /// Gives up the prepared statement `name`; that there is none is no error.
    pub fn close_statement(&mut self, name: &str) -> Result<(), EncodeError> {
        self.add(|out| frontend::close(b'S', name, out).map_err(|_| EncodeError::Nul))
    }

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

    /// Runs the prepared statement `name`, whose results nobody looks at, with the values that
    /// `write` puts down one by one: nothing is kept or copied in between.
    pub fn execute_with<E: From<EncodeError>>(
        &mut self,
        name: &str,
        formats: impl ExactSizeIterator<Item = Format>,
        write: impl FnOnce(&mut Values<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.outgoing.len();
        let written = put_bind(&mut self.outgoing, name, formats, write);
        if written.is_err() {
            self.outgoing.truncate(start);
        }
        written
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
        write: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
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

/// Where the values of a Bind go.
#[derive(Debug)]
pub struct Values<'a> {
    out: &'a mut BytesMut,
    count: usize,
}

impl Values<'_> {
    /// The next parameter's value; nothing for NULL.
    pub fn push(&mut self, value: Option<&[u8]>) {
        self.count += 1;
        match value {
            None => self.out.put_i32(-1),
            Some(value) => {
                // A longer one makes the message too long, which is found at its end.
                self.out
                    .put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
                self.out.put_slice(value);
            }
        }
    }
}

/// An Execute of the unnamed portal without a row limit.
const EXECUTE: [u8; 10] = [b'E', 0, 0, 0, 9, 0, 0, 0, 0, 0];

fn put_bind<E: From<EncodeError>>(
    out: &mut BytesMut,
    name: &str,
    formats: impl ExactSizeIterator<Item = Format>,
    write: impl FnOnce(&mut Values<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let expected = formats.len();
    let count = u16::try_from(expected).map_err(|_| EncodeError::TooLong)?;
    out.put_u8(b'B');
    let start = out.len();
    out.put_u32(0);
    // The unnamed portal.
    out.put_u8(0);
    out.put_slice(name.as_bytes());
    out.put_u8(0);
    out.put_u16(count);
    for format in formats {
        out.put_i16(format.code());
    }
    out.put_u16(count);
    let mut values = Values { out, count: 0 };
    write(&mut values)?;
    debug_assert_eq!(values.count, expected, "a value for each parameter");
    // Results as text: nobody looks at them.
    out.put_u16(0);
    let length = out.len() - start;
    if length > FRAME_BYTES_MAX {
        return Err(EncodeError::TooLong.into());
    }
    if let (Some(place), Ok(length)) = (out.get_mut(start..start + 4), u32::try_from(length)) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    out.put_slice(&EXECUTE);
    Ok(())
}
