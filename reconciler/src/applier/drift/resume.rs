//! How a stopped table is carried again.
//!
//! Both catalogs have to agree on a shape, and the stream has to be past a source position taken
//! after they were read: then all changes of another shape lie behind, because an ALTER TABLE lets
//! no transaction that has written to the table outlive it. A new shape first becomes the contract's
//! on both sides; proxies find it there. A session with that contract then settles what was kept.
//! Each step can be done twice, so that it does not matter where it was interrupted.

use control::contract::drift::{Published, TableNow, look, next, publish, published, replace};
use control::{Side, contract};
use protocol::contract::{Column, Table, TableIndex};
use protocol::decide::sweep::has_passed;
use protocol::decide::verdict::OwedWhy;
use protocol::decide::working_set::OwedRow;
use protocol::lsn::Lsn;
use tokio_postgres::Client;

use super::super::Applier;
use super::super::housekeeping::literal;
use super::NEVER;
use crate::error::ReconcilerError;
use crate::keys;
use crate::relations::{Drift, Reread};
use crate::source::Source;

/// What a look at a stopped table leads to.
enum Step {
    /// It stays stopped.
    Wait,
    /// The contract has to follow; none: the table leaves it.
    Follow(Option<Box<Table>>),
    /// It is what the contract says.
    Finish,
}

impl Applier<'_> {
    /// Looks whether stopped tables can be carried again.
    pub(in crate::applier) async fn resume_stopped(&mut self) -> Result<(), ReconcilerError> {
        self.close_settled().await?;
        if self.drift.is_empty() {
            return Ok(());
        }
        let both = self.both_sides().await?;
        let [source, target] = &both;
        let contract = std::sync::Arc::clone(&self.contract);
        let stopped: Vec<(TableIndex, &Table)> = contract
            .tables()
            .filter(|(index, _)| self.drift.is_stopped(*index))
            .collect();
        let wanted: Vec<&Table> = stopped.iter().map(|(_, table)| *table).collect();
        let now = look(source, target, &wanted).await?;
        let here = self.source.whereabouts(&self.identity.names.slot).await?;
        let drained = self.drain().await?;
        let mut changes = Vec::new();
        for ((index, table), now) in stopped.into_iter().zip(now) {
            let step = self.step_of(index, table, now, here.insert_lsn).await?;
            match step {
                Step::Wait => {}
                Step::Follow(_) | Step::Finish if !drained => {}
                Step::Follow(now) => {
                    self.leave_shape(index, table, now.as_deref()).await?;
                    changes.push((table.name.clone(), now.map(|now| *now)));
                }
                Step::Finish => {
                    if self.publish(index, table, &both).await? {
                        self.finish(index, table).await?;
                        self.is_over = true;
                    }
                }
            }
        }
        if !changes.is_empty() {
            self.follow(&both, &changes).await?;
            self.is_over = true;
        }
        Ok(())
    }

    /// Early writes that were let in before the table was stopped have to have ended.
    async fn drain(&mut self) -> Result<bool, ReconcilerError> {
        let ends = self
            .target_xid("SELECT pg_snapshot_xmax(pg_current_snapshot())")
            .await?;
        let oldest = self
            .target_xid("SELECT pg_snapshot_xmin(pg_current_snapshot())")
            .await?;
        let mut drained = true;
        for stopped in self.drift.stopped.values_mut() {
            drained &= oldest >= *stopped.drained_at.get_or_insert(ends);
        }
        Ok(drained)
    }

    async fn step_of(
        &mut self,
        index: TableIndex,
        table: &Table,
        now: TableNow,
        here: Lsn,
    ) -> Result<Step, ReconcilerError> {
        let passed = self.passed;
        let Some(stopped) = self.drift.stopped.get_mut(&index) else {
            return Ok(Step::Wait);
        };
        match now {
            TableNow::Differs(hint) => {
                let drift = Drift {
                    table: index,
                    what: with_hint(&stopped.what, &hint),
                    columns: Vec::new(),
                    reread: stopped.reread,
                };
                self.drifted(&drift).await?;
                Ok(Step::Wait)
            }
            TableNow::Gone => Ok(Step::Follow(None)),
            TableNow::Agreed(now) => {
                let since = match stopped.agreed.take() {
                    Some((before, since)) if before == now => since,
                    Some(_) | None => here,
                };
                stopped.agreed = Some((now.clone(), since));
                Ok(if !has_passed(passed, since) {
                    Step::Wait
                } else if *now == *table {
                    Step::Finish
                } else {
                    Step::Follow(Some(now))
                })
            }
        }
    }

    /// Before the contract changes: keys of another form mean nothing under the new one, and of a
    /// table that is gone nothing is left to be done.
    async fn leave_shape(
        &mut self,
        index: TableIndex,
        table: &Table,
        now: Option<&Table>,
    ) -> Result<(), ReconcilerError> {
        match now {
            Some(now) if same_key(table, now) => Ok(()),
            Some(_) => self.reread_whole(index).await,
            None => self.part_with(table).await,
        }
    }

    /// A table that neither side has any more.
    async fn part_with(&mut self, table: &Table) -> Result<(), ReconcilerError> {
        let name = literal(&table.name);
        let said = literal(&format!(
            "{} is no longer carried: neither side has it",
            table.name
        ));
        let sql = format!(
            r#"DELETE FROM segue.owed WHERE "table" = {name};
               DELETE FROM segue.row_rev WHERE "table" = {name};
               UPDATE segue.divergence SET state = 'repaired', repaired_at = clock_timestamp(),
                      repair = 'neither side has the table any more'
               WHERE "table" = {name} AND state = 'open';
               DELETE FROM segue.stopped WHERE "table" = {name};
               INSERT INTO segue.event (kind, text) VALUES ('table_gone', {said})"#
        );
        self.writer.alone(&sql).await?;
        Ok(())
    }

    /// Makes the new shapes the contract's.
    async fn follow(
        &mut self,
        [source, target]: &[Client; 2],
        changes: &[(String, Option<Table>)],
    ) -> Result<(), ReconcilerError> {
        let stored = contract::load_from_source(source).await?;
        let after = next(&stored.contract, changes);
        let epoch = self.identity.epochs.current();
        if replace(source, target, epoch, [&stored.contract, &after]).await? {
            let version = after.version;
            let names: Vec<&str> = changes.iter().map(|(name, _)| name.as_str()).collect();
            let text = format!(
                "the contract is now version {version}: {} changed at both sides",
                names.join(", ")
            );
            tracing::info!("{text}");
            self.event("contract_changed", &text).await?;
        }
        Ok(())
    }

    /// Whether the table is in the source's publication; one that was made anew is put there, and
    /// read as a whole once the stream is past that.
    async fn publish(
        &mut self,
        index: TableIndex,
        table: &Table,
        [source, target]: &[Client; 2],
    ) -> Result<bool, ReconcilerError> {
        let names = self.identity.names.clone();
        let there = published(source, Side::Source, &names.publication).await?;
        let is_it =
            |found: &Published| found.schema == table.schema && found.relation == table.relation;
        let watched = published(target, Side::Target, &names.target_publication).await?;
        if !watched.is_empty() && !watched.iter().any(is_it) {
            publish(target, Side::Target, &names.target_publication, table).await?;
        }
        if there.iter().any(is_it) {
            return Ok(true);
        }
        self.reread_whole(index).await?;
        publish(source, Side::Source, &names.publication, table).await?;
        if let Some(stopped) = self.drift.stopped.get_mut(&index) {
            // From here on changes are in the stream; those before it have to be visible.
            stopped.agreed = None;
        }
        Ok(false)
    }

    /// The table is what the contract says: what was kept is owed, and early writes may enter again.
    async fn finish(&mut self, index: TableIndex, table: &Table) -> Result<(), ReconcilerError> {
        let Some(stopped) = self.drift.stopped.get(&index) else {
            return Ok(());
        };
        let (reread, what) = (stopped.reread, without_hint(&stopped.what).to_owned());
        if reread == Reread::Table && !keys::are_portable(table) {
            self.owe_keys(index, table, Side::Source).await?;
            let text = format!(
                "rows of {} that only the target has cannot be found: its key holds values of the \
                 source's own types",
                table.name
            );
            tracing::warn!("{text}");
            self.event("reread_partly", &text).await?;
        } else if reread == Reread::Table {
            for side in [Side::Source, Side::Target] {
                self.owe_keys(index, table, side).await?;
            }
        }
        let here = self.source.whereabouts(&self.identity.names.slot).await?;
        let floor = self.revision(here.insert_lsn)?;
        let version = self.contract.version;
        debug_assert!(version < NEVER, "a contract's version is a small number");
        let kept = match reread {
            Reread::Keys => "the rows that changed meanwhile were read again",
            Reread::Table => "the whole table was read again",
        };
        let name = literal(&table.name);
        let repair = literal(&format!("{what}; then both sides agreed, and {kept}"));
        let said = literal(&format!(
            "{} goes on: both sides agree on it again",
            table.name
        ));
        self.writer
            .alone(&format!(
                r#"INSERT INTO segue.owed ("table", key, why)
                   SELECT "table", key, 'schema_drift' FROM segue.row_rev
                   WHERE "table" = {name} AND NOT verified ON CONFLICT DO NOTHING;
                   DELETE FROM segue.row_rev WHERE "table" = {name};
                   UPDATE segue.table_floor SET floor = greatest(floor, {floor}),
                          contract = {version} WHERE "table" = {name};
                   UPDATE segue.divergence d SET repair = {repair} FROM segue.stopped s
                   WHERE s."table" = {name} AND d.id = s.divergence;
                   DELETE FROM segue.stopped WHERE "table" = {name};
                   INSERT INTO segue.event (kind, text) VALUES ('table_resumed', {said})"#
            ))
            .await?;
        tracing::info!(table = table.name, "the table goes on");
        Ok(())
    }

    /// Every key that one side has is owed.
    async fn owe_keys(
        &mut self,
        index: TableIndex,
        table: &Table,
        side: Side,
    ) -> Result<(), ReconcilerError> {
        let [source, target] = &self.identity.databases;
        let dsn = match side {
            Side::Source => source,
            Side::Target => target,
        };
        let contract = std::sync::Arc::clone(&self.contract);
        let mut keys = Source::open_at(dsn, side, contract).await?;
        keys.begin_keys(table).await?;
        loop {
            let some = keys.more_keys(index, table).await?;
            if some.is_empty() {
                return Ok(());
            }
            let owed: Vec<OwedRow> = some
                .into_iter()
                .map(|key| OwedRow {
                    key,
                    why: OwedWhy::SchemaDrift,
                    xid: None,
                })
                .collect();
            self.writer.owe_rows(&owed).await?;
        }
    }

    /// A drift is over once the last row that it has kept is right.
    async fn close_settled(&mut self) -> Result<(), ReconcilerError> {
        if !self.drift.closing {
            return Ok(());
        }
        let over = "kind = 'schema_drift' AND state = 'open' \
                    AND NOT EXISTS (SELECT FROM segue.stopped s WHERE s.divergence = d.id)";
        self.execute(&format!(
            r#"UPDATE segue.divergence d SET state = 'repaired', repaired_at = clock_timestamp()
               WHERE {over} AND NOT EXISTS (SELECT FROM segue.owed o
                     WHERE o."table" = d."table" AND o.why = 'schema_drift')"#
        ))
        .await?;
        let left = format!("SELECT count(*)::text FROM segue.divergence d WHERE {over}");
        self.drift.closing = self
            .target_text(&left)
            .await?
            .is_none_or(|left| left != "0");
        Ok(())
    }
}

/// Between what happened and what is to be done.
const HINT: &str = "; to go on: ";

fn with_hint(what: &str, hint: &str) -> String {
    let what = without_hint(what);
    if what == hint {
        what.to_owned()
    } else {
        format!("{what}{HINT}{hint}")
    }
}

fn without_hint(what: &str) -> &str {
    what.split_once(HINT).map_or(what, |(what, _)| what)
}

/// Whether keys made under one shape mean the same under the other.
fn same_key(before: &Table, now: &Table) -> bool {
    let key = |table: &Table| -> Vec<Column> {
        let columns = table
            .key
            .iter()
            .filter_map(|place| table.columns.get(*place));
        columns.cloned().collect()
    };
    key(before) == key(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_hint_takes_the_place_of_the_old_one() {
        let first = with_hint("column a is new", "add it");
        assert_eq!(first, "column a is new; to go on: add it");
        let second = with_hint(&first, "make it an integer");
        assert_eq!(second, "column a is new; to go on: make it an integer");
        assert_eq!(without_hint(&second), "column a is new");
        assert_eq!(with_hint("add it", "add it"), "add it");
    }
}
