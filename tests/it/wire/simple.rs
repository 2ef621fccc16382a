//! Statements of the simple protocol, and what they return.

use harness::raw_client::message::*;

use crate::fidelity::{Fidelity, queries, step};

#[tokio::test]
async fn simple_queries_look_the_same() {
    let fidelity = Fidelity::new().await;
    let script = queries(&[
        "SELECT id, name, price FROM item ORDER BY id",
        "",
        ";",
        "-- only a comment",
        "INSERT INTO item (id, name) VALUES (100, 'plain')",
        "INSERT INTO item (id, name) VALUES (101, 'semicolon');",
        "INSERT INTO item (id, name) VALUES (102, 'comment') -- the end",
        "INSERT INTO item (id, name) VALUES (103, 'both'); /* the end */ ",
        "UPDATE item SET price = 3 WHERE id = 100",
        "UPDATE item SET price = 3 WHERE id = 12345",
        "DELETE FROM item WHERE id = 101",
        "INSERT INTO item (id, name) VALUES (104, 'a'), (105, 'b'), (106, 'c')",
        "INSERT INTO item (id, name) VALUES (104, 'again') ON CONFLICT (id) DO UPDATE SET name = excluded.name",
        "INSERT INTO item (id, name) VALUES (104, 'again') ON CONFLICT DO NOTHING",
        "INSERT INTO keyless VALUES (1), (2)",
        "UPDATE item SET name = upper(name)",
        "WITH gone AS (DELETE FROM item WHERE id = 106 RETURNING *) SELECT id FROM gone",
        "UPDATE cheap SET name = 'through a view' WHERE id = 2",
        "INSERT INTO item (id, name) VALUES (110, 'one'); INSERT INTO item (id, name) VALUES (111, 'two'); SELECT count(*) FROM item",
        "BEGIN; INSERT INTO item (id, name) VALUES (112, 'x'); ROLLBACK",
        "SET search_path = public, pg_catalog; INSERT INTO item (id, name) VALUES (113, 'after SET')",
        "SHOW search_path",
        "INSERT INTO item (id, name) VALUES (114, E'back\\\\slash and ''quotes'' and ünïcödé')",
        "MERGE INTO item USING (VALUES (114)) v(id) ON item.id = v.id WHEN MATCHED THEN UPDATE SET note = 'merged'",
        "TRUNCATE keyless",
        "PREPARE p AS INSERT INTO item (id, name) VALUES ($1, $2)",
        "EXECUTE p (115, 'executed')",
        "DEALLOCATE p",
        "EXPLAIN (COSTS OFF) UPDATE item SET price = 1 WHERE id = 1",
        "SELECT pg_catalog.set_config('application_name', 'renamed', false)",
        "INSERT INTO item (id, name) VALUES (116, 'after set_config')",
        "CREATE TEMPORARY TABLE item (id int PRIMARY KEY)",
        "INSERT INTO item VALUES (1)",
        "DROP TABLE pg_temp.item",
        "DISCARD ALL",
    ]);
    fidelity.check(&script).await;
    fidelity.finish(8).await;
}

#[tokio::test]
async fn returning_lists_look_the_same() {
    let fidelity = Fidelity::new().await;
    let script = queries(&[
        "INSERT INTO item (id, name) VALUES (100, 'r') RETURNING id",
        "INSERT INTO item (id, name) VALUES (101, 'r') RETURNING *",
        "INSERT INTO item (id, name) VALUES (102, 'r'), (103, 's') RETURNING id, name || '!' AS loud, 7",
        "UPDATE item SET price = 8 WHERE id = 100 RETURNING item.*",
        "UPDATE item AS i SET price = 9 WHERE i.id = 100 RETURNING i.price, i.id;",
        "UPDATE item SET price = 9 WHERE id = 999 RETURNING id",
        "DELETE FROM item i WHERE id = 102 RETURNING i.* -- gone",
        "DELETE FROM item WHERE id = 103 RETURNING tableoid::regclass, ctid IS NOT NULL",
        "INSERT INTO item (id, name) VALUES (104, 'x') ON CONFLICT (id) DO UPDATE SET name = 'y' RETURNING xmax = 0 AS inserted",
        "INSERT INTO item (id, name) VALUES (105, 'x') RETURNING (SELECT count(*) FROM item WHERE id < 0)",
    ]);
    fidelity.check(&script).await;
    fidelity.finish(9).await;
}

#[tokio::test]
async fn a_temporary_schema_is_made_when_the_client_makes_it() {
    let fidelity = Fidelity::new().await;
    let script = queries(&[
        "INSERT INTO item (id, name) VALUES (99, 'captured')",
        "SET search_path TO pg_temp, public",
        "BEGIN",
        "SELECT pg_my_temp_schema() = 0",
        "SELECT current_schema() ~ 'pg_temp', pg_my_temp_schema() = 0",
        "INSERT INTO item (id, name) VALUES (100, 'not captured')",
        "COMMIT",
        "CREATE TABLE mine (id int PRIMARY KEY)",
        "INSERT INTO mine VALUES (1)",
    ]);
    fidelity.check(&script).await;
    fidelity.finish(1).await;
}

#[tokio::test]
async fn a_search_path_that_ends_in_the_temporary_schema_is_captured() {
    let fidelity = Fidelity::new().await;
    let script = queries(&[
        "SET search_path TO public, pg_temp",
        "INSERT INTO item (id, name) VALUES (100, 'captured')",
        "SELECT pg_my_temp_schema() = 0",
        "SET search_path TO \"$user\", PUBLIC , PG_TEMP",
        "INSERT INTO item (id, name) VALUES (101, 'not captured: nobody has that schema')",
        "SET search_path TO nowhere, pg_temp, public",
        "INSERT INTO item (id, name) VALUES (102, 'not captured')",
        "SELECT pg_my_temp_schema() = 0",
        "CREATE TABLE item (id int PRIMARY KEY, name text)",
        "INSERT INTO item (id, name) VALUES (103, 'temporary')",
        "SET search_path TO public, pg_temp",
        "UPDATE item SET name = 'captured' WHERE id = 1",
        "DROP TABLE pg_temp.item",
        "UPDATE item SET name = 'captured' WHERE id = 2",
    ]);
    fidelity.check(&script).await;
    fidelity.finish(1).await;
}

#[tokio::test]
async fn errors_look_the_same_down_to_their_position() {
    let fidelity = Fidelity::new().await;
    let script = queries(&[
        "INSERT INTO item (id, name) VALUES (1, 'duplicate')",
        "INSERT INTO item (id, name) VALUES (100, NULL)",
        "INSERT INTO item (id, name, price) VALUES (100, 'x', -1)",
        "INSERT INTO item (id, nam) VALUES (100, 'x')",
        "INSERT INTO item (id, name) VALUES (100, 'x') RETURNING nothing",
        "INSERT INTO item (id, name) VALUES (100, 'ünï') RETURNING nothing",
        "UPDATE item SET price = 'abc' WHERE id = 1",
        "UPDATE item SET price = 1 / 0 WHERE id = 1",
        "UPDATE item SET price = 1 WHERE id = 1; SELECT nothing",
        "UPDATE item SET price = 1 WHERE id = 1 RETURNING id; UPDATE item SET nothing = 1 WHERE id = 1",
        "DELETE FROM item WHERE id = 1 AND nothing = 2",
        "INSERT INTO nowhere VALUES (1)",
        "SELEC 1",
        "BEGIN",
        "INSERT INTO item (id, name) VALUES (100, 'in a transaction')",
        "SAVEPOINT s",
        "INSERT INTO item (id, name) VALUES (100, 'duplicate')",
        "INSERT INTO item (id, name) VALUES (101, 'in a failed transaction')",
        "ROLLBACK TO s",
        "INSERT INTO item (id, name) VALUES (101, 'after the savepoint')",
        "COMMIT",
        "BEGIN",
        "SELECT 1 / 0",
        "COMMIT",
        "INSERT INTO loud VALUES (1, 'notice me')",
        "UPDATE loud SET word = 'again' WHERE id = 1 RETURNING word",
        "DO $$ BEGIN RAISE WARNING 'warned'; END $$",
    ]);
    fidelity.check(&script).await;
    fidelity.finish(3).await;
}

#[tokio::test]
async fn large_results_and_large_values_look_the_same() {
    let fidelity = Fidelity::new().await;
    let long = "x".repeat(300_000);
    let script = [
        step(&[query(
            "SELECT n, repeat('y', 500) FROM generate_series(1, 20000) n",
        )]),
        step(&[query(&format!(
            "INSERT INTO item (id, name) VALUES (100, '{long}') RETURNING name"
        ))]),
        step(&[
            parse("", "UPDATE item SET note = $2 WHERE id = $1 RETURNING note"),
            bind("", "", &["100", &long], &[]),
            execute("", 0),
            sync(),
        ]),
        // Bigger than a record that is captured: left to the log.
        step(&[query(
            "UPDATE item SET note = repeat('z', 3000000) WHERE id = 1",
        )]),
    ];
    fidelity.check(&script).await;
    fidelity.finish(1).await;
}
