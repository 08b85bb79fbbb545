//! All sensors of a device: found, kept going, and asked together.

use crate::care::{CALIBRATION_AFTER_MS, Care, Step};
use crate::learning::{Learning, Plan, SavedBaseline};
use crate::merge::{Source, best, merge};
use crate::part::{Chip, MODULES, Module, Table};
use crate::port::{Air, CalibrationError, Pressure, Spec, Tuning};
use crate::wire::{Bus, Line, NoLine};
use casement_core::{Fault, Millis, Sample};
use casement_proto::State;
use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::i2c::I2c;
use embedded_io_async::{Read, Write};

/// Most sensors on the I2C bus.
pub const CHIPS_MAX: usize = 6;

/// Most baselines that are kept for sensors.
pub const BASELINES_MAX: usize = 4;

/// The sensors of a device: those that are found on an I2C bus, and one on a serial line.
///
/// A driver calls [`Kit::work`] whenever [`Kit::wake_at`] has come, which is each second with most sensors, and
/// [`Kit::sample`] whenever the node wants a sample. The latter touches no wire: it gives what is known by then. So a
/// sensor that wants a question each second is not disturbed by one that measures for five.
#[derive(Debug)]
pub struct Kit<I, D, U = NoLine> {
    bus: Bus<I, D>,
    line: Option<(Line<U, D>, usize)>,
    chips: heapless::Vec<Slot<Chip>, CHIPS_MAX>,
    module: Option<Slot<Module>>,
    tuning: Tuning,
    baselines: heapless::Vec<SavedBaseline, BASELINES_MAX>,
    to_save: Option<SavedBaseline>,
    look_at: Millis,
    not_ours: &'static [u8],
}

#[derive(Debug)]
struct Slot<T> {
    sensor: T,
    place: u8,
    serial: Option<u64>,
    care: Care,
}

/// A sensor that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fitted {
    /// What it is.
    pub spec: &'static Spec,
    /// Its I2C address; 0 for the one on the serial line.
    pub place: u8,
    /// Its serial number, if it has one that can be read.
    pub serial: Option<u64>,
    /// How far to trust it, or what is wrong with it.
    pub state: Result<State, Fault>,
    /// Milliseconds until warming up, conditioning or calibrating is over; `None` when it is not, or nobody knows.
    pub remaining_ms: Option<u64>,
    /// Faults since it was found.
    pub faults: u32,
}

/// There is no module of this name; [`MODULES`] has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no sensor module of this name")]
pub struct UnknownModule;

impl<I: I2c, D: DelayNs> Kit<I, D> {
    /// Sensors on a bus alone.
    pub const fn new(bus: Bus<I, D>, tuning: Tuning) -> Self {
        Self::assemble(bus, None, tuning)
    }
}

impl<I, D, U> Kit<I, D, U> {
    /// Sensors on a bus alone, in a program that can do with a line as well: the type is the same.
    pub const fn without_line(bus: Bus<I, D>, tuning: Tuning) -> Self {
        Self::assemble(bus, None, tuning)
    }

    const fn assemble(bus: Bus<I, D>, line: Option<(Line<U, D>, usize)>, tuning: Tuning) -> Self {
        Self {
            bus,
            line,
            chips: heapless::Vec::new(),
            module: None,
            tuning,
            baselines: heapless::Vec::new(),
            to_save: None,
            look_at: Millis(0),
            not_ours: &[],
        }
    }
}

impl<I: I2c, D: DelayNs, U: Read + Write> Kit<I, D, U> {
    /// Sensors on a bus, and a module on a serial line, named as in [`MODULES`].
    ///
    /// # Errors
    /// There is no such module.
    pub fn with_line(
        bus: Bus<I, D>,
        line: Line<U, D>,
        module: &str,
        tuning: Tuning,
    ) -> Result<Self, UnknownModule> {
        let kind = MODULES.iter().position(|name| *name == module).ok_or(UnknownModule)?;
        Ok(Self::assemble(bus, Some((line, kind)), tuning))
    }

    /// Never asks these addresses. For the board's own chips: looking for an SGP30 writes to address 0x58, which on
    /// some boards is a driver of lamps.
    #[must_use]
    pub fn leave_alone(self, addresses: &'static [u8]) -> Self {
        Self { not_ours: addresses, ..self }
    }

    /// Gives a baseline back that was kept before the restart. Before the first [`Kit::work`]; beyond [`BASELINES_MAX`]
    /// they are ignored.
    pub fn remember(&mut self, saved: SavedBaseline) {
        let _full = self.baselines.push(saved);
    }

    /// Looks for sensors if that is due, and does for each what is due. Takes up to some seconds when sensors are
    /// found or started, else some milliseconds for each. `unix_ms` is the time since 1970, once it is known.
    pub async fn work(&mut self, now: Millis, unix_ms: Option<i64>) {
        if now >= self.look_at {
            self.find(now).await;
            self.look_at = now.after(self.look_again_ms());
        }
        for at in 0..self.chips.len() {
            let air = self.air(now);
            if let Some(slot) = self.chips.get_mut(at) {
                let saved = slot.work(&mut self.bus, &self.tuning, &air, now, unix_ms).await;
                self.to_save = saved.or(self.to_save);
            }
        }
        let air = self.air(now);
        if let (Some(slot), Some((line, _))) = (&mut self.module, &mut self.line) {
            slot.work(line, &self.tuning, &air, now, unix_ms).await;
        }
    }

    /// When to call [`Kit::work`] next.
    pub fn wake_at(&self) -> Millis {
        let dues = self.chips.iter().map(|slot| slot.care.due());
        dues.chain(self.module.iter().map(|slot| slot.care.due())).fold(self.look_at, Ord::min)
    }

    /// What all sensors say together. While the module of the setting is not found the state is `failed`.
    ///
    /// # Errors
    /// What is wrong when there is nothing to say; [`Fault::Bus`] when no sensor was found.
    pub fn sample(&self, now: Millis) -> Result<Sample, Fault> {
        let sample = merge(&self.sources(now))?;
        match (&self.line, &self.module) {
            (Some(_), None) if sample.values.is_empty() => Err(Fault::Bus),
            (Some(_), None) => Ok(Sample { state: State::Failed, fault: Some(Fault::Bus), ..sample }),
            _ => Ok(sample),
        }
    }

    /// A baseline to write to flash, at most once an hour for each sensor.
    pub fn take_baseline(&mut self) -> Option<SavedBaseline> {
        self.to_save.take()
    }

    /// The sensors that were found.
    pub fn fitted(&self, now: Millis) -> impl Iterator<Item = Fitted> {
        let chips = self.chips.iter().map(move |slot| slot.fitted(now));
        chips.chain(self.module.iter().map(move |slot| slot.fitted(now)))
    }

    /// Takes other settings. Sensors are started anew with them, and warm up again.
    pub fn tune(&mut self, tuning: Tuning, now: Millis) {
        if tuning == self.tuning {
            return;
        }
        self.tuning = tuning;
        let chips = self.chips.iter_mut().map(|slot| &mut slot.care);
        for care in chips.chain(self.module.iter_mut().map(|slot| &mut slot.care)) {
            if care.spec().offer("co2").is_some() {
                care.begin_again(now);
            }
        }
    }

    /// Calibrates every CO2 sensor to what the air around it has at the moment (400 to 2,000 ppm). It must have been in
    /// this air for three minutes. Takes some seconds; values are marked `calibrating` for a minute after it.
    ///
    /// # Errors
    /// Why it did not happen. Of several sensors the others are calibrated all the same.
    pub async fn recalibrate(&mut self, ppm: u16, now: Millis) -> Result<(), CalibrationError> {
        if !CALIBRATION_PPM.contains(&ppm) {
            return Err(CalibrationError::Target);
        }
        let mut result = Err(CalibrationError::NotPossible);
        for slot in &mut self.chips {
            merge_results(&mut result, slot.recalibrate(&mut self.bus, ppm, now).await);
        }
        if let (Some(slot), Some((line, _))) = (&mut self.module, &mut self.line) {
            merge_results(&mut result, slot.recalibrate(line, ppm, now).await);
        }
        result
    }

    async fn find(&mut self, now: Millis) {
        for kind in 0..Chip::KINDS {
            for place in <Chip as Table<Bus<I, D>>>::places(kind) {
                let taken = self.chips.iter().any(|slot| slot.place == *place);
                if taken || self.not_ours.contains(place) || self.chips.is_full() {
                    continue;
                }
                if let Ok(sensor) = Chip::probe(kind, &mut self.bus, *place).await {
                    let slot = Slot::new::<Bus<I, D>>(sensor, *place, &self.baselines, now);
                    let _room = self.chips.push(slot);
                }
            }
        }
        if let (None, Some((line, kind))) = (&self.module, &mut self.line)
            && let Ok(sensor) = Module::probe(*kind, line, 0).await
        {
            self.module = Some(Slot::new::<Line<U, D>>(sensor, 0, &[], now));
        }
    }

    /// How long until sensors are looked for again: soon while there is none at all, in a minute while the module of the
    /// setting is missing (it takes a second to be sure of that), else rarely, for those that are plugged in later.
    fn look_again_ms(&self) -> u64 {
        if self.chips.is_empty() && self.module.is_none() {
            LOOK_MS
        } else if self.line.is_some() && self.module.is_none() {
            LOOK_MODULE_MS
        } else {
            LOOK_AGAIN_MS
        }
    }

    fn sources(&self, now: Millis) -> heapless::Vec<Source<'_>, { CHIPS_MAX + 1 }> {
        let chips = self.chips.iter().map(|slot| &slot.care);
        let all = chips.chain(self.module.iter().map(|slot| &slot.care));
        all.map(|care| Source { spec: care.spec(), said: care.values(now) }).collect()
    }

    fn air(&self, now: Millis) -> Air {
        let sources = self.sources(now);
        let trusted = |quantity| {
            best(&sources, quantity).filter(|(_, state)| *state == State::Ok).map(|(value, _)| value)
        };
        Air {
            climate: trusted("temperature").zip(trusted("humidity")),
            pressure: trusted("pressure").and_then(|hpa| Pressure::from_hpa(hpa).ok()),
        }
    }
}

impl<T> Slot<T> {
    fn new<W>(sensor: T, place: u8, baselines: &[SavedBaseline], now: Millis) -> Self
    where
        T: Table<W>,
    {
        let serial = sensor.serial();
        let learning = serial.filter(|_| sensor.learns()).map(|serial| {
            // The youngest, should there be several.
            let own = baselines.iter().filter(|saved| saved.serial == serial);
            Learning::new(serial, own.max_by_key(|saved| saved.unix_ms).copied())
        });
        let care = Care::new(sensor.spec(), learning, now);
        Self { sensor, place, serial, care }
    }

    async fn work<W>(
        &mut self,
        wire: &mut W,
        tuning: &Tuning,
        air: &Air,
        now: Millis,
        unix_ms: Option<i64>,
    ) -> Option<SavedBaseline>
    where
        T: Table<W>,
    {
        match self.care.step(now)? {
            Step::Start => {
                let result = self.sensor.start(wire, tuning).await;
                self.care.started(result, now);
            }
            Step::Poll => {
                let result = self.sensor.poll(wire, air).await;
                self.care.polled(result, now);
            }
        }
        if self.care.is_running() { self.learn(wire, now, unix_ms).await } else { None }
    }

    async fn learn<W>(&mut self, wire: &mut W, now: Millis, unix_ms: Option<i64>) -> Option<SavedBaseline>
    where
        T: Table<W>,
    {
        let learning = self.care.learning()?;
        match learning.plan(now, unix_ms)? {
            Plan::Restore(baseline) => {
                if self.sensor.restore(wire, baseline).await.is_ok() {
                    learning.restored(now);
                }
                None
            }
            Plan::Read => {
                let baseline = self.sensor.baseline(wire).await.ok();
                learning.read(baseline, now, unix_ms?)
            }
        }
    }

    async fn recalibrate<W>(&mut self, wire: &mut W, ppm: u16, now: Millis) -> Result<(), CalibrationError>
    where
        T: Table<W>,
    {
        if self.care.spec().offer("co2").is_none() {
            return Err(CalibrationError::NotPossible);
        }
        let missing_ms = CALIBRATION_AFTER_MS.saturating_sub(self.care.running_ms(now));
        if missing_ms > 0 {
            let wait_s = u32::try_from(missing_ms.div_ceil(1_000)).unwrap_or(u32::MAX);
            return Err(CalibrationError::TooEarly { wait_s });
        }
        let result = self.sensor.recalibrate(wire, ppm).await;
        match result {
            Ok(()) => self.care.calibrated(now),
            // It may have stopped measuring.
            Err(CalibrationError::Refused | CalibrationError::Fault(_)) => self.care.begin_again(now),
            Err(_) => {}
        }
        result
    }

    fn fitted(&self, now: Millis) -> Fitted {
        let state = self.care.values(now).map(|it| match it {
            Some((_, state)) => state,
            None => self.care.state(false, now),
        });
        Fitted {
            spec: self.care.spec(),
            place: self.place,
            serial: self.serial,
            state,
            remaining_ms: self.care.remaining_ms(now),
            faults: self.care.faults(),
        }
    }
}

/// A sensor that cannot be calibrated is no reason to fail while there is one that can.
fn merge_results(all: &mut Result<(), CalibrationError>, one: Result<(), CalibrationError>) {
    match (*all, one) {
        (_, Err(CalibrationError::NotPossible)) => {}
        (Err(CalibrationError::NotPossible), one) => *all = one,
        (Ok(()), Err(error)) => *all = Err(error),
        _ => {}
    }
}

/// CO2 that sensors can be calibrated to (SCD30 interface description, "forced recalibration").
const CALIBRATION_PPM: core::ops::RangeInclusive<u16> = 400..=2_000;
const LOOK_MS: u64 = 10_000;
const LOOK_MODULE_MS: u64 = 60_000;
const LOOK_AGAIN_MS: u64 = 300_000;

#[cfg(test)]
mod tests;
