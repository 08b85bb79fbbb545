//! A firmware release: what it is, for which board, and the bytes that are signed.
//!
//! The manifest travels as it is signed, so there is one form and nothing to normalise:
//!
//! ```text
//! "casement release"  form:u8=1  board_len:u8 board  major:u16 minor:u16 patch:u16  size:u32  sha256:32  signature:64
//! ```
//!
//! Numbers are little-endian. The signature is Ed25519 (RFC 8032) over everything before it. The text in front keeps a
//! signature of anything else from being taken for one of a release. Who verifies it brings the cryptography; this
//! module has none.

use core::fmt;
use core::str::FromStr;

/// Largest firmware image, in bytes: the most a 32-bit RISC-V or Xtensa chip of the family maps from flash.
pub const IMAGE_BYTES_MAX: u32 = 16 << 20;

/// Longest board name, in bytes.
pub const BOARD_BYTES_MAX: usize = 24;

/// Most bytes of a signed manifest.
pub const MANIFEST_BYTES_MAX: usize = SIGNED_BYTES_MAX + SIGNATURE_BYTES;

/// Bytes of an Ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;

const SIGNED_BYTES_MAX: usize = MAGIC.len() + 2 + BOARD_BYTES_MAX + 6 + 4 + 32;
const MAGIC: &[u8; 16] = b"casement release";
const FORM: u8 = 1;

/// A version: `1.4.0`. Ordered by its numbers; there are no pre-releases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Counts up when devices must be told.
    pub major: u16,
    /// Counts up when something is new.
    pub minor: u16,
    /// Counts up when something is mended.
    pub patch: u16,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = ReleaseError;

    fn from_str(text: &str) -> Result<Self, ReleaseError> {
        let number = |part: Option<&str>| {
            let part = part.filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
            // One way to write a version: no leading zeros.
            let part = part.filter(|part| *part == "0" || !part.starts_with('0'));
            part.and_then(|part| part.parse().ok()).ok_or(ReleaseError::Version)
        };
        let mut parts = text.split('.');
        let version =
            Self { major: number(parts.next())?, minor: number(parts.next())?, patch: number(parts.next())? };
        if parts.next().is_some() { Err(ReleaseError::Version) } else { Ok(version) }
    }
}

/// Which board an image is for: `[a-z][a-z0-9-]{0,23}`, for example `stamp-c3`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BoardId {
    bytes: [u8; BOARD_BYTES_MAX],
    len: u8,
}

impl BoardId {
    /// Takes a name that matches the pattern; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let source = text.as_bytes();
        let (first, rest) = source.split_first()?;
        let fits = first.is_ascii_lowercase()
            && rest.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
        if !fits {
            return None;
        }
        let mut bytes = [0; BOARD_BYTES_MAX];
        bytes.get_mut(..source.len())?.copy_from_slice(source);
        Some(Self { bytes, len: u8::try_from(source.len()).ok()? })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        // Only ASCII gets past `parse`, so the empty fallback is never taken.
        core::str::from_utf8(self.bytes.get(..usize::from(self.len)).unwrap_or_default()).unwrap_or_default()
    }
}

impl fmt::Debug for BoardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for BoardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A firmware image that may be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// The only board it runs on.
    pub board: BoardId,
    /// Its version.
    pub version: Version,
    /// Bytes of the image, 1 to [`IMAGE_BYTES_MAX`].
    pub size: u32,
    /// SHA-256 of the image.
    pub sha256: [u8; 32],
}

/// A release with the signature of whoever vouches for it. Decoding does not verify: see the device's `update` module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedRelease {
    /// What is signed.
    pub release: Release,
    /// Ed25519 over [`Release::signed_bytes`].
    pub signature: [u8; SIGNATURE_BYTES],
}

/// Why bytes are no release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseError {
    /// Not a manifest, cut short, or something follows it.
    Unreadable,
    /// A form that a later version of this program knows.
    Form(u8),
    /// The board's name is outside `[a-z][a-z0-9-]{0,23}`.
    Board,
    /// The image would be empty or larger than [`IMAGE_BYTES_MAX`].
    Size,
    /// Not three numbers from 0 to 65535 with dots between.
    Version,
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("this is not a release manifest, or only a part of one"),
            Self::Form(form) => {
                write!(f, "the release manifest has form {form}; this program knows form {FORM}")
            }
            Self::Board => f.write_str("the board must be named [a-z][a-z0-9-]{0,23}, for example stamp-c3"),
            Self::Size => write!(f, "an image has 1 to {IMAGE_BYTES_MAX} bytes"),
            Self::Version => f.write_str("a version is three numbers up to 65535, for example 1.4.0"),
        }
    }
}

impl core::error::Error for ReleaseError {}

impl Release {
    /// The bytes that are signed.
    pub fn signed_bytes(&self) -> heapless::Vec<u8, SIGNED_BYTES_MAX> {
        let mut out = heapless::Vec::new();
        let board = self.board.as_str().as_bytes();
        let [major, minor, patch] =
            [self.version.major, self.version.minor, self.version.patch].map(u16::to_le_bytes);
        let parts: [&[u8]; 9] = [
            MAGIC,
            &[FORM],
            &[self.board.len],
            board,
            &major,
            &minor,
            &patch,
            &self.size.to_le_bytes(),
            &self.sha256,
        ];
        for part in parts {
            // The capacity is the sum of the longest parts.
            let _fits = out.extend_from_slice(part);
        }
        out
    }
}

impl SignedRelease {
    /// The manifest as it travels.
    pub fn encode(&self) -> heapless::Vec<u8, MANIFEST_BYTES_MAX> {
        let mut out = heapless::Vec::new();
        // The capacity is the sum of both.
        let _fits = out.extend_from_slice(&self.release.signed_bytes());
        let _fits = out.extend_from_slice(&self.signature);
        out
    }

    /// Reads a manifest. What it reads encodes to the same bytes again.
    ///
    /// # Errors
    /// See [`ReleaseError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ReleaseError> {
        let mut rest = bytes;
        if take::<16>(&mut rest)? != *MAGIC {
            return Err(ReleaseError::Unreadable);
        }
        let [form] = take(&mut rest)?;
        if form != FORM {
            return Err(ReleaseError::Form(form));
        }
        let [board_len] = take(&mut rest)?;
        let (board, after) = rest.split_at_checked(usize::from(board_len)).ok_or(ReleaseError::Unreadable)?;
        rest = after;
        let board = core::str::from_utf8(board).ok().and_then(BoardId::parse).ok_or(ReleaseError::Board)?;
        let version = Version {
            major: u16::from_le_bytes(take(&mut rest)?),
            minor: u16::from_le_bytes(take(&mut rest)?),
            patch: u16::from_le_bytes(take(&mut rest)?),
        };
        let size = u32::from_le_bytes(take(&mut rest)?);
        if size == 0 || size > IMAGE_BYTES_MAX {
            return Err(ReleaseError::Size);
        }
        let release = Release { board, version, size, sha256: take(&mut rest)? };
        let signature = take(&mut rest)?;
        if rest.is_empty() { Ok(Self { release, signature }) } else { Err(ReleaseError::Unreadable) }
    }
}

/// How the update of a device goes, as it says in [`crate::wire::DeviceHealth::update`]:
/// `fetching 1.4.0 37%`, `trying 1.4.0` or `failed 1.4.0 crashed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateStatus<'a> {
    /// A release is being fetched.
    Fetching {
        /// Which.
        version: Version,
        /// How much of it is there.
        percent: u8,
    },
    /// It runs on trial.
    Trying {
        /// Which.
        version: Version,
    },
    /// The last release that did not make it; the device runs the one before.
    Failed {
        /// Which.
        version: Version,
        /// Why, as a word for programs: `[a-z-]{1,24}`.
        why: &'a str,
    },
}

/// Most bytes of an [`UpdateStatus`] as text.
pub const UPDATE_STATUS_BYTES_MAX: usize = 64;

impl<'a> UpdateStatus<'a> {
    /// Reads the text; `None` for anything else.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut words = text.split(' ');
        let (kind, version, more) = (words.next()?, words.next()?.parse().ok()?, words.next());
        if words.next().is_some() {
            return None;
        }
        match (kind, more) {
            ("fetching", Some(part)) => {
                let percent = part.strip_suffix('%')?.parse().ok().filter(|percent| *percent <= 100)?;
                Some(Self::Fetching { version, percent })
            }
            ("trying", None) => Some(Self::Trying { version }),
            ("failed", Some(why)) => {
                let fits = (1..=24).contains(&why.len())
                    && why.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
                fits.then_some(Self::Failed { version, why })
            }
            _ => None,
        }
    }
}

impl fmt::Display for UpdateStatus<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetching { version, percent } => write!(f, "fetching {version} {percent}%"),
            Self::Trying { version } => write!(f, "trying {version}"),
            Self::Failed { version, why } => write!(f, "failed {version} {why}"),
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], ReleaseError> {
    let (first, after) = rest.split_first_chunk().ok_or(ReleaseError::Unreadable)?;
    *rest = after;
    Ok(*first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn signed() -> SignedRelease {
        let board = BoardId::parse("stamp-c3").unwrap();
        let version = Version { major: 1, minor: 4, patch: 2 };
        let release = Release { board, version, size: 1_001_488, sha256: [7; 32] };
        SignedRelease { release, signature: [9; 64] }
    }

    #[test]
    fn form_1_is_written_for_ever_as_it_was() {
        let bytes = signed().encode();
        let mut expected =
            std::vec::Vec::from(&b"casement release\x01\x08stamp-c3\x01\0\x04\0\x02\0\x10\x48\x0f\0"[..]);
        expected.extend([7; 32]);
        expected.extend([9; 64]);
        assert_eq!(bytes.as_slice(), expected);
        assert_eq!(SignedRelease::decode(&bytes), Ok(signed()));
        assert_eq!(&bytes[..bytes.len() - 64], signed().release.signed_bytes().as_slice());
    }

    #[test]
    fn whatever_is_cut_off_or_added_is_no_release() {
        let mut bytes = std::vec::Vec::from(signed().encode().as_slice());
        for len in 0..bytes.len() {
            assert_eq!(SignedRelease::decode(&bytes[..len]), Err(ReleaseError::Unreadable), "{len}");
        }
        bytes.push(0);
        assert_eq!(SignedRelease::decode(&bytes), Err(ReleaseError::Unreadable));
    }

    #[test]
    fn each_part_out_of_bounds_is_named() {
        for (at, byte, error) in [
            (0, b'C', ReleaseError::Unreadable),
            (16, 2, ReleaseError::Form(2)),
            (17, 0, ReleaseError::Board),
            (18, b'-', ReleaseError::Board),
            (19, b'/', ReleaseError::Board),
            (17, 255, ReleaseError::Unreadable),
            (35, 1, ReleaseError::Size),
        ] {
            let mut bytes = signed().encode();
            bytes[at] = byte;
            assert_eq!(SignedRelease::decode(&bytes), Err(error), "{at}");
            assert!(!std::format!("{error}").is_empty());
        }
        let mut empty = signed();
        empty.release.size = 0;
        assert_eq!(SignedRelease::decode(&empty.encode()), Err(ReleaseError::Size));
        let longest = BoardId::parse(&"a".repeat(BOARD_BYTES_MAX)).unwrap();
        let mut wide = signed();
        wide.release.board = longest;
        wide.release.size = IMAGE_BYTES_MAX;
        assert_eq!(wide.encode().len(), MANIFEST_BYTES_MAX);
        assert_eq!(SignedRelease::decode(&wide.encode()), Ok(wide));
        assert_eq!(BoardId::parse(&"a".repeat(BOARD_BYTES_MAX + 1)), None);
    }

    #[test]
    fn versions_are_three_numbers_and_compare_as_numbers() {
        let parse = |text: &str| text.parse::<Version>();
        assert!(parse("1.10.0").unwrap() > parse("1.9.9").unwrap());
        assert_eq!(std::format!("{}", parse("0.12.65535").unwrap()), "0.12.65535");
        for bad in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "1.2.65536",
            "1.2.-3",
            "1.2.+3",
            "v1.2.3",
            "1.02.3",
            "1.2.3-rc1",
            "1..3",
        ] {
            assert_eq!(parse(bad), Err(ReleaseError::Version), "{bad}");
        }
    }

    #[test]
    fn how_an_update_goes_is_said_in_one_way() {
        let version = Version { major: 1, minor: 4, patch: 0 };
        for (status, text) in [
            (UpdateStatus::Fetching { version, percent: 37 }, "fetching 1.4.0 37%"),
            (UpdateStatus::Trying { version }, "trying 1.4.0"),
            (UpdateStatus::Failed { version, why: "wrong-hash" }, "failed 1.4.0 wrong-hash"),
        ] {
            assert_eq!(std::format!("{status}"), text);
            assert_eq!(UpdateStatus::parse(text), Some(status));
        }
        for bad in [
            "",
            "failed",
            "failed 1.4.0",
            "failed 1.4.0 ",
            "failed 1.4.0 Crashed",
            "failed 1.4 crashed",
            "failed 1.4.0 crashed twice",
            "trying 1.4.0 hard",
            "fetching 1.4.0 101%",
            "fetching 1.4.0 37",
            "the new firmware crashed; the old one is back",
        ] {
            assert_eq!(UpdateStatus::parse(bad), None, "{bad}");
        }
        let longest = Version { major: 65_535, minor: 65_535, patch: 65_535 };
        let longest = UpdateStatus::Failed { version: longest, why: &"a".repeat(24) };
        assert!(std::format!("{longest}").len() <= UPDATE_STATUS_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_is_read_is_written_the_same(
            noise in prop::collection::vec(any::<u8>(), 0..200), keep in 0_usize..160
        ) {
            // Noise behind a true beginning gets further than noise alone.
            let mut bytes = std::vec::Vec::from(signed().encode().as_slice());
            bytes.truncate(keep);
            bytes.extend(noise);
            if let Ok(it) = SignedRelease::decode(&bytes) {
                let again = it.encode();
                prop_assert_eq!(again.as_slice(), bytes.as_slice());
            }
        }
    }
}
