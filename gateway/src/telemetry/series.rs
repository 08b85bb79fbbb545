//! How a stretch of a series is cut into buckets, and where it has holes.

use std::ops::Range;

/// A stretch of a series and how finely to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First millisecond.
    pub from_ms: i64,
    /// First millisecond after it.
    pub to_ms: i64,
    /// Most points wanted.
    pub max_points: u32,
    /// The present, which no hole reaches beyond.
    pub now_ms: i64,
}

/// One bucket of readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Start of the bucket, in milliseconds since 1970.
    pub t_ms: i64,
    /// Smallest value.
    pub min: f64,
    /// Arithmetic mean of the values.
    pub mean: f64,
    /// Largest value.
    pub max: f64,
    /// How many values.
    pub count: i64,
}

/// A stretch of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Points {
    /// Every reading, or buckets of so many milliseconds.
    pub data: Data,
    /// Where the device was silent for longer than its rhythm explains, in milliseconds since 1970.
    pub gaps: Vec<Range<i64>>,
}

/// The points themselves.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Every reading: time and value.
    Raw(Vec<(i64, f64)>),
    /// Buckets of this length, each beginning at a multiple of it.
    Buckets {
        /// Length of a bucket, in milliseconds.
        step_ms: i64,
        /// The buckets that hold at least one reading.
        buckets: Vec<Bucket>,
    },
}

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = super::time::HOUR_MS;
const DAY: i64 = super::time::DAY_MS;

/// Bucket lengths that people can read: each divides a day or is whole days.
const STEPS_MS: &[i64] = &[
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    15 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    7 * DAY,
    14 * DAY,
    28 * DAY,
    91 * DAY,
    LONGEST_MS,
];

const LONGEST_MS: i64 = 364 * DAY;

/// The shortest bucket of which the window touches at most `max_points`. A window around 1970 always touches two.
pub fn step_ms(from_ms: i64, to_ms: i64, max_points: u32) -> i64 {
    let fits = |step: i64| {
        let last = to_ms.saturating_sub(1).max(from_ms).div_euclid(step);
        last.saturating_sub(from_ms.div_euclid(step)) < i64::from(max_points.max(1))
    };
    let mut step = STEPS_MS.iter().copied().find(|step| fits(*step)).unwrap_or(LONGEST_MS);
    while !fits(step) && step < i64::MAX / 2 {
        step *= 2;
    }
    step
}

/// No silence shorter than this is a hole, in milliseconds.
pub const GAP_MIN_MS: i64 = 5 * MINUTE;

/// The silence that is a hole: more than three times the usual distance between readings, and at least
/// [`GAP_MIN_MS`].
pub fn gap_threshold_ms(distances: &mut [i64]) -> i64 {
    median(distances).map_or(GAP_MIN_MS, |usual| usual.saturating_mul(3).max(GAP_MIN_MS))
}

/// The middle of some distances, in milliseconds; `None` when there are none.
pub fn median(distances: &mut [i64]) -> Option<i64> {
    distances.sort_unstable();
    distances.get(distances.len() / 2).copied()
}

/// Holes between readings, plus the one from the last reading to the end of the window (never beyond the present),
/// plus the one from the start of the window when the series is older than the window.
///
/// `inner` are neighbours that are further apart than the threshold; `first` and `last` the outermost readings in the
/// window; `before` the last reading ahead of it.
pub fn gaps(
    window: Window,
    threshold_ms: i64,
    inner: Vec<Range<i64>>,
    first: Option<i64>,
    last: Option<i64>,
    before: Option<i64>,
) -> Vec<Range<i64>> {
    let end = window.to_ms.min(window.now_ms);
    let mut found = Vec::with_capacity(inner.len() + 2);
    if let Some(before) = before {
        let until = first.unwrap_or(end);
        if until.saturating_sub(before) > threshold_ms && until > window.from_ms {
            found.push(before.max(window.from_ms)..until);
        }
    }
    found.extend(inner);
    if let Some(last) = last
        && end.saturating_sub(last) > threshold_ms
    {
        found.push(last..end);
    }
    found
}

/// Neighbours further apart than the threshold. `times` in order.
pub fn inner_gaps(times: impl Iterator<Item = i64>, threshold_ms: i64) -> Vec<Range<i64>> {
    let mut found = Vec::new();
    let mut previous: Option<i64> = None;
    for t in times {
        if let Some(previous) = previous
            && t.saturating_sub(previous) > threshold_ms
        {
            found.push(previous..t);
        }
        previous = Some(t);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_few_enough_and_readable() {
        for (span, max_points, step) in [
            (HOUR, 1000, 5 * SECOND),
            (DAY, 1000, 2 * MINUTE),
            (7 * DAY, 1000, 15 * MINUTE),
            (30 * DAY, 1000, HOUR),
            (365 * DAY, 1000, 12 * HOUR),
            (1, 1000, SECOND),
            (DAY, 1, DAY),
            (DAY + 1, 1, 2 * DAY),
            (0, 0, SECOND),
        ] {
            assert_eq!(step_ms(0, span, max_points), step, "{span} in {max_points}");
        }
    }

    #[test]
    fn any_span_fits_its_points_wherever_it_begins() {
        for from in [0, 1, 999, 1_795_341_600_123, -7_777_777] {
            for span in [1, 999, HOUR + 1, 400 * DAY + 17, 100_000 * DAY] {
                for max_points in [1, 2, 3, 10, 1000].into_iter().skip(usize::from(from < 0)) {
                    let step = step_ms(from, from + span, max_points);
                    let touched = (from + span - 1).div_euclid(step) - from.div_euclid(step) + 1;
                    assert!(touched <= i64::from(max_points), "{from} {span} {max_points} {step}");
                }
            }
        }
        assert!(step_ms(i64::MIN, i64::MAX, 1000) > 0);
    }

    #[test]
    fn a_silence_is_a_hole_only_when_the_rhythm_does_not_explain_it() {
        assert_eq!(gap_threshold_ms(&mut [10 * SECOND; 9]), 5 * MINUTE);
        assert_eq!(gap_threshold_ms(&mut [10 * MINUTE, 10 * MINUTE, 5 * HOUR]), 30 * MINUTE);
        assert_eq!(gap_threshold_ms(&mut []), 5 * MINUTE);
        assert_eq!(inner_gaps([0, 60, 400, 460].into_iter(), 100), [60..400]);
        assert_eq!(inner_gaps([].into_iter(), 100), []);
    }

    #[test]
    fn a_device_that_fell_silent_leaves_a_hole_up_to_the_present() {
        let window = Window { from_ms: 0, to_ms: 10_000, max_points: 10, now_ms: 8_000 };
        assert_eq!(gaps(window, 1_000, vec![], Some(0), Some(5_000), None), [5_000..8_000]);
        assert_eq!(gaps(window, 1_000, vec![], Some(0), Some(7_500), None), []);
        // On before the window, silent at its start.
        assert_eq!(gaps(window, 1_000, vec![], Some(4_000), Some(7_500), Some(-500)), [0..4_000]);
        // Silent all through.
        assert_eq!(gaps(window, 1_000, vec![], None, None, Some(-500)), [0..8_000]);
        // Never there: no claim.
        assert_eq!(gaps(window, 1_000, vec![], None, None, None), []);
    }
}
