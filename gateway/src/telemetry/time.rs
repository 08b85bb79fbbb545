//! Times as devices and people write them.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Milliseconds in an hour.
pub const HOUR_MS: i64 = 3_600_000;

/// Milliseconds in a day of UTC.
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// Earliest time that a device's clock is believed: 2015-01-01T00:00:00Z. Before that it has not been set.
pub const PLAUSIBLE_FROM_MS: i64 = 1_420_070_400_000;

/// Furthest ahead of ours that a device's clock is believed, in milliseconds.
pub const PLAUSIBLE_AHEAD_MS: i64 = DAY_MS;

/// The time a device gives, when it can be true.
pub fn plausible(t_ms: i64, now_ms: i64) -> Option<i64> {
    (PLAUSIBLE_FROM_MS..=now_ms.saturating_add(PLAUSIBLE_AHEAD_MS)).contains(&t_ms).then_some(t_ms)
}

/// An instant in a query: RFC 3339, unix milliseconds, `now`, or `now-24h` (`s`, `m`, `h`, `d`, `w`, `y` of 365 days).
pub fn parse_query(text: &str, now_ms: i64) -> Option<i64> {
    if let Some(rest) = text.strip_prefix("now") {
        if rest.is_empty() {
            return Some(now_ms);
        }
        return now_ms.checked_sub(parse_span_ms(rest.strip_prefix('-')?)?);
    }
    if let Ok(unix_ms) = text.parse::<i64>() {
        return Some(unix_ms);
    }
    // A plus sign in a query string arrives as a space.
    text.replace(' ', "+").parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// A span such as `24h` or `90d`, in milliseconds.
pub fn parse_span_ms(text: &str) -> Option<i64> {
    let (unit_at, unit) = text.char_indices().last()?;
    let count: i64 = text.get(..unit_at)?.parse().ok().filter(|count| *count >= 0)?;
    let unit_ms: i64 = match unit {
        's' => 1_000,
        'm' => 60_000,
        'h' => HOUR_MS,
        'd' => DAY_MS,
        'w' => 7 * DAY_MS,
        'y' => 365 * DAY_MS,
        _ => return None,
    };
    count.checked_mul(unit_ms)
}

/// Local times of a file, one after the other, in one time zone.
///
/// Most loggers write local time without an offset. Where the clock goes back, an hour happens twice; the order of
/// the rows tells which of the two is meant, so the times must be given in the order of the file.
pub struct LocalTimes {
    zone: TimeZone,
    previous_ms: Option<i64>,
}

impl LocalTimes {
    /// Reads times of this zone.
    pub const fn new(zone: TimeZone) -> Self {
        Self { zone, previous_ms: None }
    }

    /// The instant of a time: RFC 3339, unix seconds or milliseconds, or a local date and time with a space or `T`.
    /// `None` when it is none of these.
    pub fn parse(&mut self, text: &str) -> Option<i64> {
        let t_ms = self.instant(text.trim())?;
        self.previous_ms = Some(t_ms);
        Some(t_ms)
    }

    fn instant(&self, text: &str) -> Option<i64> {
        if let Ok(instant) = text.parse::<Timestamp>() {
            return Some(instant.as_millisecond());
        }
        if let Ok(number) = text.parse::<f64>() {
            // Seconds reach this number in the year 5138, milliseconds did in 1973.
            let ms = if number.abs() < 1e11 { number * 1000.0 } else { number };
            return ms.is_finite().then_some(ms.round() as i64);
        }
        let civil: DateTime = text.parse().ok()?;
        let ambiguous = self.zone.to_ambiguous_timestamp(civil);
        let earlier = ambiguous.earlier().ok()?.as_millisecond();
        let later = ambiguous.later().ok()?.as_millisecond();
        match self.previous_ms {
            Some(previous) if earlier < previous => Some(later),
            _ => Some(earlier),
        }
    }
}

/// A time zone by its IANA name; empty for UTC.
pub fn zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() {
        return Some(TimeZone::UTC);
    }
    TimeZone::get(name).ok()
}

/// An instant as RFC 3339 in UTC with milliseconds when there are any; an instant no calendar holds as its nearest end.
pub fn rfc3339(unix_ms: i64) -> String {
    Timestamp::from_millisecond(unix_ms)
        .unwrap_or(if unix_ms < 0 { Timestamp::MIN } else { Timestamp::MAX })
        .to_string()
}

/// An instant as local time with its offset, RFC 3339.
pub fn local(t_ms: i64, zone: &TimeZone) -> String {
    Timestamp::from_millisecond(t_ms).map_or_else(
        |_| String::new(),
        |instant| {
            let zoned = instant.to_zoned(zone.clone());
            // Shown to the second unless there is more to say.
            let pattern =
                if t_ms.rem_euclid(1000) == 0 { "%Y-%m-%dT%H:%M:%S%:z" } else { "%Y-%m-%dT%H:%M:%S%.3f%:z" };
            zoned.strftime(pattern).to_string()
        },
    )
}

/// An age as people say it: `12 s`, `5 min`, `3 h`, `2 d`.
pub fn age(ms: i64) -> String {
    let span = SignedDuration::from_millis(ms.max(0));
    match span.as_secs() {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3_600 => format!("{} min", s / 60),
        s @ 3_600..172_800 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_341_600_000; // 2026-11-22T10:00:00Z

    #[test]
    fn a_clock_that_was_never_set_is_not_believed() {
        for (t, believed) in [
            (0, false),
            (946_684_800_000, false),
            (PLAUSIBLE_FROM_MS - 1, false),
            (PLAUSIBLE_FROM_MS, true),
            (NOW + PLAUSIBLE_AHEAD_MS, true),
            (NOW + PLAUSIBLE_AHEAD_MS + 1, false),
            (i64::MAX, false),
            (i64::MIN, false),
        ] {
            assert_eq!(plausible(t, NOW).is_some(), believed, "{t}");
        }
    }

    #[test]
    fn queries_may_name_times_in_every_documented_way() {
        for (text, expected) in [
            ("now", Some(NOW)),
            ("now-24h", Some(NOW - 86_400_000)),
            ("now-90s", Some(NOW - 90_000)),
            ("1795341600000", Some(NOW)),
            ("2026-11-22T10:00:00Z", Some(NOW)),
            ("2026-11-22T11:00:00+01:00", Some(NOW)),
            ("2026-11-22T11:00:00 01:00", Some(NOW)),
            ("now+1h", None),
            ("now-", None),
            ("now-1x", None),
            ("now--1h", None),
            ("now-99999999999999y", None),
            ("2026-11-22T10:00:00", None),
            ("", None),
            ("é", None),
        ] {
            assert_eq!(parse_query(text, NOW), expected, "{text}");
        }
    }

    #[test]
    fn the_hour_that_happens_twice_keeps_its_order() {
        let mut times = LocalTimes::new(zone("Europe/Brussels").unwrap());
        let read: Vec<_> =
            ["2026-10-25 02:00:00", "2026-10-25 02:59:00", "2026-10-25 02:00:00", "2026-10-25 03:00:00"]
                .iter()
                .map(|t| local(times.parse(t).unwrap(), &TimeZone::UTC))
                .collect();
        assert_eq!(
            read,
            [
                "2026-10-25T00:00:00+00:00",
                "2026-10-25T00:59:00+00:00",
                "2026-10-25T01:00:00+00:00",
                "2026-10-25T02:00:00+00:00"
            ]
        );
    }

    #[test]
    fn times_without_an_offset_are_local() {
        let mut times = LocalTimes::new(zone("Europe/Brussels").unwrap());
        for (text, expected) in [
            ("2015-02-02 14:19:00", Some(1_422_883_140_000)),
            ("2015-02-02T14:19:00", Some(1_422_883_140_000)),
            ("2015-02-02T13:19:00Z", Some(1_422_883_140_000)),
            ("1422883140", Some(1_422_883_140_000)),
            ("1422883140000", Some(1_422_883_140_000)),
            ("02/02/2015", None),
            ("", None),
        ] {
            assert_eq!(times.parse(text), expected, "{text}");
        }
        assert_eq!(local(1_422_883_140_000, &zone("Europe/Brussels").unwrap()), "2015-02-02T14:19:00+01:00");
    }

    #[test]
    fn ages_are_told_in_one_unit() {
        for (ms, text) in
            [(-5, "0 s"), (12_900, "12 s"), (90_000, "1 min"), (7_200_000, "2 h"), (200_000_000, "2 d")]
        {
            assert_eq!(age(ms), text);
        }
    }
}
