//! Sensirion SCD30: CO2 (NDIR), temperature, humidity. Interface description v1.0.

use crate::compensation::PressureTold;
use crate::port::{Air, CalibrationError, Sensor, Spec, Tuning, offer, values};
use crate::wire::Bus;
use casement_core::Fault;
use casement_core::record::Values;
use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::i2c::I2c;

static SPEC: Spec = Spec {
    name: "SCD30",
    interval_ms: 1_000,
    patience_ms: 10_000,
    // Datasheet table 1: 20 s response time; it starts within 2 s.
    warm_up_ms: 30_000,
    conditioning_ms: 0,
    offers: &[
        offer("co2", 60.0, (200.0, 40_000.0)),
        offer("temperature", 0.9, (-40.0, 70.0)),
        offer("humidity", 3.0, (0.0, 100.0)),
    ],
};

#[derive(Debug)]
pub(crate) struct Scd30 {
    told: PressureTold,
}

impl Scd30 {
    /// Writes a setting unless it has that value: settings are kept in memory that wears out.
    async fn set<I: I2c, D: DelayNs>(
        &self,
        bus: &mut Bus<I, D>,
        command: u16,
        value: u16,
    ) -> Result<(), Fault> {
        let [present] = bus.ask(ADDRESS, command, WAIT_MS).await?;
        if present != value {
            bus.command(ADDRESS, command, &[value], WRITE_MS).await?;
        }
        Ok(())
    }
}

impl<I: I2c, D: DelayNs> Sensor<Bus<I, D>> for Scd30 {
    const PLACES: &'static [u8] = &[ADDRESS];

    async fn probe(bus: &mut Bus<I, D>, _: u8) -> Result<Self, Fault> {
        let [_version] = bus.ask(ADDRESS, FIRMWARE, WAIT_MS).await?;
        Ok(Self { told: PressureTold::default() })
    }

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn start(&mut self, bus: &mut Bus<I, D>, tuning: &Tuning) -> Result<(), Fault> {
        self.set(bus, INTERVAL, 2).await?;
        self.set(bus, SELF_CALIBRATION, u16::from(tuning.calibrates_itself())).await?;
        self.set(bus, ALTITUDE, tuning.altitude()).await?;
        self.told = PressureTold::begin(tuning.usual_pressure());
        // 0: no pressure is known, the altitude counts.
        let pressure = tuning.usual_pressure().map_or(0, |pressure| pressure.hpa());
        bus.command(ADDRESS, START, &[pressure], WRITE_MS).await
    }

    async fn poll(&mut self, bus: &mut Bus<I, D>, air: &Air) -> Result<Option<Values>, Fault> {
        if let Some(pressure) = self.told.news(air.pressure) {
            bus.command(ADDRESS, START, &[pressure.hpa()], WRITE_MS).await?;
            self.told = PressureTold::begin(Some(pressure));
        }
        if bus.ask(ADDRESS, READY, WAIT_MS).await? != [1] {
            return Ok(None);
        }
        let words: [u16; 6] = bus.ask(ADDRESS, READ, WAIT_MS).await?;
        Ok(Some(convert(words)))
    }

    async fn recalibrate(&mut self, bus: &mut Bus<I, D>, ppm: u16) -> Result<(), CalibrationError> {
        bus.command(ADDRESS, FORCE, &[ppm], WRITE_MS).await?;
        // It tells what it kept (§1.4.6).
        let [kept] = bus.ask(ADDRESS, FORCE, WAIT_MS).await?;
        if kept == ppm { Ok(()) } else { Err(CalibrationError::Refused) }
    }
}

/// Three floating-point numbers, each in two words, high one first (§1.4.5).
fn convert([c, c_low, t, t_low, h, h_low]: [u16; 6]) -> Values {
    let float = |high, low| f64::from(f32::from_bits((u32::from(high) << 16) | u32::from(low)));
    values(&[("co2", float(c, c_low)), ("temperature", float(t, t_low)), ("humidity", float(h, h_low))])
}

const ADDRESS: u8 = 0x61;
const START: u16 = 0x0010;
const INTERVAL: u16 = 0x4600;
const READY: u16 = 0x0202;
const READ: u16 = 0x0300;
const SELF_CALIBRATION: u16 = 0x5306;
const FORCE: u16 = 0x5204;
const ALTITUDE: u16 = 0x5102;
const FIRMWARE: u16 = 0xd100;
/// More than 3 ms between command and answer (§1.1).
const WAIT_MS: u32 = 4;
/// After a setting is written; not in the description, the maker's own driver waits as long.
const WRITE_MS: u32 = 20;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::{Chat, Recording, run};
    use crate::port::Pressure;

    /// The example of §1.4.5.
    pub(in crate::part) fn recording() -> Recording {
        let a = ADDRESS;
        Recording {
            name: "SCD30",
            probe: Chat::at(a).write(&[0xd1, 0x00]).read(&[0x03, 0x42, 0xf3]),
            start: Chat::at(a)
                .write(&[0x46, 0x00])
                .words(&[2])
                .write(&[0x53, 0x06])
                .words(&[0])
                .write(&[0x53, 0x06, 0x00, 0x01, 0xb0])
                .write(&[0x51, 0x02])
                .words(&[0])
                .write(&[0x00, 0x10, 0x00, 0x00, 0x81]),
            poll: Chat::at(a).write(&[0x02, 0x02]).read(&[0x00, 0x01, 0xb0]).write(&[0x03, 0x00]).read(&[
                0x43, 0xdb, 0xcb, 0x8c, 0x2e, 0x8f, 0x41, 0xd9, 0x70, 0xe7, 0xff, 0xf5, 0x42, 0x43, 0xbf, 0x3a,
                0x1b, 0x74,
            ]),
            idle: Chat::at(a).write(&[0x02, 0x02]).read(&[0x00, 0x00, 0x81]),
            values: &[("co2", 439.09), ("temperature", 27.24), ("humidity", 48.81)],
            may_refuse: &[],
            poll_waits_ms: 8,
        }
    }

    #[test]
    fn settings_are_written_when_they_differ_and_pressure_with_the_start() {
        let mut it = Scd30 { told: PressureTold::default() };
        let place = Pressure::from_hpa(989.0).unwrap();
        let tuning = Tuning::default().self_calibration(false).altitude_m(1_000).unwrap().pressure(Some(place));
        let chat = Chat::at(ADDRESS)
            .command(INTERVAL, &[])
            .words(&[5])
            .write(&[0x46, 0x00, 0x00, 0x02, 0xe3])
            .command(SELF_CALIBRATION, &[])
            .words(&[0])
            // §1.4.8 has this altitude.
            .command(ALTITUDE, &[])
            .words(&[0])
            .write(&[0x51, 0x02, 0x03, 0xe8, 0xd4])
            .command(START, &[989]);
        assert_eq!(run(chat, async |bus| it.start(bus, &tuning).await).0, Ok(()));
        // What a barometer says counts from then on.
        let air = Air { pressure: Pressure::from_hpa(1_000.0).ok(), ..Air::default() };
        let chat = Chat::at(ADDRESS).command(START, &[1_000]).command(READY, &[]).words(&[0]);
        assert_eq!(run(chat, async |bus| it.poll(bus, &air).await).0, Ok(None));
    }

    #[test]
    fn a_forced_calibration_is_read_back() {
        for (kept, expected) in [(450, Ok(())), (400, Err(CalibrationError::Refused))] {
            let mut it = Scd30 { told: PressureTold::default() };
            // §1.4.6: 450 ppm is 0x01c2 with CRC 0x50.
            let chat = Chat::at(ADDRESS)
                .write(&[0x52, 0x04, 0x01, 0xc2, 0x50])
                .write(&[0x52, 0x04])
                .words(&[kept]);
            assert_eq!(run(chat, async |bus| it.recalibrate(bus, 450).await).0, expected);
        }
    }
}
