//! Failover of the source: a standby that takes over without the last commits of the old primary.

use harness::{Database, Installation, Pair, Segue, Server, ServerOptions, wait};
use serde_json::Value;

use crate::ground::Ground;

const SCHEMA: &str = "CREATE TABLE item (id int PRIMARY KEY, word text);
                      INSERT INTO item SELECT n, 'kept' FROM generate_series(1, 20) n;";

/// Three rows whose last commit the standby never gets.
const LOST: [&str; 3] = [
    "INSERT INTO item VALUES (100, 'lost')",
    "UPDATE item SET word = 'lost' WHERE id = 1",
    "DELETE FROM item WHERE id = 2",
];

/// What the target shows of these.
const SEEN: &str = "SELECT concat((SELECT word FROM item WHERE id = 100), ' ', \
                                  (SELECT word FROM item WHERE id = 1), ' ', \
                                  (SELECT word FROM item WHERE id = 2))";

/// A pair whose source has a streaming standby.
struct Scene {
    pair: Pair,
    standby: Server,
    ground: Ground,
}

impl Scene {
    /// On a source of this version, where there is one.
    async fn of(version: u32, settings: &[&str]) -> Option<Self> {
        let (Some(source), Ok(target)) = (Installation::of(version), Installation::for_target())
        else {
            println!("skipped: PostgreSQL {version} is not here; see tests/servers");
            return None;
        };
        let pair = Pair::of(source, target, ServerOptions::default()).await;
        let mut pair = pair.unwrap();
        let ground = Ground::on(pair.bed(SCHEMA).await.unwrap()).await;
        let standby = pair.source.standby(settings).await.unwrap();
        Some(Self {
            pair,
            standby,
            ground,
        })
    }

    /// The standby takes over as it is now.
    async fn fail_over(&mut self) {
        let primary = &mut self.pair.source;
        self.standby.takes_over(primary).await.unwrap();
    }

    /// Commits that reach the target and not the standby.
    async fn lose_commits(&self, proxied: &Database) {
        self.pair.source.replicated().await.unwrap();
        self.standby.pause().unwrap();
        let client = proxied.connect().await.unwrap();
        for statement in LOST {
            client.batch_execute(statement).await.unwrap();
        }
        self.ground.target_shows(SEEN, "lost lost ").await;
    }

    /// Each lost row was reported as such, and nothing else was.
    async fn lost_rows_are_phantoms(&self) {
        self.ground.bed.converged().await.unwrap();
        self.ground.target_shows(SEEN, " kept kept").await;
        let divergences = self.ground.divergences().await;
        let text = |it: &Value, name: &str| it[name].as_str().unwrap_or_default().to_owned();
        let mut found: Vec<String> = divergences
            .iter()
            .map(|it| {
                let key = it["key"]["id"].as_str().unwrap_or_default();
                format!("{} {key} {}", text(it, "kind"), text(it, "state"))
            })
            .collect();
        found.sort();
        let expected = [
            "phantom 1 repaired",
            "phantom 100 repaired",
            "phantom 2 repaired",
        ];
        assert_eq!(found, expected, "{divergences:#?}");
    }

    /// The new epoch is known everywhere, verified, and mirrored in.
    async fn goes_on_in_epoch(&self, number: u64, proxied: &Database) {
        let sql = format!(
            "SELECT count(*) FROM segue.epoch WHERE epoch = {number} AND why = 'failover' \
             AND timeline = {number} AND verified_at IS NOT NULL"
        );
        self.ground.target_shows(&sql, "1").await;
        let status = self.ground.launch.status().await.unwrap();
        assert_eq!(status["epoch"], number, "{status:#}");
        assert_eq!(status["failover"]["timeline"], number, "{status:#}");
        assert_eq!(status["failover"]["lost_rows"], 0, "{status:#}");
        // A proxy that has not heard of the epoch yet leaves its writes to the log.
        let mirrored = format!(
            "SELECT count(*) > 0 FROM segue.row_rev WHERE (rev >> 55) = {number} AND NOT from_log"
        );
        wait::until_true("writes to be mirrored in the new epoch", async || {
            let again = "INSERT INTO item VALUES (200, 'new') \
                         ON CONFLICT (id) DO UPDATE SET word = 'newer'";
            proxied.execute(again).await?;
            Ok(self.ground.bed.target.value(&mirrored).await? == "t")
        })
        .await
        .unwrap();
        self.ground.bed.converged().await.unwrap();
    }

    async fn event(&self, kind: &str) -> String {
        let sql = format!(
            "SELECT concat(count(*), ' ', max(text)) FROM segue.event WHERE kind = '{kind}'"
        );
        self.ground.bed.target.value(&sql).await.unwrap()
    }
}

/// Until the promoted server knows our slot; a standby takes a look at its primary's slots then.
async fn synchronised(primary: &Server, standby: &Server, slot: &str) {
    let (primary, database) = (primary.database("postgres"), standby.database("postgres"));
    let kept = format!(
        "SELECT count(*) FROM pg_replication_slots \
         WHERE slot_name = '{slot}' AND synced AND NOT temporary"
    );
    wait::until_true("the slot to be on the standby", async || {
        database
            .execute("SELECT pg_sync_replication_slots()")
            .await?;
        // The slot moves on over it; the server writes one every 15 s by itself.
        let snapshot = "SELECT pg_log_standby_snapshot(), pg_switch_wal()";
        primary.execute(snapshot).await?;
        Ok(database.value(&kept).await? == "1")
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn where_the_slot_survives_only_what_was_lost_is_reported_17() {
    with_the_slot(17).await;
}

#[tokio::test]
async fn where_the_slot_survives_only_what_was_lost_is_reported_18() {
    with_the_slot(18).await;
}

async fn with_the_slot(version: u32) {
    let Some(mut scene) = Scene::of(version, &["hot_standby_feedback=on"]).await else {
        return;
    };
    let (segue, proxied) = scene.ground.run().await;
    let client = proxied.connect().await.unwrap();
    let kept = "UPDATE item SET word = 'kept' WHERE id = 3";
    client.batch_execute(kept).await.unwrap();
    scene.ground.bed.caught_up().await.unwrap();
    let slot = scene.ground.bed.stream();
    synchronised(&scene.pair.source, &scene.standby, &slot).await;
    scene.lose_commits(&proxied).await;
    // The log has proven them, too: nothing keeps it from being ahead of the standby.
    scene.ground.bed.caught_up().await.unwrap();
    scene.fail_over().await;
    let told = "SELECT count(*) FROM segue.event WHERE kind = 'failover'";
    scene.ground.target_shows(told, "1").await;
    scene.goes_on_in_epoch(2, &proxied).await;
    scene.lost_rows_are_phantoms().await;
    let said = scene.event("failover").await;
    assert!(said.contains("the slot has survived"), "{said}");
    assert!(
        said.contains("3 rows") && !said.contains("every table"),
        "{said}"
    );
    assert_eq!(segue.terminate().await.unwrap(), 0);
}

#[tokio::test]
async fn where_the_slot_is_gone_a_new_one_is_made_and_everything_read_again_14() {
    without_the_slot(14).await;
}

#[tokio::test]
async fn where_the_slot_is_gone_a_new_one_is_made_and_everything_read_again_15() {
    without_the_slot(15).await;
}

async fn without_the_slot(version: u32) {
    let Some(mut scene) = Scene::of(version, &[]).await else {
        return;
    };
    let (mut segue, proxied) = scene.ground.run().await;
    scene.ground.bed.caught_up().await.unwrap();
    scene.lose_commits(&proxied).await;
    segue.kill().unwrap();
    scene.fail_over().await;
    // In no stream of ours: written before there is a slot again.
    let source = &scene.ground.bed.source;
    let gap = "UPDATE item SET word = 'gap' WHERE id IN (1, 3); DELETE FROM item WHERE id = 4; \
                   UPDATE item SET word = 'kept' WHERE id = 1; INSERT INTO item VALUES (5000, 'gap')";
    source.execute(gap).await.unwrap();
    let setup = scene.ground.launch.run_to_end(&["setup"]).await.unwrap();
    assert_eq!(setup.code, 4, "{}", setup.errors);
    let said = format!("{}{}", setup.output, setup.errors);
    assert!(said.contains("the source has failed over"), "{said}");
    segue.run_again().await.unwrap();
    scene.goes_on_in_epoch(2, &proxied).await;
    scene.lost_rows_are_phantoms().await;
    let said = scene.event("failover").await;
    assert!(said.contains("the slot is not there"), "{said}");
    assert!(said.contains("every table is read again"), "{said}");
    let rest = "SELECT count(*) FROM segue.recheck";
    scene.ground.target_shows(rest, "0").await;
    assert_eq!(segue.terminate().await.unwrap(), 0);
}

#[tokio::test]
async fn another_cluster_is_refused_and_shuts_the_mirror() {
    let ground = Ground::new(SCHEMA).await;
    let other = "UPDATE segue.progress SET system_identifier = '1' WHERE holder IS NULL";
    ground.bed.target.execute(other).await.unwrap();
    let ended = ground.launch.run_to_end(&["reconciler"]).await.unwrap();
    assert_eq!(ended.code, 1);
    let sentence = "the target has been following the cluster 1";
    assert!(ended.errors.contains(sentence), "{}", ended.errors);
    let seen = "SELECT concat((SELECT count(*) FROM segue.mirror_gate), ' ', \
                (SELECT count(*) FROM segue.event WHERE kind = 'other_cluster'))";
    ground.target_shows(seen, "0 1").await;
}

#[tokio::test]
async fn the_primary_from_before_a_failover_is_not_followed() {
    let ground = Ground::new(SCHEMA).await;
    let later = "UPDATE segue.progress SET timeline = 2; \
                 UPDATE segue.epoch SET timeline = 2, history = E'1\\t0/100\\n'";
    ground.bed.target.execute(later).await.unwrap();
    let ended = ground.launch.run_to_end(&["reconciler"]).await.unwrap();
    assert_eq!(ended.code, 1);
    let sentence = "the server from before a failover";
    assert!(ended.errors.contains(sentence), "{}", ended.errors);
    let told = "SELECT count(*) FROM segue.event WHERE kind = 'outdated'";
    ground.target_shows(told, "1").await;
}

#[tokio::test]
async fn a_connection_on_another_timeline_than_the_epoch_is_not_mirrored() {
    let ground = Ground::new(SCHEMA).await;
    // As where the proxy has heard of a failover and an old connection has survived it.
    let later = "UPDATE segue.phase SET timeline = 2";
    ground.bed.source.execute(later).await.unwrap();
    let (proxy, proxied): (Segue, Database) = ground.proxy_alone("async").await;
    let client = proxied.connect().await.unwrap();
    let write = "UPDATE item SET word = 'stray' WHERE id = 1";
    client.batch_execute(write).await.unwrap();
    ground
        .status_reaches("/mirror/deferred/other_timeline", 1)
        .await;
    ground
        .target_shows("SELECT word FROM item WHERE id = 1", "kept")
        .await;
    drop(client);
    assert_eq!(proxy.terminate().await.unwrap(), 0);
}
