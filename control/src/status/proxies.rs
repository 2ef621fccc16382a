//! What the proxies say of themselves, added up.
//!
//! Does not tell one proxy from another.

use std::collections::BTreeMap;

use serde::Deserialize;
use tokio_postgres::Transaction;

use super::facts::Mirror;
use super::{cannot, unreadable};
use crate::error::ControlError;

/// A proxy that has not renewed its lease for this long no longer takes part. It renews it once a
/// second, so five were missed.
const PROXY_SILENT_SECONDS: f64 = 5.0;

/// What a proxy writes into `segue.proxy.counters`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProxyCounters {
    captured: u64,
    #[serde(rename = "transactions")]
    accepted: u64,
    deferred: BTreeMap<String, u64>,
    failed: BTreeMap<String, u64>,
    staleness_seconds_p50: Option<f64>,
    staleness_seconds_p99: Option<f64>,
}

/// Adds the counters of all proxies, living or gone.
pub(super) async fn read_proxies(
    snapshot: &Transaction<'_>,
    mirror: &mut Mirror,
) -> Result<(), ControlError> {
    let rows = snapshot
        .query(
            "SELECT counters::text AS counters,
                    extract(epoch FROM clock_timestamp() - lease)::float8 AS silent_seconds
             FROM segue.proxy",
            &[],
        )
        .await
        .map_err(cannot("read the proxies' counters"))?;
    for row in rows {
        let counters: ProxyCounters =
            serde_json::from_str(row.get("counters")).map_err(unreadable("a proxy's counters"))?;
        let silent_seconds: f64 = row.get("silent_seconds");
        add_proxy(mirror, counters, silent_seconds < PROXY_SILENT_SECONDS);
    }
    Ok(())
}

/// A proxy that is gone still counts for the totals; its staleness says nothing of now.
fn add_proxy(mirror: &mut Mirror, counters: ProxyCounters, living: bool) {
    mirror.captured += counters.captured;
    mirror.accepted += counters.accepted;
    add_each(&mut mirror.deferred, counters.deferred);
    add_each(&mut mirror.failed, counters.failed);
    if living {
        mirror.proxies += 1;
        raise(
            &mut mirror.staleness_seconds_p50,
            counters.staleness_seconds_p50,
        );
        raise(
            &mut mirror.staleness_seconds_p99,
            counters.staleness_seconds_p99,
        );
    }
}

fn add_each(totals: &mut BTreeMap<String, u64>, counts: BTreeMap<String, u64>) {
    for (reason, count) in counts {
        *totals.entry(reason).or_default() += count;
    }
}

fn raise(worst: &mut Option<f64>, value: Option<f64>) {
    *worst = match (*worst, value) {
        (Some(worst), Some(value)) => Some(worst.max(value)),
        (known, None) | (None, known) => known,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(text: &str) -> ProxyCounters {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn counts_of_all_proxies_add_up_and_the_slowest_living_one_is_shown() {
        let mut mirror = Mirror::default();
        add_proxy(
            &mut mirror,
            proxy(r#"{"captured":2,"deferred":{"bulk":1},"staleness_seconds_p99":0.5}"#),
            true,
        );
        add_proxy(
            &mut mirror,
            proxy(r#"{"captured":3,"deferred":{"bulk":1,"copy":4},"staleness_seconds_p99":0.2}"#),
            true,
        );
        add_proxy(
            &mut mirror,
            proxy(r#"{"captured":1,"staleness_seconds_p99":9.0}"#),
            false,
        );
        assert_eq!((mirror.captured, mirror.proxies), (6, 2));
        assert_eq!(
            mirror.deferred,
            BTreeMap::from([("bulk".into(), 2), ("copy".into(), 4)])
        );
        assert_eq!(mirror.staleness_seconds_p99, Some(0.5));
    }

    #[test]
    fn counters_of_other_versions_may_hold_more_and_less() {
        assert_eq!(proxy(r#"{"bypass":7}"#).captured, 0);
        assert!(serde_json::from_str::<ProxyCounters>(r#"{"captured":"x"}"#).is_err());
    }
}
