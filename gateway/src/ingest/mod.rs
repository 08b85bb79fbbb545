//! What arrives: bytes of some format → readings with a time. Pure.

mod native;
pub mod rows;

use crate::reading::{NewReading, Timed};
use crate::telemetry::time::plausible;
use casement_proto::wire::{DecodeError, Header, READINGS_MAX, Reject};
use casement_proto::{Reading, ReadingTime};

/// Takes readings one by one, each with its index in the batch.
pub type Sink<'a> = &'a mut dyn FnMut(usize, Result<Reading, Reject>);

/// One payload shape that the gateway accepts.
pub struct Format {
    /// Media types that announce it, lower case.
    pub media_types: &'static [&'static str],
    /// Bytes → readings, at most so many.
    pub decode: fn(&[u8], usize, Sink<'_>) -> Result<Header, DecodeError>,
}

/// Every payload shape. A new one is a file beside this and a line here.
pub static FORMATS: &[Format] = &[native::JSON, native::CBOR];

/// Finds the format of a `Content-Type`, ignoring parameters such as `charset`.
pub fn format(content_type: &str) -> Option<&'static Format> {
    let media_type = content_type.split(';').next()?.trim().to_ascii_lowercase();
    FORMATS.iter().find(|format| format.media_types.contains(&media_type.as_str()))
}

/// A batch as decoded: what may be stored, and what never will be.
#[derive(Debug, Default)]
pub struct Decoded {
    /// What the batch says beside its readings.
    pub header: Header,
    /// Readings to store.
    pub accepted: Vec<NewReading>,
    /// Readings to refuse, with their index.
    pub rejected: Vec<(usize, Reject)>,
}

/// Decodes a batch and settles when its readings were taken.
///
/// # Errors
/// [`DecodeError`] when the batch as a whole cannot be taken.
pub fn decode(format: &Format, bytes: &[u8], now_ms: i64) -> Result<Decoded, DecodeError> {
    let mut accepted: Vec<(Option<u64>, Option<u64>, NewReading)> = Vec::new();
    let mut rejected = Vec::new();
    let header = (format.decode)(bytes, READINGS_MAX, &mut |index, reading| match reading {
        Ok(reading) => {
            let age_ms = if let ReadingTime::Age(age_ms) = reading.time { Some(age_ms) } else { None };
            accepted.push((reading.seq, age_ms, settle(&reading, now_ms)));
        }
        Err(reject) => rejected.push((index, reject)),
    })?;
    // Boot and uptime may come after the readings.
    let accepted = accepted
        .into_iter()
        .map(|(seq, age_ms, reading)| NewReading {
            name: header.boot.zip(seq),
            timed: age_ms.and_then(|age_ms| since_start(&header, age_ms)).unwrap_or(reading.timed),
            ..reading
        })
        .collect();
    Ok(Decoded { header, accepted, rejected })
}

/// Where in its start a reading was taken, when the device says how long it has been running.
fn since_start(header: &Header, age_ms: u64) -> Option<Timed> {
    let (boot, sent_ms) = header.boot.zip(header.uptime_ms)?;
    Some(Timed::SinceStart { boot, at_ms: sent_ms.checked_sub(age_ms)?, sent_ms })
}

/// Gives a reading its time: its own when that can be true, else that of receipt.
fn settle(reading: &Reading, now_ms: i64) -> NewReading {
    let own = match reading.time {
        ReadingTime::At(t_ms) => plausible(t_ms, now_ms),
        ReadingTime::Age(age_ms) => i64::try_from(age_ms)
            .ok()
            .and_then(|age| now_ms.checked_sub(age))
            .and_then(|t| plausible(t, now_ms)),
        ReadingTime::Receipt => None,
    };
    NewReading {
        name: None,
        t_ms: own.unwrap_or(now_ms),
        timed: if own.is_some() { Timed::Device } else { Timed::Receipt },
        state: reading.state,
        values: reading.values.iter().copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_341_600_000;

    fn times(readings: &str) -> Vec<(i64, Timed)> {
        let body = format!(r#"{{"boot":1,"readings":[{readings}]}}"#);
        let decoded = decode(&native::JSON, body.as_bytes(), NOW).unwrap();
        decoded.accepted.iter().map(|reading| (reading.t_ms, reading.timed)).collect()
    }

    #[test]
    fn a_reading_keeps_its_own_time_when_that_can_be_true() {
        for (reading, expected) in [
            (r#"{"co2":1,"time":1795341599000}"#, (NOW - 1000, Timed::Device)),
            (r#"{"co2":1,"time":"2026-11-22T09:59:59Z"}"#, (NOW - 1000, Timed::Device)),
            (r#"{"co2":1,"age_ms":1000}"#, (NOW - 1000, Timed::Device)),
            (r#"{"co2":1,"time":946684800000}"#, (NOW, Timed::Receipt)),
            (r#"{"co2":1,"time":"2000-01-01T00:00:00Z"}"#, (NOW, Timed::Receipt)),
            (r#"{"co2":1,"time":1e300}"#, (NOW, Timed::Receipt)),
            (r#"{"co2":1,"age_ms":99999999999999999999}"#, (NOW, Timed::Receipt)),
            (r#"{"co2":1}"#, (NOW, Timed::Receipt)),
        ] {
            assert_eq!(times(reading), [expected], "{reading}");
        }
    }

    #[test]
    fn uptime_places_a_reading_in_its_start() {
        let timed = |body: &str| {
            let decoded = decode(&native::JSON, body.as_bytes(), NOW).unwrap();
            (decoded.accepted[0].t_ms, decoded.accepted[0].timed)
        };
        let since = Timed::SinceStart { boot: 7, at_ms: 4_000, sent_ms: 5_000 };
        let body = r#"{"readings":[{"age_ms":1000,"co2":1}],"boot":7,"uptime_ms":5000}"#;
        assert_eq!(timed(body), (NOW - 1_000, since));
        for (body, by) in [
            (r#"{"boot":7,"uptime_ms":5000,"readings":[{"age_ms":5001,"co2":1}]}"#, Timed::Device),
            (r#"{"boot":7,"uptime_ms":null,"readings":[{"age_ms":1,"co2":1}]}"#, Timed::Device),
            (r#"{"uptime_ms":5000,"readings":[{"age_ms":1,"co2":1}]}"#, Timed::Device),
            (r#"{"boot":7,"uptime_ms":5000,"readings":[{"co2":1}]}"#, Timed::Receipt),
        ] {
            assert_eq!(timed(body).1, by, "{body}");
        }
    }

    #[test]
    fn a_name_needs_boot_and_seq() {
        let names = |body: &str| {
            let decoded = decode(&native::JSON, body.as_bytes(), NOW).unwrap();
            decoded.accepted.iter().map(|reading| reading.name).collect::<Vec<_>>()
        };
        // The boot may come after the readings: JSON objects have no order.
        assert_eq!(names(r#"{"readings":[{"seq":5,"co2":1},{"co2":1}],"boot":7}"#), [Some((7, 5)), None]);
        assert_eq!(names(r#"{"readings":[{"seq":5,"co2":1}]}"#), [None]);
    }

    #[test]
    fn formats_are_found_by_media_type() {
        for (content_type, found) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/cbor", true),
            ("text/plain", false),
            ("", false),
        ] {
            assert_eq!(format(content_type).is_some(), found, "{content_type}");
        }
    }
}
