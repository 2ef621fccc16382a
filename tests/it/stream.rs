//! The log alone: what no proxy has seen reaches the target, whatever its shape.

use crate::ground::Ground;

#[tokio::test]
async fn writes_past_the_proxy_are_brought_by_the_log() {
    let ground = Ground::new(
        "CREATE TABLE item (id int PRIMARY KEY, name text, made timestamptz DEFAULT now());
         CREATE TABLE pair (a text, b int, word text, PRIMARY KEY (b, a));",
    )
    .await;
    let (_segue, _) = ground.run().await;
    ground
        .bed
        .source
        .execute(
            "INSERT INTO item (id, name) SELECT n, 'item ' || n FROM generate_series(1, 1000) n;
             UPDATE item SET name = NULL WHERE id % 7 = 0;
             DELETE FROM item WHERE id % 5 = 0;
             INSERT INTO item (id, name) VALUES (5, 'again');
             UPDATE item SET id = -id WHERE id BETWEEN 20 AND 30;
             INSERT INTO pair SELECT 'a' || n, n % 3, 'word' FROM generate_series(1, 50) n;
             UPDATE pair SET a = 'moved' WHERE a = 'a7';
             DELETE FROM pair WHERE b = 0",
        )
        .await
        .unwrap();
    ground.converges_without_divergence().await;
    let status = ground.status_reaches("/rows/applied", 800).await;
    assert_eq!(status["mirror"]["captured"], 0, "{status:#}");
    assert_eq!(
        ground
            .bed
            .target
            .value("SELECT count(*) FROM item")
            .await
            .unwrap(),
        "801"
    );
}

#[tokio::test]
async fn a_long_value_that_an_update_left_alone_stays() {
    let ground = Ground::new(
        "CREATE TABLE page (id int PRIMARY KEY, stars int, body text);
         ALTER TABLE page ALTER COLUMN body SET STORAGE EXTERNAL;",
    )
    .await;
    let (_segue, proxied) = ground.run().await;
    for (database, moved) in [(&ground.bed.source, 2), (&proxied, 3)] {
        database
            .execute(
                "INSERT INTO page SELECT n, 0, repeat(md5(n::text), 1000) FROM generate_series(1, 5) n
                 ON CONFLICT (id) DO UPDATE SET stars = 9",
            )
            .await
            .unwrap();
        database
            .execute("UPDATE page SET stars = stars + 1 WHERE id = 1")
            .await
            .unwrap();
        database
            .execute(
                &format!(
                    "BEGIN; \
                     INSERT INTO page VALUES (100, 0, repeat('long', 5000)) ON CONFLICT DO NOTHING; \
                     UPDATE page SET stars = stars + 1 WHERE id = 100; \
                     UPDATE page SET id = id + 1000 WHERE id = {moved}; COMMIT"
                ),
            )
            .await
            .unwrap();
    }
    ground.converges_without_divergence().await;
    let lengths = "SELECT min(length(body)) FROM page";
    assert_eq!(ground.bed.target.value(lengths).await.unwrap(), "20000");
}

#[tokio::test]
async fn a_truncate_empties_the_table_and_what_comes_after_it_stays() {
    let ground = Ground::new(
        "CREATE TABLE item (id int PRIMARY KEY, name text);
         CREATE TABLE child (id int PRIMARY KEY REFERENCES item);
         INSERT INTO item SELECT n, 'old' FROM generate_series(1, 100) n;
         INSERT INTO child SELECT n FROM generate_series(1, 100) n;",
    )
    .await;
    let (_segue, proxied) = ground.run().await;
    for round in 0..5 {
        let insert = format!("INSERT INTO item VALUES ({round}, 'new')");
        proxied.execute("TRUNCATE item CASCADE").await.unwrap();
        proxied.execute(&insert).await.unwrap();
        ground.bed.source.execute("BEGIN; TRUNCATE item, child; INSERT INTO item VALUES (50, 'same transaction'); COMMIT").await.unwrap();
        proxied.execute(&insert).await.unwrap();
    }
    ground.converges_without_divergence().await;
    assert_eq!(
        ground
            .bed
            .target
            .value("SELECT count(*) FROM item")
            .await
            .unwrap(),
        "2"
    );
}

#[tokio::test]
async fn rows_that_exchange_a_unique_value_end_up_right() {
    let ground = Ground::new(
        "CREATE TABLE seat (id int PRIMARY KEY, place text UNIQUE DEFERRABLE INITIALLY DEFERRED);
         CREATE TABLE strict (id int PRIMARY KEY, place text UNIQUE);
         INSERT INTO seat SELECT n, 'place ' || n FROM generate_series(1, 6) n;
         INSERT INTO strict SELECT n, 'place ' || n FROM generate_series(1, 6) n;",
    )
    .await;
    let (_segue, proxied) = ground.run().await;
    for database in [&ground.bed.source, &proxied] {
        for _ in 0..5 {
            database
                .execute(
                    "BEGIN; UPDATE seat SET place = 'place 2' WHERE id = 1;
                     UPDATE seat SET place = 'place 1' WHERE id = 2; COMMIT;
                     BEGIN; UPDATE seat SET place = 'place 1' WHERE id = 1;
                     UPDATE seat SET place = 'place 2' WHERE id = 2; COMMIT",
                )
                .await
                .unwrap();
            database
                .execute(
                    "BEGIN; UPDATE strict SET place = 'nowhere' WHERE id = 1;
                     UPDATE strict SET place = 'place 1' WHERE id = 2;
                     UPDATE strict SET place = 'place 2' WHERE id = 1; COMMIT;
                     BEGIN; UPDATE strict SET place = NULL WHERE id IN (1, 2);
                     UPDATE strict SET place = 'place 1' WHERE id = 1;
                     UPDATE strict SET place = 'place 2' WHERE id = 2; COMMIT;
                     DELETE FROM strict WHERE id = 3;
                     INSERT INTO strict VALUES (30, 'place 3');
                     DELETE FROM strict WHERE id = 30;
                     INSERT INTO strict VALUES (3, 'place 3')",
                )
                .await
                .unwrap();
        }
    }
    ground.converges_without_divergence().await;
}

#[tokio::test]
async fn partitions_and_a_transaction_of_many_changes_arrive() {
    let ground = Ground::new(
        "CREATE TABLE event (day int, id int, word text, PRIMARY KEY (day, id)) PARTITION BY RANGE (day);
         CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (10);
         CREATE TABLE event_2 PARTITION OF event FOR VALUES FROM (10) TO (20);
         CREATE TABLE many (id int PRIMARY KEY, word text);",
    )
    .await;
    let (_segue, proxied) = ground.run().await;
    proxied
        .execute("INSERT INTO event VALUES (1, 1, 'one')")
        .await
        .unwrap();
    proxied
        .execute("INSERT INTO event VALUES (11, 1, 'two'), (2, 2, 'three')")
        .await
        .unwrap();
    proxied
        .execute("UPDATE event SET word = 'kept' WHERE day = 1 AND id = 1")
        .await
        .unwrap();
    proxied
        .execute("UPDATE event SET day = 12 WHERE day = 2 AND id = 2")
        .await
        .unwrap();
    proxied
        .execute("TRUNCATE event_2; INSERT INTO event VALUES (13, 7, 'after')")
        .await
        .unwrap();
    proxied
        .execute(
            "INSERT INTO many SELECT n, repeat('x', 100) FROM generate_series(1, 30000) n;
             UPDATE many SET word = 'short' WHERE id % 2 = 0;
             DELETE FROM many WHERE id % 3 = 0",
        )
        .await
        .unwrap();
    ground.converges_without_divergence().await;
    assert_eq!(
        ground
            .bed
            .target
            .value("SELECT count(*) FROM many")
            .await
            .unwrap(),
        "20000"
    );
    assert_eq!(
        ground
            .bed
            .target
            .value("SELECT count(*) FROM event")
            .await
            .unwrap(),
        "2"
    );
}

#[tokio::test]
async fn keys_that_are_equal_and_not_the_same_bytes_are_one_row() {
    let ground = Ground::new("CREATE TABLE price (amount numeric PRIMARY KEY, word text)").await;
    let (_segue, proxied) = ground.run().await;
    for database in [&proxied, &ground.bed.source] {
        for sql in [
            "INSERT INTO price VALUES (1.0, 'a') ON CONFLICT (amount) DO UPDATE SET word = 'b'",
            "UPDATE price SET word = 'c' WHERE amount = 1.000",
            "DELETE FROM price WHERE amount = 1",
            "INSERT INTO price VALUES (1.00, 'd')",
            "UPDATE price SET amount = 1.0000 WHERE amount = 1",
        ] {
            database.execute(sql).await.unwrap();
        }
        database
            .execute("DELETE FROM price WHERE word = 'nobody'")
            .await
            .unwrap();
        if database.port == proxied.port {
            ground
                .bed
                .source
                .execute("DELETE FROM price")
                .await
                .unwrap();
        }
    }
    ground.converges_without_divergence().await;
}
