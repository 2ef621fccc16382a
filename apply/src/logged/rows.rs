//! The rows themselves: reading, writing and deleting by key.

use std::collections::HashSet;

use protocol::decide::verdict::OwedWhy;
use protocol::decide::working_set::{Net, OwedRow};
use protocol::row::{Image, RowKey};
use protocol::xid::Xid;

use super::{LoggedError, LoggedWriter};
use crate::statements::Statement;

/// One write of a net effect.
#[derive(Debug, Clone, Copy)]
enum RowWrite<'a> {
    Upsert(&'a RowKey, &'a Image),
    Delete(&'a RowKey),
}

impl LoggedWriter {
    pub(super) fn queue_select(&mut self, key: &RowKey) -> Result<(), LoggedError> {
        self.ready(Statement::Select(key.table()))?;
        Ok(self.rows.select(&mut self.connection, key)?)
    }

    pub(super) fn queue_delete(&mut self, key: &RowKey) -> Result<(), LoggedError> {
        self.ready(Statement::Delete(key.table()))?;
        Ok(self.rows.delete(&mut self.connection, key)?)
    }

    pub(super) fn queue_upsert(&mut self, key: &RowKey, image: &Image) -> Result<(), LoggedError> {
        self.ready(Statement::Upsert(key.table()))?;
        Ok(self.rows.upsert(&mut self.connection, key.table(), image)?)
    }

    /// Has `statement` prepared in front of its use, which is what comes next in the batch.
    pub(super) fn ready(&mut self, statement: Statement) -> Result<(), LoggedError> {
        self.rows.turn();
        self.rows.prepare(&mut self.connection, statement)?;
        Ok(())
    }

    /// Deletes first: a unique value may have moved from a row that went.
    pub(super) fn queue_rows(&mut self, net: &Net) -> Result<(), LoggedError> {
        for write in writes(net) {
            self.queue_write(write)?;
        }
        Ok(())
    }

    fn queue_write(&mut self, write: RowWrite<'_>) -> Result<(), LoggedError> {
        match write {
            RowWrite::Upsert(key, image) => self.queue_upsert(key, image),
            RowWrite::Delete(key) => self.queue_delete(key),
        }
    }

    /// Writes a net effect row by row within the transaction under way. A row that the target does
    /// not take now is owed, under `xid`.
    pub(super) async fn write_carefully(
        &mut self,
        mut net: Net,
        xid: Option<Xid>,
    ) -> Result<Net, LoggedError> {
        self.queue_notes(&net.findings)?;
        self.run().await?;
        let mut refused = Vec::new();
        for write in writes(&net) {
            self.simple("SAVEPOINT row").await?;
            self.queue_write(write)?;
            match self.run().await {
                Ok(_) => self.simple("RELEASE row").await?,
                Err(error) if error.is_about_the_row() => {
                    if error.is_a_collision() {
                        tracing::debug!(%error, "a row is owed");
                    } else {
                        tracing::warn!(%error, "a row is owed");
                    }
                    self.simple("ROLLBACK TO row").await?;
                    let (RowWrite::Upsert(key, _) | RowWrite::Delete(key)) = write;
                    refused.push(key.clone());
                }
                Err(error) => return Err(error),
            }
        }
        for key in refused {
            let why = OwedWhy::Constraint;
            *net.tally.owed_why.entry(why.label()).or_default() += 1;
            net.owed.push(OwedRow { key, why, xid });
        }
        self.queue_entries(&net)?;
        self.queue_owed(&net.owed)?;
        let owed: HashSet<RowKey> = super::owed_keys(&net.owed);
        self.queue_completions(&net.findings, &owed)?;
        self.run().await?;
        Ok(net)
    }
}

fn writes(net: &Net) -> impl Iterator<Item = RowWrite<'_>> {
    let deletes = net.deletes.iter().map(RowWrite::Delete);
    let upserts = net.upserts.iter();
    deletes.chain(upserts.map(|(key, image)| RowWrite::Upsert(key, image)))
}
