//! `SHOW TABLES`: which tables' writes are captured, and why the others' are not.
//!
//! As the catalog was read last; a statement or a session can still have reasons of its own
//! (`SHOW MIRROR` counts them). The proxy does not keep the names of tables that are not carried: the
//! source is asked for them. Transactions are counted under a table as far as their texts or their
//! captured rows name it: what a function, a trigger or a cascade wrote is under no table here, since
//! only the log tells it (`segue report` has it by table).

use std::time::Duration;

use protocol::decide::statement::{CatalogFacts, DeferReason, MirrorChoice, TableFacts};

use super::mirror::mode;
use crate::admin::Console;
use crate::admin::table::{Columns, Kind, Value};
use crate::capture::TableCount;

pub(super) const COLUMNS: Columns = &[
    ("schema", Kind::Text),
    ("table", Kind::Text),
    ("captured", Kind::Text),
    ("reason", Kind::Text),
    ("mirror", Kind::Text),
    ("captured_rows", Kind::Count),
    ("captured_statements", Kind::Count),
    ("deferred_xact_count", Kind::Count),
    ("deferred_by_reason", Kind::Text),
    ("failed_xact_count", Kind::Count),
    ("failed_by_reason", Kind::Text),
];

/// PostgreSQL's own: nobody wants to see them mirrored.
const SYSTEM_SCHEMAS: [&str; 3] = ["pg_catalog", "information_schema", "pg_toast"];

/// How long the source is waited for.
const SOURCE_PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn rows(console: &Console) -> Vec<Vec<Value>> {
    let Some(capture) = &console.capture else {
        return Vec::new();
    };
    console.tables.gather(&console.workers).await;
    let view = capture.catalog.view();
    let usual = mode(capture.mirror.mode());
    let chosen = |facts: &TableFacts| view.choice(facts.table?);
    let others = tokio::time::timeout(SOURCE_PATIENCE, capture.catalog.others()).await;
    let others = others.ok().flatten().unwrap_or_else(|| {
        tracing::warn!(
            "the source does not say which tables it has besides those that are carried"
        );
        Vec::new()
    });
    let mut tables = named(&view.facts);
    let names = others.iter();
    tables.extend(names.map(|(schema, table)| (schema.as_str(), table.as_str(), None)));
    tables.sort_unstable_by_key(|(schema, table, _)| (*schema, *table));
    let row = |(schema, table, facts): (&str, &str, Option<&TableFacts>)| {
        let reason = facts.map_or(Some(DeferReason::NotInContract), obstacle);
        let mode = facts.and_then(chosen).map_or(usual, choice);
        let mut row = vec![
            schema.into(),
            table.into(),
            if reason.is_none() { "yes" } else { "no" }.into(),
            reason.map(DeferReason::label).into(),
            if reason.is_none() { mode } else { "off" }.into(),
        ];
        let index = facts.and_then(|it| it.table);
        let carried = index.and_then(|index| view.facts.contract.table(index));
        // What is written to a partition is counted with the table that it is of.
        let counted = carried.filter(|it| it.schema == schema && it.relation == table);
        row.extend(counts(
            counted.map(|it| console.tables.of(&it.name).unwrap_or_default()),
        ));
        row
    };
    tables.into_iter().map(row).collect()
}

fn counts(count: Option<TableCount>) -> [Value; 6] {
    let Some(count) = count else {
        return [const { Value::Null }; 6];
    };
    let deferred = count.deferred.iter().map(|(it, n)| (it.label(), *n));
    let failed = count.failed.iter().map(|(it, n)| (it.label(), *n));
    let ([deferred, why_deferred], [failed, why_failed]) = (by_reason(deferred), by_reason(failed));
    [
        count.rows.into(),
        count.statements.into(),
        deferred,
        why_deferred,
        failed,
        why_failed,
    ]
}

/// How many, and `bulk=2 copy=1`.
fn by_reason(counts: impl Iterator<Item = (&'static str, u64)> + Clone) -> [Value; 2] {
    let total: u64 = counts.clone().map(|(_, count)| count).sum();
    let reasons: Vec<_> = counts
        .map(|(reason, count)| format!("{reason}={count}"))
        .collect();
    let reasons = (!reasons.is_empty()).then(|| reasons.join(" "));
    [total.into(), reasons.into()]
}

const fn choice(choice: MirrorChoice) -> &'static str {
    match choice {
        MirrorChoice::Off => "off",
        MirrorChoice::Async => "async",
        MirrorChoice::Sync => "sync",
    }
}

fn named(facts: &CatalogFacts) -> Vec<(&str, &str, Option<&TableFacts>)> {
    let schemas = facts.relations.iter();
    let schemas = schemas.filter(|(schema, _)| !SYSTEM_SCHEMAS.contains(&schema.as_str()));
    let relations = schemas.flat_map(|(schema, relations)| {
        let relations = relations.iter();
        relations.map(move |(relation, oid)| (schema.as_str(), relation.as_str(), oid))
    });
    relations
        .filter_map(|(schema, relation, oid)| {
            let held = facts.tables.get(oid)?;
            Some((schema, relation, Some(held)))
        })
        .collect()
}

fn obstacle(facts: &TableFacts) -> Option<DeferReason> {
    let carried = facts.table.is_some();
    facts
        .obstacle
        .or_else(|| (!carried).then_some(DeferReason::NotInContract))
}
