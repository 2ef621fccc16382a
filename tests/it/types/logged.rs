//! Every type by the log alone: many rows at once, written, changed and removed, and keys of it.
//!
//! Does not run a proxy.

use harness::Bed;

use super::{Subject, Way, disagreement, subjects};
use crate::ground::Ground;

/// What is done to the tables of a type, a transaction each.
fn transactions(subject: &Subject) -> [Vec<String>; 3] {
    let number = subject.number;
    let mut changes = vec![
        format!("UPDATE t{number} SET id = id + 1000 WHERE id % 3 = 0"),
        format!(
            "UPDATE t{number} AS one SET v = other.v \
             FROM t{number} AS other WHERE other.id = one.id + 1"
        ),
        format!("INSERT INTO t{number} (id, v) SELECT id + 5000, v FROM t{number}"),
    ];
    let mut removals = vec![format!("DELETE FROM t{number} WHERE id % 2 = 0")];
    if subject.is_key {
        changes.push(format!("UPDATE k{number} SET n = n + 10"));
        let all_but_one = "ctid <> (SELECT min(ctid) FROM";
        removals.push(format!(
            "DELETE FROM k{number} WHERE {all_but_one} k{number})"
        ));
    }
    [subject.statements(), changes, removals]
}

#[tokio::test]
async fn values_of_every_type_are_written_changed_and_removed_by_the_log() {
    let bed = Bed::shared("").await.unwrap();
    let subjects = subjects(&bed).await;
    let ground = Ground::on(bed).await;
    let reconciler = ground.launch.reconciler(&[]).await.unwrap();
    let client = ground.bed.source.connect().await.unwrap();
    client
        .batch_execute("SET lc_monetary = 'C'; SET xmloption = content")
        .await
        .unwrap();
    let carried = |subject: &&Subject| matches!(subject.way, Way::Early | Way::Logged(_));
    let carried: Vec<&Subject> = subjects.iter().filter(carried).collect();
    for phase in 0..3 {
        for subject in &carried {
            let statements = &transactions(subject)[phase];
            let sql = format!("BEGIN; {}; COMMIT", statements.join("; "));
            let written = client.batch_execute(&sql).await;
            assert!(written.is_ok(), "{}: {written:?}", subject.of.name);
        }
        ground.bed.caught_up().await.unwrap();
        let mut mismatches: Vec<String> = Vec::new();
        for subject in &carried {
            let mut questions = subject.questions();
            if subject.is_key {
                questions.extend(subject.key_questions());
            }
            for question in &questions {
                mismatches.extend(disagreement(&ground.bed, subject.of.name, question).await);
            }
        }
        assert!(
            mismatches.is_empty(),
            "{}\n{}",
            mismatches.join("\n"),
            reconciler.log()
        );
    }
    assert_eq!(ground.divergences().await, Vec::<serde_json::Value>::new());
    let status = ground.launch.status().await.unwrap();
    assert_eq!(status["owed_rows"], 0, "{status:#}");
    assert_eq!(reconciler.terminate().await.unwrap(), 0);
}
