//! The only reader of time. Everything else takes the time as an argument.

use jiff::Timestamp;
use std::time::Instant;

/// Milliseconds since 1970-01-01T00:00:00Z, by the machine's clock.
#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// A point on the clock that never jumps, for measuring how long something took.
#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn steady() -> Instant {
    Instant::now()
}

/// An instant as RFC 3339 in UTC with milliseconds when there are any; an instant no calendar holds as its nearest end.
pub fn rfc3339(unix_ms: i64) -> String {
    Timestamp::from_millisecond(unix_ms)
        .unwrap_or(if unix_ms < 0 { Timestamp::MIN } else { Timestamp::MAX })
        .to_string()
}
