//! What a captured session remembers of its texts and of its requests under way.
//!
//! Does not hold bytes of requests, but for the texts of statements.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use bytes::Bytes;
use protocol::decide::names::Change;
use protocol::decide::record::ValueFormat;
use protocol::decide::reply_queue::{self, Hidden};
use protocol::decide::statement::{
    Analysis, Captured, ClientColumns, DeferReason, MirrorChoice, Rewritten, Write,
};
use protocol::wire::frontend::Parse;

/// How a text was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As it came.
    Original,
    /// With hidden columns.
    Rewritten,
    /// It was sent, and the proxy's own question has made the server forget it.
    Lost,
}

impl Form {
    /// The form in which a text with this analysis is sent.
    pub(super) fn of(analysis: &Analysis) -> Self {
        if analysis.rewritten.is_some() {
            Self::Rewritten
        } else {
            Self::Original
        }
    }
}

/// The text of a statement that can be bound.
#[derive(Debug)]
pub(in crate::session) struct Text {
    /// What it does, in the state of session and catalog that `fingerprint` stands for.
    pub(super) analysis: Rc<Analysis>,
    pub(super) form: Form,
    pub(super) fingerprint: u64,
    /// What the client said, to say it again should the session's state change.
    pub(super) parse: Parse,
    pub(super) weight: Rc<Weight>,
    /// What the server has said that it takes: the body of its ParameterDescription.
    pub(super) parameters: Parameters,
}

/// What a statement takes, once the server has said it.
pub(super) type Parameters = Rc<OnceCell<Bytes>>;

/// What a text counts for among the bytes that its session keeps, as long as it is kept.
#[derive(Debug)]
pub(super) struct Weight {
    size: usize,
    kept: Rc<Cell<usize>>,
}

impl Weight {
    pub(super) fn of(query: &[u8], kept: &Rc<Cell<usize>>) -> Rc<Self> {
        kept.set(kept.get().saturating_add(query.len()));
        Rc::new(Self {
            size: query.len(),
            kept: Rc::clone(kept),
        })
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.kept.set(self.kept.get().saturating_sub(self.size));
    }
}

/// A statement that was bound.
#[derive(Debug)]
pub(super) struct Portal {
    pub(super) text: Rc<Text>,
    pub(super) ran: Cell<Ran>,
    /// How many savepoints had been made before it.
    pub(super) savepoints: Cell<u64>,
}

/// Whether a portal has been sent to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ran {
    /// It has not.
    Not,
    /// It has.
    Itself,
    /// It has, and one that cannot be run again has taken its name.
    StandIn,
    /// It has, and a savepoint may have taken back what stood in for it.
    TakenBack,
}

impl Portal {
    pub(super) fn of(text: Rc<Text>) -> Rc<Self> {
        Rc::new(Self {
            text,
            ran: Cell::new(Ran::Not),
            savepoints: Cell::new(0),
        })
    }
}

/// Whether a captured row means what the analysis thought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    Kept,
    /// The session's state has changed since the text was rewritten.
    Lost,
}

/// What a Query makes the server forget: the unnamed statement, and the unnamed portal if the text
/// holds any statement.
#[derive(Debug, Clone)]
pub(in crate::session) struct Unnamed {
    pub(super) statement: Option<Change>,
    pub(super) portal: Option<Change>,
}

/// A text that runs, or is described.
#[derive(Debug, Clone)]
pub(in crate::session) struct Run {
    pub(super) analysis: Rc<Analysis>,
    pub(super) form: Form,
    /// The form of the hidden column.
    pub(super) format: ValueFormat,
    pub(super) trust: Trust,
    /// What the session asked of the mirror when it was sent.
    pub(super) choice: Option<MirrorChoice>,
    /// Nothing where there was nothing to forget, which is nearly always.
    pub(super) forgets: Option<Box<Unnamed>>,
    /// Where to keep what the server says of its parameters.
    pub(super) parameters: Option<Parameters>,
}

impl Run {
    /// A text that was sent in a Query.
    pub(super) fn simple(
        analysis: Rc<Analysis>,
        choice: Option<MirrorChoice>,
        forgets: Option<Box<Unnamed>>,
    ) -> Self {
        Self {
            choice,
            forgets,
            parameters: None,
            form: Form::of(&analysis),
            analysis,
            format: ValueFormat::Text,
            trust: Trust::Kept,
        }
    }

    /// A statement's or a portal's text.
    pub(super) fn extended(text: &Text, fingerprint: u64) -> Self {
        Self {
            choice: None,
            forgets: None,
            parameters: None,
            analysis: Rc::clone(&text.analysis),
            form: text.form,
            format: ValueFormat::Binary,
            trust: if text.fingerprint == fingerprint {
                Trust::Kept
            } else {
                Trust::Lost
            },
        }
    }

    /// The same, sent while the session asked this of the mirror.
    pub(super) fn choosing(self, choice: Option<MirrorChoice>) -> Self {
        Self { choice, ..self }
    }

    /// The same, to be described.
    pub(super) fn described(text: &Text, fingerprint: u64) -> Self {
        Self {
            parameters: Some(Rc::clone(&text.parameters)),
            ..Self::extended(text, fingerprint)
        }
    }

    /// How the statement with this index is captured, if it is.
    pub(super) fn captured(&self, statement: usize) -> Option<Captured> {
        match (self.form, &self.analysis.statements.get(statement)?.write) {
            (Form::Rewritten, Write::Captured(captured)) => Some(*captured),
            _ => None,
        }
    }

    /// Whether the server returns rows where the client's statement returns none.
    pub(super) fn returns_for_us(&self) -> bool {
        self.hidden(0) == Hidden::WholeRow
    }

    fn hidden(&self, statement: usize) -> Hidden {
        match self.captured(statement).map(|it| it.client_columns) {
            None => Hidden::Absent,
            Some(ClientColumns::None) => Hidden::WholeRow,
            Some(ClientColumns::Some(_)) => Hidden::LastColumn,
        }
    }
}

/// What a request means to the session.
#[derive(Debug, Clone)]
pub(in crate::session) enum Note {
    /// Nothing.
    Nothing,
    /// A Parse, with its text, or a Close of a statement.
    Statement(Change, Option<Rc<Text>>),
    /// A Bind, or a Close of a portal.
    Portal(Change),
    /// A Query, Describe or Execute whose text is known.
    Run(Run),
    /// A request that runs what is not known, for this reason.
    Opaque(DeferReason, Option<Box<Unnamed>>),
    /// A request that stands in for another one; these frames are the client's answer.
    StandsIn(Bytes),
}

impl Note {
    /// What the request makes the server forget besides what it asks for.
    pub(super) fn forgets(&self) -> Option<&Unnamed> {
        match self {
            Self::Run(run) => run.forgets.as_deref(),
            Self::Opaque(_, forgets) => forgets.as_deref(),
            Self::Nothing | Self::Statement(..) | Self::Portal(_) | Self::StandsIn(_) => None,
        }
    }

    /// The text that was sent in place of the client's, in which errors count positions.
    pub(in crate::session) fn rewritten(&self) -> Option<&Rewritten> {
        let (analysis, form) = match self {
            Self::Statement(_, Some(text)) => (&text.analysis, text.form),
            Self::Run(run) => (&run.analysis, run.form),
            Self::Statement(_, None)
            | Self::Portal(_)
            | Self::Nothing
            | Self::Opaque(..)
            | Self::StandsIn(_) => return None,
        };
        let rewritten = analysis.rewritten.as_ref();
        rewritten.filter(|_| form == Form::Rewritten)
    }
}

impl reply_queue::Note for Note {
    fn hidden(&self, statement: usize) -> Hidden {
        match self {
            Self::Run(run) => run.hidden(statement),
            Self::Nothing
            | Self::Statement(..)
            | Self::Portal(_)
            | Self::Opaque(..)
            | Self::StandsIn(_) => Hidden::Absent,
        }
    }
}
