//! What happens to a store over the years, told on every shelf: damage in one place, and days that are over for good.

use super::Chunked;
use crate::reading::{ExportFilter, NewBatch, NewReading, Retention, Timed};
use crate::store::Store;
use crate::telemetry::series::{Data, Points, Window};
use crate::telemetry::time::DAY_MS;
use casement_proto::{DeviceId, Quantity, State};

pub(in crate::store) const DAYS: i64 = 10;
pub(in crate::store) const PER_DAY: i64 = 1_440;

pub(in crate::store) fn quantity(name: &str) -> Quantity {
    Quantity::parse(name).unwrap()
}

pub(in crate::store) fn noise(n: i64) -> u64 {
    let mixed = n.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32
}

/// Two devices, two metrics, a reading a minute for ten days that ended so many days ago. Gives the first midnight.
pub(in crate::store) async fn filled(store: &dyn Store, ended_days_ago: i64) -> i64 {
    let today = crate::clock::now_ms().div_euclid(DAY_MS);
    let begin_ms = (today - ended_days_ago - DAYS) * DAY_MS;
    for day in 0..DAYS {
        let batches: Vec<NewBatch> = ["attic", "cellar"]
            .iter()
            .map(|id| NewBatch {
                device: DeviceId::parse(id).unwrap(),
                readings: (day * PER_DAY..(day + 1) * PER_DAY)
                    .map(|n| NewReading {
                        name: None,
                        t_ms: begin_ms + n * 60_000,
                        timed: Timed::Device,
                        state: State::Ok,
                        values: Box::new([
                            // Noise that cannot be packed well, so that a series takes more than a page.
                            (quantity("co2"), 400.0 + (noise(n) & 511) as f64),
                            (quantity("temperature"), 20.0 + ((n * 31) % 50) as f64 / 10.0),
                        ]),
                    })
                    .collect(),
            })
            .collect();
        store.append(&batches).await.unwrap();
    }
    store.compact().await.unwrap();
    begin_ms
}

pub(in crate::store) async fn chart(
    store: &dyn Store,
    id: &str,
    metric: &str,
    (from_ms, to_ms): (i64, i64),
    max_points: u32,
) -> Points {
    let window = Window { from_ms, to_ms, max_points, now_ms: to_ms };
    store.series(&DeviceId::parse(id).unwrap(), &quantity(metric), window).await.unwrap()
}

pub(in crate::store) fn count(points: &Points) -> i64 {
    match &points.data {
        Data::Raw(raw) => raw.len() as i64,
        Data::Buckets { buckets, .. } => buckets.iter().map(|bucket| bucket.count).sum(),
    }
}

pub(in crate::store) async fn values(store: &dyn Store, id: &str, metric: &str) -> u64 {
    let filter = ExportFilter {
        device: DeviceId::parse(id),
        metric: Quantity::parse(metric),
        ..ExportFilter::default()
    };
    let counted = store.count(&filter).await.unwrap();
    let (rows, _) = store.export(&filter, None, u32::MAX).await.unwrap();
    assert!(rows.len() as u64 <= counted);
    rows.len() as u64
}

/// A place that can be opened and spoilt.
pub(in crate::store) trait Shop {
    /// Opens the store of this place, at rest.
    async fn open(&self) -> Chunked;
    /// Spoils the bytes of one blob: of this table, device, metric and day, by number.
    async fn spoil(&self, table: &str, device: i64, metric: i64, day: i64);
    /// How many blobs were laid aside.
    async fn laid_aside(&self) -> i64;
}

/// A column that cannot be read.
pub(in crate::store) async fn a_damaged_column_loses_its_day_and_nothing_else(shop: &impl Shop) {
    let store = shop.open().await;
    let begin_ms = filled(&store, 1).await;
    store.close().await;
    shop.spoil("column", 1, 1, begin_ms / DAY_MS + 3).await;

    let store = shop.open().await;
    let all = (DAYS * PER_DAY) as u64;
    let day_lost = all - PER_DAY as u64;
    assert_eq!(values(&store, "attic", "co2").await, day_lost);
    assert_eq!(values(&store, "attic", "temperature").await, all);
    assert_eq!(values(&store, "cellar", "co2").await, all);
    // Hours are kept beside it.
    let window = (begin_ms, begin_ms + DAYS * DAY_MS);
    assert_eq!(count(&chart(&store, "attic", "co2", window, 240).await), DAYS * PER_DAY);
    // It is laid aside once, and the rest of the day is whole.
    for _ in 0..2 {
        store.mend().await.unwrap();
        assert_eq!(values(&store, "attic", "co2").await, day_lost);
        assert_eq!(values(&store, "attic", "temperature").await, all);
    }
    store.close().await;
    assert_eq!(shop.laid_aside().await, 1);
}

/// A summary that cannot be read.
pub(in crate::store) async fn a_damaged_summary_is_made_anew_from_its_values(shop: &impl Shop) {
    let store = shop.open().await;
    let begin_ms = filled(&store, 1).await;
    let window = (begin_ms, begin_ms + DAYS * DAY_MS);
    let before = chart(&store, "cellar", "temperature", window, 240).await;
    store.close().await;
    shop.spoil("summary", 2, 2, begin_ms / DAY_MS + 5).await;
    let store = shop.open().await;
    assert_eq!(count(&chart(&store, "cellar", "temperature", window, 240).await), count(&before));
    store.mend().await.unwrap();
    let after = chart(&store, "cellar", "temperature", window, 240).await;
    assert_eq!(after.data, before.data);
    store.close().await;
    assert_eq!(shop.laid_aside().await, 0);
}

/// Raw values that are kept for some days only.
pub(in crate::store) async fn what_is_older_than_it_is_kept_stays_as_hours(shop: &impl Shop) {
    let store = shop.open().await;
    let begin_ms = filled(&store, 0).await;
    let window = (begin_ms, begin_ms + DAYS * DAY_MS);
    let by_hour = chart(&store, "attic", "co2", window, 240).await;
    store.keep(Retention { days: 4, of: vec![(quantity("temperature"), 0)] });
    let now_ms = crate::clock::now_ms();
    store.forget(now_ms).await.unwrap();

    let kept = (4 * PER_DAY) as u64;
    assert_eq!(values(&store, "attic", "co2").await, kept);
    let filter = ExportFilter { metric: Some(quantity("co2")), ..ExportFilter::default() };
    assert_eq!(store.count(&filter).await.unwrap(), 2 * kept);
    assert_eq!(values(&store, "cellar", "temperature").await, (DAYS * PER_DAY) as u64);
    assert_eq!(chart(&store, "attic", "co2", window, 240).await.data, by_hour.data);
    // However finely somebody asks.
    let fine = chart(&store, "attic", "co2", window, 10_000).await;
    assert_eq!((count(&fine), fine.gaps.len()), (DAYS * PER_DAY, 0));
    assert!(matches!(fine.data, Data::Buckets { step_ms: 3_600_000, .. }));
    let recent = (begin_ms + 7 * DAY_MS, begin_ms + 8 * DAY_MS);
    assert!(matches!(chart(&store, "attic", "co2", recent, 10_000).await.data, Data::Raw(_)));

    // What was forgotten does not come back, and takes nothing away.
    let again = |n: i64| NewReading {
        name: None,
        t_ms: begin_ms + n * 60_000,
        timed: Timed::Device,
        state: State::Ok,
        values: Box::new([(quantity("co2"), 999.0), (quantity("temperature"), 99.0)]),
    };
    let batch =
        NewBatch { device: DeviceId::parse("attic").unwrap(), readings: (0..10).map(again).collect() };
    let appended = store.append(&[batch]).await.unwrap().remove(0);
    assert_eq!((appended.stored.len(), appended.duplicate), (0, 10));
    store.compact().await.unwrap();
    assert_eq!(chart(&store, "attic", "co2", window, 240).await.data, by_hour.data);
    store.close().await;
    let store = shop.open().await;
    assert_eq!(values(&store, "attic", "co2").await, kept, "and it is remembered");
    store.close().await;
}
