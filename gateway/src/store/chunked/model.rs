//! The engine against a simple model of it, by chance, with a crash between any two steps of the shelf.

use super::shelf::{
    Changes, DeviceRow, LogRow, Marks, NamesKey, Seal, SeriesRow, Shelf, Shelved, Waiting, Want, Weight,
    WholeDay,
};
use super::{Chunked, fold};
use crate::reading::{Device, ExportFilter, ExportRow, NewBatch, NewReading, Timed};
use crate::store::sqlite::Sqlite;
use crate::store::{Store, StoreError, Token};
use crate::telemetry::series::{self, Data, Window};
use crate::telemetry::time::DAY_MS;
use async_trait::async_trait;
use casement_proto::{DeviceId, Quantity, State};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Steps that change something until the power fails, and whether the last of them still happens.
struct Fuse {
    left: AtomicI64,
    after: bool,
}

/// A shelf whose power fails at a step; from then on it does nothing any more.
struct Mortal {
    shelf: Sqlite,
    fuse: Arc<Fuse>,
}

impl Mortal {
    fn dead() -> StoreError {
        StoreError::Missing("power".to_owned())
    }

    fn alive(&self) -> Result<(), StoreError> {
        if self.fuse.left.load(Ordering::SeqCst) < 0 { Err(Self::dead()) } else { Ok(()) }
    }

    /// Does a step that changes something, unless the power fails.
    async fn step<T>(&self, step: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let left = self.fuse.left.fetch_sub(1, Ordering::SeqCst);
        if left < 0 || (left == 0 && !self.fuse.after) {
            return Err(Self::dead());
        }
        let done = step.await;
        if left == 0 { Err(Self::dead()) } else { done }
    }
}

macro_rules! reads {
    ($(async fn $name:ident(&self $(, $argument:ident: $type:ty)*) -> $answer:ty;)*) => {
        $(fn $name<'a, 'async_trait>(&'a self $(, $argument: $type)*)
            -> std::pin::Pin<Box<dyn Future<Output = Result<$answer, StoreError>> + Send + 'async_trait>>
        where 'a: 'async_trait, Self: 'async_trait {
            Box::pin(async move { self.alive()?; self.shelf.$name($($argument),*).await })
        })*
    };
}

#[async_trait]
impl Shelf for Mortal {
    reads! {
        async fn marks(&self) -> Marks;
        async fn changes(&self, since: Marks) -> Changes;
        async fn metrics(&self) -> Vec<(i64, String)>;
        async fn series(&self, device: Option<i64>) -> Vec<SeriesRow>;
        async fn log(&self, after: i64, most: u32) -> Vec<LogRow>;
        async fn latest(&self) -> Vec<(DeviceRow, Vec<u8>)>;
        async fn days(&self, device: i64, from: i64, to: i64) -> Vec<i64>;
        async fn waiting(&self) -> Vec<Waiting>;
        async fn weight(&self, from: i64, to: i64) -> Weight;
        async fn kept_from(&self) -> Vec<(i64, i64)>;
        async fn flaws(&self) -> Vec<String>;
        async fn names_of(&self, device: i64) -> Vec<(NamesKey, Vec<u8>)>;
        async fn devices(&self) -> Vec<Device>;
        async fn tokens(&self) -> Vec<Token>;
        async fn ping(&self) -> ();
    }

    async fn register(&self, ids: &[DeviceId], now_ms: i64) -> Result<Vec<DeviceRow>, StoreError> {
        self.step(self.shelf.register(ids, now_ms)).await
    }
    async fn device(&self, id: &DeviceId) -> Result<Option<DeviceRow>, StoreError> {
        self.alive()?;
        self.shelf.device(id).await
    }
    async fn numbered(&self, devices: &[i64]) -> Result<Vec<DeviceRow>, StoreError> {
        self.alive()?;
        self.shelf.numbered(devices).await
    }
    async fn metric(&self, name: &str) -> Result<i64, StoreError> {
        self.step(self.shelf.metric(name)).await
    }
    async fn commit(&self, marks: Marks, last: i64, row: Vec<u8>) -> Result<bool, StoreError> {
        self.step(self.shelf.commit(marks, last, row)).await
    }
    async fn anchor(&self, key: NamesKey, was: Option<&[u8]>, is: &[u8]) -> Result<bool, StoreError> {
        self.step(self.shelf.anchor(key, was, is)).await
    }
    async fn names(&self, keys: &[NamesKey]) -> Result<Vec<(NamesKey, Vec<u8>)>, StoreError> {
        self.alive()?;
        self.shelf.names(keys).await
    }
    async fn read(&self, want: &Want) -> Result<Shelved, StoreError> {
        self.alive()?;
        self.shelf.read(want).await
    }
    async fn seal(&self, seal: &Seal) -> Result<bool, StoreError> {
        self.step(self.shelf.seal(seal)).await
    }
    async fn put_together(&self, days: &[WholeDay]) -> Result<(), StoreError> {
        self.step(self.shelf.put_together(days)).await
    }
    async fn forget(&self, metric: i64, before: i64, most: u32) -> Result<u64, StoreError> {
        self.step(self.shelf.forget(metric, before, most)).await
    }
    async fn upkeep(&self, all: bool) -> Result<bool, StoreError> {
        self.step(self.shelf.upkeep(all)).await
    }
    async fn add_device(&self, device: &Device) -> Result<(), StoreError> {
        self.shelf.add_device(device).await
    }
    async fn add_token(&self, token: &Token) -> Result<i64, StoreError> {
        self.shelf.add_token(token).await
    }
    async fn token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        self.shelf.token(hash).await
    }
    async fn revoke_token(&self, id: i64, now_ms: i64) -> Result<bool, StoreError> {
        self.shelf.revoke_token(id, now_ms).await
    }
    async fn close(&self) {
        self.shelf.close().await;
    }
}

type Values = BTreeMap<(DeviceId, String), Vec<(i64, f64, State)>>;

/// Every value that was acknowledged, in order of arrival, and every name.
#[derive(Clone, Default)]
struct Model {
    values: Values,
    names: BTreeSet<(DeviceId, u64, u64)>,
    /// Readings without a value are known by nothing else.
    newest: BTreeMap<DeviceId, (i64, usize)>,
    readings: usize,
}

impl Model {
    fn append(&mut self, batches: &[NewBatch]) -> Vec<(usize, usize)> {
        let mut told = Vec::new();
        for batch in batches {
            let (mut stored, mut duplicate) = (0, 0);
            for reading in &batch.readings {
                let mut values = reading.values.to_vec();
                let mut t_ms = reading.t_ms;
                if let Some((boot, seq)) = reading.name {
                    if !self.names.insert((batch.device, boot, seq)) {
                        duplicate += 1;
                        continue;
                    }
                } else {
                    let taken = |model: &Self, quantity: &Quantity, t: i64| {
                        let series = model.values.get(&(batch.device, quantity.name().to_owned()));
                        series.is_some_and(|series| series.iter().any(|(at, ..)| *at == t))
                    };
                    while reading.timed == Timed::Receipt
                        && t_ms < reading.t_ms + 20_000
                        && values.iter().any(|(quantity, _)| taken(self, quantity, t_ms))
                    {
                        t_ms += 1;
                    }
                    values.retain(|(quantity, _)| !taken(self, quantity, t_ms));
                    if values.is_empty() && !reading.values.is_empty() {
                        duplicate += 1;
                        continue;
                    }
                }
                stored += 1;
                self.readings += 1;
                let newest = self.newest.entry(batch.device).or_insert((t_ms, self.readings));
                if newest.0 <= t_ms {
                    *newest = (t_ms, self.readings);
                }
                for (quantity, value) in values {
                    let series = self.values.entry((batch.device, quantity.name().to_owned())).or_default();
                    series.push((t_ms, value, reading.state));
                }
            }
            told.push((stored, duplicate));
        }
        told
    }

    fn series(&self, device: DeviceId, metric: &str) -> Vec<(i64, f64, State)> {
        let mut series = self.values.get(&(device, metric.to_owned())).cloned().unwrap_or_default();
        series.sort_by_key(|(t_ms, ..)| *t_ms);
        series
    }

    /// The store answers every question as this does.
    async fn check(&self, store: &dyn Store) {
        assert_eq!(store.newest().await.unwrap(), self.readings as i64);
        let (rows, _) = store.export(&ExportFilter::default(), None, u32::MAX).await.unwrap();
        let mut found = Values::new();
        for ExportRow { t_ms, device, quantity, value, state } in rows {
            found.entry((device, quantity.name().to_owned())).or_default().push((t_ms, value, state));
        }
        let expected: BTreeMap<_, _> = self
            .values
            .keys()
            .map(|(device, metric)| ((*device, metric.clone()), self.series(*device, metric)))
            .collect();
        assert_eq!(found, expected);
        for (device, metric) in self.values.keys() {
            self.check_series(store, *device, metric).await;
        }
        for device in self.newest.keys() {
            let mut told = BTreeSet::new();
            for start in store.ledger(device).await.unwrap() {
                let missing: u64 = start.holes.iter().map(|(first, last)| last - first + 1).sum();
                assert!(missing == start.missing() || start.holes.len() == crate::reading::HOLES_TOLD);
                if missing == start.missing() {
                    let hole =
                        |seq: &u64| start.holes.iter().any(|(first, last)| (first..=last).contains(&seq));
                    told.extend(
                        (start.first..=start.last)
                            .filter(|seq| !hole(seq))
                            .map(|seq| (*device, start.boot, seq)),
                    );
                }
            }
            let own = self.names.iter().filter(|(of, ..)| of == device).copied();
            assert!(told.is_subset(&own.collect()), "{told:?}");
            let counted: u64 = store.ledger(device).await.unwrap().iter().map(|start| start.seen).sum();
            assert_eq!(counted, self.names.iter().filter(|(of, ..)| of == device).count() as u64);
        }
        let mut latest: Vec<(DeviceId, i64, usize)> = Vec::new();
        for reading in store.latest().await.unwrap() {
            latest.push((reading.device, reading.t_ms, reading.id as usize));
        }
        latest.sort();
        let expected: Vec<_> = self.newest.iter().map(|(device, (t_ms, id))| (*device, *t_ms, *id)).collect();
        assert_eq!(latest, expected);
    }

    async fn check_series(&self, store: &dyn Store, device: DeviceId, metric: &str) {
        let quantity = Quantity::parse(metric).unwrap();
        let series = self.series(device, metric);
        let recent = store.recent(&device, &quantity, T0, 7).await.unwrap();
        let newest: Vec<i64> =
            series.iter().rev().map(|(t_ms, ..)| *t_ms).filter(|t_ms| *t_ms >= T0).take(7).collect();
        assert_eq!(recent.iter().map(|(t_ms, _)| *t_ms).collect::<Vec<_>>(), newest);
        for (from_ms, to_ms) in
            [(T0 - 5 * DAY_MS, T0 + 9 * DAY_MS), (T0 + 3_601_000, T0 + 2 * DAY_MS + 5), (T0, T0 + DAY_MS)]
        {
            for max_points in [3, 40, 10_000] {
                let window = Window { from_ms, to_ms, max_points, now_ms: T0 + 4 * DAY_MS };
                let points = store.series(&device, &quantity, window).await.unwrap();
                let inside: Vec<(i64, f64)> = series
                    .iter()
                    .filter(|(t_ms, ..)| (from_ms..to_ms).contains(t_ms))
                    .map(|(t_ms, value, _)| (*t_ms, *value))
                    .collect();
                let times = || inside.iter().map(|(t_ms, _)| *t_ms);
                let threshold = fold::threshold_ms(times());
                let before = series.iter().map(|(t_ms, ..)| *t_ms).filter(|t_ms| *t_ms < from_ms).max();
                let inner = series::inner_gaps(times(), threshold);
                let gaps =
                    series::gaps(window, threshold, inner, times().next(), times().next_back(), before);
                assert_eq!(points.gaps, gaps, "{device} {metric} {window:?} {inside:?}");
                match points.data {
                    Data::Raw(raw) => {
                        assert_eq!(raw, inside);
                        assert!(raw.len() <= max_points as usize);
                    }
                    Data::Buckets { step_ms, buckets } => {
                        assert!(inside.len() > max_points as usize);
                        assert_eq!(step_ms, series::step_ms(from_ms, to_ms, max_points));
                        let mut expected: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
                        for (t_ms, value) in &inside {
                            expected.entry(t_ms.div_euclid(step_ms) * step_ms).or_default().push(*value);
                        }
                        assert_eq!(buckets.len(), expected.len());
                        for (bucket, (t_ms, values)) in buckets.iter().zip(expected) {
                            let (min, max) =
                                values.iter().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
                            assert_eq!(
                                (bucket.t_ms, bucket.min, bucket.max, bucket.count),
                                (t_ms, min, max, values.len() as i64)
                            );
                            let mean = values.iter().sum::<f64>() / values.len() as f64;
                            assert!((bucket.mean - mean).abs() < 1e-9, "{} {mean}", bucket.mean);
                        }
                    }
                }
            }
        }
    }
}

/// Midnight (UTC), so that days border where times are close.
const T0: i64 = 20_779 * DAY_MS;

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<NewBatch>),
    /// Seals everything, some hours later.
    Seal,
    /// Puts everything together.
    Compact,
    Reopen,
    /// The power fails so many steps from now, before or after the last one is done.
    Crash(i64, bool),
}

fn readings() -> impl Strategy<Value = Vec<NewReading>> {
    let t_ms = prop_oneof![
        4 => (0i64..400).prop_map(|n| T0 + n * 600_000),
        2 => (-3i64..3).prop_map(|n| T0 + DAY_MS + n),
        1 => (0i64..40).prop_map(|n| T0 + n),
        1 => prop_oneof![Just(-5i64), Just(0), Just(T0 - 40 * DAY_MS), Just(T0 + 300 * DAY_MS)],
    ];
    let name = prop_oneof![3 => (1u64..3, 0u64..60).prop_map(Some), 1 => (1u64..3, 65_530u64..65_545).prop_map(Some), 3 => Just(None)];
    let values = prop_oneof![
        4 => (400i32..430).prop_map(|n| vec![("co2", f64::from(n))]),
        2 => (400i32..430, -50i32..50).prop_map(|(n, m)| vec![("co2", f64::from(n)), ("temperature", f64::from(m) / 10.0)]),
        1 => Just(vec![("humidity", 1.0 / 3.0)]),
        1 => Just(vec![]),
    ];
    let state = prop_oneof![5 => Just(State::Ok), 1 => Just(State::WarmingUp), 1 => Just(State::Failed)];
    let reading = (t_ms, name, values, state, prop::bool::weighted(0.1)).prop_map(
        |(t_ms, name, values, state, received)| NewReading {
            name,
            t_ms,
            timed: if received { Timed::Receipt } else { Timed::Device },
            state,
            values: values
                .into_iter()
                .map(|(metric, value)| (Quantity::parse(metric).unwrap(), value))
                .collect(),
        },
    );
    proptest::collection::vec(reading, 1..25)
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let batch = (0usize..3, readings()).prop_map(|(device, readings)| NewBatch {
        device: DeviceId::parse(["attic", "cellar", "hall"][device]).unwrap(),
        readings,
    });
    let op = prop_oneof![
        6 => proptest::collection::vec(batch, 1..4).prop_map(Op::Append),
        2 => Just(Op::Seal),
        2 => Just(Op::Compact),
        1 => Just(Op::Reopen),
        2 => (0i64..5, any::<bool>()).prop_map(|(steps, after)| Op::Crash(steps, after)),
    ];
    proptest::collection::vec(op, 1..14)
}

async fn open(file: &std::path::Path) -> (Chunked, Arc<Fuse>) {
    open_with(file, i64::MAX, false).await
}

async fn open_with(file: &std::path::Path, left: i64, after: bool) -> (Chunked, Arc<Fuse>) {
    let fuse = Arc::new(Fuse { left: AtomicI64::new(left), after });
    let shelf = Mortal { shelf: Sqlite::open(file).await.unwrap(), fuse: Arc::clone(&fuse) };
    (Chunked::open_at_rest(Box::new(shelf)).await.unwrap(), fuse)
}

/// A time at which every reading is sealed when asked, and every day is over.
const LATER: i64 = T0 + 400 * DAY_MS;

async fn run(ops: Vec<Op>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("casement.db");
    let mut model = Model::default();
    let (mut store, _) = open(&file).await;
    for op in ops {
        match op {
            Op::Append(batches) => {
                // Some of these seal by themselves in between; here only when told.
                match store.append(&batches).await {
                    Ok(appended) => {
                        let told: Vec<_> = appended.iter().map(|a| (a.stored.len(), a.duplicate)).collect();
                        assert_eq!(told, model.append(&batches));
                    }
                    Err(error) => {
                        // Not acknowledged: all of it is there, or nothing.
                        assert!(matches!(error, StoreError::Missing(_)), "{error}");
                        store.close().await;
                        store = open(&file).await.0;
                        let mut with = model.clone();
                        with.append(&batches);
                        if store.newest().await.unwrap() == with.readings as i64 {
                            model = with;
                        }
                    }
                }
            }
            Op::Seal => {
                let all: Vec<i64> =
                    store.inner.memory().waiting().iter().map(|unsealed| unsealed.device).collect();
                if store.inner.seal_devices(&all, 0, LATER).await.is_err() {
                    store.close().await;
                    store = open(&file).await.0;
                }
            }
            Op::Compact => {
                if store.inner.compact(LATER).await.is_err() {
                    store.close().await;
                    store = open(&file).await.0;
                }
            }
            Op::Reopen => {
                store.close().await;
                store = open(&file).await.0;
            }
            Op::Crash(steps, after) => {
                store.close().await;
                store = open_with(&file, steps, after).await.0;
                continue;
            }
        }
        // One whose power is about to fail is not asked: it is looked at when it is back.
        if store.ping().await.is_ok() {
            model.check(&store).await;
        }
    }
    store.close().await;
    let (store, _) = open(&file).await;
    model.check(&store).await;
    store.close().await;
    crate::store::Place { file: file.clone() }.settle().await.unwrap();
    crate::store::Place::examine(&file, true, None).await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_behaves_like_its_model_whatever_fails(ops in ops()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(ops));
    }
}
