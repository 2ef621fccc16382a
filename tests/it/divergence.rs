//! What should not be at the target is found, named and repaired, and the report says so.

use harness::{Database, guardian::Guardian, wait};
use serde_json::Value;

use crate::ground::Ground;

const SCHEMA: &str = "
    CREATE TABLE item (id int, part text, name text, price numeric, PRIMARY KEY (id, part));
    CREATE TABLE calm (id int PRIMARY KEY);
    INSERT INTO item SELECT n, 'p', 'item ' || n, n FROM generate_series(1, 50) n;
";

async fn repaired(ground: &Ground, id: &str) -> Value {
    wait::until(
        &format!("the report to name item {id} as repaired"),
        async || {
            let report = ground.launch.report().await?;
            let all = report["divergences"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            Ok(all
                .into_iter()
                .find(|one| one["key"]["id"] == id && one["state"] == "repaired"))
        },
    )
    .await
    .unwrap()
}

#[tokio::test]
async fn what_was_done_to_the_target_by_hand_is_found_and_repaired() {
    let ground = Ground::new(SCHEMA).await;
    let (segue, proxied) = ground.run().await;
    proxied
        .execute("UPDATE item SET price = 7 WHERE id = 1 AND part = 'p'")
        .await
        .unwrap();
    ground.converges_without_divergence().await;
    let target = &ground.bed.target;
    target
        .execute("UPDATE item SET name = 'corrupt', price = NULL WHERE id = 1")
        .await
        .unwrap();
    target
        .execute("DELETE FROM item WHERE id = 2")
        .await
        .unwrap();
    target
        .execute("INSERT INTO item VALUES (99, 'p', 'planted', 1)")
        .await
        .unwrap();
    let changed = repaired(&ground, "1").await;
    let deleted = repaired(&ground, "2").await;
    let planted = repaired(&ground, "99").await;
    for found in [&changed, &deleted, &planted] {
        assert_eq!(found["kind"], "foreign_write", "{found:#}");
        assert_eq!(found["table"], "public.item");
        assert_eq!(found["key"]["part"], "p");
        assert!(found["id"].is_number() || found["id"].is_string());
        for time in ["detected_at", "repaired_at"] {
            let text = found[time].as_str().unwrap();
            assert!(
                text.contains('T') && (text.ends_with('Z') || text.ends_with("+00:00")),
                "{text}"
            );
        }
        for name in ["source_rev", "target_rev", "op_id"] {
            assert!(
                found
                    .get(name)
                    .is_some_and(|v| v.is_null() || v.is_string()),
                "{name}: {found:#}"
            );
        }
    }
    let mut columns: Vec<_> = changed["columns"].as_array().unwrap().clone();
    columns.sort_by_key(ToString::to_string);
    assert_eq!(columns, ["name", "price"]);
    ground.bed.converged().await.unwrap();
    let report = ground.launch.report().await.unwrap();
    assert_eq!(report["summary"]["open"], 0);
    assert_eq!(report["summary"]["repaired"], 3);
    assert_eq!(report["summary"]["by_kind"]["foreign_write"], 3);
    assert_eq!(segue.terminate().await.unwrap(), 0);
}

#[tokio::test]
async fn foreign_writes_made_while_nothing_runs_are_found_afterwards() {
    let ground = Ground::new(SCHEMA).await;
    let (mut segue, _) = ground.run().await;
    segue.kill().unwrap();
    ground
        .bed
        .target
        .execute("UPDATE item SET price = -1 WHERE id <= 3")
        .await
        .unwrap();
    ground
        .bed
        .source
        .execute("UPDATE item SET price = 100 WHERE id = 3")
        .await
        .unwrap();
    segue.run_again().await.unwrap();
    repaired(&ground, "1").await;
    repaired(&ground, "2").await;
    ground.bed.converged().await.unwrap();
}

#[tokio::test]
async fn an_accepted_write_that_is_gone_is_a_lost_mirror() {
    let ground = Ground::new(SCHEMA).await;
    let (_proxy, proxied) = ground.proxy_alone("async").await;
    proxied
        .execute("UPDATE item SET name = 'accepted' WHERE id = 1 AND part = 'p'")
        .await
        .unwrap();
    ground
        .target_shows("SELECT name FROM item WHERE id = 1", "accepted")
        .await;
    // With an origin of ours: what the mirror did is undone, and no foreign write is seen.
    let ours = ground.as_one_of_ours();
    let undo =
        format!("{ours}; UPDATE item SET name = 'item 1' WHERE id = 1; DELETE FROM segue.row_rev");
    ground.bed.target.execute(&undo).await.unwrap();
    let _reconciler = ground.launch.reconciler(&[]).await.unwrap();
    repaired(&ground, "1").await;
    let report = ground.launch.report().await.unwrap();
    assert!(
        report["summary"]["by_kind"]["lost_mirror"].as_u64() >= Some(1),
        "{report:#}"
    );
    ground.bed.converged().await.unwrap();
}

/// Row 1 is mirrored and proven.
async fn with_a_proven_row(ground: &Ground, proxied: &Database) {
    proxied
        .execute("UPDATE item SET price = 7 WHERE id = 1 AND part = 'p'")
        .await
        .unwrap();
    ground.converges_without_divergence().await;
}

/// The entry of row 1 stands as if the early write had come after its log, so that nothing will
/// vouch for it, and the row is changed by `session`.
async fn changed_under_a_late_entry(ground: &Ground, session: &str) {
    let sql = format!(
        "{session}; BEGIN; UPDATE segue.row_rev SET verified = false, from_log = false; \
         UPDATE item SET name = 'corrupt' WHERE id = 1; COMMIT"
    );
    ground.bed.target.execute(&sql).await.unwrap();
    repaired(ground, "1").await;
    let unproven = "SELECT count(*) FROM segue.row_rev WHERE NOT verified";
    ground.target_shows(unproven, "0").await;
    ground.bed.converged().await.unwrap();
}

#[tokio::test]
async fn a_row_changed_by_hand_under_a_late_early_write_is_no_phantom() {
    let ground = Ground::new(SCHEMA).await;
    let (_segue, proxied) = ground.run().await;
    with_a_proven_row(&ground, &proxied).await;
    changed_under_a_late_entry(&ground, "SET application_name = 'by hand'").await;
    let found = ground.divergences().await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["kind"], "foreign_write", "{found:#?}");
}

#[tokio::test]
async fn a_mirrored_row_that_was_never_logged_is_a_phantom() {
    let ground = Ground::new(SCHEMA).await;
    let (_segue, proxied) = ground.run().await;
    with_a_proven_row(&ground, &proxied).await;
    // With an origin of ours it is the mirror's work.
    changed_under_a_late_entry(&ground, &ground.as_one_of_ours()).await;
    let found = ground.divergences().await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["kind"], "phantom", "{found:#?}");
    assert_eq!(found[0]["state"], "repaired", "{found:#?}");
}

#[tokio::test]
async fn a_mirrored_row_that_the_log_contradicts_is_repaired() {
    let ground = Ground::new(SCHEMA).await;
    let (_proxy, proxied) = ground.proxy_alone("async").await;
    proxied
        .execute("UPDATE item SET name = 'right' WHERE id = 1 AND part = 'p'")
        .await
        .unwrap();
    ground
        .target_shows("SELECT name FROM item WHERE id = 1", "right")
        .await;
    // The entry stands, the row is not what its op wrote.
    ground
        .bed
        .target
        .execute("UPDATE item SET name = 'wrong' WHERE id = 1")
        .await
        .unwrap();
    let _reconciler = ground.launch.reconciler(&[]).await.unwrap();
    let found = repaired(&ground, "1").await;
    assert_eq!(found["columns"], serde_json::json!(["name"]), "{found:#}");
    ground.bed.converged().await.unwrap();
}

#[tokio::test]
async fn a_contradicted_row_is_mended_where_the_log_does_not_tell_too() {
    let ground = Ground::new(
        "CREATE TABLE item (id int PRIMARY KEY, name text, body text);
         ALTER TABLE item ALTER body SET STORAGE EXTERNAL;
         INSERT INTO item VALUES (1, 'before', repeat('long', 5000));",
    )
    .await;
    let (_proxy, proxied) = ground.proxy_alone("async").await;
    // The body is stored out of line and not touched: the log does not have it.
    proxied
        .execute("UPDATE item SET name = 'right' WHERE id = 1")
        .await
        .unwrap();
    ground
        .target_shows("SELECT name FROM item WHERE id = 1", "right")
        .await;
    let ours = ground.as_one_of_ours();
    let corrupt = format!("{ours}; UPDATE item SET name = 'wrong', body = 'wrong' WHERE id = 1");
    ground.bed.target.execute(&corrupt).await.unwrap();
    let _reconciler = ground.launch.reconciler(&[]).await.unwrap();
    let found = repaired(&ground, "1").await;
    assert_eq!(found["kind"], "different_row", "{found:#}");
    ground.bed.converged().await.unwrap();
}

#[tokio::test]
async fn status_and_report_have_the_promised_names() {
    let ground = Ground::new(SCHEMA).await;
    let (_proxy, proxied) = ground.proxy_alone("async").await;
    proxied
        .execute("UPDATE item SET price = 7 WHERE id = 1 AND part = 'p'")
        .await
        .unwrap();
    ground
        .target_shows("SELECT price FROM item WHERE id = 1", "7")
        .await;
    let _reconciler = ground.launch.reconciler(&[]).await.unwrap();
    ground.converges_without_divergence().await;
    let status = ground.status_reaches("/rows/verified", 1).await;
    for name in [
        "phase",
        "epoch",
        "lag_bytes",
        "lag_seconds",
        "proven_seconds_p50",
        "proven_seconds_p99",
        "owed_rows",
        "open_divergences",
        "slot_wal_bytes",
        "slot_wal_budget_bytes",
        "rows",
        "mirror",
    ] {
        assert!(
            status.get(name).is_some(),
            "{name} is missing in {status:#}"
        );
    }
    for name in ["verified", "applied", "repaired", "superseded"] {
        assert!(status["rows"][name].is_u64(), "rows.{name} in {status:#}");
    }
    let mirror = &status["mirror"];
    assert!(
        mirror["captured"].is_u64()
            && mirror["deferred"].is_object()
            && mirror["failed"].is_object()
    );
    assert!(
        mirror.get("staleness_seconds_p50").is_some()
            && mirror.get("staleness_seconds_p99").is_some()
    );
    let check = ground
        .launch
        .run_to_end(&["status", "--check"])
        .await
        .unwrap();
    assert_eq!(check.code, 0, "{check:?}");
    // A plot needs a few seconds of a life.
    let samples = "SELECT count(*) > 3 FROM segue.sample";
    ground.target_shows(samples, "t").await;
    let page = Guardian::of_this_process()
        .unwrap()
        .directory()
        .join("report.html");
    let html = ground
        .launch
        .run_to_end(&["report", "--html", page.to_str().unwrap()])
        .await
        .unwrap();
    assert_eq!(html.code, 0, "{html:?}");
    let text = std::fs::read_to_string(page).unwrap();
    assert!(text.contains("<svg") && text.contains("</html>"));
    for outside in ["src=\"http", "href=\"http", "@import", "url(http"] {
        assert!(!text.contains(outside), "the page needs {outside}");
    }
}
