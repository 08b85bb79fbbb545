//! Columns of numbers as few bytes. Pure.
//!
//! Whole numbers are kept as whichever of these is the shortest: one number, an arithmetic progression, differences of
//! variable length, or `pco` (<https://github.com/pcodec/pcodec>) over first differences. Its convolution of higher orders
//! panics on some lengths (1.1.0: when the last batch of 512 is shorter than the order) and would gain a thousandth, so
//! `TryConsecutive(1)` is the only way it is asked; every length from 1 to 2,100 is tested.
//!
//! A sensor gives decimal fractions: values are multiplied by the smallest power of ten that makes all of them whole, when
//! that loses no bit of any, and kept as bits otherwise.

use super::blob::{Damage, Reader, Writer};
use pco::data_types::Number;
use pco::errors::PcoResult;
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DeltaSpec, PagingSpec};

/// Most numbers in a column: a day at ten readings a second, and as many again.
pub(crate) const COLUMN_MAX: usize = 2_000_000;

/// `pco`'s effort, 0 to 12. Above 8 nothing is gained on days of sensor noise; 4 takes three hundredths more room.
const LEVEL: usize = 8;

/// `pco` has a head; shorter columns are not worth it.
const PCO_MIN: usize = 24;

/// Longer columns are not tried as differences of variable length.
const PLAIN_MAX: usize = 512;

const CONSTANT: u8 = 0;
const STEPS: u8 = 1;
const PLAIN: u8 = 2;
const PCO: u8 = 3;

/// The decimal places that are tried.
const POWERS: [f64; 7] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6];

/// The place for "as bits".
pub(crate) const AS_BITS: u8 = 255;

/// Beyond this a multiplied value is kept as bits: sums of a day must fit, too.
const WHOLE_MAX: f64 = (1u64 << 45) as f64;

/// A column as `pco` packs it, without the head that a file of its own would need; `None` when it cannot.
fn pack<T: Number>(numbers: &[T]) -> Option<Vec<u8>> {
    if numbers.len() < PCO_MIN {
        return None;
    }
    let config = ChunkConfig::default()
        .with_compression_level(LEVEL)
        .with_delta_spec(DeltaSpec::TryConsecutive(1))
        .with_paging_spec(PagingSpec::Exact(vec![numbers.len()]));
    let packed = || -> PcoResult<Vec<u8>> {
        let file = FileCompressor::default();
        let mut column = file.chunk_compressor(numbers, &config)?;
        column.write_page(0, column.write_meta(file.write_header(Vec::new())?)?)
    };
    packed().ok()
}

/// Writes whole numbers; how many is known to the reader.
pub(crate) fn write_whole(out: &mut Writer, numbers: &[i64]) {
    let Some(first) = numbers.first().copied() else { return };
    let step = numbers.get(1).map_or(0, |second| second.wrapping_sub(first));
    if numbers.windows(2).all(|two| matches!(two, [a, b] if b.wrapping_sub(*a) == step)) {
        out.byte(if step == 0 { CONSTANT } else { STEPS });
        out.signed(first);
        if step != 0 {
            out.signed(step);
        }
        return;
    }
    let plain = (numbers.len() <= PLAIN_MAX).then(|| differences(numbers));
    match (plain, pack(numbers)) {
        (Some(plain), Some(packed)) if packed.len() + 2 >= plain.len() => write_tagged(out, PLAIN, &plain),
        (_, Some(packed)) => {
            out.byte(PCO);
            out.number(packed.len() as u64);
            out.bytes(&packed);
        }
        (Some(plain), None) => write_tagged(out, PLAIN, &plain),
        (None, None) => write_tagged(out, PLAIN, &differences(numbers)),
    }
}

fn write_tagged(out: &mut Writer, tag: u8, bytes: &[u8]) {
    out.byte(tag);
    out.bytes(bytes);
}

fn differences(numbers: &[i64]) -> Vec<u8> {
    let mut out = Writer::part();
    let mut before = 0i64;
    for number in numbers {
        out.signed(number.wrapping_sub(before));
        before = *number;
    }
    out.into_part()
}

/// Reads so many whole numbers.
pub(crate) fn read_whole(from: &mut Reader<'_>, count: usize) -> Result<Vec<i64>, Damage> {
    if count > COLUMN_MAX {
        return Err(Damage("a column in it is too long"));
    }
    if count == 0 {
        return Ok(Vec::new());
    }
    match from.byte()? {
        CONSTANT => Ok(vec![from.signed()?; count]),
        STEPS => {
            let (mut next, step) = (from.signed()?, from.signed()?);
            let progression = (0..count).map(|_| {
                let this = next;
                next = next.wrapping_add(step);
                this
            });
            Ok(progression.collect())
        }
        PLAIN => {
            let mut before = 0i64;
            (0..count)
                .map(|_| {
                    before = before.wrapping_add(from.signed()?);
                    Ok(before)
                })
                .collect()
        }
        PCO => {
            let mut numbers = vec![0i64; count];
            unpack(from, &mut numbers)?;
            Ok(numbers)
        }
        _ => Err(Damage("a column in it is of an unknown kind")),
    }
}

fn unpack<T: Number>(from: &mut Reader<'_>, into: &mut [T]) -> Result<(), Damage> {
    let length = from.count(super::blob::BLOB_BYTES_MAX)?;
    let packed = from.bytes(length)?;
    let count = into.len();
    let unpacked = |into: &mut [T]| -> PcoResult<usize> {
        let (file, rest) = FileDecompressor::new(packed)?;
        let (mut column, rest) = file.chunk_decompressor::<T, _>(rest)?;
        Ok(column.page_decompressor(rest, count)?.read(into)?.n_processed)
    };
    if unpacked(into).map_err(|_| Damage("a column in it cannot be unpacked"))? != count {
        return Err(Damage("a column in it is shorter than it says"));
    }
    Ok(())
}

/// The decimal places of a column, or [`AS_BITS`], and its values as whole numbers.
pub(crate) fn to_whole(values: &[f64]) -> Option<(u8, Vec<i64>)> {
    let mut place = 0;
    for value in values {
        while whole(*value, place).is_none() {
            place += 1;
            if place == POWERS.len() {
                return None;
            }
        }
    }
    let numbers = values.iter().map(|value| whole(*value, place)).collect::<Option<Vec<_>>>()?;
    u8::try_from(place).ok().map(|place| (place, numbers))
}

/// This value as a whole number of units of this decimal place, when that is exact.
pub(crate) fn whole(value: f64, place: usize) -> Option<i64> {
    let power = POWERS.get(place)?;
    let rounded = (value * power).round();
    let exact = rounded.abs() <= WHOLE_MAX && (rounded as i64 as f64 / power).to_bits() == value.to_bits();
    exact.then_some(rounded as i64)
}

/// The value that so many units of a decimal place are.
pub(crate) fn from_whole(number: i64, place: u8) -> f64 {
    number as f64 / POWERS.get(usize::from(place)).copied().unwrap_or(1.0)
}

/// A column of values as it is kept: whole numbers of a decimal place, or the values themselves.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Column {
    /// So many units of this decimal place.
    Whole(u8, Vec<i64>),
    /// As they are.
    Bits(Vec<f64>),
}

impl Column {
    pub(crate) fn values(self) -> Vec<f64> {
        match self {
            Self::Whole(place, numbers) => {
                numbers.into_iter().map(|number| from_whole(number, place)).collect()
            }
            Self::Bits(values) => values,
        }
    }
}

/// Writes values; how many is known to the reader.
pub(crate) fn write_values(out: &mut Writer, values: &[f64]) {
    if values.is_empty() {
        return;
    }
    if let Some((place, numbers)) = to_whole(values) {
        out.byte(place);
        return write_whole(out, &numbers);
    }
    out.byte(AS_BITS);
    match pack(values) {
        Some(packed) if packed.len() < values.len() * 8 => {
            out.byte(PCO);
            out.number(packed.len() as u64);
            out.bytes(&packed);
        }
        _ => {
            out.byte(PLAIN);
            for value in values {
                out.float(*value);
            }
        }
    }
}

/// Reads so many values.
pub(crate) fn read_values(from: &mut Reader<'_>, count: usize) -> Result<Column, Damage> {
    if count == 0 {
        return Ok(Column::Bits(Vec::new()));
    }
    if count > COLUMN_MAX {
        return Err(Damage("a column in it is too long"));
    }
    let place = from.byte()?;
    if usize::from(place) < POWERS.len() {
        return Ok(Column::Whole(place, read_whole(from, count)?));
    }
    if place != AS_BITS {
        return Err(Damage("a column in it is of an unknown kind"));
    }
    match from.byte()? {
        PCO => {
            let mut values = vec![0f64; count];
            unpack(from, &mut values)?;
            Ok(Column::Bits(values))
        }
        PLAIN => Ok(Column::Bits((0..count).map(|_| from.float()).collect::<Result<_, _>>()?)),
        _ => Err(Damage("a column in it is of an unknown kind")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn there_and_back(numbers: &[i64]) -> usize {
        let mut out = Writer::part();
        write_whole(&mut out, numbers);
        let part = out.into_part();
        let mut reader = Reader::part(&part);
        assert_eq!(read_whole(&mut reader, numbers.len()).unwrap(), numbers);
        assert!(reader.is_empty());
        part.len()
    }

    fn values_there_and_back(values: &[f64]) -> usize {
        let mut out = Writer::part();
        write_values(&mut out, values);
        let part = out.into_part();
        let mut reader = Reader::part(&part);
        let back = read_values(&mut reader, values.len()).unwrap().values();
        assert!(
            back.iter().zip(values).all(|(a, b)| a.to_bits() == b.to_bits()) && back.len() == values.len()
        );
        assert!(reader.is_empty());
        part.len()
    }

    #[test]
    fn every_length_from_1_to_2100_comes_back() {
        let noise = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 59;
        let numbers: Vec<i64> = (0..2_100).map(|i| 800 + noise(i) as i64).collect();
        let thirds: Vec<f64> = (0..2_100).map(|i| noise(i) as f64 / 3.0).collect();
        for length in 0..=2_100 {
            there_and_back(&numbers[..length]);
            values_there_and_back(&thirds[..length]);
        }
    }

    #[test]
    fn what_is_regular_takes_no_room() {
        let grid: Vec<i64> = (0..8_640).map(|i| 1_795_341_600_000 + i * 10_000).collect();
        assert!(there_and_back(&grid) < 16);
        assert!(there_and_back(&[7; 5_000]) < 4);
        assert!(values_there_and_back(&[21.5; 5_000]) < 8);
    }

    #[test]
    fn the_widest_numbers_come_back() {
        there_and_back(&[i64::MIN, i64::MAX, 0, -1, 1, i64::MIN]);
        let wide: Vec<i64> =
            (0..3_000).map(|i| if i % 2 == 0 { i64::MIN + i } else { i64::MAX - i }).collect();
        there_and_back(&wide);
        values_there_and_back(&[
            0.1 + 0.2,
            f64::MIN_POSITIVE,
            -1.0e300,
            769.666_666_666_667,
            5e-324,
            -0.0,
            1.0 / 3.0,
        ]);
        values_there_and_back(&[f64::INFINITY, f64::NEG_INFINITY, f64::MAX]);
        values_there_and_back(&[1e15, 0.5]);
    }

    #[test]
    fn decimal_fractions_are_whole_numbers() {
        assert_eq!(to_whole(&[22.41, 22.4, 22.0]), Some((2, vec![2241, 2240, 2200])));
        assert_eq!(to_whole(&[812.0, 815.0]), Some((0, vec![812, 815])));
        assert_eq!(to_whole(&[1.0 / 3.0]), None);
        assert_eq!(to_whole(&[-0.0]), None, "the sign of nothing is kept, too");
        assert_eq!(to_whole(&[f64::NAN]), None);
    }

    proptest! {
        #[test]
        fn whole_numbers_come_back(numbers in proptest::collection::vec(any::<i64>(), 0..700)) {
            there_and_back(&numbers);
        }

        #[test]
        fn values_come_back(values in proptest::collection::vec(any::<f64>(), 0..700)) {
            values_there_and_back(&values);
        }

        #[test]
        fn any_bytes_are_a_column_or_an_error(bytes: Vec<u8>, count in 0usize..5_000) {
            let _whole = read_whole(&mut Reader::part(&bytes), count);
            let _values = read_values(&mut Reader::part(&bytes), count);
        }

        #[test]
        fn a_damaged_column_is_an_error_and_no_panic(
            at in 0usize..1_000_000, bits in 1u8..=255, noise in proptest::collection::vec(0i64..50, 30..2_000),
        ) {
            let mut out = Writer::part();
            write_whole(&mut out, &noise);
            let mut part = out.into_part();
            let at = at % part.len();
            part[at] ^= bits;
            let _damaged = read_whole(&mut Reader::part(&part), noise.len());
        }
    }
}
