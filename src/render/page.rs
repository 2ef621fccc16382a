//! The divergence report as one self-contained page: no script, nothing fetched, light and dark.

use control::report::{Divergence, Event, Report, Sample};
use control::table_report::TableReport;

use super::plot::{Mark, Plot, Scale, Series, Times};
use super::report::{columns, headline, written_by};
use super::{
    SILENCE_SECONDS, UNKNOWN, bytes, count, count_signed, escape, or_unknown, plural, push,
    reasons, revision, seconds, short, status, value_text,
};

const STYLE: &str = include_str!("page.css");

/// Latencies span from a millisecond to an outage.
const MILLISECONDS: Scale = Scale::Logarithmic {
    floor: 0.001,
    base: 10.0,
};
/// Two steps make the next binary unit.
const KIBIBYTES: Scale = Scale::Logarithmic {
    floor: 1024.0,
    base: 32.0,
};

/// The kinds of divergence, in words.
const KINDS: [(&str, &str); 8] = [
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

/// The page.
pub(crate) fn html(report: &Report) -> String {
    let mut page = String::with_capacity(256 * 1024);
    let database = escape(&report.status.database);
    push(
        &mut page,
        format_args!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\">\
             <meta http-equiv=\"Content-Security-Policy\" \
             content=\"default-src 'none'; style-src 'unsafe-inline'\">\
             <title>Segue: {database}</title><style>{STYLE}</style></head><body>\n"
        ),
    );
    header(&mut page, report);
    tiles(&mut page, report);
    plots(&mut page, report);
    divergences(&mut page, report);
    tables(&mut page, report);
    mirror(&mut page, report);
    events(&mut page, &report.events);
    glossary(&mut page);
    page.push_str("</body></html>\n");
    page
}

/// Bad, to be looked at, or well.
fn mood(report: &Report) -> &'static str {
    if report.summary.open > 0 {
        "bad"
    } else if report.status.reconciler.is_silent(SILENCE_SECONDS.into())
        || report.status.owed_rows > 0
    {
        "unsure"
    } else {
        "well"
    }
}

fn header(page: &mut String, report: &Report) {
    let facts = &report.status;
    let phase = facts.phase.as_deref().unwrap_or("no phase yet");
    let since = report.since.as_ref();
    push(
        page,
        format_args!(
            "<header class=\"{}\"><h1>{}</h1><p>{} <b>{}</b> · phase <b>{}</b> · epoch <b>{}</b> · as of \
             <time>{}</time>{}</p><p>The reconciler {}.</p></header>\n",
            mood(report),
            escape(&headline(report)),
            "Database",
            escape(&facts.database),
            escape(phase),
            or_unknown(facts.epoch.map(|epoch| epoch.to_string())),
            escape(&facts.at),
            since.map_or_else(String::new, |from| format!(" · since {}", escape(from))),
            escape(&status::reconciler(&facts.reconciler, SILENCE_SECONDS)),
        ),
    );
}

fn tiles(page: &mut String, report: &Report) {
    let facts = &report.status;
    page.push_str("<section class=\"tiles\">");
    tile(
        page,
        "open",
        &count_signed(report.summary.open),
        "divergences",
    );
    tile(
        page,
        "repaired",
        &count_signed(report.summary.repaired),
        "divergences",
    );
    tile(
        page,
        "lag",
        &or_unknown(facts.lag_seconds.map(seconds)),
        &or_unknown(facts.lag_bytes.map(|lag| bytes(lag as f64))),
    );
    tile(
        page,
        "staleness p99",
        &or_unknown(facts.mirror.staleness_seconds_p99.map(seconds)),
        &p50(facts.mirror.staleness_seconds_p50),
    );
    tile(
        page,
        "proven p99",
        &or_unknown(facts.proven_seconds_p99.map(seconds)),
        &p50(facts.proven_seconds_p50),
    );
    tile(page, "verified", &count(facts.rows.verified), "rows");
    tile(page, "applied", &count(facts.rows.applied), "rows");
    tile(
        page,
        "owed",
        &count_signed(facts.owed_rows),
        "rows to read again",
    );
    page.push_str("</section>\n");
}

fn p50(value: Option<f64>) -> String {
    format!("p50 {}", or_unknown(value.map(seconds)))
}

fn tile(page: &mut String, label: &str, value: &str, below: &str) {
    push(
        page,
        format_args!(
            "<div><span>{}</span><b>{}</b><small>{}</small></div>",
            escape(label),
            escape(value),
            escape(below)
        ),
    );
}

fn plots(page: &mut String, report: &Report) {
    let samples = &report.samples;
    if samples.len() < 2 {
        page.push_str("<p class=\"none\">Nothing to plot yet.</p>\n");
        return;
    }
    let times = times(samples, &report.events);
    page.push_str("<section class=\"plots\">");
    for plot in all_plots(samples, &times) {
        page.push_str(&plot.html());
    }
    page.push_str(
        "</section>\n<p class=\"none\">Each point is the worst of its stretch of time. Dashed lines: \
         what happened to the machinery; point at them, or see below.</p>\n",
    );
}

fn all_plots<'a>(samples: &[Sample], times: &'a Times) -> [Plot<'a>; 5] {
    let series = |name, class, value: fn(&Sample) -> Option<f64>| Series {
        name,
        class,
        values: samples.iter().map(value).collect(),
    };
    let rate = |name, class, total| Series {
        name,
        class,
        values: rates(samples, total),
    };
    let plot = |title, scale, unit, series| Plot {
        title,
        scale,
        unit,
        times,
        series,
    };
    [
        plot(
            "Staleness: from commit to the row on the target",
            MILLISECONDS,
            seconds,
            vec![
                series("p99", "b", |it| it.staleness_seconds_p99),
                series("p50", "a", |it| it.staleness_seconds_p50),
            ],
        ),
        plot(
            "Lag behind the source's log, time",
            MILLISECONDS,
            seconds,
            vec![series("lag", "a", |it| Some(it.lag_seconds))],
        ),
        plot(
            "Lag behind the source's log, size",
            KIBIBYTES,
            bytes,
            vec![series("lag", "a", |it| Some(it.lag_bytes))],
        ),
        plot(
            "Rows a second, by the log's verdict",
            Scale::Linear,
            short,
            vec![
                rate("verified", "a", |it| it.verified),
                rate("applied", "b", |it| it.applied),
            ],
        ),
        plot(
            "Divergences: open, and found so far",
            Scale::Linear,
            short,
            vec![
                series("found", "b", |it| Some(it.found)),
                series("open", "a", |it| Some(it.open)),
            ],
        ),
    ]
}

fn times(samples: &[Sample], events: &[Event]) -> Times {
    Times {
        seconds: samples.iter().map(|sample| sample.at_seconds).collect(),
        texts: samples.iter().map(|sample| sample.at.clone()).collect(),
        marks: events
            .iter()
            .map(|event| Mark {
                at: event.at.clone(),
                title: format!("{} {}: {}", event.at, event.kind, event.text),
            })
            .collect(),
    }
}

/// Growth of a running total per second. A total that fell began anew with its reconciler.
fn rates(samples: &[Sample], total: fn(&Sample) -> f64) -> Vec<Option<f64>> {
    let growth = samples.windows(2).map(|pair| match pair {
        [before, after] if total(after) >= total(before) => {
            let elapsed = after.at_seconds - before.at_seconds;
            (elapsed > 0.0).then(|| (total(after) - total(before)) / elapsed)
        }
        _ => None,
    });
    std::iter::once(None).chain(growth).collect()
}

fn divergences(page: &mut String, report: &Report) {
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

/// A time with its day made faint.
fn moment(at: &str) -> String {
    let (day, time) = at.split_once('T').unwrap_or(("", at));
    format!(
        "<time><small>{}</small> {}</time>",
        escape(day),
        escape(time.trim_end_matches('Z'))
    )
}

/// A revision as a position, with the stored number when pointed at.
fn titled(decimal: Option<&str>) -> String {
    format!(
        "<span title=\"{}\">{}</span>",
        escape(decimal.unwrap_or_default()),
        escape(&revision(decimal))
    )
}

/// A bar for each table: how much of it the mirror brought, the log brought, and was repaired.
fn tables(page: &mut String, report: &Report) {
    if report.tables.is_empty() {
        return;
    }
    page.push_str(
        "<h2>Tables</h2><div class=\"wide\"><table><thead><tr><th>Table<th>Verified<th>Applied\
         <th>Repaired<th>Held back<th>Open<th>Verified, applied, repaired<th>Applied because</tr>\
         </thead><tbody>\n",
    );
    for table in &report.tables {
        push(
            page,
            format_args!(
                "<tr><td class=\"row\">{}<td class=\"number\">{}<td class=\"number\">{}\
                 <td class=\"number\">{}<td class=\"number\">{}<td class=\"number\">{}<td>{}<td>{}</tr>\n",
                escape(&table.table),
                count_signed(table.verified),
                count_signed(table.applied),
                count_signed(table.repaired),
                count_signed(table.held),
                count_signed(table.open_divergences),
                bar(table),
                escape(&reasons(&table.applied_why)),
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

fn mirror(page: &mut String, report: &Report) {
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
    let total = |counts: &std::collections::BTreeMap<String, u64>| counts.values().sum();
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

fn events(page: &mut String, events: &[Event]) {
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

fn glossary(page: &mut String) {
    page.push_str("<details><summary>What the kinds mean</summary><dl>");
    for (kind, meaning) in KINDS {
        push(page, format_args!("<dt><code>{kind}</code><dd>{meaning}"));
    }
    page.push_str("</dl></details>\n");
}

#[cfg(test)]
mod tests {
    use control::report::Summary;

    use super::super::report::tests::hostile;
    use super::*;

    fn report() -> Report {
        Report {
            divergences: vec![hostile()],
            summary: Summary {
                open: 1,
                ..Summary::default()
            },
            events: vec![Event {
                at: "2026-11-23T15:00:01.000Z".into(),
                kind: "target_lost".into(),
                text: "<img src=x>".into(),
            }],
            samples: (0..3_u8)
                .map(|second| Sample {
                    at: format!("2026-11-23T15:00:0{second}.000Z"),
                    at_seconds: f64::from(second),
                    verified: f64::from(second) * 10.0,
                    ..Sample::default()
                })
                .collect(),
            ..Report::default()
        }
    }

    #[test]
    fn nothing_from_a_database_becomes_markup() {
        let page = html(&report());
        for markup in ["<script", "<img", "<i>", "<b>\"", "\u{1b}"] {
            assert!(!page.contains(markup), "{markup:?}");
        }
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    }

    #[test]
    fn the_page_fetches_nothing() {
        let page = html(&report());
        for reference in ["http://", "https://", "url(", "@import", "src="] {
            assert!(
                !page.replace("&lt;img src=x&gt;", "").contains(reference),
                "{reference}"
            );
        }
    }

    #[test]
    fn an_open_divergence_colours_the_page() {
        assert!(html(&report()).contains("<header class=\"bad\">"));
        assert!(html(&Report::default()).contains("<header class=\"unsure\">"));
    }

    #[test]
    fn every_kind_is_explained() {
        let schema = control::schema::target_sql();
        for (kind, _) in KINDS {
            assert!(schema.contains(&format!("'{kind}'")), "{kind}");
        }
    }

    #[test]
    fn a_total_that_fell_is_no_rate() {
        let total = |at_seconds, verified| Sample {
            at_seconds,
            verified,
            ..Sample::default()
        };
        let samples = [total(0.0, 10.0), total(2.0, 30.0), total(3.0, 0.0)];
        assert_eq!(rates(&samples, |it| it.verified), [None, Some(10.0), None]);
    }
}
