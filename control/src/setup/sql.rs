//! The statements of setup, as text: what `--print` shows is what is run.

use std::collections::HashSet;

use protocol::contract::{Contract, Table, quote_identifier};

use super::Step;
use super::server::ServerFacts;
use crate::contract::PhaseName;
use crate::error::ControlError;
use crate::names::Names;
use crate::schema;
use crate::side::Side;

/// Tables that are locked in one transaction: a server as it comes has room for 6400 locks in all.
pub(super) const LOCKED_MAX: usize = 200;

/// Stands for the slot's consistent point, which is known only once the slot is there.
pub(super) const START_LSN: &str = "{start_lsn}";
/// Stands for the same as a revision of the first epoch.
pub(super) const START_REVISION: &str = "{start_revision}";

/// What the step that makes a slot is called.
pub(super) const SLOT: &str = "slot";

/// The steps, in order.
///
/// The publication comes before its slot: a slot that decodes changes from before it fails. A slot
/// cannot be made in a transaction that has written.
pub(super) fn steps(
    names: &Names,
    contract: &Contract,
    publishable: &[String],
    source: &ServerFacts,
) -> Result<Vec<Step>, ControlError> {
    let phase = phase(contract, source)?;
    let all: Vec<_> = contract.tables.iter().collect();
    let (publication, slot) = (&names.publication, &names.slot);
    let schema = vec![schema::source_sql(), phase.clone()];
    let mut steps = schema_and_publication(Side::Source, schema, publication, &all);
    let mut step = slot_step(Side::Source, slot);
    if source.keeps_slots_on_standbys() {
        step.sql = step
            .sql
            .replace("'pgoutput'", "'pgoutput', failover => true");
    }
    steps.push(step);
    let publishable: HashSet<_> = publishable.iter().collect();
    let published: Vec<_> = all
        .into_iter()
        .filter(|table| publishable.contains(&table.name))
        .collect();
    let schema = vec![schema::target_sql(), phase, start(names, source)];
    let publication = &names.target_publication;
    steps.extend(schema_and_publication(
        Side::Target,
        schema,
        publication,
        &published,
    ));
    if !published.is_empty() {
        steps.push(slot_step(Side::Target, &names.target_slot));
    }
    Ok(steps)
}

/// The schema with the publication's first tables, and steps that add the others.
fn schema_and_publication(
    side: Side,
    mut schema: Vec<String>,
    publication: &str,
    tables: &[&Table],
) -> Vec<Step> {
    let mut parts = tables.chunks(LOCKED_MAX);
    let name = quote_identifier(publication);
    if let Some(first) = parts.next() {
        schema.push(format!(
            "CREATE PUBLICATION {name} FOR TABLE {}\n    WITH (publish_via_partition_root = false);",
            list(first)
        ));
    }
    let first = Step {
        side,
        what: "schema and publication",
        sql: schema.join("\n"),
        undo: format!("DROP PUBLICATION IF EXISTS {name}; DROP SCHEMA segue CASCADE"),
    };
    let others = parts.map(|part| Step {
        side,
        what: "publication's tables",
        sql: format!("ALTER PUBLICATION {name} ADD TABLE {};", list(part)),
        undo: format!("ALTER PUBLICATION {name} DROP TABLE {}", list(part)),
    });
    std::iter::once(first).chain(others).collect()
}

fn slot_step(side: Side, slot: &str) -> Step {
    Step {
        side,
        what: SLOT,
        sql: create_slot(slot),
        undo: format!("SELECT pg_catalog.pg_drop_replication_slot('{slot}')"),
    }
}

/// What the roles need, for who has to grant it.
pub(super) fn privileges(source: &str, target: &str) -> Vec<String> {
    [
        format!("source: ALTER ROLE {source} REPLICATION"),
        format!("source: GRANT CREATE ON DATABASE … TO {source}"),
        format!("source: {source} owns the tables, or is a member of their owners"),
        format!("target: ALTER ROLE {target} REPLICATION, to find the writes of others there"),
        format!("target: GRANT CREATE ON DATABASE … TO {target}"),
        format!("target: GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE on the tables to {target}"),
        format!(
            "target: superuser, or GRANT SET ON PARAMETER session_replication_role TO {target}"
        ),
        format!(
            "target: GRANT EXECUTE ON FUNCTION pg_replication_origin_create(text), \
             pg_replication_origin_session_setup(text) TO {target}; for setup --remove also \
             pg_replication_origin_drop(text)"
        ),
    ]
    .into()
}

fn phase(contract: &Contract, source: &ServerFacts) -> Result<String, ControlError> {
    let json = serde_json::to_string(contract).map_err(|error| ControlError::Stored {
        side: Side::Source,
        what: "a contract",
        reason: error.to_string(),
    })?;
    Ok(format!(
        "INSERT INTO segue.phase (epoch, phase, contract, contract_hash, system_identifier, timeline)\n\
         VALUES (1, '{}', {}, '{}', '{}', {});",
        PhaseName::DualWrite,
        quote_literal(&json),
        contract.hash(),
        source.system_identifier,
        source.timeline,
    ))
}

/// Progress from the slot's consistent point on, and the gate armed above it.
fn start(names: &Names, source: &ServerFacts) -> String {
    format!(
        "INSERT INTO segue.progress (stream, epoch, commit_lsn, system_identifier, timeline)\n\
         VALUES ('{}', 1, '{START_LSN}', '{}', {});\n\
         INSERT INTO segue.epoch (epoch, timeline, begins_at, why, verified_at)\n\
         VALUES (1, {}, '{START_LSN}', 'setup', clock_timestamp());\n\
         INSERT INTO segue.mirror_gate (epoch, floor) VALUES (1, {START_REVISION});",
        names.stream, source.system_identifier, source.timeline, source.timeline,
    )
}

fn list(tables: &[&Table]) -> String {
    let name = |table: &&Table| {
        let schema = quote_identifier(&table.schema);
        format!("ONLY {schema}.{}", quote_identifier(&table.relation))
    };
    tables.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn create_slot(name: &str) -> String {
    format!(
        "SELECT lsn::text FROM pg_catalog.pg_create_logical_replication_slot('{name}', 'pgoutput');"
    )
}

fn quote_literal(text: &str) -> String {
    let doubled = text.replace('\'', "''").replace('\\', "\\\\");
    format!("E'{doubled}'")
}
