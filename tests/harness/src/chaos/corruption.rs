//! Corruptions planted at the target by hand, each in a row of its own: each has to be reported
//! once, as a foreign write, and repaired.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use crate::{
    bed::Bed,
    database::{Database, rows},
    wait,
};

/// Between two corruptions, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 50..600;

/// So long the planter waits for a row of its own to be mirrored and proven.
const PATIENCE: Duration = Duration::from_secs(3);

/// Rows that the planter may use, of each table.
const ROWS_MAX: i32 = 5000;

/// The planted rows: whether the corruption is known to have committed.
#[derive(Debug, Default)]
pub(super) struct Planted {
    rows: BTreeMap<(String, i32), bool>,
}

impl Planted {
    /// Corruptions that are known to have been made.
    pub(super) fn count(&self) -> usize {
        self.rows.values().filter(|is_certain| **is_certain).count()
    }

    /// Whether the report holds each of them once, repaired, and nothing else.
    pub(super) fn check(&self, divergences: &[Value]) -> Result<()> {
        let mut found: BTreeMap<(String, i32), u32> = BTreeMap::new();
        let mut wrong = Vec::new();
        for one in divergences {
            let row = row(one);
            let is_right = one["kind"] == "foreign_write" && one["state"] == "repaired";
            if !is_right || !self.rows.contains_key(&row) {
                wrong.push(format!("{one}"));
            }
            *found.entry(row).or_default() += 1;
        }
        let again: Vec<_> = found.iter().filter(|(_, count)| **count > 1).collect();
        let certain = self.rows.iter().filter(|(_, is_certain)| **is_certain);
        let missed: Vec<_> = certain
            .filter(|(row, _)| !found.contains_key(*row))
            .collect();
        ensure!(
            wrong.is_empty() && again.is_empty() && missed.is_empty(),
            "the report is wrong\nplanted but not reported: {missed:?}\nreported more than once: \
             {again:?}\nnot what was planted:\n{}",
            wrong.join("\n")
        );
        Ok(())
    }
}

fn row(divergence: &Value) -> (String, i32) {
    let table = divergence["table"].as_str().unwrap_or_default().to_owned();
    let id = divergence["key"]["id"]
        .as_str()
        .and_then(|id| id.parse().ok());
    (table, id.unwrap_or_default())
}

/// Plants until it is stopped.
pub(super) struct Planter {
    task: JoinHandle<Result<Planted>>,
}

impl Planter {
    pub(super) fn start(
        bed: &Bed,
        proxied: Database,
        seed: u64,
        stopped: &watch::Receiver<bool>,
    ) -> Self {
        let gardener = Gardener {
            bed: bed.clone(),
            proxied,
            random: StdRng::seed_from_u64(!seed),
            planted: Planted::default(),
            next: 1,
        };
        Self {
            task: tokio::spawn(gardener.plant(stopped.clone())),
        }
    }

    /// What was planted; it has been told to stop.
    pub(super) async fn ended(self) -> Result<Planted> {
        self.task.await?
    }
}

struct Gardener {
    bed: Bed,
    proxied: Database,
    random: StdRng,
    planted: Planted,
    next: i32,
}

impl Gardener {
    async fn plant(mut self, stopped: watch::Receiver<bool>) -> Result<Planted> {
        while !*stopped.borrow() && self.next < ROWS_MAX {
            let pause = self.random.random_range(PAUSE_MS);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let id = self.next;
            self.next += 1;
            let table = if self.random.random_bool(0.5) {
                // A fault in between spoils it, which the next row makes good.
                if !self.is_proven(id).await.unwrap_or(false) {
                    continue;
                }
                "once"
            } else {
                "quiet"
            };
            self.corrupt(table, id).await;
        }
        Ok(self.planted)
    }

    /// Writes a row through the proxy and waits until the log has passed it.
    async fn is_proven(&self, id: i32) -> Result<bool> {
        let sql = format!("UPDATE once SET word = 'written once', amount = 1.50 WHERE id = {id}");
        self.proxied.execute(&sql).await?;
        let fence = self.bed.source.fence().await?;
        let progress = format!(
            "SELECT commit_lsn >= '{fence}' AND NOT EXISTS \
                 (SELECT FROM segue.row_rev WHERE NOT verified AND \"table\" LIKE '%once') \
             FROM segue.progress WHERE stream = '{}'",
            self.bed.stream()
        );
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.bed.target.value(&progress).await? == "t" {
                return Ok(true);
            }
            tokio::time::sleep(wait::PAUSE).await;
        }
        Ok(false)
    }

    async fn corrupt(&mut self, table: &str, id: i32) {
        let Ok(client) = self.bed.target.connect().await else {
            return;
        };
        let sql = match self.random.random_range(0..3) {
            0 => format!("DELETE FROM {table} WHERE id = {id}"),
            1 => format!("UPDATE {table} SET word = 'corrupt' WHERE id = {id}"),
            _ => format!("UPDATE {table} SET amount = NULL, word = NULL WHERE id = {id}"),
        };
        let is_certain = rows(&client, &sql).await.is_ok();
        self.planted
            .rows
            .insert((format!("public.{table}"), id), is_certain);
    }
}
