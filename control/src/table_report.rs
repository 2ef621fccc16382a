//! What became of the rows of each table, as the reconciler has counted them since setup.
//!
//! Does not count: the reconciler adds to `segue.table_count` once a second, and the proxies tell of
//! those that they left most to the log.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use tokio_postgres::Transaction;

use crate::error::ControlError;
use crate::status::cannot;

/// Tables listed at most: those with the most open divergences, then the busiest.
const TABLES_MAX: i64 = 500;

/// One table's account. The field names are the JSON names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TableReport {
    /// Its canonical name.
    pub table: String,
    /// Rows that the mirror had brought, and the log found equal.
    pub verified: i64,
    /// Rows that were equal, and nothing tells that the mirror had brought them.
    pub unchanged: i64,
    /// Rows that the log brought.
    pub applied: i64,
    /// Rows that were put right.
    pub repaired: i64,
    /// Rows whose repair was held back, each time it was.
    pub held: i64,
    /// Rows of which a newer version stood there already.
    pub superseded: i64,
    /// Those applied, by reason: `deferred` on purpose, `unmirrored` of no proxy's transaction.
    pub applied_why: BTreeMap<String, i64>,
    /// Those applied because they were deferred, by the reason that a proxy gave.
    #[serde(default)]
    pub deferred: BTreeMap<String, i64>,
    /// Those applied because the mirror dropped them, by the reason that a proxy gave.
    #[serde(default)]
    pub dropped: BTreeMap<String, i64>,
    /// Transactions that the proxies left to the log on purpose and that wrote to it as far as their
    /// texts tell, by reason; of the proxies on record, each since its start.
    #[serde(default)]
    pub deferred_transactions: BTreeMap<String, i64>,
    /// Captured transactions of the proxies that wrote to it and did not reach the target early.
    #[serde(default)]
    pub failed_transactions: BTreeMap<String, i64>,
    /// Its open divergences.
    pub open_divergences: i64,
}

pub(crate) async fn read(snapshot: &Transaction<'_>) -> Result<Vec<TableReport>, ControlError> {
    let sql = r#"
        WITH totals AS (
            SELECT "table", sum(count) AS rows FROM segue.table_count GROUP BY "table"),
        open AS (
            SELECT "table", count(*) AS open FROM segue.divergence WHERE state = 'open'
            GROUP BY "table"),
        listed AS (
            SELECT "table", coalesce(open, 0) AS open, coalesce(rows, 0) AS rows
            FROM totals FULL JOIN open USING ("table")
            ORDER BY 2 DESC, 3 DESC, 1 LIMIT $1)
        SELECT l."table", l.open, c.verdict, c.why, c.count
        FROM listed l LEFT JOIN segue.table_count c USING ("table")
        ORDER BY l.open DESC, l.rows DESC, l."table", c.verdict, c.why"#;
    let rows = snapshot.query(sql, &[&TABLES_MAX]).await;
    let rows = rows.map_err(cannot("read the counts by table"))?;
    let mut tables: Vec<TableReport> = Vec::new();
    for row in rows {
        let table: String = row.get(0);
        if tables.last().is_none_or(|last| last.table != table) {
            tables.push(TableReport {
                table,
                open_divergences: row.get(1),
                ..TableReport::default()
            });
        }
        let (verdict, why, count) = (row.get(2), row.get(3), row.get(4));
        if let (Some(last), Some(verdict), Some(count)) = (tables.last_mut(), verdict, count) {
            last.add(verdict, why, count);
        }
    }
    read_proxies(snapshot, &mut tables).await?;
    Ok(tables)
}

/// What the proxies say of the tables: of some the log has brought nothing yet.
async fn read_proxies(
    snapshot: &Transaction<'_>,
    tables: &mut Vec<TableReport>,
) -> Result<(), ControlError> {
    let sql = "
        SELECT t.key, k.key, r.key, sum(r.value::int8)::int8
        FROM segue.proxy p, jsonb_each(p.counters -> 'tables') t, jsonb_each(t.value) k,
             jsonb_each_text(k.value) r
        GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";
    let rows = snapshot.query(sql, &[]).await;
    let rows = rows.map_err(cannot("read what the proxies count by table"))?;
    let places = (0..).zip(tables.iter());
    let mut places: HashMap<String, usize> = places
        .map(|(place, table)| (table.table.clone(), place))
        .collect();
    for row in rows {
        let (table, kind): (String, String) = (row.get(0), row.get(1));
        let place = *places.entry(table.clone()).or_insert_with(|| {
            tables.push(TableReport {
                table,
                ..TableReport::default()
            });
            tables.len() - 1
        });
        let Some(table) = tables.get_mut(place) else {
            continue;
        };
        match kind.as_str() {
            "deferred" => table.deferred_transactions.insert(row.get(2), row.get(3)),
            "failed" => table.failed_transactions.insert(row.get(2), row.get(3)),
            _ => None,
        };
    }
    Ok(())
}

impl TableReport {
    fn add(&mut self, verdict: &str, why: Option<String>, count: i64) {
        match verdict {
            "verified" => self.verified += count,
            "unchanged" => self.unchanged += count,
            "repaired" => self.repaired += count,
            "held" => self.held += count,
            "superseded" => self.superseded += count,
            // A verdict of a later version is still one that the log brought.
            said => {
                self.applied += count;
                let why = why.unwrap_or_default();
                let reasons = match said {
                    "deferred" => Some(&mut self.deferred),
                    "dropped" => Some(&mut self.dropped),
                    _ => None,
                };
                let Some(reasons) = reasons else {
                    *self.applied_why.entry(why).or_default() += count;
                    return;
                };
                *reasons.entry(why).or_default() += count;
                *self.applied_why.entry(said.to_owned()).or_default() += count;
            }
        }
    }

    /// `applied_why` in words that people read: with the proxies' reasons where they gave some.
    pub fn applied_because(&self) -> BTreeMap<String, i64> {
        let mut all = self.applied_why.clone();
        for (said, reasons) in [("deferred", &self.deferred), ("dropped", &self.dropped)] {
            for (reason, count) in reasons {
                *all.entry(said.to_owned()).or_default() -= count;
                *all.entry(format!("{said}: {reason}")).or_default() += count;
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_under_their_verdict_and_applied_rows_under_their_reason_too() {
        let mut table = TableReport::default();
        table.add("verified", Some(String::new()), 3);
        table.add("applied", Some("deferred".into()), 2);
        table.add("applied", Some("unmirrored".into()), 1);
        table.add("held", Some(String::new()), 4);
        assert_eq!((table.verified, table.applied, table.held), (3, 3, 4));
        assert_eq!(table.applied_why.get("deferred"), Some(&2));
    }

    #[test]
    fn what_a_proxy_gave_a_reason_for_is_counted_under_it_too() {
        let mut table = TableReport::default();
        table.add("applied", Some("deferred".into()), 2);
        table.add("deferred", Some("bulk".into()), 5);
        table.add("dropped", Some("queue_full".into()), 1);
        assert_eq!(table.applied, 8);
        assert_eq!(table.applied_why.get("deferred"), Some(&7));
        assert_eq!(table.deferred, BTreeMap::from([("bulk".into(), 5)]));
        assert_eq!(table.dropped, BTreeMap::from([("queue_full".into(), 1)]));
        let because = table.applied_because();
        assert_eq!(because.get("deferred"), Some(&2), "of these none is known");
        assert_eq!(because.get("deferred: bulk"), Some(&5));
        assert_eq!(because.get("dropped"), Some(&0));
    }
}
