//! Which request each reply belongs to, and what becomes of it: the heart of the proxy.
//!
//! Every frame that is sent to the server and will be answered is pushed; every frame that comes
//! back asks the queue, which says whether it is forwarded, dropped or loses a hidden column, and
//! which request it ends. Nothing is ever ignored: a reply that nothing asked for is an error.
//!
//! What makes pairing hard, and where it is decided:
//! - an error in an extended request makes the server skip everything up to the next Sync, also
//!   what has not been sent yet (`skip`);
//! - in COPY from the client the server swallows Sync ([`copy`]);
//! - notices, parameters and notifications come at any time and belong to nothing.
//!
//! Pure: it sees tags, not bytes. Does not know statements: what a request means to the session
//! travels with it as a [`Note`] and comes back in the [`Event`].

mod copy;
#[cfg(test)]
mod model;
mod reply;
#[cfg(test)]
mod tests;

pub use reply::{Action, Ends, Event, Reply, UnexpectedReply};

use std::collections::VecDeque;

/// What will be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// The startup packet, answered up to the first ReadyForQuery.
    Startup,
    /// A text of any number of statements.
    Query,
    /// A call of a function by its OID.
    FunctionCall,
    /// Makes a statement.
    Parse,
    /// Makes a portal.
    Bind,
    /// Asks what a statement takes and returns.
    DescribeStatement,
    /// Asks what a portal returns.
    DescribePortal,
    /// Runs a portal.
    Execute,
    /// Forgets a statement or portal.
    Close,
    /// Ends a group of extended requests.
    Sync,
    /// CopyDone or CopyFail: answered only through the COPY that it ends, else ignored.
    CopyEnd,
}

impl Request {
    /// Whether an error in it makes the server skip up to the next Sync.
    const fn is_extended(self) -> bool {
        match self {
            Self::Parse
            | Self::Bind
            | Self::DescribeStatement
            | Self::DescribePortal
            | Self::Execute
            | Self::Close => true,
            Self::Startup | Self::Query | Self::FunctionCall | Self::Sync | Self::CopyEnd => false,
        }
    }
}

/// What of a statement's rows is the proxy's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// Nothing.
    Absent,
    /// The last column.
    LastColumn,
    /// All: the client's statement returns no rows.
    WholeRow,
}

/// What the session keeps with a request, handed back when it ends.
pub trait Note: Clone {
    /// What is hidden in the rows of the request's statement with this index (always 0 in the
    /// extended protocol).
    fn hidden(&self, statement: usize) -> Hidden;
}

impl Note for () {
    fn hidden(&self, _statement: usize) -> Hidden {
        Hidden::Absent
    }
}

/// Whose request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    Client,
    /// The proxy itself: the client must not see the answer.
    Proxy,
}

/// A request that has not been answered in full.
#[derive(Debug, Clone)]
struct Entry<N> {
    request: Request,
    asker: Asker,
    /// How many statements of a simple query have ended.
    statement: usize,
    /// Something has been said to it.
    touched: bool,
    /// The running statement's rows turned out to hold no hidden column.
    plain: bool,
    note: N,
}

impl<N: Note> Entry<N> {
    fn hidden(&self) -> Hidden {
        if self.plain {
            Hidden::Absent
        } else {
            self.note.hidden(self.statement)
        }
    }

    fn next_statement(&mut self) {
        self.statement += 1;
        self.plain = false;
    }
}

/// The requests of one server connection that have not been answered in full.
#[derive(Debug)]
pub struct ReplyQueue<N> {
    entries: VecDeque<Entry<N>>,
    /// An extended request failed and the server has not seen a Sync since.
    skipping: bool,
    /// Extended requests have been answered since the last ReadyForQuery: a transaction may be open
    /// that no ReadyForQuery has told of, and that a simple query would commit.
    within_batch: bool,
    copy: copy::CopyIn,
}

impl<N: Note> ReplyQueue<N> {
    /// A connection on which nothing has been asked.
    pub fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            skipping: false,
            within_batch: false,
            copy: copy::CopyIn::default(),
        }
    }

    /// Notes that `request` was sent for the client.
    pub fn push(&mut self, request: Request, note: N) {
        self.push_as(Asker::Client, request, note);
    }

    /// Notes that `request` was sent for the proxy itself: its replies are dropped, except an
    /// error of an extended request, which stands for what the client's next one would have got.
    pub fn push_own(&mut self, request: Request, note: N) {
        self.push_as(Asker::Proxy, request, note);
    }

    fn push_as(&mut self, asker: Asker, request: Request, note: N) {
        if self.skipping && request != Request::Sync {
            return;
        }
        if self.copy.swallows(request) {
            return;
        }
        if request == Request::CopyEnd && self.entries.is_empty() {
            return;
        }
        self.skipping = false;
        self.entries.push_back(Entry {
            request,
            asker,
            statement: 0,
            touched: false,
            plain: false,
            note,
        });
    }

    /// How many requests wait for replies. The session stops reading from the client over a bound.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no request waits for replies.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether everything sent was answered, up to a ReadyForQuery: what is sent now begins anew.
    pub fn is_idle(&self) -> bool {
        !self.skipping
            && !self.within_batch
            && self.copy.is_closed()
            && self
                .entries
                .iter()
                .all(|entry| entry.request == Request::CopyEnd)
    }

    /// Whether something was sent that will be answered up to a ReadyForQuery without another word
    /// of the client's, as far as is known: it may turn out to be a COPY, which then is not.
    pub fn is_complete(&self) -> bool {
        let last = self.entries.back().map(|entry| entry.request);
        let ends = matches!(
            last,
            Some(Request::Query | Request::FunctionCall | Request::Sync | Request::Startup)
        );
        ends && self.copy.is_closed()
    }

    /// Whether a ReadyForQuery is still to come for what was sent: until then an earlier failure may
    /// not have been heard of.
    pub fn awaits_ready(&self) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| {
            matches!(
                entry.request,
                Request::Startup | Request::Query | Request::FunctionCall | Request::Sync
            )
        })
    }

    /// Whether something that runs statements waits for its answer.
    pub fn runs_anything(&self) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| {
            matches!(
                entry.request,
                Request::Query | Request::FunctionCall | Request::Execute
            )
        })
    }

    /// Whether the server will skip what is sent now, unless it is a Sync.
    pub fn is_skipping(&self) -> bool {
        self.skipping
    }

    /// The request that is being answered, and the index of its running statement.
    pub fn current(&self) -> Option<(&N, usize)> {
        let entry = self
            .entries
            .iter()
            .find(|entry| entry.request != Request::CopyEnd)?;
        Some((&entry.note, entry.statement))
    }

    /// Whether what is being answered was asked by the proxy itself.
    pub fn answers_own(&self) -> bool {
        let mut entries = self.entries.iter();
        entries
            .find(|entry| entry.request != Request::CopyEnd)
            .is_some_and(|entry| entry.asker == Asker::Proxy)
    }

    /// Whether the next frame may not go to the client as it comes.
    pub fn rewrites(&self) -> bool {
        let mut entries = self.entries.iter();
        entries
            .find(|entry| entry.request != Request::CopyEnd)
            .is_some_and(|entry| entry.asker == Asker::Proxy || entry.hidden() != Hidden::Absent)
    }

    /// Whether any request that waits for replies is the proxy's own, or has something hidden in them.
    pub fn hides_anything(&self) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.asker == Asker::Proxy || entry.hidden() != Hidden::Absent)
    }

    /// The running statement's rows hold no hidden column after all: they are the client's.
    pub fn nothing_hidden(&mut self) {
        if let Some(entry) = self.entries.front_mut() {
            entry.plain = true;
        }
    }

    /// The server skips up to the next Sync: forgets what it will not answer.
    #[cold]
    fn skip(&mut self) -> Vec<N> {
        let is_sync = |entry: &Entry<N>| entry.request == Request::Sync;
        let sync = self.entries.iter().position(is_sync);
        self.skipping = sync.is_none();
        let skipped = self.entries.drain(..sync.unwrap_or(self.entries.len()));
        skipped.map(|entry| entry.note).collect()
    }

    /// Markers of COPYs that never began, or failed, are void once nothing stands before them.
    fn drop_void_markers(&mut self) {
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.request == Request::CopyEnd)
        {
            self.entries.pop_front();
        }
    }
}

impl<N: Note> Default for ReplyQueue<N> {
    fn default() -> Self {
        Self::new()
    }
}
