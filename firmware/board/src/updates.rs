//! Firmware over the air: the parts that the core's runner works with, and when it may.
//!
//! [`start`] comes before radio and sensors, so that a release that crashes there is counted. From then on whoever has the
//! connection has the updates, too: there is memory for one TLS session.

use crate::flash::{self, Flash, Partition};
use crate::{face, now};
use casement_core::keep::Keep;
use casement_core::update::otadata::Otadata;
use casement_core::update::runner::{Keys, Next, Places, Runner, keys};
use casement_core::update::{FetchError, Identity, Refusal, Slot};
use casement_core::uplink::Target;
use casement_core::{Node, Region};
use casement_proto::release::UPDATE_STATUS_BYTES_MAX;
use casement_proto::{BoardId, DeviceSettings};
use core::fmt::Write as _;
use core::sync::atomic::{AtomicBool, Ordering};
use embassy_time::{Duration, Instant, Timer};
use embedded_svc::http::client::asynch::{Client, Connection};
use esp_hal::rng::Rng;
use log::{error, info, warn};

/// Keys that releases may be signed with, besides the one in the settings; `firmware/tools/image` says them.
const BUILT_IN: &str = match option_env!("CASEMENT_RELEASE_KEYS") {
    Some(keys) => keys,
    None => "",
};

/// Whether a restart would disturb no sensor.
static CALM: AtomicBool = AtomicBool::new(false);

/// The driver tells how it is, with each sign of life.
pub fn look(node: &Node) {
    CALM.store(node.calm(), Ordering::Relaxed);
    crate::carry::keep(node.unix_ms(now()));
    // Firmware may be asked for before there is any reading. Certificates are held against the best date there is.
    casement_net::clock::set(u64::try_from(node.certificate_time(now()) / 1_000).unwrap_or(0));
}

/// How the text of a report is held.
pub type Said = heapless::String<UPDATE_STATUS_BYTES_MAX>;

/// The updater of this board; without one it never asks.
pub struct Updates {
    runner: Option<Runner<Partition>>,
    random: Rng,
    /// A restart is wanted, and the driver is still letting go of the readings that the gateway took.
    restart: bool,
    told: Option<Told>,
}

/// What there is to tell of an update.
type Told = (Option<Said>, Option<Refusal>, Option<FetchError>);

/// How long the driver gets for that. Readings that it does not let go of are sent again, and known there.
const LET_GO: Duration = Duration::from_secs(1);

/// Finds out whether this firmware is on trial, and whether it must give way: then the chip restarts here.
pub fn start(flash: &'static Flash, settings: &DeviceSettings, board: &str, random: Rng) -> Updates {
    let mut keys = keys(BUILT_IN).unwrap_or_else(|error| {
        error!("the release keys that were built in: {error}");
        Keys::new()
    });
    if let Some(key) = settings.release_key
        && keys.push(key).is_err()
    {
        warn!("there are too many release keys: the one in the settings is left out");
    }
    if keys.is_empty() {
        warn!("no release key is known: this firmware is never updated over the air");
    }
    let Some((who, places)) = places(flash, board) else {
        error!("the slots for firmware cannot be told apart: it is never updated over the air");
        return Updates { runner: None, random, restart: false, told: None };
    };
    if places.kept.is_none() {
        error!("there is no partition for the state of an update, or it cannot be read: there will be none");
    }
    let (runner, next) = Runner::start(who, places, settings.update, keys, now(), random.random());
    obey(next);
    info!("firmware {} runs in slot {:?}", who.version, who.slot);
    let mut updates = Updates { runner: Some(runner), random, restart: false, told: None };
    updates.tell();
    updates
}

fn places(flash: &'static Flash, board: &str) -> Option<(Identity, Places<Partition>)> {
    let slot = if flash::booted(flash)? == "ota_1" { Slot::B } else { Slot::A };
    let other = Partition::find(flash, if slot == Slot::A { "ota_1" } else { "ota_0" })?;
    let slot_bytes = u32::try_from(other.sectors() * Partition::SECTOR_BYTES).ok()?;
    let version = env!("CARGO_PKG_VERSION").parse().ok()?;
    let kept = Partition::find(flash, "update").and_then(|region| Keep::open(region).ok());
    let otadata = Otadata::new(Partition::find(flash, "otadata")?);
    let who = Identity { board: BoardId::parse(board)?, version, slot, slot_bytes };
    Some((who, Places { slot: other, kept, otadata }))
}

impl Updates {
    /// Waits until there is something to do.
    pub async fn due(&self) {
        if self.restart {
            return Timer::after(LET_GO).await;
        }
        match self.runner.as_ref().and_then(|runner| runner.wake_at(now())) {
            Some(at) => Timer::at(Instant::from_millis(at.0)).await,
            None => core::future::pending().await,
        }
    }

    /// Does one thing, 64 KiB of it at most, over the connection that uploads use.
    pub async fn work<C: Connection>(&mut self, client: &mut Client<C>, target: &Target<'_>) {
        if self.restart {
            obey(Next::Restart);
        }
        self.tick();
        let chance = self.chance();
        let Some(runner) = self.runner.as_mut().filter(|runner| runner.has_work(now())) else { return };
        obey(runner.work(client, target, now, chance).await);
        self.tell();
    }

    /// There is no gateway that could be asked.
    pub fn nowhere_to_ask(&mut self) {
        if let Some(runner) = &mut self.runner {
            runner.linked(false);
        }
    }

    /// Without a gateway there is nothing to fetch, but a release on trial still has to give way in time.
    pub fn wait_on(&mut self) {
        if self.restart {
            obey(Next::Restart);
        }
        self.tick();
    }

    /// The same for ever, where nothing is sent at all.
    pub async fn alone(mut self) -> ! {
        self.nowhere_to_ask();
        loop {
            self.due().await;
            self.wait_on();
        }
    }

    /// What came of an upload. An authenticated 200 confirms a release on trial.
    pub fn uploaded(&mut self, worked: bool) {
        let chance = self.chance();
        if let Some(runner) = &mut self.runner {
            self.restart |= runner.uploaded(worked, now(), chance) == Next::Restart;
        }
        self.tell();
    }

    /// How it goes, for the report.
    pub fn said(&self) -> Option<Said> {
        let status = self.runner.as_ref()?.updater().status()?;
        let mut said = Said::new();
        write!(said, "{status}").ok()?;
        Some(said)
    }

    fn tick(&mut self) {
        let chance = self.chance();
        if let Some(runner) = &mut self.runner {
            obey(runner.tick(now(), chance));
        }
        self.tell();
    }

    /// Tells what is new, on the serial line and to the screen.
    fn tell(&mut self) {
        let Some(updater) = self.runner.as_ref().map(Runner::updater) else { return };
        let told = (self.said(), updater.refusal(), updater.stumble());
        if self.told.as_ref() == Some(&told) {
            return;
        }
        match &told {
            (_, Some(refusal), _) => warn!("update: {refusal}"),
            (Some(said), None, None) => info!("update: {said}"),
            (Some(said), None, Some(_)) => {
                warn!("update: {said}; a part did not come, it is asked for again")
            }
            (None, None, _) => {}
        }
        face::update(updater);
        self.told = Some(told);
    }

    fn chance(&self) -> (bool, u32) {
        (CALM.load(Ordering::Relaxed), self.random.random())
    }
}

fn obey(next: Next) {
    if next == Next::Restart {
        info!("restarting for an update");
        esp_hal::system::software_reset();
    }
}
