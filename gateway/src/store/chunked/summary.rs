//! What is known of a series' day without unpacking it: for each hour how many, the least, the greatest and the sum; when it
//! begins and ends, and where it was silent. Pure. Always made anew from the whole day, never added to.

use super::blob::{Damage, Reader, Writer};
use super::numbers::{AS_BITS, COLUMN_MAX, from_whole, to_whole, whole};
use crate::telemetry::series::GAP_MIN_MS;
use crate::telemetry::time::HOUR_MS;

const KIND: u8 = b'S';

/// Silences that are kept; a day with more of them is unpacked when somebody asks. A device with a long rhythm has many.
const HOLES_MAX: usize = 48;

/// Some values taken together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Total {
    pub(crate) count: u64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) sum: f64,
}

impl Total {
    /// Of one value.
    pub(crate) fn of(value: f64) -> Self {
        Self { count: 1, min: value, max: value, sum: value }
    }

    /// Of these and those.
    pub(crate) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
    }

    /// Of these and that one.
    pub(crate) fn take(&mut self, value: f64) {
        self.count += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sum += value;
    }
}

/// A series' day.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Summary {
    /// Time of the first value, in milliseconds since 1970.
    pub(crate) first_ms: i64,
    /// Time of the last.
    pub(crate) last_ms: i64,
    /// Hours of the day (UTC) that have values, in order.
    pub(crate) hours: Vec<(u8, Total)>,
    /// Where more than [`GAP_MIN_MS`] lie between two values: the times of both. `None` when there are too many to keep.
    pub(crate) holes: Option<Vec<(i64, i64)>>,
}

impl Summary {
    /// Of the values of a day that begins at `begin_ms`, in order of time; `None` when there are none.
    pub(crate) fn of(begin_ms: i64, times: &[i64], column: &[f64]) -> Option<Self> {
        let mut there =
            times.iter().copied().zip(column.iter().copied()).filter(|(_, value)| !value.is_nan());
        let (first_ms, first) = there.next()?;
        let hour = |t_ms: i64| t_ms.saturating_sub(begin_ms).div_euclid(HOUR_MS).clamp(0, 23) as u8;
        let mut hours = vec![(hour(first_ms), Total::of(first))];
        let (mut last_ms, mut holes) = (first_ms, Vec::new());
        for (t_ms, value) in there {
            match hours.last_mut() {
                Some((last, total)) if *last == hour(t_ms) => total.take(value),
                _ => hours.push((hour(t_ms), Total::of(value))),
            }
            if t_ms.saturating_sub(last_ms) > GAP_MIN_MS {
                holes.push((last_ms, t_ms));
            }
            last_ms = t_ms;
        }
        Some(Self { first_ms, last_ms, hours, holes: (holes.len() <= HOLES_MAX).then_some(holes) })
    }

    /// For a series whose values say nothing: only how many there are is kept.
    pub(crate) fn merge_hours(&mut self) {
        if let Some(total) = self.total() {
            self.hours = vec![(0, total)];
        }
        self.holes = None;
    }

    /// All hours together.
    pub(crate) fn total(&self) -> Option<Total> {
        let (first, others) = self.hours.split_first()?;
        let mut total = first.1;
        others.iter().for_each(|(_, other)| total.add(other));
        Some(total)
    }

    /// How many values.
    pub(crate) fn count(&self) -> u64 {
        self.hours.iter().map(|(_, total)| total.count).sum()
    }

    /// As a blob, for a day that begins at `begin_ms`.
    pub(crate) fn to_blob(&self, begin_ms: i64) -> Vec<u8> {
        let mut out = Writer::new(KIND);
        out.signed(self.first_ms.wrapping_sub(begin_ms));
        out.number(self.last_ms.wrapping_sub(self.first_ms).cast_unsigned());
        let present = self.hours.iter().fold(0u64, |bits, (hour, _)| bits | 1 << hour);
        out.number(present);
        match self.whole() {
            Some((place, hours)) => {
                out.byte(place);
                let mut before = 0;
                for (count, min, max, sum) in hours {
                    out.number(count);
                    out.signed(min - before);
                    out.number((max - min).cast_unsigned());
                    out.number(sum.wrapping_sub(min.wrapping_mul(count.cast_signed())).cast_unsigned());
                    before = min;
                }
            }
            None => {
                out.byte(AS_BITS);
                for (_, total) in &self.hours {
                    out.number(total.count);
                    out.float(total.min);
                    out.float(total.max);
                    out.float(total.sum);
                }
            }
        }
        match &self.holes {
            None => out.number(0),
            Some(holes) => {
                out.number(holes.len() as u64 + 1);
                let mut end = self.first_ms;
                for (from, to) in holes {
                    out.number(from.wrapping_sub(end).cast_unsigned());
                    out.number(to.wrapping_sub(*from).cast_unsigned());
                    end = *to;
                }
            }
        }
        out.finish()
    }

    /// The hours as whole numbers of one decimal place, when that is exact and small enough.
    #[allow(clippy::type_complexity, reason = "count, least, greatest and sum, once")]
    fn whole(&self) -> Option<(u8, Vec<(u64, i64, i64, i64)>)> {
        let ends: Vec<f64> = self.hours.iter().flat_map(|(_, total)| [total.min, total.max]).collect();
        let (mut place, _) = to_whole(&ends)?;
        // The ends may have fewer places than what lies between them.
        loop {
            let at = usize::from(place);
            let hours: Option<Vec<_>> = self
                .hours
                .iter()
                .map(|(_, total)| {
                    let sum = whole_sum(total.sum, at)?;
                    Some((total.count, whole(total.min, at)?, whole(total.max, at)?, sum))
                })
                .collect();
            match hours {
                Some(hours) => return Some((place, hours)),
                None if place < 3 => place += 1,
                None => return None,
            }
        }
    }

    /// From a blob, for a day that begins at `begin_ms`.
    pub(crate) fn from_blob(begin_ms: i64, blob: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader::open(KIND, blob)?;
        let first_ms = begin_ms.wrapping_add(reader.signed()?);
        let last_ms = first_ms.wrapping_add(reader.number()?.cast_signed());
        let present = reader.number()?;
        let place = reader.byte()?;
        let mut hours = Vec::with_capacity(24);
        let mut before = 0i64;
        for hour in (0..24u8).filter(|hour| present >> hour & 1 == 1) {
            let count = reader.count(COLUMN_MAX)? as u64;
            let total = if place == AS_BITS {
                Total { count, min: reader.float()?, max: reader.float()?, sum: reader.float()? }
            } else {
                let min = before.wrapping_add(reader.signed()?);
                let max = min.wrapping_add(reader.number()?.cast_signed());
                let over = reader.number()?.cast_signed();
                before = min;
                let sum = min.wrapping_mul(count.cast_signed()).wrapping_add(over);
                Total {
                    count,
                    min: from_whole(min, place),
                    max: from_whole(max, place),
                    sum: from_whole(sum, place),
                }
            };
            hours.push((hour, total));
        }
        let holes = match reader.count(HOLES_MAX + 1)? {
            0 => None,
            more => {
                let mut holes = Vec::with_capacity(more - 1);
                let mut end = first_ms;
                for _ in 1..more {
                    let from = end.wrapping_add(reader.number()?.cast_signed());
                    let to = from.wrapping_add(reader.number()?.cast_signed());
                    holes.push((from, to));
                    end = to;
                }
                Some(holes)
            }
        };
        Ok(Self { first_ms, last_ms, hours, holes })
    }
}

/// A sum as a whole number of units. Sums of decimal fractions carry the last bit's noise; rounding takes it away.
fn whole_sum(sum: f64, place: usize) -> Option<i64> {
    let units = sum * from_places(place);
    let rounded = units.round();
    ((units - rounded).abs() < 1e-4 && rounded.abs() < 9e15).then_some(rounded as i64)
}

fn from_places(place: usize) -> f64 {
    1.0 / from_whole(1, u8::try_from(place).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::time::DAY_MS;

    const T0: i64 = 1_795_305_600_000;

    fn check(values: impl Fn(i64) -> f64, step_ms: i64) -> (Summary, usize) {
        let times: Vec<i64> = (0..DAY_MS / step_ms).map(|i| T0 + i * step_ms).collect();
        let column: Vec<f64> = times.iter().map(|t| values((t - T0) / step_ms)).collect();
        let summary = Summary::of(T0, &times, &column).unwrap();
        let blob = summary.to_blob(T0);
        let back = Summary::from_blob(T0, &blob).unwrap();
        assert_eq!(
            (back.first_ms, back.last_ms, &back.holes),
            (summary.first_ms, summary.last_ms, &summary.holes)
        );
        for ((hour, a), (same, b)) in back.hours.iter().zip(&summary.hours) {
            assert_eq!(
                (hour, a.count, a.min.to_bits(), a.max.to_bits()),
                (same, b.count, b.min.to_bits(), b.max.to_bits())
            );
            assert!((a.sum - b.sum).abs() <= b.sum.abs() * 1e-12, "{} {}", a.sum, b.sum);
        }
        (summary, blob.len())
    }

    #[test]
    fn a_day_comes_back_in_few_bytes() {
        let (summary, bytes) = check(|i| 400.0 + (i % 700) as f64, 10_000);
        assert_eq!((summary.count(), summary.holes), (8_640, Some(vec![])));
        assert!(bytes < 24 * 10, "{bytes} bytes");
        check(|i| 20.0 + ((i * 7_919) % 1_000) as f64 / 100.0, 10_000);
        check(|i| 1.0 / (i as f64 + 3.0), 10_000);
        check(|i| if i % 3 == 0 { f64::NAN } else { -1e300 }, 60_000);
        check(|_| 5e-324, 3_600_000);
    }

    #[test]
    fn silences_are_kept_unless_they_are_its_rhythm() {
        let (summary, _) = check(|i| if (600..700).contains(&i) { f64::NAN } else { 1.0 }, 10_000);
        assert_eq!(summary.holes, Some(vec![(T0 + 5_990_000, T0 + 7_000_000)]));
        let (summary, _) = check(|_| 1.0, 600_000);
        assert_eq!(summary.holes, None);
    }

    #[test]
    fn nothing_has_no_summary() {
        assert_eq!(Summary::of(T0, &[T0], &[f64::NAN]), None);
        assert_eq!(Summary::of(T0, &[], &[]), None);
    }
}
