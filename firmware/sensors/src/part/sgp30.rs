//! Sensirion SGP30: CO2 and volatile compounds, both estimated. Datasheet v0.93.

use crate::compensation::humidity_word;
use crate::port::{Air, Baseline, Sensor, Spec, Tuning, offer, values};
use crate::sensirion::serial;
use crate::wire::Bus;
use casement_core::Fault;
use casement_core::record::Values;
use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::i2c::I2c;

static SPEC: Spec = Spec {
    name: "SGP30",
    // Its algorithm needs a question each second ("Air quality signals").
    interval_ms: 1_000,
    patience_ms: 5_000,
    // It says 400 ppm and 0 ppb for the first 15 s.
    warm_up_ms: 15_000,
    // Without a baseline of before.
    conditioning_ms: 12 * 3_600_000,
    offers: &[offer("eco2", 150.0, (400.0, 60_000.0)), offer("tvoc", 50.0, (0.0, 60_000.0))],
};

#[derive(Debug)]
pub(crate) struct Sgp30 {
    serial: u64,
    /// The humidity it was last told.
    humidity: Option<u16>,
}

impl<I: I2c, D: DelayNs> Sensor<Bus<I, D>> for Sgp30 {
    const PLACES: &'static [u8] = &[ADDRESS];

    async fn probe(bus: &mut Bus<I, D>, _: u8) -> Result<Self, Fault> {
        let [features] = bus.ask(ADDRESS, FEATURES, WAIT_MS).await?;
        // Product type 0; an SGPC3 at the same address has 1 ("Feature set").
        if features >> 12 != 0 {
            return Err(Fault::Bus);
        }
        let number = bus.ask(ADDRESS, SERIAL, SERIAL_MS).await?;
        Ok(Self { serial: serial(number), humidity: None })
    }

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn serial(&self) -> Option<u64> {
        Some(self.serial)
    }

    async fn start(&mut self, bus: &mut Bus<I, D>, _: &Tuning) -> Result<(), Fault> {
        // Without its self-test, which must not follow a start of the algorithm: when only the device restarted, it would.
        self.humidity = None;
        bus.command(ADDRESS, INIT, &[], WAIT_MS).await
    }

    async fn poll(&mut self, bus: &mut Bus<I, D>, air: &Air) -> Result<Option<Values>, Fault> {
        if let Some((celsius, percent)) = air.climate {
            let word = humidity_word(celsius, percent);
            if self.humidity != Some(word) {
                bus.command(ADDRESS, HUMIDITY, &[word], WAIT_MS).await?;
                self.humidity = Some(word);
            }
        }
        let [eco2, tvoc] = bus.ask(ADDRESS, MEASURE, MEASURE_MS).await?;
        Ok(Some(values(&[("eco2", f64::from(eco2)), ("tvoc", f64::from(tvoc))])))
    }

    fn learns(&self) -> bool {
        true
    }

    async fn baseline(&mut self, bus: &mut Bus<I, D>) -> Result<Baseline, Fault> {
        let [eco2, tvoc] = bus.ask(ADDRESS, BASELINE, WAIT_MS).await?;
        Ok(Baseline { eco2, tvoc })
    }

    async fn restore(&mut self, bus: &mut Bus<I, D>, baseline: Baseline) -> Result<(), Fault> {
        // The other way round than it is read (see `set_iaq_baseline`).
        bus.command(ADDRESS, RESTORE, &[baseline.tvoc, baseline.eco2], WAIT_MS).await
    }
}

const ADDRESS: u8 = 0x58;
const INIT: u16 = 0x2003;
const MEASURE: u16 = 0x2008;
const BASELINE: u16 = 0x2015;
const RESTORE: u16 = 0x201e;
const HUMIDITY: u16 = 0x2061;
const FEATURES: u16 = 0x202f;
const SERIAL: u16 = 0x3682;
/// The longest of each, from the table of commands.
const WAIT_MS: u32 = 10;
const MEASURE_MS: u32 = 12;
const SERIAL_MS: u32 = 1;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::{Chat, Recording, run};

    pub(in crate::part) fn recording() -> Recording {
        let a = ADDRESS;
        Recording {
            name: "SGP30",
            probe: Chat::at(a)
                .write(&[0x20, 0x2f])
                .words(&[0x0022])
                .write(&[0x36, 0x82])
                .words(&[0x0000, 0x0048, 0xd159]),
            start: Chat::at(a).write(&[0x20, 0x03]),
            poll: Chat::at(a).write(&[0x20, 0x08]).words(&[412, 9]),
            idle: Chat::at(a),
            values: &[("eco2", 412.0), ("tvoc", 9.0)],
            may_refuse: &[],
            poll_waits_ms: 12,
        }
    }

    fn sensor() -> Sgp30 {
        Sgp30 { serial: 1, humidity: None }
    }

    #[test]
    fn a_baseline_is_read_one_way_round_and_set_the_other() {
        let mut it = sensor();
        let chat = Chat::at(ADDRESS).write(&[0x20, 0x15]).words(&[0x8a11, 0x9b22]);
        let read = run(chat, async |bus| it.baseline(bus).await).0;
        assert_eq!(read, Ok(Baseline { eco2: 0x8a11, tvoc: 0x9b22 }));
        let chat = Chat::at(ADDRESS).command(0x201e, &[0x9b22, 0x8a11]);
        assert_eq!(run(chat, async |bus| it.restore(bus, read.unwrap()).await).0, Ok(()));
    }

    #[test]
    fn humidity_is_told_when_it_has_changed() {
        let mut it = sensor();
        // 25 °C and 50 %RH are 11.48 g/m³ by the datasheet's formula: 0x0b7c in 8.8 fixed point.
        let measure = |chat: Chat| chat.write(&[0x20, 0x08]).words(&[400, 0]);
        for (air, told) in [
            (None, None),
            (Some((25.0, 50.0)), Some(0x0b7c)),
            (Some((25.0, 50.0)), None),
            (Some((20.0, 50.0)), Some(humidity_word(20.0, 50.0))),
        ] {
            let mut chat = Chat::at(ADDRESS);
            if let Some(word) = told {
                chat = chat.command(0x2061, &[word]);
            }
            let air = Air { climate: air, ..Air::default() };
            assert!(run(measure(chat), async |bus| it.poll(bus, &air).await).0.is_ok());
        }
    }
}
