//! What statements take and return, asked by name.
//!
//! In a transaction that has failed the server describes what returns no rows, and refuses the rest:
//! it would refuse a statement for the sake of its hidden column. Such a one is answered from what
//! the server has said of it before. Does not take the column off descriptions: `rows` does.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use protocol::decide::reply_queue::Request;
use protocol::wire::backend::{TransactionStatus, no_data, parameter_description};
use protocol::wire::frame::Header;
use protocol::wire::frontend::{Close, Describe, Named};

use super::extended::{forward, unnamed};
use super::note::{Form, Portal, Ran, Run, Text};
use super::portals::stand_in;
use super::{Capturing, Note, Outbound};
use crate::session::Step;

/// No statement has this name: the server says so in any state of a transaction.
const NOBODY: &str = "segue: nothing has this name";

impl Capturing {
    pub(super) fn describe(&mut self, header: Header, outbound: &mut Outbound<'_>) -> Step {
        let Some(body) = outbound.channel.body(header) else {
            return unnamed(Request::DescribeStatement, header, outbound);
        };
        match Describe::decode(Bytes::copy_from_slice(body)) {
            Ok(Describe(Named::Statement(name))) => self.describe_text(&name, header, outbound),
            Ok(Describe(Named::Portal(name))) => self.describe_portal(&name, header, outbound),
            Err(_) => forward(Request::DescribeStatement, Note::Nothing, header, outbound),
        }
    }

    fn describe_text(&mut self, name: &[u8], header: Header, outbound: &mut Outbound<'_>) -> Step {
        if self.statements.is_in_doubt(name) {
            return self.waits();
        }
        let request = Request::DescribeStatement;
        let Some(text) = self.statements.find(name).cloned() else {
            return forward(request, Note::Nothing, header, outbound);
        };
        let text = match text.form {
            Form::Lost => self.settle(text, outbound),
            Form::Original | Form::Rewritten => text,
        };
        let run = Run::described(&text, self.capture.grounds(&self.knowledge));
        if run.returns_for_us() && outbound.status != TransactionStatus::Idle {
            if outbound.queue.awaits_ready() {
                return self.waits();
            }
            if let Some(parameters) = text.parameters.get()
                && self.has_failed(outbound)
            {
                let mut answer = BytesMut::new();
                parameter_description(&mut answer, parameters);
                no_data(&mut answer);
                return answer_instead(answer, header, outbound);
            }
        }
        forward(request, Note::Run(run), header, outbound)
    }

    fn describe_portal(
        &mut self,
        name: &Bytes,
        header: Header,
        outbound: &mut Outbound<'_>,
    ) -> Step {
        if self.portals.is_in_doubt(name) {
            return self.waits();
        }
        let request = Request::DescribePortal;
        let Some(portal) = self.portals.find(name).cloned() else {
            return forward(request, Note::Nothing, header, outbound);
        };
        let Portal { text, ran, .. } = &*portal;
        let run = Run::extended(text, self.capture.grounds(&self.knowledge));
        if run.returns_for_us() {
            if self.has_failed(outbound) {
                let mut answer = BytesMut::new();
                no_data(&mut answer);
                return answer_instead(answer, header, outbound);
            }
            if ran.get() == Ran::TakenBack {
                ran.set(Ran::StandIn);
                stand_in(name, outbound);
            }
        }
        forward(request, Note::Run(run), header, outbound)
    }

    /// Whether the transaction has failed, and nothing has been sent that could end it.
    fn has_failed(&self, outbound: &Outbound<'_>) -> bool {
        outbound.status == TransactionStatus::Failed
            && !self.moved
            && !outbound.queue.runs_anything()
    }

    /// Asks what a statement of its own takes, where only the server knows and the client may ask
    /// when the server does not say it any more.
    pub(super) fn learn_parameters(&self, text: &Rc<Text>, outbound: &mut Outbound<'_>) {
        let run = Run::described(text, self.capture.grounds(&self.knowledge));
        if text.parse.name.is_empty() || !run.returns_for_us() {
            return;
        }
        let name = text.parse.name.clone();
        Describe(Named::Statement(name)).encode(outbound.channel.insert());
        let request = Request::DescribeStatement;
        outbound.queue.push_own(request, Note::Run(run));
    }

    /// The server says what a statement takes.
    pub(in crate::session) fn parameters(note: &Note, body: Bytes) {
        if let Note::Run(run) = note
            && let Some(parameters) = &run.parameters
        {
            // It says the same each time.
            drop(parameters.set(body));
        }
    }
}

/// Sends what the server answers in any case, to be replaced with what the client is to see.
fn answer_instead(answer: BytesMut, header: Header, outbound: &mut Outbound<'_>) -> Step {
    outbound.channel.discard(header);
    let nobody = Close(Named::Statement(NOBODY.into()));
    nobody.encode(outbound.channel.insert());
    let note = Note::StandsIn(answer.freeze());
    outbound.queue.push(Request::Close, note);
    Step::Decided
}
