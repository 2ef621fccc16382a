//! Encryption towards servers: every `sslmode`, for Segue's own connections and for clients'.

use control::{Defaults, Dsn, Side};
use harness::raw_client::{self, RawClient, message};
use harness::{Authority, Database, Installation, Pair, Server, ServerOptions, certificates, wait};

use crate::{
    SEGUE,
    tls::{fails, path, proxy, server, shows, tls_settings, works},
};

/// Connects as Segue does, and says whether the connection is encrypted, or why there is none.
async fn own(uri: &str) -> Result<bool, String> {
    let dsn = Dsn::parse(uri, &Defaults::default()).map_err(|error| error.to_string())?;
    let client = control::connect(&dsn, Side::Source, "test").await;
    let client = client.map_err(|error| error.to_string())?;
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    Ok(client.query_one(sql, &[]).await.unwrap().get(0))
}

#[track_caller]
fn refused(outcome: Result<bool, String>, expected: &str) {
    let error = outcome.unwrap_err();
    assert!(error.contains(expected), "{error}");
}

fn uri(server: &Server, host: &str, parameters: &str) -> String {
    format!(
        "postgres://postgres@{host}:{}/postgres?{parameters}",
        server.port()
    )
}

#[tokio::test]
async fn every_sslmode_means_what_it_means_to_libpq() {
    let authority = Authority::new("segue test").unwrap();
    let stranger = Authority::new("somebody else").unwrap();
    let theirs = authority.issue(&["localhost"]).unwrap();
    let source = server("hostssl all all all trust", &theirs, &authority).await;
    let root = format!("sslrootcert={}", path(authority.path()));
    let other = format!("sslrootcert={}", path(stranger.path()));
    let to = |host: &str, parameters: &str| uri(&source, host, parameters);

    refused(
        own(&to("localhost", "sslmode=disable")).await,
        "no encryption",
    );
    // The server refuses the connection in the clear, and then it is encrypted.
    assert_eq!(own(&to("localhost", "sslmode=allow")).await, Ok(true));
    for mode in ["prefer", "require"] {
        assert_eq!(
            own(&to("localhost", &format!("sslmode={mode}"))).await,
            Ok(true)
        );
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let good = to("localhost", &format!("sslmode={mode}&{root}"));
        assert_eq!(own(&good).await, Ok(true), "{mode}");
        let bad = to("localhost", &format!("sslmode={mode}&{other}"));
        refused(own(&bad).await, "is not trusted");
    }
    assert_eq!(
        own(&to("127.0.0.1", &format!("sslmode=verify-ca&{root}"))).await,
        Ok(true)
    );
    let elsewhere = to("127.0.0.1", &format!("sslmode=verify-full&{root}"));
    refused(
        own(&elsewhere).await,
        "is for localhost and not for 127.0.0.1",
    );
    refused(
        own(&to("localhost", "sslmode=verify-full")).await,
        "needs the certificate of an authority",
    );
    refused(
        own(&to("localhost", "sslrootcert=system")).await,
        "not trusted",
    );
    let bound = to("localhost", "sslmode=require&channel_binding=require");
    refused(own(&bound).await, "channel_binding=require cannot be met");
    let old = to("localhost", "sslmode=require&sslnegotiation=direct");
    if source.version() < 17 {
        refused(own(&old).await, "PostgreSQL 17 introduced");
    }

    // For clients too: allow comes back encrypted, and what cannot be is said with the mend.
    let database = source.database("postgres");
    let allowed = proxy(&to("localhost", "sslmode=allow"), &[]).await;
    assert_eq!(
        works(
            &database.through(allowed.port()),
            "sslmode=disable",
            "SELECT 1"
        ),
        "1"
    );
    let untrusting = proxy(
        &to("localhost", &format!("sslmode=verify-full&{other}")),
        &[],
    )
    .await;
    let client = database.through(untrusting.port());
    fails(
        &client,
        "sslmode=disable",
        "set sslrootcert to the certificate of the authority",
    );
}

/// PostgreSQL 17 brought it, and 18 has it; each where it is found and was built with TLS.
#[tokio::test]
async fn tls_without_a_question_first_works_with_servers_that_know_it() {
    for version in [17, 18] {
        let Some(installation) = Installation::of(version) else {
            println!("skipped: PostgreSQL {version} is not here; see tests/servers");
            continue;
        };
        let authority = Authority::new("segue test").unwrap();
        let theirs = authority.issue(&["localhost"]).unwrap();
        let options = ServerOptions {
            settings: tls_settings("hostssl all all all trust", &theirs, &authority),
            ..ServerOptions::default()
        };
        let source = Server::start(installation, options).await.unwrap();
        let root = format!("sslrootcert={}", path(authority.path()));
        for mode in ["require", "verify-ca", "verify-full"] {
            let direct = format!("sslmode={mode}&sslnegotiation=direct&{root}");
            let direct = uri(&source, "localhost", &direct);
            assert_eq!(own(&direct).await, Ok(true), "{version} {mode}");
        }
        let direct = format!("sslmode=verify-full&sslnegotiation=direct&{root}");
        let stranger = Authority::new("somebody else").unwrap();
        let other = format!("sslrootcert={}", path(stranger.path()));
        let untrusted = direct.replace(&root, &other);
        refused(
            own(&uri(&source, "localhost", &untrusted)).await,
            "is not trusted",
        );
        // For clients of the proxy, which themselves do not encrypt, and their cancel requests.
        let proxy = proxy(&uri(&source, "localhost", &direct), &[]).await;
        let database = source.database("postgres");
        let client = database.through(proxy.port());
        let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        assert_eq!(works(&client, "sslmode=disable", sql), "t", "{version}");
        let mut sleeper = RawClient::connect(&client).await.unwrap();
        let key = sleeper.cancel_key().unwrap().to_vec();
        let sleep = message::query("SELECT pg_sleep(100)");
        sleeper.send(&sleep).await.unwrap();
        let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        wait::until_true("the statement to run", async || {
            Ok(works(&client, "sslmode=disable", sleeps) == "1")
        })
        .await
        .unwrap();
        raw_client::cancel(proxy.port(), &key).await.unwrap();
        let frames = sleeper.until_ready(1).await.unwrap();
        assert!(frames.iter().any(|frame| frame.tag == b'E'), "{version}");
        assert_eq!(proxy.terminate().await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_server_without_tls_is_reached_in_the_clear_or_named() {
    let server = Server::start(
        Installation::for_source().unwrap(),
        ServerOptions::default(),
    );
    let server = server.await.unwrap();
    for mode in ["disable", "allow", "prefer"] {
        assert_eq!(
            own(&uri(&server, "localhost", &format!("sslmode={mode}"))).await,
            Ok(false)
        );
    }
    let required = own(&uri(&server, "localhost", "sslmode=require")).await;
    refused(required, "set ssl = on at the server");
}

#[tokio::test]
async fn certificates_as_postgresqls_manual_makes_them_are_taken() {
    let authority = Authority::new("segue test").unwrap();
    let by_common_name = authority.issue_common_name("localhost").unwrap();
    let source = server("host all all all trust", &by_common_name, &authority).await;
    let full = format!("sslmode=verify-full&sslrootcert={}", path(authority.path()));
    assert_eq!(own(&uri(&source, "localhost", &full)).await, Ok(true));
    refused(
        own(&uri(&source, "127.0.0.1", &full)).await,
        "is for localhost",
    );

    let own_authority = certificates::self_signed("localhost").unwrap();
    let source = server("host all all all trust", &own_authority, &authority).await;
    let full = format!(
        "sslmode=verify-full&sslrootcert={}",
        path(&own_authority.certificate)
    );
    assert_eq!(own(&uri(&source, "localhost", &full)).await, Ok(true));
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_ours() {
    let authority = Authority::new("segue test").unwrap();
    let theirs = authority.issue(&["localhost"]).unwrap();
    let source = server("hostssl all all all cert", &theirs, &authority).await;
    let ours = authority.issue(&["postgres"]).unwrap();
    let with = format!(
        "sslmode=require&sslcert={}&sslkey={}",
        path(&ours.certificate),
        path(&ours.key)
    );
    assert_eq!(own(&uri(&source, "localhost", &with)).await, Ok(true));
    refused(
        own(&uri(&source, "localhost", "sslmode=require")).await,
        "certificate",
    );
    let proxy = proxy(&uri(&source, "localhost", &with), &[]).await;
    let client = source.database("postgres").through(proxy.port());
    assert_eq!(works(&client, "sslmode=disable", "SELECT 1"), "1");
    let strange = Authority::new("somebody else")
        .unwrap()
        .issue(&["postgres"])
        .unwrap();
    let with = format!(
        "sslmode=require&sslcert={}&sslkey={}",
        path(&strange.certificate),
        path(&strange.key)
    );
    refused(
        own(&uri(&source, "localhost", &with)).await,
        "set sslcert and sslkey",
    );
}

#[tokio::test]
async fn mirror_log_and_commands_work_with_nothing_but_tls_and_bound_passwords() {
    let authority = Authority::new("segue test").unwrap();
    let theirs = authority.issue(&["localhost"]).unwrap();
    // The test itself looks in from the side.
    let hba = "hostnossl all postgres all trust\nhostssl all keeper all scram-sha-256";
    let options = ServerOptions {
        settings: tls_settings(hba, &theirs, &authority),
        ..ServerOptions::default()
    };
    let pair = Pair::start(options).await.unwrap();
    let role = "CREATE ROLE keeper SUPERUSER LOGIN PASSWORD 'bound'";
    for server in [&pair.source, &pair.target] {
        server.database("postgres").execute(role).await.unwrap();
    }
    let schema = "CREATE TABLE item (id int PRIMARY KEY, name text)";
    let bed = pair.bed(schema).await.unwrap();
    let secured = |database: &Database| {
        let (port, name) = (database.port, &database.name);
        let root = path(authority.path());
        format!(
            "postgres://keeper:bound@localhost:{port}/{name}?sslmode=verify-full\
             &sslrootcert={root}&channel_binding=require"
        )
    };
    let (source, target) = (secured(&bed.source), secured(&bed.target));
    let launch = bed.launch(SEGUE).with_uris(Some(&source), Some(&target));
    launch.setup().await.unwrap();
    let ours = authority.issue(&["localhost"]).unwrap();
    let segue = launch.run(&shows(&ours)).await.unwrap();
    let keeper = bed.source.through(segue.port()).as_user("keeper");
    let keeper = keeper.with_password(Some("bound".to_owned()));
    let keywords = "sslmode=require channel_binding=require";
    works(
        &keeper,
        keywords,
        "INSERT INTO item VALUES (1, 'encrypted')",
    );
    bed.converged().await.unwrap();
    let status = launch.status().await.unwrap();
    assert_eq!(status["open_divergences"], 0, "{status:#}");
    assert_eq!(segue.terminate().await.unwrap(), 0);
}
