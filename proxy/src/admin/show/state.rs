//! `SHOW STATE`: whether the proxy is paused, and how many clients are at what.

use crate::admin::Console;
use crate::admin::table::{Columns, Kind, Value};
use crate::registry::{Pause, Totals};

pub(super) const COLUMNS: Columns = &[("item", Kind::Text), ("value", Kind::Text)];

pub(super) fn rows(console: &Console, totals: Totals) -> Vec<Vec<Value>> {
    let state = match console.workers.paused() {
        Pause::Off => "running",
        Pause::Begun => "pausing",
        Pause::Complete => "paused",
    };
    let clients = Totals::STATES.iter().zip(totals.clients);
    let clients = clients.map(|(state, count)| {
        let item = format!("clients: {}", state.label());
        vec![item.into(), count.to_string().into()]
    });
    let first = vec!["state".into(), state.into()];
    std::iter::once(first).chain(clients).collect()
}
