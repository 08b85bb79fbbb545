//! Sensirion SHT40, SHT41, SHT43 and SHT45: temperature, humidity. Datasheet v6.1.

use crate::port::{Air, Sensor, Spec, Tuning, offer, values};
use crate::sensirion::celsius;
use crate::wire::Bus;
use casement_core::Fault;
use casement_core::record::Values;
use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::i2c::I2c;

static SPEC: Spec = Spec {
    name: "SHT4x",
    interval_ms: 2_000,
    patience_ms: 10_000,
    warm_up_ms: 0,
    conditioning_ms: 0,
    offers: &[offer("temperature", 0.2, (-40.0, 125.0)), offer("humidity", 1.8, (0.0, 100.0))],
};

#[derive(Debug)]
pub(crate) struct Sht4x {
    address: u8,
    serial: u64,
}

impl<I: I2c, D: DelayNs> Sensor<Bus<I, D>> for Sht4x {
    const PLACES: &'static [u8] = &[0x44, 0x45, 0x46];

    async fn probe(bus: &mut Bus<I, D>, address: u8) -> Result<Self, Fault> {
        bus.write(address, &[SERIAL]).await?;
        bus.wait_ms(COMMAND_MS).await;
        let [high, low] = bus.words(address).await?;
        Ok(Self { address, serial: (u64::from(high) << 16) | u64::from(low) })
    }

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn serial(&self) -> Option<u64> {
        Some(self.serial)
    }

    async fn start(&mut self, bus: &mut Bus<I, D>, _: &Tuning) -> Result<(), Fault> {
        bus.write(self.address, &[RESET]).await?;
        bus.wait_ms(COMMAND_MS).await;
        Ok(())
    }

    async fn poll(&mut self, bus: &mut Bus<I, D>, _: &Air) -> Result<Option<Values>, Fault> {
        bus.write(self.address, &[MEASURE]).await?;
        bus.wait_ms(MEASURE_MS).await;
        let [t, h] = bus.words(self.address).await?;
        // The formula goes a little beyond both ends, where it stands for the end.
        let humidity = (-6.0 + 125.0 * f64::from(h) / 65_535.0).clamp(0.0, 100.0);
        Ok(Some(values(&[("temperature", celsius(t)), ("humidity", humidity)])))
    }
}

const SERIAL: u8 = 0x89;
const RESET: u8 = 0x94;
/// With high precision.
const MEASURE: u8 = 0xfd;
/// Timing table: 8.3 ms at most.
const MEASURE_MS: u32 = 10;
/// Timing table: 1 ms at most after a reset.
const COMMAND_MS: u32 = 2;

#[cfg(test)]
pub(super) mod tests {
    use crate::bench::{Chat, Recording};

    pub(in crate::part) fn recording() -> Recording {
        let a = 0x44;
        Recording {
            name: "SHT4x",
            probe: Chat::at(a).write(&[0x89]).words(&[0x0f00, 0xba5e]),
            start: Chat::at(a).write(&[0x94]),
            // CRCs as in the datasheets' examples: 0x6667 (25 °C) has 0xa2, 0xbeef has 0x92.
            poll: Chat::at(a).write(&[0xfd]).read(&[0x66, 0x67, 0xa2, 0xbe, 0xef, 0x92]),
            idle: Chat::at(a),
            values: &[("temperature", 25.0), ("humidity", 87.23)],
            may_refuse: &[],
            poll_waits_ms: 10,
        }
    }
}
