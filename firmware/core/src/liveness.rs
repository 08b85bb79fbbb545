//! When nothing comes back: connect anew, then build the radio up anew, then restart.
//!
//! Being offline is a normal state, and a restart mends nothing when the network is simply not there. So there are
//! three conditions: the device is connected, has tried and still hears nothing; no sensor is warming up, conditioning or
//! calibrating; and this start has reached the gateway before. The last one makes a loop impossible: a start that
//! reaches nobody never restarts, so there is at most one restart for each time that something got through.

use crate::Millis;

/// What may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rescue {
    /// Drop the connection and its session, leave the network and join it again.
    Reconnect,
    /// Tear the network interface down and build it up again.
    Radio,
    /// Restart the device.
    Restart,
}

/// Watches whether anything comes back.
#[derive(Clone, Copy, Debug)]
pub struct Liveness {
    /// Since when nothing has come back.
    silent_since: Option<Millis>,
    /// Since when, or since the radio was last built up.
    radio_since: Millis,
    reconnected: bool,
    /// Whether anything got through in this start.
    reached: bool,
    /// Whether something was tried since the network came.
    tried: bool,
}

impl Liveness {
    /// At the beginning of a start nothing has come back yet.
    pub const fn new() -> Self {
        Self {
            silent_since: Some(Millis(0)),
            radio_since: Millis(0),
            reconnected: false,
            reached: false,
            tried: false,
        }
    }

    /// Something came back, even if unfriendly.
    pub const fn answered(&mut self) {
        self.silent_since = None;
    }

    /// The gateway took something.
    pub const fn took(&mut self) {
        self.answered();
        self.reached = true;
    }

    /// The network came. However long it was gone, the gateway has its chance before anything is done about its silence.
    pub const fn linked(&mut self) {
        self.tried = false;
    }

    /// Nothing came back, or the network went away.
    pub const fn silent(&mut self, now: Millis) {
        self.tried = true;
        if self.silent_since.is_none() {
            self.silent_since = Some(now);
            self.radio_since = now;
            self.reconnected = false;
        }
    }

    /// What to do about it. `link` says that there is a network, `calm` that a restart would disturb no sensor.
    pub fn rescue(&mut self, now: Millis, link: bool, calm: bool) -> Option<Rescue> {
        let since = self.silent_since?;
        if link && self.tried && calm && self.reached && now.since(since) >= RESTART_MS {
            // In case the restart does not come about.
            self.reached = false;
            return Some(Rescue::Restart);
        }
        if now.since(self.radio_since) >= RADIO_MS {
            self.radio_since = now;
            self.reconnected = false;
            return Some(Rescue::Radio);
        }
        if link && !self.reconnected && now.since(self.radio_since) >= RECONNECT_MS {
            self.reconnected = true;
            return Some(Rescue::Reconnect);
        }
        None
    }
}

impl Default for Liveness {
    fn default() -> Self {
        Self::new()
    }
}

const RECONNECT_MS: u64 = 180_000;
const RADIO_MS: u64 = 600_000;
const RESTART_MS: u64 = 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Minutes at which something is done, over a day of silence.
    fn day(mut liveness: Liveness, link: bool, calm: impl Fn(u64) -> bool) -> Vec<(u64, Rescue)> {
        (1..=1_440)
            .filter_map(|minute| {
                liveness.silent(Millis(0));
                Some((minute, liveness.rescue(Millis(minute * 60_000), link, calm(minute))?))
            })
            .collect()
    }

    fn reached() -> Liveness {
        let mut liveness = Liveness::new();
        liveness.took();
        liveness
    }

    fn restarts(day: &[(u64, Rescue)]) -> Vec<u64> {
        day.iter().filter(|(_, it)| *it == Rescue::Restart).map(|(minute, _)| *minute).collect()
    }

    #[test]
    fn it_gets_rougher_and_restarts_once() {
        let done = day(reached(), true, |_| true);
        let first =
            [(3, Rescue::Reconnect), (10, Rescue::Radio), (13, Rescue::Reconnect), (20, Rescue::Radio)];
        assert_eq!(done[..4], first);
        assert_eq!(restarts(&done), [60]);
        assert_eq!(done.iter().filter(|(_, it)| *it == Rescue::Radio).count(), 143);
    }

    #[test]
    fn a_start_that_reached_nobody_never_restarts() {
        assert_eq!(restarts(&day(Liveness::new(), true, |_| true)), [0; 0]);
    }

    #[test]
    fn without_a_network_a_restart_would_mend_nothing() {
        let done = day(reached(), false, |_| true);
        assert!(done.iter().all(|(_, it)| *it == Rescue::Radio), "{done:?}");
    }

    #[test]
    fn a_network_that_comes_back_is_tried_before_a_restart() {
        let mut liveness = reached();
        liveness.silent(Millis(0));
        let day = Millis(86_400_000);
        assert_eq!(liveness.rescue(day, false, true), Some(Rescue::Radio));
        liveness.linked();
        assert_eq!(liveness.rescue(day, true, true), None);
        // Nor does it wait for another hour when that is silent, too.
        liveness.silent(day.after(1_000));
        assert_eq!(liveness.rescue(day.after(2_000), true, true), Some(Rescue::Restart));
    }

    #[test]
    fn a_sensor_that_conditions_is_waited_for() {
        assert_eq!(restarts(&day(reached(), true, |minute| minute >= 720)), [720]);
        assert_eq!(restarts(&day(reached(), true, |_| false)), [0; 0]);
    }

    #[test]
    fn any_answer_ends_the_silence() {
        let mut liveness = reached();
        for minute in 1..600 {
            liveness.silent(Millis(minute * 60_000));
            if minute % 2 == 0 {
                liveness.answered();
            }
            assert_eq!(liveness.rescue(Millis(minute * 60_000), true, true), None);
        }
    }
}
