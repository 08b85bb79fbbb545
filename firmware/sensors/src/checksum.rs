//! The checksums of the sensors, each with an example from a datasheet.

/// CRC-8 of every Sensirion word: polynomial 0x31, begins with 0xFF, not reflected (SCD4x datasheet, "Checksum calculation").
pub(crate) fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0xff, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { (crc << 1) ^ 0x31 })
    })
}

/// CRC-16 of a Modbus frame: polynomial 0xA001 reflected, begins with 0xFFFF, low byte first on the wire (Modbus over
/// Serial Line v1.02 §6.2.2).
pub(crate) fn modbus(bytes: &[u8]) -> [u8; 2] {
    let crc = bytes.iter().fold(0xffff_u16, |crc, byte| {
        (0..8)
            .fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 0 { crc >> 1 } else { (crc >> 1) ^ 0xa001 })
    });
    crc.to_le_bytes()
}

/// Checksum of an MH-Z19 frame: the bytes between the first and the last, summed up and negated (MH-Z19B manual v1.6).
pub(crate) fn winsen(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

/// Checksum of a Plantower frame: all bytes before it, summed up (PMS5003 manual v2.3, appendix I).
pub(crate) fn plantower(bytes: &[u8]) -> [u8; 2] {
    bytes.iter().fold(0_u16, |sum, byte| sum.wrapping_add(u16::from(*byte))).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_datasheets() {
        assert_eq!(crc8(&[0xbe, 0xef]), 0x92);
        // SGP40 datasheet v1.2: 50 %RH and 25 °C as parameters.
        assert_eq!((crc8(&[0x80, 0x00]), crc8(&[0x66, 0x66])), (0xa2, 0x93));
        assert_eq!(crc8(&[]), 0xff);
        // Senseair S8, TDE2067: read the CO2 register; 400 ppm.
        assert_eq!(modbus(&[0xfe, 0x04, 0x00, 0x03, 0x00, 0x01]), [0xd5, 0xc5]);
        assert_eq!(modbus(&[0xfe, 0x04, 0x02, 0x01, 0x90]), [0xac, 0xd8]);
        assert_eq!(winsen(&[0x01, 0x86, 0, 0, 0, 0, 0]), 0x79);
        assert_eq!(plantower(&[0x42, 0x4d, 0xe1, 0x00, 0x00]), [0x01, 0x70]);
    }
}
