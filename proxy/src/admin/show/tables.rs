//! `SHOW TABLES`: which tables' writes are captured, and why the others' are not.
//!
//! As the catalog was read last; a statement or a session can still have reasons of its own
//! (`SHOW MIRROR` counts them).

use protocol::decide::statement::{CatalogFacts, DeferReason, MirrorChoice, TableFacts};

use super::mirror::mode;
use crate::admin::table::{Columns, Kind, Value};
use crate::mirroring::CaptureSource;

pub(super) const COLUMNS: Columns = &[
    ("schema", Kind::Text),
    ("table", Kind::Text),
    ("captured", Kind::Text),
    ("reason", Kind::Text),
    ("mirror", Kind::Text),
];

/// PostgreSQL's own: nobody wants to see them mirrored.
const SYSTEM_SCHEMAS: [&str; 3] = ["pg_catalog", "information_schema", "pg_toast"];

pub(super) fn rows(capture: Option<&CaptureSource>) -> Vec<Vec<Value>> {
    let Some(capture) = capture else {
        return Vec::new();
    };
    let view = capture.catalog.view();
    let usual = mode(capture.mirror.mode());
    let chosen = |facts: &TableFacts| view.choice(facts.table?);
    let mut tables = named(&view.facts);
    tables.sort_unstable_by_key(|(schema, table, _)| (*schema, *table));
    let row = |(schema, table, facts): (&str, &str, &TableFacts)| {
        let reason = obstacle(facts);
        let mode = chosen(facts).map_or(usual, choice);
        vec![
            schema.into(),
            table.into(),
            if reason.is_none() { "yes" } else { "no" }.into(),
            reason.map(DeferReason::label).into(),
            if reason.is_none() { mode } else { "off" }.into(),
        ]
    };
    tables.into_iter().map(row).collect()
}

const fn choice(choice: MirrorChoice) -> &'static str {
    match choice {
        MirrorChoice::Off => "off",
        MirrorChoice::Async => "async",
        MirrorChoice::Sync => "sync",
    }
}

fn named(facts: &CatalogFacts) -> Vec<(&str, &str, &TableFacts)> {
    let schemas = facts.relations.iter();
    let schemas = schemas.filter(|(schema, _)| !SYSTEM_SCHEMAS.contains(&schema.as_str()));
    let relations = schemas.flat_map(|(schema, relations)| {
        let relations = relations.iter();
        relations.map(move |(relation, oid)| (schema.as_str(), relation.as_str(), oid))
    });
    relations
        .filter_map(|(schema, relation, oid)| Some((schema, relation, facts.tables.get(oid)?)))
        .collect()
}

fn obstacle(facts: &TableFacts) -> Option<DeferReason> {
    let carried = facts.table.is_some();
    facts
        .obstacle
        .or_else(|| (!carried).then_some(DeferReason::NotInContract))
}
