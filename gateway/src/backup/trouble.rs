//! Why a backup was not made or not put back, and what would help.

use super::header::Fault;
use super::keys;
use crate::store::StoreError;
use std::io;
use std::path::PathBuf;

/// Why it did not succeed. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// There is no store yet.
    #[error("there is no store in {} yet", .0.display())]
    NoStore(PathBuf),
    /// A file of that name is there.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// The name is that of one of the gateway's own files.
    #[error("{} belongs to the running store", .0.display())]
    Own(PathBuf),
    /// The name is that of a folder, a device or nothing at all.
    #[error("{} is not a file", .0.display())]
    NotAFile(PathBuf),
    /// Too little room.
    #[error("{} needs {} and has {}", folder.display(), amount(*needed), amount(*room))]
    NoRoom {
        /// Where.
        folder: PathBuf,
        /// How many bytes are needed.
        needed: u64,
        /// How many there are.
        room: u64,
    },
    /// Another process is at it.
    #[error("another command writes {}", .0.display())]
    Under(PathBuf),
    /// A file or folder cannot be written.
    #[error("{} cannot be written: {error}", path.display())]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The backup cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// Its beginning is none.
    #[error(transparent)]
    Header(#[from] Fault),
    /// What makes a host cannot be read.
    #[error("certificates and keys cannot be read: {0}")]
    Keys(#[source] io::Error),
    /// What makes a host is not as it was written.
    #[error(transparent)]
    BadKeys(#[from] keys::Fault),
    /// It ends too early.
    #[error("it is cut off: {found} of {expected} bytes are there")]
    CutOff {
        /// Its length as it should be.
        expected: u64,
        /// As it is.
        found: u64,
    },
    /// Something follows it.
    #[error("it goes on after its end: {0} bytes are the backup")]
    Longer(u64),
    /// The bytes are not those that were written.
    #[error("it is damaged: its SHA-256 is not the one in its header")]
    Changed,
    /// The numbers in the header are not those of the payload.
    #[error("its header says {said} {what}, and {found} are in it")]
    Counted {
        /// Of what.
        what: &'static str,
        /// By the header.
        said: u64,
        /// In truth.
        found: u64,
    },
    /// A gateway runs on the folder.
    #[error("a gateway runs on {}{}", folder.display(), process(*pid))]
    Running {
        /// The folder.
        folder: PathBuf,
        /// Its process, once it has told.
        pid: Option<u32>,
    },
    /// Another command has the store open.
    #[error("another command has the store {} open", .0.display())]
    InUse(PathBuf),
    /// There are readings that would go.
    #[error("{} holds {readings} readings", file.display())]
    Occupied {
        /// The store.
        file: PathBuf,
        /// How many.
        readings: u64,
    },
    /// There is a file that may hold readings.
    #[error("what is in {} cannot be read: {why}", file.display())]
    Obscure {
        /// The store.
        file: PathBuf,
        /// Why not.
        #[source]
        why: StoreError,
    },
    /// The engine says no.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Trouble {
    /// Whether it is the backup that is bad, and not the place it comes from or goes to.
    pub fn is_of_the_backup(&self) -> bool {
        matches!(
            self,
            Self::Unreadable(_)
                | Self::Header(_)
                | Self::BadKeys(_)
                | Self::CutOff { .. }
                | Self::Longer(_)
                | Self::Changed
                | Self::Counted { .. }
                | Self::Store(StoreError::Damaged(_) | StoreError::Foreign | StoreError::SchemaTooNew { .. })
        )
    }

    /// What would help.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::NoStore(_) => "start the gateway once, or set data_dir to where it keeps its data",
            Self::Exists(_) => "choose another name, or replace it with --force",
            Self::Own(_) => "choose another name",
            Self::NotAFile(_) => "name a file in a folder that is there, or - for standard output",
            Self::NoRoom { .. } => "make room, or use another disk; for --verify and -, TMPDIR names one",
            Self::Under(_) => "wait until it has ended",
            Self::Unwritable { error, .. } if error.kind() == io::ErrorKind::StorageFull => {
                "make room on the disk and try again"
            }
            Self::Unwritable { .. } => {
                "check the path and its permissions, or run this as the gateway's user"
            }
            Self::Unreadable(_) => "check the path and its permissions",
            Self::Header(Fault::Newer(_)) | Self::Store(StoreError::SchemaTooNew { .. }) => {
                "use the later version"
            }
            Self::Header(Fault::Empty | Fault::Foreign) => "name a file that `casement backup` has written",
            Self::Keys(_) => "run this as the gateway's user, or with sudo",
            Self::Header(_)
            | Self::BadKeys(_)
            | Self::CutOff { .. }
            | Self::Longer(_)
            | Self::Changed
            | Self::Counted { .. } => "nothing was changed; use another backup",
            Self::Running { .. } => "stop it first, for example: systemctl stop casement",
            Self::InUse(_) => "wait until it has ended, or stop it",
            Self::Occupied { .. } | Self::Obscure { .. } => {
                "nothing was changed; with --force the backup takes its place, and what is there is kept beside it"
            }
            Self::Store(StoreError::DiskFull(_)) => "make room on the disk and try again",
            Self::Store(StoreError::Damaged(_) | StoreError::Foreign) => {
                "nothing was changed; use another backup"
            }
            Self::Store(StoreError::UnknownUrl(_)) => "mend store.url",
            Self::Store(StoreError::NotAFile) => {
                "use the tools of PostgreSQL: pg_dump and pg_restore hold everything of it"
            }
            Self::Store(_) => "is data_dir right, and may this user read and write it?",
        }
    }
}

fn amount(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "shown with one digit")]
    let megabytes = bytes as f64 / 1e6;
    format!("{megabytes:.1} MB")
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}
