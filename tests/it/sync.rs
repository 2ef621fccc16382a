//! `mirror = "sync"`: whose acknowledgement waits for the target, and what is said where it cannot.

use harness::raw_client::{Frame, RawClient, message};
use harness::{Database, database, wait};
use serde_json::Value;
use tokio_postgres::Client;

use crate::ground::Ground;

const SCHEMA: &str = "
    CREATE TABLE item (id int PRIMARY KEY, name text);
    CREATE TABLE other (id int PRIMARY KEY, name text);
    CREATE TABLE parted (id int PRIMARY KEY, name text) PARTITION BY RANGE (id);
    CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (100);
";

/// For commits that are to be confirmed however slow the machine is.
const PATIENT: &str = "--sync-timeout=60s";

impl Ground {
    /// A proxy with these flags, while no reconciler runs.
    async fn proxy_with(&self, flags: &[&str]) -> (harness::Segue, Database) {
        self.armed().await;
        let proxy = self.launch.proxy(flags).await.unwrap();
        let proxied = self.bed.source.through(proxy.port());
        (proxy, proxied)
    }

    /// A proxy's counter, once it has been reported as this.
    async fn counter_becomes(&self, pointer: &str, expected: u64) {
        let sql = "SELECT counters FROM segue.proxy ORDER BY lease DESC LIMIT 1";
        wait::until_true(&format!("{pointer} to be {expected}"), async || {
            let counters = self.bed.target.value(sql).await?;
            let counters: Value = serde_json::from_str(&counters)?;
            let found = counters.pointer(pointer).and_then(Value::as_u64);
            anyhow::ensure!(found.unwrap_or(0) == expected, "{counters:#}");
            Ok(true)
        })
        .await
        .unwrap();
    }
}

async fn count(target: &Client, condition: &str) -> usize {
    let sql = format!("SELECT 1 FROM item WHERE {condition}");
    database::rows(target, &sql).await.unwrap().len()
}

/// What notices say: `M` and `D`.
fn notices(frames: &[Frame]) -> Vec<String> {
    let notices = frames.iter().filter(|frame| frame.tag == b'N');
    let texts = notices.map(|frame| {
        let fields = frame.body.split(|byte| *byte == 0);
        let said = fields.filter(|field| matches!(field.first(), Some(b'M' | b'D')));
        let said = said.map(|field| String::from_utf8_lossy(&field[1..]).into_owned());
        said.collect::<Vec<_>>().join(" ")
    });
    texts.collect()
}

async fn run(client: &mut RawClient, sql: &str) -> Vec<Frame> {
    client.send(&message::query(sql)).await.unwrap();
    client.until_ready(1).await.unwrap()
}

fn tags(frames: &[Frame]) -> String {
    frames.iter().map(|frame| char::from(frame.tag)).collect()
}

#[tokio::test]
async fn a_session_chooses_whether_its_commits_wait() {
    let ground = Ground::new(SCHEMA).await;
    let (_proxy, proxied) = ground.proxy_with(&["--mirror", "async", PATIENT]).await;
    let target = ground.bed.target.connect().await.unwrap();
    let mut client = RawClient::connect(&proxied).await.unwrap();
    let insert = |id: i32| format!("INSERT INTO item VALUES ({id}, 'x')");
    run(&mut client, &insert(1)).await;
    run(&mut client, "SET segue.mirror = 'sync'").await;
    for id in 100..110 {
        assert_eq!(tags(&run(&mut client, &insert(id)).await), "CZ");
        assert_eq!(count(&target, &format!("id = {id}")).await, 1, "row {id}");
    }
    run(&mut client, "RESET segue.mirror").await;
    run(&mut client, &insert(2)).await;
    // For one transaction: in a text, and statement by statement.
    let whole = format!(
        "BEGIN; SET LOCAL segue.mirror = 'sync'; {}; COMMIT",
        insert(200)
    );
    run(&mut client, &whole).await;
    assert_eq!(count(&target, "id = 200").await, 1);
    for sql in [
        "BEGIN",
        &insert(201),
        "SET LOCAL segue.mirror TO sync",
        &insert(202),
        "COMMIT",
    ] {
        run(&mut client, sql).await;
    }
    assert_eq!(count(&target, "id IN (201, 202)").await, 2);
    run(&mut client, &insert(3)).await;
    // Its rollback takes it back.
    for sql in [
        "BEGIN",
        "SET segue.mirror = 'sync'",
        "ROLLBACK",
        &insert(4),
        "BEGIN",
        "SAVEPOINT s",
        "SET segue.mirror = 'off'",
        "ROLLBACK TO s",
        "COMMIT",
        &insert(5),
    ] {
        run(&mut client, sql).await;
    }
    ground
        .target_shows("SELECT count(*) FROM item WHERE id < 10", "5")
        .await;
    ground.counter_becomes("/sync_confirmed", 12).await;
    ground.counter_becomes("/sync_unconfirmed", 0).await;
}

#[tokio::test]
async fn a_role_and_a_startup_option_choose_too() {
    let ground = Ground::new(SCHEMA).await;
    let (_proxy, proxied) = ground.proxy_with(&["--mirror", "async", PATIENT]).await;
    let target = ground.bed.target.connect().await.unwrap();
    let options = [("options", "-c segue.mirror=sync")];
    let mut client = RawClient::connect_with(&proxied, &options).await.unwrap();
    run(&mut client, "INSERT INTO item VALUES (1, 'x')").await;
    assert_eq!(count(&target, "id = 1").await, 1);
    let role = format!("waiting_{}", proxied.name);
    let made = format!(
        "CREATE ROLE {role} LOGIN; ALTER ROLE {role} SET segue.mirror = 'sync'; \
         GRANT ALL ON item TO {role}"
    );
    ground.bed.source.execute(&made).await.unwrap();
    let mut client = RawClient::connect(&proxied.as_user(&role)).await.unwrap();
    // Its privileges are read when it is first seen, and till then its writes are left to the log.
    wait::until_true("a commit of the role to wait", async || {
        let sql = "INSERT INTO item VALUES (2, 'x') ON CONFLICT (id) DO UPDATE SET name = 'y'";
        run(&mut client, sql).await;
        Ok(count(&target, "id = 2").await == 1)
    })
    .await
    .unwrap();
    let drop = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    ground.bed.source.execute(&drop).await.unwrap();
}

#[tokio::test]
async fn a_table_chooses_and_a_session_comes_before_it() {
    let ground = Ground::new(SCHEMA).await;
    let tables = "public.item=sync,public.other=off,public.parted=sync,public.none=off";
    let flags = ["--mirror", "async", PATIENT, "--mirror-tables", tables];
    let (_proxy, proxied) = ground.proxy_with(&flags).await;
    let target = ground.bed.target.connect().await.unwrap();
    let mut client = RawClient::connect(&proxied).await.unwrap();
    run(&mut client, "INSERT INTO item VALUES (1, 'x')").await;
    assert_eq!(count(&target, "id = 1").await, 1);
    run(&mut client, "INSERT INTO parted VALUES (7, 'x')").await;
    let sql = "SELECT 1 FROM parted WHERE id = 7";
    assert_eq!(database::rows(&target, sql).await.unwrap().len(), 1);
    run(&mut client, "INSERT INTO other VALUES (1, 'x')").await;
    run(
        &mut client,
        "BEGIN; INSERT INTO item VALUES (2, 'x'); INSERT INTO other VALUES (2, 'x'); COMMIT",
    )
    .await;
    run(&mut client, "SET segue.mirror = 'async'").await;
    run(&mut client, "INSERT INTO item VALUES (3, 'x')").await;
    ground
        .target_shows("SELECT count(*) FROM item WHERE id = 3", "1")
        .await;
    run(&mut client, "SET segue.mirror = 'off'").await;
    // The text that the source sees is the client's own.
    let itself = "INSERT INTO item VALUES (4, (SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()))";
    run(&mut client, itself).await;
    let seen = ground
        .bed
        .source
        .value("SELECT name FROM item WHERE id = 4")
        .await;
    assert_eq!(seen.unwrap(), itself);
    run(&mut client, "SET segue.mirror = 'nonsense'").await;
    run(&mut client, "INSERT INTO item VALUES (5, 'x')").await;
    assert_eq!(count(&target, "id = 5").await, 1);
    assert_eq!(count(&target, "id IN (2, 4)").await, 0);
    ground.counter_becomes("/sync_confirmed", 3).await;
    ground.counter_becomes("/deferred/mirror_off", 3).await;
    let _reconciler = ground.launch.reconciler(&[]).await.unwrap();
    ground.converges_without_divergence().await;
}

#[tokio::test]
async fn what_the_target_does_not_confirm_in_time_is_said_and_not_refused() {
    let ground = Ground::new(SCHEMA).await;
    let holder = ground.bed.target.connect().await.unwrap();
    let hold = "BEGIN; LOCK TABLE segue.row_rev";
    let flags = ["--mirror", "sync", "--sync-timeout", "50ms"];
    let (_proxy, proxied) = ground.proxy_with(&flags).await;
    let mut client = RawClient::connect(&proxied).await.unwrap();
    holder.batch_execute(hold).await.unwrap();
    // A busy machine may notice the target's own limit, of 200 ms, before the proxy's of 50.
    wait::until_true("a commit to run into its deadline", async || {
        let sql = "INSERT INTO item VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = 'y'";
        let frames = run(&mut client, sql).await;
        assert_eq!(tags(&frames), "CNZ");
        let said = notices(&frames);
        assert!(said[0].contains("has not confirmed"), "{said:?}");
        Ok(said[0].contains("(timeout)"))
    })
    .await
    .unwrap();
    run(&mut client, "BEGIN").await;
    run(&mut client, "INSERT INTO item VALUES (2, 'x')").await;
    assert_eq!(tags(&run(&mut client, "COMMIT").await), "NCZ");
    holder.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn the_policy_continue_says_nothing() {
    let ground = Ground::new(SCHEMA).await;
    let flags = ["--mirror", "sync", PATIENT, "--sync-policy", "continue"];
    let (_proxy, proxied) = ground.proxy_with(&flags).await;
    ground
        .bed
        .target
        .execute("DELETE FROM segue.mirror_gate")
        .await
        .unwrap();
    let mut client = RawClient::connect(&proxied).await.unwrap();
    for id in 0..5 {
        let frames = run(&mut client, &format!("INSERT INTO item VALUES ({id}, 'x')")).await;
        assert_eq!(tags(&frames), "CZ");
    }
    ground
        .counter_becomes("/sync_unconfirmed/gate_shut", 5)
        .await;
}

#[tokio::test]
async fn what_is_left_to_the_log_cannot_be_waited_for_and_is_said() {
    let ground = Ground::new(SCHEMA).await;
    let (_proxy, proxied) = ground.proxy_with(&["--mirror", "sync", PATIENT]).await;
    let mut client = RawClient::connect(&proxied).await.unwrap();
    run(&mut client, "INSERT INTO item VALUES (1, 'x')").await;
    let frames = run(&mut client, "UPDATE item SET name = 'all'").await;
    assert_eq!(tags(&frames), "CNZ");
    assert!(notices(&frames)[0].contains("(unkeyed)"));
    // Nothing was written.
    let frames = run(
        &mut client,
        "UPDATE item SET name = 'all' WHERE name = 'none'",
    )
    .await;
    assert_eq!(tags(&frames), "CZ");
    run(&mut client, "SET segue.mirror = 'async'").await;
    let frames = run(&mut client, "UPDATE item SET name = 'again'").await;
    assert_eq!(tags(&frames), "CZ");
    ground
        .counter_becomes("/sync_unconfirmed/deferred", 1)
        .await;
    ground.counter_becomes("/sync_confirmed", 1).await;
}

#[tokio::test]
async fn a_pipeline_waits_where_its_transaction_commits() {
    let ground = Ground::new(SCHEMA).await;
    let (_proxy, proxied) = ground.proxy_with(&["--mirror", "sync", PATIENT]).await;
    let target = ground.bed.target.connect().await.unwrap();
    let mut client = RawClient::connect(&proxied).await.unwrap();
    let parse = message::parse("ins", "INSERT INTO item VALUES ($1, 'x')");
    let one = |id: i32| {
        let bind = message::bind("", "ins", &[&id.to_string()], &[]);
        [bind, message::execute("", 0)].concat()
    };
    let both = [
        parse,
        one(1),
        one(2),
        message::sync(),
        one(3),
        message::sync(),
    ]
    .concat();
    client.send(&both).await.unwrap();
    let frames = client.until_ready(1).await.unwrap();
    assert_eq!(tags(&frames), "12C2CZ");
    assert_eq!(count(&target, "id IN (1, 2)").await, 2);
    client.until_ready(1).await.unwrap();
    assert_eq!(count(&target, "id = 3").await, 1);
    // An error in the middle: nothing was committed, and nothing is waited for.
    let failing = [one(4), one(1), message::sync()].concat();
    client.send(&failing).await.unwrap();
    let frames = client.until_ready(1).await.unwrap();
    assert_eq!(tags(&frames), "2C2EZ");
    ground.counter_becomes("/sync_confirmed", 2).await;
}
