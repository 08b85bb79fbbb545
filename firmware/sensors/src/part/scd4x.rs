//! Sensirion SCD40 and SCD41: CO2 (photoacoustic), temperature, humidity. Datasheet v1.4; the target of self-calibration is in later issues.

use crate::compensation::PressureTold;
use crate::port::{Air, CalibrationError, Offer, Sensor, Spec, Tuning, offer, values};
use crate::sensirion::{celsius, humidity, serial};
use crate::wire::Bus;
use casement_core::Fault;
use casement_core::record::Values;
use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::i2c::I2c;

/// Table 1: ±(50 ppm + 5 %) for the SCD40, ±(50 ppm + 2.5 %) for the SCD41 up to 1,000 ppm.
static SCD40: Spec = spec("SCD40", &[CO2_40, TEMPERATURE, HUMIDITY]);
static SCD41: Spec = spec("SCD41", &[CO2_41, TEMPERATURE, HUMIDITY]);

const CO2_40: Offer = offer("co2", 100.0, (200.0, 40_000.0));
const CO2_41: Offer = offer("co2", 75.0, (200.0, 40_000.0));
/// It warms itself; the sensor subtracts 4 °C, whatever its housing.
const TEMPERATURE: Offer = offer("temperature", 0.8, (-10.0, 60.0));
const HUMIDITY: Offer = offer("humidity", 6.0, (0.0, 100.0));

const fn spec(name: &'static str, offers: &'static [Offer]) -> Spec {
    // A value each 5 s ; 60 s response time (table 1).
    Spec { name, interval_ms: 1_000, patience_ms: 15_000, warm_up_ms: 60_000, conditioning_ms: 0, offers }
}

#[derive(Debug)]
pub(crate) struct Scd4x {
    serial: u64,
    better: bool,
    told: PressureTold,
}

impl<I: I2c, D: DelayNs> Sensor<Bus<I, D>> for Scd4x {
    const PLACES: &'static [u8] = &[ADDRESS];

    async fn probe(bus: &mut Bus<I, D>, _: u8) -> Result<Self, Fault> {
        // While it measures, which it does when only the device restarted, it answers nothing else.
        bus.command(ADDRESS, STOP, &[], STOP_MS).await?;
        let number = bus.ask(ADDRESS, SERIAL, WAIT_MS).await?;
        let [variant] = bus.ask(ADDRESS, VARIANT, WAIT_MS).await?;
        Ok(Self { serial: serial(number), better: variant >> 12 == 1, told: PressureTold::default() })
    }

    fn spec(&self) -> &'static Spec {
        if self.better { &SCD41 } else { &SCD40 }
    }

    fn serial(&self) -> Option<u64> {
        Some(self.serial)
    }

    async fn start(&mut self, bus: &mut Bus<I, D>, tuning: &Tuning) -> Result<(), Fault> {
        bus.command(ADDRESS, STOP, &[], STOP_MS).await?;
        // Not persisted: told again at each start, because the memory for it wears out after 2,000 times.
        let on = u16::from(tuning.calibrates_itself());
        bus.command(ADDRESS, SELF_CALIBRATION, &[on], WAIT_MS).await?;
        // Not in early issues of the datasheet; a sensor that does not know it calibrates to 400 ppm.
        bus.try_command(ADDRESS, TARGET, &[tuning.target()], WAIT_MS).await?;
        bus.command(ADDRESS, ALTITUDE, &[tuning.altitude()], WAIT_MS).await?;
        self.told = PressureTold::begin(tuning.usual_pressure());
        if let Some(pressure) = tuning.usual_pressure() {
            bus.command(ADDRESS, PRESSURE, &[pressure.hpa()], WAIT_MS).await?;
        }
        bus.command(ADDRESS, START, &[], WAIT_MS).await
    }

    async fn poll(&mut self, bus: &mut Bus<I, D>, air: &Air) -> Result<Option<Values>, Fault> {
        if let Some(pressure) = self.told.news(air.pressure) {
            bus.command(ADDRESS, PRESSURE, &[pressure.hpa()], WAIT_MS).await?;
            self.told = PressureTold::begin(Some(pressure));
        }
        // The lower eleven bits are zero while there is nothing new.
        let [ready] = bus.ask(ADDRESS, READY, WAIT_MS).await?;
        if ready & 0x07ff == 0 {
            return Ok(None);
        }
        let [co2, t, h] = bus.ask(ADDRESS, READ, WAIT_MS).await?;
        Ok(Some(values(&[("co2", f64::from(co2)), ("temperature", celsius(t)), ("humidity", humidity(h))])))
    }

    async fn recalibrate(&mut self, bus: &mut Bus<I, D>, ppm: u16) -> Result<(), CalibrationError> {
        bus.command(ADDRESS, STOP, &[], STOP_MS).await?;
        bus.command(ADDRESS, FORCE, &[ppm], FORCE_MS).await?;
        let [correction] = bus.words(ADDRESS).await?;
        bus.command(ADDRESS, START, &[], WAIT_MS).await?;
        // All ones when it failed.
        if correction == u16::MAX { Err(CalibrationError::Refused) } else { Ok(()) }
    }
}

const ADDRESS: u8 = 0x62;
const START: u16 = 0x21b1;
const STOP: u16 = 0x3f86;
const READ: u16 = 0xec05;
const READY: u16 = 0xe4b8;
const PRESSURE: u16 = 0xe000;
const ALTITUDE: u16 = 0x2427;
const SELF_CALIBRATION: u16 = 0x2416;
const TARGET: u16 = 0x243a;
const FORCE: u16 = 0x362f;
const SERIAL: u16 = 0x3682;
const VARIANT: u16 = 0x202f;
/// Most commands take 1 ms (table of commands).
const WAIT_MS: u32 = 1;
const STOP_MS: u32 = 500;
const FORCE_MS: u32 = 400;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::{Chat, Recording, run};
    use crate::port::Pressure;

    /// The datasheet's examples of `read_measurement` (500 ppm, 25 °C, 37 %RH) and `get_serial_number`.
    pub(in crate::part) fn recording() -> Recording {
        let a = ADDRESS;
        Recording {
            name: "SCD41",
            probe: Chat::at(a)
                .write(&[0x3f, 0x86])
                .write(&[0x36, 0x82])
                .read(&[0xf8, 0x96, 0x31, 0x9f, 0x07, 0xc2, 0x3b, 0xbe, 0x89])
                .write(&[0x20, 0x2f])
                .words(&[0x1440]),
            start: Chat::at(a)
                .write(&[0x3f, 0x86])
                .write(&[0x24, 0x16, 0x00, 0x01, 0xb0])
                .command(0x243a, &[425])
                .command(0x2427, &[0])
                .write(&[0x21, 0xb1]),
            poll: Chat::at(a)
                .write(&[0xe4, 0xb8])
                .words(&[0x8006])
                .write(&[0xec, 0x05])
                .read(&[0x01, 0xf4, 0x33, 0x66, 0x67, 0xa2, 0x5e, 0xb9, 0x3c]),
            idle: Chat::at(a).write(&[0xe4, 0xb8]).words(&[0x8000]),
            values: &[("co2", 500.0), ("temperature", 25.0), ("humidity", 37.0)],
            may_refuse: &[2],
            poll_waits_ms: 2,
        }
    }

    #[test]
    fn settings_pressure_and_calibration_are_told_as_the_datasheet_says() {
        let mut it = Scd4x { serial: 0xf896_9f07_3bbe, better: true, told: PressureTold::default() };
        let place = Pressure::from_hpa(987.0).unwrap();
        let tuning = Tuning::default().self_calibration(false).altitude_m(1_950).unwrap();
        let tuning = tuning.target_ppm(400).unwrap().pressure(Some(place));
        // Examples of the datasheet: 1,950 m is 0x079e with CRC 0x09; 98,700 Pa is 0x03db with CRC 0x42.
        let chat = Chat::at(ADDRESS)
            .write(&[0x3f, 0x86])
            .write(&[0x24, 0x16, 0x00, 0x00, 0x81])
            .write(&[0x24, 0x3a, 0x01, 0x90, 0x4c])
            .write(&[0x24, 0x27, 0x07, 0x9e, 0x09])
            .write(&[0xe0, 0x00, 0x03, 0xdb, 0x42])
            .write(&[0x21, 0xb1]);
        assert_eq!(run(chat, async |bus| it.start(bus, &tuning).await).0, Ok(()));

        // A pressure near the one it knows is no news; one that is far is told, once.
        for (hpa, told) in [(990.0, None), (1_000.0, Some(1_000)), (1_003.0, None)] {
            let mut chat = Chat::at(ADDRESS);
            if let Some(word) = told {
                chat = chat.command(0xe000, &[word]);
            }
            let air = Air { pressure: Pressure::from_hpa(hpa).ok(), ..Air::default() };
            let chat = chat.write(&[0xe4, 0xb8]).words(&[0x8000]);
            assert_eq!(run(chat, async |bus| it.poll(bus, &air).await).0, Ok(None), "{hpa}");
        }

        // Another one: 480 ppm is 0x01e0 with CRC 0xb4; a correction of −50 ppm is 0x7fce with CRC 0x7b.
        for (answer, expected) in [
            (&[0x7f, 0xce, 0x7b][..], Ok(())),
            (&[0xff, 0xff, 0xac], Err(CalibrationError::Refused)),
            (&[0xff, 0xff, 0xad], Err(CalibrationError::Fault(Fault::Crc))),
        ] {
            let mut chat = Chat::at(ADDRESS).write(&[0x3f, 0x86]).write(&[0x36, 0x2f, 0x01, 0xe0, 0xb4]).read(answer);
            if expected != Err(CalibrationError::Fault(Fault::Crc)) {
                chat = chat.write(&[0x21, 0xb1]);
            }
            assert_eq!(run(chat, async |bus| it.recalibrate(bus, 480).await).0, expected);
        }
    }
}
