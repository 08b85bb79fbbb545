//! How values are spread over a stretch of time: exact percentiles, and how long they were above a threshold.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Values of one series, counted by value. Sensors have few distinct values, so that a year of readings takes some
/// kilobytes; one that never repeats itself takes 16 bytes a reading.
#[derive(Clone, Debug)]
pub struct Distribution {
    counts: HashMap<u64, u64, BuildHasherDefault<Mixer>>,
    count: u64,
    sum: f64,
    above: Option<f64>,
    above_count: u64,
    above_ms: i64,
    held_ms: i64,
    silence_ms: i64,
    last: Option<(i64, f64)>,
}

impl Distribution {
    /// No values yet. A value holds until the next, but not through a silence of more than `silence_ms` milliseconds.
    pub fn new(above: Option<f64>, silence_ms: i64) -> Self {
        Self {
            counts: HashMap::default(),
            count: 0,
            sum: 0.0,
            above,
            above_count: 0,
            above_ms: 0,
            held_ms: 0,
            silence_ms,
            last: None,
        }
    }

    /// Takes the next value in order of time, which is in milliseconds since 1970.
    pub fn take(&mut self, t_ms: i64, value: f64) {
        *self.counts.entry(value.to_bits()).or_insert(0) += 1;
        self.count += 1;
        self.sum += value;
        let is_above = |value: f64| self.above.is_some_and(|above| value > above);
        self.above_count += u64::from(is_above(value));
        if let Some((before_ms, before)) = self.last {
            let held_ms = t_ms.saturating_sub(before_ms);
            if held_ms <= self.silence_ms {
                self.held_ms += held_ms;
                if is_above(before) {
                    self.above_ms += held_ms;
                }
            }
        }
        self.last = Some((t_ms, value));
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their arithmetic mean; `None` when there are none.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// How many are above the threshold, and for how many milliseconds one was. Silence counts as nothing.
    pub fn above(&self) -> Option<(u64, i64)> {
        self.above.map(|_| (self.above_count, self.above_ms))
    }

    /// For how many milliseconds the series was not silent.
    pub fn held_ms(&self) -> i64 {
        self.held_ms
    }

    /// For each percentile (0 to 100) the smallest value that so many per cent of all values do not exceed (nearest rank;
    /// 0 is the least value). Empty when there are no values.
    pub fn percentiles(&self, wanted: &[f64]) -> Vec<f64> {
        let mut values: Vec<(f64, u64)> =
            self.counts.iter().map(|(bits, count)| (f64::from_bits(*bits), *count)).collect();
        values.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let at = |percentile: f64| {
            let rank = (percentile / 100.0 * self.count as f64).ceil().max(1.0) as u64;
            let mut seen = 0;
            values.iter().find_map(|(value, count)| {
                seen += count;
                (seen >= rank).then_some(*value)
            })
        };
        wanted.iter().filter_map(|percentile| at(*percentile)).collect()
    }
}

/// Spreads the bits of one value. Values come from the store, and who could choose them can fill it anyway.
#[derive(Clone, Copy, Debug, Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, n: u64) {
        // The low bits of most values are zero: the high ones are folded onto them before and after.
        let folded = self.0 ^ n ^ (n >> 32);
        let mixed = folded.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut all = Distribution::new(None, 0);
        assert_eq!((all.percentiles(&[50.0]), all.mean(), all.above()), (vec![], None, None));
        for n in (1..=200).rev() {
            all.take(n, (n % 100 + 1) as f64);
        }
        assert_eq!(
            all.percentiles(&[0.0, 1.0, 50.0, 95.0, 99.5, 100.0]),
            [1.0, 1.0, 50.0, 95.0, 100.0, 100.0]
        );
        assert_eq!((all.count(), all.mean()), (200, Some(50.5)));
        let mut mixed = Distribution::new(None, 0);
        [-5.0, 3.5, -0.5, 1e9].iter().for_each(|value| mixed.take(0, *value));
        assert_eq!(mixed.percentiles(&[25.0, 26.0, 100.0]), [-5.0, -0.5, 1e9]);
    }

    #[test]
    fn a_value_holds_until_the_next_but_not_through_a_silence() {
        let mut all = Distribution::new(Some(1_000.0), 60);
        for (t_ms, value) in
            [(0, 1_500.0), (10, 1_000.0), (30, 1_001.0), (90, 900.0), (200, 2_000.0), (300, 2_000.0)]
        {
            all.take(t_ms, value);
        }
        assert_eq!(all.above(), Some((4, 10 + 60)));
        assert_eq!(all.held_ms(), 90);
    }
}
