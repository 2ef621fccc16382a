//! Large transactions, which the source sends as they run: interleaved, rolled back in part, and
//! with a reconciler that dies or has nowhere to keep them.

use harness::guardian::Guardian;
use harness::{Database, Segue, SmallDisk, wait};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio_postgres::Client;

use crate::ground::{Ground, seed};

const SCHEMA: &str = "
    CREATE TABLE item (id bigint PRIMARY KEY, word text NOT NULL, stars int);
    CREATE TABLE small (id int PRIMARY KEY, stars int);
    INSERT INTO small SELECT n, 0 FROM generate_series(1, 20) n;
";

/// Rows written at once: more than the source keeps in memory of a transaction.
const ROWS: i64 = 700;

/// A pair whose source sends each transaction of more than 64 kB early.
async fn ground() -> Ground {
    let ground = Ground::new(SCHEMA).await;
    set(&ground, "logical_decoding_work_mem", "64kB").await;
    ground
}

/// For sessions of the source's database that begin from now on.
async fn set(ground: &Ground, name: &str, value: &str) {
    let source = &ground.bed.source;
    let sql = format!("ALTER DATABASE {} SET {name} = '{value}'", source.name);
    source.execute(&sql).await.unwrap();
}

/// Waits until the source has sent so many transactions early.
async fn sent_early(ground: &Ground, count: u64) {
    let sql = format!(
        "SELECT stream_txns >= {count} FROM pg_stat_replication_slots WHERE slot_name = '{}'",
        ground.bed.stream()
    );
    wait::until_true("transactions to be sent early", async || {
        Ok(ground.bed.source.value(&sql).await? == "t")
    })
    .await
    .unwrap();
}

/// How many files without a name a process has in its spool.
fn kept(segue: &Segue) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", segue.pid())).unwrap();
    let names = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    names
        .filter(|name| name.to_string_lossy().contains("segue-spool-"))
        .count()
}

async fn spool_is_empty(segue: &Segue) {
    wait::until_true("the spool to be empty", async || Ok(kept(segue) == 0))
        .await
        .unwrap();
}

/// A session that writes a lot before it decides.
struct Writer {
    client: Client,
    first: i64,
    open: usize,
}

impl Writer {
    async fn begin(database: &Database, number: i64) -> Self {
        let client = database.connect().await.unwrap();
        client.batch_execute("BEGIN").await.unwrap();
        let first = number * 1_000_000;
        let open = 0;
        Self {
            client,
            first,
            open,
        }
    }

    async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    async fn write(&mut self) {
        let (first, last) = (self.first, self.first + ROWS);
        self.first = last;
        self.execute(&format!(
            "INSERT INTO item SELECT n, repeat(md5(n::text), 4), 0 FROM generate_series({first}, {last} - 1) n;
             UPDATE item SET stars = stars + 1 WHERE id BETWEEN {first} AND {last} AND id % 7 = 0;
             DELETE FROM item WHERE id BETWEEN {first} AND {last} AND id % 5 = 0"
        ))
        .await;
    }

    /// Something at random that leaves the transaction open.
    async fn go_on(&mut self, random: &mut StdRng) {
        match random.random_range(0..6) {
            0 | 1 => {
                self.open += 1;
                self.execute(&format!("SAVEPOINT s{}", self.open)).await;
                self.write().await;
            }
            2 if self.open > 0 => {
                let place = random.random_range(1..=self.open);
                self.open = place;
                self.execute(&format!("ROLLBACK TO s{place}")).await;
            }
            3 if self.open > 0 => {
                self.execute(&format!("RELEASE s{}", self.open)).await;
                self.open -= 1;
            }
            _ => self.write().await,
        }
    }
}

#[tokio::test]
async fn interleaved_large_transactions_arrive_whole_without_what_was_rolled_back() {
    let ground = ground().await;
    let mut reconciler = ground.launch.reconciler(&[]).await.unwrap();
    let source = &ground.bed.source;
    let mut random = StdRng::seed_from_u64(seed(41));
    for round in 0..2 {
        let mut writers = Vec::new();
        for number in 0..4 {
            writers.push(Writer::begin(source, round * 4 + number).await);
        }
        for step in 0..12 {
            for writer in &mut writers {
                writer.go_on(&mut random).await;
            }
            let small = format!("UPDATE small SET stars = stars + 1 WHERE id = {step} + 1");
            source.execute(&small).await.unwrap();
        }
        sent_early(&ground, 1).await;
        if round == 0 {
            // What it has kept of open transactions goes with it; the source sends it again.
            reconciler.kill().unwrap();
            reconciler.run_again().await.unwrap();
        }
        for (number, mut writer) in writers.into_iter().enumerate() {
            writer.go_on(&mut random).await;
            let end = if number % 4 == 2 {
                "ROLLBACK"
            } else {
                "COMMIT"
            };
            writer.execute(end).await;
        }
    }
    ground.converges_without_divergence().await;
    spool_is_empty(&reconciler).await;
    let streamed = "SELECT (stream_txns > 4)::text FROM pg_stat_replication_slots \
                    WHERE slot_name = '{}'";
    let streamed = streamed.replace("{}", &ground.bed.stream());
    assert_eq!(source.value(&streamed).await.unwrap(), "true");
    assert_eq!(reconciler.terminate().await.unwrap(), 0);
}

#[tokio::test]
async fn a_schema_change_and_a_truncate_in_a_large_transaction_keep_their_place() {
    let ground = ground().await;
    let reconciler = ground.launch.reconciler(&[]).await.unwrap();
    let mut large = Writer::begin(&ground.bed.source, 1).await;
    large.write().await;
    sent_early(&ground, 1).await;
    // Described a second time, in a subtransaction that is taken back with its description.
    large
        .execute("SAVEPOINT s; ALTER TABLE item ALTER word SET STORAGE EXTERNAL")
        .await;
    large.write().await;
    large.execute("ROLLBACK TO s").await;
    large.write().await;
    large.execute("TRUNCATE item").await;
    large.write().await;
    ground
        .bed
        .source
        .execute("UPDATE small SET stars = 5")
        .await
        .unwrap();
    large.execute("COMMIT").await;
    ground.converges_without_divergence().await;
    spool_is_empty(&reconciler).await;
}

#[tokio::test]
async fn the_source_is_answered_while_the_target_takes_long_over_a_large_transaction() {
    let ground = ground().await;
    set(&ground, "wal_sender_timeout", "2s").await;
    let _reconciler = ground.launch.reconciler(&[]).await.unwrap();
    let target = ground.bed.target.connect().await.unwrap();
    target
        .batch_execute("BEGIN; LOCK TABLE item")
        .await
        .unwrap();
    let source = &ground.bed.source;
    let mut large = Writer::begin(source, 1).await;
    for _ in 0..20 {
        large.write().await;
    }
    large.execute("COMMIT").await;
    let answered = format!(
        "SELECT count(*) FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid \
         WHERE s.slot_name = '{}' AND r.backend_start + interval '6 seconds' < clock_timestamp()",
        ground.bed.stream()
    );
    // The same connection for three times as long as the source is ready to wait.
    wait::until_true("the source to have been answered for long", async || {
        Ok(source.value(&answered).await? == "1")
    })
    .await
    .unwrap();
    target.batch_execute("COMMIT").await.unwrap();
    ground.converges_without_divergence().await;
    let lost = "SELECT count(*) FROM segue.event WHERE kind = 'resumed'";
    assert_eq!(ground.bed.target.value(lost).await.unwrap(), "0");
}

#[tokio::test]
async fn without_a_spool_the_source_keeps_large_transactions_itself() {
    let ground = ground().await;
    let spool = std::env::temp_dir().join(format!("segue-it-{}", ground.bed.stream()));
    std::fs::create_dir_all(&spool).unwrap();
    let named = spool.display().to_string();
    let arguments = ["reconciler", "--spool-dir", &named];
    let reconciler = ground.launch.reconciler(&arguments[1..]);
    let reconciler = reconciler.await.unwrap();
    std::fs::remove_dir(&spool).unwrap();
    let mut large = Writer::begin(&ground.bed.source, 1).await;
    large.write().await;
    large.write().await;
    large.execute("COMMIT").await;
    ground.converges_without_divergence().await;
    let event = "SELECT text FROM segue.event WHERE kind = 'resumed'";
    let text = ground.bed.target.value(event).await.unwrap();
    let expected = format!("the spool in {named}, where large transactions wait");
    assert!(text.starts_with(&expected), "{text}");
    assert_eq!(kept(&reconciler), 0);
    let refused = ground.launch.run_to_end(&arguments);
    let refused = refused.await.unwrap();
    assert_eq!(refused.code, 2, "{}", refused.errors);
    assert!(refused.errors.contains(&named), "{}", refused.errors);
}

/// Ends the reconciler's turn at the spool with a real error: the disk is full in the middle of a
/// large transaction, of which the source has sent a part.
#[tokio::test]
async fn a_disk_that_is_full_in_the_middle_of_a_large_transaction_loses_nothing() {
    let ground = ground().await;
    let directory = Guardian::of_this_process().unwrap().directory();
    let directory = directory.join(format!("spool-{}", ground.bed.stream()));
    let Some(disk) = SmallDisk::mount(&directory) else {
        println!("skipped: no file system may be mounted here");
        return;
    };
    let named = directory.display().to_string();
    let arguments = ["--spool-dir", &named];
    let reconciler = ground.launch.reconciler(&arguments).await.unwrap();
    let source = &ground.bed.source;
    let mut large = Writer::begin(source, 1).await;
    large.write().await;
    sent_early(&ground, 1).await;
    disk.fill();
    large
        .execute("INSERT INTO item SELECT -n, repeat(md5(n::text), 40), 0 FROM generate_series(1, 6000) n")
        .await;
    // What others write meanwhile is not held up by it.
    source
        .execute("UPDATE small SET stars = 7 WHERE id = 1")
        .await
        .unwrap();
    ground
        .target_shows("SELECT stars FROM small WHERE id = 1", "7")
        .await;
    let event = "SELECT text FROM segue.event WHERE kind = 'resumed'";
    let text = ground.bed.target.value(event).await.unwrap();
    let expected = format!("the spool in {named}, where large transactions wait");
    assert!(text.starts_with(&expected), "{text}");
    assert!(text.contains("No space left on device"), "{text}");
    assert!(text.contains("free space there"), "{text}");
    large.execute("COMMIT").await;
    ground.converges_without_divergence().await;
    assert_eq!(kept(&reconciler), 0);
    assert_eq!(reconciler.terminate().await.unwrap(), 0);
    disk.fill();
    // A start on a full disk says so at once; with room again large transactions are kept as before.
    let start = ["reconciler", "--spool-dir", &named];
    let refused = ground.launch.run_to_end(&start).await.unwrap();
    assert_eq!(refused.code, 1, "{}", refused.errors);
    assert!(
        refused.errors.contains("free space there"),
        "{}",
        refused.errors
    );
    disk.empty();
    let reconciler = ground.launch.reconciler(&arguments).await.unwrap();
    let mut large = Writer::begin(source, 2).await;
    large.write().await;
    wait::until_true("it to be kept", async || Ok(kept(&reconciler) == 1))
        .await
        .unwrap();
    large.execute("COMMIT").await;
    ground.converges_without_divergence().await;
    assert_eq!(reconciler.terminate().await.unwrap(), 0);
}

#[tokio::test]
async fn a_column_that_a_large_transaction_adds_stops_its_table_and_nothing_of_it_is_lost() {
    let ground = ground().await;
    let reconciler = ground.launch.reconciler(&[]).await.unwrap();
    let source = &ground.bed.source;
    let mut large = Writer::begin(source, 1).await;
    large.write().await;
    sent_early(&ground, 1).await;
    let add = "ALTER TABLE item ADD COLUMN note text DEFAULT 'none'";
    large.execute(add).await;
    large
        .execute("UPDATE item SET note = 'changed' WHERE id % 3 = 0")
        .await;
    large.write().await;
    large
        .execute("UPDATE small SET stars = 3 WHERE id = 3")
        .await;
    large.execute("COMMIT").await;
    source
        .execute("UPDATE small SET stars = 4 WHERE id = 4")
        .await
        .unwrap();
    // The other table of the same transaction, and those behind it, go on.
    for id in [3, 4] {
        let sql = format!("SELECT stars FROM small WHERE id = {id}");
        ground.target_shows(&sql, &id.to_string()).await;
    }
    let status = ground.launch.status().await.unwrap();
    let table = &status["stopped_tables"][0];
    assert_eq!(table["table"], "public.item", "{status:#}");
    assert!(
        table["what"]
            .as_str()
            .unwrap()
            .contains("column note is new"),
        "{table}"
    );
    ground.bed.target.execute(add).await.unwrap();
    wait::until_true("the table to go on", async || {
        let status = ground.launch.status().await?;
        anyhow::ensure!(
            status["stopped_tables"] == serde_json::json!([]),
            "{status:#}"
        );
        Ok(true)
    })
    .await
    .unwrap();
    ground.bed.converged().await.unwrap();
    wait::until_true("the drift to be over", async || {
        let found = ground.divergences().await;
        assert_eq!(found.len(), 1, "the drift alone: {found:#?}");
        assert_eq!(found[0]["kind"], "schema_drift");
        Ok(found[0]["state"] == "repaired")
    })
    .await
    .unwrap();
    spool_is_empty(&reconciler).await;
}
