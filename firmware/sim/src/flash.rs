//! Flash in a file, as NOR flash behaves: a sector is erased at once to ones, writing only clears bits, and the power may
//! fail at any byte.
//!
//! The file is the whole chip of a board with 4 MiB, so that what is flashed onto a board can be flashed onto it, and
//! the places are those of `firmware/tools/partitions.py`. Bits that read differently each time, as real flash may show
//! them after a cut, are not simulated.

use crate::chance::Chance;
use casement_core::Region;
use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

/// Bytes of the whole chip.
pub const FLASH_BYTES: u64 = 4 << 20;
/// Bytes of a sector.
pub const SECTOR_BYTES: usize = 4_096;

/// A part of the flash: where it begins and how many sectors it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Offset on the chip.
    pub offset: u64,
    /// Sectors.
    pub sectors: usize,
}

/// The settings that a device keeps.
pub const SETTINGS: Place = Place { offset: 0x9000, sectors: 2 };
/// The last good time.
pub const TIME: Place = Place { offset: 0xb000, sectors: 2 };
/// Which slot the bootloader starts.
pub const OTADATA: Place = Place { offset: 0xd000, sectors: 2 };
/// The first place for firmware.
pub const SLOT_A: Place = Place { offset: 0x1_0000, sectors: 480 };
/// The other one.
pub const SLOT_B: Place = Place { offset: 0x1f_0000, sectors: 480 };
/// Settings that are flashed beside the firmware.
pub const SETUP: Place = Place { offset: 0x3d_0000, sectors: 1 };
/// How far an update is.
pub const UPDATE: Place = Place { offset: 0x3d_3000, sectors: 2 };
/// Readings that wait.
pub const QUEUE: Place = Place { offset: 0x3d_5000, sectors: 43 };

/// Why the flash did not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlashError {
    /// The power is gone. It stays gone until [`Flash::power_on`].
    Off,
    /// Outside the region, or not aligned to words.
    Outside,
    /// It is worn: it can be read, and takes nothing any more.
    Worn,
    /// The file refused.
    File(io::ErrorKind),
}

impl From<io::Error> for FlashError {
    fn from(error: io::Error) -> Self {
        Self::File(error.kind())
    }
}

/// A chip of flash, in a file.
#[derive(Clone, Debug)]
pub struct Flash(Rc<RefCell<Chip>>);

#[derive(Debug)]
struct Chip {
    file: File,
    chance: Chance,
    /// Bytes that may still be written or erased before the power fails.
    left: Option<u64>,
    off: bool,
    worn: bool,
    rewritten: u64,
    erased: u64,
    /// Of so many writes one is lost without a word. Only for showing that a test would notice.
    forgets: Option<u64>,
}

impl Flash {
    /// Opens a chip, or makes a new one, all erased.
    ///
    /// # Errors
    /// The file cannot be opened, or has another size.
    pub fn open(path: &Path, seed: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.metadata()?.len() {
            FLASH_BYTES => {}
            0 => {
                let ones = vec![0xff; SECTOR_BYTES];
                for offset in (0..FLASH_BYTES).step_by(SECTOR_BYTES) {
                    file.write_all_at(&ones, offset)?;
                }
            }
            other => {
                let text = format!("a flash of {FLASH_BYTES} bytes is needed, this file has {other}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        }
        let chip = Chip {
            file,
            chance: Chance::new(seed),
            left: None,
            off: false,
            worn: false,
            rewritten: 0,
            erased: 0,
            forgets: None,
        };
        Ok(Self(Rc::new(RefCell::new(chip))))
    }

    /// A part of it.
    pub fn part(&self, place: Place) -> Part {
        Part { flash: self.clone(), place }
    }

    /// Lets the power fail after so many bytes are written or erased.
    pub fn cut_after(&self, bytes: u64) {
        self.0.borrow_mut().left = Some(bytes);
    }

    /// Whether the power is gone.
    pub fn is_off(&self) -> bool {
        self.0.borrow().off
    }

    /// Power again, until [`Flash::cut_after`].
    pub fn power_on(&self) {
        let mut chip = self.0.borrow_mut();
        chip.off = false;
        chip.left = None;
    }

    /// From now on it takes nothing, or takes it again. Flash wears out a sector at a time; this is the last day of all.
    pub fn wear_out(&self, worn: bool) {
        self.0.borrow_mut().worn = worn;
    }

    /// Words that were written twice between two erases other than to zero. Flash need not take that.
    pub fn rewritten(&self) -> u64 {
        self.0.borrow().rewritten
    }

    /// Sectors that were erased.
    pub fn erased(&self) -> u64 {
        self.0.borrow().erased
    }

    /// Loses one of so many writes without a word, as no flash does. With it a test shows that it would notice.
    pub fn forget_one_of(&self, writes: u64) {
        self.0.borrow_mut().forgets = Some(writes);
    }

    /// Puts bytes into a part, as a flashing tool does.
    ///
    /// # Errors
    /// They do not fit, or the file refuses.
    pub fn put(&self, place: Place, bytes: &[u8]) -> Result<(), FlashError> {
        let mut sectors = bytes.to_vec();
        sectors.resize(place.sectors * SECTOR_BYTES, 0xff);
        if sectors.len() < bytes.len() || bytes.len() > place.sectors * SECTOR_BYTES {
            return Err(FlashError::Outside);
        }
        Ok(self.0.borrow().file.write_all_at(&sectors, place.offset)?)
    }
}

impl Chip {
    fn power(&self) -> Result<(), FlashError> {
        if self.off { Err(FlashError::Off) } else { Ok(()) }
    }

    /// Changes bytes until the power fails. What is cut short ends up to a point in half of the cases, and in bits and
    /// pieces in the others; the byte at the point ends halfway.
    fn change(&mut self, offset: u64, old: &[u8], new: &[u8]) -> Result<(), FlashError> {
        if self.worn {
            return Err(FlashError::Worn);
        }
        let left = self.left.map_or(new.len(), |left| usize::try_from(left).unwrap_or(usize::MAX));
        if left >= new.len() {
            self.left = self.left.map(|left| left - new.len() as u64);
            return Ok(self.file.write_all_at(new, offset)?);
        }
        let scattered = self.chance.below(2) == 0;
        let torn: Vec<u8> = (0..)
            .zip(old.iter().zip(new))
            .map(|(at, (old, new))| {
                let some = (self.chance.any() & 0xff) as u8;
                match (scattered, at) {
                    (true, _) if self.chance.below(2) == 0 => *new,
                    (false, at) if at < left => *new,
                    (false, at) if at == left => (old & some) | (new & !some),
                    _ => *old,
                }
            })
            .collect();
        self.file.write_all_at(&torn, offset)?;
        self.off = true;
        self.left = None;
        Err(FlashError::Off)
    }
}

/// A part of the flash, as the core sees it.
#[derive(Clone, Debug)]
pub struct Part {
    flash: Flash,
    place: Place,
}

impl Part {
    fn offset(&self, offset: usize, len: usize) -> Result<u64, FlashError> {
        let end = offset.checked_add(len).ok_or(FlashError::Outside)?;
        if end > self.place.sectors * SECTOR_BYTES {
            return Err(FlashError::Outside);
        }
        Ok(self.place.offset + offset as u64)
    }
}

impl Region for Part {
    type Error = FlashError;
    const SECTOR_BYTES: usize = SECTOR_BYTES;

    fn sectors(&self) -> usize {
        self.place.sectors
    }

    fn read(&mut self, offset: usize, bytes: &mut [u8]) -> Result<(), FlashError> {
        let offset = self.offset(offset, bytes.len())?;
        let chip = self.flash.0.borrow();
        chip.power()?;
        Ok(chip.file.read_exact_at(bytes, offset)?)
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), FlashError> {
        if !offset.is_multiple_of(4) || !bytes.len().is_multiple_of(4) {
            return Err(FlashError::Outside);
        }
        let offset = self.offset(offset, bytes.len())?;
        let mut chip = self.flash.0.borrow_mut();
        chip.power()?;
        if let Some(writes) = chip.forgets
            && chip.chance.below(writes) == 0
        {
            return Ok(());
        }
        let mut old = vec![0; bytes.len()];
        chip.file.read_exact_at(&mut old, offset)?;
        let twice = old.chunks(4).zip(bytes.chunks(4)).filter(|(old, new)| {
            old.iter().any(|byte| *byte != 0xff) && new.iter().any(|byte| *byte != 0) && old != new
        });
        chip.rewritten += twice.count() as u64;
        let new: Vec<u8> = old.iter().zip(bytes).map(|(old, new)| old & new).collect();
        chip.change(offset, &old, &new)
    }

    fn erase(&mut self, offset: usize) -> Result<(), FlashError> {
        if !offset.is_multiple_of(SECTOR_BYTES) {
            return Err(FlashError::Outside);
        }
        let offset = self.offset(offset, SECTOR_BYTES)?;
        let mut chip = self.flash.0.borrow_mut();
        chip.power()?;
        chip.erased += 1;
        let mut old = vec![0; SECTOR_BYTES];
        chip.file.read_exact_at(&mut old, offset)?;
        chip.change(offset, &old, &[0xff; SECTOR_BYTES])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flash(seed: u64) -> (tempfile::TempDir, Flash) {
        let folder = tempfile::tempdir().expect("a folder");
        let flash = Flash::open(&folder.path().join("flash.bin"), seed).expect("a chip");
        (folder, flash)
    }

    fn read(part: &mut Part, offset: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        part.read(offset, &mut bytes).expect("reads");
        bytes
    }

    #[test]
    fn writing_only_clears_bits_and_erasing_sets_them() {
        let (_folder, flash) = flash(1);
        let mut part = flash.part(SETTINGS);
        part.write(4, &[0xf0, 1, 2, 3]).expect("writes");
        assert_eq!(flash.rewritten(), 0);
        part.write(4, &[0x0f, 1, 2, 3]).expect("writes");
        assert_eq!((read(&mut part, 0, 8), flash.rewritten()), (vec![255, 255, 255, 255, 0, 1, 2, 3], 1));
        part.erase(0).expect("erases");
        assert_eq!(read(&mut part, 4, 4), [0xff; 4]);
        for (offset, len) in [(2, 4), (0, 3), (2 * SECTOR_BYTES, 4), (usize::MAX - 3, 4)] {
            assert_eq!(part.write(offset, &vec![0; len]), Err(FlashError::Outside), "{offset} {len}");
        }
    }

    #[test]
    fn a_cut_leaves_a_part_and_nothing_works_until_the_power_is_back() {
        let mut whole = 0;
        for seed in 0..100 {
            let (_folder, flash) = flash(seed);
            let mut part = flash.part(QUEUE);
            flash.cut_after(10);
            part.write(0, &[0; 8]).expect("eight bytes go");
            assert_eq!(part.write(8, &[0; 8]), Err(FlashError::Off));
            assert!(flash.is_off());
            assert_eq!(part.read(0, &mut [0; 4]), Err(FlashError::Off));
            assert_eq!(part.erase(0), Err(FlashError::Off));
            flash.power_on();
            let after = read(&mut part, 0, 20);
            assert_eq!((&after[..8], &after[16..]), (&[0; 8][..], &[0xff; 4][..]));
            whole += u32::from(after[8..16] == [0; 8]);
        }
        assert!(whole < 5, "{whole} of 100 cuts cut nothing");
    }

    #[test]
    fn a_worn_chip_is_read_and_not_written() {
        let (_folder, flash) = flash(1);
        let mut part = flash.part(QUEUE);
        part.write(0, &[1; 4]).expect("writes");
        flash.wear_out(true);
        assert_eq!((part.write(4, &[2; 4]), part.erase(0)), (Err(FlashError::Worn), Err(FlashError::Worn)));
        assert_eq!(read(&mut part, 0, 8), [1, 1, 1, 1, 255, 255, 255, 255]);
    }

    #[test]
    fn a_file_of_another_size_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("short.bin");
        std::fs::write(&path, [0; 100]).expect("writes");
        let error = Flash::open(&path, 1).expect_err("is too short");
        assert!(error.to_string().contains("this file has 100"), "{error}");
    }
}
