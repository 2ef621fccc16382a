//! The admin console, as an operator and as drivers meet it.
//!
//! Does not test what the tables count beyond what was just done: the tests of each subject do.

use std::path::PathBuf;

use harness::guardian::Guardian;
use harness::raw_client::{self, RawClient, message};
use harness::server::{Authentication, ServerOptions};
use harness::{Bed, Database, Installation, Segue, Server, database, ports, tool, wait};
use tokio_postgres::SimpleQueryMessage;

use crate::SEGUE;
use crate::ground::Ground;

const SCHEMA: &str = "CREATE TABLE item (id int PRIMARY KEY, name text);
    CREATE TABLE loose (name text)";

/// A proxy without a target, and its console.
async fn passing(arguments: &[&str]) -> (Bed, Segue, Database) {
    let bed = Bed::shared(SCHEMA).await.unwrap();
    let launch = bed.launch(SEGUE).with_uris(Some(&bed.source.uri()), None);
    let proxy = launch.proxy(arguments).await.unwrap();
    let console = console(&bed.source, &proxy);
    (bed, proxy, console)
}

fn console(source: &Database, proxy: &Segue) -> Database {
    source.through(proxy.port()).of_name("segue")
}

/// The value of the column `name` in the rows that `command` shows.
async fn column(console: &Database, command: &str, name: &str) -> Vec<String> {
    let client = console.connect().await.unwrap();
    let messages = client.simple_query(command).await.unwrap();
    let mut values = Vec::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            values.push(row.get(name).unwrap_or_default().to_owned());
        }
    }
    values
}

/// The error of a command.
async fn refused(console: &Database, command: &str) -> tokio_postgres::error::DbError {
    let client = console.connect().await.unwrap();
    let error = client.simple_query(command).await.unwrap_err();
    error.as_db_error().unwrap().clone()
}

#[tokio::test]
async fn psql_talks_to_it_with_its_defaults() {
    let (bed, proxy, console) = passing(&[]).await;
    let client = bed.source.through(proxy.port()).connect().await.unwrap();
    client.batch_execute("SELECT 1").await.unwrap();
    let said = |script: &str| tool::psql(&console, script).unwrap();
    assert!(said("show version;").starts_with("segue "));
    let clients = said("SHOW CLIENTS");
    let (first, second) = clients.split_once('\n').unwrap();
    assert!(first.contains("|idle|127.0.0.1|"), "{clients}");
    // Who asks is there too.
    assert_eq!(second.lines().count(), 1, "{clients}");
    let own = ["|segue|psql|active|127.0.0.1|", "|no: admin console"];
    assert!(own.iter().all(|it| second.contains(it)), "{clients}");
    assert!(said("HELP").contains("PAUSE [seconds]"));
    assert!(said("SHOW VERSION; SHOW STATE").contains("state|running"));
    let databases = said("SHOW DATABASES");
    assert!(databases.contains("|no: mirror is off|1"), "{databases}");
    for subject in ["SERVERS", "STATS", "MIRROR", "TABLES", "CONFIG", "HELP"] {
        said(&format!("show {subject};"));
    }
    // What psql asks of a server's catalog is refused, and the session goes on.
    let error = tool::psql(&console, "\\d").unwrap_err().to_string();
    assert!(error.contains("HELP lists the commands"), "{error}");
    drop(client);
}

#[tokio::test]
async fn what_is_no_command_is_refused_and_what_stood_before_it_is_done() {
    let (_bed, _proxy, console) = passing(&[]).await;
    let error = refused(&console, "SELECT 1").await;
    assert_eq!(error.code().code(), "42601");
    assert!(error.hint().unwrap().contains("HELP"));
    let client = console.connect().await.unwrap();
    let error = client.simple_query("SET pause_timeout = '7s'; nonsense");
    assert!(error.await.is_err());
    let value = column(&console, "SHOW pause_timeout", "value").await;
    assert_eq!(value, ["7s"]);
    let rows = database::rows(&client, "show version").await.unwrap();
    assert_eq!(rows.len(), 1, "the session goes on after an error");
}

#[tokio::test]
async fn drivers_ask_through_the_extended_protocol_and_in_binary() {
    let (bed, proxy, console) = passing(&[]).await;
    let client = bed.source.through(proxy.port()).connect().await.unwrap();
    for _ in 0..3 {
        client.query_one("SELECT 1", &[]).await.unwrap();
    }
    let admin = console.connect().await.unwrap();
    wait::until_true("the queries to be counted", async || {
        let rows = admin.query("SHOW STATS", &[]).await?;
        let queries: i64 = rows[1].get("total_query_count");
        let average: f64 = rows[1].get("avg_query_count");
        Ok(queries >= 3 && average > 0.0)
    })
    .await
    .unwrap();
    let rows = admin.query("SHOW CLIENTS", &[]).await.unwrap();
    let pid: i64 = rows[0].get("server_pid");
    let own: i32 = client
        .query_one("SELECT pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(pid, i64::from(own));
    // An error is over with its Sync, and a transaction block means nothing.
    assert!(admin.query("SELECT $1::int", &[&1]).await.is_err());
    admin.batch_execute("BEGIN").await.unwrap();
    assert_eq!(admin.query("SHOW VERSION", &[]).await.unwrap().len(), 1);
    admin.batch_execute("COMMIT").await.unwrap();
    assert_eq!(admin.query("-- ping", &[]).await.unwrap().len(), 0);
}

#[tokio::test]
async fn writes_and_what_became_of_them_are_shown() {
    let ground = Ground::new(SCHEMA).await;
    let (segue, proxied) = ground.run().await;
    let admin = console(&ground.bed.source, &segue);
    proxied
        .execute("INSERT INTO item VALUES (1, 'a'), (2, 'b')")
        .await
        .unwrap();
    proxied.execute("UPDATE item SET name = 'c'").await.unwrap();
    let client = admin.connect().await.unwrap();
    wait::until_true("the transactions to be counted", async || {
        let rows = database::rows(&client, "SHOW MIRROR").await?;
        let has = |item: &str, reason: Option<&str>, value: &str| {
            let row = [item, reason.unwrap_or_default(), value];
            rows.iter().any(|it| {
                it.iter()
                    .map(|cell| cell.as_deref().unwrap_or_default())
                    .eq(row)
            })
        };
        anyhow::ensure!(has("captured", None, "1"), "{rows:?}");
        anyhow::ensure!(has("deferred", Some("unkeyed"), "1"), "{rows:?}");
        anyhow::ensure!(has("mode", None, "async"), "{rows:?}");
        anyhow::ensure!(has("breaker", None, "closed"), "{rows:?}");
        Ok(true)
    })
    .await
    .unwrap();
    let tables = tool::psql(&admin, "SHOW TABLES").unwrap();
    assert!(
        tables.contains("public|item|yes||async|2|1|1|unkeyed=1|0|\n"),
        "{tables}"
    );
    assert!(
        tables.contains("public|loose|no|not_in_contract|off||||||\n"),
        "{tables}"
    );
    let captured = proxied.connect().await.unwrap();
    captured.batch_execute("SELECT 1").await.unwrap();
    let mut captured = column(&admin, "SHOW CLIENTS", "captured").await;
    captured.retain(|it| it != "no: admin console");
    assert_eq!(captured, ["yes"]);
    let databases = tool::psql(&admin, "SHOW DATABASES").unwrap();
    assert!(databases.contains("|yes|1"), "{databases}");
}

/// A transaction of several round trips.
const LOAD: &str = "BEGIN;
INSERT INTO loose VALUES ('a');
INSERT INTO item VALUES (:client_id, 'b') ON CONFLICT (id) DO UPDATE SET name = excluded.name;
END;
";

#[tokio::test]
async fn clients_notice_nothing_of_a_pause_but_a_wait() {
    // Captured sessions, which ask for themselves too.
    let (bed, proxy, console) = passing(&["--mirror", "dry"]).await;
    let proxied = bed.source.through(proxy.port());
    let script = file("load.sql", LOAD);
    let load = tokio::task::spawn_blocking({
        let proxied = proxied.clone();
        move || {
            let script = script.display().to_string();
            let arguments = [
                "-c", "4", "-t", "300", "-n", "-M", "prepared", "-f", &script,
            ];
            tool::pgbench(&proxied, &arguments)
        }
    });
    let admin = console.connect().await.unwrap();
    let total = async || {
        let rows = admin.query("SHOW STATS", &[]).await?;
        let counts = rows.iter().map(|row| row.get::<_, i64>("total_xact_count"));
        anyhow::Ok(counts.sum::<i64>())
    };
    wait::until_true(
        "the load to be under way",
        async || Ok(total().await? > 100),
    )
    .await
    .unwrap();
    for _ in 0..3 {
        admin.simple_query("PAUSE").await.unwrap();
        let states = column(&console, "SHOW CLIENTS", "state").await;
        let captured = column(&console, "SHOW CLIENTS", "captured").await;
        let clients = states.iter().zip(&captured);
        let mut clients = clients.filter(|(_, captured)| *captured != "no: admin console");
        assert!(clients.all(|(state, _)| state == "paused"), "{states:?}");
        assert!(states.len() > 4, "{states:?}");
        let open = "SELECT count(*) FROM pg_stat_activity \
                    WHERE datname = current_database() AND pid <> pg_backend_pid() \
                    AND (xact_start IS NOT NULL OR state <> 'idle')";
        assert_eq!(bed.source.value(open).await.unwrap(), "0");
        let before = total().await.unwrap();
        // A client that comes now is let in, and waits.
        let newcomer = proxied.connect().await.unwrap();
        let asked = newcomer.simple_query("SELECT 1");
        tokio::pin!(asked);
        tokio::select! {
            answer = &mut asked => panic!("answered in a pause: {answer:?}"),
            state = admin.simple_query("SHOW STATE") => drop(state.unwrap()),
        }
        assert_eq!(total().await.unwrap(), before);
        admin.simple_query("RESUME").await.unwrap();
        asked.await.unwrap();
    }
    let summary = load.await.unwrap().unwrap();
    assert_eq!((summary.transactions, summary.failed), (1200, 0));
}

#[tokio::test]
async fn a_pause_that_cannot_be_complete_names_who_is_in_the_way_and_is_none() {
    let (bed, proxy, console) = passing(&["--pause-timeout", "50ms"]).await;
    let proxied = bed.source.through(proxy.port());
    let busy = proxied.connect().await.unwrap();
    busy.batch_execute("BEGIN").await.unwrap();
    let error = refused(&console, "PAUSE").await;
    assert_eq!(error.code().code(), "55P03");
    let detail = error.detail().unwrap();
    assert!(detail.contains("idle in transaction"), "{detail}");
    // Nothing is paused.
    proxied.execute("SELECT 1").await.unwrap();
    assert_eq!(refused(&console, "RESUME").await.code().code(), "55000");
    let number = column(&console, "SHOW CLIENTS", "id").await.remove(0);
    let admin = console.connect().await.unwrap();
    admin.simple_query(&format!("KILL {number}")).await.unwrap();
    let error = busy.batch_execute("SELECT 1").await.unwrap_err();
    assert!(error.is_closed() || error.code().is_some_and(|it| it.code() == "57P01"));
    wait::until_true("the pause to be possible", async || {
        Ok(admin.simple_query("PAUSE 5").await.is_ok())
    })
    .await
    .unwrap();
    assert_eq!(refused(&console, "PAUSE").await.code().code(), "55000");
    admin.simple_query("RESUME").await.unwrap();
    assert_eq!(
        refused(&console, "KILL 123456").await.code().code(),
        "42704"
    );
}

#[tokio::test]
async fn a_pause_that_nobody_waits_for_any_more_is_taken_back() {
    let (bed, proxy, console) = passing(&[]).await;
    let proxied = bed.source.through(proxy.port());
    let busy = proxied.connect().await.unwrap();
    busy.batch_execute("BEGIN").await.unwrap();
    let idle = proxied.connect().await.unwrap();
    let mut psql = tool::client_program("psql", &console).unwrap();
    let mut psql = psql.args(["-Xc", "PAUSE 3600"]).spawn().unwrap();
    let state = async || {
        let state = column(&console, "SHOW STATE", "value").await;
        anyhow::Ok(state.into_iter().next().unwrap())
    };
    wait::until_true("the pause to begin", async || {
        Ok(state().await? == "pausing")
    })
    .await
    .unwrap();
    psql.kill().unwrap();
    wait::until_true("the pause to be taken back", async || {
        Ok(state().await? == "running")
    })
    .await
    .unwrap();
    idle.batch_execute("SELECT 1").await.unwrap();
    psql.wait().unwrap();
}

#[tokio::test]
async fn a_paused_proxy_still_ends_when_it_is_told_to() {
    let (bed, proxy, console) = passing(&[]).await;
    let client = bed.source.through(proxy.port()).connect().await.unwrap();
    let admin = console.connect().await.unwrap();
    admin.simple_query("PAUSE").await.unwrap();
    assert_eq!(proxy.terminate().await.unwrap(), 0);
    let error = client.simple_query("SELECT 1").await.unwrap_err();
    assert!(error.is_closed() || error.code().is_some_and(|it| it.code() == "57P01"));
}

/// A file that the guardian removes.
fn file(name: &str, text: &str) -> PathBuf {
    let directory = Guardian::of_this_process().unwrap().directory();
    let path = directory.join(format!("{name}-{}", ports::free().unwrap()));
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn settings_are_changed_by_hand_by_the_file_and_by_a_signal() {
    let path = file("console.toml", "clients_max = 7\n");
    let (_bed, proxy, console) = passing(&["--config", path.to_str().unwrap()]).await;
    let row = async |name: &str| {
        let rows = console.rows("SHOW CONFIG").await.unwrap();
        let mut found = rows
            .into_iter()
            .filter(|row| row[0].as_deref() == Some(name));
        let row: Vec<String> = found.next().unwrap().into_iter().flatten().collect();
        row[1..].join("|")
    };
    assert_eq!(row("clients_max").await, "7|1000|new clients|file");
    assert_eq!(row("drain_timeout").await, "10s|10s|at once|default");
    console.execute("SET clients_max = 8").await.unwrap();
    assert_eq!(row("clients_max").await, "8|1000|new clients|console");
    let error = refused(&console, "SET workers = 2").await;
    assert_eq!(error.code().code(), "55P02");
    refused(&console, "SET source = 'postgres://al:s3cret@old/shop'").await;
    let error = refused(&console, "SET clients_max = many").await;
    assert!(
        error.message().contains("clients_max: \"many\""),
        "{error:?}"
    );
    assert_eq!(
        refused(&console, "SET no_such = 1").await.code().code(),
        "42704"
    );

    std::fs::write(&path, "clients_max = 9\nworkers = 1\n").unwrap();
    let said = tool::psql(&console, "RELOAD").unwrap();
    assert_eq!(said, "");
    assert_eq!(row("clients_max").await, "9|1000|new clients|file");
    std::fs::write(&path, "clients_max = 0\n").unwrap();
    assert!(
        refused(&console, "RELOAD")
            .await
            .message()
            .contains("clients_max")
    );
    std::fs::write(&path, "clients_max = 10\n").unwrap();
    proxy.signal("HUP").unwrap();
    wait::until_true("the signal to be followed", async || {
        Ok(row("clients_max").await.starts_with("10|"))
    })
    .await
    .unwrap();
    let log = proxy.log();
    for line in [
        "clients_max is 8, was 7",
        "clients_max is 9, was 8",
        "workers has changed, which takes effect at the next start",
        "clients_max is 10, was 9",
        "was told to SET clients_max by postgres at 127.0.0.1",
    ] {
        assert!(log.contains(line), "{line:?} is not in {log}");
    }
    assert!(!log.contains("s3cret"), "{log}");
}

#[tokio::test]
async fn its_name_can_be_changed_and_taken_away() {
    let (_bed, _proxy, console) = passing(&["--admin-database", "desk"]).await;
    let desk = console.clone().of_name("desk");
    assert_eq!(desk.rows("SHOW VERSION").await.unwrap().len(), 1);
    let error = console.connect().await.unwrap_err();
    let error = error.downcast::<tokio_postgres::Error>().unwrap();
    assert_eq!(
        error.code().unwrap().code(),
        "3D000",
        "the source has no such database"
    );
    desk.execute("SET admin_database = ''").await.unwrap();
    assert!(desk.connect().await.is_err());
}

#[tokio::test]
async fn administrators_that_are_named_authenticate_at_the_source() {
    let scram = ServerOptions {
        authentication: Authentication::Scram,
        ..ServerOptions::default()
    };
    let source = Server::start(Installation::for_source().unwrap(), scram)
        .await
        .unwrap();
    let database = source.database("postgres");
    database
        .execute("CREATE ROLE al LOGIN PASSWORD 'right'; CREATE ROLE bo LOGIN PASSWORD 'right'")
        .await
        .unwrap();
    let launch =
        harness::Launch::new(SEGUE, &database, &database).with_uris(Some(&database.uri()), None);
    let proxy = launch.proxy(&["--admin-users", "al, cy"]).await.unwrap();
    let login = async |user: &str, password: &str| {
        let console = console(&database, &proxy)
            .as_user(user)
            .with_password(Some(password.to_owned()));
        console.connect().await.map_err(|error| {
            let error = error.downcast::<tokio_postgres::Error>().unwrap();
            error.as_db_error().unwrap().clone()
        })
    };
    let al = login("al", "right").await.unwrap();
    assert_eq!(database::rows(&al, "SHOW VERSION").await.unwrap().len(), 1);
    assert_eq!(
        login("al", "wrong").await.unwrap_err().code().code(),
        "28P01"
    );
    let refused = login("bo", "right").await.unwrap_err();
    assert_eq!(refused.code().code(), "28000");
    assert!(refused.hint().unwrap().contains("admin_users"));
    // The source keeps nothing of it.
    let rows = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'al'";
    wait::until_true("the login to be over", async || {
        Ok(database.value(rows).await? == "0")
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_cancel_request_ends_what_the_console_waits_for() {
    let (bed, proxy, console) = passing(&[]).await;
    let busy = bed.source.through(proxy.port()).connect().await.unwrap();
    busy.batch_execute("BEGIN").await.unwrap();
    let mut waiting = RawClient::connect(&console).await.unwrap();
    let key = waiting.cancel_key().unwrap().to_vec();
    let state = async |expected: &str| {
        wait::until_true(&format!("the proxy to be {expected}"), async || {
            let values = column(&console, "SHOW STATE", "value").await;
            Ok(values.first().is_some_and(|it| it == expected))
        })
        .await
        .unwrap();
    };
    let extended = [
        message::parse("", "PAUSE 300"),
        message::bind("", "", &[], &[]),
        message::execute("", 0),
        message::sync(),
    ];
    for pause in [message::query("PAUSE 300"), extended.concat()] {
        waiting.send(&pause).await.unwrap();
        state("pausing").await;
        let mut wrong = key.clone();
        *wrong.last_mut().unwrap() ^= 1;
        raw_client::cancel(proxy.port(), &wrong).await.unwrap();
        state("pausing").await;
        raw_client::cancel(proxy.port(), &key).await.unwrap();
        let frames = waiting.until_ready(1).await.unwrap();
        let error = frames.iter().find(|frame| frame.tag == b'E').unwrap();
        let told = String::from_utf8_lossy(&error.body);
        assert!(told.contains("C57014"), "{told}");
        state("running").await;
    }
    // Who waits for nothing does not notice, and goes on.
    raw_client::cancel(proxy.port(), &key).await.unwrap();
    waiting.send(&message::query("SHOW VERSION")).await.unwrap();
    let frames = waiting.until_ready(1).await.unwrap();
    assert!(frames.iter().all(|frame| frame.tag != b'E'));
    // A visit is a client that can be ended.
    let clients = column(&console, "SHOW CLIENTS", "id").await;
    let tool = console.connect().await.unwrap();
    let kill = format!("KILL {}", clients[1]);
    tool.batch_execute(&kill).await.unwrap();
    let last = waiting.to_end().await.unwrap();
    let told = String::from_utf8_lossy(&last.last().unwrap().body);
    assert!(told.contains("C57P01"), "{told}");
}
