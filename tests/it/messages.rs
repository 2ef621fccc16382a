//! Messages that most clients never send, and encodings that most databases do not have.

use harness::raw_client::{Frame, RawClient, message::*};
use harness::{Bed, Database};

use crate::fidelity::{masked, readable};
use crate::ways::Ways;

const SCHEMA: &str = "CREATE TABLE kept (id int PRIMARY KEY, word text); \
                      INSERT INTO kept VALUES (1, 'ü')";

/// OIDs of built-in functions.
const INT4_PLUS: u32 = 177;
const INT4_DIVIDE: u32 = 154;

/// A call of the function with this OID, arguments and result in binary.
fn function_call(oid: u32, arguments: &[&[u8]]) -> Vec<u8> {
    let mut body = oid.to_be_bytes().to_vec();
    body.extend([0, 1, 0, 1]);
    body.extend(u16::try_from(arguments.len()).unwrap().to_be_bytes());
    for argument in arguments {
        body.extend(i32::try_from(argument.len()).unwrap().to_be_bytes());
        body.extend_from_slice(argument);
    }
    body.extend([0, 1]);
    framed(b'F', &body)
}

fn framed(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag], &length[..], body].concat()
}

/// A simple query of any bytes.
fn query_of(text: &[u8]) -> Vec<u8> {
    framed(b'Q', &[text, b"\0"].concat())
}

/// What comes of these requests, each sent when the one before has been answered.
async fn played(database: &Database, parameters: &[(&str, &str)], steps: &[Vec<u8>]) -> Vec<Frame> {
    let mut client = RawClient::connect_with(database, parameters).await.unwrap();
    let mut frames = masked(std::mem::take(&mut client.startup));
    for step in steps {
        client.send(step).await.unwrap();
        frames.extend(client.until_ready(1).await.unwrap());
    }
    frames
}

/// Plays the same every way and compares.
async fn check(ways: &Ways, parameters: &[(&str, &str)], steps: &[Vec<u8>]) -> Vec<Frame> {
    let mut all = ways.all().into_iter();
    let (_, direct) = all.next().unwrap();
    let expected = played(&direct, parameters, steps).await;
    for (way, database) in all {
        let seen = played(&database, parameters, steps).await;
        assert_eq!(readable(&seen), readable(&expected), "{way}");
    }
    expected
}

#[tokio::test]
async fn function_calls_look_the_same() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let ways = Ways::to(&bed.source).await;
    let number = |value: i32| value.to_be_bytes();
    let steps = [
        function_call(INT4_PLUS, &[&number(40), &number(2)]),
        function_call(INT4_DIVIDE, &[&number(1), &number(0)]),
        function_call(1, &[]),
        query("BEGIN; UPDATE kept SET word = 'in a transaction' WHERE id = 1"),
        function_call(INT4_PLUS, &[&number(1), &number(1)]),
        query("ROLLBACK"),
        query("SELECT word FROM kept"),
    ];
    let frames = check(&ways, &[], &steps).await;
    assert_eq!(frames.iter().filter(|frame| frame.tag == b'V').count(), 2);
    ways.finish().await;
}

#[tokio::test]
async fn other_client_encodings_look_the_same() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let ways = Ways::to(&bed.source).await;
    let steps = [
        query_of(b"SELECT word, '\xe9' FROM kept"),
        query_of(b"UPDATE kept SET word = '\xe9t\xe9' WHERE id = 1 RETURNING word, length(word)"),
        query_of(b"SELECT nothing, '\xe9'"),
        query_of(b"SET client_encoding = 'UTF8'"),
        query_of("UPDATE kept SET word = 'ü' WHERE id = 1 RETURNING word".as_bytes()),
        // No UTF-8: the server says so.
        query_of(b"UPDATE kept SET word = '\xe9' WHERE id = 1"),
        query_of(b"SET client_encoding = 'SJIS'"),
        // A backslash within a letter.
        query_of(b"SELECT '\x95\x5c', word FROM kept"),
        query_of(b"UPDATE kept SET word = '\x95\x5c' WHERE id = 1 RETURNING word"),
        query_of("RESET client_encoding".as_bytes()),
        query_of(b"UPDATE kept SET word = '\xfc' WHERE id = 1"),
    ];
    check(&ways, &[("client_encoding", "LATIN1")], &steps).await;
    ways.finish().await;
}

#[tokio::test]
async fn a_database_that_is_not_utf_8_looks_the_same() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    for encoding in ["LATIN1", "SQL_ASCII", "EUC_JP"] {
        let name = format!("{}_{}", bed.source.name, encoding.to_lowercase());
        let make =
            format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'");
        bed.source.execute(&make).await.unwrap();
        let database = bed.source.clone().of_name(&name);
        let table =
            "CREATE TABLE kept (id int PRIMARY KEY, word text); INSERT INTO kept VALUES (1)";
        database.execute(table).await.unwrap();
        let ways = Ways::to(&database).await;
        let steps = [
            query_of(b"UPDATE kept SET word = 'plain' WHERE id = 1 RETURNING word"),
            query_of(b"UPDATE kept SET word = '\xe9\xe9' WHERE id = 1 RETURNING word, octet_length(word)"),
            query_of(b"SELECT word FROM kept"),
            query_of(b"UPDATE kept SET word = '\xe9' WHERE id = 1"),
            query_of(b"INSERT INTO kept VALUES (1, '\xe9\xe9')"),
            query_of(b"UPDATE kept SET word = NULL WHERE id = 1"),
        ];
        check(&ways, &[], &steps).await;
        ways.finish().await;
    }
}

#[tokio::test]
async fn notices_and_settings_come_in_the_middle_of_anything() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let ways = Ways::to(&bed.source).await;
    let noisy = "DO $$ BEGIN RAISE NOTICE 'one'; PERFORM set_config('application_name', 'x', false); \
                 RAISE WARNING 'two'; END $$";
    let steps = [
        query(&format!(
            "SELECT 1; {noisy}; UPDATE kept SET word = 'a' WHERE id = 1"
        )),
        query(
            "SET DateStyle = 'German'; UPDATE kept SET word = 'b' WHERE id = 1 RETURNING '2020-01-02'::date",
        ),
        query("BEGIN; SET LOCAL TimeZone = 'Asia/Tokyo'; UPDATE kept SET word = 'c' WHERE id = 1"),
        query("COMMIT"),
        [
            parse("", "UPDATE kept SET word = 'd' WHERE id = 1"),
            bind("", "", &[], &[]),
            execute("", 0),
            parse("", noisy),
            bind("", "", &[], &[]),
            execute("", 0),
            sync(),
        ]
        .concat(),
        query("SET client_min_messages = debug1; UPDATE kept SET word = 'e' WHERE id = 1"),
        query("BEGIN; BEGIN; COMMIT; COMMIT"),
    ];
    let frames = check(&ways, &[], &steps).await;
    assert!(frames.iter().filter(|frame| frame.tag == b'N').count() >= 6);
    ways.finish().await;
}

#[tokio::test]
async fn messages_out_of_place_look_the_same() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let ways = Ways::to(&bed.source).await;
    let write = "UPDATE kept SET word = 'after' WHERE id = 1";
    let steps = [
        // Left over from a COPY: not answered.
        [
            copy_data(b"1\n"),
            copy_done(),
            copy_fail("why"),
            query(write),
        ]
        .concat(),
        // A COPY that the client does not know of.
        [query("COPY kept FROM STDIN"), copy_fail("no")].concat(),
        query(write),
        [execute("nobody", 0), query("SELECT 'skipped'"), sync()].concat(),
        query(write),
    ];
    check(&ways, &[], &steps).await;
    ways.finish().await;
}
