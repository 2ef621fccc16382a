//! The divergence report as text.

use control::report::{
    Author, Columns, Divergence, DivergenceDetail, DivergencePage, Proposal, Report,
};
use control::table_report::TableReport;

use super::{
    SILENCE_SECONDS, UNKNOWN, count, count_signed, key, percentiles, plain, plural, push, reasons,
    revision, status,
};

/// Tables shown at most; `--json` and `--html` have more.
const TABLES_SHOWN: usize = 20;
/// Events shown at most; `--json` and `--html` have more.
const EVENTS_SHOWN: usize = 20;

/// What matters most, in one sentence.
pub(crate) fn headline(report: &Report) -> String {
    let reconciler = &report.status.reconciler;
    let silent = reconciler.is_silent(SILENCE_SECONDS.into());
    match (report.summary.open, silent) {
        (0, false) => "No divergence is open.".to_owned(),
        (0, true) => format!(
            "No divergence is open, but the reconciler {}.",
            status::reconciler(reconciler, SILENCE_SECONDS)
        ),
        (1, _) => "1 divergence is open.".to_owned(),
        (open, _) => format!("{} are open.", plural(open, "divergence")),
    }
}

/// The report.
pub(crate) fn text(report: &Report) -> String {
    let mut text = headline(report);
    let summary = &report.summary;
    push(
        &mut text,
        format_args!(
            "\n\n  {}   {}\n  found       {}, of these repaired {}, ignored {}\n",
            plain(&report.status.database),
            report.status.at,
            summary.open + summary.repaired + summary.ignored,
            summary.repaired,
            summary.ignored
        ),
    );
    if let Some(since) = &report.since {
        push(&mut text, format_args!("  since       {since}\n"));
    }
    if !summary.by_kind.is_empty() {
        push(
            &mut text,
            format_args!("  by kind     {}\n", reasons(&summary.by_kind)),
        );
    }
    transactions(&mut text, report);
    tables(&mut text, &report.tables);
    text.push('\n');
    for found in &report.divergences {
        divergence(&mut text, found);
    }
    if report.divergences_truncated {
        text.push_str(
            "  … and older ones: narrow the report with --since, or go through it with --after 0\n",
        );
    }
    events(&mut text, report);
    text
}

/// Some of the divergences, and where the next ones begin.
pub(crate) fn page(page: &DivergencePage) -> String {
    let mut text = String::new();
    for found in &page.divergences {
        divergence(&mut text, found);
    }
    if page.divergences.is_empty() {
        text.push_str("  no divergence is left to show\n");
    }
    let summary = &page.summary;
    push(
        &mut text,
        format_args!(
            "\n  in all      open {}, repaired {}, ignored {}\n",
            count_signed(summary.open),
            count_signed(summary.repaired),
            count_signed(summary.ignored)
        ),
    );
    if let Some(after) = page.next_after {
        push(&mut text, format_args!("  next page   --after {after}\n"));
    }
    text
}

/// One divergence and its repair.
pub(crate) fn detail(detail: &DivergenceDetail) -> String {
    let mut text = String::new();
    divergence(&mut text, &detail.divergence);
    if detail.journal.is_empty() {
        text.push_str("\n  nothing was written for it\n");
    }
    for entry in &detail.journal {
        let (after, title) = match (&entry.proposed, entry.act.as_str()) {
            (Proposal::Row(row), _) => (
                Some(row),
                "as it was found, and as a repair that is held back would leave it",
            ),
            (Proposal::Delete, _) => (
                None,
                "as it was found, and as a repair that is held back would leave it",
            ),
            (Proposal::None, "undo") => (entry.after.as_ref(), "put back"),
            (Proposal::None, _) => (entry.after.as_ref(), "written"),
        };
        let is_open = detail.divergence.state == "open";
        if is_open && entry.proposed == Proposal::None && entry.after.is_none() {
            push(
                &mut text,
                format_args!("\n  as it was found {}\n", entry.at),
            );
            before_and_after(&mut text, entry.before.as_ref(), entry.before.as_ref());
        } else {
            push(&mut text, format_args!("\n  {title} {}\n", entry.at));
            before_and_after(&mut text, entry.before.as_ref(), after);
        }
    }
    text
}

fn divergence(text: &mut String, found: &Divergence) {
    push(
        text,
        format_args!(
            "  #{:<5} {:9} {:14} {}  {}\n",
            found.id,
            plain(&found.state),
            plain(&found.kind),
            plain(&found.table),
            key(&found.key)
        ),
    );
    push(text, format_args!("         found {}", found.detected_at));
    if let Some(at) = &found.repaired_at {
        push(text, format_args!(", repaired {at}"));
    }
    if let Some(repair) = &found.repair {
        push(text, format_args!(": {}", plain(repair)));
    }
    push(
        text,
        format_args!(
            "\n         differing {}; source {}, target {}, op {}\n",
            columns(found),
            revision(found.source_rev.as_deref()),
            revision(found.target_rev.as_deref()),
            found.op_id.as_deref().unwrap_or(UNKNOWN)
        ),
    );
    if let Some(author) = &found.written_by {
        push(
            text,
            format_args!("         {}\n", plain(&written_by(author))),
        );
    }
}

/// Who wrote at the target, in words.
pub(super) fn written_by(author: &Author) -> String {
    let origin = match &author.origin {
        Some(origin) => format!(", with the replication origin {origin}"),
        None => String::new(),
    };
    let at = author.committed_at.as_deref().unwrap_or(UNKNOWN);
    format!(
        "written at the target by transaction {}, committed {at}{origin}",
        author.xid
    )
}

/// From capture to proof.
fn transactions(text: &mut String, report: &Report) {
    let facts = &report.status;
    let (mirror, rows) = (&facts.mirror, &facts.rows);
    push(
        text,
        format_args!(
            "  captured    {} transactions\n  mirrored    {}   {}\n  proven      {}   {}\n",
            count(mirror.captured),
            count(mirror.accepted),
            percentiles(mirror.staleness_seconds_p50, mirror.staleness_seconds_p99),
            count(facts.proven_transactions),
            percentiles(facts.proven_seconds_p50, facts.proven_seconds_p99),
        ),
    );
    if rows.unmirrored > 0 {
        push(
            text,
            format_args!(
                "  unmirrored  {} rows of transactions that no proxy recorded; {} transactions \
                 the proxies\n              count as left to the log: what is beyond those went \
                 past the proxies\n",
                count(rows.unmirrored),
                count(mirror.deferred.values().sum()),
            ),
        );
    }
}

fn tables(text: &mut String, tables: &[TableReport]) {
    let names = tables.iter().take(TABLES_SHOWN).map(|it| plain(&it.table));
    let width = names.map(|name| name.chars().count()).max();
    let Some(width) = width.map(|width| width.max("table".len())) else {
        return;
    };
    push(
        text,
        format_args!(
            "\n  {:width$}  {:>11}  {:>11}  {:>9}  {:>6}  {:>6}  applied because\n",
            "table", "verified", "applied", "repaired", "held", "open"
        ),
    );
    for table in tables.iter().take(TABLES_SHOWN) {
        push(
            text,
            format_args!(
                "  {:width$}  {:>11}  {:>11}  {:>9}  {:>6}  {:>6}  {}\n",
                plain(&table.table),
                count_signed(table.verified),
                count_signed(table.applied),
                count_signed(table.repaired),
                count_signed(table.held),
                count_signed(table.open_divergences),
                reasons(&table.applied_because())
            ),
        );
        let left = [
            ("deferred", &table.deferred_transactions),
            ("failed", &table.failed_transactions),
        ];
        for (what, counts) in left.into_iter().filter(|(_, counts)| !counts.is_empty()) {
            push(
                text,
                format_args!(
                    "    transactions {what} by the proxies: {}\n",
                    reasons(counts)
                ),
            );
        }
    }
    if tables.len() > TABLES_SHOWN {
        text.push_str("  … more with --json or --html\n");
    }
}

/// The names of the columns that differ.
pub(super) fn columns(found: &Divergence) -> String {
    if found.columns.is_empty() {
        return "the whole row".to_owned();
    }
    let names: Vec<String> = found.columns.iter().map(|name| plain(name)).collect();
    names.join(", ")
}

fn before_and_after(text: &mut String, before: Option<&Columns>, after: Option<&Columns>) {
    let none = Columns::new();
    let (old, new) = (before.unwrap_or(&none), after.unwrap_or(&none));
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let width = names.iter().map(|name| name.chars().count()).max();
    let value = |row: &Columns, name: &str| {
        row.get(name)
            .map_or_else(|| UNKNOWN.to_owned(), |it| plain(&super::value_text(it)))
    };
    match (before, after) {
        (None, Some(_)) => text.push_str("  the row was not there\n"),
        (Some(_), None) => text.push_str("  the row was deleted\n"),
        (Some(_), Some(_)) | (None, None) => {}
    }
    for name in names {
        let (was, is) = (value(old, name), value(new, name));
        let shown = plain(name);
        let width = width.unwrap_or_default();
        if before.is_some() && after.is_some() && was != is {
            push(text, format_args!("  * {shown:width$}  {was}  →  {is}\n"));
        } else {
            let only = if after.is_some() { is } else { was };
            push(text, format_args!("    {shown:width$}  {only}\n"));
        }
    }
}

fn events(text: &mut String, report: &Report) {
    if report.events.is_empty() {
        return;
    }
    text.push_str("\n  what happened to the machinery, the newest first\n");
    for event in report.events.iter().take(EVENTS_SHOWN) {
        push(
            text,
            format_args!(
                "  {}  {}: {}\n",
                event.at,
                plain(&event.kind),
                plain(&event.text)
            ),
        );
    }
    if report.events.len() > EVENTS_SHOWN {
        text.push_str("  … more with --json or --html\n");
    }
}

#[cfg(test)]
pub(super) mod tests {
    use control::report::{JournalEntry, Summary};

    use super::*;

    /// A divergence whose texts come from somebody who means ill.
    pub(in crate::render) fn hostile() -> Divergence {
        let key = serde_json::json!({"id": "<script>alert(1)</script>\u{1b}[31m"});
        Divergence {
            id: 7,
            table: "public.\"a\"\"<b>\"".into(),
            key: key.as_object().unwrap().clone(),
            kind: "extra_row".into(),
            state: "open".into(),
            detected_at: "2026-11-23T15:00:00.000Z".into(),
            repaired_at: None,
            repair: None,
            source_rev: None,
            target_rev: Some("36028797112199567".into()),
            op_id: None,
            columns: vec!["<i>".into()],
            held: None,
            written_by: None,
        }
    }

    #[test]
    fn the_headline_counts_what_is_open() {
        let open = |open| Report {
            summary: Summary {
                open,
                ..Summary::default()
            },
            ..Report::default()
        };
        assert_eq!(headline(&open(1)), "1 divergence is open.");
        assert_eq!(headline(&open(2)), "2 divergences are open.");
        assert!(headline(&open(0)).contains("has never reported"));
    }

    #[test]
    fn the_text_names_place_kind_and_revisions_and_obeys_nothing() {
        let report = Report {
            divergences: vec![hostile()],
            ..Report::default()
        };
        let text = text(&report);
        for part in [
            "#7",
            "open",
            "extra_row",
            "0/58EA98F epoch 1",
            r"\u{1b}[31m",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_detail_marks_the_columns_that_changed() {
        let row = |email: &str| {
            let row = serde_json::json!({"id": "7", "email": email});
            row.as_object().cloned()
        };
        let detail = DivergenceDetail {
            divergence: hostile(),
            journal: vec![JournalEntry {
                at: String::new(),
                before: row("by hand"),
                after: row("a@example.org"),
                act: "repair".into(),
                proposed: Proposal::None,
            }],
        };
        let text = super::detail(&detail);
        assert!(
            text.contains("* email  by hand  →  a@example.org"),
            "{text}"
        );
        assert!(text.contains("    id     7"), "{text}");
    }
}
