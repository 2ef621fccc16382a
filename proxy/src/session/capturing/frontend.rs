//! What becomes of each frame from the client of a captured session.
//!
//! A body is looked at where it names or is a text; the rest is forwarded by its tag.

use protocol::decide::reply_queue::Request;
use protocol::decide::statement::{DeferReason, Mode};
use protocol::wire::frame::Header;
use protocol::wire::frontend::{Query, Tag};

use super::note::{Run, Unnamed};
use super::{Capturing, Doubt, Note, Outbound, TEXT_SIZE_MAX, Unknown};
use crate::session::Step;
use crate::session::frontend::request_of;

impl Capturing {
    /// Decides about a frame and lets it go, or leaves it where it is.
    pub(in crate::session) fn frontend(
        &mut self,
        tag: Tag,
        header: Header,
        mut outbound: Outbound<'_>,
    ) -> Step {
        self.doubt = Doubt::None;
        if outbound.queue.is_skipping() && tag != Tag::Sync {
            outbound.channel.approve(header);
            return Step::Decided;
        }
        let outbound = &mut outbound;
        match tag {
            Tag::Query => self.query(header, outbound),
            Tag::Parse => self.parse(header, outbound),
            Tag::Bind => self.bind(header, outbound),
            Tag::Describe => self.describe(header, outbound),
            Tag::Execute => self.execute(header, outbound),
            Tag::Close => self.close(header, outbound),
            Tag::FunctionCall => self.opaque(Request::FunctionCall, header, outbound),
            Tag::Sync
            | Tag::CopyDone
            | Tag::CopyFail
            | Tag::CopyData
            | Tag::Flush
            | Tag::Password
            | Tag::Terminate
            | Tag::Unknown(_) => {
                if tag == Tag::Sync {
                    self.statements.sync();
                    self.portals.sync();
                }
                if let Some(request) = request_of(tag) {
                    outbound.queue.push(request, Note::Nothing);
                }
                outbound.channel.approve(header);
                Step::Decided
            }
        }
    }

    fn query(&mut self, header: Header, outbound: &mut Outbound<'_>) -> Step {
        if header.len > TEXT_SIZE_MAX {
            let request = Request::Query;
            return self.unread(request, DeferReason::TextTooLong, header, outbound);
        }
        let Some(body) = outbound.channel.body(header) else {
            return Step::Incomplete;
        };
        // The server says what it thinks of a text that does not end.
        let Some((&0, text)) = body.split_last() else {
            return self.opaque(Request::Query, header, outbound);
        };
        let analysis = self.capture.analyze(text, &self.knowledge, Mode::Simple);
        if self.asks_first(&analysis, outbound) {
            return Step::Incomplete;
        }
        match &analysis.rewritten {
            None => outbound.channel.approve(header),
            Some(rewritten) => {
                outbound.channel.discard(header);
                let text = rewritten.text.clone();
                Query { text }.encode(outbound.channel.insert());
            }
        }
        self.runs(&analysis);
        let is_empty = analysis.statements.is_empty() && analysis.unreadable.is_none();
        let forgets = self.forgets_unnamed(is_empty);
        let note = Note::Run(Run::simple(analysis, self.knowledge.mirror(), forgets));
        outbound.queue.push(Request::Query, note);
        Step::Decided
    }

    /// A Query makes the server forget the unnamed statement, and the unnamed portal if it is not
    /// empty: what is sent behind it does not find them.
    fn forgets_unnamed(&mut self, is_empty: bool) -> Option<Box<Unnamed>> {
        self.unnamed = Unknown::No;
        let has_statement = self.statements.may_find(b"");
        let has_portal = !is_empty && self.portals.may_find(b"");
        (has_statement || has_portal).then(|| {
            Box::new(Unnamed {
                statement: has_statement.then(|| self.statements.change(b"", None)),
                portal: has_portal.then(|| self.portals.change(b"", None)),
            })
        })
    }

    /// Forwards what is not understood. It may do anything.
    pub(super) fn opaque(
        &mut self,
        request: Request,
        header: Header,
        outbound: &mut Outbound<'_>,
    ) -> Step {
        self.unread(request, DeferReason::Unparsable, header, outbound)
    }

    fn unread(
        &mut self,
        request: Request,
        reason: DeferReason,
        header: Header,
        outbound: &mut Outbound<'_>,
    ) -> Step {
        self.forget_session();
        let is_query = request == Request::Query;
        let forgets = is_query.then(|| self.forgets_unnamed(false)).flatten();
        outbound.queue.push(request, Note::Opaque(reason, forgets));
        outbound.channel.approve(header);
        Step::Decided
    }
}
