//! A window of a series, taken in day by day: points, buckets, holes. Pure.

use super::summary::{Summary, Total};
use crate::telemetry::series::{self, Bucket, Data, Points, Window};
use crate::telemetry::time::HOUR_MS;
use std::ops::Range;

/// How many distances the rhythm of a window is judged from.
pub(crate) const RHYTHM_SAMPLE: usize = 256;

/// The silence that is a hole, from the first readings of a window in order of time.
pub(crate) fn threshold_ms(times: impl Iterator<Item = i64> + Clone) -> i64 {
    // Readings at one instant have no distance and say nothing about rhythm.
    let distances = times.clone().zip(times.skip(1)).map(|(a, b)| b.saturating_sub(a));
    series::gap_threshold_ms(
        &mut distances.filter(|distance| *distance > 0).take(RHYTHM_SAMPLE).collect::<Vec<_>>(),
    )
}

/// The window so far.
#[derive(Debug)]
pub(crate) struct Fold {
    window: Window,
    step_ms: i64,
    threshold_ms: i64,
    /// Every point, as long as they fit.
    raw: Option<Vec<(i64, f64)>>,
    buckets: Vec<(i64, Total)>,
    holes: Vec<Range<i64>>,
    first: Option<i64>,
    last: Option<i64>,
}

impl Fold {
    /// Nothing yet, in buckets of this length. With `few`, all points may fit; without, they are known not to.
    pub(crate) fn new(window: Window, step_ms: i64, threshold_ms: i64, few: bool) -> Self {
        Self {
            window,
            step_ms,
            threshold_ms,
            raw: few.then(Vec::new),
            buckets: Vec::new(),
            holes: Vec::new(),
            first: None,
            last: None,
        }
    }

    /// The next point of the window.
    pub(crate) fn point(&mut self, t_ms: i64, value: f64) {
        self.seen(t_ms);
        self.last = Some(t_ms);
        if let Some(raw) = &mut self.raw {
            raw.push((t_ms, value));
            if raw.len() > usize::try_from(self.window.max_points).unwrap_or(usize::MAX) {
                self.raw = None;
            }
        }
        self.total(t_ms, &Total::of(value));
    }

    /// A day of the window; buckets are whole hours. Of a day at its border only the hours that are in it.
    pub(crate) fn day(&mut self, begin_ms: i64, summary: &Summary) {
        self.seen(summary.first_ms.max(self.window.from_ms));
        for (from, to) in summary.holes.iter().flatten() {
            if to.saturating_sub(*from) > self.threshold_ms {
                self.holes.push(*from..*to);
            }
        }
        self.last = Some(summary.last_ms);
        for (hour, total) in &summary.hours {
            let hour_ms = begin_ms.saturating_add(i64::from(*hour) * HOUR_MS);
            if hour_ms >= self.window.from_ms && hour_ms.saturating_add(HOUR_MS) <= self.window.to_ms {
                self.total(hour_ms, total);
            }
        }
    }

    fn seen(&mut self, t_ms: i64) {
        self.first.get_or_insert(t_ms);
        if let Some(last) = self.last
            && t_ms.saturating_sub(last) > self.threshold_ms
        {
            self.holes.push(last..t_ms);
        }
    }

    fn total(&mut self, t_ms: i64, total: &Total) {
        let bucket = t_ms.div_euclid(self.step_ms).saturating_mul(self.step_ms);
        match self.buckets.last_mut() {
            Some((last, sum)) if *last == bucket => sum.add(total),
            _ => self.buckets.push((bucket, *total)),
        }
    }

    /// The window; `before` is the time of the last point ahead of it.
    pub(crate) fn finish(self, before: Option<i64>) -> Points {
        let gaps = series::gaps(self.window, self.threshold_ms, self.holes, self.first, self.last, before);
        let data = match self.raw {
            Some(raw) => Data::Raw(raw),
            None => Data::Buckets {
                step_ms: self.step_ms,
                buckets: self
                    .buckets
                    .into_iter()
                    .map(|(t_ms, total)| Bucket {
                        t_ms,
                        min: total.min,
                        mean: total.sum / total.count as f64,
                        max: total.max,
                        count: i64::try_from(total.count).unwrap_or(i64::MAX),
                    })
                    .collect(),
            },
        };
        Points { data, gaps }
    }
}
