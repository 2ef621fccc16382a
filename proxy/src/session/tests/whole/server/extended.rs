//! Statements and portals by name.

use std::rc::Rc;

use bytes::Bytes;
use protocol::wire::frontend::{Bind, Close, Describe, Execute, Named, Parse};

use super::statement::{Fault, Kind, Statement, statements};
use super::{Block, Failure, Reading, Server};

/// A statement that was parsed; nothing if its text is empty.
pub(super) type Prepared = Option<Rc<Statement>>;

#[derive(Debug)]
pub(super) struct Portal {
    statement: Prepared,
    formats: Vec<i16>,
    /// How many rows have been handed out.
    place: usize,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Bound,
    /// A write has been done, and its rows are kept.
    Ran,
    Done,
}

impl Server {
    pub(super) fn extended(&mut self, tag: u8, body: &[u8]) {
        if self.block == Block::Outside {
            self.block = Block::Implicit;
        }
        let body = Bytes::copy_from_slice(body);
        let done = match tag {
            b'P' => self.parse(&Parse::decode(body).unwrap()),
            b'B' => self.bind(Bind::decode(body).unwrap()),
            b'D' => self.describe(Describe::decode(body).unwrap().0),
            b'E' => self.execute(&Execute::decode(body).unwrap()),
            b'C' => {
                self.close(Close::decode(body).unwrap().0);
                Ok(())
            }
            other => panic!("the client sent {}", char::from(other)),
        };
        if let Err(failure) = done {
            self.fail(&failure);
            self.reading = Reading::ToSync;
        }
    }

    /// What may run now.
    fn may_run(&self, statement: &Prepared) -> Result<(), Failure> {
        let mut statement = statement.iter();
        if self.block == Block::Failed && statement.any(|it| !it.ends_failure()) {
            return Err(Failure::aborted());
        }
        Ok(())
    }

    fn parse(&mut self, parse: &Parse) -> Result<(), Failure> {
        if parse.name.is_empty() {
            self.prepared.remove(&b""[..]);
        }
        let Some(mut statements) = statements(&parse.query) else {
            let mut failure = Failure::new("42601", "syntax error");
            failure.position = Some(1);
            return Err(failure);
        };
        let statement = statements.pop().map(Rc::new);
        if !statements.is_empty() {
            return Err(Failure::new("42601", "more than one statement"));
        }
        self.may_run(&statement)?;
        if let Some(Fault::Analysis(place)) = statement.as_ref().and_then(|it| it.fault.clone()) {
            return Err(Failure::unknown(place));
        }
        if self.prepared.contains_key(&parse.name[..]) {
            return Err(Failure::new("42P05", "there is such a statement"));
        }
        self.rewritten += usize::from(parse.query.windows(7).any(|it| it == b"__segue"));
        self.prepared.insert(parse.name.to_vec(), statement);
        self.say(b'1', b"");
        Ok(())
    }

    fn find(&self, name: &[u8]) -> Result<Prepared, Failure> {
        let found = self.prepared.get(name).cloned();
        found.ok_or_else(|| {
            let name = String::from_utf8_lossy(name);
            Failure::new("26000", format!("there is no statement {name}"))
        })
    }

    fn bind(&mut self, bind: Bind) -> Result<(), Failure> {
        let statement = self.find(&bind.statement)?;
        let parameters = statement.as_ref().map_or(0, |it| it.parameters);
        if given(&bind.parameters) != parameters {
            return Err(Failure::new("08P01", "another number of parameters"));
        }
        self.may_run(&statement)?;
        if bind.portal.is_empty() {
            self.portals.remove(&b""[..]);
        } else if self.portals.contains_key(&bind.portal[..]) {
            return Err(Failure::new("42P03", "there is such a cursor"));
        }
        let columns = statement.as_ref().map_or(0, |it| it.columns.len());
        let formats = bind.result_formats;
        if columns > 0 && formats.len() > 1 && formats.len() != columns {
            let count = formats.len();
            let words = format!("{count} result formats for {columns} columns");
            return Err(Failure::new("08P01", words));
        }
        let portal = Portal {
            statement,
            formats,
            place: 0,
            progress: Progress::Bound,
        };
        self.portals.insert(bind.portal.to_vec(), portal);
        self.say(b'2', b"");
        Ok(())
    }

    fn describe(&mut self, named: Named) -> Result<(), Failure> {
        let (statement, formats) = match named {
            Named::Statement(name) => {
                let statement = self.find(&name)?;
                self.described(&statement)?;
                let count = statement.as_ref().map_or(0, |it| it.parameters);
                let parameters = [0, 0, 0, 23].repeat(count);
                let count = u8::try_from(count).unwrap();
                self.say(b't', &[&[0, count][..], &parameters].concat());
                (statement, Vec::new())
            }
            Named::Portal(name) => {
                let portal = self.portals.get(&name[..]).ok_or_else(no_portal)?;
                let (statement, formats) = (portal.statement.clone(), portal.formats.clone());
                self.described(&statement)?;
                (statement, formats)
            }
        };
        match statement.filter(|it| !it.columns.is_empty()) {
            None => self.say(b'n', b""),
            Some(statement) => self.out.extend(statement.description(&formats)),
        }
        Ok(())
    }

    /// What returns rows is not described in a transaction that has failed.
    fn described(&self, statement: &Prepared) -> Result<(), Failure> {
        let returns = statement.as_ref().is_some_and(|it| !it.columns.is_empty());
        if returns && self.block == Block::Failed {
            return Err(Failure::aborted());
        }
        Ok(())
    }

    fn execute(&mut self, execute: &Execute) -> Result<(), Failure> {
        let Some(mut portal) = self.portals.remove(&execute.portal[..]) else {
            return Err(no_portal());
        };
        let Some(statement) = portal.statement.clone() else {
            self.portals.insert(execute.portal.to_vec(), portal);
            self.say(b'I', b"");
            return Ok(());
        };
        self.may_run(&portal.statement)?;
        let limit = usize::try_from(execute.rows_max).unwrap();
        self.run_portal(&statement, &mut portal, limit)?;
        // One that ended its transaction is gone with it.
        let is_over = matches!(statement.kind, Kind::Commit | Kind::Rollback);
        if !is_over || portal.progress != Progress::Done {
            self.portals.insert(execute.portal.to_vec(), portal);
        }
        Ok(())
    }

    fn run_portal(
        &mut self,
        statement: &Statement,
        portal: &mut Portal,
        limit: usize,
    ) -> Result<(), Failure> {
        let returns = !statement.columns.is_empty();
        if portal.progress == Progress::Done && !returns {
            return Err(Failure::new("55000", "the portal cannot be run"));
        }
        if portal.progress == Progress::Bound {
            self.effect(statement)?;
            if statement.fault.is_some() {
                return Err(Failure::division());
            }
            portal.progress = Progress::Ran;
        }
        if returns {
            self.hand_out(statement, portal, limit);
            return Ok(());
        }
        portal.progress = Progress::Done;
        if statement.kind == Kind::CopyIn {
            self.say(b'G', &[0, 0, 0]);
            self.reading = Reading::Copy {
                pieces: 0,
                rest: None,
            };
            return Ok(());
        }
        if statement.kind == Kind::CopyOut {
            self.copy_out();
        }
        self.complete(&statement.tag(statement.rows));
        Ok(())
    }

    fn hand_out(&mut self, statement: &Statement, portal: &mut Portal, limit: usize) {
        let left = statement.rows - portal.place;
        let count = if limit == 0 { left } else { left.min(limit) };
        for row in portal.place..portal.place + count {
            self.out.extend(statement.row(row, &portal.formats));
        }
        portal.place += count;
        if limit > 0 && count == limit {
            self.say(b's', b"");
        } else {
            portal.progress = Progress::Done;
            self.complete(&statement.tag(count));
        }
    }

    fn close(&mut self, named: Named) {
        match named {
            Named::Statement(name) => drop(self.prepared.remove(&name[..])),
            Named::Portal(name) => drop(self.portals.remove(&name[..])),
        }
        self.say(b'3', b"");
    }
}

fn no_portal() -> Failure {
    Failure::new("34000", "there is no such portal")
}

/// How many values stand behind the format codes.
fn given(parameters: &[u8]) -> usize {
    let number = |at: usize| usize::from(parameters[at]) << 8 | usize::from(parameters[at + 1]);
    number(2 + 2 * number(0))
}
