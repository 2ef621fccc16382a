//! What signals do to a running proxy, and what those who ask from outside are told meanwhile.
//!
//! Reloading is tested with the console and the endpoint.

use harness::{Bed, Segue, ports, wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::SEGUE;

const SCHEMA: &str = "CREATE TABLE item (id int PRIMARY KEY)";

/// A proxy without a target, and the port of its endpoint.
async fn proxy(arguments: &[&str]) -> (Bed, Segue, u16) {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let port = ports::free().unwrap();
    let address = format!("127.0.0.1:{port}");
    let launch = bed.launch(SEGUE).with_uris(Some(&bed.source.uri()), None);
    let arguments = [&["--metrics", &address], arguments].concat();
    let proxy = launch.proxy(&arguments).await.unwrap();
    (bed, proxy, port)
}

/// The status and the body that a path answers with.
async fn get(port: u16, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

async fn drains(port: u16) {
    wait::until_true("the proxy to drain", async || {
        let (status, body) = get(port, "/readyz").await;
        Ok(status == 503 && body.contains("draining"))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_transaction_may_end_after_the_signal_and_nothing_new_begins() {
    let (bed, proxy, port) = proxy(&["--drain-timeout", "2min"]).await;
    assert_eq!(get(port, "/readyz").await.0, 200);
    let proxied = bed.source.through(proxy.port());
    let busy = proxied.connect().await.unwrap();
    let idle = proxied.connect().await.unwrap();
    busy.batch_execute("BEGIN; INSERT INTO item VALUES (1)")
        .await
        .unwrap();
    proxy.signal("TERM").unwrap();
    drains(port).await;
    assert_eq!(get(port, "/healthz").await.0, 200, "it is alive");
    wait::until_true(
        "the idle session to be ended",
        async || Ok(idle.is_closed()),
    )
    .await
    .unwrap();
    assert!(proxied.connect().await.is_err());
    busy.batch_execute("INSERT INTO item VALUES (2); COMMIT")
        .await
        .unwrap();
    wait::until_true("the other session to be ended", async || {
        Ok(busy.is_closed())
    })
    .await
    .unwrap();
    let mut proxy = proxy;
    let code = wait::until("the proxy to end", async || proxy.ended()).await;
    assert_eq!(code.unwrap(), 0);
    let count = bed.source.value("SELECT count(*) FROM item").await.unwrap();
    assert_eq!(count, "2");
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let (bed, mut proxy, port) = proxy(&["--drain-timeout", "1h"]).await;
    let busy = bed.source.through(proxy.port()).connect().await.unwrap();
    busy.batch_execute("BEGIN").await.unwrap();
    proxy.signal("TERM").unwrap();
    drains(port).await;
    proxy.signal("TERM").unwrap();
    let code = wait::until("the proxy to end", async || proxy.ended()).await;
    assert_eq!(code.unwrap(), 1);
    assert!(proxy.log().contains("stopped before it had drained"));
}

#[tokio::test]
async fn a_session_that_does_not_end_is_ended_when_the_time_is_over() {
    let (bed, proxy, _) = proxy(&["--drain-timeout", "50ms"]).await;
    let busy = bed.source.through(proxy.port()).connect().await.unwrap();
    busy.batch_execute("BEGIN").await.unwrap();
    assert_eq!(proxy.terminate().await.unwrap(), 0);
    let error = busy.batch_execute("COMMIT").await.unwrap_err();
    assert!(error.is_closed() || error.code().is_some_and(|it| it.code() == "57P01"));
}

#[tokio::test]
async fn traffic_is_in_the_metrics_a_moment_later() {
    let (bed, proxy, port) = proxy(&[]).await;
    let proxied = bed.source.through(proxy.port());
    proxied
        .execute("INSERT INTO item VALUES (1)")
        .await
        .unwrap();
    let nobody = proxied.as_user("nobody_of_that_name");
    assert!(nobody.connect().await.is_err());
    let busy = proxied.connect().await.unwrap();
    busy.batch_execute("BEGIN").await.unwrap();
    wait::until_true("the metrics to tell of it", async || {
        let (_, text) = get(port, "/metrics").await;
        for line in [
            "segue_proxy_transactions_total{class=\"passed_through\"} 1",
            "segue_proxy_queries_total{class=\"passed_through\"} 2",
            "segue_proxy_client_states_count{state=\"idle_in_transaction\"} 1",
            "segue_proxy_refused_logins_total{reason=\"forbidden\"} 1",
            "segue_proxy_received_bytes_total{class=\"passed_through\"} ",
            "segue_proxy_paused 0",
        ] {
            anyhow::ensure!(text.contains(line), "no {line} in {text}");
        }
        Ok(true)
    })
    .await
    .unwrap();
}
