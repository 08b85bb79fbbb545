//! QR codes, for phones.

use crate::scene::Area;
use core::fmt::Write;
use heapless::String;
use qrcodegen_no_heap::{QrCode, QrCodeEcc, Version};

/// The largest version that is drawn: 41 modules a side, 134 bytes at low error correction.
const VERSION_MAX: Version = Version::new(6);
/// What the encoder needs for it.
const BUFFER: usize = VERSION_MAX.buffer_len();

/// Modules of quiet around a code. The standard asks for four (ISO/IEC 18004 §9.1).
pub(crate) const QUIET: i32 = 4;

/// A code, row by row.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Code {
    pub(crate) modules: i32,
    rows: [u64; 41],
}

impl Code {
    /// A code for a text, if it is short enough to be drawn legibly.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let (mut scratch, mut out) = ([0; BUFFER], [0; BUFFER]);
        // Binary, because `encode_text` wants its input in a buffer of the same size anyway.
        let bytes = text.as_bytes();
        scratch.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let code = QrCode::encode_binary(
            &mut scratch,
            bytes.len(),
            &mut out,
            QrCodeEcc::Low,
            Version::MIN,
            VERSION_MAX,
            None,
            true,
        )
        .ok()?;
        let mut rows = [0; 41];
        for (y, row) in (0..).zip(rows.iter_mut()).take(code.size() as usize) {
            *row = (0..code.size()).filter(|x| code.get_module(*x, y)).fold(0, |row, x| row | 1 << x);
        }
        Some(Self { modules: code.size(), rows })
    }

    /// A code that joins a Wi-Fi network, in the form that cameras of phones know.
    pub(crate) fn wifi(network: &str, password: &str) -> Option<Self> {
        // At most 32 and 63 bytes (IEEE 802.11), twice that when every one is escaped.
        let mut text: String<256> = String::new();
        let kind = if password.is_empty() { "nopass" } else { "WPA" };
        write!(text, "WIFI:T:{kind};S:").ok()?;
        escape(&mut text, network)?;
        if !password.is_empty() {
            text.push_str(";P:").ok()?;
            escape(&mut text, password)?;
        }
        text.push_str(";;").ok()?;
        Self::of(&text)
    }

    /// Pixels a side, with its quiet zone, when a module takes `scale` pixels.
    pub(crate) const fn side(&self, scale: i32) -> i32 {
        (self.modules + 2 * QUIET) * scale
    }

    /// Whether a pixel of the area is dark.
    pub(crate) fn dark(&self, area: &Area, x: i32, y: i32) -> bool {
        let scale = (area.width() / (self.modules + 2 * QUIET)).max(1);
        let module = |at: i32, from: i32| (at - from).div_euclid(scale) - QUIET;
        let (x, y) = (module(x, area.left), module(y, area.top));
        (0..self.modules).contains(&x)
            && usize::try_from(y).is_ok_and(|y| self.rows.get(y).is_some_and(|row| row >> x & 1 == 1))
    }
}

fn escape(out: &mut String<256>, text: &str) -> Option<()> {
    for letter in text.chars() {
        if matches!(letter, '\\' | ';' | ',' | ':' | '"') {
            out.push('\\').ok()?;
        }
        out.push(letter).ok()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_the_text_is_escaped() {
        let mut out = String::new();
        escape(&mut out, r#"a;b:c\d,"é"#).expect("it fits");
        assert_eq!(out, r#"a\;b\:c\\d\,\"é"#);
    }

    #[test]
    fn the_longest_network_still_has_a_code_or_none() {
        assert!(Code::wifi("casement-1a2b", "k7mq-29xd").is_some_and(|code| code.modules <= 33));
        let escaped = [b';'; 63];
        let long = core::str::from_utf8(&escaped).expect("it is ASCII");
        assert!(Code::wifi(&long[..32], long).is_none());
        assert!(Code::of("").is_some());
    }

    #[test]
    fn around_a_code_it_is_quiet() {
        let code = Code::of("http://192.168.4.1/").expect("it is short");
        let side = code.side(3);
        let area = Area::new(10, 20, side, side);
        for along in 0..side {
            for depth in 0..QUIET * 3 {
                for (x, y) in
                    [(along, depth), (depth, along), (along, side - 1 - depth), (side - 1 - depth, along)]
                {
                    assert!(!code.dark(&area, 10 + x, 20 + y), "{x} {y}");
                }
            }
        }
        // The three corners that cameras look for.
        let corner = QUIET * 3 + 1;
        for (x, y) in [(corner, corner), (side - 1 - corner, corner), (corner, side - 1 - corner)] {
            assert!(code.dark(&area, 10 + x, 20 + y), "{x} {y}");
        }
    }
}
