//! A shelf in a PostgreSQL database, which several gateways may share.
//!
//! Everything is in a schema of its own, so that the database may be shared with other programs, too. Two pools: one for
//! whoever changes something, one for whoever asks; nobody who asks waits for a change.

mod address;
mod people;
#[cfg(test)]
#[allow(unreachable_pub, reason = "the scenarios use this file, too")]
#[path = "../../../../tests/harness/postgres.rs"]
mod server;
mod shelf;
#[cfg(test)]
mod tests;

use super::StoreError;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};
use std::collections::HashSet;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a start waits for the database to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait for one of the connections that change something, and for one of those that read.
const WRITER_TIMEOUT: Duration = Duration::from_secs(10);
const READER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the database may take for a transaction before it counts as gone. It ends its own statements before that
/// (see [`SESSION`]); this is for a network that swallows the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection that rested longer is tried before it is used, and so is each after one has failed: the database may have
/// been restarted.
const RESTED: Duration = Duration::from_secs(2);

/// Commits take turns at one row anyway; a second connection is for sealing and for people.
const WRITERS: u32 = 2;
const READERS: u32 = 4;

/// What every session needs, whatever the server's own settings are.
///
/// * An acknowledgement means "on disk": `synchronous_commit` is at least `on`.
/// * Nobody waits for ever, and a gateway that vanished in the middle of a transaction holds nothing for long.
/// * Plans are made for the values at hand: a general one would look into, and lock, every partition.
const SESSION: &str = "
    SELECT set_config('search_path', 'casement', false),
           set_config('synchronous_commit', CASE current_setting('synchronous_commit')
               WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false),
           set_config('default_transaction_isolation', 'read committed', false),
           set_config('statement_timeout', '30s', false),
           set_config('lock_timeout', '10s', false),
           set_config('idle_in_transaction_session_timeout', '30s', false),
           set_config('plan_cache_mode', 'force_custom_plan', false)";

const MIGRATIONS: &[&str] = &[include_str!("../../../migrations/postgres/0001_chunks.sql")];

/// Our advisory locks are pairs that begin with this number; programs that share the database hardly use it.
const LOCKS: i32 = 0x0ca5_e3e7;
const LOCK_SCHEMA: i32 = -1;
const LOCK_PARTITIONS: i32 = -2;

/// The PostgreSQL implementation.
pub(super) struct Postgres {
    writers: PgPool,
    readers: PgPool,
    /// So many connections are tried before they are used.
    doubts: Arc<AtomicU32>,
    /// Months whose partitions are there, or cannot be made.
    months: Mutex<HashSet<i64>>,
}

impl Postgres {
    /// Connects, and brings the schema to the current version.
    pub(super) async fn open(url: &str) -> Result<Self, StoreError> {
        let options = address::options(url)?;
        let mut connection = connect(&options).await?;
        let migrated = within(migrate(&mut connection)).await;
        let durable = match &migrated {
            Ok(Ok(())) => within(is_durable(&mut connection)).await.map_err(engine)?,
            _ => true,
        };
        connection.close().await.ok();
        migrated.map_err(engine)??;
        if !durable {
            tracing::warn!(
                "the database runs with fsync = off: what it acknowledges is lost when the machine loses power"
            );
        }
        let doubts = Arc::new(AtomicU32::new(0));
        let pool = |most: u32, wait: Duration| {
            let doubts = Arc::clone(&doubts);
            PgPoolOptions::new()
                .max_connections(most)
                .acquire_timeout(wait)
                .test_before_acquire(false)
                .after_connect(|connection, _| {
                    Box::pin(async move { sqlx::raw_sql(SESSION).execute(connection).await.map(drop) })
                })
                .before_acquire(move |connection, meta| {
                    let one_less = |doubts: u32| doubts.checked_sub(1);
                    let doubtful =
                        doubts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok();
                    Box::pin(async move {
                        if meta.idle_for < RESTED && !doubtful {
                            return Ok(true);
                        }
                        let pinged = tokio::time::timeout(RESTED, connection.ping()).await;
                        Ok(matches!(pinged, Ok(Ok(()))))
                    })
                })
                .connect_lazy_with(options.clone())
        };
        Ok(Self {
            writers: pool(WRITERS, WRITER_TIMEOUT),
            readers: pool(READERS, READER_TIMEOUT),
            doubts: Arc::clone(&doubts),
            months: Mutex::default(),
        })
    }

    /// Does something with a connection that may change something.
    async fn writing<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        self.on(&self.writers, work).await
    }

    /// Does something with a connection that only asks.
    async fn reading<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        self.on(&self.readers, work).await
    }

    /// Does something with a connection and gives it back, or closes it when that failed: nobody knows what state it is in.
    async fn on<T>(
        &self,
        pool: &PgPool,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        let mut connection = pool.acquire().await.map_err(engine)?;
        let outcome = within(work(&mut connection)).await.and_then(|outcome| outcome).map_err(engine);
        if outcome.is_err() {
            connection.close_on_drop();
        }
        if matches!(outcome, Err(StoreError::Busy(_))) {
            // The others may have broken with it.
            self.doubts.store(WRITERS + READERS, Ordering::Relaxed);
        }
        outcome
    }
}

/// Has a gateway been here before? Nothing is made by asking.
pub(super) async fn is_there(url: &str) -> bool {
    let asked = async {
        let mut connection = connect(&address::options(url)?).await?;
        let there = sqlx::query_scalar("SELECT to_regclass('casement.version') IS NOT NULL");
        let there: bool =
            within(there.fetch_one(&mut connection)).await.and_then(|there| there).map_err(engine)?;
        connection.close().await.ok();
        Ok::<_, StoreError>(there)
    };
    asked.await.unwrap_or(true)
}

/// A connection of its own. Not through a pool, which would say that it waited, and not why.
async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let connect = async {
        let mut connection = options.connect().await?;
        sqlx::raw_sql(SESSION).execute(&mut connection).await?;
        Ok(connection)
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
        Ok(connected) => connected.map_err(unreachable),
        Err(_) => Err(StoreError::Unreachable(late())),
    }
}

/// The answer, or an error when it does not come.
async fn within<T>(work: impl Future<Output = T>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(ANSWER_TIMEOUT, work).await.map_err(|_| late())
}

fn late() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer"))
}

/// Does the server keep what it acknowledges?
async fn is_durable(connection: &mut PgConnection) -> bool {
    let fsync: Result<String, _> =
        sqlx::query_scalar("SELECT current_setting('fsync')").fetch_one(connection).await;
    fsync.map_or(true, |fsync| fsync != "off")
}

async fn migrate(connection: &mut PgConnection) -> Result<(), StoreError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let mut tx = connection.begin().await.map_err(engine)?;
    // Two gateways may start at once.
    sqlx::query("SELECT pg_advisory_xact_lock($1, $2)")
        .bind(LOCKS)
        .bind(LOCK_SCHEMA)
        .execute(&mut *tx)
        .await
        .map_err(engine)?;
    // Looked for first: whoever may use the schema may not be allowed to make one.
    let (schema, table): (bool, bool) = sqlx::query_as(
        "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'casement'), to_regclass('casement.version') IS NOT NULL",
    )
    .fetch_one(&mut *tx)
    .await
    .map_err(engine)?;
    if !schema {
        sqlx::raw_sql("CREATE SCHEMA casement").execute(&mut *tx).await.map_err(engine)?;
    }
    if !table {
        sqlx::raw_sql("CREATE TABLE casement.version (version BIGINT NOT NULL); INSERT INTO casement.version VALUES (0)")
            .execute(&mut *tx)
            .await
            .map_err(engine)?;
    }
    let found: i64 = sqlx::query_scalar("SELECT version FROM casement.version")
        .fetch_one(&mut *tx)
        .await
        .map_err(engine)?;
    if found > known {
        return Err(StoreError::SchemaTooNew { found, known });
    }
    let missing = usize::try_from(found).unwrap_or(0)..;
    for migration in MIGRATIONS.get(missing).unwrap_or_default() {
        sqlx::raw_sql(*migration).execute(&mut *tx).await.map_err(engine)?;
    }
    sqlx::query("UPDATE casement.version SET version = $1 WHERE version <> $1")
        .bind(known)
        .execute(&mut *tx)
        .await
        .map_err(engine)?;
    tx.commit().await.map_err(engine)
}

/// Sorts what the database says by what somebody can do about it. Codes:
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn engine(error: sqlx::Error) -> StoreError {
    let code = match &error {
        sqlx::Error::Database(database) => database.code().unwrap_or_default().into_owned(),
        // It is away, or cannot take more.
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => return StoreError::Busy(error),
        _ => return StoreError::Engine(error),
    };
    match code.as_str() {
        "53100" => StoreError::DiskFull(error),
        // Serialization failure, deadlock, lock not available, statement or idle time-out, out of memory or connections; or
        // it stops, starts, or became a standby that takes nothing.
        "40001" | "40P01" | "55P03" | "57014" | "25P03" | "53200" | "53300" | "57P01" | "57P02" | "57P03"
        | "57P05" | "25006" => StoreError::Busy(error),
        code if code.starts_with("08") => StoreError::Busy(error),
        _ => StoreError::Engine(error),
    }
}

/// The same for the first connection: nobody was there yet who could be busy.
fn unreachable(error: sqlx::Error) -> StoreError {
    match engine(error) {
        StoreError::Busy(error) => StoreError::Unreachable(error),
        other => other,
    }
}
