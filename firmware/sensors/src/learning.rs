//! The baseline of a sensor that takes hours to find one (SGP30): when it is kept, given back and dropped.

use crate::checksum::crc8;
use crate::port::Baseline;
use casement_core::Millis;

/// A baseline as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedBaseline {
    /// Of which sensor. It means nothing to another one.
    pub serial: u64,
    /// The baseline.
    pub baseline: Baseline,
    /// When it was read, in milliseconds since 1970.
    pub unix_ms: i64,
}

impl SavedBaseline {
    /// Its form on flash: a version byte, the fields with the low byte first, a CRC-8.
    pub fn to_bytes(&self) -> [u8; SAVED_BYTES] {
        let mut bytes = [0; SAVED_BYTES];
        let fields = [
            &[VERSION][..],
            &self.serial.to_le_bytes(),
            &self.baseline.eco2.to_le_bytes(),
            &self.baseline.tvoc.to_le_bytes(),
            &self.unix_ms.to_le_bytes(),
        ];
        for (byte, field) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *byte = *field;
        }
        let [inner @ .., crc] = &mut bytes;
        *crc = crc8(inner);
        bytes
    }

    /// Reads it back; `None` for anything [`SavedBaseline::to_bytes`] did not write.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [VERSION, rest @ .., crc] = bytes else { return None };
        let (serial, rest) = rest.split_first_chunk()?;
        let (eco2, rest) = rest.split_first_chunk()?;
        let (tvoc, rest) = rest.split_first_chunk()?;
        let unix_ms: [u8; 8] = rest.try_into().ok()?;
        let it = Self {
            serial: u64::from_le_bytes(*serial),
            baseline: Baseline { eco2: u16::from_le_bytes(*eco2), tvoc: u16::from_le_bytes(*tvoc) },
            unix_ms: i64::from_le_bytes(unix_ms),
        };
        (it.to_bytes().last() == Some(crc)).then_some(it)
    }
}

/// What to do about a baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Give this one back to the sensor, and tell [`Learning::restored`].
    Restore(Baseline),
    /// Read the present one, and tell [`Learning::read`].
    Read,
}

/// What one sensor has learned.
#[derive(Debug)]
pub(crate) struct Learning {
    serial: u64,
    saved: Option<SavedBaseline>,
    started: Millis,
    /// Since when its baseline is one to trust: it was given back, or twelve hours have passed.
    settled: Option<Millis>,
    asked: Option<Millis>,
}

impl Learning {
    /// A sensor, and what was kept of it, if anything.
    pub(crate) fn new(serial: u64, saved: Option<SavedBaseline>) -> Self {
        let saved = saved.filter(|saved| saved.serial == serial);
        Self { serial, saved, started: Millis(0), settled: None, asked: None }
    }

    /// The sensor was started and knows nothing.
    pub(crate) fn started(&mut self, now: Millis) {
        (self.started, self.settled, self.asked) = (now, None, None);
    }

    /// What to do now. Without a clock nothing: nobody knows how old a kept baseline is, or how old a new one will be.
    pub(crate) fn plan(&mut self, now: Millis, unix_ms: Option<i64>) -> Option<Plan> {
        let unix_ms = unix_ms?;
        if self.settled.is_none() {
            // A baseline of its own is better than one of before.
            if now.since(self.started) >= LEARNED_MS {
                self.settled = Some(now);
            } else if let Some(saved) = self.saved {
                if (0..=AGE_MAX_MS).contains(&unix_ms.saturating_sub(saved.unix_ms)) {
                    return Some(Plan::Restore(saved.baseline));
                }
                self.saved = None;
            }
        }
        let since = self.asked.or(self.restored_at());
        let due = self.settled.is_some() && since.is_none_or(|since| now.since(since) >= SAVE_MS);
        due.then_some(Plan::Read)
    }

    /// The sensor took [`Plan::Restore`].
    pub(crate) fn restored(&mut self, now: Millis) {
        self.settled = Some(now);
    }

    /// The answer to [`Plan::Read`]; gives what to keep. An empty baseline is none.
    pub(crate) fn read(
        &mut self,
        baseline: Option<Baseline>,
        now: Millis,
        unix_ms: i64,
    ) -> Option<SavedBaseline> {
        self.asked = Some(now);
        let baseline = baseline.filter(|it| it.eco2 != 0 && it.tvoc != 0)?;
        self.saved = Some(SavedBaseline { serial: self.serial, baseline, unix_ms });
        self.saved
    }

    /// Whether it is still looking for its baseline.
    pub(crate) fn is_conditioning(&self, now: Millis, conditioning_ms: u64) -> bool {
        self.settled.is_none() && now.since(self.started) < conditioning_ms
    }

    /// A baseline that was given back is saved again after an hour, one that was found at once.
    fn restored_at(&self) -> Option<Millis> {
        self.settled.filter(|settled| settled.since(self.started) < LEARNED_MS)
    }
}

/// Bytes of a kept baseline.
pub const SAVED_BYTES: usize = 22;
const VERSION: u8 = 1;
/// SGP30 datasheet, "Set and get baseline": the first one after twelve hours, then each hour, none older than a week.
const LEARNED_MS: u64 = 12 * 3_600_000;
const SAVE_MS: u64 = 3_600_000;
const AGE_MAX_MS: i64 = 7 * 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const H: u64 = 3_600_000;
    const DAY: i64 = 86_400_000;
    const NOW: i64 = 1_795_000_000_000;
    const B: Baseline = Baseline { eco2: 0x8a11, tvoc: 0x9b22 };

    fn learning(saved: Option<(u64, i64)>) -> Learning {
        let saved = saved.map(|(serial, unix_ms)| SavedBaseline { serial, baseline: B, unix_ms });
        let mut it = Learning::new(7, saved);
        it.started(Millis(0));
        it
    }

    #[test]
    fn the_first_baseline_is_kept_after_twelve_hours_and_then_one_each_hour() {
        let mut it = learning(None);
        let mut kept = std::vec::Vec::new();
        for second in 0..15 * 3_600 {
            let now = Millis(second * 1_000);
            let unix_ms = NOW + second as i64 * 1_000;
            assert_eq!(it.is_conditioning(now, 12 * H), second < 12 * 3_600);
            if it.plan(now, Some(unix_ms)) == Some(Plan::Read) {
                kept.extend(it.read(Some(B), now, unix_ms).map(|saved| (saved.serial, second / 3_600)));
            }
        }
        assert_eq!(kept, [(7, 12), (7, 13), (7, 14)]);
    }

    #[test]
    fn a_baseline_is_given_back_to_its_own_sensor_within_a_week() {
        for (saved, restores) in [
            (None, false),
            (Some((7, NOW)), true),
            (Some((7, NOW - 7 * DAY)), true),
            (Some((7, NOW - 7 * DAY - 1)), false),
            (Some((8, NOW)), false),
            // From the future: one of the two clocks is wrong.
            (Some((7, NOW + 1)), false),
        ] {
            let plan = learning(saved).plan(Millis(1_000), Some(NOW));
            assert_eq!(plan, restores.then_some(Plan::Restore(B)), "{saved:?}");
        }
    }

    #[test]
    fn one_that_was_given_back_ends_conditioning_and_is_kept_again_after_an_hour() {
        let mut it = learning(Some((7, NOW)));
        assert_eq!(it.plan(Millis(1_000), Some(NOW)), Some(Plan::Restore(B)));
        assert!(it.is_conditioning(Millis(1_000), 12 * H));
        it.restored(Millis(1_000));
        assert!(!it.is_conditioning(Millis(1_000), 12 * H));
        assert_eq!(it.plan(Millis(H), Some(NOW)), None);
        assert_eq!(it.plan(Millis(H + 1_000), Some(NOW)), Some(Plan::Read));
        // What could not be read is asked for an hour later.
        assert_eq!(it.read(None, Millis(H + 1_000), NOW), None);
        assert_eq!(it.plan(Millis(2 * H), Some(NOW)), None);
        assert_eq!(it.plan(Millis(2 * H + 1_000), Some(NOW)), Some(Plan::Read));
    }

    #[test]
    fn without_a_clock_it_waits_and_an_empty_baseline_is_none() {
        let mut it = learning(Some((7, NOW)));
        assert_eq!(it.plan(Millis(11 * H), None), None);
        assert_eq!(it.plan(Millis(11 * H), Some(NOW)), Some(Plan::Restore(B)), "the clock came late");
        assert_eq!(it.plan(Millis(12 * H), Some(NOW)), Some(Plan::Read), "its own is better");
        assert_eq!(it.read(Some(Baseline { eco2: 0, tvoc: 1 }), Millis(12 * H), NOW), None);
    }

    #[test]
    fn after_a_restart_of_the_sensor_it_gets_back_what_it_had() {
        let mut it = learning(None);
        it.plan(Millis(12 * H), Some(NOW));
        it.read(Some(B), Millis(12 * H), NOW);
        it.started(Millis(13 * H));
        assert_eq!(it.plan(Millis(13 * H), Some(NOW)), Some(Plan::Restore(B)));
    }

    proptest! {
        #[test]
        fn what_is_kept_reads_back_and_nothing_else_does(serial: u64, eco2: u16, tvoc: u16, unix_ms: i64,
            bit in 0_usize..SAVED_BYTES * 8, cut in 0_usize..SAVED_BYTES) {
            let saved = SavedBaseline { serial, baseline: Baseline { eco2, tvoc }, unix_ms };
            let mut bytes = saved.to_bytes();
            prop_assert_eq!(SavedBaseline::from_bytes(&bytes), Some(saved));
            prop_assert_eq!(SavedBaseline::from_bytes(&bytes[..cut]), None);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(SavedBaseline::from_bytes(&bytes), None);
        }
    }
}
