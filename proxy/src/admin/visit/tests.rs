//! Visits byte by byte.

use harness::raw_client::message::framed as message;
use protocol::wire::startup::{self, VERSION_3_0};
use tokio::time::Instant;

use super::*;
use crate::admin::{ChangeError, Changes, Configuration, SettingRow, Visits};
use crate::registry;
use crate::settings::{self, Settings};
use crate::startup::Opening;
use crate::statistics::Rates;

/// A configuration of nothing.
#[derive(Debug)]
struct Empty;

impl Configuration for Empty {
    fn settings(&self) -> Vec<SettingRow> {
        Vec::new()
    }

    fn set(&self, name: &str, _: &str) -> Result<Changes, ChangeError> {
        let name = name.to_owned();
        Err(ChangeError::Unknown { name })
    }

    fn reload(&self) -> Result<Changes, ChangeError> {
        Ok(Changes::default())
    }
}

fn console() -> Arc<Console> {
    let (workers, _) = registry::attendants(0);
    let source = control::Dsn::parse("postgres://al@old/shop", &control::dsn::Defaults::default());
    Arc::new(Console {
        configuration: Arc::new(Empty),
        settings: settings::live(Settings::default()).1,
        workers,
        visits: Visits::new(registry::Numbers::default()),
        rates: Arc::new(Rates::new(Instant::now())),
        tables: Arc::default(),
        source: source.unwrap(),
        capture: None,
    })
}

/// The tags of what the console answers to these bytes, and all its words.
async fn said(sent: &[u8]) -> (String, String) {
    let (mut far, near) = tokio::io::duplex(256 * 1024);
    let visitor = Visitor {
        client: near,
        opening: Opening {
            startup: startup::Startup {
                version: VERSION_3_0,
                params: vec![(Bytes::from_static(b"user"), Bytes::from_static(b"al"))],
            },
            packet: Bytes::new(),
            rest: BytesMut::from(sent),
        },
        peer: None,
        identity: registry::Identity::unknown(),
    };
    let shutdown = CancellationToken::new();
    let visited = async {
        let visited = visit(console(), visitor, &shutdown).await;
        assert!(visited.is_ok(), "{visited:?}");
    };
    let heard = async {
        // All has been sent, and the console ends of itself.
        far.shutdown().await.unwrap();
        let mut words = Vec::new();
        far.read_to_end(&mut words).await.unwrap();
        words
    };
    let ((), words) = tokio::join!(visited, heard);
    let mut rest = BytesMut::from(words.as_slice());
    let mut tags = String::new();
    while let Some(frame) = Frame::split(&mut rest).unwrap() {
        tags.push(char::from(frame.tag()));
    }
    (tags, String::from_utf8_lossy(&words).into_owned())
}

/// The answers behind the first ReadyForQuery.
#[track_caller]
fn answers(tags: &str) -> &str {
    tags.split_once('Z').expect("no greeting").1
}

#[tokio::test]
async fn an_error_in_the_extended_protocol_skips_to_its_sync() {
    let sent = [
        message(b'P', b"\0nonsense\0\0\0"),
        message(b'B', b"\0\0\0\0\0\0\0\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
        message(b'P', b"\0show version\0\0\0"),
        message(b'B', b"\0\0\0\0\0\0\0\0"),
        message(b'D', b"P\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
        message(b'X', b""),
    ];
    let (tags, _) = said(&sent.concat()).await;
    assert_eq!(answers(&tags), "EZ12TDCZ");
}

#[tokio::test]
async fn an_error_in_a_text_ends_it_and_the_visit_goes_on() {
    let sent = [
        message(b'Q', b"show version; nonsense; show help\0"),
        message(b'Q', b"\0"),
        message(b'X', b""),
    ];
    let (tags, _) = said(&sent.concat()).await;
    assert_eq!(answers(&tags), "TDCEZIZ");
}

#[tokio::test]
async fn bytes_that_are_no_messages_end_the_visit_with_a_reason() {
    let oversized = [&b"Q"[..], &(1_u32 << 20).to_be_bytes(), b"show"].concat();
    for (sent, sqlstate) in [
        (message(b'Q', b""), "08P01"),
        (message(b'B', b"\xff"), "08P01"),
        (message(b'd', b"copy data"), "08P01"),
        (message(b'@', b"what"), "08P01"),
        (oversized, "54000"),
    ] {
        let (tags, words) = said(&sent).await;
        assert_eq!(answers(&tags), "E", "{sent:?}");
        assert!(words.contains(&format!("C{sqlstate}")), "{sent:?}: {words}");
    }
}

#[tokio::test]
async fn what_a_visitor_may_have_kept_is_bounded() {
    let mut sent = Vec::new();
    for number in 0..=NAMES_MAX {
        sent.extend(message(b'P', format!("{number}\0help\0\0\0").as_bytes()));
    }
    sent.extend(message(b'S', b""));
    sent.extend(message(b'X', b""));
    let (tags, words) = said(&sent).await;
    assert!(answers(&tags).ends_with("11EZ"), "{tags}");
    assert!(words.contains("C54000"));
}
