//! Every type from the source through the hidden column to the target: as text and as bytes.
//!
//! For each type there is a table with a column and an array of it, and one with a key of it where
//! the type can be one. The proxy runs alone first, so that what the target has then came early; the
//! log comes after and has to find nothing to do there. Does not test what statements do.

mod logged;
mod values;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures_util::SinkExt as _;
use harness::raw_client::{RawClient, message};
use harness::{Bed, Database, wait};
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::capture_table::counts;
use crate::ground::Ground;
use values::{MADE, TYPES, Type, Way};

/// What the mirror has not brought by then is not early; usually it takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Types whose equality is equality of bytes, or of a normal form: the mirror brings rows by them.
const EARLY_KEYS: &[&str] = &[
    "bool",
    "bytea",
    "\"char\"",
    "name",
    "int8",
    "int2",
    "int4",
    "text",
    "oid",
    "cidr",
    "inet",
    "macaddr",
    "macaddr8",
    "money",
    "varchar",
    "varchar(3)",
    "date",
    "time",
    "time(0)",
    "timestamp",
    "timestamptz",
    "bit(5)",
    "bit(9)",
    "varbit",
    "numeric",
    "numeric(8,3)",
    "uuid",
    "pg_lsn",
    "xid8",
    "mood",
    "positive",
    "most_positive",
];

/// One type of the table, where both servers have it.
struct Subject {
    number: usize,
    of: &'static Type,
    /// The table's word, but where the target has a fault.
    way: Way,
    /// It can be a key.
    is_key: bool,
    /// The same OIDs at both sides.
    is_built_in: bool,
}

impl Subject {
    fn is_early(&self) -> bool {
        self.way == Way::Early
    }

    fn has_early_key(&self) -> bool {
        self.is_key && EARLY_KEYS.contains(&self.of.name)
    }

    fn table(&self) -> String {
        let Self { number, of, .. } = self;
        // An array of what has no binary form could not be carried.
        let array = match self.way {
            Way::Early => format!(", a {}[]", of.name),
            Way::Logged(_) | Way::LeftOut | Way::Empty => String::new(),
        };
        format!(
            "CREATE TABLE t{number} (id int PRIMARY KEY, v {}{array})",
            of.name
        )
    }

    fn key_table(&self) -> String {
        format!(
            "CREATE TABLE k{} (v {} PRIMARY KEY, n int)",
            self.number, self.of.name
        )
    }

    fn literals(&self) -> Vec<String> {
        let values = self.of.values.iter();
        values
            .map(|value| format!("'{value}'::{}", self.of.name))
            .collect()
    }

    /// Writes every value, in arrays too, and by key.
    fn statements(&self) -> Vec<String> {
        let (number, name) = (self.number, self.of.name);
        let literals = self.literals();
        let mut statements = vec![format!("INSERT INTO t{number} VALUES (0, NULL)")];
        for (id, literal) in (1..).zip(&literals) {
            statements.push(format!(
                "INSERT INTO t{number} (id, v) VALUES ({id}, {literal})"
            ));
            statements.push(format!("UPDATE t{number} SET v = {literal} WHERE id = 0"));
        }
        if self.is_early() {
            let all = literals.join(", ");
            statements.push(format!(
                "INSERT INTO t{number} (id, a) VALUES (100, ARRAY[{all}]::{name}[]), \
                 (101, '{{}}'), (102, ARRAY[NULL, {all}, NULL]::{name}[]), (103, NULL)"
            ));
            if name != "matrix" {
                for (id, literal) in (200..).zip(&literals) {
                    statements.push(format!(
                        "INSERT INTO t{number} (id, a) VALUES ({id}, array_fill({literal}, ARRAY[2, 1], ARRAY[-1, 5]))"
                    ));
                }
                statements.push(format!(
                    "UPDATE t{number} SET a[2] = v, a[4] = NULL, a[5:6] = a[1:2] WHERE id = 0"
                ));
            }
        }
        if self.is_key {
            for literal in &literals {
                statements.push(format!(
                    "INSERT INTO k{number} VALUES ({literal}, 1) ON CONFLICT DO NOTHING"
                ));
                statements.push(format!("UPDATE k{number} SET n = 2 WHERE v = {literal}"));
            }
            if let Some(first) = literals.first() {
                statements.push(format!("DELETE FROM k{number} WHERE v = {first}"));
            }
        }
        statements
    }

    /// What both sides must agree on, as text and, where no OID of a made type is inside, as bytes.
    fn questions(&self) -> Vec<(String, u8)> {
        let number = self.number;
        let array = if self.is_early() { ", a::text" } else { "" };
        let table = format!("SELECT id, v::text{array} FROM t{number} ORDER BY id");
        let mut questions = vec![(table, 0)];
        if self.is_early() && self.is_built_in {
            questions.push((format!("SELECT id, v, a FROM t{number} ORDER BY id"), 1));
        }
        questions
    }

    fn key_questions(&self) -> Vec<(String, u8)> {
        let number = self.number;
        let text = format!("SELECT v::text, n FROM k{number} ORDER BY v");
        let mut questions = vec![(text, 0)];
        if self.is_built_in {
            questions.push((format!("SELECT v, n FROM k{number} ORDER BY v"), 1));
        }
        questions
    }
}

async fn has(client: &Client, sql: &str, name: &str) -> bool {
    client.query_one(sql, &[&name]).await.unwrap().get(0)
}

/// Types of the table that both servers have, with their tables made.
async fn subjects(bed: &Bed) -> Vec<Subject> {
    let (source, target) = (
        bed.source.connect().await.unwrap(),
        bed.target.connect().await.unwrap(),
    );
    // The same type gets another OID at each side.
    target
        .batch_execute("CREATE TYPE odd AS ENUM (); CREATE TABLE odder ()")
        .await
        .unwrap();
    for client in [&source, &target] {
        client.batch_execute(MADE).await.unwrap();
    }
    let mut subjects = Vec::new();
    for (number, of) in TYPES.iter().enumerate() {
        if let Some(extension) = of.extension {
            let sql = "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = $1)";
            if !has(&source, sql, extension).await || !has(&target, sql, extension).await {
                println!("skipped: {extension} is not installed at both servers");
                continue;
            }
            let create = format!("CREATE EXTENSION IF NOT EXISTS {extension}");
            for client in [&source, &target] {
                client.batch_execute(&create).await.unwrap();
            }
        }
        let sql = "SELECT to_regtype($1) IS NOT NULL";
        if !has(&source, sql, of.name).await || !has(&target, sql, of.name).await {
            continue;
        }
        let sql = "SELECT to_regtype($1)::oid < 16384";
        let mut subject = Subject {
            number,
            of,
            way: of.way,
            is_key: false,
            is_built_in: has(&source, sql, of.name).await,
        };
        if of.name == "tsquery" && !takes_empty_query(&target).await {
            println!("the target does not receive an empty tsquery: it has to be left out");
            subject.way = Way::LeftOut;
        }
        if subject.is_early() {
            subject.is_key = source.batch_execute(&subject.key_table()).await.is_ok();
        }
        source.batch_execute(&subject.table()).await.unwrap();
        target.batch_execute(&subject.table()).await.unwrap();
        if subject.is_key {
            target.batch_execute(&subject.key_table()).await.unwrap();
        }
        subjects.push(subject);
    }
    subjects
}

/// Whether the server reads the empty `tsquery` that it writes; some minor versions do not.
async fn takes_empty_query(client: &Client) -> bool {
    let head = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
    let row = b"\0\x01\0\0\0\x04\0\0\0\0\xff\xff";
    let table = "CREATE TEMPORARY TABLE one (v tsquery)";
    client.batch_execute(table).await.unwrap();
    let copy = "COPY one FROM STDIN (FORMAT binary)";
    let copy = client.copy_in(copy).await.unwrap();
    let mut copy = std::pin::pin!(copy);
    let sent = copy.send(Bytes::from([&head[..], row].concat()));
    sent.await.unwrap();
    let taken = copy.finish().await;
    client.batch_execute("DROP TABLE one").await.unwrap();
    taken.is_ok()
}

/// No type of either server is missing in the table.
async fn nothing_is_forgotten(bed: &Bed) {
    let sql = "SELECT typname FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace \
               AND typtype IN ('b', 'r', 'm') AND (typcategory <> 'A' OR typname ~ '^[^_].*vector$')";
    let bare = |of: &'static Type| of.name.split('(').next().unwrap_or_default();
    let known: BTreeSet<&str> = TYPES.iter().map(|of| bare(of).trim_matches('"')).collect();
    for database in [&bed.source, &bed.target] {
        let rows = database.rows(sql).await.unwrap();
        let names = rows.into_iter().flatten().flatten();
        let missing: Vec<String> = names
            .filter(|name| !known.contains(name.as_str()))
            .collect();
        assert!(missing.is_empty(), "not in the table of types: {missing:?}");
    }
}

/// The rows as they go over the wire.
async fn answer(database: &Database, (sql, format): &(String, u8)) -> Vec<Vec<u8>> {
    let mut client = RawClient::connect(database).await.unwrap();
    let asked = [
        message::parse("", sql),
        message::bind("", "", &[], &[*format]),
        message::execute("", 0),
        message::sync(),
    ];
    client.send(&asked.concat()).await.unwrap();
    let frames = client.until_ready(1).await.unwrap();
    let error = frames.iter().find(|frame| frame.tag == b'E');
    assert!(
        error.is_none(),
        "{sql}: {:?}",
        error.map(|it| it.body.escape_ascii().to_string())
    );
    let rows = frames.into_iter().filter(|frame| frame.tag == b'D');
    rows.map(|frame| frame.body).collect()
}

/// Waits until both sides answer the same; says what they differ in.
async fn disagreement(bed: &Bed, what: &str, question: &(String, u8)) -> Option<String> {
    let expected = answer(&bed.source, question).await;
    let mut found = Vec::new();
    let waited = wait::until_true(what, async || {
        found = answer(&bed.target, question).await;
        Ok(found == expected)
    });
    let in_time = matches!(timeout(PATIENCE, waited).await, Ok(Ok(())));
    let shown = |rows: &[Vec<u8>]| {
        let rows = rows.iter().map(|row| row.escape_ascii().to_string());
        rows.collect::<Vec<_>>().join("\n")
    };
    (!in_time).then(|| {
        let (expected, found) = (shown(&expected), shown(&found));
        format!("{what}: {question:?}\nsource:\n{expected}\ntarget:\n{found}")
    })
}

#[tokio::test]
async fn values_of_every_type_are_mirrored_early_and_the_log_agrees() {
    let bed = Bed::shared("").await.unwrap();
    nothing_is_forgotten(&bed).await;
    let subjects = subjects(&bed).await;
    let ground = Ground::on(bed).await;
    let (proxy, proxied, counts_port) = counts::proxy(&ground).await;
    let client = proxied.connect().await.unwrap();
    client
        .batch_execute("SET lc_monetary = 'C'; SET xmloption = content")
        .await
        .unwrap();
    let mut before = counts::read(counts_port).await;
    let mut logged_rows = 0;
    let mut mismatches: Vec<String> = Vec::new();
    for subject in &subjects {
        for sql in subject.statements() {
            let written = client.simple_query(&sql).await;
            if let Err(error) = written {
                mismatches.push(format!("{}: {sql}: {error:?}", subject.of.name));
            }
            let now = counts::read(counts_port).await;
            let counted = counts::difference(&before, &now);
            before = now;
            mismatches.extend(miscounted(subject, &sql, &counted));
            logged_rows += u64::from(counted.keys().any(|what| what != "captured"));
        }
    }
    assert!(mismatches.is_empty(), "{}", mismatches.join("\n"));
    for subject in subjects.iter().filter(|subject| subject.is_early()) {
        for question in subject.questions() {
            mismatches.extend(disagreement(&ground.bed, subject.of.name, &question).await);
        }
        if subject.has_early_key() {
            for question in subject.key_questions() {
                mismatches.extend(disagreement(&ground.bed, subject.of.name, &question).await);
            }
        }
    }
    if !mismatches.is_empty() {
        let evidence = counts::evidence(&proxy, counts_port).await;
        panic!("{}\n{evidence}", mismatches.join("\n"));
    }
    let reconciler = ground.launch.reconciler(&[]).await.unwrap();
    for subject in subjects
        .iter()
        .filter(|subject| subject.way == Way::LeftOut)
    {
        let sql = format!("SELECT count(*) FROM t{}", subject.number);
        assert_eq!(
            ground.bed.target.value(&sql).await.unwrap(),
            "0",
            "{}",
            subject.of.name
        );
        let sql = format!("TRUNCATE t{}", subject.number);
        ground.bed.source.execute(&sql).await.unwrap();
    }
    let passed = timeout(PATIENCE, ground.bed.caught_up()).await;
    assert!(matches!(passed, Ok(Ok(()))), "{}", reconciler.log());
    ground.converges_without_divergence().await;
    let status = ground.launch.status().await.unwrap();
    let applied = status["rows"]["applied"].as_u64().unwrap();
    assert!(
        applied <= logged_rows,
        "{applied} of {logged_rows}: {status:#}"
    );
    assert_eq!(proxy.terminate().await.unwrap(), 0);
}

/// What was counted for one statement, if it is not what the table says of the type.
fn miscounted(subject: &Subject, sql: &str, counted: &counts::Counts) -> Option<String> {
    let is_of_key = sql.contains(&format!(" k{} ", subject.number));
    let expected = match subject.way {
        Way::Early if is_of_key && !subject.has_early_key() => "key_equality",
        Way::Early => "captured",
        Way::Logged(reason) => reason,
        Way::LeftOut => "not_in_contract",
        Way::Empty => return None,
    };
    // What finds nothing, or conflicts, writes nothing.
    let is_as_said = counted.is_empty() || counted.keys().eq([expected]);
    (!is_as_said).then(|| format!("{}: {sql}: {counted:?}", subject.of.name))
}
