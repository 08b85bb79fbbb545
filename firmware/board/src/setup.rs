//! Settings. They are kept in the partition `settings`. What was flashed into the partition `setup` beside the firmware
//! goes over them, once: then it is theirs, and `setup` is erased.

use crate::flash::{Flash, Partition};
use casement_core::keep::Keep;
use casement_core::{Region, Settings};
use casement_proto::DeviceSettings;
use casement_proto::device_settings::IMAGE_BYTES_MAX;
use casement_sensors::Tuning;
use log::{error, info, warn};

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

/// The part that the sensors take.
pub fn of_sensors(settings: &DeviceSettings) -> Tuning {
    // Sensors take less than settings: below the sea counts as at the sea.
    let metres = u16::try_from(settings.altitude_m()).unwrap_or(0).min(3_000);
    let target = settings.self_calibration_ppm();
    let tuning = Tuning::default().self_calibration(target.is_some());
    let tuning = target.and_then(|ppm| tuning.target_ppm(ppm).ok()).unwrap_or(tuning);
    tuning.altitude_m(metres).unwrap_or(tuning)
}

/// The part that the state machine takes.
pub fn of_node(settings: &DeviceSettings) -> Settings {
    let node = Settings::new(settings.period_ms(), settings.batch(), settings.profile.id).unwrap_or_default();
    node.light_from_estimate(settings.light_from_estimate())
}
