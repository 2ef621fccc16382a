//! Left alone for long: nothing that is kept grows without end, whoever is away.

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
