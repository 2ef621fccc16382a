//! What is captured: where the hidden column goes, and what the table and its key are.

use super::*;

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
        Write::Outside(DeferReason::TemporaryTable)
    );
    assert_eq!(
        write(&["pg_catalog", "other"]),
        Write::Outside(DeferReason::NotInContract)
    );
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
