//! A button: bouncing contacts in, presses out.
//!
//! A driver looks at the contact every ten to thirty milliseconds and hands over what it sees; a finger on a touch screen
//! is a contact, too. What is down when the device starts is no press: it may be a stuck button, or a cable in the way.

use crate::Millis;
use crate::node::Press;

/// One button.
#[derive(Clone, Copy, Debug)]
pub struct Button {
    /// What is believed, and since when.
    down: bool,
    since: Millis,
    /// What was seen last, and since when without a break.
    seen: bool,
    seen_since: Millis,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody has let go of it yet since the start.
    Unknown,
    /// Up, or down for less than a long press.
    Ready,
    /// Down, and its long press has been told.
    Told,
}

impl Button {
    /// A button at the start of a device.
    pub const fn new() -> Self {
        let (down, since) = (true, Millis(0));
        Self { down, since, seen: down, seen_since: since, state: State::Unknown }
    }

    /// Takes what the contact says at a moment. Gives a short press when it is let go, and a long one as soon as it has
    /// lasted long enough, so that a person need not count.
    pub fn see(&mut self, down: bool, now: Millis) -> Option<Press> {
        if down != self.seen {
            (self.seen, self.seen_since) = (down, now);
        }
        if self.seen != self.down && now.since(self.seen_since) >= STEADY_MS {
            (self.down, self.since) = (self.seen, self.seen_since);
            let state = core::mem::replace(&mut self.state, State::Ready);
            return (!self.down && state == State::Ready).then_some(Press::Short);
        }
        if self.down && self.state == State::Ready && now.since(self.since) >= LONG_MS {
            self.state = State::Told;
            return Some(Press::Long);
        }
        None
    }
}

impl Default for Button {
    fn default() -> Self {
        Self::new()
    }
}

/// Contacts bounce for some milliseconds. On the first ESP32, G36 and G39 are pulled low for moments when its radio wakes
/// up, too (its errata), and the Atom's button is on G39.
const STEADY_MS: u64 = 30;

/// From here on a press is a long one.
const LONG_MS: u64 = 3_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Presses of a contact that is looked at every ten milliseconds: it changes at these moments, and is up at first.
    fn presses(changes_ms: &[u64], upto_ms: u64) -> Vec<(u64, Press)> {
        let mut button = Button::new();
        (0..=upto_ms / 10)
            .filter_map(|tick| {
                let now = tick * 10;
                let down = changes_ms.iter().filter(|at| **at <= now).count() % 2 == 1;
                Some((now, button.see(down, Millis(now))?))
            })
            .collect()
    }

    #[test]
    fn a_press_is_told_once() {
        assert_eq!(presses(&[1_000, 1_200], 9_000), [(1_230, Press::Short)]);
        assert_eq!(
            presses(&[1_000, 1_200, 1_500, 1_600], 9_000),
            [(1_230, Press::Short), (1_630, Press::Short)]
        );
        assert_eq!(presses(&[], 9_000), []);
    }

    #[test]
    fn a_long_press_is_told_while_it_is_held_and_not_again() {
        assert_eq!(presses(&[1_000, 9_000], 20_000), [(4_000, Press::Long)]);
        // A little less is short.
        assert_eq!(presses(&[1_000, 3_950], 20_000), [(3_980, Press::Short)]);
        assert_eq!(
            presses(&[1_000, 9_000, 10_000, 10_100], 20_000),
            [(4_000, Press::Long), (10_130, Press::Short)]
        );
    }

    #[test]
    fn bounces_and_glitches_are_no_presses() {
        // Down at 1,000 and up at 1,400, with three bounces each.
        let bouncing = [
            1_000, 1_005, 1_011, 1_015, 1_021, 1_025, 1_031, 1_400, 1_405, 1_411, 1_415, 1_421, 1_425, 1_431,
        ];
        let found = presses(&bouncing, 9_000);
        assert!(matches!(found[..], [(_, Press::Short)]), "{found:?}");
        assert_eq!(presses(&[1_000, 1_010, 2_000, 2_020], 9_000), []);
        // A gap of a contact that is held does not begin anew.
        assert_eq!(presses(&[1_000, 2_000, 2_010, 9_000], 20_000), [(4_000, Press::Long)]);
    }

    #[test]
    fn what_is_down_at_the_start_is_no_press() {
        assert_eq!(presses(&[0], 60_000), []);
        assert_eq!(presses(&[0, 9_000], 60_000), []);
        // Once it was let go it counts.
        assert_eq!(presses(&[0, 9_000, 10_000, 10_200], 60_000), [(10_230, Press::Short)]);
    }
}
