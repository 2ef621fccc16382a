//! What each rule is for: the target diverges without it, on a real server.
//!
//! A test runs one schedule twice, with the real function and with one that breaks the rule.

use apply::{EarlyOutcome, EarlyTransaction, Refusal};
use harness::broken::{self, PAUSE_LOCK, Variant};
use harness::wait;

use crate::ground::{Ground, each, transaction};

const SCHEMA: &str = "CREATE TABLE pair (id int PRIMARY KEY, v int)";

fn stale() -> EarlyOutcome {
    EarlyOutcome::Refused {
        refusal: Refusal::Newer,
        members: vec![0],
    }
}

impl Ground {
    /// The version of row 1 that the source had so many bytes after the stream's start.
    fn version(&self, after: u64) -> EarlyTransaction {
        transaction(after, vec![self.row("pair", &Self::pair(1, 1), after)])
    }

    async fn row_count(&self) -> String {
        self.bed
            .target
            .value("SELECT count(*) FROM pair")
            .await
            .unwrap()
    }

    /// The log's own delete of row 1, so many bytes after the stream's start: rules 1 and 3.
    fn logged_delete(&self, after: u64) -> String {
        let key = self.key("pair", &Self::pair(1, 1));
        let bytes = key.bytes().iter();
        let key = bytes.fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        format!(
            "INSERT INTO segue.row_rev AS held \
                 (\"table\", key, rev, from_log, verified, tombstone) \
             VALUES ('public.pair', '\\x{key}', {rev}, true, true, true) \
             ON CONFLICT (\"table\", key) DO UPDATE SET rev = excluded.rev, from_log = true, \
                 verified = true, tombstone = true; \
             DELETE FROM pair WHERE id = 1",
            rev = self.revision(after),
        )
    }
}

#[tokio::test]
async fn without_rule_2_a_late_write_brings_an_old_version_back() {
    let ground = Ground::new(SCHEMA).await;
    let mut writer = ground.writer().await;
    ground
        .bed
        .target
        .execute(&ground.logged_delete(200))
        .await
        .unwrap();
    assert_eq!(each(&mut writer, &[ground.version(100)]).await, [stale()]);
    assert_eq!(ground.row_count().await, "0");
    broken::install(&ground.bed.target, Variant::NoTest)
        .await
        .unwrap();
    assert_eq!(
        each(&mut writer, &[ground.version(100)]).await,
        [EarlyOutcome::Accepted]
    );
    assert_eq!(ground.row_count().await, "1", "the deleted row is back");
}

#[tokio::test]
async fn without_rule_4_a_late_write_brings_an_old_version_back() {
    let ground = Ground::new(SCHEMA).await;
    let mut writer = ground.writer().await;
    ground
        .bed
        .target
        .execute(&ground.logged_delete(200))
        .await
        .unwrap();
    assert_eq!(each(&mut writer, &[ground.version(100)]).await, [stale()]);
    // The log applied its delete and left no entry, with the floor below.
    ground
        .bed
        .target
        .execute("DELETE FROM segue.row_rev")
        .await
        .unwrap();
    assert_eq!(
        each(&mut writer, &[ground.version(100)]).await,
        [EarlyOutcome::Accepted]
    );
    assert_eq!(ground.row_count().await, "1", "the deleted row is back");
    // At or under the floor no entry is needed.
    ground
        .bed
        .target
        .execute(&ground.logged_delete(200))
        .await
        .unwrap();
    let floor = format!(
        "DELETE FROM segue.row_rev; UPDATE segue.mirror_gate SET floor = {}",
        ground.revision(200)
    );
    ground.bed.target.execute(&floor).await.unwrap();
    let outcomes = each(&mut writer, &[ground.version(100)]).await;
    assert_eq!(
        outcomes,
        [EarlyOutcome::Refused {
            refusal: Refusal::Floor,
            members: vec![0],
        }]
    );
}

/// An old version arrives while the log's delete of the row is not committed yet.
async fn races_with_the_log(ground: &Ground) -> EarlyOutcome {
    let mut writer = ground.writer().await;
    let patient = "SET lock_timeout = 0";
    writer.connection().query_simple(patient).await.unwrap();
    let log = ground.bed.target.connect().await.unwrap();
    log.batch_execute(&format!("BEGIN; {}", ground.logged_delete(200)))
        .await
        .unwrap();
    let late = [ground.version(100)];
    let (outcomes, ()) = tokio::join!(each(&mut writer, &late), async {
        waiting(ground, 1).await;
        log.batch_execute("COMMIT").await.unwrap();
    });
    outcomes.into_iter().next().unwrap()
}

/// Until so many early writes wait for a lock.
async fn waiting(ground: &Ground, count: u32) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
               AND application_name = 'segue mirror' AND wait_event_type = 'Lock'";
    wait::until_true("an early write to wait", async || {
        Ok(ground.bed.target.value(sql).await? == count.to_string())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn without_rule_1_an_old_version_slips_past_a_delete_under_way() {
    let ground = Ground::new(SCHEMA).await;
    assert_eq!(races_with_the_log(&ground).await, stale());
    assert_eq!(ground.row_count().await, "0");
    ground
        .bed
        .target
        .execute("DELETE FROM segue.row_rev")
        .await
        .unwrap();
    broken::install(&ground.bed.target, Variant::TestBeforeLock)
        .await
        .unwrap();
    assert_eq!(races_with_the_log(&ground).await, EarlyOutcome::Accepted);
    assert_eq!(ground.row_count().await, "1", "the deleted row is back");
}

/// Raises the floor over an early write that has just read the gate; whether the raise is taken to
/// be effective while the write is still under way.
async fn floor_overtakes(ground: &Ground) -> bool {
    let mut writer = ground.writer().await;
    let target = &ground.bed.target;
    let patient = "SET lock_timeout = 0";
    writer.connection().query_simple(patient).await.unwrap();
    let holder = target.connect().await.unwrap();
    let hold = format!("SELECT pg_advisory_lock({PAUSE_LOCK})");
    holder.batch_execute(&hold).await.unwrap();
    let late = [ground.version(100)];
    let (outcomes, effective) = tokio::join!(each(&mut writer, &late), async {
        waiting(ground, 1).await;
        let raise = format!(
            "UPDATE segue.mirror_gate SET floor = {}",
            ground.revision(200)
        );
        target.execute(&raise).await.unwrap();
        // Rule 5's test; other databases of the shared server only make it wait for longer.
        let horizon = "SELECT pg_snapshot_xmax(pg_current_snapshot())";
        let horizon = target.value(horizon).await.unwrap();
        let passed = format!("SELECT pg_snapshot_xmin(pg_current_snapshot()) >= '{horizon}'::xid8");
        let own = "SELECT backend_xid IS NULL FROM pg_stat_activity \
                   WHERE datname = current_database() AND application_name = 'segue mirror'";
        let unseen = target.value(own).await.unwrap() == "t";
        let effective = if unseen {
            wait::until_true("the raise to be effective", async || {
                Ok(target.value(&passed).await? == "t")
            })
            .await
            .unwrap();
            true
        } else {
            target.value(&passed).await.unwrap() == "t"
        };
        let release = format!("SELECT pg_advisory_unlock({PAUSE_LOCK})");
        holder.batch_execute(&release).await.unwrap();
        effective
    });
    assert_eq!(outcomes.len(), 1);
    effective
}

#[tokio::test]
async fn without_rule_5_a_write_lands_under_a_floor_that_is_taken_to_be_effective() {
    let ground = Ground::new(SCHEMA).await;
    broken::install(&ground.bed.target, Variant::Paused)
        .await
        .unwrap();
    assert!(
        !floor_overtakes(&ground).await,
        "the drain waits for the write"
    );
    let again = Ground::new(SCHEMA).await;
    broken::install(&again.bed.target, Variant::XidAfterGate)
        .await
        .unwrap();
    assert!(
        floor_overtakes(&again).await,
        "the drain does not see the write"
    );
    assert_eq!(
        again.row_count().await,
        "1",
        "a version under the effective floor has landed"
    );
}
