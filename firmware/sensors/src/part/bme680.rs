//! Bosch BME680 and BME688: temperature, humidity, pressure, and the resistance of a gas plate. Datasheet BME680 v1.9.
//!
//! Its maker turns the resistance into an index with a library that is not free. So it is told as it is, in ohms: the
//! lower, the more volatile compounds. As it has no checksums, everything is read twice; in between it sleeps.

use crate::port::{Air, Sensor, Spec, Tuning, offer, put};
use crate::wire::Bus;
use casement_core::Fault;
use casement_core::record::Values;
use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::i2c::I2c;

static SPEC: Spec = Spec {
    name: "BME680",
    interval_ms: 3_000,
    patience_ms: 15_000,
    // The plate burns in; 5 min is what Bosch's own library waits.
    warm_up_ms: 300_000,
    conditioning_ms: 0,
    offers: &[
        offer("temperature", 1.0, (-40.0, 85.0)),
        offer("humidity", 3.0, (0.0, 100.0)),
        offer("pressure", 0.6, (300.0, 1_100.0)),
        offer("gas_resistance_ohm", 1.0, (100.0, 100_000_000.0)),
    ],
};

#[derive(Debug)]
pub(crate) struct Bme680 {
    address: u8,
    high_range: bool,
    trim: Option<Trim>,
}

impl<I: I2c, D: DelayNs> Sensor<Bus<I, D>> for Bme680 {
    const PLACES: &'static [u8] = &[0x76, 0x77];

    async fn probe(bus: &mut Bus<I, D>, address: u8) -> Result<Self, Fault> {
        if bus.registers(address, ID).await? != [0x61] {
            return Err(Fault::Bus);
        }
        // 1 is the BME688, whose gas plate has another range.
        let [variant] = bus.registers(address, VARIANT).await?;
        Ok(Self { address, high_range: variant == 1, trim: None })
    }

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn start(&mut self, bus: &mut Bus<I, D>, _: &Tuning) -> Result<(), Fault> {
        bus.write(self.address, &[RESET, 0xb6]).await?;
        bus.wait_ms(RESET_MS).await;
        let first = bus.registers(self.address, TRIM_A).await?;
        let second = bus.registers(self.address, TRIM_B).await?;
        let heater = bus.registers(self.address, TRIM_HEATER).await?;
        self.trim = Some(Trim::parse(first, second, heater).ok_or(Fault::SelfTest)?);
        Ok(())
    }

    async fn poll(&mut self, bus: &mut Bus<I, D>, air: &Air) -> Result<Option<Values>, Fault> {
        let trim = self.trim.as_ref().ok_or(Fault::SelfTest)?;
        let around = air.climate.map_or(25.0, |(celsius, _)| celsius);
        let run_gas = if self.high_range { 0b10_0000 } else { 0b01_0000 };
        for (register, value) in [
            (CTRL_HUMIDITY, 0b001),
            (HEATER_RESISTANCE, trim.heater(around)),
            (HEATER_WAIT, HEATER_TIME),
            (CTRL_GAS, run_gas),
            // Temperature and pressure once (001, 001), then sleep (forced, 01).
            (CTRL, 0b0010_0101),
        ] {
            bus.write(self.address, &[register, value]).await?;
        }
        bus.wait_ms(MEASURE_MS).await;
        let [status] = bus.registers(self.address, STATUS).await?;
        // Bit 7: new data; bit 5: still measuring.
        if status & 0b1010_0000 != 0b1000_0000 {
            return Ok(None);
        }
        let raw: [u8; 8] = bus.registers(self.address, DATA).await?;
        let gas: [u8; 2] =
            bus.registers(self.address, if self.high_range { GAS_HIGH } else { GAS_LOW }).await?;
        Ok(trim.convert(raw, gas, self.high_range))
    }
}

/// What this one chip was trimmed to ("trimming parameters"), in the names of the datasheet.
#[derive(Debug)]
struct Trim {
    t: [f64; 3],
    p: [f64; 10],
    h: [f64; 7],
    g: [f64; 3],
    heater_range: f64,
    heater_value: f64,
    switching_error: f64,
}

impl Trim {
    /// `a` begins at 0x8a, `b` at 0xe1, `heater` at 0x00. `None` when it is empty.
    fn parse(a: [u8; 23], b: [u8; 14], heater: [u8; 5]) -> Option<Self> {
        let [t2l, t2h, t3, _, p1l, p1h, p2l, p2h, p3, _, p4l, p4h, p5l, p5h, p7, p6, _, _, p8l, p8h, p9l, p9h, p10] =
            a;
        let [h2h, h12, h1h, h3, h4, h5, h6, h7, t1l, t1h, g2l, g2h, g1, g3] = b;
        let [heater_value, _, heater_range, _, switching] = heater;
        let signed = |low, high| f64::from(i16::from_le_bytes([low, high]));
        let unsigned = |low, high| f64::from(u16::from_le_bytes([low, high]));
        let small = |byte: u8| f64::from(byte.cast_signed());
        let it = Self {
            t: [unsigned(t1l, t1h), signed(t2l, t2h), small(t3)],
            p: [
                unsigned(p1l, p1h),
                signed(p2l, p2h),
                small(p3),
                signed(p4l, p4h),
                signed(p5l, p5h),
                small(p6),
                small(p7),
                signed(p8l, p8h),
                signed(p9l, p9h),
                f64::from(p10),
            ],
            h: [
                f64::from((u16::from(h1h) << 4) | u16::from(h12 & 0x0f)),
                f64::from((u16::from(h2h) << 4) | u16::from(h12 >> 4)),
                small(h3),
                small(h4),
                small(h5),
                f64::from(h6),
                small(h7),
            ],
            g: [small(g1), signed(g2l, g2h), small(g3)],
            heater_range: f64::from((heater_range >> 4) & 0b11),
            heater_value: small(heater_value),
            switching_error: f64::from(switching.cast_signed() >> 4),
        };
        (it.t[0] > 0.0 && it.p[0] > 0.0 && a != [0xff; 23]).then_some(it)
    }

    /// The code of the heater for [`HEATER_CELSIUS`].
    fn heater(&self, around: f64) -> u8 {
        let [g1, g2, g3] = self.g;
        let var4 = (g1 / 16.0 + 49.0) * (1.0 + (g2 / 32_768.0 * 0.000_5 + 0.002_35) * HEATER_CELSIUS);
        let var5 = var4 + g3 / 1_024.0 * around;
        let value = 1.0 + self.heater_value * 0.002;
        // The conversion saturates.
        (3.4 * (var5 * (4.0 / (4.0 + self.heater_range)) / value - 25.0)) as u8
    }

    /// The formulas in floating point; `None` when the chip skipped a measurement.
    fn convert(&self, raw: [u8; 8], [gas_high, gas_low]: [u8; 2], high_range: bool) -> Option<Values> {
        let [p0, p1, p2, t0, t1, t2, h0, h1] = raw;
        let twenty = |a: u8, b: u8, c: u8| (u32::from(a) << 12) | (u32::from(b) << 4) | (u32::from(c) >> 4);
        let (raw_p, raw_t, raw_h) = (twenty(p0, p1, p2), twenty(t0, t1, t2), u16::from_be_bytes([h0, h1]));
        if raw_t == SKIPPED || raw_p == SKIPPED {
            return None;
        }
        let [t1, t2, t3] = self.t;
        let raw_t = f64::from(raw_t);
        let far = raw_t / 131_072.0 - t1 / 8_192.0;
        let fine = (raw_t / 16_384.0 - t1 / 1_024.0) * t2 + far * far * t3 * 16.0;
        let celsius = fine / 5_120.0;
        let mut values = Values::new();
        put(&mut values, "temperature", celsius);
        if let Some(pascals) = self.pascals(f64::from(raw_p), fine) {
            put(&mut values, "pressure", pascals / 100.0);
        }
        put(&mut values, "humidity", self.humidity(f64::from(raw_h), celsius));
        // Bit 5: the value is valid; bit 4: the heater reached its temperature.
        if gas_low & 0b11_0000 == 0b11_0000 {
            let raw = (f64::from(gas_high) * 4.0) + f64::from(gas_low >> 6);
            let ohms = self.ohms(raw, gas_low & 0x0f, high_range);
            put(&mut values, "gas_resistance_ohm", ohms);
        }
        Some(values)
    }

    fn pascals(&self, raw: f64, fine: f64) -> Option<f64> {
        let [p1, p2, p3, p4, p5, p6, p7, p8, p9, p10] = self.p;
        let half = fine / 2.0 - 64_000.0;
        let var2 = half * half * (p6 / 131_072.0) + half * p5 * 2.0;
        let var2 = var2 / 4.0 + p4 * 65_536.0;
        let var1 = (p3 * half * half / 16_384.0 + p2 * half) / 524_288.0;
        let var1 = (1.0 + var1 / 32_768.0) * p1;
        if var1 == 0.0 {
            return None;
        }
        let p = (1_048_576.0 - raw - var2 / 4_096.0) * 6_250.0 / var1;
        let third = p / 256.0;
        let sum = p9 * p * p / 2_147_483_648.0 + p * (p8 / 32_768.0) + third * third * third * (p10 / 131_072.0);
        Some(p + (sum + p7 * 128.0) / 16.0)
    }

    fn humidity(&self, raw: f64, t: f64) -> f64 {
        let [h1, h2, h3, h4, h5, h6, h7] = self.h;
        let var1 = raw - (h1 * 16.0 + h3 / 2.0 * t);
        let var2 = var1 * (h2 / 262_144.0 * (1.0 + h4 / 16_384.0 * t + h5 / 1_048_576.0 * t * t));
        (var2 + (h6 / 16_384.0 + h7 / 2_097_152.0 * t) * var2 * var2).clamp(0.0, 100.0)
    }

    fn ohms(&self, raw: f64, range: u8, high_range: bool) -> f64 {
        let steps = f64::from(1_u32 << (range & 0x0f));
        if high_range {
            // Datasheet of the BME688, "gas resistance calculation".
            return 1_000_000.0 * (262_144.0 / steps) / (4_096.0 + (raw - 512.0) * 3.0);
        }
        let (k1, k2) = K.get(usize::from(range)).copied().unwrap_or_default();
        let var1 = 1_340.0 + 5.0 * self.switching_error;
        let var2 = var1 * (1.0 + k1 / 100.0);
        let var3 = 1.0 + k2 / 100.0;
        1.0 / (var3 * 0.000_000_125 * steps * ((raw - 512.0) / var2 + 1.0))
    }
}

/// What corrects each range, in percent.
static K: [(f64, f64); 16] = [
    (0.0, 0.0),
    (0.0, 0.0),
    (0.0, 0.0),
    (0.0, 0.0),
    (0.0, 0.1),
    (-1.0, 0.7),
    (0.0, 0.0),
    (-0.8, -0.8),
    (0.0, -0.1),
    (0.0, 0.0),
    (-0.2, 0.0),
    (-0.5, 0.0),
    (0.0, 0.0),
    (-1.0, 0.0),
    (0.0, 0.0),
    (0.0, 0.0),
];

const HEATER_CELSIUS: f64 = 320.0;
/// 148 ms: 37 times 4 ms.
const HEATER_TIME: u8 = 0b0110_0101;
const MEASURE_MS: u32 = 200;
const RESET_MS: u32 = 10;
const SKIPPED: u32 = 0x8_0000;
const ID: u8 = 0xd0;
const VARIANT: u8 = 0xf0;
const RESET: u8 = 0xe0;
const TRIM_A: u8 = 0x8a;
const TRIM_B: u8 = 0xe1;
const TRIM_HEATER: u8 = 0x00;
const HEATER_RESISTANCE: u8 = 0x5a;
const HEATER_WAIT: u8 = 0x64;
const CTRL_GAS: u8 = 0x71;
const CTRL_HUMIDITY: u8 = 0x72;
const CTRL: u8 = 0x74;
const STATUS: u8 = 0x1d;
const DATA: u8 = 0x1f;
const GAS_LOW: u8 = 0x2a;
const GAS_HIGH: u8 = 0x2c;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::{Chat, Recording};
    use crate::port::value;

    /// Of a real chip; with it the tests of the crate bosch-bme680 1.0.4 have what Bosch's own library computed.
    const A: [u8; 23] = [
        0x28, 0x68, 0x03, 0x00, 0x3f, 0x92, 0xb4, 0xd7, 0x58, 0x00, 0xed, 0x28, 0xcc, 0xfe, 0x3e, 0x1e, 0x00,
        0x00, 0xd8, 0xeb, 0xe0, 0xf9, 0x1e,
    ];
    const B: [u8; 14] =
        [0x3d, 0xd1, 0x37, 0x00, 0x2d, 0x14, 0x78, 0x9c, 0x56, 0x65, 0x7c, 0xdc, 0xbb, 0x12];
    const HEATER: [u8; 5] = [30, 0, 0x10, 0, 0];

    fn trim() -> Trim {
        Trim::parse(A, B, HEATER).unwrap()
    }

    pub(in crate::part) fn recording() -> Recording {
        let a = 0x76;
        let asked = Chat::at(a)
            .write(&[0x72, 0x01])
            .write(&[0x5a, trim().heater(25.0)])
            .write(&[0x64, 0x65])
            .write(&[0x71, 0x10])
            .write(&[0x74, 0x25]);
        Recording {
            name: "BME680",
            probe: Chat::at(a).register(0xd0, &[0x61]).register(0xf0, &[0x00]),
            start: Chat::at(a)
                .write(&[0xe0, 0xb6])
                .register(0x8a, &A)
                .register(0xe1, &B)
                .register(0x00, &HEATER),
            poll: asked
                .clone()
                .register(0x1d, &[0x80])
                // Raw: pressure 307,313, temperature 482,452, humidity 25,535.
                .register(0x1f, &[0x4b, 0x07, 0x10, 0x75, 0xc9, 0x40, 0x63, 0xbf])
                .register(0x2a, &[0x80, 0x3b]),
            idle: asked.register(0x1d, &[0x20]),
            values: &[
                ("temperature", 21.42),
                ("pressure", 950.58),
                ("humidity", 59.45),
                ("gas_resistance_ohm", 3_906.25),
            ],
            may_refuse: &[],
            poll_waits_ms: 200,
        }
    }

    #[test]
    fn it_computes_what_the_makers_library_computes() {
        let trim = trim();
        for (raw, fine, pascals) in [
            (307_582.0, 111_095.656_25, 95_058.664_062),
            (307_469.0, 110_525.921_875, 95_059.296_875),
            (307_254.0, 109_436.914_062, 95_060.328_125),
        ] {
            // It computes in single precision.
            assert!((trim.pascals(raw, fine).unwrap() - pascals).abs() < 0.1, "{raw}");
        }
        for (raw, percent, fine) in
            [(25_537.0, 59.469_585, 109_842.234_375), (25_549.0, 59.537_392, 109_531.328_125)]
        {
            assert!((trim.humidity(raw, fine / 5_120.0) - percent).abs() < 1e-4, "{raw}");
        }
    }

    #[test]
    fn gas_counts_when_it_is_valid_and_the_plate_was_hot() {
        let raw = [0x4b, 0x07, 0x10, 0x75, 0xc9, 0x40, 0x63, 0xbf];
        for (low, there) in [(0x3b, true), (0x1b, false), (0x2b, false), (0x0b, false)] {
            let values = trim().convert(raw, [0x80, low], false).unwrap();
            assert_eq!(value(&values, "gas_resistance_ohm").is_some(), there, "{low:02x}");
        }
        // The formula of the BME688: 262,144 / 4,096 at the middle of range 0 is 64 MΩ.
        assert_eq!(trim().ohms(512.0, 0, true), 64_000_000.0);
    }

    #[test]
    fn a_chip_without_trim_is_broken_and_a_skipped_measurement_is_none() {
        assert!(Trim::parse([0; 23], [0; 14], [0; 5]).is_none());
        assert!(Trim::parse([0xff; 23], [0xff; 14], [0xff; 5]).is_none());
        assert!(trim().convert([0x80, 0, 0, 0x80, 0, 0, 0x80, 0], [0, 0], false).is_none());
    }
}
