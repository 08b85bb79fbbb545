//! Sensirion SHT30, SHT31 and SHT35: temperature, humidity. Datasheet v7.

use crate::port::{Air, Sensor, Spec, Tuning, offer, values};
use crate::sensirion::{celsius, humidity};
use crate::wire::Bus;
use casement_core::Fault;
use casement_core::record::Values;
use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::i2c::I2c;

static SPEC: Spec = Spec {
    name: "SHT3x",
    interval_ms: 2_000,
    patience_ms: 10_000,
    warm_up_ms: 0,
    conditioning_ms: 0,
    offers: &[offer("temperature", 0.3, (-40.0, 125.0)), offer("humidity", 2.0, (0.0, 100.0))],
};

#[derive(Debug)]
pub(crate) struct Sht3x {
    address: u8,
}

impl<I: I2c, D: DelayNs> Sensor<Bus<I, D>> for Sht3x {
    const PLACES: &'static [u8] = &[0x44, 0x45];

    async fn probe(bus: &mut Bus<I, D>, address: u8) -> Result<Self, Fault> {
        let [_status] = bus.ask(address, STATUS, COMMAND_MS).await?;
        Ok(Self { address })
    }

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn start(&mut self, bus: &mut Bus<I, D>, _: &Tuning) -> Result<(), Fault> {
        bus.command(self.address, RESET, &[], COMMAND_MS).await
    }

    async fn poll(&mut self, bus: &mut Bus<I, D>, _: &Air) -> Result<Option<Values>, Fault> {
        let [t, h] = bus.ask(self.address, MEASURE, MEASURE_MS).await?;
        Ok(Some(values(&[("temperature", celsius(t)), ("humidity", humidity(h))])))
    }
}

const STATUS: u16 = 0xf32d;
const RESET: u16 = 0x30a2;
/// One shot, high repeatability, without holding the clock.
const MEASURE: u16 = 0x2400;
/// Timing table: 15.5 ms at most.
const MEASURE_MS: u32 = 16;
/// Timing table: 1.5 ms at most after a reset.
const COMMAND_MS: u32 = 2;

#[cfg(test)]
pub(super) mod tests {
    use crate::bench::{Chat, Recording};

    pub(in crate::part) fn recording() -> Recording {
        let a = 0x44;
        Recording {
            name: "SHT3x",
            probe: Chat::at(a).write(&[0xf3, 0x2d]).words(&[0x8010]),
            start: Chat::at(a).write(&[0x30, 0xa2]),
            poll: Chat::at(a).write(&[0x24, 0x00]).read(&[0x66, 0x67, 0xa2, 0xbe, 0xef, 0x92]),
            idle: Chat::at(a),
            values: &[("temperature", 25.0), ("humidity", 74.58)],
            may_refuse: &[],
            poll_waits_ms: 16,
        }
    }
}
