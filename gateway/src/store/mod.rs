//! Where readings, devices and tokens are kept.
//!
//! [`Store`] is the port; [`open`] chooses the implementation by URL. Every implementation must tell the story in
//! `conformance.rs`. What a caller may rely on:
//!
//! * [`Store::append`] returns after everything it accepted is on disk for good, and all of it or nothing is.
//! * A reading is named by `(device, boot, seq)` or, without them, each value by `(device, metric, time)`. Whatever
//!   the name, appending it again changes nothing.
//! * Readers see whole appends and never wait for one.

mod chunked;
#[cfg(test)]
pub mod conformance;
mod postgres;
mod rows;
mod sqlite;
mod url;

use crate::reading::{
    Appended, Device, ExportFilter, ExportRow, Growth, NewBatch, Retention, Start, StoredReading,
};
use crate::telemetry::distribution::Distribution;
use crate::telemetry::series::{Points, Window};
use async_trait::async_trait;
use casement_proto::{DeviceId, Quantity};
use std::path::{Path, PathBuf};
use std::sync::Arc;
pub use url::without_password;

/// What a token opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Sending readings as this device.
    Device(DeviceId),
    /// Reading everything.
    Read,
    /// Everything.
    Admin,
    /// A browser that signed in; lives no longer than the token it signed in with.
    Session {
        /// Number of that token.
        parent: i64,
        /// That token may do everything, and so may the browser.
        admin: bool,
    },
    /// Signing an administrator in once, by a link; it opens nothing else.
    Claim,
}

/// A token as kept: the secret itself is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its number.
    pub id: i64,
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// The first characters, for telling tokens apart in a list.
    pub hint: String,
    /// What it opens.
    pub scope: Scope,
    /// A name for people.
    pub name: Option<String>,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it ends by itself, if it does.
    pub expires_ms: Option<i64>,
    /// When it was revoked, if it was.
    pub revoked_ms: Option<i64>,
}

/// How long a claim that is over is remembered, in milliseconds, so that whoever opens its link is told why it does nothing.
pub const CLAIM_REMEMBERED_MS: i64 = 7 * 86_400_000;

/// Where the next page of an export begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportCursor(pub(crate) [i64; 4]);

/// Why the store could not do as told.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Something of that name exists.
    #[error("{0} exists already")]
    Exists(String),
    /// Nothing of that name exists.
    #[error("there is no {0}")]
    Missing(String),
    /// The disk is full. Nothing of the append was stored.
    #[error("the disk is full")]
    DiskFull(#[source] sqlx::Error),
    /// Somebody else holds the store. Nothing of the append was stored.
    #[error("the store is busy")]
    Busy(#[source] sqlx::Error),
    /// Too much is going on. Nothing of the append was stored.
    #[error("the store is busy")]
    Contended,
    /// The bundled database engine is too old to be trusted with a write-ahead log.
    #[error("SQLite {found} can corrupt its write-ahead log; Casement needs {needed} or later")]
    EngineTooOld {
        /// The version linked.
        found: String,
        /// The oldest version that will do.
        needed: &'static str,
    },
    /// The URL names a store this version does not have.
    #[error("store.url \"{0}\" is not supported; use \"sqlite:FILE\" or \"postgres://USER@HOST/DATABASE\"")]
    UnknownUrl(String),
    /// The store is in a database, and what was asked for works on a file.
    #[error("the store is a PostgreSQL database and not a file")]
    NotAFile,
    /// Nobody answers, or not to us.
    #[error("the database cannot be reached")]
    Unreachable(#[source] sqlx::Error),
    /// The schema is from a later version.
    #[error("the store was written by a later version of Casement (schema {found}, this one knows {known})")]
    SchemaTooNew {
        /// Version in the file.
        found: i64,
        /// Version of this program.
        known: i64,
    },
    /// The layout is an earlier one, and whoever asks must not change it.
    #[error("the store has layout {found}; the next start of the gateway brings it to {known}")]
    Older {
        /// Layout of the file.
        found: u64,
        /// Layout of this version.
        known: u64,
    },
    /// The file is a database or a text, but no store.
    #[error("this is not a store of Casement")]
    Foreign,
    /// The file is a store with this flaw, and perhaps others.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// Anything else the database says.
    #[error("the store failed")]
    Engine(#[source] sqlx::Error),
}

/// The port. See the module for what every implementation promises.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Stores batches in one durable step and says what became of each. A device that is not registered is registered
    /// without a room.
    async fn append(&self, batches: &[NewBatch]) -> Result<Vec<Appended>, StoreError>;
    /// Registers a device.
    async fn add_device(&self, device: &Device) -> Result<(), StoreError>;
    /// Every device, in order of its id.
    async fn devices(&self) -> Result<Vec<Device>, StoreError>;
    /// Keeps a token (its `id` is ignored) and gives its number. Keeping a session clears away those that are over, and
    /// claims that have been for [`CLAIM_REMEMBERED_MS`].
    async fn add_token(&self, token: &Token) -> Result<i64, StoreError>;
    /// The token with this hash, whatever its condition.
    async fn token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError>;
    /// Every token except sessions, oldest first.
    async fn tokens(&self) -> Result<Vec<Token>, StoreError>;
    /// Revokes one token and every session made with it; gives whether it was there and alive.
    async fn revoke_token(&self, id: i64, now_ms: i64) -> Result<bool, StoreError>;
    /// The number of the newest reading; 0 when there is none.
    async fn newest(&self) -> Result<i64, StoreError>;
    /// Readings that arrived after the one of this number, in order of arrival.
    async fn after(&self, id: i64, limit: u32) -> Result<Vec<StoredReading>, StoreError>;
    /// The newest reading (by time) of every device that has one.
    async fn latest(&self) -> Result<Vec<StoredReading>, StoreError>;
    /// The newest values (by time) of one series since an instant, newest first.
    async fn recent(
        &self,
        device: &DeviceId,
        quantity: &Quantity,
        since_ms: i64,
        limit: u32,
    ) -> Result<Vec<(i64, f64)>, StoreError>;
    /// The quantities a device has ever sent, by name.
    async fn quantities(&self, device: &DeviceId) -> Result<Vec<Quantity>, StoreError>;
    /// Which numbered readings of a device have arrived, by its starts, in order of their numbers.
    async fn ledger(&self, device: &DeviceId) -> Result<Vec<Start>, StoreError>;
    /// One series over a window: raw when it fits, else in buckets.
    async fn series(
        &self,
        device: &DeviceId,
        quantity: &Quantity,
        window: Window,
    ) -> Result<Points, StoreError>;
    /// How the values of one series in `[from_ms, to_ms)` are spread, and how long they were above a threshold.
    async fn distribution(
        &self,
        device: &DeviceId,
        quantity: &Quantity,
        from_ms: i64,
        to_ms: i64,
        above: Option<f64>,
    ) -> Result<Distribution, StoreError>;
    /// One page of an export and where the next begins; `None` after the last.
    async fn export(
        &self,
        filter: &ExportFilter,
        from: Option<ExportCursor>,
        limit: u32,
    ) -> Result<(Vec<ExportRow>, Option<ExportCursor>), StoreError>;
    /// How many values an export will hand out.
    async fn count(&self, filter: &ExportFilter) -> Result<u64, StoreError>;
    /// How large it is and how fast it grows. Looks at every day that is kept: not for every minute.
    async fn growth(&self, now_ms: i64) -> Result<Growth, StoreError>;
    /// Keeps raw values for so long from now on. What is older is forgotten by and by; the hours of it stay.
    fn keep(&self, retention: Retention);
    /// Brings everything into its final, smallest form now, which otherwise happens by and by. Takes its time.
    async fn compact(&self) -> Result<(), StoreError>;
    /// Can it be read and written? Cheap enough for a health check.
    async fn ping(&self) -> Result<(), StoreError>;
    /// Finishes what is running and closes files.
    async fn close(&self);
}

/// How much a store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The version of its schema.
    pub schema: u64,
    /// Registered devices.
    pub devices: u64,
    /// Tokens, with sessions and revoked ones.
    pub tokens: u64,
    /// Readings.
    pub readings: u64,
    /// Values of readings.
    pub values: u64,
    /// When the newest reading was taken, in milliseconds since 1970.
    pub newest_ms: Option<i64>,
}

/// Called every now and then by work that takes long, on the thread that does it: rests, so that others go first; `false`
/// when the work is to be given up.
pub type Breath = Arc<dyn Fn() -> bool + Send + Sync>;

/// Where a store is kept that is one file: what can be done with it without opening it for readings.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file, whether it is there or not.
    pub file: PathBuf,
}

impl Place {
    /// The place that the URL names, relative to the data directory.
    ///
    /// # Errors
    /// [`StoreError::NotAFile`] when it names a database, [`StoreError::UnknownUrl`] when it names nothing.
    pub fn named(url: &str, data_dir: &Path) -> Result<Self, StoreError> {
        if url::is_postgres(url) {
            return Err(StoreError::NotAFile);
        }
        match url.split_once(':') {
            Some(("sqlite", file)) => {
                Ok(Self { file: data_dir.join(file.strip_prefix("//").unwrap_or(file)) })
            }
            _ => Err(StoreError::UnknownUrl(without_password(url))),
        }
    }
}

/// Has the store that the URL names been made? Nothing is made by asking; when nobody can tell, [`open`] says why.
pub async fn is_there(url: &str, data_dir: &Path) -> bool {
    if url::is_postgres(url) {
        return postgres::is_there(url).await;
    }
    Place::named(url, data_dir).map_or(true, |place| !matches!(place.file.try_exists(), Ok(false)))
}

/// Opens the store that the URL names, relative to the data directory.
///
/// # Errors
/// [`StoreError`] when it cannot be opened or brought to the current schema.
pub async fn open(url: &str, data_dir: &Path) -> Result<Arc<dyn Store>, StoreError> {
    let shelf: Box<dyn chunked::shelf::Shelf> = if url::is_postgres(url) {
        Box::new(postgres::Postgres::open(url).await?)
    } else {
        Box::new(sqlite::Sqlite::open(&Place::named(url, data_dir)?.file).await?)
    };
    Ok(Arc::new(chunked::Chunked::open(shelf).await?))
}
