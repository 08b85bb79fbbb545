//! What the gateway carries: devices, readings on their way in, as kept, and on their way out. Plain data that every
//! row may name.

use casement_proto::{DeviceId, Quantity, State};

/// A device as registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name in every URL and file.
    pub id: DeviceId,
    /// The room it hangs in.
    pub room: Option<String>,
    /// A name for people.
    pub name: Option<String>,
    /// Its readings are made up.
    pub simulated: bool,
    /// When it was registered, in milliseconds since 1970.
    pub created_ms: i64,
}

/// A reading ready to be stored: checked, and with a time that is known.
#[derive(Clone, Debug, PartialEq)]
pub struct NewReading {
    /// `(boot, seq)`, where the device numbers its readings.
    pub name: Option<(u64, u64)>,
    /// When it was taken, in milliseconds since 1970.
    pub t_ms: i64,
    /// Where that time is from.
    pub timed: Timed,
    /// How far to trust it.
    pub state: State,
    /// The values, each quantity once.
    pub values: Box<[(Quantity, f64)]>,
}

/// Where a reading's time is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timed {
    /// The device: by its clock, or by how old the reading is.
    Device,
    /// The moment of receipt. An unnamed reading may then move by milliseconds to stay distinct.
    Receipt,
    /// How old the reading is, and the device says how long it has been running: the store keeps when that start began, so
    /// that the reading has the same time at every attempt to send it.
    SinceStart {
        /// The number of the start.
        boot: u64,
        /// How long after the start it was taken, in milliseconds.
        at_ms: u64,
        /// How long after the start it was sent, in milliseconds.
        sent_ms: u64,
    },
}

/// Readings of one device that arrived together.
#[derive(Clone, Debug, PartialEq)]
pub struct NewBatch {
    /// Who measured.
    pub device: DeviceId,
    /// The readings, in order of arrival.
    pub readings: Vec<NewReading>,
}

/// A reading as kept.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredReading {
    /// Place in the order of arrival; grows by time of commit.
    pub id: i64,
    /// Who measured.
    pub device: DeviceId,
    /// When, in milliseconds since 1970.
    pub t_ms: i64,
    /// `(boot, seq)`, where the device numbers its readings.
    pub name: Option<(u64, u64)>,
    /// How far to trust it.
    pub state: State,
    /// The values.
    pub values: Vec<(Quantity, f64)>,
}

/// What became of one batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Appended {
    /// The readings that are new, as stored, in order of arrival.
    pub stored: Vec<StoredReading>,
    /// How many were there before.
    pub duplicate: usize,
    /// Values of unnamed readings that differ from the one that has their instant; the first stays.
    pub conflicting: usize,
}

/// Most holes of a start that are told.
pub const HOLES_TOLD: usize = 20;

/// Which numbered readings of one start of a device have arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The number of the start.
    pub boot: u64,
    /// The lowest number that has arrived.
    pub first: u64,
    /// The highest.
    pub last: u64,
    /// How many have.
    pub seen: u64,
    /// The first holes between them, as first and last missing number; at most [`HOLES_TOLD`].
    pub holes: Vec<(u64, u64)>,
}

impl Start {
    /// How many between the lowest and the highest have not.
    pub fn missing(&self) -> u64 {
        (self.last - self.first).saturating_add(1).saturating_sub(self.seen)
    }
}

/// How long raw values are kept, in days; 0 is for ever. What is older stays as hours: count, least, greatest and mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Of every metric that is not named.
    pub days: u32,
    /// Of these.
    pub of: Vec<(Quantity, u32)>,
}

impl Retention {
    /// The days for a metric; 0 is for ever.
    pub fn days_of(&self, quantity: &Quantity) -> u32 {
        self.of.iter().find(|(named, _)| named == quantity).map_or(self.days, |(_, days)| *days)
    }
}

/// How large a store is and how fast it grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes that a day adds, by the values of the last week; 0 when there were none.
    pub per_day: u64,
}

/// One value on its way out of the store.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportRow {
    /// When, in milliseconds since 1970.
    pub t_ms: i64,
    /// Who measured.
    pub device: DeviceId,
    /// What.
    pub quantity: Quantity,
    /// How much, in the quantity's unit.
    pub value: f64,
    /// How far to trust it.
    pub state: State,
}

/// Which values to hand out, ordered by device, metric and time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExportFilter {
    /// Only this device.
    pub device: Option<DeviceId>,
    /// Only this metric.
    pub metric: Option<Quantity>,
    /// From this instant on, in milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// Before this instant, in milliseconds since 1970.
    pub to_ms: Option<i64>,
}
