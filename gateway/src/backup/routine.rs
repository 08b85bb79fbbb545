//! Backups by themselves: made beside the readings, looked at, kept for a while.
//!
//! Every backup is unpacked into a temporary place and looked at from its first to its last page before it gets its name,
//! and only then an old one goes. What is there after a restart says when the next one is due. It is done at a quarter of
//! the speed that it could have: it is nobody's hurry, and a reading that comes meanwhile is.

use super::{Job, Scope, Source, Step, Target, Trouble, check, make, room_for};
use crate::archive::{Archive, Kept, Last, Outcome, schedule};
use crate::clock;
use crate::config::{Backups, Config};
use crate::disk::{self, Lock, LockError};
use crate::observe::BackupCounters;
use crate::store::{Breath, Place};
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often is looked whether one is due: the clock may have been set meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// Longest that is worked without a rest.
const STINT: Duration = Duration::from_millis(4);

/// How much longer is rested than worked.
const RESTS: u32 = 3;

/// Longest rest: work that was held up by a slow disk is not made up for.
const REST_MAX: Duration = Duration::from_millis(100);

/// This share of a file system stays free for readings: one part of so many, and no more than so many bytes.
const RESERVE_PARTS: u64 = 20;
const RESERVE_BYTES_MAX: u64 = 1_000_000_000;

/// What a backup is called before it has been looked at.
const UNVERIFIED: &str = "unverified";

/// Makes backups as long as the gateway runs. One at a time, by what the configuration says at that moment.
pub async fn run(mut config: watch::Receiver<Config>, counters: BackupCounters, shutdown: CancellationToken) {
    let started_ms = clock::now_ms();
    let current = config.borrow_and_update().clone();
    let mut kept = look(&current).await;
    loop {
        let current = config.borrow_and_update().clone();
        tell(&counters, &kept);
        let now_ms = clock::now_ms();
        let due = kept.due(every(&current), started_ms, now_ms);
        let wait = due.map_or(LOOK_EVERY, |due| {
            Duration::from_millis(u64::try_from(due - now_ms).unwrap_or(0)).min(LOOK_EVERY)
        });
        if !wait.is_zero() {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                Ok(()) = config.changed() => {
                    let changed = config.borrow().clone();
                    kept = look(&changed).await;
                }
            }
            continue;
        }
        let last = once(&current, &shutdown).await;
        if shutdown.is_cancelled() {
            return;
        }
        match &last.outcome {
            Outcome::Good { file, bytes, .. } => {
                tracing::info!(file = %file.display(), bytes, duration_ms = last.took_ms, "a backup was made, and is good");
            }
            Outcome::Failed { why, fix } => tracing::warn!(why, fix, "no backup was made"),
        }
        if let Err(error) = archive(&current).remember(&last) {
            tracing::warn!(%error, "how the backup went could not be written down");
        }
        kept = Kept { last: Some(last), ..look(&current).await };
    }
}

fn archive(config: &Config) -> Archive {
    Archive { folder: config.backups.folder.clone(), data_dir: config.data_dir.clone() }
}

async fn look(config: &Config) -> Kept {
    let archive = archive(config);
    tokio::task::spawn_blocking(move || archive.look()).await.unwrap_or_default()
}

/// How often; never for a store that is not a file.
fn every(config: &Config) -> Option<i64> {
    config.backups.every_ms.filter(|_| Place::named(&config.store_url, &config.data_dir).is_ok())
}

fn tell(counters: &BackupCounters, kept: &Kept) {
    let second = |ms: Option<i64>| ms.map_or(0, |ms| ms / 1000);
    counters.last_success.set(second(kept.made_ms.last().copied()));
    counters.kept.set(i64::try_from(kept.made_ms.len()).unwrap_or(i64::MAX));
    counters.bytes.set(i64::try_from(kept.bytes).unwrap_or(i64::MAX));
    if let Some(last) = &kept.last {
        counters.last_attempt.set(second(Some(last.at_ms)));
        counters.failed.set(i64::from(matches!(last.outcome, Outcome::Failed { .. })));
        #[allow(clippy::cast_precision_loss, reason = "shown in seconds")]
        counters.seconds.set(last.took_ms as f64 / 1000.0);
    }
}

/// Makes one, looks at it, and lets old ones go.
async fn once(config: &Config, shutdown: &CancellationToken) -> Last {
    let at_ms = clock::now_ms();
    let (config, shutdown, handle) = (config.clone(), shutdown.clone(), tokio::runtime::Handle::current());
    // All of it on a thread that nobody else waits for: much of it computes, and it rests.
    let done = tokio::task::spawn_blocking(move || handle.block_on(one(&config, at_ms, &shutdown))).await;
    let outcome = match done {
        Ok(Ok(good)) => good,
        Ok(Err(trouble)) => Outcome::Failed { why: words(&trouble), fix: trouble.fix().to_owned() },
        Err(panic) => Outcome::Failed { why: panic.to_string(), fix: "report this".to_owned() },
    };
    Last { at_ms, took_ms: clock::now_ms() - at_ms, outcome }
}

fn words(trouble: &Trouble) -> String {
    let mut text = trouble.to_string();
    let mut cause = std::error::Error::source(trouble);
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(&format!(": {said}"));
        }
        cause = error.source();
    }
    text
}

async fn one(config: &Config, now_ms: i64, shutdown: &CancellationToken) -> Result<Outcome, Trouble> {
    let Backups { folder, keep, .. } = &config.backups;
    let unusable = |error| Trouble::Unwritable { path: folder.clone(), error };
    disk::private_dir(folder).map_err(unusable)?;
    // Two gateways may have been given the same folder.
    let _sole = Lock::take(&folder.join(".lock")).map_err(|error| match error {
        LockError::Held(_) => Trouble::Under(folder.clone()),
        LockError::Unusable(error) => unusable(error),
    })?;
    let place = Place::named(&config.store_url, &config.data_dir)?;
    let size = place.size().await?;
    // First of all there must be room for readings.
    let reserve = (disk::capacity(folder).map_err(unusable)? / RESERVE_PARTS).min(RESERVE_BYTES_MAX);
    room_for(folder, size.saturating_mul(2).saturating_add(reserve))?;
    let job = Job::unhurried(breath(shutdown.clone()));
    let unverified = folder.join(UNVERIFIED);
    let made: Result<_, Trouble> = async {
        let target = Target::File { path: unverified.clone(), replace: true };
        let made = make(config, target, Scope::Store, now_ms, &job).await?;
        check(config, Source::File(unverified.clone()), &job).await?;
        Ok(made)
    }
    .await;
    let made = made.inspect_err(|_| {
        // One that is not good helps nobody.
        let _none = fs::remove_file(&unverified);
    })?;
    let file = folder.join(schedule::name(now_ms));
    fs::rename(&unverified, &file).and_then(|()| disk::sync_dir(folder)).map_err(unusable)?;
    for old in archive(config).surplus(*keep).map_err(unusable)? {
        if let Err(error) = fs::remove_file(&old) {
            tracing::warn!(%error, "{}, an old backup, could not be removed", old.display());
        }
    }
    Ok(Outcome::Good { file, bytes: made.bytes, readings: made.header.readings })
}

/// Rests for a multiple of what was worked since the last rest; gives up when the gateway stops.
fn breath(shutdown: CancellationToken) -> Breath {
    let since: Mutex<Instant> = Mutex::new(clock::steady());
    Arc::new(move || {
        let mut since = since.lock().unwrap_or_else(PoisonError::into_inner);
        let worked = clock::steady().duration_since(*since);
        if worked >= STINT {
            std::thread::sleep(worked.saturating_mul(RESTS).min(REST_MAX));
            *since = clock::steady();
        }
        !shutdown.is_cancelled()
    })
}

/// Nobody watches.
pub(super) fn unheard(_: Step, _: u64, _: u64) {}
