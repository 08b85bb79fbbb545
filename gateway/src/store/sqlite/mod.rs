//! A shelf in one SQLite file: write-ahead log, FULL sync.
//!
//! One connection writes; two read. In WAL mode readers see the last commit and never wait for the writer.

mod copy;
mod known_tokens;
#[cfg(test)]
#[path = "tests.rs"]
mod on_a_file;
mod people;
mod shelf;
mod take_over;

use super::{Place, StoreError};
use sqlx::Executor;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteExecutor, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use std::path::Path;
use std::time::Duration;

/// Earlier versions can corrupt a write-ahead log that several connections share (fixed 2026-03-13).
const ENGINE_NEEDED: (u32, u32, u32) = (3, 51, 3);

/// How long to wait for another process (the command line beside a running gateway) to finish its write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait for one of the two readers.
const READER_TIMEOUT: Duration = Duration::from_secs(30);

const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/sqlite/0001_rows.sql"),
    include_str!("../../../migrations/sqlite/0002_chunks.sql"),
    DROP_ROWS,
];

/// The last step waits until all rows of the first layout have been taken over.
const DROP_ROWS: &str = include_str!("../../../migrations/sqlite/0003_drop_rows.sql");

/// Bytes in a page of a new file. A commit writes at least one page, so that small ones spare a memory card; columns pack
/// less well into smaller ones.
const PAGE_SIZE: u32 = 8_192;

/// The SQLite implementation.
pub(super) struct Sqlite {
    writer: SqlitePool,
    readers: SqlitePool,
    tokens: known_tokens::KnownTokens,
    /// Nobody left a log behind.
    closed_well: bool,
}

impl Sqlite {
    /// Opens or makes the file and brings it to the current schema.
    pub(super) async fn open(file: &Path) -> Result<Self, StoreError> {
        let [_, log, ..] = Place::with_companions(file);
        let closed_well = std::fs::metadata(log).map_or(true, |log| log.len() == 0);
        if closed_well {
            lengthen(file);
        }
        // The engine would make a file of root's, after `sudo casement claim`, and the gateway could not open it.
        if let Err(error) = crate::disk::make_private(file) {
            tracing::debug!(file = %file.display(), %error, "the engine will say why");
        }
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .busy_timeout(BUSY_TIMEOUT)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .pragma("cache_size", "-1000")
            .pragma("journal_size_limit", "16777216");
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .acquire_timeout(BUSY_TIMEOUT)
            // These write: they are for the one that may.
            .connect_with(options.clone().page_size(PAGE_SIZE).auto_vacuum(SqliteAutoVacuum::Incremental))
            .await
            .map_err(engine)?;
        engine_is_sound(&writer).await?;
        private(file);
        migrate(&writer).await?;
        take_over::take_over(&writer, DROP_ROWS).await?;
        if let Err(error) = take_over::shrink(&writer).await {
            tracing::warn!(%error, "the store could not be made smaller; that is tried again at the next start");
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(2)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .acquire_timeout(READER_TIMEOUT)
            .connect_lazy_with(options.create_if_missing(false).pragma("query_only", "ON"));
        Ok(Self { writer, readers, tokens: known_tokens::KnownTokens::of(file), closed_well })
    }
}

/// Gives a file that was cut short its length back, so that the engine opens it: it refuses a file with fewer pages than
/// its header says, and copes with pages that are empty. Where a log is beside the file, that says how long it is.
///
/// The header: <https://sqlite.org/fileformat2.html> §1.3.
fn lengthen(path: &Path) {
    let lost = || -> std::io::Result<Option<(u64, u64)>> {
        let mut header = [0; 100];
        let mut file = match std::fs::OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        if length < header.len() as u64 {
            return Ok(None);
        }
        std::io::Read::read_exact(&mut file, &mut header)?;
        let page_bytes = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 65_536,
            bytes => u64::from(bytes),
        };
        let pages = u32::from_be_bytes([header[28], header[29], header[30], header[31]]);
        let whole = page_bytes * u64::from(pages);
        // The number of pages counts when these two agree.
        if !header.starts_with(b"SQLite format 3\0") || header[24..28] != header[92..96] || length >= whole {
            return Ok(None);
        }
        file.set_len(whole)?;
        file.sync_all()?;
        Ok(Some((length, whole)))
    };
    match lost() {
        Ok(None) => {}
        Ok(Some((length, whole))) => tracing::error!(
            file = %path.display(), length, whole,
            "the store's file was cut short: what was in its last bytes is lost; what can be read is, and a backup helps: \
             casement restore FILE --force"
        ),
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "the length of the store's file could not be checked")
        }
    }
}

/// The file holds token hashes and when people are in: nobody else's business.
fn private(file: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if let Err(error) = std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)) {
            tracing::warn!(file = %file.display(), %error, "the store's file could not be made private");
        }
    }
}

/// Gives a connection back after a transaction, or closes it when that failed.
///
/// On a full disk or an I/O error SQLite rolls back by itself (<https://sqlite.org/lang_transaction.html> §3), and the
/// driver, which still counts a transaction, would refuse every later one. The next writer gets a new connection.
fn keep_or_close<T>(
    mut connection: PoolConnection<sqlx::Sqlite>,
    outcome: Result<T, sqlx::Error>,
) -> Result<T, sqlx::Error> {
    if outcome.is_err() {
        connection.close_on_drop();
    }
    outcome
}

async fn engine_is_sound(engine_of: impl SqliteExecutor<'_>) -> Result<(), StoreError> {
    let found: String =
        sqlx::query_scalar("SELECT sqlite_version()").fetch_one(engine_of).await.map_err(engine)?;
    let mut parts = found.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0);
    if (part(), part(), part()) < ENGINE_NEEDED {
        return Err(StoreError::EngineTooOld { found, needed: "3.51.3" });
    }
    Ok(())
}

async fn migrate(pool: &SqlitePool) -> Result<(), StoreError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.map_err(engine)?;
    let found: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *tx).await.map_err(engine)?;
    if found > known {
        return Err(StoreError::SchemaTooNew { found, known });
    }
    // Rows are taken over before the last step.
    let until = known - 1;
    if found >= until {
        return Ok(());
    }
    let missing = usize::try_from(found).unwrap_or(0)..MIGRATIONS.len() - 1;
    for migration in MIGRATIONS.get(missing).unwrap_or_default() {
        tx.execute(sqlx::raw_sql(*migration)).await.map_err(engine)?;
    }
    tx.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(format!("PRAGMA user_version = {until}"))))
        .await
        .map_err(engine)?;
    tx.commit().await.map_err(engine)
}

/// Sorts what the engine says by what somebody can do about it. Result codes: <https://sqlite.org/rescode.html>.
fn engine(error: sqlx::Error) -> StoreError {
    let code = match &error {
        sqlx::Error::Database(database) => database.code().and_then(|code| code.parse::<u32>().ok()),
        sqlx::Error::PoolTimedOut => Some(5),
        _ => None,
    };
    match code.map(|code| (code & 0xff, code >> 8)) {
        Some((5 | 6, _)) => StoreError::Busy(error),
        // SQLITE_FULL, and SQLITE_IOERR_SHMSIZE: there is no room for the index of the log.
        Some((13, _) | (10, 19)) => StoreError::DiskFull(error),
        Some((11, _)) => StoreError::Damaged("the database disk image is malformed".to_owned()),
        Some((26, _)) => StoreError::Foreign,
        _ => StoreError::Engine(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{NewBatch, NewReading, Timed};
    use crate::store::chunked::Chunked;
    use crate::store::chunked::shelf::Shelf;
    use crate::store::{Store, conformance, open};
    use casement_proto::{DeviceId, Quantity};

    #[tokio::test]
    async fn sqlite_tells_the_story() {
        let place = tempfile::tempdir().unwrap();
        conformance::tell(async || open("sqlite:casement.db", place.path()).await.unwrap()).await;
    }

    #[tokio::test]
    async fn readers_do_not_wait_for_the_writer() {
        let place = tempfile::tempdir().unwrap();
        let store = open("sqlite:casement.db", place.path()).await.unwrap();
        let other = Sqlite::open(&place.path().join("casement.db")).await.unwrap();
        let held = other.writer.begin_with("BEGIN EXCLUSIVE").await.unwrap();
        // With a rollback journal this would block until the busy timeout.
        store.ping().await.unwrap();
        assert_eq!(store.newest().await.unwrap(), 0);
        assert_eq!(store.latest().await.unwrap(), []);
        drop(held);
    }

    #[tokio::test]
    async fn a_store_from_the_future_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("casement.db");
        let store = Sqlite::open(&file).await.unwrap();
        sqlx::query("PRAGMA user_version = 99").execute(&store.writer).await.unwrap();
        store.close().await;
        assert!(matches!(Sqlite::open(&file).await, Err(StoreError::SchemaTooNew { found: 99, .. })));
    }

    #[tokio::test]
    async fn the_file_is_private_and_synced_in_full() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("casement.db");
        let store = Sqlite::open(&file).await.unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let sync: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&store.writer).await.unwrap();
        let journal: String =
            sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&store.writer).await.unwrap();
        assert_eq!((sync, journal.as_str()), (2, "wal"));
    }

    #[tokio::test]
    async fn a_full_disk_has_its_own_error() {
        let place = tempfile::tempdir().unwrap();
        let file = Sqlite::open(&place.path().join("casement.db")).await.unwrap();
        sqlx::query("PRAGMA max_page_count = 25").execute(&file.writer).await.unwrap();
        let limit = file.writer.clone();
        let store = Chunked::open_at_rest(Box::new(file)).await.unwrap();
        let batch = |boot| NewBatch {
            device: DeviceId::parse("d").unwrap(),
            readings: (0..50_000)
                .map(|seq| NewReading {
                    name: Some((boot, seq)),
                    t_ms: seq as i64,
                    timed: Timed::Device,
                    state: casement_proto::State::Ok,
                    values: Box::new([(Quantity::parse("co2").unwrap(), 1.0)]),
                })
                .collect(),
        };
        assert!(matches!(store.append(&[batch(1)]).await, Err(StoreError::DiskFull(_))));
        assert_eq!(store.newest().await.unwrap(), 0, "nothing of it was stored");
        sqlx::query("PRAGMA max_page_count = 100000").execute(&limit).await.unwrap();
        assert_eq!(store.append(&[batch(1)]).await.unwrap()[0].stored.len(), 50_000, "and it recovers");
    }
}
