//! Reading and writing many rows of a table with one statement.
//!
//! Keys travel as an array for each key column, rows as an array of the table's own row type: a
//! message, a plan and a result for all of them. Planned for nested loops (see [`PLANNING`]), so that
//! rows are taken in the order given. Not every table can: a type without an array type, or one
//! without a receive function, has its rows taken one by one by [`super::Statements`]. Does not lock
//! entries and does not decide.

use std::collections::HashMap;

use bytes::{BufMut, Bytes, BytesMut};
use protocol::contract::{Contract, Form, Table, TableIndex, quote_identifier};
use protocol::remap;
use protocol::row::{Datum, Image, RowKey};

use super::{Statements, WriteError};
use crate::array::Array;
use crate::connection::{Connection, Format, Parameter};
use crate::session::{self, SessionError};

/// For a session that uses these statements: a plan made while a table is small must not read all of
/// it when it has grown, and rows are to be taken in the order of the arrays.
pub(crate) const PLANNING: &str = "SET enable_hashjoin = off; SET enable_mergejoin = off; \
                            SET enable_material = off; SET enable_memoize = off";

/// The largest array that is built; a message may have a gigabyte.
pub(crate) const ROW_BYTES_MAX: usize = 64 << 20;

/// Tables of which a session holds these statements: a thousand statements of 30 kB or so.
const TABLES_MAX: usize = 250;

/// A statement for many rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ManyStatement {
    /// The rows with these keys, each behind the place of its key, from 1.
    Read,
    /// Rows that are not there.
    Insert,
    /// Rows that are there: all columns outside the key.
    Update,
    /// The rows with these keys are gone.
    Delete,
}

impl ManyStatement {
    const ALL: [Self; 4] = [Self::Read, Self::Insert, Self::Update, Self::Delete];

    fn name(self, table: TableIndex) -> String {
        let letter = match self {
            Self::Read => 'r',
            Self::Insert => 'i',
            Self::Update => 'm',
            Self::Delete => 'x',
        };
        format!("{letter}{}", table.as_usize())
    }
}

/// What the target's catalog says of a table.
#[derive(Debug)]
struct ManyTable {
    row_type_oid: u32,
    /// Each attribute in its order: its type, and its place in the contract if it has one.
    attributes: Vec<(u32, Option<usize>)>,
    /// The types of the key's columns.
    key_oids: Vec<u32>,
}

/// The statements for many rows of one session.
#[derive(Debug, Default)]
pub(crate) struct ManyStatements {
    /// None where rows have to be taken one by one.
    tables: HashMap<TableIndex, Option<ManyTable>>,
}

impl ManyStatements {
    /// Whether nothing is known of the table yet.
    pub(crate) fn is_unknown(&self, table: TableIndex) -> bool {
        !self.tables.contains_key(&table)
    }

    /// Whether the table's rows can be taken many at once.
    pub(crate) fn has(&self, table: TableIndex) -> bool {
        self.tables.get(&table).is_some_and(Option::is_some)
    }

    /// Asks the target what the table is like and prepares its statements. Nothing may be in flight.
    pub(crate) async fn learn(
        &mut self,
        connection: &mut Connection,
        statements: &Statements,
        contract: &Contract,
        index: TableIndex,
    ) -> Result<(), SessionError> {
        let Some(table) = contract.table(index) else {
            return Ok(());
        };
        let name = relation(table).replace('\'', "''");
        let sql = format!(
            "SELECT c.reltype::text, (r.typarray <> 0)::text, a.attname, a.atttypid::text, \
                    (t.typarray <> 0)::text, (t.typtype = 'd')::text, \
                    quote_ident(n.nspname) || '.' || quote_ident(t.typname) \
             FROM pg_class c JOIN pg_type r ON r.oid = c.reltype \
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
             JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace n ON n.oid = t.typnamespace \
             WHERE c.oid = to_regclass('{name}') ORDER BY a.attnum"
        );
        let rows = connection.query_simple(&sql).await?;
        let found: Vec<Attribute> = rows.iter().map(|row| Attribute::of(row)).collect();
        let learnt = many_table(table, &found);
        if learnt.is_some() {
            self.make_room(connection)?;
            for statement in ManyStatement::ALL {
                if let Some(sql) = text(statement, statements, index, table, &found) {
                    let name = statement.name(index);
                    connection.close_statement(&name)?;
                    connection.prepare(&name, &sql)?;
                }
            }
            connection.sync();
            connection.flush().await?;
            if let Some(error) = connection.reply().await?.error {
                tracing::debug!(%error, table = table.name, "rows are taken one by one");
                self.tables.insert(index, None);
                return Ok(());
            }
        }
        self.tables.insert(index, learnt);
        Ok(())
    }

    /// Gives all of them up before there are too many; those still in use are learnt again.
    fn make_room(&mut self, connection: &mut Connection) -> Result<(), SessionError> {
        let known = self.tables.iter().filter(|(_, known)| known.is_some());
        if known.count() < TABLES_MAX {
            return Ok(());
        }
        for index in self.tables.keys() {
            for statement in ManyStatement::ALL {
                connection.close_statement(&statement.name(*index))?;
            }
        }
        self.tables.clear();
        Ok(())
    }

    /// Adds a statement that takes keys.
    pub(crate) fn by_keys<'k>(
        &self,
        connection: &mut Connection,
        statement: ManyStatement,
        table: (TableIndex, &Table),
        keys: impl Iterator<Item = &'k RowKey>,
    ) -> Result<(), WriteError> {
        let (index, table) = table;
        let known = self.known(index)?;
        let mut arrays: Vec<Array> = known.key_oids.iter().map(|oid| Array::of(*oid)).collect();
        for key in keys {
            let values = key.values();
            let columns = table
                .key
                .iter()
                .filter_map(|place| table.columns.get(*place));
            for ((array, column), value) in arrays.iter_mut().zip(columns).zip(&values) {
                match &column.form {
                    Form::Plain | Form::Text => array.push(value),
                    form @ (Form::Array { .. } | Form::Composite { .. }) => {
                        array.push(&remap::to_target(form, value)?);
                    }
                }
            }
        }
        let arrays: Vec<BytesMut> = arrays.into_iter().map(Array::finish).collect();
        let arrays: Vec<_> = arrays.iter().map(|it| Parameter::Binary(it)).collect();
        let mut formats = vec![Format::Binary];
        if statement == ManyStatement::Read {
            formats.extend(table.columns.iter().map(|column| match column.form {
                Form::Text => Format::Text,
                Form::Plain | Form::Array { .. } | Form::Composite { .. } => Format::Binary,
            }));
        }
        Ok(connection.execute(&statement.name(index), &arrays, &formats)?)
    }

    /// Adds a statement that takes rows, all columns known and as the target has them.
    pub(crate) fn by_rows<'i>(
        &self,
        connection: &mut Connection,
        statement: ManyStatement,
        index: TableIndex,
        images: impl Iterator<Item = &'i Image>,
    ) -> Result<(), WriteError> {
        let known = self.known(index)?;
        let mut array = Array::of(known.row_type_oid);
        for image in images {
            array.push_with(|out| put_record(out, known, image));
        }
        let array = array.finish();
        let parameters = [Parameter::Binary(&array)];
        Ok(connection.execute(&statement.name(index), &parameters, &[])?)
    }

    /// A row of [`ManyStatement::Read`]: the place of its key, from 0, and its columns.
    pub(crate) fn place(row: &mut Vec<Option<Bytes>>) -> Option<usize> {
        if row.is_empty() {
            return None;
        }
        let place: [u8; 8] = row.remove(0)?.as_ref().try_into().ok()?;
        usize::try_from(i64::from_be_bytes(place))
            .ok()?
            .checked_sub(1)
    }

    fn known(&self, index: TableIndex) -> Result<&ManyTable, WriteError> {
        let known = self.tables.get(&index).and_then(Option::as_ref);
        known.ok_or(WriteError::UnknownTable)
    }
}

/// A row of the question in [`ManyStatements::learn`].
struct Attribute {
    row_type_oid: u32,
    row_has_array: bool,
    name: String,
    type_oid: u32,
    has_array: bool,
    is_domain: bool,
    type_name: String,
}

impl Attribute {
    fn of(row: &[Option<Bytes>]) -> Self {
        let text = |place: usize| session::text(row.get(place));
        let oid = |place: usize| text(place).parse().unwrap_or(0);
        Self {
            row_type_oid: oid(0),
            row_has_array: text(1) == "true",
            name: text(2),
            type_oid: oid(3),
            has_array: text(4) == "true",
            is_domain: text(5) == "true",
            type_name: text(6),
        }
    }
}

/// None where rows have to be taken one by one.
fn many_table(table: &Table, found: &[Attribute]) -> Option<ManyTable> {
    let place = |name: &str| table.columns.iter().position(|column| column.name == name);
    let first = found.first()?;
    let all_known = table
        .columns
        .iter()
        .all(|column| column.form != Form::Text && found.iter().any(|it| it.name == column.name));
    // A generated column is NULL on the way, which a domain may refuse.
    let refuses_null = |it: &Attribute| it.is_domain && place(&it.name).is_none();
    if !first.row_has_array || !all_known || found.iter().any(refuses_null) {
        return None;
    }
    let key = key_attributes(table, found)?;
    key.iter().all(|it| it.has_array).then(|| ManyTable {
        row_type_oid: first.row_type_oid,
        attributes: found
            .iter()
            .map(|it| (it.type_oid, place(&it.name)))
            .collect(),
        key_oids: key.iter().map(|it| it.type_oid).collect(),
    })
}

fn key_attributes<'a>(table: &Table, found: &'a [Attribute]) -> Option<Vec<&'a Attribute>> {
    let columns = table.key.iter().map(|place| table.columns.get(*place));
    let attribute = |name: &str| found.iter().find(|it| it.name == name);
    columns.map(|column| attribute(&column?.name)).collect()
}

/// None where there is nothing to do.
fn text(
    statement: ManyStatement,
    statements: &Statements,
    index: TableIndex,
    table: &Table,
    found: &[Attribute],
) -> Option<String> {
    let name = relation(table);
    let key = key_attributes(table, found)?;
    let operators = statements.key_operators(index)?;
    let arrays: Vec<String> = key
        .iter()
        .zip(1..)
        .map(|(it, number)| format!("pg_catalog.unnest(${number}::{}[])", it.type_name))
        .collect();
    let arrays = arrays.join(", ");
    let names: Vec<String> = (1..=key.len()).map(|number| format!("k{number}")).collect();
    let names = names.join(", ");
    let by = |value: &dyn Fn(usize, &str) -> String| {
        let tests = key.iter().zip(&operators).zip(1..);
        let tests: Vec<String> = tests
            .map(|((it, operator), number)| {
                let column = quote_identifier(&it.name);
                format!("t.{column} {operator} n.{}", value(number, &column))
            })
            .collect();
        tests.join(" AND ")
    };
    let by_number = by(&|number, _| format!("k{number}"));
    let columns = |prefix: &str| {
        let columns = table.columns.iter();
        let columns: Vec<String> = columns
            .map(|column| format!("{prefix}{}", quote_identifier(&column.name)))
            .collect();
        columns.join(", ")
    };
    match statement {
        ManyStatement::Read => Some(format!(
            "SELECT n.o, {} FROM ROWS FROM ({arrays}) WITH ORDINALITY AS n({names}, o) \
             JOIN {name} AS t ON {by_number}",
            columns("t.")
        )),
        ManyStatement::Delete => Some(format!(
            "DELETE FROM {name} AS t USING ROWS FROM ({arrays}) AS n({names}) WHERE {by_number}"
        )),
        ManyStatement::Insert => Some(format!(
            "INSERT INTO {name} ({}) OVERRIDING SYSTEM VALUE \
             SELECT {} FROM pg_catalog.unnest($1::{name}[]) AS n",
            columns(""),
            columns("n.")
        )),
        ManyStatement::Update => {
            let updated = statements.updated_columns(index);
            let updated: Vec<String> = updated
                .iter()
                .map(|column| format!("{column} = n.{column}"))
                .collect();
            (!updated.is_empty()).then(|| {
                format!(
                    "UPDATE {name} AS t SET {} FROM pg_catalog.unnest($1::{name}[]) AS n WHERE {}",
                    updated.join(", "),
                    by(&|_, column| column.to_owned())
                )
            })
        }
    }
}

fn relation(table: &Table) -> String {
    format!(
        "{}.{}",
        quote_identifier(&table.schema),
        quote_identifier(&table.relation)
    )
}

/// `record_send`: a count, then type, length and value of each column.
fn put_record(out: &mut BytesMut, known: &ManyTable, image: &Image) {
    out.put_i32(i32::try_from(known.attributes.len()).unwrap_or(i32::MAX));
    for (type_oid, place) in &known.attributes {
        out.put_u32(*type_oid);
        let datum = place.and_then(|place| image.columns().get(place));
        match datum {
            Some(Datum::Binary(value) | Datum::Text(value)) => {
                // A longer one makes the message too long, which is found at its end.
                out.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
                out.put_slice(value);
            }
            Some(Datum::Null | Datum::Unchanged) | None => out.put_i32(-1),
        }
    }
}

/// Whether the row can be one of many: all its values are there, in their send format.
pub(crate) fn is_plain(image: &Image) -> bool {
    let mut columns = image.columns().iter();
    columns.all(|datum| matches!(datum, Datum::Null | Datum::Binary(_)))
}
