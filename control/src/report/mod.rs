//! What `segue report` says: every divergence that was found, what was done about it, and the course
//! of lag and staleness, read from the target alone.
//!
//! Does not hold rows' contents but for what the journal kept of a repair, and that only in
//! [`show`].

mod facts;
mod page;

use tokio_postgres::{Client, Row, Transaction};

pub use self::facts::{
    Author, Columns, Divergence, DivergenceDetail, Event, JournalEntry, Proposal, Report, Sample,
    Summary,
};
pub use self::page::{DivergencePage, Page, page};
use crate::error::ControlError;
use crate::status::{self, cannot, unreadable};
use crate::table_report;

/// Divergences listed at most; the summary counts them all. A page with more is no use to anybody.
pub const DIVERGENCES_MAX: usize = 1000;
/// Points of a plot at most: more than its width in pixels would show.
const SAMPLES_MAX: i32 = 300;
/// Events listed at most, the newest first.
const EVENTS_MAX: i64 = 200;

/// From when on divergences, events and samples are wanted.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Since {
    /// From the first.
    #[default]
    Beginning,
    /// From this time on, in any form that PostgreSQL reads.
    Time(String),
    /// This long ago.
    SecondsAgo(f64),
}

/// Reads the report of the migration whose target `client` is connected to.
pub async fn read(client: &mut Client, since: &Since) -> Result<Report, ControlError> {
    let snapshot = status::snapshot(client).await?;
    let from = resolve(&snapshot, since).await?;
    let mut divergences = read_divergences(&snapshot, &from).await?;
    let divergences_truncated = divergences.len() > DIVERGENCES_MAX;
    divergences.truncate(DIVERGENCES_MAX);
    let report = Report {
        since: (*since != Since::Beginning).then(|| from.clone()),
        summary: read_summary(&snapshot, &from).await?,
        divergences,
        divergences_truncated,
        tables: table_report::read(&snapshot).await?,
        events: read_events(&snapshot, &from).await?,
        status: status::read_in(&snapshot).await?,
        samples: read_samples(&snapshot, &from).await?,
    };
    snapshot.commit().await.map_err(cannot("read the report"))?;
    Ok(report)
}

/// Reads one divergence and its repair; none if there is no such number.
pub async fn show(client: &mut Client, id: i64) -> Result<Option<DivergenceDetail>, ControlError> {
    let snapshot = status::snapshot(client).await?;
    let sql = format!("{} WHERE d.id = $1", select_divergence());
    let found = snapshot
        .query_opt(&sql, &[&id])
        .await
        .map_err(cannot("read the divergence"))?;
    let Some(found) = found else { return Ok(None) };
    let sql = format!(
        "SELECT {} AS at, before::text AS before, after::text AS after, act,
                proposed::text AS proposed
         FROM segue.journal WHERE divergence = $1 ORDER BY id",
        status::utc("at")
    );
    let rows = snapshot
        .query(&sql, &[&id])
        .await
        .map_err(cannot("read the journal"))?;
    Ok(Some(DivergenceDetail {
        divergence: divergence(&found).map_err(unreadable("a divergence"))?,
        journal: rows
            .iter()
            .map(journal_entry)
            .collect::<Result<_, _>>()
            .map_err(unreadable("the journal"))?,
    }))
}

/// The start as RFC 3339, which is also how the other queries take it.
async fn resolve(snapshot: &Transaction<'_>, since: &Since) -> Result<String, ControlError> {
    let (time, seconds) = match since {
        Since::Beginning => return Ok("-infinity".to_owned()),
        Since::Time(text) => (Some(text.as_str()), None),
        Since::SecondsAgo(seconds) => (None, Some(*seconds)),
    };
    let at = "coalesce($1::text::timestamptz, clock_timestamp() - make_interval(secs => $2))";
    let row = snapshot
        .query_one(&format!("SELECT {}", status::utc(at)), &[&time, &seconds])
        .await
        .map_err(cannot("read the time given"))?;
    Ok(row.get(0))
}

async fn read_summary(snapshot: &Transaction<'_>, from: &str) -> Result<Summary, ControlError> {
    let rows = snapshot
        .query(
            "SELECT kind, state, count(*) FROM segue.divergence
             WHERE detected_at >= $1::text::timestamptz OR state = 'open' GROUP BY kind, state",
            &[&from],
        )
        .await
        .map_err(cannot("read the divergences"))?;
    let mut summary = Summary::default();
    for row in rows {
        let (kind, state, count): (String, &str, i64) = (row.get(0), row.get(1), row.get(2));
        match state {
            "open" => summary.open += count,
            "repaired" => summary.repaired += count,
            _ => summary.ignored += count,
        }
        *summary.by_kind.entry(kind).or_default() += count;
    }
    Ok(summary)
}

fn select_divergence() -> String {
    format!(
        r#"SELECT d.id, d."table", d.key_columns::text AS key, d.kind, d.state, d.columns,
                  coalesce((SELECT s.what FROM segue.stopped s WHERE s.divergence = d.id),
                           d.repair) AS repair,
                  d.held, d.written_by, d.written_xid, {} AS written_at,
                  {} AS detected_at, {} AS repaired_at,
                  d.source_rev::text AS source_rev, d.target_rev::text AS target_rev,
                  replace(d.op_id::text, '-', '') AS op_id
           FROM segue.divergence d"#,
        status::utc("d.written_at"),
        status::utc("d.detected_at"),
        status::utc("d.repaired_at")
    )
}

/// An open divergence is in the report however old it is.
async fn read_divergences(
    snapshot: &Transaction<'_>,
    from: &str,
) -> Result<Vec<Divergence>, ControlError> {
    let sql = format!(
        "{} WHERE d.detected_at >= $1::text::timestamptz OR d.state = 'open'
         ORDER BY d.state <> 'open', d.detected_at DESC, d.id DESC LIMIT {}",
        select_divergence(),
        DIVERGENCES_MAX + 1
    );
    let rows = snapshot
        .query(&sql, &[&from])
        .await
        .map_err(cannot("read the divergences"))?;
    rows.iter()
        .map(divergence)
        .collect::<Result<_, _>>()
        .map_err(unreadable("a divergence"))
}

fn divergence(row: &Row) -> Result<Divergence, serde_json::Error> {
    Ok(Divergence {
        id: row.get("id"),
        table: row.get("table"),
        key: columns(row.get("key"))?.unwrap_or_default(),
        kind: row.get("kind"),
        state: row.get("state"),
        detected_at: row.get("detected_at"),
        repaired_at: row.get("repaired_at"),
        repair: row.get("repair"),
        source_rev: row.get("source_rev"),
        target_rev: row.get("target_rev"),
        op_id: row.get("op_id"),
        columns: row.get("columns"),
        held: row.get("held"),
        written_by: row.get::<_, Option<i64>>("written_xid").map(|xid| Author {
            origin: row.get("written_by"),
            xid,
            committed_at: row.get("written_at"),
        }),
    })
}

fn journal_entry(row: &Row) -> Result<JournalEntry, serde_json::Error> {
    Ok(JournalEntry {
        at: row.get("at"),
        before: columns(row.get("before"))?,
        after: columns(row.get("after"))?,
        act: row.get("act"),
        proposed: match row.get::<_, Option<&str>>("proposed") {
            None => Proposal::None,
            Some(text) => columns(Some(text).filter(|it| *it != "null"))?
                .map_or(Proposal::Delete, Proposal::Row),
        },
    })
}

/// A `jsonb` object of column: text.
fn columns(text: Option<&str>) -> Result<Option<Columns>, serde_json::Error> {
    text.map(serde_json::from_str).transpose()
}

async fn read_events(snapshot: &Transaction<'_>, from: &str) -> Result<Vec<Event>, ControlError> {
    let sql = format!(
        "SELECT {} AS at, kind, text FROM segue.event
         WHERE segue.event.at >= $1::text::timestamptz
         ORDER BY id DESC LIMIT {EVENTS_MAX}",
        status::utc("at")
    );
    let rows = snapshot
        .query(&sql, &[&from])
        .await
        .map_err(cannot("read the events"))?;
    let event = |row: &Row| Event {
        at: row.get("at"),
        kind: row.get("kind"),
        text: row.get("text"),
    };
    Ok(rows.iter().map(event).collect())
}

async fn read_samples(snapshot: &Transaction<'_>, from: &str) -> Result<Vec<Sample>, ControlError> {
    let sql = format!(
        "SELECT {}, extract(epoch FROM max(at))::float8, max(lag_bytes)::float8,
                max(lag_seconds), max(staleness_seconds_p50), max(staleness_seconds_p99),
                max(verified)::float8, max(applied)::float8
         FROM (SELECT s.*, ntile({SAMPLES_MAX}) OVER (ORDER BY at) AS stretch
               FROM segue.sample s WHERE at >= $1::text::timestamptz) AS tiled
         GROUP BY stretch ORDER BY stretch",
        status::utc("max(at)")
    );
    let rows = snapshot
        .query(&sql, &[&from])
        .await
        .map_err(cannot("read the samples"))?;
    let sample = |row: &Row| Sample {
        at: row.get(0),
        at_seconds: row.get(1),
        lag_bytes: row.get(2),
        lag_seconds: row.get(3),
        staleness_seconds_p50: row.get(4),
        staleness_seconds_p99: row.get(5),
        verified: row.get(6),
        applied: row.get(7),
        open: 0.0,
        found: 0.0,
    };
    let mut samples: Vec<Sample> = rows.iter().map(sample).collect();
    count_divergences(snapshot, &mut samples).await?;
    Ok(samples)
}

/// How many had been found and were open at each sample's time.
async fn count_divergences(
    snapshot: &Transaction<'_>,
    samples: &mut [Sample],
) -> Result<(), ControlError> {
    let sql = "SELECT ARRAY (SELECT extract(epoch FROM detected_at)::float8
                             FROM segue.divergence ORDER BY 1),
                      ARRAY (SELECT extract(epoch FROM repaired_at)::float8
                             FROM segue.divergence
                             WHERE repaired_at IS NOT NULL AND state <> 'open' ORDER BY 1)";
    let row = snapshot.query_one(sql, &[]).await;
    let row = row.map_err(cannot("read when divergences were open"))?;
    let (found, over): (Vec<f64>, Vec<f64>) = (row.get(0), row.get(1));
    for sample in samples {
        let until = |times: &[f64]| times.partition_point(|at| *at <= sample.at_seconds) as f64;
        let (found, over) = (until(&found), until(&over));
        sample.found = found;
        sample.open = (found - over).max(0.0);
    }
    Ok(())
}
