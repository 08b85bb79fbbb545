//! Sensirion SGP40 and SGP41: VOC index, the SGP41 also NOx index. Datasheets SGP40 v1.2, SGP41 v1.0.

use crate::gas_index::{GasIndex, Kind};
use crate::port::{Air, Offer, Sensor, Spec, Tuning, offer, put};
use crate::sensirion::{serial, ticks};
use crate::wire::Bus;
use casement_core::Fault;
use casement_core::record::Values;
use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::i2c::I2c;

const VOC: Offer = offer("voc_index", 15.0, (1.0, 500.0));
const NOX: Offer = offer("nox_index", 50.0, (1.0, 500.0));
/// Datasheet, "switch-on behaviour": events are told after 60 s, everything is as specified after 1 h.
static SGP40: Spec = spec("SGP40", 60_000, 3_600_000, &[VOC]);
/// 300 s and 6 h because of NOx.
static SGP41: Spec = spec("SGP41", 300_000, 6 * 3_600_000, &[VOC, NOX]);

const fn spec(
    name: &'static str,
    warm_up_ms: u32,
    conditioning_ms: u32,
    offers: &'static [Offer],
) -> Spec {
    // The index needs a value each second, and 55 s of them before it says anything.
    Spec { name, interval_ms: 1_000, patience_ms: 90_000, warm_up_ms, conditioning_ms, offers }
}

#[derive(Debug)]
pub(crate) struct Sgp4x {
    serial: u64,
    nox: bool,
    conditioned: u8,
    voc_index: GasIndex,
    nox_index: GasIndex,
}

impl Sgp4x {
    fn new(serial: u64, nox: bool) -> Self {
        Self {
            serial,
            nox,
            conditioned: 0,
            voc_index: GasIndex::new(Kind::Voc),
            nox_index: GasIndex::new(Kind::Nox),
        }
    }
}

impl<I: I2c, D: DelayNs> Sensor<Bus<I, D>> for Sgp4x {
    const PLACES: &'static [u8] = &[ADDRESS];

    async fn probe(bus: &mut Bus<I, D>, _: u8) -> Result<Self, Fault> {
        let [features] = bus.ask(ADDRESS, FEATURES, WAIT_MS).await?;
        let nox = match features & 0x01ff {
            0x0020 => false,
            0x0040 => true,
            _ => return Err(Fault::Bus),
        };
        let number = bus.ask(ADDRESS, SERIAL, WAIT_MS).await?;
        Ok(Self::new(serial(number), nox))
    }

    fn spec(&self) -> &'static Spec {
        if self.nox { &SGP41 } else { &SGP40 }
    }

    fn serial(&self) -> Option<u64> {
        Some(self.serial)
    }

    async fn start(&mut self, bus: &mut Bus<I, D>, _: &Tuning) -> Result<(), Fault> {
        let [result] = bus.ask(ADDRESS, TEST, TEST_MS).await?;
        // SGP40: 0xd400 or not. SGP41: one bit for each of its two plates, whatever the rest is.
        let passed = if self.nox { result & 0b11 == 0 } else { result == 0xd400 };
        if !passed {
            return Err(Fault::SelfTest);
        }
        *self = Self::new(self.serial, self.nox);
        Ok(())
    }

    async fn poll(&mut self, bus: &mut Bus<I, D>, air: &Air) -> Result<Option<Values>, Fault> {
        // What stands for "not known" in the datasheets: 25 °C and 50 %RH.
        let climate = air.climate.map_or([0x8000, 0x6666], |(celsius, percent)| ticks(celsius, percent));
        if !self.nox {
            bus.command(ADDRESS, MEASURE_VOC, &climate, VOC_MS).await?;
            let [raw] = bus.words(ADDRESS).await?;
            return Ok(said(&[("voc_index", self.voc_index.take(raw))]));
        }
        if self.conditioned < CONDITIONING_TIMES {
            // For ten seconds, never longer: the plate would be damaged. Always with the default climate.
            self.conditioned += 1;
            bus.command(ADDRESS, CONDITION, &[0x8000, 0x6666], NOX_MS).await?;
            let [_raw] = bus.words(ADDRESS).await?;
            return Ok(None);
        }
        bus.command(ADDRESS, MEASURE_BOTH, &climate, NOX_MS).await?;
        let [voc, nox] = bus.words(ADDRESS).await?;
        let (voc, nox) = (self.voc_index.take(voc), self.nox_index.take(nox));
        Ok(said(&[("voc_index", voc), ("nox_index", nox)]))
    }
}

fn said(indices: &[(&str, Option<u16>)]) -> Option<Values> {
    let mut values = Values::new();
    for (quantity, index) in indices {
        if let Some(index) = index {
            put(&mut values, quantity, f64::from(*index));
        }
    }
    (!values.is_empty()).then_some(values)
}

const ADDRESS: u8 = 0x59;
const MEASURE_VOC: u16 = 0x260f;
const MEASURE_BOTH: u16 = 0x2619;
const CONDITION: u16 = 0x2612;
const TEST: u16 = 0x280e;
const FEATURES: u16 = 0x202f;
const SERIAL: u16 = 0x3682;
/// Questions of one second each.
const CONDITIONING_TIMES: u8 = 10;
/// The longest of each, from the tables of commands.
const WAIT_MS: u32 = 10;
const VOC_MS: u32 = 30;
const NOX_MS: u32 = 50;
const TEST_MS: u32 = 320;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::{Chat, Recording, run};
    use crate::port::value;

    fn probe(features: u16) -> Chat {
        Chat::at(ADDRESS).write(&[0x20, 0x2f]).words(&[features]).write(&[0x36, 0x82]).words(&[0, 0x0305, 0x8e27])
    }

    /// The question is the example of the SGP40's datasheet.
    pub(in crate::part) fn recording() -> Recording {
        let a = ADDRESS;
        let poll = Chat::at(a).write(&[0x26, 0x0f, 0x80, 0x00, 0xa2, 0x66, 0x66, 0x93]).words(&[30_500]);
        Recording {
            name: "SGP40",
            probe: probe(0x3220),
            start: Chat::at(a).write(&[0x28, 0x0e]).words(&[0xd400]),
            idle: poll.clone(),
            poll,
            // The index is silent for its first 45 s.
            values: &[],
            may_refuse: &[],
            poll_waits_ms: 30,
        }
    }

    pub(in crate::part) fn recording_41() -> Recording {
        let a = ADDRESS;
        let poll = Chat::at(a).write(&[0x26, 0x12, 0x80, 0x00, 0xa2, 0x66, 0x66, 0x93]).words(&[30_500]);
        Recording {
            name: "SGP41",
            probe: probe(0x0040),
            start: Chat::at(a).write(&[0x28, 0x0e]).words(&[0xd400]),
            idle: poll.clone(),
            poll,
            values: &[],
            may_refuse: &[],
            poll_waits_ms: 50,
        }
    }

    #[test]
    fn it_conditions_ten_times_then_measures_and_speaks_after_the_blackout() {
        let mut it = Sgp4x::new(1, true);
        // 20 °C and 40 %RH.
        let air = Air { climate: Some((20.0, 40.0)), ..Air::default() };
        for second in 1..=60 {
            let chat = if second <= 10 {
                Chat::at(ADDRESS).command(0x2612, &[0x8000, 0x6666]).words(&[30_000])
            } else {
                Chat::at(ADDRESS).command(0x2619, &[0x6666, 0x5f16]).words(&[30_000, 15_000])
            };
            let values = run(chat, async |bus| it.poll(bus, &air).await).0.unwrap();
            assert_eq!(values.is_some(), second > 10 + 46, "{second}");
            if let Some(values) = values {
                assert!(value(&values, "voc_index").is_some() && value(&values, "nox_index").is_some());
            }
        }
    }

    #[test]
    fn plates_that_failed_their_test_are_a_fault() {
        for (nox, word, passes) in
            [(false, 0xd400, true), (false, 0x4b00, false), (true, 0xd400, true), (true, 0xd401, false), (true, 0xd402, false)]
        {
            let mut it = Sgp4x::new(1, nox);
            let chat = Chat::at(ADDRESS).write(&[0x28, 0x0e]).words(&[word]);
            let result = run(chat, async |bus| it.start(bus, &Tuning::default()).await).0;
            assert_eq!(result.is_ok(), passes, "{nox} {word:04x}");
        }
    }
}
