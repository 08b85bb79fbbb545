//! Bytes from outside → readings. Nothing here panics, recurses without a limit or allocates in proportion to a
//! number that the sender merely claims.

use crate::metric::Quantity;
use crate::reading::{Reading, ReadingTime, State};
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// What a batch says beside its readings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Number of the boot that the sequence numbers belong to.
    pub boot: Option<u64>,
    /// How long the device had been running when it sent the batch, in milliseconds.
    pub uptime_ms: Option<u64>,
    /// The device that the batch says it is from, where it says so.
    pub device: Option<String>,
    /// Readings name more than one device.
    pub mixed_devices: bool,
    /// How the device says it is.
    pub health: Option<HealthReport>,
}

/// [`DeviceHealth`](super::DeviceHealth) as it arrived. What is missing, of another type or longer than 64 bytes is
/// `None`: a device that says something odd about itself still has its readings stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct HealthReport {
    /// Version of the firmware.
    pub firmware: Option<String>,
    /// The board's name.
    pub board: Option<String>,
    /// Why it started last.
    pub reset: Option<String>,
    /// How long it has been running, in seconds.
    pub uptime_s: Option<u64>,
    /// Free heap in bytes.
    pub heap_free: Option<u64>,
    /// Least free heap since it started, in bytes.
    pub heap_free_min: Option<u64>,
    /// Signal of the network in dBm.
    pub rssi: Option<i16>,
    /// Readings that wait.
    pub queued: Option<u64>,
    /// Readings given up since it started.
    pub dropped: Option<u64>,
    /// Samples that the sensors did not give, since it started.
    pub faults: Option<u64>,
    /// Uploads that failed since it started.
    pub uploads_failed: Option<u64>,
    /// Times the radio was built up again since it started.
    pub radio_restarts: Option<u64>,
    /// How an update goes.
    pub update: Option<String>,
    /// What is wrong, as a word for programs.
    pub trouble: Option<String>,
}

impl HealthReport {
    fn take(&mut self, name: &str, value: &Scalar) {
        let text = || value.text().map(ToString::to_string);
        match name {
            "firmware" => self.firmware = text(),
            "board" => self.board = text(),
            "reset" => self.reset = text(),
            "uptime_s" => self.uptime_s = value.whole(),
            "heap_free" => self.heap_free = value.whole(),
            "heap_free_min" => self.heap_free_min = value.whole(),
            "rssi" => {
                // `as` is exact: the range and the fraction were looked at.
                let dbm = value.number().filter(|dbm| (-200.0..=0.0).contains(dbm) && dbm % 1.0 == 0.0);
                self.rssi = dbm.map(|dbm| dbm as i16);
            }
            "queued" => self.queued = value.whole(),
            "dropped" => self.dropped = value.whole(),
            "faults" => self.faults = value.whole(),
            "uploads_failed" => self.uploads_failed = value.whole(),
            "radio_restarts" => self.radio_restarts = value.whole(),
            "update" => self.update = text(),
            "trouble" => self.trouble = text(),
            // Later devices may say more than this gateway knows.
            _ => {}
        }
    }
}

/// A batch that cannot be read at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Not JSON or CBOR, or not the shape of a batch.
    Unreadable {
        /// What was found where, for people.
        detail: String,
    },
    /// More readings than allowed.
    TooMany {
        /// The limit.
        max: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { detail } => write!(f, "the batch cannot be read: {detail}"),
            Self::TooMany { max } => write!(f, "the batch holds more than {max} readings; send it in parts"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// Why a reading will never be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectCode {
    /// A value that cannot be true for its metric.
    OutOfRange,
    /// NaN or an infinity.
    NotFinite,
    /// Not a number where a number belongs, or not an object where a reading belongs.
    WrongType,
    /// A name outside `[a-z][a-z0-9_]{0,31}`.
    BadName,
    /// A time that is neither RFC 3339 nor a number of milliseconds.
    BadTime,
    /// A state that does not exist.
    BadState,
    /// A sequence number that is negative, fractional or above 2^63-1.
    BadSeq,
    /// More than [`crate::reading::VALUES_MAX`] values.
    TooManyValues,
    /// The same metric twice.
    Repeated,
    /// No value at all.
    Empty,
}

impl RejectCode {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutOfRange => "out_of_range",
            Self::NotFinite => "not_finite",
            Self::WrongType => "wrong_type",
            Self::BadName => "bad_name",
            Self::BadTime => "bad_time",
            Self::BadState => "bad_state",
            Self::BadSeq => "bad_seq",
            Self::TooManyValues => "too_many_values",
            Self::Repeated => "repeated",
            Self::Empty => "empty",
        }
    }
}

/// A reading that will never be accepted, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// For programs.
    pub code: RejectCode,
    /// For people.
    pub detail: String,
}

/// Reads a JSON batch. `sink` gets every reading with its index, in order, at once: nothing is collected here.
///
/// # Errors
/// [`DecodeError`]; readings given to `sink` before the error count for nothing.
pub fn decode_json(
    bytes: &[u8],
    readings_max: usize,
    sink: &mut dyn FnMut(usize, Result<Reading, Reject>),
) -> Result<Header, DecodeError> {
    let mut batch = BatchSeed { readings_max, too_many: false, header: Header::default(), sink };
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let outcome = (&mut batch).deserialize(&mut json).and_then(|()| json.end());
    batch.finish(outcome.map_err(|error| error.to_string()))
}

/// Reads a CBOR batch; otherwise like [`decode_json`].
///
/// # Errors
/// [`DecodeError`]; readings given to `sink` before the error count for nothing.
pub fn decode_cbor(
    bytes: &[u8],
    readings_max: usize,
    sink: &mut dyn FnMut(usize, Result<Reading, Reject>),
) -> Result<Header, DecodeError> {
    let mut batch = BatchSeed { readings_max, too_many: false, header: Header::default(), sink };
    let mut cbor = minicbor_serde::Deserializer::new(bytes);
    let outcome = (&mut batch).deserialize(&mut cbor).map_err(|error| error.to_string());
    let rest = bytes.len().saturating_sub(cbor.decoder().position());
    batch.finish(match outcome {
        Ok(()) if rest > 0 => Err(format!("{rest} bytes follow the batch")),
        other => other,
    })
}

struct BatchSeed<'a> {
    readings_max: usize,
    too_many: bool,
    header: Header,
    sink: &'a mut dyn FnMut(usize, Result<Reading, Reject>),
}

impl BatchSeed<'_> {
    fn finish(self, outcome: Result<(), String>) -> Result<Header, DecodeError> {
        match outcome {
            Ok(()) => Ok(self.header),
            Err(_) if self.too_many => Err(DecodeError::TooMany { max: self.readings_max }),
            Err(detail) => Err(DecodeError::Unreadable { detail }),
        }
    }

    fn says_device(&mut self, named: &Scalar) {
        let Scalar::Text(named) = named else {
            self.header.mixed_devices = true;
            return;
        };
        match &self.header.device {
            None => self.header.device = Some(named.as_str().to_string()),
            Some(first) if first.as_str() == named.as_str() => {}
            Some(_) => self.header.mixed_devices = true,
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut BatchSeed<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut BatchSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a list named \"readings\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen_readings = false;
        while let Some(key) = map.next_key_seed(ScalarSeed)? {
            match key.text() {
                Some(name @ ("boot" | "uptime_ms")) => {
                    let uptime = name == "uptime_ms";
                    let said = match map.next_value_seed(ScalarSeed)? {
                        Scalar::Null => None,
                        other => Some(other.whole().ok_or_else(|| {
                            A::Error::custom(if uptime {
                                "uptime_ms must be a whole number from 0 to 2^63-1"
                            } else {
                                "boot must be a whole number from 0 to 2^63-1"
                            })
                        })?),
                    };
                    *(if uptime { &mut self.header.uptime_ms } else { &mut self.header.boot }) = said;
                }
                Some("device") => {
                    let named = map.next_value_seed(ScalarSeed)?;
                    self.says_device(&named);
                }
                Some("health") => self.header.health = map.next_value_seed(HealthSeed)?,
                Some("readings") if seen_readings => return Err(A::Error::duplicate_field("readings")),
                Some("readings") => {
                    seen_readings = true;
                    map.next_value_seed(ReadingsSeed(self))?;
                }
                // Later devices may say more than this gateway knows.
                Some(_) => {
                    map.next_value_seed(Skip(0))?;
                }
                None => return Err(A::Error::custom("keys must be text")),
            }
        }
        if seen_readings { Ok(()) } else { Err(A::Error::missing_field("readings")) }
    }
}

/// Reads how a device is; `None` for anything that is not an object.
struct HealthSeed;

impl<'de> DeserializeSeed<'de> for HealthSeed {
    type Value = Option<HealthReport>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// What a visitor of an object makes of anything that is none; a list has other words.
macro_rules! not_an_object {
    ($made:expr) => {
        not_an_object!(
            $made,
            visit_bool(bool),
            visit_i64(i64),
            visit_i128(i128),
            visit_u64(u64),
            visit_u128(u128),
            visit_f64(f64),
            visit_str(&str),
            visit_bytes(&[u8]),
            visit_none(),
            visit_unit(),
        );
    };
    ($made:expr, $($visit:ident($($type:ty)?)),* $(,)?) => {
        $(fn $visit<E: serde::de::Error>(self $(, _: $type)?) -> Result<Self::Value, E> {
            Ok($made)
        })*
    };
}

impl<'de> Visitor<'de> for HealthSeed {
    type Value = Option<HealthReport>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("how the device is")
    }

    // It says nothing.
    not_an_object!(None);

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element_seed(Skip(0))?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut report = HealthReport::default();
        while let Some(key) = map.next_key_seed(ScalarSeed)? {
            let value = map.next_value_seed(ScalarSeed)?;
            report.take(key.text().unwrap_or_default(), &value);
        }
        Ok(Some(report))
    }
}

struct ReadingsSeed<'a, 'b>(&'a mut BatchSeed<'b>);

impl<'de> DeserializeSeed<'de> for ReadingsSeed<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ReadingsSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of readings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(found) = seq.next_element_seed(ReadingSeed(&mut *self.0))? {
            if index == self.0.readings_max {
                self.0.too_many = true;
                return Err(A::Error::custom("too many readings"));
            }
            (self.0.sink)(index, found);
            index += 1;
        }
        Ok(())
    }
}

struct ReadingSeed<'a, 'b>(&'a mut BatchSeed<'b>);

impl<'de> DeserializeSeed<'de> for ReadingSeed<'_, '_> {
    type Value = Result<Reading, Reject>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ReadingSeed<'_, '_> {
    type Value = Result<Reading, Reject>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a reading")
    }

    // It is one bad reading, not an unreadable batch.
    not_an_object!(Err(reject(RejectCode::WrongType, "a reading must be an object".to_string())));

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element_seed(Skip(0))?.is_some() {}
        Ok(Err(reject(RejectCode::WrongType, "a reading must be an object, not a list".to_string())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut reading = Reading::new(ReadingTime::Receipt);
        let mut refused = None;
        // The whole object is read even after a refusal, so that the next reading starts at the right byte.
        while let Some(key) = map.next_key_seed(ScalarSeed)? {
            let value = map.next_value_seed(ScalarSeed)?;
            let outcome = match key.text() {
                Some("device") => {
                    self.0.says_device(&value);
                    Ok(())
                }
                Some(name) => take(&mut reading, name, &value),
                None => {
                    Err(reject(RejectCode::BadName, "a name must be text of at most 64 bytes".to_string()))
                }
            };
            if let Err(why) = outcome {
                refused.get_or_insert(why);
            }
        }
        if let Some(why) = refused {
            return Ok(Err(why));
        }
        if reading.values.is_empty() && reading.state == State::Ok {
            return Ok(Err(reject(RejectCode::Empty, "a reading needs at least one value".to_string())));
        }
        Ok(Ok(reading))
    }
}

fn reject(code: RejectCode, detail: String) -> Reject {
    Reject { code, detail }
}

fn take(reading: &mut Reading, name: &str, value: &Scalar) -> Result<(), Reject> {
    match name {
        "seq" => {
            reading.seq = match value {
                Scalar::Null => None,
                other => Some(other.whole().ok_or_else(|| {
                    reject(RejectCode::BadSeq, "seq must be a whole number from 0 to 2^63-1".to_string())
                })?),
            }
        }
        "time" => {
            if let Some(time) = moment(value)? {
                reading.time = time;
            }
        }
        "age_ms" => match value {
            Scalar::Null => {}
            // An explicit time is better than an age.
            _ if matches!(reading.time, ReadingTime::At(_)) => {}
            other => {
                let age = other.number().filter(|age| age.is_finite() && *age >= 0.0).ok_or_else(|| {
                    reject(RejectCode::BadTime, "age_ms must be a number of milliseconds from 0".to_string())
                })?;
                // `as` saturates, and an age beyond any clock is dealt with where times are judged.
                reading.time = ReadingTime::Age(age as u64);
            }
        },
        "state" => match value {
            Scalar::Null => {}
            other => {
                reading.state = other.text().and_then(State::parse).ok_or_else(|| {
                    let known = State::ALL.map(State::as_str).join(", ");
                    reject(RejectCode::BadState, format!("state must be one of {known}"))
                })?;
            }
        },
        _ => return take_value(reading, name, value),
    }
    Ok(())
}

fn take_value(reading: &mut Reading, name: &str, value: &Scalar) -> Result<(), Reject> {
    let quantity = Quantity::parse(name).ok_or_else(|| {
        reject(RejectCode::BadName, format!("\"{name}\" is not a metric name: [a-z][a-z0-9_]{{0,31}}"))
    })?;
    // A sensor that is missing sends null: there is nothing to store and nothing to refuse.
    if matches!(value, Scalar::Null) {
        return Ok(());
    }
    let number =
        value.number().ok_or_else(|| reject(RejectCode::WrongType, format!("{name} must be a number")))?;
    if !number.is_finite() {
        return Err(reject(RejectCode::NotFinite, format!("{name} is not a finite number")));
    }
    if !quantity.holds(number) {
        let range = match quantity {
            Quantity::Known(m) => format!("{name} {number} is outside {} to {} {}", m.min, m.max, m.unit),
            Quantity::Custom(_) => format!("{name} {number} cannot be true"),
        };
        return Err(reject(RejectCode::OutOfRange, range));
    }
    if reading.values.iter().any(|(other, _)| *other == quantity) {
        return Err(reject(RejectCode::Repeated, format!("{name} is there twice")));
    }
    reading.values.push((quantity, number)).map_err(|_| {
        let max = crate::reading::VALUES_MAX;
        reject(RejectCode::TooManyValues, format!("a reading holds at most {max} values"))
    })
}

fn moment(value: &Scalar) -> Result<Option<ReadingTime>, Reject> {
    let bad = || {
        reject(RejectCode::BadTime, "time must be RFC 3339 with an offset, or unix milliseconds".to_string())
    };
    match value {
        Scalar::Null => Ok(None),
        Scalar::Text(text) => {
            let instant: jiff::Timestamp = text.parse().map_err(|_| bad())?;
            Ok(Some(ReadingTime::At(instant.as_millisecond())))
        }
        // `as` saturates: what is too far away is judged later, with the clock at hand.
        other => match other.number() {
            Some(number) if number.is_finite() => Ok(Some(ReadingTime::At(number as i64))),
            _ => Err(bad()),
        },
    }
}

/// Longest text that means anything inside a reading, in bytes.
const TEXT_BYTES_MAX: usize = 64;

/// One JSON or CBOR item, as far as a reading cares.
enum Scalar {
    Null,
    Whole(u64),
    Number(f64),
    Text(heapless::String<TEXT_BYTES_MAX>),
    /// A list, an object, a boolean, bytes or a text that is too long.
    Other,
}

impl Scalar {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Whole(_) | Self::Number(_) | Self::Other => None,
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Whole(number) => Some(*number as f64),
            Self::Number(number) => Some(*number),
            Self::Null | Self::Text(_) | Self::Other => None,
        }
    }

    fn whole(&self) -> Option<u64> {
        const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
        match self {
            Self::Whole(number) => i64::try_from(*number).is_ok().then_some(*number),
            // Some encoders have only floats.
            Self::Number(number) if (0.0..EXACT_MAX).contains(number) => {
                let whole = *number as u64;
                ((whole as f64).to_bits() == number.to_bits()).then_some(whole)
            }
            Self::Null | Self::Number(_) | Self::Text(_) | Self::Other => None,
        }
    }
}

struct ScalarSeed;

impl<'de> DeserializeSeed<'de> for ScalarSeed {
    type Value = Scalar;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Scalar, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ScalarSeed {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
        Ok(u64::try_from(number).map_or(Scalar::Number(number as f64), Scalar::Whole))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar::Whole(number))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Scalar, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Scalar, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        Ok(heapless::String::try_from(text).map_or(Scalar::Other, Scalar::Text))
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_none<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Null)
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Scalar, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Scalar, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
        while seq.next_element_seed(Skip(0))?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry_seed(Skip(0), Skip(0))?.is_some() {}
        Ok(Scalar::Other)
    }
}

/// Deepest nesting of what is skipped. A batch itself is three levels deep.
const NESTING_MAX: u8 = 16;

/// Passes over an item of no interest, which lies this many levels inside another such item.
struct Skip(u8);

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.0 == NESTING_MAX {
            return Err(D::Error::custom("nested too deeply"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    not_an_object!(());

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Skip(self.0 + 1))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry_seed(Skip(self.0 + 1), Skip(self.0 + 1))?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Batch, READINGS_MAX, encode_cbor, encode_json};
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    type Found = Vec<Result<Reading, Reject>>;
    type Decoder =
        fn(&[u8], usize, &mut dyn FnMut(usize, Result<Reading, Reject>)) -> Result<Header, DecodeError>;

    fn run(decoder: Decoder, bytes: &[u8]) -> Result<(Header, Found), DecodeError> {
        let mut found = Vec::new();
        let header = decoder(bytes, READINGS_MAX, &mut |index, reading| {
            assert_eq!(index, found.len());
            found.push(reading);
        })?;
        Ok((header, found))
    }

    fn json(text: &str) -> Result<(Header, Found), DecodeError> {
        run(decode_json, text.as_bytes())
    }

    fn only(text: &str) -> Result<Reading, RejectCode> {
        let (_, mut found) = json(&format!(r#"{{"readings":[{text}]}}"#)).unwrap();
        assert_eq!(found.len(), 1);
        found.remove(0).map_err(|reject| reject.code)
    }

    #[test]
    fn the_contract_s_example_is_read() {
        let (header, found) = json(
            r#"{"boot":17,"readings":[
                {"seq":1041,"time":"2026-11-22T10:00:00Z","co2":812,"temperature":22.4,"humidity":41.0},
                {"seq":1042,"age_ms":1200,"co2":815,"state":"ok"}]}"#,
        )
        .unwrap();
        assert_eq!(header, Header { boot: Some(17), ..Header::default() });
        let first = found[0].as_ref().unwrap();
        assert_eq!((first.seq, first.time), (Some(1041), ReadingTime::At(1_795_341_600_000)));
        assert_eq!(first.value("temperature"), Some(22.4));
        assert_eq!(found[1].as_ref().unwrap().time, ReadingTime::Age(1200));
    }

    #[test]
    fn whatever_a_device_says_of_itself_its_readings_count() {
        let long = "x".repeat(65);
        for (health, expected) in [
            ("null", None),
            ("7", None),
            (r#""well""#, None),
            (r#"[{"firmware":"1.0.0"}]"#, None),
            ("{}", Some(HealthReport::default())),
            (
                r#"{"firmware":"1.0.0","rssi":-61,"heap_free":1e5,"later":{"a":[1]}}"#,
                Some(HealthReport {
                    firmware: Some("1.0.0".to_string()),
                    rssi: Some(-61),
                    heap_free: Some(100_000),
                    ..HealthReport::default()
                }),
            ),
            (
                r#"{"firmware":1,"rssi":-1000,"queued":-1,"uptime_s":0.5,"trouble":{},"update":null,"board":"LONG"}"#,
                Some(HealthReport::default()),
            ),
            (
                r#"{"rssi":1e300,"heap_free":1e300,"dropped":99999999999999999999}"#,
                Some(HealthReport::default()),
            ),
        ] {
            let health = health.replace("LONG", &long);
            let (header, found) =
                json(&format!(r#"{{"health":{health},"readings":[{{"co2":1}}]}}"#)).unwrap();
            assert_eq!((header.health, found.len()), (expected, 1), "{health}");
            assert!(found[0].is_ok());
        }
        let deep = format!(r#"{{"health":{}{},"readings":[]}}"#, "[".repeat(100), "]".repeat(100));
        assert!(json(&deep).is_err());
    }

    #[test]
    fn one_bad_reading_does_not_take_the_others_with_it() {
        for (text, code) in [
            (r#"{"co2":40001}"#, RejectCode::OutOfRange),
            (r#"{"co2":"812"}"#, RejectCode::WrongType),
            (r#"{"co2":[1]}"#, RejectCode::WrongType),
            (r#"{"co2":true}"#, RejectCode::WrongType),
            (r#"7"#, RejectCode::WrongType),
            (r#"null"#, RejectCode::WrongType),
            (r#"[{"co2":1}]"#, RejectCode::WrongType),
            (r#"{"CO2":1}"#, RejectCode::BadName),
            (r#"{"co2":1,"time":"yesterday"}"#, RejectCode::BadTime),
            (r#"{"co2":1,"time":"2026-11-22T10:00:00"}"#, RejectCode::BadTime),
            (r#"{"co2":1,"age_ms":-1}"#, RejectCode::BadTime),
            (r#"{"co2":1,"state":"fine"}"#, RejectCode::BadState),
            (r#"{"co2":1,"seq":-1}"#, RejectCode::BadSeq),
            (r#"{"co2":1,"seq":1.5}"#, RejectCode::BadSeq),
            (r#"{"co2":1,"seq":9223372036854775808}"#, RejectCode::BadSeq),
            (r#"{"co2":1,"co2":2}"#, RejectCode::Repeated),
            (r#"{"seq":1}"#, RejectCode::Empty),
            (r#"{"co2":null}"#, RejectCode::Empty),
        ] {
            assert_eq!(only(text), Err(code), "{text}");
            let (_, found) = json(&format!(r#"{{"readings":[{{"co2":1}},{text},{{"co2":3}}]}}"#)).unwrap();
            assert_eq!(found.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true], "{text}");
        }
    }

    #[test]
    fn what_a_device_may_say_is_taken() {
        assert_eq!(only(r#"{"co2":812,"temperature":null}"#).unwrap().values.len(), 1);
        assert_eq!(only(r#"{"state":"failed"}"#).unwrap().state, State::Failed);
        assert_eq!(only(r#"{"my_thing":-5e20}"#).unwrap().value("my_thing"), Some(-5e20));
        assert_eq!(only(r#"{"co2":1,"time":1e300}"#).unwrap().time, ReadingTime::At(i64::MAX));
        assert_eq!(only(r#"{"co2":1,"age_ms":5,"time":7}"#).unwrap().time, ReadingTime::At(7));
        assert_eq!(only(r#"{"co2":1,"time":7,"age_ms":5}"#).unwrap().time, ReadingTime::At(7));
        assert_eq!(only(r#"{"co2":1,"seq":3.0}"#).unwrap().seq, Some(3));
    }

    #[test]
    fn too_many_values_in_a_reading_refuse_that_reading() {
        let many = (0..40).map(|i| format!("\"m{i}\":{i}")).collect::<Vec<_>>().join(",");
        assert_eq!(only(&format!("{{{many}}}")), Err(RejectCode::TooManyValues));
    }

    #[test]
    fn an_unreadable_batch_says_where() {
        for text in
            ["", "{", "[]", "null", "{}", r#"{"readings":{}}"#, r#"{"readings":[{]}"#, r#"{"readings":[]} x"#]
        {
            assert!(matches!(json(text), Err(DecodeError::Unreadable { .. })), "{text}");
        }
        let Err(DecodeError::Unreadable { detail }) = json("{\n\"readings\": [nope]}") else { panic!() };
        assert!(detail.contains("line 2"), "{detail}");
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_stack_overflow() {
        let deep = format!(r#"{{"readings":[{{"co2":{}1{}}}]}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(matches!(json(&deep), Err(DecodeError::Unreadable { .. })));
        let mut cbor = vec![0xa1, 0x68];
        cbor.extend(b"readings");
        cbor.extend(core::iter::repeat_n(0x81u8, 1_000_000));
        assert!(matches!(run(decode_cbor, &cbor), Err(DecodeError::Unreadable { .. })));
        let mut indefinite = cbor.clone();
        indefinite.truncate(10);
        indefinite.extend(core::iter::repeat_n(0x9fu8, 1_000_000));
        assert!(matches!(run(decode_cbor, &indefinite), Err(DecodeError::Unreadable { .. })));
        let ignored = [&[0xa1, 0x61, b'x'][..], &vec![0x81u8; 100_000]].concat();
        assert!(matches!(run(decode_cbor, &ignored), Err(DecodeError::Unreadable { .. })));
    }

    #[test]
    fn more_readings_than_allowed_are_too_many() {
        let batch = |n: usize| format!(r#"{{"readings":[{}]}}"#, vec![r#"{"co2":1}"#; n].join(","));
        assert_eq!(json(&batch(READINGS_MAX)).unwrap().1.len(), READINGS_MAX);
        assert_eq!(json(&batch(READINGS_MAX + 1)), Err(DecodeError::TooMany { max: READINGS_MAX }));
    }

    #[test]
    fn not_a_number_in_cbor_refuses_the_reading() {
        // {"readings": [{"co2": NaN}, {"co2": Infinity}]} with half-precision floats
        let bytes = [
            &[0xa1, 0x68][..],
            b"readings",
            &[0x82, 0xa1, 0x63],
            b"co2",
            &[0xf9, 0x7e, 0x00, 0xa1, 0x63],
            b"co2",
            &[0xf9, 0x7c, 0x00],
        ]
        .concat();
        let (_, found) = run(decode_cbor, &bytes).unwrap();
        assert!(found.iter().all(|r| r.as_ref().unwrap_err().code == RejectCode::NotFinite), "{found:?}");
    }

    #[test]
    fn a_batch_that_names_two_devices_is_marked() {
        let (header, _) = json(r#"{"device":"a","readings":[{"device":"a","co2":1}]}"#).unwrap();
        assert_eq!((header.device.as_deref(), header.mixed_devices), (Some("a"), false));
        assert!(
            json(r#"{"readings":[{"device":"a","co2":1},{"device":"b","co2":1}]}"#).unwrap().0.mixed_devices
        );
        assert!(json(r#"{"device":5,"readings":[]}"#).unwrap().0.mixed_devices);
    }

    fn readings() -> impl Strategy<Value = Vec<Reading>> {
        let time = prop_oneof![
            any::<i32>().prop_map(|t| ReadingTime::At(i64::from(t) * 1000)),
            any::<u32>().prop_map(|a| ReadingTime::Age(a.into())),
            Just(ReadingTime::Receipt),
        ];
        let value = prop_oneof![
            (0.0..40_000.0f64).prop_map(|v| ("co2", v)),
            (-60.0..125.0f64).prop_map(|v| ("temperature", v)),
            any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(|v| ("my_own", v)),
        ];
        let reading = (
            proptest::option::of(0..i64::MAX as u64),
            time,
            proptest::sample::select(State::ALL.to_vec()),
            proptest::collection::vec(value, 1..4),
        )
            .prop_map(|(seq, time, state, values)| {
                let mut reading = Reading { seq, time, state, values: heapless::Vec::new() };
                for (name, value) in values {
                    if reading.value(name).is_none() {
                        reading = reading.with(Quantity::parse(name).unwrap(), value);
                    }
                }
                reading
            });
        proptest::collection::vec(reading, 0..8)
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_unchanged(
            boot in proptest::option::of(0..i64::MAX as u64), sent in readings(), healthy in any::<bool>()
        ) {
            let mut out = vec![0; 16_384];
            let health = crate::wire::DeviceHealth {
                firmware: "1.0.0", rssi: Some(-60), queued: 7, update: Some("trying 1.0.0"), ..Default::default()
            };
            let batch = Batch { boot, readings: &sent, health: healthy.then_some(&health) };
            for (encode, decoder) in [
                (encode_json as fn(&Batch<'_>, &mut [u8]) -> Result<usize, _>, decode_json as Decoder),
                (encode_cbor, decode_cbor),
            ] {
                let len = encode(&batch, &mut out).unwrap();
                let (header, found) = run(decoder, &out[..len]).unwrap();
                prop_assert_eq!(header.boot, boot);
                let said = header.health.map(|said| (said.firmware, said.rssi, said.queued, said.update));
                let told = (Some("1.0.0".to_string()), Some(-60), Some(7), Some("trying 1.0.0".to_string()));
                prop_assert_eq!(said, healthy.then_some(told));
                let found: Vec<Reading> = found.into_iter().map(Result::unwrap).collect();
                prop_assert_eq!(&found, &sent);
            }
        }

        #[test]
        fn bytes_from_outside_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = run(decode_json, &bytes);
            let _ = run(decode_cbor, &bytes);
            let _ = crate::wire::decode_ack(&bytes);
        }

        #[test]
        fn a_damaged_batch_never_panics(sent in readings(), at in any::<usize>(), to in any::<u8>()) {
            let mut out = vec![0; 16_384];
            for (encode, decoder) in [
                (encode_json as fn(&Batch<'_>, &mut [u8]) -> Result<usize, _>, decode_json as Decoder),
                (encode_cbor, decode_cbor),
            ] {
                let len = encode(&Batch { boot: Some(1), readings: &sent, health: None }, &mut out).unwrap();
                let mut damaged = out[..len].to_vec();
                let at = at % len;
                damaged[at] = to;
                let _ = run(decoder, &damaged);
                let _ = run(decoder, &damaged[..at]);
            }
        }
    }
}
