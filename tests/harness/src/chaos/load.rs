//! The load: writers that do all that makes mirroring hard, and what each was told of its commits.
//!
//! Every transaction leaves a number in `deed`, so that afterwards it can be asked for.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{sync::watch, task::JoinHandle, time::Duration};
use tokio_postgres::Client;

use crate::{database::Database, wait};

/// `quiet` and `once` belong to the planter.
pub(super) const SCHEMA: &str = "
    CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL, word text);
    CREATE TABLE deed (writer int, number int, account int, delta int, PRIMARY KEY (writer, number));
    CREATE TABLE item (id int PRIMARY KEY, name text, body text, size int NOT NULL DEFAULT 0);
    ALTER TABLE item ALTER body SET STORAGE EXTERNAL;
    CREATE TABLE seat (id int PRIMARY KEY, place int NOT NULL UNIQUE, prior int);
    CREATE TABLE scratch (id int PRIMARY KEY, word text);
    CREATE TABLE quiet (id int PRIMARY KEY, word text, amount numeric);
    CREATE TABLE once (id int PRIMARY KEY, word text, amount numeric);
    INSERT INTO account SELECT n, 0, '' FROM generate_series(1, 40) n;
    INSERT INTO item SELECT n, 'item ' || n, repeat(md5(n::text), 100) FROM generate_series(1, 100) n;
    INSERT INTO seat SELECT n, n FROM generate_series(1, 20) n;
    INSERT INTO quiet SELECT n, 'quiet ' || n, n FROM generate_series(1, 5000) n;
    INSERT INTO once SELECT n, 'never written', n FROM generate_series(1, 5000) n;
";

/// Writers through the proxy, and writers past it.
const PROXIED: i32 = 4;
const PAST: i32 = 2;

/// A transaction that takes longer hangs.
const HANGS: Duration = Duration::from_mins(1);

/// What the writers were told.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Acknowledged: has to be there.
    pub(super) committed: Vec<(i32, i32)>,
    /// Rolled back, or broken off before COMMIT was sent: must not be there.
    pub(super) rolled_back: Vec<(i32, i32)>,
    /// No answer to COMMIT, or one that a crash may take back.
    pub(super) unknown: usize,
}

impl Ledger {
    /// Whether a side holds what was acknowledged, nothing that was not, and sums that agree.
    pub(super) async fn check(&self, side: &str, database: &Database) -> Result<()> {
        let client = database.connect().await?;
        let rows = client.query("SELECT writer, number FROM deed", &[]).await?;
        let held: HashSet<(i32, i32)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let lost: Vec<_> = self
            .committed
            .iter()
            .filter(|deed| !held.contains(deed))
            .collect();
        ensure!(
            lost.is_empty(),
            "acknowledged commits lost at the {side}: {lost:?}"
        );
        let raised: Vec<_> = self
            .rolled_back
            .iter()
            .filter(|deed| held.contains(deed))
            .collect();
        ensure!(
            raised.is_empty(),
            "rolled back and there at the {side}: {raised:?}"
        );
        let wrong = "SELECT id FROM account a WHERE balance <> \
                     (SELECT coalesce(sum(delta), 0) FROM deed WHERE account = a.id)";
        let wrong = client.query(wrong, &[]).await?;
        ensure!(
            wrong.is_empty(),
            "{} balances are no sums at the {side}",
            wrong.len()
        );
        Ok(())
    }
}

/// The running writers.
pub(super) struct Load {
    writers: Vec<JoinHandle<Result<Ledger>>>,
}

impl Load {
    pub(super) fn start(
        proxied: &Database,
        source: &Database,
        seed: u64,
        stopped: &watch::Receiver<bool>,
    ) -> Self {
        let numbers = 0..PROXIED + PAST;
        let writers = numbers
            .zip(seed.wrapping_mul(1000)..)
            .map(|(number, seed)| {
                let database = if number < PROXIED { proxied } else { source };
                let writer = Writer {
                    number,
                    deeds: 0,
                    random: StdRng::seed_from_u64(seed),
                    ledger: Ledger::default(),
                };
                tokio::spawn(writer.write(database.clone(), stopped.clone()))
            });
        Self {
            writers: writers.collect(),
        }
    }

    /// What all writers were told; they have been stopped.
    pub(super) async fn ended(self) -> Result<Ledger> {
        let mut all = Ledger::default();
        for writer in self.writers {
            let one = writer.await??;
            all.committed.extend(one.committed);
            all.rolled_back.extend(one.rolled_back);
            all.unknown += one.unknown;
        }
        Ok(all)
    }
}

struct Writer {
    number: i32,
    deeds: i32,
    random: StdRng,
    ledger: Ledger,
}

/// How a transaction goes to the server.
enum Way {
    /// Its statements in one simple query.
    Batch,
    /// One simple query each.
    Simple,
    /// Parse, Bind, Execute.
    Extended,
}

impl Writer {
    async fn write(mut self, database: Database, stopped: watch::Receiver<bool>) -> Result<Ledger> {
        while !*stopped.borrow() {
            let Ok(client) = database.connect().await else {
                tokio::time::sleep(wait::PAUSE).await;
                continue;
            };
            while !*stopped.borrow() && !client.is_closed() {
                let deed = tokio::time::timeout(HANGS, self.deed(&client));
                deed.await
                    .with_context(|| format!("writer {} hangs", self.number))?;
                let pause = self.random.random_range(0..15);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        }
        Ok(self.ledger)
    }

    /// One transaction, and what became of it.
    async fn deed(&mut self, client: &Client) {
        self.deeds += 1;
        let deed = (self.number, self.deeds);
        let statements = self.statements();
        let is_risky = statements
            .iter()
            .any(|sql| sql.contains("synchronous_commit"));
        let rolls_back = self.random.random_bool(0.05);
        let way = match self.random.random_range(0..3) {
            0 => Way::Batch,
            1 => Way::Simple,
            _ => Way::Extended,
        };
        let begun = match way {
            Way::Batch => {
                let end = if rolls_back { "ROLLBACK" } else { "COMMIT" };
                let text = format!("BEGIN; {}; {end}", statements.join("; "));
                let answer = client.batch_execute(&text).await;
                let refused = answer
                    .as_ref()
                    .is_err_and(|error| error.as_db_error().is_some());
                if rolls_back {
                    self.ledger.rolled_back.push(deed);
                } else if answer.is_ok() && !is_risky {
                    self.ledger.committed.push(deed);
                } else {
                    self.ledger.unknown += 1;
                }
                if refused {
                    // An error means that the connection is gone, which the caller sees.
                    drop(client.batch_execute("ROLLBACK").await);
                }
                return;
            }
            Way::Simple => simply(client, &statements).await,
            Way::Extended => extendedly(client, &statements).await,
        };
        if begun.is_err() || rolls_back {
            drop(client.batch_execute("ROLLBACK").await);
            self.ledger.rolled_back.push(deed);
        } else if client.batch_execute("COMMIT").await.is_ok() && !is_risky {
            self.ledger.committed.push(deed);
        } else {
            self.ledger.unknown += 1;
        }
    }

    fn statements(&mut self) -> Vec<String> {
        let account = self.random.random_range(1..=12);
        let delta = self.random.random_range(-9..=9);
        let mut all = vec![
            format!("UPDATE account SET balance = balance + {delta} WHERE id = {account}"),
            format!(
                "INSERT INTO deed VALUES ({}, {}, {account}, {delta})",
                self.number, self.deeds
            ),
        ];
        for _ in 0..self.random.random_range(0..4) {
            let more = self.statement();
            if self.random.random_bool(0.15) {
                all.push("SAVEPOINT thought".to_owned());
                all.extend(more);
                let end = if self.random.random_bool(0.6) {
                    "ROLLBACK TO"
                } else {
                    "RELEASE"
                };
                all.push(format!("{end} thought"));
            } else {
                all.extend(more);
            }
        }
        all
    }

    fn statement(&mut self) -> Vec<String> {
        let item = self.random.random_range(1..=150);
        let other = self.random.random_range(1..=150);
        let word: u32 = self.random.random();
        let one = match self.random.random_range(0..100) {
            0..15 => format!(
                "UPDATE account SET word = '{word:x}' WHERE id = {}",
                item % 40 + 1
            ),
            15..30 => format!(
                "INSERT INTO item VALUES ({item}, 'new {word}', repeat(md5('{word}'), {}), 1) \
                 ON CONFLICT (id) DO UPDATE SET size = item.size + 1, name = excluded.name",
                other + 60
            ),
            30..45 => format!("UPDATE item SET size = size + 1 WHERE id = {item}"),
            45..52 => format!("UPDATE item SET body = repeat('{word:x}', 900) WHERE id = {item}"),
            52..62 => format!("DELETE FROM item WHERE id = {item}"),
            62..67 => format!(
                "UPDATE item SET id = {item} WHERE id = {other} \
                 AND NOT EXISTS (SELECT FROM item WHERE id = {item})"
            ),
            67..72 => {
                format!("UPDATE item SET size = size + 1 WHERE id BETWEEN {item} AND {item} + 30")
            }
            72..75 => format!("DELETE FROM item WHERE id BETWEEN {item} AND {item} + 5"),
            75..80 => format!(
                "INSERT INTO item SELECT n, 'bulk', repeat('{word:x}', 500) \
                 FROM generate_series({item}, {item} + 20) n ON CONFLICT DO NOTHING"
            ),
            80..82 => "TRUNCATE scratch".to_owned(),
            82..87 => format!(
                "INSERT INTO scratch SELECT n, '{word:x}' FROM generate_series({item}, {other} + 9) n \
                 ON CONFLICT (id) DO UPDATE SET word = excluded.word"
            ),
            87..92 => format!(
                "INSERT INTO scratch VALUES ({item}, 'one') ON CONFLICT (id) DO UPDATE SET word = 'two'"
            ),
            92..97 => return exchange(item % 20 + 1, other % 20 + 1),
            _ => {
                return vec![
                    "SET LOCAL synchronous_commit = off".to_owned(),
                    format!(
                        "UPDATE account SET word = 'risky' WHERE id = {}",
                        item % 40 + 1
                    ),
                ];
            }
        };
        vec![one]
    }
}

/// Two rows exchange a unique value.
fn exchange(one: i32, other: i32) -> Vec<String> {
    let (first, second) = (one.min(other), one.max(other));
    if first == second {
        return vec![format!("UPDATE seat SET place = place WHERE id = {first}")];
    }
    let give = |id: i32, from: i32| {
        format!(
            "UPDATE seat SET place = (SELECT prior FROM seat WHERE id = {from}) WHERE id = {id}"
        )
    };
    // At no moment do both hold the same place.
    vec![
        format!("SELECT id FROM seat WHERE id IN ({first}, {second}) ORDER BY id FOR UPDATE"),
        format!("UPDATE seat SET prior = place, place = -id WHERE id = {first}"),
        format!("UPDATE seat SET prior = place, place = -id WHERE id = {second}"),
        give(first, second),
        give(second, first),
    ]
}

async fn simply(client: &Client, statements: &[String]) -> Result<()> {
    client.batch_execute("BEGIN").await?;
    for sql in statements {
        client.batch_execute(sql).await?;
    }
    Ok(())
}

async fn extendedly(client: &Client, statements: &[String]) -> Result<()> {
    client.batch_execute("BEGIN").await?;
    for sql in statements {
        client.query(sql, &[]).await?;
    }
    Ok(())
}
