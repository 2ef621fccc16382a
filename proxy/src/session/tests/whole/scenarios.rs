//! Scripts that once made a difference, and those next to them.

use super::client::{Kept, Say, Script, TEXTS};
use super::*;

fn text(text: &str) -> usize {
    let found = TEXTS.iter().position(|it| *it == text.as_bytes());
    found.unwrap_or_else(|| panic!("{text} is not among the texts"))
}

const INSERT: &str = "insert into t values (1, 'a')";
const UPDATE: &str = "update t set v = 'x' where id = 1";
const RETURNING: &str = "update /*notice*/ t set v = 'y' where id = 1 returning id, v";

fn run(statement: &'static str, of: &str) -> Say {
    Say::Run {
        statement,
        text: text(of),
        formats: vec![],
        limit: 0,
    }
}

fn again(statement: &'static str) -> Say {
    Say::Again {
        statement,
        parameters: 0,
        limit: 0,
    }
}

fn bind(statement: &'static str) -> Say {
    Say::Bind {
        portal: "",
        statement,
        formats: vec![],
        parameters: 0,
    }
}

/// A script makes no difference, however it arrives.
#[track_caller]
fn check(said: &[Say]) {
    let script = Script::played(said, std::iter::empty());
    for pipe_size in [1, 1 << 16] {
        for pieces in [&[0][..], &[1], &[1 << 16], &[1, 7, 1 << 16, 0, 1]] {
            let relayed = played(None, &script, (pipe_size, pieces));
            let captured = played(Some(capture()), &script, (pipe_size, pieces));
            let expected = [AUTHENTICATED, &script.hears].concat();
            assert_eq!(shown(&relayed.client_heard), shown(&expected));
            assert_eq!(shown(&captured.client_heard), shown(&expected));
        }
    }
}

#[test]
fn a_query_makes_the_server_forget_the_unnamed_statement() {
    check(&[run("", INSERT), Say::Query(text("")), Say::Wait, again("")]);
    check(&[run("", INSERT), Say::Query(text("")), again("")]);
    check(&[
        run("", INSERT),
        Say::Query(text("syntax")),
        Say::Wait,
        again(""),
    ]);
}

#[test]
fn a_query_that_is_skipped_makes_it_forget_nothing() {
    let skipped = [Say::Execute("b", 0), Say::Query(text("")), Say::Sync];
    for waits in [vec![], vec![Say::Wait]] {
        let said = [&[run("", INSERT)][..], &skipped, &waits, &[again("")]];
        check(&said.concat());
    }
}

#[test]
fn the_proxys_own_question_makes_it_forget_nothing() {
    let forgotten = [run("", INSERT), run("a", "set role me"), Say::Wait];
    check(&[&forgotten[..], &[again("")]].concat());
    let asked = [Say::Parse("b", text(UPDATE))];
    let described = [Say::Describe(Kept::Statement, ""), Say::Sync, again("")];
    check(&[&forgotten[..], &asked, &described].concat());
}

#[test]
fn a_query_makes_the_server_forget_the_unnamed_portal() {
    let begun = [
        Say::Query(text("begin")),
        Say::Parse("a", text(UPDATE)),
        bind("a"),
    ];
    for forgets in ["select 3", "", "syntax"] {
        let then = [Say::Query(text(forgets)), Say::Execute("", 0), Say::Sync];
        check(&[&begun[..], &then].concat());
        let executed = [Say::Execute("", 0)];
        check(&[&begun[..], &executed, &then].concat());
    }
}

#[test]
fn a_portal_that_has_ended_with_its_transaction_cannot_be_found() {
    check(&[
        run("a", UPDATE),
        Say::Wait,
        again("a"),
        Say::Execute("", 0),
        Say::Sync,
    ]);
}

#[test]
fn a_statement_keeps_its_meaning_when_another_one_cannot_take_its_name() {
    let refused = [
        Say::Parse("a", text(INSERT)),
        Say::Parse("a", text("delete from t where id = $1 returning id")),
        Say::Sync,
    ];
    check(
        &[
            &refused[..],
            &[Say::Describe(Kept::Statement, "a"), Say::Sync],
        ]
        .concat(),
    );
    check(&[&refused[..], &[again("a")]].concat());
}

#[test]
fn a_statement_whose_close_was_skipped_is_still_captured() {
    check(&[
        run("a", RETURNING),
        Say::Wait,
        bind("b"),
        Say::Close(Kept::Statement, "a"),
        Say::Sync,
        again("a"),
    ]);
}

#[test]
fn a_statement_that_may_not_be_there_is_not_sent_again() {
    check(&[
        Say::Query(text(UPDATE)),
        run("a", "update t set v = nope where id = 1"),
        Say::FunctionCall,
        again("a"),
    ]);
}

#[test]
fn a_statement_is_not_lost_in_a_transaction_that_has_failed() {
    for waits in [vec![], vec![Say::Wait]] {
        let failed = [
            run("a", UPDATE),
            run("b", INSERT),
            Say::Query(text("begin")),
        ];
        let forgotten = [run("", "set role me"), bind("nobody"), Say::Sync];
        let then = [
            again("a"),
            Say::Query(text("rollback")),
            again("a"),
            again("b"),
        ];
        check(&[&failed[..], &waits, &forgotten, &waits, &then].concat());
    }
}

#[test]
fn an_unnamed_statement_that_is_refused_takes_the_place_of_the_one_before() {
    check(&[
        Say::Parse("", text(UPDATE)),
        Say::Parse("", text("update t set v = 'z' where id = 1; select nope")),
        Say::Sync,
        run("a", ""),
        again(""),
    ]);
}

#[test]
fn what_waits_for_an_answer_is_skipped_with_its_group() {
    check(&[
        run("a", RETURNING),
        again("a"),
        bind("b"),
        again("a"),
        again("a"),
    ]);
}
