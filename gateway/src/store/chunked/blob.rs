//! Bytes as they are kept: whole numbers of variable length, and a checksum at the end of every blob. Pure.
//!
//! A blob is one byte that says what it is, a body, and the CRC-32 (IEEE 802.3) of both, little endian. Whole numbers are
//! LEB128; signed ones are zigzagged first. Reading never panics and never takes more memory than the caller allows.

/// Longest blob that is read, in bytes: more than a day of a device that reports ten times a second.
pub(crate) const BLOB_BYTES_MAX: usize = 64 << 20;

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Damage(pub(crate) &'static str);

/// Writes a blob.
#[derive(Debug)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// A blob of this kind.
    pub(crate) fn new(kind: u8) -> Self {
        Self(vec![kind])
    }

    /// A part of something else, without kind and checksum.
    pub(crate) fn part() -> Self {
        Self(Vec::new())
    }

    /// Goes on writing such a part.
    pub(crate) fn continuing(part: Vec<u8>) -> Self {
        Self(part)
    }

    pub(crate) fn number(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    pub(crate) fn signed(&mut self, n: i64) {
        self.number(((n << 1) ^ (n >> 63)).cast_unsigned());
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(crate) fn float(&mut self, value: f64) {
        self.0.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn into_part(self) -> Vec<u8> {
        self.0
    }

    /// The blob, with its checksum.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let sum = crc32fast::hash(&self.0);
        self.0.extend_from_slice(&sum.to_le_bytes());
        self.0
    }
}

/// Reads a blob from its beginning to its end.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The body of a blob of this kind, whose checksum is right.
    pub(crate) fn open(kind: u8, blob: &'a [u8]) -> Result<Self, Damage> {
        if blob.len() > BLOB_BYTES_MAX {
            return Err(Damage("it is too long"));
        }
        let (body, sum) = blob.split_last_chunk::<4>().ok_or(Damage("it is too short"))?;
        if crc32fast::hash(body) != u32::from_le_bytes(*sum) {
            return Err(Damage("its checksum is wrong"));
        }
        match body.split_first() {
            Some((found, rest)) if *found == kind => Ok(Self(rest)),
            _ => Err(Damage("it is of another kind")),
        }
    }

    /// Of bytes without kind and checksum.
    pub(crate) fn part(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Damage> {
        let (first, rest) = self.0.split_first().ok_or(Damage("it ends too early"))?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn number(&mut self) -> Result<u64, Damage> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            n |= bits << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(Damage("a number in it is too long"))
    }

    pub(crate) fn signed(&mut self) -> Result<i64, Damage> {
        let n = self.number()?;
        Ok((n >> 1).cast_signed() ^ -(n & 1).cast_signed())
    }

    /// A number that counts something, of which there are at most so many.
    pub(crate) fn count(&mut self, most: usize) -> Result<usize, Damage> {
        let n = self.number()?;
        usize::try_from(n).ok().filter(|n| *n <= most).ok_or(Damage("a count in it is too large"))
    }

    pub(crate) fn float(&mut self) -> Result<f64, Damage> {
        let bytes = self.bytes(8)?;
        let bytes: [u8; 8] = bytes.try_into().map_err(|_| Damage("it ends too early"))?;
        Ok(f64::from_bits(u64::from_le_bytes(bytes)))
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Damage("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_blob_with_a_flipped_bit_is_refused() {
        let mut writer = Writer::new(b'x');
        writer.signed(-5);
        writer.float(0.5);
        let blob = writer.finish();
        let mut reader = Reader::open(b'x', &blob).unwrap();
        assert_eq!((reader.signed(), reader.float(), reader.is_empty()), (Ok(-5), Ok(0.5), true));
        assert!(Reader::open(b'y', &blob).is_err());
        for bit in 0..blob.len() * 8 {
            let mut bad = blob.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Reader::open(b'x', &bad).is_err(), "bit {bit}");
        }
        for length in 0..blob.len() {
            assert!(Reader::open(b'x', &blob[..length]).is_err());
        }
    }

    proptest! {
        #[test]
        fn numbers_come_back(unsigned: u64, signed: i64) {
            let mut writer = Writer::part();
            writer.number(unsigned);
            writer.signed(signed);
            let part = writer.into_part();
            let mut reader = Reader::part(&part);
            prop_assert_eq!((reader.number(), reader.signed(), reader.is_empty()), (Ok(unsigned), Ok(signed), true));
        }

        #[test]
        fn any_bytes_are_a_number_or_an_error(bytes: Vec<u8>) {
            let mut reader = Reader::part(&bytes);
            let _number = reader.number();
            let _signed = reader.signed();
        }
    }
}
