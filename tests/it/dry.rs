//! `--mirror dry` before anything was set up: what would be captured, and at what cost.

use harness::{Bed, ports, wait};

use crate::SEGUE;
use crate::endpoint::get;

#[tokio::test]
async fn tables_are_known_without_setup_and_as_soon_as_they_are_made() {
    let bed = Bed::shared("CREATE TABLE old (id int PRIMARY KEY, word text)")
        .await
        .unwrap();
    let port = ports::free().unwrap();
    let launch = bed.launch(SEGUE).with_uris(Some(&bed.source.uri()), None);
    let address = format!("127.0.0.1:{port}");
    let arguments = [
        "--mirror",
        "dry",
        "--metrics",
        &address,
        "--catalog-wait",
        "1min",
    ];
    let proxy = launch.proxy(&arguments).await.unwrap();
    let client = bed.source.through(proxy.port()).connect().await.unwrap();
    for sql in [
        "INSERT INTO old VALUES (1, 'known from the start')",
        "CREATE TABLE new (id int PRIMARY KEY, word text)",
        "INSERT INTO new VALUES (1, 'the table is a moment old')",
        "ALTER TABLE new ADD more int",
        "UPDATE new SET more = 2 WHERE id = 1",
        "CREATE TABLE keyless (n int)",
        "INSERT INTO keyless VALUES (1)",
    ] {
        client.batch_execute(sql).await.unwrap();
    }
    wait::until_true("three statements to be captured", async || {
        let metrics = get(port, "/metrics", "").await.1;
        let counts = [
            "segue_proxy_captured_statements_total 3",
            "segue_proxy_captured_transactions_total 3",
        ];
        anyhow::ensure!(counts.iter().all(|it| metrics.contains(it)), "{metrics}");
        Ok(true)
    })
    .await
    .unwrap();
    assert_eq!(proxy.terminate().await.unwrap(), 0);
}
