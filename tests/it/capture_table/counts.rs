//! What a proxy has counted, read from its metrics.

use std::collections::BTreeMap;

use harness::{Database, Segue, ports};

use crate::endpoint::get;
use crate::ground::Ground;

/// Begins every count of a deferral.
const DEFERRED: &str = "segue_proxy_deferred_transactions_total{reason=\"";
const CAPTURED: &str = "segue_proxy_captured_transactions_total ";
/// Begin what tells how the mirror fares.
const MIRROR: [&str; 3] = [
    "segue_dual_write_fail_total",
    "segue_mirror_accepted_transactions_total",
    "segue_mirror_breaker_open",
];

/// Transactions by what became of them: `captured`, or the reason of the deferral.
pub(crate) type Counts = BTreeMap<String, u64>;

/// A proxy without a reconciler whose counts can be read at a port.
pub(crate) async fn proxy(ground: &Ground) -> (Segue, Database, u16) {
    let port = ports::free().unwrap();
    let metrics = format!("127.0.0.1:{port}");
    let proxy = ground.launch.proxy(&["--metrics", &metrics]).await.unwrap();
    let proxied = ground.bed.source.through(proxy.port());
    (proxy, proxied, port)
}

/// The counts so far.
pub(crate) async fn read(port: u16) -> Counts {
    let (_, metrics) = get(port, "/metrics", "Host: localhost\r\n").await;
    let mut counts = Counts::new();
    for line in metrics.lines() {
        if let Some(count) = line.strip_prefix(CAPTURED) {
            counts.insert("captured".to_owned(), count.parse().unwrap());
        } else if let Some(rest) = line.strip_prefix(DEFERRED) {
            let (reason, count) = rest.split_once("\"} ").unwrap();
            counts.insert(reason.to_owned(), count.parse().unwrap());
        }
    }
    counts
}

/// Why transactions that were captured did not reach the target, and what the proxy said: for the
/// message of a test that misses one.
pub(crate) async fn evidence(proxy: &Segue, port: u16) -> String {
    let (_, metrics) = get(port, "/metrics", "Host: localhost\r\n").await;
    let tells = |line: &&str| MIRROR.iter().any(|name| line.starts_with(name));
    let told: Vec<&str> = metrics.lines().filter(tells).collect();
    format!("{}\nthe proxy's log:\n{}", told.join("\n"), proxy.log())
}

/// What has been added.
pub(crate) fn difference(before: &Counts, now: &Counts) -> Counts {
    let earlier = |what: &str| before.get(what).copied().unwrap_or_default();
    let added = now
        .iter()
        .map(|(what, count)| (what.clone(), count - earlier(what)));
    added.filter(|(_, count)| *count > 0).collect()
}
