//! The divergence report as one self-contained page: no script, nothing fetched, light and dark.
//!
//! Does not read anything: facts in, page out.

mod account;
mod found;
mod plots;

use control::report::Report;

use super::report::headline;
use super::{
    SILENCE_SECONDS, bytes, count, count_signed, escape, or_unknown, push, seconds, status,
};

const STYLE: &str = include_str!("../page.css");

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
    plots::plots(&mut page, report);
    found::divergences(&mut page, report);
    account::tables(&mut page, report);
    account::mirror(&mut page, report);
    account::events(&mut page, &report.events);
    found::glossary(&mut page);
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

/// A time with its day made faint.
fn moment(at: &str) -> String {
    let (day, time) = at.split_once('T').unwrap_or(("", at));
    format!(
        "<time><small>{}</small> {}</time>",
        escape(day),
        escape(time.trim_end_matches('Z'))
    )
}

#[cfg(test)]
mod tests {
    use control::report::{Event, Sample, Summary};

    use super::super::report::tests::hostile;
    use super::found::KINDS;
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
}
