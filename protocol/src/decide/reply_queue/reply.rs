//! What becomes of each backend frame.

use super::{Asker, Entry, Hidden, Note, ReplyQueue, Request};
use crate::wire::backend::{Severity, Tag};

/// What is done with a frame from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It goes to the client as it came.
    Forward,
    /// It is not the client's.
    Drop,
    /// A RowDescription or DataRow whose last column is taken off before it goes to the client.
    CutColumn,
    /// A RowDescription in whose place the client gets NoData.
    NoData,
    /// A RowDescription of only the hidden column.
    TakeDescription,
    /// A DataRow that holds only the hidden column.
    TakeRow,
    /// A DataRow of the proxy's own query.
    OwnRow,
}

/// What a frame from the server means to the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<N> {
    /// Nothing that the session has to know.
    None,
    /// A Parse, Bind, Describe or Close has succeeded.
    Answered(N),
    /// A statement, or a function call, has ended.
    Completed {
        /// The request that it belongs to.
        note: N,
        /// Its index in the request's text.
        statement: usize,
    },
    /// A portal's row limit was reached.
    Suspended(N),
    /// A request has failed.
    Failed {
        /// The request; `None` if none was being answered.
        note: Option<N>,
        /// The index of the statement that failed.
        statement: usize,
        /// Requests that the server will not answer, in the order they were sent.
        skipped: Vec<N>,
    },
    /// The server waits for the next request.
    Ready,
    /// The proxy's own query is over.
    OwnReady,
    /// The proxy's own query has failed.
    OwnFailed,
    /// The server ends the connection.
    Fatal,
}

/// What the queue says to a frame from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<N> {
    /// What is done with it.
    pub action: Action,
    /// What it means.
    pub event: Event<N>,
}

impl<N> Reply<N> {
    const fn forward(event: Event<N>) -> Self {
        Self {
            action: Action::Forward,
            event,
        }
    }
}

/// What a frame from the server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Nothing that the session has to know.
    Nothing,
    /// A Parse, Bind, Describe or Close, which has succeeded.
    Request,
    /// A statement, or a function call.
    Statement,
    /// An Execute whose row limit was reached.
    Portal,
    /// What was asked up to here: the server waits for the next request.
    All,
    /// The proxy's own query.
    Own,
}

/// What becomes of a frame from the server, and what it ends.
#[derive(Debug, Clone, Copy)]
struct Step {
    action: Action,
    ends: Ends,
}

impl Step {
    const fn only(action: Action) -> Self {
        Self {
            action,
            ends: Ends::Nothing,
        }
    }

    /// Something that was asked by `asker` has been answered with this.
    const fn answered(asker: Asker, action: Action, ends: Ends) -> Self {
        let action = match asker {
            Asker::Client => action,
            Asker::Proxy => Action::Drop,
        };
        Self { action, ends }
    }
}

/// The server said something that nothing had asked for: requests and replies can no longer be
/// paired on this connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server sent {tag:?}, expected was the answer to {expected:?}")]
pub struct UnexpectedReply {
    /// What came.
    pub tag: Tag,
    /// The request that was being answered.
    pub expected: Option<Request>,
}

impl<N: Note> ReplyQueue<N> {
    /// Says what becomes of the next frame from the server. Errors go to [`Self::error`].
    pub fn reply(&mut self, tag: Tag) -> Result<Reply<N>, UnexpectedReply> {
        let Step { action, ends } = self.step(tag)?;
        let event = match ends {
            Ends::Nothing => Event::None,
            Ends::Request => self.pop_request().map_or(Event::None, Event::Answered),
            Ends::Portal => self.pop_request().map_or(Event::None, Event::Suspended),
            Ends::Statement => self.completed(),
            Ends::All => Event::Ready,
            Ends::Own => Event::OwnReady,
        };
        Ok(Reply { action, event })
    }

    /// As [`Self::reply`] for a session that keeps no notes, so that every frame goes to the client
    /// as it came: only what the frame ends. Errors go to [`Self::error`].
    pub fn pass(&mut self, tag: Tag) -> Result<Ends, UnexpectedReply> {
        let Step { ends, .. } = self.step(tag)?;
        match ends {
            Ends::Nothing | Ends::All | Ends::Own => (),
            Ends::Request | Ends::Portal => drop(self.pop_request()),
            Ends::Statement => self.end_statement(),
        }
        Ok(ends)
    }

    /// What becomes of the next frame, and what it ends; a request with a note is not taken off yet.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what is not expected is refused, whatever it is"
    )]
    fn step(&mut self, tag: Tag) -> Result<Step, UnexpectedReply> {
        match tag {
            Tag::NoticeResponse
            | Tag::ParameterStatus
            | Tag::NotificationResponse
            | Tag::Unknown(_) => return Ok(Step::only(Action::Forward)),
            Tag::ReadyForQuery => return self.ready(),
            _ => (),
        }
        self.drop_void_markers();
        let Some(front) = self.entries.front_mut() else {
            return Err(UnexpectedReply {
                tag,
                expected: None,
            });
        };
        match (front.request, tag) {
            (Request::Startup, _) => Ok(Step::only(Action::Forward)),
            (Request::Parse, Tag::ParseComplete)
            | (Request::Bind, Tag::BindComplete)
            | (Request::Close, Tag::CloseComplete)
            | (Request::DescribeStatement | Request::DescribePortal, Tag::NoData) => {
                Ok(Step::answered(front.asker, Action::Forward, Ends::Request))
            }
            (Request::DescribeStatement | Request::DescribePortal, Tag::RowDescription) => {
                let action = match front.hidden() {
                    Hidden::Absent => Action::Forward,
                    Hidden::LastColumn => Action::CutColumn,
                    Hidden::WholeRow => Action::NoData,
                };
                Ok(Step::answered(front.asker, action, Ends::Request))
            }
            (Request::DescribeStatement, Tag::ParameterDescription) => {
                Ok(Step::answered(front.asker, Action::Forward, Ends::Nothing))
            }
            (Request::FunctionCall, Tag::FunctionCallResponse) => Ok(Step::answered(
                front.asker,
                Action::Forward,
                Ends::Statement,
            )),
            (Request::Query | Request::Execute, _) => self.statement(tag),
            (expected, _) => Err(UnexpectedReply {
                tag,
                expected: Some(expected),
            }),
        }
    }

    /// Says what becomes of an ErrorResponse.
    #[cold]
    pub fn error(&mut self, severity: Severity) -> Reply<N> {
        if severity == Severity::Fatal {
            return Reply::forward(Event::Fatal);
        }
        self.drop_void_markers();
        self.copy.failed();
        let Some(front) = self.entries.front_mut() else {
            return Reply::forward(Event::Failed {
                note: None,
                statement: 0,
                skipped: Vec::new(),
            });
        };
        front.touched = true;
        if front.asker == Asker::Proxy && front.request == Request::Query {
            return Reply {
                action: Action::Drop,
                event: Event::OwnFailed,
            };
        }
        let (note, statement) = (Some(front.note.clone()), front.statement);
        let mut skipped = Vec::new();
        if front.request.is_extended() {
            self.entries.pop_front();
            skipped = self.skip();
        }
        Reply::forward(Event::Failed {
            note,
            statement,
            skipped,
        })
    }

    /// A frame in answer to a running statement.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what is not expected is refused, whatever it is"
    )]
    fn statement(&mut self, tag: Tag) -> Result<Step, UnexpectedReply> {
        let Some(front) = self.entries.front_mut() else {
            return Err(UnexpectedReply {
                tag,
                expected: None,
            });
        };
        let (expected, asker) = (front.request, front.asker);
        front.touched = true;
        match tag {
            Tag::DataRow => Ok(Step::only(row(front))),
            Tag::RowDescription if expected == Request::Query => Ok(Step::only(columns(front))),
            Tag::CommandComplete | Tag::EmptyQueryResponse => {
                Ok(Step::answered(asker, Action::Forward, Ends::Statement))
            }
            Tag::PortalSuspended if expected == Request::Execute => {
                Ok(Step::answered(asker, Action::Forward, Ends::Portal))
            }
            Tag::CopyInResponse | Tag::CopyBothResponse => {
                self.copy.begin(&mut self.entries);
                Ok(Step::only(Action::Forward))
            }
            Tag::CopyOutResponse | Tag::CopyData | Tag::CopyDone => Ok(Step::only(Action::Forward)),
            _ => Err(UnexpectedReply {
                tag,
                expected: Some(expected),
            }),
        }
    }

    fn ready(&mut self) -> Result<Step, UnexpectedReply> {
        self.drop_void_markers();
        self.within_batch = false;
        // Every query is told something before it is over.
        let front = self.entries.front();
        let is_before = front.is_some_and(|it| it.request == Request::Query && !it.touched);
        if is_before && self.copy.late_sync() {
            return Ok(Step {
                action: Action::Forward,
                ends: Ends::All,
            });
        }
        let front = front.map(|entry| (entry.request, entry.asker));
        match front {
            Some(
                (Request::Startup | Request::FunctionCall | Request::Sync, _)
                | (Request::Query, Asker::Client),
            ) => {
                self.entries.pop_front();
                Ok(Step {
                    action: Action::Forward,
                    ends: Ends::All,
                })
            }
            Some((Request::Query, Asker::Proxy)) => {
                self.entries.pop_front();
                Ok(Step {
                    action: Action::Drop,
                    ends: Ends::Own,
                })
            }
            _ if self.copy.late_sync() => {
                self.skipping = false;
                Ok(Step {
                    action: Action::Forward,
                    ends: Ends::All,
                })
            }
            _ => Err(UnexpectedReply {
                tag: Tag::ReadyForQuery,
                expected: front.map(|(request, _)| request),
            }),
        }
    }

    /// A statement has ended; in the extended protocol, so has its request.
    fn completed(&mut self) -> Event<N> {
        let front = self.entries.front();
        let event = match front.filter(|entry| entry.asker == Asker::Client) {
            None => Event::None,
            Some(entry) => Event::Completed {
                note: entry.note.clone(),
                statement: entry.statement,
            },
        };
        self.end_statement();
        event
    }

    fn end_statement(&mut self) {
        self.copy.completed();
        match self.entries.front_mut() {
            Some(front) if front.request != Request::Execute => front.next_statement(),
            Some(_) => {
                self.within_batch = true;
                self.entries.pop_front();
            }
            None => (),
        }
    }

    /// The request at the front has been answered in full.
    fn pop_request(&mut self) -> Option<N> {
        self.copy.completed();
        self.within_batch = true;
        self.entries.pop_front().map(|entry| entry.note)
    }
}

fn row<N: Note>(entry: &Entry<N>) -> Action {
    match (entry.asker, entry.hidden()) {
        (Asker::Proxy, _) => Action::OwnRow,
        (Asker::Client, Hidden::Absent) => Action::Forward,
        (Asker::Client, Hidden::LastColumn) => Action::CutColumn,
        (Asker::Client, Hidden::WholeRow) => Action::TakeRow,
    }
}

fn columns<N: Note>(entry: &Entry<N>) -> Action {
    match (entry.asker, entry.hidden()) {
        (Asker::Client, Hidden::Absent) => Action::Forward,
        (Asker::Client, Hidden::LastColumn) => Action::CutColumn,
        (Asker::Client, Hidden::WholeRow) => Action::TakeDescription,
        (Asker::Proxy, _) => Action::Drop,
    }
}
