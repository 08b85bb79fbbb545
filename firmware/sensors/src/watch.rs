//! When values do not add up: stuck, jumping, below outdoor air, at the end of the sensor's range.

use crate::port::{Spec, value};
use casement_core::Millis;
use casement_core::record::Values;

/// What is known of the values of one sensor.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    tracks: [Option<Track>; WATCHED.len()],
    /// Since when none of them moved.
    still: Option<Millis>,
}

#[derive(Clone, Copy, Debug)]
struct Track {
    value: f64,
    /// The last value that was believed.
    believed: f64,
    /// Values in a row that are far from the believed one and near each other.
    strange: u8,
    at: Millis,
}

/// What is watched: the quantity, and how far two values in a row may be apart before the second needs confirmation.
/// Not among them: what rightly stands still in clean air (eCO2, TVOC, indices, particles).
const WATCHED: [(&str, f64); 4] =
    [("co2", 2_000.0), ("temperature", 5.0), ("humidity", 30.0), ("pressure", 5.0)];

impl Watch {
    pub(crate) const fn new() -> Self {
        Self { tracks: [None; WATCHED.len()], still: None }
    }

    /// Takes new values; says whether something is wrong with them.
    pub(crate) fn suspects(&mut self, spec: &Spec, values: &Values, now: Millis) -> bool {
        let (mut jumped, mut moved, mut watched) = (false, false, false);
        for ((quantity, far), track) in WATCHED.iter().zip(&mut self.tracks) {
            let Some(new) = value(values, quantity) else { continue };
            watched = true;
            match track {
                Some(track) if now.since(track.at) <= FORGET_MS => {
                    moved |= new != track.value;
                    jumped |= track.jumps(new, *far, now);
                }
                _ => {
                    moved = true;
                    *track = Some(Track { value: new, believed: new, strange: 0, at: now });
                }
            }
        }
        if moved || !watched {
            self.still = None;
        }
        let still = watched && now.since(*self.still.get_or_insert(now)) >= FROZEN_MS;
        still || jumped || impossible(spec, values)
    }
}

impl Track {
    fn jumps(&mut self, new: f64, far: f64, now: Millis) -> bool {
        let near = |other: f64| (new - other).abs() <= far;
        self.strange = match (near(self.believed), near(self.value)) {
            (true, _) => 0,
            (false, true) => self.strange + 1,
            (false, false) => 1,
        };
        if self.strange >= CONFIRMED {
            self.strange = 0;
        }
        if self.strange == 0 {
            self.believed = new;
        }
        (self.value, self.at) = (new, now);
        self.strange > 0
    }
}

/// Below any air outdoors, or all that the sensor can say. Humidity and indices reach their ends rightly.
fn impossible(spec: &Spec, values: &Values) -> bool {
    values.iter().any(|(quantity, value)| match quantity.name() {
        "co2" => *value < OUTDOOR_PPM || at_the_end(spec, "co2", *value),
        name @ ("eco2" | "tvoc" | "pm1" | "pm2_5" | "pm4" | "pm10") => at_the_end(spec, name, *value),
        _ => false,
    })
}

fn at_the_end(spec: &Spec, quantity: &str, value: f64) -> bool {
    spec.offer(quantity).is_some_and(|offer| value >= offer.span.1)
}

/// Noise alone moves the last digit of every sensor here within minutes.
const FROZEN_MS: u64 = 3_600_000;
/// After a gap this long any value may follow.
const FORGET_MS: u64 = 120_000;
/// A jump that this many values agree on was none.
const CONFIRMED: u8 = 3;
/// Outdoor air has 425 ppm; the best sensor is 75 ppm wrong.
const OUTDOOR_PPM: f64 = 350.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::{offer, values};

    static SPEC: Spec = Spec {
        name: "test",
        interval_ms: 5_000,
        patience_ms: 15_000,
        warm_up_ms: 0,
        conditioning_ms: 0,
        offers: &[offer("co2", 50.0, (200.0, 5_000.0)), offer("eco2", 50.0, (400.0, 60_000.0))],
    };

    /// Feeds a value each five seconds; gives what was suspect, one letter for each.
    fn watch(quantity: &str, numbers: impl IntoIterator<Item = f64>) -> std::string::String {
        let mut watch = Watch::new();
        let judge = |(second, number): (usize, f64)| {
            let suspect =
                watch.suspects(&SPEC, &values(&[(quantity, number)]), Millis(second as u64 * 5_000));
            if suspect { '!' } else { '.' }
        };
        numbers.into_iter().enumerate().map(judge).collect()
    }

    #[test]
    fn a_spike_is_suspect_and_a_new_level_is_believed_at_its_third_value() {
        for (numbers, expected) in [
            (&[600.0, 605.0, 4_000.0, 607.0][..], "..!."),
            (&[600.0, 3_000.0, 3_010.0, 3_100.0, 3_050.0], ".!!.."),
            (&[600.0, 3_000.0, 600.0, 3_000.0, 600.0], ".!.!."),
            // Two strange values that contradict each other confirm nothing.
            (&[600.0, 4_900.0, 2_700.0, 4_900.0, 2_700.0], ".!!!!"),
            (&[600.0, 2_600.0, 600.0], "..."),
        ] {
            assert_eq!(watch("co2", numbers.iter().copied()), expected, "{numbers:?}");
        }
        assert_eq!(watch("temperature", [21.0, 21.3, 60.0, 21.2]), "..!.");
    }

    #[test]
    fn air_below_outdoors_and_the_end_of_the_range_are_suspect() {
        assert_eq!(watch("co2", [351.0, 349.0, 360.0]), ".!.");
        assert_eq!(watch("co2", [4_900.0, 5_000.0]), ".!");
        assert_eq!(watch("eco2", [400.0, 60_000.0]), ".!");
        assert_eq!(watch("humidity", [99.0, 100.0]), "..");
    }

    #[test]
    fn a_value_that_never_moves_is_frozen_after_an_hour() {
        let said = watch("co2", core::iter::repeat_n(812.0, 1_000));
        assert_eq!(said.find('!'), Some(720));
        assert!(said.ends_with('!'));
        assert!(!watch("co2", (0..1_000).map(|i| if i % 500 == 0 { 813.0 } else { 812.0 })).contains('!'));
        // Clean air: nothing to see for hours.
        assert!(!watch("eco2", core::iter::repeat_n(400.0, 2_000)).contains('!'));
    }

    #[test]
    fn one_quantity_that_moves_keeps_the_others_from_being_frozen() {
        let mut watch = Watch::new();
        for second in 0..2_000_u32 {
            let values = values(&[("co2", 800.0), ("temperature", 20.0 + f64::from(second % 2) / 100.0)]);
            assert!(!watch.suspects(&SPEC, &values, Millis(u64::from(second) * 5_000)));
        }
    }

    #[test]
    fn after_a_gap_any_value_may_follow() {
        let mut watch = Watch::new();
        assert!(!watch.suspects(&SPEC, &values(&[("co2", 600.0)]), Millis(0)));
        assert!(!watch.suspects(&SPEC, &values(&[("co2", 3_000.0)]), Millis(120_001)));
    }
}
