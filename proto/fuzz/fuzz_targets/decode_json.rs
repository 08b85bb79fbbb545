#![no_main]

use casement_proto::wire;
use casement_proto_fuzz::check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check(bytes, wire::decode_json, wire::encode_json));
