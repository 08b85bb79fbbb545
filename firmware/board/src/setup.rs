//! Settings. They are kept in the partition `settings`. What was flashed into the partition `setup` beside the firmware
//! goes over them, once: then it is theirs, and `setup` is erased. What comes over the serial line or from the portal is
//! tried first and kept when it works.

use crate::driver::{NEWS, News};
use crate::flash::{Flash, Partition};
use crate::{board, radio};
use casement_core::improv::Facts;
use casement_core::keep::Keep;
use casement_core::radio::password;
use casement_core::{NotJoined, Region};
use casement_proto::DeviceSettings;
use casement_proto::device_settings::{IMAGE_BYTES_MAX, Wifi, own_password};
use embassy_time::Timer;
use log::{error, info, warn};

/// What the device has been told, and what it tells about itself.
pub struct Setup {
    flash: &'static Flash,
    pub settings: DeviceSettings,
    /// Its own network.
    pub own: Wifi,
}

impl Setup {
    /// What is set, with a password for the device's own network, which is made where there is none yet.
    pub fn new(
        flash: &'static Flash,
        mut settings: DeviceSettings,
        mac: &[u8; 6],
        chance: impl FnMut() -> u32,
    ) -> Self {
        if settings.own_password.is_none() {
            settings.own_password = own_password(&password(chance)).ok();
            if !keep(flash, &settings) {
                error!("the password of the own network could not be kept: the next start makes another");
            }
        }
        let secret = settings.own_password.as_ref().map_or("", |secret| secret.reveal().as_str());
        let Ok(own) = Wifi::new(&casement_core::radio::name(mac), secret) else {
            unreachable!("a name of sixteen letters, and a password of ten")
        };
        Self { flash, settings, own }
    }

    /// What Improv and the portal say.
    pub fn facts(&self) -> Facts<'_> {
        Facts {
            version: env!("CARGO_PKG_VERSION"),
            chip: esp_hal::chip!(),
            name: board::NAME,
            settings: &self.settings,
            networks: &[],
        }
    }

    /// Tries settings, and keeps them when they work. Without a network there is nothing to try, and nothing is kept.
    pub async fn attempt(&self, wanted: &DeviceSettings) -> Result<(), NotJoined> {
        let wifi = wanted.wifi.as_ref().ok_or(NotJoined::Missing)?;
        radio::attempt(wifi).await?;
        if !keep(self.flash, wanted) {
            error!("the new settings work and could not be kept");
        }
        Ok(())
    }

    /// Starts the device anew with what is kept. The answer that says so goes out before: it takes the line a few
    /// milliseconds, and nobody can be asked whether it has arrived.
    pub async fn start_anew(&self) -> ! {
        info!("starting anew with the new settings");
        Timer::after_millis(1_000).await;
        NEWS.send(News::StartAnew).await;
        core::future::pending().await
    }
}

fn keep(flash: &'static Flash, settings: &DeviceSettings) -> bool {
    let keep = Partition::find(flash, "settings").and_then(|region| Keep::open(region).ok());
    keep.is_some_and(|mut keep| keep.store(&settings.encode()).is_ok())
}

/// Finds out what is set. A device whose settings cannot be read samples and shows all the same.
pub fn load(flash: &'static Flash) -> DeviceSettings {
    let mut image = [0; IMAGE_BYTES_MAX];
    let mut keep = Partition::find(flash, "settings").and_then(|region| Keep::open(region).ok());
    if keep.is_none() {
        error!("there is no partition for settings, or it cannot be read");
    }
    let kept = keep.as_mut().and_then(|keep| keep.load(&mut image).ok()?).unwrap_or(0);
    let mut settings = match image.get(..kept) {
        None | Some([]) => DeviceSettings::default(),
        Some(image) => DeviceSettings::decode(image).unwrap_or_else(|error| {
            error!("kept settings: {error}");
            DeviceSettings::default()
        }),
    };
    let Some(mut setup) = Partition::find(flash, "setup") else { return settings };
    if setup.read(0, &mut image).is_err() || image.iter().all(|byte| *byte == 0xff) {
        return settings;
    }
    match settings.clone().changed_by(&image) {
        Ok(changed) => settings = changed,
        Err(error) => {
            warn!("flashed settings: {error}");
            return settings;
        }
    }
    // Erased only once it is kept: a power cut in between leads here again.
    match keep.as_mut().map(|keep| keep.store(&settings.encode())) {
        Some(Ok(())) if setup.erase(0).is_ok() => info!("took the flashed settings over"),
        _ => error!("flashed settings could not be kept; they count until the next start"),
    }
    settings
}
