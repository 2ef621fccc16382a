//! Where clients are let in, and what a client may not do.

use std::path::PathBuf;
use std::process::Command;

use harness::guardian::Guardian;
use harness::raw_client::{RawClient, message::query};
use harness::tool::client_program;
use harness::{Bed, Launch, Segue, ports};

use crate::{SEGUE, ways};

/// A proxy before a database that only relays.
async fn relaying(arguments: &[&str]) -> (Bed, Segue) {
    let bed = Bed::shared("CREATE TABLE kept (id int PRIMARY KEY, word text)")
        .await
        .unwrap();
    let launch = bed.launch(SEGUE).with_uris(Some(&bed.source.uri()), None);
    let proxy = launch.proxy(arguments).await.unwrap();
    (bed, proxy)
}

fn directory() -> PathBuf {
    let guarded = Guardian::of_this_process().unwrap().directory();
    let directory = guarded.join(format!("socket-{}", ports::free().unwrap()));
    std::fs::create_dir(&directory).unwrap();
    directory
}

fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn clients_come_in_over_a_unix_domain_socket() {
    let directory = directory();
    let (bed, proxy) = relaying(&["--listen", directory.to_str().unwrap()]).await;
    let proxied = bed.source.through(proxy.port());
    let socket = directory.join(format!(".s.PGSQL.{}", proxy.port()));
    assert!(socket.exists());
    let mut psql = client_program("psql", &proxied).unwrap();
    psql.env("PGHOST", &directory)
        .args(["-XAtc", "SELECT 'in'"]);
    assert_eq!(printed(&mut psql), "in\n");
    assert_eq!(proxy.terminate().await.unwrap(), 0);
    assert!(!socket.exists());
}

/// The frames that end a session, which has to end by itself.
async fn last_words(client: &mut RawClient) -> String {
    let frames = client.to_end().await.unwrap();
    let last = frames.last().expect("the client hears why");
    assert_eq!(last.tag, b'E');
    String::from_utf8_lossy(&last.body).replace('\0', " ")
}

#[tokio::test]
async fn a_client_that_does_nothing_is_sent_away_where_that_is_limited() {
    let arguments = [
        "--client-idle-timeout",
        "4s",
        "--transaction-idle-timeout",
        "3s",
    ];
    let (bed, proxy) = relaying(&arguments).await;
    let proxied = bed.source.through(proxy.port());
    let mut idle = RawClient::connect(&proxied).await.unwrap();
    let mut within = RawClient::connect(&proxied).await.unwrap();
    within.send(&query("BEGIN")).await.unwrap();
    within.until_ready(1).await.unwrap();
    // Whoever waits for the server is not idle, however long.
    let mut busy = RawClient::connect(&proxied).await.unwrap();
    busy.send(&query("SELECT pg_sleep(4.5)")).await.unwrap();
    busy.until_ready(1).await.unwrap();
    let words = last_words(&mut within).await;
    assert!(
        words.contains("C25P03 Mterminating connection due to idle-in-transaction timeout"),
        "{words}"
    );
    let words = last_words(&mut idle).await;
    assert!(
        words.contains("C57P05 Mterminating connection due to idle-session timeout"),
        "{words}"
    );
    assert_eq!(proxy.terminate().await.unwrap(), 0);
}

#[tokio::test]
async fn a_client_that_never_says_what_it_wants_is_let_go() {
    let (_bed, proxy) = relaying(&["--startup-timeout", "200ms"]).await;
    for beginning in [&b""[..], b"\0\0\0", b"\0\0\0\x20\0\x03\0\0user\0"] {
        let mut client = RawClient::silent(proxy.port()).await.unwrap();
        client.send(beginning).await.unwrap();
        assert_eq!(client.to_end().await.unwrap(), []);
    }
    assert_eq!(proxy.terminate().await.unwrap(), 0);
}

#[tokio::test]
async fn clients_over_the_limit_are_told_so_and_the_log_sums_them_up() {
    let (bed, proxy) = relaying(&["--clients-max", "1"]).await;
    let proxied = bed.source.through(proxy.port());
    let _only = RawClient::connect(&proxied).await.unwrap();
    for _ in 0..20 {
        let mut client = RawClient::greeting(&proxied, 196_608, &[]).await.unwrap();
        let words = last_words(&mut client).await;
        assert!(
            words.contains("C53300 Msorry, too many clients already"),
            "{words}"
        );
    }
    let log = proxy.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("no place for another client"));
    // One at once, and one every few seconds.
    assert!((1..20).contains(&lines.count()), "{log}");
    assert_eq!(proxy.terminate().await.unwrap(), 0);
}

#[tokio::test]
async fn a_source_that_is_down_is_said_once_and_so_is_its_return() {
    let mut server = ways::server(&[]).await;
    let database = server.database("postgres");
    let launch = Launch::new(SEGUE, &database, &database).with_uris(Some(&database.uri()), None);
    let proxy = launch.proxy(&[]).await.unwrap();
    let proxied = database.through(proxy.port());
    server.stop().await.unwrap();
    for _ in 0..20 {
        let mut client = RawClient::greeting(&proxied, 196_608, &[]).await.unwrap();
        let words = last_words(&mut client).await;
        assert!(words.contains("C08001 "), "{words}");
    }
    server.run().await.unwrap();
    RawClient::connect(&proxied).await.unwrap();
    let log = proxy.log();
    let count = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    assert!(
        (1..20).contains(&count("the source could not be reached")),
        "{log}"
    );
    assert_eq!(count("the source can be reached again"), 1, "{log}");
    assert_eq!(proxy.terminate().await.unwrap(), 0);
}

#[tokio::test]
async fn bytes_that_are_no_startup_packet_cost_nothing_but_their_connection() {
    let (bed, proxy) = relaying(&[]).await;
    let junk: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\0\0\x27\x11\0\x03\0\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\0\0\0\x08\0\x03\0\0",
        b"\0\0\0\x0d\0\x03\0\0user\0",
    ];
    for bytes in junk {
        let mut client = RawClient::silent(proxy.port()).await.unwrap();
        client.send(bytes).await.unwrap();
        client.to_end().await.unwrap();
    }
    let proxied = bed.source.through(proxy.port());
    RawClient::connect(&proxied).await.unwrap();
    assert_eq!(proxy.terminate().await.unwrap(), 0);
}

#[tokio::test]
async fn a_message_before_the_password_is_as_small_as_the_server_wants_it() {
    let server = crate::servers::asking_for_scram().await;
    let database = server.database("postgres");
    let ways = ways::Ways::to(&database).await;
    let mut seen = Vec::new();
    for (_, database) in ways.all() {
        let mut client = RawClient::greeting(&database, 196_608, &[]).await.unwrap();
        client.until_tag(b'R', 1).await.unwrap();
        let huge = [&b"p"[..], &i32::MAX.to_be_bytes(), &[0; 4096]].concat();
        client.send(&huge).await.unwrap();
        seen.push(client.to_end().await.unwrap());
        // One that is allowed by the protocol and not by the server is refused by its length alone.
        let mut client = RawClient::greeting(&database, 196_608, &[]).await.unwrap();
        client.until_tag(b'R', 1).await.unwrap();
        let large = [&b"p"[..], &100_000_000_i32.to_be_bytes(), &[0; 4096]].concat();
        client.send(&large).await.unwrap();
        seen.push(client.to_end().await.unwrap());
    }
    assert_eq!(seen[3], seen[1], "relayed");
    assert_eq!(seen[5], seen[1], "captured");
    for frames in &seen {
        assert!(frames.iter().all(|frame| frame.tag == b'E'), "{frames:?}");
    }
    ways.finish().await;
}
