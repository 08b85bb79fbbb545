//! Where a value is heading.

/// How far back the trend looks, in milliseconds.
pub const WINDOW_MS: i64 = 10 * 60_000;

/// The change in five minutes that the values of the last ten suggest: the slope of the least-squares line. `points`
/// are time (milliseconds since 1970) and value in any order; `None` when they span less than a minute or are fewer
/// than four.
pub fn per_5min(points: &[(i64, f64)], now_ms: i64) -> Option<f64> {
    let recent = || points.iter().filter(|(t, _)| (now_ms - WINDOW_MS..=now_ms).contains(t));
    let count = recent().count();
    let first = recent().map(|(t, _)| *t).min()?;
    let last = recent().map(|(t, _)| *t).max()?;
    if count < 4 || last - first < 60_000 {
        return None;
    }
    let n = count as f64;
    let x = |t: i64| (t - first) as f64 / 300_000.0;
    let mean_x = recent().map(|(t, _)| x(*t)).sum::<f64>() / n;
    let mean_y = recent().map(|(_, v)| v).sum::<f64>() / n;
    let (mut xy, mut xx) = (0.0, 0.0);
    for (t, v) in recent() {
        let dx = x(*t) - mean_x;
        xy += dx * (v - mean_y);
        xx += dx * dx;
    }
    let slope = xy / xx;
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
