//! Replies in, outcome out: each scenario through one `check`.

use bytes::Bytes;

use super::*;
use crate::contract::TableIndex;
use crate::decide::statement::{Captured, ClientColumns, SessionEffect, WriteKind};
use crate::row::Datum;

/// What the server says, one step each.
#[derive(Debug, Clone)]
enum Step {
    /// A row with this key, captured by transaction 9, and the `INSERT 0 1` that follows.
    Row(u8),
    /// The same with this value and this transaction.
    RowOf(u8, &'static [u8], u64),
    /// A row whose statement has not ended.
    HalfRow(u8),
    /// A statement with this transaction effect, and its command tag.
    Did(TransactionEffect, &'static str),
    /// A statement that writes so, and its command tag.
    Wrote(Write, &'static str),
    /// A SET of `synchronous_commit`.
    Unsafe,
    /// The command tag of a text that could not be read.
    Unread(&'static str),
    /// The command tag of a text that was too long to be read.
    TooLong(&'static str),
    /// A portal of a statement that writes so many rows at most.
    Suspended(usize),
    /// A portal of a statement that writes so.
    Stopped(Write),
    Error,
    Idle,
    InBlock,
}

use Step::{
    Did, Error, HalfRow, Idle, InBlock, Row, RowOf, Stopped, Suspended, TooLong, Unread, Unsafe,
    Wrote,
};
use TransactionEffect as Effect;

fn row(key: u8, value: &'static [u8]) -> TransactionRow {
    let image = Image::new(vec![Datum::Binary(Bytes::from_static(value))]);
    TransactionRow {
        key: RowKey::from_stored(TableIndex::new(0), Bytes::from(vec![key])),
        lsn: Lsn::new(1),
        image: Some(image),
    }
}

fn statement(write: Write) -> Statement {
    Statement {
        write,
        ..Statement::default()
    }
}

fn form() -> Captured {
    Captured {
        kind: WriteKind::Upsert,
        client_columns: ClientColumns::None,
        table_oid: 1,
        rows_max: 1,
    }
}

fn captured() -> Statement {
    statement(Write::Captured(form()))
}

fn run(steps: &[Step]) -> Vec<Outcome> {
    let mut transaction = ClientTransaction::default();
    let mut outcomes = Vec::new();
    for step in steps {
        let outcome = match step.clone() {
            Row(key) => {
                transaction.captured(Xid::new(9), row(key, b"v"));
                transaction.completed(Ok(&captured()), b"INSERT 0 1")
            }
            RowOf(key, value, xid) => {
                transaction.captured(Xid::new(xid), row(key, value));
                transaction.completed(Ok(&captured()), b"UPDATE 1")
            }
            HalfRow(key) => {
                transaction.captured(Xid::new(9), row(key, b"v"));
                None
            }
            Did(effect, tag) => {
                let statement = Statement {
                    transaction: effect,
                    ..Statement::default()
                };
                transaction.completed(Ok(&statement), tag.as_bytes())
            }
            Wrote(write, tag) => transaction.completed(Ok(&statement(write)), tag.as_bytes()),
            Unsafe => {
                let statement = Statement {
                    session: SessionEffect::None,
                    touches_durability: true,
                    ..Statement::default()
                };
                transaction.completed(Ok(&statement), b"SET")
            }
            Unread(tag) => transaction.completed(Err(DeferReason::Unparsable), tag.as_bytes()),
            TooLong(tag) => transaction.completed(Err(DeferReason::TextTooLong), tag.as_bytes()),
            Suspended(rows_max) => {
                transaction.suspended(Some(&Write::Captured(Captured { rows_max, ..form() })));
                None
            }
            Stopped(write) => {
                transaction.suspended(Some(&write));
                None
            }
            Error => {
                transaction.failed();
                None
            }
            Idle => transaction.ready(Ready::Idle),
            InBlock => transaction.ready(Ready::InBlock),
        };
        outcomes.extend(outcome);
    }
    outcomes
}

/// The keys that each outcome commits, or why it is deferred.
#[track_caller]
fn check(steps: &[Step], expected: &[Result<&[u8], DeferReason>]) {
    let outcomes: Vec<_> = run(steps)
        .into_iter()
        .map(|outcome| match outcome {
            Outcome::Committed { rows, .. } => {
                Ok(rows.iter().map(|row| row.key.bytes()[0]).collect())
            }
            Outcome::Deferred { reason, .. } => Err(reason),
        })
        .collect::<Vec<Result<Vec<u8>, DeferReason>>>();
    let expected: Vec<_> = expected.iter().map(|it| it.map(<[u8]>::to_vec)).collect();
    assert_eq!(outcomes, expected, "{steps:?}");
}

fn begin() -> Step {
    Did(Effect::Begin, "BEGIN")
}

fn commit() -> Step {
    Did(Effect::Commit, "COMMIT")
}

fn rollback() -> Step {
    Did(Effect::Rollback, "ROLLBACK")
}

fn savepoint(name: &str) -> Step {
    Did(Effect::Savepoint(name.into()), "SAVEPOINT")
}

fn rollback_to(name: &str) -> Step {
    Did(Effect::RollbackTo(name.into()), "ROLLBACK")
}

fn release(name: &str) -> Step {
    Did(Effect::Release(name.into()), "RELEASE")
}

#[test]
fn rows_are_handed_out_when_the_server_says_they_are_committed() {
    check(&[Row(1)], &[]);
    check(&[Row(1), Idle], &[Ok(&[1])]);
    check(&[begin(), InBlock, Row(1), InBlock], &[]);
    check(
        &[begin(), InBlock, Row(1), InBlock, commit(), Idle],
        &[Ok(&[1])],
    );
    // One simple text, or one pipeline.
    check(
        &[begin(), Row(1), commit(), Row(2), Idle],
        &[Ok(&[1]), Ok(&[2])],
    );
    check(&[Row(1), Row(2), Idle], &[Ok(&[1, 2])]);
    // BEGIN takes what came before it in the same text into its block.
    check(
        &[Row(1), begin(), Row(2), InBlock, commit(), Idle],
        &[Ok(&[1, 2])],
    );
    check(&[Row(1), commit(), Row(2), Idle], &[Ok(&[1]), Ok(&[2])]);
    check(
        &[
            begin(),
            InBlock,
            Row(1),
            commit(),
            InBlock,
            Row(2),
            commit(),
            Idle,
        ],
        &[Ok(&[1]), Ok(&[2])],
    );
    check(&[begin(), InBlock, commit(), Idle], &[]);
}

#[test]
fn what_is_rolled_back_is_never_handed_out() {
    check(&[begin(), InBlock, Row(1), rollback(), Idle], &[]);
    check(
        &[begin(), InBlock, Row(1), Error, InBlock, rollback(), Idle],
        &[],
    );
    // A failed transaction answers COMMIT with ROLLBACK.
    let failed_commit = Did(Effect::Commit, "ROLLBACK");
    check(
        &[
            begin(),
            InBlock,
            Row(1),
            Error,
            InBlock,
            failed_commit,
            Idle,
        ],
        &[],
    );
    // COMMIT itself fails: a deferred constraint.
    check(&[begin(), InBlock, Row(1), Error, Idle], &[]);
    check(&[begin(), Row(1), Error, Idle, Row(2), Idle], &[Ok(&[2])]);
    check(&[Row(1), Error, Idle], &[]);
    check(&[Row(1), Row(2), Error, Idle, Row(3), Idle], &[Ok(&[3])]);
    check(
        &[
            begin(),
            InBlock,
            Row(1),
            rollback(),
            InBlock,
            Row(2),
            commit(),
            Idle,
        ],
        &[Ok(&[2])],
    );
    check(&[Row(1), rollback(), Row(2), Idle], &[Ok(&[2])]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn savepoints_drop_their_part() {
    check(
        &[
            begin(),
            Row(1),
            savepoint("a"),
            Row(2),
            rollback_to("a"),
            Row(3),
            commit(),
            Idle,
        ],
        &[Ok(&[1, 3])],
    );
    check(
        &[
            begin(),
            savepoint("a"),
            Row(1),
            release("a"),
            Row(2),
            commit(),
            Idle,
        ],
        &[Ok(&[1, 2])],
    );
    check(
        &[
            begin(),
            savepoint("a"),
            Row(1),
            savepoint("b"),
            Row(2),
            release("b"),
            rollback_to("a"),
            commit(),
            Idle,
        ],
        &[],
    );
    // The same name again hides the older one until it is released.
    check(
        &[
            begin(),
            savepoint("a"),
            Row(1),
            savepoint("a"),
            Row(2),
            rollback_to("a"),
            release("a"),
            Row(3),
            rollback_to("a"),
            Row(4),
            commit(),
            Idle,
        ],
        &[Ok(&[4])],
    );
    // A statement that failed halfway, and the transaction saved by its savepoint.
    check(
        &[
            begin(),
            Row(1),
            savepoint("a"),
            HalfRow(2),
            Error,
            InBlock,
            rollback_to("a"),
            commit(),
            Idle,
        ],
        &[Ok(&[1])],
    );
    check(
        &[begin(), rollback_to("never"), Row(1), commit(), Idle],
        &[Err(DeferReason::Uncaptured)],
    );
}

#[test]
fn a_deferred_write_defers_the_whole_transaction() {
    let bulk = || Wrote(Write::Deferred(DeferReason::Bulk), "UPDATE 500");
    check(&[bulk(), Idle], &[Err(DeferReason::Bulk)]);
    check(
        &[begin(), Row(1), bulk(), Row(2), commit(), Idle],
        &[Err(DeferReason::Bulk)],
    );
    check(&[begin(), bulk(), rollback(), Row(1), Idle], &[Ok(&[1])]);
    // Taken back with its savepoint, it defers nothing.
    check(
        &[
            begin(),
            Row(1),
            savepoint("a"),
            bulk(),
            rollback_to("a"),
            Row(2),
            commit(),
            Idle,
        ],
        &[Ok(&[1, 2])],
    );
    check(
        &[
            begin(),
            Row(1),
            savepoint("a"),
            bulk(),
            release("a"),
            commit(),
            Idle,
        ],
        &[Err(DeferReason::Bulk)],
    );
    // It wrote nothing.
    let none = Wrote(Write::Deferred(DeferReason::Unkeyed), "UPDATE 0");
    check(&[Row(1), none, Idle], &[Ok(&[1])]);
    let cte = Wrote(Write::Deferred(DeferReason::WithClause), "SELECT 0");
    check(&[cte, Idle], &[Err(DeferReason::WithClause)]);
    let truncate = Wrote(Write::Deferred(DeferReason::Truncate), "TRUNCATE TABLE");
    check(&[Row(1), truncate, Idle], &[Err(DeferReason::Truncate)]);
}

#[test]
fn what_may_have_written_defers_captured_rows_only() {
    let suspect = || Wrote(Write::Suspect(DeferReason::UserFunction), "SELECT 1");
    check(&[suspect(), Idle], &[]);
    check(
        &[suspect(), Row(1), Idle],
        &[Err(DeferReason::UserFunction)],
    );
    let call = || Did(Effect::Uncertain, "CALL");
    check(&[call(), Idle], &[]);
    // Outside a block it may have rolled back what came before.
    check(&[Row(1), call(), Idle], &[Err(DeferReason::Procedure)]);
    check(
        &[begin(), InBlock, Row(1), call(), commit(), Idle],
        &[Err(DeferReason::Procedure)],
    );
}

#[test]
fn tables_that_are_not_carried_defer_nothing() {
    let no_table = DeferReason::NotInContract;
    let outside = || Wrote(Write::Outside(no_table), "INSERT 0 1");
    check(&[begin(), Row(1), outside(), commit(), Idle], &[Ok(&[1])]);
    check(&[outside(), Idle], &[Err(DeferReason::NotInContract)]);
    check(&[Wrote(Write::Outside(no_table), "UPDATE 0"), Idle], &[]);
    let temporary = || Wrote(Write::Outside(DeferReason::TemporaryTable), "INSERT 0 1");
    check(&[temporary(), Idle], &[Err(DeferReason::TemporaryTable)]);
    check(&[Row(1), temporary(), Idle], &[Ok(&[1])]);
    for both in [[temporary(), outside()], [outside(), temporary()]] {
        let [first, second] = both;
        let steps = [begin(), InBlock, first, second, commit(), Idle];
        check(&steps, &[Err(DeferReason::NotInContract)]);
    }
}

#[test]
fn command_tags_tell_of_writes_that_the_text_did_not_show() {
    check(
        &[Wrote(Write::None, "UPDATE 1"), Idle],
        &[Err(DeferReason::Uncaptured)],
    );
    check(
        &[Wrote(Write::None, "MERGE 2"), Idle],
        &[Err(DeferReason::Uncaptured)],
    );
    check(&[Wrote(Write::None, "DELETE 0"), Row(1), Idle], &[Ok(&[1])]);
    check(&[Wrote(Write::None, "COPY 5"), Row(1), Idle], &[Ok(&[1])]);
    check(&[Wrote(Write::None, "SELECT 5"), Row(1), Idle], &[Ok(&[1])]);
    check(
        &[Unread("INSERT 0 1"), Idle],
        &[Err(DeferReason::Unparsable)],
    );
    check(&[Unread("COPY 1"), Idle], &[Err(DeferReason::Unparsable)]);
    check(
        &[Row(1), Unread("SELECT 1"), Idle],
        &[Err(DeferReason::Unparsable)],
    );
    check(
        &[Row(1), TooLong("INSERT 0 9000"), Idle],
        &[Err(DeferReason::TextTooLong)],
    );
    check(
        &[TooLong("UPDATE 1"), Idle],
        &[Err(DeferReason::TextTooLong)],
    );
    check(
        &[Unread("BEGIN"), InBlock, Row(1), Unread("COMMIT"), Idle],
        &[Ok(&[1])],
    );
    check(
        &[Unread("BEGIN"), InBlock, Row(1), Unread("ROLLBACK"), Idle],
        &[],
    );
    // A captured statement whose rows were not all seen.
    let more = Wrote(captured().write, "UPDATE 2");
    check(&[HalfRow(1), more, Idle], &[Err(DeferReason::Uncaptured)]);
    check(
        &[HalfRow(1), Suspended(2), Idle],
        &[Err(DeferReason::Cursor)],
    );
}

#[test]
fn what_stops_at_a_row_limit_is_counted_as_what_it_is() {
    let outside = || Stopped(Write::Outside(DeferReason::NotInContract));
    check(&[outside(), Idle], &[Err(DeferReason::NotInContract)]);
    check(&[Row(1), outside(), Idle], &[Ok(&[1])]);
    check(&[Stopped(Write::None), Idle], &[]);
    let bulk = Stopped(Write::Deferred(DeferReason::Bulk));
    check(&[bulk, Idle], &[Err(DeferReason::Bulk)]);
    let calls = || Stopped(Write::Suspect(DeferReason::UserFunction));
    check(&[calls(), Idle], &[]);
    check(&[Row(1), calls(), Idle], &[Err(DeferReason::UserFunction)]);
}

#[test]
fn a_row_limit_hides_nothing_of_a_statement_that_has_shown_all_it_can_write() {
    check(&[HalfRow(1), Suspended(1), Idle], &[Ok(&[1])]);
    check(
        &[HalfRow(1), HalfRow(2), Suspended(2), Row(3), Idle],
        &[Ok(&[1, 2, 3])],
    );
    // The portal is asked for more, and has nothing.
    let none = Wrote(captured().write, "INSERT 0 0");
    check(&[HalfRow(1), Suspended(1), none, Idle], &[Ok(&[1])]);
    // An error of the next statement does not undo it.
    check(
        &[
            begin(),
            InBlock,
            HalfRow(1),
            Suspended(1),
            HalfRow(2),
            Error,
            commit(),
            Idle,
        ],
        &[Ok(&[1])],
    );
    check(
        &[Row(1), HalfRow(2), Suspended(2), Idle],
        &[Err(DeferReason::Cursor)],
    );
}

#[test]
fn commits_that_are_not_safe_or_not_here_are_deferred() {
    check(
        &[begin(), Row(1), Unsafe, commit(), Idle],
        &[Err(DeferReason::NotDurable)],
    );
    check(&[begin(), Unsafe, Row(1), commit(), Idle], &[Ok(&[1])]);
    let prepare = |tag| Did(Effect::Prepare, tag);
    check(
        &[begin(), Row(1), prepare("PREPARE TRANSACTION"), Idle],
        &[Err(DeferReason::TwoPhase)],
    );
    check(&[begin(), Row(1), Error, prepare("ROLLBACK"), Idle], &[]);
    check(
        &[RowOf(1, b"a", 9), RowOf(2, b"a", 10), Idle],
        &[Err(DeferReason::SeveralTransactions)],
    );
    check(
        &[RowOf(1, b"a", 9), Idle, RowOf(2, b"a", 10), Idle],
        &[Ok(&[1]), Ok(&[2])],
    );
}

#[test]
fn the_last_version_of_each_key_counts() {
    let outcomes = run(&[
        RowOf(1, b"a", 9),
        RowOf(2, b"b", 9),
        RowOf(1, b"c", 9),
        Idle,
    ]);
    let rows = vec![row(1, b"c"), row(2, b"b")];
    let xid = Xid::new(9);
    assert_eq!(outcomes, [Outcome::Committed { xid, rows }]);
}

#[test]
fn a_deferred_transaction_still_tells_its_xid() {
    let bulk = Wrote(Write::Deferred(DeferReason::Bulk), "UPDATE 500");
    let deferred = |xid| Outcome::Deferred {
        xid,
        reason: DeferReason::Bulk,
        tables: Vec::new(),
    };
    let late = run(&[begin(), bulk.clone(), Row(1), commit()]);
    assert_eq!(late, [deferred(Some(Xid::new(9)))]);
    assert_eq!(run(&[bulk, Idle]), [deferred(None)]);
}

#[test]
fn what_is_left_to_the_stream_tells_its_tables() {
    let mut transaction = ClientTransaction::default();
    let bulk = |table, tag: &[u8], transaction: &mut ClientTransaction| {
        transaction.wrote_to(TableIndex::new(table), tag);
        let write = statement(Write::Deferred(DeferReason::Bulk));
        transaction.completed(Ok(&write), tag)
    };
    transaction.captured(Xid::new(9), row(1, b"a"));
    transaction.completed(Ok(&statement(Write::Captured(form()))), b"UPDATE 1");
    transaction.save("s".to_owned());
    bulk(5, b"UPDATE 500", &mut transaction);
    transaction.rollback_to("s");
    bulk(3, b"UPDATE 500", &mut transaction);
    bulk(4, b"UPDATE 0", &mut transaction);
    bulk(3, b"TRUNCATE TABLE", &mut transaction);
    let outcome = transaction.completed(
        Ok(&Statement {
            transaction: Effect::Commit,
            ..Statement::default()
        }),
        b"COMMIT",
    );
    let tables = [3, 0].map(TableIndex::new).to_vec();
    let (xid, reason) = (Some(Xid::new(9)), DeferReason::Bulk);
    let expected = Outcome::Deferred {
        xid,
        reason,
        tables,
    };
    assert_eq!(outcome, Some(expected));
}

#[test]
fn memory_is_bounded_in_rows_bytes_and_savepoints() {
    let rows: Vec<Step> = std::iter::once(begin())
        .chain((0..=ROWS_MAX).map(|_| Row(1)))
        .chain([commit()])
        .collect();
    check(&rows, &[Err(DeferReason::TooLarge)]);
    let mut transaction = ClientTransaction::default();
    for key in 0..20 {
        let value = Datum::Binary(Bytes::from(vec![0; BYTES_MAX / 10]));
        let image = Some(Image::new(vec![value]));
        transaction.captured(
            Xid::new(9),
            TransactionRow {
                image,
                ..row(key, b"")
            },
        );
        assert!(transaction.size <= BYTES_MAX);
    }
    for _ in 0..2 * SAVEPOINTS_MAX {
        transaction.save("s".to_owned());
    }
    assert_eq!(transaction.savepoints.len(), SAVEPOINTS_MAX);
}
