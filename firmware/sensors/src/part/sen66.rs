//! Sensirion SEN66: particles, temperature, humidity, VOC and NOx index, CO2 (photoacoustic). Datasheet of SEN6x, 2025.

use crate::compensation::PressureTold;
use crate::port::{Air, CalibrationError, Sensor, Spec, Tuning, offer, put};
use crate::sensirion::name;
use crate::wire::Bus;
use casement_core::Fault;
use casement_core::record::Values;
use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::i2c::I2c;

static SPEC: Spec = Spec {
    name: "SEN66",
    interval_ms: 1_000,
    // CO2 is not known for the first half minute or so; everything else after 2 s.
    patience_ms: 10_000,
    warm_up_ms: 60_000,
    conditioning_ms: 0,
    offers: &[
        offer("co2", 100.0, (200.0, 40_000.0)),
        offer("pm1", 5.0, (0.0, 1_000.0)),
        offer("pm2_5", 5.0, (0.0, 1_000.0)),
        offer("pm4", 25.0, (0.0, 1_000.0)),
        offer("pm10", 25.0, (0.0, 1_000.0)),
        offer("humidity", 4.5, (0.0, 100.0)),
        offer("temperature", 0.45, (-10.0, 50.0)),
        offer("voc_index", 15.0, (1.0, 500.0)),
        offer("nox_index", 50.0, (1.0, 500.0)),
    ],
};

#[derive(Debug)]
pub(crate) struct Sen66 {
    told: PressureTold,
}

impl<I: I2c, D: DelayNs> Sensor<Bus<I, D>> for Sen66 {
    const PLACES: &'static [u8] = &[ADDRESS];

    async fn probe(bus: &mut Bus<I, D>, _: u8) -> Result<Self, Fault> {
        let product: [u16; 16] = bus.ask(ADDRESS, NAME, WAIT_MS).await?;
        // Its relatives at this address have other values under other commands. Early SEN66 have no name.
        if ["", "SEN66"].contains(&name(product).as_str()) {
            Ok(Self { told: PressureTold::default() })
        } else {
            Err(Fault::Bus)
        }
    }

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn start(&mut self, bus: &mut Bus<I, D>, tuning: &Tuning) -> Result<(), Fault> {
        // It may refuse when it does not measure.
        bus.try_command(ADDRESS, STOP, &[], STOP_MS).await?;
        bus.command(ADDRESS, SELF_CALIBRATION, &[u16::from(tuning.calibrates_itself())], WAIT_MS).await?;
        bus.command(ADDRESS, ALTITUDE, &[tuning.altitude()], WAIT_MS).await?;
        self.told = PressureTold::begin(tuning.usual_pressure());
        if let Some(pressure) = tuning.usual_pressure() {
            bus.command(ADDRESS, PRESSURE, &[pressure.hpa()], WAIT_MS).await?;
        }
        bus.command(ADDRESS, START, &[], START_MS).await
    }

    async fn poll(&mut self, bus: &mut Bus<I, D>, air: &Air) -> Result<Option<Values>, Fault> {
        if let Some(pressure) = self.told.news(air.pressure) {
            bus.command(ADDRESS, PRESSURE, &[pressure.hpa()], WAIT_MS).await?;
            self.told = PressureTold::begin(Some(pressure));
        }
        let [ready] = bus.ask(ADDRESS, READY, WAIT_MS).await?;
        if ready & 1 == 0 {
            return Ok(None);
        }
        let [_warnings, errors] = bus.ask(ADDRESS, STATUS, WAIT_MS).await?;
        let words: [u16; 9] = bus.ask(ADDRESS, READ, WAIT_MS).await?;
        if errors & BROKEN != 0 {
            return Err(Fault::SelfTest);
        }
        Ok(Some(convert(words)))
    }

    async fn recalibrate(&mut self, bus: &mut Bus<I, D>, ppm: u16) -> Result<(), CalibrationError> {
        bus.command(ADDRESS, STOP, &[], STOP_MS).await?;
        bus.command(ADDRESS, FORCE, &[ppm], FORCE_MS).await?;
        let [correction] = bus.words(ADDRESS).await?;
        bus.command(ADDRESS, START, &[], START_MS).await?;
        if correction == u16::MAX { Err(CalibrationError::Refused) } else { Ok(()) }
    }
}

/// What is not known is all ones, or the largest positive number where there is a sign. 0 ppm and an index of 0 are what
/// they are before anything is known.
fn convert(words: [u16; 9]) -> Values {
    let rows: [(&str, f64, u16); 9] = [
        ("pm1", 10.0, u16::MAX),
        ("pm2_5", 10.0, u16::MAX),
        ("pm4", 10.0, u16::MAX),
        ("pm10", 10.0, u16::MAX),
        ("humidity", 100.0, 0x7fff),
        ("temperature", 200.0, 0x7fff),
        ("voc_index", 10.0, 0x7fff),
        ("nox_index", 10.0, 0x7fff),
        ("co2", 1.0, u16::MAX),
    ];
    let mut values = Values::new();
    for ((quantity, scale, unknown), word) in rows.into_iter().zip(words) {
        let begins = word == 0 && ["voc_index", "nox_index", "co2"].contains(&quantity);
        if word == unknown || begins {
            continue;
        }
        let number = if unknown == 0x7fff { f64::from(word.cast_signed()) } else { f64::from(word) };
        put(&mut values, quantity, number / scale);
    }
    values
}

const ADDRESS: u8 = 0x6b;
const START: u16 = 0x0021;
const STOP: u16 = 0x0104;
const READY: u16 = 0x0202;
const READ: u16 = 0x0300;
const FORCE: u16 = 0x6707;
const SELF_CALIBRATION: u16 = 0x6711;
const PRESSURE: u16 = 0x6720;
const ALTITUDE: u16 = 0x6736;
const NAME: u16 = 0xd014;
const STATUS: u16 = 0xd206;
/// Fan (4), CO2 (9) and particles (11); sensors of gas and humidity that fail give no values.
const BROKEN: u16 = (1 << 4) | (1 << 9) | (1 << 11);
const WAIT_MS: u32 = 20;
const START_MS: u32 = 50;
/// 1,000 ms in early issues of the datasheet, 1,400 ms since.
const STOP_MS: u32 = 1_400;
const FORCE_MS: u32 = 500;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::{Chat, Recording, run};

    pub(in crate::part) fn recording() -> Recording {
        let a = ADDRESS;
        Recording {
            name: "SEN66",
            probe: Chat::at(a).write(&[0xd0, 0x14]).text(b"SEN66"),
            start: Chat::at(a)
                .write(&[0x01, 0x04])
                .write(&[0x67, 0x11, 0x00, 0x01, 0xb0])
                .write(&[0x67, 0x36, 0x00, 0x00, 0x81])
                .write(&[0x00, 0x21]),
            poll: Chat::at(a)
                .write(&[0x02, 0x02])
                .words(&[1])
                .write(&[0xd2, 0x06])
                .words(&[0, 0])
                .write(&[0x03, 0x00])
                .words(&[13, 21, 26, 28, 4_125, 4_480, 980, 10, 612]),
            idle: Chat::at(a).write(&[0x02, 0x02]).words(&[0]),
            values: &[
                ("pm1", 1.3),
                ("pm2_5", 2.1),
                ("pm4", 2.6),
                ("pm10", 2.8),
                ("humidity", 41.25),
                ("temperature", 22.4),
                ("voc_index", 98.0),
                ("nox_index", 1.0),
                ("co2", 612.0),
            ],
            may_refuse: &[0],
            poll_waits_ms: 60,
        }
    }

    #[test]
    fn what_is_not_known_yet_is_left_out() {
        let values = convert([13, 21, 26, 28, 4_125, 4_480, 0x7fff, 0, 0xffff]);
        assert_eq!(values.len(), 6);
        assert_eq!(convert([0xffff, 0xffff, 0xffff, 0xffff, 0x7fff, 0x7fff, 0x7fff, 0x7fff, 0]).len(), 0);
    }

    #[test]
    fn its_relatives_are_not_taken_for_it() {
        for (name, taken) in [(&b"SEN66"[..], true), (b"", true), (b"SEN65", false), (b"SEN68", false)] {
            let chat = Chat::at(ADDRESS).write(&[0xd0, 0x14]).text(name);
            let found = run(chat, async |bus| Sen66::probe(bus, ADDRESS).await.map(|_| ())).0;
            assert_eq!(found.is_ok(), taken, "{name:?}");
        }
    }

    #[test]
    fn a_part_that_failed_is_a_fault_and_a_warning_is_none() {
        for (status, fault) in
            [([0, 1 << 4], true), ([0, 1 << 9], true), ([0, 1 << 11], true), ([1 << 5, 0], false), ([0, 1 << 7], false)]
        {
            let mut it = Sen66 { told: PressureTold::default() };
            let chat = Chat::at(ADDRESS)
                .write(&[0x02, 0x02])
                .words(&[1])
                .write(&[0xd2, 0x06])
                .words(&status)
                .write(&[0x03, 0x00])
                .words(&[13, 21, 26, 28, 4_125, 4_480, 980, 10, 612]);
            let said = run(chat, async |bus| it.poll(bus, &Air::default()).await).0;
            assert_eq!(said.err(), fault.then_some(Fault::SelfTest), "{status:?}");
        }
    }

    #[test]
    fn a_forced_calibration_is_done_or_refused_and_it_measures_again() {
        for (answer, expected) in [(0x7fce, Ok(())), (0xffff, Err(CalibrationError::Refused))] {
            let mut it = Sen66 { told: PressureTold::default() };
            let chat = Chat::at(ADDRESS)
                .write(&[0x01, 0x04])
                .write(&[0x67, 0x07, 0x01, 0xe0, 0xb4])
                .words(&[answer])
                .write(&[0x00, 0x21]);
            let (result, waited_ms) = run(chat, async |bus| it.recalibrate(bus, 480).await);
            assert_eq!((result, waited_ms), (expected, 1_400 + 500 + 50));
        }
    }

    #[test]
    fn pressure_is_told_in_hectopascals() {
        let mut it = Sen66 { told: PressureTold::default() };
        let air = Air { pressure: crate::port::Pressure::from_hpa(987.0).ok(), ..Air::default() };
        let chat = Chat::at(ADDRESS).write(&[0x67, 0x20, 0x03, 0xdb, 0x42]).write(&[0x02, 0x02]).words(&[0]);
        assert_eq!(run(chat, async |bus| it.poll(bus, &air).await).0, Ok(None));
    }
}
