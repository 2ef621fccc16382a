//! Whole texts: several statements, positions in them, and what cannot be read.

use proptest::prelude::*;

use super::*;

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
