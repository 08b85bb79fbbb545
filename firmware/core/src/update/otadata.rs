//! Which slot the bootloader starts, in the form of ESP-IDF's bootloader (`esp_ota_select_entry_t` in its
//! `esp_flash_partitions.h`, read by `bootloader_common_get_active_otadata`).
//!
//! Two sectors hold an entry each. The valid one with the higher number counts, and number `n` means slot `(n − 1) mod 2`;
//! without a valid one the first slot starts. So another choice is written over the entry that does not count, and where
//! the power fails, the old choice or the new one is there:
//!
//! ```text
//! number:u32  label:20 (0xff)  state:u32 (0xffff_ffff: undefined)  crc of the number:u32
//! ```
//!
//! The crate `esp-bootloader-esp-idf` (0.6) writes the same entries, but refuses to read or write anything once one of the
//! two is torn, and a device that cannot name a slot can never go back.

use super::Slot;
use crate::queue::Region;
use casement_proto::Crc32;

/// Why the bootloader could not be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError<E> {
    /// The region failed.
    #[error("the flash failed")]
    Region(E),
    /// It was written, and something else is there.
    #[error("the flash did not take it")]
    NotTaken,
    /// The region has fewer than two sectors.
    #[error("the bootloader's choice needs two sectors")]
    TooSmall,
    /// All numbers are used up, long after any flash is.
    #[error("the flash is worn out")]
    Worn,
}

impl<E> From<E> for SelectError<E> {
    fn from(error: E) -> Self {
        Self::Region(error)
    }
}

/// The partition `otadata`.
#[derive(Debug)]
pub struct Otadata<R: Region> {
    region: R,
}

impl<R: Region> Otadata<R> {
    /// Takes the region. Nothing is read or written.
    pub const fn new(region: R) -> Self {
        Self { region }
    }

    /// Which slot the bootloader tries first.
    ///
    /// # Errors
    /// The region cannot be read, or is too small.
    pub fn selected(&mut self) -> Result<Slot, SelectError<R::Error>> {
        Ok(self.newest()?.map_or(Slot::A, |(_, number)| slot(number)))
    }

    /// Tells the bootloader to start a slot, and reads back that it was told. The same slot again writes nothing.
    ///
    /// # Errors
    /// See [`SelectError`]. The old choice still counts, unless the power failed at the very end.
    pub fn select(&mut self, wanted: Slot) -> Result<(), SelectError<R::Error>> {
        let newest = self.newest()?;
        if newest.map_or(Slot::A, |(_, number)| slot(number)) == wanted {
            return Ok(());
        }
        let (sector, last) = newest.map_or((0, 0), |(sector, number)| (1 - sector, number));
        // Numbers from 1; the next but one where the next means the other slot.
        let next = [1, 2]
            .into_iter()
            .filter_map(|step| last.checked_add(step))
            .find(|number| slot(*number) == wanted);
        let number = next.filter(|number| *number < u32::MAX).ok_or(SelectError::Worn)?;
        let entry = entry(number);
        let offset = sector * R::SECTOR_BYTES;
        self.region.erase(offset)?;
        self.region.write(offset, &entry)?;
        let mut there = [0; ENTRY_BYTES];
        self.region.read(offset, &mut there)?;
        if there == entry && self.selected()? == wanted { Ok(()) } else { Err(SelectError::NotTaken) }
    }

    /// Sector and number of the entry that counts.
    fn newest(&mut self) -> Result<Option<(usize, u32)>, SelectError<R::Error>> {
        if self.region.sectors() < 2 {
            return Err(SelectError::TooSmall);
        }
        let mut newest: Option<(usize, u32)> = None;
        for sector in 0..2 {
            let mut bytes = [0; ENTRY_BYTES];
            self.region.read(sector * R::SECTOR_BYTES, &mut bytes)?;
            if let Some(number) = number(&bytes)
                && newest.is_none_or(|(_, before)| before < number)
            {
                newest = Some((sector, number));
            }
        }
        Ok(newest)
    }
}

fn slot(number: u32) -> Slot {
    if number % 2 == 1 { Slot::A } else { Slot::B }
}

fn entry(number: u32) -> [u8; ENTRY_BYTES] {
    let mut bytes = [0xff; ENTRY_BYTES];
    if let Some(first) = bytes.first_chunk_mut() {
        *first = number.to_le_bytes();
    }
    if let Some(last) = bytes.last_chunk_mut() {
        *last = check(number).to_le_bytes();
    }
    bytes
}

/// The number of a valid entry.
fn number(bytes: &[u8; ENTRY_BYTES]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    let (rest, crc) = rest.split_last_chunk()?;
    let (_, state) = rest.split_last_chunk()?;
    let number = u32::from_le_bytes(*number);
    // 3 and 4: found not to work, by firmware or by a bootloader that looks.
    let works = !matches!(u32::from_le_bytes(*state), 3 | 4);
    let valid = (1..u32::MAX).contains(&number) && u32::from_le_bytes(*crc) == check(number);
    (valid && works).then_some(number)
}

/// The CRC of the chip's ROM, begun with all ones: `esp_rom_crc32_le(UINT32_MAX, …)`. The ROM inverts what it begins with,
/// so it is a CRC-32 that begins with zero; over four bytes that differs from the usual one by a constant.
fn check(number: u32) -> u32 {
    Crc32::new().with(&number.to_le_bytes()).value() ^ 0xdebb_20e3
}

const ENTRY_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torn::{Cut, Flash};

    fn read(flash: &Flash) -> Slot {
        Otadata::new(Flash { left: usize::MAX, ..flash.clone() }).selected().unwrap()
    }

    #[test]
    fn entries_are_those_of_esp_idf() {
        // From the tests of esp-bootloader-esp-idf 0.6.
        assert_eq!(check(1).to_le_bytes(), [154, 152, 67, 71]);
        assert_eq!(check(2).to_le_bytes(), [116, 55, 246, 85]);
        let mut first = [0xff; 32];
        (first[0], first[1], first[2], first[3]) = (1, 0, 0, 0);
        first[28..].copy_from_slice(&[154, 152, 67, 71]);
        assert_eq!((entry(1), number(&first)), (first, Some(1)));
        for state in [0, 1, 2] {
            let mut other = first;
            other[24..28].copy_from_slice(&u32::to_le_bytes(state));
            assert_eq!(number(&other), Some(1));
        }
        for state in [3, 4] {
            let mut other = first;
            other[24..28].copy_from_slice(&u32::to_le_bytes(state));
            assert_eq!(number(&other), None);
        }
        for (at, byte) in [(0, 2), (28, 0)] {
            let mut other = first;
            other[at] = byte;
            assert_eq!(number(&other), None);
        }
        assert_eq!((number(&[0xff; 32]), number(&[0; 32])), (None, None));
    }

    #[test]
    fn power_may_fail_at_every_byte() {
        for scatter in [0, 0x9e37_79b9_7f4a_7c15] {
            let mut flash = Flash::new(2);
            let mut wanted = Slot::A;
            for step in 0..9 {
                let before = read(&flash);
                let mut data = Otadata::new(flash.clone());
                data.select(wanted).unwrap();
                for left in 0..data.region.spent - flash.spent {
                    let mut cut = Otadata::new(Flash { left, scatter, ..flash.clone() });
                    assert_eq!(cut.select(wanted), Err(SelectError::Region(Cut)));
                    let found = read(&cut.region);
                    assert!(found == before || found == wanted, "step {step} cut at {left}");
                    // And it can be told again, either way.
                    for again in Slot::ALL {
                        let mut data = Otadata::new(Flash { left: usize::MAX, ..cut.region.clone() });
                        data.select(again).unwrap();
                        assert_eq!(read(&data.region), again, "step {step} cut at {left}");
                    }
                }
                flash = data.region;
                assert_eq!(read(&flash), wanted);
                let spent = flash.spent;
                let mut data = Otadata::new(flash);
                data.select(wanted).unwrap();
                assert_eq!(data.region.spent, spent, "the same again wears nothing");
                flash = data.region;
                wanted = wanted.other();
            }
        }
    }

    #[test]
    fn what_cannot_be_told_is_an_error() {
        assert_eq!(Otadata::new(Flash::new(1)).select(Slot::B), Err(SelectError::TooSmall));
        let mut data = Otadata::new(Flash::new(2));
        data.region.erase(0).unwrap();
        data.region.write(0, &entry(u32::MAX - 1)).unwrap();
        assert_eq!(data.select(Slot::A), Err(SelectError::Worn));
    }
}
