//! Schema drift: a table that one side has changed stops by itself, the others go on, and it goes on
//! once both sides agree again.

use harness::wait;
use serde_json::Value;

use crate::ground::Ground;

const SCHEMA: &str = "
    CREATE TABLE item (id int PRIMARY KEY, word text);
    CREATE TABLE other (id int PRIMARY KEY, word text);
    INSERT INTO item SELECT n, 'word ' || n FROM generate_series(1, 5) n;";

const COUNT: &str = "SELECT count(*) FROM other";

/// The one table that is stopped, as the status shows it.
async fn stopped(ground: &Ground) -> Value {
    wait::until("a table to be stopped", async || {
        let status = ground.launch.status().await?;
        let tables = status["stopped_tables"].as_array().unwrap();
        anyhow::ensure!(tables.len() == 1, "{status:#}");
        Ok(Some(tables[0].clone()))
    })
    .await
    .unwrap()
}

async fn goes_on(ground: &Ground) {
    wait::until_true("no table to be stopped", async || {
        let status = ground.launch.status().await?;
        anyhow::ensure!(
            status["stopped_tables"] == Value::Array(Vec::new()),
            "{status:#}"
        );
        Ok(true)
    })
    .await
    .unwrap();
}

/// Equal, and the only thing that was wrong is the drift, which is over.
async fn ends_well(ground: &Ground) -> Value {
    goes_on(ground).await;
    ground.bed.converged().await.unwrap();
    let found = wait::until("the drift to be over", async || {
        let divergences = ground.divergences().await;
        let open = divergences.iter().filter(|found| found["state"] == "open");
        anyhow::ensure!(open.count() == 0, "{divergences:#?}");
        Ok(Some(divergences))
    });
    let mut found = found.await.unwrap();
    let drifts = found.iter().all(|found| found["kind"] == "schema_drift");
    assert!(drifts && found.len() == 1, "{found:#?}");
    let (code, _) = ground.launch.json(&["report"]).await.unwrap();
    assert_eq!(code, 0);
    found.remove(0)
}

/// The other tables are carried while one is stopped.
async fn others_go_on(ground: &Ground) {
    let before = ground.bed.target.value(COUNT).await.unwrap();
    let one_more = "INSERT INTO other SELECT count(*) + 1, 'more' FROM other";
    ground.bed.source.execute(one_more).await.unwrap();
    let after = before.parse::<u64>().unwrap() + 1;
    ground.target_shows(COUNT, &after.to_string()).await;
}

#[tokio::test]
async fn a_new_column_stops_its_table_alone_until_the_target_has_it_too() {
    let ground = Ground::new(SCHEMA).await;
    let (_segue, proxied) = ground.run().await;
    let client = proxied.connect().await.unwrap();
    let add = "ALTER TABLE item ADD COLUMN note text DEFAULT 'none'";
    let changes = format!(
        "UPDATE item SET word = 'before' WHERE id = 1; {add};
         UPDATE item SET word = 'after', note = 'new' WHERE id = 2;
         DELETE FROM item WHERE id = 3; INSERT INTO item VALUES (6, 'six', 'new')"
    );
    for statement in changes.split(';') {
        client.batch_execute(statement).await.unwrap();
    }
    let table = stopped(&ground).await;
    assert_eq!(table["table"], "public.item");
    assert!(
        table["what"]
            .as_str()
            .unwrap()
            .contains("column note is new"),
        "{table}"
    );
    assert_eq!(table["reread"], "keys");
    let (code, report) = ground.launch.json(&["report"]).await.unwrap();
    assert_eq!(code, 3, "{report:#}");
    assert_eq!(report["divergences"][0]["kind"], "schema_drift");
    assert_eq!(report["divergences"][0]["table"], "public.item");
    assert_eq!(report["divergences"][0]["columns"][0], "note");
    others_go_on(&ground).await;
    // The mirror writes on, and may not enter.
    for round in 0..5 {
        let update = format!("UPDATE item SET word = 'round {round}' WHERE id = 4");
        client.batch_execute(&update).await.unwrap();
        client
            .batch_execute(&format!("INSERT INTO other VALUES ({round} + 100)"))
            .await
            .unwrap();
    }
    let status = ground.launch.status().await.unwrap();
    assert_eq!(status["owed_rows"], 0, "{status:#}");
    ground
        .target_shows("SELECT word FROM item WHERE id = 4", "word 4")
        .await;
    ground
        .target_shows("SELECT word FROM item WHERE id = 1", "before")
        .await;
    ground.bed.target.execute(add).await.unwrap();
    let found = ends_well(&ground).await;
    let repair = found["repair"].as_str().unwrap();
    assert!(repair.contains("column note is new"), "{repair}");
    assert!(repair.contains("both sides agreed"), "{repair}");
    // The new column is carried, by the mirror too.
    let mirrored = ground.launch.status().await.unwrap()["mirror"]["accepted"]
        .as_u64()
        .unwrap();
    wait::until_true("the mirror to carry the new shape", async || {
        client
            .batch_execute("UPDATE item SET note = note || '!' WHERE id = 4")
            .await?;
        let status = ground.launch.status().await?;
        Ok(status["mirror"]["accepted"].as_u64() > Some(mirrored + 2))
    })
    .await
    .unwrap();
    ground.bed.converged().await.unwrap();
    assert_eq!(ground.divergences().await.len(), 1);
}

#[tokio::test]
async fn what_is_undone_at_the_source_needs_no_new_contract() {
    let ground = Ground::new(SCHEMA).await;
    let (_segue, _) = ground.run().await;
    let source = &ground.bed.source;
    source
        .execute("ALTER TABLE item RENAME COLUMN word TO said")
        .await
        .unwrap();
    source
        .execute("UPDATE item SET said = 'renamed' WHERE id = 1")
        .await
        .unwrap();
    let table = stopped(&ground).await;
    assert!(
        table["what"]
            .as_str()
            .unwrap()
            .contains("column word is gone"),
        "{table}"
    );
    others_go_on(&ground).await;
    source
        .execute("ALTER TABLE item RENAME COLUMN said TO word")
        .await
        .unwrap();
    ends_well(&ground).await;
    let version = "SELECT contract ->> 'version' FROM segue.phase";
    assert_eq!(source.value(version).await.unwrap(), "1");
}

#[tokio::test]
async fn a_key_of_another_type_has_the_whole_table_read_again() {
    let ground = Ground::new(SCHEMA).await;
    let (_segue, _) = ground.run().await;
    let alter = "ALTER TABLE item ALTER COLUMN id TYPE bigint";
    ground.bed.source.execute(alter).await.unwrap();
    let changes = "UPDATE item SET word = 'wide' WHERE id = 1; DELETE FROM item WHERE id = 2;
                   INSERT INTO item VALUES (5000000000, 'far')";
    ground.bed.source.execute(changes).await.unwrap();
    assert_eq!(stopped(&ground).await["reread"], "table");
    others_go_on(&ground).await;
    ground.bed.target.execute(alter).await.unwrap();
    ends_well(&ground).await;
    ground
        .target_shows("SELECT count(*) FROM item WHERE id = 5000000000", "1")
        .await;
    ground
        .target_shows("SELECT count(*) FROM item WHERE id = 2", "0")
        .await;
}

#[tokio::test]
async fn a_column_of_another_type_and_a_dropped_one_wait_for_the_target() {
    let ground = Ground::new(
        "CREATE TABLE item (id int PRIMARY KEY, word text, size int, gone int);
         CREATE TABLE other (id int PRIMARY KEY, word text);
         INSERT INTO item SELECT n, 'word ' || n, n, n FROM generate_series(1, 5) n;",
    )
    .await;
    let (_segue, _) = ground.run().await;
    let alter = "ALTER TABLE item ALTER COLUMN size TYPE bigint, DROP COLUMN gone";
    ground.bed.source.execute(alter).await.unwrap();
    let change = "UPDATE item SET size = 5000000000 WHERE id = 1; TRUNCATE other";
    ground.bed.source.execute(change).await.unwrap();
    let table = stopped(&ground).await;
    let what = table["what"].as_str().unwrap();
    assert!(
        what.contains("column size has another type, column gone is gone"),
        "{what}"
    );
    others_go_on(&ground).await;
    ground.bed.target.execute(alter).await.unwrap();
    ends_well(&ground).await;
}

#[tokio::test]
async fn a_truncate_while_stopped_empties_the_table_when_it_goes_on() {
    let ground = Ground::new(SCHEMA).await;
    let (_segue, _) = ground.run().await;
    let source = &ground.bed.source;
    let add = "ALTER TABLE item ADD COLUMN note text";
    source.execute(add).await.unwrap();
    source
        .execute("UPDATE item SET note = 'x' WHERE id = 1")
        .await
        .unwrap();
    assert_eq!(stopped(&ground).await["reread"], "keys");
    source
        .execute("TRUNCATE item, other; INSERT INTO item VALUES (9, 'nine', 'new')")
        .await
        .unwrap();
    others_go_on(&ground).await;
    ground.bed.target.execute(add).await.unwrap();
    ends_well(&ground).await;
    ground
        .target_shows("SELECT string_agg(id::text, ',') FROM item", "9")
        .await;
}

#[tokio::test]
async fn a_table_dropped_and_made_anew_is_carried_again() {
    let ground = Ground::new(SCHEMA).await;
    let (_segue, _) = ground.run().await;
    let anew = "DROP TABLE item; CREATE TABLE item (id int PRIMARY KEY, word text, note text)";
    ground.bed.source.execute(anew).await.unwrap();
    ground
        .bed
        .source
        .execute("INSERT INTO item VALUES (1, 'one', 'new')")
        .await
        .unwrap();
    let table = stopped(&ground).await;
    assert!(
        table["what"].as_str().unwrap().contains("made anew"),
        "{table}"
    );
    others_go_on(&ground).await;
    ground
        .bed
        .target
        .execute("ALTER TABLE item ADD COLUMN note text")
        .await
        .unwrap();
    ends_well(&ground).await;
    ground
        .bed
        .source
        .execute("UPDATE item SET note = 'carried'")
        .await
        .unwrap();
    ground
        .target_shows("SELECT note FROM item", "carried")
        .await;
}

#[tokio::test]
async fn a_table_that_both_sides_drop_is_carried_no_more() {
    let ground = Ground::new(SCHEMA).await;
    let (_segue, _) = ground.run().await;
    ground.bed.source.execute("DROP TABLE item").await.unwrap();
    stopped(&ground).await;
    ground.bed.target.execute("DROP TABLE item").await.unwrap();
    ends_well(&ground).await;
    others_go_on(&ground).await;
}

#[tokio::test]
async fn a_transaction_that_began_under_another_contract_is_left_to_the_log() {
    let ground = Ground::new(&format!(
        "{SCHEMA} CREATE TABLE rest (id int PRIMARY KEY, word text);"
    ))
    .await;
    let (_segue, proxied) = ground.run().await;
    // The mirror is at work, so that what it is given would arrive.
    let client = proxied.connect().await.unwrap();
    client
        .batch_execute("INSERT INTO other VALUES (6, 'mirrored')")
        .await
        .unwrap();
    ground.status_reaches("/mirror/accepted", 1).await;
    let begin = "BEGIN; INSERT INTO other VALUES (7, 'a place in the former contract')";
    client.batch_execute(begin).await.unwrap();
    ground.bed.source.execute("DROP TABLE item").await.unwrap();
    stopped(&ground).await;
    ground.bed.target.execute("DROP TABLE item").await.unwrap();
    goes_on(&ground).await;
    let console = proxied.of_name("segue");
    wait::until_true("the proxy to have found the new contract", async || {
        let tables = console.rows("SHOW TABLES").await?;
        let is_item = |row: &Vec<Option<String>>| row[1].as_deref() == Some("item");
        anyhow::ensure!(
            !tables.is_empty() && !tables.iter().any(is_item),
            "{tables:?}"
        );
        Ok(true)
    })
    .await
    .unwrap();
    client.batch_execute("COMMIT").await.unwrap();
    // Under the new contract its table's place is another table's.
    ground
        .status_reaches("/mirror/deferred/shape_changed", 1)
        .await;
    ends_well(&ground).await;
}

#[tokio::test]
async fn a_renamed_table_stops_and_goes_on_under_its_name() {
    let ground = Ground::new(SCHEMA).await;
    let (_segue, _) = ground.run().await;
    let source = &ground.bed.source;
    source
        .execute("ALTER TABLE item RENAME TO thing")
        .await
        .unwrap();
    source
        .execute("UPDATE thing SET word = 'renamed' WHERE id = 1; DELETE FROM thing WHERE id = 2")
        .await
        .unwrap();
    let table = stopped(&ground).await;
    assert_eq!(table["table"], "public.item");
    others_go_on(&ground).await;
    source
        .execute("ALTER TABLE thing RENAME TO item")
        .await
        .unwrap();
    ends_well(&ground).await;
}

#[tokio::test]
async fn a_target_that_was_altered_first_stops_the_table_and_nothing_else() {
    let ground = Ground::new(SCHEMA).await;
    let (_segue, _) = ground.run().await;
    let source = &ground.bed.source;
    source
        .execute("UPDATE item SET word = 'first' WHERE id = 1")
        .await
        .unwrap();
    ground
        .target_shows("SELECT word FROM item WHERE id = 1", "first")
        .await;
    let alter = "ALTER TABLE item RENAME COLUMN word TO said";
    ground.bed.target.execute(alter).await.unwrap();
    source
        .execute("UPDATE item SET word = 'second' WHERE id = 1; DELETE FROM item WHERE id = 2")
        .await
        .unwrap();
    let table = stopped(&ground).await;
    assert!(
        table["what"]
            .as_str()
            .unwrap()
            .contains("has no column word"),
        "{table}"
    );
    others_go_on(&ground).await;
    source
        .execute("UPDATE item SET word = 'third' WHERE id = 3")
        .await
        .unwrap();
    source.execute(alter).await.unwrap();
    source
        .execute("UPDATE item SET said = 'fourth' WHERE id = 4")
        .await
        .unwrap();
    ends_well(&ground).await;
}

#[tokio::test]
async fn a_label_that_the_target_does_not_know_stops_its_table() {
    let ground = Ground::new(
        "CREATE TYPE mood AS ENUM ('good', 'bad');
         CREATE TABLE item (id int PRIMARY KEY, mood mood);
         CREATE TABLE other (id int PRIMARY KEY, word text);",
    )
    .await;
    let (_segue, _) = ground.run().await;
    let add = "ALTER TYPE mood ADD VALUE 'odd'";
    ground.bed.source.execute(add).await.unwrap();
    ground
        .bed
        .source
        .execute("INSERT INTO item VALUES (1, 'odd'), (2, 'good')")
        .await
        .unwrap();
    assert_eq!(stopped(&ground).await["table"], "public.item");
    others_go_on(&ground).await;
    ground.bed.target.execute(add).await.unwrap();
    ends_well(&ground).await;
}

#[tokio::test]
async fn a_restart_forgets_nothing_of_a_stopped_table() {
    let ground = Ground::new(SCHEMA).await;
    let (mut segue, _) = ground.run().await;
    let source = &ground.bed.source;
    let add = "ALTER TABLE item ADD COLUMN note text";
    source.execute(add).await.unwrap();
    source
        .execute("UPDATE item SET note = 'x' WHERE id = 1; DELETE FROM item WHERE id = 5")
        .await
        .unwrap();
    stopped(&ground).await;
    others_go_on(&ground).await;
    segue.run_again().await.unwrap();
    source
        .execute("UPDATE item SET note = 'y' WHERE id = 2")
        .await
        .unwrap();
    others_go_on(&ground).await;
    assert_eq!(stopped(&ground).await["kept_rows"], 3);
    // The target follows while nobody looks.
    segue.kill().unwrap();
    ground.bed.target.execute(add).await.unwrap();
    source
        .execute("UPDATE item SET note = 'z' WHERE id = 3")
        .await
        .unwrap();
    segue.run_again().await.unwrap();
    ends_well(&ground).await;
}

#[tokio::test]
async fn changes_of_both_shapes_while_nobody_looked_are_all_carried() {
    let ground = Ground::new(SCHEMA).await;
    let (mut segue, _) = ground.run().await;
    ground.bed.caught_up().await.unwrap();
    segue.kill().unwrap();
    let source = &ground.bed.source;
    let alter = "ALTER TABLE item DROP COLUMN word, ADD COLUMN note text DEFAULT 'none'";
    source
        .execute("UPDATE item SET word = 'old' WHERE id = 1; DELETE FROM item WHERE id = 2")
        .await
        .unwrap();
    source.execute(alter).await.unwrap();
    source
        .execute("UPDATE item SET note = 'new' WHERE id = 3")
        .await
        .unwrap();
    ground.bed.target.execute(alter).await.unwrap();
    segue.run_again().await.unwrap();
    ground
        .target_shows("SELECT note FROM item WHERE id = 3", "new")
        .await;
    ends_well(&ground).await;
}

#[tokio::test]
async fn partitions_that_came_and_went_while_nobody_looked_are_read_again() {
    let ground = Ground::new(
        "CREATE TABLE item (id int PRIMARY KEY, word text) PARTITION BY RANGE (id);
         CREATE TABLE item_1 PARTITION OF item FOR VALUES FROM (0) TO (10);
         CREATE TABLE item_2 PARTITION OF item FOR VALUES FROM (10) TO (20);
         CREATE TABLE item_3 PARTITION OF item FOR VALUES FROM (20) TO (30);
         INSERT INTO item SELECT n, 'word ' || n FROM generate_series(1, 29) n;",
    )
    .await;
    let segue = ground.launch.reconciler(&[]).await.unwrap();
    ground.bed.caught_up().await.unwrap();
    assert_eq!(segue.terminate().await.unwrap(), 0);
    let source = &ground.bed.source;
    // One is made, which needs nothing; one goes; one goes, is changed where no log shows it, and
    // comes again.
    let made = "CREATE TABLE item_4 PARTITION OF item FOR VALUES FROM (30) TO (40)";
    ground.bed.target.execute(made).await.unwrap();
    source.execute(made).await.unwrap();
    let segue = ground.launch.reconciler(&[]).await.unwrap();
    source
        .execute("INSERT INTO item VALUES (31, 'made')")
        .await
        .unwrap();
    ground.converges_without_divergence().await;
    assert_eq!(segue.terminate().await.unwrap(), 0);
    for sql in [
        "DROP TABLE item_2",
        "ALTER TABLE item DETACH PARTITION item_3",
        "UPDATE item_3 SET word = 'away' WHERE id = 21",
        "ALTER TABLE item ATTACH PARTITION item_3 FOR VALUES FROM (20) TO (30)",
    ] {
        source.execute(sql).await.unwrap();
    }
    let _segue = ground.launch.reconciler(&[]).await.unwrap();
    let changed = "SELECT concat((SELECT count(*) FROM item WHERE id BETWEEN 10 AND 19), ' ',
                                 (SELECT word FROM item WHERE id = 21))";
    ground.target_shows(changed, "0 away").await;
    let found = ends_well(&ground).await;
    let repair = found["repair"].as_str().unwrap();
    assert!(repair.contains("a partition was dropped"), "{repair}");
}

#[tokio::test]
async fn partitions_that_come_and_go_with_their_rows_are_read_again() {
    let ground = Ground::new(
        "CREATE TABLE item (id int PRIMARY KEY, word text) PARTITION BY RANGE (id);
         CREATE TABLE item_1 PARTITION OF item FOR VALUES FROM (0) TO (10);
         CREATE TABLE item_2 PARTITION OF item FOR VALUES FROM (10) TO (20);
         CREATE TABLE item_3 PARTITION OF item FOR VALUES FROM (30) TO (40);
         CREATE TABLE other (id int PRIMARY KEY, word text);
         INSERT INTO item SELECT n, 'word ' || n FROM generate_series(1, 19) n;",
    )
    .await;
    let (_segue, _) = ground.run().await;
    ground.bed.caught_up().await.unwrap();
    // Made as a partition: nothing to be read again.
    let source = &ground.bed.source;
    let made = "CREATE TABLE item_4 PARTITION OF item FOR VALUES FROM (40) TO (50)";
    ground.bed.target.execute(made).await.unwrap();
    source.execute(made).await.unwrap();
    source
        .execute("INSERT INTO item VALUES (41, 'new')")
        .await
        .unwrap();
    ground.converges_without_divergence().await;
    source.execute("DROP TABLE item_2").await.unwrap();
    let left = "SELECT count(*) FROM item WHERE id BETWEEN 10 AND 19";
    ground.target_shows(left, "0").await;
    ends_well(&ground).await;
    let attach =
        "CREATE TABLE aside (LIKE item INCLUDING ALL); INSERT INTO aside VALUES (12, 'twelve')";
    source.execute(attach).await.unwrap();
    source
        .execute("ALTER TABLE item ATTACH PARTITION aside FOR VALUES FROM (10) TO (20)")
        .await
        .unwrap();
    ground.target_shows(left, "1").await;
    goes_on(&ground).await;
    ground.bed.converged().await.unwrap();
}
