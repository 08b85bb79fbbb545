//! Many batches, one transaction, one fsync.

use super::keep_or_close;
use crate::reading::{Appended, NewBatch, NewReading, StoredReading};
use casement_proto::{DeviceId, Quantity};
use sqlx::sqlite::SqlitePool;
use sqlx::{Connection, QueryBuilder, Sqlite, SqliteConnection};
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

/// Row numbers of devices and metrics that are known to be committed.
#[derive(Default)]
pub(super) struct Names {
    known: Mutex<Arc<Known>>,
}

#[derive(Default, Clone)]
struct Known {
    devices: HashMap<DeviceId, i64>,
    metrics: HashMap<String, i64>,
    series: HashSet<(i64, i64)>,
}

/// Rows per INSERT. One statement per row would spend its time between threads.
const ROWS_PER_INSERT: usize = 200;

/// An unnamed reading that was timed on receipt looks at most this far ahead for a free millisecond.
const SHIFT_MS_MAX: i64 = 20_000;

/// Stores batches in one transaction.
pub(super) async fn append(
    writer: &SqlitePool,
    names: &Names,
    batches: &[NewBatch],
) -> Result<Vec<Appended>, sqlx::Error> {
    let known = Arc::clone(&names.known.lock().unwrap_or_else(PoisonError::into_inner));
    let mut group = Group { known, added: Known::default() };
    let mut connection = writer.acquire().await?;
    let outcome = group.commit(&mut connection, batches).await;
    let outcome = keep_or_close(connection, outcome)?;
    let Group { known, added } = group;
    drop(known);
    names.learn(added);
    Ok(outcome)
}

impl Names {
    /// Takes in what a committed transaction has added; most add nothing.
    fn learn(&self, added: Known) {
        if added.devices.is_empty() && added.metrics.is_empty() && added.series.is_empty() {
            return;
        }
        let mut shared = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = Arc::make_mut(&mut shared);
        known.devices.extend(added.devices);
        known.metrics.extend(added.metrics);
        known.series.extend(added.series);
    }
}

struct Group {
    /// What is committed.
    known: Arc<Known>,
    /// What this transaction adds; forgotten when it fails.
    added: Known,
}

/// A reading that passed, with the row numbers it will have.
struct Admitted {
    device: i64,
    stored: StoredReading,
    metrics: Vec<i64>,
}

impl Group {
    async fn commit(
        &mut self,
        connection: &mut SqliteConnection,
        batches: &[NewBatch],
    ) -> Result<Vec<Appended>, sqlx::Error> {
        let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
        let outcome = self.store(&mut tx, batches).await?;
        // With synchronous=FULL the write-ahead log is on disk when COMMIT returns.
        tx.commit().await?;
        Ok(outcome)
    }

    async fn store(
        &mut self,
        tx: &mut SqliteConnection,
        batches: &[NewBatch],
    ) -> Result<Vec<Appended>, sqlx::Error> {
        let mut devices = Vec::with_capacity(batches.len());
        for batch in batches {
            devices.push(self.device(tx, &batch.device).await?);
        }
        let mut taken_names = taken_names(tx, &devices, batches).await?;
        let mut taken_values = self.taken_values(tx, &devices, batches).await?;
        let mut next_id: i64 =
            sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM reading").fetch_one(&mut *tx).await?;

        let mut rows = Vec::new();
        let mut outcome = Vec::with_capacity(batches.len());
        for (batch, device) in batches.iter().zip(&devices) {
            let mut appended = Appended::default();
            for reading in &batch.readings {
                let Some((t_ms, values)) =
                    self.admit(tx, *device, reading, &mut taken_names, &mut taken_values).await?
                else {
                    appended.duplicate += 1;
                    continue;
                };
                next_id += 1;
                let stored = StoredReading {
                    id: next_id,
                    device: batch.device,
                    t_ms,
                    name: reading.name,
                    state: reading.state,
                    values: values.iter().map(|(_, quantity, value)| (*quantity, *value)).collect(),
                };
                appended.stored.push(stored.clone());
                rows.push(Admitted {
                    device: *device,
                    stored,
                    metrics: values.into_iter().map(|(metric, ..)| metric).collect(),
                });
            }
            outcome.push(appended);
        }
        insert(tx, &rows).await?;
        Ok(outcome)
    }

    /// The time and values under which a reading goes in; `None` when it is there already.
    async fn admit(
        &mut self,
        tx: &mut SqliteConnection,
        device: i64,
        reading: &NewReading,
        taken_names: &mut HashSet<(i64, i64, i64)>,
        taken_values: &mut HashSet<(i64, i64, i64)>,
    ) -> Result<Option<(i64, Vec<(i64, Quantity, f64)>)>, sqlx::Error> {
        let mut values = Vec::with_capacity(reading.values.len());
        for (quantity, value) in &reading.values {
            values.push((self.metric(tx, device, quantity).await?, *quantity, *value));
        }
        if let Some((boot, seq)) = reading.name {
            let new = taken_names.insert((device, number(boot), number(seq)));
            return Ok(new.then_some((reading.t_ms, values)));
        }
        let mut t_ms = reading.t_ms;
        if reading.received {
            let free = |t: i64| values.iter().all(|(m, ..)| !taken_values.contains(&(device, *m, t)));
            while !free(t_ms) && t_ms - reading.t_ms < SHIFT_MS_MAX {
                t_ms += 1;
            }
        }
        values.retain(|(metric, ..)| taken_values.insert((device, *metric, t_ms)));
        let nothing_new = values.is_empty() && !reading.values.is_empty();
        Ok((!nothing_new).then_some((t_ms, values)))
    }

    /// Which of the unnamed values are there already.
    async fn taken_values(
        &mut self,
        tx: &mut SqliteConnection,
        devices: &[i64],
        batches: &[NewBatch],
    ) -> Result<HashSet<(i64, i64, i64)>, sqlx::Error> {
        let mut json = Json::default();
        for (batch, device) in batches.iter().zip(devices) {
            for reading in batch.readings.iter().filter(|reading| reading.name.is_none()) {
                let until = reading.t_ms + if reading.received { SHIFT_MS_MAX } else { 0 };
                for (quantity, _) in &reading.values {
                    let metric = self.metric(tx, *device, quantity).await?;
                    // Readings timed on receipt share their stretch; one look per metric is enough.
                    json.push(&[*device, metric, reading.t_ms, until], reading.received);
                }
            }
        }
        triples(
            tx,
            "SELECT v.device, v.metric, v.t FROM json_each(?1) j CROSS JOIN value v
             WHERE v.device = j.value ->> 0 AND v.metric = j.value ->> 1
               AND v.t >= j.value ->> 2 AND v.t <= j.value ->> 3",
            json,
        )
        .await
    }

    async fn device(&mut self, tx: &mut SqliteConnection, id: &DeviceId) -> Result<i64, sqlx::Error> {
        if let Some(number) = self.known.devices.get(id).or_else(|| self.added.devices.get(id)) {
            return Ok(*number);
        }
        let found: Option<i64> = sqlx::query_scalar("SELECT id FROM device WHERE uid = ?")
            .bind(id.as_str())
            .fetch_optional(&mut *tx)
            .await?;
        let number = match found {
            Some(number) => number,
            None => {
                sqlx::query_scalar("INSERT INTO device (uid, created_ms) VALUES (?, ?) RETURNING id")
                    .bind(id.as_str())
                    .bind(crate::clock::now_ms())
                    .fetch_one(&mut *tx)
                    .await?
            }
        };
        self.added.devices.insert(*id, number);
        Ok(number)
    }

    async fn metric(
        &mut self,
        tx: &mut SqliteConnection,
        device: i64,
        quantity: &Quantity,
    ) -> Result<i64, sqlx::Error> {
        let name = quantity.name();
        let metric = match self.known.metrics.get(name).or_else(|| self.added.metrics.get(name)) {
            Some(number) => *number,
            None => {
                sqlx::query("INSERT INTO metric (name) VALUES (?) ON CONFLICT DO NOTHING")
                    .bind(quantity.name())
                    .execute(&mut *tx)
                    .await?;
                let number = sqlx::query_scalar("SELECT id FROM metric WHERE name = ?")
                    .bind(quantity.name())
                    .fetch_one(&mut *tx)
                    .await?;
                self.added.metrics.insert(name.to_owned(), number);
                number
            }
        };
        if !self.known.series.contains(&(device, metric)) && self.added.series.insert((device, metric)) {
            sqlx::query("INSERT INTO series (device, metric) VALUES (?, ?) ON CONFLICT DO NOTHING")
                .bind(device)
                .bind(metric)
                .execute(&mut *tx)
                .await?;
        }
        Ok(metric)
    }
}

/// Which of the named readings are there already.
async fn taken_names(
    tx: &mut SqliteConnection,
    devices: &[i64],
    batches: &[NewBatch],
) -> Result<HashSet<(i64, i64, i64)>, sqlx::Error> {
    let mut json = Json::default();
    for (batch, device) in batches.iter().zip(devices) {
        for (boot, seq) in batch.readings.iter().filter_map(|reading| reading.name) {
            json.push(&[*device, number(boot), number(seq)], false);
        }
    }
    triples(
        tx,
        "SELECT r.device, r.boot, r.seq FROM json_each(?1) j CROSS JOIN reading r
         WHERE r.device = j.value ->> 0 AND r.boot = j.value ->> 1 AND r.seq = j.value ->> 2",
        json,
    )
    .await
}

/// What a query of three whole numbers finds for a table; an empty table is not asked about.
async fn triples(
    tx: &mut SqliteConnection,
    sql: &'static str,
    table: Json,
) -> Result<HashSet<(i64, i64, i64)>, sqlx::Error> {
    let Some(json) = table.finish() else {
        return Ok(HashSet::new());
    };
    let rows = sqlx::query_as(sql).bind(json).fetch_all(tx).await?;
    Ok(rows.into_iter().collect())
}

async fn insert(tx: &mut SqliteConnection, rows: &[Admitted]) -> Result<(), sqlx::Error> {
    for chunk in rows.chunks(ROWS_PER_INSERT) {
        let mut sql = QueryBuilder::<Sqlite>::new("INSERT INTO reading (id, device, t, boot, seq, state) ");
        sql.push_values(chunk, |mut tuple, row| {
            let (boot, seq) = row.stored.name.map(|(boot, seq)| (number(boot), number(seq))).unzip();
            tuple
                .push_bind(row.stored.id)
                .push_bind(row.device)
                .push_bind(row.stored.t_ms)
                .push_bind(boot)
                .push_bind(seq)
                .push_bind(state_number(row.stored.state));
        });
        sql.build().execute(&mut *tx).await?;
    }
    let values: Vec<_> = rows
        .iter()
        .flat_map(|row| {
            let values = row.stored.values.iter().map(|(_, value)| *value);
            row.metrics.iter().zip(values).map(move |(metric, value)| (row, *metric, value))
        })
        .collect();
    for chunk in values.chunks(ROWS_PER_INSERT) {
        let mut sql =
            QueryBuilder::<Sqlite>::new("INSERT INTO value (device, metric, t, reading, value, state) ");
        sql.push_values(chunk, |mut tuple, (row, metric, value)| {
            tuple
                .push_bind(row.device)
                .push_bind(*metric)
                .push_bind(row.stored.t_ms)
                .push_bind(row.stored.id)
                .push_bind(*value)
                .push_bind(state_number(row.stored.state));
        });
        sql.build().execute(&mut *tx).await?;
    }
    Ok(())
}

/// A state's number in the store: its place in [`casement_proto::State::ALL`].
pub(super) fn state_number(state: casement_proto::State) -> i64 {
    casement_proto::State::ALL.iter().position(|other| *other == state).map_or(0, |at| at as i64)
}

/// Boot and sequence numbers are checked to be at most 2^63-1 where they are decoded.
fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A JSON list of lists of whole numbers, the one shape in which SQLite takes a table as an argument.
#[derive(Default)]
struct Json {
    text: String,
    seen: HashSet<Vec<i64>>,
}

impl Json {
    fn push(&mut self, row: &[i64], once: bool) {
        if once && !self.seen.insert(row.to_vec()) {
            return;
        }
        self.text.push(if self.text.is_empty() { '[' } else { ',' });
        for (i, n) in row.iter().enumerate() {
            let _infallible = write!(self.text, "{}{n}", if i == 0 { '[' } else { ',' });
        }
        self.text.push(']');
    }

    fn finish(mut self) -> Option<String> {
        if self.text.is_empty() {
            return None;
        }
        self.text.push(']');
        Some(self.text)
    }
}
