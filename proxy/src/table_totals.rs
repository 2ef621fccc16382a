//! What has become of the carried tables' writes since the start, by table.
//!
//! Workers count for themselves and are asked once a second, and for a console. Bounded by the tables
//! that have been in the contract. Does not count anything itself.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::capture::TableCount;
use crate::metrics;
use crate::registry::Workers;

/// The totals, by canonical name.
#[derive(Debug, Default)]
pub(crate) struct TableTotals {
    /// Taken once a second, and for a console.
    tables: Mutex<HashMap<String, TableCount>>,
}

impl TableTotals {
    /// Asks the workers what they have counted since they were asked last.
    pub(crate) async fn gather(self: &Arc<Self>, workers: &Workers) {
        let (totals, workers) = (Arc::clone(self), workers.clone());
        // By itself: what a worker has told is told once, whether or not anybody waits.
        let gathered = tokio::spawn(async move { totals.add(workers.tables().await) });
        drop(gathered.await);
    }

    /// What has been counted of one table; nothing if nobody has written to it.
    pub(crate) fn of(&self, table: &str) -> Option<TableCount> {
        self.tables.lock().get(table).cloned()
    }

    fn add(&self, counts: Vec<(String, TableCount)>) {
        for (table, count) in &counts {
            metrics::table(table, count);
        }
        let mut tables = self.tables.lock();
        for (table, count) in counts {
            tables.entry(table).or_default().add(&count);
        }
    }
}
