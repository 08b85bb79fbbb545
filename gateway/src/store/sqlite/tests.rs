//! What only a file can have, and what happens to it over the years.

use super::Sqlite;
use crate::reading::{NewBatch, NewReading, Timed};
use crate::store::chunked::Chunked;
use crate::store::chunked::stories::{self, DAYS, PER_DAY, Shop, filled, noise, quantity, values};
use crate::store::{Place, Store, StoreError, open};
use crate::telemetry::series::Data;
use crate::telemetry::time::DAY_MS;
use casement_proto::{DeviceId, State};
use sqlx::{AssertSqlSafe, Row};
use std::path::Path;

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

impl Shop for tempfile::TempDir {
    async fn open(&self) -> Chunked {
        let shelf = Sqlite::open(&self.path().join("casement.db")).await.unwrap();
        Chunked::open_at_rest(Box::new(shelf)).await.unwrap()
    }

    async fn spoil(&self, table: &str, device: i64, metric: i64, day: i64) {
        spoil(self.path(), table, device, metric, day).await;
        if table == "column" {
            let place = Place::named("sqlite:casement.db", self.path()).unwrap();
            place.settle().await.unwrap();
            let verdict = Place::examine(&place.file, true, None).await.unwrap_err().to_string();
            assert!(verdict.contains("series 2") && verdict.contains("checksum"), "{verdict}");
        }
    }

    async fn laid_aside(&self) -> i64 {
        let file = Sqlite::open(&self.path().join("casement.db")).await.unwrap();
        number(&file, "SELECT count(*) FROM damaged").await
    }
}

#[tokio::test]
async fn a_damaged_column_loses_its_day_and_nothing_else() {
    stories::a_damaged_column_loses_its_day_and_nothing_else(&tempfile::tempdir().unwrap()).await;
}

#[tokio::test]
async fn a_damaged_summary_is_made_anew_from_its_values() {
    stories::a_damaged_summary_is_made_anew_from_its_values(&tempfile::tempdir().unwrap()).await;
}

#[tokio::test]
async fn what_is_older_than_it_is_kept_stays_as_hours() {
    stories::what_is_older_than_it_is_kept_stays_as_hours(&tempfile::tempdir().unwrap()).await;
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
async fn a_damaged_page_costs_what_was_on_it() {
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
        readings: vec![reading(Some((1, 1)), crate::clock::now_ms(), 1.0)],
    };
    assert_eq!(store.append(&[batch]).await.unwrap()[0].stored.len(), 1);
    store.close().await;
}

#[tokio::test]
async fn a_file_cut_short_gives_what_is_left_and_takes_readings() {
    let folder = tempfile::tempdir().unwrap();
    let store = open("sqlite:casement.db", folder.path()).await.unwrap();
    filled(&*store, 1).await;
    // Fractions that cannot be packed, so that most pages are of columns.
    let today = crate::clock::now_ms().div_euclid(DAY_MS);
    let one = |n: i64| reading(None, (today - 30) * DAY_MS + n * 60_000, (noise(n) as f64).sqrt() / 3.0);
    let batch = NewBatch {
        device: DeviceId::parse("noise").unwrap(),
        readings: (0..DAYS * PER_DAY).map(one).collect(),
    };
    store.append(&[batch]).await.unwrap();
    store.compact().await.unwrap();
    store.close().await;
    let place = Place::named("sqlite:casement.db", folder.path()).unwrap();
    place.settle().await.unwrap();
    let whole = std::fs::read(&place.file).unwrap();
    let pages = whole.len() / super::PAGE_SIZE as usize;
    assert!(pages > 35, "{pages} pages");
    let all = (5 * DAYS * PER_DAY) as u64;
    for (round, share) in [99, 90, 70].into_iter().enumerate() {
        std::fs::write(&place.file, &whole[..whole.len() * share / 100]).unwrap();
        let store = open("sqlite:casement.db", folder.path()).await.unwrap();
        let mut left = 0;
        for (id, metric) in [
            ("attic", "co2"),
            ("attic", "temperature"),
            ("cellar", "co2"),
            ("cellar", "temperature"),
            ("noise", "co2"),
        ] {
            left += values(&*store, id, metric).await;
        }
        assert!(left > all / 10 && left < all, "{left} of {all} values with {share} % of the file");
        let later = reading(Some((1, round as u64)), crate::clock::now_ms(), 1.0);
        let batch = NewBatch { device: DeviceId::parse("attic").unwrap(), readings: vec![later] };
        assert_eq!(store.append(&[batch]).await.unwrap()[0].stored.len(), 1);
        assert_eq!(store.latest().await.unwrap().len(), 3);
        store.close().await;
        place.settle().await.unwrap();
    }
    // Without the first pages nothing is left to begin with.
    std::fs::write(&place.file, &whole[..3 * super::PAGE_SIZE as usize]).unwrap();
    let Err(error) = open("sqlite:casement.db", folder.path()).await else { panic!("it was opened") };
    assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
}

fn reading(name: Option<(u64, u64)>, t_ms: i64, co2_ppm: f64) -> NewReading {
    let values = Box::new([(quantity("co2"), co2_ppm)]);
    NewReading { name, t_ms, timed: Timed::Device, state: State::Ok, values }
}

#[tokio::test]
async fn a_million_devices_are_told_apart() {
    // More than memory holds; the whole million takes minutes without optimisation.
    const DEVICES: u64 = if cfg!(debug_assertions) { 70_000 } else { 1_000_000 };
    const AT_ONCE: u64 = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let store = tempfile::TempDir::open(&folder).await;
    let id = |n: u64| DeviceId::parse(&format!("unit-{n}")).unwrap();
    let t_ms = |n: u64| 20_000 * DAY_MS + n.cast_signed();
    let some = |from: u64| -> Vec<NewBatch> {
        let one = |n| NewBatch { device: id(n), readings: vec![reading(Some((1, n)), t_ms(n), n as f64)] };
        (from..from + AT_ONCE).map(one).collect()
    };
    for from in (0..DEVICES).step_by(AT_ONCE as usize) {
        let appended = store.append(&some(from)).await.unwrap();
        assert_eq!(appended.iter().map(|of| of.stored.len() as u64).sum::<u64>(), AT_ONCE);
        if from % 200_000 == 0 {
            store.seal(crate::clock::now_ms() + DAY_MS).await.unwrap();
        }
    }
    store.seal(crate::clock::now_ms() + DAY_MS).await.unwrap();
    // Most have left memory since.
    for n in [0, 1, 65_535, 65_536, DEVICES - 1] {
        let window = (t_ms(0), t_ms(DEVICES));
        let points = stories::chart(&store, &format!("unit-{n}"), "co2", window, 10).await;
        assert_eq!(points.data, Data::Raw(vec![(t_ms(n), n as f64)]));
        let again = NewBatch { device: id(n), readings: vec![reading(Some((1, n)), t_ms(n), 0.0)] };
        assert_eq!(store.append(&[again]).await.unwrap()[0].duplicate, 1);
    }
    assert_eq!(store.newest().await.unwrap().cast_unsigned(), DEVICES);
    store.close().await;
}
