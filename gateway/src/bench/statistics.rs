//! Percentiles, and how a rate changes. Pure.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bits of a duration that are kept: a bucket is at most 1/128 of its value wide.
const KEPT_BITS: u32 = 7;

/// Durations below this many nanoseconds are kept exactly.
const EXACT_NS: u64 = 1 << (KEPT_BITS + 1);

/// Many durations in constant memory, each to better than 1 %.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    /// How many fell into each bucket; as long as the largest one needs.
    counts: Vec<u64>,
    total: u64,
}

impl Latencies {
    /// Takes one.
    pub fn take(&mut self, took: Duration) {
        let bucket = bucket(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
            self.total += 1;
        }
    }

    /// How many there are.
    pub const fn count(&self) -> u64 {
        self.total
    }

    /// The duration that this share of all does not exceed, in milliseconds; 0 when there is none.
    pub fn percentile_ms(&self, share: f64) -> f64 {
        let rank = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return middle_ns(bucket) / 1e6;
            }
        }
        0.0
    }
}

fn bucket(ns: u64) -> usize {
    let index = if ns < EXACT_NS {
        ns
    } else {
        let shift = ns.ilog2() - KEPT_BITS;
        // The highest bit is always set: it says which power of two, and the others which part of it.
        (u64::from(shift) << KEPT_BITS) + (ns >> shift)
    };
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The middle of a bucket, in nanoseconds.
fn middle_ns(bucket: usize) -> f64 {
    let index = bucket as u64;
    if index < EXACT_NS {
        return index as f64;
    }
    let shift = (index >> KEPT_BITS) - 1;
    let kept = index - (shift << KEPT_BITS);
    (kept as f64 + 0.5) * 2.0_f64.powi(i32::try_from(shift).unwrap_or(i32::MAX))
}

/// What was done in each fifth of a span: a store may get slower as it grows, and a mean hides that.
#[derive(Debug)]
pub struct Fifths {
    span: Duration,
    counts: [AtomicU64; 5],
}

impl Fifths {
    /// Nothing yet.
    pub fn new(span: Duration) -> Self {
        Self { span, counts: Default::default() }
    }

    /// Takes so many, done this long after the start. What came after the span is left out.
    pub fn take(&self, passed: Duration, many: u64) {
        let fifth = passed.as_nanos().saturating_mul(5).checked_div(self.span.as_nanos());
        let fifth = fifth.and_then(|fifth| usize::try_from(fifth).ok());
        if let Some(count) = fifth.and_then(|fifth| self.counts.get(fifth)) {
            count.fetch_add(many, Ordering::Relaxed);
        }
    }

    /// Begins anew.
    pub fn clear(&self) {
        self.counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }

    /// How many a second in the first fifth, and in the last.
    pub fn rates(&self) -> (f64, f64) {
        let rate = |count: Option<&AtomicU64>| {
            let count = count.map_or(0, |count| count.load(Ordering::Relaxed));
            if self.span.is_zero() { 0.0 } else { count as f64 * 5.0 / self.span.as_secs_f64() }
        };
        (rate(self.counts.first()), rate(self.counts.last()))
    }
}

/// The middle one; of an even number the mean of the two in the middle; 0 when there is none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => at(half),
        _ => f64::midpoint(at(half - 1), at(half)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_one_percent() {
        // Nanoseconds, microseconds, milliseconds, seconds.
        for unit_ns in [1, 1_000, 1_000_000, 1_000_000_000] {
            let mut all = Latencies::default();
            // Backwards: the order does not matter.
            for n in (1..=10_000_u64).rev() {
                all.take(Duration::from_nanos(n * unit_ns));
            }
            assert_eq!(all.count(), 10_000);
            for (share, n) in [(0.5, 5_000.0), (0.99, 9_900.0), (0.999, 9_990.0), (1.0, 10_000.0), (0.0, 1.0)]
            {
                let expected = n * unit_ns as f64 / 1e6;
                let found = all.percentile_ms(share);
                assert!((found / expected - 1.0).abs() < 0.01, "{share} of {unit_ns} ns: {found}");
            }
        }
    }

    #[test]
    fn one_slow_answer_in_a_thousand_shows() {
        let mut all = Latencies::default();
        for _ in 0..998 {
            all.take(Duration::from_millis(2));
        }
        for _ in 0..2 {
            all.take(Duration::from_millis(500));
        }
        assert!((all.percentile_ms(0.99) - 2.0).abs() < 0.02);
        assert!((all.percentile_ms(0.999) - 500.0).abs() < 5.0);
    }

    #[test]
    fn nothing_and_the_longest_time_are_no_trouble() {
        let mut all = Latencies::default();
        assert_eq!(all.percentile_ms(0.5), 0.0);
        all.take(Duration::ZERO);
        assert_eq!(all.percentile_ms(0.5), 0.0);
        all.take(Duration::MAX);
        assert!(all.percentile_ms(1.0) > 1e12);
        assert!(all.counts.len() < 8_000, "memory stays small");
    }

    #[test]
    fn buckets_follow_each_other_without_a_hole() {
        let mut before = 0;
        for ns in 0..100_000 {
            let now = bucket(ns);
            assert!(now == before || now == before + 1, "{ns}");
            before = now;
        }
    }

    #[test]
    fn a_rate_that_falls_shows() {
        let fifths = Fifths::new(Duration::from_secs(5));
        for (ms, many) in [(0, 10), (999, 5), (1_000, 100), (3_999, 100), (4_000, 2), (4_999, 1), (5_000, 50)]
        {
            fifths.take(Duration::from_millis(ms), many);
        }
        assert_eq!(fifths.rates(), (15.0, 3.0));
        fifths.clear();
        assert_eq!(fifths.rates(), (0.0, 0.0));
        let none = Fifths::new(Duration::ZERO);
        none.take(Duration::from_secs(1), 1);
        assert_eq!(none.rates(), (0.0, 0.0));
    }

    #[test]
    fn the_middle_one() {
        for (values, expected) in
            [(&[][..], 0.0), (&[3.0], 3.0), (&[9.0, 1.0, 5.0], 5.0), (&[4.0, 1.0, 2.0, 100.0], 3.0)]
        {
            assert_eq!(median(values), expected, "{values:?}");
        }
    }
}
