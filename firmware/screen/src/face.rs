//! What a screen shows when: from what a driver knows to a [`View`].
//!
//! | page | when |
//! |---|---|
//! | set-up | by itself while the device's own network is open, for ten minutes; after that it is one of the pages to turn to |
//! | update | for fifteen seconds whenever an update has come a step further |
//! | joining | after a start, until the gateway took something and four seconds longer; at most for a minute |
//! | air | otherwise |
//! | about, self-test | a press each further from the air; back to it after thirty seconds |
//!
//! A press on a page that came by itself leads to the air, and it does not come again. What a person turned to comes
//! before all others, and of the others what stands first in the table.
//!
//! The palette is dark in quiet hours and from 20 to 7 o'clock on the wall, and light while the time is unknown: a room
//! at night is dark with and without quiet hours, and a bright pane in it would be the brightest thing.
//!
//! Nothing is read or drawn here, and time is an argument: boards and the simulated device share this.

use crate::past::Past;
use crate::view::{
    About, Air, Check, Clock, History, Joining, Outcome, Page, Setup, Stage, Step, Theme, Trouble, Update,
    View,
};
use crate::words;
use casement_core::{Display, Fault, Link, Millis, Node, QueueStatus, Settings};
use casement_proto::device_settings::{PASSWORD_BYTES_MAX, ROOM_BYTES_MAX, SSID_BYTES_MAX, URL_BYTES_MAX};
use casement_proto::{DeviceSettings, State, Version};
use core::fmt::Write;
use heapless::{String, Vec};

/// What a driver knows, small and owned, so that it can be handed to whoever draws. Made anew or changed whenever
/// something happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// What the node wants shown: the latest [`Actions::show`](casement_core::Actions::show).
    pub display: Display,
    /// What is wrong and stands nowhere else, in the screen's words.
    pub trouble: Option<Trouble>,
    /// When the device started, in milliseconds since 1970; `None` while nobody has said what time it is.
    pub started_unix_ms: Option<i64>,
    /// Temperature in tenths of a degree Celsius.
    pub temperature_dc: Option<i16>,
    /// Relative humidity in percent.
    pub humidity_pct: Option<u8>,
    /// The sensors that were found, the first one the source of the number. Of more than these the rest is not shown.
    pub sensors: Vec<Sensor, SENSORS_MAX>,
    /// The queue's counters.
    pub queue: QueueStatus,
    /// Whether readings wait on flash. Without its partition they wait in memory, and are lost with the power.
    pub on_flash: bool,
    /// How far the network is.
    pub network: Network,
    /// Signal of the network in dBm.
    pub rssi: Option<i8>,
    /// The device's own network, while it is open.
    pub portal: Option<Portal>,
    /// What [`Stage::of`] says of the updater. [`Stage::Installed`] comes by itself after [`Stage::Trial`].
    pub update: Option<(Version, Stage)>,
}

/// A sensor that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sensor {
    /// As its maker calls it.
    pub name: &'static str,
    /// Its serial number, if it has one that can be read.
    pub serial: Option<u64>,
    /// How far to trust it, or what is wrong with it.
    pub state: Result<State, Fault>,
    /// Milliseconds until its state is over.
    pub remaining_ms: Option<u64>,
}

/// How far the network is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// It is being looked for; [`Facts::trouble`] may say why in vain.
    #[default]
    Away,
    /// It is joined, and there is no address yet.
    Joined,
    /// There is an address.
    Address([u8; 4]),
}

/// The network that a device opens for its set-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portal {
    /// Its name.
    pub network: String<SSID_BYTES_MAX>,
    /// Its password; empty for an open one.
    pub password: String<PASSWORD_BYTES_MAX>,
}

/// Most sensors that are shown one by one.
pub const SENSORS_MAX: usize = 3;

impl Facts {
    /// Takes over what the state machine knows. The rest is the driver's.
    pub fn look(&mut self, node: &Node, now: Millis) {
        self.started_unix_ms = node.timeline(now).started_unix_ms;
        self.trouble = node.trouble(now).and_then(|cause| Trouble::of(cause, self.started_unix_ms.is_some()));
        self.queue = node.health().queue;
        let latest = |name: &str| {
            let mut values = node.latest(now)?.iter();
            values.find(|(quantity, _)| quantity.name() == name).map(|(_, value)| *value)
        };
        // Quantities are within their ranges, and a cast does not overflow: it saturates.
        let tenths = |value: f64| (value * 10.0 + if value < 0.0 { -0.5 } else { 0.5 }) as i16;
        self.temperature_dc = latest("temperature").map(tenths);
        self.humidity_pct = latest("humidity").map(|value| (value + 0.5) as u8);
    }

    fn unix_ms(&self, now: Millis) -> Option<i64> {
        Some(self.started_unix_ms?.saturating_add_unsigned(now.0))
    }
}

/// What a device is called, and where it belongs: what does not change until its next start.
#[derive(Clone, Debug)]
struct Fixed {
    room: String<ROOM_BYTES_MAX>,
    device: String<64>,
    network: Option<String<SSID_BYTES_MAX>>,
    gateway: Option<String<URL_BYTES_MAX>>,
    version: &'static str,
    board: &'static str,
}

/// The face of one device: which page it shows, and the past of its number. Less than two kilobytes.
#[derive(Clone, Debug)]
pub struct Face {
    fixed: Fixed,
    settings: Settings,
    facts: Facts,
    past: Past,
    /// The page that a person turned to, and when.
    turned: Option<(Leaf, Millis)>,
    /// When the device's own network opened, until somebody turned away.
    portal: Option<Millis>,
    /// What the last step of an update was, when it came, and whether somebody has turned away.
    update: Option<((Version, Stage), Millis)>,
    update_seen: bool,
    joining: Way,
}

/// Pages to turn to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaf {
    Air,
    About,
    SelfTest,
    Setup,
}

/// The way to the gateway after a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Not there yet.
    Under,
    /// The gateway took something, at this moment.
    Arrived(Millis),
    /// No longer of interest.
    Past,
}

/// What is on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Leaf(Leaf),
    Update(Version, Stage),
    Joining,
}

impl Face {
    /// The face of a device with these settings, of which nothing is known yet. `version` is that of the firmware.
    pub fn new(settings: &DeviceSettings, version: &'static str, board: &'static str) -> Self {
        let text = |text: &str| String::try_from(text).unwrap_or_default();
        let device = settings.device.as_ref().map(|id| String::try_from(id.as_str()).unwrap_or_default());
        let gateway = settings.gateway.as_ref();
        let fixed = Fixed {
            room: settings.room.clone(),
            device: device.unwrap_or_default(),
            network: settings.wifi.as_ref().map(|wifi| text(wifi.ssid())),
            gateway: gateway.map(|url| String::try_from(url.host()).unwrap_or_default()),
            version,
            board,
        };
        // Without a network and a gateway there is no way.
        let goes = fixed.network.is_some() && fixed.gateway.is_some();
        Self {
            fixed,
            settings: Settings::from(settings),
            facts: Facts::default(),
            past: Past::new(Millis(0)),
            turned: None,
            portal: None,
            update: None,
            update_seen: true,
            joining: if goes { Way::Under } else { Way::Past },
        }
    }

    /// Takes what a driver knows.
    pub fn look(&mut self, facts: &Facts, now: Millis) {
        let number = facts.display.primary.filter(|_| facts.display.fault.is_none());
        self.past.see(number, now);
        if facts.portal.is_some() != self.facts.portal.is_some() {
            self.portal = facts.portal.as_ref().map(|_| now);
            self.turned = None;
        }
        let before = self.update.map(|(going, _)| going);
        let next = match (facts.update, before) {
            // The version on trial has proven itself.
            (None, Some((version, Stage::Trial | Stage::Installed))) => Some((version, Stage::Installed)),
            (next, _) => next,
        };
        let kind = |(version, stage): (Version, Stage)| (version, core::mem::discriminant(&stage));
        match (next, &mut self.update) {
            (None, _) => self.update = None,
            (Some(next), Some((going, _))) if kind(next) == kind(*going) => *going = next,
            (Some(next), _) => (self.update, self.update_seen) = (Some((next, now)), false),
        }
        if self.joining == Way::Under && facts.display.link == Link::Online {
            self.joining = Way::Arrived(now);
        }
        self.facts.clone_from(facts);
    }

    /// A person wants the next page: [`Actions::next_screen`](casement_core::Actions::next_screen).
    pub fn turn(&mut self, now: Millis) {
        let next = match self.shown(now) {
            Shown::Leaf(Leaf::Air) => Leaf::About,
            Shown::Leaf(Leaf::About) => Leaf::SelfTest,
            Shown::Leaf(Leaf::SelfTest) if self.facts.portal.is_some() => Leaf::Setup,
            Shown::Leaf(Leaf::SelfTest | Leaf::Setup) | Shown::Update(..) | Shown::Joining => Leaf::Air,
        };
        match self.shown(now) {
            Shown::Leaf(Leaf::Setup) => self.portal = None,
            Shown::Update(..) => self.update_seen = true,
            Shown::Joining => self.joining = Way::Past,
            Shown::Leaf(Leaf::Air | Leaf::About | Leaf::SelfTest) => {}
        }
        self.turned = Some((next, now));
    }

    /// Shows what is to be shown at a moment: hands the view to whoever draws it, and gives back what that gave.
    pub fn show<R>(&mut self, now: Millis, draw: impl FnOnce(&View<'_>) -> R) -> R {
        // The number goes on standing there.
        self.past.see(self.facts.display.primary.filter(|_| self.facts.display.fault.is_none()), now);
        let minute = self.facts.unix_ms(now).map(|unix_ms| self.settings.local_minute(unix_ms));
        let clock = minute.map(|minute| Clock { hour: (minute / 60) as u8, minute: (minute % 60) as u8 });
        let night = minute.is_some_and(|minute| !DAY.contains(&(minute / 60)));
        let dark = night || self.settings.is_quiet(self.facts.unix_ms(now));
        let theme = if dark { Theme::Dark } else { Theme::Light };
        let name = [&self.fixed.room[..], &self.fixed.device, "Casement"];
        let name = name.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
        let draw = |page: Page<'_>| draw(&View { name, clock, theme, page });
        match self.shown(now) {
            Shown::Leaf(Leaf::Air) => {
                let (ppm, minutes) = self.past.line();
                let profile = self.settings.profile();
                let thresholds = (profile.soon_from, profile.now_from);
                draw(Page::Air(self.air(History { ppm: &ppm, minutes, thresholds })))
            }
            Shown::Leaf(Leaf::About) => {
                let url = self.url();
                draw(Page::About(About {
                    url: &url,
                    gateway: self.fixed.gateway.as_deref().unwrap_or("none yet"),
                    device: if self.fixed.device.is_empty() { "none yet" } else { &self.fixed.device },
                    version: self.fixed.version,
                    board: self.fixed.board,
                }))
            }
            Shown::Leaf(Leaf::SelfTest) => {
                let found = self.checks(now);
                let checks =
                    found.iter().map(|(name, outcome, detail)| Check { name, outcome: *outcome, detail });
                draw(Page::SelfTest(&checks.collect::<Vec<_, CHECKS_MAX>>()))
            }
            Shown::Leaf(Leaf::Setup) => {
                let portal = self.facts.portal.as_ref();
                let (network, password) =
                    portal.map_or(("", ""), |portal| (&portal.network[..], &portal.password[..]));
                draw(Page::Setup(Setup { network, password, url: PORTAL_URL }))
            }
            Shown::Update(version, stage) => {
                let version = written::<20>(version);
                draw(Page::Update(Update { version: &version, running: self.fixed.version, stage }))
            }
            Shown::Joining => {
                let (step, trouble) = self.way();
                let network = self.fixed.network.as_deref().unwrap_or_default();
                draw(Page::Joining(Joining { network, step, trouble }))
            }
        }
    }

    fn shown(&self, now: Millis) -> Shown {
        if let Some((leaf, since)) = self.turned
            && now.since(since) < if leaf == Leaf::Setup { SETUP_MS } else { BACK_MS }
        {
            return Shown::Leaf(leaf);
        }
        if self.portal.is_some_and(|since| now.since(since) < SETUP_MS) {
            return Shown::Leaf(Leaf::Setup);
        }
        if let Some(((version, stage), since)) = self.update.filter(|_| !self.update_seen)
            && now.since(since) < UPDATE_MS
        {
            return Shown::Update(version, stage);
        }
        match self.joining {
            Way::Under if now.0 < JOINING_MS => Shown::Joining,
            Way::Arrived(at) if at.0 < JOINING_MS && now.since(at) < ARRIVED_MS => Shown::Joining,
            Way::Under | Way::Arrived(_) | Way::Past => Shown::Leaf(Leaf::Air),
        }
    }

    fn air<'a>(&self, history: History<'a>) -> Air<'a> {
        let facts = &self.facts;
        let of_state = |sensor: &&Sensor| sensor.state == Ok(facts.display.state);
        let remaining_ms = facts.sensors.iter().filter(of_state).filter_map(|it| it.remaining_ms).max();
        Air {
            display: facts.display,
            remaining_s: remaining_ms.map(|ms| u32::try_from(ms.div_ceil(1_000)).unwrap_or(u32::MAX)),
            sensor: facts.sensors.first().map(|sensor| sensor.name),
            trouble: facts.trouble,
            temperature_dc: facts.temperature_dc,
            humidity_pct: facts.humidity_pct,
            history,
        }
    }

    /// How far the device is on its way to the gateway, and what is in the way.
    fn way(&self) -> (Step, Option<Trouble>) {
        if self.joining != Way::Under {
            return (Step::Done, None);
        }
        let Facts { display, network, started_unix_ms, .. } = &self.facts;
        // What is wrong with this device's own memory does not keep it from joining.
        let trouble = self.facts.trouble.filter(|it| !matches!(it, Trouble::QueueFull | Trouble::Flash));
        let step = match (display.link, network, trouble) {
            (Link::Offline, Network::Joined, _) | (Link::Offline, _, Some(Trouble::NoAddress)) => {
                Step::Address
            }
            (Link::Offline, ..) => Step::Network,
            (_, _, Some(Trouble::ClockUnknown)) => Step::Time,
            (_, _, None) if started_unix_ms.is_none() => Step::Time,
            _ => Step::Gateway,
        };
        (step, trouble)
    }

    fn url(&self) -> String<32> {
        match self.facts.network {
            Network::Address([a, b, c, d]) => written(format_args!("http://{a}.{b}.{c}.{d}/")),
            Network::Away | Network::Joined => String::new(),
        }
    }

    fn checks(&self, now: Millis) -> Vec<Found, CHECKS_MAX> {
        let facts = &self.facts;
        let mut found: Vec<Found, CHECKS_MAX> = facts.sensors.iter().map(sensor).collect();
        if found.is_empty() {
            let looking = now.0 < LOOKING_MS;
            let (outcome, detail) =
                if looking { (Outcome::Running, "is looked for") } else { (Outcome::Failed, "none answers") };
            let _room = found.push(("Sensor", outcome, written(detail)));
        }
        for check in [self.memory(), self.wifi(), self.time(), self.gateway()] {
            // There is room for these and all sensors.
            let _room = found.push(check);
        }
        found
    }

    fn memory(&self) -> Found {
        let QueueStatus { queued, faults, .. } = self.facts.queue;
        let (outcome, detail) = match (self.facts.on_flash, faults) {
            (false, _) => (Outcome::Failed, written("readings end with the power")),
            (true, 1..) => (Outcome::Failed, written(format_args!("refused {faults} times"))),
            (true, 0) => (Outcome::Passed, written(format_args!("{queued} readings wait"))),
        };
        ("Memory", outcome, detail)
    }

    fn wifi(&self) -> Found {
        use Trouble::{NetworkMissing, NetworkPassword, NoAddress};
        let facts = &self.facts;
        let (outcome, detail) = match (facts.network, facts.trouble, facts.rssi) {
            _ if self.fixed.network.is_none() => (Outcome::Absent, written("not set up")),
            (Network::Address(_), _, Some(dbm)) => {
                (Outcome::Passed, written(format_args!("−{} dBm", dbm.unsigned_abs())))
            }
            (Network::Address(_), _, None) => (Outcome::Passed, written("has an address")),
            (_, Some(trouble @ (NetworkMissing | NetworkPassword | NoAddress)), _) => {
                (Outcome::Failed, written(words::trouble_short(trouble)))
            }
            (Network::Joined, ..) => (Outcome::Running, written("no address yet")),
            (Network::Away, ..) => (Outcome::Running, written("is being joined")),
        };
        ("Wi-Fi", outcome, detail)
    }

    fn time(&self) -> Found {
        match self.facts.started_unix_ms {
            Some(_) => ("Time", Outcome::Passed, written("is known")),
            None => ("Time", Outcome::Running, written("nobody has said")),
        }
    }

    fn gateway(&self) -> Found {
        let (outcome, detail) = match (self.facts.display.link, self.facts.trouble) {
            _ if self.fixed.gateway.is_none() => (Outcome::Absent, written("not set up")),
            (Link::Online, _) => (Outcome::Passed, written("takes readings")),
            (Link::TokenRefused, _) | (Link::Waiting, Some(Trouble::TokenRefused)) => {
                (Outcome::Failed, written("refuses the token"))
            }
            (Link::Waiting, None | Some(Trouble::QueueFull | Trouble::Flash)) => {
                (Outcome::Running, written("not heard yet"))
            }
            (Link::Waiting, Some(trouble)) => (Outcome::Failed, written(words::trouble_short(trouble))),
            (Link::Offline, _) => (Outcome::Running, written("needs the Wi-Fi")),
        };
        ("Gateway", outcome, detail)
    }
}

/// A check with words of its own.
type Found = (&'static str, Outcome, String<48>);

fn sensor(sensor: &Sensor) -> Found {
    let outcome = match sensor.state {
        Ok(State::Ok | State::Suspect | State::Conditioning) => Outcome::Passed,
        Ok(State::WarmingUp | State::Calibrating) => Outcome::Running,
        Ok(State::Failed) | Err(_) => Outcome::Failed,
    };
    let detail = match (sensor.state, sensor.serial) {
        (Err(fault), _) => written(words::fault(fault).trim_end_matches('.')),
        (Ok(_), Some(serial)) => written(format_args!("serial {serial:x}")),
        (Ok(State::Ok), None) => written("measures"),
        (Ok(state), None) => written(words::tag(state)),
    };
    (sensor.name, outcome, detail)
}

/// What fits of it.
fn written<const N: usize>(what: impl core::fmt::Display) -> String<N> {
    let mut text = String::new();
    // Everything of ours fits: a test has them all.
    let _fits = write!(text, "{what}");
    text
}

/// All sensors that are shown, and memory, Wi-Fi, time and gateway.
const CHECKS_MAX: usize = SENSORS_MAX + 4;
/// A device that has its own network open has this address there.
const PORTAL_URL: &str = "http://192.168.4.1/";
/// Hours of the day, on the wall.
const DAY: core::ops::Range<u16> = 7..20;
/// A page that a person turned to, as long as the light of a press in quiet hours.
const BACK_MS: u64 = 30_000;
/// As long as the core keeps its portal open.
const SETUP_MS: u64 = 600_000;
const UPDATE_MS: u64 = 15_000;
/// From here on the air is more important than the way; what is wrong stands there, too.
const JOINING_MS: u64 = 60_000;
const ARRIVED_MS: u64 = 4_000;
/// Sensors are looked for on the whole bus, and some take seconds to start.
const LOOKING_MS: u64 = 20_000;

#[cfg(test)]
mod tests;
