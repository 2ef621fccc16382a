//! Repairs that have stopped at their limit: on record, said aloud, and resumed by a person.
//!
//! Does not count: [`protocol::decide::repair`] does, in the applier's own session.

use std::time::Duration;

use apply::logged::{WRITTEN_AGAIN, WRITTEN_BY_LOG};
use protocol::contract::TableIndex;
use protocol::decide::repair::{Policy, Repairs};

use super::Applier;
use super::housekeeping::{literal, text};
use crate::Config;
use crate::error::ReconcilerError;

impl Applier<'_> {
    /// Takes up what earlier processes have repaired, so that one that dies and starts again does
    /// not begin a new share each time.
    pub(crate) async fn recall_repairs(&mut self, config: &Config) -> Result<(), ReconcilerError> {
        let (policy, limit) = (config.repair, config.max_repairs);
        self.retention = config.retention;
        self.writer.repairs().replace(Repairs::new(policy, limit));
        if policy == Policy::Dry {
            tracing::warn!("repairs are only reported (repair = dry)");
        }
        let Some(limit) = limit else {
            return Ok(());
        };
        let sql = format!(
            r#"SELECT d."table", count(*)::text,
                      extract(epoch FROM clock_timestamp() - min(d.repaired_at))::text
               FROM segue.divergence AS d LEFT JOIN segue.repair_limit AS l USING ("table")
               WHERE d.state = 'repaired' AND d.repair IN ({}, {}) AND d.kind <> 'lost_mirror'
                 AND d.repaired_at > greatest(l.resumed_at,
                                              clock_timestamp() - interval '{} seconds')
               GROUP BY d."table""#,
            literal(WRITTEN_BY_LOG),
            literal(WRITTEN_AGAIN),
            limit.window.as_secs()
        );
        for row in self.writer.connection().query_simple(&sql).await? {
            let table = text(&row, 0).and_then(|name| self.contract.find_name(&name));
            let count = text(&row, 1).and_then(|count| count.parse().ok());
            let ago = text(&row, 2).and_then(|seconds| seconds.parse().ok());
            let ago = ago.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            if let (Some((table, _)), Some(count), Some(ago)) = (table, count, ago) {
                self.writer.repairs().recall(table, ago, count);
            }
        }
        self.stopped = self.stopped_on_record().await?.into_iter().collect();
        for table in self.stopped.clone() {
            self.writer.repairs().stop(table);
        }
        Ok(())
    }

    /// Says which tables' repairs have stopped, and hears which may go on. The stop itself is on
    /// record since the transaction that held the first row back.
    pub(super) async fn keep_repairs(&mut self) -> Result<(), ReconcilerError> {
        let stopped: Vec<TableIndex> = self.writer.repairs().stopped().collect();
        for table in stopped {
            if self.stopped.insert(table) {
                self.say_stopped(table).await?;
            }
        }
        if !self.stopped.is_empty() {
            let on_record = self.stopped_on_record().await?;
            for table in self.stopped.clone() {
                if !on_record.contains(&table) {
                    self.resume_repairs(table).await?;
                }
            }
        }
        crate::metrics::repairs_stopped(self.stopped.len());
        Ok(())
    }

    async fn say_stopped(&mut self, table: TableIndex) -> Result<(), ReconcilerError> {
        let name = self.table_name(table);
        let text = format!(
            "{name} has had its share of repairs (max_repairs): what differs there is left as it \
             is until `segue repair resume {name}`"
        );
        tracing::error!("{text}");
        self.event("repairs_stopped", &text).await
    }

    async fn resume_repairs(&mut self, table: TableIndex) -> Result<(), ReconcilerError> {
        self.stopped.remove(&table);
        self.writer.repairs().resume(table);
        self.owed.resume(table);
        let text = format!("repairs of {} go on", self.table_name(table));
        tracing::warn!("{text}");
        self.event("repairs_resumed", &text).await
    }

    async fn stopped_on_record(&mut self) -> Result<Vec<TableIndex>, ReconcilerError> {
        let sql = r#"SELECT "table" FROM segue.repair_limit WHERE resumed_at IS NULL"#;
        let rows = self.writer.connection().query_simple(sql).await?;
        let names = rows.iter().filter_map(|row| text(row, 0));
        let found = names.filter_map(|name| Some(self.contract.find_name(&name)?.0));
        Ok(found.collect())
    }

    fn table_name(&self, table: TableIndex) -> String {
        let table = self.contract.table(table);
        table.map_or_else(String::new, |table| table.name.clone())
    }
}
