//! What the tests of mirror, log and crashes stand on: a pair that is set up, and ways to look at it.

use harness::{Bed, Database, Launch, Segue, wait};
use serde_json::Value;

use crate::SEGUE;

/// A pair that `segue setup` has seen.
pub(crate) struct Ground {
    pub(crate) bed: Bed,
    pub(crate) launch: Launch,
}

impl Ground {
    /// On the shared servers.
    pub(crate) async fn new(schema: &str) -> Self {
        Self::on(Bed::shared(schema).await.unwrap()).await
    }

    pub(crate) async fn on(bed: Bed) -> Self {
        let launch = bed.launch(SEGUE);
        launch.setup().await.unwrap();
        Self { bed, launch }
    }

    /// Waits until the reconciler has switched the mirror on.
    pub(crate) async fn armed(&self) {
        let sql = "SELECT count(*) FROM segue.mirror_gate";
        wait::until_true("the mirror gate to be armed", async || {
            Ok(self.bed.target.value(sql).await? == "1")
        })
        .await
        .unwrap();
    }

    /// Proxy and reconciler in one process, with the mirror on.
    pub(crate) async fn run(&self) -> (Segue, Database) {
        let segue = self.launch.run(&[]).await.unwrap();
        self.armed().await;
        let proxied = self.bed.source.through(segue.port());
        (segue, proxied)
    }

    /// A proxy that mirrors while no reconciler runs: what the target gets, it has from the mirror.
    pub(crate) async fn proxy_alone(&self, mode: &str) -> (Segue, Database) {
        // Setup has armed the gate: both sides were equal then.
        self.armed().await;
        let proxy = self.launch.proxy(&["--mirror", mode]).await.unwrap();
        let proxied = self.bed.source.through(proxy.port());
        (proxy, proxied)
    }

    /// What a session at the target begins with whose writes are to look like the mirror's: an
    /// origin of ours.
    pub(crate) fn as_one_of_ours(&self) -> String {
        let origin = format!("segue_{}_test", self.bed.target.name);
        format!(
            "SELECT pg_replication_origin_create('{origin}'); \
             SELECT pg_replication_origin_session_setup('{origin}')"
        )
    }

    /// Waits until a query at the target gives this value.
    pub(crate) async fn target_shows(&self, sql: &str, expected: &str) {
        let mut last = String::new();
        wait::until_true(
            &format!("{sql} to be {expected} at the target"),
            async || {
                last = self.bed.target.value(sql).await?;
                anyhow::ensure!(last == expected, "it is {last:?}");
                Ok(true)
            },
        )
        .await
        .unwrap();
    }

    /// The divergences of the report.
    pub(crate) async fn divergences(&self) -> Vec<Value> {
        let report = self.launch.report().await.unwrap();
        report["divergences"].as_array().unwrap().clone()
    }

    /// Both sides become equal, and nothing was wrong on the way.
    pub(crate) async fn converges_without_divergence(&self) {
        self.bed.converged().await.unwrap();
        let divergences = self.divergences().await;
        assert!(divergences.is_empty(), "{divergences:#?}");
    }

    /// Waits until a count in the status has reached a minimum, and returns the status.
    pub(crate) async fn status_reaches(&self, pointer: &str, least: u64) -> Value {
        wait::until(&format!("{pointer} to reach {least}"), async || {
            let status = self.launch.status().await?;
            let count = status
                .pointer(pointer)
                .and_then(Value::as_u64)
                .unwrap_or_default();
            anyhow::ensure!(count >= least, "it is {count} in {status:#}");
            Ok(Some(status))
        })
        .await
        .unwrap()
    }
}

/// A seed for a random test; printed, so that a failure can be had again.
pub(crate) fn seed(fixed: u64) -> u64 {
    println!("seed {fixed}");
    fixed
}
