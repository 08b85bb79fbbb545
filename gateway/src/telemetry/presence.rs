//! Whether a device is there, judged by its own rhythm.

use super::series::median;
use std::collections::VecDeque;

/// Is the device there?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It has reported within three of its own periods.
    Online,
    /// It has missed three periods.
    Offline,
    /// It has never reported.
    Never,
}

impl Presence {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Never => "never",
        }
    }
}

/// No device is called offline before this much silence, in milliseconds: one retry of an upload takes as long.
pub const SILENCE_MIN_MS: i64 = 30_000;

/// What to assume of a device whose rhythm is not known yet, in milliseconds.
const SILENCE_UNKNOWN_MS: i64 = 5 * 60_000;

/// How many distances the rhythm is judged from.
const REMEMBERED: usize = 9;

/// Learns a device's rhythm from the times of its readings.
#[derive(Clone, Debug, Default)]
pub struct Rhythm {
    times: VecDeque<i64>,
}

impl Rhythm {
    /// Takes the time of a reading. One that is not newer than the newest (late, resent) says nothing about rhythm.
    pub fn seen(&mut self, t_ms: i64) {
        if self.times.back().is_some_and(|last| t_ms <= *last) {
            return;
        }
        if self.times.len() > REMEMBERED {
            self.times.pop_front();
        }
        self.times.push_back(t_ms);
    }

    /// The usual distance between readings, in milliseconds; `None` before the second reading.
    pub fn period_ms(&self) -> Option<i64> {
        let mut distances: Vec<i64> =
            self.times.iter().zip(self.times.iter().skip(1)).map(|(a, b)| b.saturating_sub(*a)).collect();
        median(&mut distances)
    }

    /// Whether the device is there, given when it was last heard of.
    pub fn presence(&self, last_ms: Option<i64>, now_ms: i64) -> Presence {
        let Some(last) = last_ms else {
            return Presence::Never;
        };
        let silence = match self.period_ms() {
            Some(period) => period.saturating_mul(3).max(SILENCE_MIN_MS),
            None => SILENCE_UNKNOWN_MS,
        };
        if now_ms.saturating_sub(last) > silence { Presence::Offline } else { Presence::Online }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rhythm(period_ms: i64) -> Rhythm {
        let mut rhythm = Rhythm::default();
        (0..20).for_each(|i| rhythm.seen(i * period_ms));
        rhythm
    }

    #[test]
    fn a_device_is_offline_after_three_of_its_own_periods() {
        for (period, silence, expected) in [
            (300_000, 900_000, Presence::Online),
            (300_000, 900_001, Presence::Offline),
            (1_000, 30_000, Presence::Online),
            (1_000, 30_001, Presence::Offline),
        ] {
            let rhythm = rhythm(period);
            assert_eq!(rhythm.period_ms(), Some(period));
            assert_eq!(rhythm.presence(Some(0), silence), expected, "{period} {silence}");
        }
        assert_eq!(Rhythm::default().presence(None, 0), Presence::Never);
    }

    #[test]
    fn one_long_pause_and_late_readings_do_not_change_the_rhythm() {
        let mut rhythm = rhythm(10_000);
        rhythm.seen(5_000_000);
        (0..50).for_each(|i| rhythm.seen(i));
        assert_eq!(rhythm.period_ms(), Some(10_000));
    }
}
