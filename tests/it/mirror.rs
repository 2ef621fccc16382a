//! Capture and early write: what is on the target before the log has brought it.

use harness::{
    database,
    shop::{self, Shopper},
    tool, wait,
};
use serde_json::Value;

use crate::ground::{Ground, seed};

const SCHEMA: &str = "
    CREATE TABLE item (id int PRIMARY KEY, name text, made timestamptz DEFAULT clock_timestamp());
    CREATE TABLE other (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, word text);
    INSERT INTO item SELECT n, 'item ' || n, 'epoch' FROM generate_series(1, 9) n;
";

#[tokio::test]
async fn a_write_reaches_the_target_without_the_log() {
    let ground = Ground::new(SCHEMA).await;
    let (proxy, proxied) = ground.proxy_alone("async").await;
    proxied
        .execute("INSERT INTO item (id, name) VALUES (100, 'early')")
        .await
        .unwrap();
    ground
        .target_shows("SELECT name FROM item WHERE id = 100", "early")
        .await;
    tool::psql(&proxied, "UPDATE item SET name = 'changed' WHERE id = 1").unwrap();
    ground
        .target_shows("SELECT name FROM item WHERE id = 1", "changed")
        .await;
    let client = proxied.connect().await.unwrap();
    client
        .execute("DELETE FROM item WHERE id = $1", &[&2_i32])
        .await
        .unwrap();
    ground
        .target_shows("SELECT count(*) FROM item WHERE id = 2", "0")
        .await;
    let row = client
        .query_one("INSERT INTO other (word) VALUES ($1) RETURNING id", &[&"w"])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 1);
    ground
        .target_shows("SELECT word FROM other WHERE id = 1", "w")
        .await;
    let equal = "SELECT made::text FROM item WHERE id = 100";
    let (here, there) = (
        ground.bed.source.value(equal).await.unwrap(),
        ground.bed.target.value(equal).await.unwrap(),
    );
    assert_eq!(
        here, there,
        "the row that the source stored, not the statement, is mirrored"
    );
    // The log finds the mirror's work and agrees.
    let _reconciler = ground.launch.reconciler(&[]).await.unwrap();
    ground.converges_without_divergence().await;
    let status = ground.status_reaches("/rows/verified", 4).await;
    assert_eq!(status["rows"]["applied"], 0, "{status:#}");
    drop(client);
    assert_eq!(proxy.terminate().await.unwrap(), 0);
}

#[tokio::test]
async fn only_what_was_committed_is_mirrored() {
    let ground = Ground::new(SCHEMA).await;
    let (_proxy, proxied) = ground.proxy_alone("async").await;
    let client = proxied.connect().await.unwrap();
    for sql in [
        "BEGIN",
        "INSERT INTO item (id, name) VALUES (100, 'kept')",
        "SAVEPOINT a",
        "INSERT INTO item (id, name) VALUES (101, 'dropped')",
        "UPDATE item SET name = 'dropped' WHERE id = 1",
        "SAVEPOINT b",
        "DELETE FROM item WHERE id = 2",
        "ROLLBACK TO SAVEPOINT a",
        "INSERT INTO item (id, name) VALUES (102, 'kept')",
        "SAVEPOINT c",
        "UPDATE item SET name = 'kept' WHERE id = 3",
        "RELEASE SAVEPOINT c",
        "UPDATE item SET name = 'kept twice' WHERE id = 3",
        "COMMIT",
        "BEGIN",
        "INSERT INTO item (id, name) VALUES (103, 'dropped')",
        "ROLLBACK",
        "BEGIN",
        "UPDATE item SET name = 'dropped' WHERE id = 4",
    ] {
        client.batch_execute(sql).await.unwrap();
    }
    // An error, and a COMMIT that is a rollback.
    client.batch_execute("SELECT 1 / 0").await.unwrap_err();
    client.batch_execute("COMMIT").await.unwrap();
    client
        .batch_execute("INSERT INTO item (id, name) VALUES (200, 'last')")
        .await
        .unwrap();
    ground
        .target_shows("SELECT name FROM item WHERE id = 200", "last")
        .await;
    let seen = ground
        .bed
        .target
        .rows("SELECT id, name FROM item ORDER BY id")
        .await
        .unwrap();
    let expected = ground
        .bed
        .source
        .rows("SELECT id, name FROM item ORDER BY id")
        .await
        .unwrap();
    assert_eq!(seen, expected);
    let _reconciler = ground.launch.reconciler(&[]).await.unwrap();
    ground.converges_without_divergence().await;
}

#[tokio::test]
async fn a_transaction_with_a_deferred_write_is_deferred_whole() {
    let ground = Ground::new(SCHEMA).await;
    let (_proxy, proxied) = ground.proxy_alone("async").await;
    proxied
        .execute(
            "BEGIN; INSERT INTO item (id, name) VALUES (100, 'with a bulk statement'); \
             UPDATE item SET name = upper(name); COMMIT",
        )
        .await
        .unwrap();
    proxied
        .execute("INSERT INTO item (id, name) VALUES (200, 'later')")
        .await
        .unwrap();
    ground
        .target_shows("SELECT name FROM item WHERE id = 200", "later")
        .await;
    let early = "SELECT count(*) FROM item WHERE id = 100 OR name LIKE 'ITEM%'";
    assert_eq!(ground.bed.target.value(early).await.unwrap(), "0");
    let _reconciler = ground.launch.reconciler(&[]).await.unwrap();
    ground.converges_without_divergence().await;
}

const DEFERRING: &str = "
    CREATE TABLE item (id int PRIMARY KEY, name text, amount numeric);
    CREATE TABLE money (amount numeric PRIMARY KEY);
    CREATE TABLE keyless (n int);
    CREATE VIEW view AS SELECT * FROM item;
    CREATE FUNCTION own(int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT $1';
    CREATE TABLE guarded (id int PRIMARY KEY);
    ALTER TABLE guarded ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY all_rows ON guarded USING (true);
    INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 9) n;
";

/// A reason, and a statement that is deferred for it.
const DEFERRED: [(&str, &str); 10] = [
    ("unkeyed", "UPDATE item SET name = 'all'"),
    ("insert_select", "INSERT INTO item SELECT 50, 'selected'"),
    ("key_update", "UPDATE item SET id = 60 WHERE id = 6"),
    (
        "joined",
        "UPDATE item SET name = 'x' FROM (VALUES (1)) v (id) WHERE item.id = v.id",
    ),
    (
        "with_clause",
        "WITH gone AS (DELETE FROM item WHERE id = 9 RETURNING id) SELECT * FROM gone",
    ),
    (
        "merge",
        "MERGE INTO item USING (VALUES (1)) v (id) ON item.id = v.id WHEN MATCHED THEN DELETE",
    ),
    ("view", "UPDATE view SET name = 'by view' WHERE id = 2"),
    (
        "user_function",
        "UPDATE item SET amount = own(3) WHERE id = 3",
    ),
    ("not_in_contract", "INSERT INTO keyless VALUES (1)"),
    ("row_level_security", "INSERT INTO guarded VALUES (1)"),
];

#[tokio::test]
async fn what_is_left_to_the_log_is_counted_by_its_reason() {
    let ground = Ground::new(DEFERRING).await;
    let (_segue, proxied) = ground.run().await;
    let client = proxied.connect().await.unwrap();
    for (_, sql) in DEFERRED {
        client.batch_execute(sql).await.unwrap();
    }
    client
        .batch_execute("SET synchronous_commit = off")
        .await
        .unwrap();
    client
        .batch_execute("INSERT INTO item VALUES (70, 'not durable')")
        .await
        .unwrap();
    client
        .batch_execute("SET synchronous_commit = on")
        .await
        .unwrap();
    client
        .batch_execute("INSERT INTO item VALUES (71, 'captured')")
        .await
        .unwrap();
    tool::psql(
        &proxied,
        "COPY item (id, name) FROM PROGRAM 'echo 80,copied' (FORMAT csv)",
    )
    .unwrap();
    ground.status_reaches("/mirror/captured", 1).await;
    for (reason, sql) in DEFERRED
        .iter()
        .chain(&[("not_durable", "async"), ("copy", "COPY")])
    {
        let status = ground
            .status_reaches(&format!("/mirror/deferred/{reason}"), 1)
            .await;
        assert!(status["mirror"]["deferred"].is_object(), "{sql}");
    }
    ground.converges_without_divergence().await;
    // By table too: what the texts tell of, and the rows of transactions with a record.
    wait::until_true("the table's reasons to be told", async || {
        let report = ground.launch.report().await?;
        let tables = report["tables"].as_array().cloned().unwrap_or_default();
        let item = tables.iter().find(|it| it["table"] == "public.item");
        let item = item.cloned().unwrap_or_default();
        let told = &item["deferred_transactions"];
        let rows = item["deferred"]["not_durable"].as_i64();
        anyhow::ensure!(
            told["unkeyed"] == 1 && told["merge"] == 1 && told["copy"] == 1 && rows == Some(1),
            "{item:#}"
        );
        Ok(true)
    })
    .await
    .unwrap();
    let report = ground.launch.run_to_end(&["report"]).await.unwrap();
    assert!(
        report.output.contains("deferred: not_durable 1"),
        "{}",
        report.output
    );
}

#[tokio::test]
async fn sync_mirroring_answers_after_the_target_has_the_row() {
    let ground = Ground::new(SCHEMA).await;
    let (_proxy, proxied) = ground.proxy_alone("sync").await;
    let application = proxied.connect().await.unwrap();
    let target = ground.bed.target.connect().await.unwrap();
    for id in 100..130 {
        let insert = format!("INSERT INTO item (id, name) VALUES ({id}, 'sync')");
        application.batch_execute(&insert).await.unwrap();
        let sql = format!("SELECT name FROM item WHERE id = {id}");
        assert_eq!(
            database::rows(&target, &sql).await.unwrap().len(),
            1,
            "row {id}"
        );
    }
}

#[tokio::test]
async fn a_dry_mirror_counts_and_sends_nothing() {
    let ground = Ground::new(SCHEMA).await;
    let (_proxy, proxied) = ground.proxy_alone("dry").await;
    proxied
        .execute("INSERT INTO item (id, name) VALUES (100, 'dry')")
        .await
        .unwrap();
    proxied
        .execute("UPDATE item SET name = 'all'")
        .await
        .unwrap();
    ground.status_reaches("/mirror/captured", 1).await;
    ground.status_reaches("/mirror/deferred/unkeyed", 1).await;
    let early = "SELECT count(*) FROM item WHERE id = 100";
    assert_eq!(ground.bed.target.value(early).await.unwrap(), "0");
    let _reconciler = ground.launch.reconciler(&[]).await.unwrap();
    ground.converges_without_divergence().await;
}

#[tokio::test]
async fn every_column_of_the_shop_survives_the_mirror() {
    let ground = Ground::new(shop::SCHEMA).await;
    let (_proxy, proxied) = ground.proxy_alone("async").await;
    let mut client = proxied.connect().await.unwrap();
    let mut shopper = Shopper::new(seed(11), "mirror");
    for _ in 0..40 {
        shopper.visit(&mut client).await.unwrap();
    }
    let last = "INSERT INTO customer (email, name) VALUES ('last@example.org', 'last')";
    client.batch_execute(last).await.unwrap();
    ground
        .target_shows(
            "SELECT name FROM customer WHERE email = 'last@example.org'",
            "Last",
        )
        .await;
    let comparison = harness::compare(&ground.bed.source, &ground.bed.target)
        .await
        .unwrap();
    comparison.expect_equal().unwrap();
    let _reconciler = ground.launch.reconciler(&[]).await.unwrap();
    ground.converges_without_divergence().await;
    let status = ground.status_reaches("/rows/verified", 100).await;
    assert_eq!(status["rows"]["repaired"], 0, "{status:#}");
}

#[tokio::test]
async fn hot_rows_written_through_and_past_the_proxy_converge() {
    let ground = Ground::new(SCHEMA).await;
    let (_segue, proxied) = ground.run().await;
    let seed = seed(12);
    let ways = [&proxied, &ground.bed.source, &proxied];
    let writers = ways
        .into_iter()
        .zip(seed..)
        .map(|(database, seed)| hot_rows(database, seed));
    for written in futures(writers).await {
        written.unwrap();
    }
    ground.converges_without_divergence().await;
    let status = ground.status_reaches("/mirror/captured", 1).await;
    assert_eq!(status["rows"]["repaired"], Value::from(0), "{status:#}");
}

/// Inserts, updates and deletes on nine rows, some of them rolled back.
async fn hot_rows(database: &harness::Database, seed: u64) -> anyhow::Result<()> {
    use rand::{Rng, SeedableRng};
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let client = database.connect().await?;
    for count in 0..400 {
        let id = random.random_range(1..10);
        let write = match random.random_range(0..4) {
            0 => format!("DELETE FROM item WHERE id = {id}"),
            1 => format!(
                "INSERT INTO item (id, name) VALUES ({id}, 'upsert {seed} {count}') \
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name"
            ),
            _ => format!("UPDATE item SET name = 'update {seed} {count}' WHERE id = {id}"),
        };
        let sql = match random.random_range(0..5) {
            0 => format!("BEGIN; {write}; ROLLBACK"),
            1 => format!("BEGIN; SAVEPOINT s; {write}; ROLLBACK TO s; {write}; COMMIT"),
            _ => write,
        };
        client.batch_execute(&sql).await?;
    }
    Ok(())
}

/// Runs all of them at once, on this thread.
async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = all.map(Box::pin).collect();
    let mut results: Vec<Option<T>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, result) in running.iter_mut().zip(&mut results) {
            if result.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *result = Some(value);
            }
        }
        if results.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    results.into_iter().flatten().collect()
}
