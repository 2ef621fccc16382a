//! What the configuration asks of the mirror for single tables, put into a reading.
//!
//! Does not weigh it against what a session asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::decide::statement::{DeferReason, MirrorChoice};

use super::CatalogView;

/// Choices by `schema.table`, as a person writes it or as the contract does.
pub(super) type Choices = BTreeMap<String, MirrorChoice>;

/// The reading under these choices: rows of a table that is off are never captured. A partitioned
/// table's choice is that of all its partitions.
pub(super) fn put(mut view: CatalogView, choices: &Choices) -> CatalogView {
    if choices.is_empty() {
        return view;
    }
    let contract = Arc::clone(&view.facts.contract);
    let mut known = 0;
    let of_tables = contract.tables.iter().map(|table| {
        let plain = format!("{}.{}", table.schema, table.relation);
        let choice = choices.get(&table.name).or_else(|| choices.get(&plain));
        known += usize::from(choice.is_some());
        choice.copied()
    });
    view.choices = of_tables.collect();
    if known < choices.len() {
        tracing::warn!("mirror_tables names tables that are not carried: they are passed over");
    }
    let chosen = Arc::clone(&view.choices);
    let is_off = |table: protocol::contract::TableIndex| {
        let choice = chosen.get(table.as_usize()).copied().flatten();
        choice == Some(MirrorChoice::Off)
    };
    for held in Arc::make_mut(&mut view.facts).tables.values_mut() {
        if held.table.is_some_and(is_off) {
            held.obstacle.get_or_insert(DeferReason::MirrorOff);
        }
    }
    view
}
