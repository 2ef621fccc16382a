//! A server, as far as its wire goes: it answers what it is sent as PostgreSQL does, in order and at
//! once. What it does follows from the texts alone, so that two of them that hear the same say the
//! same; asked for a hidden column, it gives one.
//!
//! Does not store anything but names and where its transaction stands.

mod extended;
mod simple;
mod statement;

use std::collections::HashMap;

use bytes::BytesMut;
use protocol::wire::frame::Frame;

use super::super::frame;
use extended::{Portal, Prepared};
use statement::{Kind, Statement};

/// Where its transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    /// In none.
    Outside,
    /// Extended requests have run, and their Sync has not come.
    Implicit,
    Open,
    Failed,
}

/// What it reads frames as.
#[derive(Debug)]
enum Reading {
    Requests,
    /// Only a Sync matters.
    ToSync,
    Copy {
        pieces: usize,
        /// What is left of a simple query; nothing for an extended one.
        rest: Option<Vec<Statement>>,
    },
}

/// Why a request fails.
struct Failure {
    sqlstate: &'static str,
    message: String,
    position: Option<usize>,
}

impl Failure {
    fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self {
            sqlstate,
            message: message.into(),
            position: None,
        }
    }

    fn aborted() -> Self {
        Self::new("25P02", "current transaction is aborted")
    }
}

#[derive(Debug)]
pub(super) struct Server {
    input: BytesMut,
    out: Vec<u8>,
    reading: Reading,
    block: Block,
    savepoints: usize,
    prepared: HashMap<Vec<u8>, Prepared>,
    portals: HashMap<Vec<u8>, Portal>,
    /// What comes before the next ReadyForQuery.
    reports: Vec<u8>,
    /// What comes behind it.
    trailing: Vec<u8>,
    /// Texts with a hidden column that it was sent.
    pub(super) rewritten: usize,
    pub(super) has_ended: bool,
}

impl Server {
    /// One that has let its client in.
    pub(super) fn new() -> Self {
        Self {
            input: BytesMut::new(),
            out: Vec::new(),
            reading: Reading::Requests,
            block: Block::Outside,
            savepoints: 0,
            prepared: HashMap::new(),
            portals: HashMap::new(),
            reports: Vec::new(),
            trailing: Vec::new(),
            rewritten: 0,
            has_ended: false,
        }
    }

    /// Hears some bytes and says what it has to say to them.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.input.extend_from_slice(bytes);
        while let Some(request) = Frame::split(&mut self.input).unwrap() {
            self.take(request.tag(), &request.body());
        }
        std::mem::take(&mut self.out)
    }

    /// Whether it waits for COPY data.
    pub(super) const fn is_copying(&self) -> bool {
        matches!(self.reading, Reading::Copy { .. })
    }

    /// Whether it passes over everything up to a Sync.
    pub(super) const fn is_skipping(&self) -> bool {
        matches!(self.reading, Reading::ToSync)
    }

    fn take(&mut self, tag: u8, body: &[u8]) {
        match (&self.reading, tag) {
            (_, b'X') => self.has_ended = true,
            (Reading::Copy { .. }, _) => self.take_copying(tag, body),
            (_, b'S') => self.sync(),
            // Besides what is skipped: data of a COPY that never began.
            (Reading::ToSync, _) | (Reading::Requests, b'H' | b'd' | b'c' | b'f') => (),
            (Reading::Requests, b'Q') => self.query(body),
            (Reading::Requests, b'F') => self.function(),
            (Reading::Requests, other) => self.extended(other, body),
        }
    }

    fn take_copying(&mut self, tag: u8, body: &[u8]) {
        match (&mut self.reading, tag) {
            (Reading::Copy { pieces, .. }, b'd') if body != b"bad\n" => *pieces += 1,
            (_, b'H' | b'S') => (),
            (_, b'c') => self.copied(),
            (_, b'd' | b'f') => self.copy_failed(),
            (_, other) => panic!("the client sent {} in COPY", char::from(other)),
        }
    }

    fn say(&mut self, tag: u8, body: &[u8]) {
        self.out.extend(frame(tag, body));
    }

    fn complete(&mut self, tag: &str) {
        self.say(b'C', format!("{tag}\0").as_bytes());
    }

    fn notice(&mut self, words: &str) {
        let body = format!("SNOTICE\0VNOTICE\0C00000\0M{words}\0\0");
        self.say(b'N', body.as_bytes());
    }

    fn sync(&mut self) {
        self.reading = Reading::Requests;
        if self.block == Block::Implicit {
            self.leave(Block::Outside);
        }
        self.ready();
    }

    /// Its transaction is over.
    fn leave(&mut self, block: Block) {
        self.block = block;
        self.portals.clear();
        self.savepoints = 0;
    }

    fn ready(&mut self) {
        let status = match self.block {
            Block::Outside | Block::Implicit => b'I',
            Block::Open => b'T',
            Block::Failed => b'E',
        };
        let reports = std::mem::take(&mut self.reports);
        self.out.extend(reports);
        self.say(b'Z', &[status]);
        let trailing = std::mem::take(&mut self.trailing);
        self.out.extend(trailing);
    }

    fn fail(&mut self, failure: &Failure) {
        let position = failure.position.map(|at| format!("P{at}\0"));
        let body = format!(
            "SERROR\0VERROR\0C{}\0M{}\0{}\0",
            failure.sqlstate,
            failure.message,
            position.unwrap_or_default()
        );
        self.say(b'E', body.as_bytes());
        match self.block {
            Block::Outside | Block::Implicit => self.leave(Block::Outside),
            Block::Open | Block::Failed => self.block = Block::Failed,
        }
    }

    fn function(&mut self) {
        if self.block == Block::Failed {
            self.fail(&Failure::aborted());
        } else {
            self.say(b'V', &[0, 0, 0, 1, b'1']);
            if self.block == Block::Implicit {
                self.leave(Block::Outside);
            }
        }
        self.ready();
    }

    fn copied(&mut self) {
        let Reading::Copy { pieces, rest } =
            std::mem::replace(&mut self.reading, Reading::Requests)
        else {
            return;
        };
        self.complete(&format!("COPY {pieces}"));
        if let Some(rest) = rest {
            self.run_simple(rest);
        }
    }

    fn copy_failed(&mut self) {
        let reading = std::mem::replace(&mut self.reading, Reading::ToSync);
        self.fail(&Failure::new("22P04", "that is no data"));
        if let Reading::Copy { rest: Some(_), .. } = reading {
            self.reading = Reading::Requests;
            self.ready();
        }
    }

    /// What a statement does besides its rows.
    fn effect(&mut self, statement: &Statement) -> Result<(), Failure> {
        if self.block == Block::Failed && !statement.ends_failure() {
            return Err(Failure::aborted());
        }
        if statement.notices {
            self.notice("heard");
            self.say(b'!', b"of the future");
        }
        if statement.notifies {
            self.reports.extend(frame(b'A', b"\0\0\0\x09c\0payload\0"));
        }
        if statement.trails {
            self.trailing.extend(frame(b'A', b"\0\0\0\x09c\0late\0"));
            self.trailing.extend(frame(b'S', b"TimeZone\0UTC\0"));
        }
        let is_open = matches!(self.block, Block::Open | Block::Failed);
        match &statement.kind {
            Kind::Begin if is_open => self.notice("there is already a transaction"),
            Kind::Commit | Kind::Rollback if is_open => self.leave(Block::Outside),
            Kind::Commit | Kind::Rollback => self.notice("there is no transaction"),
            Kind::Savepoint | Kind::RollbackTo if !is_open => {
                return Err(Failure::new("25P01", "not in a transaction"));
            }
            Kind::Savepoint => self.savepoints += 1,
            Kind::RollbackTo if self.savepoints == 0 => {
                return Err(Failure::new("3B001", "no such savepoint"));
            }
            Kind::Begin | Kind::RollbackTo => self.block = Block::Open,
            Kind::Reported(name) => {
                let status = frame(b'S', format!("{name}\0new\0").as_bytes());
                self.reports.extend(status);
            }
            Kind::DeallocateAll => self.prepared.retain(|name, _| name.is_empty()),
            Kind::Deallocate => {
                if self.prepared.remove(&b"a"[..]).is_none() {
                    return Err(Failure::new("26000", "there is no a"));
                }
            }
            Kind::Select | Kind::Write(_) | Kind::CopyIn | Kind::CopyOut | Kind::Other(_) => (),
        }
        Ok(())
    }

    fn copy_out(&mut self) {
        self.say(b'H', &[0, 0, 0]);
        for row in ["1\t\\N\n", "2\tx\n"] {
            self.say(b'd', row.as_bytes());
        }
        self.say(b'c', b"");
    }
}
