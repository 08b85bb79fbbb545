//! What a sensor finds on its wall: a small room that fills and is aired, or a recording.

use crate::chance::Chance;
use std::f64::consts::TAU;

/// What the air is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Air {
    /// CO2 in ppm.
    pub co2_ppm: f64,
    /// Degrees Celsius.
    pub temperature_c: f64,
    /// Relative humidity in percent.
    pub humidity_pct: f64,
}

/// Where values come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A room: one well-mixed zone, occupied from eight to sixteen o'clock and aired each hour. The gateway's own
    /// simulated rooms (`casement demo`) are the model for dashboards; this one only has to move.
    Room(Room),
    /// What a real SCD4x said: the nine bytes of `read_measurement`, one after another, over and over.
    Recorded {
        /// The answers, checksums and all.
        answers: Vec<[u8; 9]>,
        /// Which is next.
        next: usize,
    },
}

/// A room.
#[derive(Clone, Debug)]
pub struct Room {
    chance: Chance,
    co2_ppm: f64,
    at_ms: i64,
}

impl Room {
    /// A room as the night left it.
    pub const fn new(seed: u64) -> Self {
        Self { chance: Chance::new(seed), co2_ppm: OUTDOORS_PPM, at_ms: i64::MIN }
    }

    /// The air at a moment in milliseconds since 1970, with the noise of a sensor.
    pub fn air(&mut self, unix_ms: i64) -> Air {
        let day_h = unix_ms.rem_euclid(86_400_000) as f64 / 3_600_000.0;
        let people = if (8.0..16.0).contains(&day_h) { 22.0 } else { 0.0 };
        let aired = people > 0.0 && day_h.fract() > 5.0 / 6.0;
        let per_h = if aired { 6.0 } else { 0.8 };
        // One person gives off 0.0045 L/s of CO2; the room has 180 m³.
        let target = OUTDOORS_PPM + people * 0.0045 * 3_600.0 / (180.0 * per_h) * 1_000.0;
        // At the first look the room has been like this for a day.
        let passed_h = (unix_ms.saturating_sub(self.at_ms) as f64 / 3_600_000.0).clamp(0.0, 24.0);
        self.co2_ppm = target + (self.co2_ppm - target) * (-per_h * passed_h).exp();
        self.at_ms = unix_ms;
        let noise = self.chance.either_way();
        Air {
            co2_ppm: self.co2_ppm + 8.0 * noise,
            temperature_c: 21.0 + 1.5 * (day_h / 24.0 * TAU).sin() + people * 0.05 + 0.03 * noise,
            humidity_pct: 42.0 - 4.0 * (day_h / 24.0 * TAU).sin() + people * 0.2 - 0.1 * noise,
        }
    }
}

const OUTDOORS_PPM: f64 = 425.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_fills_by_day_and_is_fresh_by_night() {
        let mut room = Room::new(1);
        let day: Vec<f64> =
            (0..2 * 1_440).map(|minute| room.air(1_795_305_600_000 + minute * 60_000).co2_ppm).collect();
        let most = |from: usize, to: usize| day[from * 60..to * 60].iter().copied().fold(0.0, f64::max);
        assert!(most(0, 8) < 440.0 && most(30, 32) < 450.0, "{} {}", most(0, 8), most(30, 32));
        assert!((1_000.0..3_000.0).contains(&most(8, 16)), "{}", most(8, 16));
        assert!(day.iter().all(|ppm| *ppm > 400.0));
    }
}
