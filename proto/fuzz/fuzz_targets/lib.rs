//! What must hold for every batch, whatever its bytes. `smoke` in this folder builds and runs the targets for a few
//! seconds each; `cargo fuzz run decode_json seeds/decode_json` runs one for as long as you like.

use casement_proto::reading::VALUES_MAX;
use casement_proto::wire::{Batch, DecodeError, Header, READINGS_MAX, Reject, TooSmall};
use casement_proto::{Quantity, Reading};

/// A decoder of batches.
pub type Decode =
    fn(&[u8], usize, &mut dyn FnMut(usize, Result<Reading, Reject>)) -> Result<Header, DecodeError>;
/// The encoder that it must agree with.
pub type Encode = fn(&Batch<'_>, &mut [u8]) -> Result<usize, TooSmall>;

/// Decodes, checks what every accepted reading promises, and that it survives being encoded and decoded again.
pub fn check(bytes: &[u8], decode: Decode, encode: Encode) {
    let mut accepted = Vec::new();
    let mut next = 0;
    let outcome = decode(bytes, READINGS_MAX, &mut |index, reading| {
        assert_eq!(index, next, "readings come in order, none left out");
        next += 1;
        match reading {
            Ok(reading) => accepted.push(reading),
            Err(reject) => assert!(!reject.detail.is_empty(), "a reject says why"),
        }
    });
    assert!(next <= READINGS_MAX);
    for reading in &accepted {
        assert!(reading.values.len() <= VALUES_MAX);
        for (at, (quantity, value)) in reading.values.iter().enumerate() {
            assert!(quantity.holds(*value), "{quantity:?} cannot be {value}");
            assert!(Quantity::parse(quantity.name()).is_some());
            assert!(
                reading.values.iter().skip(at + 1).all(|(other, _)| other != quantity),
                "{quantity:?} twice"
            );
        }
    }
    let Ok(header) = outcome else { return };

    let mut out = vec![0; 64 * 1024];
    // A batch that is too large for the buffer is not of interest here.
    let Ok(length) = encode(&Batch { boot: header.boot, readings: &accepted, health: None }, &mut out) else {
        return;
    };
    let mut again = Vec::new();
    let header_again = decode(&out[..length], READINGS_MAX, &mut |_, reading| again.push(reading));
    assert_eq!(header_again.map(|again| again.boot), Ok(header.boot));
    assert_eq!(again.into_iter().collect::<Result<Vec<_>, _>>(), Ok(accepted));
}
