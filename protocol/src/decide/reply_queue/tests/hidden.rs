//! What is the proxy's own: its requests, and what it hid in the client's.

use super::*;

#[test]
fn a_suspended_portal_keeps_its_hidden_column() {
    check(">Bh >Eh >S <2 <D~ <s <Z");
    check(">Bh >Eh >Eh >S <2 <D~ <s <D~ <C <Z");
}

#[test]
fn an_error_behind_hidden_rows_is_the_clients() {
    check(">Qw <T- <Dh <E <Z");
    check(">Bw >Ew >S >Qh <2 <Dh <E <Z <T~ <D~ <C <Z");
}

#[test]
fn notices_among_hidden_rows_are_the_clients() {
    check(">Qw <N <T- <N <Dh <A <C <S <Z");
    check(">Eh >S <D~ <N <D~ <C <Z");
}

#[test]
fn a_portal_that_was_run_is_stood_in_for_unseen() {
    check(">E >*D >*C >*P >*B >*C >*E >E >S <C <n- <3- <1- <2- <3- <C- <E <Z");
    // It had ended with its transaction: what the proxy is told, the client is.
    check(">*D >*C >*P >*B >*C >*E >E >S <E <Z");
}

#[test]
fn the_proxys_own_question_is_followed_by_what_waited_for_it() {
    let events = check(">*Q <T- <Do <C- <Z- >P >B >E >S <1 <2 <C <Z");
    assert_eq!(events[0], Event::OwnReady);
    let events = check(">*Q <S <T- <A <Do <N <C- <Z-");
    assert_eq!(events, [Event::OwnReady]);
}

#[test]
fn a_hidden_column_is_cut_off_where_the_client_has_others() {
    check(">Ph >dh >Bh >Dh >Eh >S <1 <t <T~ <2 <T~ <D~ <D~ <C <Z");
    check(">Qh <T~ <D~ <C <Z");
}

#[test]
fn rows_that_the_client_did_not_ask_for_vanish() {
    check(">Pw >dw >Bw >Dw >Ew >S <1 <t <Tn <2 <Tn <Dh <C <Z");
    check(">Qw <T- <Dh <C <Z");
}

#[test]
fn rows_without_a_hidden_column_are_the_clients() {
    let (mut queue, _) = play(">Qw");
    queue.nothing_hidden();
    assert_eq!(queue.reply(Tag::DataRow).unwrap().action, Action::Forward);
    queue.reply(Tag::CommandComplete).unwrap();
    assert_eq!(queue.reply(Tag::DataRow).unwrap().action, Action::TakeRow);
}

#[test]
fn the_replies_to_the_proxys_own_query_are_dropped() {
    let events = check(">Q <C <Z >*Q <T- <N <Do <C- <Z- >Q <C <Z");
    assert_eq!(events[2], Event::OwnReady);
}

#[test]
fn an_error_in_the_proxys_own_query_is_dropped() {
    let events = check(">*Q <T- <E- <Z-");
    assert_eq!(events, [Event::OwnFailed, Event::OwnReady]);
}

#[test]
fn the_proxys_own_parse_is_dropped_and_its_failure_is_not() {
    check(">*C >*P >B >E >S <3- <1- <2 <C <Z");
    check(">*P >B >S <E <Z");
}
