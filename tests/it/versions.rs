//! Every version of PostgreSQL that Segue supports, as source and as target.
//!
//! Each test runs where its two versions are found and says so where they are not.

use harness::{
    Installation, Pair, ServerOptions,
    shop::{self, Shopper},
    tool,
};

use crate::ground::{Ground, seed};

/// What the shop lacks: partitions, a generated column, a foreign key, a table without a key.
const MORE: &str = "
    CREATE TABLE reading (at date, sensor int, value float8, doubled float8 GENERATED ALWAYS AS (value * 2) STORED,
                          PRIMARY KEY (at, sensor)) PARTITION BY RANGE (at);
    CREATE TABLE reading_old PARTITION OF reading FOR VALUES FROM (MINVALUE) TO ('2025-01-01');
    CREATE TABLE reading_new PARTITION OF reading FOR VALUES FROM ('2025-01-01') TO (MAXVALUE);
    CREATE TABLE kept (id int PRIMARY KEY, word text);
    CREATE TABLE part_of (id int PRIMARY KEY, kept int REFERENCES kept ON DELETE CASCADE);
    CREATE TABLE emptied (id int PRIMARY KEY);
    CREATE TABLE keyless (n int);
";

/// Statements that are captured and statements that are left to the log.
const TRAFFIC: &str = "
    INSERT INTO kept VALUES (1, 'one'), (2, 'two') ON CONFLICT (id) DO UPDATE SET word = excluded.word;
    INSERT INTO part_of VALUES (1, 1), (2, 2) ON CONFLICT DO NOTHING;
    INSERT INTO reading VALUES ('2024-05-05', 1, 1.5), ('2025-05-05', 1, 2.5)
        ON CONFLICT (at, sensor) DO UPDATE SET value = reading.value + 1;
    UPDATE reading SET value = 7 WHERE at = '2025-05-05' AND sensor = 1;
    DELETE FROM kept WHERE id = 2;
    INSERT INTO emptied SELECT generate_series(1, 50);
    TRUNCATE emptied;
    INSERT INTO emptied VALUES (1000);
    INSERT INTO keyless VALUES (1);
    COPY reading (at, sensor, value) FROM PROGRAM 'echo 2026-01-01,9,9.5' WITH (FORMAT csv);
    DELETE FROM reading WHERE at = '2026-01-01';
    BEGIN;
    INSERT INTO kept VALUES (3, 'three') ON CONFLICT DO NOTHING;
    SAVEPOINT second_thoughts;
    UPDATE kept SET word = 'never' WHERE id = 1;
    ROLLBACK TO second_thoughts;
    COMMIT;
";

#[tokio::test]
async fn from_14_to_14() {
    equal_through_a_crash(14, 14).await;
}

#[tokio::test]
async fn from_14_to_18() {
    equal_through_a_crash(14, 18).await;
}

#[tokio::test]
async fn from_15_to_15() {
    equal_through_a_crash(15, 15).await;
}

#[tokio::test]
async fn from_15_to_18() {
    equal_through_a_crash(15, 18).await;
}

#[tokio::test]
async fn from_16_to_16() {
    equal_through_a_crash(16, 16).await;
}

#[tokio::test]
async fn from_16_to_18() {
    equal_through_a_crash(16, 18).await;
}

#[tokio::test]
async fn from_17_to_17() {
    equal_through_a_crash(17, 17).await;
}

#[tokio::test]
async fn from_17_to_18() {
    equal_through_a_crash(17, 18).await;
}

#[tokio::test]
async fn from_18_to_18() {
    equal_through_a_crash(18, 18).await;
}

/// Setup, writes, kill -9 of `segue run` in the middle of more, and everything of it removed again.
async fn equal_through_a_crash(source: u32, target: u32) {
    let (Some(source), Some(target)) = (Installation::of(source), Installation::of(target)) else {
        println!("skipped: PostgreSQL {source} and {target} are not both here; see tests/servers");
        return;
    };
    let pair = Pair::of(source, target, ServerOptions::default()).await;
    let pair = pair.unwrap();
    let bed = pair.bed(&format!("{}{MORE}", shop::SCHEMA)).await.unwrap();
    let ground = Ground::on(bed).await;
    let (mut segue, proxied) = ground.run().await;
    let mut shopper = Shopper::new(seed(5), "versions");
    let mut client = proxied.connect().await.unwrap();
    for _ in 0..20 {
        shopper.visit(&mut client).await.unwrap();
    }
    for statement in TRAFFIC.split(";\n") {
        client.batch_execute(statement).await.unwrap();
    }
    ground.status_reaches("/rows/verified", 20).await;
    let applied = ground.status_reaches("/rows/applied", 50).await;
    assert!(
        applied["mirror"]["captured"].as_u64() > Some(50),
        "{applied:#}"
    );
    segue.run_again().await.unwrap();
    let mut client = proxied.connect().await.unwrap();
    for _ in 0..20 {
        shopper.visit(&mut client).await.unwrap();
    }
    tool::psql(&proxied, &shopper.script()).unwrap();
    ground.converges_without_divergence().await;
    ground.status_reaches("/mirror/captured", 50).await;
    ground.status_reaches("/rows/applied", 1).await;
    drop(client);
    assert_eq!(segue.terminate().await.unwrap(), 0);
    let removed = ground.launch.run_to_end(&["setup", "--remove"]).await;
    let removed = removed.unwrap();
    assert_eq!(removed.code, 0, "{}", removed.errors);
}
