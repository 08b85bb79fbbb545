//! The ledger: which sequence numbers of a device's start have been seen. Pure.
//!
//! Numbers are kept in blocks of 65,536, as stretches: a device that counts on takes a few bytes a block, and one that
//! numbers at random 128 kB at most. The ledger is what makes a name hold for ever, long after the reading it named was
//! sealed, and what shows that nothing is missing.

use super::blob::{Damage, Reader, Writer};
use crate::reading::{HOLES_TOLD, Start};

const KIND: u8 = b'N';

/// Numbers in a block.
pub(crate) const BLOCK: u64 = 1 << 16;

/// In place of a block: when the start began, for devices without a clock. No sequence number is in it.
pub(crate) const ANCHORS: u64 = 1 << 62;

/// Which block a sequence number is in, and where.
pub(crate) fn place(seq: u64) -> (u64, u16) {
    // The remainder fits by construction.
    (seq / BLOCK, (seq % BLOCK) as u16)
}

/// The numbers of one block that have been seen, as stretches from first to last that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names(Vec<(u16, u16)>);

impl Names {
    /// Takes note of a number; says whether it is new.
    pub(crate) fn insert(&mut self, n: u16) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= n);
        let before = after.checked_sub(1).and_then(|at| self.0.get(at)).copied();
        if before.is_some_and(|(_, last)| n <= last) {
            return false;
        }
        let joins_before = before.is_some_and(|(_, last)| last.checked_add(1) == Some(n));
        let joins_after = self.0.get(after).is_some_and(|(first, _)| n.checked_add(1) == Some(*first));
        match (joins_before, joins_after) {
            (true, true) => {
                let (_, last) = self.0.remove(after);
                if let Some(stretch) = self.0.get_mut(after - 1) {
                    stretch.1 = last;
                }
            }
            (true, false) => {
                if let Some(stretch) = self.0.get_mut(after - 1) {
                    stretch.1 = n;
                }
            }
            (false, true) => {
                if let Some(stretch) = self.0.get_mut(after) {
                    stretch.0 = n;
                }
            }
            (false, false) => self.0.insert(after, (n, n)),
        }
        true
    }

    /// Has this number been seen?
    pub(crate) fn contains(&self, n: u16) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= n);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, last)| n <= *last)
    }

    /// The stretches that have been seen, first and last, in order.
    pub(crate) fn stretches(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|(first, last)| (u64::from(*first), u64::from(*last)))
    }

    /// As a blob.
    pub(crate) fn to_blob(&self) -> Vec<u8> {
        let mut out = Writer::new(KIND);
        out.number(self.0.len() as u64);
        let mut end = 0u64;
        for (first, last) in &self.0 {
            out.number(u64::from(*first).saturating_sub(end));
            out.number(u64::from(last - first));
            end = u64::from(*last);
        }
        out.finish()
    }

    /// From a blob.
    pub(crate) fn from_blob(blob: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader::open(KIND, blob)?;
        let count = reader.count(BLOCK as usize / 2)?;
        let mut stretches = Vec::with_capacity(count);
        let mut end: Option<u64> = None;
        for _ in 0..count {
            let first = end.unwrap_or(0) + reader.number()?.min(BLOCK);
            let last = first + reader.number()?.min(BLOCK);
            if end.is_some_and(|end| first <= end + 1) {
                return Err(Damage("its stretches overlap"));
            }
            let number = |n: u64| u16::try_from(n).map_err(|_| Damage("its stretches are too long"));
            stretches.push((number(first)?, number(last)?));
            end = Some(last);
        }
        Ok(Self(stretches))
    }
}

/// What blocks say, by boot: blocks in order of boot and block.
pub(crate) fn starts(blocks: impl IntoIterator<Item = ((u64, u64), Names)>) -> Vec<Start> {
    let mut starts: Vec<Start> = Vec::new();
    for ((boot, block), names) in blocks {
        for (first, last) in names.stretches() {
            let (first, last) = (block * BLOCK + first, block * BLOCK + last);
            match starts.last_mut() {
                Some(start) if start.boot == boot => {
                    if first > start.last + 1 && start.holes.len() < HOLES_TOLD {
                        start.holes.push((start.last + 1, first - 1));
                    }
                    start.last = last;
                    start.seen += last - first + 1;
                }
                _ => starts.push(Start { boot, first, last, seen: last - first + 1, holes: Vec::new() }),
            }
        }
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(numbers in proptest::collection::vec(prop_oneof![0u16..40, 65_500u16..=u16::MAX, any::<u16>()], 0..200)) {
            let (mut names, mut set) = (Names::default(), BTreeSet::new());
            for n in numbers {
                prop_assert_eq!(names.contains(n), set.contains(&n));
                prop_assert_eq!(names.insert(n), set.insert(n));
            }
            let told: Vec<u16> = names.0.iter().flat_map(|(first, last)| *first..=*last).collect();
            prop_assert_eq!(told, set.into_iter().collect::<Vec<_>>());
            prop_assert!(names.0.windows(2).all(|two| u32::from(two[0].1) + 1 < u32::from(two[1].0)));
            prop_assert_eq!(Names::from_blob(&names.to_blob()), Ok(names));
        }
    }

    #[test]
    fn a_device_that_counts_takes_a_few_bytes() {
        let mut names = Names::default();
        assert!((0..=u16::MAX).all(|n| names.insert(n)));
        assert_eq!(names.0, [(0, u16::MAX)]);
        assert!(names.to_blob().len() < 12);
        assert_eq!(place(65_536 * 3 + 7), (3, 7));
    }
}
