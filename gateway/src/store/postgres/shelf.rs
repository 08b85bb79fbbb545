//! What the engine asks of PostgreSQL.

use super::{LOCK_PARTITIONS, LOCKS, Postgres, people, within};
use crate::reading::Device;
use crate::store::chunked::shelf::{
    Changes, Days, DeviceRow, Kept, LogRow, Marks, NamesKey, Piece, Seal, SeriesRow, Shelf, Shelved, Waiting,
    Want, Weight, WholeDay,
};
use crate::store::rows::{self, EngineColumns, NamesColumns, signed, unsigned};
use crate::store::{StoreError, Token};
use async_trait::async_trait;
use casement_proto::DeviceId;
use jiff::civil::{Date, date};
use jiff::{Span, ToSpan};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

/// Devices that share a lock. Two gateways seal and put together different shards at once.
const SHARDS: i64 = 64;

/// Blocks of the ledger asked for at once.
const NAMES_AT_ONCE: usize = 10_000;

/// Days before a window in which its last summary most often is. Otherwise every partition is looked into.
const DAYS_BEFORE: i64 = 40;

/// The first and the last year whose months have partitions of their own. Only an import brings other times, and a wrong
/// clock must not make a million tables.
const YEARS: std::ops::RangeInclusive<i16> = 2000..=2099;

const DEVICE_ROW: &str = "SELECT id, uid, sealed, newest_ms FROM device";

/// Columns of a [`Kept`]: series, day, data.
type KeptColumns = (i64, i64, Vec<u8>);

fn kept_row((series, day, data): KeptColumns) -> Kept {
    Kept { series, day, data }
}

fn number(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A calendar month that has partitions of its own.
#[derive(Debug, PartialEq, Eq)]
struct Month {
    /// As in the names of its tables.
    name: String,
    /// Its first day (since 1970) and the one after its last.
    from: i64,
    to: i64,
}

impl Month {
    fn of(day: i64) -> Option<Self> {
        const EPOCH: Date = date(1970, 1, 1);
        let since = |date: Date| EPOCH.until(date).ok().map(|span| i64::from(span.get_days()));
        let first = EPOCH.checked_add(Span::new().try_days(day).ok()?).ok()?.first_of_month();
        if !YEARS.contains(&first.year()) {
            return None;
        }
        Some(Self {
            name: format!("{:04}_{:02}", first.year(), first.month()),
            from: since(first)?,
            to: since(first.checked_add(1.month()).ok()?)?,
        })
    }
}

/// Waits until nobody else seals these devices or puts them together. Always in the same order, so that two gateways do
/// not wait for each other.
async fn lock(tx: &mut PgConnection, devices: impl Iterator<Item = i64>) -> Result<(), sqlx::Error> {
    let shards: BTreeSet<i32> =
        devices.map(|device| i32::try_from(device.rem_euclid(SHARDS)).unwrap_or(0)).collect();
    let shards: Vec<i32> = shards.into_iter().collect();
    sqlx::query("SELECT pg_advisory_xact_lock($1, shard) FROM unnest($2::int4[]) shard")
        .bind(LOCKS)
        .bind(shards)
        .execute(tx)
        .await?;
    Ok(())
}

async fn log_rows(connection: &mut PgConnection, after: i64, most: i64) -> Result<Vec<LogRow>, sqlx::Error> {
    let rows = sqlx::query_as("SELECT last, data FROM log WHERE last > $1 ORDER BY last LIMIT $2")
        .bind(after)
        .bind(most)
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(|(last, data)| LogRow { last, data }).collect())
}

/// A commit is one row, so it is one INSERT: the driver sends it in one round trip, where COPY needs two. Of two gateways
/// that believe the same, the second waits for the first one's row in "mark", and then finds another number there.
async fn commit(
    connection: &mut PgConnection,
    marks: Marks,
    last: i64,
    row: &[u8],
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "WITH mine AS (UPDATE mark SET newest = $1 WHERE newest = $2 AND seals = $3 RETURNING one)
         INSERT INTO log (last, data) SELECT $1, $4 FROM mine",
    )
    .bind(last)
    .bind(marks.newest)
    .bind(marks.seals)
    .bind(row)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

async fn seal(connection: &mut PgConnection, seal: &Seal) -> Result<bool, sqlx::Error> {
    let mut tx = connection.begin().await?;
    lock(&mut tx, seal.devices.iter().map(|device| device.device)).await?;
    // A look first, so that nothing is written in vain; what counts is the look at the end.
    let seals: i64 = sqlx::query_scalar("SELECT seals FROM mark").fetch_one(&mut *tx).await?;
    if seals != seal.marks.seals {
        tx.rollback().await?;
        return Ok(false);
    }
    let (devices, metrics): (Vec<i64>, Vec<i64>) = seal.series.iter().copied().unzip();
    sqlx::query(
        "INSERT INTO series (device, metric) SELECT device, metric FROM unnest($1::int8[], $2::int8[]) new (device, metric)
         WHERE NOT EXISTS (SELECT FROM series s WHERE s.device = new.device AND s.metric = new.metric)
         ON CONFLICT DO NOTHING",
    )
    .bind(devices)
    .bind(metrics)
    .execute(&mut *tx)
    .await?;
    let pieces = &seal.pieces;
    sqlx::query(
        "INSERT INTO piece (device, day, made_ms, readings, \"values\", data)
         SELECT device, day, made_ms, readings, \"values\", data
         FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::bytea[])
              WITH ORDINALITY new (device, day, made_ms, readings, \"values\", data, nth) ORDER BY nth",
    )
    .bind(pieces.iter().map(|piece| piece.device).collect::<Vec<i64>>())
    .bind(pieces.iter().map(|piece| piece.day).collect::<Vec<i64>>())
    .bind(pieces.iter().map(|piece| piece.made_ms).collect::<Vec<i64>>())
    .bind(pieces.iter().map(|piece| number(piece.readings)).collect::<Vec<i64>>())
    .bind(pieces.iter().map(|piece| number(piece.values)).collect::<Vec<i64>>())
    .bind(pieces.iter().map(|piece| piece.data.as_slice()).collect::<Vec<&[u8]>>())
    .execute(&mut *tx)
    .await?;
    let names = &seal.names;
    sqlx::query(
        "INSERT INTO ledger (device, boot, block, data) SELECT * FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::bytea[])
         ON CONFLICT (device, boot, block) DO UPDATE SET data = excluded.data",
    )
    .bind(names.iter().map(|((device, ..), _)| *device).collect::<Vec<i64>>())
    .bind(names.iter().map(|((_, boot, _), _)| signed(*boot)).collect::<Vec<i64>>())
    .bind(names.iter().map(|((.., block), _)| signed(*block)).collect::<Vec<i64>>())
    .bind(names.iter().map(|(_, data)| data.as_slice()).collect::<Vec<&[u8]>>())
    .execute(&mut *tx)
    .await?;
    let devices = &seal.devices;
    sqlx::query(
        "UPDATE device SET sealed = new.sealed, newest_ms = new.newest_ms, latest = coalesce(new.latest, device.latest)
         FROM unnest($1::int8[], $2::int8[], $3::int8[], $4::bytea[]) new (device, sealed, newest_ms, latest)
         WHERE device.id = new.device",
    )
    .bind(devices.iter().map(|device| device.device).collect::<Vec<i64>>())
    .bind(devices.iter().map(|device| device.sealed).collect::<Vec<i64>>())
    .bind(devices.iter().map(|device| device.newest_ms).collect::<Vec<i64>>())
    .bind(devices.iter().map(|device| device.latest.as_deref()).collect::<Vec<Option<&[u8]>>>())
    .execute(&mut *tx)
    .await?;
    // Last, because every commit needs this row, too: others wait for the rest of this statement and for one fsync.
    let mine: i64 = sqlx::query_scalar(
        "WITH mine AS (
             UPDATE mark SET seals = seals + 1, newest = greatest(newest, $2) WHERE seals = $1 RETURNING one
         ), trimmed AS (
             DELETE FROM log WHERE last <= $2 AND EXISTS (SELECT FROM mine)
         )
         SELECT count(*) FROM mine",
    )
    .bind(seal.marks.seals)
    .bind(seal.trim)
    .fetch_one(&mut *tx)
    .await?;
    if mine == 1 {
        tx.commit().await?
    } else {
        tx.rollback().await?
    }
    Ok(mine == 1)
}

async fn forget(
    connection: &mut PgConnection,
    metric: i64,
    before: i64,
    most: u32,
) -> Result<u64, sqlx::Error> {
    let mut tx = connection.begin().await?;
    sqlx::query("UPDATE metric SET kept_from = greatest(coalesce(kept_from, $2), $2) WHERE id = $1")
        .bind(metric)
        .bind(before)
        .execute(&mut *tx)
        .await?;
    let gone = sqlx::query(
        "DELETE FROM \"column\" c USING (
           SELECT o.device, o.series, o.day FROM series s JOIN \"column\" o ON o.device = s.device AND o.series = s.id
           WHERE s.metric = $1 AND o.day < $2 LIMIT $3) old
         WHERE c.device = old.device AND c.series = old.series AND c.day = old.day",
    )
    .bind(metric)
    .bind(before)
    .bind(i64::from(most))
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(gone.rows_affected())
}

async fn put_together(connection: &mut PgConnection, day: &WholeDay) -> Result<bool, sqlx::Error> {
    let mut tx = connection.begin().await?;
    lock(&mut tx, std::iter::once(day.device)).await?;
    // Nobody who puts this day together leaves a piece of it, so these are there, or somebody else was first.
    let gone = sqlx::query("DELETE FROM piece WHERE device = $1 AND id = ANY ($2)")
        .bind(day.device)
        .bind(&day.pieces)
        .execute(&mut *tx)
        .await?;
    if gone.rows_affected() != day.pieces.len() as u64 {
        tx.rollback().await?;
        return Ok(false);
    }
    let (whole, gone): (Vec<_>, Vec<_>) = day.columns.iter().partition(|(_, data)| !data.is_empty());
    sqlx::query(
        "DELETE FROM \"column\" c USING series s
         WHERE s.device = $1 AND s.metric = ANY ($3) AND c.device = $1 AND c.series = s.id AND c.day = $2",
    )
    .bind(day.device)
    .bind(day.day)
    .bind(gone.iter().map(|(metric, _)| *metric).collect::<Vec<i64>>())
    .execute(&mut *tx)
    .await?;
    let columns = sqlx::query(
        "INSERT INTO \"column\" (device, series, day, data)
         SELECT $1, s.id, $2, new.data FROM unnest($3::int8[], $4::bytea[]) new (metric, data)
         JOIN series s ON s.device = $1 AND s.metric = new.metric
         ON CONFLICT (device, series, day) DO UPDATE SET data = excluded.data",
    )
    .bind(day.device)
    .bind(day.day)
    .bind(whole.iter().map(|(metric, _)| *metric).collect::<Vec<i64>>())
    .bind(whole.iter().map(|(_, data)| data.as_slice()).collect::<Vec<&[u8]>>())
    .execute(&mut *tx)
    .await?;
    let summaries = sqlx::query(
        "INSERT INTO summary (device, series, day, n, data)
         SELECT $1, s.id, $2, new.n, new.data FROM unnest($3::int8[], $4::int8[], $5::bytea[]) new (metric, n, data)
         JOIN series s ON s.device = $1 AND s.metric = new.metric
         ON CONFLICT (device, series, day) DO UPDATE SET n = excluded.n, data = excluded.data",
    )
    .bind(day.device)
    .bind(day.day)
    .bind(day.summaries.iter().map(|(metric, ..)| *metric).collect::<Vec<i64>>())
    .bind(day.summaries.iter().map(|(_, n, _)| signed(*n)).collect::<Vec<i64>>())
    .bind(day.summaries.iter().map(|(.., data)| data.as_slice()).collect::<Vec<&[u8]>>())
    .execute(&mut *tx)
    .await?;
    if columns.rows_affected() != whole.len() as u64
        || summaries.rows_affected() != day.summaries.len() as u64
    {
        return Err(sqlx::Error::Protocol("a series has no number".to_owned()));
    }
    for (note, data) in &day.damaged {
        sqlx::query("INSERT INTO damaged (device, day, note, data) VALUES ($1, $2, $3, $4)")
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

/// Makes the partitions of a month. They are made aside and attached: that locks the table for a moment only, and not for
/// those who read or write other months.
async fn make_partitions(connection: &mut PgConnection, month: &Month) -> Result<(), sqlx::Error> {
    let Month { name, from, to } = month;
    let mut tx = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1, $2)")
        .bind(LOCKS)
        .bind(LOCK_PARTITIONS)
        .execute(&mut *tx)
        .await?;
    let there: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(format!("casement.column_{name}"))
        .fetch_one(&mut *tx)
        .await?;
    if there {
        return tx.rollback().await;
    }
    // Names and numbers of our own.
    sqlx::raw_sql(AssertSqlSafe(format!(
        "CREATE TABLE column_{name} (LIKE \"column\" INCLUDING ALL);
         ALTER TABLE \"column\" ATTACH PARTITION column_{name} FOR VALUES FROM ({from}) TO ({to});
         CREATE TABLE summary_{name} (LIKE summary INCLUDING ALL);
         ALTER TABLE summary ATTACH PARTITION summary_{name} FOR VALUES FROM ({from}) TO ({to});"
    )))
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// The blobs of some days: one question for all series that want the same days.
async fn kept(
    tx: &mut PgConnection,
    sql: &'static str,
    device: i64,
    ranges: &[Days],
) -> Result<Vec<Kept>, sqlx::Error> {
    let mut asked: BTreeMap<(i64, i64), Vec<i64>> = BTreeMap::new();
    for range in ranges {
        asked.entry((range.from, range.to)).or_default().push(range.series);
    }
    let mut found = Vec::new();
    for ((from, to), series) in asked {
        let rows: Vec<KeptColumns> =
            sqlx::query_as(sql).bind(device).bind(series).bind(from).bind(to).fetch_all(&mut *tx).await?;
        found.extend(rows.into_iter().map(kept_row));
    }
    found.sort_by_key(|kept: &Kept| (kept.series, kept.day));
    Ok(found)
}

const COLUMNS: &str = "SELECT series, day, data FROM \"column\" WHERE device = $1 AND series = ANY ($2) AND day BETWEEN $3 AND $4";
const SUMMARIES: &str =
    "SELECT series, day, data FROM summary WHERE device = $1 AND series = ANY ($2) AND day BETWEEN $3 AND $4";

async fn last_before(
    tx: &mut PgConnection,
    device: i64,
    (series, day): (i64, i64),
) -> Result<Option<Kept>, sqlx::Error> {
    for from in [day.saturating_sub(DAYS_BEFORE), i64::MIN] {
        let row = sqlx::query_as(
            "SELECT series, day, data FROM summary WHERE device = $1 AND series = $2 AND day >= $3 AND day < $4
             ORDER BY day DESC LIMIT 1",
        )
        .bind(device)
        .bind(series)
        .bind(from)
        .bind(day)
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(row) = row {
            return Ok(Some(kept_row(row)));
        }
    }
    Ok(None)
}

async fn read(connection: &mut PgConnection, want: &Want) -> Result<Shelved, sqlx::Error> {
    // One moment for all of it. It ends with a rollback that nobody waits for.
    let mut tx = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    let sealed: Option<i64> = sqlx::query_scalar("SELECT sealed FROM device WHERE id = $1")
        .bind(want.device)
        .fetch_optional(&mut *tx)
        .await?;
    let mut shelved = Shelved { sealed: sealed.unwrap_or(0), ..Shelved::default() };
    if let Some((from, to)) = want.pieces {
        let rows = sqlx::query_as(
            "SELECT id, day, data FROM piece WHERE device = $1 AND day BETWEEN $2 AND $3 ORDER BY id",
        )
        .bind(want.device)
        .bind(from)
        .bind(to)
        .fetch_all(&mut *tx)
        .await?;
        shelved.pieces = rows.into_iter().map(|(id, day, data)| Piece { id, day, data }).collect();
    }
    shelved.summaries = kept(&mut tx, SUMMARIES, want.device, &want.summaries).await?;
    shelved.columns = kept(&mut tx, COLUMNS, want.device, &want.columns).await?;
    if let Some(before) = want.before {
        shelved.before = last_before(&mut tx, want.device, before).await?;
    }
    Ok(shelved)
}

impl Postgres {
    /// Sees to it that the month of a day has partitions. When that cannot be, its days go to the default one.
    async fn partition(&self, day: i64) -> Result<(), StoreError> {
        let Some(month) = Month::of(day) else { return Ok(()) };
        if self.months.lock().unwrap_or_else(PoisonError::into_inner).contains(&month.from) {
            return Ok(());
        }
        match self.writing(async |connection| make_partitions(connection, &month).await).await {
            Ok(()) => {}
            // It will be asked again; until then the day waits, too.
            Err(error @ (StoreError::Busy(_) | StoreError::DiskFull(_))) => return Err(error),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                month = month.name,
                "a month gets no partition of its own; its days are kept with the others"
            ),
        }
        self.months.lock().unwrap_or_else(PoisonError::into_inner).insert(month.from);
        Ok(())
    }
}

#[async_trait]
impl Shelf for Postgres {
    async fn marks(&self) -> Result<Marks, StoreError> {
        self.reading(async |connection| {
            let (newest, seals) =
                sqlx::query_as("SELECT newest, seals FROM mark").fetch_one(connection).await?;
            Ok(Marks { newest, seals })
        })
        .await
    }

    async fn changes(&self, since: Marks) -> Result<Changes, StoreError> {
        self.reading(async |connection| {
            // One statement sees one moment.
            let rows: Vec<(i64, i64, Option<i64>, Option<Vec<u8>>)> = sqlx::query_as(
                "SELECT mark.newest, mark.seals, log.last, log.data FROM mark LEFT JOIN log ON log.last > $1 ORDER BY log.last",
            )
            .bind(since.newest)
            .fetch_all(connection)
            .await?;
            let mut changes = Changes::default();
            for (newest, seals, last, data) in rows {
                changes.marks = Marks { newest, seals };
                changes.log.extend(last.zip(data).map(|(last, data)| LogRow { last, data }));
            }
            Ok(changes)
        })
        .await
    }

    async fn register(&self, ids: &[DeviceId], now_ms: i64) -> Result<Vec<DeviceRow>, StoreError> {
        let names: Vec<&str> = ids.iter().map(DeviceId::as_str).collect();
        self.writing(async |connection| {
            let mut tx = connection.begin().await?;
            // In one order, so that two gateways do not wait for each other.
            sqlx::query(
                "INSERT INTO device (uid, created_ms) SELECT uid, $2 FROM unnest($1::text[]) new (uid)
                 WHERE NOT EXISTS (SELECT FROM device d WHERE d.uid = new.uid) ORDER BY uid
                 ON CONFLICT DO NOTHING",
            )
            .bind(&names)
            .bind(now_ms)
            .execute(&mut *tx)
            .await?;
            let rows: Vec<EngineColumns> = sqlx::query_as(
                "SELECT d.id, d.uid, d.sealed, d.newest_ms
                 FROM unnest($1::text[]) WITH ORDINALITY asked (uid, nth) JOIN device d ON d.uid = asked.uid ORDER BY nth",
            )
            .bind(&names)
            .fetch_all(&mut *tx)
            .await?;
            tx.commit().await?;
            rows.into_iter().map(rows::device_row).collect()
        })
        .await
    }

    async fn device(&self, id: &DeviceId) -> Result<Option<DeviceRow>, StoreError> {
        self.reading(async |connection| {
            let sql = AssertSqlSafe(format!("{DEVICE_ROW} WHERE uid = $1"));
            let row = sqlx::query_as(sql).bind(id.as_str()).fetch_optional(connection).await?;
            row.map(rows::device_row).transpose()
        })
        .await
    }

    async fn numbered(&self, devices: &[i64]) -> Result<Vec<DeviceRow>, StoreError> {
        self.reading(async |connection| {
            let sql = AssertSqlSafe(format!("{DEVICE_ROW} WHERE id = ANY ($1)"));
            let rows: Vec<EngineColumns> = sqlx::query_as(sql).bind(devices).fetch_all(connection).await?;
            rows.into_iter().map(rows::device_row).collect()
        })
        .await
    }

    async fn metrics(&self) -> Result<Vec<(i64, String)>, StoreError> {
        self.reading(async |connection| {
            sqlx::query_as("SELECT id, name FROM metric ORDER BY id").fetch_all(connection).await
        })
        .await
    }

    async fn metric(&self, name: &str) -> Result<i64, StoreError> {
        self.writing(async |connection| {
            sqlx::query("INSERT INTO metric (name) VALUES ($1) ON CONFLICT DO NOTHING")
                .bind(name)
                .execute(&mut *connection)
                .await?;
            sqlx::query_scalar("SELECT id FROM metric WHERE name = $1").bind(name).fetch_one(connection).await
        })
        .await
    }

    async fn series(&self, device: Option<i64>) -> Result<Vec<SeriesRow>, StoreError> {
        self.reading(async |connection| {
            let rows = sqlx::query_as(
                "SELECT id, device, metric FROM series WHERE $1::int8 IS NULL OR device = $1 ORDER BY device, metric",
            )
            .bind(device)
            .fetch_all(connection)
            .await?;
            Ok(rows.into_iter().map(|(series, device, metric)| SeriesRow { series, device, metric }).collect())
        })
        .await
    }

    async fn commit(&self, marks: Marks, last: i64, row: Vec<u8>) -> Result<bool, StoreError> {
        self.writing(async |connection| commit(connection, marks, last, &row).await).await
    }

    async fn log(&self, after: i64, most: u32) -> Result<Vec<LogRow>, StoreError> {
        self.reading(async |connection| log_rows(connection, after, i64::from(most)).await).await
    }

    async fn latest(&self) -> Result<Vec<(DeviceRow, Vec<u8>)>, StoreError> {
        self.reading(async |connection| {
            let rows: Vec<(i64, String, i64, Option<i64>, Vec<u8>)> = sqlx::query_as(
                "SELECT id, uid, sealed, newest_ms, latest FROM device WHERE latest IS NOT NULL",
            )
            .fetch_all(connection)
            .await?;
            let row = |(device, id, sealed, newest, latest)| {
                Ok((rows::device_row((device, id, sealed, newest))?, latest))
            };
            rows.into_iter().map(row).collect()
        })
        .await
    }

    async fn names(&self, keys: &[NamesKey]) -> Result<Vec<(NamesKey, Vec<u8>)>, StoreError> {
        self.reading(async |connection| {
            let mut found = Vec::new();
            for some in keys.chunks(NAMES_AT_ONCE) {
                let rows: Vec<NamesColumns> = sqlx::query_as(
                    "SELECT l.device, l.boot, l.block, l.data
                     FROM unnest($1::int8[], $2::int8[], $3::int8[]) asked (device, boot, block)
                     JOIN ledger l ON l.device = asked.device AND l.boot = asked.boot AND l.block = asked.block",
                )
                .bind(some.iter().map(|(device, ..)| *device).collect::<Vec<i64>>())
                .bind(some.iter().map(|(_, boot, _)| signed(*boot)).collect::<Vec<i64>>())
                .bind(some.iter().map(|(.., block)| signed(*block)).collect::<Vec<i64>>())
                .fetch_all(&mut *connection)
                .await?;
                found.extend(rows.into_iter().map(rows::names_row));
            }
            Ok(found)
        })
        .await
    }

    async fn anchor(
        &self,
        (device, boot, block): NamesKey,
        was: Option<&[u8]>,
        is: &[u8],
    ) -> Result<bool, StoreError> {
        self.writing(async |connection| {
            // NULL is no blob, so that nothing is changed that was not there.
            let done = sqlx::query(
                "INSERT INTO ledger AS l (device, boot, block, data) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (device, boot, block) DO UPDATE SET data = excluded.data WHERE l.data = $5",
            )
            .bind(device)
            .bind(signed(boot))
            .bind(signed(block))
            .bind(is)
            .bind(was)
            .execute(connection)
            .await?;
            Ok(done.rows_affected() == 1)
        })
        .await
    }

    async fn names_of(&self, device: i64) -> Result<Vec<(NamesKey, Vec<u8>)>, StoreError> {
        self.reading(async |connection| {
            let rows: Vec<NamesColumns> = sqlx::query_as(
                "SELECT device, boot, block, data FROM ledger WHERE device = $1 ORDER BY boot, block",
            )
            .bind(device)
            .fetch_all(connection)
            .await?;
            Ok(rows.into_iter().map(rows::names_row).collect())
        })
        .await
    }

    async fn read(&self, want: &Want) -> Result<Shelved, StoreError> {
        self.reading(async |connection| read(connection, want).await).await
    }

    async fn days(&self, device: i64, from: i64, to: i64) -> Result<Vec<i64>, StoreError> {
        self.reading(async |connection| {
            sqlx::query_scalar(
                "SELECT day FROM summary
                 WHERE device = $1 AND day BETWEEN $2 AND $3
                   AND series = (SELECT id FROM series WHERE device = $1 AND metric = 0)
                 UNION SELECT day FROM piece WHERE device = $1 AND day BETWEEN $2 AND $3 ORDER BY 1",
            )
            .bind(device)
            .bind(from)
            .bind(to)
            .fetch_all(connection)
            .await
        })
        .await
    }

    async fn seal(&self, change: &Seal) -> Result<bool, StoreError> {
        self.writing(async |connection| seal(connection, change).await).await
    }

    async fn waiting(&self) -> Result<Vec<Waiting>, StoreError> {
        self.reading(async |connection| {
            let rows = sqlx::query_as(
                "SELECT device, day, count(*), max(made_ms) FROM piece GROUP BY device, day ORDER BY device, day",
            )
            .fetch_all(connection)
            .await?;
            let waiting = |(device, day, pieces, made_ms)| Waiting { device, day, pieces, made_ms };
            Ok(rows.into_iter().map(waiting).collect())
        })
        .await
    }

    async fn put_together(&self, day: &WholeDay) -> Result<bool, StoreError> {
        self.partition(day.day).await?;
        self.writing(async |connection| put_together(connection, day).await).await
    }

    async fn kept_from(&self) -> Result<Vec<(i64, i64)>, StoreError> {
        self.reading(async |connection| {
            sqlx::query_as("SELECT id, kept_from FROM metric WHERE kept_from IS NOT NULL")
                .fetch_all(connection)
                .await
        })
        .await
    }

    async fn forget(&self, metric: i64, before: i64, most: u32) -> Result<u64, StoreError> {
        self.writing(async |connection| forget(connection, metric, before, most).await).await
    }

    async fn flaws(&self) -> Result<Vec<String>, StoreError> {
        // The server looks after its own pages; blobs have checksums of ours.
        Ok(Vec::new())
    }

    async fn weight(&self, from: i64, to: i64) -> Result<Weight, StoreError> {
        self.reading(async |connection| {
            let row: (i64, i64, i64) = sqlx::query_as(
                "SELECT pg_database_size(current_database()), coalesce(sum(n), 0)::int8,
                        coalesce(sum(n) FILTER (WHERE day >= $1 AND day < $2), 0)::int8 FROM summary",
            )
            .bind(from)
            .bind(to)
            .fetch_one(connection)
            .await?;
            Ok(Weight { bytes: unsigned(row.0), values: unsigned(row.1), values_between: unsigned(row.2) })
        })
        .await
    }

    async fn upkeep(&self, _all: bool) -> Result<bool, StoreError> {
        // Autovacuum does.
        Ok(false)
    }

    async fn add_device(&self, device: &Device) -> Result<(), StoreError> {
        let added = self.writing(async |connection| people::add_device(connection, device).await).await?;
        if added { Ok(()) } else { Err(StoreError::Exists(format!("device {}", device.id))) }
    }

    async fn devices(&self) -> Result<Vec<Device>, StoreError> {
        self.reading(async |connection| people::devices(connection).await).await
    }

    async fn add_token(&self, token: &Token) -> Result<i64, StoreError> {
        let added = self.writing(async |connection| people::add_token(connection, token).await).await?;
        added.ok_or_else(|| match &token.scope {
            crate::store::Scope::Device(device) => StoreError::Missing(format!("device {device}")),
            _ => StoreError::Missing("device".to_owned()),
        })
    }

    async fn token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        self.reading(async |connection| people::token(connection, hash).await).await
    }

    async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        self.reading(async |connection| people::tokens(connection).await).await
    }

    async fn revoke_token(&self, id: i64, now_ms: i64) -> Result<bool, StoreError> {
        self.writing(async |connection| people::revoke_token(connection, id, now_ms).await).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let standby: bool = self
            .reading(async |connection| {
                sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(connection).await
            })
            .await?;
        // It answers, and would take nothing.
        if standby {
            Err(StoreError::Busy(sqlx::Error::Protocol("it is a standby".to_owned())))
        } else {
            Ok(())
        }
    }

    async fn close(&self) {
        // A network that swallows the farewell must not keep the gateway from ending.
        let closed = async {
            self.readers.close().await;
            self.writers.close().await;
        };
        let _closed = within(closed).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_calendar_months() {
        let month = |day| Month::of(day).map(|month| (month.name, month.from, month.to));
        assert_eq!(month(20_779), Some(("2026_11".to_owned(), 20_758, 20_788)));
        assert_eq!(month(20_758), month(20_787));
        assert_eq!(month(10_957), Some(("2000_01".to_owned(), 10_957, 10_988)));
        assert_eq!(month(10_956), None);
        assert_eq!(month(47_481).map(|(name, ..)| name), Some("2099_12".to_owned()));
        for day in [47_482, -1, 1 << 21, -(1 << 21), i64::MAX, i64::MIN] {
            assert_eq!(month(day), None);
        }
    }
}
