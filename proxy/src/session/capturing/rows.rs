//! Taking the hidden column off rows and their descriptions.
//!
//! The column is looked for before it is taken: a row that has none is the client's. Does not map
//! rows to tables.

use bytes::Bytes;
use protocol::decide::reply_queue::{Action, ReplyQueue};
use protocol::decide::statement::{HIDDEN_COLUMN, SessionKnowledge};
use protocol::wire::backend::{DataRow, RowDescription, no_data};
use protocol::wire::frame::Header;

use super::note::{Run, Trust};
use super::{Capturing, Inquiry, Note};
use crate::capture::Capture;
use crate::session::channel::Channel;

impl Capturing {
    /// A row that is not, or not as a whole, the client's.
    pub(in crate::session) fn row(
        &mut self,
        action: Action,
        header: Header,
        channel: &mut Channel,
        queue: &mut ReplyQueue<Note>,
    ) {
        let body = channel.copy_body(header);
        if action == Action::OwnRow {
            channel.discard(header);
            self.read_session(body);
            return;
        }
        let Some((Note::Run(run), statement)) = queue.current() else {
            channel.approve(header);
            return;
        };
        match DataRow::cut_last(body) {
            Ok(cut) => {
                self.captured(&run.clone(), statement, cut.last.as_ref());
                channel.discard(header);
                if action == Action::CutColumn {
                    cut.encode(channel.insert());
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a row had no hidden column");
                queue.nothing_hidden();
                channel.approve(header);
            }
        }
    }

    fn captured(&mut self, run: &Run, statement: usize, value: Option<&Bytes>) {
        let Some(captured) = run.captured(statement) else {
            return;
        };
        match run.trust {
            Trust::Kept => self.log.row(captured, value, run.format),
            Trust::Lost => self.log.untrusted(),
        }
    }

    fn read_session(&mut self, body: Bytes) {
        if let Ok(row) = DataRow::decode(body) {
            self.knowledge = Capture::read_session(&row.columns);
            self.log.on_timeline(self.knowledge.timeline());
        }
    }

    /// Our own query is over: the client's requests go on.
    pub(in crate::session) fn asked(&mut self) {
        self.inquiry = match self.knowledge {
            SessionKnowledge::Known { .. } => Inquiry::Due,
            SessionKnowledge::Unknown => Inquiry::Vain,
        };
    }
}

/// A description of rows of which the last column is hidden.
pub(in crate::session) fn describe(
    action: Action,
    header: Header,
    channel: &mut Channel,
    queue: &mut ReplyQueue<Note>,
) {
    let description = RowDescription::decode(channel.copy_body(header));
    let hidden = description.ok().and_then(|mut description| {
        let last = description.fields.pop()?;
        (last.name == HIDDEN_COLUMN.as_bytes()).then_some(description)
    });
    let Some(description) = hidden else {
        tracing::warn!("a result had no hidden column");
        queue.nothing_hidden();
        channel.approve(header);
        return;
    };
    channel.discard(header);
    match action {
        Action::CutColumn => description.encode(channel.insert()),
        Action::NoData => no_data(channel.insert()),
        Action::Forward
        | Action::Drop
        | Action::TakeDescription
        | Action::TakeRow
        | Action::OwnRow => (),
    }
}
