//! The divergences a page at a time, in the order of their numbers: for those who want all of them.
//!
//! Does not hold a snapshot between pages: what is found or repaired meanwhile shows as it is then.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::facts::{Divergence, Summary};
use super::{DIVERGENCES_MAX, Since, divergence, read_summary, resolve, select_divergence};
use crate::error::ControlError;
use crate::status::{self, cannot, unreadable};

/// Which divergences are wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// From when on; open ones are never too old.
    pub since: Since,
    /// `open`, `repaired` or `ignored`; any if none is given.
    pub state: Option<String>,
    /// A table's canonical name; any if none is given.
    pub table: Option<String>,
    /// Only those with a greater number.
    pub after: i64,
    /// So many at most.
    pub limit: usize,
}

impl Page {
    /// The states that a divergence may be asked for in.
    pub const STATES: [&'static str; 3] = ["open", "repaired", "ignored"];
    /// Divergences on a page at most.
    pub const LIMIT_MAX: usize = DIVERGENCES_MAX;
}

/// A page. The field names are the JSON names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DivergencePage {
    /// Counts over all divergences, whatever the page is of.
    #[serde(default)]
    pub summary: Summary,
    /// The divergences.
    pub divergences: Vec<Divergence>,
    /// What the next page comes after; none if there is none.
    pub next_after: Option<i64>,
}

impl DivergencePage {
    /// Leaves out what rows hold.
    pub fn redact(&mut self) {
        self.divergences.iter_mut().for_each(Divergence::redact);
    }

    /// Puts the page that follows behind this one.
    pub fn append(&mut self, next: Self) {
        self.summary = next.summary;
        self.divergences.extend(next.divergences);
        self.next_after = next.next_after;
    }
}

/// Reads a page.
pub async fn page(client: &mut Client, page: &Page) -> Result<DivergencePage, ControlError> {
    let snapshot = status::snapshot(client).await?;
    let from = resolve(&snapshot, &page.since).await?;
    let limit = page.limit.min(Page::LIMIT_MAX);
    let sql = format!(
        "{} WHERE d.id > $1 AND d.state = coalesce($2, d.state)
         AND d.\"table\" = coalesce($3, d.\"table\")
         AND (d.detected_at >= $4::text::timestamptz OR d.state = 'open')
         ORDER BY d.id LIMIT {limit}",
        select_divergence(),
    );
    let rows = snapshot
        .query(&sql, &[&page.after, &page.state, &page.table, &from])
        .await
        .map_err(cannot("read the divergences"))?;
    let divergences: Vec<Divergence> = rows
        .iter()
        .map(divergence)
        .collect::<Result<_, _>>()
        .map_err(unreadable("a divergence"))?;
    let is_full = divergences.len() == limit;
    let last = divergences.last().filter(|_| is_full);
    Ok(DivergencePage {
        summary: read_summary(&snapshot, &from).await?,
        next_after: last.map(|last| last.id),
        divergences,
    })
}
