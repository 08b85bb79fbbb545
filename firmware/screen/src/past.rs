//! The past of the number: what was shown, averaged over equal spaces of time.
//!
//! An average over time, not over readings: a number counts for as long as it was on the screen. So it does not matter
//! how often readings come, and while there was no number there is a gap.

use crate::view::HISTORY_MAX;
use casement_core::{Millis, Primary};

/// The past, in a fixed amount of memory. It begins with short spaces, so that a device shows a line soon after its
/// start, and doubles them when it is full, until it spans three hours.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    /// Full spaces, oldest first.
    spaces: heapless::Vec<Option<u16>, HISTORY_MAX>,
    space_ms: u64,
    /// When the present space began.
    began: Millis,
    /// Up to when everything is counted.
    upto: Millis,
    /// The present space: ppm times milliseconds, and the milliseconds with a number.
    sum: u64,
    covered_ms: u64,
    shown: Option<u16>,
    estimated: bool,
}

impl Past {
    /// Nothing yet. `now` is where it begins.
    pub(crate) const fn new(now: Millis) -> Self {
        Self {
            spaces: heapless::Vec::new(),
            space_ms: SPACE_MS_MIN,
            began: now,
            upto: now,
            sum: 0,
            covered_ms: 0,
            shown: None,
            estimated: false,
        }
    }

    /// The number is this from now on. What was shown until now counts.
    ///
    /// A device that changes from an estimate to measured CO2, or back, begins anew: the two are not to be compared.
    pub(crate) fn see(&mut self, primary: Option<Primary>, now: Millis) {
        self.pass(now);
        let (ppm, estimated) = match primary {
            Some(Primary::Co2(ppm)) => (ppm, false),
            Some(Primary::Eco2(ppm)) => (ppm, true),
            None => {
                self.shown = None;
                return;
            }
        };
        if estimated != self.estimated {
            *self = Self { estimated, ..Self::new(now) };
        }
        self.shown = Some(u16::try_from(ppm).unwrap_or(u16::MAX));
    }

    /// The values for a chart, the last one the present number; and how many minutes they span.
    pub(crate) fn line(&self) -> (heapless::Vec<Option<u16>, HISTORY_MAX>, u16) {
        let mut line = self.spaces.clone();
        // One space is always left for it.
        let _room = line.push(self.shown);
        let span_ms = self.space_ms * self.spaces.len() as u64 + self.upto.since(self.began);
        (line, u16::try_from(span_ms.div_ceil(60_000)).unwrap_or(u16::MAX).max(1))
    }

    fn pass(&mut self, now: Millis) {
        // A device that slept for longer than all of it has nothing to average.
        if now.since(self.upto) > SPACE_MS_MAX * HISTORY_MAX as u64 {
            *self = Self { shown: self.shown, estimated: self.estimated, ..Self::new(now) };
        }
        while now.since(self.began) >= self.space_ms {
            let end = self.began.after(self.space_ms);
            self.count(end);
            let average = (self.covered_ms * 2 >= self.space_ms)
                .then(|| u16::try_from(self.sum / self.covered_ms.max(1)).unwrap_or(u16::MAX));
            (self.began, self.sum, self.covered_ms) = (end, 0, 0);
            let _room = self.spaces.push(average);
            // One space is left for the present.
            if self.spaces.len() == HISTORY_MAX {
                self.make_room();
            }
        }
        self.count(now);
    }

    /// Counts the shown number up to a moment.
    fn count(&mut self, upto: Millis) {
        let ms = upto.since(self.upto);
        if let Some(ppm) = self.shown {
            self.sum += u64::from(ppm) * ms;
            self.covered_ms += ms;
        }
        self.upto = self.upto.max(upto);
    }

    fn make_room(&mut self) {
        if self.space_ms >= SPACE_MS_MAX {
            self.spaces.remove(0);
            return;
        }
        self.space_ms *= 2;
        let merged = self.spaces.as_chunks::<2>().0.iter().map(|pair| match *pair {
            [Some(one), Some(other)] => Some(one.midpoint(other)),
            [one, other] => one.or(other),
        });
        self.spaces = merged.collect();
    }
}

/// The first spaces, in milliseconds: with two of them there is a line.
const SPACE_MS_MIN: u64 = 7_500;
/// The last ones: 96 of two minutes are 3 h 12 min.
const SPACE_MS_MAX: u64 = 120_000;

// Doubling leads from one to the other, and spaces are merged in pairs.
const _: () = assert!(SPACE_MS_MIN << 4 == SPACE_MS_MAX && HISTORY_MAX.is_multiple_of(2));

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// A reading at each of these seconds, and the line at the end.
    fn after(readings: impl IntoIterator<Item = (u64, Option<u32>)>, end_s: u64) -> (Vec<Option<u16>>, u16) {
        let mut past = Past::new(Millis(0));
        for (at_s, ppm) in readings {
            past.see(ppm.map(Primary::Co2), Millis(at_s * 1_000));
        }
        past.pass(Millis(end_s * 1_000));
        let (line, minutes) = past.line();
        (line.iter().copied().collect(), minutes)
    }

    #[test]
    fn a_line_begins_within_twenty_seconds() {
        let (line, minutes) = after([(0, Some(600)), (5, Some(700))], 15);
        // 5 s of 600 and 2.5 s of 700, then 700, and the present.
        assert_eq!((&line[..], minutes), (&[Some(633), Some(700), Some(700)][..], 1));
    }

    #[test]
    fn a_number_counts_for_as_long_as_it_was_shown() {
        // One reading in ten minutes: nothing is missing in between.
        let (line, _) = after([(0, Some(500)), (600, Some(900))], 600);
        assert!(line.len() > 70 && line[..line.len() - 1].iter().all(|it| *it == Some(500)), "{line:?}");
        assert_eq!(line.last(), Some(&Some(900)));
    }

    #[test]
    fn a_gap_stays_a_gap() {
        let (line, _) = after([(0, Some(500)), (60, None), (120, Some(500))], 180);
        let gaps = line.iter().filter(|it| it.is_none()).count();
        assert_eq!(gaps, 8, "a minute of 7.5 s each: {line:?}");
        // Less than half of a space is not enough for an average.
        let (line, _) = after([(0, None), (5, Some(500))], 8);
        assert_eq!(line, [None, Some(500)]);
    }

    #[test]
    fn it_grows_to_three_hours_and_goes_on_from_there() {
        let ramp =
            |end_s: u64| after((0..=end_s / 5).map(|at| (at * 5, Some(400 + (at % 1_000) as u32))), end_s);
        for (end_s, minutes, len) in
            [(60, 1, 9), (600, 10, 81), (3_600, 60, 61), (3 * 3_600, 180, 91), (24 * 3_600, 190, 96)]
        {
            let (line, found) = ramp(end_s);
            assert_eq!((found, line.len()), (minutes, len), "after {end_s} s");
            assert!(line.len() <= HISTORY_MAX && line.iter().all(Option::is_some));
        }
    }

    #[test]
    fn merging_keeps_the_order_of_time() {
        // A straight rise stays a straight rise through every doubling.
        let (line, _) = after((0..=10_800 / 5).map(|at| (at * 5, Some(400 + at as u32))), 10_800);
        let steps: Vec<_> = line.windows(2).map(|two| two[1].unwrap() - two[0].unwrap()).collect();
        let middle = &steps[1..steps.len() - 1];
        assert!(middle.iter().all(|step| (22..=26).contains(step)), "{steps:?}");
    }

    #[test]
    fn an_estimate_and_a_measurement_are_never_on_one_line() {
        let mut past = Past::new(Millis(0));
        past.see(Some(Primary::Eco2(900)), Millis(0));
        past.see(Some(Primary::Co2(600)), Millis(60_000));
        past.pass(Millis(75_000));
        assert_eq!(past.line().0, [Some(600); 3]);
    }

    #[test]
    fn a_long_sleep_and_a_clock_that_stands_still_do_no_harm() {
        let mut past = Past::new(Millis(0));
        past.see(Some(Primary::Co2(600)), Millis(1_000));
        past.see(Some(Primary::Co2(600)), Millis(u64::MAX / 2));
        assert_eq!(past.line().0, [Some(600)]);
        past.see(Some(Primary::Co2(700)), Millis(5));
        assert_eq!(past.line().0, [Some(700)]);
    }
}
