//! The JSON and CBOR form of a batch of readings and of its acknowledgement.
//!
//! A batch is one object, the same in JSON (RFC 8259) and CBOR (RFC 8949):
//!
//! ```json
//! {"boot":17,"readings":[
//!   {"seq":1041,"time":"2026-11-22T10:00:00Z","co2":812,"temperature":22.4},
//!   {"seq":1042,"age_ms":1200,"co2":815,"state":"ok"}]}
//! ```
//!
//! A device without a clock may add `"uptime_ms"`, how long it has been running: with it and `boot` a reading has the same
//! time at every attempt to send it, numbered or not.
//! A device may say how it is in an object `"health"` beside them ([`DeviceHealth`]).
//!
//! Encoding needs no allocator. Decoding a batch does (feature `decode`): it is the gateway's work.

#[cfg(feature = "decode")]
mod decode;

#[cfg(feature = "decode")]
pub use decode::{DecodeError, Header, HealthReport, Reject, RejectCode, decode_cbor, decode_json};

use crate::reading::{Reading, ReadingTime, State};
use serde::de::{Deserialize, IgnoredAny, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Largest body that the gateway reads, in bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Most readings in one batch.
pub const READINGS_MAX: usize = 10_000;

/// Readings on their way to the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Number of the boot that the readings' sequence numbers belong to.
    pub boot: Option<u64>,
    /// The readings, oldest first.
    pub readings: &'a [Reading],
    /// How the device is, if it says so.
    pub health: Option<&'a DeviceHealth<'a>>,
}

/// How a device is, sent beside its readings as `"health"`. A gateway that does not know it passes over it, so fields
/// may be added; none changes its meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct DeviceHealth<'a> {
    /// Version of the firmware.
    pub firmware: &'a str,
    /// The board's name, as releases have it.
    pub board: &'a str,
    /// Why it started last: `power`, `software`, `panic`, `watchdog`, `brownout` or `unknown`.
    pub reset: &'a str,
    /// How long it has been running, in seconds.
    pub uptime_s: u64,
    /// Free heap in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heap_free: Option<u32>,
    /// Least free heap since it started, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heap_free_min: Option<u32>,
    /// Signal of the network in dBm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rssi: Option<i8>,
    /// Readings that wait, those of this batch among them.
    pub queued: u32,
    /// Readings given up since it started, because the queue was full or could not be written.
    pub dropped: u32,
    /// Samples that the sensors did not give, since it started.
    pub faults: u32,
    /// Uploads that failed since it started.
    pub uploads_failed: u32,
    /// Times the radio was built up again since it started.
    pub radio_restarts: u32,
    /// The release that is being fetched or tried, or why the last one did not make it: the text of an
    /// [`UpdateStatus`](crate::UpdateStatus).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<&'a str>,
    /// What is wrong, as a word for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<&'a str>,
}

/// The buffer is too small for the batch: send fewer readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSmall;

/// Writes a batch as JSON and gives its length in bytes.
///
/// # Errors
/// [`TooSmall`] when `out` cannot hold it.
pub fn encode_json(batch: &Batch<'_>, out: &mut [u8]) -> Result<usize, TooSmall> {
    serde_json_core::to_slice(batch, out).map_err(|_| TooSmall)
}

/// Writes a batch as CBOR and gives its length in bytes.
///
/// # Errors
/// [`TooSmall`] when `out` cannot hold it.
pub fn encode_cbor(batch: &Batch<'_>, out: &mut [u8]) -> Result<usize, TooSmall> {
    minicbor_serde::to_slice(batch, out).map_err(|_| TooSmall)
}

impl Serialize for Batch<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer
            .serialize_map(Some(1 + usize::from(self.boot.is_some()) + usize::from(self.health.is_some())))?;
        if let Some(boot) = self.boot {
            map.serialize_entry("boot", &boot)?;
        }
        if let Some(health) = self.health {
            map.serialize_entry("health", health)?;
        }
        map.serialize_entry("readings", self.readings)?;
        map.end()
    }
}

impl Serialize for Reading {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let timed = !matches!(self.time, ReadingTime::Receipt);
        let entries = self.values.len()
            + usize::from(self.seq.is_some())
            + usize::from(timed)
            + usize::from(self.state != State::Ok);
        let mut map = serializer.serialize_map(Some(entries))?;
        if let Some(seq) = self.seq {
            map.serialize_entry("seq", &seq)?;
        }
        match self.time {
            ReadingTime::At(unix_ms) => map.serialize_entry("time", &unix_ms)?,
            ReadingTime::Age(age_ms) => map.serialize_entry("age_ms", &age_ms)?,
            ReadingTime::Receipt => {}
        }
        for (quantity, value) in &self.values {
            map.serialize_entry(quantity.name(), value)?;
        }
        if self.state != State::Ok {
            map.serialize_entry("state", self.state.as_str())?;
        }
        map.end()
    }
}

/// What a device needs to know of the gateway's answer to a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AckSummary {
    /// Readings stored by this request.
    pub stored: u32,
    /// Readings that were stored before.
    pub duplicate: u32,
    /// Readings that will never be accepted.
    pub rejected: u32,
    /// The gateway's clock when it answered, in milliseconds since 1970, when it said so in numbers.
    pub server_time_ms: Option<i64>,
}

/// Reads an acknowledgement; `None` when it is not one.
pub fn decode_ack(body: &[u8]) -> Option<AckSummary> {
    #[derive(serde::Deserialize)]
    struct Wire {
        stored: u32,
        duplicate: u32,
        #[serde(default)]
        rejected: Count,
        #[serde(default)]
        server_time_ms: Option<i64>,
    }
    if !shallow(body) {
        return None;
    }
    let (wire, _) = serde_json_core::from_slice::<Wire>(body).ok()?;
    Some(AckSummary {
        stored: wire.stored,
        duplicate: wire.duplicate,
        rejected: wire.rejected.0,
        server_time_ms: wire.server_time_ms,
    })
}

/// Whether brackets nest no deeper than an acknowledgement needs. The JSON parser recurses without a limit, and a
/// device has a few kilobytes of stack.
fn shallow(body: &[u8]) -> bool {
    const DEPTH_MAX: usize = 8;
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return false;
        }
    }
    true
}

/// The length of a sequence whose elements are of no interest.
#[derive(Default)]
struct Count(u32);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counting;
        impl<'de> Visitor<'de> for Counting {
            type Value = Count;
            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
                let mut count = 0u32;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    count = count.saturating_add(1);
                }
                Ok(Count(count))
            }
        }
        deserializer.deserialize_seq(Counting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Quantity;

    #[test]
    fn a_batch_reads_as_the_contract_shows_it() {
        let reading = Reading {
            seq: Some(1042),
            time: ReadingTime::Age(1200),
            state: State::WarmingUp,
            values: heapless::Vec::new(),
        }
        .with(Quantity::parse("co2").unwrap(), 815.0)
        .with(Quantity::parse("temperature").unwrap(), 22.4);
        let mut out = [0; 256];
        let len =
            encode_json(&Batch { boot: Some(17), readings: &[reading], health: None }, &mut out).unwrap();
        assert_eq!(
            core::str::from_utf8(&out[..len]).unwrap(),
            r#"{"boot":17,"readings":[{"seq":1042,"age_ms":1200,"co2":815.0,"temperature":22.4,"state":"warming_up"}]}"#
        );
    }

    #[test]
    fn a_device_says_how_it_is_beside_its_readings() {
        let health = DeviceHealth {
            firmware: "1.4.0",
            board: "stamp-c3",
            reset: "power",
            rssi: Some(-61),
            trouble: Some("no_answer"),
            ..DeviceHealth::default()
        };
        let mut out = [0; 512];
        let batch = Batch { boot: Some(17), readings: &[], health: Some(&health) };
        let len = encode_json(&batch, &mut out).unwrap();
        assert_eq!(
            core::str::from_utf8(&out[..len]).unwrap(),
            concat!(
                r#"{"boot":17,"health":{"firmware":"1.4.0","board":"stamp-c3","reset":"power","uptime_s":0,"rssi":-61,"#,
                r#""queued":0,"dropped":0,"faults":0,"uploads_failed":0,"radio_restarts":0,"trouble":"no_answer"},"readings":[]}"#
            )
        );
    }

    #[test]
    fn a_small_buffer_is_an_error_and_not_a_torn_batch() {
        let batch = Batch { boot: Some(17), readings: &[], health: None };
        for len in 0..24 {
            assert_eq!(encode_json(&batch, &mut [0; 24][..len]), Err(TooSmall));
        }
        assert_eq!(encode_cbor(&batch, &mut [0; 3]), Err(TooSmall));
    }

    #[test]
    fn an_acknowledgement_is_read_and_anything_else_is_none() {
        let ack = decode_ack(
            br#"{"stored":2,"duplicate":1,"rejected":[{"index":0,"code":"out_of_range","detail":"too much"}],"server_time":"2026-11-22T10:00:00Z","server_time_ms":1795341600000}"#,
        );
        let expected =
            AckSummary { stored: 2, duplicate: 1, rejected: 1, server_time_ms: Some(1_795_341_600_000) };
        assert_eq!(ack, Some(expected));
        for bad in [&b""[..], b"{}", b"[]", b"{\"stored\":-1,\"duplicate\":0}", b"<html>", b"{\"stored\":1"] {
            assert_eq!(decode_ack(bad), None);
        }
    }

    #[test]
    fn an_answer_that_nests_deeply_does_not_overflow_the_stack() {
        let mut deep = [b'['; 100_000];
        deep[..11].copy_from_slice(b"{\"stored\": ");
        assert_eq!(decode_ack(&deep), None);
        let brackets_in_text =
            br#"{"stored":1,"duplicate":0,"rejected":[{"index":0,"code":"x","detail":"\"[[[[[[[[[[[["}]}"#;
        assert_eq!(decode_ack(brackets_in_text).map(|ack| ack.rejected), Some(1));
    }
}
