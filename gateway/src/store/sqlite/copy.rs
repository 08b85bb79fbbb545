//! Whole stores as files: one copied while others use it, one examined, one put to rest.

use super::shelf::add_part;
use super::{BUSY_TIMEOUT, MIGRATIONS, Sqlite, engine, engine_is_sound};
use crate::store::chunked::anchor::Anchors;
use crate::store::chunked::block::{self, Block};
use crate::store::chunked::names::{ANCHORS, Names};
use crate::store::chunked::record;
use crate::store::chunked::shelf::{Kept, Shelf};
use crate::store::chunked::summary::Summary;
use crate::store::rows::unsigned;
use crate::store::{Breath, Contents, Place, StoreError};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Flaws after which no more are looked for; the first one is told.
const FLAWS_MAX: u32 = 20;

/// How long a store that is to be replaced may still be in use.
const IN_USE_TIMEOUT: Duration = Duration::from_secs(2);

impl Place {
    /// How many bytes a copy will have, at most.
    ///
    /// # Errors
    /// [`StoreError`] when there is no store, or none that this version can read.
    pub async fn size(&self) -> Result<u64, StoreError> {
        let mut connection = connect(&beside_others(&self.file)).await?;
        schema(&mut connection).await?;
        let pages = number(&mut connection, "PRAGMA page_count").await?;
        let free = number(&mut connection, "PRAGMA freelist_count").await?;
        let bytes = number(&mut connection, "PRAGMA page_size").await?;
        connection.close().await.map_err(engine)?;
        Ok(pages.saturating_sub(free).saturating_mul(bytes))
    }

    /// Writes what the last commit left, and nothing later, into `to`, an empty file.
    ///
    /// The one read transaction that this takes holds up nobody; the write-ahead log keeps what is committed meanwhile.
    ///
    /// # Errors
    /// [`StoreError`]; what is in `to` is then worth nothing.
    pub async fn copy(&self, to: &Path, breath: Option<Breath>) -> Result<(), StoreError> {
        // An absolute path cannot be taken for a URI.
        let to = std::path::absolute(to).map_err(|error| engine(sqlx::Error::Io(error)))?;
        let to = to.to_str().ok_or_else(|| {
            engine(sqlx::Error::Configuration(format!("{} is not UTF-8", to.display()).into()))
        })?;
        let mut connection = connect(&beside_others(&self.file)).await?;
        schema(&mut connection).await?;
        rest(&mut connection, breath).await?;
        sqlx::query("VACUUM INTO ?").bind(to).execute(&mut connection).await.map_err(engine)?;
        connection.close().await.map_err(engine)
    }

    /// What is there, while others may be using it.
    ///
    /// # Errors
    /// [`StoreError`] when there is no store, or none that this version can read.
    pub async fn contents(&self) -> Result<Contents, StoreError> {
        let mut connection = connect(&beside_others(&self.file)).await?;
        let contents = count(&mut connection).await?;
        connection.close().await.map_err(engine)?;
        Ok(contents)
    }

    /// In which layout the store is, and into which opening it brings it. Nothing is changed by asking.
    ///
    /// # Errors
    /// [`StoreError`] when there is no store, or none that this version can read.
    pub async fn layout(&self) -> Result<(u64, u64), StoreError> {
        let mut connection = connect(&beside_others(&self.file)).await?;
        let found = schema(&mut connection).await?;
        connection.close().await.map_err(engine)?;
        Ok((u64::try_from(found).unwrap_or(0), MIGRATIONS.len() as u64))
    }

    /// Makes the store one file without a log beside it, so that it can be moved.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while anybody has it open.
    pub async fn settle(&self) -> Result<(), StoreError> {
        settle(&self.file).await
    }

    /// What is in a copy that nobody has open. With `thorough`, every page, index and reference is looked at, too.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with the first flaw, [`StoreError::Foreign`] and others.
    pub async fn examine(
        copy: &Path,
        thorough: bool,
        breath: Option<Breath>,
    ) -> Result<Contents, StoreError> {
        // Immutable: nothing is made beside it.
        let options = SqliteConnectOptions::new().filename(copy).read_only(true).immutable(true);
        let mut connection = connect(&options).await?;
        rest(&mut connection, breath.clone()).await?;
        if thorough {
            sound(&mut connection, breath.as_ref()).await?;
        }
        let contents = count(&mut connection).await?;
        connection.close().await.map_err(engine)?;
        Ok(contents)
    }

    /// Brings a copy to the current schema, as a start of the gateway does.
    ///
    /// # Errors
    /// [`StoreError`] when that does not succeed.
    pub async fn bring_up_to_date(copy: &Path) -> Result<(), StoreError> {
        let store = Sqlite::open(copy).await?;
        store.close().await;
        settle(copy).await
    }

    /// A store's file, and what the engine may keep beside it: these belong together.
    pub fn with_companions(file: &Path) -> [PathBuf; 4] {
        ["", "-wal", "-shm", "-journal"].map(|ending| {
            let mut name = file.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        })
    }
}

async fn settle(file: &Path) -> Result<(), StoreError> {
    let mut connection = connect(&beside_others(file).busy_timeout(IN_USE_TIMEOUT)).await?;
    let mode: Result<String, _> =
        sqlx::query_scalar("PRAGMA journal_mode = DELETE").fetch_one(&mut connection).await;
    // Closed in any case: one that is only dropped may still be open when somebody tries again.
    connection.close().await.map_err(engine)?;
    let mode = mode.map_err(engine)?;
    if mode != "delete" {
        return Err(StoreError::Damaged(format!("its journal stays in mode {mode}")));
    }
    Ok(())
}

/// Nothing is made and nothing is brought up to date. Not read-only: then nobody would clear the log away afterwards.
fn beside_others(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(file).create_if_missing(false).busy_timeout(BUSY_TIMEOUT)
}

async fn connect(options: &SqliteConnectOptions) -> Result<SqliteConnection, StoreError> {
    // A copy takes its time; that is no reason for a warning.
    let options = options.clone().pragma("trusted_schema", "OFF").disable_statement_logging();
    let mut connection = SqliteConnection::connect_with(&options).await.map_err(engine)?;
    // The first question makes the engine look at the file.
    engine_is_sound(&mut connection).await?;
    Ok(connection)
}

/// Steps of the engine between two looks whether it is time for a rest: some 300 rows copied.
const STEPS: i32 = 1_000;

/// Has the engine rest every now and then, on its own thread.
async fn rest(connection: &mut SqliteConnection, breath: Option<Breath>) -> Result<(), StoreError> {
    if let Some(breath) = breath {
        connection.lock_handle().await.map_err(engine)?.set_progress_handler(STEPS, move || breath());
    }
    Ok(())
}

/// The version of the schema, when it is one of ours that this version knows.
async fn schema(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let found =
        sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await.map_err(engine)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    match found {
        ..=0 => Err(StoreError::Foreign),
        _ if found > known => Err(StoreError::SchemaTooNew { found, known }),
        _ => Ok(found),
    }
}

/// Every page, index and reference, and that no table or trigger is there that is not ours.
async fn sound(connection: &mut SqliteConnection, breath: Option<&Breath>) -> Result<(), StoreError> {
    let schema = schema(connection).await?;
    let flaws: Vec<String> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(format!("PRAGMA integrity_check({FLAWS_MAX})")))
            .fetch_all(&mut *connection)
            .await
            .map_err(engine)?;
    if let Some(flaw) = flaws.into_iter().find(|flaw| flaw != "ok") {
        return Err(StoreError::Damaged(flaw));
    }
    let dangling =
        sqlx::query("PRAGMA foreign_key_check").fetch_optional(&mut *connection).await.map_err(engine)?;
    if dangling.is_some() {
        return Err(StoreError::Damaged("a row refers to what is not there".to_owned()));
    }
    same_tables(connection, schema).await?;
    if schema > ROWS_ONLY {
        every_blob(connection, breath).await?;
    }
    Ok(())
}

/// Rows of blobs looked at together.
const BLOBS_AT_ONCE: i64 = 500;

/// Every blob has its checksum and can be unpacked.
async fn every_blob(connection: &mut SqliteConnection, breath: Option<&Breath>) -> Result<(), StoreError> {
    let times: Vec<i64> = sqlx::query_scalar("SELECT id FROM series WHERE metric = 0")
        .fetch_all(&mut *connection)
        .await
        .map_err(engine)?;
    let times: HashSet<i64> = times.into_iter().collect();
    for (table, key) in [("log", "last"), ("piece", "id"), ("summary", "id"), ("column", "id")] {
        let sql = format!("SELECT {key}, data FROM \"{table}\" WHERE {key} > ?1 ORDER BY {key} LIMIT ?2");
        let (mut after, mut whole): (i64, Vec<Kept>) = (0, Vec::new());
        loop {
            let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(sqlx::AssertSqlSafe(sql.clone()))
                .bind(after)
                .bind(BLOBS_AT_ONCE)
                .fetch_all(&mut *connection)
                .await
                .map_err(engine)?;
            let Some((last, _)) = rows.last() else { break };
            after = *last;
            if breath.is_some_and(|breath| !breath()) {
                return Err(StoreError::Contended);
            }
            for (id, data) in rows {
                let damaged = |damage| StoreError::Damaged(format!("{table} {id}: {damage}"));
                match table {
                    "log" => drop(record::from_row(&data).map_err(damaged)?),
                    "piece" => drop(Block::from_piece(&data).map_err(damaged)?),
                    "summary" => drop(Summary::from_blob(0, &data).map_err(damaged)?),
                    _ => {
                        add_part(&mut whole, id, &data);
                        // The last one may have parts to come.
                        if whole.len() > 1 {
                            one_column(&times, &whole.remove(0))?;
                        }
                    }
                }
            }
        }
        if let Some(kept) = whole.first() {
            one_column(&times, kept)?;
        }
    }
    ledger(connection).await
}

async fn ledger(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let (mut device, mut boot, mut block) = (i64::MIN, i64::MIN, i64::MIN);
    loop {
        let rows: Vec<(i64, i64, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT device, boot, block, data FROM ledger WHERE (device, boot, block) > (?, ?, ?)
             ORDER BY device, boot, block LIMIT ?",
        )
        .bind(device)
        .bind(boot)
        .bind(block)
        .bind(BLOBS_AT_ONCE)
        .fetch_all(&mut *connection)
        .await
        .map_err(engine)?;
        if rows.is_empty() {
            return Ok(());
        }
        for (of, in_boot, at, data) in rows {
            let looked = match unsigned(at) {
                ANCHORS => Anchors::from_blob(&data).map(drop),
                _ => Names::from_blob(&data).map(drop),
            };
            looked.map_err(|damage| StoreError::Damaged(format!("ledger of device {of}: {damage}")))?;
            (device, boot, block) = (of, in_boot, at);
        }
    }
}

fn one_column(times: &HashSet<i64>, kept: &Kept) -> Result<(), StoreError> {
    let unpacked = if times.contains(&kept.series) {
        block::from_times(&kept.data).map(drop)
    } else {
        block::from_values(&kept.data).map(drop)
    };
    unpacked.map_err(|damage| {
        StoreError::Damaged(format!("series {} of day {}: {damage}", kept.series, kept.day))
    })
}

/// A file from elsewhere brings its own tables along, and perhaps triggers.
async fn same_tables(connection: &mut SqliteConnection, schema: i64) -> Result<(), StoreError> {
    let mut ours =
        SqliteConnection::connect_with(&SqliteConnectOptions::new().in_memory(true)).await.map_err(engine)?;
    for migration in MIGRATIONS.iter().take(usize::try_from(schema).unwrap_or(0)) {
        sqlx::raw_sql(*migration).execute(&mut ours).await.map_err(engine)?;
    }
    let expected = tables(&mut ours).await?;
    let found = tables(connection).await?;
    match expected.symmetric_difference(&found).next() {
        Some((kind, name)) if expected.contains(&(kind.clone(), name.clone())) => {
            Err(StoreError::Damaged(format!("the {kind} {name} is missing")))
        }
        Some((kind, name)) => Err(StoreError::Damaged(format!("the {kind} {name} does not belong there"))),
        None => Ok(()),
    }
}

async fn tables(connection: &mut SqliteConnection) -> Result<BTreeSet<(String, String)>, StoreError> {
    let all = "SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    let rows: Vec<(String, String)> = sqlx::query_as(all).fetch_all(connection).await.map_err(engine)?;
    Ok(rows.into_iter().collect())
}

async fn count(connection: &mut SqliteConnection) -> Result<Contents, StoreError> {
    let schema = schema(connection).await?;
    let mut contents = Contents {
        schema: u64::try_from(schema).unwrap_or(0),
        devices: number(connection, "SELECT count(*) FROM device").await?,
        tokens: number(connection, "SELECT count(*) FROM token").await?,
        readings: 0,
        values: 0,
        newest_ms: None,
    };
    if schema < ROWS_GONE {
        rows(connection, schema, &mut contents).await?;
    }
    if schema > ROWS_ONLY {
        packed(connection, &mut contents).await?;
    }
    Ok(contents)
}

/// The schema with rows alone, and the one without.
const ROWS_ONLY: i64 = 1;
const ROWS_GONE: i64 = 3;

/// Adds what stands in rows.
async fn rows(
    connection: &mut SqliteConnection,
    schema: i64,
    contents: &mut Contents,
) -> Result<(), StoreError> {
    let mut after = 0;
    if schema > ROWS_ONLY {
        after = number(connection, "SELECT taken_over FROM mark").await?.cast_signed();
    }
    let row: (i64, Option<i64>) = sqlx::query_as("SELECT count(*), max(t) FROM reading WHERE id > ?")
        .bind(after)
        .fetch_one(&mut *connection)
        .await
        .map_err(engine)?;
    contents.readings += row.0.unsigned_abs();
    contents.newest_ms = contents.newest_ms.max(row.1);
    let values: i64 = sqlx::query_scalar("SELECT count(*) FROM value WHERE reading > ?")
        .bind(after)
        .fetch_one(connection)
        .await
        .map_err(engine)?;
    contents.values += values.unsigned_abs();
    Ok(())
}

/// Adds what is packed: days by their summaries, pieces by their numbers, and the log by looking into it.
async fn packed(connection: &mut SqliteConnection, contents: &mut Contents) -> Result<(), StoreError> {
    let times =
        "SELECT coalesce(sum(n), 0) FROM summary WHERE id >> 32 IN (SELECT id FROM series WHERE metric = 0)";
    let others =
        "SELECT coalesce(sum(n), 0) FROM summary WHERE id >> 32 IN (SELECT id FROM series WHERE metric <> 0)";
    contents.readings += number(connection, times).await?;
    contents.values += number(connection, others).await?;
    contents.readings += number(connection, "SELECT coalesce(sum(readings), 0) FROM piece").await?;
    contents.values += number(connection, "SELECT coalesce(sum(\"values\"), 0) FROM piece").await?;
    let sealed: Option<i64> = sqlx::query_scalar("SELECT max(newest_ms) FROM device")
        .fetch_one(&mut *connection)
        .await
        .map_err(engine)?;
    contents.newest_ms = contents.newest_ms.max(sealed);
    let sealed: Vec<(i64, i64)> =
        sqlx::query_as("SELECT id, sealed FROM device").fetch_all(&mut *connection).await.map_err(engine)?;
    let sealed: HashMap<i64, i64> = sealed.into_iter().collect();
    let mut last = 0;
    loop {
        let row: Option<(i64, Vec<u8>)> =
            sqlx::query_as("SELECT last, data FROM log WHERE last > ? ORDER BY last LIMIT 1")
                .bind(last)
                .fetch_optional(&mut *connection)
                .await
                .map_err(engine)?;
        let Some((number, data)) = row else { return Ok(()) };
        last = number;
        let records = record::from_row(&data)
            .map_err(|damage| StoreError::Damaged(format!("row {number} of the log: {damage}")))?;
        for record in records {
            if sealed.get(&record.device).is_none_or(|sealed| record.id > *sealed) {
                contents.readings += 1;
                contents.values += record.values.len() as u64;
                contents.newest_ms = contents.newest_ms.max(Some(record.t_ms));
            }
        }
    }
}

async fn number(connection: &mut SqliteConnection, query: &'static str) -> Result<u64, StoreError> {
    let number: i64 = sqlx::query_scalar(query).fetch_one(connection).await.map_err(engine)?;
    Ok(u64::try_from(number).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{NewBatch, NewReading, Timed};
    use crate::store::sqlite::PAGE_SIZE;
    use crate::store::{Store, open};
    use casement_proto::{DeviceId, Quantity, State};
    use std::sync::Arc;

    fn batch(from: u64, to: u64) -> NewBatch {
        let value = |seq: u64| [(Quantity::parse("co2").unwrap(), 400.0 + (seq % 1000) as f64)];
        let reading = |seq: u64| NewReading {
            name: Some((1, seq)),
            t_ms: 1_795_341_600_000 + seq as i64 * 1_000,
            timed: Timed::Device,
            state: State::Ok,
            values: Box::new(value(seq)),
        };
        NewBatch { device: DeviceId::parse("desk").unwrap(), readings: (from..to).map(reading).collect() }
    }

    async fn filled(folder: &Path) -> (Place, Arc<dyn Store>) {
        let place = Place::named("sqlite:casement.db", folder).unwrap();
        let store = open("sqlite:casement.db", folder).await.unwrap();
        store.append(&[batch(0, 3_000)]).await.unwrap();
        (place, store)
    }

    #[tokio::test]
    async fn a_copy_is_what_was_committed_and_nothing_later() {
        let folder = tempfile::tempdir().unwrap();
        let (place, store) = filled(folder.path()).await;
        // A transaction that is under way holds nothing up, and is not in the copy.
        let mut other = connect(&beside_others(&place.file)).await.unwrap();
        let under_way = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let to = folder.path().join("copy");
        let size = place.size().await.unwrap();
        place.copy(&to, None).await.unwrap();
        drop(under_way);
        store.append(&[batch(3_000, 3_001)]).await.unwrap();
        let found = Place::examine(&to, true, None).await.unwrap();
        assert_eq!(
            found,
            Contents {
                schema: MIGRATIONS.len() as u64,
                devices: 1,
                tokens: 0,
                readings: 3_000,
                values: 3_000,
                newest_ms: Some(1_795_341_600_000 + 2_999_000),
            }
        );
        assert!(std::fs::metadata(&to).unwrap().len() <= size);
        assert_eq!(place.contents().await.unwrap().readings, 3_001);
        // And it is a store.
        let store = open("sqlite:copy", folder.path()).await.unwrap();
        assert_eq!(store.after(0, 10_000).await.unwrap().len(), 3_000);
    }

    #[tokio::test]
    async fn what_is_in_the_way_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let (place, _store) = filled(folder.path()).await;
        let to = folder.path().join("copy");
        std::fs::write(&to, "a letter").unwrap();
        assert!(place.copy(&to, None).await.is_err());
        assert_eq!(std::fs::read(&to).unwrap(), b"a letter");
    }

    #[tokio::test]
    async fn nothing_is_made_where_nothing_is() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::named("sqlite:casement.db", folder.path()).unwrap();
        assert!(place.size().await.is_err() && place.contents().await.is_err());
        assert!(Place::examine(&place.file, true, None).await.is_err() && place.settle().await.is_err());
        assert!(!place.file.exists());
    }

    #[tokio::test]
    async fn a_settled_store_is_one_file_and_one_in_use_is_not_settled() {
        let folder = tempfile::tempdir().unwrap();
        let (place, store) = filled(folder.path()).await;
        assert!(matches!(place.settle().await, Err(StoreError::Busy(_))));
        assert_eq!(store.newest().await.unwrap(), 3_000, "and goes on");
        store.close().await;
        place.settle().await.unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(Place::examine(&place.file, true, None).await.unwrap().readings, 3_000);
    }

    #[tokio::test]
    async fn damage_is_told_wherever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (place, store) = filled(folder.path()).await;
        let good = folder.path().join("good");
        place.copy(&good, None).await.unwrap();
        drop(store);
        let whole = std::fs::read(&good).unwrap();
        let bad = folder.path().join("bad");
        let verdict = async |bytes: &[u8]| {
            std::fs::write(&bad, bytes).unwrap();
            Place::examine(&bad, true, None).await
        };
        assert!(verdict(&whole).await.is_ok());
        for text in [&b""[..], b"Dear diary", &b"today the air was good. ".repeat(400)] {
            let said = verdict(text).await;
            assert!(matches!(said, Err(StoreError::Foreign)), "{} bytes: {said:?}", text.len());
        }
        let size = PAGE_SIZE as usize;
        for page in 1..whole.len() / size {
            let mut bytes = whole.clone();
            bytes[page * size..(page + 1) * size].fill(0x5a);
            assert!(verdict(&bytes).await.is_err(), "page {page}");
        }
        assert!(verdict(&whole[..whole.len() / 2]).await.is_err());
    }

    #[tokio::test]
    async fn what_is_no_store_of_ours_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (number, (change, foreign)) in [
            ("PRAGMA user_version = 0", true),
            ("PRAGMA user_version = 99", false),
            ("CREATE TRIGGER t AFTER INSERT ON log BEGIN DELETE FROM token; END", false),
            ("CREATE VIEW v AS SELECT 1", false),
            ("DROP TABLE series", false),
            ("PRAGMA foreign_keys = OFF; INSERT INTO token (lookup, hash, hint, scope, device, created_ms) VALUES (x'', x'', '', 'device', 77, 0)", false),
        ]
        .into_iter()
        .enumerate()
        {
            let folder = folder.path().join(number.to_string());
            std::fs::create_dir(&folder).unwrap();
            let (place, store) = filled(&folder).await;
            store.close().await;
            place.settle().await.unwrap();
            let mut connection = connect(&beside_others(&place.file)).await.unwrap();
            sqlx::raw_sql(change).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            let verdict = Place::examine(&place.file, true, None).await;
            assert!(verdict.is_err(), "{change}");
            assert_eq!(matches!(verdict, Err(StoreError::Foreign)), foreign, "{change}: {verdict:?}");
        }
    }
}
