//! Messages far larger than the proxy's memory: they pass through it piece by piece.

use harness::Bed;
use harness::raw_client::{RawClient, message::*};

use crate::ways::Ways;

const SCHEMA: &str = "CREATE TABLE kept (id int PRIMARY KEY, word text); \
                      INSERT INTO kept VALUES (1, 'small')";

/// The size of one value: more than the proxy may take.
const VALUE_SIZE: usize = 40 << 20;

/// What a proxy may take at most while such values pass: its code, its threads, its buffers.
const MEMORY_MAX: usize = 36 << 20;

/// The most memory that a process has had so far.
fn memory_peak(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kilobytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}

/// Sends a frame whose body ends in so many bytes, a piece at a time.
async fn send_large(client: &mut RawClient, tag: u8, front: &[u8], filling: usize, back: &[u8]) {
    let length = front.len() + filling + back.len() + 4;
    let head = [
        &[tag][..],
        &i32::try_from(length).unwrap().to_be_bytes(),
        front,
    ]
    .concat();
    client.send(&head).await.unwrap();
    let piece = vec![b'x'; 1 << 20];
    let mut left = filling;
    while left > 0 {
        let now = left.min(piece.len());
        client.send(&piece[..now]).await.unwrap();
        left -= now;
    }
    client.send(back).await.unwrap();
}

#[tokio::test]
async fn large_messages_are_never_whole_in_memory() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let ways = Ways::to(&bed.source).await;
    let pids = ways.pids();
    for (way, database) in ways.all().into_iter().skip(1) {
        let mut client = RawClient::connect(&database).await.unwrap();
        // A value in a result.
        let large = format!("SELECT repeat('x', {VALUE_SIZE})");
        client.send(&query(&large)).await.unwrap();
        client.until_tag(b'T', 1).await.unwrap();
        client.skip(5 + 2 + 4 + VALUE_SIZE).await.unwrap();
        client.until_ready(1).await.unwrap();
        // A parameter of a write that could be captured, and was before.
        let update = "UPDATE kept SET word = md5($1) WHERE id = 1";
        client
            .send(&[parse("u", update), sync()].concat())
            .await
            .unwrap();
        client.until_ready(1).await.unwrap();
        let size = i32::try_from(VALUE_SIZE).unwrap().to_be_bytes();
        let front = [&b"\0u\0\0\0\0\x01"[..], &size].concat();
        send_large(&mut client, b'B', &front, VALUE_SIZE, b"\0\0").await;
        client
            .send(&[execute("", 0), sync()].concat())
            .await
            .unwrap();
        let frames = client.until_ready(1).await.unwrap();
        assert!(
            frames.iter().any(|it| it.body == b"UPDATE 1\0"),
            "{way}: {frames:?}"
        );
        // A text.
        send_large(&mut client, b'Q', b"SELECT length('", VALUE_SIZE, b"')\0").await;
        let frames = client.until_ready(1).await.unwrap();
        let length = VALUE_SIZE.to_string();
        assert!(
            frames.iter().any(|it| it.body.ends_with(length.as_bytes())),
            "{way}"
        );
        // Data of a COPY.
        client.send(&query("COPY kept FROM STDIN")).await.unwrap();
        client.until_tag(b'G', 1).await.unwrap();
        send_large(&mut client, b'd', b"2\t", VALUE_SIZE, b"\n").await;
        client.send(&copy_done()).await.unwrap();
        client.until_ready(1).await.unwrap();
        let delete = "DELETE FROM kept WHERE id = 2";
        client.send(&query(delete)).await.unwrap();
        client.until_ready(1).await.unwrap();
    }
    for (way, pid) in pids {
        let peak = memory_peak(pid);
        println!("{way}: at most {} MiB", peak >> 20);
        assert!(peak < MEMORY_MAX, "{way}: {peak} bytes");
    }
    ways.finish().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_slows_the_server_down_and_fills_no_memory() {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let ways = Ways::to(&bed.source).await;
    let rows = "SELECT repeat('x', 10000) FROM generate_series(1, 100000)";
    for ((way, pid), (_, database)) in ways.pids().into_iter().zip(ways.all().split_off(1)) {
        let mut client = RawClient::connect(&database).await.unwrap();
        client.send(&query(rows)).await.unwrap();
        client.until_tag(b'D', 1).await.unwrap();
        let observer = bed.source.connect().await.unwrap();
        let stuck = "SELECT FROM pg_stat_activity WHERE wait_event = 'ClientWrite'";
        harness::wait::until_true("the server to wait for its client", async || {
            Ok(!harness::database::rows(&observer, stuck).await?.is_empty())
        })
        .await
        .unwrap();
        let peak = memory_peak(pid);
        assert!(peak < MEMORY_MAX, "{way}: {peak} bytes");
        drop(client);
    }
    ways.finish().await;
}
