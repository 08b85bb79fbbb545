//! Good, air soon, air now. The same profiles and the same filter drive the device's light, the page, alerts and
//! reports, so that a room never has two opinions about its air.

/// What a person should do about the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Band {
    /// Nothing to do.
    Good,
    /// Air within the next minutes.
    Soon,
    /// Air at once.
    Now,
}

impl Band {
    /// The word on the wire: `good`, `soon` or `now`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Soon => "soon",
            Self::Now => "now",
        }
    }
}

/// A pair of CO2 thresholds and where it comes from.
#[derive(Debug, PartialEq, Eq)]
pub struct Profile {
    /// Name in the configuration.
    pub id: &'static str,
    /// Name for people.
    pub label: &'static str,
    /// Air soon at and above, in ppm.
    pub soon_from: u16,
    /// Air now at and above, in ppm.
    pub now_from: u16,
    /// Who says so.
    pub source: &'static str,
}

/// Every profile. The first is the default. ASHRAE is absent on purpose: "Standard 62.1 has not contained an indoor
/// CO2 limit for almost 30 years" (Persily 2020, nist.gov).
pub static PROFILES: &[Profile] = &[
    Profile {
        id: "common",
        label: "Common monitor defaults",
        soon_from: 1000,
        now_from: 1400,
        source: "Product choice: thresholds many consumer monitors ship with; not a legal limit",
    },
    Profile {
        id: "de-uba",
        label: "Germany (UBA)",
        soon_from: 1000,
        now_from: 2000,
        source: "Ad-hoc-AG IRK/AOLG 2008, Bundesgesundheitsblatt 51:1358",
    },
    Profile {
        id: "uk-hse",
        label: "United Kingdom (HSE)",
        soon_from: 800,
        now_from: 1500,
        source: "hse.gov.uk/ventilation/using-co2-monitors.htm; a broad guide, not safe thresholds",
    },
    Profile {
        id: "fr-2022",
        label: "France (2022)",
        soon_from: 800,
        now_from: 1500,
        source: "Arrêté du 27 décembre 2022, JORFTEXT000046830005, art. 4",
    },
    Profile {
        id: "eu-16798",
        label: "EN 16798-1, categories II and III at 425 ppm outdoors",
        soon_from: 1225,
        now_from: 1775,
        source: "EN 16798-1: +800 and +1350 ppm over outdoor air",
    },
    Profile {
        id: "rehva",
        label: "REHVA COVID-19 guidance",
        soon_from: 800,
        now_from: 1000,
        source: "REHVA COVID-19 guidance document, version 4",
    },
];

/// Finds a profile by its name in the configuration.
pub fn profile(id: &str) -> Option<&'static Profile> {
    PROFILES.iter().find(|profile| profile.id == id)
}

impl Profile {
    /// The band of a single value, without memory.
    pub fn band(&self, co2_ppm: f64) -> Band {
        if co2_ppm >= f64::from(self.now_from) {
            Band::Now
        } else if co2_ppm >= f64::from(self.soon_from) {
            Band::Soon
        } else {
            Band::Good
        }
    }
}

/// How far below a threshold the air must fall before the band improves, in ppm.
pub const HYSTERESIS_PPM: f64 = 50.0;

/// How far back the median looks, in milliseconds. A single snapshot misleads (HSE).
pub const WINDOW_MS: u64 = 120_000;

const SAMPLES_MAX: usize = 12;

/// Turns a stream of values into a calm band: the median of the last two minutes, and 50 ppm of hysteresis on the way
/// down.
#[derive(Clone, Debug, Default)]
pub struct BandFilter {
    samples: heapless::Deque<(u64, f64), SAMPLES_MAX>,
    band: Option<Band>,
}

impl BandFilter {
    /// A filter that has seen nothing.
    pub const fn new() -> Self {
        Self { samples: heapless::Deque::new(), band: None }
    }

    /// The band so far; `None` before the first value.
    pub const fn band(&self) -> Option<Band> {
        self.band
    }

    /// Takes a value in ppm at a time in milliseconds (any steady origin) and gives the band that holds from then on.
    /// Values must come in order of time; one older than the newest is ignored.
    ///
    /// The window keeps twelve samples. When they come faster than every ten seconds, only those at least ten seconds
    /// apart are kept (and the newest), so that the median still spans two minutes.
    pub fn update(&mut self, profile: &Profile, now_ms: u64, co2_ppm: f64) -> Band {
        if self.samples.back().is_none_or(|(at, _)| *at <= now_ms) && co2_ppm.is_finite() {
            self.remember(now_ms, co2_ppm);
        }
        let median = self.median().unwrap_or(co2_ppm);
        let band = match self.band {
            // A band is left downwards only when the air is clearly better.
            Some(held) if profile.band(median) < held => profile.band(median + HYSTERESIS_PPM).min(held),
            _ => profile.band(median),
        };
        self.band = Some(band);
        band
    }

    fn remember(&mut self, now_ms: u64, co2_ppm: f64) {
        while self.samples.front().is_some_and(|(at, _)| now_ms.saturating_sub(*at) > WINDOW_MS) {
            self.samples.pop_front();
        }
        let step_ms = WINDOW_MS / SAMPLES_MAX as u64;
        let mut newest = self.samples.iter().rev();
        let (last, before) = (newest.next().map(|s| s.0), newest.next().map(|s| s.0));
        if let (Some(last), Some(before)) = (last, before)
            && last.saturating_sub(before) < step_ms
        {
            self.samples.pop_back();
        }
        if self.samples.is_full() {
            self.samples.pop_front();
        }
        let _full = self.samples.push_back((now_ms, co2_ppm));
    }

    fn median(&self) -> Option<f64> {
        // Put where they belong one by one: the library's sort takes 7 KB of a chip's flash, and these are a handful.
        let mut sorted = heapless::Vec::<f64, SAMPLES_MAX>::new();
        for (_, value) in &self.samples {
            let at = sorted.iter().position(|other| value.total_cmp(other).is_lt()).unwrap_or(sorted.len());
            let _fits = sorted.insert(at, *value);
        }
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        if sorted.len() % 2 == 1 {
            return Some(upper);
        }
        Some((upper + sorted.get(middle.checked_sub(1)?)?) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bands(values: &[(u64, f64)]) -> heapless::Vec<Band, 32> {
        let mut filter = BandFilter::new();
        values.iter().map(|(s, ppm)| filter.update(&PROFILES[0], s * 1000, *ppm)).collect()
    }

    #[test]
    fn every_profile_has_ordered_thresholds_and_a_source() {
        for profile in PROFILES {
            assert!(profile.soon_from < profile.now_from && !profile.source.is_empty(), "{}", profile.id);
        }
    }

    #[test]
    fn one_breath_on_the_sensor_does_not_change_the_light() {
        let seen = bands(&[(0, 700.0), (30, 710.0), (60, 4000.0), (90, 720.0)]);
        assert!(seen.iter().all(|band| *band == Band::Good), "{seen:?}");
    }

    #[test]
    fn the_light_improves_only_when_the_air_is_clearly_better() {
        // 150 s apart: each value stands alone in its window.
        let seen =
            bands(&[(0, 1010.0), (150, 990.0), (300, 951.0), (450, 949.0), (600, 1500.0), (750, 1360.0)]);
        assert_eq!(seen, [Band::Soon, Band::Soon, Band::Soon, Band::Good, Band::Now, Band::Now]);
    }

    #[test]
    fn a_deep_fall_passes_through_both_thresholds_at_once() {
        assert_eq!(bands(&[(0, 2000.0), (150, 500.0)]), [Band::Now, Band::Good]);
    }

    #[test]
    fn fast_samples_still_span_two_minutes() {
        let mut filter = BandFilter::new();
        for s in 0..=100 {
            filter.update(&PROFILES[0], s * 1000, 600.0);
        }
        // Fifteen seconds of breath against a hundred seconds of calm.
        for s in 101..=115 {
            assert_eq!(filter.update(&PROFILES[0], s * 1000, 5000.0), Band::Good);
        }
    }

    #[test]
    fn numbers_that_are_none_are_ignored() {
        let seen = bands(&[(0, 1500.0), (1, f64::NAN), (2, f64::INFINITY)]);
        assert_eq!(seen, [Band::Now, Band::Now, Band::Now]);
    }
}
