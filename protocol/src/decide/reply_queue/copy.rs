//! COPY from the client: while it lasts the server reads data and swallows Sync and Flush.
//!
//! A client may have sent Sync right behind Execute without knowing that it runs a COPY (libpq
//! does): that Sync is never answered. Where a COPY fails, the replies do not say how many of the
//! Syncs in it the server had read before: those that it had not are answered late, and the queue
//! accepts that many further ReadyForQuery.

use std::collections::VecDeque;

use super::{Entry, Request};

/// Where the server is with a COPY from the client.
#[derive(Debug, Default)]
pub(super) struct CopyIn {
    /// The server reads COPY data, and the client has not sent the end of it.
    open: bool,
    /// Syncs that the server has swallowed or will.
    swallowed: usize,
    /// Syncs of a failed COPY that may still be answered.
    late: usize,
}

impl CopyIn {
    /// The server began to read COPY data for the request at the front.
    pub(super) fn begin<N>(&mut self, entries: &mut VecDeque<Entry<N>>) {
        self.open = true;
        while let Some(request) = entries.get(1).map(|entry| entry.request) {
            match request {
                Request::Sync => self.swallowed += 1,
                Request::CopyEnd => self.open = false,
                // Anything else here makes the server end the connection.
                Request::Startup
                | Request::Query
                | Request::FunctionCall
                | Request::Parse
                | Request::Bind
                | Request::DescribeStatement
                | Request::DescribePortal
                | Request::Execute
                | Request::Close => break,
            }
            entries.remove(1);
            if !self.open {
                break;
            }
        }
    }

    /// Whether the server, reading COPY data, will not answer `request`.
    pub(super) fn swallows(&mut self, request: Request) -> bool {
        if !self.open {
            return false;
        }
        match request {
            Request::Sync => self.swallowed += 1,
            Request::CopyEnd => self.open = false,
            Request::Startup
            | Request::Query
            | Request::FunctionCall
            | Request::Parse
            | Request::Bind
            | Request::DescribeStatement
            | Request::DescribePortal
            | Request::Execute
            | Request::Close => return false,
        }
        true
    }

    /// The statement has ended: a COPY in it had read everything.
    pub(super) fn completed(&mut self) {
        *self = Self::default();
    }

    /// The statement has failed, with a COPY in it perhaps not read to its end.
    #[cold]
    pub(super) fn failed(&mut self) {
        self.open = false;
        self.late += std::mem::take(&mut self.swallowed);
    }

    /// Takes one of the Syncs that may still be answered.
    #[cold]
    pub(super) fn late_sync(&mut self) -> bool {
        let is_late = self.late > 0;
        self.late = self.late.saturating_sub(1);
        is_late
    }

    /// Whether no COPY data is being read.
    pub(super) fn is_closed(&self) -> bool {
        !self.open
    }
}
