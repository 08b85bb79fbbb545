//! When readings leave the log and memory, and when pieces become a day. Pure: times are arguments, in milliseconds since
//! 1970, and so is what is there.

use super::shelf::Waiting;
use crate::telemetry::time::{DAY_MS, HOUR_MS};

/// Readings of a device that are worth a piece at once.
pub(crate) const PIECE_READINGS: usize = 1_024;

/// Readings of all devices together in memory before the largest are sealed early: some 15 MB, and as much log.
pub(crate) const UNSEALED_SOFT: usize = 524_288;

/// Readings in memory beyond which an append waits until there is room.
pub(crate) const UNSEALED_HARD: usize = 2 * UNSEALED_SOFT;

/// Readings that stay in the log when they are sealed, for viewers that come back.
pub(crate) const LOG_READINGS: i64 = 4_096;

/// Pieces of a day that are put together though more may come: at ten readings a second that is once an hour.
const PIECES_MAX: i64 = 32;

/// Pieces of a day that is over are put together when none has come for so long, in milliseconds.
const QUIET_MS: i64 = 60_000;

/// Or when there are so many.
const PIECES_LATE: i64 = 16;

/// When so many of one device wait they are sealed without waiting for the next look: they are unpacked for that, all at
/// once, and take six times as much then.
pub(crate) const HEAD_SOFT: usize = 16 * PIECE_READINGS;

/// Readings in memory of one device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unsealed {
    /// The number of the device.
    pub(crate) device: i64,
    /// How many.
    pub(crate) readings: usize,
    /// When the first of them came.
    pub(crate) since_ms: i64,
}

/// A device's own minute of every hour, so that a thousand of them do not seal at once, in milliseconds.
fn offset_ms(device: i64) -> i64 {
    let spread = device.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    // 24 bits of the product: always less than an hour.
    ((spread * HOUR_MS.cast_unsigned()) >> 24).cast_signed()
}

/// Does this device seal now? It does once an hour, in its own minute.
fn is_due(unsealed: &Unsealed, now_ms: i64) -> bool {
    let hour = |t_ms: i64| t_ms.saturating_sub(offset_ms(unsealed.device)).div_euclid(HOUR_MS);
    unsealed.readings >= PIECE_READINGS || hour(now_ms) != hour(unsealed.since_ms)
}

/// Which devices seal now.
pub(crate) fn due(all: &[Unsealed], now_ms: i64) -> Vec<i64> {
    let there = all.iter().filter(|unsealed| unsealed.readings > 0);
    let (mut due, mut rest): (Vec<Unsealed>, Vec<Unsealed>) =
        there.partition(|unsealed| is_due(unsealed, now_ms));
    let mut left: usize = rest.iter().map(|unsealed| unsealed.readings).sum();
    if left > UNSEALED_SOFT {
        // The largest make the best pieces.
        rest.sort_by_key(|unsealed| std::cmp::Reverse(unsealed.readings));
        let early = rest.into_iter().take_while(|unsealed| {
            let over = left > UNSEALED_SOFT / 2;
            left = left.saturating_sub(unsealed.readings);
            over
        });
        due.extend(early);
    }
    due.into_iter().map(|unsealed| unsealed.device).collect()
}

/// Is it time to put these pieces together?
pub(crate) fn is_ready(waiting: &Waiting, now_ms: i64) -> bool {
    let end_ms = waiting.day.saturating_add(1).saturating_mul(DAY_MS);
    // Readings of the last minutes are sealed within the hour, each device in its own minute.
    let over = now_ms >= end_ms.saturating_add(HOUR_MS).saturating_add(offset_ms(waiting.device));
    let quiet = now_ms.saturating_sub(waiting.made_ms) >= QUIET_MS;
    waiting.pieces >= PIECES_MAX || (over && (quiet || waiting.pieces >= PIECES_LATE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: i64 = 1_795_305_600_000;

    #[test]
    fn a_thousand_devices_seal_all_through_the_hour() {
        let all: Vec<Unsealed> =
            (1..=1_000).map(|device| Unsealed { device, readings: 360, since_ms: T0 }).collect();
        let mut sealed = 0;
        for minute in 0..60 {
            let now_ms = T0 + minute * 60_000;
            let before: Vec<i64> = due(&all, now_ms);
            let after = due(&all, now_ms + 60_000);
            let this = after.len() - before.len();
            assert!((5..=40).contains(&this), "minute {minute}: {this}");
            sealed += this;
        }
        assert_eq!(sealed, 1_000, "each once");
    }

    #[test]
    fn many_readings_are_sealed_at_once_and_the_largest_first_when_memory_is_short() {
        let one = |device, readings| Unsealed { device, readings, since_ms: T0 };
        let mut own = one(1, PIECE_READINGS);
        own.since_ms = T0 + offset_ms(1);
        assert_eq!(due(&[own], own.since_ms), [1]);
        assert_eq!(due(&[one(1, 0)], T0 + DAY_MS), [] as [i64; 0]);
        let mut many: Vec<Unsealed> =
            (2..1_002).map(|device| one(device, 500 + device as usize % 100)).collect();
        many.iter_mut().for_each(|unsealed| unsealed.since_ms = T0 + offset_ms(unsealed.device));
        // Nobody's own minute has come again.
        let found = due(&many, T0 + HOUR_MS - 1);
        let total: usize = many.iter().map(|unsealed| unsealed.readings).sum();
        let sealed: usize = many.iter().filter(|u| found.contains(&u.device)).map(|u| u.readings).sum();
        assert!(total > UNSEALED_SOFT && total - sealed <= UNSEALED_SOFT / 2);
        let least_sealed =
            many.iter().filter(|u| found.contains(&u.device)).map(|u| u.readings).min().unwrap();
        let most_left = many.iter().filter(|u| !found.contains(&u.device)).map(|u| u.readings).max().unwrap();
        assert!(least_sealed >= most_left);
    }

    #[test]
    fn a_day_is_put_together_when_it_is_over_and_quiet() {
        let day = T0 / DAY_MS;
        let end = T0 + DAY_MS;
        let waiting = |pieces, made_ms| Waiting { device: 7, day, pieces, made_ms };
        let late = end + HOUR_MS + offset_ms(7);
        for (pieces, made_ms, now_ms, ready) in [
            (24, end - HOUR_MS, end, false),
            (25, late - QUIET_MS, late, true),
            (25, late - QUIET_MS, late - 1, false),
            (1, late, late + 1, false),
            (1, late, late + QUIET_MS, true),
            (PIECES_LATE, late, late, true),
            (PIECES_MAX, T0, T0, true),
            (PIECES_MAX - 1, T0, T0, false),
        ] {
            assert_eq!(is_ready(&waiting(pieces, made_ms), now_ms), ready, "{pieces} {made_ms} {now_ms}");
        }
        assert!(!is_ready(&Waiting { device: 1, day: i64::MAX, pieces: 1, made_ms: 0 }, i64::MAX - 1));
    }
}
