//! Waiting for a condition, the clock, and dice that fall the same way twice.

use anyhow::{Result, bail};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longest wait for something that usually takes milliseconds. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until the answer is `Ok(Some(..))`, and gives it. An error ends the wait at once.
///
/// # Errors
/// The error of `probe`, or a sentence with `what` when [`PATIENCE`] ends.
pub async fn eventually<T, F>(what: &str, probe: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<Option<T>>,
{
    within(PATIENCE, what, probe).await
}

/// The same with another patience, for what takes its time by design.
///
/// # Errors
/// The error of `probe`, or a sentence with `what` when `patience` ends.
pub async fn within<T, F>(patience: Duration, what: &str, mut probe: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<Option<T>>,
{
    let started = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(found) = probe().await? {
            return Ok(found);
        }
        if started.elapsed() > patience {
            bail!("waited {patience:?} in vain for: {what}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

/// Measures how long something takes.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// Time since the start, in milliseconds.
    #[must_use]
    pub fn ms(&self) -> f64 {
        self.elapsed().as_secs_f64() * 1000.0
    }
}

/// The clock, in milliseconds since 1970.
///
/// # Panics
/// When the clock stands before 1970.
#[must_use]
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock stands after 1970");
    i64::try_from(since.as_millis()).expect("milliseconds since 1970 fit for 292 million years")
}

/// A moment as RFC 3339 text in UTC.
///
/// # Panics
/// When the moment lies outside the years that RFC 3339 can write.
#[must_use]
pub fn rfc3339(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).expect("a moment within the calendar").to_string()
}

/// RFC 3339 text as milliseconds since 1970.
///
/// # Errors
/// When the text is not RFC 3339.
pub fn parse_rfc3339(text: &str) -> Result<i64> {
    Ok(text.parse::<jiff::Timestamp>()?.as_millisecond())
}

/// Random numbers from a seed (splitmix64), so that a failure can be repeated.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall as `seed` says.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from `low` up to but not including `high`.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low + (mixed ^ (mixed >> 31)) % (high - low).max(1)
    }
}
