//! What only a file can have: damage in one place, and days that are over for good.

use super::Sqlite;
use crate::reading::{ExportFilter, NewBatch, NewReading, Retention, Timed};
use crate::store::chunked::Chunked;
use crate::store::{Place, Store, open};
use crate::telemetry::series::{Data, Points, Window};
use casement_proto::{DeviceId, Quantity, State};
use sqlx::{AssertSqlSafe, Row};
use std::path::Path;
use std::sync::Arc;

const DAY_MS: i64 = 86_400_000;
const DAYS: i64 = 10;
const PER_DAY: i64 = 1_440;

fn quantity(name: &str) -> Quantity {
    Quantity::parse(name).unwrap()
}

fn noise(n: i64) -> u64 {
    let mixed = n.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32
}

/// Two devices, two metrics, a reading a minute for ten days that ended so many days ago. Gives the first midnight.
async fn filled(store: &dyn Store, ended_days_ago: i64) -> i64 {
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

async fn chart(
    store: &dyn Store,
    id: &str,
    metric: &str,
    (from_ms, to_ms): (i64, i64),
    max_points: u32,
) -> Points {
    let window = Window { from_ms, to_ms, max_points, now_ms: to_ms };
    store.series(&DeviceId::parse(id).unwrap(), &quantity(metric), window).await.unwrap()
}

fn count(points: &Points) -> i64 {
    match &points.data {
        Data::Raw(raw) => raw.len() as i64,
        Data::Buckets { buckets, .. } => buckets.iter().map(|bucket| bucket.count).sum(),
    }
}

async fn values(store: &dyn Store, id: &str, metric: &str) -> u64 {
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

/// Spoils the bytes of one blob: the first of this series in this table at or after a day of the stretch.
async fn spoil(folder: &Path, table: &str, device: i64, metric: i64, day: i64) {
    let file = Sqlite::open(&folder.join("casement.db")).await.unwrap();
    let row = sqlx::query("SELECT id FROM series WHERE device = ? AND metric = ?")
        .bind(device)
        .bind(metric)
        .fetch_one(&file.writer)
        .await
        .unwrap();
    let series: i64 = row.try_get(0).unwrap();
    let first = series << 32 | (day + (1 << 21)) << 10;
    let done = sqlx::query(AssertSqlSafe(format!(
        "UPDATE \"{table}\" SET data = zeroblob(length(data)) WHERE id = {first}"
    )))
    .execute(&file.writer)
    .await
    .unwrap();
    assert_eq!(done.rows_affected(), 1);
}

async fn number(file: &Sqlite, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&file.writer).await.unwrap()
}

#[tokio::test]
async fn a_damaged_column_loses_its_day_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = open("sqlite:casement.db", folder.path()).await.unwrap();
    let begin_ms = filled(&*store, 1).await;
    store.close().await;
    let day = begin_ms / DAY_MS + 3;
    spoil(folder.path(), "column", 1, 1, day).await;
    let place = Place::named("sqlite:casement.db", folder.path()).unwrap();
    place.settle().await.unwrap();
    let verdict = Place::examine(&place.file, true).await.unwrap_err().to_string();
    assert!(verdict.contains("series 2") && verdict.contains("checksum"), "{verdict}");

    let shelf = Sqlite::open(&folder.path().join("casement.db")).await.unwrap();
    let store = Chunked::open_at_rest(Box::new(shelf)).await.unwrap();
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
    let file = Sqlite::open(&folder.path().join("casement.db")).await.unwrap();
    assert_eq!(number(&file, "SELECT count(*) FROM damaged").await, 1);
    drop(file);
}

#[tokio::test]
async fn growth_is_what_a_week_of_values_takes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open("sqlite:casement.db", folder.path()).await.unwrap();
    let now_ms = crate::clock::now_ms();
    assert_eq!(store.growth(now_ms).await.unwrap().per_day, 0);
    filled(&*store, 0).await;
    let growth = store.growth(now_ms).await.unwrap();
    // Seven of ten days, and as much each.
    assert_eq!(growth.per_day, growth.bytes / 10);
    assert_eq!(store.growth(now_ms + 300 * DAY_MS).await.unwrap().per_day, 0);
    store.close().await;
}

#[tokio::test]
async fn a_damaged_summary_is_made_anew_from_its_values() {
    let folder = tempfile::tempdir().unwrap();
    let store = open("sqlite:casement.db", folder.path()).await.unwrap();
    let begin_ms = filled(&*store, 1).await;
    let window = (begin_ms, begin_ms + DAYS * DAY_MS);
    let before = chart(&*store, "cellar", "temperature", window, 240).await;
    store.close().await;
    spoil(folder.path(), "summary", 2, 2, begin_ms / DAY_MS + 5).await;
    let shelf = Sqlite::open(&folder.path().join("casement.db")).await.unwrap();
    let store = Chunked::open_at_rest(Box::new(shelf)).await.unwrap();
    assert_eq!(count(&chart(&store, "cellar", "temperature", window, 240).await), count(&before));
    store.mend().await.unwrap();
    let after = chart(&store, "cellar", "temperature", window, 240).await;
    assert_eq!(after.data, before.data);
    store.close().await;
    let file = Sqlite::open(&folder.path().join("casement.db")).await.unwrap();
    assert_eq!(number(&file, "SELECT count(*) FROM damaged").await, 0);
}

#[tokio::test]
async fn a_damaged_page_or_a_truncated_file_costs_what_was_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open("sqlite:casement.db", folder.path()).await.unwrap();
    filled(&*store, 1).await;
    store.close().await;
    let place = Place::named("sqlite:casement.db", folder.path()).unwrap();
    place.settle().await.unwrap();
    let file = Sqlite::open(&place.file).await.unwrap();
    // A leaf of the table of columns: it has cells, and nobody points into it but the table itself.
    let page: i64 = number(&file, "SELECT rootpage FROM sqlite_schema WHERE name = 'column'").await;
    crate::store::chunked::shelf::Shelf::close(&file).await;
    place.settle().await.unwrap();
    let whole = std::fs::read(&place.file).unwrap();
    let size = super::PAGE_SIZE as usize;
    let root = &whole[(page as usize - 1) * size..page as usize * size];
    assert_eq!(root[0], 5, "the table has more than one leaf");
    // The first leaf has all the times of a device, which take next to nothing; this is one of values.
    let cell = usize::from(u16::from_be_bytes([root[14], root[15]]));
    let leaf = u32::from_be_bytes(root[cell..cell + 4].try_into().unwrap()) as usize;
    let mut bad = whole.clone();
    bad[(leaf - 1) * size..leaf * size].fill(0);
    std::fs::write(&place.file, bad).unwrap();

    let shelf = Sqlite::open(&place.file).await.unwrap();
    let store = Chunked::open_at_rest(Box::new(shelf)).await.unwrap();
    let all = (DAYS * PER_DAY) as u64;
    let mut left = Vec::new();
    for id in ["attic", "cellar"] {
        for metric in ["co2", "temperature"] {
            left.push(values(&store, id, metric).await);
        }
    }
    assert!(left.iter().any(|values| *values < all), "{left:?}");
    assert_eq!(left.iter().filter(|values| **values == all).count(), 3, "{left:?}");
    // And it takes readings.
    let batch = NewBatch {
        device: DeviceId::parse("attic").unwrap(),
        readings: vec![NewReading {
            name: Some((1, 1)),
            t_ms: crate::clock::now_ms(),
            timed: Timed::Device,
            state: State::Ok,
            values: Box::new([(quantity("co2"), 1.0)]),
        }],
    };
    assert_eq!(store.append(&[batch]).await.unwrap()[0].stored.len(), 1);
    store.close().await;
}

#[tokio::test]
async fn what_is_older_than_it_is_kept_stays_as_hours() {
    let folder = tempfile::tempdir().unwrap();
    let store = open("sqlite:casement.db", folder.path()).await.unwrap();
    let begin_ms = filled(&*store, 0).await;
    store.close().await;
    let file = folder.path().join("casement.db");
    let shelf = Sqlite::open(&file).await.unwrap();
    let store = Chunked::open_at_rest(Box::new(shelf)).await.unwrap();
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
    let store: Arc<dyn Store> = open("sqlite:casement.db", folder.path()).await.unwrap();
    assert_eq!(values(&*store, "attic", "co2").await, kept, "and it is remembered");
}
