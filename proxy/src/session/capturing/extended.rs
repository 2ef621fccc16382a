//! The extended protocol's requests: statements and portals by name.
//!
//! A statement's form is settled when it is bound: where the session's state is another than at its
//! Parse, the proxy parses it again itself, as it came or rewritten, so that a changed role or
//! search path can neither break a rewritten statement nor leave one uncaptured for ever. Does not
//! look at parameter values.

use std::rc::Rc;

use bytes::Bytes;
use protocol::decide::reply_queue::Request;
use protocol::decide::statement::{Analysis, ClientColumns, DeferReason, Mode, Write};
use protocol::wire::backend::TransactionStatus;
use protocol::wire::frame::Header;
use protocol::wire::frontend::{Bind, Close, Describe, Execute, Named, Parse};

use super::note::{Form, Portal, Ran, Run, Text, Weight};
use super::{Capturing, Doubt, NAMES_MAX, Note, Outbound, TEXT_SIZE_MAX, TEXTS_SIZE_MAX, Unknown};
use crate::session::Step;

/// Longer names than this are not looked for; the server cuts names at 63 bytes.
const NAMES_SIZE_MAX: usize = 8 * 1024;

/// A larger Bind is not held in memory to be rewritten: its statement is sent again as it came.
const BIND_SIZE_MAX: usize = 16 << 20;

/// The format code of binary values.
const BINARY: i16 = 1;

impl Capturing {
    pub(super) fn parse(&mut self, header: Header, outbound: &mut Outbound<'_>) -> Step {
        if header.len > TEXT_SIZE_MAX {
            return self.long_statement(header, outbound);
        }
        let Some(body) = outbound.channel.body(header) else {
            return Step::Incomplete;
        };
        let Ok(parse) = Parse::decode(Bytes::copy_from_slice(body)) else {
            return self.unknown_statement(header, outbound);
        };
        let known = self.statements.find(&parse.name).is_some();
        let has_room = known || self.statements.len() < NAMES_MAX;
        if !has_room || self.kept.get().saturating_add(parse.query.len()) > TEXTS_SIZE_MAX {
            return self.unknown_statement(header, outbound);
        }
        let analysis = self.analyze(&parse.query);
        if parse.name.is_empty() {
            // What the server has under it, a question would take as this does.
            self.unnamed = Unknown::No;
        }
        if self.asks_first(&analysis, outbound) {
            return Step::Incomplete;
        }
        let weight = Weight::of(&parse.query, &self.kept);
        let text = self.text(parse, analysis, weight);
        match text.form {
            Form::Original | Form::Lost => outbound.channel.approve(header),
            Form::Rewritten => {
                outbound.channel.discard(header);
                text.encode(outbound.channel);
            }
        }
        let note = self.defines(&text);
        outbound.queue.push(Request::Parse, note);
        self.learn_parameters(&text, outbound);
        Step::Decided
    }

    pub(super) fn bind(&mut self, header: Header, outbound: &mut Outbound<'_>) -> Step {
        let front = outbound.channel.body_so_far(header);
        let Some((portal, rest)) = cut_name(front) else {
            return unnamed(Request::Bind, header, outbound);
        };
        let Some((statement, _)) = cut_name(rest) else {
            return unnamed(Request::Bind, header, outbound);
        };
        if self.statements.is_in_doubt(statement) {
            return self.waits();
        }
        let Some(text) = self.statements.find(statement).cloned() else {
            let note = Note::Portal(self.portals.change(portal, None));
            return forward(Request::Bind, note, header, outbound);
        };
        let is_unanswered = self.statements.is_unanswered(statement);
        let portal = Bytes::copy_from_slice(portal);
        if self.asks_first(&text.analysis, outbound) {
            return Step::Incomplete;
        }
        if text.fingerprint != self.capture.grounds(&self.knowledge) {
            // Where an earlier request fails, nothing may be sent again: what is not there would be,
            // and in a transaction that has failed the server would forget it and not take it again.
            if outbound.queue.awaits_ready() {
                return self.waits();
            }
            if outbound.status == TransactionStatus::Failed {
                let note = Note::Portal(self.portals.change(&portal, Some(Portal::of(text))));
                return forward(Request::Bind, note, header, outbound);
            }
        }
        let mut text = self.settle(text, outbound);
        if let Some(captured) = Run::extended(&text, text.fingerprint).captured(0) {
            match rewritten(captured.client_columns, header, outbound) {
                BindForm::Rewritten(bind) => {
                    outbound.channel.discard(header);
                    bind.encode(outbound.channel.insert());
                    let note = Note::Portal(self.portals.change(&portal, Some(Portal::of(text))));
                    outbound.queue.push(Request::Bind, note);
                    return Step::Decided;
                }
                BindForm::Incomplete => return Step::Incomplete,
                BindForm::Original if is_unanswered => return self.waits(),
                BindForm::Original => text = self.original(&text, outbound),
            }
        }
        let note = Note::Portal(self.portals.change(&portal, Some(Portal::of(text))));
        forward(Request::Bind, note, header, outbound)
    }

    /// Pairing rests on what the name means, and that on whether an earlier request was skipped: its
    /// Sync has been sent, and so the answer comes.
    #[cold]
    pub(super) fn waits(&mut self) -> Step {
        self.doubt = Doubt::Waiting;
        Step::Incomplete
    }

    pub(super) fn execute(&mut self, header: Header, outbound: &mut Outbound<'_>) -> Step {
        let Some(body) = outbound.channel.body(header) else {
            return unnamed(Request::Execute, header, outbound);
        };
        let name = cut_name(body).map(|(name, _)| name);
        if name.is_some_and(|name| self.portals.is_in_doubt(name)) {
            return self.waits();
        }
        let portal = name.and_then(|name| self.portals.find(name)).cloned();
        let (Some(name), Some(portal)) = (name, portal) else {
            return self.opaque(Request::Execute, header, outbound);
        };
        let text = &portal.text;
        let run = Run::extended(text, self.capture.grounds(&self.knowledge))
            .choosing(self.knowledge.mirror());
        let whole_rows = run
            .captured(0)
            .is_some_and(|it| it.client_columns == ClientColumns::None);
        if whole_rows {
            match portal.ran.get() {
                Ran::Not => portal.ran.set(Ran::Itself),
                ran @ (Ran::Itself | Ran::TakenBack) => {
                    portal.ran.set(Ran::StandIn);
                    let name = Bytes::copy_from_slice(name);
                    return self.spent((&name, ran), header, outbound);
                }
                Ran::StandIn => return self.opaque(Request::Execute, header, outbound),
            }
        }
        // Without RETURNING the server does not count rows: what the client would get from a limit
        // is that it is ignored.
        let limited = whole_rows.then(|| Execute::decode(Bytes::copy_from_slice(body)));
        match limited {
            Some(Ok(execute)) if execute.rows_max > 0 => {
                outbound.channel.discard(header);
                let unlimited = Execute {
                    rows_max: 0,
                    ..execute
                };
                unlimited.encode(outbound.channel.insert());
            }
            Some(Ok(_) | Err(_)) | None => outbound.channel.approve(header),
        }
        outbound.queue.push(Request::Execute, Note::Run(run));
        self.runs(&text.analysis);
        Step::Decided
    }

    pub(super) fn close(&mut self, header: Header, outbound: &mut Outbound<'_>) -> Step {
        let Some(body) = outbound.channel.body(header) else {
            return unnamed(Request::Close, header, outbound);
        };
        let note = match Close::decode(Bytes::copy_from_slice(body)) {
            Ok(Close(Named::Statement(name))) => {
                Note::Statement(self.statements.change(&name, None), None)
            }
            Ok(Close(Named::Portal(name))) => Note::Portal(self.portals.change(&name, None)),
            Err(_) => Note::Nothing,
        };
        forward(Request::Close, note, header, outbound)
    }

    /// A Parse whose text is not looked at and not kept.
    #[cold]
    fn long_statement(&mut self, header: Header, outbound: &mut Outbound<'_>) -> Step {
        let front = outbound.channel.body_so_far(header);
        let Some((name, _)) = cut_name(front) else {
            return unnamed(Request::Parse, header, outbound);
        };
        if self.statements.len() >= NAMES_MAX {
            return self.unknown_statement(header, outbound);
        }
        if name.is_empty() {
            self.unnamed = Unknown::Yes;
        }
        let parse = Parse {
            name: Bytes::copy_from_slice(name),
            query: Bytes::new(),
            types: Bytes::from_static(&[0; 2]),
        };
        let analysis = Rc::new(Analysis::unreadable(DeferReason::TextTooLong));
        let weight = Weight::of(&parse.query, &self.kept);
        let note = self.defines(&self.text(parse, analysis, weight));
        forward(Request::Parse, note, header, outbound)
    }

    /// A Parse that is not looked at: what its name meant is forgotten.
    fn unknown_statement(&mut self, header: Header, outbound: &mut Outbound<'_>) -> Step {
        let front = outbound.channel.body_so_far(header);
        let Some((name, _)) = cut_name(front) else {
            return unnamed(Request::Parse, header, outbound);
        };
        if name.is_empty() {
            self.unnamed = Unknown::Yes;
        }
        let note = Note::Statement(self.statements.change(name, None), None);
        forward(Request::Parse, note, header, outbound)
    }

    /// The statement as it has to be in the session's present state, sent again if it is not so.
    pub(super) fn settle(&mut self, text: Rc<Text>, outbound: &mut Outbound<'_>) -> Rc<Text> {
        let is_there = text.form != Form::Lost;
        let is_long = text.analysis.unreadable == Some(DeferReason::TextTooLong);
        let is_current = text.fingerprint == self.capture.grounds(&self.knowledge);
        if is_there && (is_long || is_current) {
            return text;
        }
        let analysis = self.analyze(&text.parse.query);
        let settled = self.text(text.parse.clone(), analysis, Rc::clone(&text.weight));
        let is_same = is_there && settled.sent() == text.sent();
        if is_same {
            let settled = settled.taking(&text);
            let change = self
                .statements
                .change(&settled.parse.name, Some(Rc::clone(&settled)));
            self.statements.confirm(&change);
            return settled;
        }
        if self.remembers_result(&text, &settled) {
            revalidate(&text, outbound);
        }
        self.send_again(&settled, outbound);
        settled
    }

    /// Whether the server may refuse what it has because its result has changed. A rewritten text that
    /// is to be rewritten no more is asked about only where it cannot fail for the sake of its hidden
    /// column: that of a view, or behind a rule, would.
    fn remembers_result(&self, held: &Text, settled: &Text) -> bool {
        match (held.form, settled.form) {
            (Form::Lost, _) => false,
            (Form::Rewritten, Form::Original | Form::Lost) => {
                returns(held)
                    && self.reshaping == 0
                    && self.capture.are_tables_everywhere(&held.analysis)
            }
            (Form::Rewritten, Form::Rewritten) | (Form::Original, _) => returns(settled),
        }
    }

    /// The statement without its hidden column, for a Bind that cannot be extended. Its fingerprint
    /// is not the session's, so that the next Bind settles the form anew.
    #[cold]
    fn original(&mut self, text: &Rc<Text>, outbound: &mut Outbound<'_>) -> Rc<Text> {
        let original = Rc::new(Text {
            analysis: Rc::clone(&text.analysis),
            form: Form::Original,
            fingerprint: !text.fingerprint,
            parse: text.parse.clone(),
            weight: Rc::clone(&text.weight),
            parameters: Rc::default(),
        });
        self.send_again(&original, outbound);
        original
    }

    /// Puts `text` in the place of what the server has under its name.
    #[cold]
    fn send_again(&mut self, text: &Rc<Text>, outbound: &mut Outbound<'_>) {
        if !text.parse.name.is_empty() {
            let name = text.parse.name.clone();
            let note = Note::Statement(self.statements.change(&name, None), None);
            Close(Named::Statement(name)).encode(outbound.channel.insert());
            outbound.queue.push_own(Request::Close, note);
        }
        text.encode(outbound.channel);
        let note = self.defines(text);
        outbound.queue.push_own(Request::Parse, note);
        self.learn_parameters(text, outbound);
    }

    fn analyze(&self, query: &[u8]) -> Rc<Analysis> {
        self.capture.analyze(query, &self.knowledge, Mode::Extended)
    }

    fn text(&self, parse: Parse, analysis: Rc<Analysis>, weight: Rc<Weight>) -> Rc<Text> {
        Rc::new(Text {
            form: Form::of(&analysis),
            analysis,
            fingerprint: self.capture.grounds(&self.knowledge),
            parse,
            weight,
            parameters: Rc::default(),
        })
    }

    fn defines(&mut self, text: &Rc<Text>) -> Note {
        let change = self
            .statements
            .change(&text.parse.name, Some(Rc::clone(text)));
        Note::Statement(change, Some(Rc::clone(text)))
    }
}

impl Text {
    /// The same, known to take what `other` does, which is the same at the server.
    fn taking(self: Rc<Self>, other: &Self) -> Rc<Self> {
        Rc::new(Self {
            analysis: Rc::clone(&self.analysis),
            form: self.form,
            fingerprint: self.fingerprint,
            parse: self.parse.clone(),
            weight: Rc::clone(&self.weight),
            parameters: Rc::clone(&other.parameters),
        })
    }

    /// What the server has.
    fn sent(&self) -> &Bytes {
        match (self.form, &self.analysis.rewritten) {
            (Form::Rewritten, Some(rewritten)) => &rewritten.text,
            (Form::Original | Form::Lost, _) | (Form::Rewritten, None) => &self.parse.query,
        }
    }

    /// Sends it in the form that was settled.
    fn encode(&self, channel: &mut crate::session::channel::Channel) {
        let parse = Parse {
            query: self.sent().clone(),
            ..self.parse.clone()
        };
        parse.encode(channel.insert());
    }
}

/// The server refuses a statement whose result has changed since its Parse; another Parse would make
/// it forget that. What it says to a Describe it would have said to the client's Bind.
#[cold]
fn revalidate(text: &Text, outbound: &mut Outbound<'_>) {
    let describe = Describe(Named::Statement(text.parse.name.clone()));
    describe.encode(outbound.channel.insert());
    let request = Request::DescribeStatement;
    outbound.queue.push_own(request, Note::Nothing);
}

/// Whether the client's own columns are among what it returns.
fn returns(text: &Text) -> bool {
    let mut statements = text.analysis.statements.iter();
    statements.any(|it| match it.write {
        Write::Captured(captured) => captured.client_columns != ClientColumns::None,
        Write::None | Write::Outside(_) | Write::Deferred(_) | Write::Suspect(_) => true,
    })
}

/// How a Bind of a captured statement is sent.
enum BindForm {
    Rewritten(Bind),
    /// It has to arrive in full first.
    Incomplete,
    /// As it came: it is too large to be held, or it is not understood.
    Original,
}

fn rewritten(columns: ClientColumns, header: Header, outbound: &Outbound<'_>) -> BindForm {
    if header.len > BIND_SIZE_MAX {
        return BindForm::Original;
    }
    let Some(body) = outbound.channel.body(header) else {
        return BindForm::Incomplete;
    };
    let Ok(mut bind) = Bind::decode(Bytes::copy_from_slice(body)) else {
        return BindForm::Original;
    };
    if extend(&mut bind.result_formats, columns) {
        BindForm::Rewritten(bind)
    } else {
        // The server says how many formats it got and how many it had expected.
        BindForm::Original
    }
}

/// Adds the hidden column, in binary, to a Bind's result formats; false if they do not fit.
fn extend(formats: &mut Vec<i16>, columns: ClientColumns) -> bool {
    let count = match columns {
        ClientColumns::None => {
            // Formats of a statement that returns nothing are not looked at.
            formats.clear();
            0
        }
        ClientColumns::Some(count) => count,
    };
    match formats.as_slice() {
        [] => formats.resize(count, 0),
        [one] => {
            let one = *one;
            formats.resize(count, one);
        }
        several if several.len() != count => return false,
        _ => (),
    }
    formats.push(BINARY);
    true
}

/// Forwards a request as it came.
pub(super) fn forward(
    request: Request,
    note: Note,
    header: Header,
    outbound: &mut Outbound<'_>,
) -> Step {
    outbound.queue.push(request, note);
    outbound.channel.approve(header);
    Step::Decided
}

/// A request whose names have not arrived; or are longer than any name, so that the server will
/// refuse it.
pub(super) fn unnamed(request: Request, header: Header, outbound: &mut Outbound<'_>) -> Step {
    if outbound.channel.body_so_far(header).len() < NAMES_SIZE_MAX
        && outbound.channel.body(header).is_none()
    {
        return Step::Incomplete;
    }
    let note = Note::Opaque(DeferReason::Unparsable, None);
    forward(request, note, header, outbound)
}

/// Cuts a zero-terminated name off the front.
pub(super) fn cut_name(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = body.iter().position(|byte| *byte == 0)?;
    let (name, rest) = body.split_at_checked(end)?;
    Some((name, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_formats_cover_the_hidden_column() {
        type Case = (&'static [i16], ClientColumns, &'static [i16]);
        let cases: [Case; 6] = [
            (&[], ClientColumns::None, &[1]),
            (&[0], ClientColumns::None, &[1]),
            (&[], ClientColumns::Some(2), &[0, 0, 1]),
            (&[1], ClientColumns::Some(2), &[1, 1, 1]),
            (&[0], ClientColumns::Some(1), &[0, 1]),
            (&[0, 1], ClientColumns::Some(2), &[0, 1, 1]),
        ];
        for (sent, columns, expected) in cases {
            let mut formats = sent.to_vec();
            assert!(extend(&mut formats, columns));
            assert_eq!(formats, expected, "{sent:?} {columns:?}");
        }
    }

    #[test]
    fn formats_that_do_not_fit_are_left_to_the_server() {
        assert!(!extend(&mut vec![1, 1, 1], ClientColumns::Some(2)));
    }

    #[test]
    fn names_are_cut_at_their_zero_byte() {
        assert_eq!(cut_name(b"p\0s\0"), Some((&b"p"[..], &b"s\0"[..])));
        assert_eq!(cut_name(b"\0"), Some((&b""[..], &b""[..])));
        assert_eq!(cut_name(b"p"), None);
    }
}
