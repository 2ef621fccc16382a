//! How it is noticed that a table is no longer what the contract says, where the stream does not say
//! so: when a session begins, when statements fail, when tables were dropped, renamed or made anew,
//! and when a row stays refused.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use control::contract::drift::{TableNow, look, published};
use control::{Side, connect};
use protocol::contract::{Table, TableIndex};
use tokio_postgres::Client;

use super::super::Applier;
use crate::error::ReconcilerError;
use crate::relations::{Drift, Reread};

/// Tables looked at because of refused rows, at most at once.
const SUSPECTS_MAX: usize = 20;

/// A row that other rows block is settled within this time, if the log is not far behind.
const REFUSED_MIN: Duration = Duration::from_secs(3);

/// Differs once a table of the target was dropped, renamed or made anew.
const TARGET_SIGN: &str = "\
SELECT concat(count(*), '/', sum(hash_record_extended(ROW(oid, relname, relnamespace), 0)))
FROM pg_class WHERE relkind IN ('r', 'p') AND relpersistence = 'p' AND oid >= 16384";

/// The target's tables: OID, and columns with their types in the order of their names.
const TARGET_TABLES: &str = "\
SELECT n.nspname::text, c.relname::text, c.oid,
       coalesce(string_agg(concat(a.attname, ' ', format_type(a.atttypid, a.atttypmod)), E'\\n'
                           ORDER BY a.attname::text COLLATE \"C\"), '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                        AND a.attgenerated = '' AND a.attname IS NOT NULL
WHERE c.relkind IN ('r', 'p') AND c.oid >= 16384 AND c.relpersistence = 'p'
  AND n.nspname NOT IN ('information_schema', 'segue')
GROUP BY 1, 2, 3";

/// What tells that tables are others than before.
#[derive(Debug, Default)]
pub(super) struct Signs {
    publication: String,
    target: String,
    target_oids: HashMap<TableIndex, u32>,
}

/// A table of the target.
struct There {
    oid: u32,
    columns: String,
}

impl Applier<'_> {
    /// Compares the contract with both catalogs, as far as the stream would not tell, and stops what
    /// does not fit. Returns the published tables by their OIDs.
    pub(crate) async fn compare_catalogs(
        &mut self,
    ) -> Result<HashMap<u32, TableIndex>, ReconcilerError> {
        let [source, target] = self.both_sides().await?;
        self.drift.signs.publication = self.source_sign().await?;
        let oids = self.stop_unpublished(&source).await?;
        self.note_partitions(&source).await?;
        self.drift.signs.target = self.target_sign().await?;
        let there = target_tables(&target).await?;
        let mut suspects = BTreeSet::new();
        let mut missing = BTreeSet::new();
        for (index, table) in self.contract.tables() {
            let place = (table.schema.clone(), table.relation.clone());
            match there.get(&place) {
                None => {
                    missing.insert(index);
                }
                Some(found) => {
                    self.drift.signs.target_oids.insert(index, found.oid);
                    if found.columns != columns(table) {
                        suspects.insert(index);
                    }
                }
            }
        }
        self.stop_differing(&missing, Reread::Table).await?;
        self.stop_differing(&suspects, Reread::Keys).await?;
        Ok(oids)
    }

    /// A table that was dropped, renamed or made anew is not in the publication any more.
    async fn stop_unpublished(
        &mut self,
        source: &Client,
    ) -> Result<HashMap<u32, TableIndex>, ReconcilerError> {
        let publication = self.identity.names.publication.clone();
        let mut oids = HashMap::new();
        for table in published(source, Side::Source, &publication).await? {
            if let Some((index, _)) = self.contract.find(&table.schema, &table.relation) {
                oids.insert(table.oid, index);
            }
        }
        let there: BTreeSet<TableIndex> = oids.values().copied().collect();
        let gone: Vec<TableIndex> = self
            .contract
            .tables()
            .map(|(index, _)| index)
            .filter(|index| !there.contains(index) && !self.drift.is_stopped(*index))
            .collect();
        for table in gone {
            let what = "the source's publication has no table of that name any more: it was \
                        dropped, renamed or made anew";
            self.stop(&whole(table, what)).await?;
        }
        Ok(oids)
    }

    /// Looks whether tables are others than before.
    pub(in crate::applier) async fn look_at_signs(&mut self) -> Result<(), ReconcilerError> {
        let sign = self.source_sign().await?;
        if sign != self.drift.signs.publication {
            let [source, _] = self.both_sides().await?;
            self.stop_unpublished(&source).await?;
            self.stop_repartitioned(&source).await?;
            self.drift.signs.publication = sign;
        }
        let sign = self.target_sign().await?;
        if sign != self.drift.signs.target {
            let [_, target] = self.both_sides().await?;
            self.stop_replaced(&target).await?;
            self.drift.signs.target = sign;
        }
        Ok(())
    }

    async fn stop_replaced(&mut self, target: &Client) -> Result<(), ReconcilerError> {
        let there = target_tables(target).await?;
        let mut replaced = Vec::new();
        for (index, table) in self.contract.tables() {
            let found = there.get(&(table.schema.clone(), table.relation.clone()));
            let oid = found.map(|found| found.oid);
            if oid != self.drift.signs.target_oids.get(&index).copied() {
                replaced.push((index, oid));
            }
        }
        for (table, oid) in replaced {
            match oid {
                Some(oid) => self.drift.signs.target_oids.insert(table, oid),
                None => self.drift.signs.target_oids.remove(&table),
            };
            let what = "the target's table was dropped, renamed or made anew";
            if self.drift.is_stopped(table) {
                self.reread_whole(table).await?;
            } else {
                self.stop(&whole(table, what)).await?;
            }
        }
        Ok(())
    }

    /// Rows that stay refused may have another reason than other rows.
    pub(in crate::applier) async fn look_at_refused(&mut self) -> Result<(), ReconcilerError> {
        let tables = self.owed.refused(REFUSED_MIN, SUSPECTS_MAX);
        self.stop_differing(&tables, Reread::Keys).await?;
        Ok(())
    }

    /// A statement failed as if a table were not what the contract says. Those that differ are
    /// stopped and the session ends, to go on from `progress`; if none does, the error stands.
    pub(in crate::applier) async fn misfit(
        &mut self,
        tables: &BTreeSet<TableIndex>,
        error: ReconcilerError,
    ) -> Result<(), ReconcilerError> {
        tracing::warn!(%error, "a statement does not fit its table");
        self.writer.roll_back().await?;
        self.open = None;
        let reread = if error.sqlstate() == Some("42P01") {
            Reread::Table
        } else {
            Reread::Keys
        };
        if self.stop_differing(tables, reread).await? == 0 {
            return Err(error);
        }
        self.is_over = true;
        Ok(())
    }

    /// Stops those of the tables that are no longer what the contract says; says how many.
    async fn stop_differing(
        &mut self,
        tables: &BTreeSet<TableIndex>,
        reread: Reread,
    ) -> Result<usize, ReconcilerError> {
        let tables: Vec<TableIndex> = tables
            .iter()
            .copied()
            .filter(|table| !self.drift.is_stopped(*table))
            .collect();
        if tables.is_empty() {
            return Ok(0);
        }
        let [source, target] = self.both_sides().await?;
        let contract = std::sync::Arc::clone(&self.contract);
        let wanted: Vec<&Table> = tables
            .iter()
            .filter_map(|table| contract.table(*table))
            .collect();
        let now = look(&source, &target, &wanted).await?;
        let mut count = 0;
        for ((index, table), now) in tables.iter().zip(&wanted).zip(now) {
            let what = match now {
                TableNow::Agreed(now) if *now == **table && reread == Reread::Keys => continue,
                TableNow::Agreed(_) => "both sides have changed".to_owned(),
                TableNow::Differs(what) => what,
                TableNow::Gone => "neither side has it any more".to_owned(),
            };
            let drift = Drift {
                reread,
                ..whole(*index, &what)
            };
            self.stop(&drift).await?;
            count += 1;
        }
        Ok(count)
    }

    pub(super) async fn both_sides(&self) -> Result<[Client; 2], ReconcilerError> {
        let application = "segue reconciler";
        let open = async |dsn, side| {
            let client = connect(dsn, side, application).await;
            client.map_err(|error| ReconcilerError::Control(error.into()))
        };
        let [source, target] = &self.identity.databases;
        Ok([
            open(source, Side::Source).await?,
            open(target, Side::Target).await?,
        ])
    }

    async fn source_sign(&mut self) -> Result<String, ReconcilerError> {
        let publication = self.identity.names.publication.clone();
        self.source.publication_sign(&publication).await
    }

    async fn target_sign(&mut self) -> Result<String, ReconcilerError> {
        Ok(self.target_text(TARGET_SIGN).await?.unwrap_or_default())
    }
}

pub(super) fn whole(table: TableIndex, what: &str) -> Drift {
    Drift {
        table,
        what: what.to_owned(),
        columns: Vec::new(),
        reread: Reread::Table,
    }
}

/// As [`TARGET_TABLES`] has it.
fn columns(table: &Table) -> String {
    let columns = table.columns.iter();
    let mut columns: Vec<(&str, &str)> = columns
        .map(|column| (column.name.as_str(), column.type_name.as_str()))
        .collect();
    columns.sort_unstable();
    let columns = columns
        .iter()
        .map(|(name, type_name)| format!("{name} {type_name}"));
    columns.collect::<Vec<_>>().join("\n")
}

async fn target_tables(
    target: &Client,
) -> Result<HashMap<(String, String), There>, ReconcilerError> {
    let rows = target.query(TARGET_TABLES, &[]).await.map_err(|error| {
        let doing = "read the target's tables";
        ReconcilerError::Control(control::ControlError::query(Side::Target, doing, &error))
    })?;
    let there = rows.iter().map(|row| {
        let found = There {
            oid: row.get(2),
            columns: row.get(3),
        };
        ((row.get(0), row.get(1)), found)
    });
    Ok(there.collect())
}
