//! What the target can do to the mirror, and what then: clients do not notice, what is dropped is
//! counted with its reason, mirroring resumes by itself, and the log makes both sides equal.
//!
//! Each test that harms a server has servers of its own.

use harness::raw_client::{RawClient, message};
use harness::{Database, Pair, Segue, ServerOptions, SmallDisk, wait};
use serde_json::Value;

use crate::ground::Ground;

const SCHEMA: &str = "
    CREATE TABLE item (id int PRIMARY KEY, name text, amount int);
    CREATE TABLE other (id int PRIMARY KEY, name text);
";

/// Above the bound of the mirror's queue (64 MiB) with what else a proxy holds.
const RESIDENT_KIB_MAX: u64 = 400 << 10;

async fn servers() -> (Pair, Ground) {
    let pair = Pair::start(ServerOptions::default()).await.unwrap();
    let bed = pair.bed(SCHEMA).await.unwrap();
    let ground = Ground::on(bed).await;
    (pair, ground)
}

impl Ground {
    /// Waits until the mirror has failed to bring so many transactions for this reason.
    async fn failed(&self, reason: &str, least: u64) {
        self.status_reaches(&format!("/mirror/failed/{reason}"), least)
            .await;
    }

    /// Waits until a commit is confirmed by the target again, then for both sides to be equal.
    async fn recovers(&self, proxied: &Database) {
        let mut client = RawClient::connect(proxied).await.unwrap();
        wait::until_true("the mirror to resume", async || {
            let insert = "INSERT INTO item VALUES (-1, 'resumed') \
                          ON CONFLICT (id) DO UPDATE SET name = excluded.name";
            for sql in ["SET segue.mirror = 'sync'", insert] {
                client.send(&message::query(sql)).await?;
                let frames = client.until_ready(1).await?;
                if frames.iter().any(|frame| frame.tag == b'N') {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
        .unwrap();
        self.bed.converged().await.unwrap();
    }
}

/// Inserts rows one by one, as an application does; any error is the test's.
async fn inserts(proxied: &Database, ids: std::ops::Range<i32>, name: &str) {
    let client = proxied.connect().await.unwrap();
    let sql = "INSERT INTO item (id, name) VALUES ($1, $2)";
    let insert = client.prepare(sql).await.unwrap();
    for id in ids {
        client.execute(&insert, &[&id, &name]).await.unwrap();
    }
}

fn resident_kib(process: &Segue) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().trim().strip_suffix(" kB").unwrap();
    number.parse().unwrap()
}

#[tokio::test]
async fn a_target_that_is_down_when_the_proxy_starts_is_taken_up_when_it_comes() {
    let (mut pair, ground) = servers().await;
    pair.target.kill().unwrap();
    let proxy = ground.launch.proxy(&["--mirror", "async"]).await.unwrap();
    let proxied = ground.bed.source.through(proxy.port());
    inserts(&proxied, 0..50, "nobody there").await;
    pair.target.run().await.unwrap();
    let _reconciler = ground.launch.reconciler(&[]).await.unwrap();
    ground.recovers(&proxied).await;
    ground.failed("target_down", 1).await;
    assert!(ground.divergences().await.is_empty());
}

#[tokio::test]
async fn a_target_that_stops_answering_costs_neither_clients_nor_memory() {
    let (pair, ground) = servers().await;
    let (segue, proxied) = ground.run().await;
    inserts(&proxied, 0..5, "before").await;
    pair.target.pause().unwrap();
    // More than the queue may hold.
    let large = "x".repeat(500_000);
    inserts(&proxied, 10..170, &large).await;
    assert!(
        resident_kib(&segue) < RESIDENT_KIB_MAX,
        "{} KiB",
        resident_kib(&segue)
    );
    pair.target.resume().unwrap();
    ground.recovers(&proxied).await;
    let status = ground.launch.status().await.unwrap();
    let failed = |reason: &str| {
        let failed = status.pointer(&format!("/mirror/failed/{reason}"));
        failed.and_then(Value::as_u64).unwrap_or(0)
    };
    // On a slow machine the mirror has given up its session before the queue was full.
    assert!(
        failed("queue_full") + failed("target_down") > 0,
        "{status:#}"
    );
    let report = ground.launch.report().await.unwrap();
    let failed = &report["tables"][0]["failed_transactions"];
    let failed = failed
        .as_object()
        .map(|it| it.values().filter_map(Value::as_u64).sum());
    assert!(failed > Some(0), "{:#}", report["tables"]);
    assert!(ground.divergences().await.is_empty());
}

#[tokio::test]
async fn a_target_that_takes_no_writes_is_mirrored_to_again_when_it_does() {
    let (mut pair, ground) = servers().await;
    let (_segue, proxied) = ground.run().await;
    inserts(&proxied, 0..5, "before").await;
    ground.bed.caught_up().await.unwrap();
    pair.target.stop().await.unwrap();
    pair.target.stand_by().unwrap();
    pair.target.run().await.unwrap();
    inserts(&proxied, 10..60, "a standby").await;
    let promote = "SELECT pg_promote()";
    assert_eq!(ground.bed.target.value(promote).await.unwrap(), "t");
    ground.recovers(&proxied).await;
    ground.failed("target_down", 1).await;
}

#[tokio::test]
async fn a_target_that_is_read_only_by_default_is_written_to() {
    let ground = Ground::new(SCHEMA).await;
    let name = &ground.bed.target.name;
    let read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    ground.bed.target.execute(&read_only).await.unwrap();
    let (_segue, proxied) = ground.run().await;
    inserts(&proxied, 0..5, "through").await;
    ground.recovers(&proxied).await;
    assert!(ground.divergences().await.is_empty());
}

/// What a server says whose disk is full, for where no small disk can be had.
const SAY_FULL: &str = "
    CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
    CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION full_disk();
    ALTER TABLE item ENABLE ALWAYS TRIGGER full_disk;
";

#[tokio::test]
async fn a_target_without_room_is_mirrored_to_again_when_it_has_some() {
    let (pair, ground) = servers().await;
    let disk = SmallDisk::mount(&pair.target.directory().join("small"));
    let target = &ground.bed.target;
    if let Some(disk) = &disk {
        let path = disk.directory().display();
        let made = format!("CREATE TABLESPACE small LOCATION '{path}'");
        target.execute(&made).await.unwrap();
        let moved = "ALTER TABLE item SET TABLESPACE small";
        target.execute(moved).await.unwrap();
    }
    let (_segue, proxied) = ground.run().await;
    inserts(&proxied, 0..5, "before").await;
    ground.bed.caught_up().await.unwrap();
    match &disk {
        Some(disk) => disk.fill(),
        None => target.execute(SAY_FULL).await.unwrap(),
    }
    inserts(&proxied, 10..210, &"x".repeat(1000)).await;
    ground.failed("target_exhausted", 1).await;
    if let Some(disk) = &disk {
        disk.empty();
    } else {
        let heal = "DROP TRIGGER full_disk ON item";
        target.execute(heal).await.unwrap();
    }
    ground.recovers(&proxied).await;
    assert!(ground.divergences().await.is_empty());
    drop(pair);
}

#[tokio::test]
async fn a_table_that_changed_at_the_target_leaves_the_others_mirrored() {
    let ground = Ground::new(SCHEMA).await;
    let (proxy, proxied) = ground.proxy_alone("async").await;
    inserts(&proxied, 0..1, "before").await;
    ground.target_shows("SELECT count(*) FROM item", "1").await;
    let target = &ground.bed.target;
    target
        .execute("DELETE FROM item; ALTER TABLE item DROP COLUMN amount")
        .await
        .unwrap();
    let both = proxied.connect().await.unwrap();
    for id in 10..60 {
        let writes = format!(
            "INSERT INTO item VALUES ({id}, 'changed', 7); INSERT INTO other VALUES ({id}, 'well')"
        );
        for sql in writes.split(';') {
            both.batch_execute(sql).await.unwrap();
        }
    }
    ground
        .target_shows("SELECT count(*) FROM other", "50")
        .await;
    ground.failed("target_schema", 50).await;
    target
        .execute("ALTER TABLE item ADD COLUMN amount int")
        .await
        .unwrap();
    proxied
        .execute("DELETE FROM item WHERE id = 0")
        .await
        .unwrap();
    let log = proxy.log();
    assert!(!log.contains("lost its session"), "{log}");
    let _reconciler = ground.launch.reconciler(&[]).await.unwrap();
    ground.recovers(&proxied).await;
}

#[tokio::test]
async fn rows_that_others_hold_locked_at_the_target_stop_nothing() {
    let ground = Ground::new(SCHEMA).await;
    let (_segue, proxied) = ground.run().await;
    inserts(&proxied, 1..9, "before").await;
    ground.bed.caught_up().await.unwrap();
    let holder = ground.bed.target.connect().await.unwrap();
    let lock = |id: i32| format!("SELECT FROM item WHERE id = {id} FOR UPDATE");
    for round in 0..3 {
        holder.batch_execute("BEGIN").await.unwrap();
        holder.batch_execute(&lock(2)).await.unwrap();
        // The mirror gets 1 and waits for 2; the holder, having 2, waits for 1.
        let client = proxied.connect().await.unwrap();
        client
            .batch_execute(
                "BEGIN; UPDATE item SET name = 'both' WHERE id = 1; \
                 UPDATE item SET name = 'both' WHERE id = 2; COMMIT",
            )
            .await
            .unwrap();
        client
            .batch_execute(&format!(
                "UPDATE item SET name = 'round {round}' WHERE id = 3"
            ))
            .await
            .unwrap();
        // Whoever of the three is chosen as the victim of a deadlock, the rows get written.
        let both = holder.batch_execute(&lock(1)).await;
        drop((both, holder.batch_execute("ROLLBACK").await));
    }
    ground.recovers(&proxied).await;
    let divergences = ground.divergences().await;
    assert!(divergences.is_empty(), "{divergences:#?}");
}

#[tokio::test]
async fn a_row_that_a_constraint_of_the_target_refuses_takes_no_other_along() {
    let ground = Ground::new(SCHEMA).await;
    let (_proxy, proxied) = ground.proxy_alone("async").await;
    let check = "ALTER TABLE item ADD CONSTRAINT no_bad CHECK (name <> 'bad')";
    ground.bed.target.execute(check).await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(proxied.connect().await.unwrap());
    }
    for id in 0..200 {
        let name = if id % 20 == 3 { "bad" } else { "good" };
        let insert = format!("INSERT INTO item VALUES ({id}, '{name}')");
        clients[id % 4].batch_execute(&insert).await.unwrap();
    }
    ground
        .target_shows("SELECT count(*) FROM item", "190")
        .await;
    ground.failed("constraint_violation", 10).await;
    let healed = "ALTER TABLE item DROP CONSTRAINT no_bad";
    ground.bed.target.execute(healed).await.unwrap();
    let _reconciler = ground.launch.reconciler(&[]).await.unwrap();
    ground.recovers(&proxied).await;
    assert!(ground.divergences().await.is_empty());
}

#[tokio::test]
async fn of_a_burst_that_the_target_is_too_slow_for_every_transaction_is_accounted_for() {
    let ground = Ground::new(SCHEMA).await;
    let (_proxy, proxied) = ground.proxy_alone("async").await;
    let holder = ground.bed.target.connect().await.unwrap();
    let mut client = RawClient::connect(&proxied).await.unwrap();
    let sql = "INSERT INTO item VALUES ($1, 'x', 1)";
    client.send(&message::parse("ins", sql)).await.unwrap();
    let mut sent = 0;
    for _ in 0..4 {
        // What is under way waits for the lock, and the window fills.
        let hold = "BEGIN; LOCK TABLE segue.row_rev";
        holder.batch_execute(hold).await.unwrap();
        for _ in 0..10 {
            let batch: Vec<u8> = (sent..sent + 100)
                .flat_map(|id: i32| {
                    let bind = message::bind("", "ins", &[&id.to_string()], &[]);
                    [bind, message::execute("", 0), message::sync()].concat()
                })
                .collect();
            client.send(&batch).await.unwrap();
            client.until_ready(100).await.unwrap();
            sent += 100;
        }
        holder.batch_execute("ROLLBACK").await.unwrap();
    }
    let sql = "SELECT counters FROM segue.proxy ORDER BY lease DESC LIMIT 1";
    wait::until_true("every transaction to be accounted for", async || {
        let counters: Value = serde_json::from_str(&ground.bed.target.value(sql).await?)?;
        let count = |name: &str| counters[name].as_u64().unwrap_or(0);
        let failed = counters["failed"].as_object();
        let failed: u64 = failed
            .into_iter()
            .flat_map(|it| it.values())
            .filter_map(Value::as_u64)
            .sum();
        let deferred = counters["deferred"]
            .as_object()
            .map_or(0, serde_json::Map::len);
        anyhow::ensure!(
            deferred == 0 && count("captured") == u64::try_from(sent)?,
            "{counters:#}"
        );
        anyhow::ensure!(
            count("transactions") + failed == count("captured"),
            "{counters:#}"
        );
        Ok(true)
    })
    .await
    .unwrap();
}
