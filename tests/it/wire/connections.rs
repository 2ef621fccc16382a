//! What happens beside statements: cancelling, notifications, the beginning of a connection.

use harness::{
    Authentication, Pair, Server, ServerOptions,
    installation::Installation,
    raw_client::{self, RawClient, message::*},
    wait,
};

use crate::{
    SEGUE,
    fidelity::{Fidelity, masked, tags},
};

#[tokio::test]
async fn a_cancel_request_reaches_the_statement_it_is_meant_for() {
    let fidelity = Fidelity::new().await;
    let mut seen = Vec::new();
    for (_, database) in fidelity.ways() {
        let mut client = RawClient::connect(database).await.unwrap();
        let key = client.cancel_key().unwrap().to_vec();
        client
            .send(&query(
                "INSERT INTO item (id, name) SELECT 100, pg_sleep(100)::text",
            ))
            .await
            .unwrap();
        let observer = fidelity.bed.source.connect().await.unwrap();
        wait::until_true("the statement to run", async || {
            let sleeping = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
            Ok(!harness::database::rows(&observer, sleeping)
                .await?
                .is_empty())
        })
        .await
        .unwrap();
        raw_client::cancel(database.port, &key).await.unwrap();
        let mut frames = client.until_ready(1).await.unwrap();
        client.send(&query("SELECT 'still here'")).await.unwrap();
        frames.extend(client.until_ready(1).await.unwrap());
        seen.push(masked(frames));
    }
    assert_eq!(tags(&seen[0])[&'E'], 1);
    assert_eq!(seen[1], seen[0], "mirror off");
    assert_eq!(seen[2], seen[0], "mirror on");
}

#[tokio::test]
async fn notifications_arrive_on_idle_connections() {
    let fidelity = Fidelity::new().await;
    let mut seen = Vec::new();
    for (_, database) in fidelity.ways() {
        let mut listener = RawClient::connect(database).await.unwrap();
        listener.send(&query("LISTEN news")).await.unwrap();
        let mut frames = listener.until_ready(1).await.unwrap();
        let mut sender = RawClient::connect(database).await.unwrap();
        let sql = "INSERT INTO item (id, name) VALUES (100, 'x'); NOTIFY news, 'it happened'";
        sender.send(&query(sql)).await.unwrap();
        sender.until_ready(1).await.unwrap();
        frames.extend(listener.until_tag(b'A', 1).await.unwrap());
        seen.push(masked(frames));
    }
    assert_eq!(seen[1], seen[0], "mirror off");
    assert_eq!(seen[2], seen[0], "mirror on");
}

#[tokio::test]
async fn tls_is_refused_politely_and_the_connection_may_go_on() {
    let fidelity = Fidelity::new().await;
    for (way, database) in fidelity.ways() {
        assert_eq!(
            raw_client::ssl_answer(database.port).await.unwrap(),
            b'N',
            "{way}"
        );
        // libpq asks for TLS, takes the refusal and goes on in plain.
        assert_eq!(
            harness::tool::psql(database, "SELECT 1").unwrap(),
            "1\n",
            "{way}"
        );
    }
}

#[tokio::test]
async fn scram_passwords_are_relayed() {
    let scram = ServerOptions {
        authentication: Authentication::Scram,
        ..ServerOptions::default()
    };
    let source = Server::start(Installation::for_source().unwrap(), scram.clone())
        .await
        .unwrap();
    let target = Server::start(Installation::for_target().unwrap(), scram)
        .await
        .unwrap();
    let pair = Pair { source, target };
    let bed = pair
        .bed("CREATE TABLE kept (id int PRIMARY KEY, word text)")
        .await
        .unwrap();
    let launch = bed.launch(SEGUE);
    launch.setup().await.unwrap();
    let segue = launch.run(&[]).await.unwrap();
    let proxied = bed.source.through(segue.port());
    proxied
        .execute("INSERT INTO kept VALUES (1, 'by SCRAM')")
        .await
        .unwrap();
    let wrong = Some("wrong".to_owned());
    let direct = bed
        .source
        .clone()
        .with_password(wrong.clone())
        .connect()
        .await
        .unwrap_err();
    let proxied = proxied.with_password(wrong).connect().await.unwrap_err();
    assert_eq!(
        proxied.root_cause().to_string(),
        direct.root_cause().to_string()
    );
    bed.converged().await.unwrap();
    assert_eq!(segue.terminate().await.unwrap(), 0);
}
