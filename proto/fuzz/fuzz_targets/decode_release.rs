#![no_main]

use casement_proto::SignedRelease;

// A manifest has one form: what is read is written the same, byte for byte, or the signature would be of something else.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(release) = SignedRelease::decode(bytes) {
        assert_eq!(release.encode().as_slice(), bytes);
    }
});
