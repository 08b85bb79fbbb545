//! Takes over the rows of the first layout, some thousand at a time. Killed in between, the next start goes on where this
//! one was; until the last row is over, nobody sees the store.

use super::shelf::seal_in;
use super::{PAGE_SIZE, engine, keep_or_close};
use crate::store::StoreError;
use crate::store::chunked::names::{self, Names};
use crate::store::chunked::record::Record;
use crate::store::chunked::seal::pieces_of;
use crate::store::chunked::shelf::{Marks, NamesKey, Seal, Sealed};
use crate::store::rows::signed;
use crate::{clock, store::chunked};
use sqlx::sqlite::SqlitePool;
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

/// Readings taken over in one transaction.
const READINGS: i64 = 20_000;

/// How often somebody hears how far it is.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The version of the schema in which rows wait to be taken over, and the one in which none do.
const WAITING: i64 = 2;
const DONE: i64 = 3;

/// Takes over what is left. Says whether there was anything.
pub(super) async fn take_over(writer: &SqlitePool, drop_rows: &'static str) -> Result<bool, StoreError> {
    let (mut told, mut any) = (clock::steady(), false);
    loop {
        let mut connection = writer.acquire().await.map_err(engine)?;
        let outcome = some(&mut connection, drop_rows).await;
        match keep_or_close(connection, outcome).map_err(engine)? {
            Step::Done => return Ok(any),
            Step::More { at, of } => {
                if !any || told.elapsed() > TELL_EVERY {
                    tracing::info!("the store is brought to its new layout: {at} of {of} readings");
                    told = Instant::max(told, clock::steady());
                }
                any = true;
            }
        }
    }
}

enum Step {
    Done,
    More { at: i64, of: i64 },
}

async fn some(connection: &mut SqliteConnection, drop_rows: &'static str) -> Result<Step, sqlx::Error> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *tx).await?;
    if version != WAITING {
        return Ok(Step::Done);
    }
    let mark = sqlx::query("SELECT newest, seals, taken_over FROM mark").fetch_one(&mut *tx).await?;
    let (newest, seals, at): (i64, i64, i64) = (mark.try_get(0)?, mark.try_get(1)?, mark.try_get(2)?);
    let records = rows(&mut tx, at).await?;
    let Some(last) = records.last().map(|record| record.id) else {
        sqlx::raw_sql(drop_rows).execute(&mut *tx).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("PRAGMA user_version = {DONE}"))).execute(&mut *tx).await?;
        tx.commit().await?;
        return Ok(Step::Done);
    };
    let mut by_device: BTreeMap<i64, Vec<Record>> = BTreeMap::new();
    let mut ledger: BTreeMap<NamesKey, Names> = BTreeMap::new();
    for record in records {
        if let Some((boot, seq)) = record.name {
            let (block, n) = names::place(seq);
            let key = (record.device, boot, block);
            let names = match ledger.entry(key) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(block_of(&mut tx, key).await?),
            };
            names.insert(n);
        }
        by_device.entry(record.device).or_default().push(record);
    }
    let mut seal = Seal {
        marks: Marks { newest, seals },
        names: ledger.into_iter().map(|(key, names)| (key, names.to_blob())).collect(),
        ..Seal::default()
    };
    let now_ms = clock::now_ms();
    for (device, records) in by_device {
        let (pieces, series) = pieces_of(device, &records, now_ms);
        seal.pieces.extend(pieces);
        seal.series.extend(series);
        let known: Option<i64> = sqlx::query_scalar("SELECT newest_ms FROM device WHERE id = ?")
            .bind(device)
            .fetch_one(&mut *tx)
            .await?;
        let Some(newest) = records.iter().max_by_key(|record| (record.t_ms, record.id)) else { continue };
        seal.devices.push(Sealed {
            device,
            sealed: last,
            newest_ms: known.unwrap_or(newest.t_ms).max(newest.t_ms),
            latest: known.is_none_or(|known| known <= newest.t_ms).then(|| chunked::record::to_blob(newest)),
        });
    }
    seal_in(&mut tx, &seal).await?;
    sqlx::query("UPDATE mark SET taken_over = ?").bind(last).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(Step::More { at: last, of: newest })
}

async fn rows(tx: &mut SqliteConnection, after: i64) -> Result<Vec<Record>, sqlx::Error> {
    let rows =
        sqlx::query("SELECT id, device, t, boot, seq, state FROM reading WHERE id > ? ORDER BY id LIMIT ?")
            .bind(after)
            .bind(READINGS)
            .fetch_all(&mut *tx)
            .await?;
    let mut records = Vec::with_capacity(rows.len());
    for row in &rows {
        let name: (Option<i64>, Option<i64>) = (row.try_get(3)?, row.try_get(4)?);
        let state: i64 = row.try_get(5)?;
        records.push(Record {
            id: row.try_get(0)?,
            device: row.try_get(1)?,
            t_ms: row.try_get(2)?,
            state: u8::try_from(state).unwrap_or(u8::MAX),
            name: name.0.zip(name.1).map(|(boot, seq)| (boot.unsigned_abs(), seq.unsigned_abs())),
            values: Vec::new(),
        });
    }
    let values = sqlx::query(
        "SELECT r.id, v.metric, v.value FROM reading r CROSS JOIN series_rows s ON s.device = r.device
         CROSS JOIN value v ON v.device = r.device AND v.metric = s.metric AND v.t = r.t AND v.reading = r.id
         WHERE r.id > ? AND r.id <= ?",
    )
    .bind(after)
    .bind(records.last().map_or(after, |record| record.id))
    .fetch_all(tx)
    .await?;
    for row in &values {
        let id: i64 = row.try_get(0)?;
        if let Ok(at) = records.binary_search_by_key(&id, |record| record.id)
            && let Some(record) = records.get_mut(at)
        {
            record.values.push((row.try_get(1)?, row.try_get(2)?));
        }
    }
    Ok(records)
}

async fn block_of(tx: &mut SqliteConnection, (device, boot, block): NamesKey) -> Result<Names, sqlx::Error> {
    let blob: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT data FROM ledger WHERE device = ? AND boot = ? AND block = ?")
            .bind(device)
            .bind(signed(boot))
            .bind(signed(block))
            .fetch_optional(tx)
            .await?;
    match blob {
        None => Ok(Names::default()),
        Some(blob) => Names::from_blob(&blob).map_err(|damage| sqlx::Error::Decode(damage.into())),
    }
}

/// Makes the file small and gives its pages the size that days need. Skipped while anybody else has it open: nothing
/// depends on it.
pub(super) async fn shrink(writer: &SqlitePool) -> Result<(), sqlx::Error> {
    let mut connection = writer.acquire().await?;
    let size: i64 = sqlx::query_scalar("PRAGMA page_size").fetch_one(&mut *connection).await?;
    if size == i64::from(PAGE_SIZE) {
        return Ok(());
    }
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode = DELETE").fetch_one(&mut *connection).await?;
    if mode == "delete" {
        let sql = format!("PRAGMA page_size = {PAGE_SIZE}; PRAGMA auto_vacuum = INCREMENTAL; VACUUM");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await?;
    }
    sqlx::query("PRAGMA journal_mode = WAL").execute(&mut *connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{ExportFilter, NewBatch, NewReading, Timed};
    use crate::store::sqlite::MIGRATIONS;
    use crate::store::{Place, open};
    use casement_proto::{DeviceId, Quantity, State};
    use sqlx::sqlite::SqliteConnectOptions;
    use std::path::Path;

    const T0: i64 = 1_795_341_600_000;

    /// A store of the first layout: two devices over three days, some readings unnamed, one without a value.
    async fn rows_of_the_first_layout(file: &Path, readings: i64) {
        let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
        let mut old = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::raw_sql(MIGRATIONS[0]).execute(&mut old).await.unwrap();
        let fill = format!(
            "INSERT INTO device (id, uid, room, created_ms) VALUES (1, 'attic', 'Attic', 5), (2, 'cellar', NULL, 6);
             INSERT INTO metric (id, name) VALUES (1, 'co2'), (2, 'temperature');
             INSERT INTO series VALUES (1, 1), (1, 2), (2, 1);
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {readings})
             INSERT INTO reading SELECT i, 1 + i % 2, {T0} + i * 10000, iif(i % 5 = 0, NULL, 7), iif(i % 5 = 0, NULL, i),
               i % 3 FROM n;
             INSERT INTO value SELECT device, 1, t, id, 400 + id % 100, state FROM reading WHERE id <> 8;
             INSERT INTO value SELECT device, 2, t, id, 20 + id % 10 / 10.0, state FROM reading WHERE device = 1;
             PRAGMA user_version = 1"
        );
        sqlx::raw_sql(AssertSqlSafe(fill)).execute(&mut old).await.unwrap();
        old.close().await.unwrap();
    }

    #[tokio::test]
    async fn rows_are_taken_over_and_nothing_is_new_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("casement.db");
        let count = 3 * READINGS / 2;
        rows_of_the_first_layout(&file, count).await;
        let place = Place::named("sqlite:casement.db", folder.path()).unwrap();
        let before = place.contents().await.unwrap();
        let store = open("sqlite:casement.db", folder.path()).await.unwrap();
        assert_eq!(store.newest().await.unwrap(), count);
        for compacted in [false, true] {
            let (rows, _) = store.export(&ExportFilter::default(), None, u32::MAX).await.unwrap();
            assert_eq!(rows.len() as i64, count - 1 + count / 2);
            for row in &rows {
                let id = (row.t_ms - T0) / 10_000;
                assert_eq!(row.device.as_str(), if id % 2 == 0 { "attic" } else { "cellar" });
                assert_eq!(row.state, State::ALL[(id % 3) as usize]);
                let expected = match row.quantity.name() {
                    "co2" => 400.0 + (id % 100) as f64,
                    _ => 20.0 + (id % 10) as f64 / 10.0,
                };
                assert_eq!(row.value, expected, "{row:?}");
            }
            let contents = place.contents().await.unwrap();
            assert_eq!((contents.readings, contents.values), (before.readings, before.values), "{compacted}");
            assert_eq!(contents.newest_ms, before.newest_ms);
            let latest = store.latest().await.unwrap();
            assert_eq!(latest.iter().map(|reading| reading.id).max(), Some(count));
            store.compact().await.unwrap();
        }
        // Sent again by devices that never heard of it: by name, and by time.
        let again = |id: i64, named: bool| NewReading {
            name: named.then_some((7, id as u64)),
            t_ms: T0 + id * 10_000,
            timed: Timed::Device,
            state: State::Ok,
            values: Box::new([(Quantity::parse("co2").unwrap(), 400.0 + (id % 100) as f64)]),
        };
        let readings = (1..=count / 2).map(|n| again(2 * n, n % 5 != 0)).collect();
        let batch = NewBatch { device: DeviceId::parse("attic").unwrap(), readings };
        let appended = store.append(&[batch]).await.unwrap().remove(0);
        assert_eq!((appended.stored.len(), appended.duplicate as i64), (0, count / 2));
        store.close().await;
        place.settle().await.unwrap();
        assert_eq!(Place::examine(&file, true, None).await.unwrap().schema, MIGRATIONS.len() as u64);
    }

    #[tokio::test]
    async fn one_that_was_cut_off_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("casement.db");
        let count = 2 * READINGS + 5;
        rows_of_the_first_layout(&file, count).await;
        let options = SqliteConnectOptions::new().filename(&file);
        let mut old = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(format!("{}; PRAGMA user_version = {WAITING}", MIGRATIONS[1])))
            .execute(&mut old)
            .await
            .unwrap();
        let place = Place::named("sqlite:casement.db", folder.path()).unwrap();
        let before = place.contents().await.unwrap();
        assert_eq!(before.readings, count as u64);
        assert!(matches!(some(&mut old, MIGRATIONS[2]).await.unwrap(), Step::More { at: READINGS, .. }));
        old.close().await.unwrap();
        assert_eq!(place.contents().await.unwrap().values, before.values, "half here, half there");
        let store = open("sqlite:casement.db", folder.path()).await.unwrap();
        assert_eq!(store.count(&ExportFilter::default()).await.unwrap(), before.values);
        assert_eq!(place.contents().await.unwrap().readings, before.readings);
    }
}
