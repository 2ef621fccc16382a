//! The page's account: what became of each table's rows, of the writes, and of the machinery.
//!
//! Does not judge it.

use std::collections::BTreeMap;

use control::report::{Event, Report};
use control::table_report::TableReport;

use super::super::{bytes, count, count_signed, escape, plural, push, reasons};
use super::moment;

/// A bar for each table: how much of it the mirror brought, the log brought, and was repaired.
pub(super) fn tables(page: &mut String, report: &Report) {
    if report.tables.is_empty() {
        return;
    }
    page.push_str(
        "<h2>Tables</h2><div class=\"wide\"><table><thead><tr><th>Table<th>Verified<th>Applied\
         <th>Repaired<th>Held back<th>Open<th>Verified, applied, repaired<th>Applied because\
         <th>Transactions deferred by the proxies<th>Failed</tr>\
         </thead><tbody>\n",
    );
    for table in &report.tables {
        push(
            page,
            format_args!(
                "<tr><td class=\"row\">{}<td class=\"number\">{}<td class=\"number\">{}\
                 <td class=\"number\">{}<td class=\"number\">{}<td class=\"number\">{}<td>{}<td>{}<td>{}<td>{}</tr>\n",
                escape(&table.table),
                count_signed(table.verified),
                count_signed(table.applied),
                count_signed(table.repaired),
                count_signed(table.held),
                count_signed(table.open_divergences),
                bar(table),
                escape(&reasons(&table.applied_because())),
                escape(&reasons(&table.deferred_transactions)),
                escape(&reasons(&table.failed_transactions)),
            ),
        );
    }
    page.push_str("</tbody></table></div>\n");
}

fn bar(table: &TableReport) -> String {
    const WIDTH: f64 = 160.0;
    let parts = [
        ("a", table.verified),
        ("b", table.applied),
        ("bad", table.repaired + table.held),
    ];
    let total = parts.iter().map(|(_, count)| *count).sum::<i64>().max(1) as f64;
    let mut bar = format!("<svg class=\"bar\" width=\"{WIDTH}\" height=\"10\" role=\"img\">");
    let mut left = 0.0;
    for (class, count) in parts {
        let width = count as f64 / total * WIDTH;
        push(
            &mut bar,
            format_args!(
                "<rect x=\"{left:.1}\" width=\"{width:.1}\" height=\"10\" fill=\"var(--{class})\"/>"
            ),
        );
        left += width;
    }
    bar.push_str("</svg>");
    bar
}

pub(super) fn mirror(page: &mut String, report: &Report) {
    let facts = &report.status;
    let rows = &facts.rows;
    page.push_str("<h2>What became of the writes</h2><div class=\"wide\"><table><tbody>");
    let mut line = |label: &str, total: u64, why: &str| {
        push(
            page,
            format_args!(
                "<tr><th>{}<td class=\"number\">{}<td>{}</tr>",
                escape(label),
                count(total),
                escape(why)
            ),
        );
    };
    let total = |counts: &BTreeMap<String, u64>| counts.values().sum();
    line(
        "transactions captured",
        facts.mirror.captured,
        &format!("{} accepted by the target", count(facts.mirror.accepted)),
    );
    line(
        "left to the log on purpose",
        total(&facts.mirror.deferred),
        &reasons(&facts.mirror.deferred),
    );
    line(
        "captured, but brought by the log",
        total(&facts.mirror.failed),
        &reasons(&facts.mirror.failed),
    );
    line(
        "rows verified by the log",
        rows.verified,
        "the mirror's work, and equal",
    );
    line(
        "rows applied by the log",
        rows.applied,
        &reasons(&rows.applied_why),
    );
    line(
        "rows repaired",
        rows.repaired,
        "the target held something else",
    );
    line(
        "rows superseded",
        rows.superseded,
        "a newer version stood there already",
    );
    page.push_str("</tbody></table></div>\n");
    if let Some(held) = facts.slot_wal_bytes {
        let budget = facts.slot_wal_budget_bytes.map_or_else(
            || "no bound set on the source (max_slot_wal_keep_size)".to_owned(),
            |budget| format!("of {}", bytes(budget as f64)),
        );
        push(
            page,
            format_args!(
                "<p>The source holds {} of log for the slot, {}.</p>\n",
                bytes(held as f64),
                escape(&budget)
            ),
        );
    }
}

pub(super) fn events(page: &mut String, events: &[Event]) {
    if events.is_empty() {
        return;
    }
    push(
        page,
        format_args!(
            "<h2>What happened to the machinery</h2><p>{}, the newest first.</p>\
             <div class=\"wide\"><table><tbody>\n",
            plural(i64::try_from(events.len()).unwrap_or(i64::MAX), "event")
        ),
    );
    for event in events {
        push(
            page,
            format_args!(
                "<tr><td>{}<td><code>{}</code><td>{}</tr>\n",
                moment(&event.at),
                escape(&event.kind),
                escape(&event.text)
            ),
        );
    }
    page.push_str("</tbody></table></div>\n");
}
