//! Reading and writing the contract's tables by key.
//!
//! SQL is written once per table and prepared when a session first needs it; values travel in the
//! form that the contract gives their column. Does not lock entries and does not decide: those who
//! use it do.

pub(crate) mod many;
mod prepared;
mod sql;

use std::collections::HashMap;

use bytes::Bytes;
use control::Side;
use protocol::contract::{Contract, Form, Table, TableIndex};
use protocol::reader::ReadError;
use protocol::remap;
use protocol::row::{Datum, Image, RowKey};

use crate::connection::{Connection, ConnectionError, EncodeError, Format, Parameter, Values};
use crate::session::{self, SessionError};

use prepared::{Prepared, STATEMENT_COUNT_MAX};
use sql::{KeyColumn, TableSql};

/// Before a table's number, the name of its prepared upsert.
const UPSERT: &str = "u";

/// A statement of a table that is prepared once per session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Statement {
    /// The row with a key.
    Select(TableIndex),
    /// The row is now this.
    Upsert(TableIndex),
    /// The row with a key is gone.
    Delete(TableIndex),
    /// The row with a key was found to differ, and is so now.
    Note(TableIndex),
    /// What was found of the row with a key is over, and it is so now.
    Complete(TableIndex),
    /// What a repair of the row that is held back would write.
    Propose(TableIndex),
}

impl Statement {
    const fn table(self) -> TableIndex {
        match self {
            Self::Select(table)
            | Self::Upsert(table)
            | Self::Delete(table)
            | Self::Note(table)
            | Self::Complete(table)
            | Self::Propose(table) => table,
        }
    }

    /// The name under which it is prepared.
    pub(crate) fn name(self) -> String {
        let table = self.table().as_usize();
        match self {
            Self::Select(_) => format!("s{table}"),
            Self::Upsert(_) => format!("{UPSERT}{table}"),
            Self::Delete(_) => format!("d{table}"),
            Self::Note(_) => format!("n{table}"),
            Self::Complete(_) => format!("c{table}"),
            Self::Propose(_) => format!("p{table}"),
        }
    }
}

/// A row could not be put into a statement. Nothing of it is left in the connection's buffer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// A value is too long.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A value is not what its type's send format says.
    #[error("a value cannot be rewritten for the target: {0}")]
    Value(#[from] ReadError),
    /// A column is not known.
    #[error("the image of a row of {table} lacks columns")]
    Partial {
        /// The table.
        table: String,
    },
    /// The row's table is not in the contract.
    #[error("a row of a table that is not in the contract")]
    UnknownTable,
    /// The table is no longer what the contract says.
    #[error(
        "the table {table} has no unique index over its key column {column} any more; restore it"
    )]
    KeyLost {
        /// The table.
        table: String,
        /// The key column.
        column: String,
    },
}

/// The statements of one session.
#[derive(Debug)]
pub struct Statements {
    /// One that has lost its key keeps nobody from the others.
    tables: Vec<Result<TableSql, WriteError>>,
    /// Under which each table's upsert is prepared: the name that every early write says.
    upsert_names: Vec<String>,
    side: Side,
    prepared: Prepared,
}

/// A value on its way into a parameter.
pub(crate) enum Value {
    Null,
    Binary(Bytes),
    Text(Bytes),
}

impl Value {
    pub(crate) fn parameter(&self) -> Parameter<'_> {
        match self {
            Self::Null => Parameter::Null,
            Self::Binary(value) => Parameter::Binary(value),
            Self::Text(value) => Parameter::Text(value),
        }
    }
}

/// The key columns of all tables at the target.
async fn key_columns(connection: &mut Connection) -> Result<Vec<KeyColumn>, ConnectionError> {
    let rows = connection.query_simple(sql::KEY_COLUMNS).await?;
    let columns = rows.iter().map(|row| KeyColumn {
        schema: session::text(row.first()),
        relation: session::text(row.get(1)),
        column: session::text(row.get(2)),
        type_name: session::text(row.get(3)),
        operator: session::text(row.get(4)),
    });
    Ok(columns.collect())
}

/// The equality of each of `table`'s key columns, as SQL that means it whatever the search path is.
pub(crate) async fn key_operators<E>(
    connection: &mut Connection,
    table: &Table,
) -> Result<Vec<String>, E>
where
    E: From<ConnectionError> + From<WriteError>,
{
    let found = key_columns(connection).await?;
    let found: Vec<&KeyColumn> = found.iter().collect();
    let sql = TableSql::new(table.clone(), &found)?;
    Ok(sql.key_operators().map(str::to_owned).collect())
}

impl Statements {
    /// Writes the statements for `contract`, with what the target's catalog says of its keys.
    /// `connection` must be idle.
    pub async fn load(
        connection: &mut Connection,
        contract: &Contract,
    ) -> Result<Self, SessionError> {
        let found = key_columns(connection).await?;
        let mut of_tables: HashMap<(&str, &str), Vec<&KeyColumn>> = HashMap::new();
        for column in &found {
            let place = (column.schema.as_str(), column.relation.as_str());
            of_tables.entry(place).or_default().push(column);
        }
        let of_table = |table: &Table| {
            let place = (table.schema.as_str(), table.relation.as_str());
            let columns = of_tables.get(&place).map_or(&[][..], Vec::as_slice);
            TableSql::new(table.clone(), columns)
        };
        let tables = contract.tables.iter();
        let names = (0..contract.tables.len()).map(|place| format!("{UPSERT}{place}"));
        Ok(Self {
            upsert_names: names.collect(),
            tables: tables.map(of_table).collect(),
            side: connection.side(),
            prepared: Prepared::new(STATEMENT_COUNT_MAX),
        })
    }

    /// Begins to use statements: those used before may be given up for those that are prepared from
    /// here on, and no others. A session holds 1,000, or what one turn needs.
    pub const fn turn(&mut self) {
        self.prepared.turn();
    }

    /// Adds the preparation of `statement` to the connection's buffer, unless the session has it.
    /// Part of the batch in which it is used: whether that ran, [`Self::proven`] or
    /// [`Self::retract`] is to be told.
    pub fn prepare(
        &mut self,
        connection: &mut Connection,
        statement: Statement,
    ) -> Result<bool, WriteError> {
        if self.prepared.touch(statement) {
            return Ok(false);
        }
        let sql = self.table(statement.table())?.text(statement);
        for closed in self.prepared.add(statement) {
            connection.close_statement(&closed.name())?;
        }
        connection.prepare(&statement.name(), &sql)?;
        Ok(true)
    }

    /// As [`Self::prepare`], with a Sync of its own, so that what fails before or behind it does not
    /// touch it; says whether there is anything to be answered. If that is an error, [`Self::forget`]
    /// is to be told.
    pub fn prepare_apart(
        &mut self,
        connection: &mut Connection,
        statement: Statement,
    ) -> Result<bool, WriteError> {
        let is_added = self.prepare(connection, statement)?;
        if is_added {
            connection.sync();
            self.proven();
        }
        Ok(is_added)
    }

    /// All that was added has run.
    pub fn proven(&mut self) {
        self.prepared.proven();
    }

    /// A batch has failed: what was prepared in it is prepared again.
    pub fn retract(&mut self) {
        self.prepared.retract();
    }

    /// The preparation of `statement` failed.
    pub fn forget(&mut self, statement: Statement) {
        self.prepared.forget(statement);
    }

    /// The table may not be what its statements were prepared for.
    pub fn forget_table(&mut self, table: TableIndex) {
        self.prepared
            .forget_all(|statement| statement.table() == table);
    }

    /// Adds a read of the row with this key: one result set with at most one row, for
    /// [`Self::image`]. Prepare [`Statement::Select`] before.
    pub fn select(&self, connection: &mut Connection, key: &RowKey) -> Result<(), WriteError> {
        let formats = self.table(key.table())?.result_formats();
        self.by_key(connection, Statement::Select(key.table()), key, &formats)
    }

    /// Adds a delete of the row with this key. Prepare [`Statement::Delete`] before.
    pub fn delete(&self, connection: &mut Connection, key: &RowKey) -> Result<(), WriteError> {
        self.by_key(connection, Statement::Delete(key.table()), key, &[])
    }

    /// Adds an insert of the row, or an update of all its columns where it is there already.
    /// Prepare [`Statement::Upsert`] before.
    pub fn upsert(
        &self,
        connection: &mut Connection,
        index: TableIndex,
        image: &Image,
    ) -> Result<(), WriteError> {
        let sql = self.table(index)?;
        let table = &sql.table;
        let columns = image.columns();
        let is_full = columns.len() == table.columns.len() && image.is_full();
        if !is_full {
            return Err(WriteError::Partial {
                table: table.name.clone(),
            });
        }
        connection.execute_with(
            self.upsert_name(index),
            columns.iter().map(format_of),
            |values| {
                let mut columns = table.columns.iter().zip(columns);
                columns.try_for_each(|(column, datum)| Ok(put(values, &column.form, datum)?))
            },
        )
    }

    /// Adds an update of the columns that `image` knows, where the row with this key is there. It
    /// is prepared on the spot, as the unnamed statement: which columns are missing varies. Adds nothing
    /// if the key is all that is known; says whether it added anything.
    pub fn update_known(
        &self,
        connection: &mut Connection,
        key: &RowKey,
        image: &Image,
    ) -> Result<bool, WriteError> {
        let sql = self.table(key.table())?;
        let mut known = Vec::new();
        let mut values = Vec::new();
        for (place, column) in sql.table.columns.iter().enumerate() {
            if sql.is_fixed(place) {
                continue;
            }
            let datum = image.columns().get(place).unwrap_or(&Datum::Unchanged);
            if let Some(value) = value_of(&column.form, datum)? {
                known.push(place);
                values.push(value);
            }
        }
        if known.is_empty() {
            return Ok(false);
        }
        values.extend(self.key_values(key)?);
        connection.prepare("", &sql.update(&known))?;
        execute(connection, "", &values, &[])?;
        Ok(true)
    }

    /// The row that [`Self::select`] brought.
    pub fn image(&self, index: TableIndex, row: Vec<Option<Bytes>>) -> Result<Image, WriteError> {
        let table = &self.table(index)?.table;
        let columns = row.into_iter().zip(&table.columns);
        Ok(Image::new(
            columns
                .map(|(value, column)| match (value, &column.form) {
                    (None, _) => Datum::Null,
                    (Some(value), Form::Text) => Datum::Text(value),
                    (Some(value), _) => Datum::Binary(value),
                })
                .collect(),
        ))
    }

    /// The values that find the row with this key. Keys are stored as the source has them: only for
    /// the target are they rewritten.
    pub(crate) fn key_values(&self, key: &RowKey) -> Result<Vec<Value>, WriteError> {
        let values = key.values();
        let pairs = self.table(key.table())?.key_forms().zip(&values);
        let values = pairs.map(|(form, value)| {
            Ok(match (form, self.side) {
                (Form::Text, _) => Value::Text(value.clone()),
                (_, Side::Source) => Value::Binary(value.clone()),
                (form, Side::Target) => Value::Binary(remap::to_target(form, value)?),
            })
        });
        values.collect()
    }

    /// A row's values, NULL where one is not known; as many where there is no row.
    pub(crate) fn column_values(
        &self,
        index: TableIndex,
        image: Option<&Image>,
    ) -> Result<Vec<Value>, WriteError> {
        let columns = self.table(index)?.table.columns.iter().enumerate();
        let values = columns.map(|(place, column)| {
            let datum = image.and_then(|image| image.columns().get(place));
            let value = datum.map(|datum| value_of(&column.form, datum)).transpose();
            Ok(value?.flatten().unwrap_or(Value::Null))
        });
        values.collect()
    }

    /// The equality of each key column, in index order.
    pub(crate) fn key_operators(&self, index: TableIndex) -> Option<Vec<String>> {
        let sql = self.table(index).ok()?;
        Some(sql.key_operators().map(str::to_owned).collect())
    }

    /// What an update sets, quoted: columns of the key stay as they are where equal means the same
    /// bytes.
    pub(crate) fn updated_columns(&self, index: TableIndex) -> Vec<String> {
        let sql = self.table(index);
        sql.map_or_else(|_| Vec::new(), TableSql::updated_columns)
    }

    fn by_key(
        &self,
        connection: &mut Connection,
        statement: Statement,
        key: &RowKey,
        results: &[Format],
    ) -> Result<(), WriteError> {
        let values = self.key_values(key)?;
        execute(connection, &statement.name(), &values, results)
    }

    fn upsert_name(&self, index: TableIndex) -> &str {
        let name = self.upsert_names.get(index.as_usize());
        name.map_or("", String::as_str)
    }

    fn table(&self, index: TableIndex) -> Result<&TableSql, WriteError> {
        let table = self.tables.get(index.as_usize());
        let table = table.ok_or(WriteError::UnknownTable)?;
        table.as_ref().map_err(WriteError::clone)
    }
}

/// `image`, as the source sent it, as the target would send it: what the two are compared by.
pub fn to_target(table: &Table, image: &Image) -> Result<Image, ReadError> {
    let columns = image.columns().iter().zip(&table.columns);
    let columns = columns.map(|(datum, column)| match datum {
        Datum::Binary(value) => remap::to_target(&column.form, value).map(Datum::Binary),
        Datum::Null | Datum::Text(_) | Datum::Unchanged => Ok(datum.clone()),
    });
    columns.collect::<Result<_, _>>().map(Image::new)
}

fn value_of(form: &Form, datum: &Datum) -> Result<Option<Value>, WriteError> {
    Ok(match datum {
        Datum::Null => Some(Value::Null),
        Datum::Binary(value) => Some(Value::Binary(remap::to_target(form, value)?)),
        Datum::Text(value) => Some(Value::Text(value.clone())),
        Datum::Unchanged => None,
    })
}

const fn format_of(datum: &Datum) -> Format {
    match datum {
        // Not every type has a function that reads a NULL in binary.
        Datum::Text(_) | Datum::Null | Datum::Unchanged => Format::Text,
        Datum::Binary(_) => Format::Binary,
    }
}

/// Most values pass as they came: only those with OIDs inside are written anew.
fn put(values: &mut Values<'_>, form: &Form, datum: &Datum) -> Result<(), ReadError> {
    match (datum, form) {
        (Datum::Null | Datum::Unchanged, _) => values.push(None),
        (Datum::Text(value), _) | (Datum::Binary(value), Form::Plain | Form::Text) => {
            values.push(Some(value));
        }
        (Datum::Binary(value), form @ (Form::Array { .. } | Form::Composite { .. })) => {
            values.push(Some(&remap::to_target(form, value)?));
        }
    }
    Ok(())
}

fn execute(
    connection: &mut Connection,
    name: &str,
    values: &[Value],
    results: &[Format],
) -> Result<(), WriteError> {
    let parameters: Vec<_> = values.iter().map(Value::parameter).collect();
    Ok(connection.execute(name, &parameters, results)?)
}
