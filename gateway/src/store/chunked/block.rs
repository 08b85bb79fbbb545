//! A stretch of a device's readings as columns: the times and states that all metrics share, and a column of values for
//! each metric. Pure.
//!
//! Hour pieces are one blob; a day is a blob of times and a blob for each metric, so that a chart reads the metric it shows.

use super::blob::{Damage, Reader, Writer};
use super::numbers::{COLUMN_MAX, Column, read_values, read_whole, write_values, write_whole};
use super::record::Record;

const PIECE: u8 = b'P';
const TIMES: u8 = b'T';
const VALUES: u8 = b'V';

/// Most metrics of a device in one piece.
const METRICS_MAX: usize = 65_536;

/// Readings of one device in order of time; those of one instant in order of arrival.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Block {
    /// When, in milliseconds since 1970.
    pub(crate) times: Vec<i64>,
    /// Places in [`casement_proto::State::ALL`].
    pub(crate) states: Vec<u8>,
    /// For each metric, by its number, a value for each reading; NaN where it has none.
    pub(crate) columns: Vec<(i64, Vec<f64>)>,
}

impl Block {
    /// How many readings.
    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    /// How many values.
    pub(crate) fn values(&self) -> usize {
        self.columns.iter().flat_map(|(_, column)| column).filter(|value| !value.is_nan()).count()
    }

    /// From readings in order of arrival.
    pub(crate) fn from_records(records: &[Record]) -> Self {
        let mut order: Vec<&Record> = records.iter().collect();
        order.sort_by_key(|record| (record.t_ms, record.id));
        let mut block = Self {
            times: order.iter().map(|record| record.t_ms).collect(),
            states: order.iter().map(|record| record.state).collect(),
            columns: Vec::new(),
        };
        for (at, record) in order.iter().enumerate() {
            for (metric, value) in &record.values {
                if let Some(cell) = block.column_mut(*metric).get_mut(at) {
                    *cell = *value;
                }
            }
        }
        block
    }

    /// The column of a metric.
    pub(crate) fn column(&self, metric: i64) -> Option<&[f64]> {
        let at = self.columns.binary_search_by_key(&metric, |(metric, _)| *metric).ok()?;
        self.columns.get(at).map(|(_, column)| column.as_slice())
    }

    fn column_mut(&mut self, metric: i64) -> &mut Vec<f64> {
        let at = match self.columns.binary_search_by_key(&metric, |(metric, _)| *metric) {
            Ok(at) => at,
            Err(at) => {
                self.columns.insert(at, (metric, vec![f64::NAN; self.times.len()]));
                at
            }
        };
        &mut self.columns[at].1
    }

    /// Blocks as one, earlier blocks first where times are equal.
    pub(crate) fn merge(blocks: Vec<Self>) -> Self {
        let mut all = Self::default();
        for block in blocks {
            if all.times.is_empty() {
                all = block;
                continue;
            }
            let (had, have) = (all.times.len(), all.times.len() + block.times.len());
            all.times.extend(block.times);
            all.states.extend(block.states);
            for (metric, values) in block.columns {
                let column = all.column_mut(metric);
                column.resize(had, f64::NAN);
                column.extend(values);
            }
            for (_, column) in &mut all.columns {
                column.resize(have, f64::NAN);
            }
        }
        if all.times.is_sorted() {
            return all;
        }
        let mut order: Vec<usize> = (0..all.times.len()).collect();
        // Stable: readings of one instant stay in their order.
        order.sort_by_key(|at| all.times.get(*at));
        let columns = all.columns.iter().map(|(metric, column)| (*metric, pick(column, &order))).collect();
        Self { times: pick(&all.times, &order), states: pick(&all.states, &order), columns }
    }

    /// The readings from `from` on and before `to`.
    pub(crate) fn cut(&self, from: usize, to: usize) -> Self {
        let part = |column: &[f64]| column.get(from..to).unwrap_or_default().to_vec();
        Self {
            times: self.times.get(from..to).unwrap_or_default().to_vec(),
            states: self.states.get(from..to).unwrap_or_default().to_vec(),
            columns: self
                .columns
                .iter()
                .map(|(metric, column)| (*metric, part(column)))
                .filter(|(_, column)| column.iter().any(|value| !value.is_nan()))
                .collect(),
        }
    }

    /// As one blob.
    pub(crate) fn to_piece(&self) -> Vec<u8> {
        let mut out = Writer::new(PIECE);
        write_times(&mut out, &self.times, &self.states);
        out.number(self.columns.len() as u64);
        for (metric, column) in &self.columns {
            out.signed(*metric);
            write_column(&mut out, column);
        }
        out.finish()
    }

    /// From such a blob.
    pub(crate) fn from_piece(blob: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader::open(PIECE, blob)?;
        let (times, states) = read_times(&mut reader)?;
        let mut columns = Vec::new();
        for _ in 0..reader.count(METRICS_MAX)? {
            let metric = reader.signed()?;
            columns.push((metric, spread(read_column(&mut reader, times.len())?)));
        }
        if !columns.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err(Damage("its metrics are in disorder"));
        }
        Ok(Self { times, states, columns })
    }

    /// Times and states as a blob.
    pub(crate) fn to_times(&self) -> Vec<u8> {
        let mut out = Writer::new(TIMES);
        write_times(&mut out, &self.times, &self.states);
        out.finish()
    }
}

fn pick<T: Copy>(all: &[T], order: &[usize]) -> Vec<T> {
    order.iter().filter_map(|at| all.get(*at).copied()).collect()
}

/// Times and states from a blob.
pub(crate) fn from_times(blob: &[u8]) -> Result<(Vec<i64>, Vec<u8>), Damage> {
    read_times(&mut Reader::open(TIMES, blob)?)
}

/// One metric's column as a blob.
pub(crate) fn to_values(column: &[f64]) -> Vec<u8> {
    let mut out = Writer::new(VALUES);
    out.number(column.len() as u64);
    write_column(&mut out, column);
    out.finish()
}

/// One metric's column: for each reading of the block whether it has a value, and the values there are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sparse {
    /// `None` when every reading has one.
    pub(crate) present: Option<Vec<bool>>,
    /// The values, without gaps.
    pub(crate) values: Column,
}

/// From such a blob.
pub(crate) fn from_values(blob: &[u8]) -> Result<Sparse, Damage> {
    let mut reader = Reader::open(VALUES, blob)?;
    let count = reader.count(COLUMN_MAX)?;
    read_column(&mut reader, count)
}

/// With NaN where a reading has no value.
pub(crate) fn spread(sparse: Sparse) -> Vec<f64> {
    match sparse.present {
        None => sparse.values.values(),
        Some(present) => {
            let mut values = sparse.values.values().into_iter();
            present
                .into_iter()
                .map(|there| if there { values.next().unwrap_or(f64::NAN) } else { f64::NAN })
                .collect()
        }
    }
}

fn write_times(out: &mut Writer, times: &[i64], states: &[u8]) {
    out.number(times.len() as u64);
    write_whole(out, times);
    write_runs(out, states);
}

fn read_times(reader: &mut Reader<'_>) -> Result<(Vec<i64>, Vec<u8>), Damage> {
    let count = reader.count(COLUMN_MAX)?;
    let times = read_whole(reader, count)?;
    let states = read_runs(reader, count)?;
    Ok((times, states))
}

fn write_column(out: &mut Writer, column: &[f64]) {
    let present: Vec<u8> = column.iter().map(|value| u8::from(!value.is_nan())).collect();
    write_runs(out, &present);
    let values: Vec<f64> = column.iter().copied().filter(|value| !value.is_nan()).collect();
    write_values(out, &values);
}

fn read_column(reader: &mut Reader<'_>, count: usize) -> Result<Sparse, Damage> {
    let present: Vec<bool> = read_runs(reader, count)?.into_iter().map(|there| there != 0).collect();
    let there = present.iter().filter(|there| **there).count();
    let values = read_values(reader, there)?;
    Ok(Sparse { present: (there < count).then_some(present), values })
}

/// Small numbers that rarely change, as runs.
fn write_runs(out: &mut Writer, numbers: &[u8]) {
    for run in numbers.chunk_by(|a, b| a == b) {
        out.byte(run.first().copied().unwrap_or(0));
        out.number(run.len() as u64);
    }
}

fn read_runs(reader: &mut Reader<'_>, count: usize) -> Result<Vec<u8>, Damage> {
    let mut numbers = Vec::with_capacity(count);
    while numbers.len() < count {
        let number = reader.byte()?;
        let run = reader.count(count - numbers.len())?;
        if run == 0 {
            return Err(Damage("a run in it is empty"));
        }
        numbers.resize(numbers.len() + run, number);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn records() -> impl Strategy<Value = Vec<Record>> {
        let values = proptest::collection::btree_map(1i64..6, 0i32..3_000, 0..5);
        let record = (0i64..5_000, 0u8..6, values);
        proptest::collection::vec(record, 0..200).prop_map(|records| {
            records
                .into_iter()
                .enumerate()
                .map(|(at, (t_ms, state, values))| Record {
                    id: at as i64,
                    device: 1,
                    t_ms,
                    state,
                    name: None,
                    values: values
                        .into_iter()
                        .map(|(metric, value)| (metric, f64::from(value) / 10.0))
                        .collect(),
                })
                .collect()
        })
    }

    fn same(a: &Block, b: &Block) -> bool {
        let bits = |block: &Block| -> Vec<(i64, Vec<u64>)> {
            block
                .columns
                .iter()
                .map(|(m, column)| (*m, column.iter().map(|v| v.to_bits()).collect()))
                .collect()
        };
        a.times == b.times && a.states == b.states && bits(a) == bits(b)
    }

    proptest! {
        #[test]
        fn a_block_comes_back_from_a_piece_and_from_a_day(records in records()) {
            let block = Block::from_records(&records);
            prop_assert!(same(&Block::from_piece(&block.to_piece()).unwrap(), &block));
            let (times, states) = from_times(&block.to_times()).unwrap();
            let columns = block.columns.iter().map(|(m, column)| (*m, spread(from_values(&to_values(column)).unwrap()))).collect();
            let back = Block { times, states, columns };
            prop_assert!(same(&back, &block));
            prop_assert_eq!(block.values(), records.iter().map(|record| record.values.len()).sum::<usize>());
        }

        #[test]
        fn parts_merge_to_the_whole(records in records(), at in 0usize..200) {
            let at = at.min(records.len());
            let parts = vec![Block::from_records(&records[..at]), Block::from_records(&records[at..])];
            prop_assert!(same(&Block::merge(parts), &Block::from_records(&records)));
        }

        #[test]
        fn any_bytes_are_a_block_or_an_error(kind in prop_oneof![Just(PIECE), Just(TIMES), Just(VALUES)], bytes: Vec<u8>) {
            let mut out = Writer::new(kind);
            out.bytes(&bytes);
            let blob = out.finish();
            let _piece = Block::from_piece(&blob);
            let _times = from_times(&blob);
            let _values = from_values(&blob);
        }
    }
}
