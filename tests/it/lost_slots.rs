//! Slots that are gone: said in a sentence with the mend, kept for the report, and nothing is mirrored
//! that no log could prove.

use harness::wait;

use crate::ground::Ground;

const SCHEMA: &str = "CREATE TABLE item (id int PRIMARY KEY, word text)";

/// Drops a slot as soon as nobody reads it.
async fn drop_slot(database: &harness::Database, slot: &str) {
    let end = format!(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{slot}'"
    );
    let drop = format!("SELECT pg_drop_replication_slot('{slot}')");
    wait::until_true("the slot to be dropped", async || {
        database.execute(&end).await?;
        database.execute(&drop).await?;
        Ok(true)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_source_slot_lost_while_the_reconciler_runs_ends_it_and_the_mirroring() {
    let ground = Ground::new(SCHEMA).await;
    let mut reconciler = ground.launch.reconciler(&[]).await.unwrap();
    ground.armed().await;
    drop_slot(&ground.bed.source, &ground.bed.stream()).await;
    wait::until_true("the reconciler to end", async || {
        Ok(reconciler.ended()? == Some(1))
    })
    .await
    .unwrap();
    let sentence = format!(
        "the slot {} at the source is lost: it is gone",
        ground.bed.stream()
    );
    assert!(reconciler.log().contains(&sentence), "{}", reconciler.log());
    ground
        .target_shows("SELECT count(*) FROM segue.mirror_gate", "0")
        .await;
    // At the start too, and one event is enough.
    let again = ground.launch.run_to_end(&["reconciler"]).await.unwrap();
    assert_eq!(again.code, 1);
    assert!(
        again.errors.contains("segue setup --remove"),
        "{}",
        again.errors
    );
    let events = "SELECT count(*) FROM segue.event WHERE kind = 'slot_lost'";
    assert_eq!(ground.bed.target.value(events).await.unwrap(), "1");
    let setup = ground.launch.run_to_end(&["setup"]).await.unwrap();
    assert_eq!(setup.code, 4, "{}", setup.errors);
    let said = format!("{}{}", setup.output, setup.errors);
    assert!(said.contains("copy the database anew"), "{said}");
}

#[tokio::test]
async fn a_lost_target_slot_is_told_and_made_again_by_setup() {
    let ground = Ground::new(SCHEMA).await;
    let reconciler = ground.launch.reconciler(&[]).await.unwrap();
    let slot = "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()";
    let slot = ground.bed.target.value(slot).await.unwrap();
    drop_slot(&ground.bed.target, &slot).await;
    ground
        .target_shows(
            "SELECT count(*) FROM segue.event WHERE kind = 'foreign_slot_lost'",
            "1",
        )
        .await;
    // The source's stream goes on.
    ground
        .bed
        .source
        .execute("INSERT INTO item VALUES (1, 'one')")
        .await
        .unwrap();
    ground.converges_without_divergence().await;
    assert_eq!(reconciler.terminate().await.unwrap(), 0);
    let said = ground.launch.setup().await.unwrap();
    assert!(said.contains("has been made again"), "{said}");
    let said = ground.launch.setup().await.unwrap();
    assert!(said.contains("nothing changed"), "{said}");
    let _reconciler = ground.launch.reconciler(&[]).await.unwrap();
    ground
        .bed
        .target
        .execute("UPDATE item SET word = 'foreign'")
        .await
        .unwrap();
    ground.target_shows("SELECT word FROM item", "one").await;
}
