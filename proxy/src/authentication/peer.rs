//! One side of an authentication: whole frames, one at a time. Not for the session: that relays.
//!
//! Does not know what frames mean.

use std::io;

use bytes::{Bytes, BytesMut};
use protocol::wire::frame::{self, Frame};
use protocol::wire::frontend::Tag;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::AuthenticationError;

/// The longest message of a client that PostgreSQL reads for SCRAM (`PG_MAX_SASL_MESSAGE_LENGTH`).
const ANSWER_SIZE_MAX: usize = 1024;

/// A peer and what has been read from it.
#[derive(Debug)]
pub(super) struct Peer<S> {
    stream: S,
    buffer: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(super) const fn new(stream: S, buffer: BytesMut) -> Self {
        Self { stream, buffer }
    }

    pub(super) const fn stream(&self) -> &S {
        &self.stream
    }

    pub(super) fn into_buffer(self) -> BytesMut {
        self.buffer
    }

    pub(super) fn into_parts(self) -> (S, BytesMut) {
        (self.stream, self.buffer)
    }

    pub(super) async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// The next frame, if the peer sends one of at most this size.
    pub(super) async fn frame(&mut self, size_max: usize) -> io::Result<Option<Frame>> {
        loop {
            let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
            let header = frame::header(&self.buffer).map_err(invalid)?;
            if header.is_some_and(|header| header.len > size_max) {
                return Err(io::Error::from(io::ErrorKind::FileTooLarge));
            }
            if let Some(frame) = Frame::split(&mut self.buffer).map_err(invalid)? {
                return Ok(Some(frame));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// A client's answer in an authentication.
    pub(super) async fn answer(&mut self) -> Result<Frame, AuthenticationError> {
        let frame = self.frame(ANSWER_SIZE_MAX).await;
        let frame = frame.map_err(AuthenticationError::Client)?;
        let frame = frame.ok_or(AuthenticationError::Left)?;
        if frame.tag() == Tag::Password.as_byte() {
            return Ok(frame);
        }
        if frame.tag() == Tag::Terminate.as_byte() {
            return Err(AuthenticationError::Left);
        }
        Err(AuthenticationError::Unexpected { tag: frame.tag() })
    }

    /// Undoes the reading of a frame.
    pub(super) fn put_back(&mut self, frame: Frame) {
        let behind = self.buffer.split();
        let bytes: Bytes = frame.into_bytes();
        self.buffer.extend_from_slice(&bytes);
        self.buffer.unsplit(behind);
    }
}
