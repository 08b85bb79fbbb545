//! What the state machine of a device needs of its [`DeviceSettings`]: small, copied freely, without secrets.

use casement_proto::DeviceSettings;
use casement_proto::Profile;
pub use casement_proto::device_settings::{BATCH, PERIOD_MS, SettingsError};
use casement_proto::device_settings::{QuietHours, Sound};

/// Settings that are within their bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    period_ms: u32,
    batch: u16,
    profile: &'static Profile,
    light_from_estimate: bool,
    brightness_percent: u8,
    quiet: Option<QuietHours>,
    utc_offset_min: i16,
    sound: Sound,
}

impl From<&DeviceSettings> for Settings {
    fn from(all: &DeviceSettings) -> Self {
        Self {
            period_ms: all.period_ms(),
            batch: all.batch(),
            profile: all.profile,
            light_from_estimate: all.light_from_estimate(),
            brightness_percent: all.brightness_percent(),
            quiet: all.quiet,
            utc_offset_min: all.utc_offset_min(),
            sound: all.sound,
        }
    }
}

impl Default for Settings {
    /// A reading every 5 s, up to 20 in one upload, the first profile, and no light from estimates.
    fn default() -> Self {
        Self::from(&DeviceSettings::default())
    }
}

impl Settings {
    /// Takes a period in milliseconds, a batch size and the id of a threshold profile; everything else is as a device
    /// comes.
    ///
    /// # Errors
    /// Names the value that is out of bounds.
    pub fn new(period_ms: u32, batch: u16, profile: &str) -> Result<Self, SettingsError> {
        let all =
            DeviceSettings::default().with_period_ms(period_ms)?.with_batch(batch)?.with_profile(profile)?;
        Ok(Self::from(&all))
    }

    /// Lets estimated CO2 move the light of a device that measures none. Off by default: eCO2 reacts to alcohol and
    /// cleaning agents and says little about ventilation.
    #[must_use]
    pub const fn light_from_estimate(self, on: bool) -> Self {
        Self { light_from_estimate: on, ..self }
    }

    /// Milliseconds between two readings. Readings lie on multiples of it.
    pub const fn period_ms(&self) -> u64 {
        self.period_ms as u64
    }

    /// Most readings in one upload.
    pub const fn batch(&self) -> u16 {
        self.batch
    }

    /// Thresholds of the light.
    pub const fn profile(&self) -> &'static Profile {
        self.profile
    }

    /// Whether estimated CO2 may move the light.
    pub const fn estimate_moves_light(&self) -> bool {
        self.light_from_estimate
    }

    /// Brightness of light and screen outside quiet hours.
    pub const fn brightness_percent(&self) -> u8 {
        self.brightness_percent
    }

    /// When the device sounds.
    pub const fn sound(&self) -> Sound {
        self.sound
    }

    /// Whether lights are out and nothing sounds at a moment, in milliseconds since 1970. Without a clock there are no
    /// quiet hours.
    pub fn is_quiet(&self, unix_ms: Option<i64>) -> bool {
        let (Some(hours), Some(unix_ms)) = (self.quiet, unix_ms) else { return false };
        hours.holds(self.local_minute(unix_ms))
    }

    /// The minute of the day on the wall of the place, 0 to 1,439, at a moment in milliseconds since 1970.
    pub fn local_minute(&self, unix_ms: i64) -> u16 {
        let minutes = unix_ms.div_euclid(60_000).saturating_add(i64::from(self.utc_offset_min));
        u16::try_from(minutes.rem_euclid(24 * 60)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_bounds_are_refused_by_name() {
        for (period_ms, batch, profile, error) in [
            (999, 1, "common", Some(SettingsError::Period)),
            (3_600_001, 1, "common", Some(SettingsError::Period)),
            (1_000, 0, "common", Some(SettingsError::Batch)),
            (1_000, 101, "common", Some(SettingsError::Batch)),
            (1_000, 1, "ashrae", Some(SettingsError::Profile)),
            (1_000, 1, "common", None),
            (3_600_000, 100, "uk-hse", None),
        ] {
            assert_eq!(
                Settings::new(period_ms, batch, profile).err(),
                error,
                "{period_ms} {batch} {profile}"
            );
        }
    }

    #[test]
    fn quiet_hours_follow_the_clock_of_the_place() {
        let mut all = DeviceSettings::default().with_utc_offset_min(-210).unwrap();
        all.quiet = QuietHours::new(22 * 60, 6 * 60).ok();
        let settings = Settings::from(&all);
        let at = |hour: i64, minute: i64| Some(1_795_305_600_000 + (hour * 60 + minute) * 60_000);
        for (unix_ms, quiet) in
            [(at(1, 29), false), (at(1, 30), true), (at(9, 29), true), (at(9, 30), false), (None, false)]
        {
            assert_eq!(settings.is_quiet(unix_ms), quiet, "{unix_ms:?}");
        }
        assert!(!Settings::default().is_quiet(at(3, 0)));
    }

    #[test]
    fn the_defaults_are_within_their_own_bounds() {
        let it = Settings::default();
        assert_eq!(Settings::new(it.period_ms, it.batch, it.profile.id), Ok(it));
    }
}
