//! What is left to the log, and why.

use super::*;

#[track_caller]
fn check_deferred(text: &str, reason: DeferReason) {
    let analysis = analyzed(text, Mode::Extended);
    assert_eq!(analysis.rewritten, None, "{text}");
    let writes: Vec<_> = analysis.statements.into_iter().map(|it| it.write).collect();
    assert_eq!(writes, [Write::Deferred(reason)], "{text}");
}

#[test]
fn a_session_that_hears_the_servers_log_is_not_captured() {
    let known = SessionKnowledge::known(SessionFacts {
        hears_log: true,
        ..session()
    });
    let text = "DELETE FROM item WHERE id = 1";
    let analysis = analyze(text, &known, &facts(), Mode::Simple);
    let reason = DeferReason::SessionSettings;
    assert_eq!(analysis.statements[0].write, Write::Deferred(reason));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_could_go_wrong_is_deferred() {
    use DeferReason as Why;
    let wide = format!(
        "INSERT INTO item VALUES (1) RETURNING id{}",
        ", 1".repeat(1663)
    );
    let many = format!("INSERT INTO item VALUES (1){}", ", (2)".repeat(100));
    let long = format!("DELETE FROM item WHERE id IN (1{})", ", 2".repeat(100));
    for (text, reason) in [
        ("INSERT INTO item SELECT * FROM audit", Why::InsertSelect),
        ("INSERT INTO item TABLE audit", Why::InsertSelect),
        ("INSERT INTO item VALUES (2) ORDER BY 1", Why::InsertSelect),
        (&many, Why::Bulk),
        (&long, Why::Bulk),
        (
            "WITH a AS (SELECT 1) INSERT INTO item VALUES (1)",
            Why::WithClause,
        ),
        (
            "WITH a AS (DELETE FROM item RETURNING *) SELECT * FROM a",
            Why::WithClause,
        ),
        (
            "WITH a AS (SELECT 1) UPDATE item SET name = '' WHERE id = 1",
            Why::WithClause,
        ),
        ("UPDATE item SET name = 'x'", Why::Unkeyed),
        ("UPDATE item SET name = 'x' WHERE name = 'y'", Why::Unkeyed),
        ("UPDATE item SET name = 'x' WHERE id > 1", Why::Unkeyed),
        (
            "UPDATE item SET name = 'x' WHERE id = 1 OR id = 2",
            Why::Unkeyed,
        ),
        ("UPDATE item SET name = 'x' WHERE id = name", Why::Unkeyed),
        (
            "UPDATE line SET quantity = 1 WHERE (order_id, no) = (1, quantity)",
            Why::Unkeyed,
        ),
        (
            "UPDATE line SET quantity = 1 WHERE (order_id, no) IN ((1, 2), (1, quantity))",
            Why::Unkeyed,
        ),
        (&wide, Why::ReturningShape),
        (
            "UPDATE item SET name = 'x' WHERE id = (SELECT 1)",
            Why::Unkeyed,
        ),
        (
            "UPDATE item SET name = 'x' WHERE id = random()",
            Why::Unkeyed,
        ),
        (
            "UPDATE item SET name = 'x' WHERE id = ANY ($1)",
            Why::Unkeyed,
        ),
        (
            "UPDATE item SET name = 'x' WHERE id NOT IN (1)",
            Why::Unkeyed,
        ),
        ("UPDATE item SET name = 'x' WHERE NOT id = 1", Why::Unkeyed),
        (
            "UPDATE line SET quantity = 1 WHERE order_id = 1",
            Why::Unkeyed,
        ),
        ("DELETE FROM item", Why::Unkeyed),
        ("DELETE FROM item WHERE CURRENT OF c", Why::Cursor),
        ("UPDATE item SET id = 2 WHERE id = 1", Why::KeyUpdate),
        (
            "UPDATE item SET (name, id) = ('a', 2) WHERE id = 1",
            Why::KeyUpdate,
        ),
        (
            "INSERT INTO item VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 3",
            Why::KeyUpdate,
        ),
        (
            "UPDATE item SET name = 'x' FROM audit WHERE id = 1",
            Why::Joined,
        ),
        ("DELETE FROM item USING audit WHERE id = 1", Why::Joined),
        ("INSERT INTO item VALUES (charge(1))", Why::UserFunction),
        (
            "INSERT INTO item VALUES (1) RETURNING public.\"charge\"(id)",
            Why::UserFunction,
        ),
        (
            "UPDATE item SET name = 1 ### 2 WHERE id = 1",
            Why::UserFunction,
        ),
        (
            "UPDATE item SET name = item.charge WHERE id = 1",
            Why::UserFunction,
        ),
        (
            "UPDATE item SET name = U&\"x\" WHERE id = 1",
            Why::UserFunction,
        ),
        (
            "INSERT INTO item VALUES (1, current_query())",
            Why::UserFunction,
        ),
        (
            "INSERT INTO item VALUES ((SELECT a FROM charges))",
            Why::UserFunction,
        ),
        (
            "INSERT INTO item VALUES (1) RETURNING (item).*",
            Why::ReturningShape,
        ),
        (
            "INSERT INTO item VALUES (1) RETURNING WITH (OLD AS o) o.id",
            Why::ReturningShape,
        ),
        (
            "UPDATE item SET name = 'x' WHERE id = 1 RETURNING old.*",
            Why::ReturningShape,
        ),
        ("INSERT INTO secret VALUES (1)", Why::NoSelectPrivilege),
        ("INSERT INTO shown VALUES (1)", Why::View),
        ("INSERT INTO guarded VALUES (1)", Why::RowLevelSecurity),
        (
            "MERGE INTO item USING audit ON true WHEN MATCHED THEN DELETE",
            Why::Merge,
        ),
        ("COPY item FROM STDIN", Why::Copy),
        ("COPY (DELETE FROM item RETURNING *) TO STDOUT", Why::Copy),
        ("TRUNCATE audit, item", Why::Truncate),
        (
            "EXPLAIN ANALYZE DELETE FROM item WHERE id = 1",
            Why::Indirect,
        ),
        (
            "EXPLAIN (ANALYZE, VERBOSE) INSERT INTO item VALUES (1)",
            Why::Indirect,
        ),
    ] {
        check_deferred(text, reason);
    }
}

#[test]
fn what_is_not_carried_is_outside() {
    let (no_table, own) = (DeferReason::NotInContract, DeferReason::TemporaryTable);
    for (text, reason) in [
        ("INSERT INTO audit VALUES (1)", no_table),
        ("DELETE FROM nowhere", no_table),
        ("UPDATE scratch SET a = 1", own),
        ("INSERT INTO pg_temp.item VALUES (1)", own),
        ("COPY audit FROM STDIN", no_table),
        ("TRUNCATE audit", no_table),
        ("TRUNCATE pg_temp.item", own),
    ] {
        let analysis = analyzed(text, Mode::Simple);
        assert_eq!(analysis.rewritten, None, "{text}");
        let write = &analysis.statements[0].write;
        assert_eq!(*write, Write::Outside(reason), "{text}");
    }
}

#[test]
fn what_is_not_known_is_not_rewritten() {
    let text = "DELETE FROM item WHERE id = 1";
    let latin = SessionFacts {
        client_encoding: "LATIN1".into(),
        ..session()
    };
    let old_strings = SessionFacts {
        standard_strings: false,
        ..session()
    };
    let stranger = SessionFacts {
        role: "bo".into(),
        ..session()
    };
    let crowded = SessionFacts {
        temporary: None,
        ..session()
    };
    let hiding = SessionFacts {
        search_path: vec!["other".into()],
        ..session()
    };
    let unmirrored = SessionFacts {
        mirror: Some(MirrorChoice::Off),
        ..session()
    };
    let known = SessionKnowledge::known;
    for (session, catalog, expected) in [
        (
            SessionKnowledge::Unknown,
            facts(),
            Some(DeferReason::SessionUnknown),
        ),
        (
            known(session()),
            CatalogFacts::unknown(),
            Some(DeferReason::CatalogUnknown),
        ),
        (known(latin), facts(), Some(DeferReason::SessionSettings)),
        (
            known(old_strings),
            facts(),
            Some(DeferReason::SessionSettings),
        ),
        (known(unmirrored), facts(), Some(DeferReason::MirrorOff)),
        (known(stranger), facts(), Some(DeferReason::RoleUnknown)),
        (known(crowded), facts(), Some(DeferReason::SessionUnknown)),
        (known(hiding), facts(), None),
    ] {
        let analysis = analyze(text, &session, &catalog, Mode::Simple);
        let nowhere = Write::Outside(DeferReason::NotInContract);
        let write = expected.map_or(nowhere, Write::Deferred);
        assert_eq!(analysis.statements[0].write, write);
        assert_eq!(analysis.rewritten, None);
    }
}
