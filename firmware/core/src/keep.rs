//! One small value on flash that is either the old one or the new one, wherever the power fails.
//!
//! Values are appended to a sector, each with a number that counts up, and the highest whole one is the value. When a
//! sector is full, or holds something torn, the next sector is erased and written from its start; the one with the
//! present value is never touched. So a value of 40 bytes wears a sector once in eighty changes.
//!
//! ```text
//! 0x4b43:u16 len:u16  number:u32  crc:u32  payload, filled up to a word with 0xff
//! ```

use crate::queue::{Region, WORD};
use casement_proto::Crc32;

/// Why a value could not be kept. The old one stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeepError<E> {
    /// The region failed.
    #[error("the flash failed")]
    Region(E),
    /// The region has fewer than two sectors, or sectors of a size that cannot work.
    #[error("a value needs at least two sectors of at least 64 bytes")]
    TooSmall,
    /// The value does not fit into a sector, or into the buffer it should be read into.
    #[error("the value is too large")]
    TooBig,
    /// All numbers are used up, long after any flash is.
    #[error("the flash is worn out")]
    Worn,
}

impl<E> From<E> for KeepError<E> {
    fn from(error: E) -> Self {
        Self::Region(error)
    }
}

/// The place of one value over a [`Region`]; see the module for its form and its promises.
pub struct Keep<R: Region> {
    region: R,
    newest: Option<Entry>,
    /// Where the next value goes within the sector of the newest; the sector's length when there is no place.
    end: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    sector: usize,
    offset: usize,
    number: u32,
    len: usize,
}

impl<R: Region> Keep<R> {
    /// Finds the value in a region, whatever state it is in. Nothing is written.
    ///
    /// # Errors
    /// [`KeepError::TooSmall`], or the region cannot be read.
    pub fn open(region: R) -> Result<Self, KeepError<R::Error>> {
        if region.sectors() < 2 || R::SECTOR_BYTES < 64 || !R::SECTOR_BYTES.is_multiple_of(WORD) {
            return Err(KeepError::TooSmall);
        }
        let mut keep = Self { region, newest: None, end: R::SECTOR_BYTES };
        for sector in 0..keep.region.sectors() {
            let mut offset = 0;
            while let Some(entry) = keep.entry(sector, offset)? {
                offset = after(entry);
                if keep.newest.is_none_or(|newest| newest.number <= entry.number) {
                    keep.newest = Some(entry);
                }
            }
        }
        if let Some(newest) = keep.newest {
            let erased = keep.erased(newest.sector, after(newest))?;
            keep.end = if erased { after(newest) } else { R::SECTOR_BYTES };
        }
        Ok(keep)
    }

    /// Reads the value into a buffer and gives its length; `None` when there never was one.
    ///
    /// # Errors
    /// The buffer is too small, or the region cannot be read.
    pub fn load(&mut self, out: &mut [u8]) -> Result<Option<usize>, KeepError<R::Error>> {
        let Some(entry) = self.newest else { return Ok(None) };
        let out = out.get_mut(..entry.len).ok_or(KeepError::TooBig)?;
        self.region.read(entry.sector * R::SECTOR_BYTES + entry.offset + HEADER_BYTES, out)?;
        Ok(Some(entry.len))
    }

    /// Keeps a value in place of the old one. When this returns `Ok`, the value survives any power cut; when it does
    /// not, the old one is still there, or, if the power failed at the last bytes, the new one.
    ///
    /// # Errors
    /// The value is too large, or the region failed.
    pub fn store(&mut self, value: &[u8]) -> Result<(), KeepError<R::Error>> {
        let size = (HEADER_BYTES + value.len()).next_multiple_of(WORD);
        if size > R::SECTOR_BYTES {
            return Err(KeepError::TooBig);
        }
        if self.is(value)? {
            return Ok(());
        }
        let (sector, number) = match self.newest {
            None => (self.region.sectors() - 1, 1),
            Some(newest) => (
                newest.sector,
                newest.number.checked_add(1).filter(|number| *number < u32::MAX).ok_or(KeepError::Worn)?,
            ),
        };
        if self.newest.is_some() && self.end + size <= R::SECTOR_BYTES {
            let entry = Entry { sector, offset: self.end, number, len: value.len() };
            // Whatever comes of it, what was begun is not written over.
            self.end = R::SECTOR_BYTES;
            if self.write(entry, value).is_ok() {
                return Ok(());
            }
        }
        let mut outcome = Err(KeepError::Worn);
        // A sector that cannot be erased or written is stepped over.
        for step in 1..self.region.sectors().max(2) {
            let next = (sector + step) % self.region.sectors();
            let entry = Entry { sector: next, offset: 0, number, len: value.len() };
            outcome = self
                .region
                .erase(next * R::SECTOR_BYTES)
                .map_err(KeepError::Region)
                .and_then(|()| self.write(entry, value));
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Gives the region back.
    pub fn into_region(self) -> R {
        self.region
    }

    fn is(&mut self, value: &[u8]) -> Result<bool, R::Error> {
        let Some(entry) = self.newest.filter(|entry| entry.len == value.len()) else { return Ok(false) };
        let mut place = entry.sector * R::SECTOR_BYTES + entry.offset + HEADER_BYTES;
        let mut buffer = [0; CHUNK_BYTES];
        for part in value.chunks(CHUNK_BYTES) {
            let Some(have) = buffer.get_mut(..part.len()) else { return Ok(false) };
            self.region.read(place, have)?;
            if have != part {
                return Ok(false);
            }
            place += part.len();
        }
        Ok(true)
    }

    fn write(&mut self, entry: Entry, value: &[u8]) -> Result<(), KeepError<R::Error>> {
        let len = u16::try_from(entry.len).map_err(|_| KeepError::TooBig)?;
        let start = entry.sector * R::SECTOR_BYTES + entry.offset;
        let [m0, m1] = MAGIC.to_le_bytes();
        let [l0, l1] = len.to_le_bytes();
        let [n0, n1, n2, n3] = entry.number.to_le_bytes();
        let [c0, c1, c2, c3] = check(entry.number, len).with(value).value().to_le_bytes();
        self.region.write(start, &[m0, m1, l0, l1, n0, n1, n2, n3, c0, c1, c2, c3])?;
        let mut place = start + HEADER_BYTES;
        for part in value.chunks(CHUNK_BYTES) {
            let mut buffer = [0xff; CHUNK_BYTES];
            buffer.get_mut(..part.len()).ok_or(KeepError::TooBig)?.copy_from_slice(part);
            let words = buffer.get(..part.len().next_multiple_of(WORD)).unwrap_or_default();
            self.region.write(place, words)?;
            place += words.len();
        }
        self.newest = Some(entry);
        self.end = after(entry);
        Ok(())
    }

    /// The whole entry at a place; `None` when there is none, and then nothing behind it counts.
    fn entry(&mut self, sector: usize, offset: usize) -> Result<Option<Entry>, R::Error> {
        if offset + HEADER_BYTES > R::SECTOR_BYTES {
            return Ok(None);
        }
        let start = sector * R::SECTOR_BYTES + offset;
        let mut header = [0; HEADER_BYTES];
        self.region.read(start, &mut header)?;
        let [m0, m1, l0, l1, n0, n1, n2, n3, c0, c1, c2, c3] = header;
        let short = u16::from_le_bytes([l0, l1]);
        let number = u32::from_le_bytes([n0, n1, n2, n3]);
        let entry = Entry { sector, offset, number, len: usize::from(short) };
        // An erased number with an erased CRC must not pass for an entry that was cut off after its length.
        let cut = number == u32::MAX;
        if u16::from_le_bytes([m0, m1]) != MAGIC || cut || after(entry) > R::SECTOR_BYTES {
            return Ok(None);
        }
        let mut crc = check(number, short);
        let mut buffer = [0; CHUNK_BYTES];
        for from in (0..entry.len).step_by(CHUNK_BYTES) {
            let Some(part) = buffer.get_mut(..CHUNK_BYTES.min(entry.len - from)) else { return Ok(None) };
            self.region.read(start + HEADER_BYTES + from, part)?;
            crc = crc.with(part);
        }
        Ok((crc.value() == u32::from_le_bytes([c0, c1, c2, c3])).then_some(entry))
    }

    fn erased(&mut self, sector: usize, from: usize) -> Result<bool, R::Error> {
        let mut buffer = [0; CHUNK_BYTES];
        for offset in (from..R::SECTOR_BYTES).step_by(CHUNK_BYTES) {
            let Some(part) = buffer.get_mut(..CHUNK_BYTES.min(R::SECTOR_BYTES - offset)) else { break };
            self.region.read(sector * R::SECTOR_BYTES + offset, part)?;
            if part.iter().any(|byte| *byte != 0xff) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn check(number: u32, len: u16) -> Crc32 {
    Crc32::new().with(&number.to_le_bytes()).with(&len.to_le_bytes())
}

const fn after(entry: Entry) -> usize {
    entry.offset + (HEADER_BYTES + entry.len).next_multiple_of(WORD)
}

const MAGIC: u16 = 0x4b43;
const HEADER_BYTES: usize = 12;
const CHUNK_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torn::{Cut, Flash};
    use proptest::prelude::*;
    use std::vec::Vec;

    fn read(keep: &mut Keep<Flash>) -> Option<Vec<u8>> {
        let mut out = [0; 192];
        keep.load(&mut out).unwrap().map(|len| out[..len].to_vec())
    }

    fn value(step: u8, len: usize) -> Vec<u8> {
        (0..len).map(|at| step ^ at as u8).collect()
    }

    #[test]
    fn power_may_fail_at_every_byte() {
        for scatter in [0, 0x9e37_79b9_7f4a_7c15, 0x0123_4567_89ab_cdef] {
            let mut keep = Keep::open(Flash::new(2)).unwrap();
            assert_eq!(read(&mut keep), None);
            for step in 0..40 {
                let (before, next) = (read(&mut keep), value(step, usize::from(step) * 7 % 90));
                let (start, spent) = (keep.region.clone(), keep.region.spent);
                keep.store(&next).unwrap();
                for left in 0..keep.region.spent - spent {
                    let mut cut = Keep::open(Flash { left, scatter, ..start.clone() }).unwrap();
                    // Only fill may be missing from what is said to be kept.
                    let outcome = cut.store(&next);
                    let mut again = Keep::open(Flash { left: usize::MAX, ..cut.into_region() }).unwrap();
                    let found = read(&mut again);
                    assert!(found == before || found.as_ref() == Some(&next), "step {step} cut at {left}");
                    assert!(outcome.is_err() || found.as_ref() == Some(&next), "step {step} cut at {left}");
                    // And it goes on working.
                    again.store(b"after the cut").unwrap();
                    let mut again = Keep::open(again.into_region()).unwrap();
                    assert_eq!(read(&mut again).unwrap(), b"after the cut", "step {step} cut at {left}");
                }
            }
        }
    }

    #[test]
    fn the_same_value_again_wears_nothing() {
        let mut keep = Keep::open(Flash::new(2)).unwrap();
        keep.store(&value(1, 100)).unwrap();
        let spent = keep.region.spent;
        keep.store(&value(1, 100)).unwrap();
        assert_eq!(keep.region.spent, spent);
        keep.store(&value(2, 100)).unwrap();
        assert!(keep.region.spent > spent);
    }

    #[test]
    fn what_cannot_fit_is_refused_and_the_old_value_stays() {
        let mut keep = Keep::open(Flash::new(2)).unwrap();
        keep.store(b"old").unwrap();
        assert_eq!(keep.store(&[1; 181]), Err(KeepError::TooBig));
        assert_eq!(keep.load(&mut [0; 2]), Err(KeepError::TooBig));
        assert_eq!(read(&mut keep).unwrap(), b"old");
        keep.store(&value(3, 180)).unwrap();
        assert_eq!(read(&mut keep).unwrap(), value(3, 180));
        assert!(matches!(Keep::open(Flash::new(1)), Err(KeepError::TooSmall)));
        keep.region.left = 0;
        assert_eq!(keep.store(b"new"), Err(KeepError::Region(Cut)));
        keep.region.left = usize::MAX;
        assert_eq!(read(&mut keep).unwrap(), value(3, 180));
    }

    proptest! {
        #[test]
        fn it_remembers_the_last_value_over_restarts(
            steps in prop::collection::vec((any::<u8>(), 0_usize..181, any::<bool>()), 1..60), sectors in 2_usize..5
        ) {
            let mut keep = Keep::open(Flash::new(sectors)).unwrap();
            for (seed, len, restart) in steps {
                keep.store(&value(seed, len)).unwrap();
                if restart {
                    keep = Keep::open(keep.into_region()).unwrap();
                }
                prop_assert_eq!(read(&mut keep).unwrap(), value(seed, len));
            }
        }
    }
}
