//! Firmware for devices: what each is offered, and what they report about themselves.
//!
//! Releases and decisions lie in files that commands change beside a running gateway, so they are read anew for each
//! question. Reports are in memory, and in `device-health.json` for commands and the next start. They are no readings:
//! the last seconds of them may be lost.

use crate::disk;
use crate::releases::{ReleaseError, Releases};
use crate::rollout::{Report, Rollout, Tally};
use casement_proto::wire::HealthReport;
use casement_proto::{BoardId, DeviceId, Release, SignedRelease, Version};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Devices whose reports are remembered; beyond them the one that reported longest ago is forgotten.
pub const REPORTS_MAX: usize = 4_096;

/// How often reports are written and releases looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Largest file of reports that is read, in bytes: [`REPORTS_MAX`] of the largest.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The updates of all devices.
pub struct Updates {
    releases: Releases,
    file: PathBuf,
    reports: Mutex<Reports>,
}

#[derive(Default)]
struct Reports {
    of: BTreeMap<DeviceId, Report>,
    changed: bool,
}

/// What is to be sent of a device's question for an image.
pub enum Found {
    /// The image, open for reading, and what was signed.
    Image(File, Release),
    /// The device has another board.
    OtherBoard(String),
}

impl Updates {
    /// Those of a data folder.
    pub fn open(data_dir: &Path) -> Self {
        let file = file_of(data_dir);
        let of = read(&file).unwrap_or_else(|error| {
            tracing::warn!(%error, "{} cannot be read; devices will report again", file.display());
            BTreeMap::new()
        });
        Self { releases: Releases::of(data_dir), file, reports: Mutex::new(Reports { of, changed: false }) }
    }

    fn all(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a device says of itself.
    pub fn report(&self, device: DeviceId, boot: Option<u64>, health: HealthReport, now_ms: i64) {
        let mut reports = self.all();
        reports.changed = true;
        reports.of.insert(device, Report { at_ms: now_ms, boot, health });
        if reports.of.len() > REPORTS_MAX {
            let oldest = reports.of.iter().min_by_key(|(_, report)| report.at_ms).map(|(device, _)| *device);
            oldest.map(|device| reports.of.remove(&device));
        }
    }

    /// What a device last said of itself.
    pub fn report_of(&self, device: &DeviceId) -> Option<Report> {
        self.all().of.get(device).cloned()
    }

    fn tally(&self, board: &BoardId, version: Version) -> Tally {
        Tally::of(self.all().of.values(), board, version)
    }

    /// The signed manifest of what a device should fetch; `None` when it should stay. Reads files.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn offer(
        &self,
        device: &DeviceId,
        board: &BoardId,
        running: Version,
    ) -> Result<Option<SignedRelease>, ReleaseError> {
        let there = self.releases.of_board(board)?;
        if there.is_empty() {
            return Ok(None);
        }
        let rollout = self.releases.rollout()?;
        let versions = there.iter().map(|signed| signed.release.version);
        let chosen = rollout.offer(device, board, running, versions, |version| self.tally(board, version));
        let chosen = chosen.and_then(|version| there.iter().find(|signed| signed.release.version == version));
        if let Some(signed) = chosen {
            // Half an image is offered to nobody.
            self.releases.firmware(board, signed.release.version)?;
        }
        Ok(chosen.copied())
    }

    /// The image of a release, for a device. Reads files.
    ///
    /// # Errors
    /// [`ReleaseError::Missing`], or when it is damaged.
    pub fn image(&self, device: &DeviceId, board: &BoardId, version: Version) -> Result<Found, ReleaseError> {
        let own = self.report_of(device).and_then(|report| report.health.board);
        if let Some(own) = own.filter(|own| own != board.as_str()) {
            return Ok(Found::OtherBoard(own));
        }
        let (file, release) = self.releases.firmware(board, version)?;
        Ok(Found::Image(file, release))
    }

    /// Writes reports and pauses releases that fail too often, until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        loop {
            let ends = tokio::select! {
                () = shutdown.cancelled() => true,
                _ = tick.tick() => false,
            };
            let updates = Arc::clone(&self);
            if let Err(panic) = tokio::task::spawn_blocking(move || updates.look()).await {
                tracing::error!(%panic, "the look at updates ended badly");
            }
            if ends {
                return;
            }
        }
    }

    fn look(&self) {
        let reports = {
            let mut reports = self.all();
            if !std::mem::take(&mut reports.changed) {
                return;
            }
            reports.of.clone()
        };
        if let Err(error) = write(&self.file, &reports) {
            tracing::warn!(%error, "{} cannot be written", self.file.display());
            self.all().changed = true;
        }
        let tally = |board: &BoardId, version: Version| Tally::of(reports.values(), board, version);
        // Most of the time there is nothing to pause, and then nothing is locked.
        let due = self.releases.rollout().map(|rollout| !rollout.clone().pause(tally).is_empty());
        let paused = match due {
            Ok(false) => Ok(Vec::new()),
            Ok(true) => self.releases.decide(|rollout: &mut Rollout| rollout.pause(tally)),
            Err(error) => Err(error),
        };
        match paused {
            Ok(paused) => {
                for stage in paused {
                    let Tally { running, failed } = stage.paused.unwrap_or_default();
                    tracing::error!(
                        board = %stage.board, version = %stage.version, running, failed,
                        "a release has paused because it failed on too many devices; `casement release stage` goes on"
                    );
                }
            }
            Err(error) => {
                tracing::warn!(%error, "releases cannot be looked at");
                self.all().changed = true;
            }
        }
    }
}

fn file_of(data_dir: &Path) -> PathBuf {
    data_dir.join("device-health.json")
}

/// What devices last said of themselves, as a gateway wrote it down; at most some seconds old while one runs.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn reports(data_dir: &Path) -> io::Result<BTreeMap<DeviceId, Report>> {
    read(&file_of(data_dir))
}

fn read(file: &Path) -> io::Result<BTreeMap<DeviceId, Report>> {
    let mut bytes = Vec::new();
    match File::open(file) {
        Ok(file) => file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let named: BTreeMap<String, Report> = serde_json::from_slice(&bytes)?;
    Ok(named.into_iter().filter_map(|(id, report)| Some((DeviceId::parse(&id)?, report))).collect())
}

fn write(file: &Path, reports: &BTreeMap<DeviceId, Report>) -> io::Result<()> {
    let named: BTreeMap<&str, &Report> = reports.iter().map(|(id, report)| (id.as_str(), report)).collect();
    disk::write_private(file, &serde_json::to_vec(&named)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::image;

    const OLD: Version = Version { major: 1, minor: 0, patch: 0 };
    const NEW: Version = Version { major: 1, minor: 1, patch: 0 };

    fn board() -> BoardId {
        BoardId::parse("stamp-c3").unwrap()
    }

    fn device(number: usize) -> DeviceId {
        DeviceId::parse(&format!("room-{number}")).unwrap()
    }

    fn health(update: Option<&str>) -> HealthReport {
        HealthReport {
            firmware: Some("1.0.0".into()),
            board: Some("stamp-c3".into()),
            update: update.map(str::to_owned),
            ..HealthReport::default()
        }
    }

    fn with_release(data_dir: &Path) -> Releases {
        let releases = Releases::of(data_dir);
        let ota = image::made(5, "1.1.0", 3_000);
        let found = image::look(&ota).unwrap();
        let release = Release { board: board(), version: NEW, size: found.size, sha256: found.sha256 };
        releases.add(&release, &ota, None).unwrap();
        releases.decide(|rollout| rollout.set_stage(board(), NEW, 100)).unwrap();
        releases
    }

    #[test]
    fn a_release_that_fails_is_offered_to_nobody_at_once_and_after_a_restart() {
        let place = tempfile::tempdir().unwrap();
        let releases = with_release(place.path());
        let updates = Updates::open(place.path());
        let offered = |updates: &Updates| updates.offer(&device(0), &board(), OLD).unwrap().is_some();
        assert!(offered(&updates));
        updates.report(device(1), Some(7), health(Some("failed 1.1.0 crashed")), 1_000);
        assert!(!offered(&updates), "before it is written");
        updates.look();
        let stage = releases.rollout().unwrap().stage(&board(), NEW).cloned().unwrap();
        assert_eq!(stage.paused, Some(Tally { running: 0, failed: 1 }));
        drop(updates);
        let updates = Updates::open(place.path());
        assert!(!offered(&updates));
        let kept = updates.report_of(&device(1)).unwrap();
        assert_eq!((kept.boot, kept.at_ms, kept.health.firmware.as_deref()), (Some(7), 1_000, Some("1.0.0")));
        assert_eq!(reports(place.path()).unwrap().len(), 1);
        // Somebody knows, and goes on.
        releases.decide(|rollout| rollout.set_stage(board(), NEW, 100)).unwrap();
        assert!(offered(&updates));
        updates.report(device(2), None, health(Some("failed 1.1.0 crashed")), 2_000);
        assert!(!offered(&updates));
    }

    #[test]
    fn half_an_image_is_an_error_and_no_offer() {
        let place = tempfile::tempdir().unwrap();
        with_release(place.path());
        let updates = Updates::open(place.path());
        std::fs::write(place.path().join("firmware/stamp-c3/1.1.0/ota.bin"), b"half").unwrap();
        assert!(updates.offer(&device(0), &board(), OLD).is_err());
        assert!(updates.image(&device(0), &board(), NEW).is_err());
        assert!(updates.offer(&device(0), &board(), NEW).unwrap().is_none(), "who runs it is not concerned");
    }

    #[test]
    fn a_device_gets_no_image_of_another_board() {
        let place = tempfile::tempdir().unwrap();
        with_release(place.path());
        let updates = Updates::open(place.path());
        assert!(matches!(updates.image(&device(0), &board(), NEW), Ok(Found::Image(..))));
        updates.report(device(0), None, HealthReport { board: Some("nanoc6".into()), ..health(None) }, 0);
        assert!(
            matches!(updates.image(&device(0), &board(), NEW), Ok(Found::OtherBoard(own)) if own == "nanoc6")
        );
        let other = BoardId::parse("nanoc6").unwrap();
        assert!(matches!(updates.image(&device(0), &other, NEW), Err(ReleaseError::Missing(..))));
    }

    #[test]
    fn reports_are_bounded_and_a_damaged_file_is_begun_anew() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(file_of(place.path()), b"{\"desk\":7}").unwrap();
        let updates = Updates::open(place.path());
        for number in 0..=REPORTS_MAX {
            updates.report(device(number), None, health(None), number as i64);
        }
        assert_eq!((updates.report_of(&device(0)), updates.all().of.len()), (None, REPORTS_MAX));
        updates.look();
        assert_eq!(reports(place.path()).unwrap().len(), REPORTS_MAX);
    }
}
