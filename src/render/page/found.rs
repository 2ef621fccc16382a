//! The page's table of divergences, and what their kinds mean.
//!
//! Does not show what rows held: `segue report show` does.

use control::report::{Divergence, Report};

use super::super::report::{columns, written_by};
use super::super::{UNKNOWN, escape, push, reasons, revision, value_text};
use super::moment;

/// The kinds of divergence, in words.
pub(super) const KINDS: [(&str, &str); 8] = [
    ("missing_row", "the source has the row, the target did not"),
    (
        "extra_row",
        "the target had a row that the source does not have",
    ),
    ("different_row", "both have the row, and columns differed"),
    (
        "phantom",
        "the mirror brought a version that the source's log never did",
    ),
    (
        "foreign_write",
        "somebody other than Segue wrote to the target",
    ),
    (
        "lost_mirror",
        "the mirror said that it brought a version, and it was not there",
    ),
    (
        "schema_drift",
        "the tables changed since the contract was made",
    ),
    (
        "sequence_behind",
        "a sequence on the target lags the source's",
    ),
];

pub(super) fn divergences(page: &mut String, report: &Report) {
    let summary = &report.summary;
    push(
        page,
        format_args!(
            "<h2>Divergences</h2><p>{} found: {} open, {} repaired, {} ignored. {}</p>\n",
            summary.open + summary.repaired + summary.ignored,
            summary.open,
            summary.repaired,
            summary.ignored,
            escape(&reasons(&summary.by_kind))
        ),
    );
    if report.divergences.is_empty() {
        return;
    }
    page.push_str(
        "<div class=\"wide\"><table class=\"found\"><thead><tr><th>#<th>State<th>Kind<th>Row\
         <th>Differing columns<th>Found, repaired<th>Repair<th>Revisions and op id</tr></thead>\
         <tbody>\n",
    );
    for found in &report.divergences {
        divergence(page, found);
    }
    page.push_str("</tbody></table></div>\n");
    if report.divergences_truncated {
        page.push_str("<p class=\"none\">Older ones are left out.</p>\n");
    }
    page.push_str(
        "<p class=\"none\"><code>segue report show NUMBER</code> shows the row before and after its \
         repair.</p>\n",
    );
}

fn divergence(page: &mut String, found: &Divergence) {
    let key: Vec<String> = found
        .key
        .iter()
        .map(|(column, value)| format!("{}=<b>{}</b>", escape(column), escape(&value_text(value))))
        .collect();
    push(
        page,
        format_args!(
            "<tr><td>{}<td><span class=\"state {}\">{}</span><td class=\"word\">{}\
             <td class=\"row\">{}<br>{}<td>{}",
            found.id,
            escape(&found.state),
            escape(&found.state),
            escape(&found.kind),
            escape(&found.table),
            key.join(", "),
            escape(&columns(found)),
        ),
    );
    push(
        page,
        format_args!(
            "<td>{}{}<td>{}<td class=\"word\">source {}<br>target {}<br><code>{}</code></tr>\n",
            moment(&found.detected_at),
            found.repaired_at.as_deref().map(moment).unwrap_or_default(),
            repair(found),
            titled(found.source_rev.as_deref()),
            titled(found.target_rev.as_deref()),
            escape(found.op_id.as_deref().unwrap_or(UNKNOWN)),
        ),
    );
}

/// What was done about it, and who had written it.
fn repair(found: &Divergence) -> String {
    let words = escape(found.repair.as_deref().unwrap_or(UNKNOWN));
    match &found.written_by {
        Some(author) => format!("{words}<br><small>{}</small>", escape(&written_by(author))),
        None => words,
    }
}

/// A revision as a position, with the stored number when pointed at.
fn titled(decimal: Option<&str>) -> String {
    format!(
        "<span title=\"{}\">{}</span>",
        escape(decimal.unwrap_or_default()),
        escape(&revision(decimal))
    )
}

pub(super) fn glossary(page: &mut String) {
    page.push_str("<details><summary>What the kinds mean</summary><dl>");
    for (kind, meaning) in KINDS {
        push(page, format_args!("<dt><code>{kind}</code><dd>{meaning}"));
    }
    page.push_str("</dl></details>\n");
}
