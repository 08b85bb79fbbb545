//! The light: colour says how the air is, and the blink pattern says it again for people who see colours differently.

use crate::Millis;
use crate::node::Display;
use casement_proto::Band;

/// When the light is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Always on.
    Steady,
    /// One second on, one second off.
    Slow,
    /// Two short flashes, then a pause.
    Double,
    /// A short flash every three seconds: alive, but nothing to say about the air.
    Blip,
    /// Three short flashes, then a pause: the device itself needs a person.
    Triple,
}

impl Pattern {
    /// Steps of alternating on and off times in milliseconds, starting with on.
    const fn steps(self) -> &'static [u64] {
        match self {
            Self::Steady => &[1_000],
            Self::Slow => &[1_000, 1_000],
            Self::Double => &[150, 150, 150, 550],
            Self::Blip => &[100, 2_900],
            Self::Triple => &[150, 150, 150, 150, 150, 1_250],
        }
    }

    /// Whether the light is on at a moment.
    pub fn is_on(self, now: Millis) -> bool {
        let steps = self.steps();
        let mut left = now.0 % steps.iter().sum::<u64>().max(1);
        for (index, step) in steps.iter().enumerate() {
            if left < *step {
                return index % 2 == 0;
            }
            left -= step;
        }
        true
    }
}

/// What the light shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Light {
    /// Red, green and blue at full brightness.
    pub rgb: [u8; 3],
    /// When it is on.
    pub pattern: Pattern,
}

/// Three colours that stay apart for normal, protan, deutan and tritan vision (at least 65 ΔE76 between any two in the
/// Machado 2009 simulation), where green, yellow and red come as close as 8.
const GOOD: [u8; 3] = [0x2e, 0x96, 0xff];
const SOON: [u8; 3] = [0xfa, 0xd0, 0x00];
const NOW: [u8; 3] = [0xcc, 0x24, 0x4e];
const WHITE: [u8; 3] = [0x60, 0x60, 0x60];

impl Light {
    /// The light for what the device shows. A failed sensor comes before anything it said earlier.
    pub const fn of(display: &Display) -> Self {
        if display.fault.is_some() {
            return Self { rgb: WHITE, pattern: Pattern::Triple };
        }
        match display.band {
            Some(Band::Good) => Self { rgb: GOOD, pattern: Pattern::Steady },
            Some(Band::Soon) => Self { rgb: SOON, pattern: Pattern::Slow },
            Some(Band::Now) => Self { rgb: NOW, pattern: Pattern::Double },
            None => Self { rgb: WHITE, pattern: Pattern::Blip },
        }
    }

    /// The colour at a moment and a brightness (255 is full).
    pub fn at(&self, now: Millis, brightness: u8) -> [u8; 3] {
        if !self.pattern.is_on(now) {
            return [0; 3];
        }
        self.rgb.map(|part| u8::try_from(u16::from(part) * u16::from(brightness) / 255).unwrap_or(part))
    }

    /// The same for a lamp whose light grows in proportion to its value, as that of an LED does. The colours above are
    /// meant as screens show them, whose light grows with a power of 2.2 (IEC 61966-2-1); without this the yellow would be
    /// green and the blue pale. The square is near enough for an eye.
    pub fn lamp(&self, now: Millis, brightness: u8) -> [u8; 3] {
        let [red, green, blue] = self.rgb;
        let square = |part: u8| u8::try_from(u16::from(part) * u16::from(part) / 255).unwrap_or(part);
        Self { rgb: [square(red), square(green), square(blue)], ..*self }.at(now, brightness)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Fault;

    fn of(band: Option<Band>, fault: Option<Fault>) -> Light {
        Light::of(&Display { band, fault, ..Display::default() })
    }

    #[test]
    fn no_two_situations_share_a_colour_or_a_pattern() {
        let bands = [of(Some(Band::Good), None), of(Some(Band::Soon), None), of(Some(Band::Now), None)];
        let quiet = [of(None, None), of(Some(Band::Good), Some(Fault::Crc))];
        for (index, one) in bands.iter().enumerate() {
            for other in bands.iter().skip(index + 1).chain(&quiet) {
                assert_ne!(one.rgb, other.rgb);
                assert_ne!(one.pattern, other.pattern);
            }
        }
        assert_ne!(quiet[0].pattern, quiet[1].pattern);
    }

    #[test]
    fn patterns_flash_as_often_as_they_say() {
        for (pattern, period_ms, flashes) in [
            (Pattern::Steady, 1_000, 1),
            (Pattern::Slow, 2_000, 1),
            (Pattern::Double, 1_000, 2),
            (Pattern::Blip, 3_000, 1),
            (Pattern::Triple, 2_000, 3),
        ] {
            let mut before = false;
            let mut seen = 0;
            for ms in 0..period_ms {
                let on = pattern.is_on(Millis(ms));
                seen += u32::from(on && !before);
                before = on;
            }
            assert_eq!(seen, flashes, "{pattern:?}");
        }
    }

    #[test]
    fn brightness_dims_without_changing_the_pattern() {
        let light = of(Some(Band::Soon), None);
        assert_eq!(light.at(Millis(0), 255), SOON);
        assert_eq!(light.at(Millis(0), 0), [0; 3]);
        assert_eq!(light.at(Millis(1_500), 255), [0; 3]);
    }

    #[test]
    fn a_lamp_gives_the_light_that_a_screen_would() {
        for light in [of(Some(Band::Good), None), of(Some(Band::Soon), None), of(Some(Band::Now), None)] {
            for (lamp, screen) in light.lamp(Millis(0), 255).into_iter().zip(light.rgb) {
                let wanted = (f64::from(screen) / 255.0).powf(2.2) * 255.0;
                assert!((f64::from(lamp) - wanted).abs() <= 10.0, "{screen}: {lamp} for {wanted}");
            }
            assert_eq!(light.lamp(Millis(0), 0), [0; 3]);
            // As dim as a device can be set, it is still on.
            assert!(light.lamp(Millis(0), 13).iter().any(|part| *part > 0));
        }
        assert_eq!(of(Some(Band::Soon), None).lamp(Millis(1_500), 255), [0; 3]);
    }
}
