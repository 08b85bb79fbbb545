//! A screen as a list of parts over a ground, and how any piece of it becomes pixels.
//!
//! Every pixel is worked out from the parts that cover it, so a piece painted alone is the same as that piece of the
//! whole. A row goes to the target in one go: no pixel is written twice, and nothing flashes.

use crate::chart::Spark;
use crate::font::Font;
use crate::palette::{self, Ground, Rgb};
use crate::qr::Code;
use crate::shape::Shape;
use core::hash::{Hash, Hasher};
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{Point, Size};
use embedded_graphics::pixelcolor::Rgb565;
use embedded_graphics::primitives::Rectangle;
use heapless::{String, Vec};

/// Most parts of a screen.
pub(crate) const PARTS_MAX: usize = 32;

/// How strongly the weak stripes of a hatched number cover, out of 255.
pub(crate) const HATCH: u32 = 165;
/// Dotted lines, and the track of a progress bar's rim.
pub(crate) const FAINT: u32 = 175;
/// A panel behind text.
pub(crate) const PANEL: u32 = 22;
/// The surface below the line of a chart.
pub(crate) const SURFACE: u32 = 26;

/// A rectangle; `right` and `bottom` are one past the last pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Area {
    pub(crate) left: i32,
    pub(crate) top: i32,
    pub(crate) right: i32,
    pub(crate) bottom: i32,
}

impl Area {
    pub(crate) const fn new(left: i32, top: i32, width: i32, height: i32) -> Self {
        Self { left, top, right: left + width, bottom: top + height }
    }

    pub(crate) const fn width(&self) -> i32 {
        self.right - self.left
    }

    pub(crate) const fn height(&self) -> i32 {
        self.bottom - self.top
    }

    /// What both cover, if anything.
    pub(crate) fn common(&self, other: &Self) -> Option<Self> {
        let common = Self {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        };
        (common.left < common.right && common.top < common.bottom).then_some(common)
    }

    /// The smallest rectangle around both.
    pub(crate) fn around(&self, other: &Self) -> Self {
        Self {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }

    fn rectangle(&self) -> Rectangle {
        let size = Size::new(self.width().unsigned_abs(), self.height().unsigned_abs());
        Rectangle::new(Point::new(self.left, self.top), size)
    }
}

/// A line of text as it is drawn; longer ones are cut at a letter and never reach this.
pub(crate) type Label = String<64>;

/// Something on the ground.
#[derive(Debug, Hash)]
pub(crate) struct Part<'a> {
    pub(crate) area: Area,
    ink: Rgb,
    pub(crate) what: What<'a>,
}

#[derive(Debug, Hash)]
pub(crate) enum What<'a> {
    /// Text with its pen at a column and its baseline above a row of the area's own.
    Text {
        font: &'static Font,
        pen: i32,
        baseline: i32,
        label: Label,
        hatched: bool,
    },
    Shape(Shape),
    /// A rectangle with round corners.
    Panel {
        radius: i32,
        coverage: u32,
    },
    Spark(Spark<'a>),
    /// The scene's code, and a number that stands for it: with the code itself every part would be as large.
    Code(u64),
}

impl core::fmt::Debug for Font {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "cap {}", self.cap)
    }
}

/// Where a text stands relative to its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Centre,
    Right,
}

/// All of a screen.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) ground: Ground,
    pub(crate) width: i32,
    pub(crate) height: i32,
    pub(crate) parts: Vec<Part<'a>, PARTS_MAX>,
    pub(crate) code: Option<Code>,
}

impl<'a> Scene<'a> {
    pub(crate) const fn new(ground: Ground, width: i32, height: i32) -> Self {
        Self { ground, width, height, parts: Vec::new(), code: None }
    }

    fn add(&mut self, area: Area, ink: Rgb, what: What<'a>) {
        let full = self.parts.push(Part { area, ink, what }).is_err();
        debug_assert!(!full, "a page has more than {PARTS_MAX} parts");
    }

    /// Puts a line of text at a column and a baseline, at most `width` wide, and gives the columns it takes. What does
    /// not fit ends in an ellipsis.
    pub(crate) fn text(
        &mut self,
        font: &'static Font,
        ink: Rgb,
        (align, x, baseline): (Align, i32, i32),
        width: i32,
        text: &str,
    ) -> (i32, i32) {
        let label = fitted(font, text, width);
        let (from, to) = font.extent(&label);
        let left = match align {
            Align::Left => x,
            Align::Centre => x - (to - from) / 2,
            Align::Right => x - (to - from),
        };
        if to > from {
            let area = Area {
                left,
                top: baseline - font.ascent,
                right: left + to - from,
                bottom: baseline + font.descent + 1,
            };
            self.add(area, ink, What::Text { font, pen: left - from, baseline, label, hatched: false });
        }
        (left, left + to - from)
    }

    /// Puts a text on as many lines as it needs, at most `lines`, and gives the baseline of the line after it. Lines
    /// are of about the same length, so that no word stands alone.
    pub(crate) fn paragraph(
        &mut self,
        font: &'static Font,
        ink: Rgb,
        (x, mut baseline): (i32, i32),
        (width, lines): (i32, usize),
        text: &str,
    ) -> i32 {
        let count = Lines::new(font, text, width, lines).count();
        // As narrow as it can be without another line and without tearing a word.
        let (mut narrow, mut wide) = (width / 2, width);
        while narrow < wide {
            let middle = narrow.midpoint(wide);
            let mut broken = Lines::new(font, text, middle, lines + 1);
            if broken.by_ref().count() == count && !broken.tore {
                wide = middle;
            } else {
                narrow = middle + 1;
            }
        }
        for line in Lines::new(font, text, wide, lines) {
            self.text(font, ink, (Align::Left, x, baseline), width, line);
            baseline += font.pitch();
        }
        baseline
    }

    /// Puts a number digit by digit, each a part of its own: when one changes, the others stay. Gives the column after
    /// it.
    pub(crate) fn number(
        &mut self,
        font: &'static Font,
        ink: Rgb,
        (x, baseline): (i32, i32),
        digits: &str,
        hatched: bool,
    ) -> i32 {
        let mut pen = x;
        let mut text = [0; 4];
        for digit in digits.chars() {
            let digit: &str = digit.encode_utf8(&mut text);
            let (from, to) = font.extent(digit);
            let area = Area {
                left: pen + from,
                top: baseline - font.ascent,
                right: pen + to,
                bottom: baseline + font.descent + 1,
            };
            let label = Label::try_from(digit).unwrap_or_default();
            self.add(area, ink, What::Text { font, pen, baseline, label, hatched });
            pen += font.advance(digit);
        }
        pen
    }

    pub(crate) fn shape(&mut self, shape: Shape, ink: Rgb, (left, top): (i32, i32), size: i32) {
        self.add(Area::new(left, top, size, size), ink, What::Shape(shape));
    }

    /// Lays a tint under what follows, or a solid bar with a coverage of 255.
    pub(crate) fn panel(&mut self, area: Area, ink: Rgb, radius: i32, coverage: u32) {
        if area.width() > 0 && area.height() > 0 {
            self.add(area, ink, What::Panel { radius, coverage });
        }
    }

    pub(crate) fn spark(&mut self, area: Area, ink: Rgb, spark: Spark<'a>) {
        self.add(area, ink, What::Spark(spark));
    }

    /// Puts the one code that a screen may have.
    pub(crate) fn code(&mut self, area: Area, code: Code) {
        let mut mark = Mark::NEW;
        code.hash(&mut mark);
        self.add(area, Ground::PAPER.ink, What::Code(mark.finish()));
        self.code = Some(code);
    }

    pub(crate) const fn area(&self) -> Area {
        Area::new(0, 0, self.width, self.height)
    }

    /// Writes a piece of the screen to the target, every pixel once.
    pub(crate) fn paint<D: DrawTarget<Color = Rgb565>>(
        &self,
        piece: &Area,
        target: &mut D,
    ) -> Result<(), D::Error> {
        let Some(piece) = piece.common(&self.area()) else { return Ok(()) };
        // The line buffer is as wide as the boards' screens; a wider one is painted in columns.
        let mut left = piece.left;
        while left < piece.right {
            let column = Area { left, right: piece.right.min(left + LINE_MAX as i32), ..piece };
            target.fill_contiguous(&column.rectangle(), Pixels::new(self, column))?;
            left = column.right;
        }
        Ok(())
    }

    fn row(&self, y: i32, left: i32, line: &mut [Rgb]) {
        for (x, pixel) in (left..).zip(line.iter_mut()) {
            *pixel = self.ground.at((x, y), (self.width, self.height));
        }
        let seen = Area { left, top: y, right: left + line.len() as i32, bottom: y + 1 };
        for part in self.parts.iter().filter(|part| part.area.common(&seen).is_some()) {
            part.row(y, left, line, self.code.as_ref());
        }
    }
}

impl Part<'_> {
    /// A number that stands for how this part looks, place included.
    pub(crate) fn mark(&self) -> u64 {
        let mut mark = Mark::NEW;
        self.hash(&mut mark);
        mark.finish()
    }

    fn row(&self, y: i32, left: i32, line: &mut [Rgb], code: Option<&Code>) {
        let area = &self.area;
        let seen = area.left.max(left)..area.right.min(left + line.len() as i32);
        let mut put = |x: i32, coverage: u32, ink: Rgb| {
            let inside = seen.contains(&x);
            let pixel = usize::try_from(x - left).ok().filter(|_| inside).and_then(|at| line.get_mut(at));
            if let Some(pixel) = pixel {
                *pixel = palette::over(*pixel, ink, coverage.min(255));
            }
        };
        match &self.what {
            What::Text { font, pen, baseline, label, hatched } => {
                font.row(label, y - baseline, |x, coverage| {
                    let x = pen + x;
                    let strong = !hatched || stripe(x, y, font.cap);
                    put(x, u32::from(coverage) * if strong { 17 } else { HATCH / 15 }, self.ink);
                });
            }
            What::Shape(shape) => {
                for x in seen.clone() {
                    put(x, shape.coverage(x - area.left, y - area.top, area.width()), self.ink);
                }
            }
            What::Panel { radius, coverage } => {
                for x in seen.clone() {
                    put(x, corner(area, *radius, x, y) * coverage / 255, self.ink);
                }
            }
            What::Spark(spark) => {
                for x in seen.clone() {
                    put(x, spark.coverage(area, x, y), self.ink);
                }
            }
            What::Code(_) => {
                for x in seen.clone() {
                    let dark = code.is_some_and(|code| code.dark(area, x, y));
                    put(x, 255, if dark { self.ink } else { [255; 3] });
                }
            }
        }
    }
}

/// Whether a pixel lies on a strong stripe. The stripes of an estimate, as on the dashboard; finer on smaller digits.
const fn stripe(x: i32, y: i32, cap: i32) -> bool {
    let period = if cap > 50 { 8 } else { 6 };
    (x * 4 + y * 3).rem_euclid(period * 4) < period * 9 / 4
}

/// Coverage of a pixel by a rectangle with round corners, 0 to 255.
fn corner(area: &Area, radius: i32, x: i32, y: i32) -> u32 {
    let radius = radius.min(area.width() / 2).min(area.height() / 2);
    // How far into a corner's square, in halves of a pixel from the centre of its circle.
    let into = |low: i32, high: i32, at: i32| {
        (2 * (low + radius) - (2 * at + 1)).max((2 * at + 1) - 2 * (high - radius)).max(0)
    };
    let (across, down) = (into(area.left, area.right, x), into(area.top, area.bottom, y));
    if across == 0 || down == 0 {
        return 255;
    }
    // In sixteenths of a pixel: half a pixel of slope on both sides of the edge.
    let far = ((across * across + down * down) * 64).unsigned_abs().isqrt() as i32;
    ((radius * 16 + 8 - far) * 16).clamp(0, 255) as u32
}

/// The longest beginning of a text that fits, with an ellipsis when something is left out.
fn fitted(font: &Font, text: &str, width: i32) -> Label {
    let fits = |text: &str| {
        let (from, to) = font.extent(text);
        to - from <= width
    };
    let whole = || Label::try_from(text).ok().filter(|label| fits(label));
    whole().unwrap_or_else(|| {
        let mut best = Label::new();
        for (at, _) in text.char_indices() {
            let mut shorter = Label::new();
            let begin = text.get(..at).unwrap_or_default().trim_end();
            if shorter.push_str(begin).and_then(|()| shorter.push_str(font.ellipsis())).is_err()
                || !fits(&shorter)
            {
                break;
            }
            best = shorter;
        }
        best
    })
}

/// A text line by line. The last of the lines that are allowed has all the rest.
struct Lines<'t> {
    font: &'static Font,
    rest: &'t str,
    width: i32,
    left: usize,
    /// Whether a word was longer than a line.
    tore: bool,
}

impl<'t> Lines<'t> {
    fn new(font: &'static Font, text: &'t str, width: i32, lines: usize) -> Self {
        Self { font, rest: text.trim(), width, left: lines, tore: false }
    }

    fn fits(&self, end: usize) -> bool {
        let (from, to) = self.font.extent(self.rest.get(..end).unwrap_or_default());
        to - from <= self.width && end <= LINE_BYTES_MAX
    }

    /// Where the line ends, in bytes: after the last word that fits, or within a word that is longer than the line.
    fn end(&mut self) -> usize {
        let spaces = self.rest.match_indices(' ').map(|(at, _)| at).chain([self.rest.len()]);
        if let Some(end) = spaces.take_while(|end| self.fits(*end)).last() {
            return end;
        }
        self.tore = true;
        let letters = self.rest.char_indices().map(|(at, _)| at).skip(1);
        letters.take_while(|end| self.fits(*end)).last().unwrap_or(self.rest.len())
    }
}

impl<'t> Iterator for Lines<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        if self.rest.is_empty() || self.left == 0 {
            return None;
        }
        self.left -= 1;
        let end = if self.left == 0 { self.rest.len() } else { self.end() };
        let (line, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest.trim_start();
        Some(line.trim_end())
    }
}

/// A line of a paragraph has room in a [`Label`].
const LINE_BYTES_MAX: usize = 60;

impl Font {
    /// From baseline to baseline.
    pub(crate) const fn pitch(&self) -> i32 {
        self.cap + (self.cap * 5).div_euclid(8) + 1
    }

    fn ellipsis(&self) -> &'static str {
        if self.extent("…") == self.extent("?") { "..." } else { "…" }
    }
}

/// Widest line that is worked out at once, in pixels.
const LINE_MAX: usize = 320;

struct Pixels<'s, 'a> {
    scene: &'s Scene<'a>,
    piece: Area,
    line: [Rgb; LINE_MAX],
    x: usize,
    y: i32,
}

impl<'s, 'a> Pixels<'s, 'a> {
    const fn new(scene: &'s Scene<'a>, piece: Area) -> Self {
        Self { scene, piece, line: [[0; 3]; LINE_MAX], x: usize::MAX, y: piece.top }
    }
}

impl Iterator for Pixels<'_, '_> {
    type Item = Rgb565;

    fn next(&mut self) -> Option<Rgb565> {
        let width = self.piece.width() as usize;
        if self.x >= width {
            if self.y >= self.piece.bottom {
                return None;
            }
            let line = self.line.get_mut(..width)?;
            self.scene.row(self.y, self.piece.left, line);
            self.x = 0;
            self.y += 1;
        }
        let pixel = self.line.get(self.x).map(|color| palette::pixel(*color));
        self.x += 1;
        pixel
    }
}

/// FNV-1a with 64 bits.
struct Mark(u64);

impl Mark {
    const NEW: Self = Self(0xcbf2_9ce4_8422_2325);
}

impl Hasher for Mark {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::font::TEXT;
    use crate::view::Theme;
    use std::vec::Vec;

    fn paragraph(text: &str, width: i32, lines: usize) -> Vec<Label> {
        let mut scene = Scene::new(Ground::of(None, Theme::Light), 320, 240);
        scene.paragraph(&TEXT, scene.ground.ink, (0, 20), (width, lines), text);
        let label = |part: &Part<'_>| match &part.what {
            What::Text { label, .. } => Some(label.clone()),
            What::Shape(_) | What::Panel { .. } | What::Spark(_) | What::Code(_) => None,
        };
        scene.parts.iter().filter_map(label).collect()
    }

    #[test]
    fn lines_are_of_about_the_same_length() {
        assert_eq!(paragraph("one two three four five", 140, 3), ["one two three", "four five"]);
        assert_eq!(paragraph("  one  ", 140, 3), ["one"]);
        assert!(paragraph("", 140, 3).is_empty() && paragraph("   ", 140, 3).is_empty());
    }

    #[test]
    fn what_does_not_fit_ends_in_an_ellipsis() {
        let lines = paragraph("one two three four five six seven eight nine", 100, 2);
        assert_eq!(lines.len(), 2);
        assert!(lines[1].ends_with('…'), "{lines:?}");
    }

    #[test]
    fn a_word_longer_than_a_line_is_torn() {
        let lines = paragraph("Donaudampfschifffahrtsgesellschaft", 100, 9);
        assert!(lines.len() > 2 && lines.iter().all(|line| !line.ends_with('…')), "{lines:?}");
        assert_eq!(lines.concat(), "Donaudampfschifffahrtsgesellschaft");
    }
}
