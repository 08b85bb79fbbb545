#![no_main]

use casement_core::http::Request;
use casement_core::improv::Facts;
use casement_core::page::ANSWER_BYTES_MAX;
use casement_core::portal;
use casement_proto::DeviceSettings;

// A form from whoever joined the device's own network: always a whole page, and only settings that can be kept.
libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let settings = DeviceSettings::default();
    let facts =
        Facts { version: "1.0.0", chip: "ESP32-C3", name: "fuzz", settings: &settings, networks: &[] };
    let mut out = [0; ANSWER_BYTES_MAX];
    let (answer, tried) =
        portal::answer(&Request { method: "POST", target: "/", body }, &facts, None, &mut out);
    assert_eq!(answer.status == 200, tried.is_some());
    assert!(out[..answer.len].ends_with(b"</html>\n"));
    if let Some(settings) = tried {
        assert_eq!(DeviceSettings::decode(&settings.encode()), Ok(settings));
    }
});
