//! What the radio is for at this moment: the network that is set, one that is being tried, or one of its own.
//!
//! ```text
//!            settings to try                      joined, with an address
//! Station ─────────────────────> Trying ────────────────────────────────────> Works: keep them, start anew
//!    ^  │ long press    ^          │ not within 30 s, or the password is refused twice
//!    │  v               │          v
//!   Portal <────────────┴──── where it came from
//!      ten minutes, unless nothing is set
//! ```
//!
//! One thing at a time: a device that shows its own network sends nothing, because there is not memory for both. Nothing is
//! lost by that, readings are kept. Events and the time go in, [`Actions`] come out.

use crate::Millis;
use core::fmt::Write as _;

/// What the radio does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Joins the network of the settings, again and again.
    Station,
    /// Joins the network of settings that somebody has just given.
    Trying,
    /// Shows a network of its own, with the set-up portal.
    Portal,
}

/// Why a network was not joined: what a person can do differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotJoined {
    /// No network of that name is in reach.
    #[error("no network of this name is in reach")]
    Missing,
    /// It refuses the password.
    #[error("the network refuses the password")]
    Password,
    /// It lets the device in and gives no address, or drops it at once.
    #[error("the network gives no address")]
    Address,
}

impl NotJoined {
    /// What a reason code of a station that was not let in means (IEEE 802.11-2020 table 9-49, and above 200 those of
    /// ESP-IDF's `wifi_err_reason_t`). `None` for those that name nothing a person could mend.
    pub const fn of_reason(code: u16) -> Option<Self> {
        match code {
            // The handshake with the password did not come to its end; ESP-IDF's guide names these for a wrong one.
            2 | 14 | 15 | 16 | 202 | 204 => Some(Self::Password),
            // It is there with another kind of lock: open where a password was given, or the other way round.
            13 | 17..=20 | 23 | 24 | 210 | 211 => Some(Self::Password),
            201 | 212 => Some(Self::Missing),
            _ => None,
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The moment of [`Actions::wake_at`] came. Harmless at any other moment.
    Due,
    /// A person wants the portal.
    Open,
    /// A person gave settings to try.
    Try,
    /// The network let the device in.
    Joined,
    /// The network gave an address.
    Address,
    /// It was not joined, or is lost; with the reason where there is one.
    Lost(Option<NotJoined>),
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Actions {
    /// What the radio is for from now on.
    pub mode: Mode,
    /// What became of the settings that were tried.
    pub outcome: Option<Result<(), NotJoined>>,
    /// Tell the state machine of the device, which tells screen and gateway.
    pub tell: Option<NotJoined>,
    /// Leave the network and join it again.
    pub rejoin: bool,
    /// When to come back with [`Event::Due`] unless something else happens first.
    pub wake_at: Option<Millis>,
}

/// The state machine of the radio.
#[derive(Clone, Copy, Debug)]
pub struct Radio {
    /// Whether a network is set.
    known: bool,
    mode: Mode,
    /// Where a trial came from.
    before: Mode,
    /// Since when it is in this mode.
    since: Millis,
    /// Since when it waits for an address.
    joined: Option<Millis>,
    addressed: bool,
    why: Option<NotJoined>,
    refused: u8,
}

impl Radio {
    /// The radio at the start of a device, that knows a network or not.
    pub const fn new(known: bool) -> Self {
        let mode = if known { Mode::Station } else { Mode::Portal };
        Self {
            known,
            mode,
            before: mode,
            since: Millis(0),
            joined: None,
            addressed: false,
            why: None,
            refused: 0,
        }
    }

    /// What the radio is for.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Takes what happened and says what to do.
    pub fn handle(&mut self, event: Event, now: Millis) -> Actions {
        let (mut outcome, mut tell, mut rejoin) = (None, None, false);
        match (event, self.mode) {
            (Event::Open, Mode::Station | Mode::Portal) => self.turn(Mode::Portal, now),
            (Event::Try, Mode::Station | Mode::Portal) => {
                self.before = self.mode;
                self.turn(Mode::Trying, now);
            }
            // What is tried comes to its end first.
            (Event::Open | Event::Try, Mode::Trying) | (Event::Due, _) => {}
            (Event::Joined, Mode::Station | Mode::Trying) => {
                self.joined = Some(now);
                self.addressed = false;
            }
            (Event::Address, Mode::Station) => {
                (self.addressed, self.why) = (true, None);
            }
            (Event::Address, Mode::Trying) => {
                outcome = Some(Ok(()));
                self.known = true;
                self.turn(Mode::Station, now);
                // They are joined already, and the new start joins them again.
                (self.joined, self.addressed) = (Some(now), true);
            }
            (Event::Lost(why), Mode::Station | Mode::Trying) => {
                // One that lets in and drops before there is an address gives none.
                let dropped = (self.joined.take().is_some() && !self.addressed).then_some(NotJoined::Address);
                self.addressed = false;
                let why = why.or(dropped);
                self.refused =
                    if why == Some(NotJoined::Password) { self.refused.saturating_add(1) } else { 0 };
                self.why = why.or(self.why);
                tell = why.filter(|_| self.mode == Mode::Station);
            }
            (Event::Joined | Event::Address | Event::Lost(_), Mode::Portal) => {}
        }
        match self.mode {
            Mode::Trying => {
                // Once may be bad luck on a weak signal.
                let refused = self.refused >= REFUSED_MAX;
                if refused || now.since(self.since) >= TRY_MS {
                    let stuck = if self.joined.is_some() { NotJoined::Address } else { NotJoined::Missing };
                    let why = if self.joined.is_some() { stuck } else { self.why.unwrap_or(stuck) };
                    outcome = Some(Err(why));
                    self.turn(self.before, now);
                }
            }
            Mode::Portal if self.known && now.since(self.since) >= PORTAL_MS => self.turn(Mode::Station, now),
            Mode::Portal => {}
            Mode::Station => {
                let waits = self.joined.filter(|joined| !self.addressed && now.since(*joined) >= ADDRESS_MS);
                if waits.is_some() {
                    self.joined = Some(now);
                    tell = Some(NotJoined::Address);
                    rejoin = true;
                }
            }
        }
        Actions { mode: self.mode, outcome, tell, rejoin, wake_at: self.wake_at() }
    }

    fn wake_at(&self) -> Option<Millis> {
        match self.mode {
            Mode::Trying => Some(self.since.after(TRY_MS)),
            Mode::Portal => self.known.then(|| self.since.after(PORTAL_MS)),
            Mode::Station => self.joined.filter(|_| !self.addressed).map(|joined| joined.after(ADDRESS_MS)),
        }
    }

    fn turn(&mut self, mode: Mode, now: Millis) {
        (self.mode, self.since) = (mode, now);
        (self.joined, self.addressed, self.why, self.refused) = (None, false, None, 0);
    }
}

/// A network in reach, as a scan finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Its name.
    pub ssid: heapless::String<32>,
    /// How strong it is, in dBm.
    pub rssi_dbm: i8,
    /// Whether it wants a password.
    pub secured: bool,
}

/// Networks in reach: strongest first, each name once. Of more than [`HEARD_MAX`] the weakest are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan(heapless::Vec<Heard, HEARD_MAX>);

/// Most networks of a scan.
pub const HEARD_MAX: usize = 16;

impl Scan {
    /// A scan that found nothing.
    pub const fn new() -> Self {
        Self(heapless::Vec::new())
    }

    /// Takes a network. One without a name cannot be chosen from a list.
    pub fn add(&mut self, ssid: &str, rssi_dbm: i8, secured: bool) {
        let Ok(name) = heapless::String::try_from(ssid) else { return };
        if ssid.is_empty() || self.0.iter().any(|it| it.ssid == name && it.rssi_dbm >= rssi_dbm) {
            return;
        }
        self.0.retain(|it| it.ssid != name);
        let at = self.0.iter().position(|it| it.rssi_dbm < rssi_dbm).unwrap_or(self.0.len());
        if self.0.is_full() {
            if at == HEARD_MAX {
                return;
            }
            self.0.pop();
        }
        let _fits = self.0.insert(at, Heard { ssid: name, rssi_dbm, secured });
    }

    /// The networks, as Improv and the portal list them.
    pub fn networks(&self) -> heapless::Vec<crate::improv::Network<'_>, HEARD_MAX> {
        let list = self.0.iter();
        list.map(|it| crate::improv::Network { ssid: &it.ssid, rssi_dbm: it.rssi_dbm, secured: it.secured })
            .collect()
    }
}

/// Name of the device's own network, and of the device in somebody else's: `casement-` and the last three bytes of its
/// address.
pub fn name(mac: &[u8; 6]) -> heapless::String<16> {
    let [.., a, b, c] = mac;
    let mut name = heapless::String::new();
    // Nine characters and six digits.
    let _fits = write!(name, "casement-{a:02x}{b:02x}{c:02x}");
    name
}

/// A password for the device's own network, from chance: ten letters and digits of which none looks like another, some 49
/// bits. It is made once and kept; never from anything that can be read off the device or out of the air.
pub fn password(mut chance: impl FnMut() -> u32) -> heapless::String<16> {
    let mut password = heapless::String::new();
    while password.len() < PASSWORD_LETTERS {
        // The five lowest bits; a number beyond the letters is thrown again, so that all are equally likely.
        if let Some(letter) = LETTERS.get((chance() & 31) as usize) {
            let _fits = password.push(char::from(*letter));
        }
    }
    password
}

/// The device's address in its own network. Its page is at `http://` and this.
pub const OWN_ADDRESS: core::net::Ipv4Addr = core::net::Ipv4Addr::new(192, 168, 4, 1);

/// How long settings are tried. It takes a scan, a handshake and an address; whoever waits at a screen or a browser looks
/// for the plug after a minute.
pub const TRY_MS: u64 = 30_000;
/// How long the portal is open once it was asked for.
pub const PORTAL_MS: u64 = 600_000;
/// How long a network may take to give an address.
pub const ADDRESS_MS: u64 = 30_000;

const REFUSED_MAX: u8 = 2;
const PASSWORD_LETTERS: usize = 10;
/// Without 0, 1, i, l and o: 31 of them.
const LETTERS: &[u8] = b"23456789abcdefghjkmnpqrstuvwxyz";

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    type Story<'a> = &'a [(u64, Event)];

    /// Lets things happen, each at its second, and gives what was decided at the last one.
    fn play(radio: &mut Radio, story: Story<'_>) -> Actions {
        let mut last = None;
        for (second, event) in story {
            last = Some(radio.handle(*event, Millis(second * 1_000)));
        }
        last.expect("something happened")
    }

    #[test]
    fn a_device_without_a_network_shows_its_own_for_as_long_as_it_takes() {
        let mut radio = Radio::new(false);
        let actions = play(&mut radio, &[(0, Event::Due), (86_400, Event::Due), (86_401, Event::Open)]);
        assert_eq!((actions.mode, actions.wake_at), (Mode::Portal, None));
    }

    #[test]
    fn a_long_press_opens_the_portal_for_ten_minutes() {
        let mut radio = Radio::new(true);
        assert_eq!(play(&mut radio, &[(0, Event::Joined), (2, Event::Address)]).wake_at, None);
        let open = play(&mut radio, &[(60, Event::Open)]);
        assert_eq!((open.mode, open.wake_at), (Mode::Portal, Some(Millis(660_000))));
        assert_eq!(play(&mut radio, &[(659, Event::Due)]).mode, Mode::Portal);
        // A second press begins the ten minutes anew.
        assert_eq!(play(&mut radio, &[(659, Event::Open), (660, Event::Due)]).mode, Mode::Portal);
        assert_eq!(play(&mut radio, &[(1_259, Event::Due)]).mode, Mode::Station);
    }

    #[test]
    fn what_works_is_kept_and_what_does_not_leads_back_with_the_reason() {
        use NotJoined::{Address, Missing, Password};
        let lost = |why| Event::Lost(Some(why));
        let twice = [(3, lost(Password)), (6, lost(Password))];
        let stories: [(Story, Result<(), NotJoined>); 8] = [
            (&[(4, Event::Joined), (6, Event::Address)], Ok(())),
            (&twice, Err(Password)),
            (&[(4, lost(Missing)), (29, lost(Missing)), (30, Event::Due)], Err(Missing)),
            (&[(30, Event::Due)], Err(Missing)),
            (&[(4, Event::Joined), (30, Event::Due)], Err(Address)),
            (&[(4, Event::Joined), (5, Event::Lost(None)), (30, Event::Due)], Err(Address)),
            // A hiccup is forgiven, and so is a reason that says nothing.
            (&[(3, lost(Password)), (9, Event::Joined), (11, Event::Address)], Ok(())),
            (
                &[(3, Event::Lost(None)), (4, lost(Missing)), (5, Event::Lost(None)), (30, Event::Due)],
                Err(Missing),
            ),
        ];
        for known in [false, true] {
            for (story, outcome) in stories {
                let mut radio = Radio::new(known);
                let tried = play(&mut radio, &[(0, Event::Try)]);
                assert_eq!((tried.mode, tried.wake_at), (Mode::Trying, Some(Millis(30_000))));
                let actions = play(&mut radio, story);
                assert_eq!(actions.outcome, Some(outcome), "{story:?}");
                let back = if known || outcome.is_ok() { Mode::Station } else { Mode::Portal };
                assert_eq!(actions.mode, back, "{story:?}");
                assert_eq!(play(&mut radio, &[(40, Event::Due)]).outcome, None, "it is told once");
            }
        }
    }

    #[test]
    fn a_second_wish_waits_for_the_first() {
        let mut radio = Radio::new(true);
        let actions =
            play(&mut radio, &[(0, Event::Try), (5, Event::Try), (6, Event::Open), (29, Event::Due)]);
        assert_eq!((actions.mode, actions.wake_at), (Mode::Trying, Some(Millis(30_000))));
        assert_eq!(play(&mut radio, &[(30, Event::Due)]).outcome, Some(Err(NotJoined::Missing)));
    }

    #[test]
    fn why_a_network_is_not_joined_is_told() {
        use NotJoined::{Address, Missing, Password};
        let mut radio = Radio::new(true);
        assert_eq!(play(&mut radio, &[(4, Event::Lost(Some(Missing)))]).tell, Some(Missing));
        assert_eq!(play(&mut radio, &[(9, Event::Lost(Some(Password)))]).tell, Some(Password));
        // An access point that accepts and drops.
        assert_eq!(play(&mut radio, &[(20, Event::Joined), (21, Event::Lost(None))]).tell, Some(Address));
        // One that accepts and says nothing: joined again every half a minute.
        let silent = play(&mut radio, &[(30, Event::Joined), (59, Event::Due)]);
        assert_eq!((silent.tell, silent.rejoin, silent.wake_at), (None, false, Some(Millis(60_000))));
        let silent = play(&mut radio, &[(60, Event::Due)]);
        assert_eq!((silent.tell, silent.rejoin), (Some(Address), true));
        // Losing a network that worked is no fault of its own.
        let story = [(70, Event::Joined), (72, Event::Address), (900, Event::Lost(None))];
        assert_eq!(play(&mut radio, &story).tell, None);
        assert_eq!(play(&mut radio, &[(905, Event::Lost(Some(Missing)))]).tell, Some(Missing));
    }

    #[test]
    fn whatever_happens_in_whatever_order_a_trial_ends_and_is_told_once() {
        let events = [
            Event::Due,
            Event::Open,
            Event::Try,
            Event::Joined,
            Event::Address,
            Event::Lost(None),
            Event::Lost(Some(NotJoined::Password)),
        ];
        // All stories of five events, four seconds apart, then the end of the trial.
        for known in [false, true] {
            for story in 0..events.len().pow(5) {
                let mut radio = Radio::new(known);
                let (mut trials, mut outcomes, mut at) = (0, 0, story);
                for step in 0..6 {
                    let event = if step < 5 { events[at % events.len()] } else { Event::Due };
                    at /= events.len();
                    let now = Millis(if step < 5 { step * 4_000 } else { 60_000 });
                    trials += u32::from(event == Event::Try && radio.mode() != Mode::Trying);
                    let actions = radio.handle(event, now);
                    outcomes += u32::from(actions.outcome.is_some());
                    assert_eq!(actions.mode, radio.mode());
                    assert!(actions.wake_at.is_some() || actions.mode != Mode::Trying);
                }
                assert_eq!(trials, outcomes, "story {story}");
                assert!(known || outcomes > 0 || radio.mode() == Mode::Portal, "story {story}");
            }
        }
    }

    #[test]
    fn reason_codes_have_their_meaning() {
        for (code, why) in [
            (15, Some(NotJoined::Password)),
            (202, Some(NotJoined::Password)),
            (211, Some(NotJoined::Password)),
            (201, Some(NotJoined::Missing)),
            (8, None),
            (200, None),
            (0, None),
        ] {
            assert_eq!(NotJoined::of_reason(code), why, "{code}");
        }
    }

    #[test]
    fn a_scan_lists_each_name_once_strongest_first() {
        let mut scan = Scan::new();
        for (ssid, rssi) in [("School", -71), ("", -20), ("Guest", -66), ("School", -48), ("Guest", -80)] {
            scan.add(ssid, rssi, ssid == "School");
        }
        let list: Vec<_> = scan.networks().iter().map(|it| (it.ssid.to_string(), it.rssi_dbm)).collect();
        assert_eq!(list, [("School".into(), -48), ("Guest".into(), -66)]);
        for number in 0..40 {
            scan.add(&std::format!("n{number}"), -90 + number, true);
        }
        let list = scan.networks();
        assert_eq!((list.len(), list[0].ssid, list[1].ssid), (HEARD_MAX, "School", "n39"));
        assert!(list.is_sorted_by_key(|it| -i16::from(it.rssi_dbm)));
    }

    #[test]
    fn its_own_network_is_named_after_the_device_and_locked_by_chance() {
        assert_eq!(name(&[0, 0, 0, 0xab, 0xcd, 0x0e]), "casement-abcd0e");
        let mut number = 0_u32;
        let mut chance = || {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            number >> 16
        };
        let (first, second) = (password(&mut chance), password(&mut chance));
        assert_ne!(first, second);
        assert!(first.len() == 10 && first.bytes().all(|byte| LETTERS.contains(&byte)), "{first}");
        assert_eq!(LETTERS.len(), 31);
    }
}
