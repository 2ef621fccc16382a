//! The stream's tables by their OIDs, as the contract knows them.
//!
//! Leaves of partitioned tables stand for their root. Does not tolerate a table that is no longer
//! what the contract says: the stream waits until somebody has decided.

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

use crate::error::ReconcilerError;

/// A relation of the stream.
#[derive(Debug, Clone)]
enum Known {
    /// Carried.
    Carried(Mapping),
    /// In the publication, and not in the contract.
    Ignored,
}

#[derive(Debug, Clone)]
struct Mapping {
    table: TableIndex,
    emptied: Emptied,
    /// For each column of the contract, its place in the stream's tuples.
    places: Vec<usize>,
}

/// All relations that this connection has described.
#[derive(Debug)]
pub(crate) struct Relations {
    contract: Arc<Contract>,
    dsn: Dsn,
    side: Side,
    known: HashMap<u32, Known>,
}

impl Relations {
    pub(crate) fn new(contract: Arc<Contract>, dsn: Dsn, side: Side) -> Self {
        Self {
            contract,
            dsn,
            side,
            known: HashMap::new(),
        }
    }

    /// Takes a description in. One that the contract does not have by name may be a partition: its
    /// root is asked for.
    pub(crate) async fn describe(&mut self, relation: &Relation) -> Result<(), ReconcilerError> {
        let by_name = self.contract.find(&relation.schema, &relation.name);
        let found = match by_name {
            Some((index, _)) => Some((index, Emptied::Whole)),
            None => self.root_of(relation).await?,
        };
        let known = match found {
            None => {
                tracing::warn!(
                    schema = relation.schema,
                    table = relation.name,
                    "not in the contract: its changes are not carried"
                );
                Known::Ignored
            }
            Some((table, emptied)) => Known::Carried(Mapping {
                table,
                emptied,
                places: self.places(table, relation)?,
            }),
        };
        self.known.insert(relation.oid, known);
        Ok(())
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

    fn places(
        &self,
        index: TableIndex,
        relation: &Relation,
    ) -> Result<Vec<usize>, ReconcilerError> {
        let Some(table) = self.contract.table(index) else {
            return Ok(Vec::new());
        };
        let drift = |what: String| ReconcilerError::SchemaDrift {
            table: table.name.clone(),
            what,
        };
        let mut places = Vec::with_capacity(table.columns.len());
        for column in &table.columns {
            let mut columns = relation.columns.iter();
            let place = columns.position(|found| found.name == column.name);
            let place = place.ok_or_else(|| drift(format!("column {} is gone", column.name)))?;
            let found = relation.columns.get(place).map(|found| found.type_oid);
            if self.side == Side::Source && found != Some(column.type_oid) {
                return Err(drift(format!("column {} has another type", column.name)));
            }
            places.push(place);
        }
        let mut columns = relation.columns.iter();
        let is_new = |name: &str| table.columns.iter().all(|column| column.name != name);
        match columns.find(|found| is_new(&found.name)) {
            Some(added) if self.side == Side::Source => {
                Err(drift(format!("column {} is new", added.name)))
            }
            Some(_) | None => Ok(places),
        }
    }

    fn carried(&self, oid: u32) -> Option<(&Mapping, &Table)> {
        match self.known.get(&oid)? {
            Known::Carried(mapping) => Some((mapping, self.contract.table(mapping.table)?)),
            Known::Ignored => None,
        }
    }

    /// Which table and relation a TRUNCATE of `oid` empties.
    pub(crate) fn emptied(&self, oid: u32) -> Option<(TableIndex, Emptied)> {
        let (mapping, _) = self.carried(oid)?;
        Some((mapping.table, mapping.emptied.clone()))
    }

    /// A row change in the contract's terms; none where the table is not carried.
    pub(crate) fn change(
        &self,
        oid: u32,
        lsn: Lsn,
        old: Option<&Old>,
        new: Option<&Tuple>,
    ) -> Result<Option<Change>, ReconcilerError> {
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
            let datum = tuple.0.get(*place);
            datum.cloned().unwrap_or(Datum::Unchanged)
        });
        Image::new(columns.collect())
    }
}
