//! CRC-32 as in IEEE 802.3 (and zip, gzip, PNG): the check of everything that is kept on flash or carried in an image.

/// A running CRC-32. Four bits at a time: 64 bytes of table.
#[derive(Clone, Copy, Debug)]
pub struct Crc32(u32);

impl Crc32 {
    /// The check of nothing so far.
    pub const fn new() -> Self {
        Self(!0)
    }

    /// The check of what came so far and of these bytes.
    #[must_use]
    pub fn with(self, bytes: &[u8]) -> Self {
        let step = |state: u32, bits: u32| {
            let [low, ..] = (state ^ bits).to_le_bytes();
            state >> 4 ^ TABLE.get(usize::from(low & 0x0f)).copied().unwrap_or(0)
        };
        let add = |state: u32, byte: &u8| step(step(state, u32::from(*byte)), u32::from(*byte >> 4));
        Self(bytes.iter().fold(self.0, add))
    }

    /// The check.
    pub const fn value(self) -> u32 {
        !self.0
    }
}

impl Default for Crc32 {
    fn default() -> Self {
        Self::new()
    }
}

const TABLE: [u32; 16] = {
    let mut table = [0; 16];
    let mut index = 0;
    while index < 16 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 4 {
            value = if value & 1 == 0 { value >> 1 } else { value >> 1 ^ 0xedb8_8320 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_crc_everybody_else_means() {
        // The check value of CRC-32/ISO-HDLC in Ross Williams' model.
        assert_eq!(Crc32::new().with(b"123456789").value(), 0xcbf4_3926);
        assert_eq!(Crc32::new().with(b"1234").with(b"").with(b"56789").value(), 0xcbf4_3926);
        assert_eq!(Crc32::new().value(), 0);
    }
}
