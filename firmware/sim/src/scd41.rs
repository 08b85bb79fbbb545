//! An SCD41 on a bus of paper: takes the commands of the datasheet (v1.4, table of commands) and answers with words and
//! their checksums.

use crate::room::{Air, Source};
use crate::time::World;
use embedded_hal_async::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};
use std::cell::RefCell;
use std::rc::Rc;

/// The bus with the sensor on it. A clone is the same one.
#[derive(Clone, Debug)]
pub struct Scd41(Rc<RefCell<Chip>>);

/// What is wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ill {
    /// Nothing.
    #[default]
    Well,
    /// It is not plugged in.
    Unplugged,
    /// A bit in each answer is wrong.
    Noisy,
    /// Its checksums are right, and its numbers cannot be true.
    Lying,
    /// It says the same for ever.
    Frozen,
    /// It is never ready.
    Busy,
}

#[derive(Debug)]
struct Chip {
    world: World,
    source: Source,
    ill: Ill,
    /// Since when it measures.
    measuring: Option<i64>,
    /// When it last had a value that was fetched.
    fetched_ms: i64,
    last: Option<[u8; 9]>,
    answer: Vec<u8>,
}

impl Scd41 {
    /// A sensor that measures what a source says.
    pub fn new(world: World, source: Source) -> Self {
        Self(Rc::new(RefCell::new(Chip {
            world,
            source,
            ill: Ill::Well,
            measuring: None,
            fetched_ms: 0,
            last: None,
            answer: vec![],
        })))
    }

    /// Makes it ill, or well again.
    pub fn fall(&self, ill: Ill) {
        let mut chip = self.0.borrow_mut();
        chip.ill = ill;
        if ill == Ill::Unplugged {
            chip.measuring = None;
        }
    }

    /// Cuts its power for a moment.
    pub fn power_cut(&self) {
        let mut chip = self.0.borrow_mut();
        chip.measuring = None;
        chip.answer.clear();
    }
}

impl ErrorType for Scd41 {
    type Error = ErrorKind;
}

impl I2c for Scd41 {
    async fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
        let mut chip = self.0.borrow_mut();
        if address != ADDRESS || chip.ill == Ill::Unplugged {
            return Err(ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address));
        }
        for operation in operations {
            match operation {
                Operation::Write(bytes) => chip.command(bytes)?,
                Operation::Read(bytes) => chip.read(bytes)?,
            }
        }
        Ok(())
    }
}

impl Chip {
    fn command(&mut self, bytes: &[u8]) -> Result<(), ErrorKind> {
        let [high, low, argument @ ..] = bytes else { return Err(NOT_TAKEN) };
        if argument.chunks(3).any(|word| word.len() != 3 || crc8(&word[..2]) != word[2]) {
            return Err(NOT_TAKEN);
        }
        let command = u16::from_be_bytes([*high, *low]);
        self.answer.clear();
        match (command, self.measuring) {
            (STOP, _) => self.measuring = None,
            (READY, Some(_)) => self.answer = words(&[if self.is_ready() { 0x8006 } else { 0x8000 }]),
            (READ, Some(_)) if self.is_ready() => self.answer = self.measure().to_vec(),
            (PRESSURE, _) => {}
            // While it measures it takes nothing else.
            (_, Some(_)) => return Err(NOT_TAKEN),
            (START, None) => {
                self.measuring = Some(self.world.unix_ms());
                self.fetched_ms = self.world.unix_ms();
            }
            (SERIAL, None) => self.answer = words(&[0xf896, 0x9f07, 0x3bbe]),
            (VARIANT, None) => self.answer = words(&[0x1440]),
            (SELF_CALIBRATION | TARGET | ALTITUDE, None) => {}
            _ => return Err(NOT_TAKEN),
        }
        Ok(())
    }

    fn read(&mut self, out: &mut [u8]) -> Result<(), ErrorKind> {
        if out.len() > self.answer.len() {
            return Err(ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address));
        }
        for (to, from) in out.iter_mut().zip(self.answer.drain(..)) {
            *to = from;
        }
        if let (Ill::Noisy, Some(byte)) = (self.ill, out.first_mut()) {
            *byte ^= 0x10;
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.ill != Ill::Busy && self.world.unix_ms() - self.fetched_ms >= PERIOD_MS
    }

    fn measure(&mut self) -> [u8; 9] {
        self.fetched_ms = self.world.unix_ms();
        if self.ill == Ill::Lying {
            return words(&[u16::MAX; 3]).try_into().unwrap_or_default();
        }
        if let (Ill::Frozen, Some(last)) = (self.ill, self.last) {
            return last;
        }
        let measured = match &mut self.source {
            Source::Room(room) => measured(room.air(self.world.unix_ms())),
            Source::Recorded { answers, next } => {
                let answer = answers.get(*next).copied().unwrap_or_default();
                *next = (*next + 1) % answers.len().max(1);
                answer
            }
        };
        self.last = Some(measured);
        measured
    }
}

/// The nine bytes for some air (datasheet, `read_measurement`).
fn measured(air: Air) -> [u8; 9] {
    let raw = |share: f64| (share * 65_535.0).round().clamp(0.0, 65_535.0) as u16;
    let co2 = air.co2_ppm.round().clamp(0.0, 40_000.0) as u16;
    let all = words(&[co2, raw((air.temperature_c + 45.0) / 175.0), raw(air.humidity_pct / 100.0)]);
    all.try_into().unwrap_or_default()
}

/// Reads a recording: nine bytes in hexadecimal on each line, as `read_measurement` gave them.
///
/// # Errors
/// The number of the first line that is none.
pub fn recording(text: &str) -> Result<Source, usize> {
    let line = |(at, line): (usize, &str)| {
        let digits: String = line.chars().filter(|c| !c.is_whitespace()).collect();
        let byte = |at: usize| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..9).map(byte).collect();
        bytes.filter(|_| digits.len() == 18).and_then(|bytes| bytes.try_into().ok()).ok_or(at + 1)
    };
    let lines =
        text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let answers: Vec<[u8; 9]> = lines.map(line).collect::<Result<_, _>>()?;
    if answers.is_empty() { Err(1) } else { Ok(Source::Recorded { answers, next: 0 }) }
}

fn words(words: &[u16]) -> Vec<u8> {
    words
        .iter()
        .flat_map(|word| [word.to_be_bytes()[0], word.to_be_bytes()[1], crc8(&word.to_be_bytes())])
        .collect()
}

/// Datasheet, "Checksum calculation". Written apart from the driver's, which it is held against.
fn crc8(bytes: &[u8]) -> u8 {
    let mut crc = 0xff_u8;
    for byte in bytes {
        crc ^= byte;
        for _ in 0..8 {
            crc = (crc << 1) ^ (0x31 * (crc >> 7));
        }
    }
    crc
}

const NOT_TAKEN: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Data);
const ADDRESS: u8 = 0x62;
const START: u16 = 0x21b1;
const STOP: u16 = 0x3f86;
const READ: u16 = 0xec05;
const READY: u16 = 0xe4b8;
const PRESSURE: u16 = 0xe000;
const ALTITUDE: u16 = 0x2427;
const SELF_CALIBRATION: u16 = 0x2416;
const TARGET: u16 = 0x243a;
const SERIAL: u16 = 0x3682;
const VARIANT: u16 = 0x202f;
/// A value each five seconds.
const PERIOD_MS: i64 = 5_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_bytes_are_those_of_the_datasheet() {
        let air = Air { co2_ppm: 500.0, temperature_c: 25.0, humidity_pct: 37.0 };
        assert_eq!(measured(air), [0x01, 0xf4, 0x33, 0x66, 0x66, 0x93, 0x5e, 0xb8, 0x0d]);
        assert_eq!(words(&[0x01f4, 0x6667, 0x5eb9]), [0x01, 0xf4, 0x33, 0x66, 0x67, 0xa2, 0x5e, 0xb9, 0x3c]);
    }

    #[test]
    fn a_recording_is_read_or_refused_by_its_line() {
        let text = "# an example of the datasheet\n01f433 6667a2 5eb93c\n\n01f4336667a25eb93c\n";
        assert!(matches!(recording(text), Ok(Source::Recorded { answers, .. }) if answers.len() == 2));
        for (text, line) in [("", 1), ("01f433\n", 1), ("01f4336667a25eb93c\nzz\n", 2), ("äääääääää", 1)]
        {
            assert_eq!(recording(text).err(), Some(line), "{text:?}");
        }
    }
}
