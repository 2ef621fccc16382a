//! What becomes of each frame from the client, where the session is only relayed: it is forwarded,
//! and the reply queue learns what it will cause.
//!
//! Looks at tags only.

use protocol::decide::reply_queue::Request;
use protocol::wire::frontend::Tag;

use super::capturing::Outbound;
use super::{Note, Peer, REQUESTS_MAX, Session, SessionError, Step};

impl<C, S> Session<C, S> {
    /// Decides about every frame from the client that has arrived.
    pub(super) fn decide_frontend(&mut self) -> Result<(), SessionError> {
        while self.queue.len() < REQUESTS_MAX {
            let next = self.from_client.next().map_err(SessionError::ClientFrame)?;
            let Some(header) = next else {
                break;
            };
            let tag = Tag::from_byte(header.tag);
            if !self.may_take(tag) {
                break;
            }
            let step = match &mut self.capturing {
                Some(capturing) if capturing.holds_requests() => Step::Incomplete,
                Some(capturing) => {
                    let outbound = Outbound {
                        channel: &mut self.from_client,
                        queue: &mut self.queue,
                        status: self.status,
                    };
                    capturing.frontend(tag, header, outbound)
                }
                None => {
                    if let Some(request) = request_of(tag) {
                        self.queue.push(request, Note::Nothing);
                    }
                    self.from_client.approve(header);
                    Step::Decided
                }
            };
            if step == Step::Incomplete {
                break;
            }
            if tag == Tag::Terminate {
                self.client_state = Peer::Leaving;
            }
        }
        Ok(())
    }
}

/// What a frame asks for, by its tag alone: what a Describe names is not looked at, and the answer
/// for a statement includes that for a portal.
pub(super) const fn request_of(tag: Tag) -> Option<Request> {
    match tag {
        Tag::Query => Some(Request::Query),
        Tag::FunctionCall => Some(Request::FunctionCall),
        Tag::Parse => Some(Request::Parse),
        Tag::Bind => Some(Request::Bind),
        Tag::Describe => Some(Request::DescribeStatement),
        Tag::Execute => Some(Request::Execute),
        Tag::Close => Some(Request::Close),
        Tag::Sync => Some(Request::Sync),
        Tag::CopyDone | Tag::CopyFail => Some(Request::CopyEnd),
        Tag::CopyData | Tag::Flush | Tag::Password | Tag::Terminate | Tag::Unknown(_) => None,
    }
}
