//! The engine: packed readings on any [`shelf::Shelf`].
//!
//! An acknowledgement waits for one thing: a row in the log. From there readings go to pieces of an hour and from pieces to
//! days, by themselves, in a task that this module runs; `rules` says when. Readings are in exactly one of the three, and in
//! memory as long as they are in the log. What is there already is decided when a reading comes, by the ledger or by its
//! time, so that nothing has to be sorted out later.
//!
//! A question takes a copy of what is in memory first and looks at the shelf second. The shelf says up to which reading a
//! device was sealed at that moment; what memory has beyond that is added.

pub(super) mod anchor;
mod append;
mod blob;
pub(super) mod block;
mod fold;
mod memory;
#[cfg(test)]
mod model;
pub(super) mod names;
mod numbers;
mod query;
pub(super) mod record;
mod rules;
pub(super) mod seal;
pub(super) mod shelf;
#[cfg(test)]
pub(super) mod stories;
pub(super) mod summary;

use super::{
    Appended, Device, ExportCursor, ExportFilter, ExportRow, Growth, NewBatch, Retention, Start, Store,
    StoreError, StoredReading, Token,
};
use crate::telemetry::distribution::Distribution;
use crate::telemetry::series::{Points, Window};
use crate::telemetry::time::DAY_MS;
use async_trait::async_trait;
use casement_proto::{DeviceId, Quantity, State};
use memory::Memory;
use record::Record;
use shelf::{Marks, Shelf};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Log rows read at once.
const ROWS: u32 = 64;

/// A store on a shelf.
pub(super) struct Chunked {
    inner: Arc<Inner>,
    /// The task that seals.
    sealing: Mutex<Option<JoinHandle<()>>>,
}

struct Inner {
    shelf: Box<dyn Shelf>,
    memory: Mutex<Memory>,
    /// Held by whoever changes the store and memory together.
    writing: tokio::sync::Mutex<()>,
    /// Something may be due.
    wake: Notify,
    /// Something was sealed.
    room: Notify,
    /// How long raw values are kept.
    retention: Mutex<Retention>,
    /// Days in which something cannot be read: device and day.
    damaged: Mutex<BTreeSet<(i64, i64)>>,
    /// When another process was last found to have been first.
    rivalled: Mutex<Option<Instant>>,
    closing: CancellationToken,
}

impl Chunked {
    /// Opens a store: reads the log, and begins to seal.
    pub(super) async fn open(shelf: Box<dyn Shelf>) -> Result<Self, StoreError> {
        let store = Self::open_at_rest(shelf).await?;
        let task = tokio::spawn(seal::run(Arc::clone(&store.inner)));
        *store.sealing.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        Ok(store)
    }

    /// Opens a store and seals nothing unless told.
    pub(super) async fn open_at_rest(shelf: Box<dyn Shelf>) -> Result<Self, StoreError> {
        let inner = Arc::new(Inner {
            shelf,
            memory: Mutex::default(),
            writing: tokio::sync::Mutex::new(()),
            wake: Notify::new(),
            room: Notify::new(),
            retention: Mutex::default(),
            damaged: Mutex::default(),
            rivalled: Mutex::default(),
            closing: CancellationToken::new(),
        });
        {
            let _writing = inner.writing.lock().await;
            inner.reload().await?;
        }
        Ok(Self { inner, sealing: Mutex::new(None) })
    }
}

#[cfg(test)]
impl Chunked {
    /// See [`Inner::mend`].
    pub(super) async fn mend(&self) -> Result<(), StoreError> {
        self.inner.mend().await
    }

    /// See [`Inner::forget`].
    pub(super) async fn forget(&self, now_ms: i64) -> Result<(), StoreError> {
        self.inner.forget(now_ms).await
    }
}

impl Inner {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that what others have committed is known, too.
    async fn catch_up(&self) -> Result<(), StoreError> {
        let found = self.shelf.marks().await?;
        if found == self.memory().marks {
            return Ok(());
        }
        let _writing = self.writing.lock().await;
        if self.shelf.marks().await? == self.memory().marks {
            return Ok(());
        }
        self.follow().await
    }

    /// Takes in what others have done. The caller holds `writing`.
    async fn follow(&self) -> Result<(), StoreError> {
        *self.rivalled.lock().unwrap_or_else(PoisonError::into_inner) = Some(crate::clock::steady());
        let since = {
            let mut memory = self.memory();
            // Others may have heard of starts.
            memory.forget_anchors();
            memory.marks
        };
        let changes = self.shelf.changes(since).await?;
        if changes.marks.seals != since.seals {
            return self.reload().await;
        }
        self.take_in(changes.log).await?;
        // Rows may have been trimmed away, or damaged.
        let mut memory = self.memory();
        memory.marks.newest = memory.marks.newest.max(changes.marks.newest);
        Ok(())
    }

    /// Forgets what is in memory and reads the log anew. The caller holds `writing`.
    async fn reload(&self) -> Result<(), StoreError> {
        let changes = self.shelf.changes(Marks::default()).await?;
        self.memory().clear(Marks { newest: 0, seals: changes.marks.seals });
        for (metric, day) in self.shelf.kept_from().await? {
            self.memory().keep_from(metric, day);
        }
        self.take_in(changes.log).await?;
        let mut memory = self.memory();
        memory.marks.newest = memory.marks.newest.max(changes.marks.newest);
        Ok(())
    }

    async fn take_in(&self, rows: Vec<shelf::LogRow>) -> Result<(), StoreError> {
        for row in rows {
            let records = match record::from_row(&row.data) {
                Ok(records) => records,
                Err(damage) => {
                    tracing::error!(
                        until = row.last, %damage,
                        "a row of the log cannot be read; the readings of that commit are lost unless they were sealed"
                    );
                    continue;
                }
            };
            self.meet_all(&records).await?;
            self.know_blocks(records.iter().filter_map(|record| Some((record.device, record.name?)))).await?;
            self.memory().apply(&records, crate::clock::now_ms());
        }
        Ok(())
    }

    /// Makes sure that the devices and metrics of these readings are known.
    async fn meet_all(&self, records: &[Record]) -> Result<(), StoreError> {
        let unmet = self.unmet(records.iter().flat_map(|record| {
            // A reading without values has a device, too.
            let metrics =
                std::iter::once(shelf::TIMES).chain(record.values.iter().map(|(metric, _)| *metric));
            metrics.map(move |metric| (record.device, metric))
        }));
        self.meet(unmet).await
    }

    /// Devices among these series that are not known, and whether a metric is not.
    fn unmet(&self, series: impl Iterator<Item = (i64, i64)>) -> (Vec<i64>, bool) {
        let memory = self.memory();
        let (mut devices, mut metrics, mut last) = (Vec::new(), false, None);
        for (device, metric) in series {
            if last.replace(device) != Some(device) && memory.head(device).is_none() {
                devices.push(device);
            }
            metrics |= metric != shelf::TIMES && memory.quantity(metric).is_none();
        }
        (devices, metrics)
    }

    async fn meet(&self, (mut devices, metrics): (Vec<i64>, bool)) -> Result<(), StoreError> {
        devices.sort_unstable();
        devices.dedup();
        if !devices.is_empty() {
            let rows = self.shelf.numbered(&devices).await?;
            self.memory().meet(&rows);
        }
        if metrics {
            self.meet_metrics().await?;
        }
        Ok(())
    }

    async fn meet_metrics(&self) -> Result<(), StoreError> {
        let metrics = self.shelf.metrics().await?;
        let mut memory = self.memory();
        for (number, name) in metrics {
            if let Some(quantity) = Quantity::parse(&name) {
                memory.meet_metric(number, quantity);
            }
        }
        Ok(())
    }

    /// The number of a metric, if it was ever measured.
    async fn metric(&self, quantity: &Quantity) -> Result<Option<i64>, StoreError> {
        if let Some(number) = self.memory().metric(quantity) {
            return Ok(Some(number));
        }
        self.meet_metrics().await?;
        Ok(self.memory().metric(quantity))
    }

    /// Makes sure that the blocks of the ledger with these names are known.
    async fn know_blocks(&self, names: impl Iterator<Item = (i64, (u64, u64))>) -> Result<(), StoreError> {
        let mut keys: Vec<shelf::NamesKey> = {
            let memory = self.memory();
            names
                .map(|(device, (boot, seq))| (device, boot, names::place(seq).0))
                .filter(|key| !memory.knows_block(key))
                .collect()
        };
        if keys.is_empty() {
            return Ok(());
        }
        keys.sort_unstable();
        keys.dedup();
        let found = self.shelf.names(&keys).await?;
        let mut memory = self.memory();
        for (key, blob) in found {
            let names =
                names::Names::from_blob(&blob).map_err(|damage| damaged("a block of the ledger", damage))?;
            memory.take_block(key, names);
        }
        for key in keys {
            memory.take_block(key, names::Names::default());
        }
        Ok(())
    }

    /// Readings as others know them.
    fn told(&self, records: Vec<Record>) -> Vec<StoredReading> {
        let memory = self.memory();
        let told = records.into_iter().filter_map(|record| {
            let values =
                record.values.iter().filter_map(|(metric, value)| Some((memory.quantity(*metric)?, *value)));
            Some(StoredReading {
                id: record.id,
                device: memory.head(record.device)?.id,
                t_ms: record.t_ms,
                name: record.name,
                state: state(record.state),
                values: values.collect(),
            })
        });
        told.collect()
    }
}

/// A state by its number in the store.
fn state(number: u8) -> State {
    State::ALL.get(usize::from(number)).copied().unwrap_or(State::Suspect)
}

/// A state's number in the store: its place in [`State::ALL`].
fn state_number(state: State) -> u8 {
    State::ALL.iter().position(|other| *other == state).and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
}

fn damaged(what: &str, damage: blob::Damage) -> StoreError {
    StoreError::Damaged(format!("{what}: {damage}"))
}

/// The day of an instant, since 1970. Times outside of [`shelf::DAYS`] share the first or the last one.
fn day(t_ms: i64) -> i64 {
    t_ms.div_euclid(DAY_MS).clamp(-shelf::DAYS, shelf::DAYS - 1)
}

#[async_trait]
impl Store for Chunked {
    async fn append(&self, batches: &[NewBatch]) -> Result<Vec<Appended>, StoreError> {
        self.inner.append(batches).await
    }

    async fn add_device(&self, device: &Device) -> Result<(), StoreError> {
        self.inner.shelf.add_device(device).await
    }

    async fn devices(&self) -> Result<Vec<Device>, StoreError> {
        self.inner.shelf.devices().await
    }

    async fn add_token(&self, token: &Token) -> Result<i64, StoreError> {
        self.inner.shelf.add_token(token).await
    }

    async fn token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        self.inner.shelf.token(hash).await
    }

    async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        self.inner.shelf.tokens().await
    }

    async fn revoke_token(&self, id: i64, now_ms: i64) -> Result<bool, StoreError> {
        self.inner.shelf.revoke_token(id, now_ms).await
    }

    async fn newest(&self) -> Result<i64, StoreError> {
        Ok(self.inner.shelf.marks().await?.newest)
    }

    async fn after(&self, id: i64, limit: u32) -> Result<Vec<StoredReading>, StoreError> {
        self.inner.after(id, limit).await
    }

    async fn latest(&self) -> Result<Vec<StoredReading>, StoreError> {
        self.inner.latest().await
    }

    async fn recent(
        &self,
        device: &DeviceId,
        quantity: &Quantity,
        since_ms: i64,
        limit: u32,
    ) -> Result<Vec<(i64, f64)>, StoreError> {
        self.inner.recent(device, quantity, since_ms, limit).await
    }

    async fn quantities(&self, device: &DeviceId) -> Result<Vec<Quantity>, StoreError> {
        self.inner.quantities(device).await
    }

    async fn ledger(&self, device: &DeviceId) -> Result<Vec<Start>, StoreError> {
        self.inner.ledger(device).await
    }

    async fn series(
        &self,
        device: &DeviceId,
        quantity: &Quantity,
        window: Window,
    ) -> Result<Points, StoreError> {
        self.inner.series(device, quantity, window).await
    }

    async fn distribution(
        &self,
        device: &DeviceId,
        quantity: &Quantity,
        from_ms: i64,
        to_ms: i64,
        above: Option<f64>,
    ) -> Result<Distribution, StoreError> {
        self.inner.distribution(device, quantity, (from_ms, to_ms), above).await
    }

    async fn export(
        &self,
        filter: &ExportFilter,
        from: Option<ExportCursor>,
        limit: u32,
    ) -> Result<(Vec<ExportRow>, Option<ExportCursor>), StoreError> {
        self.inner.export(filter, from, limit).await
    }

    async fn count(&self, filter: &ExportFilter) -> Result<u64, StoreError> {
        self.inner.count(filter).await
    }

    async fn growth(&self, now_ms: i64) -> Result<Growth, StoreError> {
        /// Days that are looked at, the last of which are over.
        const WEEK: i64 = 7;
        let today = day(now_ms);
        let weight = self.inner.shelf.weight(today - WEEK, today).await?;
        let a_day = u128::from(weight.values_between) * u128::from(weight.bytes)
            / u128::from(weight.values.max(1))
            / WEEK.unsigned_abs() as u128;
        Ok(Growth { bytes: weight.bytes, per_day: u64::try_from(a_day).unwrap_or(u64::MAX) })
    }

    fn keep(&self, retention: Retention) {
        *self.inner.retention.lock().unwrap_or_else(PoisonError::into_inner) = retention;
        self.inner.wake.notify_one();
    }

    async fn compact(&self) -> Result<(), StoreError> {
        self.inner.compact(crate::clock::now_ms()).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.shelf.ping().await
    }

    async fn close(&self) {
        self.inner.closing.cancel();
        let sealing = self.sealing.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sealing) = sealing {
            // It ends after the step it is at; a panic in it has been told.
            let _ended = sealing.await;
        }
        self.inner.shelf.close().await;
    }
}
