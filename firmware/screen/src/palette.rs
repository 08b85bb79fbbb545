//! Colours: those of the dashboard's panes (`gateway/web/src/styles/tokens.css`), for a light and a dark room.
//!
//! A band is a ground, a shape and a word. The grounds' colours were searched for on the dashboard so that they stay
//! apart for every kind of colour vision.

use crate::view::Theme;
use casement_proto::Band;
use embedded_graphics::pixelcolor::Rgb565;
use embedded_graphics::pixelcolor::raw::RawU16;

/// Red, green and blue.
pub(crate) type Rgb = [u8; 3];

/// What lies behind everything: a pane of air, lighter or darker towards the sill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ground {
    pub(crate) top: Rgb,
    pub(crate) low: Rgb,
    /// For what a person must read.
    pub(crate) ink: Rgb,
    /// For what stands beside it.
    pub(crate) soft: Rgb,
    /// Strength of the reflection in the glass, out of 256.
    glint: i32,
}

impl Ground {
    /// The ground for a band, or for the absence of one.
    pub(crate) const fn of(band: Option<Band>, theme: Theme) -> Self {
        let [top, low, ink, soft] = match (theme, band) {
            (Theme::Light, Some(Band::Good)) => [0xb9_dfe6, 0xec_f7f2, 0x10_323a, 0x2b_4d55],
            (Theme::Light, Some(Band::Soon)) => [0xfb_e6bd, 0xf1_bf74, 0x2c_1c05, 0x4d_350f],
            (Theme::Light, Some(Band::Now)) => [0x41_160b, 0x64_2814, 0xff_f6ef, 0xfa_e6da],
            (Theme::Light, None) => [0xdc_dedd, 0xe9_ebea, 0x2a_3035, 0x47_4e54],
            (Theme::Dark, Some(Band::Good)) => [0x0a_1a33, 0x10_3560, 0xee_f6ff, 0xcd_e2f8],
            (Theme::Dark, Some(Band::Soon)) => [0x2b_2001, 0x4d_3800, 0xff_ee9e, 0xff_f0b8],
            (Theme::Dark, Some(Band::Now)) => [0x3c_0a19, 0x7d_1230, 0xff_f2f5, 0xff_dfe6],
            (Theme::Dark, None) => [0x1a_2129, 0x22_2a33, 0xe4_e9ee, 0xb0_bac4],
        };
        let glint = match (theme, band) {
            (Theme::Light, Some(Band::Good) | None) => 70,
            (Theme::Light, Some(Band::Soon)) => 48,
            (Theme::Light, Some(Band::Now)) => 18,
            (Theme::Dark, _) => 14,
        };
        Self { top: rgb(top), low: rgb(low), ink: rgb(ink), soft: rgb(soft), glint }
    }

    /// How much white the reflection in the glass adds, out of 256: two slanted stripes, as on the dashboard.
    fn glint(&self, x: i32, y: i32, width: i32, height: i32) -> i32 {
        if self.glint == 0 {
            return 0;
        }
        // Thousandths of the way along a slant that leans by two fifths of the height.
        let along = (x * 5 + y * 2) * 1_000 / (width * 5 + height * 2).max(1);
        let fade = |from: i32, to: i32, strong: i32| {
            let left = (to - along) * strong / (to - from);
            if (from..to).contains(&along) { left.max(strong / 4) } else { 0 }
        };
        fade(560, 720, self.glint) + fade(770, 830, self.glint * 2 / 3)
    }

    /// White paper, for what a phone's camera has to read.
    pub(crate) const PAPER: Self =
        Self { top: [255; 3], low: [255; 3], ink: rgb(0x1b_242c), soft: rgb(0x4a_545d), glint: 0 };

    /// The colour of a pixel on a ground of this size. Ordered dithering hides the steps that 5 and 6 bits make.
    pub(crate) fn at(&self, (x, y): (i32, i32), (width, height): (i32, i32)) -> Rgb {
        let span = (height - 1).max(1);
        let y = y.clamp(0, span);
        let glint = self.glint(x, y, width, height);
        // 0 to 15, spread evenly over every 4 × 4 pixels (Bayer 1973).
        let nudge = i32::from(BAYER[(y & 3) as usize][(x & 3) as usize]);
        core::array::from_fn(|part| {
            let (top, low) = (i32::from(self.top[part]), i32::from(self.low[part]));
            // In sixteenths, so that the nudge has something to decide.
            let plain = top * 16 + (low - top) * 16 * y / span;
            let exact = plain + (255 * 16 - plain) * glint / 256;
            let bits = if part == 1 { 6 } else { 5 };
            let step = 16 * 255 / ((1 << bits) - 1);
            let level = (exact + step * nudge / 16) / step;
            expand(level.min((1 << bits) - 1), bits)
        })
    }
}

/// What the screen makes of a colour.
pub(crate) fn pixel([red, green, blue]: Rgb) -> Rgb565 {
    let part = |value: u8, bits: u16| {
        let most = (1 << bits) - 1;
        (u16::from(value) * most + 127) / 255
    };
    Rgb565::from(RawU16::new(part(red, 5) << 11 | part(green, 6) << 5 | part(blue, 5)))
}

/// Lays ink over a colour; `coverage` is 0 to 255.
pub(crate) fn over(under: Rgb, ink: Rgb, coverage: u32) -> Rgb {
    core::array::from_fn(|part| {
        let (under, ink) = (u32::from(under[part]), u32::from(ink[part]));
        ((under * (255 - coverage) + ink * coverage + 127) / 255) as u8
    })
}

const fn rgb(hex: u32) -> Rgb {
    [(hex >> 16) as u8, (hex >> 8) as u8, hex as u8]
}

const fn expand(level: i32, bits: i32) -> u8 {
    (level * 255 / ((1 << bits) - 1)) as u8
}

const BAYER: [[u8; 4]; 4] = [[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]];

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_graphics::pixelcolor::RgbColor;

    const BANDS: [Option<Band>; 4] = [None, Some(Band::Good), Some(Band::Soon), Some(Band::Now)];

    fn grounds() -> impl Iterator<Item = Ground> {
        let themes = [Theme::Light, Theme::Dark];
        let panes = themes.into_iter().flat_map(|theme| BANDS.map(|band| Ground::of(band, theme)));
        panes.chain([Ground::PAPER])
    }

    /// Relative luminance as WCAG 2.2 defines it, of what is left of a colour in 16 bits.
    fn luminance(color: Rgb) -> f64 {
        let shown = pixel(color);
        let parts = [
            f64::from(shown.r()) / f64::from(Rgb565::MAX_R),
            f64::from(shown.g()) / f64::from(Rgb565::MAX_G),
            f64::from(shown.b()) / f64::from(Rgb565::MAX_B),
        ];
        let linear = parts.map(|c| if c <= 0.040_45 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) });
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    }

    pub(crate) fn contrast(one: Rgb, other: Rgb) -> f64 {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    /// Every colour that occurs on the ground.
    fn pixels(ground: &Ground) -> impl Iterator<Item = Rgb> {
        let places = (0..240).flat_map(|y| (0..320).map(move |x| (x, y)));
        places.map(|at| ground.at(at, (320, 240)))
    }

    #[test]
    fn text_stands_out_from_every_pixel_of_its_ground() {
        for ground in grounds() {
            for under in pixels(&ground) {
                for ink in [ground.ink, ground.soft] {
                    assert!(contrast(ink, under) >= 4.5, "{ground:?}: {ink:?} on {under:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_drawn_half_through_is_still_seen() {
        for ground in grounds() {
            for under in pixels(&ground) {
                for share in [crate::scene::HATCH, crate::scene::FAINT] {
                    assert!(
                        contrast(over(under, ground.ink, share), under) >= 3.0,
                        "{ground:?}: {share} on {under:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn text_on_a_panel_stands_out_from_it() {
        for ground in grounds() {
            for under in pixels(&ground) {
                let panel = over(under, ground.ink, crate::scene::PANEL);
                assert!(contrast(ground.ink, panel) >= 4.5, "{ground:?}: {under:?}");
            }
        }
    }

    #[test]
    fn a_ground_begins_and_ends_with_its_colours() {
        for ground in grounds() {
            for (y, wanted) in [(0, ground.top), (239, ground.low)] {
                for x in 0..4 {
                    let found = ground.at((x, y), (320, 240));
                    for part in 0..3 {
                        assert!(found[part].abs_diff(wanted[part]) <= 9, "{found:?} for {wanted:?}");
                    }
                }
            }
        }
    }
}
