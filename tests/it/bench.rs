//! The benchmark still runs: one short round of a few of its measurements.
//!
//! Its figures mean nothing here; they are made by `make bench`.

use benches::{Load, Plan, Reader, Shape, Way};

use crate::SEGUE;

#[tokio::test]
async fn a_quick_benchmark_measures_every_way() {
    let plan = Plan::quick(SEGUE.into());
    let figures = benches::run(&plan, |_| {}).await.unwrap();
    for way in Way::FULL {
        for load in [Load::SelectPrepared, Load::UpdatePrepared] {
            let figure = figures
                .loads
                .iter()
                .find(|it| (it.way, it.load, it.rate) == (way, load, None));
            let Some(figure) = figure else {
                assert_eq!(way, Way::Pgbouncer, "only pgbouncer may be missing here");
                continue;
            };
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
            let mirrors = way == Way::DualWrite && load.is_mirrored();
            assert_eq!(figure.staleness_seconds.is_some(), mirrors, "{figure:?}");
        }
    }
    let half = figures.loads.iter().filter(|it| it.rate.is_some());
    let half: Vec<Way> = half.map(|it| it.way).collect();
    assert_eq!(half, Way::HALF);
    assert!(figures.idle.iter().any(|it| it.way == Way::DualWrite));
    let table = benches::markdown(&figures);
    assert_eq!(table.lines().count(), 2 + figures.loads.len(), "{table}");
    for shape in Shape::ALL {
        for reader in [Reader::Nowhere, Reader::Native, Reader::Applying] {
            let mut piles = figures.log.piles.iter();
            let figure = piles.find(|it| (it.shape, it.reader) == (shape, reader));
            let figure = figure.unwrap_or_else(|| panic!("no {reader:?} of {shape:?}"));
            assert!(figure.rows_per_second > 0.0, "{figure:?}");
            assert_eq!(figure.wal_bytes.is_none(), reader == Reader::Nowhere);
        }
    }
    // A pile this small can be read between two ticks of the kernel's accounts, all of them cannot.
    let applying: f64 = figures.log.piles.iter().map(|it| it.cpu.applying()).sum();
    assert!(applying > 0.0, "{:?}", figures.log.piles);
    let mut piles = figures.log.piles.iter();
    assert!(piles.any(|it| it.reader == Reader::Verifying));
    assert!(figures.log.steady.is_some_and(|it| it.planted > 0));
    let readme = benches::readme(&figures);
    assert!(readme.contains("| half load |"), "{readme}");
    assert!(readme.contains("| native replication |"), "{readme}");
    let json = benches::json(&plan, &figures);
    assert!(
        json["idle"][0]["bytes_per_connection"].is_number(),
        "{json}"
    );
}
