//! Readings as they stand in the log and in memory until they are sealed: packed, in order of arrival. Pure.
//!
//! A log row is one blob for one commit. Each reading in it names its device, number, time, state, perhaps its name, and
//! its values; numbers and times are differences from the reading before.

use super::blob::{Damage, Reader, Writer};
use super::numbers::{AS_BITS, from_whole, whole};

const KIND: u8 = b'L';

/// Most readings in a row.
const ROW_READINGS_MAX: usize = 4_000_000;

/// Most values of one reading: more than any format lets through.
const VALUES_MAX: usize = 4_096;

/// The decimal places that are tried for one value.
const PLACES: usize = 5;

/// A reading, in numbers of the store.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    /// Its place in the order of arrival.
    pub(crate) id: i64,
    /// The number of its device.
    pub(crate) device: i64,
    /// When, in milliseconds since 1970.
    pub(crate) t_ms: i64,
    /// Its state's place in [`casement_proto::State::ALL`].
    pub(crate) state: u8,
    /// `(boot, seq)`.
    pub(crate) name: Option<(u64, u64)>,
    /// Numbers of metrics and values.
    pub(crate) values: Vec<(i64, f64)>,
}

/// Packed readings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packed {
    bytes: Vec<u8>,
    count: usize,
    last: (i64, i64),
}

impl Packed {
    /// Adds a reading.
    pub(crate) fn push(&mut self, record: &Record) {
        let mut out = Writer::continuing(std::mem::take(&mut self.bytes));
        write(&mut out, record, self.last);
        self.bytes = out.into_part();
        self.last = (record.id, record.t_ms);
        self.count += 1;
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// All of them, in order of arrival.
    pub(crate) fn unpack(&self) -> Vec<Record> {
        let mut reader = Reader::part(&self.bytes);
        // What was packed in this process can be unpacked.
        read_all(&mut reader, self.count).unwrap_or_default()
    }

    /// As a row of the log.
    pub(crate) fn to_row(&self) -> Vec<u8> {
        let mut out = Writer::new(KIND);
        out.number(self.count as u64);
        out.bytes(&self.bytes);
        out.finish()
    }
}

impl FromIterator<Record> for Packed {
    fn from_iter<I: IntoIterator<Item = Record>>(records: I) -> Self {
        let mut packed = Self::default();
        for record in records {
            packed.push(&record);
        }
        packed.bytes.shrink_to_fit();
        packed
    }
}

/// One reading alone, as a blob.
pub(crate) fn to_blob(record: &Record) -> Vec<u8> {
    let mut packed = Packed::default();
    packed.push(record);
    packed.to_row()
}

/// The readings of a row of the log, or of [`to_blob`].
pub(crate) fn from_row(row: &[u8]) -> Result<Vec<Record>, Damage> {
    let mut reader = Reader::open(KIND, row)?;
    let count = reader.count(ROW_READINGS_MAX)?;
    let records = read_all(&mut reader, count)?;
    if !reader.is_empty() {
        return Err(Damage("something follows its end"));
    }
    Ok(records)
}

fn write(out: &mut Writer, record: &Record, (last_id, last_t): (i64, i64)) {
    out.signed(record.device);
    out.byte(record.state << 1 | u8::from(record.name.is_some()));
    out.signed(record.id.wrapping_sub(last_id));
    out.signed(record.t_ms.wrapping_sub(last_t));
    if let Some((boot, seq)) = record.name {
        out.number(boot);
        out.number(seq);
    }
    out.number(record.values.len() as u64);
    for (metric, value) in &record.values {
        out.signed(*metric);
        match (0..PLACES).find_map(|place| Some((place as u8, whole(*value, place)?))) {
            Some((place, number)) => {
                out.byte(place);
                out.signed(number);
            }
            None => {
                out.byte(AS_BITS);
                out.float(*value);
            }
        }
    }
}

fn read_all(reader: &mut Reader<'_>, count: usize) -> Result<Vec<Record>, Damage> {
    // A count that is not true takes no memory before the bytes run out.
    let mut records = Vec::with_capacity(count.min(8_192));
    let mut last = (0i64, 0i64);
    for _ in 0..count {
        let record = read(reader, last)?;
        last = (record.id, record.t_ms);
        records.push(record);
    }
    Ok(records)
}

fn read(reader: &mut Reader<'_>, (last_id, last_t): (i64, i64)) -> Result<Record, Damage> {
    let device = reader.signed()?;
    let flags = reader.byte()?;
    let id = last_id.wrapping_add(reader.signed()?);
    let t_ms = last_t.wrapping_add(reader.signed()?);
    let name = if flags & 1 == 1 { Some((reader.number()?, reader.number()?)) } else { None };
    let count = reader.count(VALUES_MAX)?;
    let mut values = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        let metric = reader.signed()?;
        let value = match reader.byte()? {
            AS_BITS => reader.float()?,
            place if usize::from(place) < PLACES => from_whole(reader.signed()?, place),
            _ => return Err(Damage("a value in it is of an unknown kind")),
        };
        values.push((metric, value));
    }
    Ok(Record { id, device, t_ms, state: flags >> 1, name, values })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn records() -> impl Strategy<Value = Vec<Record>> {
        let value = prop_oneof![
            any::<f64>().prop_filter("a number", |v| !v.is_nan()),
            (0i32..5_000).prop_map(|n| f64::from(n) / 100.0)
        ];
        let record = (
            any::<i64>(),
            any::<i64>(),
            any::<i64>(),
            0u8..6,
            proptest::option::of((any::<u64>(), any::<u64>())),
            proptest::collection::vec((any::<i64>(), value), 0..6),
        )
            .prop_map(|(id, device, t_ms, state, name, values)| Record {
                id,
                device,
                t_ms,
                state,
                name,
                values,
            });
        proptest::collection::vec(record, 0..40)
    }

    proptest! {
        #[test]
        fn readings_come_back(records in records()) {
            let packed: Packed = records.iter().cloned().collect();
            prop_assert_eq!(packed.count(), records.len());
            prop_assert_eq!(&packed.unpack(), &records);
            prop_assert_eq!(from_row(&packed.to_row()), Ok(records));
        }

        #[test]
        fn any_bytes_are_readings_or_an_error(bytes: Vec<u8>, count in 0usize..100_000) {
            let _readings = read_all(&mut Reader::part(&bytes), count);
        }
    }

    #[test]
    fn a_reading_of_four_values_takes_some_thirty_bytes() {
        let mut packed = Packed::default();
        for n in 0..100i64 {
            packed.push(&Record {
                id: n + 1,
                device: n % 10,
                t_ms: 1_795_341_600_000 + n,
                state: 0,
                name: Some((17, n.cast_unsigned())),
                values: vec![(1, 812.0), (2, 120.0), (3, 22.41), (4, 41.07)],
            });
        }
        let per_reading = packed.to_row().len() / 100;
        assert!(per_reading <= 26, "{per_reading} bytes");
    }
}
