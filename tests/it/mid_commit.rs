//! The proxy killed in the middle of a commit, at each place where the three parties can then be
//! of different minds: the target comes to what the source has, and nothing false is reported.
//!
//! A valve keeps back what the proxy would have got or sent, so that the place is certain.

use harness::raw_client::{RawClient, message};
use harness::{Segue, Valve, wait};

use crate::ground::Ground;

const SCHEMA: &str = "
    CREATE TABLE item (id int PRIMARY KEY, name text);
    INSERT INTO item VALUES (1, 'old'), (2, 'old');
";

const WRITES: &str = "BEGIN; INSERT INTO item VALUES (3, 'new'); \
                      UPDATE item SET name = 'new' WHERE id = 1; DELETE FROM item WHERE id = 2";
/// What is there before the commit, and what after it.
const BEFORE: &str = "1 old, 2 old";
const AFTER: &str = "1 new, 3 new";
const ROWS: &str = "SELECT string_agg(id || ' ' || name, ', ' ORDER BY id) FROM item";

/// A client whose transaction is about to be committed through a proxy between two valves.
struct Scene {
    ground: Ground,
    source: Valve,
    target: Valve,
    proxy: Segue,
    client: RawClient,
    _reconciler: Segue,
}

impl Scene {
    async fn new(mode: &str) -> Self {
        let ground = Ground::new(SCHEMA).await;
        let reconciler = ground.launch.reconciler(&[]).await.unwrap();
        ground.armed().await;
        let bed = &ground.bed;
        let source = Valve::before(bed.source.port).await.unwrap();
        let target = Valve::before(bed.target.port).await.unwrap();
        let behind = [
            bed.source.through(source.port()).uri(),
            bed.target.through(target.port()).uri(),
        ];
        let launch = ground.launch.with_uris(Some(&behind[0]), Some(&behind[1]));
        let proxy = launch.proxy(&["--mirror", mode]).await.unwrap();
        let proxied = bed.source.through(proxy.port());
        // The mirror has its session, or the target would not have been asked at all.
        wait::until_true("the mirror to work", async || {
            let update = "UPDATE item SET name = 'old' WHERE id = 2";
            proxied.execute(update).await?;
            let status = ground.launch.status().await?;
            Ok(status["mirror"]["accepted"].as_u64() > Some(0))
        })
        .await
        .unwrap();
        let mut client = RawClient::connect(&proxied).await.unwrap();
        client.send(&message::query(WRITES)).await.unwrap();
        client.until_ready(1).await.unwrap();
        Self {
            ground,
            source,
            target,
            proxy,
            client,
            _reconciler: reconciler,
        }
    }

    async fn commit(&mut self) {
        let commit = message::query("COMMIT");
        self.client.send(&commit).await.unwrap();
    }

    async fn is_at_the_source(&self) {
        wait::until_true("the source to commit", async || {
            Ok(self.ground.bed.source.value(ROWS).await? == AFTER)
        })
        .await
        .unwrap();
    }

    /// The proxy is killed, the client is told nothing more, and both sides come to `rows`.
    async fn ends_with(mut self, rows: &str) {
        self.proxy.kill().unwrap();
        let told = self.client.to_end().await.unwrap();
        assert!(told.is_empty(), "{told:?}");
        drop((self.source, self.target));
        self.ground.converges_without_divergence().await;
        for database in [&self.ground.bed.source, &self.ground.bed.target] {
            assert_eq!(database.value(ROWS).await.unwrap(), rows);
        }
        let status = self.ground.launch.status().await.unwrap();
        assert_eq!(status["rows"]["repaired"], 0, "{status:#}");
        assert_eq!(status["owed_rows"], 0, "{status:#}");
    }
}

#[tokio::test]
async fn a_commit_that_never_reached_the_source_is_nowhere() {
    let mut scene = Scene::new("async").await;
    scene.source.hold_requests();
    scene.commit().await;
    scene.ends_with(BEFORE).await;
}

#[tokio::test]
async fn a_commit_whose_answer_never_reached_the_proxy_is_brought_by_the_log() {
    for mode in ["async", "sync"] {
        let mut scene = Scene::new(mode).await;
        scene.source.hold_answers();
        scene.commit().await;
        scene.is_at_the_source().await;
        scene.ends_with(AFTER).await;
    }
}

#[tokio::test]
async fn a_commit_that_was_answered_and_never_mirrored_is_brought_by_the_log() {
    let mut scene = Scene::new("async").await;
    scene.target.hold_requests();
    scene.commit().await;
    scene.client.until_ready(1).await.unwrap();
    scene.ends_with(AFTER).await;
}

#[tokio::test]
async fn a_commit_that_waits_for_the_target_when_the_proxy_dies_is_not_acknowledged() {
    let mut scene = Scene::new("sync").await;
    scene.target.hold_requests();
    scene.commit().await;
    scene.is_at_the_source().await;
    scene.ends_with(AFTER).await;
}

#[tokio::test]
async fn a_commit_that_the_target_has_and_the_proxy_never_heard_of_is_verified() {
    let mut scene = Scene::new("sync").await;
    scene.target.hold_answers();
    scene.commit().await;
    scene.ground.target_shows(ROWS, AFTER).await;
    scene.ends_with(AFTER).await;
}
