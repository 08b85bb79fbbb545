//! Promises of the settings and of their binary form.

use super::*;
use proptest::prelude::*;
use std::format;

fn every_setting() -> DeviceSettings {
    let mut der = std::vec![0x30, 0x82, 2, 0];
    der.extend([7; 512]);
    DeviceSettings {
        device: DeviceId::parse("room-101"),
        wifi: Some(Wifi::new("School Wi-Fi", "correct horse").unwrap()),
        gateway: Some(GatewayUrl::parse("https://air.example.org:8443").unwrap()),
        token: Some(token("cas_dev_s3cret").unwrap()),
        ca: Some(ca(&der).unwrap()),
        release_key: Some([3; 32]),
        room: room("Räum 101").unwrap(),
        update: UpdatePolicy::Exactly(Version { major: 1, minor: 2, patch: 3 }),
        quiet: Some(QuietHours::new(22 * 60, 6 * 60 + 30).unwrap()),
        sound: Sound::SoonAndNow,
        broker: Some(BrokerUrl::parse("mqtts://broker.example.org:8884").unwrap()),
        module: Some(module("MhZ19").unwrap()),
        ..DeviceSettings::default()
    }
    .with_period_ms(60_000)
    .and_then(|it| it.with_batch(100))
    .and_then(|it| it.with_profile("uk-hse"))
    .and_then(|it| it.with_altitude_m(1_560))
    .and_then(|it| it.with_self_calibration_ppm(None))
    .and_then(|it| it.with_utc_offset_min(-210))
    .and_then(|it| it.with_brightness_percent(40))
    .map(|it| it.with_light_from_estimate(true))
    .unwrap()
}

/// An image with these entries.
fn image(entries: &[(u8, &[u8])]) -> std::vec::Vec<u8> {
    let mut out = std::vec::Vec::from(&b"CSET\x01\0"[..]);
    let len: usize = entries.iter().map(|(_, value)| 3 + value.len()).sum();
    out.extend(u16::try_from(len).unwrap().to_le_bytes());
    for (key, value) in entries {
        out.push(*key);
        out.extend(u16::try_from(value.len()).unwrap().to_le_bytes());
        out.extend_from_slice(value);
    }
    let check = Crc32::new().with(&out).value();
    out.extend(check.to_le_bytes());
    out
}

#[test]
fn form_1_is_read_for_ever_as_it_was_written() {
    // Written by the first version; never to be changed. A later form needs a migration that passes this.
    let entries: &[(u8, &[u8])] = &[
        (1, b"room-101"),
        (2, b"\x0cSchool Wi-Ficorrect horse"),
        (3, b"https://air.example.org:8443"),
        (4, b"cas_dev_s3cret"),
        (5, &[&[0x30, 0x82, 2, 0][..], &[7; 512]].concat()),
        (6, &[3; 32]),
        (7, "Räum 101".as_bytes()),
        (8, b"uk-hse"),
        (9, b"\x02\x01\0\x02\0\x03\0"),
        (10, b"\x28\x05\x86\x01"),
        (11, b"\x02"),
        (12, b"\x60\xea\0\0"),
        (13, b"\x64\0"),
        (14, b"\x01"),
        (15, b"\x18\x06"),
        (16, b"\0\0"),
        (17, b"\x2e\xff"),
        (18, b"\x28"),
    ];
    let first = DeviceSettings { broker: None, module: None, ..every_setting() };
    assert_eq!(DeviceSettings::decode(&image(entries)), Ok(first.clone()));
    // Keys that came later take what they name away, so that a whole image leaves nothing of an older one.
    let since: &[(u8, &[u8])] = &[(19, b""), (20, b"")];
    assert_eq!(first.encode().as_slice(), image(&[entries, since].concat()));
    let since: &[(u8, &[u8])] = &[(19, b"mqtts://broker.example.org:8884"), (20, b"MhZ19")];
    assert_eq!(every_setting().encode().as_slice(), image(&[entries, since].concat()));
    assert_eq!(DeviceSettings::decode(&every_setting().encode()), Ok(every_setting()));
}

#[test]
fn an_image_changes_what_it_names_and_nothing_else() {
    let small =
        image(&[(2, b"\x04Home"), (4, b"cas_dev_new"), (3, b""), (19, b""), (99, b"from a later version")]);
    let changed = every_setting().changed_by(&small).unwrap();
    let expected = DeviceSettings {
        wifi: Some(Wifi::new("Home", "").unwrap()),
        token: Some(token("cas_dev_new").unwrap()),
        gateway: None,
        broker: None,
        ..every_setting()
    };
    assert_eq!(changed, expected);
    assert!(every_setting().complete() && !changed.complete());
    // A broker needs no gateway beside it, but somebody to be there.
    let at_broker = DeviceSettings { gateway: None, ..every_setting() };
    assert!(at_broker.complete() && !DeviceSettings { device: None, ..at_broker }.complete());
}

#[test]
fn secrets_are_never_shown() {
    let shown = format!("{:?}", every_setting());
    for secret in ["correct horse", "s3cret"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("School Wi-Fi") && shown.contains("***"));
}

#[test]
fn every_damaged_byte_and_every_cut_is_found() {
    let whole = every_setting().encode();
    for len in 0..whole.len() {
        assert_eq!(DeviceSettings::decode(&whole[..len]), Err(SettingsError::Unreadable), "{len}");
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            let found = DeviceSettings::decode(&bytes).expect_err("a damaged image is refused");
            assert!(matches!(found, SettingsError::Unreadable | SettingsError::Damaged), "{at}: {found:?}");
        }
    }
    // What lies behind it on flash does not matter.
    let mut sector = std::vec![0xff; 4_096];
    sector[..whole.len()].copy_from_slice(&whole);
    assert_eq!(DeviceSettings::decode(&sector), Ok(every_setting()));
    assert_eq!(image_bytes(&sector), Some(whole.len()));
    assert_eq!(DeviceSettings::decode(&[0xff; 4_096]), Err(SettingsError::Unreadable));
}

#[test]
fn a_form_of_the_future_is_named_and_not_guessed() {
    let mut bytes = image(&[]);
    bytes[4] = 2;
    let body = bytes.len() - 4;
    let check = Crc32::new().with(&bytes[..body]).value();
    bytes[body..].copy_from_slice(&check.to_le_bytes());
    assert_eq!(DeviceSettings::decode(&bytes), Err(SettingsError::Form(2)));
}

#[test]
fn a_value_out_of_bounds_is_refused_by_name() {
    use SettingsError as E;
    let long = "x".repeat(129);
    for (key, value, error) in [
        (1, &b"-room"[..], E::Device),
        (2, b"\x00", E::Ssid),
        (2, b"\x09short", E::Ssid),
        (2, b"\x04Homeseven77", E::Password),
        (2, b"\x04Home\xff\xff\xff\xff\xff\xff\xff\xff", E::Password),
        (3, b"http://air.example.org", E::Url),
        (3, b"https://", E::Url),
        (3, b"https://a:0", E::Url),
        (3, b"https://a:65536", E::Url),
        (3, b"https://a/path", E::Url),
        (3, b"https://[::g]", E::Url),
        (3, b"https://a b", E::Url),
        (3, long.as_bytes(), E::Url),
        (4, b"has a space", E::Token),
        (4, b"line\r\nbreak", E::Token),
        (4, long.as_bytes(), E::Token),
        (5, b"-----BEGIN", E::Ca),
        (5, b"\x30\x82\x00\x05abc", E::Ca),
        (6, b"short", E::Unreadable),
        (7, b"a\x07bell", E::Room),
        (8, b"ashrae", E::Profile),
        (9, b"\x03", E::Unreadable),
        (10, b"\xa0\x05\0\0", E::QuietHours),
        (10, b"\x01\0\x01\0", E::QuietHours),
        (11, b"\x03", E::Unreadable),
        (12, b"\xe7\x03\0\0", E::Period),
        (12, b"\x81\xee\x36\0", E::Period),
        (13, b"\0\0", E::Batch),
        (13, b"\x65\0", E::Batch),
        (14, b"\x02", E::Unreadable),
        (15, b"\xed\x13", E::Altitude),
        (16, b"\x8f\x01", E::SelfCalibration),
        (17, b"\x49\x03", E::UtcOffset),
        (18, b"\x65", E::Brightness),
        (18, b"", E::Unreadable),
        (40, b"seven77", E::OwnPassword),
        (40, b"with a space", E::OwnPassword),
        (40, b"seventeen-letters", E::OwnPassword),
        (19, b"https://broker.example.org", E::Broker),
        (19, b"mqtt://broker.example.org", E::Broker),
        (19, b"mqtts://user@broker.example.org", E::Broker),
        (19, b"mqtts://a:0", E::Broker),
        (19, long.as_bytes(), E::Broker),
        (20, b"MH-Z19", E::Module),
        (20, b"seventeen1letters", E::Module),
    ] {
        let found = every_setting().changed_by(&image(&[(7, b"Other"), (key, value)]));
        assert_eq!(found, Err(error), "{key} {value:?}");
        assert!(format!("{error}").len() > 20, "{error}");
    }
}

#[test]
fn the_longest_settings_fit_into_an_image() {
    let mut der = std::vec![0x30, 0x82, 7, 252];
    der.extend([1; CA_BYTES_MAX - 4]);
    let longest = DeviceSettings {
        device: DeviceId::parse(&"d".repeat(64)),
        wifi: Some(Wifi::new(&"s".repeat(SSID_BYTES_MAX), &"a".repeat(PASSWORD_BYTES_MAX)).unwrap()),
        gateway: Some(GatewayUrl::parse(&format!("https://{}", "g".repeat(URL_BYTES_MAX - 8))).unwrap()),
        token: Some(token(&"t".repeat(TOKEN_BYTES_MAX)).unwrap()),
        ca: Some(ca(&der).unwrap()),
        room: room(&"r".repeat(ROOM_BYTES_MAX)).unwrap(),
        own_password: own_password(&"o".repeat(OWN_PASSWORD_BYTES_MAX)).ok(),
        broker: Some(BrokerUrl::parse(&format!("mqtts://{}", "b".repeat(URL_BYTES_MAX - 8))).unwrap()),
        module: Some(module(&"m".repeat(MODULE_BYTES_MAX)).unwrap()),
        ..every_setting()
    };
    let bytes = longest.encode();
    assert_eq!(DeviceSettings::decode(&bytes), Ok(longest));
    assert_eq!(image_bytes(&bytes), Some(bytes.len()));
}

#[test]
fn an_image_for_many_devices_takes_no_ones_own_password() {
    let own = DeviceSettings { own_password: own_password("k7m2p9qxh4").ok(), ..DeviceSettings::default() };
    assert_eq!(DeviceSettings::decode(&own.encode()), Ok(own.clone()));
    let changed = own.clone().changed_by(&every_setting().encode()).unwrap();
    assert_eq!(changed, DeviceSettings { own_password: own.own_password, ..every_setting() });
}

#[test]
fn the_defaults_are_within_their_own_bounds() {
    let it = DeviceSettings::default();
    assert_eq!(DeviceSettings::decode(&it.encode()), Ok(it.clone()));
    assert_eq!(every_setting().changed_by(&it.encode()), Ok(it));
}

#[test]
fn quiet_hours_may_go_over_midnight() {
    let night = QuietHours::new(22 * 60, 6 * 60).unwrap();
    for (minute, quiet) in
        [(22 * 60 - 1, false), (22 * 60, true), (0, true), (6 * 60 - 1, true), (6 * 60, false)]
    {
        assert_eq!(night.holds(minute), quiet, "{minute}");
    }
    let noon = QuietHours::new(12 * 60, 13 * 60).unwrap();
    assert!(noon.holds(12 * 60) && !noon.holds(13 * 60) && !noon.holds(0));
}

#[test]
fn an_address_says_what_to_look_up() {
    for (text, host, name, port) in [
        ("https://air.example.org", "air.example.org", "air.example.org", 443),
        ("https://air.example.org:8443/", "air.example.org:8443", "air.example.org", 8443),
        ("https://192.0.2.7", "192.0.2.7", "192.0.2.7", 443),
        ("https://[2001:db8::1]:444", "[2001:db8::1]:444", "2001:db8::1", 444),
        ("https://[2001:db8::1]", "[2001:db8::1]", "2001:db8::1", 443),
    ] {
        let url = GatewayUrl::parse(text).unwrap();
        assert_eq!((url.host(), url.name_and_port()), (host, (name, port)), "{text}");
    }
    for (text, name, port) in [
        ("mqtts://broker.example.org", "broker.example.org", 8_883),
        ("mqtts://[2001:db8::1]:8884/", "2001:db8::1", 8_884),
    ] {
        assert_eq!(BrokerUrl::parse(text).unwrap().name_and_port(), (name, port), "{text}");
    }
}

proptest! {
    #[test]
    fn nothing_panics_and_what_is_read_can_be_written(
        entries in prop::collection::vec((0_u8..44, prop::collection::vec(any::<u8>(), 0..40)), 0..12)
    ) {
        let borrowed: std::vec::Vec<_> = entries.iter().map(|(key, value)| (*key, value.as_slice())).collect();
        if let Ok(it) = DeviceSettings::decode(&image(&borrowed)) {
            prop_assert_eq!(DeviceSettings::decode(&it.encode()), Ok(it));
        }
    }

    #[test]
    fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(DeviceSettings::decode(&noise).is_err());
    }
}
