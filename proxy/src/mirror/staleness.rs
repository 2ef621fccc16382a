//! How far the target's reader is behind: from the commit's acknowledgement to the target's.
//!
//! A histogram with eight buckets per doubling (at most 9 % off), over the last minute in slices.
//! Does not keep single values.

use std::time::Duration;

use tokio::time::Instant;

/// Microseconds up to 2^40, eight buckets per doubling.
const BUCKETS: usize = 40 * 8;
/// The window is this many slices, so that old values leave bit by bit.
const SLICES: usize = 6;
const SLICE: Duration = Duration::from_secs(10);

type Slice = Box<[u32; BUCKETS]>;

/// The distribution over about the last minute.
#[derive(Debug)]
pub(super) struct Staleness {
    slices: [Slice; SLICES],
    current: usize,
    current_since: Option<Instant>,
}

impl Default for Staleness {
    fn default() -> Self {
        Self {
            slices: std::array::from_fn(|_| Box::new([0; BUCKETS])),
            current: 0,
            current_since: None,
        }
    }
}

impl Staleness {
    pub(super) fn record(&mut self, value: Duration, now: Instant) {
        self.turn(now);
        let slice = self.slices.get_mut(self.current);
        if let Some(count) = slice.and_then(|slice| slice.get_mut(bucket(value))) {
            *count = count.saturating_add(1);
        }
    }

    /// The median and the 99th percentile; nothing if the window is empty.
    pub(super) fn quantiles(&mut self, now: Instant) -> Option<(Duration, Duration)> {
        self.turn(now);
        let mut sums = [0_u64; BUCKETS];
        for slice in &self.slices {
            for (sum, count) in sums.iter_mut().zip(slice.iter()) {
                *sum = sum.saturating_add(u64::from(*count));
            }
        }
        let total: u64 = sums.iter().sum();
        let at = |rank: u64| {
            let mut seen = 0_u64;
            let place = sums.iter().position(|count| {
                seen = seen.saturating_add(*count);
                seen > rank
            });
            place.map(upper_bound)
        };
        let last = total.checked_sub(1)?;
        Some((at(last / 2)?, at(last.saturating_mul(99) / 100)?))
    }

    fn turn(&mut self, now: Instant) {
        let mut since = *self.current_since.get_or_insert(now);
        for _ in 0..SLICES {
            if now.saturating_duration_since(since) < SLICE {
                break;
            }
            since += SLICE;
            self.current = (self.current + 1) % SLICES;
            if let Some(slice) = self.slices.get_mut(self.current) {
                slice.fill(0);
            }
        }
        if now.saturating_duration_since(since) >= SLICE {
            since = now;
        }
        self.current_since = Some(since);
    }
}

fn bucket(value: Duration) -> usize {
    let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX).max(1);
    let doubling = u64::from(micros.ilog2());
    // The three bits below the highest one; fewer exist under 8 microseconds.
    let eighth = match doubling.checked_sub(3) {
        Some(shift) => (micros >> shift) & 7,
        None => (micros << (3 - doubling)) & 7,
    };
    usize::try_from(doubling * 8 + eighth)
        .unwrap_or(usize::MAX)
        .min(BUCKETS - 1)
}

fn upper_bound(bucket: usize) -> Duration {
    let doubling = i32::try_from(bucket / 8).unwrap_or(i32::MAX);
    let eighth = i32::try_from(bucket % 8).unwrap_or(0);
    Duration::from_secs_f64(2_f64.powi(doubling) * f64::from(9 + eighth) / 8.0 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_bucket_and_leave_after_a_minute() {
        let mut staleness = Staleness::default();
        let start = Instant::now();
        assert_eq!(staleness.quantiles(start), None);
        for millis in 1..=1000_u64 {
            staleness.record(Duration::from_millis(millis), start);
        }
        let (median, high) = staleness.quantiles(start).unwrap();
        assert!((0.45..0.57).contains(&median.as_secs_f64()), "{median:?}");
        assert!((0.95..1.15).contains(&high.as_secs_f64()), "{high:?}");
        assert!(
            staleness
                .quantiles(start + Duration::from_secs(50))
                .is_some()
        );
        assert_eq!(staleness.quantiles(start + Duration::from_secs(61)), None);
        assert_eq!(staleness.quantiles(start + Duration::from_mins(10)), None);
    }

    #[test]
    fn every_duration_has_a_bucket_that_holds_it() {
        for micros in [0, 1, 2, 3, 7, 8, 9, 1000, 1_000_000, u64::from(u32::MAX)] {
            let value = Duration::from_micros(micros);
            let bound = upper_bound(bucket(value)).as_secs_f64();
            let seconds = value.as_secs_f64();
            assert!(
                bound >= seconds && bound <= (seconds * 1.13).max(2e-6),
                "{micros}"
            );
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }
}
