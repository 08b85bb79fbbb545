//! What a sensor is to the rest of the device: what it gives, how well, and how it is asked.

use casement_core::Fault;
use casement_core::record::Values;
use casement_proto::{DeviceSettings, Quantity};

/// One quantity that a sensor gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offer {
    /// Name of the quantity in the metric table; `gas_resistance_ohm` is the one that is not there.
    pub quantity: &'static str,
    /// Typical error at 25 °C, 50 %RH and 1,000 ppm in the quantity's unit, from the datasheet. Of two sensors that give
    /// the same quantity the one with the smaller error is believed.
    pub error: f64,
    /// What the sensor can give, in the quantity's unit. Anything outside is a fault.
    pub span: (f64, f64),
}

/// What a kind of sensor is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spec {
    /// Name for people, as on its datasheet.
    pub name: &'static str,
    /// How often it is asked, in milliseconds.
    pub interval_ms: u32,
    /// Without a new value for this long it is not ready in time, in milliseconds.
    pub patience_ms: u32,
    /// From its start until it is in equilibrium, in milliseconds.
    pub warm_up_ms: u32,
    /// From its start until it has found its baseline, in milliseconds; 0 when it needs none.
    pub conditioning_ms: u32,
    /// What it gives.
    pub offers: &'static [Offer],
}

impl Spec {
    /// What it says about a quantity.
    pub fn offer(&self, quantity: &str) -> Option<&'static Offer> {
        self.offers.iter().find(|offer| offer.quantity == quantity)
    }
}

/// A sensor over the wire `W`: [`Bus`](crate::Bus) or [`Line`](crate::Line). It moves bytes and converts them; when to ask and what to
/// think of the answer is not decided here.
pub(crate) trait Sensor<W>: Sized {
    /// Where it may be: I2C addresses, in the order in which they are tried. A module on a line is nowhere else: `[0]`.
    const PLACES: &'static [u8];

    /// Asks for something that only this kind of sensor answers. An error means that it is not there.
    async fn probe(wire: &mut W, place: u8) -> Result<Self, Fault>;

    /// What it is like.
    fn spec(&self) -> &'static Spec;

    /// Its serial number, when it has one that can be read.
    fn serial(&self) -> Option<u64> {
        None
    }

    /// Brings it from any state to measuring.
    async fn start(&mut self, wire: &mut W, tuning: &Tuning) -> Result<(), Fault>;

    /// Takes what it measured; `None` while there is nothing new.
    async fn poll(&mut self, wire: &mut W, air: &Air) -> Result<Option<Values>, Fault>;

    /// Tells it that the CO2 around it is `ppm` at the moment.
    async fn recalibrate(&mut self, _wire: &mut W, _ppm: u16) -> Result<(), CalibrationError> {
        Err(CalibrationError::NotPossible)
    }

    /// Whether it finds a baseline that should outlive a restart.
    fn learns(&self) -> bool {
        false
    }

    /// Its present baseline.
    async fn baseline(&mut self, _wire: &mut W) -> Result<Baseline, Fault> {
        Err(Fault::SelfTest)
    }

    /// Gives a baseline back to it, after its start.
    async fn restore(&mut self, _wire: &mut W, _baseline: Baseline) -> Result<(), Fault> {
        Ok(())
    }
}

/// What other sensors know about the air, for compensation. Only fresh values that are trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Air {
    /// Temperature in °C and relative humidity in %, of the same or of two sensors.
    pub(crate) climate: Option<(f64, f64)>,
    /// Air pressure.
    pub(crate) pressure: Option<Pressure>,
}

/// What a gas sensor found to be clean air, in its own numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    /// For estimated CO2.
    pub eco2: u16,
    /// For volatile compounds.
    pub tvoc: u16,
}

/// Air pressure within what sensors take, so that hectopascals and pascals cannot be mixed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pressure {
    hpa: u16,
}

impl Pressure {
    /// Takes hectopascals, 700 to 1,200 (SCD4x datasheet, `set_ambient_pressure`).
    ///
    /// # Errors
    /// Anything outside, and says so when it looks like pascals.
    pub fn from_hpa(hpa: f64) -> Result<Self, TuningError> {
        if (70_000.0..=120_000.0).contains(&hpa) {
            return Err(TuningError::Pascals);
        }
        if !(700.0..=1_200.0).contains(&hpa) {
            return Err(TuningError::Pressure);
        }
        Ok(Self { hpa: (hpa + 0.5) as u16 })
    }

    /// Whole hectopascals (the same number as millibars).
    pub const fn hpa(self) -> u16 {
        self.hpa
    }
}

/// The highest place that every sensor can be told, in metres over the sea.
const ALTITUDE_M_MAX: u16 = 3_000;

/// How CO2 sensors are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    self_calibration: bool,
    target_ppm: u16,
    altitude_m: u16,
    pressure: Option<Pressure>,
}

impl Default for Tuning {
    /// Self-calibration to today's outdoor air of 425 ppm, at sea level.
    fn default() -> Self {
        Self { self_calibration: true, target_ppm: 425, altitude_m: 0, pressure: None }
    }
}

impl From<&DeviceSettings> for Tuning {
    /// Sensors take less than settings: below the sea counts as at the sea, and no mountain is higher than 3,000 m.
    fn from(settings: &DeviceSettings) -> Self {
        let target = settings.self_calibration_ppm();
        let tuning = Self::default().self_calibration(target.is_some());
        let tuning = target.and_then(|ppm| tuning.target_ppm(ppm).ok()).unwrap_or(tuning);
        Self { altitude_m: u16::try_from(settings.altitude_m()).unwrap_or(0).min(ALTITUDE_M_MAX), ..tuning }
    }
}

impl Tuning {
    /// Whether sensors take the lowest CO2 of a week for outdoor air. Wrong where windows never open.
    #[must_use]
    pub const fn self_calibration(self, on: bool) -> Self {
        Self { self_calibration: on, ..self }
    }

    /// Outdoor CO2 in ppm, 400 to 2,000, for sensors that can be told (SCD4x).
    ///
    /// # Errors
    /// Anything outside.
    pub const fn target_ppm(self, ppm: u16) -> Result<Self, TuningError> {
        if ppm < 400 || ppm > 2_000 {
            return Err(TuningError::Target);
        }
        Ok(Self { target_ppm: ppm, ..self })
    }

    /// Metres above the sea, 0 to 3,000. Counts while no pressure is known.
    ///
    /// # Errors
    /// Anything outside.
    pub const fn altitude_m(self, metres: u16) -> Result<Self, TuningError> {
        if metres > ALTITUDE_M_MAX {
            return Err(TuningError::Altitude);
        }
        Ok(Self { altitude_m: metres, ..self })
    }

    /// The usual air pressure of the place. A pressure that a sensor measures counts before it.
    #[must_use]
    pub const fn pressure(self, pressure: Option<Pressure>) -> Self {
        Self { pressure, ..self }
    }

    pub(crate) const fn calibrates_itself(&self) -> bool {
        self.self_calibration
    }

    pub(crate) const fn target(&self) -> u16 {
        self.target_ppm
    }

    pub(crate) const fn altitude(&self) -> u16 {
        self.altitude_m
    }

    pub(crate) const fn usual_pressure(&self) -> Option<Pressure> {
        self.pressure
    }
}

/// Why a setting of the sensors was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TuningError {
    /// Self-calibration target out of bounds.
    #[error("the CO2 of outdoor air must be between 400 and 2,000 ppm")]
    Target,
    /// Altitude out of bounds.
    #[error("the altitude must be between 0 and 3,000 m")]
    Altitude,
    /// Pressure out of bounds.
    #[error("the air pressure must be between 700 and 1,200 hPa")]
    Pressure,
    /// Pressure out of bounds, and a hundred times too large.
    #[error("the air pressure must be in hectopascals; this looks like pascals: divide it by 100")]
    Pascals,
}

/// Why a forced calibration did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalibrationError {
    /// Nothing here measures CO2, or what does cannot be calibrated by a command.
    #[error("no sensor here can be calibrated")]
    NotPossible,
    /// The target is out of bounds.
    #[error("the CO2 to calibrate to must be between 400 and 2,000 ppm")]
    Target,
    /// This sensor can only be told that it is in fresh air.
    #[error("this sensor can only be calibrated in fresh air: the target must be 400 to 450 ppm")]
    FreshAirOnly,
    /// The sensor must measure this much longer in the air it is calibrated to.
    #[error("the sensor must measure {wait_s} s more in this air before")]
    TooEarly {
        /// Seconds to wait.
        wait_s: u32,
    },
    /// The sensor refused: its air is too far from the target, or it has not measured long enough.
    #[error("the sensor refused the calibration")]
    Refused,
    /// The wire failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Adds a value. Unknown names become custom quantities; a sensor never gives more than fit.
pub(crate) fn put(values: &mut Values, quantity: &str, value: f64) {
    if let Some(quantity) = Quantity::parse(quantity) {
        let _full = values.push((quantity, value));
    }
}

/// The values of a list.
pub(crate) fn values(list: &[(&str, f64)]) -> Values {
    let mut values = Values::new();
    for (quantity, value) in list {
        put(&mut values, quantity, *value);
    }
    values
}

/// The value of a quantity.
pub(crate) fn value(values: &Values, quantity: &str) -> Option<f64> {
    values.iter().find(|(other, _)| other.name() == quantity).map(|(_, value)| *value)
}

pub(crate) const fn offer(quantity: &'static str, error: f64, span: (f64, f64)) -> Offer {
    Offer { quantity, error, span }
}

/// Fresh air, for sensors whose calibration knows no other target.
pub(crate) const FRESH_PPM: core::ops::RangeInclusive<u16> = 400..=450;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_bounds_are_refused_by_name() {
        let it = Tuning::default();
        assert_eq!(it.target_ppm(399), Err(TuningError::Target));
        assert_eq!(it.target_ppm(2_001), Err(TuningError::Target));
        assert_eq!(it.altitude_m(3_001), Err(TuningError::Altitude));
        assert!(it.target_ppm(400).is_ok() && it.target_ppm(2_000).is_ok() && it.altitude_m(3_000).is_ok());
        assert_eq!(it.target_ppm(it.target()), Ok(it));
    }

    #[test]
    fn what_is_set_on_a_device_is_what_its_sensors_can_take() {
        let of = |settings: DeviceSettings| {
            let tuning = Tuning::from(&settings);
            (tuning.calibrates_itself(), tuning.target(), tuning.altitude())
        };
        let set = DeviceSettings::default;
        assert_eq!(of(set()), (true, set().self_calibration_ppm().unwrap(), 0));
        assert_eq!(of(set().with_self_calibration_ppm(Some(600)).unwrap()), (true, 600, 0));
        assert!(!of(set().with_self_calibration_ppm(None).unwrap()).0);
        for (metres, told) in [(-430, 0), (520, 520), (3_000, 3_000), (5_100, 3_000)] {
            assert_eq!(of(set().with_altitude_m(metres).unwrap()).2, told, "{metres}");
        }
    }

    #[test]
    fn pascals_are_told_from_hectopascals() {
        for (hpa, expected) in [
            (1_013.25, Ok(1_013)),
            (699.9, Err(TuningError::Pressure)),
            (700.0, Ok(700)),
            (1_200.0, Ok(1_200)),
            (101_325.0, Err(TuningError::Pascals)),
            (1_200.1, Err(TuningError::Pressure)),
            (0.0, Err(TuningError::Pressure)),
            (f64::NAN, Err(TuningError::Pressure)),
        ] {
            assert_eq!(Pressure::from_hpa(hpa).map(Pressure::hpa), expected, "{hpa}");
        }
    }
}
