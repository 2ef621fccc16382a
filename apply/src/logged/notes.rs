//! Divergences and the journal: what was found, the row before and the row after.
//!
//! The target's server renders the rows, because it knows the types. Does not decide what is a
//! divergence.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use protocol::contract::Table;
use protocol::decide::repair::Hold;
use protocol::decide::working_set::Finding;
use protocol::lsn::Lsn;
use protocol::op_id::OpId;
use protocol::revision::Revision;
use protocol::row::{Image, RowKey};

use super::{LoggedError, LoggedWriter, execute, statements, table_of};
use crate::array::{Array, element};
use crate::connection::Parameter;
use crate::statements::{Statement, Value};

/// A row that somebody else wrote at the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignWrite {
    /// The row.
    pub key: RowKey,
    /// Where it lies in the target's own log.
    pub target_lsn: Lsn,
    /// Who wrote it.
    pub author: ForeignAuthor,
}

/// Who wrote at the target, as its log tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForeignAuthor {
    /// The replication origin; none of an ordinary session.
    pub origin: Option<String>,
    /// The low 32 bits of its transaction's id.
    pub xid: u32,
    /// When that committed, in microseconds since 2000-01-01 by the target's clock.
    pub committed_at: i64,
}

/// A divergence about to be noted.
#[derive(Debug, Clone)]
pub(super) struct Note<'a> {
    pub(super) key: &'a RowKey,
    pub(super) kind: &'static str,
    pub(super) source_rev: Option<Revision>,
    pub(super) target_rev: Option<Revision>,
    pub(super) op_id: Option<OpId>,
    pub(super) columns: &'a [usize],
    pub(super) author: Option<&'a ForeignAuthor>,
}

/// What becomes of the open divergences of a row.
#[derive(Debug, Clone)]
pub(super) struct Completion<'a> {
    pub(super) state: State,
    pub(super) repair: Option<&'static str>,
    pub(super) source_rev: Option<Revision>,
    /// Which columns differed, where the divergence does not say so itself.
    pub(super) columns: &'a [usize],
    /// Why the repair is held back, if it is.
    pub(super) hold: Option<Hold>,
}

/// The state of a divergence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// A re-read has to come first.
    Open,
    /// The row is right.
    Repaired,
    /// A foreign write that changed nothing.
    Ignored,
    /// Repaired; a foreign write that left the row as it had found it is ignored.
    Compare,
}

impl State {
    const fn label(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Repaired => "repaired",
            Self::Ignored => "ignored",
            Self::Compare => "compare",
        }
    }
}

impl Completion<'_> {
    pub(super) const OPEN: Self = Self {
        state: State::Open,
        repair: None,
        source_rev: None,
        columns: &[],
        hold: None,
    };

    const LOGGED: Self = Self {
        state: State::Repaired,
        repair: Some(WRITTEN_BY_LOG),
        source_rev: None,
        columns: &[],
        hold: None,
    };

    /// It stays open, with words.
    pub(super) const fn held(hold: Hold) -> Self {
        let words = match hold {
            Hold::Dry => "held back: repairs are only reported (repair = dry)",
            Hold::Limit => {
                "held back: the table has had its share of repairs (max_repairs) and waits for \
                 segue repair resume"
            }
        };
        Self {
            repair: Some(words),
            hold: Some(hold),
            ..Self::OPEN
        }
    }
}

/// What is said of a repair that wrote the logged version.
pub const WRITTEN_BY_LOG: &str = "the logged version was written";

/// What is said of a repair that wrote what the source holds.
pub const WRITTEN_AGAIN: &str = "the row was read again from the source and written";

impl LoggedWriter {
    pub(super) fn queue_notes(&mut self, findings: &[Finding]) -> Result<(), LoggedError> {
        for found in findings {
            self.queue_note(&Note {
                key: &found.key,
                kind: found.kind.label(),
                source_rev: Some(found.source_rev),
                target_rev: found.target_rev,
                op_id: Some(found.op_id),
                columns: &found.columns,
                author: None,
            })?;
        }
        Ok(())
    }

    pub(super) fn queue_completions(
        &mut self,
        findings: &[Finding],
        owed: &HashSet<RowKey>,
    ) -> Result<(), LoggedError> {
        for found in findings {
            let completion = match found.hold {
                Some(hold) => Completion::held(hold),
                None if owed.contains(&found.key) => Completion::OPEN,
                None => Completion::LOGGED,
            };
            self.queue_completion(&found.key, &completion)?;
        }
        Ok(())
    }

    /// Notes a divergence and the row before its repair.
    pub(super) fn queue_note(&mut self, note: &Note<'_>) -> Result<(), LoggedError> {
        let statement = Statement::Note(note.key.table());
        self.ready(statement)?;
        let table = table_of(&self.contract, note.key)?;
        let values = self.rows.key_values(note.key)?;
        let names = column_names(table, note.columns);
        let key_columns = key_columns(table, &note.key.values());
        let source_rev = note.source_rev.map(|rev| rev.packed().to_be_bytes());
        let target_rev = note.target_rev.map(|rev| rev.packed().to_be_bytes());
        let op_id = note.op_id.map(OpId::to_bytes);
        let origin = note.author.and_then(|author| author.origin.as_deref());
        let xid = note
            .author
            .map(|author| i64::from(author.xid).to_be_bytes());
        let committed_at = note.author.map(|author| author.committed_at.to_be_bytes());
        let mut parameters = vec![
            Parameter::Binary(table.name.as_bytes()),
            Parameter::Binary(note.key.bytes()),
            Parameter::Text(key_columns.as_bytes()),
            Parameter::Binary(note.kind.as_bytes()),
            optional(source_rev.as_ref().map(<[u8; 8]>::as_slice)),
            optional(target_rev.as_ref().map(<[u8; 8]>::as_slice)),
            optional(op_id.as_ref().map(<[u8; 16]>::as_slice)),
            Parameter::Binary(&names),
            optional(origin.map(str::as_bytes)),
            optional(xid.as_ref().map(<[u8; 8]>::as_slice)),
            optional(committed_at.as_ref().map(<[u8; 8]>::as_slice)),
        ];
        parameters.extend(values.iter().map(Value::parameter));
        execute(&mut self.connection, &statement.name(), &parameters)
    }

    /// Completes the open divergences of a row. The first one that a table's limit holds back puts
    /// the table's stop on record with it, so that whoever sees the one finds the other. Later ones
    /// do not: a person may have resumed the table, and this session not have heard yet.
    pub(super) fn queue_completion(
        &mut self,
        key: &RowKey,
        completion: &Completion<'_>,
    ) -> Result<(), LoggedError> {
        if completion.hold == Some(Hold::Limit) && !self.repairs.is_stopped(key.table()) {
            let contract = Arc::clone(&self.contract);
            let name = table_of(&contract, key)?.name.as_bytes();
            self.queue(statements::STOP, &[Parameter::Binary(name)])?;
        }
        let statement = Statement::Complete(key.table());
        self.ready(statement)?;
        let table = table_of(&self.contract, key)?;
        let values = self.rows.key_values(key)?;
        let key_names = column_names(table, &table.key);
        let names = column_names(table, completion.columns);
        let source_rev = completion.source_rev.map(|rev| rev.packed().to_be_bytes());
        let mut parameters = vec![
            Parameter::Binary(table.name.as_bytes()),
            Parameter::Binary(key.bytes()),
            Parameter::Binary(&key_names),
            Parameter::Binary(completion.state.label().as_bytes()),
            optional(completion.repair.map(str::as_bytes)),
            optional(source_rev.as_ref().map(<[u8; 8]>::as_slice)),
            Parameter::Binary(&names),
            optional(completion.hold.map(|hold| hold.label().as_bytes())),
        ];
        parameters.extend(values.iter().map(Value::parameter));
        execute(&mut self.connection, &statement.name(), &parameters)
    }

    /// Says what a repair that is held back would write.
    pub(super) fn queue_proposal(
        &mut self,
        key: &RowKey,
        row: Option<&Image>,
    ) -> Result<(), LoggedError> {
        let statement = Statement::Propose(key.table());
        self.ready(statement)?;
        let table = table_of(&self.contract, key)?;
        let values = self.rows.column_values(key.table(), row)?;
        let exists = [u8::from(row.is_some())];
        let mut parameters = vec![
            Parameter::Binary(table.name.as_bytes()),
            Parameter::Binary(key.bytes()),
            Parameter::Binary(&exists),
        ];
        parameters.extend(values.iter().map(Value::parameter));
        execute(&mut self.connection, &statement.name(), &parameters)
    }
}

fn optional(value: Option<&[u8]>) -> Parameter<'_> {
    value.map_or(Parameter::Null, Parameter::Binary)
}

fn column_names(table: &Table, places: &[usize]) -> BytesMut {
    let mut names = Array::of(element::TEXT);
    for column in places.iter().filter_map(|place| table.columns.get(*place)) {
        names.push(column.name.as_bytes());
    }
    names.finish()
}

/// The key as JSON, for rows of which the server shows nothing: integers and text as people write
/// them, anything else in hexadecimal.
fn key_columns(table: &Table, values: &[Bytes]) -> String {
    let columns = table
        .key
        .iter()
        .filter_map(|place| table.columns.get(*place));
    let parts = columns.zip(values).map(|(column, value)| {
        let name = json_string(&column.name);
        format!(
            "{name}:{}",
            json_string(&readable(&column.type_name, value))
        )
    });
    format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
}

fn readable(type_name: &str, value: &[u8]) -> String {
    let integer = |bytes: &[u8]| {
        let sign = if bytes.first().is_some_and(|first| first & 0x80 != 0) {
            -1
        } else {
            0
        };
        let number = bytes
            .iter()
            .fold(sign, |number: i64, byte| (number << 8) | i64::from(*byte));
        number.to_string()
    };
    match (type_name, value.len()) {
        ("bigint", 8) | ("integer", 4) | ("smallint", 2) => integer(value),
        (name, _) if name == "text" || name.starts_with("character") => {
            String::from_utf8_lossy(value).into_owned()
        }
        _ => {
            let digits = value.iter().map(|byte| format!("{byte:02x}"));
            format!("\\x{}", digits.collect::<String>())
        }
    }
}

fn json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            letter if letter.is_control() => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_the_server_shows_nothing_of_is_still_readable() {
        assert_eq!(readable("bigint", &[0, 0, 0, 0, 0, 0, 0, 7]), "7");
        assert_eq!(readable("integer", &[0xff, 0xff, 0xff, 0xfe]), "-2");
        assert_eq!(readable("character varying(9)", b"ab"), "ab");
        assert_eq!(readable("uuid", &[0xab, 1]), "\\xab01");
        assert_eq!(json_string("a\"b\\c\n"), "\"a\\\"b\\\\c\u{fffd}\"");
    }
}
