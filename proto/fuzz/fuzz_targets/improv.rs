#![no_main]

use casement_core::Millis;
use casement_core::improv::{Facts, PACKET_BYTES_MAX, Parser, Session, encode};
use casement_proto::DeviceSettings;

// Bytes of a serial line, with pauses, as they come; and as commands whose frame is right, so that the answers are
// reached, too.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let settings = DeviceSettings::default();
    let facts =
        Facts { version: "1.0.0", chip: "ESP32-C3", name: "fuzz", settings: &settings, networks: &[] };
    let (mut parser, mut session, mut now) = (Parser::new(), Session::new(false), 0);
    let mut hear = |byte: u8, now: u64| {
        parser.push(byte, Millis(now));
        while let Some(packet) = parser.packet() {
            let wish = session.take(&packet, &facts, &mut |sent| assert!(sent.len() <= PACKET_BYTES_MAX + 2));
            if let Some(settings) = wish {
                assert_eq!(DeviceSettings::decode(&settings.encode()), Ok(settings));
                session.failed(&mut |_| {});
            }
        }
    };
    for byte in bytes {
        now += if *byte == 0xee { 1_000 } else { 1 };
        hear(*byte, now);
    }
    for value in bytes.split(|byte| *byte == 0xfe) {
        let mut data = value.to_vec();
        data.truncate(255);
        if let [_, len, rest @ ..] = data.as_mut_slice() {
            *len = rest.len() as u8;
        }
        let mut out = [0; PACKET_BYTES_MAX];
        let Some(len) = encode(3, &data, &mut out) else { continue };
        for byte in &out[..len] {
            hear(*byte, now);
        }
    }
});
