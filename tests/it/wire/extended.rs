//! Statements and portals by name, and pipelines of them.

use harness::raw_client::message::*;

use crate::fidelity::{Fidelity, step, step_until, tags};

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
async fn a_result_that_changes_within_a_transaction_is_refused() {
    let fidelity = Fidelity::new().await;
    let used = |name: &'static str, id: &'static str| {
        step(&[bind("", name, &[id], &[]), execute("", 0), sync()])
    };
    let script = [
        step(&[query(
            "CREATE VIEW elsewhere.item AS SELECT * FROM public.item",
        )]),
        step(&[
            parse("all", "INSERT INTO moved VALUES ($1) RETURNING *"),
            parse("id", "INSERT INTO moved VALUES ($1) RETURNING id"),
            parse(
                "seen",
                "UPDATE item SET price = 2 WHERE id = $1 RETURNING *",
            ),
            sync(),
        ]),
        used("all", "1"),
        used("id", "2"),
        used("seen", "1"),
        // The same name is another table's, and with more columns.
        step(&[query("BEGIN")]),
        step(&[query("SET LOCAL search_path = elsewhere")]),
        used("id", "3"),
        used("all", "4"),
        used("all", "5"),
        step(&[query("ROLLBACK")]),
        used("all", "6"),
        // A view's, with the same.
        step(&[query("BEGIN; SET search_path = elsewhere")]),
        used("seen", "2"),
        step(&[query("COMMIT")]),
        used("seen", "3"),
        used("all", "7"),
        step(&[query("SET search_path = public")]),
        used("all", "8"),
        used("seen", "4"),
        // The table itself has changed.
        step(&[query("BEGIN")]),
        step(&[query("ALTER TABLE moved ADD more int")]),
        used("id", "9"),
        used("all", "10"),
        step(&[query("ROLLBACK")]),
        used("all", "11"),
        // A view has taken its place.
        step(&[query("BEGIN")]),
        step(&[query("ALTER TABLE moved RENAME TO before")]),
        step(&[query("CREATE VIEW moved AS SELECT * FROM before")]),
        used("all", "12"),
        step(&[query("ROLLBACK")]),
        used("all", "13"),
    ];
    let frames = fidelity.check(&script).await;
    assert_eq!(tags(&frames)[&'E'], 5);
    fidelity.finish(4).await;
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

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one case after the other, no logic")]
async fn a_savepoint_that_is_rolled_back_revives_no_portal() {
    let fidelity = Fidelity::new().await;
    let insert = "INSERT INTO item (id, name) VALUES ($1, 'portal')";
    let run = |portal| step(&[execute(portal, 0), sync()]);
    let described = |portal| step(&[describe_portal(portal), sync()]);
    let mut script = Vec::new();
    for portal in ["", "p"] {
        let bound = |id: &str| step(&[parse("s", insert), bind(portal, "s", &[id], &[]), sync()]);
        let closed = || step(&[close_statement("s"), sync()]);
        script.extend([
            // Made before the savepoint, and run in it.
            step(&[query("BEGIN")]),
            bound("200"),
            step(&[query("SAVEPOINT a")]),
            run(portal),
            step(&[query("ROLLBACK TO a")]),
            run(portal),
            step(&[query("ROLLBACK TO a")]),
            run(portal),
            step(&[query("ROLLBACK TO a")]),
            described(portal),
            step(&[query("ROLLBACK")]),
            closed(),
            // Made and run in it: it is gone.
            step(&[query("BEGIN")]),
            step(&[query("SAVEPOINT a")]),
            bound("201"),
            run(portal),
            step(&[query("ROLLBACK TO a")]),
            run(portal),
            step(&[query("ROLLBACK TO a")]),
            described(portal),
            step(&[query("ROLLBACK")]),
            closed(),
            // Made in it, run twice in one of its own.
            step(&[query("BEGIN")]),
            step(&[query("SAVEPOINT a")]),
            bound("205"),
            step(&[query("SAVEPOINT b")]),
            run(portal),
            run(portal),
            step(&[query("ROLLBACK TO b")]),
            described(portal),
            run(portal),
            step(&[query("ROLLBACK TO a")]),
            run(portal),
            step(&[query("ROLLBACK")]),
            closed(),
            // Made in it and never run.
            step(&[query("BEGIN")]),
            step(&[query("SAVEPOINT a")]),
            bound("202"),
            step(&[query("ROLLBACK TO a")]),
            run(portal),
            step(&[query("ROLLBACK")]),
            closed(),
            // Run before it, and again behind an error in it.
            step(&[query("BEGIN")]),
            bound("203"),
            run(portal),
            step(&[query("SAVEPOINT a")]),
            step(&[query("SELECT 1/0")]),
            step(&[query("ROLLBACK TO a")]),
            run(portal),
            step(&[query("ROLLBACK TO a")]),
            run(portal),
            step(&[query("ROLLBACK")]),
            closed(),
            // Run before it, and released.
            step(&[query("BEGIN")]),
            step(&[query("SAVEPOINT a")]),
            bound("204"),
            run(portal),
            step(&[query("RELEASE a")]),
            run(portal),
            step(&[query("ROLLBACK")]),
            closed(),
        ]);
    }
    script.push(step(&[query("UPDATE item SET price = 9 WHERE id = 1")]));
    fidelity.check(&script).await;
    fidelity.finish(1).await;
}

#[tokio::test]
async fn a_description_in_a_failed_transaction_looks_the_same() {
    let fidelity = Fidelity::new().await;
    let plain = "UPDATE item SET price = $2 WHERE id = $1";
    let returning = "UPDATE item SET price = $2 WHERE id = $1 RETURNING id, name";
    let script = [
        step(&[
            parse("plain", plain),
            parse("described", plain),
            describe_statement("described"),
            parse("returning", returning),
            sync(),
        ]),
        step(&[bind("", "plain", &["1", "1"], &[]), execute("", 0), sync()]),
        step(&[query("BEGIN")]),
        step(&[parse("", plain), bind("kept", "", &["2", "2"], &[]), sync()]),
        step(&[
            bind("ran", "plain", &["3", "3"], &[]),
            execute("ran", 0),
            sync(),
        ]),
        step(&[query("SELECT 1/0")]),
        step(&[describe_statement("plain"), sync()]),
        step(&[describe_statement("described"), sync()]),
        step(&[
            describe_statement("plain"),
            describe_statement("described"),
            sync(),
        ]),
        step(&[describe_portal("kept"), sync()]),
        step(&[describe_portal("ran"), sync()]),
        step(&[describe_statement("returning"), sync()]),
        step(&[describe_statement("absent"), sync()]),
        step(&[bind("", "plain", &["1", "1"], &[]), execute("", 0), sync()]),
        step(&[query("ROLLBACK")]),
        step(&[
            describe_statement("plain"),
            describe_statement("returning"),
            sync(),
        ]),
        step(&[bind("", "plain", &["1", "4"], &[]), execute("", 0), sync()]),
        // The failure and the question in one go.
        step(&[query("BEGIN")]),
        step(&[
            parse("fails", "SELECT 1/0"),
            bind("", "fails", &[], &[]),
            execute("", 0),
            sync(),
            describe_statement("plain"),
            sync(),
        ]),
        step(&[query("ROLLBACK"), describe_statement("plain"), sync()]),
    ];
    fidelity.check(&script).await;
    fidelity.finish(1).await;
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
