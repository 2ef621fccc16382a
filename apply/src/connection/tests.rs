//! Against a scripted server on a loopback socket.
use control::{ConnectCause, Defaults, Dsn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A server that is ready at once, and the client connected to it.
async fn pair() -> (TcpStream, Connection) {
    let (listener, dsn) = listen().await;
    let serve = async {
        let (mut server, _) = listener.accept().await.unwrap();
        let mut startup = [0; 1024];
        assert!(server.read(&mut startup).await.unwrap() > 8);
        let mut greeting = frame(b'R', &[0, 0, 0, 0]);
        greeting.extend(frame(b'S', b"server_version\x0015.1\0"));
        greeting.extend(frame(b'K', &[0, 0, 0, 7, 0, 0, 0, 1]));
        greeting.extend(frame(b'Z', b"I"));
        server.write_all(&greeting).await.unwrap();
        server
    };
    let (server, connection) = tokio::join!(serve, Connection::connect(&dsn, Side::Target, &[]));
    (server, connection.unwrap())
}

async fn listen() -> (TcpListener, Dsn) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let text = format!("postgres://me@127.0.0.1:{port}/d?connect_timeout=5&sslmode=disable");
    (listener, Dsn::parse(&text, &Defaults::default()).unwrap())
}

fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag], &length.to_be_bytes()[..], body].concat()
}

#[tokio::test]
async fn a_frame_may_arrive_byte_by_byte_and_receiving_be_dropped_in_between() {
    let (mut server, mut connection) = pair().await;
    assert_eq!(connection.process_id(), 7);
    assert_eq!(connection.parameter("server_version"), Some("15.1"));
    let bytes = frame(b'd', b"hello");
    for byte in &bytes[..bytes.len() - 1] {
        server.write_all(&[*byte]).await.unwrap();
        let wait = std::time::Duration::from_millis(2);
        assert!(
            tokio::time::timeout(wait, connection.receive())
                .await
                .is_err()
        );
    }
    server.write_all(b"o").await.unwrap();
    let (tag, body) = connection.receive().await.unwrap();
    assert_eq!((tag, &body[..]), (b'd', &b"hello"[..]));
}

#[tokio::test]
async fn a_reader_that_keeps_up_is_told_from_one_that_is_behind() {
    let (mut server, mut connection) = pair().await;
    assert!(connection.is_drained().unwrap());
    let small = frame(b'd', b"row");
    server.write_all(&small.repeat(2)).await.unwrap();
    connection.receive().await.unwrap();
    // The second frame has come with the first.
    assert!(!connection.is_drained().unwrap());
    connection.receive().await.unwrap();
    assert!(connection.is_drained().unwrap());
    let large = frame(b'd', &[b'x'; READ_BYTES]);
    server.write_all(&large.repeat(2)).await.unwrap();
    connection.receive().await.unwrap();
    assert!(!connection.is_drained().unwrap());
}

#[tokio::test]
async fn a_length_that_is_promised_is_not_allocated() {
    let (mut server, mut connection) = pair().await;
    server
        .write_all(&[b'd', 0x3f, 0xff, 0xff, 0xff, 1])
        .await
        .unwrap();
    let wait = std::time::Duration::from_millis(20);
    assert!(
        tokio::time::timeout(wait, connection.receive())
            .await
            .is_err()
    );
    assert!(connection.incoming.capacity() < 1 << 20);
}

#[tokio::test]
async fn lengths_that_no_frame_has_are_refused() {
    for length in [[0x40, 0, 0, 0], [0, 0, 0, 3], [0xff, 0xff, 0xff, 0xff]] {
        let (mut server, mut connection) = pair().await;
        server
            .write_all(&[&b"d"[..], &length].concat())
            .await
            .unwrap();
        let error = connection.receive().await.unwrap_err();
        assert_eq!(error.kind(), "protocol");
    }
}

#[tokio::test]
async fn a_server_that_goes_away_is_closed_not_broken() {
    let (server, mut connection) = pair().await;
    drop(server);
    let error = connection.receive().await.unwrap_err();
    assert_eq!(error.to_string(), "the target closed the connection");
}

#[tokio::test]
async fn a_large_batch_does_not_wait_for_a_server_that_waits_for_us() {
    let (mut server, mut connection) = pair().await;
    let value = vec![7; 8 << 20];
    connection
        .execute("s", &[Parameter::Binary(&value)], &[])
        .unwrap();
    connection.sync();
    // The server answers before it reads: both directions are full at the same time.
    let serve = async {
        let answer = frame(b'd', &vec![1; 8 << 20]);
        server.write_all(&answer).await.unwrap();
        let mut sink = vec![0; 1 << 20];
        let mut left = value.len();
        while left > 0 {
            left = left.saturating_sub(server.read(&mut sink).await.unwrap());
        }
    };
    let (flushed, ()) = tokio::join!(connection.flush(), serve);
    flushed.unwrap();
    assert_eq!(connection.receive().await.unwrap().1.len(), 8 << 20);
}

#[tokio::test]
async fn an_error_in_a_batch_is_part_of_its_reply() {
    let (mut server, mut connection) = pair().await;
    let mut answer = frame(b'2', b"");
    answer.extend(frame(b'D', b"\0\x02\xff\xff\xff\xff\0\0\0\x01x"));
    answer.extend(frame(b'C', b"SELECT 1\0"));
    answer.extend(frame(b'E', b"VERROR\0C23505\0Mtwice\0nkey\0\0"));
    answer.extend(frame(b'Z', b"I"));
    server.write_all(&answer).await.unwrap();
    let reply = connection.reply().await.unwrap();
    assert_eq!(
        reply.results[0].rows,
        [[None, Some(Bytes::from_static(b"x"))]]
    );
    assert_eq!(reply.results[0].affected(), 1);
    let error = reply.error.unwrap();
    assert_eq!(
        (error.sqlstate.as_str(), error.constraint.as_deref()),
        ("23505", Some("key"))
    );
    assert_eq!(reply.status, TransactionStatus::Idle);
}

#[tokio::test]
async fn a_refusal_at_startup_says_what_mends_it() {
    let (listener, dsn) = listen().await;
    let serve = async {
        let (mut server, _) = listener.accept().await.unwrap();
        let answer = frame(b'E', b"VFATAL\0C28P01\0Mno\0\0");
        server.write_all(&answer).await.unwrap();
        server
    };
    let (_server, opened) = tokio::join!(serve, Connection::connect(&dsn, Side::Source, &[]));
    assert_eq!(opened.unwrap_err().cause, ConnectCause::Password);
}

#[tokio::test]
async fn a_password_that_is_asked_for_and_not_there_is_said() {
    let (listener, dsn) = listen().await;
    let serve = async {
        let (mut server, _) = listener.accept().await.unwrap();
        server.write_all(&frame(b'R', &[0, 0, 0, 3])).await.unwrap();
        server
    };
    let (_server, opened) = tokio::join!(serve, Connection::connect(&dsn, Side::Source, &[]));
    assert_eq!(opened.unwrap_err().cause, ConnectCause::PasswordMissing);
}

#[tokio::test]
async fn a_server_that_ends_the_session_has_said_why() {
    let (mut server, mut connection) = pair().await;
    let mut answer = frame(b'E', b"VERROR\0C23505\0Mtwice\0\0");
    answer.extend(frame(b'E', b"VFATAL\0C57P01\0Mterminating\0\0"));
    server.write_all(&answer).await.unwrap();
    drop(server);
    let error = connection.reply().await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("57P01"), "{error:?}");
}
