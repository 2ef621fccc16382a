//! A pipelined connection to a server: frames out of one buffer, frames into another.
//!
//! Made because the writers need what a general client hides: many statements in flight with one
//! Sync for each source transaction, raw values in per-column formats, and `CopyBoth` for the
//! change stream. Does not reconnect or pool.
//!
//! **Cancel safety:** [`Connection::receive`] and [`Connection::flush`] may be dropped at any await
//! and called again: bytes read stay in the buffer, bytes written have left it. The methods that
//! read several frames are not; after dropping one of those the connection is to be dropped too.
//!
//! <https://www.postgresql.org/docs/current/protocol-flow.html>

mod batch;
mod error;
mod reply;
mod startup;
mod stream;

use std::collections::BTreeMap;

use bytes::{Buf, Bytes, BytesMut};
use control::Side;
use postgres_protocol::message::{backend, frontend};

pub use batch::{EncodeError, Format, Parameter, Values};
pub use error::{ConnectionError, ServerError};
pub use reply::{Completion, Reply, ResultSet, TransactionStatus, data_row};

use stream::Stream;

/// The server refuses to build a longer message (`MaxAllocSize`), so a longer one is no message.
const FRAME_BYTES_MAX: usize = 0x3fff_ffff;

/// What replies may take up while a batch is still being written: far above what a batch of ours
/// is answered with, and a bound all the same.
const READ_AHEAD_BYTES_MAX: usize = 1 << 30;

/// A tag and a length.
const HEADER_BYTES: usize = 5;

/// Room made in the read buffer at least; a page of small replies.
const READ_BYTES: usize = 16 * 1024;

/// The tags of the frames that a backend sends, as far as they matter here.
pub mod tag {
    /// `AuthenticationRequest`.
    pub const AUTHENTICATION: u8 = b'R';
    /// `BackendKeyData`.
    pub const BACKEND_KEY: u8 = b'K';
    /// `CommandComplete`.
    pub const COMMAND_COMPLETE: u8 = b'C';
    /// `CopyBothResponse`.
    pub const COPY_BOTH: u8 = b'W';
    /// `CopyData`.
    pub const COPY_DATA: u8 = b'd';
    /// `CopyDone`.
    pub const COPY_DONE: u8 = b'c';
    /// `DataRow`.
    pub const DATA_ROW: u8 = b'D';
    /// `EmptyQueryResponse`.
    pub const EMPTY_QUERY: u8 = b'I';
    /// `ErrorResponse`.
    pub const ERROR: u8 = b'E';
    /// `NoticeResponse`.
    pub const NOTICE: u8 = b'N';
    /// `NotificationResponse`.
    pub const NOTIFICATION: u8 = b'A';
    /// `ParameterStatus`.
    pub const PARAMETER_STATUS: u8 = b'S';
    /// `ReadyForQuery`.
    pub const READY: u8 = b'Z';
}

/// An open session. Holding one proves that startup is over.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    side: Side,
    incoming: BytesMut,
    /// The last read of [`Connection::receive`] brought much, or all that there was room for.
    is_behind: bool,
    outgoing: BytesMut,
    parameters: BTreeMap<String, String>,
    process_id: i32,
    /// What has come of the reply that is being read.
    partial: reply::Builder,
}

impl Connection {
    /// Which database it leads to.
    pub const fn side(&self) -> Side {
        self.side
    }

    /// The server process, as in `pg_stat_activity`.
    pub const fn process_id(&self) -> i32 {
        self.process_id
    }

    /// A setting that the server reports, such as `server_version`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// How many bytes wait to be flushed.
    pub fn unsent(&self) -> usize {
        self.outgoing.len()
    }

    /// Adds a `CopyData` frame around `body`; for the replies of a change stream.
    pub fn copy_data(&mut self, body: &[u8]) -> Result<(), EncodeError> {
        let frame = frontend::CopyData::new(body).map_err(|_| EncodeError::TooLong)?;
        frame.write(&mut self.outgoing);
        Ok(())
    }

    /// Adds a `CopyDone` frame.
    pub fn copy_done(&mut self) {
        frontend::copy_done(&mut self.outgoing);
    }

    /// Sends what the buffer holds. Reads meanwhile, so that a server that cannot get rid of its
    /// replies does not stop reading. Cancel-safe.
    pub async fn flush(&mut self) -> Result<(), ConnectionError> {
        while self.stream.has_unsent(&self.outgoing) {
            let moved = self.stream.exchange(&mut self.outgoing, &mut self.incoming);
            match moved.await {
                Ok(()) if self.incoming.len() > READ_AHEAD_BYTES_MAX => {
                    return Err(self.broken("more replies than a batch may have"));
                }
                Ok(()) => {}
                Err(error) => return Err(ConnectionError::io(self.side, error)),
            }
        }
        Ok(())
    }

    /// The next frame: its tag and its body. Notices and notifications are passed over, reported
    /// settings are kept. Cancel-safe. Does not flush.
    pub async fn receive(&mut self) -> Result<(u8, Bytes), ConnectionError> {
        loop {
            if let Some(frame) = self.arrived()? {
                return Ok(frame);
            }
            let read = self.stream.read(&mut self.incoming).await;
            match read {
                Ok(0) => return Err(ConnectionError::Closed { side: self.side }),
                Ok(count) => {
                    let is_full = self.incoming.len() == self.incoming.capacity();
                    self.is_behind = is_full || count >= READ_BYTES / 2;
                }
                Err(error) => return Err(ConnectionError::io(self.side, error)),
            }
        }
    }

    /// The next frame, as [`Connection::receive`] gives it, if it has arrived already.
    pub fn arrived(&mut self) -> Result<Option<(u8, Bytes)>, ConnectionError> {
        while let Some((tag, body)) = self.take_frame()? {
            match tag {
                tag::NOTIFICATION => {}
                tag::NOTICE => tracing::trace!(side = %self.side, "notice"),
                tag::PARAMETER_STATUS => self.keep_parameter(body)?,
                _ => return Ok(Some((tag, body))),
            }
        }
        Ok(None)
    }

    /// Whether [`Connection::receive`] would have to read, and the last read brought little: the
    /// reader keeps up, and nothing is lost if it comes back a little later.
    pub fn is_drained(&mut self) -> Result<bool, ConnectionError> {
        Ok(!self.is_behind && self.arrived_frame()?.is_none())
    }

    /// A frame that has arrived already, if there is one: header first, then split, never copied.
    fn take_frame(&mut self) -> Result<Option<(u8, Bytes)>, ConnectionError> {
        let Some((tag, length)) = self.arrived_frame()? else {
            return Ok(None);
        };
        let mut frame = self.incoming.split_to(length);
        let body = frame.split_off(HEADER_BYTES).freeze();
        Ok(Some((tag, body)))
    }

    /// Tag and length of a frame that has arrived in full; makes room for one that has not.
    fn arrived_frame(&mut self) -> Result<Option<(u8, usize)>, ConnectionError> {
        let header = backend::Header::parse(&self.incoming);
        let Some(header) = header.map_err(|_| self.broken("a frame with a negative length"))?
        else {
            return Ok(None);
        };
        let length = usize::try_from(header.len()).unwrap_or(0);
        if !(4..=FRAME_BYTES_MAX).contains(&length) {
            return Err(self.broken("a frame of a length that no frame has"));
        }
        if self.incoming.len() <= length {
            // Grows with what has come, not with what a length promises.
            let missing = length + 1 - self.incoming.len();
            let room = missing.min(self.incoming.len().max(READ_BYTES));
            self.incoming.reserve(room);
            return Ok(None);
        }
        Ok(Some((header.tag(), length + 1)))
    }

    fn keep_parameter(&mut self, body: Bytes) -> Result<(), ConnectionError> {
        let (name, value) = reply::parameter(body).map_err(|error| self.unreadable(error))?;
        self.parameters.insert(name, value);
        Ok(())
    }

    /// Runs statements in the simple protocol and returns the rows of the last one that has any, in
    /// text. An error of the server is a [`ConnectionError::Server`], and the session stays usable.
    pub async fn query_simple(
        &mut self,
        sql: &str,
    ) -> Result<Vec<Vec<Option<Bytes>>>, ConnectionError> {
        frontend::query(sql, &mut self.outgoing).map_err(|_| EncodeError::Nul)?;
        self.flush().await?;
        let reply = self.reply().await?;
        if let Some(error) = reply.error {
            return Err(ConnectionError::server(self.side, error));
        }
        let mut filled = reply.results.into_iter().rev();
        let found = filled.find(|result| !result.rows.is_empty());
        Ok(found.map(|result| result.rows).unwrap_or_default())
    }

    /// Sends a statement that starts a stream and waits until the server has switched to it.
    pub async fn start_copy_both(&mut self, command: &str) -> Result<(), ConnectionError> {
        frontend::query(command, &mut self.outgoing).map_err(|_| EncodeError::Nul)?;
        self.flush().await?;
        let (tag, body) = self.receive().await?;
        match tag {
            tag::COPY_BOTH => Ok(()),
            tag::ERROR => {
                let error = ServerError::parse(body).map_err(|error| self.unreadable(error))?;
                self.reply().await?;
                Err(ConnectionError::server(self.side, error))
            }
            _ => Err(self.unexpected(tag)),
        }
    }

    /// Reads up to the next `ReadyForQuery`: what was answered to the batch that one Sync ended.
    /// Cancel-safe: what has come is kept for the next call. Does not flush.
    pub async fn reply(&mut self) -> Result<Reply, ConnectionError> {
        loop {
            let (tag, body) = match self.receive().await {
                Ok(frame) => frame,
                // What the server said last is why it has gone.
                Err(gone) => {
                    return Err(match self.partial.last_words() {
                        Some(error) => ConnectionError::server(self.side, error),
                        None => gone,
                    });
                }
            };
            match self.partial.add(tag, body) {
                Ok(None) => {}
                Ok(Some(reply)) => return Ok(reply),
                Err(reply::BuildError::Unreadable(error)) => return Err(self.unreadable(error)),
                Err(reply::BuildError::Unexpected) => return Err(self.unexpected(tag)),
            }
        }
    }

    /// As [`Self::reply`], for a batch whose results nobody looks at: frames are passed over where
    /// they lie. Cancel-safe. Does not flush.
    pub async fn completion(&mut self) -> Result<Completion, ConnectionError> {
        loop {
            if let Some(completion) = self.skim()? {
                return Ok(completion);
            }
            let read = self.stream.read(&mut self.incoming).await;
            let gone = match read {
                Ok(0) => ConnectionError::Closed { side: self.side },
                Ok(_) => continue,
                Err(error) => ConnectionError::io(self.side, error),
            };
            // What the server said last is why it has gone.
            return Err(match self.partial.last_words() {
                Some(error) => ConnectionError::server(self.side, error),
                None => gone,
            });
        }
    }

    /// Passes over what has arrived, up to the end of a batch.
    fn skim(&mut self) -> Result<Option<Completion>, ConnectionError> {
        while let Some((tag, length)) = self.arrived_frame()? {
            match tag {
                tag::ERROR | tag::PARAMETER_STATUS => {
                    let Some((_, body)) = self.take_frame()? else {
                        break;
                    };
                    if tag == tag::ERROR {
                        let failed = self.partial.failed(body);
                        failed.map_err(|error| self.unreadable(error))?;
                    } else {
                        self.keep_parameter(body)?;
                    }
                    continue;
                }
                tag::COMMAND_COMPLETE | tag::EMPTY_QUERY => self.partial.count(),
                tag::READY => {
                    self.incoming.advance(length);
                    return Ok(Some(self.partial.completion()));
                }
                tag::DATA_ROW
                | tag::NOTICE
                | tag::NOTIFICATION
                | b'1'..=b'3'
                | b't'
                | b'T'
                | b'n' => {}
                other => return Err(self.unexpected(other)),
            }
            self.incoming.advance(length);
        }
        Ok(None)
    }

    /// Says goodbye, so that the server's log shows no broken connection.
    pub async fn close(mut self) {
        self.outgoing.clear();
        frontend::terminate(&mut self.outgoing);
        // A connection that is gone already is as good as one that was closed.
        if let Err(error) = self.flush().await {
            tracing::debug!(side = %self.side, %error, "goodbye not sent");
        }
    }

    #[cold]
    fn broken(&self, what: &'static str) -> ConnectionError {
        ConnectionError::Protocol {
            side: self.side,
            what: what.to_owned(),
        }
    }

    #[cold]
    fn unreadable(&self, error: protocol::reader::ReadError) -> ConnectionError {
        ConnectionError::Unreadable {
            side: self.side,
            source: error,
        }
    }

    #[cold]
    fn unexpected(&self, tag: u8) -> ConnectionError {
        ConnectionError::Protocol {
            side: self.side,
            what: format!("a frame {:?} where none may come", char::from(tag)),
        }
    }
}

#[cfg(test)]
mod tests;
