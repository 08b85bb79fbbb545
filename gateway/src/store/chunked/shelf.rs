//! What the engine asks of a database: to keep blobs under numbers, and a few steps that happen whole or not at all.
//!
//! Everything here is one transaction. Two processes may use one database: whoever wants to change something says what it
//! believes ([`Marks`]), and is told `false` when that is no longer so.

use crate::reading::Device;
use crate::store::{StoreError, Token};
use async_trait::async_trait;
use casement_proto::DeviceId;

/// How far the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// The number of the newest reading.
    pub(crate) newest: i64,
    /// How often something was sealed.
    pub(crate) seals: i64,
}

/// A device as the engine knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceRow {
    /// Its number.
    pub(crate) device: i64,
    /// Its name.
    pub(crate) id: DeviceId,
    /// Its readings up to this number are sealed.
    pub(crate) sealed: i64,
    /// The time of the newest of those, in milliseconds since 1970.
    pub(crate) newest_ms: Option<i64>,
}

/// A row of the log.
#[derive(Clone, Debug)]
pub(crate) struct LogRow {
    /// The number of its last reading.
    pub(crate) last: i64,
    /// See `record`.
    pub(crate) data: Vec<u8>,
}

/// What others did since some [`Marks`].
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// How far the store is now.
    pub(crate) marks: Marks,
    /// What was committed since, as far as it is still in the log.
    pub(crate) log: Vec<LogRow>,
}

/// A block of the ledger: device, boot, block.
pub(crate) type NamesKey = (i64, u64, u64);

/// Days before 1970 that have a place of their own, and as many after: some 5,700 years.
pub(crate) const DAYS: i64 = 1 << 21;

/// The number of the "metric" whose column is the times of a device's readings.
pub(crate) const TIMES: i64 = 0;

/// Some days of a series, first and last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Days {
    /// The number of the series.
    pub(crate) series: i64,
    /// The first day (since 1970, UTC).
    pub(crate) from: i64,
    /// The last.
    pub(crate) to: i64,
}

/// What to read of a device at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Want {
    /// Its number.
    pub(crate) device: i64,
    /// Summaries of these.
    pub(crate) summaries: Vec<Days>,
    /// Columns of these.
    pub(crate) columns: Vec<Days>,
    /// Pieces of these days, first and last.
    pub(crate) pieces: Option<(i64, i64)>,
    /// The last summary of this series before this day.
    pub(crate) before: Option<(i64, i64)>,
}

/// A piece as kept.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Its number.
    pub(crate) id: i64,
    /// Its day.
    pub(crate) day: i64,
    /// See `block`.
    pub(crate) data: Vec<u8>,
}

/// A summary or a column as kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// The number of its series.
    pub(crate) series: i64,
    /// Its day.
    pub(crate) day: i64,
    /// See `summary` and `block`.
    pub(crate) data: Vec<u8>,
}

/// What there is of a [`Want`].
#[derive(Debug, Default)]
pub(crate) struct Shelved {
    /// The device's readings up to this number are among the pieces and columns.
    pub(crate) sealed: i64,
    /// In the order in which they were made.
    pub(crate) pieces: Vec<Piece>,
    /// In order of series and day.
    pub(crate) summaries: Vec<Kept>,
    /// In order of series and day.
    pub(crate) columns: Vec<Kept>,
    /// The last summary before.
    pub(crate) before: Option<Kept>,
    /// Series and days that the database cannot read any more.
    pub(crate) lost: Vec<(i64, i64)>,
}

/// Readings that leave the log and memory.
#[derive(Debug, Default)]
pub(crate) struct Seal {
    /// How far the store is believed to be.
    pub(crate) marks: Marks,
    /// Whose readings.
    pub(crate) devices: Vec<Sealed>,
    /// What becomes of them.
    pub(crate) pieces: Vec<NewPiece>,
    /// Series that are needed, by device and metric.
    pub(crate) series: Vec<(i64, i64)>,
    /// Blocks of the ledger.
    pub(crate) names: Vec<(NamesKey, Vec<u8>)>,
    /// Log rows up to this one are not needed any more.
    pub(crate) trim: i64,
}

/// A device that is sealed.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    /// Its number.
    pub(crate) device: i64,
    /// Up to this reading.
    pub(crate) sealed: i64,
    /// The time of the newest of all that are sealed, in milliseconds since 1970.
    pub(crate) newest_ms: i64,
    /// That reading, when it is among these; see `record`.
    pub(crate) latest: Option<Vec<u8>>,
}

/// A piece that is made.
#[derive(Clone, Debug)]
pub(crate) struct NewPiece {
    /// The number of its device.
    pub(crate) device: i64,
    /// Its day.
    pub(crate) day: i64,
    /// When it is made, in milliseconds since 1970.
    pub(crate) made_ms: i64,
    /// Readings in it.
    pub(crate) readings: usize,
    /// Values in it.
    pub(crate) values: usize,
    /// See `block`.
    pub(crate) data: Vec<u8>,
}

/// Pieces of one day that wait for being put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// The number of their device.
    pub(crate) device: i64,
    /// Their day.
    pub(crate) day: i64,
    /// How many there are.
    pub(crate) pieces: i64,
    /// When the last was made, in milliseconds since 1970.
    pub(crate) made_ms: i64,
}

/// A device's day, put together.
#[derive(Debug, Default)]
pub(crate) struct WholeDay {
    /// The number of the device.
    pub(crate) device: i64,
    /// The day.
    pub(crate) day: i64,
    /// The pieces that are in it now.
    pub(crate) pieces: Vec<i64>,
    /// Every column, by its metric; an empty one goes.
    pub(crate) columns: Vec<(i64, Vec<u8>)>,
    /// Every summary with the number of its values, by its metric.
    pub(crate) summaries: Vec<(i64, u64, Vec<u8>)>,
    /// Blobs that could not be read, kept aside: what they were, and why they could not.
    pub(crate) damaged: Vec<(String, Vec<u8>)>,
}

/// A series with the names of its device and its metric.
#[derive(Clone, Debug)]
pub(crate) struct SeriesRow {
    /// Its number.
    pub(crate) series: i64,
    /// The number of its device.
    pub(crate) device: i64,
    /// The number of its metric.
    pub(crate) metric: i64,
}

/// See [`Shelf::weight`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) bytes: u64,
    pub(crate) values: u64,
    pub(crate) values_between: u64,
}

/// A database.
#[async_trait]
pub(crate) trait Shelf: Send + Sync + 'static {
    /// How far the store is.
    async fn marks(&self) -> Result<Marks, StoreError>;
    /// What others did since.
    async fn changes(&self, since: Marks) -> Result<Changes, StoreError>;
    /// Finds devices or adds them; in the same order.
    async fn register(&self, ids: &[DeviceId], now_ms: i64) -> Result<Vec<DeviceRow>, StoreError>;
    /// A device by its name.
    async fn device(&self, id: &DeviceId) -> Result<Option<DeviceRow>, StoreError>;
    /// Devices by their numbers, in any order.
    async fn numbered(&self, devices: &[i64]) -> Result<Vec<DeviceRow>, StoreError>;
    /// Every metric, by its number.
    async fn metrics(&self) -> Result<Vec<(i64, String)>, StoreError>;
    /// Finds a metric or adds it.
    async fn metric(&self, name: &str) -> Result<i64, StoreError>;
    /// Every series, or those of one device, in order of device and metric.
    async fn series(&self, device: Option<i64>) -> Result<Vec<SeriesRow>, StoreError>;
    /// Adds a log row whose last reading has this number, on disk for good; `false` when the marks are not these.
    async fn commit(&self, marks: Marks, last: i64, row: Vec<u8>) -> Result<bool, StoreError>;
    /// Log rows that have readings after this number, in order; at most so many.
    async fn log(&self, after: i64, most: u32) -> Result<Vec<LogRow>, StoreError>;
    /// The newest sealed reading of every device that has one, see `record`.
    async fn latest(&self) -> Result<Vec<(DeviceRow, Vec<u8>)>, StoreError>;
    /// Blocks of the ledger that are there.
    async fn names(&self, keys: &[NamesKey]) -> Result<Vec<(NamesKey, Vec<u8>)>, StoreError>;
    /// Every block of a device, in order of boot and block.
    async fn names_of(&self, device: i64) -> Result<Vec<(NamesKey, Vec<u8>)>, StoreError>;
    /// Puts something in the place of a block of the ledger; `false` when that is not what it was.
    async fn anchor(&self, key: NamesKey, was: Option<&[u8]>, is: &[u8]) -> Result<bool, StoreError>;
    /// Columns, pieces and summaries as they were at one moment.
    async fn read(&self, want: &Want) -> Result<Shelved, StoreError>;
    /// The days on which a device has anything on the shelf, in order, from the first to the last of a range.
    async fn days(&self, device: i64, from: i64, to: i64) -> Result<Vec<i64>, StoreError>;
    /// Seals readings; `false` when the marks are not these.
    async fn seal(&self, seal: &Seal) -> Result<bool, StoreError>;
    /// Device days that have pieces.
    async fn waiting(&self) -> Result<Vec<Waiting>, StoreError>;
    /// Puts a day together; `false` when its pieces are not these any more.
    async fn put_together(&self, day: &WholeDay) -> Result<bool, StoreError>;
    /// The first day of which raw values are kept, for metrics of which older ones are not.
    async fn kept_from(&self) -> Result<Vec<(i64, i64)>, StoreError>;
    /// Forgets the columns of a metric before a day, at most so many, and takes note of that day; summaries stay. Gives how
    /// many were forgotten.
    async fn forget(&self, metric: i64, before: i64, most: u32) -> Result<u64, StoreError>;
    /// Looks for flaws of the database when it was not closed well; gives what they are.
    async fn flaws(&self) -> Result<Vec<String>, StoreError>;
    /// Bytes on disk, values in days, and those from one day up to before another.
    async fn weight(&self, from: i64, to: i64) -> Result<Weight, StoreError>;
    /// Looks after files: gives back some room that will hardly be needed soon, or all that is not needed now, and says
    /// whether there may be more.
    async fn upkeep(&self, all: bool) -> Result<bool, StoreError>;

    /// See [`crate::store::Store::add_device`].
    async fn add_device(&self, device: &Device) -> Result<(), StoreError>;
    /// See [`crate::store::Store::devices`].
    async fn devices(&self) -> Result<Vec<Device>, StoreError>;
    /// See [`crate::store::Store::add_token`].
    async fn add_token(&self, token: &Token) -> Result<i64, StoreError>;
    /// See [`crate::store::Store::token`].
    async fn token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError>;
    /// See [`crate::store::Store::tokens`].
    async fn tokens(&self) -> Result<Vec<Token>, StoreError>;
    /// See [`crate::store::Store::revoke_token`].
    async fn revoke_token(&self, id: i64, now_ms: i64) -> Result<bool, StoreError>;
    /// Can it be read and written?
    async fn ping(&self) -> Result<(), StoreError>;
    /// Closes files and connections.
    async fn close(&self);
}
