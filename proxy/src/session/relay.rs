//! Moving bytes in both directions, in one task.
//!
//! Each turn reads what has come, decides about it, and writes what may be written, so that a
//! request leaves in the same turn that it came in. Does not know what frames mean.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use super::channel::Moved;
use super::{Peer, REQUESTS_MAX, Session, SessionError};

/// How a session ended, if nothing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The source closed the connection, after the client had left or the source had said why.
    Closed,
    /// The proxy is going down.
    ShutDown,
}

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Something was moved: there may be more to do.
    Moved,
    /// Nothing can be done until the task is woken.
    Waiting,
    Ended(End),
}

impl<C, S> Session<C, S>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// Relays until nothing more can be done now.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<End, SessionError>> {
        loop {
            match self.turn(context)? {
                Turn::Moved => (),
                Turn::Waiting => {
                    self.publish();
                    return Poll::Pending;
                }
                Turn::Ended(end) => {
                    self.publish();
                    return Poll::Ready(Ok(end));
                }
            }
        }
    }

    fn turn(&mut self, context: &mut Context<'_>) -> Result<Turn, SessionError> {
        if self.is_asked_to_end(context) {
            return Ok(Turn::Ended(End::ShutDown));
        }
        let read_client = self.read_client(context)?;
        self.decide_frontend()?;
        let resumed = self.poll_waiting(context);
        let wrote_source = self.write_source(context);
        let released = self.poll_held(context);
        let read_source = self.read_source(context);
        self.decide_backend()?;
        let wrote_client = self.write_client(context)?;
        let is_over = self.source_state.is_over() && self.held.is_none();
        if is_over && self.from_source.pending() == 0 {
            return self.source_is_over();
        }
        let moved = [
            read_client,
            resumed,
            wrote_source,
            released,
            read_source,
            wrote_client,
        ];
        Ok(if moved.contains(&Some(Moved::Some)) {
            Turn::Moved
        } else {
            Turn::Waiting
        })
    }

    fn poll_waiting(&mut self, context: &mut Context<'_>) -> Option<Moved> {
        let capturing = self.capturing.as_mut()?;
        capturing.poll_waiting(context).then_some(Moved::Some)
    }

    fn read_client(&mut self, context: &mut Context<'_>) -> Result<Option<Moved>, SessionError> {
        let held = self
            .capturing
            .as_ref()
            .is_some_and(|it| it.holds_requests());
        if self.client_state == Peer::Gone
            || self.queue.len() >= REQUESTS_MAX
            || held
            || !self.may_read()
        {
            return Ok(None);
        }
        let read = self.from_client.poll_read(&mut self.client, context);
        match read {
            Poll::Pending => Ok(None),
            Poll::Ready(Ok(Moved::End)) => {
                self.client_state = Peer::Gone;
                Ok(Some(Moved::Some))
            }
            Poll::Ready(Ok(moved)) => Ok(Some(moved)),
            Poll::Ready(Err(error)) => Err(SessionError::Client(error)),
        }
    }

    fn read_source(&mut self, context: &mut Context<'_>) -> Option<Moved> {
        if self.source_state.is_over() || self.held.is_some() {
            return None;
        }
        match self.from_source.poll_read(&mut self.source, context) {
            Poll::Pending => None,
            Poll::Ready(Ok(Moved::End)) => {
                self.source_ended(None);
                Some(Moved::Some)
            }
            Poll::Ready(Ok(moved)) => Some(moved),
            Poll::Ready(Err(error)) => {
                self.source_ended(Some(error));
                Some(Moved::Some)
            }
        }
    }

    /// What had come before the end is forwarded first.
    #[cold]
    fn source_ended(&mut self, error: Option<io::Error>) {
        let expected = self.source_state == Peer::Leaving || self.client_state != Peer::Talking;
        self.source_state = if expected { Peer::Gone } else { Peer::Lost };
        self.source_error = error;
        self.source_closed = true;
    }

    #[cold]
    fn source_is_over(&mut self) -> Result<Turn, SessionError> {
        if self.source_state == Peer::Lost {
            let error = self.source_error.take();
            let error = error.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
            return Err(SessionError::Source(error));
        }
        Ok(Turn::Ended(End::Closed))
    }

    /// A source that takes nothing more has perhaps said why: that is read and forwarded first.
    fn write_source(&mut self, context: &mut Context<'_>) -> Option<Moved> {
        if self.source_closed {
            return None;
        }
        match self.from_client.poll_write(&mut self.source, context) {
            Poll::Pending => None,
            Poll::Ready(Ok(Moved::Idle)) if self.client_state == Peer::Gone => {
                let closing = Pin::new(&mut self.source).poll_shutdown(context);
                self.source_closed = closing.is_ready();
                None
            }
            Poll::Ready(Ok(moved)) => Some(moved),
            Poll::Ready(Err(_)) => {
                self.source_closed = true;
                None
            }
        }
    }

    fn write_client(&mut self, context: &mut Context<'_>) -> Result<Option<Moved>, SessionError> {
        match self.from_source.poll_write(&mut self.client, context) {
            Poll::Pending => Ok(None),
            Poll::Ready(Ok(moved)) => Ok(Some(moved)),
            Poll::Ready(Err(error)) => Err(SessionError::Client(error)),
        }
    }
}
