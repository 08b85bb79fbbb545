//! Letters with smooth edges, rendered at build time from openly licensed fonts: Jost, as on the dashboard, for what is
//! read from afar, and Inter for text. `fonts/generate.py` makes the tables and says how they are laid out.

mod tables;

pub(crate) use tables::{FIGURE, HEAD, NOTE, NUMBER, TEXT, TITLE};

/// A font at one size.
pub(crate) struct Font {
    name: &'static str,
    /// Height of a capital or a digit, in pixels.
    pub(crate) cap: i32,
    /// Rows above the baseline that any letter reaches.
    pub(crate) ascent: i32,
    /// Rows below it.
    pub(crate) descent: i32,
    coding: Coding,
    bits: &'static [u8],
    glyphs: &'static [Glyph],
}

/// How the pixels of a letter are stored.
enum Coding {
    /// Two pixels in a byte.
    Packed,
    /// Runs of equal pixels, for large letters.
    Runs,
}

/// A letter: its box relative to the pen, how far the pen moves, and where its pixels are.
pub(crate) struct Glyph {
    letter: char,
    left: i8,
    top: i8,
    width: u8,
    height: u8,
    advance: u8,
    at: u16,
}

impl core::hash::Hash for Font {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Font {
    /// The letter, or the nearest there is: without its accent, or a question mark.
    fn glyph(&self, letter: char) -> Option<&Glyph> {
        let find = |letter| {
            let at = self.glyphs.binary_search_by_key(&letter, |glyph| glyph.letter).ok()?;
            self.glyphs.get(at)
        };
        find(letter).or_else(|| find(plain(letter))).or_else(|| find('?'))
    }

    /// How far the pen moves over a text.
    pub(crate) fn advance(&self, text: &str) -> i32 {
        text.chars().filter_map(|letter| self.glyph(letter)).map(|glyph| i32::from(glyph.advance)).sum()
    }

    /// The columns that a text blackens when the pen starts at 0: first, and one past the last.
    pub(crate) fn extent(&self, text: &str) -> (i32, i32) {
        let (mut pen, mut from, mut to) = (0, 0, 0);
        for glyph in text.chars().filter_map(|letter| self.glyph(letter)) {
            let left = pen + i32::from(glyph.left);
            pen += i32::from(glyph.advance);
            if glyph.width > 0 {
                from = from.min(left);
                to = to.max(left + i32::from(glyph.width));
            }
        }
        (from, to)
    }

    /// Gives column and coverage (1 to 15) of every pixel that a text blackens in a row. Rows count down from the
    /// baseline, so those of capitals are negative; columns count from the pen's start.
    pub(crate) fn row(&self, text: &str, row: i32, mut pixel: impl FnMut(i32, u8)) {
        let mut pen = 0;
        for glyph in text.chars().filter_map(|letter| self.glyph(letter)) {
            let line = usize::try_from(row + i32::from(glyph.top)).ok();
            if let Some(line) = line.filter(|line| *line < usize::from(glyph.height)) {
                let left = pen + i32::from(glyph.left);
                self.glyph_row(glyph, line, |x, coverage| {
                    if coverage > 0 {
                        pixel(left + x, coverage);
                    }
                });
            }
            pen += i32::from(glyph.advance);
        }
    }

    fn glyph_row(&self, glyph: &Glyph, line: usize, mut pixel: impl FnMut(i32, u8)) {
        let bits = self.bits.get(usize::from(glyph.at)..).unwrap_or_default();
        let width = i32::from(glyph.width);
        match self.coding {
            Coding::Packed => {
                let stride = usize::from(glyph.width).div_ceil(2);
                let row = bits.get(line * stride..).unwrap_or_default().iter().take(stride);
                for (x, pair) in (0..).step_by(2).zip(row) {
                    pixel(x, pair >> 4);
                    if x + 1 < width {
                        pixel(x + 1, pair & 15);
                    }
                }
            }
            Coding::Runs => {
                let start = match bits.get(2 * line..2 * line + 2) {
                    Some(&[low, high]) => usize::from(u16::from_le_bytes([low, high])),
                    _ => return,
                };
                let mut x = 0;
                for run in bits.get(start..).unwrap_or_default() {
                    for _ in 0..=run >> 4 {
                        if x < width {
                            pixel(x, run & 15);
                        }
                        x += 1;
                    }
                    if x >= width {
                        return;
                    }
                }
            }
        }
    }
}

/// A Latin letter without its accent, for the many that are not in the tables, and plain forms of typographic marks.
fn plain(letter: char) -> char {
    let of = |table: &str, first: char| {
        let at = (letter as usize).checked_sub(first as usize)?;
        table.as_bytes().get(at).map(|byte| char::from(*byte))
    };
    match letter {
        '\u{a0}' | '\u{2007}' | '\u{2009}' | '\u{202f}' => ' ',
        '\u{ad}' | '\u{2010}'..='\u{2013}' | '\u{2212}' => '-',
        'À'..='ÿ' => of(LATIN_1, 'À').unwrap_or('?'),
        'Ā'..='ſ' => of(LATIN_EXTENDED_A, 'Ā').unwrap_or('?'),
        'Ș' => 'S',
        'ș' => 's',
        'Ț' => 'T',
        'ț' => 't',
        '₂' => '2',
        _ => '?',
    }
}

/// U+00C0 to U+00FF, for fonts that have ASCII only.
const LATIN_1: &str = "AAAAAAACEEEEIIIIDNOOOOOxOUUUUYTsaaaaaaaceeeeiiiidnooooo-ouuuuyty";
/// U+0100 to U+017F.
const LATIN_EXTENDED_A: &str = "AaAaAaCcCcCcCcDdDdEeEeEeEeEeGgGgGgGgHhHhIiIiIiIiIiIiJjKkkLlLlLlLlLlNnNnNnnNnOoOoOoOoRrRrRrSsSsSsSsTtTtTtUuUuUuUuUuUuWwYyYZzZzZzs";

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    const FONTS: [&Font; 6] = [&NUMBER, &FIGURE, &TITLE, &HEAD, &TEXT, &NOTE];

    #[test]
    fn every_letter_is_found_and_reads_within_its_pixels() {
        for font in FONTS {
            assert!(font.glyphs.is_sorted_by_key(|glyph| glyph.letter), "{}", font.name);
            for glyph in font.glyphs {
                let mut text = [0; 4];
                let text: &str = glyph.letter.encode_utf8(&mut text);
                let (from, to) = font.extent(text);
                let mut columns = vec![];
                for row in -font.ascent..=font.descent {
                    font.row(text, row, |x, coverage| {
                        assert!(coverage <= 15);
                        columns.push(x);
                    });
                }
                assert!(columns.iter().all(|x| (from..to).contains(x)), "{} {text}", font.name);
                assert_eq!(columns.is_empty(), glyph.letter == ' ', "{} {text}", font.name);
                // Whole rows: nothing is cut off above or below.
                for row in [-font.ascent - 1, font.descent + 1] {
                    font.row(text, row, |_, _| panic!("{} {text} reaches row {row}", font.name));
                }
                for line in 0..usize::from(glyph.height) {
                    let mut read = Vec::new();
                    font.glyph_row(glyph, line, |x, _| read.push(x));
                    assert_eq!(read, (0..i32::from(glyph.width)).collect::<Vec<_>>(), "{} {text}", font.name);
                }
            }
        }
    }

    #[test]
    fn letters_that_are_missing_are_read_without_their_accent() {
        for (letter, read) in [
            ('č', 'c'),
            ('Ł', 'L'),
            ('ő', 'o'),
            ('Ž', 'Z'),
            ('ſ', 's'),
            ('ș', 's'),
            ('中', '?'),
            ('\u{202f}', ' '),
        ] {
            assert_eq!(plain(letter), read, "{letter}");
        }
        assert_eq!(TEXT.advance("Učebňa"), TEXT.advance("Ucebna"));
        assert_eq!(TITLE.advance("Grün"), TITLE.advance("Grun"));
    }

    #[test]
    fn the_fonts_fit_into_their_share_of_the_flash() {
        let bytes: usize =
            FONTS.iter().map(|font| font.bits.len() + size_of_val(font.glyphs) + size_of::<Font>()).sum();
        std::println!("fonts: {bytes} bytes");
        assert!(bytes <= 60 * 1024, "{bytes} bytes");
    }
}
