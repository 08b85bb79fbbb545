//! What a device may be called.

use core::fmt;

/// Longest device name, in bytes.
pub const DEVICE_ID_BYTES_MAX: usize = 64;

/// A device's name: `[A-Za-z0-9][A-Za-z0-9._:-]{0,63}`. Case matters. It travels in URLs, file names and metric
/// labels, so nothing in it ever needs escaping.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId {
    bytes: [u8; DEVICE_ID_BYTES_MAX],
    len: u8,
}

impl DeviceId {
    /// Takes a name that matches the pattern; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let source = text.as_bytes();
        let (first, rest) = source.split_first()?;
        let fits = source.len() <= DEVICE_ID_BYTES_MAX
            && first.is_ascii_alphanumeric()
            && rest.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'));
        if !fits {
            return None;
        }
        let mut bytes = [0; DEVICE_ID_BYTES_MAX];
        bytes.get_mut(..source.len())?.copy_from_slice(source);
        Some(Self { bytes, len: u8::try_from(source.len()).ok()? })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        // Only ASCII gets past `parse`, so the empty fallback is never taken.
        core::str::from_utf8(self.bytes.get(..usize::from(self.len)).unwrap_or_default()).unwrap_or_default()
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_need_no_escaping_anywhere() {
        for good in ["a", "room-101", "airgradient:ecda3b1eaaaf", "esp32.co2_A"] {
            assert_eq!(DeviceId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", ".a", "a/b", "a b", "ü", "a\n", &"x".repeat(65)] {
            assert_eq!(DeviceId::parse(bad), None, "{bad:?}");
        }
    }
}
