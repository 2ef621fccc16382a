//! What statements do to the session and to its transaction.

use super::*;

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
