//! What can be set on a device, with bounds.

use casement_proto::band::{self, PROFILES, Profile};

/// Shortest and longest time between two readings, in milliseconds.
pub const PERIOD_MS: core::ops::RangeInclusive<u32> = 1_000..=3_600_000;

/// Fewest and most readings in one upload. The most decides how much memory a driver sets aside.
pub const BATCH: core::ops::RangeInclusive<u16> = 1..=100;

/// Settings that are within their bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    period_ms: u32,
    batch: u16,
    profile: &'static Profile,
    light_from_estimate: bool,
}

/// Why settings were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The period is outside [`PERIOD_MS`].
    #[error("the period must be between 1 s and 1 h")]
    Period,
    /// The batch is outside [`BATCH`].
    #[error("a batch holds between 1 and 100 readings")]
    Batch,
    /// There is no such threshold profile.
    #[error("there is no threshold profile of this name")]
    Profile,
}

impl Default for Settings {
    /// A reading every 5 s, up to 20 in one upload, the first profile, and no light from estimates.
    fn default() -> Self {
        Self { period_ms: 5_000, batch: 20, profile: &PROFILES[0], light_from_estimate: false }
    }
}

impl Settings {
    /// Takes a period in milliseconds, a batch size and the id of a threshold profile.
    ///
    /// # Errors
    /// Names the value that is out of bounds.
    pub fn new(period_ms: u32, batch: u16, profile: &str) -> Result<Self, SettingsError> {
        if !PERIOD_MS.contains(&period_ms) {
            return Err(SettingsError::Period);
        }
        if !BATCH.contains(&batch) {
            return Err(SettingsError::Batch);
        }
        let profile = band::profile(profile).ok_or(SettingsError::Profile)?;
        Ok(Self { period_ms, batch, profile, light_from_estimate: false })
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
    fn the_defaults_are_within_their_own_bounds() {
        let it = Settings::default();
        assert_eq!(Settings::new(it.period_ms, it.batch, it.profile.id), Ok(it));
    }
}
