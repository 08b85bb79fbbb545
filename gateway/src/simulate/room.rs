//! A room with people in it and a sensor on its wall. Pure: the time and a seed go in, samples come out.
//!
//! CO2 follows the mass balance of one well-mixed zone, `V dC/dt = G·10⁶ + Q(C_out − C)` (ASTM D6245; Batterman 2017,
//! doi 10.3390/ijerph14020145), solved exactly over each step. What a person gives off is from Persily and de Jonge
//! 2017 (doi 10.1111/ina.12383). Water vapour follows the same balance; temperature relaxes towards the walls and, with
//! the window open, towards the outside.

use super::chance::Chance;
use casement_core::Sample;
use casement_proto::{Quantity, State};
use std::f64::consts::TAU;

/// What a room is used for. Every day is a working day, so that a demonstration on a Sunday shows something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomKind {
    /// 180 m³, 25 pupils in lessons, windows open in most breaks.
    Classroom,
    /// 60 m³, up to three adults from morning to evening.
    Office,
    /// 35 m³, two sleepers behind a closed door, on some nights with the window tilted.
    Bedroom,
    /// 50 m³, four to eight adults for an hour at a time, at hours that differ from day to day.
    Meeting,
}

impl RoomKind {
    /// Every kind, in the order in which a fleet takes them.
    pub const ALL: [Self; 4] = [Self::Classroom, Self::Office, Self::Bedroom, Self::Meeting];

    /// The word on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Classroom => "classroom",
            Self::Office => "office",
            Self::Bedroom => "bedroom",
            Self::Meeting => "meeting",
        }
    }

    /// Recognises a word from the command line.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    const fn walls(self) -> Walls {
        // CO2 per person in L/s: pupil of 6 to 11 years 0.0038, adult at a desk 0.0052, sleeper 0.0037.
        match self {
            Self::Classroom => {
                Walls { volume_m3: 180.0, closed_per_h: 1.1, open_per_h: 7.0, person_l_s: 0.0038 }
            }
            Self::Office => Walls { volume_m3: 60.0, closed_per_h: 0.7, open_per_h: 5.0, person_l_s: 0.0052 },
            Self::Bedroom => {
                Walls { volume_m3: 35.0, closed_per_h: 0.45, open_per_h: 4.0, person_l_s: 0.0037 }
            }
            Self::Meeting => {
                Walls { volume_m3: 50.0, closed_per_h: 2.0, open_per_h: 8.0, person_l_s: 0.0052 }
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Walls {
    volume_m3: f64,
    closed_per_h: f64,
    open_per_h: f64,
    person_l_s: f64,
}

/// What goes on in a room at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scene {
    people: f64,
    /// Air changes per hour.
    air_per_h: f64,
    window_open: bool,
}

/// A room and its sensor.
#[derive(Clone, Debug)]
pub struct Room {
    kind: RoomKind,
    seed: u64,
    estimated: bool,
    chance: Chance,
    at_ms: i64,
    co2_ppm: f64,
    temperature_c: f64,
    water_g_m3: f64,
    voc_ppb: f64,
    /// What the sensor sees: it follows the air within about a minute.
    seen_ppm: f64,
    gain: f64,
    offset_ppm: f64,
}

impl Room {
    /// A room at a moment in milliseconds since 1970, as it would be after a day of the same life. An `estimated` one
    /// has a metal-oxide sensor that guesses CO2 from volatile compounds.
    pub fn new(kind: RoomKind, seed: u64, estimated: bool, at_ms: i64) -> Self {
        let mut chance = Chance::at(seed, 1, 0);
        let mut room = Self {
            kind,
            seed,
            estimated,
            at_ms: at_ms.saturating_sub(DAY_MS),
            co2_ppm: OUTDOOR_PPM,
            temperature_c: 20.5,
            water_g_m3: 7.0,
            voc_ppb: 60.0,
            seen_ppm: OUTDOOR_PPM,
            gain: chance.between(0.98, 1.02),
            offset_ppm: chance.between(-12.0, 12.0),
            chance,
        };
        room.advance(at_ms);
        room
    }

    /// Lets the room live up to a moment. One that has passed already changes nothing.
    pub fn advance(&mut self, to_ms: i64) {
        // A clock that jumps by weeks must not stall the machine; after two days the start is forgotten anyway.
        self.at_ms = self.at_ms.max(to_ms.saturating_sub(2 * DAY_MS));
        while self.at_ms < to_ms {
            let step_ms = (to_ms - self.at_ms).min(STEP_MS);
            self.live(step_ms);
            self.at_ms += step_ms;
        }
    }

    /// What the sensor says, this long after it was powered on.
    pub fn sample(&mut self, powered_ms: u64) -> Sample {
        let climate = [("temperature", self.noisy(self.temperature_c, 0.02)), ("humidity", self.humidity())];
        let (gases, state) =
            if self.estimated { self.estimate(powered_ms) } else { self.measure(powered_ms) };
        let values = gases.into_iter().flatten().chain(climate);
        let values = values.filter_map(|(name, value)| Some((Quantity::parse(name)?, value))).collect();
        Sample { state, values, fault: None }
    }

    /// An SCD41: 10 ppm of noise in steps of 1 ppm, not in equilibrium during its first minute.
    fn measure(&mut self, powered_ms: u64) -> ([Option<(&'static str, f64)>; 2], State) {
        let settling_ppm = 180.0 * (-(powered_ms as f64) / 20_000.0).exp();
        let ppm = self.seen_ppm * self.gain + self.offset_ppm + settling_ppm;
        let ppm = self.noisy(ppm, NOISE_PPM).round().clamp(0.0, 40_000.0);
        let state = if powered_ms < WARM_UP_MS { State::WarmingUp } else { State::Ok };
        ([Some(("co2", ppm)), None], state)
    }

    /// An SGP30: 400 ppm and 0 ppb at first, twelve hours of conditioning, and never below 400 (datasheet v0.9 §2, §5).
    fn estimate(&mut self, powered_ms: u64) -> ([Option<(&'static str, f64)>; 2], State) {
        if powered_ms < WARM_UP_MS {
            return ([Some(("eco2", 400.0)), Some(("tvoc", 0.0))], State::WarmingUp);
        }
        let tvoc = self.noisy(self.voc_ppb, 4.0).round().max(0.0);
        let eco2 = self.noisy(400.0 + (self.voc_ppb - 40.0) * 2.6, 12.0).round().clamp(400.0, 60_000.0);
        let state = if powered_ms < CONDITIONING_MS { State::Conditioning } else { State::Ok };
        ([Some(("eco2", eco2)), Some(("tvoc", tvoc))], state)
    }

    fn noisy(&mut self, value: f64, deviation: f64) -> f64 {
        value + deviation * self.chance.normal()
    }

    fn humidity(&mut self) -> f64 {
        // Saturation by the Magnus formula (WMO-No. 8, annex 4.B), water vapour as an ideal gas.
        let t = self.temperature_c;
        let saturation_hpa = 6.112 * (17.62 * t / (243.12 + t)).exp();
        let vapour_hpa = self.water_g_m3 * 0.004_615 * (t + 273.15);
        self.noisy(100.0 * vapour_hpa / saturation_hpa, 0.15).clamp(1.0, 99.0)
    }

    fn live(&mut self, step_ms: i64) {
        let hours = step_ms as f64 / HOUR_MS as f64;
        let walls = self.kind.walls();
        let scene = scene(self.kind, self.seed, self.at_ms);
        let source_l_h = scene.people * walls.person_l_s * 3_600.0;
        self.co2_ppm = balance(
            self.co2_ppm,
            OUTDOOR_PPM,
            source_l_h * 1_000.0 / walls.volume_m3,
            scene.air_per_h,
            hours,
        );
        // Half of the 50 g/h a person gives off goes into furniture and walls.
        self.water_g_m3 = balance(
            self.water_g_m3,
            6.2,
            scene.people * 25.0 / walls.volume_m3,
            scene.air_per_h + 0.5,
            hours,
        );
        let event = spill(self.seed, self.at_ms);
        let voc_source = (scene.people * 900.0 + event) / walls.volume_m3;
        self.voc_ppb = balance(self.voc_ppb, 45.0, voc_source, scene.air_per_h + 0.3, hours);
        let day = (self.at_ms.rem_euclid(DAY_MS)) as f64 / DAY_MS as f64;
        let outside_c = 9.0 - 5.0 * (TAU * (day - 0.1)).cos();
        let inside_c = 20.8 - 0.7 * (TAU * (day - 0.1)).cos() + 22.0 * scene.people / walls.volume_m3;
        // Walls give back their heat within minutes, so airing cools the air and not the room.
        let (to_walls, to_outside) = (3.0, if scene.window_open { scene.air_per_h * 0.35 } else { 0.05 });
        let rest_c = (to_walls * inside_c + to_outside * outside_c) / (to_walls + to_outside);
        self.temperature_c = relax(self.temperature_c, rest_c, (to_walls + to_outside) * hours);
        self.seen_ppm = relax(self.seen_ppm, self.co2_ppm, hours * 3_600.0 / SENSOR_LAG_S);
    }
}

/// The mass balance over a step of constant conditions: a source per hour and per volume, and air changes per hour.
fn balance(now: f64, outdoor: f64, source_per_h: f64, air_per_h: f64, hours: f64) -> f64 {
    if air_per_h <= 0.0 {
        return now + source_per_h * hours;
    }
    relax(now, outdoor + source_per_h / air_per_h, air_per_h * hours)
}

fn relax(now: f64, rest: f64, times: f64) -> f64 {
    rest + (now - rest) * (-times).exp()
}

/// Who is in the room, and whether the window is open.
fn scene(kind: RoomKind, seed: u64, at_ms: i64) -> Scene {
    let day = at_ms.div_euclid(DAY_MS);
    let minute = at_ms.rem_euclid(DAY_MS) as f64 / 60_000.0;
    let walls = kind.walls();
    let (people, open) = match kind {
        RoomKind::Classroom => classroom(seed, day, minute),
        RoomKind::Office => office(seed, day, minute),
        RoomKind::Bedroom => bedroom(seed, day, minute),
        RoomKind::Meeting => meeting(seed, day, minute),
    };
    let air_per_h = walls.closed_per_h + open * (walls.open_per_h - walls.closed_per_h);
    Scene { people, air_per_h, window_open: open > 0.0 }
}

/// Lessons in minutes of the day. After each one the windows are opened, or forgotten.
const LESSONS: [(f64, f64); 7] = [
    (480.0, 525.0),
    (530.0, 575.0),
    (595.0, 640.0),
    (645.0, 690.0),
    (705.0, 750.0),
    (755.0, 800.0),
    (840.0, 930.0),
];

/// People, and how far the window is open from 0 to 1.
fn classroom(seed: u64, day: i64, minute: f64) -> (f64, f64) {
    for (index, (from, to)) in (0_i64..).zip(LESSONS) {
        let mut chance = Chance::at(seed, 2, day * 16 + index);
        let pupils = chance.between(21.0, 26.0).floor();
        let airing = chance.unit() < 0.75;
        let break_ends = LESSONS.iter().map(|lesson| lesson.0).find(|next| *next > from).unwrap_or(to + 25.0);
        if (from..to).contains(&minute) {
            // Some days the lesson on sports is elsewhere.
            return (if chance.unit() < 0.9 { pupils } else { 0.0 }, 0.0);
        }
        if (to..break_ends.min(to + 25.0)).contains(&minute) {
            return (3.0, if airing { 1.0 } else { 0.0 });
        }
    }
    (0.0, 0.0)
}

fn office(seed: u64, day: i64, minute: f64) -> (f64, f64) {
    let mut people = 0.0;
    for person in 0..3 {
        let mut chance = Chance::at(seed, 3, day * 4 + person);
        let (from, to) = (chance.between(470.0, 570.0), chance.between(960.0, 1_090.0));
        let lunch = chance.between(715.0, 760.0);
        let away = chance.unit() < 0.12 || (lunch..lunch + 45.0).contains(&minute);
        people += f64::from(u8::from(!away && (from..to).contains(&minute)));
    }
    let mut chance = Chance::at(seed, 4, day);
    let (first, second) = (chance.between(600.0, 680.0), chance.between(850.0, 930.0));
    let airing = [first, second].iter().any(|start| (*start..start + 12.0).contains(&minute));
    (people, if airing { 1.0 } else { 0.0 })
}

fn bedroom(seed: u64, day: i64, minute: f64) -> (f64, f64) {
    // The night belongs to the day on which it ends.
    let night = if minute < 720.0 { day } else { day + 1 };
    let mut chance = Chance::at(seed, 5, night);
    let (to_bed, up) = (chance.between(1_335.0, 1_395.0), chance.between(395.0, 430.0));
    let tilted = if chance.unit() < 0.3 { 0.25 } else { 0.0 };
    if minute >= to_bed || minute < up {
        return (2.0, tilted);
    }
    (0.0, if (up..up + 25.0).contains(&minute) { 1.0 } else { 0.0 })
}

fn meeting(seed: u64, day: i64, minute: f64) -> (f64, f64) {
    let hour = (minute / 60.0).floor();
    if !(9.0..18.0).contains(&hour) {
        return (0.0, 0.0);
    }
    let mut chance = Chance::at(seed, 6, day * 24 + hour as i64);
    let held = chance.unit() < 0.62;
    let people = chance.between(4.0, 8.9).floor();
    let ends = chance.between(42.0, 57.0);
    let airing = chance.unit() < 0.55;
    let within = minute - hour * 60.0;
    match (held, within < ends) {
        (true, true) => (people, 0.0),
        (true, false) => (0.0, if airing { 1.0 } else { 0.0 }),
        (false, _) => (0.0, 0.0),
    }
}

/// Cleaning agents and lunch, which a metal-oxide sensor takes for people.
fn spill(seed: u64, at_ms: i64) -> f64 {
    let quarter = at_ms.div_euclid(15 * 60_000);
    let mut chance = Chance::at(seed, 7, quarter);
    if chance.unit() < 0.02 { chance.between(20_000.0, 90_000.0) } else { 0.0 }
}

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const STEP_MS: i64 = 30_000;
const OUTDOOR_PPM: f64 = 428.0;
const NOISE_PPM: f64 = 10.0;
const SENSOR_LAG_S: f64 = 60.0;
const WARM_UP_MS: u64 = 60_000;
const CONDITIONING_MS: u64 = 12 * 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// A midnight.
    const T0: i64 = 1_795_305_600_000;

    fn co2(sample: &Sample) -> f64 {
        sample.values.iter().find(|(quantity, _)| quantity.name() == "co2").unwrap().1
    }

    fn day(kind: RoomKind, seed: u64) -> Vec<f64> {
        let mut room = Room::new(kind, seed, false, T0);
        let minutes = (0..1_440).map(|minute| {
            room.advance(T0 + minute * 60_000);
            co2(&room.sample(u64::MAX))
        });
        minutes.collect()
    }

    #[test]
    fn the_mass_balance_reaches_its_steady_state() {
        // The worked examples: 180 m³ and 25 pupils of 0.0038 L/s at 1, 2, 4 and 6 air changes per hour.
        for (air_per_h, rise_ppm) in [(1.0, 1_900.0), (2.0, 950.0), (4.0, 475.0), (6.0, 316.7)] {
            let source = 25.0 * 0.0038 * 3_600.0 * 1_000.0 / 180.0;
            let mut ppm = 430.0;
            for _ in 0..2_880 {
                ppm = balance(ppm, 430.0, source, air_per_h, 1.0 / 120.0);
            }
            assert!((ppm - 430.0 - rise_ppm).abs() < 0.1, "{air_per_h}: {ppm}");
        }
    }

    #[test]
    fn steps_of_any_length_give_the_same_decay() {
        let decay = |steps: u32| {
            (0..steps).fold(1_500.0, |ppm, _| balance(ppm, 430.0, 0.0, 3.0, 1.0 / f64::from(steps)))
        };
        let exact = 430.0 + 1_070.0 * (-3.0_f64).exp();
        for steps in [1, 7, 360] {
            assert!((decay(steps) - exact).abs() < 1e-6);
        }
        // A sealed room only ever rises.
        assert_eq!(balance(430.0, 430.0, 100.0, 0.0, 2.0), 630.0);
    }

    #[test]
    fn every_room_breathes() {
        for kind in RoomKind::ALL {
            for seed in 0..5 {
                let day = day(kind, seed);
                let (low, high) =
                    day.iter().fold((f64::MAX, 0.0_f64), |(low, high), ppm| (ppm.min(low), ppm.max(high)));
                assert!((380.0..620.0).contains(&low), "{kind:?} {seed}: low {low}");
                assert!((800.0..4_000.0).contains(&high), "{kind:?} {seed}: high {high}");
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_room_and_another_seed_another() {
        assert_eq!(day(RoomKind::Meeting, 7), day(RoomKind::Meeting, 7));
        assert_ne!(day(RoomKind::Meeting, 7), day(RoomKind::Meeting, 8));
    }

    #[test]
    fn the_sensor_is_as_noisy_as_its_datasheet_and_speaks_in_whole_ppm() {
        let mut room = Room::new(RoomKind::Classroom, 3, false, T0);
        let seen: Vec<_> = (0..4_000).map(|_| co2(&room.sample(u64::MAX))).collect();
        let mean = seen.iter().sum::<f64>() / 4_000.0;
        let deviation = (seen.iter().map(|ppm| (ppm - mean).powi(2)).sum::<f64>() / 4_000.0).sqrt();
        assert!((9.0..11.0).contains(&deviation), "{deviation}");
        assert!(seen.iter().all(|ppm| ppm.fract() == 0.0));
    }

    #[test]
    fn warming_up_is_said_and_never_hidden() {
        let mut measured = Room::new(RoomKind::Office, 1, false, T0);
        let mut estimated = Room::new(RoomKind::Office, 1, true, T0);
        for (powered_ms, one, other) in [
            (0, State::WarmingUp, State::WarmingUp),
            (59_999, State::WarmingUp, State::WarmingUp),
            (60_000, State::Ok, State::Conditioning),
            (12 * 3_600_000, State::Ok, State::Ok),
        ] {
            assert_eq!(measured.sample(powered_ms).state, one, "{powered_ms}");
            assert_eq!(estimated.sample(powered_ms).state, other, "{powered_ms}");
        }
    }

    #[test]
    fn an_estimate_is_never_called_co2() {
        let names = |estimated| {
            let mut room = Room::new(RoomKind::Bedroom, 2, estimated, T0);
            let sample = room.sample(u64::MAX);
            sample.values.iter().map(|(quantity, _)| quantity.name().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(false), ["co2", "temperature", "humidity"]);
        assert_eq!(names(true), ["eco2", "tvoc", "temperature", "humidity"]);
    }

    #[test]
    fn every_value_can_be_true() {
        for kind in RoomKind::ALL {
            for estimated in [false, true] {
                let mut room = Room::new(kind, 11, estimated, T0);
                for step in 0..2_000 {
                    room.advance(T0 + step * 97_000);
                    for (quantity, value) in &room.sample(u64::MAX).values {
                        assert!(quantity.holds(*value), "{quantity:?} {value}");
                        if quantity.name() == "temperature" {
                            assert!((12.0..30.0).contains(value), "{kind:?} {value}");
                        }
                        if quantity.name() == "humidity" {
                            assert!((15.0..85.0).contains(value), "{kind:?} {value}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_clock_that_jumps_does_not_stall_the_room() {
        let mut room = Room::new(RoomKind::Office, 1, false, T0);
        room.advance(i64::MAX / 2);
        room.advance(T0);
        assert!(co2(&room.sample(u64::MAX)) > 300.0);
    }
}
