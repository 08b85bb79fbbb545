//! The past of the number as a line. A gap is a gap: no line across it.

use crate::scene::{Area, FAINT, SURFACE};
use crate::shape::distance_squared;
use crate::view::{HISTORY_MAX, History};

/// A line over its surface, with the two thresholds dotted.
#[derive(Debug, Hash)]
pub(crate) struct Spark<'a> {
    ppm: &'a [Option<u16>],
    thresholds: [u16; 2],
    /// The value at the top; [`FLOOR`] or less is at the bottom.
    top: u16,
}

/// About outdoor air. The scale never begins above it, so that small changes stay small.
const FLOOR: u16 = 400;
/// The scale spans at least this much.
const SPAN_MIN: u16 = 400;
/// Room for half of the line's end, in pixels.
const MARGIN: i32 = 4;

impl<'a> Spark<'a> {
    /// A chart of the newest values, if there are at least two to connect.
    ///
    /// Without thresholds when it is not about measured CO2.
    pub(crate) fn of(history: &History<'a>, with_thresholds: bool) -> Option<Self> {
        let skip = history.ppm.len().saturating_sub(HISTORY_MAX);
        let ppm = history.ppm.get(skip..)?;
        let most = ppm.iter().flatten().max()?;
        if !ppm.windows(2).any(|two| matches!(two, [Some(_), Some(_)])) {
            return None;
        }
        let (soon, now) = if with_thresholds { history.thresholds } else { (0, 0) };
        let top = (*most).saturating_add(most / 16).max(FLOOR + SPAN_MIN);
        // A threshold that is nearly reached comes into view, so that one sees how near.
        let top = [soon, now]
            .into_iter()
            .filter(|at| *at <= top.saturating_add(top / 4))
            .fold(top, |top, at| top.max(at.saturating_add(at / 16)));
        Some(Self { ppm, thresholds: [soon, now], top })
    }

    /// The rows of "air soon" and "air now", where they are in view.
    pub(crate) fn threshold_rows(&self, area: &Area) -> [Option<i32>; 2] {
        self.thresholds.map(|at| {
            (at > FLOOR && at <= self.top).then(|| (self.eighths(area, at) + area.top * 8).div_euclid(8))
        })
    }

    /// How much of a pixel is inked, 0 to 255.
    pub(crate) fn coverage(&self, area: &Area, x: i32, y: i32) -> u32 {
        let dotted = self.threshold_rows(area).contains(&Some(y)) && (x - area.left).rem_euclid(6) < 2;
        let at = ((x - area.left) * 8 + 4, (y - area.top) * 8 + 4);
        let last = self.ppm.len().saturating_sub(1) as i32;
        let span = (area.width() - 2 * MARGIN) * 8;
        let column = |index: i32| MARGIN * 8 + span * index / last.max(1);
        let place = |index: i32| {
            let value = self.ppm.get(usize::try_from(index).ok()?).copied().flatten()?;
            Some((column(index), self.eighths(area, value)))
        };
        let index = (at.0 - MARGIN * 8).max(0) * last / span.max(1);
        let reach = 1 + 32 * last / span.max(1);
        let (mut nearest, mut under) = (i32::MAX, false);
        for from in index - reach..=index + reach {
            let Some(left) = place(from) else { continue };
            // The present, and a value between two gaps, are dots.
            let alone = place(from - 1).is_none() && place(from + 1).is_none();
            if from == last || alone {
                let dot = distance_squared(at, left, left);
                let radius = if from == last { 3 } else { 1 };
                if dot <= (radius * 8 - 4) * (radius * 8 - 4) {
                    return 255;
                }
                nearest = nearest.min(square_less(dot, (radius - 1) * 8));
            }
            let Some(right) = place(from + 1) else { continue };
            nearest = nearest.min(distance_squared(at, left, right));
            if (left.0..right.0).contains(&at.0) {
                let rise = (right.1 - left.1) * (at.0 - left.0) / (right.0 - left.0).max(1);
                under = at.1 > left.1 + rise;
            }
        }
        // One pixel and a quarter to each side of the middle, with a soft edge of one.
        let far = nearest.unsigned_abs().isqrt();
        let line = 14_u32.saturating_sub(far).min(8) * 255 / 8;
        line.max(if dotted { FAINT } else { 0 }).max(if under { SURFACE } else { 0 })
    }

    /// How far below the top of the area a value is, in eighths of a pixel.
    fn eighths(&self, area: &Area, value: u16) -> i32 {
        let span = i32::from(self.top - FLOOR);
        let above = i32::from(value.saturating_sub(FLOOR)).min(span);
        let height = (area.height() - 2 * MARGIN) * 8;
        MARGIN * 8 + height - height * above / span
    }
}

/// The square of a distance that is shorter by some, given and wanted as squares of eighths.
fn square_less(square: i32, by: i32) -> i32 {
    let far = square.unsigned_abs().isqrt() as i32 - by;
    far.max(0) * far.max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AREA: Area = Area::new(0, 0, 200, 40);

    fn spark(ppm: &[Option<u16>]) -> Option<Spark<'_>> {
        Spark::of(&History { ppm, minutes: 60, thresholds: (1000, 1400) }, true)
    }

    /// Columns with ink of a line, not of a tint or a dotted threshold.
    fn inked(spark: &Spark<'_>) -> [bool; 200] {
        core::array::from_fn(|x| (0..AREA.bottom).any(|y| spark.coverage(&AREA, x as i32, y) > FAINT))
    }

    #[test]
    fn a_gap_is_a_gap() {
        let values =
            [Some(600), Some(610), Some(620), None, None, Some(700), Some(690), Some(680), Some(670)];
        let columns = inked(&spark(&values).expect("there are lines"));
        // Eight steps of 24 pixels, from column 4 on.
        let at = |index: usize| 4 + 24 * index;
        assert!(columns[at(0)..at(2)].iter().all(|inked| *inked));
        assert!(columns[at(2) + 4..at(5) - 4].iter().all(|inked| !inked));
        assert!(columns[at(5)..at(8)].iter().all(|inked| *inked));
        assert!((at(2)..at(5)).all(|x| {
            (0..40).all(|y| spark(&values).is_some_and(|it| it.coverage(&AREA, x as i32, y) != SURFACE))
        }));
    }

    #[test]
    fn the_present_is_missing_when_there_is_no_present() {
        let columns = inked(&spark(&[Some(600), Some(610), Some(620), None]).expect("there is a line"));
        assert!(columns[200 - 50..].iter().all(|inked| !inked));
    }

    #[test]
    fn higher_is_higher_and_the_scale_does_not_zoom_into_noise() {
        let it = spark(&[Some(400), Some(410)]).expect("there is a line");
        let (low, high) = (it.eighths(&AREA, 400), it.eighths(&AREA, 410));
        assert!(high < low && low - high < 8, "ten ppm are less than a pixel");
        assert!(it.eighths(&AREA, 100) == low && it.eighths(&AREA, u16::MAX) == MARGIN * 8);
        // The scale ends a little above 800 ppm, or at the threshold that is within reach of that.
        assert!(matches!(it.threshold_rows(&AREA), [Some(_), None]));
        let none = Spark::of(&History { ppm: &[Some(400); 2], minutes: 60, thresholds: (1000, 1400) }, false);
        assert_eq!(none.map(|it| it.threshold_rows(&AREA)), Some([None, None]));
    }

    #[test]
    fn one_value_is_no_line() {
        for values in [&[][..], &[None], &[Some(600)], &[Some(600), None, Some(600)]] {
            assert!(spark(values).is_none(), "{values:?}");
        }
    }
}
