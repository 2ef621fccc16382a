//! Texts of any number of statements.

use super::super::super::captured::session_state;
use super::statement::{Fault, Kind, Statement, statements};
use super::{Block, Failure, Reading, Server};
use crate::capture::Capture;

impl Server {
    pub(super) fn query(&mut self, body: &[u8]) {
        let text = body.strip_suffix(b"\0").unwrap();
        if text == Capture::session_query().as_bytes() {
            assert_eq!(self.block, Block::Outside, "it was asked too soon");
            self.out.extend(session_state());
            return;
        }
        self.prepared.remove(&b""[..]);
        let Some(statements) = statements(text) else {
            let mut failure = Failure::new("42601", "syntax error");
            failure.position = Some(1);
            self.fail(&failure);
            self.ready();
            return;
        };
        if statements.is_empty() {
            self.say(b'I', b"");
        }
        self.rewritten += usize::from(text.windows(7).any(|it| it == b"__segue"));
        self.run_simple(statements);
    }

    /// Runs what is left of a text.
    pub(super) fn run_simple(&mut self, statements: Vec<Statement>) {
        let mut statements = statements.into_iter();
        while let Some(statement) = statements.next() {
            match self.run_one(&statement) {
                Ok(()) if statement.kind == Kind::CopyIn => {
                    self.say(b'G', &[0, 0, 0]);
                    self.reading = Reading::Copy {
                        pieces: 0,
                        rest: Some(statements.collect()),
                    };
                    return;
                }
                Ok(()) => (),
                Err(failure) => {
                    self.fail(&failure);
                    break;
                }
            }
        }
        if self.block == Block::Implicit {
            self.leave(Block::Outside);
        }
        self.ready();
    }

    fn run_one(&mut self, statement: &Statement) -> Result<(), Failure> {
        if self.block == Block::Outside {
            self.block = Block::Implicit;
        }
        let may_run = self.block != Block::Failed || statement.ends_failure();
        match statement.fault {
            Some(Fault::Analysis(place)) if may_run => return Err(Failure::unknown(place)),
            None if may_run && statement.parameters > 0 => {
                return Err(Failure::new("42P02", "there is no parameter $1"));
            }
            Some(Fault::Analysis(_) | Fault::Execution) | None => (),
        }
        if may_run {
            self.portals.remove(&b""[..]);
        }
        self.effect(statement)?;
        let is_write = matches!(statement.kind, Kind::Write(_));
        // What a write returns is kept until all of it is done.
        if is_write && statement.fault.is_some() {
            return Err(Failure::division());
        }
        if !statement.columns.is_empty() {
            self.out.extend(statement.description(&[]));
        }
        if statement.fault.is_some() {
            return Err(Failure::division());
        }
        if !statement.columns.is_empty() {
            for row in 0..statement.rows {
                self.out.extend(statement.row(row, &[]));
            }
        }
        if statement.kind == Kind::CopyOut {
            self.copy_out();
        }
        if statement.kind != Kind::CopyIn {
            self.complete(&statement.tag(statement.rows));
        }
        Ok(())
    }
}

impl Failure {
    pub(super) fn unknown(place: usize) -> Self {
        let mut failure = Self::new("42703", "there is no such column");
        failure.position = Some(place);
        failure
    }

    pub(super) fn division() -> Self {
        Self::new("22012", "division by zero")
    }
}
