//! What becomes of each frame from the source.
//!
//! Bodies are looked at where the session's state rests on them: ReadyForQuery and errors.

use bytes::Bytes;
use protocol::decide::reply_queue::{Action, Event, Reply, UnexpectedReply};
use protocol::wire::backend::{ErrorFields, ReadyForQuery, Tag};
use protocol::wire::frame::Header;

use super::{Pairing, Peer, Session, SessionError};

/// Whether a frame could be decided about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Decided,
    /// All of the frame has to be there.
    Incomplete,
}

impl<C, S> Session<C, S> {
    /// Decides about every frame from the source that has arrived.
    pub(super) fn decide_backend(&mut self) -> Result<(), SessionError> {
        loop {
            let next = self.from_source.next().map_err(SessionError::SourceFrame)?;
            let Some(header) = next else {
                return Ok(());
            };
            let step = match Tag::from_byte(header.tag) {
                Tag::ReadyForQuery => self.ready(header)?,
                Tag::ErrorResponse => self.error(header)?,
                tag => self.other(tag, header)?,
            };
            if step == Step::Incomplete {
                return Ok(());
            }
        }
    }

    fn other(&mut self, tag: Tag, header: Header) -> Result<Step, SessionError> {
        let reply = self.queue.reply(tag);
        let reply = self.paired(reply)?;
        debug_assert_eq!(reply.action, Action::Forward);
        self.from_source.approve(header);
        Ok(Step::Decided)
    }

    fn ready(&mut self, header: Header) -> Result<Step, SessionError> {
        let Some(body) = self.from_source.body(header) else {
            return Ok(Step::Incomplete);
        };
        let ready = ReadyForQuery::decode(Bytes::copy_from_slice(body));
        self.status = ready.map_err(SessionError::SourceMessage)?.0;
        self.other(Tag::ReadyForQuery, header)
    }

    #[cold]
    fn error(&mut self, header: Header) -> Result<Step, SessionError> {
        let Some(body) = self.from_source.body(header) else {
            return Ok(Step::Incomplete);
        };
        let fields = ErrorFields::decode(Bytes::copy_from_slice(body));
        let fields = fields.map_err(SessionError::SourceMessage)?;
        let reply = self.queue.error(fields.severity());
        if reply.event == Event::Fatal {
            self.source_state = Peer::Leaving;
        }
        self.from_source.approve(header);
        Ok(Step::Decided)
    }

    /// A session that is only relayed goes on when the queue does not understand the source.
    fn paired(
        &mut self,
        reply: Result<Reply<()>, UnexpectedReply>,
    ) -> Result<Reply<()>, SessionError> {
        reply.or_else(|unexpected| {
            if self.pairing == Pairing::Kept {
                self.pairing = Pairing::Lost;
                tracing::debug!(%unexpected, "the reply queue is off");
            }
            Ok(Reply {
                action: Action::Forward,
                event: Event::None,
            })
        })
    }
}
