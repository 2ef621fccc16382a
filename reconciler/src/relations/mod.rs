//! The stream's tables by their OIDs, as the contract knows them.
//!
//! Leaves of partitioned tables stand for their root. A table that is no longer what the contract
//! says is told of once, and of its changes only the keys are handed on. Does not decide what
//! becomes of it: [`crate::applier`] does.

mod shape;

use std::collections::HashMap;
use std::sync::Arc;

use apply::connection::{Connection, ConnectionError};
use apply::statements::to_target;
use control::{Dsn, Side};
use protocol::contract::{Contract, Table, TableIndex};
use protocol::decide::assembly::{Change, Emptied};
use protocol::lsn::Lsn;
use protocol::pgoutput::{Old, Relation, Tuple};
use protocol::row::{Datum, Image, RowKey};

use self::shape::{difference, has_key, places};
use crate::error::ReconcilerError;

/// A relation of the stream.
#[derive(Debug, Clone)]
enum Known {
    /// Carried.
    Carried(Mapping),
    /// No longer what the contract says: only the keys of its changes are known.
    Drifted(Mapping),
    /// The same, and not even its key is what it was.
    Unkeyed(TableIndex),
    /// In the publication, and not in the contract.
    Ignored,
}

#[derive(Debug, Clone)]
struct Mapping {
    table: TableIndex,
    emptied: Emptied,
    /// For each column of the contract, its place in the stream's tuples.
    places: Vec<Option<usize>>,
}

/// A table turned out not to be what the contract says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Drift {
    pub(crate) table: TableIndex,
    /// In words.
    pub(crate) what: String,
    /// The columns that it is about.
    pub(crate) columns: Vec<String>,
    pub(crate) reread: Reread,
}

/// What has to be read again once a stopped table is carried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reread {
    /// The rows whose keys were put down.
    Keys,
    /// All of it: of some changes no key could be made.
    Table,
}

impl Reread {
    /// As `segue.stopped` has it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Table => "table",
        }
    }
}

/// All relations that this connection has described.
#[derive(Debug)]
pub(crate) struct Relations {
    contract: Arc<Contract>,
    dsn: Dsn,
    side: Side,
    known: HashMap<u32, Known>,
    /// The published tables when the session began, by their OIDs: a name may pass from one table
    /// to another.
    oids: HashMap<u32, TableIndex>,
}

impl Relations {
    pub(crate) fn new(
        contract: Arc<Contract>,
        dsn: Dsn,
        side: Side,
        oids: HashMap<u32, TableIndex>,
    ) -> Self {
        Self {
            contract,
            dsn,
            side,
            known: HashMap::new(),
            oids,
        }
    }

    /// Takes a description in, and says so if the table is no longer what the contract says. One
    /// that the contract does not have by name may be a partition: its root is asked for.
    pub(crate) async fn describe(
        &mut self,
        relation: &Relation,
    ) -> Result<Option<Drift>, ReconcilerError> {
        let by_name = self.contract.find(&relation.schema, &relation.name);
        let by_name = by_name.map(|(index, _)| index);
        let by_oid = self.oids.get(&relation.oid).copied();
        let (known, drift) = match (by_name, by_oid) {
            (Some(table), Some(other)) if table != other => {
                let what = format!("the name {} has passed to another table", relation.name);
                let drift = Drift {
                    table,
                    what,
                    columns: Vec::new(),
                    reread: Reread::Table,
                };
                (Known::Unkeyed(table), Some(drift))
            }
            (Some(table), _) => self.compare(table, Emptied::Whole, relation),
            (None, by_oid) => match (self.root_of(relation).await?, by_oid) {
                (Some((table, leaf)), _) => self.compare(table, leaf, relation),
                (None, Some(table)) => self.renamed(table, relation),
                (None, None) => {
                    tracing::warn!(
                        schema = relation.schema,
                        table = relation.name,
                        "not in the contract: its changes are not carried"
                    );
                    (Known::Ignored, None)
                }
            },
        };
        self.known.insert(relation.oid, known);
        Ok(drift)
    }

    /// A table of the contract under another name.
    fn renamed(&self, table: TableIndex, relation: &Relation) -> (Known, Option<Drift>) {
        let (known, drift) = self.compare(table, Emptied::Whole, relation);
        let known = match known {
            Known::Carried(mapping) => Known::Drifted(mapping),
            known @ (Known::Drifted(_) | Known::Unkeyed(_) | Known::Ignored) => known,
        };
        let drift = Drift {
            table,
            what: format!(
                "its name is now {}.{} at the {}",
                relation.schema, relation.name, self.side
            ),
            columns: Vec::new(),
            reread: drift.map_or(Reread::Keys, |drift| drift.reread),
        };
        (known, Some(drift))
    }

    /// The relation beside the contract's table.
    fn compare(
        &self,
        index: TableIndex,
        emptied: Emptied,
        relation: &Relation,
    ) -> (Known, Option<Drift>) {
        let Some(table) = self.contract.table(index) else {
            return (Known::Ignored, None);
        };
        let places = places(table, &relation.columns);
        let mapping = Mapping {
            table: index,
            emptied,
            places,
        };
        let Some((what, columns)) = difference(table, relation, self.side) else {
            return (Known::Carried(mapping), None);
        };
        let reread = if has_key(table, relation, self.side) {
            Reread::Keys
        } else {
            Reread::Table
        };
        let drift = Drift {
            table: index,
            what: format!("at the {}, {what}", self.side),
            columns,
            reread,
        };
        let known = match reread {
            Reread::Keys => Known::Drifted(mapping),
            Reread::Table => Known::Unkeyed(index),
        };
        (known, Some(drift))
    }

    async fn root_of(
        &self,
        relation: &Relation,
    ) -> Result<Option<(TableIndex, Emptied)>, ReconcilerError> {
        let mut connection = Connection::connect(&self.dsn, self.side, &[])
            .await
            .map_err(ConnectionError::from)?;
        let sql = format!(
            "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.oid = pg_catalog.pg_partition_root({}::pg_catalog.oid::pg_catalog.regclass)",
            relation.oid
        );
        let rows = connection.query_simple(&sql).await?;
        connection.close().await;
        let text = |place: usize| {
            let column = rows.first()?.get(place)?.as_ref()?;
            Some(String::from_utf8_lossy(column).into_owned())
        };
        let (Some(schema), Some(name)) = (text(0), text(1)) else {
            return Ok(None);
        };
        let leaf = Emptied::Leaf {
            schema: relation.schema.clone(),
            relation: relation.name.clone(),
        };
        let found = self.contract.find(&schema, &name);
        Ok(found.map(|(index, _)| (index, leaf)))
    }

    fn carried(&self, oid: u32) -> Option<(&Mapping, &Table)> {
        match self.known.get(&oid)? {
            Known::Carried(mapping) => Some((mapping, self.contract.table(mapping.table)?)),
            Known::Drifted(_) | Known::Unkeyed(_) | Known::Ignored => None,
        }
    }

    /// Which table and relation a TRUNCATE of `oid` empties.
    pub(crate) fn emptied(&self, oid: u32) -> Option<(TableIndex, Emptied)> {
        match self.known.get(&oid)? {
            Known::Carried(mapping) | Known::Drifted(mapping) => {
                Some((mapping.table, mapping.emptied.clone()))
            }
            Known::Unkeyed(table) => Some((*table, Emptied::Whole)),
            Known::Ignored => None,
        }
    }

    /// A row change in the contract's terms; none where the table is not carried.
    pub(crate) fn change(
        &self,
        oid: u32,
        lsn: Lsn,
        old: Option<&Old>,
        new: Option<&Tuple>,
    ) -> Result<Option<Change>, ReconcilerError> {
        if let Some(Known::Drifted(mapping)) = self.known.get(&oid) {
            return self.keys_only(mapping, lsn, old, new);
        }
        let Some((mapping, table)) = self.carried(oid) else {
            return Ok(None);
        };
        let old_image = old.map(|old| mapping.image(old.tuple()));
        let mut after = None;
        if let Some(new) = new {
            let mut image = mapping.image(new);
            if let (Some(Old::Full(_)), Some(before)) = (old, &old_image) {
                image = image.filled_from(before);
            }
            let key = RowKey::of(mapping.table, table, &image)?;
            after = Some((key, self.to_target(table, &image)?));
        }
        let before = old_image
            .map(|image| RowKey::of(mapping.table, table, &image))
            .transpose()?;
        Ok(Some(Change { lsn, before, after }))
    }

    /// A change of a table that is no longer what the contract says: which rows it is about.
    fn keys_only(
        &self,
        mapping: &Mapping,
        lsn: Lsn,
        old: Option<&Old>,
        new: Option<&Tuple>,
    ) -> Result<Option<Change>, ReconcilerError> {
        let Some(table) = self.contract.table(mapping.table) else {
            return Ok(None);
        };
        let before = old.map(|old| mapping.image(old.tuple()));
        let mut after = None;
        if let Some(new) = new {
            let mut image = mapping.image(new);
            if let (Some(Old::Full(_)), Some(before)) = (old, &before) {
                image = image.filled_from(before);
            }
            let key = RowKey::of(mapping.table, table, &image)?;
            let unknown = vec![Datum::Unchanged; table.columns.len()];
            after = Some((key, Image::new(unknown)));
        }
        let before = before.map(|image| RowKey::of(mapping.table, table, &image));
        Ok(Some(Change {
            lsn,
            before: before.transpose()?,
            after,
        }))
    }

    fn to_target(&self, table: &Table, image: &Image) -> Result<Image, ReconcilerError> {
        match self.side {
            Side::Source => to_target(table, image).map_err(|source| ReconcilerError::Stream {
                side: self.side,
                source,
            }),
            Side::Target => Ok(image.clone()),
        }
    }
}

impl Mapping {
    fn image(&self, tuple: &Tuple) -> Image {
        let columns = self.places.iter().map(|place| {
            let datum = place.and_then(|place| tuple.0.get(place));
            datum.cloned().unwrap_or(Datum::Unchanged)
        });
        Image::new(columns.collect())
    }
}
