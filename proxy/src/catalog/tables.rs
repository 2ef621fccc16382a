//! Tables as the catalog describes them: which contract table they are, and what stands against
//! capturing their rows.
//!
//! Does not decide which tables are read.

use std::collections::HashMap;

use protocol::contract::{Contract, Form, Table, TableIndex};
use protocol::decide::statement::{ColumnFacts, DeferReason, TableFacts};
use tokio_postgres::{Client, Row};

use super::load::LoadError;
use super::queries;

/// Types whose values are OIDs of the source's own objects (`regclass` and its kind), and their
/// arrays.
const LOCAL_TYPES: [u32; 22] = [
    24, 1008, 2202, 2203, 2204, 2205, 2206, 2207, 2208, 2209, 2210, 2211, 3734, 3735, 3769, 3770,
    4089, 4090, 4096, 4097, 4191, 4192,
];

/// Whole families of relations, and what judges them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) contract: &'a Contract,
    pub(super) publication: &'a str,
    pub(super) relations: &'a [u32],
    /// Functions that look at the statement's text or the session's settings.
    pub(super) sensitive: &'a [u32],
}

/// Reads them; relations that are not there any more are not in the answer.
pub(super) async fn read(
    client: &Client,
    wanted: Wanted<'_>,
) -> Result<HashMap<u32, TableFacts>, LoadError> {
    let Wanted {
        contract,
        publication,
        relations,
        sensitive,
    } = wanted;
    let rows = client
        .query(queries::TABLES, &[&publication, &relations, &sensitive])
        .await?;
    let tables = rows
        .iter()
        .map(|row| Ok((row.try_get(0)?, table(row, contract)?)));
    let mut tables = tables.collect::<Result<_, LoadError>>()?;
    let carried = carried(&tables);
    columns(client, contract, &carried, &mut tables).await?;
    Ok(tables)
}

/// Those that are in the contract, or partitions of one that is.
pub(super) fn carried(tables: &HashMap<u32, TableFacts>) -> Vec<u32> {
    let carried = tables.iter().filter(|(_, table)| table.table.is_some());
    carried.map(|(oid, _)| *oid).collect()
}

fn table(row: &Row, contract: &Contract) -> Result<TableFacts, LoadError> {
    let (schema, relation): (&str, &str) = (row.try_get(4)?, row.try_get(5)?);
    // A table made anew under the name of another is not the one that the stream carries.
    let published: bool = row.try_get(11)?;
    let found = contract.find(schema, relation).filter(|_| published);
    let key = |table: &Table| {
        let columns = table
            .key
            .iter()
            .filter_map(|place| table.columns.get(*place));
        columns.map(|column| column.name.clone()).collect()
    };
    Ok(TableFacts {
        relation: row.try_get(2)?,
        table: found.map(|(index, _)| index),
        columns: Vec::new(),
        key: found.map(|(_, table)| key(table)).unwrap_or_default(),
        obstacle: obstacle(row, found.map(|(_, table)| table))?,
    })
}

/// Why no row of this relation is captured, if so.
fn obstacle(row: &Row, table: Option<&Table>) -> Result<Option<DeferReason>, LoadError> {
    let kind: &str = row.try_get(3)?;
    let is = |place: usize| row.try_get::<_, bool>(place);
    let reason = if kind == "v" {
        Some(DeferReason::View)
    } else if is(7)? {
        Some(DeferReason::Rules)
    } else if is(8)? {
        // A statement on a table that is not carried may write to its children that are.
        Some(DeferReason::InheritedTable)
    } else {
        match table {
            None => Some(DeferReason::NotInContract),
            Some(_) if kind == "f" || is(9)? => Some(DeferReason::ForeignTable),
            Some(_) if is(6)? => Some(DeferReason::RowLevelSecurity),
            Some(_) if is(10)? => Some(DeferReason::TriggerReadsStatement),
            Some(table) => unmirrorable(table),
        }
    };
    Ok(reason)
}

fn unmirrorable(table: &Table) -> Option<DeferReason> {
    let columns = || table.columns.iter();
    if table.unmirrorable() == Some("key_equality") {
        Some(DeferReason::KeyEquality)
    } else if columns().any(|column| has_text(&column.form)) {
        Some(DeferReason::NoBinaryFormat)
    } else if columns().any(|column| LOCAL_TYPES.contains(&column.type_oid)) {
        Some(DeferReason::TypeNotPortable)
    } else {
        None
    }
}

fn has_text(form: &Form) -> bool {
    match form {
        Form::Plain => false,
        Form::Text => true,
        Form::Array { element, .. } => has_text(element),
        Form::Composite { fields } => fields.iter().any(|(_, field)| has_text(field)),
    }
}

async fn columns(
    client: &Client,
    contract: &Contract,
    carried: &[u32],
    tables: &mut HashMap<u32, TableFacts>,
) -> Result<(), LoadError> {
    for row in client.query(queries::COLUMNS, &[&carried]).await? {
        let oid: u32 = row.try_get(0)?;
        let Some(held) = tables.get_mut(&oid) else {
            continue;
        };
        let name: String = row.try_get(1)?;
        let place = held.table.and_then(|index| place(contract, index, &name));
        // A generated column is not carried, and yet part of the record.
        if row.try_get::<_, Option<bool>>(4)? == Some(true) {
            held.obstacle.get_or_insert(DeferReason::NoBinaryFormat);
        }
        held.columns.push(ColumnFacts {
            name,
            type_oid: row.try_get(2)?,
            wide: row.try_get(3)?,
            place,
        });
    }
    Ok(())
}

fn place(contract: &Contract, index: TableIndex, name: &str) -> Option<usize> {
    let columns = &contract.table(index)?.columns;
    columns.iter().position(|column| column.name == name)
}
