//! Moving bytes in both directions, in one task.
//!
//! Each turn reads what has come, decides about it, and writes what may be written, so that a
//! request leaves in the same turn that it came in. Does not know what frames mean.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use super::channel::{Channel, Moved};
use super::idle::Idleness;
use super::side::Side;
use super::{Peer, REQUESTS_MAX, Session, SessionError, Spares};

/// How a session ended, if nothing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The source closed the connection, after the client had left or the source had said why.
    Closed,
    /// The proxy is going down.
    ShutDown,
    /// The client has done nothing for too long.
    Idle(Idleness),
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

/// What came of trying to read from one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// It was not tried: there is no room, or nothing may be taken now.
    Idle,
    /// Something came, and more may be there.
    Moved,
    /// All that was there has been taken, and the task is woken when more comes.
    Emptied,
    /// There was nothing, and the task is woken when something comes.
    Waiting,
}

impl<C, S> Session<C, S>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// Relays until nothing more can be done now.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<End, SessionError>> {
        self.client_side.wakes(context.waker());
        self.source_side.wakes(context.waker());
        loop {
            match self.turn(context)? {
                Turn::Moved => (),
                Turn::Waiting => {
                    self.publish();
                    self.rest();
                    let idle = self.poll_idle(context);
                    return idle.map_or(Poll::Pending, |it| Poll::Ready(Ok(End::Idle(it))));
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
        let from_client = self.read_client()?;
        self.decide_frontend()?;
        let resumed = self.poll_waiting(context);
        let wrote_source = self.write_source();
        let released = self.poll_held(context);
        let from_source = self.read_source();
        self.decide_backend()?;
        let wrote_client = self.write_client()?;
        let is_over = self.source_state.is_over() && self.held.is_none();
        if is_over && self.from_source.pending() == 0 {
            return self.source_is_over();
        }
        let reads = [from_client, from_source];
        // What came in this turn may have ended a transaction that the drain waited for.
        if self.is_spent(reads) && !self.is_asked_to_end(context) {
            return Ok(Turn::Waiting);
        }
        let moved = reads
            .iter()
            .any(|read| matches!(read, Reading::Moved | Reading::Emptied));
        let others = [resumed, wrote_source, released, wrote_client];
        Ok(if moved || others.contains(&Some(Moved::Some)) {
            Turn::Moved
        } else {
            Turn::Waiting
        })
    }

    /// Whether another turn cannot find anything to do: both sides were asked, and nothing that
    /// they said is left here. The usual end of a turn, seen without taking another one.
    fn is_spent(&self, reads: [Reading; 2]) -> bool {
        reads
            .iter()
            .all(|read| matches!(read, Reading::Emptied | Reading::Waiting))
            && self.from_client.is_empty()
            && self.from_source.is_empty()
            && self.held.is_none()
    }

    /// Nothing of the client's is under way: buffers that grew for it are given back.
    fn rest(&mut self) {
        if self.queue.is_idle() {
            self.from_client.rest(&self.spares);
            self.from_source.rest(&self.spares);
        }
    }

    fn poll_waiting(&mut self, context: &mut Context<'_>) -> Option<Moved> {
        let capturing = self.capturing.as_mut()?;
        capturing.poll_waiting(context).then_some(Moved::Some)
    }

    fn read_client(&mut self) -> Result<Reading, SessionError> {
        let mut capturing = self.capturing.iter();
        let held = capturing.any(|it| it.holds_requests() || it.is_in_doubt());
        if self.client_state == Peer::Gone
            || self.queue.len() >= REQUESTS_MAX
            || held
            || !self.may_read()
        {
            return Ok(Reading::Idle);
        }
        let read = read(
            &mut self.from_client,
            &mut self.client,
            &mut self.client_side,
            &self.spares,
        );
        read.map_err(SessionError::Client).map(|it| match it {
            Come::Read(reading) => reading,
            Come::End => {
                self.client_state = Peer::Gone;
                Reading::Moved
            }
        })
    }

    fn read_source(&mut self) -> Reading {
        if self.source_state.is_over() || self.held.is_some() {
            return Reading::Idle;
        }
        match read(
            &mut self.from_source,
            &mut self.source,
            &mut self.source_side,
            &self.spares,
        ) {
            Ok(Come::Read(reading)) => reading,
            Ok(Come::End) => {
                self.source_ended(None);
                Reading::Moved
            }
            Err(error) => {
                self.source_ended(Some(error));
                Reading::Moved
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
    fn write_source(&mut self) -> Option<Moved> {
        if self.source_closed {
            return None;
        }
        let context = &mut self.source_side.context();
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

    fn write_client(&mut self) -> Result<Option<Moved>, SessionError> {
        let context = &mut self.client_side.context();
        match self.from_source.poll_write(&mut self.client, context) {
            Poll::Pending => Ok(None),
            Poll::Ready(Ok(moved)) => Ok(Some(moved)),
            Poll::Ready(Err(error)) => Err(SessionError::Client(error)),
        }
    }
}

/// What was read from one side, or that nothing more comes.
enum Come {
    Read(Reading),
    End,
}

/// Reads what has come. A read that leaves room is followed by another one, which usually only
/// leaves word to be woken: the socket knows that it is empty without a system call. Should that
/// one fail, what came before is forwarded first, and the next turn finds the failure.
fn read(
    channel: &mut Channel,
    peer: &mut (impl AsyncRead + Unpin),
    side: &mut Side,
    spares: &Spares,
) -> io::Result<Come> {
    if !side.may_have_something() {
        return Ok(Come::Read(Reading::Waiting));
    }
    side.had_something();
    channel.borrow(spares);
    let mut context = side.context();
    let come = match channel.poll_read(peer, &mut context)? {
        Poll::Pending => Come::Read(Reading::Waiting),
        Poll::Ready(Moved::Idle) => Come::Read(Reading::Idle),
        Poll::Ready(Moved::End) => Come::End,
        Poll::Ready(Moved::Some) if channel.is_busy() => Come::Read(Reading::Moved),
        Poll::Ready(Moved::Some) => match channel.poll_read(peer, &mut context) {
            Poll::Pending => Come::Read(Reading::Emptied),
            Poll::Ready(Ok(Moved::Some | Moved::Idle) | Err(_)) => Come::Read(Reading::Moved),
            Poll::Ready(Ok(Moved::End)) => Come::End,
        },
    };
    if let Come::Read(Reading::Waiting | Reading::Emptied) = come {
        side.had_nothing();
    }
    Ok(come)
}
