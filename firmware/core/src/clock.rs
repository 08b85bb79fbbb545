//! What time it is, and whom to believe.
//!
//! | source | why | believed |
//! |---|---|---|
//! | the build | nothing can be earlier | always, as a lower bound |
//! | last good time, kept on flash | nothing can be much earlier | as a lower bound |
//! | carried over a restart by the chip | its own clock went on | when it is within the bounds and nothing else is known |
//! | SNTP | exact, but anybody on the way can answer | when it is within the bounds and does not contradict the gateway |
//! | the gateway's answer | its certificate was verified | always, when it is off by more than [`APART_MS`] |
//!
//! Readings get a time only from a clock that was set. Certificates need one before that: [`Clock::for_certificates`]
//! never knows nothing, and never turns verification off. When it lags, a certificate issued since then is refused
//! until SNTP answers; and only a time that the gateway confirmed is kept as a good one, so an SNTP server that lies
//! cannot spoil the lower bound.

use crate::Millis;

/// How far SNTP and the gateway may be apart, in milliseconds.
pub const APART_MS: u64 = 300_000;
/// How often a good time is kept, in milliseconds. Once an hour wears no flash.
pub const KEEP_EVERY_MS: u64 = 3_600_000;

/// Who says what time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The chip's own clock, which went on through a restart.
    Carried,
    /// A time server.
    Sntp,
    /// The gateway, with an authenticated 200.
    Gateway,
}

/// What became of a time that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The clock was set by this. `moved_ms` says by how much it was changed; `None` when it was unknown.
    Set {
        /// Milliseconds, whichever way.
        moved_ms: Option<u64>,
    },
    /// Somebody better said so already.
    Known,
    /// This cannot be.
    Refused,
}

/// The clock of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    built_unix_ms: i64,
    good_unix_ms: Option<i64>,
    /// When this start began, and who said so.
    started: Option<(i64, Source)>,
    /// When the gateway last agreed, by the steady time, and the time it said.
    agreed: Option<(Millis, i64)>,
    kept: Option<Millis>,
    refused: u32,
}

impl Clock {
    /// A clock that nobody has set. Takes when the firmware was built and what [`Clock::keep`] last gave, in
    /// milliseconds since 1970.
    pub const fn new(built_unix_ms: i64, good_unix_ms: Option<i64>) -> Self {
        Self { built_unix_ms, good_unix_ms, started: None, agreed: None, kept: None, refused: 0 }
    }

    /// Takes what somebody says, in milliseconds since 1970.
    pub fn hear(&mut self, source: Source, unix_ms: i64, now: Millis) -> Heard {
        let earliest = match (source, self.good_unix_ms) {
            (Source::Sntp | Source::Carried, Some(good)) => good.max(self.built_unix_ms),
            // The gateway mends a last good time that was wrong.
            (Source::Gateway, _) | (_, None) => self.built_unix_ms,
        };
        let earliest = earliest.saturating_sub(SLACK_MS).max(EARLIEST_UNIX_MS);
        let lies = source == Source::Sntp
            && self.agreed.is_some_and(|(at, said)| {
                said.saturating_add_unsigned(now.since(at)).abs_diff(unix_ms) > APART_MS
            });
        if unix_ms < earliest || unix_ms >= LATEST_UNIX_MS || lies {
            self.refused = self.refused.saturating_add(1);
            return Heard::Refused;
        }
        let started = unix_ms.saturating_sub_unsigned(now.0);
        let moved_ms = self.started.map(|(before, _)| before.abs_diff(started));
        if source == Source::Gateway {
            self.agreed = Some((now, unix_ms));
        }
        let better = match (source, self.started) {
            (_, None) => true,
            (Source::Carried, Some(_)) => false,
            (Source::Sntp, Some(_)) => true,
            // An answer takes longer than a time server's, so it only mends what is plainly wrong.
            (Source::Gateway, Some(_)) => moved_ms.is_some_and(|ms| ms > APART_MS),
        };
        if !better {
            return Heard::Known;
        }
        self.started = Some((started, source));
        Heard::Set { moved_ms }
    }

    /// When this start began, in milliseconds since 1970; `None` while nobody has said what time it is.
    pub fn started_unix_ms(&self) -> Option<i64> {
        self.started.map(|(started, _)| started)
    }

    /// The time, if anybody has said.
    pub fn unix_ms(&self, now: Millis) -> Option<i64> {
        self.started_unix_ms().map(|started| started.saturating_add_unsigned(now.0))
    }

    /// The time to judge certificates by: the clock, or the latest moment that is certainly over.
    pub fn for_certificates(&self, now: Millis) -> i64 {
        let past = self.good_unix_ms.unwrap_or(self.built_unix_ms).max(self.built_unix_ms);
        self.unix_ms(now).unwrap_or_else(|| past.saturating_add_unsigned(now.0))
    }

    /// A time to write to flash as the last good one, when it is due: the gateway agreed lately, and the last one was
    /// written an hour ago.
    pub fn keep(&mut self, now: Millis) -> Option<i64> {
        let (_, said) = self.agreed.filter(|(at, _)| now.since(*at) < KEEP_EVERY_MS)?;
        if self.kept.is_some_and(|kept| now.since(kept) < KEEP_EVERY_MS) {
            return None;
        }
        self.kept = Some(now);
        self.good_unix_ms = Some(said);
        self.good_unix_ms
    }

    /// Times that could not be.
    pub const fn refused(&self) -> u32 {
        self.refused
    }
}

/// The date as words for memory that outlives a restart, but not a power cut.
pub fn carry(unix_ms: i64) -> [u32; CARRY_WORDS] {
    let [a, b, c, d, e, f, g, h] = unix_ms.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]), carry_check(unix_ms)]
}

/// The date out of such words; `None` when they are anything else, as after power came.
pub fn carried([low, high, check]: [u32; CARRY_WORDS]) -> Option<i64> {
    let unix_ms = (u64::from(high) << 32 | u64::from(low)).cast_signed();
    (check == carry_check(unix_ms)).then_some(unix_ms)
}

fn carry_check(unix_ms: i64) -> u32 {
    // The letters keep memory that is all zero from being a date.
    casement_proto::Crc32::new().with(b"date").with(&unix_ms.to_le_bytes()).value()
}

/// Words of [`carry`].
pub const CARRY_WORDS: usize = 3;

impl Default for Clock {
    /// A clock of a build without a date.
    fn default() -> Self {
        Self::new(EARLIEST_UNIX_MS, None)
    }
}

/// 2024-01-01: the first line of this firmware is younger.
const EARLIEST_UNIX_MS: i64 = 1_704_067_200_000;
/// 2100-01-01
const LATEST_UNIX_MS: i64 = 4_102_444_800_000;
/// A build machine, or the gateway at the time, may have been wrong by a day.
const SLACK_MS: i64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT: i64 = 1_790_000_000_000;
    const DAY: i64 = 86_400_000;
    const SET: Heard = Heard::Set { moved_ms: None };

    #[test]
    fn a_time_that_cannot_be_is_refused() {
        for (good, source, unix_ms, heard) in [
            (None, Source::Sntp, 0, Heard::Refused),
            (None, Source::Sntp, i64::MIN, Heard::Refused),
            (None, Source::Sntp, i64::MAX, Heard::Refused),
            (None, Source::Sntp, 946_684_800_000, Heard::Refused),
            (None, Source::Sntp, BUILT - DAY - 1, Heard::Refused),
            (None, Source::Sntp, BUILT - DAY, SET),
            (None, Source::Gateway, BUILT - DAY - 1, Heard::Refused),
            (None, Source::Carried, 5_000, Heard::Refused),
            (Some(BUILT + 9 * DAY), Source::Sntp, BUILT + 7 * DAY, Heard::Refused),
            (Some(BUILT + 9 * DAY), Source::Sntp, BUILT + 8 * DAY, SET),
            (Some(BUILT + 9 * DAY), Source::Carried, BUILT + 9 * DAY, SET),
            // A last good time that was years ahead is mended by whoever proves who it is.
            (Some(BUILT + 999 * DAY), Source::Gateway, BUILT + DAY, SET),
            // Older than the build, but kept: the build counts.
            (Some(5), Source::Sntp, BUILT - 2 * DAY, Heard::Refused),
        ] {
            let mut clock = Clock::new(BUILT, good);
            assert_eq!(clock.hear(source, unix_ms, Millis(1_000)), heard, "{source:?} {unix_ms}");
            assert_eq!(clock.refused(), u32::from(heard == Heard::Refused));
            assert_eq!(clock.unix_ms(Millis(1_000)), (heard == SET).then_some(unix_ms));
        }
    }

    #[test]
    fn certificates_always_have_a_time_to_be_judged_by() {
        for (built, good, expected) in
            [(BUILT, None, BUILT), (BUILT, Some(BUILT + DAY), BUILT + DAY), (BUILT, Some(7), BUILT)]
        {
            let mut clock = Clock::new(built, good);
            assert_eq!(clock.for_certificates(Millis(60_000)), expected + 60_000);
            assert_eq!(clock.unix_ms(Millis(60_000)), None, "no reading gets a guessed time");
            assert_eq!(clock.hear(Source::Sntp, BUILT + 5 * DAY, Millis(60_000)), SET);
            assert_eq!(clock.for_certificates(Millis(61_000)), BUILT + 5 * DAY + 1_000);
        }
    }

    #[test]
    fn the_gateway_mends_a_time_server_that_lies_and_is_believed_from_then_on() {
        let mut clock = Clock::new(BUILT, None);
        let lie = BUILT + 400 * DAY;
        assert_eq!(clock.hear(Source::Sntp, lie, Millis(0)), SET);
        let heard = clock.hear(Source::Gateway, BUILT + DAY, Millis(1_000));
        assert_eq!(heard, Heard::Set { moved_ms: Some((399 * DAY + 1_000) as u64) });
        assert_eq!(clock.hear(Source::Sntp, lie + 60_000, Millis(61_000)), Heard::Refused);
        assert_eq!(clock.unix_ms(Millis(61_000)), Some(BUILT + DAY + 60_000));
        // One that is right is exact.
        let exact = BUILT + DAY + 59_300;
        assert_eq!(clock.hear(Source::Sntp, exact, Millis(60_000)), Heard::Set { moved_ms: Some(300) });
        // And the delay of an answer does not spoil it.
        assert_eq!(clock.hear(Source::Gateway, exact + 900, Millis(60_000)), Heard::Known);
        assert_eq!(clock.unix_ms(Millis(60_000)), Some(exact));
    }

    #[test]
    fn only_what_the_gateway_confirmed_is_kept_and_at_most_hourly() {
        let mut clock = Clock::new(BUILT, None);
        assert_eq!(clock.hear(Source::Sntp, BUILT + DAY, Millis(0)), SET);
        assert_eq!(clock.keep(Millis(KEEP_EVERY_MS * 5)), None);
        assert_eq!(clock.hear(Source::Gateway, BUILT + DAY, Millis(1_000)), Heard::Known);
        assert_eq!(clock.keep(Millis(2_000)), Some(BUILT + DAY));
        assert_eq!(clock.hear(Source::Gateway, BUILT + DAY + 60_000, Millis(61_000)), Heard::Known);
        assert_eq!(clock.keep(Millis(62_000)), None);
        assert_eq!(clock.keep(Millis(2_000 + KEEP_EVERY_MS)), Some(BUILT + DAY + 60_000));
        // What the gateway said long ago is no news.
        assert_eq!(clock.keep(Millis(2_000 + 3 * KEEP_EVERY_MS)), None);
    }

    #[test]
    fn a_date_comes_through_a_restart_whole_or_not_at_all() {
        let words = carry(BUILT);
        assert_eq!(carried(words), Some(BUILT));
        for bit in 0..96 {
            let mut broken = words;
            broken[bit / 32] ^= 1 << (bit % 32);
            assert_eq!(carried(broken), None, "bit {bit}");
        }
        assert_eq!((carried([0; 3]), carried([u32::MAX; 3])), (None, None));
    }

    #[test]
    fn a_clock_that_was_carried_gives_way_to_any_other() {
        let mut clock = Clock::new(BUILT, None);
        assert_eq!(clock.hear(Source::Carried, BUILT + DAY, Millis(0)), SET);
        assert_eq!(clock.hear(Source::Carried, BUILT + 2 * DAY, Millis(0)), Heard::Known);
        assert_eq!(clock.hear(Source::Sntp, BUILT + DAY + 7, Millis(0)), Heard::Set { moved_ms: Some(7) });
    }
}
