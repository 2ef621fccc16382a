//! What becomes of each frame from the source.
//!
//! The reply queue decides. Bodies are looked at where the session's state rests on them, and
//! changed only where the proxy had put something into the request.

use bytes::Bytes;
use protocol::decide::reply_queue::{Action, Ends, Event, Reply, UnexpectedReply};
use protocol::wire::backend::{ErrorFields, Tag, TransactionStatus};
use protocol::wire::frame::Header;

use super::capturing::{Capturing, describe};
use super::held::Held;
use super::{Note, Pairing, Peer, Session, SessionError};
use crate::capture::Delivery;

impl<C, S> Session<C, S> {
    /// Decides about every frame from the source that has arrived.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all others are paired by their tag alone"
    )]
    pub(super) fn decide_backend(&mut self) -> Result<(), SessionError> {
        while self.held.is_none() {
            let next = self.from_source.next().map_err(SessionError::SourceFrame)?;
            let Some(header) = next else {
                break;
            };
            let tag = Tag::from_byte(header.tag);
            if self.needs_whole(tag) && self.from_source.body(header).is_none() {
                break;
            }
            if self.capturing.is_none() && tag != Tag::ErrorResponse {
                self.pass(tag, header)?;
                continue;
            }
            let reply = match tag {
                Tag::ReadyForQuery => self.ready(header)?,
                Tag::ErrorResponse => self.error(header)?,
                Tag::NoticeResponse if self.tells_of_ours(header) => Reply {
                    action: Action::Drop,
                    event: Event::None,
                },
                _ => self.paired(tag)?,
            };
            self.follow(tag, header, reply);
        }
        Ok(())
    }

    /// Whether the frame is looked into, or may not go out as it came.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what is not looked into depends on its request"
    )]
    fn needs_whole(&self, tag: Tag) -> bool {
        match tag {
            Tag::ReadyForQuery | Tag::ErrorResponse | Tag::BackendKeyData => true,
            _ if self.capturing.is_none() => false,
            Tag::CommandComplete
            | Tag::ParameterStatus
            | Tag::NoticeResponse
            | Tag::ParameterDescription => true,
            _ => self.queue.rewrites(),
        }
    }

    /// A frame in a session that is only relayed goes as it came; the queue is told of it.
    fn pass(&mut self, tag: Tag, header: Header) -> Result<(), SessionError> {
        if tag == Tag::ReadyForQuery {
            self.read_status(header)?;
        }
        match self.queue.pass(tag) {
            Ok(Ends::All) => self.saw_ready(),
            Ok(Ends::Nothing | Ends::Request | Ends::Statement | Ends::Portal | Ends::Own) => (),
            Err(unexpected) => self.lose_pairing(unexpected)?,
        }
        if matches!(tag, Tag::BackendKeyData | Tag::ParameterStatus) {
            self.saw_fact(tag, header);
        }
        self.from_source.approve(header);
        Ok(())
    }

    fn ready(&mut self, header: Header) -> Result<Reply<Note>, SessionError> {
        self.read_status(header)?;
        self.paired(Tag::ReadyForQuery)
    }

    /// The transaction status that a ReadyForQuery tells of.
    fn read_status(&mut self, header: Header) -> Result<(), SessionError> {
        let letter = self.from_source.body_so_far(header).first();
        let status = TransactionStatus::from_byte(letter.copied().unwrap_or_default());
        self.status = status.map_err(SessionError::SourceMessage)?;
        Ok(())
    }

    /// Whether it is an entry of the server's log about a request of the proxy's own.
    fn tells_of_ours(&self, header: Header) -> bool {
        self.queue.answers_own()
            && ErrorFields::decode(self.from_source.copy_body(header)).is_ok_and(|it| it.is_log())
    }

    #[cold]
    fn error(&mut self, header: Header) -> Result<Reply<Note>, SessionError> {
        let fields = ErrorFields::decode(self.from_source.copy_body(header));
        let fields = fields.map_err(SessionError::SourceMessage)?;
        self.saw_error(&fields);
        Ok(self.queue.error(fields.severity()))
    }

    fn paired(&mut self, tag: Tag) -> Result<Reply<Note>, SessionError> {
        self.queue.reply(tag).or_else(|unexpected| {
            self.lose_pairing(unexpected)?;
            Ok(Reply {
                action: Action::Forward,
                event: Event::None,
            })
        })
    }

    /// A session that is only relayed goes on when the queue does not understand the source. One that
    /// is captured is only relayed from then on, if nothing of the proxy's own can come back.
    #[cold]
    fn lose_pairing(&mut self, unexpected: UnexpectedReply) -> Result<(), SessionError> {
        let mut capturing = self.capturing.iter();
        if self.queue.hides_anything() || !capturing.all(|it| it.holds_nothing_rewritten()) {
            return Err(SessionError::Pairing(unexpected));
        }
        self.capturing = None;
        if self.pairing == Pairing::Kept {
            self.pairing = Pairing::Lost;
            tracing::debug!(%unexpected, "the reply queue is off");
        }
        Ok(())
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all others say nothing of the session itself"
    )]
    /// Tells the session what the frame means, and lets the frame go as the queue said.
    fn follow(&mut self, tag: Tag, header: Header, reply: Reply<Note>) {
        let Reply { action, event } = reply;
        match tag {
            Tag::ReadyForQuery if matches!(event, Event::Ready) => self.saw_ready(),
            Tag::BackendKeyData | Tag::ParameterStatus => self.saw_fact(tag, header),
            Tag::ParameterDescription => self.saw_parameters(header),
            _ => (),
        }
        if matches!(event, Event::Fatal) {
            self.source_state = Peer::Leaving;
        }
        let instead = match &event {
            Event::Answered(Note::StandsIn(answer)) => Some(answer.clone()),
            _ => None,
        };
        let corrected = self.corrected(tag, header, &event);
        match self.tell(tag, header, event) {
            Some(Delivery::Awaited(delivered)) => {
                self.held = Some(Held::new(header, delivered, self.sync));
                return;
            }
            Some(Delivery::Unconfirmed(reason)) => self.warn_unconfirmed(reason),
            None => (),
        }
        if let Some(answer) = instead {
            self.from_source.discard(header);
            self.from_source.insert().extend_from_slice(&answer);
            return;
        }
        match corrected {
            None => self.act(action, tag, header),
            Some(fields) => {
                self.from_source.discard(header);
                fields.encode(self.from_source.insert(), tag);
            }
        }
    }

    fn saw_parameters(&self, header: Header) {
        if let Some((note, _)) = self.queue.current() {
            Capturing::parameters(note, self.from_source.copy_body(header));
        }
    }

    fn tell(&mut self, tag: Tag, header: Header, event: Event<Note>) -> Option<Delivery> {
        let capturing = self.capturing.as_mut()?;
        if tag == Tag::ParameterStatus {
            capturing.setting(self.from_source.copy_body(header));
        }
        let body = match event {
            Event::Completed { .. } => self.from_source.copy_body(header),
            Event::None
            | Event::Answered(_)
            | Event::Suspended(_)
            | Event::Failed { .. }
            | Event::Ready
            | Event::OwnReady
            | Event::OwnFailed
            | Event::Fatal => Bytes::new(),
        };
        capturing.saw(event, body, self.status)
    }

    /// An error or a notice whose position in the text is another than the source says.
    fn corrected(&self, tag: Tag, header: Header, event: &Event<Note>) -> Option<ErrorFields> {
        let note = match (tag, event) {
            (Tag::ErrorResponse, Event::Failed { note, .. }) => note.as_ref()?,
            (Tag::NoticeResponse, _) => self.queue.current()?.0,
            _ => return None,
        };
        let rewritten = note.rewritten()?;
        let mut fields = ErrorFields::decode(self.from_source.copy_body(header)).ok()?;
        let position = fields.position()?;
        fields.set_position(rewritten.client_position(position));
        Some(fields)
    }

    fn act(&mut self, action: Action, tag: Tag, header: Header) {
        let (channel, queue) = (&mut self.from_source, &mut self.queue);
        match (action, &mut self.capturing) {
            (Action::Forward, _) | (_, None) => channel.approve(header),
            (Action::Drop, Some(_)) => channel.discard(header),
            (Action::NoData | Action::TakeDescription, Some(_)) => {
                describe(action, header, channel, queue);
            }
            (Action::CutColumn | Action::TakeRow | Action::OwnRow, Some(capturing)) => {
                if tag == Tag::RowDescription {
                    describe(action, header, channel, queue);
                } else {
                    capturing.row(action, header, channel, queue);
                }
            }
        }
    }
}
