//! Sensirion SEN50, SEN54 and SEN55: particles; from the SEN54 on temperature, humidity and VOC index; the SEN55 also NOx
//! index. Datasheet v2.

use crate::port::{Air, Sensor, Spec, Tuning, offer, put};
use crate::sensirion::name;
use crate::wire::Bus;
use casement_core::Fault;
use casement_core::record::Values;
use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::i2c::I2c;

static SPEC: Spec = Spec {
    name: "SEN5x",
    interval_ms: 1_000,
    patience_ms: 10_000,
    // Particles are right 30 s after the start below 100 particles/cm³.
    warm_up_ms: 60_000,
    // The datasheet: 1 h for the VOC index, 6 h for the NOx index. Particles have no part in it, so it is not waited for.
    conditioning_ms: 0,
    offers: &[
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
pub(crate) struct Sen5x;

impl<I: I2c, D: DelayNs> Sensor<Bus<I, D>> for Sen5x {
    const PLACES: &'static [u8] = &[ADDRESS];

    async fn probe(bus: &mut Bus<I, D>, _: u8) -> Result<Self, Fault> {
        let product: [u16; 16] = bus.ask(ADDRESS, NAME, WAIT_MS).await?;
        if name(product).starts_with("SEN5") { Ok(Self) } else { Err(Fault::Bus) }
    }

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn start(&mut self, bus: &mut Bus<I, D>, _: &Tuning) -> Result<(), Fault> {
        // Measuring already, when only the device restarted, it would refuse the start; not measuring, the stop.
        bus.try_command(ADDRESS, STOP, &[], STOP_MS).await?;
        bus.command(ADDRESS, START, &[], START_MS).await
    }

    async fn poll(&mut self, bus: &mut Bus<I, D>, _: &Air) -> Result<Option<Values>, Fault> {
        let [ready] = bus.ask(ADDRESS, READY, WAIT_MS).await?;
        if ready & 1 == 0 {
            return Ok(None);
        }
        let [status_high, status_low] = bus.ask(ADDRESS, STATUS, WAIT_MS).await?;
        let words: [u16; 8] = bus.ask(ADDRESS, READ, WAIT_MS).await?;
        if broken(status_high, status_low) {
            return Err(Fault::SelfTest);
        }
        Ok(Some(convert(words)))
    }
}

/// Fan and laser: without them nothing of what it says about particles is true (device status register). Sensors of gas and humidity that
/// fail give no values.
pub(super) const fn broken(_high: u16, low: u16) -> bool {
    low & ((1 << 4) | (1 << 5)) != 0
}

/// What is not known, or not fitted, is all ones (and the largest positive number where there is a sign).
fn convert(words: [u16; 8]) -> Values {
    let mut values = Values::new();
    for (quantity, word) in ["pm1", "pm2_5", "pm4", "pm10"].into_iter().zip(words) {
        if word != u16::MAX {
            put(&mut values, quantity, f64::from(word) / 10.0);
        }
    }
    let signed = [("humidity", 100.0), ("temperature", 200.0), ("voc_index", 10.0), ("nox_index", 10.0)];
    for ((quantity, scale), word) in signed.into_iter().zip(words.into_iter().skip(4)) {
        // Zero is what an index is before it knows anything.
        let unknown = word == 0x7fff || word == u16::MAX || (scale == 10.0 && word == 0);
        if !unknown {
            put(&mut values, quantity, f64::from(word.cast_signed()) / scale);
        }
    }
    values
}

const ADDRESS: u8 = 0x69;
const START: u16 = 0x0021;
const STOP: u16 = 0x0104;
const READY: u16 = 0x0202;
const READ: u16 = 0x03c4;
const NAME: u16 = 0xd014;
const STATUS: u16 = 0xd206;
/// 20 ms for each of these, 50 ms for the start, 200 ms for the stop (table of commands).
const WAIT_MS: u32 = 20;
const START_MS: u32 = 50;
const STOP_MS: u32 = 200;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::{Chat, Recording, run};

    pub(in crate::part) fn recording() -> Recording {
        let a = ADDRESS;
        Recording {
            name: "SEN55",
            probe: Chat::at(a).write(&[0xd0, 0x14]).text(b"SEN55"),
            start: Chat::at(a).write(&[0x01, 0x04]).write(&[0x00, 0x21]),
            poll: Chat::at(a)
                .write(&[0x02, 0x02])
                .words(&[1])
                .write(&[0xd2, 0x06])
                .words(&[0, 0])
                .write(&[0x03, 0xc4])
                .words(&[55, 81, 99, 107, 4_500, 4_410, 1_030, 10]),
            idle: Chat::at(a).write(&[0x02, 0x02]).words(&[0]),
            values: &[
                ("pm1", 5.5),
                ("pm2_5", 8.1),
                ("pm4", 9.9),
                ("pm10", 10.7),
                ("humidity", 45.0),
                ("temperature", 22.05),
                ("voc_index", 103.0),
                ("nox_index", 1.0),
            ],
            may_refuse: &[0],
            poll_waits_ms: 60,
        }
    }

    fn poll(status: [u16; 2], words: [u16; 8]) -> Result<Option<Values>, Fault> {
        let chat = Chat::at(ADDRESS)
            .write(&[0x02, 0x02])
            .words(&[1])
            .write(&[0xd2, 0x06])
            .words(&status)
            .write(&[0x03, 0xc4])
            .words(&words);
        run(chat, async |bus| Sen5x.poll(bus, &Air::default()).await).0
    }

    #[test]
    fn what_is_not_fitted_or_not_known_is_left_out() {
        let none = [0xffff, 0xffff, 0xffff, 0xffff, 0x7fff, 0x7fff, 0x7fff, 0x7fff];
        assert_eq!(poll([0, 0], none).unwrap().unwrap().len(), 0);
        let cold = poll([0, 0], [1, 2, 3, 4, 0, (-400_i16).cast_unsigned(), 0, 0x7fff]).unwrap().unwrap();
        assert_eq!(crate::port::value(&cold, "temperature"), Some(-2.0));
        assert_eq!(cold.len(), 6);
    }

    #[test]
    fn a_fan_or_laser_that_failed_is_a_fault_and_a_warning_is_none() {
        let good = [1, 2, 3, 4, 5, 6, 7, 8];
        for (status, fault) in [([0, 1 << 4], true), ([0, 1 << 5], true), ([1 << 5, 0], false), ([0, 1 << 7], false)] {
            assert_eq!(poll(status, good).err(), fault.then_some(Fault::SelfTest), "{status:?}");
        }
    }
}
