//! What a person sees and touches: light, button and screen, in a task of their own, so that a light blinks in time while
//! the driver waits for a sensor. What they show is decided in the core and in `casement-screen`.

use crate::board;
use crate::driver::{NEWS, News};
use crate::lamp::Lamp;
use crate::now;
#[cfg(feature = "screen")]
use crate::screen::Glass;
use casement_core::update::Updater;
use casement_core::{Actions, Ambience, Button, Display, Light, Node, Press};
#[cfg(feature = "screen")]
use casement_proto::Version;
use casement_proto::device_settings::Wifi;
#[cfg(feature = "screen")]
use casement_screen::{Face, Facts, Stage, face};
use casement_sensors::Fitted;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Timer};
use esp_hal::gpio::{AnyPin, Input, InputConfig, Pull};

/// What the driver tells, all of it each time.
#[derive(Clone, PartialEq)]
struct Told {
    light: Light,
    ambience: Ambience,
    #[cfg(feature = "screen")]
    facts: Facts,
}

static TOLD: Signal<CriticalSectionRawMutex, Told> = Signal::new();

/// A person wants the next page.
#[cfg(feature = "screen")]
static TURN: Signal<CriticalSectionRawMutex, ()> = Signal::new();

/// The air got worse, and whoever can make a sound is to make one.
#[cfg(feature = "screen")]
static SOUND: Signal<CriticalSectionRawMutex, casement_proto::Band> = Signal::new();

/// The device's own network, from the radio.
#[cfg(feature = "screen")]
static PORTAL: Signal<CriticalSectionRawMutex, Option<face::Portal>> = Signal::new();

/// How an update goes, from whoever fetches it.
#[cfg(feature = "screen")]
static UPDATE: Signal<CriticalSectionRawMutex, Option<(Version, Stage)>> = Signal::new();

/// The device's own network is open, with this name and password, or it is not.
pub fn portal(own: Option<&Wifi>) {
    #[cfg(feature = "screen")]
    PORTAL.signal(own.map(|own| face::Portal {
        network: own.ssid().try_into().unwrap_or_default(),
        password: own.password().try_into().unwrap_or_default(),
    }));
    #[cfg(not(feature = "screen"))]
    let _for_a_screen = own;
}

/// How an update goes.
pub fn update(updater: &Updater) {
    #[cfg(feature = "screen")]
    UPDATE.signal(Stage::of(updater));
    #[cfg(not(feature = "screen"))]
    let _for_a_screen = updater;
}

/// How often button and light are looked at.
const TICK: Duration = Duration::from_millis(20);

/// What the driver knows and tells.
pub struct Teller {
    told: Told,
    changed: bool,
}

impl Teller {
    pub fn new(brightness_percent: u8) -> Self {
        let told = Told {
            light: Light::of(&Display::default()),
            ambience: Ambience { brightness_percent, quiet: false },
            #[cfg(feature = "screen")]
            facts: Facts::default(),
        };
        // So that there is something to see while the sensors are still being looked for.
        TOLD.signal(told.clone());
        Self { told, changed: false }
    }

    /// Takes what the state machine wants shown.
    pub fn obey(&mut self, actions: &Actions) {
        if let Some(display) = &actions.show {
            (self.told.light, self.changed) = (Light::of(display), true);
            #[cfg(feature = "screen")]
            self.told.facts.display.clone_from(display);
        }
        if let Some(ambience) = actions.ambience {
            (self.told.ambience, self.changed) = (ambience, true);
        }
        #[cfg(feature = "screen")]
        {
            if actions.next_screen {
                TURN.signal(());
            }
            if let Some(band) = actions.sound {
                SOUND.signal(band);
            }
        }
    }

    /// Tells what has changed. `on_flash` says whether readings wait there.
    pub fn tell(&mut self, node: &Node, sensors: impl Iterator<Item = Fitted>, on_flash: bool) {
        #[cfg(feature = "screen")]
        {
            let facts = &mut self.told.facts;
            let before = facts.clone();
            facts.look(node, now());
            let sensor = |it: Fitted| face::Sensor {
                name: it.spec.name,
                serial: it.serial,
                state: it.state,
                remaining_ms: it.remaining_ms,
            };
            facts.sensors = sensors.take(face::SENSORS_MAX).map(sensor).collect();
            facts.on_flash = on_flash;
            facts.rssi = crate::radio::rssi();
            facts.network = match (crate::radio::address(), facts.rssi) {
                (Some(address), _) => face::Network::Address(address),
                (None, Some(_)) => face::Network::Joined,
                (None, None) => face::Network::Away,
            };
            self.changed |= *facts != before;
        }
        #[cfg(not(feature = "screen"))]
        let _for_a_screen = (node, sensors, on_flash);
        if core::mem::take(&mut self.changed) {
            TOLD.signal(self.told.clone());
        }
    }
}

/// The parts of a board that people see and touch.
pub struct Parts {
    pub light: Option<board::Light>,
    pub buttons: [Option<AnyPin<'static>>; 2],
    #[cfg(feature = "screen")]
    pub screen: board::Screen,
    #[cfg(feature = "screen")]
    pub face: Face,
}

/// Shows what the driver tells, and tells it of presses.
#[embassy_executor::task]
pub async fn run(parts: Parts) {
    let mut lamp = parts.light.and_then(Lamp::new);
    // The pull is for pins that can; those that cannot have a resistor on the board.
    let contact = |pin| Input::new(pin, InputConfig::default().with_pull(Pull::Up));
    let contacts = parts.buttons.map(|pin| pin.map(contact));
    let (mut button, mut press): (Button, Option<Press>) = (Button::new(), None);
    #[cfg(feature = "screen")]
    let mut glass = Glass::start(parts.screen, parts.face).await;
    let mut told: Option<Told> = None;
    loop {
        Timer::after(TICK).await;
        if let Some(news) = TOLD.try_take() {
            #[cfg(feature = "screen")]
            if let Some(glass) = &mut glass {
                glass.look(&news.facts);
            }
            told = Some(news);
        }
        #[cfg(feature = "screen")]
        if let Some(glass) = &mut glass {
            if let Some(portal) = PORTAL.try_take() {
                glass.portal(portal);
            }
            if let Some(update) = UPDATE.try_take() {
                glass.update(update);
            }
        }
        let down = contacts.iter().flatten().any(Input::is_low);
        #[cfg(feature = "screen")]
        let down = match &mut glass {
            Some(glass) => down || glass.touched().await,
            None => down,
        };
        press = button.see(down, now()).or(press);
        // It waits for room.
        if let Some(news) = press.map(News::Button)
            && NEWS.try_send(news).is_ok()
        {
            press = None;
        }
        let Some(told) = &told else { continue };
        if let Some(lamp) = &mut lamp {
            lamp.show(told.light.lamp(now(), told.ambience.level()));
        }
        #[cfg(feature = "screen")]
        if let Some(glass) = &mut glass {
            if TURN.try_take().is_some() {
                glass.turn();
            }
            if let Some(band) = SOUND.try_take() {
                glass.buzz(band);
            }
            glass.work(told.ambience).await;
        }
    }
}
