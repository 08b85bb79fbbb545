//! Which device is offered which firmware: in stages, held, held back.
//!
//! A release is offered to a part of the devices, in percent. Which devices that are is drawn by device and version, so
//! that a higher percentage only adds some, and another version begins with others. A device that is held gets nothing,
//! or the one version it is held at. A release that fails on more than a tenth of those that tried it pauses.

pub mod image;

use aws_lc_rs::digest::{SHA256, digest};
use casement_proto::wire::HealthReport;
use casement_proto::{BoardId, DeviceId, UpdateStatus, Version};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What people decided about releases, and which of them have paused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// Releases that have been staged; others are offered to nobody.
    pub stages: Vec<Stage>,
    /// Devices that stay: where they are, or at this version.
    pub holds: BTreeMap<DeviceId, Option<Version>>,
}

/// How far a release has gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its board.
    pub board: BoardId,
    /// Its version.
    pub version: Version,
    /// Offered to so many of a hundred devices.
    pub percent: u8,
    /// Why it is offered to nobody at the moment.
    pub paused: Option<Tally>,
    /// Failures that somebody knows of and goes on all the same.
    pub forgiven: u32,
}

/// How a release does on the devices that report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Devices that run it and have confirmed it.
    pub running: u32,
    /// Devices that tried it and went back, or could not take it.
    pub failed: u32,
}

/// What a device last said of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// When, in milliseconds since 1970, by the gateway's clock.
    pub at_ms: i64,
    /// The number of its boot.
    pub boot: Option<u64>,
    /// How it is.
    pub health: HealthReport,
}

impl Tally {
    /// Counts what devices of a board report about a version.
    pub fn of<'a>(reports: impl IntoIterator<Item = &'a Report>, board: &BoardId, version: Version) -> Self {
        let mut tally = Self::default();
        for report in reports {
            let health = &report.health;
            if health.board.as_deref() != Some(board.as_str()) {
                continue;
            }
            match health.update.as_deref().and_then(UpdateStatus::parse) {
                Some(UpdateStatus::Failed { version: failed, .. }) if failed == version => tally.failed += 1,
                // It may yet go back.
                Some(UpdateStatus::Trying { version: tried }) if tried == version => {}
                _ if health.firmware.as_deref().and_then(|text| text.parse().ok()) == Some(version) => {
                    tally.running += 1;
                }
                _ => {}
            }
        }
        tally
    }
}

impl Stage {
    /// Whether too many devices failed: more than a tenth of those that tried it, beyond what is forgiven.
    pub fn should_pause(&self, tally: Tally) -> bool {
        let failed = u64::from(tally.failed.saturating_sub(self.forgiven));
        failed * TOLERATED_ONE_IN > u64::from(tally.running) + failed
    }

    fn is(&self, board: &BoardId, version: Version) -> bool {
        self.board == *board && self.version == version
    }
}

/// One failure in so many devices that tried a release is no reason to pause it.
pub const TOLERATED_ONE_IN: u64 = 10;

impl Rollout {
    /// The version that a device of this board, which runs `running`, is offered out of those that are there.
    pub fn offer(
        &self,
        device: &DeviceId,
        board: &BoardId,
        running: Version,
        there: impl IntoIterator<Item = Version>,
        tally: impl Fn(Version) -> Tally,
    ) -> Option<Version> {
        let mut there = there.into_iter();
        match self.holds.get(device) {
            Some(None) => None,
            Some(Some(version)) => there.find(|found| found == version).filter(|found| *found != running),
            None => there
                .filter(|version| *version > running)
                .filter(|version| {
                    self.stage(board, *version).is_some_and(|stage| {
                        stage.paused.is_none()
                            && draw(device, *version) < u16::from(stage.percent) * 100
                            && !stage.should_pause(tally(*version))
                    })
                })
                .max(),
        }
    }

    /// How far a release has gone; `None` when it was never staged.
    pub fn stage(&self, board: &BoardId, version: Version) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.is(board, version))
    }

    /// Offers a release to so many percent. One that has paused goes on, and the failures so far are forgiven.
    pub fn set_stage(&mut self, board: BoardId, version: Version, percent: u8) {
        match self.stages.iter_mut().find(|stage| stage.is(&board, version)) {
            Some(stage) => {
                stage.percent = percent;
                if let Some(tally) = stage.paused.take() {
                    stage.forgiven = tally.failed;
                }
            }
            None => self.stages.push(Stage { board, version, percent, paused: None, forgiven: 0 }),
        }
    }

    /// Forgets a release.
    pub fn forget(&mut self, board: &BoardId, version: Version) {
        self.stages.retain(|stage| !stage.is(board, version));
    }

    /// Pauses every release that fails too often, and gives those.
    pub fn pause(&mut self, tally: impl Fn(&BoardId, Version) -> Tally) -> Vec<Stage> {
        let mut paused = Vec::new();
        for stage in self.stages.iter_mut().filter(|stage| stage.paused.is_none() && stage.percent > 0) {
            let tally = tally(&stage.board, stage.version);
            if stage.should_pause(tally) {
                stage.paused = Some(tally);
                paused.push(stage.clone());
            }
        }
        paused
    }

    /// The form on disk.
    pub fn encode(&self) -> String {
        let stages = self.stages.iter().map(|stage| KeptStage {
            board: stage.board.to_string(),
            version: stage.version.to_string(),
            percent: stage.percent,
            paused: stage.paused,
            forgiven: stage.forgiven,
        });
        let hold = |version: &Option<Version>| version.map(|version| version.to_string());
        let holds = self.holds.iter().map(|(device, version)| (device.to_string(), hold(version)));
        let kept = Kept { stages: stages.collect(), holds: holds.collect() };
        // Texts and numbers, which JSON always holds.
        serde_json::to_string_pretty(&kept).unwrap_or_default()
    }

    /// Reads the form on disk.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let kept: Kept = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let version = |text: &str| text.parse::<Version>().map_err(|error| format!("\"{text}\": {error}"));
        let mut rollout = Self::default();
        for stage in kept.stages {
            let board =
                BoardId::parse(&stage.board).ok_or_else(|| format!("no board: \"{}\"", stage.board))?;
            rollout.stages.push(Stage {
                board,
                version: version(&stage.version)?,
                percent: stage.percent.min(100),
                paused: stage.paused,
                forgiven: stage.forgiven,
            });
        }
        for (device, held) in kept.holds {
            let id = DeviceId::parse(&device).ok_or_else(|| format!("no device: \"{device}\""))?;
            rollout.holds.insert(id, held.as_deref().map(version).transpose()?);
        }
        Ok(rollout)
    }
}

/// A device's lot for a version: 0 to 9999, for ever the same.
fn draw(device: &DeviceId, version: Version) -> u16 {
    let lot = digest(&SHA256, format!("{version} {device}").as_bytes());
    let first = lot.as_ref().first_chunk().copied().map_or(0, u64::from_be_bytes);
    // The remainder is below 10,000.
    (first % 10_000) as u16
}

#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(default)]
    stages: Vec<KeptStage>,
    #[serde(default)]
    holds: BTreeMap<String, Option<String>>,
}

#[derive(Serialize, Deserialize)]
struct KeptStage {
    board: String,
    version: String,
    percent: u8,
    #[serde(default)]
    paused: Option<Tally>,
    #[serde(default)]
    forgiven: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const OLD: Version = Version { major: 1, minor: 0, patch: 0 };
    const NEW: Version = Version { major: 1, minor: 1, patch: 0 };
    const NEWER: Version = Version { major: 1, minor: 2, patch: 0 };

    fn board() -> BoardId {
        BoardId::parse("stamp-c3").unwrap()
    }

    fn device(number: u32) -> DeviceId {
        DeviceId::parse(&format!("room-{number}")).unwrap()
    }

    fn staged(percent: u8) -> Rollout {
        let mut rollout = Rollout::default();
        rollout.set_stage(board(), NEW, percent);
        rollout
    }

    fn offered(rollout: &Rollout, device: &DeviceId) -> Option<Version> {
        rollout.offer(device, &board(), OLD, [OLD, NEW, NEWER], |_| Tally::default())
    }

    fn chosen(percent: u8) -> BTreeSet<u32> {
        let rollout = staged(percent);
        (0..2_000).filter(|number| offered(&rollout, &device(*number)) == Some(NEW)).collect()
    }

    #[test]
    fn a_higher_percentage_only_adds_devices() {
        let mut before = BTreeSet::new();
        for percent in 0..=100 {
            let now = chosen(percent);
            assert!(before.is_subset(&now), "{percent}");
            let expected = 20 * usize::from(percent);
            assert!(now.len().abs_diff(expected) < 70, "{percent} %: {} of 2000", now.len());
            before = now;
        }
        assert_eq!((chosen(0).len(), chosen(100).len()), (0, 2_000));
    }

    #[test]
    fn another_version_begins_with_other_devices() {
        let first = |version| (0..2_000).filter(move |number| draw(&device(*number), version) < 1_000);
        let both = first(NEW).filter(|number| first(NEWER).any(|other| other == *number)).count();
        assert!((5..50).contains(&both), "{both} of 200 are first both times");
    }

    #[test]
    fn the_lot_of_a_device_never_changes() {
        // Other numbers here mean that a half-way rollout would move to other devices.
        assert_eq!([0, 1, 2].map(|number| draw(&device(number), NEW)), [0, 6939, 9281]);
    }

    #[test]
    fn the_newest_that_is_staged_is_offered_and_nothing_older() {
        let desk = device(1);
        let offer = |rollout: &Rollout, running, there: &[Version]| {
            rollout.offer(&desk, &board(), running, there.iter().copied(), |_| Tally::default())
        };
        let mut rollout = staged(100);
        assert_eq!(offer(&rollout, OLD, &[NEW, NEWER]), Some(NEW), "the newer one is not staged");
        assert_eq!(offer(&rollout, NEW, &[OLD, NEW]), None, "it runs");
        assert_eq!(offer(&rollout, NEWER, &[OLD, NEW]), None, "a newer one runs");
        assert_eq!(offer(&rollout, OLD, &[OLD]), None, "it is not there any more");
        rollout.set_stage(board(), NEWER, 100);
        assert_eq!(offer(&rollout, OLD, &[OLD, NEWER, NEW]), Some(NEWER));
        let other = BoardId::parse("nanoc6").unwrap();
        assert_eq!(rollout.offer(&desk, &other, OLD, [NEW], |_| Tally::default()), None);
    }

    #[test]
    fn a_hold_wins_over_every_stage() {
        let desk = device(1);
        let mut rollout = staged(100);
        assert_eq!(offered(&rollout, &desk), Some(NEW));
        rollout.holds.insert(desk, None);
        assert_eq!(offered(&rollout, &desk), None);
        for (held, expected) in [(OLD, None), (NEWER, Some(NEWER)), (Version::default(), None)] {
            rollout.holds.insert(desk, Some(held));
            assert_eq!(offered(&rollout, &desk), expected, "{held}: it is not staged, and asked for by name");
        }
        assert_eq!(offered(&rollout, &device(2)), Some(NEW), "others are not held");
        rollout.holds.clear();
        assert_eq!(offered(&rollout, &desk), Some(NEW));
    }

    #[test]
    fn more_than_one_failure_in_ten_pauses_a_release() {
        let stage = |forgiven| Stage { forgiven, ..staged(100).stages.remove(0) };
        for (running, failed, forgiven, pauses) in [
            (0, 0, 0, false),
            (50, 0, 0, false),
            (0, 1, 0, true),
            (8, 1, 0, true),
            (9, 1, 0, false),
            (18, 2, 0, false),
            (17, 2, 0, true),
            (0, 1, 1, false),
            (0, 2, 1, true),
            (0, 1, 5, false),
            (u32::MAX, u32::MAX, 0, true),
        ] {
            let tally = Tally { running, failed };
            assert_eq!(stage(forgiven).should_pause(tally), pauses, "{tally:?}, {forgiven} forgiven");
        }
    }

    #[test]
    fn a_release_that_fails_pauses_and_goes_on_when_somebody_says_so() {
        let mut rollout = staged(50);
        let bad = Tally { running: 3, failed: 2 };
        let first = (0..100).map(device).find(|device| offered(&rollout, device).is_some()).unwrap();
        assert_eq!(
            rollout.offer(&first, &board(), OLD, [NEW], |_| bad),
            None,
            "at once, before it is written"
        );
        assert_eq!(rollout.pause(|_, _| Tally { running: 3, failed: 0 }), []);
        assert_eq!(rollout.pause(|_, _| bad).len(), 1);
        assert_eq!(rollout.pause(|_, _| bad), [], "it is told once");
        assert_eq!(offered(&rollout, &first), None);
        rollout.set_stage(board(), NEW, 50);
        assert_eq!(rollout.offer(&first, &board(), OLD, [NEW], |_| bad), Some(NEW), "these are known");
        let worse = Tally { running: 3, failed: 3 };
        assert_eq!(rollout.offer(&first, &board(), OLD, [NEW], |_| worse), None);
        assert_eq!(rollout.pause(|_, _| worse).len(), 1);
        rollout.forget(&board(), NEW);
        assert_eq!(rollout, Rollout::default());
    }

    #[test]
    fn what_devices_report_is_counted_by_board_and_version() {
        let report = |board: &str, firmware: &str, update: Option<&str>| {
            let text = |text: &str| Some(text.to_owned());
            let health = HealthReport {
                board: text(board),
                firmware: text(firmware),
                update: update.map(str::to_owned),
                ..HealthReport::default()
            };
            Report { at_ms: 0, boot: None, health }
        };
        let reports = [
            report("stamp-c3", "1.1.0", None),
            report("stamp-c3", "1.1.0", Some("fetching 1.2.0 5%")),
            report("stamp-c3", "1.1.0", Some("failed 1.2.0 crashed")),
            report("stamp-c3", "1.1.0", Some("trying 1.1.0")),
            report("stamp-c3", "1.0.0", Some("failed 1.1.0 silent")),
            report("stamp-c3", "1.0.0", Some("the new firmware crashed")),
            report("stamp-c3", "soon", None),
            report("nanoc6", "1.1.0", None),
            report("nanoc6", "1.0.0", Some("failed 1.1.0 crashed")),
            Report { at_ms: 0, boot: None, health: HealthReport::default() },
        ];
        assert_eq!(Tally::of(&reports, &board(), NEW), Tally { running: 3, failed: 1 });
        assert_eq!(Tally::of(&reports, &board(), NEWER), Tally { running: 0, failed: 1 });
    }

    #[test]
    fn what_is_kept_is_read_again_and_what_is_not_ours_is_refused() {
        let mut rollout = staged(20);
        rollout.pause(|_, _| Tally { running: 0, failed: 3 });
        rollout.set_stage(board(), NEWER, 100);
        rollout.holds.insert(device(1), None);
        rollout.holds.insert(device(2), Some(OLD));
        assert_eq!(Rollout::decode(rollout.encode().as_bytes()), Ok(rollout));
        for bad in [
            "",
            "[]7",
            r#"{"stages":[{"board":"../x","version":"1.0.0","percent":1}]}"#,
            r#"{"stages":[{"board":"x","version":"1.0","percent":1}]}"#,
            r#"{"stages":[{"board":"x","version":"1.0.0","percent":-1}]}"#,
            r#"{"holds":{"-":null}}"#,
            r#"{"holds":{"desk":"newest"}}"#,
        ] {
            assert!(Rollout::decode(bad.as_bytes()).is_err(), "{bad}");
        }
        let much = r#"{"stages":[{"board":"x","version":"1.0.0","percent":255}]}"#;
        assert_eq!(Rollout::decode(much.as_bytes()).unwrap().stages[0].percent, 100);
    }
}
