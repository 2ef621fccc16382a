//! Servers that die in the middle: the client hears the server's own words or the proxy's, and never
//! waits in vain.

use harness::raw_client::{Frame, RawClient, message::*};
use harness::{Database, wait};

use crate::ways::{self, Ways};

const SCHEMA: &str = "CREATE TABLE kept (id int PRIMARY KEY, word text)";

/// What a session is at when its server dies.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Idle,
    InTransaction,
    Running,
    MidResult,
    CopyIn,
    CopyOut,
    HalfSentQuery,
    Pipelined,
}

const MOMENTS: [Moment; 8] = [
    Moment::Idle,
    Moment::InTransaction,
    Moment::Running,
    Moment::MidResult,
    Moment::CopyIn,
    Moment::CopyOut,
    Moment::HalfSentQuery,
    Moment::Pipelined,
];

impl Moment {
    /// Brings a session there.
    async fn reach(self, client: &mut RawClient) {
        let rows = "SELECT repeat('x', 1000) FROM generate_series(1, 1000000)";
        match self {
            Self::Idle => (),
            Self::InTransaction => {
                client
                    .send(&query(
                        "BEGIN; INSERT INTO kept VALUES (pg_backend_pid(), 'never')",
                    ))
                    .await
                    .unwrap();
                client.until_ready(1).await.unwrap();
            }
            Self::Running => client.send(&query("SELECT pg_sleep(1000)")).await.unwrap(),
            Self::MidResult => {
                client.send(&query(rows)).await.unwrap();
                client.until_tag(b'D', 10).await.unwrap();
            }
            Self::CopyIn => {
                client.send(&query("COPY kept FROM STDIN")).await.unwrap();
                client.until_tag(b'G', 1).await.unwrap();
                client.send(&copy_data(b"1\tone\n")).await.unwrap();
            }
            Self::CopyOut => {
                client
                    .send(&query(&format!("COPY ({rows}) TO STDOUT")))
                    .await
                    .unwrap();
                client.until_tag(b'd', 10).await.unwrap();
            }
            Self::HalfSentQuery => {
                let whole = query("SELECT 'never asked in full'");
                client.send(&whole[..10]).await.unwrap();
            }
            Self::Pipelined => {
                let insert =
                    "INSERT INTO kept VALUES (-pg_backend_pid(), 'x') RETURNING id, pg_sleep(1000)";
                let pipeline = [
                    parse("", insert),
                    bind("", "", &[], &[]),
                    execute("", 0),
                    sync(),
                    query("SELECT 'never answered'"),
                ];
                client.send(&pipeline.concat()).await.unwrap();
            }
        }
    }
}

fn says(frames: &[Frame], words: &str) -> bool {
    let holds = |frame: &Frame| {
        frame
            .body
            .windows(words.len())
            .any(|it| it == words.as_bytes())
    };
    frames.iter().any(|frame| frame.tag == b'E' && holds(frame))
}

/// The connection ends, and with one of these words if they could be said. A server that is not read
/// cannot say them: it breaks off, mostly within a frame. Between two of them the proxy can speak.
async fn ended(way: &str, moment: Moment, client: &mut RawClient, words: &[&str]) {
    let unread = matches!(moment, Moment::MidResult | Moment::CopyOut);
    match client.to_end().await {
        Ok(frames) => {
            let said = words.iter().any(|it| says(&frames, it));
            let said_for_it = unread && (way == "directly" || says(&frames, "C08006"));
            assert!(
                said || said_for_it,
                "{way}, {moment:?}: {:?}",
                frames.last()
            );
        }
        Err(error) => {
            assert!(unread, "{way}, {moment:?}");
            assert!(error.to_string().contains("within a frame"), "{error:#}");
        }
    }
}

async fn connected(database: &Database) -> (RawClient, i32) {
    let client = RawClient::connect(database).await.unwrap();
    let pid = i32::from_be_bytes(client.cancel_key().unwrap()[..4].try_into().unwrap());
    (client, pid)
}

#[tokio::test]
async fn a_terminated_backend_says_so_itself() {
    let server = ways::server(&[]).await;
    let database = server.database("postgres");
    database.execute(SCHEMA).await.unwrap();
    let ways = Ways::to(&database).await;
    for (way, reached) in ways.all() {
        for moment in MOMENTS {
            let (mut client, pid) = connected(&reached).await;
            moment.reach(&mut client).await;
            let terminate = format!("SELECT pg_terminate_backend({pid}, 60000)");
            // A server that waits for the client to read is gone only once the client does.
            let terminating = async {
                if matches!(moment, Moment::MidResult | Moment::CopyOut) {
                    let now = format!("SELECT pg_terminate_backend({pid})");
                    database.value(&now).await.unwrap()
                } else {
                    database.value(&terminate).await.unwrap()
                }
            };
            assert_eq!(terminating.await, "t", "{way}, {moment:?}");
            ended(way, moment, &mut client, &["C57P01"]).await;
        }
    }
    ways.finish().await;
}

#[tokio::test]
async fn a_server_that_is_killed_ends_every_session() {
    let mut server = ways::server(&["restart_after_crash=off"]).await;
    let database = server.database("postgres");
    database.execute(SCHEMA).await.unwrap();
    let ways = Ways::to(&database).await;
    let mut clients = Vec::new();
    for (way, reached) in ways.all().into_iter().skip(1) {
        for moment in MOMENTS {
            let (mut client, _) = connected(&reached).await;
            moment.reach(&mut client).await;
            clients.push((way, moment, client));
        }
    }
    server.kill().unwrap();
    for (way, moment, mut client) in clients {
        // A process of the server's that lives a moment longer than the first has words of its own.
        ended(way, moment, &mut client, &["C08006", "C57P01"]).await;
    }
    // Whoever comes now hears at once what is wrong, and is served when it is mended.
    for (way, reached) in ways.all().into_iter().skip(1) {
        let mut client = RawClient::greeting(&reached, 196_608, &[]).await.unwrap();
        let frames = client.to_end().await.unwrap();
        assert!(says(&frames, "C08001"), "{way}: {frames:?}");
    }
    server.run().await.unwrap();
    for (_, reached) in ways.all() {
        wait::until_true("clients to be served again", async || {
            Ok(reached.value("SELECT count(*) FROM kept").await? == "0")
        })
        .await
        .unwrap();
    }
    ways.finish().await;
}

#[tokio::test]
async fn a_server_that_shuts_down_says_so_itself() {
    let mut server = ways::server(&[]).await;
    let database = server.database("postgres");
    database.execute(SCHEMA).await.unwrap();
    let ways = Ways::to(&database).await;
    let mut clients = Vec::new();
    for (way, reached) in ways.all() {
        let (mut client, _) = connected(&reached).await;
        Moment::InTransaction.reach(&mut client).await;
        clients.push((way, client));
    }
    server.stop().await.unwrap();
    for (way, mut client) in clients {
        let frames = client.to_end().await.unwrap();
        assert!(says(&frames, "C57P01"), "{way}: {frames:?}");
    }
    ways.finish().await;
}
