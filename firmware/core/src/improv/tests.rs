//! Promises of the serial line: bytes of the specification, noise, and settings in parts.

use super::*;
use casement_proto::device_settings::{GatewayUrl, token};
use proptest::prelude::*;
use std::string::{String, ToString};
use std::vec::Vec;

fn packets(bytes: &[u8]) -> Vec<Packet> {
    let mut parser = Parser::new();
    let mut found = Vec::new();
    for byte in bytes {
        parser.push(*byte, Millis(0));
        found.extend(core::iter::from_fn(|| parser.packet()));
    }
    found
}

fn bytes(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut out = [0; PACKET_BYTES_MAX];
    let len = encode(kind, data, &mut out).unwrap();
    out[..len].to_vec()
}

fn rpc(command: u8, value: &[u8]) -> Packet {
    let mut data = heapless::Vec::new();
    data.extend_from_slice(&[command, u8::try_from(value.len()).unwrap()]).unwrap();
    data.extend_from_slice(value).unwrap();
    Packet { kind: COMMAND, data }
}

/// What a client sees: `state 2`, `error 0`, `result 1 [texts]`.
fn told(sent: &[u8]) -> Vec<String> {
    let text = |data: &[u8]| {
        let (mut texts, mut rest) = (Vec::new(), &data[2..]);
        assert_eq!(usize::from(data[1]), rest.len());
        while let Some((text, after)) = counted(rest) {
            texts.push(text.to_string());
            rest = after;
        }
        std::format!("result {:x} {texts:?}", data[0])
    };
    let name = |it: &Packet| match it.kind {
        CURRENT_STATE => std::format!("state {}", it.data[0]),
        ERROR => std::format!("error {}", it.data[0]),
        RESULT => text(&it.data),
        other => std::format!("{other}"),
    };
    packets(sent).iter().map(name).collect()
}

struct Client {
    session: Session,
    settings: DeviceSettings,
}

impl Client {
    fn new() -> Self {
        let mut settings = DeviceSettings::default();
        settings.gateway = GatewayUrl::parse("https://air.example.org").ok();
        Self { session: Session::new(false), settings }
    }

    fn ask(&mut self, packet: &Packet) -> (Vec<String>, Option<DeviceSettings>) {
        let networks = [
            Network { ssid: "School", rssi_dbm: -51, secured: true },
            Network { ssid: "Guests", rssi_dbm: -128, secured: false },
        ];
        let facts = Facts {
            version: "1.4.0",
            chip: "ESP32-C3",
            name: "Stamp",
            settings: &self.settings,
            networks: &networks,
        };
        let mut sent = Vec::new();
        let wish = self.session.take(packet, &facts, &mut |bytes| sent.extend_from_slice(bytes));
        (told(&sent), wish)
    }
}

#[test]
fn the_bytes_are_those_of_the_specification() {
    // "Request current state" and its answer, summed by hand: 0xDD is the sum of IMPROV, mod 256.
    let sum_of_name = b"IMPROV".iter().map(|byte| u32::from(*byte)).sum::<u32>() as u8;
    assert_eq!(sum_of_name, 0xdd);
    let request = [b"IMPROV".as_slice(), &[1, 3, 2, 2, 0, 0xdd + 8]].concat();
    assert_eq!(packets(&request), [rpc(STATE, &[])]);
    assert_eq!(bytes(1, &[2]), [b"IMPROV".as_slice(), &[1, 1, 1, 2, 0xdd + 5]].concat());
}

#[test]
fn wifi_is_tried_and_what_came_of_it_is_told() {
    let mut client = Client::new();
    let command = rpc(WIFI, b"\x06School\x0dcorrect horse");
    let (heard, wish) = client.ask(&command);
    assert_eq!(heard, ["error 0", "state 3"]);
    let wish = wish.unwrap();
    assert_eq!(wish.wifi, Some(Wifi::new("School", "correct horse").unwrap()));
    assert_eq!(wish.gateway, client.settings.gateway);
    // Impatient clients change nothing.
    assert_eq!(client.ask(&command), (std::vec!["state 3".to_string()], None));
    let mut sent = Vec::new();
    client.session.failed(&mut |bytes| sent.extend_from_slice(bytes));
    assert_eq!(told(&sent), ["error 3", "state 2"]);
    assert!(client.ask(&command).1.is_some());
    sent.clear();
    client.session.connected(&wish, &mut |bytes| sent.extend_from_slice(bytes));
    assert_eq!(told(&sent), ["state 4", r#"result 1 ["https://air.example.org"]"#]);
    assert_eq!(client.ask(&rpc(STATE, &[])).0, ["state 4", r#"result 2 ["https://air.example.org"]"#]);
}

#[test]
fn settings_that_lead_nowhere_are_answered_with_the_reason_in_words() {
    let mut client = Client::new();
    let image = large().encode();
    let mut offset = 0;
    let mut wish = None;
    while wish.is_none() {
        wish = client.ask(&part(&image, offset)).1;
        offset += PART_BYTES_MAX;
    }
    let (mut sent, mut plain) = (Vec::new(), Vec::new());
    client
        .session
        .failed_because(&"The gateway does not answer.", &mut |bytes| sent.extend_from_slice(bytes));
    assert_eq!(told(&sent), [r#"result c5 ["0", "The gateway does not answer."]"#, "error 3", "state 2"]);
    // Improv's own command has no place for words.
    assert!(client.ask(&rpc(WIFI, b"\x06School\x0dcorrect horse")).1.is_some());
    client
        .session
        .failed_because(&"The gateway does not answer.", &mut |bytes| plain.extend_from_slice(bytes));
    assert_eq!(told(&plain), ["error 3", "state 2"]);
}

#[test]
fn every_reason_fits_into_a_result() {
    use crate::uplink::Certificate as It;
    use crate::{Trouble, UploadError};
    use embedded_svc::io::ErrorKind;
    let certificates = [It::Expired, It::NotYet, It::Name, It::Authority, It::Broken];
    let others = [
        UploadError::Connection(ErrorKind::NotFound),
        UploadError::Connection(ErrorKind::TimedOut),
        UploadError::Token,
        UploadError::Busy { retry_after_ms: None },
        UploadError::Full { retry_after_ms: None },
        UploadError::Answer,
        UploadError::Status(u16::MAX),
    ];
    for error in certificates.map(UploadError::Certificate).into_iter().chain(others) {
        let words = Trouble::Upload(error).to_string();
        assert!(words.len() <= WORDS_BYTES_MAX, "{words}");
    }
}

#[test]
fn questions_are_answered_and_nonsense_is_named() {
    let mut client = Client::new();
    for (packet, heard) in [
        (rpc(STATE, &[]), &["state 2"][..]),
        (rpc(INFO, &[]), &[r#"result 3 ["casement", "1.4.0", "ESP32-C3", "Stamp"]"#]),
        (
            rpc(NETWORKS, &[]),
            &[r#"result 4 ["School", "-51", "YES"]"#, r#"result 4 ["Guests", "-128", "NO"]"#, "result 4 []"],
        ),
        (rpc(9, &[]), &["error 2"]),
        (rpc(WIFI, b""), &["error 1"]),
        (rpc(WIFI, b"\x06School"), &["error 1"]),
        (rpc(WIFI, b"\x06School\x05short"), &["error 1"]),
        (rpc(WIFI, b"\x00\x08password"), &["error 1"]),
        (rpc(WIFI, b"\x06School\x08password+"), &["error 1"]),
        (rpc(WIFI, b"\xff"), &["error 1"]),
        (rpc(SETTINGS, b"\x01\x00\x00"), &["error 1"]),
        (Packet { kind: COMMAND, data: heapless::Vec::from_slice(&[2, 1]).unwrap() }, &["error 1"]),
        (Packet { kind: COMMAND, data: heapless::Vec::new() }, &["error 1"]),
        (Packet { kind: RESULT, data: heapless::Vec::new() }, &[]),
    ] {
        assert_eq!(
            client.ask(&packet),
            (heard.iter().map(ToString::to_string).collect(), None),
            "{packet:?}"
        );
    }
}

fn part(image: &[u8], offset: usize) -> Packet {
    let end = image.len().min(offset + PART_BYTES_MAX);
    let mut value = Vec::from(u16::try_from(image.len()).unwrap().to_le_bytes());
    value.extend(u16::try_from(offset).unwrap().to_le_bytes());
    value.extend_from_slice(&image[offset..end]);
    rpc(SETTINGS, &value)
}

fn large() -> DeviceSettings {
    let der: Vec<u8> = [0x30, 0x82, 4, 0].into_iter().chain([7; 1024]).collect();
    let mut settings = DeviceSettings::default();
    settings.wifi = Wifi::new("School", "correct horse").ok();
    settings.gateway = GatewayUrl::parse("https://192.0.2.7").ok();
    settings.token = token("cas_dev_secret").ok();
    settings.ca = device_settings::ca(&der).ok();
    settings
}

#[test]
fn settings_larger_than_a_packet_come_in_parts_that_may_be_repeated() {
    let mut client = Client::new();
    let image = large().encode();
    let mut offset = 0;
    let wish = loop {
        // A part from elsewhere, from a client that lost its place.
        if offset > 0 {
            let elsewhere = part(&image, 1);
            assert_eq!(client.ask(&elsewhere), (std::vec![std::format!("result c5 [\"{offset}\"]")], None));
        }
        let (heard, wish) = client.ask(&part(&image, offset));
        if wish.is_some() {
            assert_eq!(heard, ["error 0", "state 3"]);
            break wish;
        }
        offset += PART_BYTES_MAX;
        assert_eq!(heard, [std::format!("result c5 [\"{offset}\"]")]);
    };
    assert_eq!(wish, Some(large()));
    let mut sent = Vec::new();
    client.session.connected(&large(), &mut |bytes| sent.extend_from_slice(bytes));
    assert_eq!(told(&sent), ["state 4", r#"result c5 ["https://192.0.2.7"]"#]);
}

#[test]
fn settings_that_cannot_be_are_refused_in_words() {
    let mut damaged = large().encode();
    damaged[20] ^= 1;
    for (packets, why) in [
        (std::vec![part(&damaged, 0)], "damaged"),
        (std::vec![rpc(SETTINGS, b"\xff\xff\x00\x00")], "no settings"),
        (std::vec![rpc(SETTINGS, b"\x02\x00\x00\x00abc")], "no settings"),
        (std::vec![rpc(SETTINGS, b"\x03\x00\x00\x00abc")], "no settings"),
    ] {
        let mut client = Client::new();
        let mut heard = client.ask(&packets[0]).0;
        while let Some(next) = heard[0].strip_prefix("result c5 [\"").and_then(|rest| rest.split('"').next())
        {
            heard = client.ask(&part(&damaged, next.parse().unwrap())).0;
        }
        assert_eq!(heard[0], "error 1");
        assert!(heard[1].starts_with("result c5 [\"0\"") && heard[1].contains(why), "{heard:?}");
        assert_eq!(client.session.state(), State::Ready);
    }
}

#[test]
fn what_looks_like_a_long_packet_does_not_swallow_the_real_one_for_ever() {
    let mut parser = Parser::new();
    let real = bytes(COMMAND, &[STATE, 0]);
    for byte in b"IMPROV\x01\x03\xff".iter().chain(&real) {
        parser.push(*byte, Millis(0));
        assert_eq!(parser.packet(), None);
    }
    parser.idle(Millis(GAP_MS));
    assert_eq!(parser.packet(), None);
    parser.idle(Millis(GAP_MS + 1));
    assert_eq!(parser.packet(), Some(rpc(STATE, &[])));
}

proptest! {
    #[test]
    fn a_packet_is_found_behind_any_noise(
        noise in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'I'), Just(b'M'), Just(1)], 0..400),
        data in prop::collection::vec(any::<u8>(), 0..=255), kind in any::<u8>()
    ) {
        let mut parser = Parser::new();
        let mut last = None;
        for byte in noise.iter().chain(&bytes(kind, &data)) {
            parser.push(*byte, Millis(0));
            while let Some(packet) = parser.packet() {
                last = Some(packet);
            }
        }
        // Noise may have looked like the beginning of a longer packet: after a pause it does not any more.
        for pause in 1..=300 {
            parser.idle(Millis(pause * (GAP_MS + 1)));
            while let Some(packet) = parser.packet() {
                last = Some(packet);
            }
        }
        let last = last.unwrap();
        prop_assert_eq!((last.kind, last.data.as_slice()), (kind, data.as_slice()));
    }

    #[test]
    fn nothing_that_is_sent_panics_or_leaves_its_bounds(
        sent in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..20)
    ) {
        let mut client = Client::new();
        for (command, value) in sent {
            let command = if command < 128 { command % 6 } else { SETTINGS };
            client.ask(&rpc(command, &value));
        }
    }
}
