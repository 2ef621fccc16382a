//! What has become of the carried tables' writes since the start, by table.
//!
//! Workers count for themselves and are asked once a second, and for a console; what was captured and
//! not mirrored is counted where that is found out. Bounded by the tables that have been in the
//! contract. Does not count what a transaction did to tables that nobody told of.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use protocol::contract::TableIndex;
use protocol::decide::drop_reason::DropReason;
use serde_json::{Map, Value, json};

use crate::capture::{TableCount, tally};
use crate::metrics;
use crate::mirror::MirrorTransaction;
use crate::registry::Workers;

/// Tables in the proxy's own row at the target: those of which the log brings most.
const REPORTED_MAX: usize = 200;

/// The totals, by canonical name.
#[derive(Debug, Default)]
pub(crate) struct TableTotals {
    /// Taken once a second, and for a console.
    tables: Mutex<HashMap<String, TableCount>>,
    /// What was not mirrored since the workers were asked last. Taken by whoever drops a transaction,
    /// which during an outage is every worker: so it is not the lock of the totals.
    failed: Mutex<HashMap<String, TableCount>>,
}

impl TableTotals {
    /// Asks the workers what they have counted since they were asked last.
    pub(crate) async fn gather(self: &Arc<Self>, workers: &Workers) {
        let (totals, workers) = (Arc::clone(self), workers.clone());
        // By itself: what a worker has told is told once, whether or not anybody waits.
        let gathered = tokio::spawn(async move { totals.add(workers.tables().await) });
        drop(gathered.await);
    }

    /// A captured transaction was not mirrored.
    pub(crate) fn failed(&self, transaction: &MirrorTransaction, reason: DropReason) {
        let rows = transaction.early.rows.iter();
        let mut tables: Vec<TableIndex> = rows.map(|row| row.key.table()).collect();
        tables.sort_unstable();
        tables.dedup();
        let mut failed = self.failed.lock();
        let named = tables
            .into_iter()
            .filter_map(|it| transaction.contract.table(it));
        for table in named {
            if let Some(count) = failed.get_mut(&table.name) {
                tally(&mut count.failed, reason, 1);
            } else {
                let first = TableCount {
                    failed: vec![(reason, 1)],
                    ..TableCount::default()
                };
                failed.insert(table.name.clone(), first);
            }
        }
    }

    /// What has been counted of one table; nothing if nobody has written to it.
    pub(crate) fn of(&self, table: &str) -> Option<TableCount> {
        self.tables.lock().get(table).cloned()
    }

    /// What was left to the log, by table and reason, as the proxy's row at the target holds it.
    pub(crate) fn to_json(&self) -> Value {
        let tables = self.tables.lock();
        let mut left: Vec<(&String, &TableCount)> = tables
            .iter()
            .filter(|(_, count)| count.left() > 0)
            .collect();
        left.sort_unstable_by_key(|(name, count)| (std::cmp::Reverse(count.left()), *name));
        let left = left.into_iter().take(REPORTED_MAX);
        let object = left.map(|(name, count)| {
            let deferred = count.deferred.iter().map(|(it, n)| (it.label(), *n));
            let failed = count.failed.iter().map(|(it, n)| (it.label(), *n));
            let counts = json!({"deferred": reasons(deferred), "failed": reasons(failed)});
            (name.clone(), counts)
        });
        Value::Object(object.collect())
    }

    fn add(&self, mut counts: Vec<(String, TableCount)>) {
        counts.extend(std::mem::take(&mut *self.failed.lock()));
        for (table, count) in &counts {
            metrics::table(table, count);
        }
        let mut tables = self.tables.lock();
        for (table, count) in counts {
            tables.entry(table).or_default().add(&count);
        }
    }
}

fn reasons(counts: impl Iterator<Item = (&'static str, u64)>) -> Map<String, Value> {
    counts
        .map(|(reason, count)| (reason.to_owned(), count.into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use protocol::decide::statement::DeferReason;

    use super::*;

    #[test]
    fn what_was_left_to_the_log_is_told_by_table_and_the_rest_is_not() {
        let totals = TableTotals::default();
        let left = TableCount {
            deferred: vec![(DeferReason::Bulk, 2)],
            failed: vec![(DropReason::QueueFull, 1)],
            ..TableCount::default()
        };
        let well = TableCount {
            rows: 7,
            ..TableCount::default()
        };
        totals.add(vec![("public.a".into(), left), ("public.b".into(), well)]);
        let expected = json!({
            "public.a": {"deferred": {"bulk": 2}, "failed": {"queue_full": 1}}
        });
        assert_eq!(totals.to_json(), expected);
    }
}
