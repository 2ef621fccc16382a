//! Versions of the protocol, startup parameters, cancel keys and encryption requests.

use harness::raw_client::{self, Frame, RawClient, message::query};
use harness::{Bed, Pair, wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fidelity::masked;
use crate::ways::Ways;

const VERSION_3_0: i32 = 196_608;
const VERSION_3_2: i32 = 196_610;
/// A minor version that no server knows yet.
const VERSION_3_9: i32 = 196_617;

const SCHEMA: &str = "CREATE TABLE kept (id int PRIMARY KEY, word text)";

/// The frames of the startup, what may differ between two connections masked.
async fn startup(
    database: &harness::Database,
    version: i32,
    parameters: &[(&str, &str)],
) -> Vec<Frame> {
    let client = RawClient::connect_as(database, version, parameters).await;
    masked(client.unwrap().startup)
}

#[tokio::test]
async fn versions_are_negotiated_with_the_server() {
    // The newest server, which speaks 3.2, and the oldest, which says that it does not.
    let bed = Bed::shared(SCHEMA).await.unwrap();
    for database in [&bed.source, &bed.target] {
        let ways = Ways::to(database).await;
        for version in [VERSION_3_0, VERSION_3_2, VERSION_3_9] {
            for parameters in [&[][..], &[("_pq_.made_up", "1"), ("_pq_.other", "")]] {
                let mut seen = Vec::new();
                for (_, database) in ways.all() {
                    seen.push(startup(&database, version, parameters).await);
                }
                assert_eq!(seen[1], seen[0], "relayed, {version} {parameters:?}");
                assert_eq!(seen[2], seen[0], "captured, {version} {parameters:?}");
            }
        }
        ways.finish().await;
    }
}

#[tokio::test]
async fn startup_parameters_reach_the_server() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let ways = Ways::to(&bed.source).await;
    let parameters = [
        (
            "options",
            "-c statement_timeout=1234 -c search_path=pg_catalog",
        ),
        ("application_name", "ünïcödé"),
        ("DateStyle", "German"),
        ("client_encoding", "LATIN1"),
        ("TimeZone", "Asia/Tokyo"),
        ("my.own", "setting"),
    ];
    let sql = "SELECT current_setting('statement_timeout'), current_setting('search_path'), \
               current_setting('my.own'), '2020-01-02'::date, chr(228)";
    let mut seen = Vec::new();
    for (_, database) in ways.all() {
        let mut client = RawClient::connect_with(&database, &parameters)
            .await
            .unwrap();
        let mut frames = masked(std::mem::take(&mut client.startup));
        client.send(&query(sql)).await.unwrap();
        frames.extend(client.until_ready(1).await.unwrap());
        seen.push(frames);
    }
    assert_eq!(seen[1], seen[0], "relayed");
    assert_eq!(seen[2], seen[0], "captured");
    for parameters in [
        &[("options", "-c nonsense=1")][..],
        &[("client_encoding", "nonsense")],
        &[("database", "nowhere")],
        &[("replication", "nonsense")],
    ] {
        let mut seen = Vec::new();
        for (_, database) in ways.all() {
            let greeting = RawClient::greeting(&database, VERSION_3_0, parameters).await;
            seen.push(greeting.unwrap().to_end().await.unwrap());
        }
        assert_eq!(
            seen[0].last().map(|it| it.tag),
            Some(b'E'),
            "{parameters:?}"
        );
        assert_eq!(seen[1], seen[0], "relayed, {parameters:?}");
        assert_eq!(seen[2], seen[0], "captured, {parameters:?}");
    }
    ways.finish().await;
}

/// Cancels a sleeping statement with `key`, after having tried wrong ones.
async fn cancel(database: &harness::Database, observer: &harness::Database, version: i32) -> usize {
    let mut client = RawClient::connect_as(database, version, &[]).await.unwrap();
    let key = client.cancel_key().unwrap().to_vec();
    client.send(&query("SELECT pg_sleep(100)")).await.unwrap();
    let observer = observer.connect().await.unwrap();
    let pid = i32::from_be_bytes(key[..4].try_into().unwrap());
    let sleeps =
        format!("SELECT FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'PgSleep'");
    let sleeping = async || {
        Ok(!harness::database::rows(&observer, &sleeps)
            .await?
            .is_empty())
    };
    wait::until_true("the statement to run", sleeping)
        .await
        .unwrap();
    let mut wrong = key.clone();
    *wrong.last_mut().unwrap() ^= 1;
    let mut nobody = key.clone();
    nobody[..4].copy_from_slice(&1_i32.to_be_bytes());
    for wrong in [&wrong[..], &nobody, &key[..key.len() - 1]] {
        raw_client::cancel(database.port, wrong).await.unwrap();
        assert!(sleeping().await.unwrap(), "a wrong key cancels nothing");
    }
    raw_client::cancel(database.port, &key).await.unwrap();
    let frames = client.until_ready(1).await.unwrap();
    assert!(
        frames
            .iter()
            .any(|it| it.body.windows(6).any(|code| code == b"C57014"))
    );
    key.len()
}

#[tokio::test]
async fn a_cancel_request_needs_the_key_whatever_its_length() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let ways = Ways::to(&bed.target).await;
    let is_long = Pair::shared().await.unwrap().target.version() >= 18;
    for (way, database) in ways.all() {
        assert_eq!(
            cancel(&database, &bed.target, VERSION_3_0).await,
            8,
            "{way}"
        );
        if is_long {
            let length = cancel(&database, &bed.target, VERSION_3_2).await;
            assert!(length > 8, "{way}: {length}");
        }
    }
    ways.finish().await;
}

#[tokio::test]
async fn gssapi_encryption_is_refused_and_the_session_begins_all_the_same() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let ways = Ways::to(&bed.source).await;
    // Whether the server itself can depends on how it was built.
    for (way, database) in ways.all().into_iter().skip(1) {
        let mut stream = TcpStream::connect(("127.0.0.1", database.port))
            .await
            .unwrap();
        let request = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x30];
        stream.write_all(&request).await.unwrap();
        let mut answer = [0];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"N", "{way}");
        let start = b"\0\0\0\x17\0\x03\0\0user\0postgres\0\0";
        stream.write_all(start).await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"R", "{way}");
    }
    ways.finish().await;
}
