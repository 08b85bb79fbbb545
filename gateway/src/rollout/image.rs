//! What a file of firmware is: the form that the chips' bootloader reads
//! (<https://docs.espressif.com/projects/esptool/en/latest/esp32/advanced-topics/firmware-image-format.html>).

use aws_lc_rs::digest::{SHA256, digest};
use casement_proto::release::{BoardId, IMAGE_BYTES_MAX};

/// Largest firmware, in bytes: a slot of the partition table, which `firmware/tools/partitions.py` makes the same on all
/// boards.
pub const SLOT_BYTES: usize = 0x1e_0000;

/// Largest image of a whole flash, in bytes.
pub const FLASH_BYTES_MAX: usize = IMAGE_BYTES_MAX as usize;

/// What was found in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The chip it is for, for example `ESP32-C3`.
    pub chip: String,
    /// Parts that are loaded.
    pub segments: u8,
    /// Bytes.
    pub size: u32,
    /// SHA-256 of all of it.
    pub sha256: [u8; 32],
    /// The version that it says it is, where it says so.
    pub version: Option<String>,
}

/// Why a file is no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Larger than what is to hold it.
    #[error("{bytes} bytes are more than the {max} that fit")]
    TooLarge {
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        max: usize,
    },
    /// It does not begin as an image does.
    #[error("this is no ESP32 image: it begins with {0:#04x} and not with 0xe9")]
    Magic(u8),
    /// It ends before it should.
    #[error("the image is cut short: {0} bytes are not all of it")]
    Short(usize),
    /// More follows than belongs to it.
    #[error("{0} bytes follow the end of the image; is it one of the whole flash?")]
    Trailing(usize),
    /// Its own checksum says that it is damaged.
    #[error("the image is damaged: its checksum is wrong")]
    Checksum,
    /// Its own hash says that it is damaged.
    #[error("the image is damaged: its hash is wrong")]
    Hash,
    /// It is for another chip than the board has.
    #[error("the image is for an {image}, and {board} has an {chip}")]
    Chip {
        /// What the image is for.
        image: String,
        /// The board that was named.
        board: BoardId,
        /// Its chip.
        chip: &'static str,
    },
    /// It says it is another version. A device that took it would fetch it again and again.
    #[error("the image says it is version {0}")]
    Version(String),
    /// A whole flash without a partition table.
    #[error("there is no partition table at 0x8000; this is no image for offset 0 of the flash")]
    NoPartitions,
    /// A whole flash with something else in it.
    #[error("the image of the whole flash holds another firmware than the one beside it")]
    Different,
}

impl Image {
    /// Whether it is for a board with this chip, which is given as tools write it: `esp32c3`. The bootloader of another
    /// one refuses it, after the whole way over the air.
    ///
    /// # Errors
    /// [`ImageError::Chip`].
    pub fn runs_on(&self, board: &BoardId, chip: &'static str) -> Result<(), ImageError> {
        if self.chip.replace('-', "").eq_ignore_ascii_case(chip) {
            return Ok(());
        }
        Err(ImageError::Chip { image: self.chip.clone(), board: *board, chip })
    }
}

/// Looks at an image of firmware from its first to its last byte.
///
/// # Errors
/// [`ImageError`].
pub fn look(bytes: &[u8]) -> Result<Image, ImageError> {
    const HEADER: usize = 24;
    if bytes.len() > SLOT_BYTES {
        return Err(ImageError::TooLarge { bytes: bytes.len(), max: SLOT_BYTES });
    }
    let short = || ImageError::Short(bytes.len());
    match bytes.first() {
        Some(0xe9) => {}
        Some(other) => return Err(ImageError::Magic(*other)),
        None => return Err(short()),
    }
    let header: &[u8; HEADER] = bytes.first_chunk().ok_or_else(short)?;
    let (segments, chip, hashed) = (header[1], u16::from_le_bytes([header[12], header[13]]), header[23] == 1);
    let (mut at, mut checksum) = (HEADER, 0xef);
    for _ in 0..segments {
        let size = number(bytes, at + 4).ok_or_else(short)?;
        let begin = at + 8;
        let end = begin.checked_add(size as usize).ok_or_else(short)?;
        let data = bytes.get(begin..end).ok_or_else(short)?;
        checksum = data.iter().fold(checksum, |sum, byte| sum ^ byte);
        at = end;
    }
    // The checksum is the last byte of a block of 16.
    let end = (at + 1).next_multiple_of(16);
    let (body, rest) = bytes.split_at_checked(end).ok_or_else(short)?;
    if body.last() != Some(&checksum) {
        return Err(ImageError::Checksum);
    }
    let rest = match rest.split_first_chunk::<32>() {
        _ if !hashed => rest,
        Some((hash, rest)) if digest(&SHA256, body).as_ref() == hash => rest,
        Some(_) => return Err(ImageError::Hash),
        None => return Err(short()),
    };
    if !rest.is_empty() {
        return Err(ImageError::Trailing(rest.len()));
    }
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest(&SHA256, bytes).as_ref());
    Ok(Image {
        chip: chip_name(chip),
        segments,
        // A slot is smaller than 4 GiB.
        size: bytes.len() as u32,
        sha256,
        version: described_version(bytes),
    })
}

/// Looks whether an image of the whole flash has a partition table, and this firmware in its first slot.
///
/// # Errors
/// [`ImageError`].
pub fn look_at_flash(bytes: &[u8], firmware: &[u8]) -> Result<(), ImageError> {
    const TABLE: usize = 0x8000;
    const ENTRY: usize = 32;
    const APP: u8 = 0;
    const OTA_0: u8 = 0x10;
    if bytes.len() > FLASH_BYTES_MAX {
        return Err(ImageError::TooLarge { bytes: bytes.len(), max: FLASH_BYTES_MAX });
    }
    let table = bytes.get(TABLE..TABLE + 0xc00).ok_or(ImageError::NoPartitions)?;
    let mut partitions =
        table.chunks_exact(ENTRY).take_while(|entry| entry.starts_with(&[0xaa, 0x50])).peekable();
    if partitions.peek().is_none() {
        return Err(ImageError::NoPartitions);
    }
    let slot = partitions.find(|entry| entry.get(2..4) == Some(&[APP, OTA_0]));
    let offset = slot.and_then(|entry| number(entry, 4)).ok_or(ImageError::NoPartitions)?;
    let there = bytes.get(offset as usize..).is_some_and(|rest| rest.starts_with(firmware));
    if there { Ok(()) } else { Err(ImageError::Different) }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

/// By `esp_chip_id_t` of ESP-IDF, `esp_app_format.h`.
fn chip_name(id: u16) -> String {
    match id {
        0x0000 => "ESP32",
        0x0002 => "ESP32-S2",
        0x0005 => "ESP32-C3",
        0x0009 => "ESP32-S3",
        0x000c => "ESP32-C2",
        0x000d => "ESP32-C6",
        0x0010 => "ESP32-H2",
        0x0012 => "ESP32-P4",
        other => return format!("chip {other:#06x}"),
    }
    .to_owned()
}

/// The version in `esp_app_desc_t`, which begins the first segment.
fn described_version(bytes: &[u8]) -> Option<String> {
    const DESCRIPTION: usize = 32;
    const MAGIC: u32 = 0xabcd_5432;
    if number(bytes, DESCRIPTION) != Some(MAGIC) {
        return None;
    }
    let field = bytes.get(DESCRIPTION + 16..)?.first_chunk::<32>()?;
    let text = field.split(|byte| *byte == 0).next()?;
    let printable = !text.is_empty() && text.iter().all(u8::is_ascii_graphic);
    printable.then(|| String::from_utf8_lossy(text).into_owned())
}

/// Something that looks like an image, for tests: of this chip, version and number of bytes in its segment.
#[cfg(test)]
pub(crate) fn made(chip: u16, version: &str, bytes: usize) -> Vec<u8> {
    let mut image = vec![0; 24];
    (image[0], image[1], image[23]) = (0xe9, 1, 1);
    image[12..14].copy_from_slice(&chip.to_le_bytes());
    let mut segment: Vec<u8> = (0..bytes.max(256)).map(|at| (at / 7) as u8).collect();
    segment[..256].fill(0);
    segment[..4].copy_from_slice(&0xabcd_5432_u32.to_le_bytes());
    segment[16..16 + version.len()].copy_from_slice(version.as_bytes());
    image.extend(0x3c00_0020_u32.to_le_bytes());
    image.extend((segment.len() as u32).to_le_bytes());
    image.extend(&segment);
    image.resize((image.len() + 1).next_multiple_of(16), 0);
    *image.last_mut().unwrap() = segment.iter().fold(0xef, |sum, byte| sum ^ byte);
    let hash = digest(&SHA256, &image);
    image.extend(hash.as_ref());
    image
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_image_is_known_by_all_of_its_bytes() {
        let good = made(5, "1.4.0", 5_000);
        let found = look(&good).unwrap();
        assert_eq!((found.chip.as_str(), found.segments, found.size), ("ESP32-C3", 1, good.len() as u32));
        assert_eq!(found.version.as_deref(), Some("1.4.0"));
        assert_eq!(found.sha256, digest(&SHA256, &good).as_ref());
        for len in 0..good.len() {
            assert_eq!(look(&good[..len]), Err(ImageError::Short(len)));
        }
        let mut longer = good.clone();
        longer.push(0);
        assert_eq!(look(&longer), Err(ImageError::Trailing(1)));
        // Every byte counts; in the data the checksum says so, elsewhere the hash.
        for at in 1..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert!(look(&bad).is_err() || at == 23, "byte {at}");
        }
        let mut text = good;
        text[0] = b'P';
        assert_eq!(look(&text), Err(ImageError::Magic(b'P')));
        let large = SLOT_BYTES + 1;
        assert_eq!(look(&vec![0xe9; large]), Err(ImageError::TooLarge { bytes: large, max: SLOT_BYTES }));
    }

    #[test]
    fn an_image_runs_on_its_own_chip_alone() {
        let board = BoardId::parse("stamp-c3").unwrap();
        let found = look(&made(5, "1.4.0", 500)).unwrap();
        assert_eq!(found.runs_on(&board, "esp32c3"), Ok(()));
        for other in ["esp32", "esp32c6", "esp32s3", ""] {
            let refused = ImageError::Chip { image: "ESP32-C3".to_owned(), board, chip: other };
            assert_eq!(found.runs_on(&board, other), Err(refused), "{other}");
        }
    }

    #[test]
    fn an_image_of_the_flash_holds_the_firmware_beside_it() {
        let firmware = made(13, "1.4.0", 500);
        let mut flash = vec![0xff; 0x10000];
        assert_eq!(look_at_flash(&flash, &firmware), Err(ImageError::NoPartitions));
        let mut entry = vec![0xaa, 0x50, 0, 0x10];
        entry.extend(0x10000_u32.to_le_bytes());
        entry.resize(32, 0);
        flash[0x8000..0x8020].copy_from_slice(&[0xaa, 0x50].repeat(16));
        assert_eq!(look_at_flash(&flash, &firmware), Err(ImageError::NoPartitions), "no slot");
        flash[0x8020..0x8040].copy_from_slice(&entry);
        assert_eq!(look_at_flash(&flash, &firmware), Err(ImageError::Different), "nothing in it");
        flash.extend(&firmware);
        assert_eq!(look_at_flash(&flash, &firmware), Ok(()));
        flash.extend([0xff; 100]);
        assert_eq!(look_at_flash(&flash, &firmware), Ok(()));
        assert_eq!(look_at_flash(&flash, &made(13, "1.4.1", 500)), Err(ImageError::Different));
        assert_eq!(look_at_flash(&flash[..0x8010], &firmware), Err(ImageError::NoPartitions));
    }

    proptest! {
        #[test]
        fn bytes_from_outside_never_panic(
            noise in prop::collection::vec(any::<u8>(), 0..300), keep in 0_usize..300, segments in any::<u8>()
        ) {
            let mut bytes = made(5, "1.4.0", 256);
            bytes[1] = segments;
            bytes.truncate(keep);
            bytes.extend(noise);
            let _looked = look(&bytes);
            let mut flash = vec![0; 0x8000];
            flash.extend(&bytes);
            flash.resize(0x9000, 0);
            let _looked = look_at_flash(&flash, &bytes);
        }
    }
}
