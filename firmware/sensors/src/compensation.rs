//! What sensors are told about the air around them, and when.

use crate::port::Pressure;

/// The pressure a sensor was told last. It hears of a new one when that matters: 5 hPa change CO2 by half a percent, and
/// an SCD30 keeps what it is told in memory that wears out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct PressureTold(Option<Pressure>);

impl PressureTold {
    pub(crate) const fn begin(pressure: Option<Pressure>) -> Self {
        Self(pressure)
    }

    /// What to tell, if anything.
    pub(crate) fn news(&self, measured: Option<Pressure>) -> Option<Pressure> {
        measured.filter(|new| self.0.is_none_or(|old| new.hpa().abs_diff(old.hpa()) >= NEWS_HPA))
    }
}

/// Absolute humidity as an SGP30 takes it: g/m³ with eight binary places (datasheet, "Humidity
/// compensation"). Never 0, which would turn the compensation off.
pub(crate) fn humidity_word(celsius: f64, percent: f64) -> u16 {
    let saturated_hpa = 6.112 * libm::exp(17.62 * celsius / (243.12 + celsius));
    let grams = 216.7 * (percent / 100.0 * saturated_hpa) / (273.15 + celsius);
    // The conversion saturates; what is not a number becomes 0 and then 1.
    ((grams * 256.0 + 0.5) as u16).max(1)
}

const NEWS_HPA: u16 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn absolute_humidity_of_well_known_airs() {
        // g/m³, from tables of saturated water vapour.
        for (celsius, percent, grams) in
            [(25.0, 50.0, 11.5), (20.0, 50.0, 8.65), (0.0, 100.0, 4.85), (30.0, 100.0, 30.4)]
        {
            let told = f64::from(humidity_word(celsius, percent)) / 256.0;
            assert!((told / grams - 1.0).abs() < 0.01, "{celsius} {percent}: {told}");
        }
        assert_eq!(humidity_word(20.0, 0.0), 1);
    }

    #[test]
    fn a_pressure_is_told_when_it_matters() {
        let hpa = |hpa: f64| Pressure::from_hpa(hpa).unwrap();
        for (told, measured, news) in [
            (None, None, None),
            (None, Some(1_013.0), Some(1_013.0)),
            (Some(1_013.0), Some(1_017.0), None),
            (Some(1_013.0), Some(1_018.0), Some(1_018.0)),
            (Some(1_013.0), Some(1_008.0), Some(1_008.0)),
            (Some(1_013.0), None, None),
        ] {
            let told = PressureTold::begin(told.map(hpa));
            assert_eq!(told.news(measured.map(hpa)), news.map(hpa));
        }
    }

    proptest! {
        #[test]
        fn any_climate_gives_a_word_that_does_not_turn_compensation_off(celsius: f64, percent: f64) {
            prop_assert!(humidity_word(celsius, percent) >= 1);
        }
    }
}
