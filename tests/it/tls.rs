//! Encryption on both sides of the proxy, with psql and real servers.

use std::process::Output;

use control::server::{Route, ServerStream, Way};
use control::{Defaults, Dsn};
use harness::{
    Authority, Database, Installation, Issued, Launch, Segue, Server, ServerOptions,
    raw_client::{self, RawClient},
    tool::client_program,
    wait,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::SEGUE;

/// The settings of a server that speaks TLS, with a `pg_hba.conf` of its own.
pub(crate) fn tls_settings(hba: &str, certificate: &Issued, authority: &Authority) -> Vec<String> {
    let files = certificate.for_servers().unwrap();
    let rules = files.certificate.with_extension("hba");
    std::fs::write(&rules, format!("local all all trust\n{hba}\n")).unwrap();
    let set = |name: &str, path: &std::path::Path| format!("{name}={}", path.display());
    vec![
        "ssl=on".to_owned(),
        set("ssl_cert_file", &files.certificate),
        set("ssl_key_file", &files.key),
        set("ssl_ca_file", authority.path()),
        set("hba_file", &rules),
    ]
}

/// A server that speaks TLS, with a `pg_hba.conf` of its own.
pub(crate) async fn server(hba: &str, certificate: &Issued, authority: &Authority) -> Server {
    let options = ServerOptions {
        settings: tls_settings(hba, certificate, authority),
        ..ServerOptions::default()
    };
    let installation = Installation::for_source().unwrap();
    Server::start(installation, options).await.unwrap()
}

/// A server that speaks TLS and lets everybody in.
async fn trusting(authority: &Authority) -> Server {
    let certificate = authority.issue(&["localhost"]).unwrap();
    server("host all all all trust", &certificate, authority).await
}

/// The flags of a proxy that shows clients this certificate.
pub(crate) fn shows(identity: &Issued) -> [&str; 4] {
    [
        "--client-tls-cert",
        path(&identity.certificate),
        "--client-tls-key",
        path(&identity.key),
    ]
}

/// A proxy before `source`, with these flags.
pub(crate) async fn proxy(source: &str, flags: &[&str]) -> Segue {
    let launch = Launch::new(SEGUE, &Database::new(1, "x"), &Database::new(1, "x"));
    let launch = launch.with_uris(Some(source), None);
    launch.proxy(flags).await.unwrap()
}

pub(crate) fn path(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

/// psql with further `keyword=value` pairs.
pub(crate) fn psql(database: &Database, keywords: &str, sql: &str) -> Output {
    let mut command = client_program("psql", database).unwrap();
    command.env_remove("PGHOST");
    let string = format!(
        "host=localhost hostaddr=127.0.0.1 port={} user={} dbname={} {keywords}",
        database.port, database.user, database.name
    );
    command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", &string, "-c", sql]);
    command.output().unwrap()
}

#[track_caller]
pub(crate) fn works(database: &Database, keywords: &str, sql: &str) -> String {
    let output = psql(database, keywords, sql);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{keywords}: {errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[track_caller]
pub(crate) fn fails(database: &Database, keywords: &str, expected: &str) {
    let output = psql(database, keywords, "SELECT 1");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{keywords}: {output:?}");
    assert!(errors.contains(expected), "{keywords}: {errors}");
}

const SEEN: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

#[tokio::test]
async fn clients_encrypt_as_their_sslmode_says() {
    let authority = Authority::new("segue test").unwrap();
    let stranger = Authority::new("somebody else").unwrap();
    let source = trusting(&authority).await;
    let ours = authority.issue(&["localhost"]).unwrap();
    let database = source.database("postgres");
    let uri = format!("{}?sslmode=disable", database.uri());
    let proxy = proxy(&uri, &shows(&ours)).await;
    let proxied = database.through(proxy.port());
    let (trusted, untrusted) = (path(authority.path()), path(stranger.path()));
    for keywords in [
        "sslmode=disable".to_owned(),
        "sslmode=allow".to_owned(),
        "sslmode=prefer".to_owned(),
        "sslmode=require".to_owned(),
        format!("sslmode=verify-ca sslrootcert={trusted}"),
        format!("sslmode=verify-full sslrootcert={trusted}"),
    ] {
        assert_eq!(works(&proxied, &keywords, SEEN), "f", "{keywords}");
        let copied = works(
            &proxied,
            &keywords,
            "SELECT sum(length(repeat('x', 100000) || i)) FROM generate_series(1, 20) i",
        );
        assert_eq!(copied, "2000031");
    }
    fails(
        &proxied,
        &format!("sslmode=verify-ca sslrootcert={untrusted}"),
        "certificate verify failed",
    );
    let other_name = psql(
        &proxied,
        &format!("sslmode=verify-full sslrootcert={trusted} host=elsewhere"),
        "SELECT 1",
    );
    assert!(String::from_utf8_lossy(&other_name.stderr).contains("does not match host name"));
}

#[tokio::test]
async fn a_proxy_that_requires_encryption_says_so_to_clients_without() {
    let authority = Authority::new("segue test").unwrap();
    let source = trusting(&authority).await;
    let ours = authority.issue(&["localhost"]).unwrap();
    let certificate = shows(&ours);
    let database = source.database("postgres");
    let strict = proxy(
        &database.uri(),
        &[&certificate[..], &["--client-tls", "require"]].concat(),
    )
    .await;
    let proxied = database.through(strict.port());
    assert_eq!(works(&proxied, "sslmode=require", "SELECT 1"), "1");
    // libpq comes back encrypted when it is refused without.
    assert_eq!(works(&proxied, "sslmode=allow", "SELECT 1"), "1");
    fails(
        &proxied,
        "sslmode=disable",
        "connection rejected: no encryption",
    );

    let off = proxy(
        &database.uri(),
        &[&certificate[..], &["--client-tls", "off"]].concat(),
    )
    .await;
    let proxied = database.through(off.port());
    fails(&proxied, "sslmode=require", "server does not support SSL");
    assert_eq!(works(&proxied, "sslmode=prefer", "SELECT 1"), "1");
}

#[tokio::test]
async fn bytes_stuffed_behind_the_request_for_encryption_are_refused() {
    let authority = Authority::new("segue test").unwrap();
    let source = trusting(&authority).await;
    let ours = authority.issue(&["localhost"]).unwrap();
    let flags = shows(&ours);
    let proxy = proxy(&source.database("postgres").uri(), &flags).await;
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port()))
        .await
        .unwrap();
    stream
        .write_all(b"\0\0\0\x08\x04\xd2\x16\x2f\0\0\0\x11\0\x03\0\0user\0me\0\0")
        .await
        .unwrap();
    let mut answer = Vec::new();
    // The connection may be reset: not all of ours was read.
    drop(stream.read_to_end(&mut answer).await);
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.contains("received unencrypted data after SSL request"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_on_sighup_and_a_broken_one_is_not() {
    let authority = Authority::new("segue test").unwrap();
    let later = Authority::new("its successor").unwrap();
    let source = trusting(&authority).await;
    let ours = authority.issue(&["localhost"]).unwrap();
    let flags = shows(&ours);
    let proxy = proxy(&source.database("postgres").uri(), &flags).await;
    let proxied = source.database("postgres").through(proxy.port());
    let by =
        |authority: &Authority| format!("sslmode=verify-ca sslrootcert={}", path(authority.path()));
    works(&proxied, &by(&authority), "SELECT 1");

    std::fs::write(&ours.certificate, "nothing").unwrap();
    proxy.signal("HUP").unwrap();
    let refused = "the configuration has been left as it was";
    wait::until_true("the refusal in the log", async || {
        Ok(proxy.log().contains(refused))
    })
    .await
    .unwrap();
    assert!(
        proxy.log().contains("holds no certificate in PEM format"),
        "{}",
        proxy.log()
    );
    works(&proxied, &by(&authority), "SELECT 1");

    ours.renew(&later.issue(&["localhost"]).unwrap()).unwrap();
    proxy.signal("HUP").unwrap();
    wait::until_true("the new certificate in the log", async || {
        Ok(proxy.log().contains("client_tls_cert is"))
    })
    .await
    .unwrap();
    works(&proxied, &by(&later), "SELECT 1");
    fails(&proxied, &by(&authority), "certificate verify failed");
}

#[tokio::test]
async fn clients_are_asked_for_certificates_where_an_authority_is_named() {
    let authority = Authority::new("segue test").unwrap();
    let source = trusting(&authority).await;
    let ours = authority.issue(&["localhost"]).unwrap();
    let by_certificate = [
        "--client-tls-ca",
        path(authority.path()),
        "--client-tls",
        "require",
    ];
    let flags = [shows(&ours), by_certificate].concat();
    let proxy = proxy(&source.database("postgres").uri(), &flags).await;
    let proxied = source.database("postgres").through(proxy.port());
    let client = authority.issue(&["client"]).unwrap();
    let with = format!(
        "sslmode=require sslcert={} sslkey={}",
        path(&client.certificate),
        path(&client.key)
    );
    assert_eq!(works(&proxied, &with, "SELECT 1"), "1");
    fails(
        &proxied,
        "sslmode=require sslcert=/none",
        "certificate required",
    );
    let stranger = Authority::new("somebody else")
        .unwrap()
        .issue(&["client"])
        .unwrap();
    let with = format!(
        "sslmode=require sslcert={} sslkey={}",
        path(&stranger.certificate),
        path(&stranger.key)
    );
    assert!(!psql(&proxied, &with, "SELECT 1").status.success());
}

#[tokio::test]
async fn config_check_names_files_that_cannot_be_used() {
    let authority = Authority::new("segue test").unwrap();
    let (one, other) = (
        authority.issue(&["a"]).unwrap(),
        authority.issue(&["b"]).unwrap(),
    );
    let launch = Launch::new(SEGUE, &Database::new(1, "x"), &Database::new(1, "x"));
    let check = async |launch: &Launch, variables: &[(&str, &str)]| {
        let launch = variables
            .iter()
            .fold(launch.clone(), |launch, (name, value)| {
                launch.with_variable(name, value)
            });
        let ended = launch.run_to_end(&["config", "check"]).await.unwrap();
        assert_eq!(ended.code, 2, "{ended:?}");
        ended.errors
    };
    let errors = check(
        &launch,
        &[
            ("SEGUE_CLIENT_TLS_CERT", path(&one.certificate)),
            ("SEGUE_CLIENT_TLS_KEY", path(&other.key)),
        ],
    )
    .await;
    assert!(errors.contains("does not belong to the key"), "{errors}");
    let errors = check(&launch, &[("SEGUE_CLIENT_TLS", "require")]).await;
    assert!(errors.contains("needs client_tls_cert"), "{errors}");
    let source = "postgres://a@b/c?sslmode=verify-full&sslrootcert=/nowhere.crt";
    let errors = check(&launch.with_uris(Some(source), None), &[]).await;
    assert!(
        errors.contains("sslrootcert /nowhere.crt: cannot be read"),
        "{errors}"
    );
    let source = "postgres://a@b/c?sslmode=verify-ca";
    let errors = check(&launch.with_uris(Some(source), None), &[]).await;
    assert!(
        errors.contains("set sslrootcert to its file, or to system"),
        "{errors}"
    );
}

/// An encrypted connection to a proxy, begun with or without a request.
async fn encrypted_client(port: u16, negotiation: &str) -> ServerStream {
    let uri =
        format!("postgres://a@127.0.0.1:{port}/x?sslmode=require&sslnegotiation={negotiation}");
    let route = Route::new(&Dsn::parse(&uri, &Defaults::default()).unwrap()).unwrap();
    route.open(Way::Encrypted).await.unwrap()
}

async fn send_cancel(mut stream: ServerStream, key: &[u8]) {
    let length = u32::try_from(key.len() + 8).unwrap();
    let request = [
        &length.to_be_bytes()[..],
        &80_877_102_u32.to_be_bytes(),
        key,
    ]
    .concat();
    stream.write_all(&request).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

/// Whether a query on `database` is cancelled by a request that `cancel` sends.
async fn is_cancelled(database: &Database, cancel: impl AsyncFn(&[u8])) -> bool {
    let mut client = RawClient::connect(database).await.unwrap();
    let key = client.cancel_key().unwrap().to_vec();
    client
        .send(&raw_client::message::query("SELECT pg_sleep(60)"))
        .await
        .unwrap();
    let running = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active' AND wait_event = 'PgSleep'";
    wait::until_true("the query to run", async || {
        Ok(database.value(running).await? == "1")
    })
    .await
    .unwrap();
    cancel(&key).await;
    let frames = client.until_ready(1).await.unwrap();
    frames
        .iter()
        .any(|frame| String::from_utf8_lossy(&frame.body).contains("57014"))
}

#[tokio::test]
async fn cancel_requests_are_taken_encrypted_and_go_on_encrypted() {
    let authority = Authority::new("segue test").unwrap();
    let source = trusting(&authority).await;
    let ours = authority.issue(&["localhost"]).unwrap();
    let flags = shows(&ours);
    let database = source.database("postgres");
    let uri = format!("{}?sslmode=require", database.uri());
    let proxy = proxy(&uri, &flags).await;
    let proxied = database.through(proxy.port());
    let port = proxy.port();
    let clear = async |key: &[u8]| raw_client::cancel(port, key).await.unwrap();
    assert!(is_cancelled(&proxied, clear).await);
    let encrypted = async |key: &[u8]| {
        send_cancel(encrypted_client(port, "postgres").await, key).await;
    };
    assert!(is_cancelled(&proxied, encrypted).await);
    let direct = async |key: &[u8]| {
        send_cancel(encrypted_client(port, "direct").await, key).await;
    };
    assert!(is_cancelled(&proxied, direct).await);
}
