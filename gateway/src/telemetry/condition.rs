//! How a device is doing right now, learned reading by reading.

use super::presence::{Presence, Rhythm};
use super::trend;
use crate::reading::{Device, StoredReading};
use casement_proto::{Band, BandFilter, Profile, Quantity, State};
use std::collections::{BTreeMap, VecDeque};

/// Length of a sparkline's bucket, in milliseconds.
pub const SPARK_STEP_MS: i64 = 5 * 60_000;

/// Buckets in a sparkline: three hours.
pub const SPARK_BUCKETS: usize = 36;

/// How far back history is of use when a condition is learned anew, in milliseconds.
pub const HISTORY_MS: i64 = SPARK_STEP_MS * SPARK_BUCKETS as i64;

/// Values remembered for the trend.
const RECENT_MAX: usize = 240;

/// What a room is judged by, best first. Anything else comes last.
const HEADLINES: &[&str] = &[
    "co2",
    "eco2",
    "pm2_5",
    "voc_index",
    "tvoc",
    "temperature",
    "humidity",
    "radon",
    "formaldehyde",
    "noise",
];

/// What a device last said and where it is heading.
#[derive(Clone, Debug)]
pub struct Condition {
    /// The device as registered.
    pub device: Device,
    /// Its newest reading by time.
    pub last: Option<StoredReading>,
    /// What it is judged by.
    pub headline: Option<Quantity>,
    rhythm: Rhythm,
    filter: BandFilter,
    recent: VecDeque<(i64, f64)>,
    spark: BTreeMap<i64, (f64, u32)>,
    told: Option<Presence>,
}

impl Condition {
    /// A device that has not said anything.
    pub fn new(device: Device) -> Self {
        Self {
            device,
            last: None,
            headline: None,
            rhythm: Rhythm::default(),
            filter: BandFilter::new(),
            recent: VecDeque::new(),
            spark: BTreeMap::new(),
            told: None,
        }
    }

    /// Takes a reading. A late one fills the sparkline but changes nothing that is about now.
    pub fn take(&mut self, reading: &StoredReading, profile: &Profile) {
        for (quantity, _) in &reading.values {
            self.consider(quantity);
        }
        let newer = self.last.as_ref().is_none_or(|last| reading.t_ms >= last.t_ms);
        let headline = self.headline.and_then(|headline| {
            reading.values.iter().find(|(quantity, _)| *quantity == headline).map(|(_, value)| *value)
        });
        if let Some(value) = headline
            && trusted(reading.state)
        {
            self.remember(reading.t_ms, value, newer, profile);
        }
        if newer {
            self.rhythm.seen(reading.t_ms);
            // A device may split one moment over two readings; keep what the other half said.
            let mut last = reading.clone();
            if let Some(previous) = self.last.take().filter(|previous| previous.t_ms == reading.t_ms) {
                let missing = |q: &Quantity| !last.values.iter().any(|(other, _)| other == q);
                let kept: Vec<_> = previous.values.iter().filter(|(q, _)| missing(q)).copied().collect();
                last.values.extend(kept);
            }
            self.last = Some(last);
        }
    }

    /// Takes values of the headline from before the program started, in order of time.
    pub fn take_history(&mut self, headline: Quantity, points: &[(i64, f64)], profile: &Profile) {
        self.consider(&headline);
        if self.headline == Some(headline) {
            for (t_ms, value) in points {
                self.remember(*t_ms, *value, true, profile);
                self.rhythm.seen(*t_ms);
            }
        }
    }

    fn consider(&mut self, quantity: &Quantity) {
        let better = self.headline.is_none_or(|held| rank(quantity) < rank(&held));
        if better {
            self.headline = Some(*quantity);
            self.filter = BandFilter::new();
            self.recent.clear();
            self.spark.clear();
        }
    }

    fn remember(&mut self, t_ms: i64, value: f64, newer: bool, profile: &Profile) {
        let bucket = t_ms.div_euclid(SPARK_STEP_MS);
        let (sum, count) = self.spark.entry(bucket).or_insert((0.0, 0));
        *sum += value;
        *count += 1;
        while self.spark.len() > SPARK_BUCKETS + 1 {
            self.spark.pop_first();
        }
        if !newer {
            return;
        }
        self.recent.push_back((t_ms, value));
        while self.recent.len() > RECENT_MAX
            || self.recent.front().is_some_and(|(t, _)| t_ms.saturating_sub(*t) > trend::WINDOW_MS)
        {
            self.recent.pop_front();
        }
        self.filter.update(profile, t_ms.unsigned_abs(), value);
    }

    /// Whether the device is there.
    pub fn presence(&self, now_ms: i64) -> Presence {
        self.rhythm.presence(self.last.as_ref().map(|last| last.t_ms), now_ms)
    }

    /// The presence, when it is another than at the last call.
    pub fn presence_changed(&mut self, now_ms: i64) -> Option<Presence> {
        let presence = self.presence(now_ms);
        (self.told.replace(presence) != Some(presence)).then_some(presence)
    }

    /// Its usual distance between readings, in milliseconds.
    pub fn period_ms(&self) -> Option<i64> {
        self.rhythm.period_ms()
    }

    /// What to do about the air. Only measured CO2 of a trusted reading gives an opinion: estimates follow alcohol and
    /// cleaning agents, not ventilation.
    pub fn band(&self) -> Option<Band> {
        let co2 = self.headline.is_some_and(|headline| headline.name() == "co2");
        let fine = self.last.as_ref().is_some_and(|last| trusted(last.state));
        self.filter.band().filter(|_| co2 && fine)
    }

    /// Change of the headline in five minutes.
    pub fn trend_per_5min(&self, now_ms: i64) -> Option<f64> {
        let points: Vec<_> = self.recent.iter().copied().collect();
        trend::per_5min(&points, now_ms)
    }

    /// The newest value of the headline.
    pub fn headline_value(&self) -> Option<f64> {
        let headline = self.headline?;
        self.last.as_ref()?.values.iter().find(|(quantity, _)| *quantity == headline).map(|(_, value)| *value)
    }

    /// Five-minute means of the last three hours and where they begin, in milliseconds since 1970.
    pub fn spark(&self, now_ms: i64) -> (i64, Vec<Option<f64>>) {
        let end = now_ms.div_euclid(SPARK_STEP_MS) + 1;
        let begin = end - SPARK_BUCKETS as i64;
        let means = (begin..end)
            .map(|bucket| self.spark.get(&bucket).map(|(sum, count)| sum / f64::from(*count)))
            .collect();
        (begin * SPARK_STEP_MS, means)
    }
}

/// How well a quantity stands for a device: the smaller the better.
pub fn rank(quantity: &Quantity) -> usize {
    HEADLINES.iter().position(|name| *name == quantity.name()).unwrap_or(match quantity {
        Quantity::Known(_) => HEADLINES.len(),
        Quantity::Custom(_) => HEADLINES.len() + 1,
    })
}

/// Values of a reading in this state say something about the air.
fn trusted(state: State) -> bool {
    match state {
        State::Ok => true,
        State::WarmingUp | State::Conditioning | State::Calibrating | State::Suspect | State::Failed => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use casement_proto::DeviceId;
    use casement_proto::band::PROFILES;

    const T0: i64 = 1_795_341_600_000;

    fn condition() -> Condition {
        Condition::new(Device {
            id: DeviceId::parse("d").unwrap(),
            room: None,
            name: None,
            simulated: false,
            created_ms: 0,
        })
    }

    fn reading(t_ms: i64, state: State, values: &[(&str, f64)]) -> StoredReading {
        StoredReading {
            id: 1,
            device: DeviceId::parse("d").unwrap(),
            t_ms,
            name: None,
            state,
            values: values.iter().map(|(name, value)| (Quantity::parse(name).unwrap(), *value)).collect(),
        }
    }

    fn take(condition: &mut Condition, t_ms: i64, values: &[(&str, f64)]) {
        condition.take(&reading(t_ms, State::Ok, values), &PROFILES[0]);
    }

    #[test]
    fn a_late_reading_does_not_change_the_present() {
        let mut condition = condition();
        take(&mut condition, T0, &[("co2", 600.0)]);
        take(&mut condition, T0 - 3_600_000, &[("co2", 3000.0)]);
        assert_eq!((condition.headline_value(), condition.band()), (Some(600.0), Some(Band::Good)));
        let (begin, spark) = condition.spark(T0);
        assert_eq!(spark.len(), SPARK_BUCKETS);
        assert_eq!(spark.iter().flatten().copied().collect::<Vec<_>>(), [3000.0, 600.0]);
        assert_eq!(begin % SPARK_STEP_MS, 0);
    }

    #[test]
    fn estimates_and_untrusted_states_give_no_opinion() {
        let mut estimate = condition();
        take(&mut estimate, T0, &[("eco2", 3000.0), ("tvoc", 5.0)]);
        assert_eq!((estimate.headline.unwrap().name(), estimate.band()), ("eco2", None));
        take(&mut estimate, T0 + 1, &[("co2", 3000.0)]);
        assert_eq!((estimate.headline.unwrap().name(), estimate.band()), ("co2", Some(Band::Now)));
        estimate.take(&reading(T0 + 2, State::WarmingUp, &[("co2", 400.0)]), &PROFILES[0]);
        assert_eq!((estimate.headline_value(), estimate.band()), (Some(400.0), None));
    }

    #[test]
    fn two_halves_of_one_moment_are_one_reading() {
        let mut condition = condition();
        take(&mut condition, T0, &[("co2", 600.0)]);
        take(&mut condition, T0, &[("temperature", 21.0)]);
        assert_eq!(condition.last.as_ref().unwrap().values.len(), 2);
        assert_eq!(condition.headline_value(), Some(600.0));
    }

    #[test]
    fn a_change_of_presence_is_told_once() {
        let mut condition = condition();
        assert_eq!(condition.presence_changed(T0), Some(Presence::Never));
        for i in 0..5 {
            take(&mut condition, T0 + i * 10_000, &[("co2", 600.0)]);
        }
        assert_eq!(condition.presence_changed(T0 + 50_000), Some(Presence::Online));
        assert_eq!(condition.presence_changed(T0 + 60_000), None);
        assert_eq!(condition.presence_changed(T0 + 600_000), Some(Presence::Offline));
    }

    #[test]
    fn memory_is_bounded_whatever_arrives() {
        let mut condition = condition();
        for i in 0..20_000 {
            take(&mut condition, T0 + i * 500, &[("co2", 600.0)]);
            take(&mut condition, T0 - i * 1_000_000, &[("co2", 600.0)]);
        }
        assert!(condition.recent.len() <= RECENT_MAX && condition.spark.len() <= SPARK_BUCKETS + 1);
    }
}
