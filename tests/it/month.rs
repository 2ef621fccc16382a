//! Left alone for long: nothing that is kept grows without end, whoever is away.

use harness::wait;

use crate::ground::Ground;

const SCHEMA: &str = "CREATE TABLE item (id int PRIMARY KEY, word text)";

#[tokio::test]
async fn records_that_no_reconciler_reads_are_taken_away_by_the_proxies() {
    let ground = Ground::new(SCHEMA).await;
    let target = &ground.bed.target;
    target
        .execute(
            "INSERT INTO segue.op (op_id, proxy, outcome, mirrored_at)
             SELECT gen_random_uuid(), gen_random_uuid(), 'accepted',
                    clock_timestamp() - interval '1 hour' FROM generate_series(1, 500)",
        )
        .await
        .unwrap();
    let (_proxy, proxied) = ground.proxy_alone("async").await;
    proxied
        .execute("INSERT INTO item VALUES (1, 'one')")
        .await
        .unwrap();
    // Those of the old ones go; the new one waits for whoever reads it.
    ground
        .target_shows("SELECT count(*) FROM segue.op", "1")
        .await;
    let _reconciler = ground.launch.reconciler(&[]).await.unwrap();
    ground.converges_without_divergence().await;
}

#[tokio::test]
async fn entries_go_while_the_gate_is_shut() {
    let ground = Ground::new(SCHEMA).await;
    let _reconciler = ground.launch.reconciler(&[]).await.unwrap();
    ground.armed().await;
    let (source, target) = (&ground.bed.source, &ground.bed.target);
    target
        .execute("DELETE FROM segue.mirror_gate")
        .await
        .unwrap();
    source
        .execute("INSERT INTO item SELECT n, 'shut' FROM generate_series(1, 300) n")
        .await
        .unwrap();
    ground.bed.caught_up().await.unwrap();
    ground
        .target_shows("SELECT count(*) FROM segue.row_rev", "0")
        .await;
    ground.converges_without_divergence().await;
}

/// Each row of a large transaction is locked by an entry: all of them in one transaction of the
/// target's, so that many are there for a moment. The room is given back.
#[tokio::test]
async fn a_large_transaction_leaves_no_entries_and_its_room_is_given_back() {
    let ground = Ground::new(SCHEMA).await;
    let _reconciler = ground.launch.reconciler(&[]).await.unwrap();
    let (source, target) = (&ground.bed.source, &ground.bed.target);
    source
        .execute("INSERT INTO item SELECT n, 'large' FROM generate_series(1, 12000) n")
        .await
        .unwrap();
    ground
        .target_shows("SELECT count(*) FROM item", "12000")
        .await;
    wait::until_true("the entries' room to be given back", async || {
        // As autovacuum does behind 20,000 of them.
        target.execute("VACUUM segue.row_rev").await?;
        let size = "SELECT pg_relation_size('segue.row_rev')";
        let size = target.value(size).await?;
        anyhow::ensure!(size.parse::<u64>()? <= 65_536, "it has {size} bytes");
        Ok(true)
    })
    .await
    .unwrap();
    ground.converges_without_divergence().await;
}

#[tokio::test]
async fn what_holds_a_row_up_is_said_with_its_table() {
    let ground = Ground::new(SCHEMA).await;
    ground
        .bed
        .target
        .execute(
            "INSERT INTO segue.owed (\"table\", key, why, since)
             VALUES ('public.item', '\\x00', 'constraint', clock_timestamp() - interval '5 minutes');
             INSERT INTO segue.event (at, kind, text) VALUES
                 (clock_timestamp() - interval '1 hour', 'owed_long', 'of a time before'),
                 (clock_timestamp(), 'owed_long', 'a row of public.item: no partition found')",
        )
        .await
        .unwrap();
    let status = ground.launch.status().await.unwrap();
    let words = status["attention"].to_string();
    assert!(
        words.contains("a row of public.item: no partition found; the oldest"),
        "{words}"
    );
}
