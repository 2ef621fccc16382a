//! Rows that are in each other's way at the target (rule 10): what a batch of many meets there.
//!
//! The target's constraints are checked at once, the source's at the end of a transaction. Does not
//! test a single pair of rows: `stream` does.

use crate::ground::Ground;

/// Rows whose values go round in one transaction.
const ROUND: u32 = 60;

const SCHEMA: &str = "\
CREATE TABLE seat (id int PRIMARY KEY, place int NOT NULL, badge text NOT NULL, during int4range NOT NULL,
    CONSTRAINT one_place UNIQUE (place) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT one_badge UNIQUE (badge) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT one_during EXCLUDE USING gist (during WITH &&) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO seat SELECT n, n, 'badge ' || n, int4range(n * 10, n * 10 + 5) FROM generate_series(1, 60) n;
CREATE TABLE bystander (id int PRIMARY KEY, word text);";

/// The same constraints, checked with each row.
const STRICT: &str = "\
ALTER TABLE seat DROP CONSTRAINT one_place, ADD CONSTRAINT one_place UNIQUE (place),
    DROP CONSTRAINT one_badge, ADD CONSTRAINT one_badge UNIQUE (badge),
    DROP CONSTRAINT one_during, ADD CONSTRAINT one_during EXCLUDE USING gist (during WITH &&)";

/// Everybody moves on by one place.
fn round(column: &str) -> String {
    format!(
        "UPDATE seat AS one SET {column} = other.{column} FROM seat AS other \
         WHERE other.id = one.id % {ROUND} + 1"
    )
}

#[tokio::test]
async fn values_that_go_round_among_many_rows_end_up_right_and_hold_up_nobody_else() {
    let ground = Ground::new(SCHEMA).await;
    ground.bed.target.execute(STRICT).await.unwrap();
    let source = &ground.bed.source;
    // All of it is there when the reconciler comes: a batch or two.
    let crowd = "INSERT INTO bystander SELECT n, 'word ' || n FROM generate_series(1, 2000) n";
    source.execute(crowd).await.unwrap();
    for column in ["place", "badge", "during"] {
        source.execute(&round(column)).await.unwrap();
    }
    source
        .execute(
            "DELETE FROM seat WHERE id <= 10; \
             UPDATE bystander SET word = 'changed' WHERE id % 2 = 0; \
             DELETE FROM bystander WHERE id % 5 = 0",
        )
        .await
        .unwrap();
    let reconciler = ground.launch.reconciler(&[]).await.unwrap();
    ground.converges_without_divergence().await;
    let owed = "SELECT ((counters -> 'owed_why' ->> 'constraint')::int BETWEEN 1 AND 400)::text \
                FROM segue.reconciler";
    ground.target_shows(owed, "true").await;
    assert_eq!(reconciler.terminate().await.unwrap(), 0);
}
