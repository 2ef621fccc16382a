//! Partitions that come and go at the source with rows in them: DROP TABLE, DETACH and ATTACH move
//! rows that the log says nothing of, so the table is read again as a whole.
//!
//! A partition that was made as one was empty then and needs nothing. Does not see what happened
//! while no session ran.

use std::collections::{BTreeMap, BTreeSet};

use control::{ControlError, Side};
use protocol::contract::TableIndex;
use tokio_postgres::Client;

use super::super::Applier;
use super::notice::whole;
use crate::error::ReconcilerError;

/// Per published table its partitions, and whether each was attached: its catalog rows are of
/// another transaction than its being a partition. Locks nothing.
const PARTITIONS: &str = "\
WITH RECURSIVE pieces AS (
    SELECT c.oid AS root, c.oid AS piece, false AS attached
    FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
    JOIN pg_class c ON c.oid = r.prrelid
    WHERE p.pubname = $1 AND c.relkind = 'p'
    UNION ALL
    SELECT s.root, i.inhrelid, i.xmin <> a.xmin
    FROM pieces s JOIN pg_inherits i ON i.inhparent = s.piece
    JOIN pg_attribute a ON a.attrelid = i.inhrelid AND a.attname = 'tableoid')
SELECT n.nspname::text, c.relname::text, s.piece, s.attached
FROM pieces s JOIN pg_class c ON c.oid = s.root JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE s.piece <> s.root";

/// The partitions of the contract's tables.
pub(super) type Partitions = BTreeMap<TableIndex, BTreeSet<u32>>;

impl Applier<'_> {
    /// Remembers which partitions there are.
    pub(super) async fn note_partitions(&mut self, source: &Client) -> Result<(), ReconcilerError> {
        let (now, _) = self.partitions(source).await?;
        self.drift.partitions = now;
        Ok(())
    }

    /// Stops tables whose partitions took rows along or brought some.
    pub(super) async fn stop_repartitioned(
        &mut self,
        source: &Client,
    ) -> Result<(), ReconcilerError> {
        let (now, attached) = self.partitions(source).await?;
        let before = std::mem::replace(&mut self.drift.partitions, now);
        let empty = BTreeSet::new();
        let tables: BTreeSet<TableIndex> = before
            .keys()
            .chain(self.drift.partitions.keys())
            .copied()
            .collect();
        let concerned = tables.into_iter().filter(|table| {
            let before = before.get(table).unwrap_or(&empty);
            let now = self.drift.partitions.get(table).unwrap_or(&empty);
            let came = now.difference(before).any(|piece| attached.contains(piece));
            came || !before.is_subset(now)
        });
        let concerned: Vec<TableIndex> = concerned.collect();
        for table in concerned {
            if self.drift.is_stopped(table) {
                self.reread_whole(table).await?;
            } else {
                let what = "at the source, a partition was dropped, detached or attached, and the \
                            log says nothing of its rows";
                self.stop(&whole(table, what)).await?;
            }
        }
        Ok(())
    }

    async fn partitions(
        &self,
        source: &Client,
    ) -> Result<(Partitions, BTreeSet<u32>), ReconcilerError> {
        let publication = &self.identity.names.publication;
        let rows = source.query(PARTITIONS, &[publication]).await;
        let rows = rows.map_err(|error| {
            let doing = "read the partitions";
            ReconcilerError::Control(ControlError::query(Side::Source, doing, &error))
        })?;
        let mut found = Partitions::new();
        let mut attached = BTreeSet::new();
        for row in rows {
            let (schema, relation): (&str, &str) = (row.get(0), row.get(1));
            let piece: u32 = row.get(2);
            if let Some((index, _)) = self.contract.find(schema, relation) {
                found.entry(index).or_default().insert(piece);
            }
            if row.get(3) {
                attached.insert(piece);
            }
        }
        Ok((found, attached))
    }
}
