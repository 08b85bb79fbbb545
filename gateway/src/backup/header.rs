//! What stands at the beginning of a backup.
//!
//! Numbers are unsigned and big-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 0..16 | `casement backup` and a line feed |
//! | 16..20 | version of this layout: 1, or 2 with keys behind the payload |
//! | 20..24 | kind of payload: 1, a SQLite database |
//! | 24..32 | when it was made, in milliseconds since 1970 |
//! | 32..64 | version of the gateway that made it: UTF-8, filled up with zeros |
//! | 64..72 | version of the store's schema |
//! | 72..80 | devices |
//! | 80..88 | readings |
//! | 88..96 | values |
//! | 96..104 | bytes of the payload |
//! | 104..136 | SHA-256 of the payload |
//! | 136..168 | SHA-256 of bytes 0..136 |
//!
//! The payload follows; then, in layout 2, what makes a host ([`keys`](super::keys)); and nothing after it.

use aws_lc_rs::digest::{SHA256, digest};

/// Bytes of a header.
pub const LENGTH: usize = 168;

/// The layout of a store alone, and that of a store with keys, the newest that is read.
const ALONE: u32 = 1;
const LAYOUT: u32 = 2;

const MAGIC: &[u8; 16] = b"casement backup\n";
const SQLITE: u32 = 1;
const VERSION_BYTES_MAX: usize = 32;
const SUM_AT: usize = 136;

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// The version of the gateway that made it.
    pub version: String,
    /// The version of the store's schema.
    pub schema: u64,
    /// How many devices are in it.
    pub devices: u64,
    /// How many readings.
    pub readings: u64,
    /// How many values.
    pub values: u64,
    /// How long the payload is, in bytes.
    pub bytes: u64,
    /// The SHA-256 of the payload.
    pub sha256: [u8; 32],
    /// What makes a host follows: private keys are in it.
    pub keys: bool,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// They begin otherwise.
    #[error("it is not a backup of Casement")]
    Foreign,
    /// They end too early.
    #[error("it is cut off after {0} bytes")]
    CutOff(usize),
    /// A later version of Casement wrote them.
    #[error("it was made by a later version of Casement (format {0}, this one reads up to {known})", known = LAYOUT)]
    Newer(u32),
    /// They are not as they were written.
    #[error("its header is damaged")]
    Damaged,
}

impl Header {
    /// The header as bytes. A version that is too long loses its end.
    pub fn encode(&self) -> [u8; LENGTH] {
        let mut version = [0; VERSION_BYTES_MAX];
        for (to, from) in version.iter_mut().zip(self.version.bytes().filter(u8::is_ascii)) {
            *to = from;
        }
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(if self.keys { LAYOUT } else { ALONE }).to_be_bytes());
        bytes.extend_from_slice(&SQLITE.to_be_bytes());
        bytes.extend_from_slice(&self.created_ms.max(0).to_be_bytes());
        bytes.extend_from_slice(&version);
        for number in [self.schema, self.devices, self.readings, self.values, self.bytes] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.sha256);
        let sum = digest(&SHA256, &bytes);
        bytes.extend_from_slice(sum.as_ref());
        let mut whole = [0; LENGTH];
        for (to, from) in whole.iter_mut().zip(bytes) {
            *to = from;
        }
        whole
    }

    /// Reads a header from the beginning of `bytes`; what follows it is not looked at.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.is_empty() {
            return Err(Fault::Empty);
        }
        if !MAGIC.iter().zip(bytes).all(|(expected, found)| expected == found) {
            return Err(Fault::Foreign);
        }
        let cut_off = Fault::CutOff(bytes.len());
        // Asked before everything else: a later layout may be of another length.
        let layout = u32::from_be_bytes(field(bytes, 16).ok_or(cut_off)?);
        if layout > LAYOUT {
            return Err(Fault::Newer(layout));
        }
        let head = bytes.get(..SUM_AT).ok_or(cut_off)?;
        let sum: [u8; 32] = field(bytes, SUM_AT).ok_or(cut_off)?;
        let number = |at| field(bytes, at).map(u64::from_be_bytes).ok_or(cut_off);
        let kind = u32::from_be_bytes(field(bytes, 20).ok_or(cut_off)?);
        if digest(&SHA256, head).as_ref() != sum || !(ALONE..=LAYOUT).contains(&layout) || kind != SQLITE {
            return Err(Fault::Damaged);
        }
        let version: [u8; VERSION_BYTES_MAX] = field(bytes, 32).ok_or(cut_off)?;
        let text = version.split(|byte| *byte == 0).next().unwrap_or_default();
        let printable = text.iter().all(u8::is_ascii_graphic);
        Ok(Self {
            created_ms: i64::try_from(number(24)?).map_err(|_| Fault::Damaged)?,
            version: String::from_utf8(text.to_vec()).ok().filter(|_| printable).ok_or(Fault::Damaged)?,
            schema: number(64)?,
            devices: number(72)?,
            readings: number(80)?,
            values: number(88)?,
            bytes: number(96)?,
            sha256: field(bytes, 104).ok_or(cut_off)?,
            keys: layout == LAYOUT,
        })
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        Header {
            created_ms: 1_795_341_600_172,
            version: "0.1.0".to_owned(),
            schema: 1,
            devices: 3,
            readings: 500_000,
            values: 1_500_000,
            bytes: 0x0102_0304_0506,
            sha256: [0xab; 32],
            keys: false,
        }
    }

    /// The sum of a header that somebody wrote on purpose is right.
    fn summed(mut bytes: [u8; LENGTH]) -> [u8; LENGTH] {
        let sum = digest(&SHA256, &bytes[..SUM_AT]);
        bytes[SUM_AT..].copy_from_slice(sum.as_ref());
        bytes
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let bytes = header().encode();
        assert_eq!(&bytes[..16], b"casement backup\n");
        assert_eq!(&bytes[16..24], [0, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!(bytes[24..32], 1_795_341_600_172u64.to_be_bytes());
        assert_eq!(&bytes[32..38], b"0.1.0\0");
        for (at, number) in [(64, 1u64), (72, 3), (80, 500_000), (88, 1_500_000), (96, 0x0102_0304_0506)] {
            assert_eq!(bytes[at..at + 8], number.to_be_bytes(), "{at}");
        }
        assert_eq!(bytes[104..136], [0xab; 32]);
        assert_eq!(bytes, summed(bytes));
        assert_eq!(Header::decode(&bytes), Ok(header()));
        let mut followed = bytes.to_vec();
        followed.extend_from_slice(b"payload");
        assert_eq!(Header::decode(&followed), Ok(header()));
    }

    #[test]
    fn a_header_of_every_shorter_length_is_cut_off() {
        let bytes = header().encode();
        assert_eq!(Header::decode(&[]), Err(Fault::Empty));
        for length in 1..LENGTH {
            assert_eq!(Header::decode(&bytes[..length]), Err(Fault::CutOff(length)));
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        for at in 0..LENGTH {
            for bit in 0..8 {
                let mut bytes = header().encode();
                bytes[at] ^= 1 << bit;
                let fault = Header::decode(&bytes).expect_err("a bit is wrong");
                let expected = match at {
                    0..16 => fault == Fault::Foreign,
                    16..20 => matches!(fault, Fault::Newer(_) | Fault::Damaged),
                    _ => fault == Fault::Damaged,
                };
                assert!(expected, "byte {at}, bit {bit}: {fault:?}");
            }
        }
    }

    #[test]
    fn what_nobody_writes_is_refused_whatever_its_sum() {
        for (at, wrong, expected) in [
            (16, &[0, 0, 0, 0][..], Fault::Damaged),
            (16, &[0, 0, 0, 3], Fault::Newer(3)),
            (20, &[0, 0, 0, 2], Fault::Damaged),
            (24, &[0xff; 8], Fault::Damaged),
            (32, &[0xff], Fault::Damaged),
            (32, b"\x1b[2J", Fault::Damaged),
        ] {
            let mut bytes = header().encode();
            bytes[at..at + wrong.len()].copy_from_slice(wrong);
            assert_eq!(Header::decode(&summed(bytes)), Err(expected), "{at}: {wrong:?}");
        }
        for other in [&b"SQLite format 3\0"[..], b"c4", b"\0", b"casement Backup\n"] {
            assert_eq!(Header::decode(other), Err(Fault::Foreign));
        }
    }

    #[test]
    fn a_long_version_loses_its_end() {
        let long = Header { version: "0.1.0-".to_owned() + &"x".repeat(60), ..header() };
        let back = Header::decode(&long.encode()).unwrap();
        assert_eq!(back, Header { version: long.version[..32].to_owned(), ..long });
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_header_or_a_fault(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _whatever = Header::decode(&bytes);
            let begun: Vec<u8> = MAGIC.iter().chain(&bytes).copied().collect();
            prop_assert!(Header::decode(&begun).is_err());
        }

        #[test]
        fn what_goes_in_comes_out(
            created_ms in 0..=i64::MAX, version in "[!-~]{0,32}", schema: u64, devices: u64, readings: u64,
            values: u64, bytes: u64, sha256: [u8; 32],
        ) {
            let header = Header { created_ms, version, schema, devices, readings, values, bytes, sha256, keys: created_ms % 2 == 0 };
            prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
        }
    }
}
