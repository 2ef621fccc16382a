//! Plays the table: both ways, every protocol, and the comparison of everything that can be seen.
//!
//! Goes on after a mismatch, so that one run shows all of them.

use harness::raw_client::{Frame, RawClient, message};
use harness::{Bed, Database, Installation, Pair, Segue, ServerOptions, wait};
use tokio_postgres::Client;

use super::counts::{self, Counts};
use super::{Entry, Protocols, Sent};
use super::{deletes, errors, inserts, limits, others, sessions, tables, updates};
use crate::fidelity::{masked, readable};
use crate::ground::Ground;

/// Rows of each protocol begin at a multiple of this.
const ROWS_PER_WAY: usize = 600;
/// Numbers from here on are of no row.
const NEW_ROWS: usize = 1_000_000;
/// Of longer texts the server shows only the beginning.
const ACTIVITY_BYTES: usize = 60_000;
/// How a text is brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Simple,
    ExtendedText,
    ExtendedBinary,
    /// A named statement, described before and after it is bound, and stopped after one row.
    ExtendedLimited,
}

const WAYS: [Way; 4] = [
    Way::Simple,
    Way::ExtendedText,
    Way::ExtendedBinary,
    Way::ExtendedLimited,
];

/// One entry with its numbers filled in.
struct Line<'a> {
    entry: &'a Entry,
    way: Way,
    number: usize,
}

impl Line<'_> {
    fn text(&self, text: &str, database: &Database) -> String {
        let new = (NEW_ROWS + self.number).to_string();
        let text = text
            .replace(":db", &database.name)
            .replace(":new", &new)
            .replace(":n", &self.number.to_string());
        repeated(&text)
    }

    fn request(&self, database: &Database) -> Vec<u8> {
        let text = self.text(self.entry.text, database);
        let values = self.entry.values.iter();
        let values: Vec<String> = values.map(|value| self.text(value, database)).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let unnamed = |formats: &[u8]| {
            [
                message::parse("", &text),
                message::describe_statement(""),
                message::bind("", "", &values, formats),
                message::describe_portal(""),
                message::execute("", 0),
                message::sync(),
            ]
            .concat()
        };
        match self.way {
            Way::Simple => message::query(&text),
            Way::ExtendedText => unnamed(&[]),
            Way::ExtendedBinary => unnamed(&[1]),
            Way::ExtendedLimited => [
                message::parse("s", &text),
                message::bind("p", "s", &values, &[0]),
                message::execute("p", 1),
                message::sync(),
                message::close_statement("s"),
                message::sync(),
            ]
            .concat(),
        }
    }

    fn replies(&self) -> usize {
        match self.way {
            Way::Simple | Way::ExtendedText | Way::ExtendedBinary => 1,
            Way::ExtendedLimited => 2,
        }
    }
}

/// `<3*x>` becomes `x, x, x`.
fn repeated(text: &str) -> String {
    let Some((before, rest)) = text.split_once('<') else {
        return text.to_owned();
    };
    let found = rest.split_once('>').and_then(|(inner, after)| {
        let (count, what) = inner.split_once('*')?;
        Some((vec![what; count.parse().ok()?].join(", "), after))
    });
    match found {
        None => format!("{before}<{}", repeated(rest)),
        Some((all, after)) => format!("{before}{all}{}", repeated(after)),
    }
}

/// One side's connection.
struct Side {
    database: Database,
    client: RawClient,
}

impl Side {
    async fn new(database: &Database) -> Self {
        Self {
            database: database.clone(),
            client: RawClient::connect(database).await.unwrap(),
        }
    }

    async fn query(&mut self, sql: &str) -> Vec<Frame> {
        self.client.send(&message::query(sql)).await.unwrap();
        masked(self.client.until_ready(1).await.unwrap())
    }

    async fn play(&mut self, line: &Line<'_>) -> Vec<Frame> {
        let request = line.request(&self.database);
        self.client.send(&request).await.unwrap();
        let mut frames = Vec::new();
        let mut ready = 0;
        while ready < line.replies() {
            let frame = self.client.frame().await.unwrap();
            ready += usize::from(frame.tag == b'Z');
            if frame.tag == b'G' {
                let rows = String::from_utf8(line.entry.copy_data.to_vec()).unwrap();
                let rows = line.text(&rows, &self.database);
                let copied = [message::copy_data(rows.as_bytes()), message::copy_done()];
                self.client.send(&copied.concat()).await.unwrap();
            }
            frames.push(frame);
        }
        masked(frames)
    }

    /// The process of the server behind it.
    fn pid(&self) -> i32 {
        let key = self.client.cancel_key().unwrap();
        i32::from_be_bytes(key[..4].try_into().unwrap())
    }
}

/// Both sides, and what is to be seen of the proxied one from outside.
struct Stage {
    ground: Ground,
    direct: Database,
    proxied: Database,
    proxy: Segue,
    metrics_port: u16,
    observer: Client,
    /// A client of the proxy.
    probe: Side,
    counted: Counts,
    mismatches: Vec<String>,
}

impl Stage {
    async fn on(pair: &Pair) -> Self {
        let schema = include_str!("schema.sql");
        let copies = pair.copies(schema, 2).await.unwrap();
        let [direct, bed]: [Bed; 2] = copies.try_into().unwrap();
        let ground = Ground::on(bed).await;
        let (proxy, proxied, metrics_port) = counts::proxy(&ground).await;
        Self {
            observer: ground.bed.source.connect().await.unwrap(),
            probe: Side::new(&proxied).await,
            proxied,
            direct: direct.source,
            ground,
            proxy,
            metrics_port,
            counted: Counts::new(),
            mismatches: Vec::new(),
        }
    }

    /// Waits until the proxy has read what a schema change did: until then nothing is captured.
    async fn capturing_again(&mut self) {
        let pid = self.probe.pid();
        loop {
            let sql = "UPDATE public.item SET name = name WHERE id = 0";
            self.probe.query(sql).await;
            if self.text_at_source(pid).await.contains("__segue") {
                return;
            }
            tokio::time::sleep(wait::PAUSE).await;
        }
    }

    /// Transactions by what became of them, since the last look.
    async fn newly_counted(&mut self) -> Counts {
        let now = counts::read(self.metrics_port).await;
        let before = std::mem::replace(&mut self.counted, now);
        counts::difference(&before, &self.counted)
    }

    /// The last text that this process of the source was sent.
    async fn text_at_source(&self, pid: i32) -> String {
        let sql = "SELECT query FROM pg_stat_activity WHERE pid = $1";
        self.observer.query_one(sql, &[&pid]).await.unwrap().get(0)
    }

    async fn check(&mut self, line: &Line<'_>, sides: &mut [Side; 2]) {
        let [direct, proxied] = sides;
        let what = format!("{:?}: {}", line.way, line.entry.text);
        for sql in line.entry.before {
            let expected = direct.query(&line.text(sql, &direct.database)).await;
            let seen = proxied.query(&line.text(sql, &proxied.database)).await;
            self.expect_equal(&format!("{what}, before it: {sql}"), &expected, &seen);
            let failed = expected.iter().any(|frame| frame.tag == b'E');
            self.expect(&what, !failed, || {
                format!("{sql} fails: {}", readable(&expected))
            });
        }
        self.capturing_again().await;
        self.newly_counted().await;
        let expected = direct.play(line).await;
        let seen = proxied.play(line).await;
        self.expect_equal(&what, &expected, &seen);
        self.check_traces(line, proxied, &what, &seen).await;
        for sql in line.entry.after {
            direct.query(&line.text(sql, &direct.database)).await;
            proxied.query(&line.text(sql, &proxied.database)).await;
        }
    }

    async fn check_traces(&mut self, line: &Line<'_>, side: &Side, what: &str, seen: &[Frame]) {
        let counted = self.newly_counted().await;
        let text = line.text(line.entry.text, &side.database);
        let at_source = self.text_at_source(side.pid()).await;
        // A portal that is stopped early is a cursor: what is counted depends on its rows.
        if line.way != Way::ExtendedLimited {
            let expected = line.entry.counted.map(|what| (what.to_owned(), 1));
            let expected: Counts = expected.into_iter().collect();
            self.expect(what, counted == expected, || {
                format!("counted {counted:?}; the reply:\n{}", readable(seen))
            });
        }
        if text.len() > ACTIVITY_BYTES {
            return;
        }
        let is_rewritten = at_source != text;
        let expected = line.entry.sent == Sent::Rewritten;
        self.expect(what, is_rewritten == expected, || {
            format!("was sent as {at_source}")
        });
        self.expect(what, without_hidden_columns(&at_source) == text, || {
            format!("was changed otherwise than by hidden columns: {at_source}")
        });
    }

    fn expect_equal(&mut self, what: &str, expected: &[Frame], seen: &[Frame]) {
        let (expected, seen) = (readable(expected), readable(seen));
        self.expect(what, expected == seen, || {
            format!("the reply was\n{seen}\nand should be\n{expected}")
        });
    }

    fn expect(&mut self, what: &str, is_so: bool, why: impl FnOnce() -> String) {
        if !is_so {
            let why: String = why().chars().take(1500).collect();
            self.mismatches.push(format!("{what}\n    {why}"));
        }
    }

    /// Both copies hold the same rows, the mirror has brought what it captured, and the log agrees.
    async fn finish(self) {
        assert!(
            self.mismatches.is_empty(),
            "{} mismatches:\n{}",
            self.mismatches.len(),
            self.mismatches.join("\n")
        );
        let source = &self.ground.bed.source;
        let copies = harness::compare(&self.direct, source).await.unwrap();
        copies.expect_equal().unwrap();
        // What is not carried never came to the target.
        let left_out = "TRUNCATE parent, child, by_class, volatile_rows";
        source.execute(left_out).await.unwrap();
        let _reconciler = self.ground.launch.reconciler(&[]).await.unwrap();
        self.ground.converges_without_divergence().await;
        assert_eq!(self.proxy.terminate().await.unwrap(), 0);
    }
}

/// The client's text again: a hidden column begins with a line break, and has no other.
fn without_hidden_columns(text: &str) -> String {
    let mut lines = text.split('\n');
    let mut original = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        let (column, rest) = line.split_once(" AS \"__segue\"").unwrap_or_default();
        if column.contains("pg_catalog.record_send(ROW(") {
            original += rest;
        } else {
            original = original + "\n" + line;
        }
    }
    original
}

fn table() -> Vec<Entry> {
    [
        inserts::ENTRIES,
        updates::ENTRIES,
        deletes::ENTRIES,
        tables::ENTRIES,
        sessions::ENTRIES,
        others::ENTRIES,
        errors::ENTRIES,
        limits::ENTRIES,
    ]
    .concat()
}

#[test]
fn the_table_is_large_enough_and_its_rows_are_apart() {
    let table = table();
    assert!(
        (150..ROWS_PER_WAY).contains(&table.len()),
        "{}",
        table.len()
    );
    assert_eq!(
        repeated("a <b <2*c> <d"),
        "a <b <2*c> <d".replace("<2*c>", "c, c")
    );
}

#[tokio::test]
async fn what_becomes_of_each_statement_is_in_the_table_and_nobody_can_tell() {
    let pair = Pair::shared().await.unwrap();
    let version = pair.source.version();
    play(pair, |entry| entry.since <= version).await;
}

/// The rows that the test above leaves out where its source is an older one.
#[tokio::test]
async fn what_only_newer_servers_understand_is_in_the_table_too() {
    let Some(newest) = Installation::of(18) else {
        println!("skipped: PostgreSQL 18 is not here; see tests/servers");
        return;
    };
    let version = Installation::for_source().unwrap().version;
    let pair = Pair::of(newest.clone(), newest, ServerOptions::default());
    let pair = pair.await.unwrap();
    play(&pair, |entry| entry.since > version).await;
}

/// Plays the rows that are wanted.
async fn play(pair: &Pair, is_wanted: impl Fn(&Entry) -> bool) {
    let mut stage = Stage::on(pair).await;
    let table = table();
    for (way, first) in WAYS.into_iter().zip((1..).step_by(ROWS_PER_WAY)) {
        let mut sides = stage.sides().await;
        for (entry, number) in table.iter().zip(first..) {
            let fits = match entry.protocols {
                Protocols::Simple => way == Way::Simple,
                Protocols::Both => true,
                Protocols::Extended => way != Way::Simple,
            };
            if !fits || !is_wanted(entry) {
                continue;
            }
            let line = Line { entry, way, number };
            if entry.before.is_empty() {
                stage.check(&line, &mut sides).await;
            } else {
                let mut own = stage.sides().await;
                stage.check(&line, &mut own).await;
            }
        }
    }
    stage.finish().await;
}

impl Stage {
    async fn sides(&self) -> [Side; 2] {
        [
            Side::new(&self.direct).await,
            Side::new(&self.proxied).await,
        ]
    }
}
