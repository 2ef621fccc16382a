//! Statements and what becomes of them, each table through one `check`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::contract::{Column, Contract, Form, KeyForm, Table};

/// Stands for the hidden column in the expected texts.
const HIDDEN: &str = "<hidden>";

fn column(name: &str) -> Column {
    Column {
        name: name.into(),
        type_name: "integer".into(),
        type_oid: 23,
        form: Form::Plain,
        key_form: KeyForm::Bytes,
    }
}

fn contract() -> Contract {
    let table = |relation: &str, columns: &[&str], key: Vec<usize>| Table {
        name: format!("public.{relation}"),
        schema: "public".into(),
        relation: relation.into(),
        columns: columns.iter().map(|name| column(name)).collect(),
        key,
    };
    Contract {
        version: 1,
        tables: vec![
            table("Odd Table", &["Key", "v"], vec![0]),
            table("item", &["id", "name"], vec![0]),
            table("line", &["order_id", "no", "quantity"], vec![0, 1]),
            table("secret", &["id"], vec![0]),
        ],
    }
}

fn facts() -> CatalogFacts {
    let contract = Arc::new(contract());
    let mut facts = CatalogFacts::unknown();
    facts.generation = 1;
    let mut public = HashMap::new();
    for (index, table) in contract.tables() {
        let oid = 16_400 + u32::try_from(index.as_usize()).unwrap();
        let columns = table.columns.iter().enumerate();
        let mut columns: Vec<_> = columns
            .map(|(place, column)| ColumnFacts {
                name: column.name.clone(),
                type_oid: column.type_oid,
                wide: false,
                place: Some(place),
            })
            .collect();
        if table.relation == "item" {
            columns.push(ColumnFacts {
                name: "shouted".into(),
                type_oid: 25,
                wide: false,
                place: None,
            });
        }
        let key = table
            .key
            .iter()
            .map(|place| table.columns[*place].name.clone());
        facts.tables.insert(
            oid,
            TableFacts {
                relation: table.relation.clone(),
                table: Some(index),
                columns,
                key: key.collect(),
                obstacle: None,
            },
        );
        public.insert(table.relation.clone(), oid);
    }
    for (oid, relation, obstacle) in [
        (16_500, "audit", DeferReason::NotInContract),
        (16_501, "shown", DeferReason::View),
        (16_502, "guarded", DeferReason::RowLevelSecurity),
    ] {
        public.insert(relation.into(), oid);
        facts.tables.insert(
            oid,
            TableFacts {
                relation: relation.into(),
                table: None,
                columns: Vec::new(),
                key: Vec::new(),
                obstacle: Some(obstacle),
            },
        );
    }
    let readable: HashSet<u32> = [16_400, 16_401, 16_402].into();
    facts.readable.insert("al".into(), readable);
    facts.relations.insert("public".into(), public);
    facts.functions = ["charge".into(), "###".into()].into();
    facts.calling_relations = ["charges".into()].into();
    facts.contract = contract;
    facts
}

fn session() -> SessionFacts {
    SessionFacts {
        role: "al".into(),
        search_path: vec!["pg_catalog".into(), "public".into()],
        temporary: Some(vec!["scratch".into()]),
        client_encoding: "UTF8".into(),
        server_encoding: "UTF8".into(),
        standard_strings: true,
        hears_log: false,
        mirror: None,
    }
}

fn analyzed(text: &str, mode: Mode) -> Analysis {
    analyze(text, &SessionKnowledge::known(session()), &facts(), mode)
}

fn hidden(reference: &str) -> String {
    format!(
        "pg_catalog.record_send(ROW(pg_catalog.pg_current_wal_insert_lsn(),\
         pg_catalog.pg_current_xact_id(),pg_catalog.current_setting('synchronous_commit'),\
         {reference}.tableoid,{reference}.*)) AS \"__segue\""
    )
}

/// The rewritten text with the hidden columns shortened, and the number of client columns.
#[track_caller]
fn check(text: &str, reference: &str, expected: &str, client_columns: Option<usize>) {
    let analysis = analyzed(text, Mode::Extended);
    let [statement] = analysis.statements.as_slice() else {
        panic!("{text}: {analysis:?}");
    };
    let Write::Captured(captured) = &statement.write else {
        panic!("{text}: {:?}", statement.write);
    };
    let width = match captured.client_columns {
        ClientColumns::None => None,
        ClientColumns::Some(width) => Some(width),
    };
    assert_eq!(width, client_columns, "{text}");
    let rewritten = analysis.rewritten.unwrap();
    let sent = std::str::from_utf8(&rewritten.text).unwrap();
    assert!(pg_query::parse(sent, 0).is_ok(), "{sent}");
    assert_eq!(sent.replace(&hidden(reference), HIDDEN), expected, "{text}");
}

#[track_caller]
fn check_deferred(text: &str, reason: DeferReason) {
    let analysis = analyzed(text, Mode::Extended);
    assert_eq!(analysis.rewritten, None, "{text}");
    let writes: Vec<_> = analysis.statements.into_iter().map(|it| it.write).collect();
    assert_eq!(writes, [Write::Deferred(reason)], "{text}");
}

#[test]
fn captured_statements_get_the_hidden_column_last() {
    let added = "\nRETURNING <hidden>";
    for text in [
        "INSERT INTO item VALUES (1, 'a')",
        "INSERT INTO item (id) VALUES ($1), ($2)",
        "INSERT INTO item DEFAULT VALUES",
        "insert into public.item values (default, now() || random()::text)",
        "INSERT INTO item VALUES (1) ON CONFLICT DO NOTHING",
        "INSERT INTO item VALUES (1) ON CONFLICT (id) DO UPDATE SET name = excluded.name",
        "INSERT INTO item (name) VALUES ((SELECT max(name) FROM audit))",
        "INSERT INTO item OVERRIDING SYSTEM VALUE VALUES (1)",
        "UPDATE item SET name = 'x' WHERE id = 1",
        "UPDATE item SET name = name || $1 WHERE $2 = id AND name <> 'y'",
        "UPDATE item SET name = 'x' WHERE id = -5",
        "UPDATE item SET name = 'x' WHERE item.id = $1::integer",
        "UPDATE ONLY item SET name = 'x' WHERE public.item.id = '7'::bigint + 1",
        "UPDATE item SET (name) = ROW('x') WHERE id IN (1, 2, $1)",
        "DELETE FROM item WHERE id = 1",
        "DELETE FROM item WHERE (id = 1 AND true) AND name IS NULL",
        "DELETE FROM item WHERE id = CAST($1 AS integer)",
        "DELETE FROM item WHERE id OPERATOR(pg_catalog.=) 1",
        "/* id = ? */ DELETE FROM item WHERE id = 1 -- and that is all",
        "DELETE FROM item WHERE id = 1 /* ; */",
        "DELETE FROM \"item\" WHERE \"id\" = 1",
    ] {
        check(text, "\"item\"", &format!("{text}{added}"), None);
    }
}

#[test]
fn the_rows_and_keys_that_a_text_names_are_counted() {
    for (text, count) in [
        ("INSERT INTO item DEFAULT VALUES", 1),
        ("INSERT INTO item (id) VALUES ($1), ($2), (3)", 3),
        ("UPDATE item SET name = 'x' WHERE id = $1", 1),
        ("UPDATE item SET name = 'x' WHERE id IN ($1, 2)", 2),
        ("DELETE FROM item WHERE id = 1 AND name = 'x'", 1),
    ] {
        let analysis = analyzed(text, Mode::Extended);
        let Write::Captured(captured) = &analysis.statements[0].write else {
            panic!("{text}: {analysis:?}");
        };
        assert_eq!(captured.rows_max, count, "{text}");
    }
}

#[test]
fn the_hidden_column_follows_the_clients_own() {
    for (text, width) in [
        ("INSERT INTO item VALUES (1) RETURNING id", 1),
        ("INSERT INTO item VALUES (1) RETURNING *", 3),
        ("INSERT INTO item VALUES (1) RETURNING item.*, 1 AS one", 4),
        (
            "UPDATE item SET name = 'x' WHERE id = 1 RETURNING id, name AS \"n\"",
            2,
        ),
        ("DELETE FROM item WHERE id = 1 RETURNING item -- the row", 1),
        (
            "DELETE FROM item WHERE id = 1 RETURNING (SELECT 1), now()",
            2,
        ),
    ] {
        check(
            text,
            "\"item\"",
            &format!("{text}\n, <hidden>"),
            Some(width),
        );
    }
}

#[test]
fn the_table_is_called_as_the_statement_calls_it() {
    check(
        "UPDATE item AS i SET name = 'x' WHERE i.id = 1 RETURNING i.*",
        "\"i\"",
        "UPDATE item AS i SET name = 'x' WHERE i.id = 1 RETURNING i.*\n, <hidden>",
        Some(3),
    );
    check(
        "INSERT INTO public.item AS \"A\"\"b\" VALUES (1)",
        "\"A\"\"b\"",
        "INSERT INTO public.item AS \"A\"\"b\" VALUES (1)\nRETURNING <hidden>",
        None,
    );
    check(
        "DELETE FROM \"Odd Table\" WHERE \"Key\" = 1",
        "\"Odd Table\"",
        "DELETE FROM \"Odd Table\" WHERE \"Key\" = 1\nRETURNING <hidden>",
        None,
    );
    check(
        "UPDATE line SET quantity = 2 WHERE no = 1 AND order_id = $1",
        "\"line\"",
        "UPDATE line SET quantity = 2 WHERE no = 1 AND order_id = $1\nRETURNING <hidden>",
        None,
    );
}

#[test]
fn keys_are_fixed_by_rows_of_columns_too() {
    for condition in [
        "(order_id, no) = (1, 2)",
        "ROW(2, $1) = (no, order_id)",
        "(no, quantity, order_id) IN ((1, 2, 3), (4, 5, 6))",
    ] {
        let text = format!("DELETE FROM line WHERE {condition}");
        check(
            &text,
            "\"line\"",
            &format!("{text}\nRETURNING <hidden>"),
            None,
        );
    }
}

#[test]
fn a_bare_name_means_the_first_schema_that_has_it() {
    let write = |search_path: &[&str]| {
        let facts_of_session = SessionFacts {
            search_path: search_path.iter().map(|name| (*name).to_owned()).collect(),
            temporary: Some(vec!["item".into()]),
            ..session()
        };
        let known = SessionKnowledge::known(facts_of_session);
        let text = "DELETE FROM item WHERE id = 1";
        let mut statements = analyze(text, &known, &facts(), Mode::Simple).statements;
        statements.remove(0).write
    };
    assert_eq!(
        write(&["pg_temp_3", "pg_catalog", "public"]),
        Write::Outside
    );
    assert_eq!(write(&["pg_catalog", "other"]), Write::Outside);
    let first = write(&["pg_catalog", "public", "pg_temp_3"]);
    assert!(matches!(first, Write::Captured(_)), "{first:?}");
}

#[test]
fn names_are_read_as_the_server_reads_them() {
    let cut = "n".repeat(63);
    let mut facts = facts();
    facts.functions = [cut.clone(), "ümlÄut".into()].into();
    for call in [
        format!("{cut}_and_more()"),
        "ÜMLÄUT()".to_lowercase(),
        "ümLÄUT()".into(),
    ] {
        let known = SessionKnowledge::known(session());
        let text = format!("DELETE FROM item WHERE id = 1 RETURNING {call}");
        let analysis = analyze(&text, &known, &facts, Mode::Simple);
        let deferred = analysis.statements[0].write == Write::Deferred(DeferReason::UserFunction);
        // Only ASCII letters are made lower case.
        assert_eq!(deferred, call != "ümläut()", "{call}");
    }
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
fn a_final_semicolon_stays_last() {
    check(
        " DELETE FROM item WHERE id = 1 ; ",
        "\"item\"",
        " DELETE FROM item WHERE id = 1 \nRETURNING <hidden>; ",
        None,
    );
}

#[test]
fn wide_columns_are_measured_one_by_one_first() {
    let mut facts = facts();
    for column in &mut facts.tables.get_mut(&16_401).unwrap().columns {
        column.wide = column.name != "id";
    }
    let known = SessionKnowledge::known(session());
    let analysis = analyze("INSERT INTO item VALUES (1)", &known, &facts, Mode::Simple);
    let text = analysis.rewritten.unwrap().text;
    let text = std::str::from_utf8(&text).unwrap();
    let begin = "CASE WHEN COALESCE(pg_catalog.pg_column_size(\"item\".\"name\"),0)\
                 OPERATOR(pg_catalog.+)COALESCE(pg_catalog.pg_column_size(\"item\".\"shouted\"),0) \
                 OPERATOR(pg_catalog.<) 1048576 THEN pg_catalog.substr(pg_catalog.record_send(ROW(";
    assert!(text.contains(begin), "{text}");
    let end = ",1,2097152) END AS \"__segue\"";
    assert!(text.ends_with(end), "{text}");
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
    for text in [
        "INSERT INTO audit VALUES (1)",
        "DELETE FROM nowhere",
        "UPDATE scratch SET a = 1",
        "INSERT INTO pg_temp.item VALUES (1)",
        "COPY audit FROM STDIN",
        "TRUNCATE audit",
    ] {
        let analysis = analyzed(text, Mode::Simple);
        assert_eq!(analysis.rewritten, None, "{text}");
        assert_eq!(analysis.statements[0].write, Write::Outside, "{text}");
    }
}

#[track_caller]
fn check_effects(text: &str, session: &SessionEffect, write: &Write, touches_durability: bool) {
    let analysis = analyzed(text, Mode::Simple);
    let [statement] = analysis.statements.as_slice() else {
        panic!("{text}: {analysis:?}");
    };
    let found = (
        &statement.session,
        &statement.write,
        statement.touches_durability,
    );
    assert_eq!(found, (session, write, touches_durability), "{text}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn statements_that_write_nothing_have_their_effects() {
    use SessionEffect::{Changes, Ddl, Deallocates, DeallocatesAll, DiscardsAll, None as Same};
    let suspect = |reason| Write::Suspect(reason);
    let function = || suspect(DeferReason::UserFunction);
    for (text, session, write, durability) in [
        ("SELECT 1", Same, Write::None, false),
        ("SELECT * FROM item FOR UPDATE", Same, Write::None, false),
        ("SELECT count(*) FROM charge", Same, Write::None, false),
        ("SELECT charge(1)", Changes, function(), true),
        ("SELECT * FROM charges", Changes, function(), true),
        ("VALUES (1), (charge(2))", Changes, function(), true),
        (
            "SELECT set_config('role', 'x', true)",
            Changes,
            Write::None,
            false,
        ),
        (
            "SELECT set_config('app.user', 'x', true)",
            Same,
            Write::None,
            false,
        ),
        (
            "SELECT set_config($1, 'x', true)",
            Changes,
            Write::None,
            true,
        ),
        (
            "SELECT set_config('synchronous_commit', 'off', true)",
            Same,
            Write::None,
            true,
        ),
        ("SET ROLE bo", Changes, Write::None, false),
        ("SET SESSION AUTHORIZATION bo", Changes, Write::None, false),
        ("SET search_path = a, b", Changes, Write::None, false),
        (
            "SET LOCAL synchronous_commit = off",
            Same,
            Write::None,
            true,
        ),
        ("SET timezone = 'UTC'", Same, Write::None, false),
        ("SET NAMES 'LATIN1'", Changes, Write::None, false),
        ("SET TRANSACTION READ ONLY", Same, Write::None, false),
        ("RESET ALL", Changes, Write::None, true),
        ("RESET role", Changes, Write::None, false),
        ("DISCARD ALL", DiscardsAll, Write::None, false),
        ("DISCARD TEMP", Changes, Write::None, false),
        ("DISCARD PLANS", Same, Write::None, false),
        ("DEALLOCATE p", Deallocates("p".into()), Write::None, false),
        ("DEALLOCATE ALL", DeallocatesAll, Write::None, false),
        ("PREPARE p AS DELETE FROM item", Same, Write::None, false),
        ("EXECUTE p", Changes, suspect(DeferReason::Indirect), true),
        ("CALL p()", Changes, suspect(DeferReason::Procedure), true),
        (
            "DO $$ BEGIN END $$",
            Changes,
            suspect(DeferReason::Procedure),
            true,
        ),
        ("CREATE TABLE n (a int)", Ddl, Write::None, false),
        ("CREATE TEMP TABLE n (a int)", Changes, Write::None, false),
        (
            "CREATE TEMP TABLE n AS SELECT 1",
            Changes,
            Write::None,
            false,
        ),
        ("SELECT 1 INTO n", Ddl, Write::None, false),
        ("ALTER TABLE item ADD b int", Ddl, Write::None, false),
        ("DROP TABLE item", Ddl, Write::None, false),
        ("GRANT SELECT ON item TO bo", Ddl, Write::None, false),
        ("COPY item TO STDOUT", Same, Write::None, false),
        ("COPY (SELECT 1) TO STDOUT", Same, Write::None, false),
        ("EXPLAIN DELETE FROM item", Same, Write::None, false),
        ("LISTEN c", Same, Write::None, false),
        ("NOTIFY c", Same, Write::None, false),
        ("SHOW search_path", Same, Write::None, false),
        ("VACUUM item", Same, Write::None, false),
        ("FETCH ALL FROM c", Same, Write::None, false),
        ("LOCK TABLE item", Same, Write::None, false),
    ] {
        check_effects(text, &session, &write, durability);
    }
}

#[test]
fn transaction_statements_say_what_they_do() {
    use TransactionEffect as Effect;
    for (text, effect) in [
        ("BEGIN", Effect::Begin),
        (
            "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            Effect::Begin,
        ),
        ("COMMIT AND CHAIN", Effect::Commit),
        ("END", Effect::Commit),
        ("ABORT", Effect::Rollback),
        (
            "ROLLBACK TO SAVEPOINT \"S\"",
            Effect::RollbackTo("S".into()),
        ),
        ("SAVEPOINT S", Effect::Savepoint("s".into())),
        ("RELEASE s", Effect::Release("s".into())),
        ("PREPARE TRANSACTION 'g'", Effect::Prepare),
        ("COMMIT PREPARED 'g'", Effect::None),
        ("SELECT 1", Effect::None),
        ("CALL p()", Effect::Uncertain),
    ] {
        let analysis = analyzed(text, Mode::Simple);
        assert_eq!(analysis.statements[0].transaction, effect, "{text}");
    }
}

#[test]
fn every_statement_of_a_simple_text_is_captured() {
    let text = "BEGIN; INSERT INTO item VALUES (1);; DELETE FROM item WHERE id = 2 -- é\n; COMMIT";
    let analysis = analyzed(text, Mode::Simple);
    assert_eq!(analysis.statements.len(), 4);
    let rewritten = analysis.rewritten.unwrap();
    let sent = std::str::from_utf8(&rewritten.text).unwrap();
    assert_eq!(
        sent.replace(&hidden("\"item\""), HIDDEN),
        "BEGIN; INSERT INTO item VALUES (1)\nRETURNING <hidden>;; \
         DELETE FROM item WHERE id = 2 -- é\n\nRETURNING <hidden>; COMMIT"
    );
}

#[test]
fn nothing_behind_a_set_or_a_schema_change_is_rewritten() {
    for first in [
        "SET timezone = 'UTC'",
        "SET ROLE bo",
        "CREATE TABLE n (a int)",
        "SELECT charge(1)",
        "RESET ALL",
        "DO $$ BEGIN END $$",
    ] {
        let text = format!("DELETE FROM item WHERE id = 1; {first}; DELETE FROM item WHERE id = 2");
        let writes: Vec<Write> = analyzed(&text, Mode::Simple)
            .statements
            .into_iter()
            .map(|it| it.write)
            .collect();
        assert!(matches!(writes[0], Write::Captured(_)), "{first}");
        assert_eq!(
            writes[2],
            Write::Deferred(DeferReason::BehindChange),
            "{first}"
        );
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
        let write = expected.map_or(Write::Outside, Write::Deferred);
        assert_eq!(analysis.statements[0].write, write);
        assert_eq!(analysis.rewritten, None);
    }
}

#[test]
fn texts_that_cannot_be_read_are_left_alone() {
    for text in [
        "SELEC 1",
        "DELETE FROM item WHERE id = 'x",
        "INSERT INTO item VALUES (\u{0})",
    ] {
        let analysis = analyzed(text, Mode::Simple);
        assert_eq!(
            analysis,
            Analysis::unreadable(DeferReason::Unparsable),
            "{text}"
        );
    }
    let several = analyzed("DELETE FROM item WHERE id = 1; SELECT 1", Mode::Extended);
    assert_eq!(several.rewritten, None);
    assert_eq!(analyzed("", Mode::Simple).statements, []);
    assert_eq!(analyzed("-- nothing", Mode::Extended).statements, []);
}

#[test]
fn error_positions_are_those_of_the_clients_text() {
    let text = "INSERT INTO item VALUES ('é'); SELECT oops";
    let rewritten = analyzed(text, Mode::Simple).rewritten.unwrap();
    let [insertion] = rewritten.insertions.as_slice() else {
        panic!("{:?}", rewritten.insertions);
    };
    let sent: Vec<char> = std::str::from_utf8(&rewritten.text)
        .unwrap()
        .chars()
        .collect();
    let original: Vec<char> = text.chars().collect();
    for position in 1..=sent.len() {
        let mapped = rewritten.client_position(position);
        let inserted = (insertion.char_offset..insertion.char_offset + insertion.chars)
            .contains(&(position - 1));
        if !inserted {
            assert_eq!(original[mapped - 1], sent[position - 1], "{position}");
        }
    }
    let end = sent.len();
    assert_eq!(rewritten.client_position(end), original.len());
    assert_eq!(
        rewritten.client_position(insertion.char_offset + 5),
        insertion.char_offset + 1
    );
}

/// Texts as an application might send them, literals and all.
fn application_text() -> impl Strategy<Value = String> {
    let literal = prop_oneof![
        "[0-9]{1,12}",
        r#"'([a-zé ;$\\"]|'')*'"#,
        r"[0-9]{1,3}\.[0-9]{1,3}",
        "-[0-9]{1,3}",
        r"\$1",
        "NULL",
        r"E'x\\''",
    ];
    let shape = prop_oneof![
        Just("INSERT INTO item VALUES (@, @)"),
        Just("INSERT INTO item (id, name) VALUES (@, @), (@, @) RETURNING *, @"),
        Just("UPDATE item SET name = @ WHERE id = @ ;"),
        Just("update public.item AS i set name = @ || @ where @ = i.id returning \"id\""),
        Just("DELETE FROM line WHERE order_id = @ AND no = @ AND quantity > @"),
        Just("SELECT * FROM item WHERE id = @ LIMIT @"),
        Just("DELETE FROM item WHERE id IN (@, @) -- @"),
        Just("DELETE FROM item WHERE id = @; SELECT @"),
    ];
    (shape, proptest::collection::vec(literal, 6)).prop_map(|(shape, literals)| {
        let mut parts = shape.split('@');
        let first = parts.next().unwrap_or_default().to_owned();
        parts
            .zip(literals)
            .fold(first, |text, (part, literal)| text + &literal + part)
    })
}

proptest! {
    #[test]
    fn a_text_by_its_template_is_the_text_by_itself(text in application_text()) {
        let by_itself = analyzed(&text, Mode::Simple);
        if let Some(template) = Template::of(&text) {
            let shared = analyzed(template.text(), Mode::Simple);
            prop_assert_eq!(template.fill(&text, &shared), Some(by_itself));
        }
    }

    #[test]
    fn no_text_panics(text in r#"([a-zA-Z'"$;(),=*+\-/ é0-9\\]|INSERT INTO |UPDATE |item| SET | WHERE |VALUES |RETURNING |DELETE FROM ){0,40}"#) {
        drop(analyzed(&text, Mode::Simple));
        drop(Template::of(&text));
    }
}

#[test]
fn deep_trees_do_not_exhaust_the_stack() {
    for count in [100, 40_000] {
        for text in [
            format!("SELECT 1{}", "+1".repeat(count)),
            format!("SELECT {}1{}", "(".repeat(count), ")".repeat(count)),
            format!("SELECT {}true", "NOT ".repeat(count)),
            format!("SELECT 1{}", " UNION SELECT 1".repeat(count / 4)),
        ] {
            drop(analyzed(&text, Mode::Simple));
        }
    }
}

#[test]
fn a_choice_of_the_mirror_is_followed_and_not_asked_for() {
    let chooses = |choice| SessionEffect::Chooses(choice);
    for (text, expected) in [
        (
            "SET segue.mirror = 'sync'",
            chooses(Some(MirrorChoice::Sync)),
        ),
        (
            "SET LOCAL segue.mirror TO async",
            chooses(Some(MirrorChoice::Async)),
        ),
        ("set Segue.Mirror = 'Off'", chooses(Some(MirrorChoice::Off))),
        ("SET segue.mirror = 'nonsense'", chooses(None)),
        ("SET segue.mirror = 1", SessionEffect::Changes),
        ("SET segue.mirror TO DEFAULT", SessionEffect::Changes),
        ("RESET segue.mirror", SessionEffect::Changes),
        ("RESET ALL", SessionEffect::Changes),
        (
            "SELECT set_config('segue.mirror', 'sync', true)",
            SessionEffect::Changes,
        ),
    ] {
        let analysis = analyzed(text, Mode::Simple);
        assert_eq!(analysis.statements[0].session, expected, "{text}");
    }
    // Unlike any other SET, it leaves what is behind it in the same text as it is.
    let text = "BEGIN; SET LOCAL segue.mirror = 'sync'; DELETE FROM item WHERE id = 1; COMMIT";
    let analysis = analyzed(text, Mode::Simple);
    assert!(matches!(analysis.statements[2].write, Write::Captured(_)));
}
