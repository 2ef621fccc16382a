//! What a client sees through the proxy is what it sees without it, byte by byte.

use harness::{
    Authentication, Pair, Server, ServerOptions,
    installation::Installation,
    raw_client::{self, RawClient, message::*},
    wait,
};

use crate::{
    SEGUE,
    fidelity::{Fidelity, masked, queries, step, step_until, tags},
};

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
async fn the_extended_protocol_looks_the_same() {
    let fidelity = Fidelity::new().await;
    let insert = "INSERT INTO item (id, name) VALUES ($1, $2)";
    let returning = "INSERT INTO item (id, name) VALUES ($1, $2) RETURNING id, name, made";
    let script = [
        // A driver's first use: Parse, Describe, Sync; then Bind, Execute, Sync.
        step(&[parse("s1", insert), describe_statement("s1"), sync()]),
        step(&[
            bind("", "s1", &["100", "first"], &[]),
            execute("", 0),
            sync(),
        ]),
        step(&[
            bind("", "s1", &["101", "second"], &[]),
            describe_portal(""),
            execute("", 0),
            sync(),
        ]),
        // Result formats: none, one for all, one for each.
        step(&[parse("s2", returning), describe_statement("s2"), sync()]),
        step(&[bind("", "s2", &["102", "a"], &[]), execute("", 0), sync()]),
        step(&[
            bind("", "s2", &["103", "b"], &[1]),
            describe_portal(""),
            execute("", 0),
            sync(),
        ]),
        step(&[
            bind("", "s2", &["104", "c"], &[0, 0, 1]),
            describe_portal(""),
            execute("", 0),
            sync(),
        ]),
        step(&[
            bind("", "s2", &["105", "d"], &[0]),
            execute("", 1),
            execute("", 0),
            sync(),
        ]),
        // Too many and too few formats, and then the same statement as it should be.
        step(&[
            bind("", "s2", &["106", "e"], &[0, 0, 0, 0]),
            execute("", 0),
            sync(),
        ]),
        step(&[
            bind("", "s2", &["106", "e"], &[0, 0]),
            execute("", 0),
            sync(),
        ]),
        step(&[
            bind("", "s1", &["106", "f"], &[1, 1]),
            execute("", 0),
            sync(),
        ]),
        step(&[bind("", "s1", &["107", "f"], &[1]), execute("", 0), sync()]),
    ];
    fidelity.check(&script).await;
    fidelity.finish(6).await;
}

#[tokio::test]
async fn portals_and_forgotten_statements_look_the_same() {
    let fidelity = Fidelity::new().await;
    let insert = "INSERT INTO item (id, name) VALUES ($1, $2)";
    let script = [
        step(&[parse("s1", insert), describe_statement("s1"), sync()]),
        // Flush instead of Sync.
        step_until(
            &[parse("", insert), describe_statement(""), flush()],
            b'n',
            1,
        ),
        step(&[
            bind("", "", &["108", "flushed"], &[]),
            execute("", 0),
            sync(),
        ]),
        // Named portals in a transaction, fetched in parts.
        step(&[query("BEGIN")]),
        step(&[
            parse("", "SELECT id FROM item WHERE id < 8 ORDER BY id"),
            bind("cursor", "", &[], &[1]),
            execute("cursor", 3),
            sync(),
        ]),
        step(&[execute("cursor", 3), execute("cursor", 3), sync()]),
        step(&[
            parse(
                "u",
                "UPDATE item SET price = price + 1 WHERE id = $1 RETURNING id, price",
            ),
            bind("writes", "u", &["3"], &[]),
            execute("writes", 1),
            execute("writes", 1),
            close_portal("writes"),
            sync(),
        ]),
        step(&[query("COMMIT")]),
        step(&[close_statement("s1"), close_statement("nobody"), sync()]),
        step(&[bind("", "s1", &["109", "x"], &[]), execute("", 0), sync()]),
        step(&[
            parse("s1", "DELETE FROM item WHERE id = $1"),
            bind("", "s1", &["108"], &[]),
            execute("", 0),
            sync(),
        ]),
        step(&[parse("s1", "SELECT 1"), sync()]),
        step(&[query("DEALLOCATE ALL")]),
        step(&[bind("", "s1", &["107"], &[]), execute("", 0), sync()]),
    ];
    fidelity.check(&script).await;
    fidelity.finish(2).await;
}

#[tokio::test]
async fn a_portal_that_has_been_run_cannot_be_run_again() {
    let fidelity = Fidelity::new().await;
    let script = [
        step(&[
            parse("s", "UPDATE item SET price = 1 WHERE id = $1"),
            sync(),
        ]),
        step(&[
            bind("", "s", &["1"], &[]),
            execute("", 0),
            execute("", 0),
            execute("", 0),
            sync(),
        ]),
        step(&[
            bind("named", "s", &["2"], &[]),
            execute("named", 0),
            execute("named", 0),
            sync(),
        ]),
        step(&[query("BEGIN")]),
        step(&[bind("named", "s", &["3"], &[]), execute("named", 0), sync()]),
        step(&[execute("named", 0), sync()]),
        step(&[execute("named", 0), sync()]),
        step(&[query("ROLLBACK")]),
        step(&[bind("", "s", &["4"], &[]), execute("", 0), sync()]),
    ];
    let frames = fidelity.check(&script).await;
    assert_eq!(tags(&frames)[&'E'], 4);
    fidelity.finish(1).await;
}

#[tokio::test]
async fn a_result_that_another_search_path_changes_is_refused() {
    let fidelity = Fidelity::new().await;
    let returning = "INSERT INTO moved VALUES ($1) RETURNING *";
    let script = [
        step(&[parse("s", returning), describe_statement("s"), sync()]),
        step(&[bind("", "s", &["1"], &[]), execute("", 0), sync()]),
        step(&[query("SET search_path = elsewhere")]),
        step(&[bind("", "s", &["2"], &[]), execute("", 0), sync()]),
        step(&[bind("", "s", &["3"], &[]), execute("", 0), sync()]),
        step(&[query("SET search_path = public")]),
        step(&[bind("", "s", &["4"], &[]), execute("", 0), sync()]),
        step(&[query("ALTER TABLE item ADD made_later int")]),
        step(&[
            parse("i", "UPDATE item SET price = 1 WHERE id = $1 RETURNING *"),
            sync(),
        ]),
        step(&[bind("", "i", &["1"], &[]), execute("", 0), sync()]),
        step(&[query("ALTER TABLE item DROP made_later")]),
        step(&[bind("", "i", &["1"], &[]), execute("", 0), sync()]),
    ];
    let frames = fidelity.check(&script).await;
    // The log ends at the change of the schema, so there is nothing more to be equal.
    assert_eq!(tags(&frames)[&'E'], 3);
}

#[tokio::test]
async fn transactions_by_the_extended_protocol_look_the_same() {
    let fidelity = Fidelity::new().await;
    let insert = "INSERT INTO item (id, name) VALUES ($1, $2)";
    let script = [
        step(&[
            parse("i", insert),
            bind("", "i", &["100", "a"], &[]),
            execute("", 0),
            sync(),
        ]),
        // Empty statement, transaction control, wrong parameter.
        step(&[
            parse("", ""),
            bind("", "", &[], &[]),
            describe_portal(""),
            execute("", 0),
            sync(),
        ]),
        step(&[
            parse("", "BEGIN"),
            bind("", "", &[], &[]),
            execute("", 0),
            sync(),
        ]),
        step(&[
            parse("", insert),
            bind("", "", &["110", "rolled back"], &[]),
            execute("", 0),
            sync(),
        ]),
        step(&[
            parse("", "ROLLBACK"),
            bind("", "", &[], &[]),
            execute("", 0),
            sync(),
        ]),
        step(&[
            parse("", insert),
            bind("", "", &["abc", "not a number"], &[]),
            execute("", 0),
            sync(),
        ]),
    ];
    fidelity.check(&script).await;
    fidelity.finish(1).await;
}

#[tokio::test]
async fn pipelines_with_errors_in_the_middle_look_the_same() {
    let fidelity = Fidelity::new().await;
    let insert = "INSERT INTO item (id, name) VALUES ($1, $2)";
    let select = "SELECT name FROM item WHERE id = $1";
    let script = [
        // One implicit transaction of several statements.
        step(&[
            parse("i", insert),
            bind("", "i", &["100", "a"], &[]),
            execute("", 0),
            bind("", "i", &["101", "b"], &[]),
            execute("", 0),
            parse("s", select),
            bind("", "s", &["100"], &[]),
            describe_portal(""),
            execute("", 0),
            sync(),
        ]),
        // Several Syncs without waiting; the middle one fails, and what follows it is skipped.
        step(&[
            bind("", "i", &["102", "c"], &[]),
            execute("", 0),
            sync(),
            bind("", "i", &["103", "rolled back with the next"], &[]),
            execute("", 0),
            bind("", "i", &["1", "duplicate"], &[]),
            execute("", 0),
            parse("never", "SELECT 'skipped'"),
            describe_statement("never"),
            sync(),
            bind("", "i", &["104", "d"], &[]),
            execute("", 0),
            sync(),
            query("SELECT count(*) FROM item"),
        ]),
        // The skipped Parse must not be remembered.
        step(&[bind("", "never", &[], &[]), execute("", 0), sync()]),
        // A Parse that fails takes its name with it; the old one of that name stays.
        step(&[
            parse("i", "INSERT INTO item (id, nam) VALUES ($1, $2)"),
            sync(),
        ]),
        step(&[
            parse("", "INSERT INTO item (id, nam) VALUES ($1, $2)"),
            bind("", "", &["9", "x"], &[]),
            execute("", 0),
            sync(),
        ]),
        step(&[bind("", "i", &["105", "e"], &[]), execute("", 0), sync()]),
        // Simple and extended queries mixed in one write.
        step(&[
            query("INSERT INTO item (id, name) VALUES (106, 'f') RETURNING id"),
            bind("", "i", &["107", "g"], &[]),
            execute("", 0),
            sync(),
            query("SELECT 1 / 0"),
            query("INSERT INTO item (id, name) VALUES (108, 'h')"),
        ]),
    ];
    let frames = fidelity.check(&script).await;
    assert_eq!(tags(&frames)[&'E'], 5);
    fidelity.finish(7).await;
}

#[tokio::test]
async fn copy_looks_the_same_in_both_directions() {
    let fidelity = Fidelity::new().await;
    let rows = |from: i32| -> Vec<u8> {
        (from..from + 500)
            .flat_map(|n| format!("{n}\tcopied {n}\n").into_bytes())
            .collect()
    };
    let script = [
        step(&[query(
            "COPY (SELECT id, name FROM item ORDER BY id) TO STDOUT",
        )]),
        step(&[query("COPY item TO STDOUT (FORMAT binary)")]),
        step_until(&[query("COPY item (id, name) FROM STDIN")], b'G', 1),
        step_until(
            &[copy_data(&rows(1000)), copy_data(&rows(2000)), copy_done()],
            b'Z',
            1,
        ),
        step_until(&[query("COPY item (id, name) FROM STDIN")], b'G', 1),
        step_until(
            &[copy_data(&rows(3000)), copy_fail("changed my mind")],
            b'Z',
            1,
        ),
        step_until(&[query("COPY item (id, name) FROM STDIN")], b'G', 1),
        step_until(&[copy_data(b"1\tduplicate\n"), copy_done()], b'Z', 1),
        step(&[query(
            "INSERT INTO item (id, name) VALUES (5000, 'after COPY')",
        )]),
        step_until(
            &[
                parse("", "COPY item (id, name) FROM STDIN"),
                bind("", "", &[], &[]),
                execute("", 0),
                flush(),
            ],
            b'G',
            1,
        ),
        step_until(&[copy_data(&rows(6000)), copy_done(), sync()], b'Z', 1),
    ];
    fidelity.check(&script).await;
    fidelity.finish(1).await;
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

#[tokio::test]
async fn a_cancel_request_reaches_the_statement_it_is_meant_for() {
    let fidelity = Fidelity::new().await;
    let mut seen = Vec::new();
    for (_, database) in fidelity.ways() {
        let mut client = RawClient::connect(database).await.unwrap();
        let key = client.cancel_key().unwrap().to_vec();
        client
            .send(&query(
                "INSERT INTO item (id, name) SELECT 100, pg_sleep(100)::text",
            ))
            .await
            .unwrap();
        let observer = fidelity.bed.source.connect().await.unwrap();
        wait::until_true("the statement to run", async || {
            let sleeping = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
            Ok(!harness::database::rows(&observer, sleeping)
                .await?
                .is_empty())
        })
        .await
        .unwrap();
        raw_client::cancel(database.port, &key).await.unwrap();
        let mut frames = client.until_ready(1).await.unwrap();
        client.send(&query("SELECT 'still here'")).await.unwrap();
        frames.extend(client.until_ready(1).await.unwrap());
        seen.push(masked(frames));
    }
    assert_eq!(tags(&seen[0])[&'E'], 1);
    assert_eq!(seen[1], seen[0], "mirror off");
    assert_eq!(seen[2], seen[0], "mirror on");
}

#[tokio::test]
async fn notifications_arrive_on_idle_connections() {
    let fidelity = Fidelity::new().await;
    let mut seen = Vec::new();
    for (_, database) in fidelity.ways() {
        let mut listener = RawClient::connect(database).await.unwrap();
        listener.send(&query("LISTEN news")).await.unwrap();
        let mut frames = listener.until_ready(1).await.unwrap();
        let mut sender = RawClient::connect(database).await.unwrap();
        let sql = "INSERT INTO item (id, name) VALUES (100, 'x'); NOTIFY news, 'it happened'";
        sender.send(&query(sql)).await.unwrap();
        sender.until_ready(1).await.unwrap();
        frames.extend(listener.until_tag(b'A', 1).await.unwrap());
        seen.push(masked(frames));
    }
    assert_eq!(seen[1], seen[0], "mirror off");
    assert_eq!(seen[2], seen[0], "mirror on");
}

#[tokio::test]
async fn tls_is_refused_politely_and_the_connection_may_go_on() {
    let fidelity = Fidelity::new().await;
    for (way, database) in fidelity.ways() {
        assert_eq!(
            raw_client::ssl_answer(database.port).await.unwrap(),
            b'N',
            "{way}"
        );
        // libpq asks for TLS, takes the refusal and goes on in plain.
        assert_eq!(
            harness::tool::psql(database, "SELECT 1").unwrap(),
            "1\n",
            "{way}"
        );
    }
}

#[tokio::test]
async fn scram_passwords_are_relayed() {
    let scram = ServerOptions {
        authentication: Authentication::Scram,
        ..ServerOptions::default()
    };
    let source = Server::start(Installation::for_source().unwrap(), scram.clone())
        .await
        .unwrap();
    let target = Server::start(Installation::for_target().unwrap(), scram)
        .await
        .unwrap();
    let pair = Pair { source, target };
    let bed = pair
        .bed("CREATE TABLE kept (id int PRIMARY KEY, word text)")
        .await
        .unwrap();
    let launch = bed.launch(SEGUE);
    launch.setup().await.unwrap();
    let segue = launch.run(&[]).await.unwrap();
    let proxied = bed.source.through(segue.port());
    proxied
        .execute("INSERT INTO kept VALUES (1, 'by SCRAM')")
        .await
        .unwrap();
    let wrong = Some("wrong".to_owned());
    let direct = bed
        .source
        .clone()
        .with_password(wrong.clone())
        .connect()
        .await
        .unwrap_err();
    let proxied = proxied.with_password(wrong).connect().await.unwrap_err();
    assert_eq!(
        proxied.root_cause().to_string(),
        direct.root_cause().to_string()
    );
    bed.converged().await.unwrap();
    assert_eq!(segue.terminate().await.unwrap(), 0);
}

/// What a client does that does not know that its statement is a COPY.
#[tokio::test]
async fn a_sync_amid_a_copy_that_fails_looks_the_same() {
    let fidelity = Fidelity::new().await;
    let copy = "COPY item (id, name) FROM STDIN";
    let extended = || [parse("", copy), bind("", "", &[], &[]), execute("", 0)].concat();
    let (good, bad) = (
        copy_data(b"1000\tgood\n"),
        copy_data(b"not a number\tbad\n"),
    );
    let insert = |id: usize| {
        let sql = format!("INSERT INTO item (id, name) VALUES ({id}, 'after')");
        step(&[query(&sql)])
    };
    let prepared = |id: &str| {
        step(&[
            parse(
                "",
                "INSERT INTO item (id, name) VALUES ($1, 'after') RETURNING id",
            ),
            bind("", "", &[id], &[]),
            execute("", 0),
            sync(),
        ])
    };
    let script = [
        // The Sync is read before the data, and swallowed.
        step_until(&[extended(), sync()], b'G', 1),
        step(&[good.clone(), bad.clone(), copy_done(), sync()]),
        insert(2000),
        prepared("2001"),
        // Among the data, before and behind what is wrong.
        step_until(&[extended()], b'G', 1),
        step_until(&[good.clone(), sync(), bad.clone(), sync()], b'Z', 1),
        insert(2002),
        prepared("2003"),
        step_until(&[query(copy)], b'G', 1),
        step_until(&[good.clone(), sync(), bad.clone()], b'Z', 1),
        insert(2004),
        prepared("2005"),
        // What the server has not read when it fails it answers.
        step_until(&[query(copy)], b'G', 1),
        step_until(&[bad.clone(), sync(), sync()], b'Z', 3),
        insert(2006),
        step_until(&[query(copy)], b'G', 1),
        step_until(
            &[bad, sync(), query("SELECT 1"), query("SELECT 2")],
            b'Z',
            4,
        ),
        prepared("2007"),
        // A COPY that goes well.
        step_until(&[extended(), sync()], b'G', 1),
        step(&[good, copy_done(), sync()]),
        insert(2008),
        prepared("2009"),
    ];
    fidelity.check(&script).await;
    fidelity.finish(8).await;
}

#[tokio::test]
async fn a_portal_that_has_been_run_is_as_it_would_be_directly() {
    let fidelity = Fidelity::new().await;
    let insert = "INSERT INTO item (id, name) VALUES ($1, 'portal')";
    let mut script = Vec::new();
    for portal in ["", "p"] {
        let bound = |id: &str| [parse("s", insert), bind(portal, "s", &[id], &[])].concat();
        let closed = || close_statement("s");
        script.extend([
            step(&[
                bound("100"),
                execute(portal, 0),
                execute(portal, 0),
                closed(),
                sync(),
            ]),
            step(&[closed(), sync()]),
            step(&[bound("101"), execute(portal, 1), execute(portal, 1), sync()]),
            step(&[closed(), sync()]),
            // The transaction has ended, and the portal with it.
            step(&[bound("102"), execute(portal, 0), sync()]),
            step(&[execute(portal, 0), sync()]),
            step(&[closed(), sync()]),
            step(&[query("BEGIN")]),
            step(&[bound("103"), execute(portal, 0), sync()]),
            step(&[execute(portal, 0), sync()]),
            step(&[execute(portal, 0), sync()]),
            step(&[query("ROLLBACK")]),
            step(&[closed(), sync()]),
            // An error in a savepoint is taken back, and the portal is as it was.
            step(&[query("BEGIN")]),
            step(&[bound("104"), execute(portal, 0), sync()]),
            step(&[query("SAVEPOINT a")]),
            step(&[describe_portal(portal), sync()]),
            step(&[query("ROLLBACK TO a")]),
            step(&[execute(portal, 0), sync()]),
            step(&[query("ROLLBACK TO a")]),
            step(&[execute(portal, 0), sync()]),
            step(&[query("ROLLBACK")]),
            step(&[execute(portal, 0), sync()]),
            step(&[closed(), sync()]),
        ]);
    }
    fidelity.check(&script).await;
    fidelity.finish(1).await;
}
