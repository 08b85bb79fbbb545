//! The one table of quantities. API, dashboard, export and light read names, units and ranges from here.

use core::fmt;

/// How a number comes about. Measured and estimated quantities never share a name, a chart or a band.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A sensor that responds to the quantity itself (NDIR or photoacoustic CO2, a thermistor, a laser counter).
    Measured,
    /// Derived from something else by a model (eCO2 and TVOC from a metal-oxide sensor, gas indices).
    Estimated,
}

impl Method {
    /// The word used on the wire: `measured` or `estimated`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Estimated => "estimated",
        }
    }
}

/// One quantity that has a unit and a range.
#[derive(Debug, PartialEq)]
pub struct Metric {
    /// Name on the wire and in the API, for example `pm2_5`.
    pub name: &'static str,
    /// Name for people, for example `PM2.5`.
    pub label: &'static str,
    /// Unit for people, for example `µg/m³`; empty for an index.
    pub unit: &'static str,
    /// Unit code of the Unified Code for Units of Measure (<https://ucum.org>), for example `ug/m3`.
    pub ucum: &'static str,
    /// Smallest value that can be true, in `unit`. Anything below is a fault, not a reading.
    pub min: f64,
    /// Largest value that can be true, in `unit`.
    pub max: f64,
    /// Decimal places worth showing and sending.
    pub precision: u8,
    /// Measured or estimated.
    pub method: Method,
}

const fn measured(
    name: &'static str,
    label: &'static str,
    unit: &'static str,
    ucum: &'static str,
    range: (f64, f64),
    precision: u8,
) -> Metric {
    Metric { name, label, unit, ucum, min: range.0, max: range.1, precision, method: Method::Measured }
}

const fn estimated(
    name: &'static str,
    label: &'static str,
    unit: &'static str,
    ucum: &'static str,
    range: (f64, f64),
    precision: u8,
) -> Metric {
    Metric { name, label, unit, ucum, min: range.0, max: range.1, precision, method: Method::Estimated }
}

/// Every quantity with a meaning of its own. A new one is one line here and nothing else.
///
/// Ranges are the widest of the sensors in use, so that a value outside is a fault: CO2 up to 40,000 ppm (SCD4x
/// datasheet v1.4 §2.1), eCO2 up to 60,000 ppm and TVOC up to 60,000 ppb (SGP30 datasheet v0.9 §1), gas indices 0 to
/// 500 (SGP41 datasheet v1.0), pressure 300 to 1,100 hPa (BME280 datasheet v1.23 §1.3).
pub static METRICS: &[Metric] = &[
    measured("co2", "CO₂", "ppm", "[ppm]", (0.0, 40_000.0), 0),
    estimated("eco2", "eCO₂", "ppm", "[ppm]", (0.0, 60_000.0), 0),
    estimated("tvoc", "TVOC", "ppb", "[ppb]", (0.0, 60_000.0), 0),
    measured("temperature", "Temperature", "°C", "Cel", (-60.0, 125.0), 2),
    measured("humidity", "Humidity", "%RH", "%", (0.0, 100.0), 2),
    measured("pressure", "Pressure", "hPa", "hPa", (300.0, 1_100.0), 1),
    measured("pm1", "PM1", "µg/m³", "ug/m3", (0.0, 10_000.0), 1),
    measured("pm2_5", "PM2.5", "µg/m³", "ug/m3", (0.0, 10_000.0), 1),
    measured("pm4", "PM4", "µg/m³", "ug/m3", (0.0, 10_000.0), 1),
    measured("pm10", "PM10", "µg/m³", "ug/m3", (0.0, 10_000.0), 1),
    estimated("voc_index", "VOC index", "", "{index}", (0.0, 500.0), 0),
    estimated("nox_index", "NOx index", "", "{index}", (0.0, 500.0), 0),
    measured("illuminance", "Light", "lx", "lx", (0.0, 200_000.0), 1),
    measured("noise", "Noise", "dB(A)", "dB[A]", (0.0, 140.0), 1),
    measured("formaldehyde", "Formaldehyde", "ppb", "[ppb]", (0.0, 5_000.0), 1),
    measured("radon", "Radon", "Bq/m³", "Bq/m3", (0.0, 100_000.0), 0),
    measured("battery", "Battery", "V", "V", (0.0, 60.0), 2),
    measured("rssi", "Wi-Fi signal", "dBm", "dB[mW]", (-130.0, 20.0), 0),
];

/// Finds a quantity of the table by its wire name.
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// Longest name of a quantity, in bytes.
pub const NAME_BYTES_MAX: usize = 32;

/// A name that matches `[a-z][a-z0-9_]{0,31}`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricName {
    bytes: [u8; NAME_BYTES_MAX],
    len: u8,
}

impl MetricName {
    /// Takes a name that matches the pattern; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let source = text.as_bytes();
        let (first, rest) = source.split_first()?;
        let fits = source.len() <= NAME_BYTES_MAX
            && first.is_ascii_lowercase()
            && rest.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_');
        if !fits {
            return None;
        }
        let mut bytes = [0; NAME_BYTES_MAX];
        bytes.get_mut(..source.len())?.copy_from_slice(source);
        Some(Self { bytes, len: u8::try_from(source.len()).ok()? })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        // Only ASCII gets past `parse`, so the empty fallback is never taken.
        core::str::from_utf8(self.bytes.get(..usize::from(self.len)).unwrap_or_default()).unwrap_or_default()
    }
}

impl fmt::Debug for MetricName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for MetricName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A quantity as it travels: one of the table, or a custom one that is kept without a unit.
#[derive(Clone, Copy)]
pub enum Quantity {
    /// A row of [`METRICS`].
    Known(&'static Metric),
    /// Any other well-formed name.
    Custom(MetricName),
}

impl Quantity {
    /// Recognises a name; `None` when it does not match `[a-z][a-z0-9_]{0,31}`.
    pub fn parse(name: &str) -> Option<Self> {
        match find(name) {
            Some(metric) => Some(Self::Known(metric)),
            None => MetricName::parse(name).map(Self::Custom),
        }
    }

    /// Name on the wire.
    pub fn name(&self) -> &str {
        match self {
            Self::Known(metric) => metric.name,
            Self::Custom(name) => name.as_str(),
        }
    }

    /// Unit for people; empty for an index or a custom quantity.
    pub const fn unit(&self) -> &'static str {
        match self {
            Self::Known(metric) => metric.unit,
            Self::Custom(_) => "",
        }
    }

    /// Whether a value can be true for this quantity. Custom quantities take every finite number.
    pub fn holds(&self, value: f64) -> bool {
        value.is_finite()
            && match self {
                Self::Known(metric) => (metric.min..=metric.max).contains(&value),
                Self::Custom(_) => true,
            }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Quantity {}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_well_formed_and_unique() {
        for (i, metric) in METRICS.iter().enumerate() {
            assert!(MetricName::parse(metric.name).is_some(), "{}", metric.name);
            assert!(metric.min < metric.max, "{}", metric.name);
            assert!(metric.precision <= 3, "{}", metric.name);
            assert!(!metric.label.is_empty() && !metric.ucum.is_empty(), "{}", metric.name);
            assert!(METRICS.iter().skip(i + 1).all(|other| other.name != metric.name), "{}", metric.name);
        }
    }

    #[test]
    fn real_and_estimated_co2_are_different_quantities() {
        let (real, estimate) = (find("co2").unwrap(), find("eco2").unwrap());
        assert_eq!((real.method, estimate.method), (Method::Measured, Method::Estimated));
    }

    #[test]
    fn names_outside_the_pattern_are_refused() {
        for good in ["a", "window_open", "x1", "abcdefghijklmnopqrstuvwxyz_01234"] {
            assert_eq!(MetricName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "1a", "_a", "A", "a-b", "é", "a b", "abcdefghijklmnopqrstuvwxyz_0123456"] {
            assert_eq!(MetricName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_value_outside_its_range_cannot_be_true() {
        let co2 = Quantity::parse("co2").unwrap();
        for (value, holds) in [
            (0.0, true),
            (40_000.0, true),
            (40_001.0, false),
            (-1.0, false),
            (f64::NAN, false),
            (f64::INFINITY, false),
        ] {
            assert_eq!(co2.holds(value), holds, "{value}");
        }
        assert!(Quantity::parse("my_own").unwrap().holds(-1e30));
        assert!(!Quantity::parse("my_own").unwrap().holds(f64::NAN));
    }
}
