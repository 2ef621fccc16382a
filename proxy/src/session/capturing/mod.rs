//! A session whose writes are captured.
//!
//! Requests ([`frontend`], [`extended`]) are analysed and perhaps rewritten; replies ([`backend`],
//! [`rows`]) lose the hidden column again and feed the transaction log. The client sees what it
//! would see without all this. What the session's state is has to be known before a text can be
//! rewritten: it is asked for, in a query of our own, when the next request of an idle client
//! depends on it, and that request waits for the answer.
//!
//! Does not decide what is captured: that is `protocol::decide::statement`.

mod backend;
mod describe;
mod extended;
mod frontend;
mod note;
mod portals;
mod rows;
mod waiting;

use std::cell::Cell;
use std::rc::Rc;

use protocol::decide::names::Names;
use protocol::decide::reply_queue::{ReplyQueue, Request};
use protocol::decide::statement::{
    Analysis, SessionEffect, SessionKnowledge, Statement, TransactionEffect, Write,
};
use protocol::wire::backend::TransactionStatus;
use protocol::wire::frontend::Query;

use super::channel::Channel;
use crate::capture::{Capture, TransactionLog};

pub(super) use note::Note;
use note::{Form, Portal, Text};
use portals::Savepoints;
pub(super) use rows::describe;
use waiting::Waiting;

/// A longer text is not looked at, and so not captured.
const TEXT_SIZE_MAX: usize = 1 << 20;

/// Statements that a session may have by name and still have them captured; more are forwarded and
/// what they do is left to the stream.
const NAMES_MAX: usize = 10_000;

/// Bytes of texts that a session may keep by name: thousands of statements as drivers prepare them.
/// What more it prepares is forwarded, and what that does is left to the stream.
const TEXTS_SIZE_MAX: usize = 64 << 20;

/// Whether the session's state is being asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inquiry {
    /// No; it may be asked for.
    Due,
    /// The answer is awaited, and so is everything that the client sends.
    Asking,
    /// The answer was no use. It is not asked for again before the session has changed.
    Vain,
}

/// Whether the server has an unnamed statement that the proxy cannot send again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknown {
    No,
    Yes,
}

/// Whether the next request waits until it is known what its name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    None,
    Waiting,
}

/// What a session that is captured knows.
#[derive(Debug)]
pub(super) struct Capturing {
    capture: Rc<Capture>,
    log: TransactionLog,
    knowledge: SessionKnowledge,
    inquiry: Inquiry,
    waiting: Waiting,
    /// `segue.mirror` has been set in this transaction, and may go back to what it was.
    chosen: bool,
    /// How many statements of this transaction may have made a view or a rule that the catalog does
    /// not show.
    reshaping: usize,
    statements: Names<Rc<Text>>,
    portals: Names<Rc<Portal>>,
    savepoints: Savepoints,
    /// Something has run since the last ReadyForQuery: the transaction may not be where that said.
    moved: bool,
    unnamed: Unknown,
    doubt: Doubt,
    /// How many bytes of texts are kept.
    kept: Rc<Cell<usize>>,
}

/// What a request goes through: the bytes, the queue, and where the session stands.
#[derive(Debug)]
pub(super) struct Outbound<'session> {
    pub(super) channel: &'session mut Channel,
    pub(super) queue: &'session mut ReplyQueue<Note>,
    pub(super) status: TransactionStatus,
}

impl Capturing {
    pub(super) fn new(capture: Rc<Capture>) -> Self {
        Self {
            log: TransactionLog::new(Rc::clone(&capture)),
            capture,
            knowledge: SessionKnowledge::Unknown,
            inquiry: Inquiry::Due,
            waiting: Waiting::default(),
            chosen: false,
            reshaping: 0,
            statements: Names::new(),
            portals: Names::new(),
            savepoints: Savepoints::default(),
            moved: false,
            unnamed: Unknown::No,
            doubt: Doubt::None,
            kept: Rc::default(),
        }
    }

    /// How many bytes of texts are kept.
    #[cfg(test)]
    pub(super) fn kept_size(&self) -> usize {
        self.kept.get()
    }

    /// Whether requests have to wait for the answer to our own.
    pub(super) fn is_asking(&self) -> bool {
        self.inquiry == Inquiry::Asking
    }

    /// Whether the server holds no text of ours that a request could still run.
    pub(super) fn holds_nothing_rewritten(&self) -> bool {
        let mut statements = self.statements.values();
        let mut portals = self.portals.values();
        statements.all(|it| it.form != Form::Rewritten)
            && portals.all(|it| it.text.form != Form::Rewritten)
    }

    /// Whether what the client sends has to wait, for that or for the catalog.
    pub(super) fn holds_requests(&self) -> bool {
        self.is_asking() || self.waiting.is_on()
    }

    /// Whether the client's next request waits for answers to earlier ones, so that no more of its
    /// requests are read.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.doubt == Doubt::Waiting
    }

    /// Asks for the session's state if this text depends on it and now is the time; then waits for
    /// the catalog if it has to be read again.
    fn asks_first(&mut self, analysis: &Analysis, outbound: &mut Outbound<'_>) -> bool {
        if self.knowledge != SessionKnowledge::Unknown && depends_on_session(analysis) {
            return self.waiting.begin(&self.capture);
        }
        let is_time = self.knowledge == SessionKnowledge::Unknown
            && self.inquiry == Inquiry::Due
            && self.unnamed == Unknown::No
            && outbound.status == TransactionStatus::Idle
            && outbound.queue.is_idle();
        if !is_time || !depends_on_session(analysis) {
            return false;
        }
        self.inquiry = Inquiry::Asking;
        let question = Query {
            text: Capture::session_query().as_bytes().into(),
        };
        question.encode(outbound.channel.insert());
        outbound.queue.push_own(Request::Query, Note::Nothing);
        self.lose_unnamed();
        true
    }

    /// The question is a Query, which makes the server forget the unnamed statement. It is sent
    /// again when it is asked for.
    fn lose_unnamed(&mut self) {
        if let Some(text) = self.statements.find(b"") {
            let lost = Rc::new(Text {
                form: Form::Lost,
                analysis: Rc::clone(&text.analysis),
                fingerprint: text.fingerprint,
                parse: text.parse.clone(),
                weight: Rc::clone(&text.weight),
                parameters: Rc::default(),
            });
            let change = self.statements.change(b"", Some(lost));
            self.statements.confirm(&change);
        }
    }

    /// A text is sent to be run: what is sent behind it is read in the state that it leaves.
    fn runs(&mut self, analysis: &Analysis) {
        for statement in &analysis.statements {
            if let SessionEffect::Chooses(choice) = statement.session {
                self.chosen = true;
                let known = std::mem::replace(&mut self.knowledge, SessionKnowledge::Unknown);
                self.knowledge = known.choosing(choice);
            }
        }
        let may_reshape = analysis.statements.iter().filter(|it| may_reshape(it));
        let unseen = usize::from(analysis.unreadable.is_some());
        self.reshaping = self.reshaping.saturating_add(may_reshape.count() + unseen);
        let goes_back = |statement: &Statement| {
            self.chosen && matches!(statement.transaction, TransactionEffect::RollbackTo(_))
        };
        let mut statements = analysis.statements.iter();
        if analysis.unreadable.is_some()
            || statements.any(|it| it.session.makes_unknown() || goes_back(it))
        {
            self.forget_session();
        }
    }

    /// A transaction has ended: what was set in it may be gone, or stay.
    fn forget_choice(&mut self) {
        if std::mem::take(&mut self.chosen) {
            self.forget_session();
        }
    }

    /// What became of an acknowledgement that waited: why the target has not confirmed, or nothing
    /// if it has.
    pub(super) fn delivered(&self, unconfirmed: Option<&'static str>) {
        self.capture.delivered(unconfirmed);
    }

    fn forget_session(&mut self) {
        self.knowledge = SessionKnowledge::Unknown;
        self.inquiry = Inquiry::Due;
    }
}

/// Whether it makes a difference to know the session: it may write, or it begins a transaction, in
/// which nothing can be asked.
fn depends_on_session(analysis: &Analysis) -> bool {
    analysis.statements.iter().any(|statement| {
        statement.transaction != TransactionEffect::None || statement.write != Write::None
    })
}

/// Whether it may make a view or a rule where a table was.
fn may_reshape(statement: &Statement) -> bool {
    match statement.session {
        SessionEffect::Ddl => true,
        // DO, CALL and EXECUTE; a SET writes nothing.
        SessionEffect::Changes => statement.write != Write::None,
        SessionEffect::None
        | SessionEffect::Deallocates(_)
        | SessionEffect::DeallocatesAll
        | SessionEffect::DiscardsAll
        | SessionEffect::Chooses(_) => false,
    }
}
