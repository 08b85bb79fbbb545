#![no_main]

use casement_core::http::{HEAD_BYTES_MAX, Refusal, head};

// A request from whoever is in the same network: a head within its bounds, or a refusal with a status; and what a cut hides
// is never found to be whole.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match head(bytes) {
        Ok(Some(head)) => {
            assert!(head.len <= bytes.len().min(HEAD_BYTES_MAX) && !head.method.is_empty());
            for cut in [head.len / 2, head.len - 1] {
                assert_eq!(head_of(&bytes[..cut]), None);
            }
        }
        Ok(None) => assert!(bytes.len() < HEAD_BYTES_MAX),
        Err(refusal) => {
            let mut out = [0; 128];
            assert!(matches!(refusal.answer(&mut out).status, 400 | 403 | 411 | 413 | 431));
            assert!(bytes.len() >= HEAD_BYTES_MAX || refusal != Refusal::HeadTooLong || bytes.len() > 32);
        }
    }
});

fn head_of(bytes: &[u8]) -> Option<usize> {
    head(bytes).ok().flatten().map(|head| head.len)
}
