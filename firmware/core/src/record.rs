//! One kept reading, its compact form on flash, and how it gets its time.
//!
//! The form is our own and versioned: a version byte, a byte of flags and state, then numbers of variable length
//! (LEB128). A value is a whole number and its count of decimals, so 22.4 °C is `224` with one decimal: no longer than
//! a 32-bit float, and it comes back as the number the sensor gave, not as 22.399999618530273. What that gives up is
//! every decimal beyond the precision of the metric. Custom quantities, whose precision nobody states, keep all 64
//! bits. A reading of CO2, temperature and humidity takes about 35 bytes.

use crate::Millis;
use casement_proto::{Quantity, Reading, ReadingTime, State};

/// Most quantities a device puts in one reading.
pub const SAMPLE_VALUES_MAX: usize = 16;

/// Most bytes of one encoded record.
pub const RECORD_BYTES_MAX: usize = 768;

/// Values of one reading, each quantity once, in the unit of its metric.
pub type Values = heapless::Vec<(Quantity, f64), SAMPLE_VALUES_MAX>;

/// A reading as it is kept. `boot` and `seq` name it for ever and are fixed before it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Which start of the device took it.
    pub boot: u64,
    /// Its number within that start.
    pub seq: u64,
    /// When it was taken, by the steady time of that start.
    pub uptime: Millis,
    /// When it was taken in milliseconds since 1970, if the clock was known by then.
    pub unix_ms: Option<i64>,
    /// How far to trust it.
    pub state: State,
    /// The values.
    pub values: Values,
}

/// What a device knows about time when it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// The present start.
    pub boot: u64,
    /// Steady time of the present start.
    pub now: Millis,
    /// Milliseconds since 1970 at which the present start began; `None` while the clock is unknown.
    pub started_unix_ms: Option<i64>,
}

/// What is known about the time of an earlier start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// It learned the clock later on: when it began, in milliseconds since 1970.
    Began(i64),
    /// It never learned the clock: the steady time of its last reading.
    Last(Millis),
}

impl Record {
    /// What this record tells about the time of its own start.
    pub fn anchor(&self) -> Anchor {
        match self.unix_ms {
            Some(unix_ms) => Anchor::Began(unix_ms.saturating_sub_unsigned(self.uptime.0)),
            None => Anchor::Last(self.uptime),
        }
    }

    /// The reading to send.
    ///
    /// With a time of its own it keeps that. Taken before the clock was known, its time follows from the steady time
    /// of its start. When that start never learned the clock, the reading is taken to be as young as it can be (its
    /// start's last reading is put at the moment the present start began), because sending it without a time would put
    /// hours of history on the moment of receipt; as this is a guess, an `ok` reading becomes `suspect`.
    pub fn reading(&self, timeline: &Timeline, anchor: Option<Anchor>) -> Reading {
        let uptime_ms = self.uptime.0;
        let (time, guessed) = match (self.unix_ms, anchor) {
            (Some(at), _) => (ReadingTime::At(at), false),
            (None, _) if self.boot == timeline.boot => (timeline.at(uptime_ms), false),
            (None, Some(Anchor::Began(began))) => {
                (ReadingTime::At(began.saturating_add_unsigned(uptime_ms)), false)
            }
            (None, Some(Anchor::Last(last))) => {
                (timeline.before_start(last.0.saturating_sub(uptime_ms)), true)
            }
            (None, None) => (timeline.before_start(0), true),
        };
        let mut reading = Reading::new(time);
        reading.seq = Some(self.seq);
        reading.state = if guessed && self.state == State::Ok { State::Suspect } else { self.state };
        for (quantity, value) in &self.values {
            reading = reading.with(*quantity, *value);
        }
        reading
    }

    /// Writes the record; gives the number of bytes, or `None` when they do not fit.
    pub fn encode(&self, bytes: &mut [u8]) -> Option<usize> {
        let mut out = Writer { bytes, len: 0 };
        let state = State::ALL.iter().position(|state| *state == self.state)?;
        out.byte(VERSION)?;
        out.byte(u8::try_from(state).ok()? | if self.unix_ms.is_some() { HAS_UNIX } else { 0 })?;
        out.number(self.boot)?;
        out.number(self.seq)?;
        out.number(self.uptime.0)?;
        if let Some(unix_ms) = self.unix_ms {
            out.signed(unix_ms)?;
        }
        out.byte(u8::try_from(self.values.len()).ok()?)?;
        for (quantity, value) in &self.values {
            out.value(quantity, *value)?;
        }
        Some(out.len)
    }

    /// Reads a record; `None` for anything [`Record::encode`] of a known version did not write.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Reader { bytes };
        if input.byte()? != VERSION {
            return None;
        }
        let flags = input.byte()?;
        let mut record = Self {
            state: *State::ALL.get(usize::from(flags & !HAS_UNIX))?,
            boot: input.number()?,
            seq: input.number()?,
            uptime: Millis(input.number()?),
            unix_ms: if flags & HAS_UNIX == 0 { None } else { Some(input.signed()?) },
            values: Values::new(),
        };
        for _ in 0..input.byte()? {
            record.values.push(input.value()?).ok()?;
        }
        input.bytes.is_empty().then_some(record)
    }
}

impl Timeline {
    /// A moment of the present start.
    fn at(&self, uptime_ms: u64) -> ReadingTime {
        match self.started_unix_ms {
            Some(started) => ReadingTime::At(started.saturating_add_unsigned(uptime_ms)),
            None => ReadingTime::Age(self.now.0.saturating_sub(uptime_ms)),
        }
    }

    /// A moment this long before the present start.
    fn before_start(&self, ms: u64) -> ReadingTime {
        match self.started_unix_ms {
            Some(started) => ReadingTime::At(started.saturating_sub_unsigned(ms)),
            None => ReadingTime::Age(self.now.0.saturating_add(ms)),
        }
    }
}

struct Writer<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn byte(&mut self, byte: u8) -> Option<()> {
        *self.bytes.get_mut(self.len)? = byte;
        self.len += 1;
        Some(())
    }

    fn slice(&mut self, bytes: &[u8]) -> Option<()> {
        bytes.iter().try_for_each(|byte| self.byte(*byte))
    }

    fn number(&mut self, mut number: u64) -> Option<()> {
        while number >= 0x80 {
            self.byte(u8::try_from(number & 0x7f).ok()? | 0x80)?;
            number >>= 7;
        }
        self.byte(u8::try_from(number).ok()?)
    }

    fn signed(&mut self, number: i64) -> Option<()> {
        self.number((number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned())
    }

    fn value(&mut self, quantity: &Quantity, value: f64) -> Option<()> {
        let name = quantity.name();
        match CODES.iter().position(|code| *code == name) {
            Some(code) => self.byte(u8::try_from(code).ok()?)?,
            None => {
                self.byte(u8::try_from(name.len()).ok()? | IS_NAME)?;
                self.slice(name.as_bytes())?;
            }
        }
        match quantity {
            Quantity::Known(metric) if value.abs() < SCALED_MAX => {
                let scaled = value * power(metric.precision)?;
                self.byte(metric.precision)?;
                // `as` cannot overflow here: SCALED_MAX times the largest power is below 2^63.
                self.signed((scaled + if scaled < 0.0 { -0.5 } else { 0.5 }) as i64)
            }
            Quantity::Known(_) | Quantity::Custom(_) => {
                self.byte(IS_FLOAT)?;
                self.slice(&value.to_le_bytes())
            }
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part {
                return None;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    fn value(&mut self) -> Option<(Quantity, f64)> {
        let code = self.byte()?;
        let quantity = if code & IS_NAME == 0 {
            Quantity::parse(CODES.get(usize::from(code))?)?
        } else {
            let (name, rest) = self.bytes.split_at_checked(usize::from(code & !IS_NAME))?;
            self.bytes = rest;
            Quantity::parse(core::str::from_utf8(name).ok()?)?
        };
        let decimals = self.byte()?;
        if decimals == IS_FLOAT {
            let (float, rest) = self.bytes.split_first_chunk()?;
            self.bytes = rest;
            return Some((quantity, f64::from_le_bytes(*float)));
        }
        // Whole numbers this small are exact in 64-bit floats, so the division gives the nearest decimal.
        Some((quantity, self.signed()? as f64 / power(decimals)?))
    }
}

fn power(decimals: u8) -> Option<f64> {
    [1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0].get(usize::from(decimals)).copied()
}

const VERSION: u8 = 1;
const HAS_UNIX: u8 = 0x80;
const IS_NAME: u8 = 0x80;
const IS_FLOAT: u8 = 0xff;
const SCALED_MAX: f64 = 1e9;

/// Short numbers for common quantities. Only ever append: the numbers are on flash. A quantity that is not here is
/// kept under its name, so a new one needs no line.
static CODES: &[&str] = &[
    "co2",
    "eco2",
    "tvoc",
    "temperature",
    "humidity",
    "pressure",
    "pm1",
    "pm2_5",
    "pm4",
    "pm10",
    "voc_index",
    "nox_index",
    "illuminance",
    "noise",
    "formaldehyde",
    "radon",
    "battery",
    "rssi",
];

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn record(boot: u64, seq: u64, uptime_ms: u64, unix_ms: Option<i64>) -> Record {
        let mut values = Values::new();
        for (name, value) in [("co2", 812.0), ("temperature", 22.41), ("humidity", 41.07)] {
            values.push((Quantity::parse(name).unwrap(), value)).unwrap();
        }
        Record { boot, seq, uptime: Millis(uptime_ms), unix_ms, state: State::Ok, values }
    }

    fn round_trip(record: &Record) -> (usize, Option<Record>) {
        let mut bytes = [0; RECORD_BYTES_MAX];
        let len = record.encode(&mut bytes).unwrap();
        (len, Record::decode(&bytes[..len]))
    }

    #[test]
    fn a_usual_record_is_small_and_exact() {
        let record = record(1_795_000_000, 17_280, 86_400_000, Some(1_795_086_400_000));
        let (len, back) = round_trip(&record);
        assert_eq!(back, Some(record));
        assert!(len <= 40, "{len}");
    }

    #[test]
    fn the_largest_record_fits() {
        let mut record = record(u64::MAX, u64::MAX, u64::MAX, Some(i64::MIN));
        record.values.clear();
        for i in 0..SAMPLE_VALUES_MAX {
            let name = std::format!("abcdefghijklmnopqrstuvwxyz_0123{}", char::from(b'a' + i as u8));
            record.values.push((Quantity::parse(&name).unwrap(), f64::MIN_POSITIVE)).unwrap();
        }
        let (len, back) = round_trip(&record);
        assert_eq!(back, Some(record));
        assert!(len <= RECORD_BYTES_MAX, "{len}");
    }

    #[test]
    fn codes_on_flash_never_move() {
        assert_eq!((CODES[0], CODES[1], CODES[3], CODES[17]), ("co2", "eco2", "temperature", "rssi"));
        assert!(CODES.iter().all(|name| casement_proto::metric::find(name).is_some()));
    }

    #[test]
    fn a_reading_gets_the_best_time_that_is_known() {
        let clock = Timeline { boot: 2, now: Millis(60_000), started_unix_ms: Some(1_000_000) };
        let none = Timeline { started_unix_ms: None, ..clock };
        let at = ReadingTime::At;
        for (boot, unix_ms, timeline, anchor, time, state) in [
            (2, Some(5_000), clock, None, at(5_000), State::Ok),
            (2, Some(5_000), none, None, at(5_000), State::Ok),
            (2, None, clock, None, at(1_010_000), State::Ok),
            (2, None, none, None, ReadingTime::Age(50_000), State::Ok),
            // The earlier start learned the clock after this reading.
            (1, None, clock, Some(Anchor::Began(400_000)), at(410_000), State::Ok),
            (1, None, none, Some(Anchor::Began(400_000)), at(410_000), State::Ok),
            // It never did: at least as old as the present start, in step with its siblings.
            (1, None, clock, Some(Anchor::Last(Millis(30_000))), at(980_000), State::Suspect),
            (1, None, none, Some(Anchor::Last(Millis(30_000))), ReadingTime::Age(80_000), State::Suspect),
        ] {
            let reading = record(boot, 7, 10_000, unix_ms).reading(&timeline, anchor);
            assert_eq!((reading.time, reading.state), (time, state), "{boot} {unix_ms:?} {anchor:?}");
            assert_eq!(reading.seq, Some(7));
        }
    }

    proptest! {
        #[test]
        fn bytes_from_anywhere_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(record) = Record::decode(&bytes) {
                let _ = record.reading(&Timeline { boot: 0, now: Millis(0), started_unix_ms: None }, None);
            }
        }

        #[test]
        fn a_shortened_record_is_no_record(cut in 0_usize..30) {
            let mut bytes = [0; RECORD_BYTES_MAX];
            let len = record(3, 4, 5, None).encode(&mut bytes).unwrap();
            prop_assert_eq!(Record::decode(&bytes[..cut.min(len - 1)]), None);
        }

        #[test]
        fn every_record_reads_back(boot: u64, seq: u64, uptime: u64, unix: Option<i64>, state in 0_usize..6,
            co2 in 0_u32..40_000, custom: f64) {
            prop_assume!(!custom.is_nan());
            let mut record = record(boot, seq, uptime, unix);
            record.state = State::ALL[state];
            record.values[0].1 = f64::from(co2);
            record.values.push((Quantity::parse("my_own").unwrap(), custom)).unwrap();
            prop_assert_eq!(round_trip(&record).1, Some(record));
        }
    }
}
