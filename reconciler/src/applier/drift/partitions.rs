//! Partitions that come and go at the source with rows in them: DROP TABLE, DETACH and ATTACH move
//! rows that the log says nothing of, so the table is read again as a whole.
//!
//! What there is stands in `segue.partitions`, so that what happens while no session runs is noticed
//! by the next one. A partition that was made as one was empty then and needs nothing. Does not see
//! what happens between setup and the first session.

use std::collections::{BTreeMap, BTreeSet};

use control::{ControlError, Side};
use protocol::contract::TableIndex;
use tokio_postgres::Client;

use super::super::Applier;
use super::super::housekeeping::{literal, text};
use super::notice::whole;
use crate::error::ReconcilerError;

/// Per published table itself and its partitions: since which transaction it is one (a partition
/// that went and came again has another), and whether it was attached: its catalog rows are of
/// another transaction than its being a partition. Locks nothing.
const PARTITIONS: &str = "\
WITH RECURSIVE pieces AS (
    SELECT c.oid AS root, c.oid AS piece, 0::int8 AS since, false AS attached
    FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
    JOIN pg_class c ON c.oid = r.prrelid
    WHERE p.pubname = $1 AND c.relkind = 'p'
    UNION ALL
    SELECT s.root, i.inhrelid, i.xmin::text::int8, i.xmin <> a.xmin
    FROM pieces s JOIN pg_inherits i ON i.inhparent = s.piece
    JOIN pg_attribute a ON a.attrelid = i.inhrelid AND a.attname = 'tableoid')
SELECT n.nspname::text, c.relname::text, s.piece, s.since, s.attached
FROM pieces s JOIN pg_class c ON c.oid = s.root JOIN pg_namespace n ON n.oid = c.relnamespace";

/// A table's OID, and since which transaction it is a partition.
type Piece = (u32, i64);

/// The partitions of the contract's tables.
pub(super) type Partitions = BTreeMap<TableIndex, BTreeSet<Piece>>;

/// What there is now.
struct Found {
    partitions: Partitions,
    attached: BTreeSet<Piece>,
}

impl Applier<'_> {
    /// Compares with what the session before has seen, and remembers what there is. Of a table that
    /// none has seen nothing is known.
    pub(super) async fn note_partitions(&mut self, source: &Client) -> Result<(), ReconcilerError> {
        let found = self.partitions(source).await?;
        let stored = self.stored_partitions().await?;
        let known = stored.keys().copied().collect();
        self.take_partitions(stored, found, &known).await
    }

    /// Stops tables whose partitions took rows along or brought some.
    pub(super) async fn stop_repartitioned(
        &mut self,
        source: &Client,
    ) -> Result<(), ReconcilerError> {
        let found = self.partitions(source).await?;
        let before = std::mem::take(&mut self.drift.partitions);
        let all = before.keys().chain(found.partitions.keys());
        let all = all.copied().collect();
        self.take_partitions(before, found, &all).await
    }

    /// First the stop, then what there is: whoever dies between the two finds it again.
    async fn take_partitions(
        &mut self,
        before: Partitions,
        found: Found,
        judged: &BTreeSet<TableIndex>,
    ) -> Result<(), ReconcilerError> {
        let Found {
            partitions: now,
            attached,
        } = found;
        for table in judged {
            let [before, now] = [&before, &now].map(|it| it.get(table));
            if !moved_rows(before, now, &attached) {
                continue;
            }
            if self.drift.is_stopped(*table) {
                self.reread_whole(*table).await?;
            } else {
                let what = "at the source, a partition was dropped, detached or attached, and the \
                            log says nothing of its rows";
                self.stop(&whole(*table, what)).await?;
            }
        }
        self.store_partitions(&before, &now).await?;
        self.drift.partitions = now;
        Ok(())
    }

    async fn partitions(&self, source: &Client) -> Result<Found, ReconcilerError> {
        let publication = &self.identity.names.publication;
        let rows = source.query(PARTITIONS, &[publication]).await;
        let rows = rows.map_err(|error| {
            let doing = "read the partitions";
            ReconcilerError::Control(ControlError::query(Side::Source, doing, &error))
        })?;
        let mut partitions = Partitions::new();
        let mut attached = BTreeSet::new();
        for row in rows {
            let (schema, relation): (&str, &str) = (row.get(0), row.get(1));
            let piece: Piece = (row.get(2), row.get(3));
            if let Some((index, _)) = self.contract.find(schema, relation) {
                partitions.entry(index).or_default().insert(piece);
            }
            if row.get(4) {
                attached.insert(piece);
            }
        }
        Ok(Found {
            partitions,
            attached,
        })
    }

    async fn stored_partitions(&mut self) -> Result<Partitions, ReconcilerError> {
        let sql = r#"SELECT "table", pieces FROM segue.partitions"#;
        let rows = self.writer.connection().query_simple(sql).await?;
        let stored = rows.iter().filter_map(|row| {
            let (table, _) = self.contract.find_name(&text(row, 0)?)?;
            Some((table, parse(&text(row, 1)?)))
        });
        Ok(stored.collect())
    }

    async fn store_partitions(
        &mut self,
        before: &Partitions,
        now: &Partitions,
    ) -> Result<(), ReconcilerError> {
        let changed = now
            .iter()
            .filter(|(table, it)| before.get(table) != Some(it));
        let rows = changed.filter_map(|(table, pieces)| {
            let name = literal(&self.contract.table(*table)?.name);
            Some(format!("({name}, '{}')", written(pieces)))
        });
        let rows: Vec<String> = rows.collect();
        if rows.is_empty() {
            return Ok(());
        }
        self.execute(&format!(
            r#"INSERT INTO segue.partitions ("table", pieces) VALUES {}
               ON CONFLICT ("table") DO UPDATE SET pieces = excluded.pieces"#,
            rows.join(", ")
        ))
        .await
    }
}

/// Whether rows went or came with a partition.
fn moved_rows(
    before: Option<&BTreeSet<Piece>>,
    now: Option<&BTreeSet<Piece>>,
    attached: &BTreeSet<Piece>,
) -> bool {
    let empty = BTreeSet::new();
    let (before, now) = (before.unwrap_or(&empty), now.unwrap_or(&empty));
    let came = now.difference(before).any(|piece| attached.contains(piece));
    came || !before.is_subset(now)
}

/// `16401/734 16405/735`.
fn written(pieces: &BTreeSet<Piece>) -> String {
    let pieces = pieces.iter().map(|(oid, since)| format!("{oid}/{since}"));
    pieces.collect::<Vec<_>>().join(" ")
}

fn parse(text: &str) -> BTreeSet<Piece> {
    let pieces = text.split(' ').filter_map(|piece| {
        let (oid, since) = piece.split_once('/')?;
        Some((oid.parse().ok()?, since.parse().ok()?))
    });
    pieces.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pieces: &[Piece]) -> BTreeSet<Piece> {
        pieces.iter().copied().collect()
    }

    #[test]
    fn what_is_stored_is_read_as_it_was() {
        let pieces = set(&[(7, 0), (16_401, 734)]);
        assert_eq!(parse(&written(&pieces)), pieces);
        assert_eq!(parse(""), set(&[]));
    }

    #[test]
    fn rows_move_with_what_is_attached_or_gone_and_with_nothing_that_was_made_empty() {
        let moved = |before: &[Piece], now: &[Piece], attached: &[Piece]| {
            moved_rows(Some(&set(before)), Some(&set(now)), &set(attached))
        };
        let (old, new) = ((7, 10), (8, 20));
        assert!(!moved(&[old], &[old], &[old]));
        assert!(!moved(&[old], &[old, new], &[]), "made as a partition");
        assert!(moved(&[old], &[old, new], &[new]));
        assert!(moved(&[old, new], &[old], &[]));
        assert!(moved(&[old], &[(7, 30)], &[(7, 30)]), "it was away");
    }
}
