//! Repairs are bounded, can be left out, and can be taken back.

use harness::Segue;
use harness::wait;
use serde_json::Value;

use crate::ground::Ground;

const SCHEMA: &str = "
    CREATE TABLE item (id int PRIMARY KEY, name text, body text);
    ALTER TABLE item ALTER body SET STORAGE EXTERNAL;
    INSERT INTO item SELECT n, 'item ' || n, repeat('long', 5000) FROM generate_series(1, 9) n;
";

/// A reconciler alone, once the mirror gate is armed.
async fn reconciler(ground: &Ground, arguments: &[&str]) -> Segue {
    let segue = ground.launch.reconciler(arguments).await.unwrap();
    ground.armed().await;
    segue
}

/// Waits until so many divergences are in this state, for this reason.
async fn found(ground: &Ground, state: &str, held: &Value, count: usize) -> Vec<Value> {
    wait::until(&format!("{count} to be {state}, held {held}"), async || {
        let report = ground.launch.report().await?;
        let all = report["divergences"].as_array().cloned();
        let mut all = all.unwrap_or_default();
        all.retain(|one| one["state"] == state && one["held"] == *held);
        anyhow::ensure!(all.len() == count, "{report:#}");
        Ok(Some(all))
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn past_its_share_a_table_waits_for_a_person_and_the_log_goes_on() {
    let ground = Ground::new(SCHEMA).await;
    let segue = reconciler(&ground, &["--max-repairs", "2/1h"]).await;
    let target = &ground.bed.target;
    target
        .execute("UPDATE item SET name = 'by hand' WHERE id <= 5")
        .await
        .unwrap();
    found(&ground, "repaired", &Value::Null, 2).await;
    let held = found(&ground, "open", &"limit".into(), 3).await;
    assert_eq!(held[0]["columns"], serde_json::json!(["name"]), "{held:#?}");
    let words = held[0]["repair"].as_str().unwrap();
    assert!(words.contains("segue repair resume"), "{words}");
    ground
        .target_shows("SELECT count(*) FROM item WHERE name = 'by hand'", "3")
        .await;
    let stopped = ground.status_reaches("/stopped_repairs/0/held", 3).await;
    assert_eq!(
        stopped["stopped_repairs"][0]["table"], "public.item",
        "{stopped:#}"
    );
    let shown = ground.launch.run_to_end(&["status"]).await.unwrap();
    assert!(
        shown.output.contains("segue repair resume public.item"),
        "{shown:?}"
    );
    let check = ground.launch.run_to_end(&["status", "--check"]).await;
    assert_eq!(check.unwrap().code, 3);
    // A process that starts anew has no new share.
    assert_eq!(segue.terminate().await.unwrap(), 0);
    let _segue = reconciler(&ground, &["--max-repairs", "2/1h"]).await;
    let id = held[0]["key"]["id"].as_str().unwrap();
    ground
        .bed
        .source
        .execute(&format!("UPDATE item SET name = 'newer' WHERE id = {id}"))
        .await
        .unwrap();
    found(&ground, "repaired", &Value::Null, 3).await;
    found(&ground, "open", &"limit".into(), 2).await;
    let resume = ["repair", "resume", "public.item"];
    let resumed = ground.launch.run_to_end(&resume).await.unwrap();
    assert_eq!(resumed.code, 0, "{resumed:?}");
    found(&ground, "repaired", &Value::Null, 5).await;
    ground.bed.converged().await.unwrap();
    let again = ground.launch.run_to_end(&resume).await.unwrap();
    assert_eq!(again.code, 1, "{again:?}");
}

#[tokio::test]
async fn a_stop_is_on_record_with_the_first_row_that_it_holds_back() {
    let ground = Ground::new(SCHEMA).await;
    let _segue = reconciler(&ground, &["--max-repairs", "1/1h"]).await;
    let target = &ground.bed.target;
    let client = target.connect().await.unwrap();
    target
        .execute("UPDATE item SET name = 'by hand' WHERE id <= 3")
        .await
        .unwrap();
    let seen = "SELECT (SELECT count(*) FROM segue.divergence WHERE held = 'limit')::text, \
                       (SELECT count(*) FROM segue.repair_limit)::text";
    let held = wait::until("a row to be held back", async || {
        let rows = harness::database::rows(&client, seen).await?;
        let [held, stopped] = [0, 1].map(|place| rows[0][place].clone().unwrap());
        Ok((held != "0").then_some(stopped))
    });
    assert_eq!(held.await.unwrap(), "1");
    // Whoever sees it may let it go on at once.
    let resume = ["repair", "resume", "--all"];
    let resumed = ground.launch.run_to_end(&resume).await.unwrap();
    assert!(
        resumed.output.contains("repairs of public.item go on"),
        "{resumed:?}"
    );
    // The two that were left have a share of one: the next stop is another one.
    found(&ground, "repaired", &Value::Null, 2).await;
    found(&ground, "open", &"limit".into(), 1).await;
    assert_eq!(ground.launch.run_to_end(&resume).await.unwrap().code, 0);
    ground.bed.converged().await.unwrap();
    found(&ground, "repaired", &Value::Null, 3).await;
}

#[tokio::test]
async fn a_mirror_that_lies_is_held_to_the_limit_and_its_rows_stay_unproven() {
    let ground = Ground::new(SCHEMA).await;
    let (_proxy, proxied) = ground.proxy_alone("async").await;
    proxied
        .execute("UPDATE item SET name = 'right' WHERE id = 1; UPDATE item SET name = 'right' WHERE id = 2")
        .await
        .unwrap();
    let right = "SELECT count(*) FROM item WHERE name = 'right'";
    ground.target_shows(right, "2").await;
    let ours = ground.as_one_of_ours();
    let lie = format!("{ours}; UPDATE item SET name = 'wrong' WHERE name = 'right'");
    ground.bed.target.execute(&lie).await.unwrap();
    let _reconciler = ground
        .launch
        .reconciler(&["--max-repairs", "1/1h"])
        .await
        .unwrap();
    let held = found(&ground, "open", &"limit".into(), 1).await;
    assert_eq!(held[0]["kind"], "different_row", "{held:#?}");
    ground.target_shows(right, "1").await;
    ground
        .target_shows("SELECT count(*) FROM segue.row_rev WHERE NOT verified", "1")
        .await;
    ground.status_reaches("/stopped_repairs/0/held", 1).await;
    let resumed = ground.launch.run_to_end(&["repair", "resume", "--all"]);
    assert_eq!(resumed.await.unwrap().code, 0);
    found(&ground, "repaired", &Value::Null, 2).await;
    ground.bed.converged().await.unwrap();
}

#[tokio::test]
async fn a_dry_run_writes_nothing_and_says_what_it_would_write() {
    let ground = Ground::new(SCHEMA).await;
    let segue = reconciler(&ground, &["--repair", "dry"]).await;
    let target = &ground.bed.target;
    target
        .execute(
            "UPDATE item SET name = 'by hand' WHERE id = 1; DELETE FROM item WHERE id = 2; \
                  INSERT INTO item VALUES (99, 'planted')",
        )
        .await
        .unwrap();
    let held = found(&ground, "open", &"dry".into(), 3).await;
    let mut proposed = Vec::new();
    for one in held {
        let id = one["id"].to_string();
        let (code, shown) = ground.launch.json(&["report", "show", &id]).await.unwrap();
        assert_eq!(code, 3);
        assert!(shown["written_by"]["xid"].is_number(), "{shown:#}");
        assert!(shown["written_by"]["committed_at"].is_string(), "{shown:#}");
        let proposal = &shown["journal"][0]["proposed"];
        let word = proposal
            .as_str()
            .or_else(|| proposal["row"]["name"].as_str());
        let value = word.unwrap().to_owned();
        proposed.push((one["key"]["id"].as_str().unwrap().to_owned(), value));
    }
    proposed.sort();
    let expected = [("1", "item 1"), ("2", "item 2"), ("99", "delete")];
    assert_eq!(
        proposed,
        expected.map(|(id, name)| (id.to_owned(), name.to_owned()))
    );
    assert_eq!(segue.terminate().await.unwrap(), 0);
    assert_eq!(
        target
            .value("SELECT count(*) FROM item WHERE name IN ('by hand', 'planted')")
            .await
            .unwrap(),
        "2"
    );
    let _segue = reconciler(&ground, &[]).await;
    found(&ground, "repaired", &Value::Null, 3).await;
    ground.bed.converged().await.unwrap();
}

#[tokio::test]
async fn a_repair_is_undone_until_the_rows_next_change() {
    let ground = Ground::new(SCHEMA).await;
    let _segue = reconciler(&ground, &[]).await;
    let target = &ground.bed.target;
    target
        .execute("UPDATE item SET name = 'by hand', body = 'mine' WHERE id = 1")
        .await
        .unwrap();
    let repaired = found(&ground, "repaired", &Value::Null, 1).await;
    let id = repaired[0]["id"].to_string();
    let undo = ["repair", "undo", &id];
    let undone = ground.launch.run_to_end(&undo).await.unwrap();
    assert_eq!(undone.code, 0, "{undone:?}");
    let row = "SELECT name || ' ' || body FROM item WHERE id = 1";
    assert_eq!(target.value(row).await.unwrap(), "by hand mine");
    let (code, shown) = ground.launch.json(&["report", "show", &id]).await.unwrap();
    assert_eq!(code, 0, "what is ignored is not open: {shown:#}");
    assert_eq!(shown["state"], "ignored");
    assert_eq!(shown["journal"][1]["act"], "undo");
    assert_eq!(shown["journal"][1]["after"]["name"], "by hand");
    let again = ground.launch.run_to_end(&undo).await.unwrap();
    assert_eq!(again.code, 4, "{again:?}");
    let unknown = ground.launch.run_to_end(&["repair", "undo", "999"]);
    assert_eq!(unknown.await.unwrap().code, 1);
    // The log's version of it lacks the body, which is stored out of line and not touched.
    let change = "UPDATE item SET name = 'next' WHERE id = 1";
    ground.bed.source.execute(change).await.unwrap();
    ground.bed.converged().await.unwrap();
    let all = ground.divergences().await;
    assert_eq!(all.len(), 1, "the undo is no foreign write: {all:#?}");
}

/// Keys whose equality is not found on the search path of a session of ours, or another one is.
#[tokio::test]
async fn a_repair_is_undone_whatever_type_its_key_has() {
    let keys = [
        ("hstore", "a=>1", "b=>NULL"),
        ("citext", "Ab", "c"),
        ("mood[]", "{sad}", "{happy,sad}"),
        ("place", "(1,x)", "(2,)"),
        ("weight", "1.50", "2"),
    ];
    let tables: Vec<String> = (0..)
        .zip(keys)
        .map(|(number, (of, ..))| {
            format!("CREATE TABLE t{number} (id {of} PRIMARY KEY, name text);")
        })
        .collect();
    let schema = format!(
        "CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE TYPE mood AS ENUM ('sad', 'happy');
         CREATE TYPE place AS (x int, y text); CREATE DOMAIN weight AS numeric CHECK (VALUE > 0);
         {}",
        tables.join(" ")
    );
    let ground = Ground::new(&schema).await;
    let segue = reconciler(&ground, &[]).await;
    let (source, target) = (&ground.bed.source, &ground.bed.target);
    for (number, (_, one, other)) in (0..).zip(keys) {
        let rows = format!("INSERT INTO t{number} VALUES ('{one}', 'a'), ('{other}', 'b')");
        source.execute(&rows).await.unwrap();
    }
    ground.bed.converged().await.unwrap();
    // What is written while nobody looks is visible when it is found: a commit is in the log a moment
    // before, and the journal would hold the row from before it.
    assert_eq!(segue.terminate().await.unwrap(), 0);
    for number in 0..keys.len() {
        let change = format!(
            "UPDATE t{number} SET name = 'by hand' WHERE name = 'a';
             DELETE FROM t{number} WHERE name = 'b'"
        );
        target.execute(&change).await.unwrap();
    }
    let _segue = reconciler(&ground, &[]).await;
    let repaired = found(&ground, "repaired", &Value::Null, 2 * keys.len()).await;
    for one in &repaired {
        let id = one["id"].to_string();
        let undone = ground.launch.run_to_end(&["repair", "undo", &id]).await;
        let undone = undone.unwrap();
        assert_eq!(undone.code, 0, "{undone:?}: {one:#}");
    }
    for number in 0..keys.len() {
        let sql = format!("SELECT string_agg(name, ' ') FROM t{number}");
        assert_eq!(target.value(&sql).await.unwrap(), "by hand", "t{number}");
    }
}

#[tokio::test]
async fn an_undo_waits_for_a_log_that_locks_no_entries() {
    let ground = Ground::new(SCHEMA).await;
    let _segue = reconciler(&ground, &[]).await;
    let target = &ground.bed.target;
    let change = "UPDATE item SET name = 'by hand' WHERE id = 1";
    target.execute(change).await.unwrap();
    let repaired = found(&ground, "repaired", &Value::Null, 1).await;
    let id = repaired[0]["id"].to_string();
    // What a log that is behind holds for the length of a batch.
    let log = target.connect().await.unwrap();
    let lock = format!(
        "BEGIN; SELECT pg_advisory_xact_lock({})",
        control::schema::ROWS_LOCK
    );
    log.batch_execute(&lock).await.unwrap();
    let arguments = ["repair", "undo", &id];
    let undo = ground.launch.run_to_end(&arguments);
    tokio::pin!(undo);
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    let waits = wait::until_true("the undo to wait", async || {
        Ok(target.value(waiting).await? == "1")
    });
    tokio::select! {
        ended = &mut undo => panic!("it did not wait: {ended:?}"),
        waits = waits => waits.unwrap(),
    }
    log.batch_execute("COMMIT").await.unwrap();
    let undone = undo.await.unwrap();
    assert_eq!(undone.code, 0, "{undone:?}");
}

#[tokio::test]
async fn a_row_that_was_written_since_its_repair_is_not_put_back() {
    let ground = Ground::new(SCHEMA).await;
    let _segue = reconciler(&ground, &[]).await;
    let target = &ground.bed.target;
    target
        .execute("DELETE FROM item WHERE id = 1")
        .await
        .unwrap();
    let repaired = found(&ground, "repaired", &Value::Null, 1).await;
    let change = "UPDATE item SET name = 'next' WHERE id = 1";
    ground.bed.source.execute(change).await.unwrap();
    ground.bed.converged().await.unwrap();
    let id = repaired[0]["id"].to_string();
    let refused = ground.launch.run_to_end(&["repair", "undo", &id]).await;
    let refused = refused.unwrap();
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.errors.contains("written since"), "{refused:?}");
    ground.bed.converged().await.unwrap();
}

#[tokio::test]
async fn what_is_over_goes_in_time_and_what_is_open_stays() {
    let ground = Ground::new(SCHEMA).await;
    let target = &ground.bed.target;
    target
        .execute(
            "INSERT INTO segue.divergence
                 (\"table\", key, key_columns, kind, state, detected_at, repaired_at)
             SELECT 'public.item', '\\x00', '{}', 'missing_row', state,
                    clock_timestamp() - age, clock_timestamp() - age
             FROM (VALUES ('open', interval '100 days'), ('repaired', '100 days'),
                          ('ignored', '100 days'), ('repaired', '1 day')) AS old (state, age);
             INSERT INTO segue.journal (divergence, \"table\", key)
             SELECT id, \"table\", key FROM segue.divergence;
             INSERT INTO segue.event (at, kind, text)
             VALUES (clock_timestamp() - interval '100 days', 'old', ''), (DEFAULT, 'new', '');
             INSERT INTO segue.op (op_id, proxy, outcome, mirrored_at)
             VALUES (gen_random_uuid(), gen_random_uuid(), 'deferred',
                     clock_timestamp() - interval '1 hour');
             INSERT INTO segue.sample (at, lag_bytes, lag_seconds, verified, applied, repaired)
             VALUES (clock_timestamp() - interval '2 days', 0, 0, 0, 0, 0)",
        )
        .await
        .unwrap();
    let _segue = reconciler(&ground, &["--retention", "90d"]).await;
    let left = "SELECT string_agg(state, ' ' ORDER BY id) FROM segue.divergence";
    ground.target_shows(left, "open repaired").await;
    let journal = "SELECT count(*) FROM segue.journal";
    ground.target_shows(journal, "2").await;
    let old = "SELECT (SELECT count(*) FROM segue.event WHERE kind = 'old')
                    + (SELECT count(*) FROM segue.op)
                    + (SELECT count(*) FROM segue.sample
                       WHERE at < clock_timestamp() - interval '1 day')";
    ground.target_shows(old, "0").await;
}
