//! The pipelined connection: proof of identity, encodings and a change stream.

use apply::connection::{Connection, Format, Parameter, tag};
use control::{ConnectCause, Defaults, Dsn, Password, Side};
use harness::{Authentication, Bed, Installation, Server, ServerOptions, server, wait};

fn dsn(uri: &str) -> Dsn {
    Dsn::parse(uri, &Defaults::default()).unwrap()
}

#[tokio::test]
async fn passwords_are_proved_by_scram_and_by_md5_and_sent_in_clear_if_asked() {
    let options = ServerOptions {
        authentication: Authentication::Scram,
        ..ServerOptions::default()
    };
    let server = Server::start(Installation::for_source().unwrap(), options)
        .await
        .unwrap();
    let database = server.database("postgres");
    let open = async |database: &harness::Database| {
        Connection::connect(&dsn(&database.uri()), Side::Source, &[]).await
    };
    open(&database).await.unwrap();
    let wrong = database.clone().with_password(Some("wrong".to_owned()));
    assert_eq!(
        open(&wrong).await.unwrap_err().cause,
        ConnectCause::Password
    );
    let none = database.clone().with_password(None);
    assert_eq!(
        open(&none).await.unwrap_err().cause,
        ConnectCause::PasswordMissing
    );
    let environment = Defaults {
        password: Some(Password::new(server::PASSWORD)),
        ..Defaults::default()
    };
    let from_environment = Dsn::parse(&none.uri(), &environment).unwrap();
    Connection::connect(&from_environment, Side::Source, &[])
        .await
        .unwrap();
    let nowhere = database.clone().of_name("nowhere");
    assert_eq!(
        open(&nowhere).await.unwrap_err().cause,
        ConnectCause::UnknownDatabase
    );
    let logins = "SET password_encryption = md5;
        CREATE ROLE by_md5 LOGIN PASSWORD 'open sesame';
        CREATE ROLE by_password LOGIN PASSWORD 'open sesame'";
    database.execute(logins).await.unwrap();
    let rules = "host all by_md5 all md5\n\
                 host all by_password all password\n\
                 host all all all scram-sha-256\n";
    std::fs::write(server.directory().join("data/pg_hba.conf"), rules).unwrap();
    database.value("SELECT pg_reload_conf()").await.unwrap();
    for role in ["by_md5", "by_password"] {
        wait::until_true("the new rules", async || {
            Ok(open(&database.as_user(role)).await.is_ok())
        })
        .await
        .unwrap();
        let refused = open(&wrong.as_user(role)).await.unwrap_err();
        assert_eq!(refused.cause, ConnectCause::Password);
    }
}

#[tokio::test]
async fn an_error_leaves_the_session_usable() {
    let bed = Bed::shared("").await.unwrap();
    let mut connection = Connection::connect(&dsn(&bed.source.uri()), Side::Source, &[])
        .await
        .unwrap();
    let error = connection.query_simple("SELECT 1/0").await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("22012"));
    connection
        .prepare("add", "SELECT $1::int4 + 1, $1::text")
        .unwrap();
    connection.sync();
    let two = [Format::Binary, Format::Text];
    connection
        .execute("add", &[Parameter::Text(b"41")], &two)
        .unwrap();
    connection
        .execute("add", &[Parameter::Binary(&[0, 0])], &two)
        .unwrap();
    connection.execute("add", &[Parameter::Null], &two).unwrap();
    connection.sync();
    connection
        .execute("add", &[Parameter::Binary(&[0, 0, 0, 1])], &two)
        .unwrap();
    connection.sync();
    connection.flush().await.unwrap();
    assert!(connection.reply().await.unwrap().error.is_none());
    let broken = connection.reply().await.unwrap();
    assert_eq!(broken.results.len(), 1, "nothing behind the error has run");
    assert_eq!(broken.error.unwrap().sqlstate, "08P01");
    let answer = connection.reply().await.unwrap();
    let row: Vec<_> = answer.results[0].rows[0]
        .iter()
        .map(|value| value.as_deref())
        .collect();
    assert_eq!(row, [Some(&[0, 0, 0, 2][..]), Some(&b"1"[..])]);
    connection.close().await;
}

#[tokio::test]
async fn a_change_stream_is_received_and_confirmed() {
    let bed = Bed::shared("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE t")
        .await
        .unwrap();
    let slot = bed.source.name.clone();
    let make = format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')");
    bed.source.value(&make).await.unwrap();
    bed.source
        .execute("INSERT INTO t VALUES (7)")
        .await
        .unwrap();
    let replication = [("replication", "database")];
    let mut stream = Connection::connect(&dsn(&bed.source.uri()), Side::Source, &replication)
        .await
        .unwrap();
    let absent = stream
        .start_copy_both("START_REPLICATION SLOT nowhere LOGICAL 0/0")
        .await;
    assert_eq!(absent.unwrap_err().sqlstate(), Some("42704"));
    let start = format!(
        "START_REPLICATION SLOT \"{slot}\" LOGICAL 0/0 (proto_version '1', publication_names 'p')"
    );
    stream.start_copy_both(&start).await.unwrap();
    let mut kinds = Vec::new();
    while kinds.last() != Some(&b'C') {
        let (tag, body) = stream.receive().await.unwrap();
        assert_eq!(tag, tag::COPY_DATA);
        // A message behind the 25 bytes of its envelope, or a keepalive.
        if body[0] == b'w' {
            kinds.push(body[25]);
        }
    }
    assert_eq!(kinds, *b"BRIC");
    stream.copy_data(&[&[b'r'][..], &[0; 33]].concat()).unwrap();
    stream.copy_done();
    stream.flush().await.unwrap();
    while stream.receive().await.unwrap().0 != tag::COPY_DONE {}
    stream.reply().await.unwrap();
}
