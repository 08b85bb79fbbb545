#![no_main]

use casement_proto::{Crc32, DeviceSettings};

// The CRC would keep the fuzzer out, so it is made right first.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _as_it_came = DeviceSettings::decode(bytes);
    let mut image = b"CSET\x01\0".to_vec();
    let Ok(len) = u16::try_from(bytes.len()) else { return };
    image.extend(len.to_le_bytes());
    image.extend(bytes);
    image.extend(Crc32::new().with(&image).value().to_le_bytes());
    if let Ok(settings) = DeviceSettings::decode(&image) {
        assert_eq!(DeviceSettings::decode(&settings.encode()), Ok(settings));
    }
});
