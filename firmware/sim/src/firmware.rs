//! Firmware and bootloader on paper. An image has the form of a real one, as far as the gateway looks at it, with a byte in
//! it that says how it behaves; the bootloader goes by what ESP-IDF documents, and shares no line with the core.

use crate::flash::{Flash, FlashError, OTADATA, Place, SECTOR_BYTES, SLOT_A, SLOT_B};
use casement_core::Region;
use casement_core::update::Slot;
use casement_proto::Version;
use sha2::{Digest, Sha256};

/// How firmware behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// As it should.
    Works,
    /// It crashes once the updater has been heard, before anything else.
    CrashesAtStart,
    /// It crashes when it first has something to send.
    CrashesLater,
    /// It never reaches the gateway.
    Silent,
}

const CONDUCTS: [Conduct; 4] =
    [Conduct::Works, Conduct::CrashesAtStart, Conduct::CrashesLater, Conduct::Silent];

/// What the bootloader started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Where it lies.
    pub slot: Slot,
    /// Its version.
    pub version: Version,
    /// How it behaves.
    pub conduct: Conduct,
}

/// Where a slot lies.
pub const fn place(slot: Slot) -> Place {
    match slot {
        Slot::A => SLOT_A,
        Slot::B => SLOT_B,
    }
}

/// An image with so many bytes of program: header, one segment that begins with a description, checksum and hash
/// (`esp_image_format.h` and `esp_app_desc.h` of ESP-IDF).
pub fn image(version: Version, conduct: Conduct, program_bytes: usize) -> Vec<u8> {
    let mut chance = crate::chance::Chance::new(u64::from(version.minor) << 16 | u64::from(version.patch));
    let mut segment = vec![0; DESCRIPTION_BYTES];
    segment[..4].copy_from_slice(&0xabcd_5432_u32.to_le_bytes());
    let text = version.to_string();
    segment[16..16 + text.len()].copy_from_slice(text.as_bytes());
    segment.push(conduct as u8);
    segment.extend((0..program_bytes.next_multiple_of(4) + 3).map(|_| (chance.any() & 0xff) as u8));
    let mut image = vec![0; HEADER_BYTES];
    (image[0], image[1], image[23]) = (MAGIC, 1, 1);
    image[12..14].copy_from_slice(&[0xff, 0xff]);
    image.extend(0x3c00_0020_u32.to_le_bytes());
    image.extend(u32::try_from(segment.len()).unwrap_or(u32::MAX).to_le_bytes());
    image.extend(&segment);
    image.resize((image.len() + 1).next_multiple_of(16), 0);
    if let Some(last) = image.last_mut() {
        *last = segment.iter().fold(0xef, |sum, byte| sum ^ byte);
    }
    let hash = Sha256::digest(&image);
    image.extend(hash);
    image
}

/// What the bootloader does at each start: the slot that `otadata` names, or the other one where that holds nothing that can
/// be started. A chip on which nothing was flashed runs this program's own version in the first slot.
///
/// # Errors
/// The flash cannot be read.
pub fn boot(flash: &Flash) -> Result<Running, FlashError> {
    let (first, fresh) = chosen(flash)?;
    for slot in [first, first.other()] {
        if let Some((version, conduct)) = look(flash, slot)? {
            if fresh {
                write_down(flash, slot)?;
            }
            return Ok(Running { slot, version, conduct });
        }
    }
    let version = env!("CARGO_PKG_VERSION").parse().unwrap_or_default();
    Ok(Running { slot: Slot::A, version, conduct: Conduct::Works })
}

/// The slot that is named, and whether both entries are as a factory leaves them.
fn chosen(flash: &Flash) -> Result<(Slot, bool), FlashError> {
    let (mut newest, mut fresh) = (None, true);
    for sector in 0..2 {
        let mut entry = [0; 32];
        flash.part(OTADATA).read(sector * SECTOR_BYTES, &mut entry)?;
        let [a, b, c, d, .., w, x, y, z] = entry;
        let number = u32::from_le_bytes([a, b, c, d]);
        fresh &= number == u32::MAX;
        if number != u32::MAX && crc(&entry[..4]) == u32::from_le_bytes([w, x, y, z]) {
            newest = newest.max(Some(number));
        }
    }
    let slot = match newest {
        Some(number) if number.wrapping_sub(1) % 2 == 1 => Slot::B,
        Some(_) | None => Slot::A,
    };
    Ok((slot, fresh))
}

/// As `set_actual_ota_seq` does: the first start of all names the slot that started, as one that works.
fn write_down(flash: &Flash, slot: Slot) -> Result<(), FlashError> {
    let mut entry = [0xff; 32];
    entry[..4].copy_from_slice(&(if slot == Slot::A { 1_u32 } else { 2 }).to_le_bytes());
    entry[24..28].copy_from_slice(&2_u32.to_le_bytes());
    let check = crc(&entry[..4]).to_le_bytes();
    entry[28..].copy_from_slice(&check);
    let mut part = flash.part(OTADATA);
    part.erase(0)?;
    part.write(0, &entry)
}

/// `esp_rom_crc32_le(UINT32_MAX, …)`, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = 0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

/// Version and conduct of what lies in a slot; `None` where the bootloader would not start it.
fn look(flash: &Flash, slot: Slot) -> Result<Option<(Version, Conduct)>, FlashError> {
    let mut part = flash.part(place(slot));
    let mut head = [0; HEADER_BYTES + 8 + DESCRIPTION_BYTES + 1];
    part.read(0, &mut head)?;
    let [magic, segments, ..] = head;
    let size = u32::from_le_bytes([head[28], head[29], head[30], head[31]]) as usize;
    let body = (HEADER_BYTES + 8).saturating_add(size).saturating_add(1).next_multiple_of(16);
    if magic != MAGIC || segments != 1 || body + 32 > place(slot).sectors * SECTOR_BYTES {
        return Ok(None);
    }
    let mut image = vec![0; body + 32];
    part.read(0, &mut image)?;
    let (body, hash) = image.split_at(body);
    if Sha256::digest(body).as_slice() != hash {
        return Ok(None);
    }
    let text = &head[HEADER_BYTES + 8 + 16..][..32];
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let version = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    let conduct = CONDUCTS.get(usize::from(head[HEADER_BYTES + 8 + DESCRIPTION_BYTES]));
    Ok(version.zip(conduct.copied()))
}

const MAGIC: u8 = 0xe9;
const HEADER_BYTES: usize = 24;
const DESCRIPTION_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use casement_core::update::otadata::Otadata;

    const NEW: Version = Version { major: 3, minor: 1, patch: 4 };

    #[test]
    fn the_bootloader_starts_what_it_was_told_and_the_other_where_that_is_broken() {
        let folder = tempfile::tempdir().expect("a folder");
        let flash = Flash::open(&folder.path().join("flash.bin"), 1).expect("a chip");
        let running = || boot(&flash).map(|it| (it.slot, it.version)).expect("boots");
        let own = env!("CARGO_PKG_VERSION").parse().expect("a version");
        assert_eq!(running(), (Slot::A, own));
        flash.put(SLOT_A, &image(own, Conduct::Works, 5_000)).expect("fits");
        let mut new = image(NEW, Conduct::Silent, 70_001);
        flash.put(SLOT_B, &new).expect("fits");
        for slot in [Slot::B, Slot::A, Slot::B] {
            Otadata::new(flash.part(OTADATA)).select(slot).expect("is told");
            assert_eq!(running(), (slot, if slot == Slot::B { NEW } else { own }));
        }
        assert_eq!(boot(&flash).expect("boots").conduct, Conduct::Silent);
        new[60_000] ^= 1;
        flash.put(SLOT_B, &new).expect("fits");
        assert_eq!(running(), (Slot::A, own));
    }
}
