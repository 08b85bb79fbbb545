//! Reading back.

use super::people::device_id;
use crate::reading::{ExportFilter, ExportRow, StoredReading};
use crate::store::ExportCursor;
use crate::telemetry::series::{self, Bucket, Data, Points, Window};
use casement_proto::{DeviceId, Quantity, State};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row, SqliteConnection};
use std::collections::HashMap;
use std::ops::Range;

/// How many distances the rhythm of a window is judged from.
const RHYTHM_SAMPLE: usize = 256;

/// Readings that arrived after a number.
pub(super) async fn after(
    readers: &SqlitePool,
    id: i64,
    limit: u32,
) -> Result<Vec<StoredReading>, sqlx::Error> {
    let mut tx = readers.begin().await?;
    let ids: Vec<i64> = sqlx::query_scalar("SELECT id FROM reading WHERE id > ? ORDER BY id LIMIT ?")
        .bind(id)
        .bind(limit)
        .fetch_all(&mut *tx)
        .await?;
    load(&mut tx, &ids).await
}

/// The newest reading of every device.
pub(super) async fn latest(readers: &SqlitePool) -> Result<Vec<StoredReading>, sqlx::Error> {
    let mut tx = readers.begin().await?;
    let ids: Vec<Option<i64>> = sqlx::query_scalar(
        "SELECT (SELECT v.reading FROM value v WHERE v.device = s.device AND v.metric = s.metric
                 ORDER BY v.t DESC, v.reading DESC LIMIT 1) FROM series s",
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut ids: Vec<i64> = ids.into_iter().flatten().collect();
    ids.sort_unstable();
    ids.dedup();
    let mut newest: HashMap<DeviceId, StoredReading> = HashMap::new();
    for reading in load(&mut tx, &ids).await? {
        let beaten = newest.get(&reading.device).is_some_and(|held| held.t_ms > reading.t_ms);
        if !beaten {
            newest.insert(reading.device, reading);
        }
    }
    Ok(newest.into_values().collect())
}

/// Readings by their numbers, in order.
async fn load(tx: &mut SqliteConnection, ids: &[i64]) -> Result<Vec<StoredReading>, sqlx::Error> {
    let json = serde_json::to_string(ids).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let rows = sqlx::query(
        "SELECT r.id, d.uid, r.t, r.boot, r.seq, r.state
         FROM json_each(?) j CROSS JOIN reading r ON r.id = j.value JOIN device d ON d.id = r.device ORDER BY r.id",
    )
    .bind(&json)
    .fetch_all(&mut *tx)
    .await?;
    let mut readings = rows
        .iter()
        .map(|row| {
            let boot: Option<i64> = row.try_get(3)?;
            let seq: Option<i64> = row.try_get(4)?;
            Ok(StoredReading {
                id: row.try_get(0)?,
                device: device_id(row, 1)?,
                t_ms: row.try_get(2)?,
                name: boot.zip(seq).map(|(boot, seq)| (boot.unsigned_abs(), seq.unsigned_abs())),
                state: state(row, 5)?,
                values: Vec::new(),
            })
        })
        .collect::<Result<Vec<_>, sqlx::Error>>()?;
    let values = sqlx::query(
        "SELECT r.id, m.name, v.value
         FROM json_each(?) j CROSS JOIN reading r ON r.id = j.value
         JOIN series s ON s.device = r.device
         JOIN value v ON v.device = r.device AND v.metric = s.metric AND v.t = r.t AND v.reading = r.id
         JOIN metric m ON m.id = v.metric",
    )
    .bind(&json)
    .fetch_all(tx)
    .await?;
    for row in &values {
        let id: i64 = row.try_get(0)?;
        if let Ok(at) = readings.binary_search_by_key(&id, |reading| reading.id)
            && let Some(reading) = readings.get_mut(at)
        {
            reading.values.push((quantity(row.try_get(1)?)?, row.try_get(2)?));
        }
    }
    Ok(readings)
}

/// The newest values of a series, newest first.
pub(super) async fn recent(
    readers: &SqlitePool,
    device: &DeviceId,
    quantity: &Quantity,
    since_ms: i64,
    limit: u32,
) -> Result<Vec<(i64, f64)>, sqlx::Error> {
    let mut tx = readers.begin().await?;
    let Some((device, metric)) = find(&mut tx, device, quantity).await? else {
        return Ok(Vec::new());
    };
    let rows = sqlx::query(
        "SELECT t, value FROM value WHERE device = ? AND metric = ? AND t >= ? ORDER BY t DESC LIMIT ?",
    )
    .bind(device)
    .bind(metric)
    .bind(since_ms)
    .bind(limit)
    .fetch_all(&mut *tx)
    .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// The quantities of a device, by name.
pub(super) async fn quantities(
    readers: &SqlitePool,
    device: &DeviceId,
) -> Result<Vec<Quantity>, sqlx::Error> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT m.name FROM series s JOIN device d ON d.id = s.device JOIN metric m ON m.id = s.metric
         WHERE d.uid = ? ORDER BY m.name",
    )
    .bind(device.as_str())
    .fetch_all(readers)
    .await?;
    names.iter().map(|name| quantity(name)).collect()
}

/// One series over a window.
pub(super) async fn series(
    readers: &SqlitePool,
    device: &DeviceId,
    quantity: &Quantity,
    window: Window,
) -> Result<Points, sqlx::Error> {
    // One transaction, so that count, buckets and gaps speak of the same moment.
    let mut tx = readers.begin().await?;
    let Some((device, metric)) = find(&mut tx, device, quantity).await? else {
        return Ok(Points { data: Data::Raw(Vec::new()), gaps: Vec::new() });
    };
    let before: Option<i64> =
        sqlx::query_scalar("SELECT max(t) FROM value WHERE device = ? AND metric = ? AND t < ?")
            .bind(device)
            .bind(metric)
            .bind(window.from_ms)
            .fetch_one(&mut *tx)
            .await?;
    let mut raw = raw(&mut tx, device, metric, window, i64::from(window.max_points) + 1).await?;
    let too_many = raw.len() > usize::try_from(window.max_points).unwrap_or(usize::MAX);
    // Readings at one instant have no distance and say nothing about rhythm.
    let mut distances: Vec<i64> = raw
        .iter()
        .zip(raw.iter().skip(1))
        .map(|((a, _), (b, _))| b - a)
        .filter(|distance| *distance > 0)
        .take(RHYTHM_SAMPLE)
        .collect();
    let threshold_ms = series::gap_threshold_ms(&mut distances);
    if !too_many {
        let inner = series::inner_gaps(raw.iter().map(|(t, _)| *t), threshold_ms);
        let (first, last) = (raw.first().map(|(t, _)| *t), raw.last().map(|(t, _)| *t));
        let gaps = series::gaps(window, threshold_ms, inner, first, last, before);
        return Ok(Points { data: Data::Raw(raw), gaps });
    }
    let first = raw.first().map(|(t, _)| *t);
    raw.clear();
    let step_ms = series::step_ms(window.from_ms, window.to_ms, window.max_points);
    let buckets = buckets(&mut tx, device, metric, window, step_ms).await?;
    let (inner, last) = inner_gaps(&mut tx, device, metric, window, threshold_ms).await?;
    let gaps = series::gaps(window, threshold_ms, inner, first, last, before);
    Ok(Points { data: Data::Buckets { step_ms, buckets }, gaps })
}

async fn raw(
    tx: &mut SqliteConnection,
    device: i64,
    metric: i64,
    window: Window,
    limit: i64,
) -> Result<Vec<(i64, f64)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT t, value FROM value WHERE device = ? AND metric = ? AND t >= ? AND t < ? ORDER BY t, reading LIMIT ?",
    )
    .bind(device)
    .bind(metric)
    .bind(window.from_ms)
    .bind(window.to_ms)
    .bind(limit)
    .fetch_all(tx)
    .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

async fn buckets(
    tx: &mut SqliteConnection,
    device: i64,
    metric: i64,
    window: Window,
    step_ms: i64,
) -> Result<Vec<Bucket>, sqlx::Error> {
    // SQLite divides towards zero; shifting by a whole number of steps keeps times before 1970 in their bucket.
    let shift = window.from_ms.min(0).div_euclid(step_ms).saturating_mul(step_ms);
    let rows = sqlx::query(
        "SELECT (t - ?1) / ?2 AS bucket, min(value), avg(value), max(value), count(*) FROM value
         WHERE device = ?3 AND metric = ?4 AND t >= ?5 AND t < ?6 GROUP BY bucket ORDER BY bucket",
    )
    .bind(shift)
    .bind(step_ms)
    .bind(device)
    .bind(metric)
    .bind(window.from_ms)
    .bind(window.to_ms)
    .fetch_all(tx)
    .await?;
    rows.iter()
        .map(|row| {
            let bucket: i64 = row.try_get(0)?;
            Ok(Bucket {
                t_ms: bucket * step_ms + shift,
                min: row.try_get(1)?,
                mean: row.try_get(2)?,
                max: row.try_get(3)?,
                count: row.try_get(4)?,
            })
        })
        .collect()
}

async fn inner_gaps(
    tx: &mut SqliteConnection,
    device: i64,
    metric: i64,
    window: Window,
    threshold_ms: i64,
) -> Result<(Vec<Range<i64>>, Option<i64>), sqlx::Error> {
    let rows = sqlx::query(
        "SELECT before, t FROM (SELECT lag(t) OVER (ORDER BY t) AS before, t FROM value
           WHERE device = ?1 AND metric = ?2 AND t >= ?3 AND t < ?4)
         WHERE t - before > ?5 ORDER BY t",
    )
    .bind(device)
    .bind(metric)
    .bind(window.from_ms)
    .bind(window.to_ms)
    .bind(threshold_ms)
    .fetch_all(&mut *tx)
    .await?;
    let gaps = rows
        .iter()
        .map(|row| Ok(row.try_get(0)?..row.try_get(1)?))
        .collect::<Result<Vec<Range<i64>>, sqlx::Error>>()?;
    let last =
        sqlx::query_scalar("SELECT max(t) FROM value WHERE device = ? AND metric = ? AND t >= ? AND t < ?")
            .bind(device)
            .bind(metric)
            .bind(window.from_ms)
            .bind(window.to_ms)
            .fetch_one(tx)
            .await?;
    Ok((gaps, last))
}

/// Every series that a filter lets through, in the order of the export.
async fn matching(
    tx: &mut SqliteConnection,
    filter: &ExportFilter,
) -> Result<Vec<(i64, i64, DeviceId, Quantity)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT s.device, s.metric, d.uid, m.name FROM series s
         JOIN device d ON d.id = s.device JOIN metric m ON m.id = s.metric
         WHERE (?1 IS NULL OR d.uid = ?1) AND (?2 IS NULL OR m.name = ?2) ORDER BY s.device, s.metric",
    )
    .bind(filter.device.as_ref().map(DeviceId::as_str))
    .bind(filter.metric.as_ref().map(Quantity::name))
    .fetch_all(tx)
    .await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, device_id(row, 2)?, quantity(row.try_get(3)?)?)))
        .collect()
}

/// One page of an export.
pub(super) async fn export(
    readers: &SqlitePool,
    filter: &ExportFilter,
    from: Option<ExportCursor>,
    limit: u32,
) -> Result<(Vec<ExportRow>, Option<ExportCursor>), sqlx::Error> {
    let mut tx = readers.begin().await?;
    let limit_rows = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut page = Vec::new();
    let start = from.map(|ExportCursor([device, metric, ..])| (device, metric));
    for (device_number, metric_number, device, quantity) in matching(&mut tx, filter).await? {
        let series = (device_number, metric_number);
        let (after_t, after_reading) = match (start, from) {
            (Some(start), _) if series < start => continue,
            (Some(start), Some(ExportCursor([_, _, t, reading]))) if series == start => (t, reading),
            _ => (i64::MIN, i64::MIN),
        };
        let rows = sqlx::query(
            "SELECT t, value, state, reading FROM value WHERE device = ? AND metric = ? AND t >= ? AND t < ?
             AND (t, reading) > (?, ?) ORDER BY t, reading LIMIT ?",
        )
        .bind(device_number)
        .bind(metric_number)
        .bind(filter.from_ms.unwrap_or(i64::MIN))
        .bind(filter.to_ms.unwrap_or(i64::MAX))
        .bind(after_t)
        .bind(after_reading)
        .bind(i64::try_from(limit_rows - page.len()).unwrap_or(i64::MAX))
        .fetch_all(&mut *tx)
        .await?;
        for row in &rows {
            let (t_ms, value) = (row.try_get(0)?, row.try_get(1)?);
            page.push(ExportRow { t_ms, device, quantity, value, state: state(row, 2)? });
        }
        if page.len() >= limit_rows
            && let Some(last) = rows.last()
        {
            let cursor = [device_number, metric_number, last.try_get(0)?, last.try_get(3)?];
            return Ok((page, Some(ExportCursor(cursor))));
        }
    }
    Ok((page, None))
}

/// How many values an export will hand out.
pub(super) async fn count(readers: &SqlitePool, filter: &ExportFilter) -> Result<u64, sqlx::Error> {
    let mut tx = readers.begin().await?;
    let mut total: i64 = 0;
    for (device, metric, ..) in matching(&mut tx, filter).await? {
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM value WHERE device = ? AND metric = ? AND t >= ? AND t < ?",
        )
        .bind(device)
        .bind(metric)
        .bind(filter.from_ms.unwrap_or(i64::MIN))
        .bind(filter.to_ms.unwrap_or(i64::MAX))
        .fetch_one(&mut *tx)
        .await?;
        total = total.saturating_add(count);
    }
    Ok(total.unsigned_abs())
}

async fn find(
    tx: &mut SqliteConnection,
    device: &DeviceId,
    quantity: &Quantity,
) -> Result<Option<(i64, i64)>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT s.device, s.metric FROM series s JOIN device d ON d.id = s.device JOIN metric m ON m.id = s.metric
         WHERE d.uid = ? AND m.name = ?",
    )
    .bind(device.as_str())
    .bind(quantity.name())
    .fetch_optional(tx)
    .await?;
    row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
}

fn quantity(name: &str) -> Result<Quantity, sqlx::Error> {
    Quantity::parse(name).ok_or_else(|| sqlx::Error::Decode(format!("bad metric name {name:?}").into()))
}

fn state(row: &SqliteRow, column: usize) -> Result<State, sqlx::Error> {
    let number: i64 = row.try_get(column)?;
    usize::try_from(number)
        .ok()
        .and_then(|at| State::ALL.get(at).copied())
        .ok_or_else(|| sqlx::Error::Decode(format!("bad state {number}").into()))
}
