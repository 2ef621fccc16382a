//! What a text says to the model: statements by their first words, with marks in comments.
//!
//! Does not keep rows: what a statement returns follows from its text alone.

use bytes::BufMut;

use super::super::super::captured::{hexadecimal, record};
use super::super::super::{data_row, frame};

/// What the model can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Select,
    /// INSERT, UPDATE or DELETE, by its name in the command tag.
    Write(&'static str),
    Begin,
    Commit,
    Rollback,
    Savepoint,
    RollbackTo,
    CopyIn,
    CopyOut,
    /// A setting that is reported.
    Reported(&'static str),
    DeallocateAll,
    Deallocate,
    /// What else there is, by its command tag.
    Other(&'static str),
}

/// Why a statement fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It names what is not there, at this character.
    Analysis(usize),
    /// It begins and does not end.
    Execution,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) kind: Kind,
    pub(super) fault: Option<Fault>,
    pub(super) rows: usize,
    pub(super) parameters: usize,
    /// The columns that the client asked for, and the hidden one.
    pub(super) columns: Vec<&'static str>,
    pub(super) notices: bool,
    pub(super) notifies: bool,
    /// Something comes behind the ReadyForQuery.
    pub(super) trails: bool,
}

/// What a name in a text must not be.
const UNKNOWN: &str = "nope";

const HIDDEN: &str = "__segue";

/// The statements of a text; nothing if it cannot be parsed.
pub(super) fn statements(text: &[u8]) -> Option<Vec<Statement>> {
    // One character a byte that is not UTF-8, as in an encoding of one byte.
    let text = String::from_utf8_lossy(text).into_owned();
    let mut start = 0;
    let mut statements = Vec::new();
    for part in text.split(';') {
        if part.trim_start().starts_with("syntax") {
            return None;
        }
        if !part.trim().is_empty() {
            statements.push(Statement::of(part, start));
        }
        start += part.chars().count() + 1;
    }
    Some(statements)
}

impl Statement {
    fn of(text: &str, before: usize) -> Self {
        let place = |word: &str| {
            let (first, _) = text.split_once(word)?;
            Some(before + first.chars().count() + 1)
        };
        let mut words = text.split_whitespace();
        let mut word = || words.next().unwrap_or_default();
        let kind = match (word(), word(), word()) {
            ("select", ..) => Kind::Select,
            ("insert", ..) => Kind::Write("INSERT 0"),
            ("update", ..) => Kind::Write("UPDATE"),
            ("delete", ..) => Kind::Write("DELETE"),
            ("begin", ..) => Kind::Begin,
            ("commit", ..) => Kind::Commit,
            ("rollback", "to", _) => Kind::RollbackTo,
            ("rollback", ..) => Kind::Rollback,
            ("savepoint", ..) => Kind::Savepoint,
            ("copy", _, "from") => Kind::CopyIn,
            ("copy", ..) => Kind::CopyOut,
            ("set", "application_name", _) => Kind::Reported("application_name"),
            ("set", "client_encoding", _) => Kind::Reported("client_encoding"),
            ("set", ..) => Kind::Other("SET"),
            ("deallocate", "all", _) => Kind::DeallocateAll,
            ("deallocate", ..) => Kind::Deallocate,
            ("create", ..) => Kind::Other("CREATE TABLE"),
            ("call", ..) => Kind::Other("CALL"),
            ("listen", ..) => Kind::Other("LISTEN"),
            ("unlisten" | "UNLISTEN", ..) => Kind::Other("UNLISTEN"),
            other => panic!("the model has no {other:?} in {text}"),
        };
        let fault = match place(UNKNOWN) {
            Some(place) => Some(Fault::Analysis(place)),
            None => text.contains("1/0").then_some(Fault::Execution),
        };
        Self {
            fault,
            rows: rows(&kind, text),
            parameters: usize::from(text.contains("$1")),
            columns: columns(&kind, text),
            notices: text.contains("/*notice*/"),
            notifies: text.contains("/*notify*/"),
            trails: text.contains("/*trail*/"),
            kind,
        }
    }

    /// Whether it may run in a transaction that has failed.
    pub(super) const fn ends_failure(&self) -> bool {
        matches!(self.kind, Kind::Commit | Kind::Rollback | Kind::RollbackTo)
    }

    pub(super) fn tag(&self, rows: usize) -> String {
        match &self.kind {
            Kind::Select => format!("SELECT {rows}"),
            Kind::Write(name) => format!("{name} {}", self.rows),
            Kind::CopyIn | Kind::CopyOut => format!("COPY {rows}"),
            Kind::Begin => "BEGIN".to_owned(),
            Kind::Commit => "COMMIT".to_owned(),
            Kind::Rollback | Kind::RollbackTo => "ROLLBACK".to_owned(),
            Kind::Savepoint => "SAVEPOINT".to_owned(),
            Kind::Reported(_) => "SET".to_owned(),
            Kind::DeallocateAll => "DEALLOCATE ALL".to_owned(),
            Kind::Deallocate => "DEALLOCATE".to_owned(),
            Kind::Other(tag) => (*tag).to_owned(),
        }
    }

    /// The frame that describes the rows.
    pub(super) fn description(&self, formats: &[i16]) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_u16(u16::try_from(self.columns.len()).unwrap());
        for (place, name) in self.columns.iter().enumerate() {
            body.put_slice(name.as_bytes());
            body.put_slice(&[0; 17]);
            body.put_i16(format_of(formats, place));
        }
        frame(b'T', &body)
    }

    /// The frame of the row with this number.
    pub(super) fn row(&self, number: usize, formats: &[i16]) -> Vec<u8> {
        let columns = self.columns.iter().enumerate();
        let values: Vec<Option<Vec<u8>>> = columns
            .map(|(place, name)| value(name, number, format_of(formats, place) == 1))
            .collect();
        let values: Vec<Option<&[u8]>> = values.iter().map(Option::as_deref).collect();
        data_row(&values)
    }
}

fn rows(kind: &Kind, text: &str) -> usize {
    match kind {
        Kind::Select => {
            let number = text.split_whitespace().last().unwrap_or_default();
            number.parse().unwrap_or(1)
        }
        Kind::Write(_) if text.contains("id = 7") => 0,
        Kind::Write("INSERT 0") => text.matches("), (").count() + 1,
        Kind::Write(_) => 1,
        // Of a COPY to the client.
        Kind::Begin
        | Kind::Commit
        | Kind::Rollback
        | Kind::Savepoint
        | Kind::RollbackTo
        | Kind::CopyIn
        | Kind::CopyOut
        | Kind::Reported(_)
        | Kind::DeallocateAll
        | Kind::Deallocate
        | Kind::Other(_) => 2,
    }
}

/// What the client asked for stands in the text's first line: the proxy's part begins a new one.
fn columns(kind: &Kind, text: &str) -> Vec<&'static str> {
    let first = text.lines().next().unwrap_or_default();
    let list = first.split_once("returning ").map(|(_, list)| list.trim());
    let mut columns = match (kind, list) {
        (Kind::Select, _) => vec!["n"],
        (_, None) => vec![],
        (_, Some("id")) => vec!["id"],
        (_, Some("v")) => vec!["v"],
        (_, Some("*" | "id, v")) => vec!["id", "v"],
        (_, Some(other)) => panic!("the model does not return {other}"),
    };
    if text.contains(HIDDEN) {
        columns.push(HIDDEN);
    }
    columns
}

fn format_of(formats: &[i16], place: usize) -> i16 {
    match formats {
        [] => 0,
        [one] => *one,
        several => several[place],
    }
}

fn value(column: &str, number: usize, binary: bool) -> Option<Vec<u8>> {
    match (column, binary) {
        (HIDDEN, true) => Some(record()),
        (HIDDEN, false) => Some(hexadecimal(&record())),
        ("v", _) => (number.is_multiple_of(2)).then(|| format!("v{number}").into_bytes()),
        (_, true) => Some(u32::try_from(number).unwrap().to_be_bytes().to_vec()),
        (_, false) => Some(number.to_string().into_bytes()),
    }
}
