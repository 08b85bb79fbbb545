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
