//! Bosch BME280: temperature, humidity, pressure; and BMP280, which has no humidity. Datasheet v1.23.
//!
//! It has no checksum for what it measures, so everything is read twice: in between it sleeps and nothing changes.

use crate::port::{Air, Sensor, Spec, Tuning, offer, put};
use crate::wire::Bus;
use casement_core::Fault;
use casement_core::record::Values;
use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::i2c::I2c;

static SPEC: Spec = Spec {
    name: "BME280",
    interval_ms: 2_000,
    patience_ms: 10_000,
    warm_up_ms: 0,
    conditioning_ms: 0,
    offers: &[
        offer("temperature", 1.0, (-40.0, 85.0)),
        offer("humidity", 3.0, (0.0, 100.0)),
        offer("pressure", 1.0, (300.0, 1_100.0)),
    ],
};

#[derive(Debug)]
pub(crate) struct Bme280 {
    address: u8,
    has_humidity: bool,
    trim: Option<Trim>,
}

impl<I: I2c, D: DelayNs> Sensor<Bus<I, D>> for Bme280 {
    const PLACES: &'static [u8] = &[0x76, 0x77];

    async fn probe(bus: &mut Bus<I, D>, address: u8) -> Result<Self, Fault> {
        match bus.registers(address, ID).await? {
            [0x60] => Ok(Self { address, has_humidity: true, trim: None }),
            [0x58] => Ok(Self { address, has_humidity: false, trim: None }),
            _ => Err(Fault::Bus),
        }
    }

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn start(&mut self, bus: &mut Bus<I, D>, _: &Tuning) -> Result<(), Fault> {
        bus.write(self.address, &[RESET, 0xb6]).await?;
        bus.wait_ms(RESET_MS).await;
        let first = bus.registers(self.address, TRIM).await?;
        let second = if self.has_humidity { bus.registers(self.address, TRIM_HUMIDITY).await? } else { [0; 7] };
        self.trim = Some(Trim::parse(first, second).ok_or(Fault::SelfTest)?);
        Ok(())
    }

    async fn poll(&mut self, bus: &mut Bus<I, D>, _: &Air) -> Result<Option<Values>, Fault> {
        let trim = self.trim.as_ref().ok_or(Fault::SelfTest)?;
        // Everything once, then sleep (§3.3.3). Humidity first: it counts from the second write on (§5.4.3).
        if self.has_humidity {
            bus.write(self.address, &[CTRL_HUMIDITY, 0b001]).await?;
        }
        bus.write(self.address, &[CTRL, 0b0010_0101]).await?;
        bus.wait_ms(MEASURE_MS).await;
        let [status] = bus.registers(self.address, STATUS).await?;
        if status & 0b1000 != 0 {
            return Ok(None);
        }
        let raw: [u8; 8] = bus.registers(self.address, DATA).await?;
        Ok(trim.convert(raw, self.has_humidity))
    }
}

/// What this one chip was trimmed to (§4.2.2), in the names of the datasheet.
#[derive(Debug)]
struct Trim {
    t: [f64; 3],
    p: [f64; 9],
    h: [f64; 6],
}

impl Trim {
    /// `None` when it is empty: then nothing can be computed.
    fn parse(a: [u8; 26], b: [u8; 7]) -> Option<Self> {
        let unsigned = |at: usize| Some(f64::from(u16::from_le_bytes([*a.get(at)?, *a.get(at + 1)?])));
        let signed = |at: usize| Some(f64::from(i16::from_le_bytes([*a.get(at)?, *a.get(at + 1)?])));
        let [h2_low, h2_high, h3, h4_high, h45, h5_high, h6] = b;
        let twelve = |high: u8, low: u8| f64::from(i16::from(high.cast_signed()) * 16 + i16::from(low));
        let mut p = [unsigned(6)?; 9];
        for (at, p) in p.iter_mut().enumerate().skip(1) {
            *p = signed(6 + 2 * at)?;
        }
        let it = Self {
            t: [unsigned(0)?, signed(2)?, signed(4)?],
            p,
            h: [
                f64::from(*a.last()?),
                f64::from(i16::from_le_bytes([h2_low, h2_high])),
                f64::from(h3),
                twelve(h4_high, h45 & 0x0f),
                twelve(h5_high, h45 >> 4),
                f64::from(h6.cast_signed()),
            ],
        };
        (it.t[0] > 0.0 && it.p[0] > 0.0 && a != [0xff; 26]).then_some(it)
    }

    /// §8.1, in floating point; `None` when the chip skipped a measurement.
    fn convert(&self, [p0, p1, p2, t0, t1, t2, h0, h1]: [u8; 8], has_humidity: bool) -> Option<Values> {
        let twenty = |a: u8, b: u8, c: u8| (u32::from(a) << 12) | (u32::from(b) << 4) | (u32::from(c) >> 4);
        let (raw_p, raw_t, raw_h) = (twenty(p0, p1, p2), twenty(t0, t1, t2), u16::from_be_bytes([h0, h1]));
        if raw_t == SKIPPED || raw_p == SKIPPED {
            return None;
        }
        let [t1, t2, t3] = self.t;
        let raw_t = f64::from(raw_t);
        let far = raw_t / 131_072.0 - t1 / 8_192.0;
        let fine = (raw_t / 16_384.0 - t1 / 1_024.0) * t2 + far * far * t3;
        let mut values = Values::new();
        put(&mut values, "temperature", fine / 5_120.0);
        if let Some(pascals) = self.pascals(f64::from(raw_p), fine) {
            put(&mut values, "pressure", pascals / 100.0);
        }
        if has_humidity && u32::from(raw_h) != SKIPPED >> 4 {
            put(&mut values, "humidity", self.humidity(f64::from(raw_h), fine));
        }
        Some(values)
    }

    fn pascals(&self, raw: f64, fine: f64) -> Option<f64> {
        let [p1, p2, p3, p4, p5, p6, p7, p8, p9] = self.p;
        let half = fine / 2.0 - 64_000.0;
        let var2 = half * half * p6 / 32_768.0 + half * p5 * 2.0;
        let var2 = var2 / 4.0 + p4 * 65_536.0;
        let var1 = (p3 * half * half / 524_288.0 + p2 * half) / 524_288.0;
        let var1 = (1.0 + var1 / 32_768.0) * p1;
        if var1 == 0.0 {
            return None;
        }
        let p = (1_048_576.0 - raw - var2 / 4_096.0) * 6_250.0 / var1;
        Some(p + (p9 * p * p / 2_147_483_648.0 + p * p8 / 32_768.0 + p7) / 16.0)
    }

    fn humidity(&self, raw: f64, fine: f64) -> f64 {
        let [h1, h2, h3, h4, h5, h6] = self.h;
        let t = fine - 76_800.0;
        let h = (raw - (h4 * 64.0 + h5 / 16_384.0 * t))
            * (h2 / 65_536.0
                * (1.0 + h6 / 67_108_864.0 * t * (1.0 + h3 / 67_108_864.0 * t)));
        (h * (1.0 - h1 * h / 524_288.0)).clamp(0.0, 100.0)
    }
}

const ID: u8 = 0xd0;
const RESET: u8 = 0xe0;
const TRIM: u8 = 0x88;
const TRIM_HUMIDITY: u8 = 0xe1;
const CTRL_HUMIDITY: u8 = 0xf2;
const STATUS: u8 = 0xf3;
const CTRL: u8 = 0xf4;
const DATA: u8 = 0xf7;
/// What a measurement that was skipped leaves (§5.4.7).
const SKIPPED: u32 = 0x8_0000;
/// §9.1: 9.3 ms at most for each quantity once.
const MEASURE_MS: u32 = 10;
/// §1.1: 2 ms until it answers, and then it copies its trim.
const RESET_MS: u32 = 5;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::{Chat, Recording};
    use crate::port::value;

    /// The example of BMP280 datasheet v1.14 §3.12, which computes the same way, with a humidity trim made up in
    /// the usual range.
    const TRIM_A: [u8; 26] = [
        0x70, 0x6b, 0x43, 0x67, 0x18, 0xfc, 0x7d, 0x8e, 0x43, 0xd6, 0xd0, 0x0b, 0x27, 0x0b, 0x8c, 0x00, 0xf9,
        0xff, 0x8c, 0x3c, 0xf8, 0xc6, 0x70, 0x17, 0x00, 0x4b,
    ];
    const TRIM_B: [u8; 7] = [0x6d, 0x01, 0x00, 0x13, 0x2f, 0x03, 0x1e];
    const RAW: [u8; 8] = [0x65, 0x5a, 0xc0, 0x7e, 0xed, 0x00, 0x75, 0x30];

    pub(in crate::part) fn recording() -> Recording {
        let a = 0x76;
        Recording {
            name: "BME280",
            probe: Chat::at(a).register(0xd0, &[0x60]),
            start: Chat::at(a).write(&[0xe0, 0xb6]).register(0x88, &TRIM_A).register(0xe1, &TRIM_B),
            poll: Chat::at(a)
                .write(&[0xf2, 0x01])
                .write(&[0xf4, 0x25])
                .register(0xf3, &[0x00])
                .register(0xf7, &RAW),
            idle: Chat::at(a).write(&[0xf2, 0x01]).write(&[0xf4, 0x25]).register(0xf3, &[0x08]),
            // §3.12: 25.08 °C and 100,653.27 Pa.
            values: &[("temperature", 25.08), ("pressure", 1_006.53), ("humidity", HUMIDITY)],
            may_refuse: &[],
            poll_waits_ms: 10,
        }
    }

    /// What the datasheet's formula in whole numbers says, see below.
    const HUMIDITY: f64 = 53.3;

    /// §4.2.3, the formula in whole numbers, as another way to the same result.
    fn whole_number_humidity(raw: i32, fine: i32) -> f64 {
        let (h1, h2, h3, h4, h5, h6) = (0x4b, 0x016d, 0x00, 0x13 * 16 + 0x0f, 0x03 * 16 + 0x02, 0x1e);
        let v = fine - 76_800;
        let v = ((((raw << 14) - (h4 << 20) - (h5 * v)) + 16_384) >> 15)
            * (((((((v * h6) >> 10) * (((v * h3) >> 11) + 32_768)) >> 10) + 2_097_152) * h2 + 8_192) >> 14);
        let v = v - (((((v >> 15) * (v >> 15)) >> 7) * h1) >> 4);
        f64::from(v.clamp(0, 419_430_400) >> 12) / 1_024.0
    }

    #[test]
    fn both_formulas_of_the_datasheet_agree() {
        let trim = Trim::parse(TRIM_A, TRIM_B).unwrap();
        for raw in [10_000, 20_000, 25_000, 28_000, 30_000, 32_000, 36_000, 60_000] {
            let [high, low] = u16::try_from(raw).unwrap().to_be_bytes();
            let [p0, p1, p2, t0, t1, t2, _, _] = RAW;
            let values = trim.convert([p0, p1, p2, t0, t1, t2, high, low], true).unwrap();
            // 25.08 °C is 128,422 in the fine scale (BMP280 datasheet §3.12).
            let other = whole_number_humidity(raw, 128_422);
            assert!((value(&values, "humidity").unwrap() - other).abs() < 0.05, "{raw}: {values:?} {other}");
        }
    }

    #[test]
    fn a_chip_without_trim_is_broken_and_a_skipped_measurement_is_none() {
        assert!(Trim::parse([0; 26], [0; 7]).is_none());
        assert!(Trim::parse([0xff; 26], [0xff; 7]).is_none());
        let trim = Trim::parse(TRIM_A, TRIM_B).unwrap();
        assert!(trim.convert([0x80, 0, 0, 0x80, 0, 0, 0x80, 0], true).is_none());
    }
}
