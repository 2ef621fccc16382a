//! What people and monitoring look at while Segue runs: the HTTP endpoint and the log.
//!
//! Does not judge what the facts say: the tests of mirror and log do.

use std::path::PathBuf;

use harness::guardian::Guardian;
use harness::{ports, wait};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ground::Ground;

const SCHEMA: &str = "CREATE TABLE item (id int PRIMARY KEY, name text)";

/// Status and body of the answer to one GET.
pub(crate) async fn get(port: u16, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    (status, body)
}

async fn get_json(port: u16, path: &str) -> Value {
    let (status, body) = get(port, path, "Host: localhost\r\n").await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// A file that the guardian removes.
fn file(name: &str, text: &str) -> PathBuf {
    let directory = Guardian::of_this_process().unwrap().directory();
    let path = directory.join(format!("{name}-{}", ports::free().unwrap()));
    std::fs::write(&path, text).unwrap();
    path
}

/// The number of the first one in the report.
async fn repaired_foreign_write(ground: &Ground) -> String {
    wait::until("the foreign write to be repaired", async || {
        let report = ground.launch.report().await?;
        let divergences = report["divergences"].as_array();
        let repaired = divergences
            .into_iter()
            .flatten()
            .find(|found| found["kind"] == "foreign_write" && found["state"] == "repaired");
        Ok(repaired.map(|found| found["id"].to_string()))
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn the_endpoint_says_what_the_commands_say() {
    let ground = Ground::new(SCHEMA).await;
    let port = ports::free().unwrap();
    let address = format!("127.0.0.1:{port}");
    let segue = ground.launch.run(&["--http", &address]).await.unwrap();
    ground.armed().await;
    let proxied = ground.bed.source.through(segue.port());
    proxied
        .execute("INSERT INTO item VALUES (1, 'a')")
        .await
        .unwrap();
    ground.bed.caught_up().await.unwrap();
    ground
        .bed
        .target
        .execute("UPDATE item SET name = 'by hand'")
        .await
        .unwrap();
    let id = repaired_foreign_write(&ground).await;
    let report = ground.launch.report().await.unwrap();
    assert_eq!(
        report["divergences"].as_array().map(Vec::len),
        Some(1),
        "nothing else is found: {report:#}"
    );

    assert_eq!(get(port, "/healthz", "").await.0, 200);
    let ready = get_json(port, "/readyz").await;
    assert_eq!(
        ready,
        serde_json::json!({"proxy": "ready", "reconciler": "ready"})
    );
    let metrics = get(port, "/metrics", "").await.1;
    for name in [
        "segue_proxy_captured_transactions_total",
        "segue_reconciler_rows_total",
    ] {
        assert!(metrics.contains(name), "{name} is not in {metrics}");
    }
    let (status, report) = (
        get_json(port, "/status").await,
        get_json(port, "/report?since=1h").await,
    );
    assert_eq!(status["phase"], "dual_write");
    assert!(
        report["summary"]["repaired"].as_i64() > Some(0),
        "{report:#}"
    );
    assert!(!report["samples"].as_array().unwrap().is_empty());
    let found = get_json(port, &format!("/report/{id}")).await;
    assert_eq!(found["journal"][0]["before"]["name"], "by hand");
    assert_eq!(found["journal"][0]["after"]["name"], "a");
    assert_eq!(get(port, "/report/999999", "").await.0, 404);
    pages_and_refusals(port, &id).await;
    assert_eq!(get(port, "/report?since=nonsense", "").await.0, 400);
    commands_agree(&ground, &format!("http://{address}"), &report, &id).await;
    assert_eq!(segue.terminate().await.unwrap(), 0);
}

/// Divergences come in pages, values go where they are not to be seen, and whatever goes wrong is
/// said in JSON.
async fn pages_and_refusals(port: u16, id: &str) {
    let path = "/divergences?state=repaired&table=public.item&limit=1";
    let page = get_json(port, path).await;
    assert_eq!(page["divergences"][0]["id"].to_string(), id, "{page:#}");
    assert_eq!(page["next_after"].to_string(), id, "{page:#}");
    let next = get_json(port, &format!("{path}&after={id}")).await;
    assert_eq!(next["divergences"], serde_json::json!([]), "{next:#}");
    assert!(next["next_after"].is_null(), "{next:#}");
    for path in [
        format!("/report/{id}?redact"),
        "/report?redact".to_owned(),
        "/divergences?redact".to_owned(),
    ] {
        let (_, body) = get(port, &path, "").await;
        assert!(body.contains("[redacted]"), "{path}: {body}");
        assert!(!body.contains("by hand"), "{path}: {body}");
    }
    for (path, code) in [
        ("/nowhere", 404),
        ("/report/999999", 404),
        ("/report/first", 400),
        ("/report?since=nonsense", 400),
        ("/divergences?limit=0", 400),
        ("/divergences?state=lost", 400),
    ] {
        let (status, body) = get(port, path, "").await;
        assert_eq!(status, code, "{path}: {body}");
        let error: Value = serde_json::from_str(&body).unwrap();
        assert!(error["error"].is_string(), "{path}: {body}");
    }
}

/// The same through the commands, where only the endpoint can be reached.
async fn commands_agree(ground: &Ground, url: &str, report: &Value, id: &str) {
    let far = ground.launch.with_uris(None, None);
    let (code, asked) = far.json(&["report", "--api", url]).await.unwrap();
    assert_eq!((code, &asked["summary"]), (0, &report["summary"]));
    let shown = far
        .run_to_end(&["report", "show", id, "--api", url])
        .await
        .unwrap();
    assert!(shown.output.contains("by hand  →  a"), "{shown:?}");
    let checked = far
        .run_to_end(&["status", "--check", "--api", url])
        .await
        .unwrap();
    assert_eq!(checked.code, 0, "{checked:?}");
}

#[tokio::test]
async fn a_long_report_is_read_page_by_page_from_the_target_and_through_the_endpoint() {
    let ground = Ground::new(SCHEMA).await;
    let target = &ground.bed.target;
    target
        .execute(
            "INSERT INTO segue.divergence (\"table\", key, key_columns, kind, state)
             SELECT 'public.\"a&b\"', '\\x00'::bytea, jsonb '{\"id\": \"7\"}', 'missing_row', 'open'
             FROM generate_series(1, 1200)
             UNION ALL SELECT 'public.item', '\\x00', '{}', 'extra_row', 'repaired'",
        )
        .await
        .unwrap();
    let port = ports::free().unwrap();
    let address = format!("127.0.0.1:{port}");
    let _proxy = ground.launch.proxy(&["--metrics", &address]).await.unwrap();
    let url = format!("http://{address}");
    let far = ground.launch.with_uris(None, None);
    let near: [&str; 0] = [];
    for (launch, way) in [(&ground.launch, &near[..]), (&far, &["--api", &url])] {
        let ask = async |arguments: &[&str]| {
            let arguments = [&["report"], arguments, way].concat();
            launch.json(&arguments).await.unwrap()
        };
        let of_table = ["--table", "public.\"a&b\"", "--state", "open"];
        let (mut after, mut seen) = ("0".to_owned(), Vec::new());
        loop {
            let page = ["--limit", "500", "--after", &after];
            let (code, page) = ask(&[&of_table[..], &page].concat()).await;
            assert_eq!(code, 3);
            assert_eq!(page["summary"]["open"], 1200, "{page:#}");
            let found = page["divergences"].as_array().unwrap();
            seen.extend(found.iter().map(|one| one["id"].as_i64().unwrap()));
            let Some(next) = page["next_after"].as_i64() else {
                break;
            };
            assert_eq!(Some(&next), seen.last());
            after = next.to_string();
        }
        assert_eq!(seen.len(), 1200);
        assert!(seen.is_sorted_by(|one, other| one < other));
        let (_, many) = ask(&["--limit", "1100"]).await;
        assert_eq!(many["divergences"].as_array().unwrap().len(), 1100);
        let arguments = [&["report", "--limit", "2", "--since", "1h"], way].concat();
        let text = launch.run_to_end(&arguments).await.unwrap();
        let (first, second) = (seen[0], seen[1]);
        for part in [
            format!("#{first}"),
            format!("next page   --after {second}"),
            "open 1,200, repaired 1".to_owned(),
        ] {
            assert!(text.output.contains(&part), "{part}: {text:?}");
        }
        let wrong = [&["report", "--limit", "2", "--since", "never"], way].concat();
        assert_eq!(launch.run_to_end(&wrong).await.unwrap().code, 2);
    }
    for wrong in [["--limit", "0"], ["--state", "lost"], ["--after", "x"]] {
        let arguments = [&["report"], &wrong[..]].concat();
        let refused = ground.launch.run_to_end(&arguments).await.unwrap();
        assert_eq!(refused.code, 2, "{refused:?}");
    }
}

#[tokio::test]
async fn strangers_get_no_facts() {
    let ground = Ground::new(SCHEMA).await;
    let port = ports::free().unwrap();
    let address = format!("127.0.0.1:{port}");
    let token = file("token", "open sesame\n");
    let token = token.to_str().unwrap();
    let open = ground.launch.proxy(&["--metrics", &address]).await.unwrap();
    // A page on the internet that made a browser ask.
    let (status, body) = get(port, "/report", "Host: evil.example\r\n").await;
    assert_eq!(status, 403, "{body}");
    assert_eq!(open.terminate().await.unwrap(), 0);
    let guarded = ["--metrics", &address, "--http-token-file", token];
    let guarded = ground.launch.proxy(&guarded).await.unwrap();
    assert_eq!(get(port, "/report", "").await.0, 401);
    assert_eq!(
        get(port, "/status", "Authorization: Bearer wrong\r\n")
            .await
            .0,
        401
    );
    let bearer = "Authorization: Bearer open sesame\r\n";
    assert_eq!(get(port, "/status", bearer).await.0, 200);
    assert_eq!(get(port, "/readyz", "").await.0, 200);
    let url = format!("http://{address}");
    let far = ground.launch.with_uris(None, None);
    let refused = far.run_to_end(&["status", "--api", &url]).await.unwrap();
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.errors.contains("token"), "{refused:?}");
    let told = ["status", "--api", &url, "--http-token-file", token];
    assert_eq!(far.run_to_end(&told).await.unwrap().code, 0);
    assert_eq!(guarded.terminate().await.unwrap(), 0);
    let exposed = ["proxy", "--metrics", "0.0.0.0:0"];
    let exposed = ground.launch.run_to_end(&exposed).await.unwrap();
    assert_eq!(exposed.code, 2, "{exposed:?}");
}

#[tokio::test]
async fn hanging_up_reads_the_level_of_the_log_again() {
    let ground = Ground::new(SCHEMA).await;
    let config = file("segue.toml", "log_level = 'warn'\n");
    let path = config.to_str().unwrap();
    let segue = ground
        .launch
        .proxy(&["--config", path, "--log-format", "json"])
        .await
        .unwrap();
    assert!(!segue.log().contains("configuration"), "{}", segue.log());
    std::fs::write(&config, "log_level = 'info'\n").unwrap();
    segue.signal("HUP").unwrap();
    let told = |words: &'static str| {
        let segue = &segue;
        wait::until_true(words, async move || Ok(segue.log().contains(words)))
    };
    told("log_level is info").await.unwrap();
    std::fs::write(&config, "log_level = 'loud'\n").unwrap();
    segue.signal("HUP").unwrap();
    told("the configuration has been left as it was")
        .await
        .unwrap();
    for line in segue.log().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["message"].is_string(), "{line}");
    }
    let proxied = ground.bed.source.through(segue.port());
    assert_eq!(proxied.value("SELECT 1").await.unwrap(), "1");
    assert_eq!(segue.terminate().await.unwrap(), 0);
}

#[tokio::test]
async fn a_wrong_configuration_is_reported_whole() {
    let ground = Ground::new(SCHEMA).await;
    let config = file(
        "segue.toml",
        "workers = 0\nlissen = 'x'\nmirror = 'perhaps'\n",
    );
    let path = config.to_str().unwrap();
    let check = ["config", "check", "--config", path];
    let wrong = ground.launch.run_to_end(&check).await.unwrap();
    assert_eq!(wrong.code, 2, "{wrong:?}");
    for word in ["workers", "lissen", "mirror"] {
        assert!(wrong.errors.contains(word), "{word}: {wrong:?}");
    }
    std::fs::write(&config, "workers = 1\n").unwrap();
    let right = ground.launch.run_to_end(&check).await.unwrap();
    assert_eq!(right.code, 0, "{right:?}");
    assert!(right.output.contains("the configuration is sound"));
    let (code, facts) = ground.launch.json(&check).await.unwrap();
    assert_eq!(code, 0);
    let settings = facts["settings"].as_array().unwrap();
    let row = |name: &str| settings.iter().find(|row| row["name"] == name).unwrap();
    assert_eq!(row("workers")["value"], "1");
    assert_eq!(row("workers")["source"], "file");
    assert_eq!(row("workers")["change"], "restart");
    assert_eq!(row("clients_max")["source"], "default");
    assert_eq!(row("source")["source"], "flag");
}
