//! A database with many tables: what the proxy reads of its catalog, and when.
//!
//! Does not measure: it counts what is read.

use std::collections::HashSet;

use harness::{Database, Pair, Segue, ServerOptions, ports, tool};

use crate::endpoint::get;
use crate::ground::Ground;

/// Each side: tables that are carried, one of them partitioned.
const SCHEMA: &str = "
    DO $$ BEGIN FOR n IN 1..1000 LOOP
        EXECUTE format('CREATE TABLE part_%s (id int PRIMARY KEY, word text DEFAULT ''none'')', n);
    END LOOP; END $$;
    CREATE TABLE parted (id int PRIMARY KEY, word text) PARTITION BY RANGE (id);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
";

/// The source only: tables that are not.
const UNRELATED: &str = "
    DO $$ BEGIN FOR n IN 1..1000 LOOP
        EXECUTE format('CREATE TABLE unrelated_%s (id int PRIMARY KEY, word text)', n);
    END LOOP; END $$;
    CREATE VIEW seen AS SELECT * FROM unrelated_1";

/// A proxy, and how often it has read.
struct Reader {
    proxy: Segue,
    admin: Database,
    metrics: u16,
}

impl Reader {
    async fn of(ground: &Ground) -> Self {
        let metrics = ports::free().unwrap();
        let address = format!("127.0.0.1:{metrics}");
        let arguments = ["--mirror", "async", "--metrics", &address];
        let proxy = ground.launch.proxy(&arguments).await.unwrap();
        let admin = ground.bed.source.through(proxy.port()).of_name("segue");
        Self {
            proxy,
            admin,
            metrics,
        }
    }

    /// How often the catalog has been read, and how many tables with it, once it has been looked at.
    async fn reads(&self) -> (u64, u64) {
        // The first may be answered by a look that had begun before.
        for _ in 0..2 {
            tool::psql(&self.admin, "SHOW TABLES").unwrap();
        }
        let (_, body) = get(self.metrics, "/metrics", "Host: localhost\r\n").await;
        let count = |name: &str| {
            let mut lines = body.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            value.unwrap_or_else(|| panic!("no {name} in {body}"))
        };
        (
            count("segue_proxy_catalog_reads_total"),
            count("segue_proxy_catalog_tables_read_total"),
        )
    }

    /// How often it read behind these statements, and how many tables.
    async fn reads_behind(&self, source: &Database, sql: &str) -> (u64, u64) {
        let before = self.reads().await;
        // Kept, so that what is temporary is still there.
        let session = source.connect().await.unwrap();
        session.batch_execute(sql).await.unwrap();
        let after = self.reads().await;
        (after.0 - before.0, after.1 - before.1)
    }
}

#[tokio::test]
async fn only_what_has_changed_of_what_is_carried_is_read() {
    let servers = Pair::start(ServerOptions::default()).await.unwrap();
    let ground = Ground::on(servers.bed(SCHEMA).await.unwrap()).await;
    let source = &ground.bed.source;
    source.execute(UNRELATED).await.unwrap();
    let reader = Reader::of(&ground).await;
    // The tables, the partition, and the view: what else there is was not read.
    assert_eq!(reader.reads().await, (1, 1003));
    let expected = [
        (
            "CREATE TEMP TABLE part_1 (id serial PRIMARY KEY, word text);
             INSERT INTO part_1 (word) VALUES ('a'); ANALYZE part_1;
             CREATE TEMP VIEW part_2 AS SELECT * FROM part_1",
            (0, 0),
        ),
        (
            "CREATE TABLE other (id serial PRIMARY KEY, word text);
             ALTER TABLE unrelated_7 ADD COLUMN more int; DROP TABLE unrelated_8",
            (0, 0),
        ),
        ("VACUUM part_3", (0, 0)),
        ("ALTER TABLE part_3 ALTER word SET DEFAULT 'some'", (1, 1)),
        ("GRANT SELECT ON part_4, part_5 TO PUBLIC", (1, 2)),
        // It hides one that is carried: names are read, and nothing else.
        ("CREATE SCHEMA front CREATE TABLE part_6 (id int)", (1, 0)),
        (
            "CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20)",
            (1, 3),
        ),
        ("DROP TABLE parted_2", (1, 2)),
    ];
    for (sql, reads) in expected {
        assert_eq!(reader.reads_behind(source, sql).await, reads, "{sql}");
    }
    let proxied = source.through(reader.proxy.port());
    proxied
        .execute("INSERT INTO part_3 (id) VALUES (1)")
        .await
        .unwrap();
    ground.target_shows("SELECT word FROM part_3", "some").await;
    let tables = tool::psql(&reader.admin, "SHOW TABLES").unwrap();
    for row in [
        "part_3|yes||async|1|1|0||0|",
        "parted_1|yes||async||||||",
        "unrelated_7|no|not_in_contract|off||||||",
    ] {
        assert!(tables.contains(&format!("public|{row}\n")), "{row}");
    }
    let (_, metrics) = get(reader.metrics, "/metrics", "Host: localhost\r\n").await;
    let counted = metrics.lines().filter(|line| line.contains("{table="));
    let counted: HashSet<_> = counted.collect();
    let expected = HashSet::from([
        "segue_proxy_captured_rows_total{table=\"public.part_3\"} 1",
        "segue_proxy_table_captured_statements_total{table=\"public.part_3\"} 1",
    ]);
    assert_eq!(counted, expected, "only of tables that were written to");
}

#[tokio::test]
async fn many_tables_are_published_and_taken_back_a_part_at_a_time() {
    // Room for fewer locks than there are tables, in a transaction and in all.
    let settings = ["max_locks_per_transaction=10", "max_connections=60"];
    let options = ServerOptions {
        settings: settings.map(str::to_owned).to_vec(),
        ..ServerOptions::default()
    };
    let servers = Pair::start(options).await.unwrap();
    let bed = servers.bed("").await.unwrap();
    for part in 0..12 {
        let sql = format!(
            "DO $$ BEGIN FOR n IN {part}01..{part}99 LOOP
                 EXECUTE format('CREATE TABLE part_%s (id int PRIMARY KEY)', n);
             END LOOP; END $$"
        );
        for side in [&bed.source, &bed.target] {
            side.execute(&sql).await.unwrap();
        }
    }
    let launch = bed.launch(crate::SEGUE);
    launch.setup().await.unwrap();
    let published = "SELECT count(*) FROM pg_publication_tables";
    for side in [&bed.source, &bed.target] {
        assert_eq!(side.value(published).await.unwrap(), "1188");
    }
    let removed = launch.run_to_end(&["setup", "--remove"]).await.unwrap();
    assert_eq!(removed.code, 0, "{}", removed.errors);
    for side in [&bed.source, &bed.target] {
        let left = side.value("SELECT count(*) FROM pg_publication").await;
        assert_eq!(left.unwrap(), "0");
    }
}
