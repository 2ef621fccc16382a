//! Single parts of the catalog, read whole.
//!
//! Does not decide when to read which, and keeps nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use control::contract::{build_from_source, load_from_source};
use protocol::contract::Contract;
use protocol::revision::Epoch;
use tokio_postgres::Client;

use super::queries;

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

/// Where a reading's contract comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Setup has stored it.
    Stored,
    /// Setup has not been here: the catalog itself.
    Missing,
}

/// The frozen schema, and what op ids are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) contract: Arc<Contract>,
    pub(super) epoch: Epoch,
    /// Matters only where something is sent.
    pub(super) system_identifier: u64,
    /// The source's in this epoch, if that is known.
    pub(super) timeline: Option<i32>,
}

/// A table with all its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Family {
    pub(super) members: Vec<u32>,
    /// Differs once anything of a member has changed.
    pub(super) mark: String,
}

/// Names by what they can mean: schema, relation, OID.
pub(super) type Names = HashMap<String, HashMap<String, u32>>;

/// Per role the tables that it may read.
pub(super) type Readable = HashMap<String, HashSet<u32>>;

/// Names that may call what is volatile: functions and operators; types and views.
pub(super) type Calling = (HashSet<String>, HashSet<String>);

pub(super) async fn contract(client: &Client, found: Found) -> Result<Stored, LoadError> {
    let stored = async {
        Ok(match found {
            Found::Stored => {
                let phase = load_from_source(client).await?;
                Stored {
                    contract: Arc::new(phase.contract),
                    epoch: phase.epoch,
                    system_identifier: phase.system_identifier,
                    timeline: phase.timeline,
                }
            }
            Found::Missing => Stored {
                contract: Arc::new(build_from_source(client).await?),
                epoch: Epoch::FIRST,
                system_identifier: 0,
                timeline: None,
            },
        })
    };
    stored
        .await
        .map_err(|error| LoadError::Control(Box::new(error)))
}

/// The relations that matter to an analysis.
pub(super) async fn watched(client: &Client, publication: &str) -> Result<Vec<u32>, LoadError> {
    let rows = client.query(queries::WATCHED, &[&publication]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// What the names of the watched relations can mean.
pub(super) async fn names(client: &Client, watched: &[u32]) -> Result<Names, LoadError> {
    let mut names = Names::new();
    for row in client.query(queries::NAMES, &[&watched]).await? {
        let schema = names.entry(row.try_get(1)?).or_default();
        schema.insert(row.try_get(2)?, row.try_get(0)?);
    }
    Ok(names)
}

/// Schema and name of tables that are not watched.
pub(super) async fn others(
    client: &Client,
    watched: &[u32],
) -> Result<Vec<(String, String)>, LoadError> {
    let rows = client.query(queries::OTHERS, &[&watched]).await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect()
}

/// The watched relations by the root of their family.
pub(super) async fn families(
    client: &Client,
    watched: &[u32],
    publication: &str,
) -> Result<HashMap<u32, Family>, LoadError> {
    let rows = client
        .query(queries::FAMILIES, &[&watched, &publication])
        .await?;
    let family = |row: &tokio_postgres::Row| {
        let (members, mark) = (row.try_get(1)?, row.try_get(2)?);
        Ok((row.try_get(0)?, Family { members, mark }))
    };
    rows.iter().map(family).collect()
}

/// Functions that look at the statement's text or the session's settings.
pub(super) async fn sensitive(client: &Client) -> Result<Vec<u32>, LoadError> {
    let rows = client.query(queries::SENSITIVE, &[]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

pub(super) async fn functions(client: &Client) -> Result<Calling, LoadError> {
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

/// What each role may read of `tables`. `wanted` are roles besides those that can log in, of which
/// there are at most `roles_max`.
pub(super) async fn readable(
    client: &Client,
    tables: &[u32],
    wanted: &[String],
    roles_max: i64,
) -> Result<Readable, LoadError> {
    let rows = client
        .query(queries::READABLE, &[&tables, &wanted, &roles_max])
        .await?;
    let of_role = |row: &tokio_postgres::Row| {
        let oids: Vec<u32> = row.try_get(1)?;
        Ok((row.try_get(0)?, oids.into_iter().collect()))
    };
    rows.iter().map(of_role).collect()
}
