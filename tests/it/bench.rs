//! The benchmark still runs: one short round of everything.
//!
//! Its figures mean nothing here; they are made by `make bench`.

use benches::{Plan, Way, Workload};

use crate::SEGUE;

#[tokio::test]
async fn a_quick_benchmark_measures_every_way() {
    let plan = Plan::quick(SEGUE.into());
    let figures = benches::run(&plan, |_| {}).await.unwrap();
    for way in [Way::Direct, Way::PassThrough, Way::DualWrite] {
        for workload in [Workload::Select, Workload::Update] {
            let figure = figures
                .iter()
                .find(|figure| (figure.way, figure.workload) == (way, workload));
            let figure = figure.unwrap();
            assert!(figure.transactions_per_second > 0.0, "{figure:?}");
            assert!(
                figure.latency_microseconds_p50 <= figure.latency_microseconds_p99,
                "{figure:?}"
            );
            assert_eq!(
                figure.proxy_cpu_microseconds.is_none(),
                way == Way::Direct,
                "{figure:?}"
            );
            let mirrors = (way, workload) == (Way::DualWrite, Workload::Update);
            assert_eq!(figure.staleness_seconds.is_some(), mirrors, "{figure:?}");
        }
    }
    let table = benches::markdown(&figures);
    assert_eq!(table.lines().count(), 2 + figures.len(), "{table}");
}
