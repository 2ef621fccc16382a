//! One test per wire scenario, each a script of what is sent (`>`) and what comes back (`<`).
//!
//! `>` is followed by the frontend's letter, `*` before it for the proxy's own, `h` or `w` behind
//! it where the last column or the whole row is hidden; `c` stands for CopyDone and CopyFail, `$`
//! for the startup packet. `<` is followed by the backend's letter and, behind it, what is done:
//! nothing for forwarded, `-` dropped, `~` last column cut, `n` NoData instead, `h` hidden row
//! taken, `o` own row handed out, `?` refused. `<E` is an error, `<F` one that ends the connection.

mod hidden;

use super::*;
use crate::wire::backend::{Severity, Tag};

impl Note for Hidden {
    fn hidden(&self, _statement: usize) -> Hidden {
        *self
    }
}

/// Plays a script and returns the queue as it is afterwards and the events in order.
#[track_caller]
fn play(script: &str) -> (ReplyQueue<Hidden>, Vec<Event<Hidden>>) {
    let mut queue = ReplyQueue::new();
    let mut events = Vec::new();
    for step in script.split_whitespace() {
        if let Some(sent) = step.strip_prefix('>') {
            send(&mut queue, sent);
        } else if let Some(event) = receive(&mut queue, step) {
            events.push(event);
        }
    }
    (queue, events)
}

fn send(queue: &mut ReplyQueue<Hidden>, sent: &str) {
    let (own, sent) = match sent.strip_prefix('*') {
        Some(rest) => (true, rest),
        None => (false, sent),
    };
    let mut letters = sent.chars();
    let request = match letters.next().unwrap() {
        '$' => Request::Startup,
        'Q' => Request::Query,
        'F' => Request::FunctionCall,
        'P' => Request::Parse,
        'B' => Request::Bind,
        'd' => Request::DescribeStatement,
        'D' => Request::DescribePortal,
        'E' => Request::Execute,
        'C' => Request::Close,
        'S' => Request::Sync,
        'c' => Request::CopyEnd,
        other => panic!("no request {other}"),
    };
    let hidden = match letters.next() {
        None => Hidden::Absent,
        Some('h') => Hidden::LastColumn,
        Some('w') => Hidden::WholeRow,
        Some(other) => panic!("nothing hidden is {other}"),
    };
    if own {
        queue.push_own(request, hidden);
    } else {
        queue.push(request, hidden);
    }
}

#[track_caller]
fn receive(queue: &mut ReplyQueue<Hidden>, step: &str) -> Option<Event<Hidden>> {
    let mut letters = step.strip_prefix('<').unwrap().chars();
    let letter = letters.next().unwrap();
    let expected = letters.next();
    let reply = match letter {
        'E' => queue.error(Severity::Error),
        'F' => queue.error(Severity::Fatal),
        other => match queue.reply(Tag::from_byte(u8::try_from(other).unwrap())) {
            Ok(reply) => reply,
            Err(refused) => {
                assert_eq!(expected, Some('?'), "{step}: {refused}");
                return None;
            }
        },
    };
    let done = match reply.action {
        Action::Forward => None,
        Action::Drop | Action::TakeDescription => Some('-'),
        Action::CutColumn => Some('~'),
        Action::NoData => Some('n'),
        Action::TakeRow => Some('h'),
        Action::OwnRow => Some('o'),
    };
    assert_eq!(done, expected, "{step}");
    Some(reply.event).filter(|event| *event != Event::None)
}

/// Plays a script after which everything has been answered.
#[track_caller]
fn check(script: &str) -> Vec<Event<Hidden>> {
    let (queue, events) = play(script);
    assert!(queue.is_idle(), "{script}: {queue:?}");
    events
}

fn completed(statement: usize) -> Event<Hidden> {
    Event::Completed {
        note: Hidden::Absent,
        statement,
    }
}

#[test]
fn startup_is_forwarded_up_to_the_first_ready() {
    check(">$ <R <R <R <R <S <S <K <v <N <Z");
}

#[test]
fn a_simple_query_ends_with_ready() {
    let events = check(">Q <T <D <D <C <Z");
    assert_eq!(events, [completed(0), Event::Ready]);
}

#[test]
fn each_statement_of_a_simple_query_is_told_apart() {
    let events = check(">Q <C <T <D <C <C <Z");
    assert_eq!(
        events,
        [completed(0), completed(1), completed(2), Event::Ready]
    );
}

#[test]
fn an_empty_query_is_answered_without_a_command() {
    check(">Q <I <Z >P >B >E >S <1 <2 <I <Z");
}

#[test]
fn an_error_in_a_simple_query_says_which_statement_failed() {
    let events = check(">Q <C <E <Z");
    let failed = Event::Failed {
        note: Some(Hidden::Absent),
        statement: 1,
        skipped: vec![],
    };
    assert_eq!(events, [completed(0), failed, Event::Ready]);
}

#[test]
fn pipelined_simple_queries_are_answered_in_order() {
    check(">Q >Q >F >Q <C <Z <E <Z <V <Z <T <D <C <Z");
}

#[test]
fn extended_requests_are_answered_one_by_one() {
    check(">P >d >B >D >E >C >S <1 <t <T <2 <T <D <D <C <3 <Z");
    check(">P >d >B >D >E >S <1 <t <n <2 <n <C <Z");
}

#[test]
fn a_pipeline_of_several_syncs_is_answered_in_order() {
    check(">P >B >E >S >B >E >S >S <1 <2 <C <Z <2 <C <Z <Z");
}

#[test]
fn a_suspended_portal_is_executed_again() {
    let events = check(">P >B >E >E >S <1 <2 <D <s <D <C <Z");
    assert!(events.contains(&Event::Suspended(Hidden::Absent)));
}

#[test]
fn what_was_answered_by_flush_is_idle_only_after_its_sync() {
    let (queue, _) = play(">P >B >E <1 <2 <C");
    assert!(queue.is_empty() && !queue.is_idle());
    let (queue, _) = play(">P >B >E >S >P <1 <2 <C");
    assert!(queue.awaits_ready());
    let (queue, _) = play(">P >B >E >S >P <1 <2 <C <Z <1");
    assert!(!queue.is_idle() && !queue.awaits_ready());
    check(">P >B >E <1 <2 <C >S <Z");
}

#[test]
fn an_error_forgets_the_pipeline_up_to_its_sync() {
    let events = check(">P >B >E >S >P >S <1 <E <Z <1 <Z");
    let failed = Event::Failed {
        note: Some(Hidden::Absent),
        statement: 0,
        skipped: vec![Hidden::Absent],
    };
    assert_eq!(events[1], failed);
}

#[test]
fn queries_and_function_calls_before_the_sync_are_skipped_too() {
    check(">P >Q >F >B >S >Q <E <Z <C <Z");
}

#[test]
fn what_is_sent_after_an_error_and_before_the_sync_is_skipped() {
    let (queue, _) = play(">P <E");
    assert!(queue.is_skipping() && !queue.is_idle());
    check(">P <E >B >E >Q >c >S <Z >Q <C <Z");
}

#[test]
fn an_error_at_sync_is_followed_by_its_ready() {
    check(">P >B >E >S >Q <1 <2 <C <E <Z <C <Z");
}

#[test]
fn an_error_that_ends_the_connection_comes_at_any_time() {
    assert_eq!(check("<F"), [Event::Fatal]);
    let (queue, events) = play(">Q <T <F");
    assert_eq!((queue.len(), &events[..]), (1, &[Event::Fatal][..]));
}

#[test]
fn notices_parameters_and_notifications_belong_to_nothing() {
    check("<N <S <A >P <N >B <A <1 <S <2 >S <A <Z <A");
}

#[test]
fn messages_of_the_future_pass() {
    check("<! >Q <! <C <! <Z");
}

#[test]
fn copy_out_is_part_of_its_statement() {
    check(">Q <H <d <d <c <C <Z >P >B >E >S <1 <2 <H <d <c <C <Z");
}

#[test]
fn copy_in_by_simple_query_ends_with_its_marker() {
    check(">Q <G >c <C <Z");
    check(">Q >c <G <C <Z");
}

#[test]
fn two_copies_of_one_query_have_a_marker_each() {
    check(">Q <G >c <C <G >c <C <Z");
    check(">Q >c >c >Q <G <C <G <C <Z <C <Z");
}

#[test]
fn the_server_swallows_a_sync_sent_behind_the_execute_of_a_copy() {
    check(">P >B >E >S <1 <2 <G >c >S <C <Z");
    check(">P >B >E >S >c >S <1 <2 <G <C <Z");
    check(">P >B >E <1 <2 <G >S >S >c >S <C <Z");
}

#[test]
fn a_copy_that_fails_before_it_begins_leaves_every_sync_answered() {
    check(">P >B >E >S >c >S <1 <2 <E <Z <Z");
}

#[test]
fn a_copy_that_fails_in_the_middle_ignores_what_comes_late() {
    check(">Q <G <E <Z >c >Q <C <Z");
    check(">Q <G <E >c <Z >Q <C <Z");
    check(">P >B >E <1 <2 <G <E >c >S <Z");
}

#[test]
fn a_failed_copy_may_or_may_not_answer_the_sync_in_it() {
    let swallowed = ">P >B >E >S <1 <2 <G <E >c >S <Z";
    check(&format!("{swallowed} >Q <C <Z"));
    check(&format!("{swallowed} <Z >Q <C <Z"));
    check(&format!("{swallowed} >P >B <Z >S <1 <2 <Z"));
    check(">P >B >E >S <1 <2 <G <E <Z >c >S <Z");
}

#[test]
fn a_sync_of_a_failed_copy_is_not_taken_for_the_end_of_the_next_query() {
    check(">Q <G >S <E <Z >Q <Z <C <Z");
    check(">Q <G >S >S >Q >Q <E <Z <Z <Z <C <Z <C <Z");
    check(">P >B >E <1 <2 <G >S <E <Z >Q >Q <C <Z <E <Z");
    check(">P >B >E >S <1 <2 <G <E >c >S <Z >Q <Z <T <D <C <Z");
    check(">Q <G >S <E <Z >*Q <Z <T- <Do <C- <Z- >Q <C <Z");
}

#[test]
fn no_more_syncs_than_were_swallowed_are_answered_late() {
    check(">P >B >E >S <1 <2 <G <E >c >S <Z <Z <Z?");
    check(">P >B >E >S <1 <2 <G >c >S <C <Z <Z?");
    check(">P >B >E >S <1 <2 <G <E >c >S <Z >P >S <1 <Z <Z?");
}

#[test]
fn a_marker_outside_copy_is_void() {
    check(">c >Q <C <Z >Q >c >P >S <C <Z <1 <Z");
}

#[test]
fn copy_in_both_directions_ends_like_any_other() {
    check(">Q <W <d <d >c <d <c <C <Z");
}

#[test]
fn a_replication_stream_ends_when_both_sides_have_said_so() {
    // The client ends it, or the server does first.
    check(">Q <W <d <N >c <d <c <C <C <Z");
    check(">Q <W <d <c >c <C <T <D <C <Z");
    check(">Q <W <E <Z >c >Q <C <Z");
}

#[test]
fn replies_to_flush_come_without_a_sync() {
    let (queue, events) = play(">P >d <1 <t <T");
    assert!(queue.is_empty() && !queue.is_idle() && !queue.is_skipping());
    assert_eq!(events.len(), 2);
    check(">P >d <1 <t <T >B >E <2 <D <s >E <D <C >S <Z");
}

#[test]
fn an_error_behind_a_flush_skips_up_to_the_sync_that_comes_later() {
    check(">P <1 >B <E >E >D >S <Z >P >S <1 <Z");
    let (queue, _) = play(">P <1 >B >E >S >Q <E");
    assert_eq!(queue.len(), 2, "the Sync and the query behind it");
}

#[test]
fn each_kind_of_extended_request_may_be_the_one_that_fails() {
    for request in ["P", "B", "d", "D", "E", "C"] {
        check(&format!(">{request} >E >S >Q <E <Z <C <Z"));
    }
    check(">d >S <t <E <Z");
    check(">E >S <D <D <E <Z");
    check(">E >S <H <d <E <Z");
}

#[test]
fn a_function_call_fails_up_to_its_ready() {
    let events = check(">F >Q <E <Z <C <Z");
    let failed = Event::Failed {
        note: Some(Hidden::Absent),
        statement: 0,
        skipped: vec![],
    };
    assert_eq!(events[0], failed);
    check(">F <N <V <S <Z");
}

#[test]
fn a_query_amid_extended_requests_ends_its_own_group() {
    check(">P >B >Q >S <1 <2 <C <Z <Z");
    check(">P >Q >B >E >S <1 <T <D <C <Z <2 <C <Z");
    check(">B >Q >E >S <2 <E <Z <C <Z");
}

#[test]
fn a_copy_among_statements_does_not_end_its_query() {
    let events = check(">Q <C <G >c <C <H <d <c <C <T <D <C <Z");
    let expected: Vec<_> = (0..4).map(completed).chain([Event::Ready]).collect();
    assert_eq!(events, expected);
    check(">Q <G >c <C <E <Z");
}

#[test]
fn a_connection_may_end_before_its_session_begins() {
    let (_, events) = play(">$ <R <F");
    assert_eq!(events, [Event::Fatal]);
    check(">$ <v <R <R <N <S <K <Z");
}

#[test]
fn what_comes_while_idle_belongs_to_nothing_and_leaves_the_queue_idle() {
    let events = check("<A <A <S <N <! >Q <A <C <S <Z <A");
    assert_eq!(events, [completed(0), Event::Ready]);
}

#[test]
fn a_reply_that_nothing_asked_for_is_refused() {
    check("<C? <D? <1? <Z? <R? <K?");
    let (queue, _) = play(">P <2? <C? <D? <Z?");
    assert_eq!(queue.len(), 1);
    play(">E <T? <1?");
    play(">Q <s? <1? <K?");
}
