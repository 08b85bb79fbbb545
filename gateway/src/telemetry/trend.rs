//! Where a value is heading.

/// How far back the trend looks, in milliseconds.
pub const WINDOW_MS: i64 = 10 * 60_000;

/// The change in five minutes that the values of the last ten suggest: the slope of the least-squares line. `points`
/// are time (milliseconds since 1970) and value in any order; `None` when they span less than a minute or are fewer
/// than four.
pub fn per_5min(points: &[(i64, f64)], now_ms: i64) -> Option<f64> {
    // One pass: this is asked for every reading that somebody watches. Distances from the present are small numbers.
    let (mut n, mut x, mut y, mut xy, mut xx) = (0u32, 0.0, 0.0, 0.0, 0.0);
    let (mut first, mut last) = (i64::MAX, i64::MIN);
    let offset = points.first()?.1;
    for (t, v) in points.iter().filter(|(t, _)| (now_ms - WINDOW_MS..=now_ms).contains(t)) {
        let (dx, dy) = ((t - now_ms) as f64 / 300_000.0, v - offset);
        n += 1;
        x += dx;
        y += dy;
        xy += dx * dy;
        xx += dx * dx;
        (first, last) = (first.min(*t), last.max(*t));
    }
    if n < 4 || last - first < 60_000 {
        return None;
    }
    let n = f64::from(n);
    let slope = (n * xy - x * y) / (n * xx - x * x);
    slope.is_finite().then_some(slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_climb_is_told_in_change_per_five_minutes() {
        let climb: Vec<_> = (0..=60).map(|i| (i * 10_000, 600.0 + i as f64 * 2.0)).collect();
        let trend = per_5min(&climb, 600_000).unwrap();
        assert!((trend - 60.0).abs() < 1e-9, "{trend}");
    }

    #[test]
    fn too_little_to_tell_is_no_trend() {
        assert_eq!(per_5min(&[], 0), None);
        assert_eq!(per_5min(&[(0, 1.0), (1, 2.0), (2, 3.0), (3, 4.0)], 10), None);
        // Old values do not count.
        let old: Vec<_> = (0..60).map(|i| (i * 10_000, 1.0)).collect();
        assert_eq!(per_5min(&old, 10_000_000), None);
    }
}
