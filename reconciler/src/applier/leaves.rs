//! TRUNCATE of a partition that the target does not have, or has with other rows in it.
//!
//! Which rows lay in it cannot be told at the target. So every row that the target has of the table
//! is owed: those that are gone at the source go when they are read again. Does not empty anything.

use std::sync::Arc;

use protocol::contract::{Table, TableIndex};
use protocol::decide::assembly::{Emptied, Truncation};
use protocol::decide::verdict::OwedWhy;
use protocol::decide::working_set::OwedRow;
use protocol::xid::Xid;

use super::Applier;
use super::housekeeping::literal;
use crate::error::ReconcilerError;
use crate::keys;

impl Applier<'_> {
    /// What of a TRUNCATE can be done by name; the tables of the other leaves are owed row by row.
    pub(super) async fn owe_foreign_leaves(
        &mut self,
        truncation: Truncation,
        xid: Xid,
    ) -> Result<Truncation, ReconcilerError> {
        let contract = Arc::clone(&self.contract);
        let mut tables = Vec::with_capacity(truncation.tables.len());
        let mut owed = Vec::new();
        for (index, emptied) in truncation.tables {
            let table = contract.table(index);
            match (&emptied, table) {
                (Emptied::Leaf { .. }, Some(table)) if !self.is_parted_alike(table).await? => {
                    if !owed.contains(&index) {
                        self.owe_all(index, table, xid).await?;
                        owed.push(index);
                    }
                }
                _ => tables.push((index, emptied)),
            }
        }
        Ok(Truncation {
            lsn: truncation.lsn,
            tables,
        })
    }

    /// Whether both sides have the same partitions under the same names with the same bounds.
    async fn is_parted_alike(&mut self, table: &Table) -> Result<bool, ReconcilerError> {
        let sql = tree(table);
        let there = self.target_text(&sql).await?;
        Ok(there.is_some() && there == self.source.optional(&sql).await?)
    }

    async fn owe_all(
        &mut self,
        index: TableIndex,
        table: &Table,
        xid: Xid,
    ) -> Result<(), ReconcilerError> {
        if !keys::are_portable(table) {
            let text = format!(
                "a partition of {} was emptied, and its rows cannot be found at the target: its \
                 key holds values of the source's own types",
                table.name
            );
            tracing::warn!("{text}");
            return self.event("truncate_missed", &text).await;
        }
        self.execute(&keys::cursor(table)).await?;
        loop {
            let some = keys::fetch(self.writer.connection(), index, table).await?;
            if some.is_empty() {
                break;
            }
            let owed: Vec<OwedRow> = some
                .into_iter()
                .map(|key| OwedRow {
                    key,
                    why: OwedWhy::Truncated,
                    xid: Some(xid),
                })
                .collect();
            self.writer.owe_rows(&owed).await?;
            for row in owed {
                self.owed.add(row.key, row.why.label(), row.xid);
            }
        }
        self.execute("CLOSE keys").await
    }
}

/// A table's partitions, each with its parent and its bound, as one text.
fn tree(table: &Table) -> String {
    let (schema, relation) = (literal(&table.schema), literal(&table.relation));
    format!(
        "WITH RECURSIVE tree AS ( \
             SELECT c.oid, 0::oid AS parent FROM pg_class c \
             JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = {schema} AND c.relname = {relation} \
             UNION ALL \
             SELECT i.inhrelid, i.inhparent FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid) \
         SELECT string_agg(concat_ws(' ', t.parent::regclass, n.nspname, c.relname, \
                    pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid)), '; ' \
                    ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\") \
         FROM tree t JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace"
    )
}
