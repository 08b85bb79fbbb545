//! Promises of the packets: what goes out is what the standard says, and nothing that comes in does harm.

use super::*;
use casement_proto::device_settings::TOKEN_BYTES_MAX;
use proptest::prelude::*;
use std::vec::Vec;

const LONGEST: &str = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd";

#[test]
fn a_device_introduces_itself() {
    let connect =
        Connect { device: "lab", password: "secret", keep_alive_s: 60, session_expiry_s: 3_600, clean: true };
    assert_eq!(
        connect.encode().unwrap().as_slice(),
        b"\x10\x27\x00\x04MQTT\x05\xc2\x00\x3c\x0a\x11\x00\x00\x0e\x10\x27\x00\x00\x01\x00\x00\x03lab\x00\x03lab\x00\x06secret"
    );
    let again = Connect { clean: false, ..connect }.encode().unwrap();
    assert_eq!(again[9], 0xc0);
    let password = "t".repeat(TOKEN_BYTES_MAX);
    let longest = Connect { device: LONGEST, password: &password, ..connect }.encode().unwrap();
    // A length of two bytes.
    assert_eq!(longest[1..3], [0x9b, 0x02]);
    assert_eq!(longest.len(), 3 + 0x11b);
    assert_eq!(Connect { password: &"t".repeat(400), ..connect }.encode(), None);
}

#[test]
fn a_message_names_its_device_and_its_body() {
    let publish = Publish { device: "lab", id: 0x0102, again: false, body_bytes: 6_000 };
    let head = publish.encode().unwrap();
    // 2 + 21 bytes of topic, 2 of the number, 22 of properties and the body: 6,047.
    assert_eq!(
        head.as_slice(),
        b"\x32\x9f\x2f\x00\x15casement/lab/readings\x01\x02\x15\x01\x01\x03\x00\x10application/json"
    );
    assert_eq!(Publish { again: true, ..publish }.encode().unwrap()[0], 0x3a);
    assert!(Publish { device: LONGEST, body_bytes: (1 << 28) - 200, ..publish }.encode().is_some());
    assert_eq!(Publish { body_bytes: 1 << 28, ..publish }.encode(), None);
    assert_eq!(Publish { body_bytes: usize::MAX, ..publish }.encode(), None);
}

#[test]
fn answers_are_understood() {
    let fine = Connected {
        session_present: false,
        reason: 0,
        keep_alive_s: None,
        packet_bytes_max: None,
        acknowledges: true,
    };
    let published = |id, reason| Packet::Published { id, reason };
    for (bytes, packet) in [
        (&b"\x20\x03\x00\x00\x00"[..], Packet::Connected(fine)),
        (b"\x20\x03\x01\x00\x00", Packet::Connected(Connected { session_present: true, ..fine })),
        (b"\x20\x03\x00\x86\x00", Packet::Connected(Connected { reason: 0x86, ..fine })),
        (
            // As Mosquitto and others say it: aliases, 20 at once, an id, a text, 2,000 bytes, 30 seconds, no QoS.
            b"\x20\x26\x00\x00\x23\x22\x00\x0a\x21\x00\x14\x12\x00\x03abc\x26\x00\x01k\x00\x01v\x27\x00\x00\x07\xd0\x13\x00\x1e\x24\x00\x25\x01",
            Packet::Connected(Connected {
                keep_alive_s: Some(30),
                packet_bytes_max: Some(2_000),
                acknowledges: false,
                ..fine
            }),
        ),
        (b"\x40\x02\x12\x34", published(0x1234, 0)),
        (b"\x40\x03\x00\x01\x10", published(1, NO_SUBSCRIBERS)),
        (b"\x40\x09\x00\x01\x97\x05\x1f\x00\x02no", published(1, 0x97)),
        (b"\xd0\x00", Packet::Alive),
        (b"\xe0\x00", Packet::Ended { reason: 0 }),
        (b"\xe0\x01\x8e", Packet::Ended { reason: 0x8e }),
        (b"\xe0\x02\x8b\x00", Packet::Ended { reason: 0x8b }),
    ] {
        // A wrong length here would be a wrong example.
        let mut bytes = bytes.to_vec();
        bytes[1] = u8::try_from(bytes.len() - 2).unwrap();
        if bytes[0] == 0x20 {
            bytes[4] = u8::try_from(bytes.len() - 5).unwrap();
        }
        if bytes[0] == 0x40 && bytes.len() > 5 {
            bytes[5] = u8::try_from(bytes.len() - 6).unwrap();
        }
        assert_eq!(take(&bytes), Ok(Some((packet, bytes.len()))), "{bytes:x?}");
        let with_more = [&bytes[..], b"\xd0"].concat();
        assert_eq!(take(&with_more), Ok(Some((packet, bytes.len()))));
        for len in 0..bytes.len() {
            assert_eq!(take(&bytes[..len]), Ok(None), "{len} of {bytes:x?}");
        }
    }
}

#[test]
fn what_is_no_answer_is_refused_before_it_is_kept() {
    for (bytes, why) in [
        // MQTT 3.1.1 does not know this version.
        (&b"\x20\x02\x00\x01"[..], Garbage::Version),
        (b"\x20\x02\x00\x00", Garbage::Malformed),
        // Larger than agreed, told by the length alone.
        (b"\x40\xff\x01", Garbage::TooLarge),
        (b"\x20\xff\xff\xff\x7f", Garbage::TooLarge),
        // A length of five bytes, and one that is longer than it must be.
        (b"\x20\x80\x80\x80\x80\x01", Garbage::Malformed),
        (b"\x20\x83\x00\x00\x00\x00", Garbage::Malformed),
        // Messages, which nobody asked for; packets for brokers; flags.
        (b"\x30\x05\x00\x01a\x00x", Garbage::Malformed),
        (b"\x10", Garbage::Malformed),
        (b"\x90", Garbage::Malformed),
        (b"\xf0\x00", Garbage::Malformed),
        (b"\x41\x02\x00\x01", Garbage::Malformed),
        (b"\xd0\x01\x00", Garbage::Malformed),
        (b"HTTP/1.1 400 Bad Request\r\n", Garbage::Malformed),
        (b"\x15\x03\x01\x00\x02", Garbage::Malformed),
        // Too short, flags that do not exist, a session with a refusal, a reason that is none.
        (b"\x20\x01\x00", Garbage::Malformed),
        (b"\x40\x01\x00", Garbage::Malformed),
        (b"\x20\x03\x02\x00\x00", Garbage::Malformed),
        (b"\x20\x03\x01\x87\x00", Garbage::Malformed),
        (b"\x20\x03\x00\x01\x00", Garbage::Malformed),
        // Properties: cut, too long, unknown, out of range.
        (b"\x20\x03\x00\x00\x01", Garbage::Malformed),
        (b"\x20\x04\x00\x00\x00\x00", Garbage::Malformed),
        (b"\x20\x05\x00\x00\x02\x13\x00", Garbage::Malformed),
        (b"\x20\x06\x00\x00\x03\x1f\x00\x09", Garbage::Malformed),
        (b"\x20\x05\x00\x00\x02\x7f\x00", Garbage::Malformed),
        (b"\x20\x05\x00\x00\x02\x24\x02", Garbage::Malformed),
        (b"\x20\x06\x00\x00\x03\x21\x00\x00", Garbage::Malformed),
        (b"\x20\x08\x00\x00\x05\x27\x00\x00\x00\x00", Garbage::Malformed),
    ] {
        assert_eq!(take(bytes), Err(why), "{bytes:x?}");
    }
}

#[test]
fn every_refusal_has_its_consequence() {
    let busy = UploadError::Busy { retry_after_ms: None };
    for (reason, error) in [
        (0x86, UploadError::Token),
        (0x87, UploadError::Token),
        (0x8a, UploadError::Token),
        (0x89, busy),
        (0x97, busy),
        (NO_SUBSCRIBERS, UploadError::Status(0x10)),
        (TOO_LARGE, UploadError::Refused),
        (0x90, UploadError::Status(0x90)),
        (0xff, UploadError::Status(0xff)),
    ] {
        assert_eq!(refusal(reason), error, "{reason:#x}");
    }
}

proptest! {
    #[test]
    fn nothing_that_comes_panics_or_is_read_twice(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(Some((_, len))) = take(&bytes) {
            prop_assert!(len >= 2 && len <= bytes.len().min(PACKET_BYTES_MAX));
        }
    }

    #[test]
    fn nothing_in_a_real_shape_panics(
        kind in prop::sample::select(Vec::from([0x20_u8, 0x40, 0xd0, 0xe0])),
        body in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut bytes = Vec::from([kind, u8::try_from(body.len()).unwrap()]);
        bytes.extend(&body);
        let taken = take(&bytes);
        prop_assert!(!matches!(taken, Ok(None)), "a whole packet is never waited for");
        if let Ok(Some((_, len))) = taken {
            prop_assert_eq!(len, bytes.len());
        }
    }
}
