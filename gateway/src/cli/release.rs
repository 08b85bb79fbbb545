//! `casement release`: firmware for devices, and who gets it.

use super::device::{device_id, known};
use super::{Context, Done, Failure, Json, list, out, say};
use crate::releases::{Kept, ReleaseError, Releases};
use crate::rollout::image::{self, FLASH_BYTES_MAX, ImageError, SLOT_BYTES};
use crate::rollout::{Rollout, Stage, Tally};
use crate::{provision, updates};
use casement_proto::{BoardId, DeviceId, Release as Signed, Version};
use clap::{Args, Subcommand};
use serde_json::json;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub(super) enum Release {
    /// Sign firmware and keep it; it is offered to nobody until it is staged
    Add(Add),
    /// List all releases, how far each has gone and how it does, and the devices that are held
    List(#[command(flatten)] Json),
    /// Offer a release to so many percent of the devices; one that has paused goes on
    Stage {
        #[command(flatten)]
        which: Which,
        /// 0 offers it to nobody, 100 to all; a higher number only adds devices
        #[arg(value_parser = clap::value_parser!(u8).range(0..=100))]
        percent: u8,
    },
    /// Keep a device on its firmware, whatever is staged
    Hold {
        /// The device
        #[arg(value_parser = device_id)]
        device: DeviceId,
        /// Bring it to this version and keep it there
        #[arg(value_parser = version)]
        version: Option<Version>,
    },
    /// Let a device take part again
    Unhold {
        /// The device
        #[arg(value_parser = device_id)]
        device: DeviceId,
    },
    /// Remove a release; devices that run it go on with it
    Remove(Which),
    /// Print the public key that devices need as their `release_key`, in hexadecimal
    Key,
}

#[derive(Args)]
pub(super) struct Add {
    #[command(flatten)]
    which: Which,
    /// The firmware as it is sent over the air: casement-BOARD.ota.bin
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// The same firmware as an image of the whole flash: casement-BOARD.bin
    #[arg(long, value_name = "FILE")]
    flash: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct Which {
    /// The board, for example stamp-c3
    #[arg(value_parser = board)]
    board: BoardId,
    /// The version, for example 1.4.0
    #[arg(value_parser = version)]
    version: Version,
}

fn board(text: &str) -> Result<BoardId, String> {
    BoardId::parse(text).ok_or_else(|| {
        "a board is named by 1 to 24 of a-z, 0-9 and -, and begins with a letter, for example stamp-c3"
            .to_owned()
    })
}

fn version(text: &str) -> Result<Version, String> {
    text.parse().map_err(|error: casement_proto::release::ReleaseError| error.to_string())
}

impl From<ReleaseError> for Failure {
    fn from(error: ReleaseError) -> Self {
        let fix = match &error {
            ReleaseError::File { .. } => {
                "is data_dir right, and may this user read and write there?".to_owned()
            }
            ReleaseError::Busy => "try again in a moment".to_owned(),
            ReleaseError::Exists(board, version) => {
                format!("give it the next version, or `casement release remove {board} {version}` first")
            }
            ReleaseError::Missing(..) => "`casement release list` shows all".to_owned(),
            ReleaseError::KeyOpen { path, .. } => {
                format!(
                    "if nobody can have read it: chmod 600 {}; else remove it and set devices up anew",
                    path.display()
                )
            }
            ReleaseError::KeyBroken(path) => {
                format!(
                    "put the key back from a copy; without one remove {} and set devices up anew",
                    path.display()
                )
            }
            ReleaseError::Rollout { path, .. } => {
                format!(
                    "mend it; or remove it, then nothing is staged and no device is held: {}",
                    path.display()
                )
            }
        };
        Self::new(error, fix)
    }
}

pub(super) async fn run(command: Release, context: &Context) -> Done {
    let config = context.config()?;
    let releases = Releases::of(&config.data_dir);
    match command {
        Release::Add(add) => return run_add(&releases, &config.data_dir, &add),
        Release::List(Json { json }) => return run_list(&releases, &config.data_dir, json),
        Release::Stage { which: Which { board, version }, percent } => {
            if releases.manifest(&board, version).is_none() {
                return Err(ReleaseError::Missing(board, version).into());
            }
            releases.decide(|rollout| rollout.set_stage(board, version, percent))?;
        }
        Release::Hold { device, version } => {
            let (_, store) = context.store().await?;
            let registered = known(&*store, device).await;
            store.close().await;
            registered?;
            releases.decide(|rollout| rollout.holds.insert(device, version))?;
        }
        Release::Unhold { device } => {
            if releases.decide(|rollout| rollout.holds.remove(&device))?.is_none() {
                return Err(Failure::new(
                    format!("device {device} is not held"),
                    "`casement release list` shows those that are",
                ));
            }
        }
        Release::Remove(Which { board, version }) => releases.remove(&board, version)?,
        Release::Key => {
            make_folder(&config.data_dir)?;
            out(&format!("{}\n", hex(&releases.public_key()?)))?;
        }
    }
    Ok(())
}

fn make_folder(data_dir: &Path) -> Done {
    crate::disk::private_dir(data_dir).map_err(|error| {
        Failure::new(
            format!("the data folder {} cannot be used: {error}", data_dir.display()),
            "set data_dir, or run as the user that owns it",
        )
    })
}

fn run_add(releases: &Releases, data_dir: &Path, add: &Add) -> Done {
    let Which { board, version } = add.which;
    let ota = read(&add.image, SLOT_BYTES)?;
    let bad = |file: &Path| {
        let file = file.display().to_string();
        move |error: ImageError| {
            let fix = match &error {
                ImageError::Version(found) => {
                    format!("`casement release add {board} {found} …`, or build it as version {version}")
                }
                ImageError::Chip { .. } => format!("build it with `firmware/tools/image {board}`"),
                ImageError::TooLarge { .. } => "make it smaller; no device has room for it".to_owned(),
                ImageError::NoPartitions | ImageError::Different => {
                    "give the casement-BOARD.bin of the same run of firmware/tools/image".to_owned()
                }
                ImageError::Trailing(_) => {
                    "give the casement-BOARD.ota.bin here, and the image of the whole flash as --flash"
                        .to_owned()
                }
                ImageError::Magic(_) | ImageError::Short(_) | ImageError::Checksum | ImageError::Hash => {
                    "give the casement-BOARD.ota.bin that firmware/tools/image made".to_owned()
                }
            };
            Failure::new(format!("{file}: {error}"), fix)
        }
    };
    let found = image::look(&ota).map_err(bad(&add.image))?;
    // A board of one's own is in no table; then it is whoever builds for it who knows.
    if let Some(known) = provision::boards().find(|known| known.id == board.as_str()) {
        found.runs_on(&board, known.chip).map_err(bad(&add.image))?;
    }
    if let Some(other) = found.version.clone().filter(|says| *says != version.to_string()) {
        return Err(bad(&add.image)(ImageError::Version(other)));
    }
    let flash = add.flash.as_deref().map(|file| read(file, FLASH_BYTES_MAX)).transpose()?;
    if let (Some(flash), Some(file)) = (&flash, &add.flash) {
        image::look_at_flash(flash, &ota).map_err(bad(file))?;
    }
    make_folder(data_dir)?;
    let release = Signed { board, version, size: found.size, sha256: found.sha256 };
    releases.add(&release, &ota, flash.as_deref())?;
    let percent = f64::from(found.size) * 100.0 / SLOT_BYTES as f64;
    say(&format!(
        "{board} {version}: {} bytes ({percent:.1} % of a slot), {}, {} segments{}, SHA-256 {}",
        found.size,
        found.chip,
        found.segments,
        if found.version.is_some() { "" } else { ", which does not say its version" },
        hex(&found.sha256)
    ));
    say(&format!(
        "It is offered to nobody yet: `casement release stage {board} {version} 10` begins with a tenth."
    ));
    Ok(())
}

fn read(file: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::new(format!("{}: {error}", file.display()), "name a file that this user may read")
    };
    let mut bytes = Vec::new();
    // One byte more shows that it is too large.
    let limit = bytes_max as u64 + 1;
    File::open(file).map_err(unreadable)?.take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Row {
    kept: Kept,
    stage: Option<Stage>,
    tally: Tally,
}

fn run_list(releases: &Releases, data_dir: &Path, json: bool) -> Done {
    let rollout = releases.rollout()?;
    let reports = updates::reports(data_dir).map_err(|error| {
        Failure::new(format!("device-health.json: {error}"), "remove it; devices report again")
    })?;
    let rows = releases.list()?.into_iter().map(|kept| {
        let (board, version) = (kept.release.board, kept.release.version);
        let stage = rollout.stage(&board, version).cloned();
        Row { tally: Tally::of(reports.values(), &board, version), kept, stage }
    });
    let rows: Vec<Row> = rows.collect();
    if json {
        let held = rollout.holds.iter().map(|(device, version)| {
            json!({ "device": device.as_str(), "version": version.map(|version| version.to_string()) })
        });
        let listing = json!({
            "releases": rows.iter().map(Row::json).collect::<Vec<_>>(),
            "held": held.collect::<Vec<_>>(),
        });
        return out(&format!("{listing:#}\n"));
    }
    let head = ["BOARD", "VERSION", "BYTES", "FLASH", "OFFERED TO", "RUNNING", "FAILED"];
    out(&list::table(&head, rows.iter().map(Row::cells).collect()))?;
    out(&holds(&rollout))
}

fn holds(rollout: &Rollout) -> String {
    if rollout.holds.is_empty() {
        return String::new();
    }
    let rows = rollout.holds.iter().map(|(device, version)| {
        vec![
            device.to_string(),
            version.map_or_else(|| "where it is".to_owned(), |version| version.to_string()),
        ]
    });
    format!("\n{}", list::table(&["HELD", "AT"], rows.collect()))
}

impl Row {
    fn state(&self) -> &'static str {
        match &self.stage {
            _ if !self.kept.whole => "damaged",
            Some(Stage { paused: Some(_), .. }) => "paused",
            Some(Stage { percent: 1.., .. }) => "staged",
            Some(_) | None => "waiting",
        }
    }

    fn percent(&self) -> u8 {
        self.stage.as_ref().map_or(0, |stage| stage.percent)
    }

    fn cells(&self) -> Vec<String> {
        let release = &self.kept.release;
        vec![
            release.board.to_string(),
            release.version.to_string(),
            release.size.to_string(),
            if self.kept.has_flash { "yes" } else { "–" }.to_owned(),
            match self.state() {
                "waiting" => "nobody".to_owned(),
                "staged" => format!("{} %", self.percent()),
                state => format!("nobody: {state} at {} %", self.percent()),
            },
            self.tally.running.to_string(),
            self.tally.failed.to_string(),
        ]
    }

    fn json(&self) -> serde_json::Value {
        let release = &self.kept.release;
        json!({
            "board": release.board.as_str(),
            "version": release.version.to_string(),
            "bytes": release.size,
            "sha256": hex(&release.sha256),
            "flash": self.kept.has_flash,
            "state": self.state(),
            "percent": self.percent(),
            "running": self.tally.running,
            "failed": self.tally.failed,
        })
    }
}
