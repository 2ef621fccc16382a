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
    ground.status_reaches("/rows/applied", 50).await;
    ground.status_reaches("/mirror/captured", 50).await;
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

/// Columns that are computed when they are read, and both versions of a row in RETURNING.
const ONLY_18: &str = "
    CREATE TABLE priced (id int PRIMARY KEY, net numeric, gross numeric GENERATED ALWAYS AS (net * 1.2),
                         word text COLLATE \"C\", loud text GENERATED ALWAYS AS (upper(word)) STORED);
    CREATE TABLE timed (id uuid PRIMARY KEY DEFAULT uuidv7(), note text);
";

#[tokio::test]
async fn what_only_18_has_is_mirrored_as_it_was_stored() {
    let Some(newest) = Installation::of(18) else {
        println!("skipped: PostgreSQL 18 is not here; see tests/servers");
        return;
    };
    let pair = Pair::of(newest.clone(), newest, ServerOptions::default()).await;
    let pair = pair.unwrap();
    let ground = Ground::on(pair.bed(ONLY_18).await.unwrap()).await;
    let (proxy, proxied) = ground.proxy_alone("async").await;
    let client = proxied.connect().await.unwrap();
    let seen = async |sql: &str| -> Vec<String> {
        let rows = harness::database::rows(&client, sql).await.unwrap();
        let row = rows.into_iter().next().unwrap();
        row.into_iter().map(Option::unwrap_or_default).collect()
    };
    let inserted = "INSERT INTO priced VALUES (1, 10, DEFAULT, 'a') RETURNING *";
    assert_eq!(seen(inserted).await, ["1", "10", "12.0", "a", "A"]);
    // The hidden column comes behind old and new, and holds the new row.
    let both = "UPDATE priced SET net = 20 WHERE id = 1 RETURNING old.net, new.net, new.gross";
    assert_eq!(seen(both).await, ["10", "20", "24.0"]);
    let upsert = "INSERT INTO priced (id, net) VALUES (1, 5) ON CONFLICT (id) \
                  DO UPDATE SET net = excluded.net RETURNING old.net, new.net, old IS NULL";
    assert_eq!(seen(upsert).await, ["20", "5", "f"]);
    seen("INSERT INTO priced (id, net, word) VALUES (2, 7, 'gone') RETURNING id").await;
    let gone = "DELETE FROM priced WHERE id = 2 RETURNING old.word, new.word";
    assert_eq!(seen(gone).await, ["gone", ""]);
    seen("INSERT INTO timed (note) VALUES ('v7') RETURNING id").await;
    // All of that has come without the log.
    let whole = "SELECT string_agg(priced::text, ' ') FROM priced";
    ground.target_shows(whole, "(1,5,6.0,a,A)").await;
    ground.target_shows("SELECT note FROM timed", "v7").await;
    // Left to the log: renamed versions, all columns of both, and virtual columns of a bulk load.
    let _reconciler = ground.launch.reconciler(&[]).await.unwrap();
    let renamed = "UPDATE priced SET net = 6 WHERE id = 1 \
                   RETURNING WITH (OLD AS before, NEW AS after) before.net, after.net";
    assert_eq!(seen(renamed).await, ["5", "6"]);
    let stars = "UPDATE priced SET net = 8 WHERE id = 1 RETURNING old.*, new.net";
    assert_eq!(seen(stars).await, ["1", "6", "7.2", "a", "A", "8"]);
    let bulk = "INSERT INTO priced (id, net) SELECT n, n FROM generate_series(10, 40) n";
    client.batch_execute(bulk).await.unwrap();
    ground.converges_without_divergence().await;
    drop(client);
    assert_eq!(proxy.terminate().await.unwrap(), 0);
}
