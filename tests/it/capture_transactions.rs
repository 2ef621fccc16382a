//! What of a client's transaction is mirrored, in whatever way it is written; and what is left to
//! the log because the proxy cannot know it.
//!
//! No reconciler runs until the end: what the target has before, it has from the mirror.

use harness::raw_client::{Frame, RawClient, message};
use harness::{Database, Segue, wait};

use crate::ground::Ground;

const SCHEMA: &str = "
    CREATE TABLE item (id int PRIMARY KEY, name text, amount int);
    CREATE TABLE other (id int PRIMARY KEY, name text);
    CREATE TABLE mark (id int PRIMARY KEY, word text);
    CREATE FUNCTION add_item(int) RETURNS int LANGUAGE sql VOLATILE AS
        'INSERT INTO item VALUES ($1, ''by a function''); SELECT 1';
    INSERT INTO item SELECT n, 'item ' || n, n FROM generate_series(1, 5) n;
";

struct Stage {
    ground: Ground,
    _proxy: Segue,
    proxied: Database,
    client: RawClient,
}

impl Stage {
    async fn new() -> Self {
        let ground = Ground::new(SCHEMA).await;
        let (proxy, proxied) = ground.proxy_alone("async").await;
        let client = RawClient::connect(&proxied).await.unwrap();
        Self {
            ground,
            _proxy: proxy,
            proxied,
            client,
        }
    }

    async fn run(&mut self, sql: &str) -> Vec<Frame> {
        self.client.send(&message::query(sql)).await.unwrap();
        self.client.until_ready(1).await.unwrap()
    }

    async fn run_all(&mut self, texts: &[&str]) {
        for sql in texts {
            let frames = self.run(sql).await;
            assert!(frames.iter().all(|frame| frame.tag != b'E'), "{sql}");
        }
    }

    /// Writes through the mirror until the target confirms it: all before it has arrived or will
    /// not. Behind a schema change that takes until the proxy has read the catalog.
    async fn settle(&mut self) {
        self.run_all(&["SET segue.mirror = 'sync'"]).await;
        let client = &mut self.client;
        wait::until_true("a write to be confirmed", async || {
            let sql =
                "INSERT INTO mark VALUES (0) ON CONFLICT (id) DO UPDATE SET word = excluded.word";
            client.send(&message::query(sql)).await?;
            let frames = client.until_ready(1).await?;
            Ok(frames.iter().all(|frame| frame.tag != b'N'))
        })
        .await
        .unwrap();
        self.run_all(&["RESET segue.mirror"]).await;
    }

    /// The ids that the target has of what the test inserted.
    async fn mirrored(&mut self) -> String {
        self.settle().await;
        let ids =
            "SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM item WHERE id > 5";
        self.ground.bed.target.value(ids).await.unwrap()
    }

    async fn deferred(&self, reason: &str) {
        self.ground
            .status_reaches(&format!("/mirror/deferred/{reason}"), 1)
            .await;
    }

    /// The log brings the rest, and finds nothing wrong.
    async fn converges(self) {
        let _reconciler = self.ground.launch.reconciler(&[]).await.unwrap();
        self.ground.converges_without_divergence().await;
    }
}

fn insert(id: i32) -> String {
    format!("INSERT INTO item VALUES ({id}, 'x', 1)")
}

#[tokio::test]
async fn a_text_of_several_statements_is_one_transaction_unless_it_says_otherwise() {
    let mut stage = Stage::new().await;
    let all = |parts: &[&str]| parts.join("; ");
    stage.run_all(&[&all(&[&insert(10), &insert(11)])]).await;
    stage.run(&all(&[&insert(12), "SELECT 1 / 0"])).await;
    stage
        .run_all(&[&all(&[
            &insert(13),
            "COMMIT",
            "BEGIN",
            &insert(14),
            "ROLLBACK",
        ])])
        .await;
    // What was committed stays, what failed behind it does not.
    stage
        .run(&all(&[
            "BEGIN",
            &insert(15),
            "COMMIT",
            &insert(16),
            &insert(15),
        ]))
        .await;
    stage
        .run_all(&[&all(&[
            "BEGIN",
            &insert(17),
            "COMMIT AND CHAIN",
            &insert(18),
            "ROLLBACK",
        ])])
        .await;
    assert_eq!(stage.mirrored().await, "10 11 13 15 17");
    stage.converges().await;
}

#[tokio::test]
async fn a_pipeline_is_committed_at_its_sync_or_not_at_all() {
    let mut stage = Stage::new().await;
    let parse = message::parse("ins", "INSERT INTO item VALUES ($1, 'x', 1)");
    let one = |id: i32| {
        let bind = message::bind("", "ins", &[&id.to_string()], &[]);
        [bind, message::execute("", 0)].concat()
    };
    let sync = message::sync;
    let pipeline = [
        [parse, one(10), one(11), sync()].concat(),
        // The second fails: the first is gone with it, and the third is skipped.
        [one(12), one(10), one(13), sync()].concat(),
        [one(14), sync()].concat(),
    ];
    stage.client.send(&pipeline.concat()).await.unwrap();
    stage.client.until_ready(3).await.unwrap();
    // A block over several syncs, with an error that a savepoint takes back.
    let simple = |sql: &str| {
        let parse = message::parse("", sql);
        let bind = message::bind("", "", &[], &[]);
        [parse, bind, message::execute("", 0), sync()].concat()
    };
    let block = [
        simple("BEGIN"),
        [one(15), sync()].concat(),
        simple("SAVEPOINT s"),
        [one(16), one(10), sync()].concat(),
        simple("ROLLBACK TO s"),
        [one(17), sync()].concat(),
        simple("COMMIT"),
    ];
    stage.client.send(&block.concat()).await.unwrap();
    stage.client.until_ready(7).await.unwrap();
    assert_eq!(stage.mirrored().await, "10 11 14 15 17");
    stage.converges().await;
}

#[tokio::test]
async fn writes_that_the_text_does_not_show_are_left_to_the_log() {
    let mut stage = Stage::new().await;
    stage
        .run_all(&[
            "PREPARE ins AS INSERT INTO item VALUES ($1, 'prepared')",
            "EXECUTE ins (10)",
            "SELECT add_item(11)",
            "DO $$ BEGIN INSERT INTO item VALUES (12, 'in a block'); END $$",
            "EXPLAIN (ANALYZE) INSERT INTO item VALUES (13, 'explained')",
            "BEGIN",
            "DECLARE c CURSOR FOR SELECT * FROM item WHERE id = 1 FOR UPDATE",
            "FETCH c",
            "UPDATE item SET name = 'by cursor' WHERE CURRENT OF c",
            "COMMIT",
            // One of them, and a write that is captured: the transaction goes as a whole.
            "BEGIN",
            &insert(14),
            "EXECUTE ins (15)",
            "COMMIT",
        ])
        .await;
    assert_eq!(stage.mirrored().await, "");
    for reason in ["indirect", "cursor"] {
        stage.deferred(reason).await;
    }
    let name = "SELECT name FROM item WHERE id = 1";
    let at_target = stage.ground.bed.target.value(name).await.unwrap();
    assert_eq!(at_target, "item 1");
    // Sessions go on being captured.
    stage.run_all(&[&insert(16)]).await;
    assert_eq!(stage.mirrored().await, "16");
    stage.converges().await;
}

#[tokio::test]
async fn the_current_role_decides_what_can_be_read_back() {
    let mut stage = Stage::new().await;
    let role = format!("writer_{}", stage.proxied.name);
    let made =
        format!("CREATE ROLE {role}; GRANT INSERT ON item TO {role}; GRANT ALL ON other TO {role}");
    stage.ground.bed.source.execute(&made).await.unwrap();
    let set = format!("SET ROLE {role}");
    let local = format!("SET LOCAL ROLE {role}");
    // It may write and not read: with a RETURNING of ours it would fail.
    stage
        .run_all(&[
            &insert(10),
            &set,
            &insert(11),
            "RESET ROLE",
            &insert(12),
            "BEGIN",
            &local,
            &insert(13),
            "COMMIT",
            &insert(14),
        ])
        .await;
    assert_eq!(stage.mirrored().await, "10 12 14");
    let dropped = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    let source = stage.ground.bed.source.clone();
    stage.converges().await;
    source.execute(&dropped).await.unwrap();
}

#[tokio::test]
async fn a_temporary_table_is_never_taken_for_the_one_that_it_hides() {
    let mut stage = Stage::new().await;
    stage
        .run_all(&[
            &insert(10),
            "CREATE TEMP TABLE item (id int PRIMARY KEY, name text, amount int)",
            &insert(11),
            "INSERT INTO public.item VALUES (12, 'x', 1)",
            "DROP TABLE item",
        ])
        .await;
    stage.settle().await;
    stage
        .run_all(&[
            &insert(13),
            "BEGIN",
            "CREATE TEMP TABLE item (id int PRIMARY KEY, name text, amount int) ON COMMIT DROP",
            &insert(14),
            "COMMIT",
            &insert(15),
        ])
        .await;
    assert_eq!(stage.mirrored().await, "10 12 13 15");
    stage.converges().await;
}

#[tokio::test]
async fn a_table_that_was_changed_past_the_proxy_betrays_itself() {
    let mut stage = Stage::new().await;
    let past = stage.ground.bed.source.clone();
    // In use, so that its analysis is kept.
    stage.run_all(&[&insert(10)]).await;
    past.execute("ALTER TABLE item ALTER amount TYPE bigint")
        .await
        .unwrap();
    stage.run_all(&[&insert(11)]).await;
    past.execute("ALTER TABLE item ADD COLUMN more int")
        .await
        .unwrap();
    stage
        .run_all(&["INSERT INTO item (id, name) VALUES (12, 'x')"])
        .await;
    // It is another table under the same name: what has been captured is not the contract's.
    past.execute(
        "ALTER TABLE item RENAME TO former; \
         CREATE TABLE item (id int PRIMARY KEY, name text, amount int)",
    )
    .await
    .unwrap();
    stage.run_all(&[&insert(13)]).await;
    assert_eq!(stage.mirrored().await, "10");
}

#[tokio::test]
async fn a_table_that_was_changed_through_the_proxy_is_known_at_once() {
    let mut stage = Stage::new().await;
    stage
        .run_all(&[
            &insert(10),
            "ALTER TABLE item RENAME TO former",
            "CREATE TABLE item (id int PRIMARY KEY, name text, amount int)",
            &insert(11),
            "DROP TABLE item",
            "ALTER TABLE former RENAME TO item",
        ])
        .await;
    stage.ground.status_reaches("/mirror/captured", 1).await;
    // Its columns exchange their names, which no row betrays.
    stage
        .run_all(&[
            "ALTER TABLE other ADD COLUMN word text",
            "BEGIN",
            "ALTER TABLE other RENAME name TO tmp",
            "ALTER TABLE other RENAME word TO name",
            "ALTER TABLE other RENAME tmp TO word",
            "INSERT INTO other VALUES (7, 'word', 'name')",
            "COMMIT",
            "INSERT INTO other VALUES (8, 'word', 'name')",
        ])
        .await;
    let names = "SELECT count(*) FROM other WHERE name = 'word'";
    assert_eq!(stage.mirrored().await, "10");
    assert_eq!(stage.ground.bed.target.value(names).await.unwrap(), "0");
}

/// The proxy's reading of the catalog waits for this, and nothing else does.
const HIDE_THE_CONTRACT: &str = "BEGIN; LOCK TABLE segue.phase IN ACCESS EXCLUSIVE MODE";

#[tokio::test]
async fn a_transaction_that_ends_while_the_catalog_is_being_read_is_mirrored() {
    let mut stage = Stage::new().await;
    let past = stage.ground.bed.source.connect().await.unwrap();
    stage.run_all(&["BEGIN", &insert(10)]).await;
    past.batch_execute(HIDE_THE_CONTRACT).await.unwrap();
    // Somebody else's table: what the transaction holds was captured before.
    let another = stage.proxied.connect().await.unwrap();
    another
        .batch_execute("CREATE TABLE made (n int)")
        .await
        .unwrap();
    stage.run_all(&["COMMIT"]).await;
    past.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(stage.mirrored().await, "10");
    stage.converges().await;
}

#[tokio::test]
async fn a_row_that_comes_while_the_catalog_is_being_read_is_left_to_the_log_for_that() {
    let mut stage = Stage::new().await;
    let [past, holder] = [
        stage.ground.bed.source.connect().await.unwrap(),
        stage.ground.bed.source.connect().await.unwrap(),
    ];
    let hold = "BEGIN; SELECT FROM item WHERE id = 1 FOR UPDATE";
    holder.batch_execute(hold).await.unwrap();
    let update = message::query("UPDATE item SET amount = 7 WHERE id = 1");
    stage.client.send(&update).await.unwrap();
    let waits = "SELECT 1 FROM pg_stat_activity \
                 WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE item%'";
    let source = stage.ground.bed.source.clone();
    wait::until_true("the update to wait", async || {
        Ok(source.value(waits).await? == "1")
    })
    .await
    .unwrap();
    past.batch_execute(HIDE_THE_CONTRACT).await.unwrap();
    let another = stage.proxied.connect().await.unwrap();
    another
        .batch_execute("CREATE TABLE made (n int)")
        .await
        .unwrap();
    holder.batch_execute("ROLLBACK").await.unwrap();
    stage.client.until_ready(1).await.unwrap();
    past.batch_execute("ROLLBACK").await.unwrap();
    stage.deferred("catalog_unknown").await;
    stage.settle().await;
    stage.converges().await;
}
