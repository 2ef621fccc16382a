//! What `segue setup` says while it works.

use harness::{Bed, Launch, Pair, ServerOptions, database, wait};

/// Setup has asked what it waits for, and has been answered.
const ASKED: &str = "
    SELECT count(*) FROM pg_stat_activity
    WHERE application_name = 'segue setup' AND query LIKE '%pg_blocking_pids%' AND state = 'idle'";

#[tokio::test]
async fn setup_says_what_it_is_at_and_whom_it_waits_for() {
    let servers = Pair::start(ServerOptions::default()).await.unwrap();
    let bed = servers
        .bed("CREATE TABLE item (id int PRIMARY KEY)")
        .await
        .unwrap();
    let open = bed.source.connect().await.unwrap();
    open.batch_execute("SET application_name = 'nightly'; BEGIN; INSERT INTO item VALUES (1)")
        .await
        .unwrap();
    let pid = &database::rows(&open, "SELECT pg_backend_pid()")
        .await
        .unwrap()[0][0];
    let who = format!(
        "the session {} of postgres (nightly), in a transaction for",
        pid.as_deref().unwrap()
    );
    let launch = bed.launch(crate::SEGUE);
    let arguments = ["setup", "--progress", "json", "--json"];
    let setup = launch.run_to_end(&arguments);
    let release = async {
        wait::until_true("setup to ask whom it waits for", async || {
            Ok(bed.source.value(ASKED).await? == "1")
        })
        .await
        .unwrap();
        open.batch_execute("ROLLBACK").await.unwrap();
    };
    let (ended, ()) = tokio::join!(setup, release);
    let ended = ended.unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    let report: serde_json::Value = serde_json::from_str(&ended.output).unwrap();
    assert_eq!(report["outcome"], "set_up");
    let lines = ended.errors.lines().map(serde_json::from_str);
    let lines: Vec<serde_json::Value> = lines.collect::<Result<_, _>>().unwrap();
    let has = |doing: &str, side: &str, step: Option<u64>| {
        let mut lines = lines.iter();
        lines.any(|it| it["doing"] == doing && it["side"] == side && it["step"].as_u64() == step)
    };
    assert!(has("read the tables", "source", None), "{lines:?}");
    assert!(has("read the tables", "target", None), "{lines:?}");
    assert!(has("make the slot", "source", Some(2)), "{lines:?}");
    assert!(has("make the slot", "target", Some(4)), "{lines:?}");
    let waited = lines.iter().find_map(|it| it["waits_for"].as_str());
    assert!(
        waited.is_some_and(|it| it.starts_with(&who)),
        "{who}: {lines:?}"
    );
    removal_says_it_too(&launch, &bed).await;
}

/// A table that somebody uses keeps its publication from going.
async fn removal_says_it_too(launch: &Launch, bed: &Bed) {
    let used = bed.source.connect().await.unwrap();
    used.batch_execute("BEGIN; LOCK TABLE segue.phase")
        .await
        .unwrap();
    let arguments = ["setup", "--remove", "--progress", "json"];
    let remove = launch.run_to_end(&arguments);
    let release = async {
        wait::until_true("the removal to ask whom it waits for", async || {
            Ok(bed.source.value(ASKED).await? == "1")
        })
        .await
        .unwrap();
        used.batch_execute("ROLLBACK").await.unwrap();
    };
    let (ended, ()) = tokio::join!(remove, release);
    let ended = ended.unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    let lines = ended.errors.lines().map(serde_json::from_str);
    let lines: Vec<serde_json::Value> = lines.collect::<Result<_, _>>().unwrap();
    let slot = format!("remove the slot {}", bed.stream());
    for (doing, side, step) in [
        (slot.as_str(), "source", 1),
        ("remove the schema segue", "source", 4),
        ("remove the schema segue", "target", 8),
    ] {
        let told = lines.iter().any(|it| {
            it["doing"] == doing && it["side"] == side && it["step"] == step && it["steps"] == 9
        });
        assert!(told, "{doing} {side}: {lines:?}");
    }
    let waited = lines.iter().find_map(|it| it["waits_for"].as_str());
    assert!(
        waited.is_some_and(|it| it.starts_with("the session ")),
        "{lines:?}"
    );
}
