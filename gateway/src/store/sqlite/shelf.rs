//! What the engine asks of SQLite.

use super::{Sqlite, engine, keep_or_close, people};
use crate::reading::Device;
use crate::store::chunked::shelf::{
    Changes, DAYS, Days, DeviceRow, Kept, LogRow, Marks, NamesKey, Piece, Seal, SeriesRow, Shelf, Shelved,
    Waiting, Want, Weight, WholeDay,
};
use crate::store::rows::{self, EngineColumns, NamesColumns, signed, unsigned};
use crate::store::{StoreError, Token};
use crate::telemetry::time::DAY_MS;
use async_trait::async_trait;
use casement_proto::DeviceId;
use sqlx::{AssertSqlSafe, Connection, QueryBuilder, SqliteConnection};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Display;

/// Bits of a key for the part of a column, and for both part and day.
const PART_BITS: u32 = 10;
const DAY_BITS: u32 = 32;

/// The last part that a column can have.
const PART_LAST: i64 = (1 << PART_BITS) - 1;

/// Bytes in a part, at most, unless there would be too many of them. Rows of some four kilobytes would leave a fifth of
/// every page empty; of 330 to 2,000 bytes this left the least, with parts of like length (22.6 million generated values).
const PART_BYTES: usize = 900;

/// Rows per INSERT. One statement per row would spend its time between threads.
const ROWS_PER_INSERT: usize = 100;

/// Pages that may be free before they are given back: 1 MiB, and a sixteenth of the file. The log needs them again.
const FREE_PAGES: i64 = 128;
const FREE_SHARE: i64 = 16;

/// Pages given back in one step.
const VACUUM_PAGES: i64 = 512;

/// Days back from today that are tried one by one where nothing else is known.
const LOST_DAYS_MAX: i64 = 4_000;

/// SQLITE_CORRUPT: a page is not what it should be.
const MALFORMED: &str = "11";

/// Where a series' day lies in `column`, from there to [`PART_LAST`] behind it, and in `summary`.
fn key(series: i64, day: i64) -> i64 {
    series << DAY_BITS | (day.clamp(-DAYS, DAYS - 1) + DAYS) << PART_BITS
}

/// The first and the last key of some days.
fn keys(days: Days) -> (i64, i64) {
    (key(days.series, days.from), key(days.series, days.to) + PART_LAST)
}

fn of_key(key: i64) -> (i64, i64) {
    let day = (key & ((1 << DAY_BITS) - 1)) >> PART_BITS;
    (key >> DAY_BITS, day - DAYS)
}

/// A column as parts of like length that fill pages.
fn parts(blob: &[u8]) -> Vec<(i64, &[u8])> {
    let count = blob.len().div_ceil(PART_BYTES).clamp(1, PART_LAST as usize + 1);
    let size = blob.len().div_ceil(count).max(1);
    let parts: Vec<(i64, &[u8])> = (0..).zip(blob.chunks(size)).collect();
    // Nothing is one part, too.
    if parts.is_empty() { vec![(0, blob)] } else { parts }
}

/// Whole numbers as a list in SQL: they need no quotes, and there is no other way to bind a list.
fn list<T: Display>(numbers: impl IntoIterator<Item = T>) -> String {
    numbers.into_iter().map(|n| n.to_string()).collect::<Vec<_>>().join(",")
}

async fn marks(connection: &mut SqliteConnection) -> Result<Marks, sqlx::Error> {
    let (newest, seals) =
        sqlx::query_as("SELECT max(newest, coalesce((SELECT max(last) FROM log), 0)), seals FROM mark")
            .fetch_one(connection)
            .await?;
    Ok(Marks { newest, seals })
}

const DEVICE_ROW: &str = "SELECT id, uid, sealed, newest_ms FROM device ";

async fn device_rows(
    connection: &mut SqliteConnection,
    which: String,
) -> Result<Vec<DeviceRow>, sqlx::Error> {
    let rows: Vec<EngineColumns> =
        sqlx::query_as(AssertSqlSafe(format!("{DEVICE_ROW}{which}"))).fetch_all(connection).await?;
    rows.into_iter().map(rows::device_row).collect()
}

async fn log_after(
    connection: &mut SqliteConnection,
    after: i64,
    most: i64,
) -> Result<Vec<LogRow>, sqlx::Error> {
    let rows = sqlx::query_as("SELECT last, data FROM log WHERE last > ? ORDER BY last LIMIT ?")
        .bind(after)
        .bind(most)
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(|(last, data)| LogRow { last, data }).collect())
}

fn is_malformed(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(database) if database.code().is_some_and(|code| code == MALFORMED))
}

/// The blobs of the days of a range.
async fn range(
    connection: &mut SqliteConnection,
    table: &'static str,
    days: Days,
    found: &mut Vec<Kept>,
) -> Result<(), sqlx::Error> {
    let sql = format!("SELECT id, data FROM \"{table}\" WHERE id BETWEEN ? AND ? ORDER BY id");
    let (first, last) = keys(days);
    let rows: Vec<(i64, Vec<u8>)> =
        sqlx::query_as(AssertSqlSafe(sql)).bind(first).bind(last).fetch_all(connection).await?;
    rows.iter().for_each(|(id, part)| add_part(found, *id, part));
    Ok(())
}

/// The blobs of some days. When a page cannot be read, day by day: what can be read is, and the others are told.
async fn kept(
    connection: &mut SqliteConnection,
    table: &'static str,
    ranges: &[Days],
    lost: &mut Vec<(i64, i64)>,
) -> Result<Vec<Kept>, sqlx::Error> {
    let mut found = Vec::new();
    for days in ranges {
        match range(connection, table, *days, &mut found).await {
            Err(error) if is_malformed(&error) => {
                one_by_one(connection, table, *days, &mut found, lost).await?;
            }
            outcome => outcome?,
        }
    }
    Ok(found)
}

/// Adds a part to the column it is of. One that misses its first part, or one in between, fails its checksum.
pub(super) fn add_part(found: &mut Vec<Kept>, id: i64, part: &[u8]) {
    let (series, day) = of_key(id);
    match found.last_mut() {
        Some(kept) if (kept.series, kept.day) == (series, day) => kept.data.extend_from_slice(part),
        _ => found.push(Kept { series, day, data: part.to_vec() }),
    }
}

/// The first and the last day that a damaged table may have something of; `None` when it has nothing.
async fn stretch(connection: &mut SqliteConnection, table: &'static str, days: Days) -> Option<(i64, i64)> {
    let (from, to) = keys(days);
    let mut end = async |which: &str| {
        let sql = format!("SELECT {which}(id) FROM \"{table}\" WHERE id BETWEEN ? AND ?");
        let id: Result<Option<i64>, _> =
            sqlx::query_scalar(AssertSqlSafe(sql)).bind(from).bind(to).fetch_one(&mut *connection).await;
        // At the end of the damage nothing is known of where it ends.
        id.map(|id| id.map(|id| of_key(id).1)).ok()
    };
    match (end("min").await, end("max").await) {
        (Some(None), _) | (_, Some(None)) => None,
        (first, last) => {
            let today = crate::clock::now_ms().div_euclid(DAY_MS);
            Some((
                first.flatten().unwrap_or(days.from.max(today - LOST_DAYS_MAX)),
                last.flatten().unwrap_or(days.to.min(today + 1)),
            ))
        }
    }
}

/// Day by day: what can be read is, and the other days are told.
async fn one_by_one(
    connection: &mut SqliteConnection,
    table: &'static str,
    days: Days,
    found: &mut Vec<Kept>,
    lost: &mut Vec<(i64, i64)>,
) -> Result<(), sqlx::Error> {
    let Some((first, last)) = stretch(connection, table, days).await else { return Ok(()) };
    for day in first..=last {
        match range(connection, table, Days { from: day, to: day, ..days }, found).await {
            Err(error) if is_malformed(&error) => lost.push((days.series, day)),
            outcome => outcome?,
        }
    }
    Ok(())
}

/// The days of a table; says whether a page of it cannot be read, and then gives those that can.
async fn days_in(
    connection: &mut SqliteConnection,
    table: &'static str,
    days: Days,
) -> Result<(BTreeSet<i64>, bool), sqlx::Error> {
    let sql = || {
        AssertSqlSafe(format!(
            "SELECT DISTINCT ((id & 4294967295) >> 10) - 2097152 FROM \"{table}\" WHERE id BETWEEN ? AND ?"
        ))
    };
    let (from, to) = keys(days);
    let found: Result<Vec<i64>, _> =
        sqlx::query_scalar(sql()).bind(from).bind(to).fetch_all(&mut *connection).await;
    match found {
        Err(error) if is_malformed(&error) => {}
        found => return Ok((found?.into_iter().collect(), false)),
    }
    let mut readable = BTreeSet::new();
    if let Some((first, last)) = stretch(connection, table, days).await {
        for day in first..=last {
            let (from, to) = keys(Days { from: day, to: day, ..days });
            let one: Result<Vec<i64>, _> =
                sqlx::query_scalar(sql()).bind(from).bind(to).fetch_all(&mut *connection).await;
            match one {
                Err(error) if is_malformed(&error) => {}
                found => readable.extend(found?),
            }
        }
    }
    Ok((readable, true))
}

/// Upserts blobs under a key of whole numbers, many in one statement.
macro_rules! upsert {
    ($connection:expr, $head:literal, $tail:literal, $rows:expr, |$tuple:ident, $row:pat_param| $push:expr) => {
        for chunk in $rows.chunks(ROWS_PER_INSERT) {
            let mut sql = QueryBuilder::<sqlx::Sqlite>::new($head);
            sql.push_values(chunk, |mut $tuple, $row| {
                $push;
            });
            sql.push($tail);
            sql.build().execute(&mut *$connection).await?;
        }
    };
}

async fn seal(connection: &mut SqliteConnection, seal: &Seal) -> Result<bool, sqlx::Error> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    if marks(&mut tx).await?.seals != seal.marks.seals {
        return Ok(false);
    }
    seal_in(&mut tx, seal).await?;
    tx.commit().await?;
    Ok(true)
}

/// Numbers the series that have none.
async fn number_series(tx: &mut SqliteConnection, series: &[(i64, i64)]) -> Result<(), sqlx::Error> {
    let devices: BTreeSet<i64> = series.iter().map(|(device, _)| *device).collect();
    let sql = format!("SELECT device, metric FROM series WHERE device IN ({})", list(&devices));
    let known: Vec<(i64, i64)> = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut *tx).await?;
    let known: HashSet<(i64, i64)> = known.into_iter().collect();
    let missing: Vec<(i64, i64)> = series.iter().copied().filter(|series| !known.contains(series)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let count = i64::try_from(missing.len()).unwrap_or(i64::MAX);
    let last: i64 = sqlx::query_scalar("UPDATE mark SET series = series + ? RETURNING series")
        .bind(count)
        .fetch_one(&mut *tx)
        .await?;
    let numbered: Vec<((i64, i64), i64)> = missing.into_iter().zip(last - count + 1..).collect();
    upsert!(tx, "INSERT INTO series (device, metric, id) ", "", numbered, |tuple, ((device, metric), id)| {
        tuple.push_bind(device).push_bind(metric).push_bind(id)
    });
    Ok(())
}

/// Seals within a transaction.
pub(super) async fn seal_in(tx: &mut SqliteConnection, seal: &Seal) -> Result<(), sqlx::Error> {
    let next = seal.marks.seals + 1;
    for device in &seal.devices {
        sqlx::query(
            "UPDATE device SET sealed = ?2, newest_ms = ?3, latest = coalesce(?4, latest) WHERE id = ?1",
        )
        .bind(device.device)
        .bind(device.sealed)
        .bind(device.newest_ms)
        .bind(device.latest.as_deref())
        .execute(&mut *tx)
        .await?;
    }
    number_series(tx, &seal.series).await?;
    upsert!(
        tx,
        "INSERT INTO piece (device, day, made_ms, readings, \"values\", data) ",
        "",
        seal.pieces,
        |tuple, piece| {
            tuple
                .push_bind(piece.device)
                .push_bind(piece.day)
                .push_bind(piece.made_ms)
                .push_bind(i64::try_from(piece.readings).unwrap_or(i64::MAX))
                .push_bind(i64::try_from(piece.values).unwrap_or(i64::MAX))
                .push_bind(piece.data.as_slice())
        }
    );
    upsert!(
        tx,
        "INSERT INTO ledger (device, boot, block, data) ",
        " ON CONFLICT (device, boot, block) DO UPDATE SET data = excluded.data",
        seal.names,
        |tuple, ((device, boot, block), data)| {
            tuple
                .push_bind(device)
                .push_bind(signed(*boot))
                .push_bind(signed(*block))
                .push_bind(data.as_slice())
        }
    );
    sqlx::query("UPDATE mark SET seals = ?, newest = max(newest, ?)")
        .bind(next)
        .bind(seal.trim)
        .execute(&mut *tx)
        .await?;
    sqlx::query("DELETE FROM log WHERE last <= ?").bind(seal.trim).execute(&mut *tx).await?;
    Ok(())
}

async fn put_together(connection: &mut SqliteConnection, day: &WholeDay) -> Result<bool, sqlx::Error> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    // Nobody who puts this day together leaves a piece of it, so these are there, or somebody else was first.
    let gone = sqlx::query(AssertSqlSafe(format!("DELETE FROM piece WHERE id IN ({})", list(&day.pieces))))
        .execute(&mut *tx)
        .await?;
    if gone.rows_affected() != day.pieces.len() as u64 {
        return Ok(false);
    }
    let series: Vec<(i64, i64)> = sqlx::query_as("SELECT metric, id FROM series WHERE device = ?")
        .bind(day.device)
        .fetch_all(&mut *tx)
        .await?;
    let series: HashMap<i64, i64> = series.into_iter().collect();
    let missing = || sqlx::Error::Protocol("a series has no number".to_owned());
    for (metric, data) in &day.columns {
        let first = key(*series.get(metric).ok_or_else(missing)?, day.day);
        sqlx::query("DELETE FROM \"column\" WHERE id BETWEEN ? AND ?")
            .bind(first)
            .bind(first + PART_LAST)
            .execute(&mut *tx)
            .await?;
        if !data.is_empty() {
            upsert!(tx, "INSERT INTO \"column\" (id, data) ", "", parts(data), |tuple, (part, bytes)| {
                tuple.push_bind(first + part).push_bind(*bytes)
            });
        }
    }
    for (metric, n, data) in &day.summaries {
        let series = series.get(metric).ok_or_else(missing)?;
        sqlx::query(
            "INSERT INTO summary (id, n, data) VALUES (?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET n = excluded.n, data = excluded.data",
        )
        .bind(key(*series, day.day))
        .bind(signed(*n))
        .bind(data.as_slice())
        .execute(&mut *tx)
        .await?;
    }
    for (note, data) in &day.damaged {
        sqlx::query("INSERT INTO damaged (device, day, note, data) VALUES (?, ?, ?, ?)")
            .bind(day.device)
            .bind(day.day)
            .bind(note)
            .bind(data.as_slice())
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(true)
}

impl Sqlite {
    async fn reading(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Sqlite>, StoreError> {
        self.readers.acquire().await.map_err(engine)
    }
}

#[async_trait]
impl Shelf for Sqlite {
    async fn marks(&self) -> Result<Marks, StoreError> {
        marks(&mut *self.reading().await?).await.map_err(engine)
    }

    async fn changes(&self, since: Marks) -> Result<Changes, StoreError> {
        let mut tx = self.readers.begin().await.map_err(engine)?;
        let marks = marks(&mut tx).await.map_err(engine)?;
        let log = log_after(&mut tx, since.newest, i64::MAX).await.map_err(engine)?;
        Ok(Changes { marks, log })
    }

    async fn register(&self, ids: &[DeviceId], now_ms: i64) -> Result<Vec<DeviceRow>, StoreError> {
        let mut connection = self.writer.acquire().await.map_err(engine)?;
        let outcome = async {
            let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
            upsert!(
                tx,
                "INSERT INTO device (uid, created_ms) ",
                " ON CONFLICT DO NOTHING",
                ids,
                |tuple, id| { tuple.push_bind(id.as_str()).push_bind(now_ms) }
            );
            let mut rows = Vec::with_capacity(ids.len());
            for id in ids {
                let sql = AssertSqlSafe(format!("{DEVICE_ROW} WHERE uid = ?"));
                let row = sqlx::query_as(sql).bind(id.as_str()).fetch_one(&mut *tx).await?;
                rows.push(rows::device_row(row)?);
            }
            tx.commit().await?;
            Ok(rows)
        }
        .await;
        keep_or_close(connection, outcome).map_err(engine)
    }

    async fn device(&self, id: &DeviceId) -> Result<Option<DeviceRow>, StoreError> {
        let sql = AssertSqlSafe(format!("{DEVICE_ROW} WHERE uid = ?"));
        let row =
            sqlx::query_as(sql).bind(id.as_str()).fetch_optional(&self.readers).await.map_err(engine)?;
        row.map(rows::device_row).transpose().map_err(engine)
    }

    async fn numbered(&self, devices: &[i64]) -> Result<Vec<DeviceRow>, StoreError> {
        let mut connection = self.reading().await?;
        let mut rows = Vec::with_capacity(devices.len());
        for some in devices.chunks(10_000) {
            let which = format!("WHERE id IN ({})", list(some));
            rows.extend(device_rows(&mut connection, which).await.map_err(engine)?);
        }
        Ok(rows)
    }

    async fn metrics(&self) -> Result<Vec<(i64, String)>, StoreError> {
        sqlx::query_as("SELECT id, name FROM metric ORDER BY id")
            .fetch_all(&self.readers)
            .await
            .map_err(engine)
    }

    async fn metric(&self, name: &str) -> Result<i64, StoreError> {
        sqlx::query("INSERT INTO metric (name) VALUES (?) ON CONFLICT DO NOTHING")
            .bind(name)
            .execute(&self.writer)
            .await
            .map_err(engine)?;
        sqlx::query_scalar("SELECT id FROM metric WHERE name = ?")
            .bind(name)
            .fetch_one(&self.writer)
            .await
            .map_err(engine)
    }

    async fn series(&self, device: Option<i64>) -> Result<Vec<SeriesRow>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT id, device, metric FROM series WHERE ?1 IS NULL OR device = ?1 ORDER BY device, metric",
        )
        .bind(device)
        .fetch_all(&self.readers)
        .await
        .map_err(engine)?;
        Ok(rows.into_iter().map(|(series, device, metric)| SeriesRow { series, device, metric }).collect())
    }

    async fn commit(&self, marks: Marks, last: i64, row: Vec<u8>) -> Result<bool, StoreError> {
        let mut connection = self.writer.acquire().await.map_err(engine)?;
        // One statement is a transaction of its own. With synchronous=FULL the write-ahead log is on disk when it returns.
        let outcome = sqlx::query(
            "INSERT INTO log (last, data) SELECT ?1, ?2 FROM mark
             WHERE seals = ?3 AND max(newest, coalesce((SELECT max(last) FROM log), 0)) = ?4",
        )
        .bind(last)
        .bind(row)
        .bind(marks.seals)
        .bind(marks.newest)
        .execute(&mut *connection)
        .await;
        keep_or_close(connection, outcome).map(|done| done.rows_affected() == 1).map_err(engine)
    }

    async fn log(&self, after: i64, most: u32) -> Result<Vec<LogRow>, StoreError> {
        log_after(&mut *self.reading().await?, after, i64::from(most)).await.map_err(engine)
    }

    async fn latest(&self) -> Result<Vec<(DeviceRow, Vec<u8>)>, StoreError> {
        let rows: Vec<(i64, String, i64, Option<i64>, Vec<u8>)> =
            sqlx::query_as("SELECT id, uid, sealed, newest_ms, latest FROM device WHERE latest IS NOT NULL")
                .fetch_all(&self.readers)
                .await
                .map_err(engine)?;
        rows.into_iter()
            .map(|(device, id, sealed, newest, latest)| {
                Ok((rows::device_row((device, id, sealed, newest))?, latest))
            })
            .collect::<Result<_, sqlx::Error>>()
            .map_err(engine)
    }

    async fn names(&self, keys: &[NamesKey]) -> Result<Vec<(NamesKey, Vec<u8>)>, StoreError> {
        let mut connection = self.reading().await?;
        let mut found = Vec::new();
        for some in keys.chunks(2_000) {
            let wanted: Vec<String> = some
                .iter()
                .map(|(d, boot, block)| format!("({d},{},{})", signed(*boot), signed(*block)))
                .collect();
            let sql = format!(
                "SELECT l.device, l.boot, l.block, l.data FROM (SELECT column1 d, column2 b, column3 k FROM (VALUES {}))
                 CROSS JOIN ledger l ON l.device = d AND l.boot = b AND l.block = k",
                wanted.join(",")
            );
            let rows: Vec<NamesColumns> =
                sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut *connection).await.map_err(engine)?;
            found.extend(rows.into_iter().map(rows::names_row));
        }
        Ok(found)
    }

    async fn anchor(
        &self,
        (device, boot, block): NamesKey,
        was: Option<&[u8]>,
        is: &[u8],
    ) -> Result<bool, StoreError> {
        let mut connection = self.writer.acquire().await.map_err(engine)?;
        // One statement is a transaction of its own. NULL is no blob, so that nothing is changed that was not there.
        let outcome = sqlx::query(
            "INSERT INTO ledger (device, boot, block, data) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (device, boot, block) DO UPDATE SET data = excluded.data WHERE data = ?5",
        )
        .bind(device)
        .bind(signed(boot))
        .bind(signed(block))
        .bind(is)
        .bind(was)
        .execute(&mut *connection)
        .await;
        keep_or_close(connection, outcome).map(|done| done.rows_affected() == 1).map_err(engine)
    }

    async fn names_of(&self, device: i64) -> Result<Vec<(NamesKey, Vec<u8>)>, StoreError> {
        let rows: Vec<NamesColumns> = sqlx::query_as(
            "SELECT device, boot, block, data FROM ledger WHERE device = ? ORDER BY boot, block",
        )
        .bind(device)
        .fetch_all(&self.readers)
        .await
        .map_err(engine)?;
        Ok(rows.into_iter().map(rows::names_row).collect())
    }

    async fn read(&self, want: &Want) -> Result<Shelved, StoreError> {
        let mut tx = self.readers.begin().await.map_err(engine)?;
        let read = async {
            let sealed: Option<i64> = sqlx::query_scalar("SELECT sealed FROM device WHERE id = ?")
                .bind(want.device)
                .fetch_optional(&mut *tx)
                .await?;
            let mut lost = Vec::new();
            let mut pieces = Vec::new();
            if let Some((from, to)) = want.pieces {
                let rows = sqlx::query_as(
                    "SELECT id, day, data FROM piece WHERE device = ? AND day BETWEEN ? AND ? ORDER BY id",
                )
                .bind(want.device)
                .bind(from)
                .bind(to)
                .fetch_all(&mut *tx)
                .await?;
                pieces.extend(rows.into_iter().map(|(id, day, data)| Piece { id, day, data }));
            }
            let summaries = kept(&mut tx, "summary", &want.summaries, &mut lost).await?;
            let columns = kept(&mut tx, "column", &want.columns, &mut lost).await?;
            let mut before = None;
            if let Some((series, day)) = want.before {
                let row: Result<Option<(i64, Vec<u8>)>, _> = sqlx::query_as(
                    "SELECT id, data FROM summary WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT 1",
                )
                .bind(key(series, -DAYS))
                .bind(key(series, day))
                .fetch_optional(&mut *tx)
                .await;
                let row = match row {
                    // A silence before the window is not told, then.
                    Err(error) if is_malformed(&error) => None,
                    row => row?,
                };
                before = row.map(|(id, data)| {
                    let (series, day) = of_key(id);
                    Kept { series, day, data }
                });
            }
            Ok(Shelved { sealed: sealed.unwrap_or(0), pieces, summaries, columns, before, lost })
        };
        read.await.map_err(engine)
    }

    async fn days(&self, device: i64, from: i64, to: i64) -> Result<Vec<i64>, StoreError> {
        let times: Option<i64> = sqlx::query_scalar("SELECT id FROM series WHERE device = ? AND metric = 0")
            .bind(device)
            .fetch_optional(&self.readers)
            .await
            .map_err(engine)?;
        let of_times = Days { series: times.unwrap_or(0), from, to };
        let found = async {
            let mut connection = self.readers.acquire().await?;
            let (mut days, damaged) = days_in(&mut connection, "summary", of_times).await?;
            if damaged {
                // Columns say the same, and are damaged elsewhere.
                days.append(&mut days_in(&mut connection, "column", of_times).await?.0);
            }
            let pieces: Vec<i64> =
                sqlx::query_scalar("SELECT DISTINCT day FROM piece WHERE device = ? AND day BETWEEN ? AND ?")
                    .bind(device)
                    .bind(from)
                    .bind(to)
                    .fetch_all(&mut *connection)
                    .await?;
            days.extend(pieces);
            Ok(days.into_iter().collect())
        };
        found.await.map_err(engine)
    }

    async fn seal(&self, change: &Seal) -> Result<bool, StoreError> {
        let mut connection = self.writer.acquire().await.map_err(engine)?;
        let outcome = seal(&mut connection, change).await;
        keep_or_close(connection, outcome).map_err(engine)
    }

    async fn waiting(&self) -> Result<Vec<Waiting>, StoreError> {
        let rows =
            sqlx::query_as("SELECT device, day, count(*), max(made_ms) FROM piece GROUP BY device, day")
                .fetch_all(&self.readers)
                .await
                .map_err(engine)?;
        let waiting = |(device, day, pieces, made_ms)| Waiting { device, day, pieces, made_ms };
        Ok(rows.into_iter().map(waiting).collect())
    }

    async fn put_together(&self, day: &WholeDay) -> Result<bool, StoreError> {
        let mut connection = self.writer.acquire().await.map_err(engine)?;
        let outcome = put_together(&mut connection, day).await;
        keep_or_close(connection, outcome).map_err(engine)
    }

    async fn kept_from(&self) -> Result<Vec<(i64, i64)>, StoreError> {
        sqlx::query_as("SELECT id, kept_from FROM metric WHERE kept_from IS NOT NULL")
            .fetch_all(&self.readers)
            .await
            .map_err(engine)
    }

    async fn forget(&self, metric: i64, before: i64, most: u32) -> Result<u64, StoreError> {
        let mut connection = self.writer.acquire().await.map_err(engine)?;
        let outcome = async {
            let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query("UPDATE metric SET kept_from = max(coalesce(kept_from, ?2), ?2) WHERE id = ?1")
                .bind(metric)
                .bind(before)
                .execute(&mut *tx)
                .await?;
            let gone = sqlx::query(
                "DELETE FROM \"column\" WHERE id IN (
                   SELECT c.id FROM series s CROSS JOIN \"column\" c ON c.id >= s.id << 32 AND c.id < (s.id << 32 | ?2)
                   WHERE s.metric = ?1 LIMIT ?3)",
            )
            .bind(metric)
            .bind(key(0, before))
            .bind(most)
            .execute(&mut *tx)
            .await?
            .rows_affected();
            tx.commit().await?;
            Ok(gone)
        }
        .await;
        keep_or_close(connection, outcome).map_err(engine)
    }

    async fn flaws(&self) -> Result<Vec<String>, StoreError> {
        if self.closed_well {
            return Ok(Vec::new());
        }
        let flaws: Vec<String> =
            sqlx::query_scalar("PRAGMA quick_check(20)").fetch_all(&self.readers).await.map_err(engine)?;
        Ok(flaws.into_iter().filter(|flaw| flaw != "ok").collect())
    }

    async fn weight(&self, from: i64, to: i64) -> Result<Weight, StoreError> {
        let row: (i64, i64, i64) = sqlx::query_as(
            "SELECT (SELECT page_count FROM pragma_page_count()) * (SELECT page_size FROM pragma_page_size()),
                    coalesce(sum(n), 0),
                    coalesce(sum(n) FILTER (WHERE ((id & 4294967295) >> 10) - 2097152 BETWEEN ?1 AND ?2 - 1), 0)
             FROM summary",
        )
        .bind(from)
        .bind(to)
        .fetch_one(&self.readers)
        .await
        .map_err(engine)?;
        Ok(Weight { bytes: unsigned(row.0), values: unsigned(row.1), values_between: unsigned(row.2) })
    }

    async fn upkeep(&self, all: bool) -> Result<bool, StoreError> {
        let mut connection = self.reading().await?;
        let free: i64 =
            sqlx::query_scalar("PRAGMA freelist_count").fetch_one(&mut *connection).await.map_err(engine)?;
        let pages: i64 =
            sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut *connection).await.map_err(engine)?;
        drop(connection);
        let spare = if all { free } else { free - FREE_PAGES.max(pages / FREE_SHARE) };
        if spare <= 0 {
            return Ok(false);
        }
        let mut connection = self.writer.acquire().await.map_err(engine)?;
        let pages = spare.min(VACUUM_PAGES);
        // Every page is a row of this statement's answer.
        let outcome = sqlx::query(AssertSqlSafe(format!("PRAGMA incremental_vacuum({pages})")))
            .fetch_all(&mut *connection)
            .await;
        keep_or_close(connection, outcome).map(|_| spare > pages).map_err(engine)
    }

    async fn add_device(&self, device: &Device) -> Result<(), StoreError> {
        people::add_device(&self.writer, device).await
    }

    async fn devices(&self) -> Result<Vec<Device>, StoreError> {
        people::devices(&self.readers).await.map_err(engine)
    }

    async fn add_token(&self, token: &Token) -> Result<i64, StoreError> {
        people::add_token(&self.writer, token).await
    }

    async fn token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        let stamp = self.tokens.stamp();
        if let Some(token) = self.tokens.get(hash, stamp) {
            return Ok(Some(token));
        }
        let found = people::token(&self.readers, hash).await.map_err(engine)?;
        if let Some(token) = &found {
            self.tokens.keep(token, stamp);
        }
        Ok(found)
    }

    async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        people::tokens(&self.readers).await.map_err(engine)
    }

    async fn revoke_token(&self, id: i64, now_ms: i64) -> Result<bool, StoreError> {
        let revoked = people::revoke_token(&self.writer, id, now_ms).await.map_err(engine)?;
        self.tokens.changed();
        Ok(revoked)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let one: Result<i64, _> = sqlx::query_scalar("SELECT 1").fetch_one(&self.readers).await;
        one.map(drop).map_err(engine)
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_the_order_of_days() {
        for (series, day) in [(1, 0), (7, -5), (1 << 30, 20_779), (3, DAYS - 1), (3, -DAYS)] {
            assert_eq!(of_key(key(series, day)), (series, day));
        }
        assert!(key(1, i64::MAX) < key(2, i64::MIN));
        assert!(key(2, -1) + PART_LAST < key(2, 0));
    }

    #[test]
    fn a_column_is_the_sum_of_its_parts() {
        for length in [0, 1, 899, 900, 901, 5_000, 921_600, 921_601, 1_500_000] {
            let blob: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let mut found = Vec::new();
            for (part, bytes) in parts(&blob) {
                assert!(part <= PART_LAST);
                add_part(&mut found, key(5, 20_000) + part, bytes);
            }
            assert!(found.len() == 1 && found[0].data == blob, "{length}");
        }
    }
}
