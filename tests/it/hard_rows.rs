//! Rows that change behind the statement's back, and sessions whose values could be misread.
//!
//! In each the mirror sees less than what happened; the log has to settle it without an alarm.

use harness::raw_client::{RawClient, message::query};

use crate::ground::Ground;

#[tokio::test]
async fn cascades_and_triggers_on_other_rows_are_brought_by_the_log() {
    let ground = Ground::new(
        "CREATE TABLE parent (id int PRIMARY KEY, children int DEFAULT 0);
         CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE);
         CREATE TABLE audit (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, word text);
         CREATE FUNCTION counted() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             UPDATE parent SET children = children + 1 WHERE id = NEW.parent;
             INSERT INTO audit (word) VALUES ('child ' || NEW.id);
             RETURN NULL;
         END $$;
         CREATE TRIGGER counted AFTER INSERT ON child FOR EACH ROW EXECUTE FUNCTION counted();
         INSERT INTO parent SELECT n FROM generate_series(1, 5) n;",
    )
    .await;
    let (_segue, proxied) = ground.run().await;
    for id in 1..=20 {
        let insert = format!("INSERT INTO child VALUES ({id}, {})", id % 5 + 1);
        proxied.execute(&insert).await.unwrap();
    }
    proxied
        .execute("DELETE FROM parent WHERE id = 2")
        .await
        .unwrap();
    ground.converges_without_divergence().await;
    assert_eq!(
        ground
            .bed
            .target
            .value("SELECT count(*) FROM child")
            .await
            .unwrap(),
        "16"
    );
    assert_eq!(
        ground
            .bed
            .target
            .value("SELECT count(*) FROM audit")
            .await
            .unwrap(),
        "20"
    );
}

#[tokio::test]
async fn tables_named_as_what_upserts_call_their_rows_are_carried() {
    let ground = Ground::new(
        "CREATE TABLE excluded (id int PRIMARY KEY, excluded text, held int);
         CREATE TABLE held (id int PRIMARY KEY, held text);",
    )
    .await;
    let (_segue, proxied) = ground.run().await;
    proxied
        .execute(
            "INSERT INTO excluded VALUES (1, 'one', 1); INSERT INTO held VALUES (1, 'one');
             UPDATE excluded SET excluded = 'two' WHERE id = 1;
             UPDATE held SET held = 'two' WHERE id = 1",
        )
        .await
        .unwrap();
    ground.converges_without_divergence().await;
    let word = "SELECT excluded FROM excluded";
    assert_eq!(ground.bed.target.value(word).await.unwrap(), "two");
}

#[tokio::test]
async fn a_trigger_that_changes_the_row_once_more_is_settled_by_the_log() {
    let ground = Ground::new(
        "CREATE TABLE item (id int PRIMARY KEY, word text, versions int DEFAULT 0);
         CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             UPDATE item SET versions = versions + 1 WHERE id = NEW.id;
             RETURN NULL;
         END $$;
         CREATE TRIGGER again AFTER INSERT OR UPDATE ON item FOR EACH ROW
             WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION again();",
    )
    .await;
    let (_segue, proxied) = ground.run().await;
    for round in 0..10 {
        let upsert = format!(
            "INSERT INTO item VALUES (1, 'round {round}') \
             ON CONFLICT (id) DO UPDATE SET word = excluded.word"
        );
        proxied.execute(&upsert).await.unwrap();
    }
    ground.converges_without_divergence().await;
    assert_eq!(
        ground
            .bed
            .target
            .value("SELECT versions FROM item")
            .await
            .unwrap(),
        "10"
    );
}

#[tokio::test]
async fn a_trigger_that_swallows_the_write_leaves_both_sides_alone() {
    let ground = Ground::new(
        "CREATE TABLE item (id int PRIMARY KEY, word text);
         CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RETURN CASE WHEN NEW.word = 'no' THEN NULL ELSE NEW END; END $$;
         CREATE TRIGGER swallow BEFORE INSERT OR UPDATE ON item FOR EACH ROW
             EXECUTE FUNCTION swallow();",
    )
    .await;
    let (_segue, proxied) = ground.run().await;
    for sql in [
        "INSERT INTO item VALUES (1, 'yes'), (2, 'no'), (3, 'yes')",
        "UPDATE item SET word = 'no' WHERE id = 1",
        "UPDATE item SET word = 'indeed' WHERE id = 3",
    ] {
        proxied.execute(sql).await.unwrap();
    }
    ground.converges_without_divergence().await;
    let words = "SELECT string_agg(id || word, ',' ORDER BY id) FROM item";
    assert_eq!(
        ground.bed.target.value(words).await.unwrap(),
        "1yes,3indeed"
    );
}

#[tokio::test]
async fn values_of_sessions_in_another_encoding_or_style_arrive_unharmed() {
    let ground = Ground::new(
        "CREATE TABLE item (id int PRIMARY KEY, word text, at timestamptz, raw bytea, real float8)",
    )
    .await;
    let (_segue, proxied) = ground.run().await;
    let mut client = RawClient::connect(&proxied).await.unwrap();
    let mut send = async |bytes: Vec<u8>| {
        client.send(&bytes).await.unwrap();
        let frames = client.until_ready(1).await.unwrap();
        assert!(frames.iter().all(|frame| frame.tag != b'E'), "{frames:?}");
    };
    send(query(
        "SET datestyle = 'German'; SET timezone = 'Asia/Kolkata'",
    ))
    .await;
    send(query(
        "SET bytea_output = 'escape'; SET extra_float_digits = 0",
    ))
    .await;
    let values = "'2026-03-29 02:30:00.123456+01', '\\x00ff5c27', 0.1::float8 + 0.2";
    send(query(&format!(
        "INSERT INTO item VALUES (1, 'é', {values})"
    )))
    .await;
    send(query("SET client_encoding = 'LATIN1'")).await;
    let mut latin = query(&format!("INSERT INTO item VALUES (2, '?', {values})"));
    let place = latin.iter().position(|&byte| byte == b'?').unwrap();
    latin[place] = 0xE9;
    send(latin).await;
    send(query("SET client_encoding = 'UTF8'")).await;
    send(query(&format!(
        "INSERT INTO item VALUES (3, 'é', {values})"
    )))
    .await;
    ground.converges_without_divergence().await;
    let same = "SELECT count(DISTINCT (word, at, raw, real)) FROM item";
    assert_eq!(ground.bed.target.value(same).await.unwrap(), "1");
}

#[tokio::test]
async fn a_role_that_may_write_and_not_read_is_served_as_before() {
    let ground = Ground::new("CREATE TABLE item (id int PRIMARY KEY, word text)").await;
    let role = format!("writer_{}", ground.bed.source.name);
    let grants = format!(
        "CREATE ROLE {role} LOGIN; GRANT INSERT ON item TO {role}; \
         CREATE ROLE {role}_2 LOGIN; GRANT INSERT, UPDATE, SELECT (id) ON item TO {role}_2"
    );
    ground.bed.source.execute(&grants).await.unwrap();
    let (_segue, proxied) = ground.run().await;
    proxied
        .as_user(&role)
        .execute("INSERT INTO item VALUES (1, 'x')")
        .await
        .unwrap();
    let partly = proxied.as_user(&format!("{role}_2"));
    partly
        .execute("INSERT INTO item VALUES (2, 'x')")
        .await
        .unwrap();
    partly
        .execute("UPDATE item SET word = 'y' WHERE id = 1")
        .await
        .unwrap();
    let client = proxied.connect().await.unwrap();
    client
        .batch_execute(&format!("SET ROLE {role}"))
        .await
        .unwrap();
    client
        .batch_execute("INSERT INTO item VALUES (3, 'z')")
        .await
        .unwrap();
    client
        .batch_execute("RESET ROLE; INSERT INTO item VALUES (4, 'z')")
        .await
        .unwrap();
    ground.converges_without_divergence().await;
    assert_eq!(
        ground
            .bed
            .target
            .value("SELECT count(*) FROM item")
            .await
            .unwrap(),
        "4"
    );
}

#[tokio::test]
async fn clients_of_another_database_are_passed_through_unmirrored() {
    let ground = Ground::new("CREATE TABLE item (id int PRIMARY KEY, word text)").await;
    let other = Ground::new("CREATE TABLE item (id int PRIMARY KEY, word text)").await;
    let (_segue, proxied) = ground.run().await;
    let elsewhere = proxied.clone().of_name(&other.bed.source.name);
    elsewhere
        .execute("INSERT INTO item VALUES (1, 'elsewhere')")
        .await
        .unwrap();
    proxied
        .execute("INSERT INTO item VALUES (1, 'here')")
        .await
        .unwrap();
    ground.converges_without_divergence().await;
    assert_eq!(
        ground
            .bed
            .target
            .value("SELECT word FROM item")
            .await
            .unwrap(),
        "here"
    );
    assert_eq!(
        other
            .bed
            .source
            .value("SELECT word FROM item")
            .await
            .unwrap(),
        "elsewhere"
    );
    assert_eq!(
        other
            .bed
            .target
            .value("SELECT count(*) FROM item")
            .await
            .unwrap(),
        "0"
    );
}
