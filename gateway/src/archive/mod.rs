//! The folder of backups that were made by themselves, and how the last one went. Who makes them is in
//! [`backup`](crate::backup); [`schedule`] says when.

pub mod schedule;

use crate::disk;
use schedule::Past;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::PathBuf;
use std::{fs, io};

/// Files in the folder that are looked at.
const FILES_MAX: usize = 100_000;

/// Largest file of the last result that is read, in bytes.
const LAST_BYTES_MAX: u64 = 64 * 1024;

/// Where backups are kept.
#[derive(Clone, Debug)]
pub struct Archive {
    /// Their folder.
    pub folder: PathBuf,
    /// The folder with all data, where is remembered how the last one went.
    pub data_dir: PathBuf,
}

/// How the last backup went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// When it was begun, in unix milliseconds.
    pub at_ms: i64,
    /// How long it took, in milliseconds.
    pub took_ms: i64,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is there, and good.
    Good {
        /// Its name.
        file: PathBuf,
        /// Its length, in bytes.
        bytes: u64,
        /// How many readings are in it.
        readings: u64,
    },
    /// There is none.
    Failed {
        /// Why.
        why: String,
        /// What would help.
        fix: String,
    },
}

/// What there is of backups that are made by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// When each was made, oldest first.
    pub made_ms: Vec<i64>,
    /// Their length together, in bytes.
    pub bytes: u64,
    /// How the last one went.
    pub last: Option<Last>,
}

impl Archive {
    /// What lies in the folder, and what is remembered. Nothing is made by looking.
    pub fn look(&self) -> Kept {
        let mut kept = Kept { last: self.remembered(), ..Kept::default() };
        for name in self.names().unwrap_or_default() {
            if let Some(made_ms) = schedule::made_at(&name) {
                let length = fs::metadata(self.folder.join(&name)).map_or(0, |meta| meta.len());
                kept.made_ms.push(made_ms);
                kept.bytes = kept.bytes.saturating_add(length);
            }
        }
        kept.made_ms.sort_unstable();
        kept
    }

    /// The backups that go when the newest `keep` stay.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn surplus(&self, keep: u32) -> io::Result<Vec<PathBuf>> {
        let names = self.names()?;
        let surplus = schedule::surplus(&names, usize::try_from(keep).unwrap_or(usize::MAX));
        Ok(surplus.into_iter().map(|name| self.folder.join(name)).collect())
    }

    /// Writes down how the last one went, for commands and the next start.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn remember(&self, last: &Last) -> io::Result<()> {
        let json = serde_json::to_vec(last).map_err(io::Error::other)?;
        disk::write_private(&self.memory(), &json)
    }

    fn remembered(&self) -> Option<Last> {
        let mut text = Vec::new();
        fs::File::open(self.memory()).ok()?.take(LAST_BYTES_MAX).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn memory(&self) -> PathBuf {
        self.data_dir.join("last-backup.json")
    }

    /// Names of everything in the folder that a name can be.
    fn names(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.folder)?.take(FILES_MAX);
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
    }
}

impl Kept {
    /// When the next one is due; `None` when none is made.
    pub fn due(&self, every_ms: Option<i64>, started_ms: i64, now_ms: i64) -> Option<i64> {
        let failed = self.last.as_ref().filter(|last| matches!(last.outcome, Outcome::Failed { .. }));
        let past = Past {
            newest_ms: self.made_ms.last().copied(),
            failed_ms: failed.map(|last| last.at_ms),
            started_ms,
        };
        every_ms.map(|every_ms| schedule::due(every_ms, past, now_ms))
    }
}
