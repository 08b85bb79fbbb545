//! How all Sensirion sensors talk over I2C: a command of 16 bits, then words of 16 bits with a CRC-8 each.

use crate::checksum::crc8;
use crate::wire::Bus;
use casement_core::Fault;
use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::i2c::I2c;

/// Most words of one answer: the product name of a SEN5x.
const WORDS_MAX: usize = 16;
const WORD_BYTES: usize = 3;

impl<I: I2c, D: DelayNs> Bus<I, D> {
    /// Sends a command with its parameters, then waits until it has been carried out.
    pub(crate) async fn command(
        &mut self,
        address: u8,
        command: u16,
        parameters: &[u16],
        wait_ms: u32,
    ) -> Result<(), Fault> {
        // Two parameters are the most that any command here takes.
        let mut bytes = heapless::Vec::<u8, 8>::new();
        let mut fits = bytes.extend_from_slice(&command.to_be_bytes());
        for word in parameters {
            let [high, low] = word.to_be_bytes();
            fits = fits.and(bytes.extend_from_slice(&[high, low, crc8(&[high, low])]));
        }
        fits.map_err(|_| Fault::Range)?;
        self.write(address, &bytes).await?;
        self.wait_ms(wait_ms).await;
        Ok(())
    }

    /// Sends a command that the sensor may refuse, because it does not know it or has no use for it at the moment.
    pub(crate) async fn try_command(
        &mut self,
        address: u8,
        command: u16,
        parameters: &[u16],
        wait_ms: u32,
    ) -> Result<(), Fault> {
        match self.command(address, command, parameters, wait_ms).await {
            Err(Fault::Bus) => Ok(()),
            result => result,
        }
    }

    /// Reads words and checks each. The transfer is one of its own: a repeated start is not allowed between command and
    /// answer (SCD30 interface description v1.0 §1.1).
    pub(crate) async fn words<const N: usize>(&mut self, address: u8) -> Result<[u16; N], Fault> {
        const { assert!(N <= WORDS_MAX) };
        let mut bytes = [0; WORDS_MAX * WORD_BYTES];
        let bytes = &mut bytes[..N * WORD_BYTES];
        self.read(address, bytes).await?;
        let mut words = [0; N];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<WORD_BYTES>().0) {
            let [high, low, crc] = *bytes;
            if crc8(&[high, low]) != crc {
                return Err(Fault::Crc);
            }
            *word = u16::from_be_bytes([high, low]);
        }
        Ok(words)
    }

    /// Sends a command without parameters, waits, and reads its answer.
    pub(crate) async fn ask<const N: usize>(
        &mut self,
        address: u8,
        command: u16,
        wait_ms: u32,
    ) -> Result<[u16; N], Fault> {
        self.command(address, command, &[], wait_ms).await?;
        self.words(address).await
    }
}

/// A serial number of three words.
pub(crate) fn serial(words: [u16; 3]) -> u64 {
    words.iter().fold(0, |number, word| (number << 16) | u64::from(*word))
}

/// Temperature in °C of a raw word, the same for SHT, SCD4x and SGP4x: −45 to 130 °C over the whole range.
pub(crate) fn celsius(word: u16) -> f64 {
    -45.0 + 175.0 * f64::from(word) / 65_535.0
}

/// Relative humidity of a raw word, 0 to 100 % over the whole range (SHT3x, SCD4x).
pub(crate) fn humidity(word: u16) -> f64 {
    100.0 * f64::from(word) / 65_535.0
}

/// The name a SEN5x or SEN66 tells: ASCII, two letters in a word, ended by zero.
pub(crate) fn name<const N: usize>(words: [u16; N]) -> heapless::String<{ WORDS_MAX * 2 }> {
    let letters = words.iter().flat_map(|word| word.to_be_bytes()).take_while(|byte| *byte != 0);
    let mut name = heapless::String::new();
    for letter in letters {
        // It fits: a name has two letters for each of at most WORDS_MAX words; anything but ASCII is not a name.
        let _fits = name.push(if letter.is_ascii_graphic() { char::from(letter) } else { '?' });
    }
    name
}

/// The raw words of a temperature and a humidity that SGP40 and SGP41 take as parameters (SGP41 datasheet, `measure_raw_signals`).
pub(crate) fn ticks(celsius: f64, humidity: f64) -> [u16; 2] {
    // Float to integer conversions saturate; the clamp says what is meant.
    let word = |share: f64| (share.clamp(0.0, 1.0) * 65_535.0 + 0.5) as u16;
    [word(humidity / 100.0), word((celsius + 45.0) / 175.0)]
}
