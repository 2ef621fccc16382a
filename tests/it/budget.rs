//! The slot's WAL budget on a real server: said in time, and what becomes of everybody when it is used
//! up and the server removes what the slot needs.

use harness::{Bed, Installation, Pair, Segue, Server, ServerOptions, wait};

use crate::ground::Ground;

const SCHEMA: &str = "CREATE TABLE item (id int PRIMARY KEY, word text)";

/// Five segments of log, of which a sixth of what is held may be anywhere in.
const BUDGET: &str = "max_slot_wal_keep_size=80MB";

/// A source with a budget, and a target of its own, so that no other test's log is in it.
async fn ground() -> (Pair, Ground) {
    let bounded = ServerOptions {
        settings: vec![BUDGET.to_owned(), "max_wal_size=1GB".to_owned()],
        ..ServerOptions::default()
    };
    let source = Server::start(Installation::for_source().unwrap(), bounded);
    let target = Server::start(
        Installation::for_target().unwrap(),
        ServerOptions::default(),
    );
    let (source, target) = tokio::try_join!(source, target).unwrap();
    let pair = Pair { source, target };
    let bed = pair.bed(SCHEMA).await.unwrap();
    let ground = Ground::on(bed).await;
    (pair, ground)
}

/// Fills the source's log up to the next segment.
async fn fill_a_segment(bed: &Bed) {
    let sql =
        "SELECT pg_logical_emit_message(false, 'load', repeat('x', 100)); SELECT pg_switch_wal()";
    bed.source.execute(sql).await.unwrap();
}

/// Fills the log until the slot holds more than this part of its budget.
async fn use_up(ground: &Ground, hundredths: i64) {
    let held = format!(
        "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), restart_lsn) > {hundredths} * 80 * 10485.76 \
         FROM pg_replication_slots WHERE slot_name = '{}'",
        ground.bed.stream()
    );
    while ground.bed.source.value(&held).await.unwrap() != "t" {
        fill_a_segment(&ground.bed).await;
    }
}

/// Goes on until the server has dropped what the slot needs.
async fn invalidate(ground: &Ground) {
    let lost = format!(
        "SELECT wal_status FROM pg_replication_slots WHERE slot_name = '{}'",
        ground.bed.stream()
    );
    wait::until_true("the server to invalidate the slot", async || {
        fill_a_segment(&ground.bed).await;
        ground.bed.source.execute("CHECKPOINT").await?;
        Ok(ground.bed.source.value(&lost).await? == "lost")
    })
    .await
    .unwrap();
}

async fn ended(reconciler: &mut Segue) {
    wait::until_true("the reconciler to end", async || {
        Ok(reconciler.ended()? == Some(1))
    })
    .await
    .unwrap();
}

/// What a person and a script are told of a slot that is lost.
async fn all_say_it_is_lost(ground: &Ground) {
    let shown = ground.launch.run_to_end(&["status"]).await.unwrap();
    // In lines that fit a screen.
    let words: Vec<&str> = shown.output.split_whitespace().collect();
    let words = words.join(" ");
    for part in ["! the slot segue_", "is lost", "copy the database anew"] {
        assert!(words.contains(part), "{part}: {shown:?}");
    }
    let check = ground.launch.run_to_end(&["status", "--check"]).await;
    let check = check.unwrap();
    assert_eq!(check.code, 1, "{check:?}");
    assert!(check.errors.contains("is lost"), "{check:?}");
    let setup = ground.launch.run_to_end(&["setup"]).await.unwrap();
    assert_eq!(setup.code, 4, "{setup:?}");
    let said = format!("{}{}", setup.output, setup.errors);
    assert!(said.contains("gone or invalidated"), "{said}");
}

#[tokio::test]
async fn a_budget_that_runs_out_under_a_working_reconciler_is_said_before_and_after() {
    let (_pair, ground) = ground().await;
    // A transaction that nobody ends: what it has written may have to be decoded again.
    let forgotten = ground.bed.source.connect().await.unwrap();
    forgotten
        .batch_execute(
            "SET application_name = 'nightly'; BEGIN; INSERT INTO item VALUES (1, 'forgotten')",
        )
        .await
        .unwrap();
    let mut reconciler = ground.launch.reconciler(&[]).await.unwrap();
    use_up(&ground, 70).await;
    let words = wait::until("the status to warn", async || {
        let status = ground.launch.status().await?;
        let words = status["attention"].to_string();
        Ok(words
            .contains("of the slot's WAL budget are used")
            .then_some(words))
    });
    let words = words.await.unwrap();
    assert!(words.contains("raise max_slot_wal_keep_size"), "{words}");
    let status = ground.launch.status().await.unwrap();
    let oldest = &status["oldest_transaction"];
    let who = oldest["who"].as_str().unwrap();
    assert!(who.ends_with("of postgres (nightly)"), "{oldest}");
    assert!(oldest["seconds"].as_f64() > Some(0.0), "{oldest}");
    let log = "of the slot's WAL budget are used";
    assert!(reconciler.log().contains(log), "{}", reconciler.log());
    invalidate(&ground).await;
    ended(&mut reconciler).await;
    assert!(
        reconciler.log().contains("max_slot_wal_keep_size)"),
        "{}",
        reconciler.log()
    );
    ground
        .target_shows("SELECT count(*) FROM segue.mirror_gate", "0")
        .await;
    all_say_it_is_lost(&ground).await;
    // Set up anew over a new copy, it works.
    forgotten.batch_execute("COMMIT").await.unwrap();
    let removed = ground.launch.run_to_end(&["setup", "--remove"]).await;
    assert_eq!(removed.unwrap().code, 0);
    let copied = "INSERT INTO item VALUES (1, 'forgotten')";
    ground.bed.target.execute(copied).await.unwrap();
    ground.launch.setup().await.unwrap();
    let _reconciler = ground.launch.reconciler(&[]).await.unwrap();
    let change = "UPDATE item SET word = 'found'";
    ground.bed.source.execute(change).await.unwrap();
    ground.converges_without_divergence().await;
}

#[tokio::test]
async fn a_budget_that_runs_out_with_nobody_reading_is_asked_of_the_source() {
    let (mut pair, ground) = ground().await;
    let reconciler = ground.launch.reconciler(&[]).await.unwrap();
    ground.armed().await;
    // It cannot write, and says what that costs.
    pair.target.stop().await.unwrap();
    use_up(&ground, 75).await;
    wait::until_true("the reconciler to warn", async || {
        Ok(reconciler
            .log()
            .contains("of the slot's WAL budget are used"))
    })
    .await
    .unwrap();
    assert_eq!(reconciler.terminate().await.unwrap(), 0);
    pair.target.run().await.unwrap();
    let silent = "UPDATE segue.reconciler SET at = at - interval '1 minute'";
    ground.bed.target.execute(silent).await.unwrap();
    let check = ["status", "--check"];
    let check = ground.launch.run_to_end(&check).await.unwrap();
    assert_eq!(check.code, 1, "{check:?}");
    assert!(
        check.errors.contains("of the slot's WAL budget are used"),
        "{check:?}"
    );
    invalidate(&ground).await;
    all_say_it_is_lost(&ground).await;
    let started = ground.launch.run_to_end(&["reconciler"]).await.unwrap();
    assert_eq!(started.code, 1, "{started:?}");
    assert!(started.errors.contains("is lost"), "{started:?}");
}
