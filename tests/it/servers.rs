//! The ground the other tests stand on: servers come up, crash, come back and can be compared.
//!
//! Needs no Segue.

use harness::{
    Authentication, Bed, Installation, Server, ServerOptions, compare,
    raw_client::{RawClient, message},
    shop::{self, Shopper},
    tool,
};

/// A source's server that takes passwords, by SCRAM.
pub(crate) async fn asking_for_scram() -> Server {
    let options = ServerOptions {
        authentication: Authentication::Scram,
        ..ServerOptions::default()
    };
    let installation = Installation::for_source().unwrap();
    Server::start(installation, options).await.unwrap()
}

#[tokio::test]
async fn a_killed_server_comes_back_on_its_port_with_what_was_committed() {
    let installation = Installation::for_target().unwrap();
    let mut server = Server::start(installation, ServerOptions::default())
        .await
        .unwrap();
    let database = server.database("postgres");
    database
        .execute("CREATE TABLE kept (id int PRIMARY KEY)")
        .await
        .unwrap();
    database
        .execute("INSERT INTO kept SELECT generate_series(1, 1000)")
        .await
        .unwrap();
    let pid = server.pid();
    server.kill().unwrap();
    assert!(database.connect().await.is_err());
    server.run().await.unwrap();
    assert_ne!(server.pid(), pid);
    assert_eq!(
        database.value("SELECT count(*) FROM kept").await.unwrap(),
        "1000"
    );
}

#[tokio::test]
async fn a_server_that_asks_for_scram_refuses_a_wrong_password() {
    let server = asking_for_scram().await;
    let database = server.database("postgres");
    assert_eq!(database.value("SELECT 1").await.unwrap(), "1");
    let wrong = database.with_password(Some("wrong".to_owned()));
    assert!(wrong.connect().await.is_err());
}

#[tokio::test]
async fn a_comparison_names_every_row_and_column_that_differs() {
    let bed = Bed::shared(shop::SCHEMA).await.unwrap();
    let mut client = bed.source.connect().await.unwrap();
    let mut shopper = Shopper::new(7, "it");
    for _ in 0..30 {
        shopper.visit(&mut client).await.unwrap();
    }
    tool::psql(&bed.source, &shopper.script()).unwrap();
    bed.target.execute("DROP TABLE review, purchase, customer; DROP SEQUENCE invoice_number; DROP FUNCTION customer_touched; DROP TYPE purchase_state").await.unwrap();
    tool::copy_database(&bed.source, &bed.target).unwrap();
    compare(&bed.source, &bed.target)
        .await
        .unwrap()
        .expect_equal()
        .unwrap();
    let by_hand = "SET session_replication_role = replica; \
         UPDATE customer SET balance = 99 WHERE id = 3; DELETE FROM customer WHERE id = 4; \
         INSERT INTO customer (id, email, name) OVERRIDING SYSTEM VALUE VALUES (999, 'x', 'y')";
    bed.target.execute(by_hand).await.unwrap();
    let comparison = compare(&bed.source, &bed.target).await.unwrap();
    let told = comparison.to_string();
    let customer = comparison
        .tables
        .iter()
        .find(|table| table.table == "public.customer");
    assert_eq!(customer.unwrap().differences.len(), 3, "{told}");
    assert!(
        told.contains("balance") && told.contains("Missing") && told.contains("Extra"),
        "{told}"
    );
}

#[tokio::test]
async fn a_raw_client_gets_the_frames_of_the_server() {
    let bed = Bed::shared("").await.unwrap();
    let mut client = RawClient::connect(&bed.source).await.unwrap();
    client.send(&message::query("SELECT 1")).await.unwrap();
    let tags: Vec<u8> = client
        .until_ready(1)
        .await
        .unwrap()
        .into_iter()
        .map(|frame| frame.tag)
        .collect();
    assert_eq!(tags, b"TDCZ");
}
