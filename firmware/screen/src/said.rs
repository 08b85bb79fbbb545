//! What a screen says in words when something is wrong, for whoever has no screen to look at: tables, tests, logs.

use crate::view::Trouble;
use crate::words;
use casement_core::{Link, Trouble as Cause};
use casement_proto::State;

/// What a large screen says about what is wrong, and what it says about helping. After a sensor's name for sensors;
/// empty where it shows nothing. `clock` is as for [`Trouble::of`].
pub fn said(cause: Cause, clock: bool) -> [&'static str; 2] {
    match (Trouble::of(cause, clock), cause) {
        (Some(trouble), _) => [words::trouble(trouble), words::trouble_fix(trouble)],
        (None, Cause::Sensor(fault)) => [words::fault(fault), words::fault_fix(fault)],
        (None, Cause::Doubtful) => {
            [words::no_band(State::Suspect, None).long, words::why(State::Suspect, None)]
        }
        (None, Cause::NoNetwork) => [words::link(Link::Offline), ""],
        (None, Cause::Upload(_) | Cause::NotJoined(_) | Cause::QueueFull | Cause::Flash | Cause::Frozen) => {
            ["", ""]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use casement_core::{Fault, UploadError};

    #[test]
    fn everything_that_is_shown_has_words() {
        let shown = [
            Cause::Sensor(Fault::Bus),
            Cause::Frozen,
            Cause::NoNetwork,
            Cause::QueueFull,
            Cause::Flash,
            Cause::Upload(UploadError::Token),
        ];
        for cause in shown {
            assert!(!said(cause, true)[0].is_empty(), "{cause:?}");
        }
        // It is looked for and left out, so nobody need do anything.
        assert_eq!(said(Cause::Upload(UploadError::Refused), true), ["", ""]);
    }
}
