//! What the source's replies mean to a captured session.
//!
//! Does not touch bytes.

use bytes::Bytes;
use protocol::decide::reply_queue::Event;
use protocol::decide::statement::{DeferReason, SessionEffect, Statement};
use protocol::decide::transaction::Ready;
use protocol::wire::backend::{CommandTag, ParameterStatus, TransactionStatus};

use super::note::Unnamed;
use super::{Capturing, Note};
use crate::capture::Delivery;

/// Settings that the server reports and that texts or values depend on.
const TELLING_SETTINGS: [&str; 4] = [
    "client_encoding",
    "standard_conforming_strings",
    "session_authorization",
    "search_path",
];

impl Capturing {
    /// Follows an event. `body` is that of the frame that brought it. Returns what the
    /// acknowledgement has to wait for, with `--mirror sync`.
    pub(in crate::session) fn saw(
        &mut self,
        event: Event<Note>,
        body: Bytes,
        status: TransactionStatus,
    ) -> Option<Delivery> {
        match event {
            Event::None | Event::Fatal | Event::OwnFailed => None,
            Event::Answered(note) => {
                self.confirm(&note);
                None
            }
            Event::Completed { note, statement } => {
                if let Some(unnamed) = note.forgets() {
                    self.confirm_unnamed(unnamed);
                }
                self.completed(&note, statement, body)
            }
            Event::Suspended(note) => {
                self.suspended(&note);
                None
            }
            Event::Failed { note, skipped, .. } => {
                self.log.failed();
                if let Some(note) = &note {
                    self.refused(note);
                }
                note.iter().chain(&skipped).for_each(|it| self.retract(it));
                None
            }
            Event::Ready => self.ready(status),
            Event::OwnReady => {
                self.asked();
                None
            }
        }
    }

    /// A setting has been reported: the session may not be what it was.
    pub(in crate::session) fn setting(&mut self, body: Bytes) {
        let told = ParameterStatus::decode(body);
        if told.is_ok_and(|it| TELLING_SETTINGS.iter().any(|name| it.name == *name)) {
            self.forget_session();
        }
    }

    fn confirm(&mut self, note: &Note) {
        match note {
            Note::Statement(change, _) => self.statements.confirm(change),
            Note::Portal(change) => self.confirm_portal(change),
            Note::Nothing | Note::Run(_) | Note::Opaque(..) | Note::StandsIn(_) => (),
        }
    }

    fn confirm_unnamed(&mut self, unnamed: &Unnamed) {
        if let Some(statement) = &unnamed.statement {
            self.statements.confirm(statement);
        }
        if let Some(portal) = &unnamed.portal {
            self.portals.confirm(portal);
        }
    }

    /// A Query or an unnamed Parse that fails has made the server forget the unnamed statement before.
    fn refused(&mut self, note: &Note) {
        if let Some(change) = note.forgets().and_then(|it| it.statement.as_ref()) {
            self.statements.confirm(change);
        }
        if let Note::Statement(_, Some(text)) = note
            && text.parse.name.is_empty()
        {
            self.statements.forget(b"");
        }
    }

    fn retract(&mut self, note: &Note) {
        match note {
            Note::Statement(change, _) => self.statements.retract(change),
            Note::Portal(change) => self.portals.retract(change),
            Note::Nothing | Note::Run(_) | Note::Opaque(..) | Note::StandsIn(_) => {
                let unnamed = note.forgets();
                if let Some(statement) = unnamed.and_then(|it| it.statement.as_ref()) {
                    self.statements.retract(statement);
                }
                if let Some(portal) = unnamed.and_then(|it| it.portal.as_ref()) {
                    self.portals.retract(portal);
                }
            }
        }
    }

    fn completed(&mut self, note: &Note, index: usize, body: Bytes) -> Option<Delivery> {
        self.moved = true;
        // An empty text has no tag, and a function call neither.
        let tag = CommandTag::decode(body).ok();
        let text = tag.as_ref().map_or(&b""[..], CommandTag::as_bytes);
        let Note::Run(run) = note else {
            let reason = match note {
                Note::Opaque(reason, _) => *reason,
                Note::Nothing
                | Note::Statement(..)
                | Note::Portal(_)
                | Note::Run(_)
                | Note::StandsIn(_) => DeferReason::Unparsable,
            };
            return self.log.completed(Err(reason), text);
        };
        self.log.choose(run.choice);
        let statement = match (run.analysis.statements.get(index), run.analysis.unreadable) {
            (Some(statement), _) => Ok(statement),
            (None, Some(reason)) => Err(reason),
            (None, None) => return None,
        };
        if let (Some(rows), Some(captured)) =
            (tag.as_ref().and_then(CommandTag::rows), run.captured(index))
        {
            let count = usize::try_from(rows).unwrap_or(usize::MAX);
            self.capture.captured_statement(&captured);
            self.capture.saw_rows(&run.analysis, count);
        }
        if text == b"ALTER TABLE" && statement.is_ok_and(|it| it.session == SessionEffect::Ddl) {
            self.reshaping = self.reshaping.saturating_sub(1);
        }
        self.forget_names(statement.ok());
        if let Ok(statement) = statement {
            self.follow_savepoints(&statement.transaction);
        }
        self.log.completed(statement, text)
    }

    fn forget_names(&mut self, statement: Option<&Statement>) {
        match statement.map(|it| &it.session) {
            Some(SessionEffect::Deallocates(name)) => self.statements.forget(name.as_bytes()),
            Some(SessionEffect::DeallocatesAll | SessionEffect::DiscardsAll) => {
                self.statements.forget_all();
            }
            Some(
                SessionEffect::None
                | SessionEffect::Changes
                | SessionEffect::Ddl
                | SessionEffect::Chooses(_),
            )
            | None => (),
        }
    }

    fn suspended(&mut self, note: &Note) {
        let statement = match note {
            Note::Run(run) => run.analysis.statements.first(),
            Note::Nothing
            | Note::Statement(..)
            | Note::Portal(_)
            | Note::Opaque(..)
            | Note::StandsIn(_) => None,
        };
        self.log.suspended(statement.map(|it| &it.write));
    }

    fn ready(&mut self, status: TransactionStatus) -> Option<Delivery> {
        self.moved = false;
        match status {
            TransactionStatus::Idle => {
                // Portals end with their transaction.
                self.portals.forget_all();
                self.savepoints.clear();
                self.reshaping = 0;
                self.forget_choice();
                self.log.ready(Ready::Idle)
            }
            TransactionStatus::InTransaction | TransactionStatus::Failed => {
                self.log.ready(Ready::InBlock)
            }
        }
    }
}
