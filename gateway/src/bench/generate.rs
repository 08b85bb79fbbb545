//! Readings to measure with: the same seed gives the same ones on every machine. Pure.
//!
//! Four metrics a reading: CO2 in whole ppm from the mass balance of a room with people, windows and weekends; TVOC in
//! whole ppb, which follows the people; temperature and humidity in hundredths. On each lies slow wander and white
//! noise. The noise decides how far anything can compress it: its deviation is chosen so that the entropy of what cannot be
//! predicted is 0.42, 0.31, 0.41 and 0.55 bytes a value, the figures that the storage design was measured with. Real sensors
//! lie on either side of that.
//!
//! One reading in two thousand is missing. The year stamps on its grid, as the project's firmware does. Of the others a third
//! stamps on the grid, a third with 4 ms of jitter and a drifting clock, and a third in whole seconds.

use crate::reading::{NewBatch, NewReading, Timed};
use crate::telemetry::time::DAY_MS;
use casement_proto::{DeviceId, Quantity, State};
use std::f64::consts::TAU;

/// Seed of what `casement bench` generates.
pub const SEED: u64 = 20_260_101;

/// What every device measures.
pub const METRICS: [&str; 4] = ["co2", "tvoc", "temperature", "humidity"];

/// When the data ends: 2026-01-01T00:00:00Z. It does not depend on the day of the run.
pub const END_MS: i64 = 1_767_225_600_000;

/// Length of the year in milliseconds.
pub const YEAR_MS: i64 = 365 * DAY_MS;

/// Fewest values that a plan can be made of.
pub const VALUES_MIN: u64 = 10_000;

/// A year at one reading every ten seconds.
const YEAR_READINGS_MAX: u64 = 3_153_600;

/// A day at one reading every ten seconds.
const DAY_READINGS_MAX: u64 = 8_640;

/// Devices beside those two.
const FLEET_MAX: u64 = 1_000;

/// Readings of a step.
const STEP_READINGS: usize = 5_000;

/// Time between two readings of the fleet.
const FLEET_PERIOD_MS: i64 = 10_000;

/// How a device stamps its readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamps {
    /// On a grid.
    Grid,
    /// Up to some milliseconds beside it, with a clock that drifts.
    Jitter,
    /// In whole seconds.
    Seconds,
}

/// One device's readings, before they are made.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Who measures.
    pub device: DeviceId,
    /// Time of the first reading.
    pub first_ms: i64,
    /// Time between two.
    pub period_ms: i64,
    /// How many, those that are missing included.
    pub samples: u64,
    stamps: Stamps,
    seed: u64,
}

/// What is generated.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// One device over a year.
    pub year: Series,
    /// One device over a day.
    pub day: Series,
    /// Many devices over a short time.
    pub fleet: Vec<Series>,
}

/// Shares out so many values: a year of one device, a day of another, and what is left among up to 1,000 more. `None` when
/// there are fewer than [`VALUES_MIN`].
pub fn plan(values: u64, seed: u64) -> Option<Plan> {
    if values < VALUES_MIN {
        return None;
    }
    let readings = values / METRICS.len() as u64;
    let in_year = (readings * 7 / 10).min(YEAR_READINGS_MAX);
    let in_day = (readings / 10).min(DAY_READINGS_MAX);
    let left = readings - in_year - in_day;
    let devices = (left / 2).clamp(1, FLEET_MAX);
    // Whole seconds, so that the grid is one.
    let spread = |length_ms: i64, count: u64| (length_ms / 1_000 / count.cast_signed()).max(1) * 1_000;
    let series = |name: &str, samples: u64, period_ms: i64, index: u64| {
        Some(Series {
            device: DeviceId::parse(name)?,
            first_ms: END_MS - samples.cast_signed() * period_ms,
            period_ms,
            samples,
            stamps: match index % 3 {
                0 => Stamps::Grid,
                1 => Stamps::Jitter,
                _ => Stamps::Seconds,
            },
            seed: seed.wrapping_add(index.wrapping_mul(0x2545_f491_4f6c_dd1d)),
        })
    };
    Some(Plan {
        year: series("bench-year", in_year, spread(YEAR_MS, in_year), 0)?,
        day: series("bench-day", in_day, spread(DAY_MS, in_day), 1)?,
        fleet: (0..devices)
            .map(|n| {
                let more = u64::from(n < left % devices);
                series(&format!("bench-{n}"), left / devices + more, FLEET_PERIOD_MS, n + 2)
            })
            .collect::<Option<_>>()?,
    })
}

impl Plan {
    /// Everything, in the order in which it is stored and in steps of some 5,000 readings: the year, the day, and then the
    /// others in turns, as they would report.
    pub fn steps(&self) -> impl Iterator<Item = Vec<NewBatch>> {
        let alone = [&self.year, &self.day].into_iter().flat_map(|series| {
            let mut readings = series.readings();
            std::iter::from_fn(move || Some(vec![taken(series.device, &mut readings, STEP_READINGS)?]))
        });
        let mut fleet: Vec<_> = self.fleet.iter().map(|series| (series.device, series.readings())).collect();
        let turns = (STEP_READINGS / fleet.len().max(1)).max(1);
        let together = std::iter::from_fn(move || {
            let step: Vec<NewBatch> =
                fleet.iter_mut().filter_map(|(device, readings)| taken(*device, readings, turns)).collect();
            (!step.is_empty()).then_some(step)
        });
        alone.chain(together)
    }
}

/// So many of a device's readings; `None` when there are none left.
fn taken(device: DeviceId, readings: &mut Readings, many: usize) -> Option<NewBatch> {
    let readings: Vec<NewReading> = readings.take(many).collect();
    (!readings.is_empty()).then_some(NewBatch { device, readings })
}

impl Series {
    /// Its readings, in order of time; made as they are asked for.
    pub fn readings(&self) -> Readings {
        let mut chance = Chance(self.seed);
        let drift = chance.between(-40e-6, 40e-6);
        Readings {
            series: self.clone(),
            next: 0,
            quantities: METRICS.map(Quantity::parse),
            room: Room::new(self.seed, &mut chance),
            drift,
            chance,
        }
    }
}

/// The readings of a [`Series`].
#[derive(Clone, Debug)]
pub struct Readings {
    series: Series,
    next: u64,
    quantities: [Option<Quantity>; METRICS.len()],
    room: Room,
    drift: f64,
    chance: Chance,
}

impl Iterator for Readings {
    type Item = NewReading;

    fn next(&mut self) -> Option<NewReading> {
        while self.next < self.series.samples {
            let seq = self.next;
            self.next += 1;
            let passed_ms = seq.cast_signed() * self.series.period_ms;
            let grid_ms = self.series.first_ms + passed_ms;
            let values = self.room.measure(grid_ms, self.series.period_ms, &mut self.chance);
            let beside_ms = passed_ms as f64 * self.drift + 4.0 * self.chance.normal();
            let t_ms = match self.series.stamps {
                Stamps::Grid => grid_ms,
                Stamps::Jitter => grid_ms + beside_ms.round() as i64,
                // Half a second off the grid: only the drift makes it skip or repeat one.
                Stamps::Seconds => (grid_ms + 500 + beside_ms.round() as i64).div_euclid(1_000) * 1_000,
            };
            if self.chance.unit() < 0.000_5 {
                continue;
            }
            let values = self.quantities.iter().zip(values).filter_map(|(q, value)| Some(((*q)?, value)));
            return Some(NewReading {
                name: Some((1, seq)),
                t_ms,
                timed: Timed::Device,
                state: State::Ok,
                values: values.collect(),
            });
        }
        None
    }
}

/// A well-mixed room of 60 m³ and the sensors on its wall.
#[derive(Clone, Debug)]
struct Room {
    seed: u64,
    co2_ppm: f64,
    temperature_c: f64,
    humidity_percent: f64,
    /// Slow wander of each metric, in deviations.
    wander: [f64; METRICS.len()],
    offset_c: f64,
}

const OUTDOOR_PPM: f64 = 425.0;
const VOLUME_M3: f64 = 60.0;
/// Litres of CO2 that a person breathes out in an hour.
const PERSON_L_H: f64 = 18.0;
/// Deviation of the white noise, in the unit of each metric. A normal deviation of s steps has log2(4.13 s) bits.
const NOISE: [f64; METRICS.len()] = [2.45, 1.33, 0.023, 0.052];

impl Room {
    fn new(seed: u64, chance: &mut Chance) -> Self {
        Self {
            seed,
            co2_ppm: OUTDOOR_PPM + chance.between(0.0, 80.0),
            temperature_c: 20.5,
            humidity_percent: 43.0,
            wander: [0.0; METRICS.len()],
            offset_c: chance.between(-1.0, 1.0),
        }
    }

    /// Lets a step pass and looks at the sensors.
    fn measure(&mut self, at_ms: i64, step_ms: i64, chance: &mut Chance) -> [f64; METRICS.len()] {
        let (people, open) = self.scene(at_ms);
        let hours = step_ms as f64 / 3_600_000.0;
        let air_per_h = if open { 5.0 } else { 0.7 };
        let rest_ppm = OUTDOOR_PPM + people * PERSON_L_H * 1_000.0 / VOLUME_M3 / air_per_h;
        self.co2_ppm = towards(self.co2_ppm, rest_ppm, air_per_h * hours);
        let day = (TAU * at_ms.rem_euclid(DAY_MS) as f64 / DAY_MS as f64 - 2.0).sin();
        let airing = if open { 1.0 } else { 0.0 };
        let rest_c = 20.8 + self.offset_c + 0.7 * day + 0.35 * people - 2.5 * airing;
        self.temperature_c = towards(self.temperature_c, rest_c, 2.0 * hours);
        let rest_percent = 41.0 - 2.0 * day + 1.8 * people - 5.0 * airing;
        self.humidity_percent = towards(self.humidity_percent, rest_percent, air_per_h * hours);
        // The wander forgets half of itself in about ten minutes.
        let keep = (-4.0 * hours).exp();
        for wander in &mut self.wander {
            *wander = *wander * keep + (1.0 - keep * keep).sqrt() * chance.normal();
        }
        let air = [
            self.co2_ppm,
            40.0 + 0.2 * (self.co2_ppm - OUTDOOR_PPM),
            self.temperature_c,
            self.humidity_percent,
        ];
        let mut seen = [0.0; METRICS.len()];
        for (metric, slot) in seen.iter_mut().enumerate() {
            let at = |of: &[f64; METRICS.len()]| of.get(metric).copied().unwrap_or_default();
            let value = at(&air) + at(&NOISE) * (at(&self.wander) + chance.normal());
            // Gases in whole units, the climate in hundredths.
            *slot = if metric < 2 { value.round().max(0.0) } else { (value * 100.0).round() / 100.0 };
        }
        seen
    }

    /// How many people, and whether a window is open. Nobody comes at the weekend.
    fn scene(&self, at_ms: i64) -> (f64, bool) {
        let (day, minute) = (at_ms.div_euclid(DAY_MS), at_ms.rem_euclid(DAY_MS) / 60_000);
        // 1970-01-01 was a Thursday: 0 is Monday.
        let weekday = (day + 3).rem_euclid(7);
        if weekday >= 5 || !(480..1_080).contains(&minute) {
            return (0.0, false);
        }
        let mut hour = Chance::at(self.seed, day * 24 + minute / 60);
        let (people, aired_from) = (hour.between(0.0, 4.0).floor(), hour.between(0.0, 240.0));
        let within = (minute % 60) as f64;
        (people, (aired_from..aired_from + 12.0).contains(&within))
    }
}

fn towards(now: f64, rest: f64, times: f64) -> f64 {
    rest + (now - rest) * (-times).exp()
}

/// SplitMix64 (Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
struct Chance(u64);

impl Chance {
    fn at(seed: u64, index: i64) -> Self {
        let mut mixed = Self(seed ^ index.cast_unsigned().wrapping_mul(0xd6e8_feb8_6659_fd93));
        Self(mixed.next())
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to but not including 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Mean 0 and deviation 1, from the sum of eight 16-bit parts of two numbers.
    fn normal(&mut self) -> f64 {
        let sum = |bits: u64| (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum::<u64>();
        let sum = (sum(self.next()) + sum(self.next())) as f64;
        // Each part has the mean 32767.5 and the deviation 65536/√12.
        (sum - 8.0 * 32_767.5) / (65_536.0 * (8.0_f64 / 12.0).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(plan: &Plan) -> Vec<NewReading> {
        [&plan.year, &plan.day].into_iter().chain(&plan.fleet).flat_map(Series::readings).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_data() {
        let (a, b) = (plan(20_000, 7).unwrap(), plan(20_000, 7).unwrap());
        assert_eq!(all(&a), all(&b));
        let other = all(&plan(20_000, 8).unwrap());
        assert_ne!(all(&a), other);
        // Devices of one seed differ, too.
        let values = |series: &Series| series.readings().take(50).map(|r| r.values).collect::<Vec<_>>();
        assert_ne!(values(&a.fleet[0]), values(&a.fleet[3]));
    }

    #[test]
    fn a_plan_has_the_values_that_were_asked_for() {
        assert!(plan(VALUES_MIN - 1, 1).is_none());
        for values in [VALUES_MIN, 12_347, 100_000, 1_000_000, 3_000_000, 50_000_000] {
            let plan = plan(values, 1).unwrap();
            let samples = plan.year.samples + plan.day.samples;
            let samples = samples + plan.fleet.iter().map(|series| series.samples).sum::<u64>();
            assert_eq!(samples, values / 4, "{values}");
            assert!(plan.year.samples > 1_000, "more than a chart shows");
            assert!((1..=1_000).contains(&plan.fleet.len()));
            for (series, length_ms) in [(&plan.year, YEAR_MS), (&plan.day, DAY_MS)] {
                let covered = END_MS - series.first_ms;
                assert!((length_ms * 9 / 10..=length_ms).contains(&covered), "{values}: {series:?}");
            }
        }
        let large = plan(50_000_000, 1).unwrap();
        assert_eq!((large.year.period_ms, large.day.period_ms, large.fleet.len()), (10_000, 10_000, 1_000));
    }

    #[test]
    fn steps_hold_every_reading_once_and_in_order() {
        let plan = plan(100_000, 1).unwrap();
        let mut steps: Vec<NewReading> = Vec::new();
        for step in plan.steps() {
            let size: usize = step.iter().map(|batch| batch.readings.len()).sum();
            assert!((1..=STEP_READINGS).contains(&size), "{size}");
            steps.extend(step.into_iter().flat_map(|batch| batch.readings));
        }
        let alone = plan.year.readings().count() + plan.day.readings().count();
        let mut expected = all(&plan);
        assert_eq!(steps[..alone], expected[..alone], "the year and the day come first");
        // The others come in turns.
        let key = |reading: &NewReading| (reading.t_ms, format!("{:?}", reading.values));
        steps.sort_by_key(key);
        expected.sort_by_key(key);
        assert_eq!(steps, expected);
    }

    #[test]
    fn readings_make_sense() {
        let plan = plan(400_000, 3).unwrap();
        for series in [&plan.year, &plan.day].into_iter().chain(&plan.fleet) {
            let readings: Vec<_> = series.readings().collect();
            assert!(readings.is_sorted_by(|a, b| a.t_ms < b.t_ms), "{}", series.device);
            for reading in &readings {
                let names: Vec<&str> = reading.values.iter().map(|(quantity, _)| quantity.name()).collect();
                assert_eq!(names, METRICS);
                let ranges = [400.0..5_000.0, 0.0..1_200.0, 10.0..32.0, 20.0..75.0];
                for (((quantity, value), range), steps) in
                    reading.values.iter().zip(ranges).zip([1.0, 1.0, 100.0, 100.0])
                {
                    assert!(range.contains(value) && quantity.holds(*value), "{quantity:?} {value}");
                    let steps = value * steps;
                    assert!((steps - steps.round()).abs() < 1e-6, "{quantity:?} {value}");
                }
            }
        }
        let found = plan.year.readings().count() as f64;
        let missing = 1.0 - found / plan.year.samples as f64;
        assert!((0.000_1..0.001).contains(&missing), "{missing}");
    }

    #[test]
    fn stamps_are_of_three_kinds() {
        let plan = plan(400_000, 3).unwrap();
        let beside = |series: &Series| {
            let period_ms = series.period_ms;
            series.readings().take(60).map(|r| (r.t_ms - series.first_ms) % period_ms).collect::<Vec<_>>()
        };
        assert!(beside(&plan.year).iter().all(|ms| *ms == 0));
        assert!(beside(&plan.day).iter().any(|ms| *ms != 0));
        let seconds = &plan.fleet[0];
        assert_eq!(seconds.stamps, Stamps::Seconds);
        assert!(seconds.readings().all(|reading| reading.t_ms % 1_000 == 0));
    }

    #[test]
    fn the_noise_has_the_deviation_it_claims() {
        let mut chance = Chance(5);
        let many: Vec<f64> = (0..100_000).map(|_| chance.normal()).collect();
        let mean = many.iter().sum::<f64>() / many.len() as f64;
        let variance = many.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / many.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }

    #[test]
    fn weekends_are_empty_and_weekdays_are_not() {
        let plan = plan(4_000_000, 3).unwrap();
        let highest = |weekday: i64| {
            let on = |t_ms: i64| (t_ms.div_euclid(DAY_MS) + 3).rem_euclid(7) == weekday;
            let readings = plan.year.readings().take(60_000).filter(|reading| on(reading.t_ms));
            readings.map(|reading| reading.values[0].1).fold(0.0, f64::max)
        };
        assert!(highest(6) < 600.0, "Sunday: {}", highest(6));
        assert!(highest(1) > 1_000.0, "Tuesday: {}", highest(1));
    }
}
