//! The story, chapter by chapter.
//!
//! Does not poke at Segue's insides: all that is claimed is read from the two databases, from
//! `segue status --json` and from `segue report --json`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use harness::{
    Bed, Durability, Launch, Pair, Segue, ServerOptions, compare, database, installation,
    segue::binary_beside, shop::Shopper, tool, wait,
};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    application::{self, Pgbench},
    narrator::Narrator,
};

/// Name of the database on both sides.
const DATABASE: &str = "shop";

/// Lines of the log shown when something was not so.
const LAST_WORDS: usize = 20;

/// What the chapters share.
struct Stage {
    narrator: Narrator,
    pair: Pair,
    bed: Bed,
    launch: Launch,
    shopper: Shopper,
}

/// Tells it from the first server to the last check.
pub(crate) async fn tell() -> Result<()> {
    let mut stage = set_up().await?;
    let segue = start_segue(&mut stage).await?;
    let told = chapters(&mut stage, &segue).await;
    if told.is_err() {
        stage.narrator.say("segue's last words:");
        let log = segue.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines
            .get(lines.len().saturating_sub(LAST_WORDS)..)
            .unwrap_or_default();
        Narrator::quote(&last.join("\n"));
    }
    told?;
    end(stage, segue).await
}

async fn chapters(stage: &mut Stage, segue: &Segue) -> Result<()> {
    repoint(stage, segue).await?;
    past_the_proxy(stage).await?;
    crash(stage, segue).await?;
    by_hand(stage).await?;
    compare_all(stage).await?;
    report(stage).await
}

async fn end(mut stage: Stage, segue: Segue) -> Result<()> {
    stage.narrator.chapter("The end");
    let code = segue.terminate().await?;
    stage.narrator.check(
        "segue run drained at SIGTERM and ended with exit code 0",
        code == 0,
    )?;
    stage.pair.source.stop().await?;
    stage.pair.target.stop().await?;
    stage
        .narrator
        .say("both servers are stopped, their data is removed");
    stage.narrator.end();
    Ok(())
}

async fn set_up() -> Result<Stage> {
    let mut narrator = Narrator::begin();
    narrator.chapter("Two PostgreSQL servers, one live database");
    let binary = binary_beside(&std::env::current_exe()?)?;
    narrator.say(&format!(
        "segue: {} (a development build: quick to build, not to run)",
        binary.display()
    ));
    let options = ServerOptions {
        durability: Durability::Durable,
        ..ServerOptions::default()
    };
    let pair = Pair::start(options).await?;
    for (side, server) in [("source", &pair.source), ("target", &pair.target)] {
        narrator.say(&format!(
            "{side}: PostgreSQL {} on 127.0.0.1:{}, in {}",
            server.version(),
            server.port(),
            server.directory().display()
        ));
        let create = format!("CREATE DATABASE {DATABASE}");
        server.database("postgres").execute(&create).await?;
    }
    let bed = Bed {
        source: pair.source.database(DATABASE),
        target: pair.target.database(DATABASE),
    };
    application::fill(&bed.source, 40).await?;
    narrator.say(
        "at the source: pgbench's tables at scale 1 (pgbench_history given a key), and a shop:",
    );
    narrator.say(
        "identity and sequence defaults, now(), a trigger that rewrites the row, jsonb, arrays,",
    );
    narrator.say("numeric, timestamptz, bytea, an enum, a generated column, long TOASTed text");
    tool::copy_database(&bed.source, &bed.target)?;
    narrator.say("copied to the target, schema and rows: pg_dump | psql");
    let comparison = compare(&bed.source, &bed.target).await?;
    narrator.check("both sides start equal", comparison.is_equal())?;
    let launch = bed.launch(binary);
    let shopper = Shopper::new(2, "demo");
    Ok(Stage {
        narrator,
        pair,
        bed,
        launch,
        shopper,
    })
}

async fn start_segue(stage: &mut Stage) -> Result<Segue> {
    let Stage {
        narrator,
        bed,
        launch,
        ..
    } = stage;
    narrator.chapter("segue setup, segue run");
    let (source, target) = (bed.source.uri(), bed.target.uri());
    narrator.say(&format!(
        "$ segue setup --source {source} --target {target}"
    ));
    Narrator::quote(&launch.setup().await?);
    narrator.say("$ segue run --source … --target … --listen …");
    let segue = launch.run(&[]).await?;
    narrator.check("proxy and reconciler are ready", true)?;
    wait::until_true("the mirror to be switched on", async || {
        Ok(bed
            .target
            .value("SELECT count(*) FROM segue.mirror_gate")
            .await?
            == "1")
    })
    .await?;
    Ok(segue)
}

async fn repoint(stage: &mut Stage, segue: &Segue) -> Result<()> {
    let Stage {
        narrator,
        bed,
        launch,
        shopper,
        ..
    } = stage;
    let proxied = bed.source.through(segue.port());
    narrator.chapter("The application repoints its connection string");
    narrator.say(&format!("before  {}", bed.source.uri()));
    narrator.say(&format!("after   {}", proxied.uri()));
    let seconds = first_write(bed, &proxied).await?;
    narrator.say(&format!(
        "one INSERT through the proxy was on the target {:.1} ms after its COMMIT returned",
        seconds * 1000.0
    ));
    narrator.say("now all at once: pgbench (prepared statements), the shop (extended protocol), psql (simple)");
    let pgbench = Pgbench::start(&proxied, "prepared", 6)?;
    application::shop_for(&proxied, shopper, 60).await?;
    application::shop_by_psql(&proxied, shopper)?;
    let status = wait::until("figures from the mirror", async || {
        let status = launch.status().await?;
        Ok(staleness(&status).is_some().then_some(status))
    })
    .await?;
    let summary = pgbench.summary().await?;
    narrator.check(
        &format!(
            "pgbench: {} transactions, none failed",
            summary.transactions
        ),
        summary.failed == 0 && summary.transactions > 0,
    )?;
    if let Some((p50, p99)) = staleness(&status) {
        narrator.say(&format!(
            "writes arrived on the target after {:.1} ms (p50), {:.1} ms (p99)",
            p50 * 1000.0,
            p99 * 1000.0
        ));
    }
    let status = launch.status().await?;
    narrator.say(&format!(
        "captured: {} transactions; left to the log on purpose: {}",
        count(&status, "/mirror/captured"),
        status["mirror"]["deferred"]
    ));
    narrator.check(
        "writes were captured",
        count(&status, "/mirror/captured") > 0,
    )?;
    bed.converged().await?;
    let status = wait::until("rows that the log verified", async || {
        let status = launch.status().await?;
        Ok((count(&status, "/rows/verified") > 0).then_some(status))
    })
    .await?;
    narrator.say(&format!("the log's verdicts: {}", status["rows"]));
    narrator.check(
        "the log verified what the mirror wrote",
        count(&status, "/rows/verified") > 0,
    )?;
    narrator.check(
        "and found no divergence",
        divergences(launch).await?.is_empty(),
    )
}

/// Seconds from the reply to a COMMIT until another connection sees the row at the target.
async fn first_write(bed: &Bed, proxied: &harness::Database) -> Result<f64> {
    let application = proxied.connect().await?;
    let target = bed.target.connect().await?;
    let insert = "INSERT INTO customer (email, name) VALUES ('hello@example.org', 'hello world')";
    application.execute(insert, &[]).await?;
    let committed = Instant::now();
    let sql = "SELECT name FROM customer WHERE email = 'hello@example.org'";
    loop {
        if !database::rows(&target, sql).await?.is_empty() {
            return Ok(committed.elapsed().as_secs_f64());
        }
        anyhow::ensure!(
            committed.elapsed() < wait::PATIENCE,
            "the first write did not arrive"
        );
    }
}

async fn past_the_proxy(stage: &mut Stage) -> Result<()> {
    let Stage {
        narrator,
        bed,
        launch,
        shopper,
        ..
    } = stage;
    narrator.chapter("Someone writes past the proxy");
    bed.source
        .execute(
            "UPDATE pgbench_accounts SET filler = 'past the proxy' WHERE aid <= 500; \
             DELETE FROM pgbench_history WHERE id % 10 = 0; \
             INSERT INTO customer (email, name) VALUES ('bypass@example.org', 'past the proxy')",
        )
        .await?;
    application::shop_for(&bed.source, shopper, 10).await?;
    narrator.say(
        "straight to the source: 500 accounts updated, a tenth of the history deleted, the shop",
    );
    let comparison = bed.converged().await?;
    narrator.check(
        "the log brought it all: both sides are equal",
        comparison.is_equal(),
    )?;
    narrator.check(
        "a bypass is no divergence",
        divergences(launch).await?.is_empty(),
    )
}

async fn crash(stage: &mut Stage, segue: &Segue) -> Result<()> {
    let Stage {
        narrator,
        pair,
        bed,
        shopper,
        ..
    } = stage;
    let proxied = bed.source.through(segue.port());
    narrator.chapter("The target is killed with -9 under load");
    let pgbench = Pgbench::start(&proxied, "extended", 8)?;
    application::shop_for(&proxied, shopper, 10).await?;
    pair.target.kill()?;
    narrator.say("kill -9: the target is gone, the application goes on");
    application::shop_for(&proxied, shopper, 20).await?;
    pair.target.run().await?;
    narrator.say("the target is back on its port");
    application::shop_for(&proxied, shopper, 20).await?;
    let summary = pgbench.summary().await?;
    narrator.check(
        &format!(
            "pgbench through it all: {} transactions, none failed",
            summary.transactions
        ),
        summary.failed == 0 && summary.transactions > 0,
    )?;
    let comparison = bed.converged().await?;
    narrator.check(
        "the log has caught up: both sides are equal",
        comparison.is_equal(),
    )?;
    wait::until_true("the mirror to be switched on again", async || {
        Ok(bed
            .target
            .value("SELECT count(*) FROM segue.mirror_gate")
            .await?
            == "1")
    })
    .await?;
    narrator.check("the mirror is on again", true)
}

/// What is done at the target by hand: SQL, table, key column and key.
const BY_HAND: [(&str, &str, &str, &str, &str); 3] = [
    (
        "corrupted",
        "UPDATE customer SET balance = 1000000 WHERE id = 7",
        "customer",
        "id",
        "7",
    ),
    (
        "deleted",
        "DELETE FROM pgbench_accounts WHERE aid = 4711",
        "pgbench_accounts",
        "aid",
        "4711",
    ),
    (
        "inserted",
        "INSERT INTO pgbench_tellers (tid, bid, tbalance) VALUES (999, 1, 5)",
        "pgbench_tellers",
        "tid",
        "999",
    ),
];

async fn by_hand(stage: &mut Stage) -> Result<()> {
    let Stage {
        narrator,
        bed,
        launch,
        ..
    } = stage;
    narrator.chapter("Someone changes the target by hand");
    let before = divergences(launch).await?.len();
    for (what, sql, ..) in BY_HAND {
        bed.target.execute(sql).await?;
        narrator.say(&format!("{what} at the target: {sql}"));
    }
    for (what, _, table, column, key) in BY_HAND {
        let found = wait::until(&format!("the report to name {table} {key}"), async || {
            let all = divergences(launch).await?;
            Ok(all.into_iter().find(|one| {
                one["table"]
                    .as_str()
                    .is_some_and(|name| name.ends_with(table))
                    && one["key"][column].as_str() == Some(key)
                    && one["state"] == "repaired"
            }))
        })
        .await?;
        narrator.check(
            &format!(
                "the row that was {what} is found, named and repaired: {} {} {}, columns {}",
                found["kind"], found["table"], found["key"], found["columns"]
            ),
            true,
        )?;
    }
    let after = divergences(launch).await?.len();
    narrator.check("these three and no others", after == before + BY_HAND.len())?;
    let comparison = bed.converged().await?;
    narrator.check("both sides are equal again", comparison.is_equal())
}

async fn compare_all(stage: &mut Stage) -> Result<()> {
    let Stage { narrator, bed, .. } = stage;
    narrator.chapter("Both sides, row by row");
    let comparison = bed.converged().await?;
    for table in &comparison.tables {
        narrator.say(&format!(
            "{:<24} {:>7} rows  {:>7} rows  checksums {}",
            table.table,
            table.source_count,
            table.target_count,
            if table.source_checksum == table.target_checksum {
                "equal"
            } else {
                "DIFFERENT"
            }
        ));
    }
    narrator.check(
        "every row of every table is the same on both sides",
        comparison.is_equal(),
    )
}

async fn report(stage: &mut Stage) -> Result<()> {
    let Stage {
        narrator, launch, ..
    } = stage;
    narrator.chapter("The report");
    let text = launch.run_to_end(&["report"]).await?;
    narrator.say("$ segue report");
    Narrator::quote(&text.output);
    narrator.check("nothing is open: exit code 0", text.code == 0)?;
    let json = launch.report().await?;
    narrator.check(
        "segue report --json says the same",
        count(&json, "/summary/open") == 0,
    )?;
    let page = page()?;
    let path = page.to_str().context("the path is not UTF-8")?;
    let html = launch.run_to_end(&["report", "--html", path]).await?;
    let size = std::fs::metadata(&page)
        .map(|file| file.len())
        .unwrap_or_default();
    narrator.check(
        &format!("the report as a page to open: file://{path}"),
        html.code == 0 && size > 0,
    )
}

fn page() -> Result<PathBuf> {
    let directory = installation::workspace()
        .canonicalize()?
        .join("target/demo");
    std::fs::create_dir_all(&directory)?;
    Ok(directory.join("report.html"))
}

async fn divergences(launch: &Launch) -> Result<Vec<Value>> {
    let report = launch.report().await?;
    let list = report["divergences"]
        .as_array()
        .context("the report has no list of divergences")?;
    Ok(list.clone())
}

fn staleness(status: &Value) -> Option<(f64, f64)> {
    let mirror = &status["mirror"];
    Some((
        mirror["staleness_seconds_p50"].as_f64()?,
        mirror["staleness_seconds_p99"].as_f64()?,
    ))
}

fn count(value: &Value, pointer: &str) -> u64 {
    value
        .pointer(pointer)
        .and_then(Value::as_u64)
        .unwrap_or_default()
}
