#![no_main]

use casement_core::mqtt::{HEAD_BYTES_MAX, PACKET_BYTES_MAX, Publish, take};

// A broker's stream, read as a device reads it: from a buffer of fixed size, packet by packet, until it makes no sense.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some((packet, len))) = take(&rest[..rest.len().min(PACKET_BYTES_MAX)]) {
        assert!((2..=PACKET_BYTES_MAX).contains(&len));
        // More behind it changes nothing, and less is not enough.
        assert_eq!(take(rest), Ok(Some((packet, len))));
        assert_eq!(take(&rest[..len - 1]), Ok(None));
        rest = &rest[len..];
    }
    // A buffer that is full and holds no whole packet would be waited on for ever.
    if rest.len() >= PACKET_BYTES_MAX {
        assert!(!matches!(take(&rest[..PACKET_BYTES_MAX]), Ok(None)));
    }
    let device = core::str::from_utf8(bytes).unwrap_or("lab");
    let head = Publish { device, id: 1, again: false, body_bytes: bytes.len() }.encode();
    assert!(head.is_none_or(|head| head.len() <= HEAD_BYTES_MAX));
});
