//! One reading of the catalog: the answers put together into facts.
//!
//! Does not decide when to read, and does not publish.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use control::contract::{build_from_source, load_from_source};
use protocol::contract::{Contract, Form, Table, TableIndex};
use protocol::decide::statement::{CatalogFacts, ColumnFacts, DeferReason, TableFacts};
use protocol::revision::Epoch;
use tokio_postgres::{Client, Row};

use super::{CatalogView, queries};

/// Pairs of role and table whose privileges are read at once.
const PRIVILEGES_MAX: usize = 200_000;
/// Types whose values are OIDs of the source's own objects (`regclass` and its kind), and their
/// arrays.
const LOCAL_TYPES: [u32; 22] = [
    24, 1008, 2202, 2203, 2204, 2205, 2206, 2207, 2208, 2209, 2210, 2211, 3734, 3735, 3769, 3770,
    4089, 4090, 4096, 4097, 4191, 4192,
];

/// The catalog could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// The `segue` schema is not there or cannot be read.
    #[error(transparent)]
    Control(Box<control::ControlError>),
    /// A question failed.
    #[error("cannot read the source's catalog: {}", control::describe(.0))]
    Query(#[from] tokio_postgres::Error),
}

/// Where the contract is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContractFrom {
    /// What setup has stored.
    Setup,
    /// The same, or the catalog itself where setup has not been here: nothing is sent anywhere.
    SetupOrCatalog,
}

/// Where this reading's contract comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Stored,
    Missing,
}

/// Whether there is a stored contract to be used.
pub(super) async fn find(client: &Client, from: ContractFrom) -> Result<Found, LoadError> {
    if from == ContractFrom::Setup {
        return Ok(Found::Stored);
    }
    let row = client.query_one(queries::IS_SET_UP, &[]).await?;
    Ok(if row.try_get(0)? {
        Found::Stored
    } else {
        Found::Missing
    })
}

/// What tells whether anything has changed since the last reading.
pub(super) async fn fingerprint(client: &Client, found: Found) -> Result<String, LoadError> {
    let row = client.query_one(queries::FINGERPRINT, &[]).await?;
    let contract = match found {
        Found::Stored => queries::PHASE_FINGERPRINT,
        Found::Missing => queries::KEYS_FINGERPRINT,
    };
    let contract = client.query_one(contract, &[]).await?;
    Ok(format!(
        "{}:{}",
        row.try_get::<_, String>(0)?,
        contract.try_get::<_, String>(0)?
    ))
}

/// The contract, and what op ids are made of; the latter matters only where something is sent.
async fn contract(
    client: &Client,
    found: Found,
) -> Result<(Arc<Contract>, Epoch, u64), control::ControlError> {
    match found {
        Found::Stored => {
            let phase = load_from_source(client).await?;
            let contract = Arc::new(phase.contract);
            Ok((contract, phase.epoch, phase.system_identifier))
        }
        Found::Missing => {
            let contract = build_from_source(client).await?;
            Ok((Arc::new(contract), Epoch::FIRST, 0))
        }
    }
}

/// Reads everything. `generation` is that of the new facts, `roles` are wanted besides those that
/// can log in.
pub(super) async fn load(
    client: &Client,
    generation: u64,
    roles: &[String],
    found: Found,
) -> Result<CatalogView, LoadError> {
    let (contract, epoch, system_identifier) = contract(client, found)
        .await
        .map_err(|error| LoadError::Control(Box::new(error)))?;
    let mut tables = tables(client, &contract).await?;
    let carried: Vec<u32> = carried(&tables);
    columns(client, &contract, &carried, &mut tables).await?;
    let (functions, calling_relations) = functions(client).await?;
    let facts = CatalogFacts {
        generation,
        relations: relations(client).await?,
        tables,
        functions,
        calling_relations,
        readable: readable(client, &carried, roles).await?,
        contract,
    };
    Ok(CatalogView {
        stamp: 0,
        facts: Arc::new(facts),
        epoch,
        system_identifier,
        choices: Arc::default(),
    })
}

async fn relations(client: &Client) -> Result<HashMap<String, HashMap<String, u32>>, LoadError> {
    let mut relations: HashMap<String, HashMap<String, u32>> = HashMap::new();
    for row in client.query(queries::RELATIONS, &[]).await? {
        let schema = relations.entry(row.try_get(1)?).or_default();
        schema.insert(row.try_get(2)?, row.try_get(0)?);
    }
    Ok(relations)
}

async fn tables(
    client: &Client,
    contract: &Contract,
) -> Result<HashMap<u32, TableFacts>, LoadError> {
    let database: String = client.query_one(queries::DATABASE, &[]).await?.try_get(0)?;
    let publication = control::names(&database).publication;
    let rows = client.query(queries::TABLES, &[&publication]).await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, table(row, contract)?)))
        .collect()
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

fn carried(tables: &HashMap<u32, TableFacts>) -> Vec<u32> {
    let carried = tables.iter().filter(|(_, table)| table.table.is_some());
    carried.map(|(oid, _)| *oid).collect()
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

async fn functions(client: &Client) -> Result<(HashSet<String>, HashSet<String>), LoadError> {
    let (mut functions, mut relations) = (HashSet::new(), HashSet::new());
    for row in client.query(queries::FUNCTIONS, &[]).await? {
        let names = if row.try_get(1)? {
            &mut relations
        } else {
            &mut functions
        };
        names.insert(row.try_get(0)?);
    }
    Ok((functions, relations))
}

async fn readable(
    client: &Client,
    carried: &[u32],
    roles: &[String],
) -> Result<HashMap<String, HashSet<u32>>, LoadError> {
    let roles_max = (PRIVILEGES_MAX / carried.len().max(1)).max(roles.len());
    let roles_max = i64::try_from(roles_max).unwrap_or(i64::MAX);
    let mut readable = HashMap::new();
    let rows = client
        .query(queries::READABLE, &[&carried, &roles, &roles_max])
        .await?;
    for row in rows {
        let oids: Vec<u32> = row.try_get(1)?;
        readable.insert(row.try_get(0)?, oids.into_iter().collect());
    }
    Ok(readable)
}
