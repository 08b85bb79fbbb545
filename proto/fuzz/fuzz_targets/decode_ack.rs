#![no_main]

use casement_proto::wire::decode_ack;

// A device reads what claims to be its gateway: whatever that says, the answer is an acknowledgement or nothing.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(ack) = decode_ack(bytes) {
        assert!(bytes.contains(&b'{'), "{ack:?} out of nothing");
    }
});
