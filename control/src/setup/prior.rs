//! What an earlier setup has left. Does not change it.

use protocol::contract::{Contract, Table};
use tokio_postgres::Client;

use super::Step;
use crate::contract::{Phase, load_from_source, load_older};
use crate::error::ControlError;
use crate::names::Names;
use crate::schema::{self, Found, VERSION};
use crate::side::Side;

/// What is there.
#[derive(Debug)]
pub(super) struct Prior {
    source: Found,
    target: Found,
    publication: bool,
    slot: bool,
    /// Of the target; setup does not make one everywhere.
    target_slot: SlotState,
    phase: Option<Phase>,
    /// The source's.
    timeline: Option<i32>,
    names: Names,
}

/// What has become of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotState {
    Readable,
    Lost,
    Absent,
}

/// What setup may make of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing is there, or something stands against it.
    Nothing,
    /// Everything is there, under the same contract.
    Complete,
    /// Everything is there but the target's slot, which holds nothing that cannot be had again.
    WithoutTargetSlot,
    /// Everything is there, made by an older version of this program.
    Older,
}

/// Looks at both sides.
pub(super) async fn find(
    source: &Client,
    target: &Client,
    names: &Names,
) -> Result<Prior, ControlError> {
    let found = schema::find(source, Side::Source).await?;
    let sql = "SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1), \
                      EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $2 \
                              AND wal_status IS DISTINCT FROM 'lost'), \
               CASE WHEN NOT pg_is_in_recovery() THEN \
               ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int4 END";
    let row = source
        .query_one(sql, &[&names.publication, &names.slot])
        .await
        .map_err(|error| ControlError::query(Side::Source, "look for the slot", &error))?;
    let phase = match found {
        Found::Ours => Some(load_from_source(source).await?),
        Found::Version(1..=3) => Some(load_older(source).await?),
        Found::Absent | Found::Version(_) | Found::Foreign => None,
    };
    let sql = "SELECT wal_status IS NOT DISTINCT FROM 'lost' FROM pg_replication_slots \
               WHERE slot_name = $1";
    let target_slot = target
        .query_opt(sql, &[&names.target_slot])
        .await
        .map_err(|error| ControlError::query(Side::Target, "look for the slot", &error))?;
    Ok(Prior {
        target_slot: match target_slot.map(|row| row.get::<_, bool>(0)) {
            None => SlotState::Absent,
            Some(true) => SlotState::Lost,
            Some(false) => SlotState::Readable,
        },
        source: found,
        target: schema::find(target, Side::Target).await?,
        publication: row.get(0),
        slot: row.get(1),
        timeline: row.get(2),
        phase,
        names: names.clone(),
    })
}

impl Prior {
    /// Compares what is there with what is wanted.
    pub(super) fn judge(
        &self,
        wanted: &Contract,
        refusals: &mut Vec<String>,
    ) -> Result<State, ControlError> {
        for (side, found) in [(Side::Source, &self.source), (Side::Target, &self.target)] {
            let found = match found {
                Found::Absent | Found::Ours => continue,
                Found::Version(version) if schema::upgrade_sql(side, *version).is_some() => {
                    continue;
                }
                Found::Version(version) => format!("version {version}"),
                Found::Foreign => "no known version".to_owned(),
            };
            return Err(ControlError::Version {
                side,
                found,
                expected: VERSION,
            });
        }
        let Names {
            publication, slot, ..
        } = &self.names;
        let parts = [
            (
                self.source != Found::Absent,
                "the source's segue schema".to_owned(),
            ),
            (self.publication, format!("the publication {publication}")),
            (self.slot, format!("the slot {slot}")),
            (
                self.target != Found::Absent,
                "the target's segue schema".to_owned(),
            ),
        ];
        let (there, missing): (Vec<_>, Vec<_>) = parts.iter().partition(|(there, _)| *there);
        let list = |parts: Vec<&(bool, String)>| {
            let parts: Vec<_> = parts.into_iter().map(|(_, part)| part.as_str()).collect();
            parts.join(", ")
        };
        if there.is_empty() {
            return Ok(State::Nothing);
        }
        if !self.slot && missing.len() == 1 {
            refusals.push(self.without_slot());
            return Ok(State::Complete);
        }
        if !missing.is_empty() {
            refusals.push(format!(
                "a setup is there in part: {} without {}; run segue setup --remove, then again",
                list(there),
                list(missing)
            ));
            return Ok(State::Complete);
        }
        if let Some(phase) = &self.phase {
            let changes = differences(&phase.contract, wanted);
            if !changes.is_empty() {
                refusals.push(format!(
                    "it is set up with another contract: {}; undo the change, or run segue setup \
                     --remove and set up again",
                    changes.join(", ")
                ));
            }
        }
        Ok(if self.upgrades().is_empty() {
            State::Complete
        } else {
            State::Older
        })
    }

    /// What is to be done where everything is there but the source's slot.
    fn without_slot(&self) -> String {
        let slot = &self.names.slot;
        let known = self.phase.as_ref().and_then(|phase| phase.timeline);
        if known.is_some() && known != self.timeline {
            return format!(
                "the source has failed over, and the slot {slot} is not there: start the \
                 reconciler, which makes a new one and reads every table again"
            );
        }
        format!(
            "the slot {slot} at the source is gone or invalidated, and with it what was written \
             since: copy the database anew, then run segue setup --remove and segue setup"
        )
    }

    /// What makes the target's slot again, where there was one to be read; `complete` is everything
    /// that a setup makes.
    pub(super) fn target_slot_again(&self, complete: Vec<Step>) -> Vec<Step> {
        let mut steps = complete.into_iter();
        let slot = steps.find(|step| step.side == Side::Target && step.what == super::sql::SLOT);
        let (Some(mut slot), true) = (slot, self.target_slot != SlotState::Readable) else {
            return Vec::new();
        };
        if self.target_slot == SlotState::Lost {
            slot.sql = format!("{};\n{}", slot.undo, slot.sql);
        }
        vec![slot]
    }

    /// What makes of an older schema one of this version: the target first, so that a proxy that
    /// finds the source's new can use the target's.
    pub(super) fn upgrades(&self) -> Vec<Step> {
        let sides = [(Side::Target, &self.target), (Side::Source, &self.source)];
        let steps = sides.into_iter().filter_map(|(side, found)| {
            let Found::Version(version) = found else {
                return None;
            };
            Some(Step {
                side,
                what: "schema's upgrade",
                sql: schema::upgrade_sql(side, *version)?,
                // The last one: a step that fails has changed nothing.
                undo: String::new(),
            })
        });
        steps.collect()
    }
}

/// What has changed from one contract to the other, a clause each.
fn differences(old: &Contract, new: &Contract) -> Vec<String> {
    let mut changes = Vec::new();
    for table in &new.tables {
        match old.find_name(&table.name) {
            None => changes.push(format!("table {} is new", table.name)),
            Some((_, before)) => table_differences(before, table, &mut changes),
        }
    }
    for table in &old.tables {
        if new.find_name(&table.name).is_none() {
            changes.push(format!("table {} is no longer carried", table.name));
        }
    }
    changes
}

fn table_differences(old: &Table, new: &Table, changes: &mut Vec<String>) {
    if old == new {
        return;
    }
    let before = changes.len();
    let find = |table: &Table, name: &str| {
        let mut columns = table.columns.iter();
        columns.find(|column| column.name == name).cloned()
    };
    for column in &new.columns {
        match find(old, &column.name) {
            None => changes.push(format!("column {}.{} is new", new.name, column.name)),
            Some(before) if before != *column => changes.push(format!(
                "column {}.{} was {} and is {}",
                new.name, column.name, before.type_name, column.type_name
            )),
            Some(_) => {}
        }
    }
    for column in &old.columns {
        if find(new, &column.name).is_none() {
            changes.push(format!("column {}.{} is gone", new.name, column.name));
        }
    }
    if changes.len() == before {
        changes.push(format!(
            "the key or the order of columns of {} changed",
            new.name
        ));
    }
}

#[cfg(test)]
mod tests {
    use protocol::contract::{Column, Form, KeyForm};

    use super::*;

    fn contract(tables: &[(&str, &[&str])]) -> Contract {
        let column = |name: &&str| Column {
            name: (*name).to_owned(),
            type_name: "integer".into(),
            type_oid: 23,
            form: Form::Plain,
            key_form: KeyForm::Bytes,
        };
        let tables = tables.iter().map(|(name, columns)| Table {
            name: (*name).to_owned(),
            schema: "s".into(),
            relation: (*name).to_owned(),
            columns: columns.iter().map(column).collect(),
            key: vec![0],
        });
        Contract {
            version: 1,
            tables: tables.collect(),
        }
    }

    #[test]
    fn every_change_is_named() {
        let old = contract(&[("a", &["x", "y"]), ("b", &["x"])]);
        let new = contract(&[("a", &["x", "z"]), ("c", &["x"])]);
        assert_eq!(
            differences(&old, &new),
            [
                "column a.z is new",
                "column a.y is gone",
                "table c is new",
                "table b is no longer carried"
            ]
        );
        assert!(differences(&old, &old).is_empty());
    }
}
