//! What to do with one sensor next, and what to think of it. No bus and no clock: time and what happened are arguments.

use crate::learning::Learning;
use crate::port::Spec;
use crate::watch::Watch;
use casement_core::record::Values;
use casement_core::{Fault, Millis};
use casement_proto::State;

/// What to do with a sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Bring it to measuring.
    Start,
    /// Ask it.
    Poll,
}

/// One sensor over time.
#[derive(Debug)]
pub(crate) struct Care {
    spec: &'static Spec,
    watch: Watch,
    learning: Option<Learning>,
    /// Since when it measures.
    running: Option<Millis>,
    due: Millis,
    pause_ms: u64,
    latest: Option<Latest>,
    faults_in_a_row: u8,
    fault: Option<Fault>,
    calibrating_until: Option<Millis>,
    faults: u32,
}

#[derive(Clone, Debug)]
struct Latest {
    values: Values,
    at: Millis,
    suspect: bool,
}

impl Care {
    pub(crate) const fn new(spec: &'static Spec, learning: Option<Learning>, now: Millis) -> Self {
        Self {
            spec,
            watch: Watch::new(),
            learning,
            running: None,
            due: now,
            pause_ms: PAUSE_MS_MIN,
            latest: None,
            faults_in_a_row: 0,
            fault: None,
            calibrating_until: None,
            faults: 0,
        }
    }

    /// When to look at it next.
    pub(crate) const fn due(&self) -> Millis {
        self.due
    }

    /// Faults since it was found.
    pub(crate) const fn faults(&self) -> u32 {
        self.faults
    }

    pub(crate) const fn spec(&self) -> &'static Spec {
        self.spec
    }

    pub(crate) const fn learning(&mut self) -> Option<&mut Learning> {
        self.learning.as_mut()
    }

    /// What to do now, if anything.
    pub(crate) fn step(&self, now: Millis) -> Option<Step> {
        (now >= self.due).then_some(if self.running.is_some() { Step::Poll } else { Step::Start })
    }

    /// What came of [`Step::Start`].
    pub(crate) fn started(&mut self, result: Result<(), Fault>, now: Millis) {
        match result {
            Ok(()) => {
                self.running = Some(now);
                self.faults_in_a_row = 0;
                self.due = now.after(u64::from(self.spec.interval_ms));
                if let Some(learning) = &mut self.learning {
                    learning.started(now);
                }
            }
            Err(fault) => self.failed(fault, now),
        }
    }

    /// What came of [`Step::Poll`].
    pub(crate) fn polled(&mut self, result: Result<Option<Values>, Fault>, now: Millis) {
        // On a grid, so that sensors that want a question each second get one; after a long pause from now on.
        let interval_ms = u64::from(self.spec.interval_ms);
        let next = self.due.after(interval_ms);
        self.due = if next > now { next } else { now.after(interval_ms) };
        match result.and_then(|values| values.map(|values| self.true_ones(values)).transpose()) {
            Ok(Some(values)) => {
                let suspect = self.watch.suspects(self.spec, &values, now);
                self.latest = Some(Latest { values, at: now, suspect });
                self.faults_in_a_row = 0;
                self.fault = None;
                self.pause_ms = PAUSE_MS_MIN;
            }
            Ok(None) => {
                if now.since(self.last_news()) >= u64::from(self.spec.patience_ms) {
                    self.restart(Fault::Timeout, now);
                }
            }
            Err(fault) => {
                self.faults_in_a_row = self.faults_in_a_row.saturating_add(1);
                if self.faults_in_a_row >= FAULTS_MAX {
                    self.restart(fault, now);
                } else {
                    self.faults = self.faults.saturating_add(1);
                    self.fault = Some(fault);
                }
            }
        }
    }

    /// A forced calibration was done, or failed on the way: it measures anew, and for a while nobody trusts it.
    pub(crate) fn calibrated(&mut self, now: Millis) {
        self.calibrating_until = Some(now.after(CALIBRATING_MS));
        self.begin_again(now);
    }

    /// New settings: they are told at the next start.
    pub(crate) fn begin_again(&mut self, now: Millis) {
        self.running = None;
        self.due = now;
    }

    /// Whether it was started and has not failed since.
    pub(crate) const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// How long it has been measuring without a break, in milliseconds.
    pub(crate) fn running_ms(&self, now: Millis) -> u64 {
        self.running.map_or(0, |since| now.since(since))
    }

    /// Its values, and how far to trust them. `Ok(None)`: none yet, and nothing is wrong.
    pub(crate) fn values(&self, now: Millis) -> Result<Option<(&Values, State)>, Fault> {
        let patience_ms = u64::from(self.spec.patience_ms);
        if let Some(latest) = &self.latest
            && now.since(latest.at) <= patience_ms
        {
            return Ok(Some((&latest.values, self.state(latest.suspect, now))));
        }
        match self.fault {
            Some(fault) => Err(fault),
            None if now.since(self.last_news()) > patience_ms => Err(Fault::Timeout),
            None => Ok(None),
        }
    }

    /// How far to trust it, values or not.
    pub(crate) fn state(&self, suspect: bool, now: Millis) -> State {
        let running_ms = self.running_ms(now);
        let conditioning = match &self.learning {
            Some(learning) => learning.is_conditioning(now, u64::from(self.spec.conditioning_ms)),
            None => running_ms < u64::from(self.spec.conditioning_ms),
        };
        if self.calibrating_until.is_some_and(|until| now < until) {
            State::Calibrating
        } else if self.running.is_none() || running_ms < u64::from(self.spec.warm_up_ms) {
            State::WarmingUp
        } else if suspect {
            State::Suspect
        } else if conditioning {
            State::Conditioning
        } else {
            State::Ok
        }
    }

    /// Milliseconds until warming up, conditioning or calibrating is over; `None` when it is not, or nobody knows.
    pub(crate) fn remaining_ms(&self, now: Millis) -> Option<u64> {
        let of = |whole_ms: u32| Some(u64::from(whole_ms).saturating_sub(self.running_ms(now)));
        match self.state(false, now) {
            State::Calibrating => self.calibrating_until.map(|until| until.since(now)),
            State::WarmingUp => self.running.and_then(|_| of(self.spec.warm_up_ms)),
            State::Conditioning => of(self.spec.conditioning_ms),
            State::Ok | State::Suspect | State::Failed => None,
        }
    }

    fn last_news(&self) -> Millis {
        let latest = self.latest.as_ref().map_or(Millis(0), |latest| latest.at);
        latest.max(self.running.unwrap_or(Millis(0)))
    }

    /// Leaves out what the sensor cannot give, and counts it as a fault.
    fn true_ones(&mut self, mut values: Values) -> Result<Values, Fault> {
        let before = values.len();
        let spec = self.spec;
        values.retain(|(quantity, value)| {
            spec.offer(quantity.name()).is_some_and(|offer| (offer.span.0..=offer.span.1).contains(value))
        });
        if values.is_empty() && before > 0 {
            return Err(Fault::Range);
        }
        self.faults = self.faults.saturating_add(u32::from(values.len() < before));
        Ok(values)
    }

    fn restart(&mut self, fault: Fault, now: Millis) {
        self.running = None;
        self.failed(fault, now);
    }

    fn failed(&mut self, fault: Fault, now: Millis) {
        self.faults = self.faults.saturating_add(1);
        self.fault = Some(fault);
        self.due = now.after(self.pause_ms);
        self.pause_ms = (self.pause_ms * 2).min(PAUSE_MS_MAX);
    }
}

/// Whether CO2 sensors may be calibrated: they need this long in the air they are calibrated to (SCD4x datasheet,
/// `perform_forced_recalibration`: 3 min; SCD30: 2 min).
pub(crate) const CALIBRATION_AFTER_MS: u64 = 180_000;
/// For this long after a forced calibration values are marked.
const CALIBRATING_MS: u64 = 60_000;
/// Faults in a row from which on a sensor is started anew.
const FAULTS_MAX: u8 = 3;
/// Pauses between attempts to start a sensor that does not answer, doubling.
const PAUSE_MS_MIN: u64 = 1_000;
const PAUSE_MS_MAX: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::{offer, value, values};
    use proptest::prelude::*;

    static CO2: Spec = Spec {
        name: "test",
        interval_ms: 1_000,
        patience_ms: 15_000,
        warm_up_ms: 60_000,
        conditioning_ms: 0,
        offers: &[offer("co2", 50.0, (200.0, 40_000.0)), offer("temperature", 0.8, (-10.0, 60.0))],
    };

    fn running() -> Care {
        let mut care = Care::new(&CO2, None, Millis(0));
        assert_eq!(care.step(Millis(0)), Some(Step::Start));
        care.started(Ok(()), Millis(0));
        care
    }

    fn co2(ppm: f64) -> Result<Option<Values>, Fault> {
        Ok(Some(values(&[("co2", ppm)])))
    }

    fn state(care: &Care, now: u64) -> Result<Option<State>, Fault> {
        care.values(Millis(now)).map(|it| it.map(|(_, state)| state))
    }

    #[test]
    fn it_warms_up_then_is_trusted() {
        let mut care = running();
        assert_eq!(state(&care, 5_000), Ok(None));
        assert_eq!(care.remaining_ms(Millis(15_000)), Some(45_000));
        care.polled(co2(600.0), Millis(59_999));
        assert_eq!(state(&care, 59_999), Ok(Some(State::WarmingUp)));
        care.polled(co2(601.0), Millis(60_000));
        assert_eq!(state(&care, 60_000), Ok(Some(State::Ok)));
        assert_eq!(care.remaining_ms(Millis(60_000)), None);
        assert_eq!(Care::new(&CO2, None, Millis(0)).remaining_ms(Millis(9)), None, "it does not run yet");
    }

    #[test]
    fn without_news_it_is_not_ready_in_time_and_started_anew() {
        let mut care = running();
        care.polled(co2(600.0), Millis(1_000));
        care.polled(Ok(None), Millis(15_999));
        assert_eq!(state(&care, 15_999), Ok(Some(State::WarmingUp)), "the last value is young enough");
        care.polled(Ok(None), Millis(16_001));
        assert_eq!(state(&care, 16_001), Err(Fault::Timeout));
        assert_eq!((care.step(Millis(17_000)), care.step(Millis(17_001))), (None, Some(Step::Start)));
    }

    #[test]
    fn one_fault_is_a_hiccup_and_three_are_a_restart() {
        let mut care = running();
        care.polled(co2(600.0), Millis(1_000));
        for (at, step) in [(2_000, Step::Poll), (3_000, Step::Poll), (4_000, Step::Start)] {
            care.polled(Err(Fault::Crc), Millis(at));
            assert_eq!(state(&care, at), Ok(Some(State::WarmingUp)));
            assert_eq!(care.step(Millis(at + 1_000)), Some(step), "{at}");
        }
        assert_eq!(state(&care, 16_001), Err(Fault::Crc));
        assert_eq!(care.faults(), 3);
    }

    #[test]
    fn attempts_to_find_an_unplugged_sensor_grow_rare_and_it_comes_back() {
        let mut care = Care::new(&CO2, None, Millis(0));
        let (mut now, mut pauses) = (Millis(0), std::vec::Vec::new());
        for _ in 0..8 {
            care.started(Err(Fault::Bus), now);
            pauses.push(care.due().since(now) / 1_000);
            now = care.due();
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(care.values(now).map(|_| ()), Err(Fault::Bus));
        care.started(Ok(()), now);
        care.polled(co2(500.0), now.after(5_000));
        assert_eq!(state(&care, now.0 + 5_000), Ok(Some(State::WarmingUp)), "it warms up once more");
        care.restart(Fault::Bus, now.after(6_000));
        assert_eq!(care.due(), now.after(7_000), "pauses begin small again");
    }

    #[test]
    fn what_the_sensor_cannot_give_is_left_out() {
        let mut care = running();
        care.polled(Ok(Some(values(&[("co2", 41_000.0), ("temperature", 21.0)]))), Millis(1_000));
        let (kept, _) = care.values(Millis(1_000)).unwrap().unwrap();
        assert_eq!((value(kept, "co2"), value(kept, "temperature")), (None, Some(21.0)));
        let mut care = running();
        for nonsense in [0.0, f64::NAN, f64::INFINITY, 40_000.1] {
            care.polled(co2(nonsense), Millis(1_000));
        }
        assert_eq!(state(&care, 2_000), Err(Fault::Range));
    }

    #[test]
    fn a_calibration_shows_for_a_while() {
        let mut care = running();
        care.calibrated(Millis(300_000));
        assert_eq!(care.step(Millis(300_000)), Some(Step::Start));
        care.started(Ok(()), Millis(300_500));
        care.polled(co2(425.0), Millis(305_500));
        assert_eq!(state(&care, 305_500), Ok(Some(State::Calibrating)));
        care.polled(co2(426.0), Millis(360_499));
        assert_eq!(state(&care, 360_499), Ok(Some(State::WarmingUp)));
        care.polled(co2(425.0), Millis(360_500));
        assert_eq!(state(&care, 360_500), Ok(Some(State::Ok)));
    }

    #[test]
    fn questions_keep_their_rhythm() {
        let mut care = running();
        care.polled(co2(600.0), Millis(1_030));
        assert_eq!(care.due(), Millis(2_000), "30 ms late once is not late for ever");
        care.polled(co2(600.0), Millis(9_000));
        assert_eq!(care.due(), Millis(10_000), "what was missed is not asked all at once");
    }

    proptest! {
        #[test]
        fn only_what_can_be_true_comes_out(numbers: std::vec::Vec<f64>) {
            let mut care = running();
            for (second, number) in numbers.into_iter().enumerate() {
                let now = Millis(second as u64 * 1_000);
                care.polled(co2(number), now);
                if let Ok(Some((kept, _))) = care.values(now) {
                    prop_assert!(value(kept, "co2").is_none_or(|ppm| (200.0..=40_000.0).contains(&ppm)));
                }
            }
        }
    }
}
