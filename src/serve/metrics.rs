//! The recorder behind `/metrics`. Which metrics there are, each crate says in its own `metrics.rs`.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;

/// How often measurements that nobody has asked for yet are condensed, as the exporter advises.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Bounds of histograms of durations: from what a local round trip takes to what an operator would
/// call an outage.
const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// Installs the recorder for the whole process.
pub(super) fn install() -> Result<PrometheusHandle, Failure> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| Failure::of(&error))
}

/// Keeps the recorder small until it is cancelled.
pub(super) async fn upkeep(recorder: PrometheusHandle, closing: CancellationToken) {
    let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
    while closing.run_until_cancelled(interval.tick()).await.is_some() {
        recorder.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    /// The names in a crate's list of metrics.
    fn names(list: &str) -> Vec<&str> {
        let texts = list.split('"').skip(1).step_by(2);
        texts.filter(|text| text.starts_with("segue_")).collect()
    }

    #[test]
    fn the_readme_lists_every_metric_and_no_other() {
        let proxy = names(include_str!("../../proxy/src/metrics.rs"));
        let reconciler = names(include_str!("../../reconciler/src/metrics.rs"));
        let readme = include_str!("../../README.md");
        let table = readme.split("## Metrics").nth(1).unwrap();
        let table = table.split("\n## ").next().unwrap();
        let documented: Vec<&str> = table
            .split('`')
            .filter_map(|text| text.split('{').next())
            .filter(|text| text.starts_with("segue_"))
            .collect();
        assert!(proxy.len() > 20 && reconciler.len() > 5);
        for name in proxy.iter().chain(&reconciler) {
            assert!(documented.contains(name), "{name} is not in README.md");
        }
        for name in documented {
            let exists = proxy.contains(&name) || reconciler.contains(&name);
            assert!(exists, "{name} is in README.md and nowhere else");
        }
    }
}
