//! Sealing: memory and log → pieces → days, in a task of its own.

use super::block::{Block, from_times, from_values, spread, to_values};
use super::memory::ToSeal;
use super::record::{Record, to_blob};
use super::shelf::{Days, NewPiece, Seal, Sealed, TIMES, Waiting, Want, WholeDay};
use super::summary::Summary;
use super::{Inner, StoreError, day, rules};
use crate::clock;
use crate::reading::Retention;
use crate::telemetry::time::DAY_MS;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How often somebody looks whether something is due.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Every so many looks pieces are looked at, too.
const LOOKS_PER_TIDYING: u32 = 6;

/// How long to wait after a failure, which is most often a full disk.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Devices sealed in one step: some milliseconds of the writer's time.
const DEVICES_AT_ONCE: usize = 32;

/// Days that are remembered to be mended.
const DAMAGED_MAX: usize = 1_000;

/// Columns forgotten in one step.
const FORGOTTEN_AT_ONCE: u32 = 2_000;

/// Seals what is due until the store closes.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut looks = 0u32;
    let mut failing = false;
    // A command that looks something up is gone before that.
    let mut pause = LOOK_EVERY;
    loop {
        tokio::select! {
            () = inner.closing.cancelled() => return,
            () = inner.wake.notified(), if !failing => {}
            () = tokio::time::sleep(pause) => {}
        }
        let done = async {
            inner.seal_due(clock::now_ms()).await?;
            if looks == 0 {
                for flaw in inner.shelf.flaws().await? {
                    tracing::error!(
                        flaw,
                        "the store was not closed well and is damaged; what can be read is, and a backup helps: \
                         casement restore FILE --force"
                    );
                }
            }
            if looks.is_multiple_of(LOOKS_PER_TIDYING) {
                inner.put_together_ready(clock::now_ms(), false).await?;
                inner.mend().await?;
                inner.forget(clock::now_ms()).await?;
                inner.shelf.upkeep(false).await?;
            }
            Ok::<_, StoreError>(())
        };
        pause = match done.await {
            Ok(()) => {
                failing = false;
                LOOK_EVERY
            }
            Err(error) => {
                // Once, not every second: readings are in the log, and nothing is lost.
                if !failing {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "readings cannot be put in their final place; they stay in the log, and it is tried again"
                    );
                }
                failing = true;
                AFTER_FAILURE
            }
        };
        looks = looks.wrapping_add(1);
    }
}

impl Inner {
    /// Seals what is due.
    pub(super) async fn seal_due(&self, now_ms: i64) -> Result<(), StoreError> {
        let due = rules::due(&self.memory().waiting(), now_ms);
        self.seal_devices(&due, rules::LOG_READINGS, now_ms).await
    }

    /// Seals these devices' readings and leaves so many in the log.
    pub(super) async fn seal_devices(
        &self,
        devices: &[i64],
        keep: i64,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        for some in devices.chunks(DEVICES_AT_ONCE) {
            if self.closing.is_cancelled() {
                return Ok(());
            }
            self.seal(some, keep, now_ms).await?;
            self.room.notify_waiters();
        }
        Ok(())
    }

    /// Seals these devices' readings. When another process changed the store meanwhile nothing happens: they stay where
    /// they are until the next look.
    async fn seal(&self, devices: &[i64], keep: i64, now_ms: i64) -> Result<(), StoreError> {
        let sealing = self.memory().to_seal(devices);
        let (sealing, pieces, series) = aside(move || {
            let (mut pieces, mut series) = (Vec::new(), Vec::new());
            for device in &sealing {
                let (made, mut needed) = pieces_of(device.device, &device.packed.unpack(), now_ms);
                pieces.extend(made);
                series.append(&mut needed);
            }
            series.sort_unstable();
            series.dedup();
            (sealing, pieces, series)
        })
        .await?;
        // From here on nobody adds readings, so what is written of the ledger is what is in memory.
        let _writing = self.writing.lock().await;
        let (seal, names) = {
            let memory = self.memory();
            let seal = Seal {
                marks: memory.marks,
                devices: sealing.iter().map(sealed).collect(),
                pieces,
                series,
                names: memory.dirty(devices),
                trim: memory.watermark(&sealing, keep),
            };
            let names = seal.names.clone();
            (seal, names)
        };
        if self.shelf.seal(&seal).await? {
            let mut memory = self.memory();
            memory.sealed(&sealing, seal.marks.seals + 1, now_ms);
            memory.written(&names);
            Ok(())
        } else {
            self.follow().await
        }
    }

    /// Puts together the days whose time has come, or all that are over.
    pub(super) async fn put_together_ready(&self, now_ms: i64, all: bool) -> Result<(), StoreError> {
        for waiting in self.shelf.waiting().await? {
            if self.closing.is_cancelled() {
                return Ok(());
            }
            if rules::is_ready(&waiting, now_ms) || (all && waiting.day < day(now_ms)) {
                self.put_together(waiting).await?;
            }
        }
        Ok(())
    }

    /// Takes note that something of a day cannot be read.
    pub(super) fn to_mend(&self, device: i64, day: i64) {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        if damaged.len() < DAMAGED_MAX {
            damaged.insert((device, day));
        }
    }

    /// Puts days together anew in which something could not be read: a summary is made from its values again, and what is
    /// beyond repair is laid aside, so that it is told once.
    pub(super) async fn mend(&self) -> Result<(), StoreError> {
        let damaged = std::mem::take(&mut *self.damaged.lock().unwrap_or_else(PoisonError::into_inner));
        for (device, day) in damaged {
            self.put_together(Waiting { device, day, pieces: 0, made_ms: 0 }).await?;
        }
        Ok(())
    }

    /// Forgets raw values that are older than they are kept.
    pub(super) async fn forget(&self, now_ms: i64) -> Result<(), StoreError> {
        let retention = self.retention.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if retention == Retention::default() {
            return Ok(());
        }
        self.meet_metrics().await?;
        let metrics: Vec<(i64, u32)> = {
            let memory = self.memory();
            memory.met_metrics().map(|(metric, quantity)| (metric, retention.days_of(quantity))).collect()
        };
        for (metric, days) in metrics.iter().filter(|(_, days)| *days > 0) {
            self.forget_before(*metric, day(now_ms) - i64::from(*days)).await?;
        }
        // Times go when the values of all metrics have gone.
        let longest = metrics.iter().map(|(_, days)| *days).max().unwrap_or(0);
        if longest > 0 && metrics.iter().all(|(_, days)| *days > 0) {
            self.forget_before(TIMES, day(now_ms) - i64::from(longest)).await?;
        }
        Ok(())
    }

    async fn forget_before(&self, metric: i64, before: i64) -> Result<(), StoreError> {
        if self.memory().kept_from(metric) >= before {
            return Ok(());
        }
        {
            // Nobody adds to what is being forgotten.
            let _writing = self.writing.lock().await;
            self.shelf.forget(metric, before, 0).await?;
            self.memory().keep_from(metric, before);
        }
        while self.shelf.forget(metric, before, FORGOTTEN_AT_ONCE).await? > 0 {}
        Ok(())
    }

    /// Makes one day of its pieces and of what was put together before.
    async fn put_together(&self, waiting: Waiting) -> Result<(), StoreError> {
        let series = self.shelf.series(Some(waiting.device)).await?;
        let one = |series: i64| Days { series, from: waiting.day, to: waiting.day };
        let want = Want {
            device: waiting.device,
            columns: series.iter().map(|row| one(row.series)).collect(),
            pieces: Some((waiting.day, waiting.day)),
            ..Want::default()
        };
        let shelved = self.shelf.read(&want).await?;
        let forgotten: Vec<i64> = {
            let memory = self.memory();
            series
                .iter()
                .map(|row| row.metric)
                .filter(|metric| waiting.day < memory.kept_from(*metric))
                .collect()
        };
        let metric = move |of: i64| series.iter().find(|row| row.series == of).map(|row| row.metric);
        let whole = aside(move || {
            let mut whole = WholeDay { device: waiting.device, day: waiting.day, ..WholeDay::default() };
            let mut blocks = Vec::with_capacity(shelved.pieces.len() + 1);
            let columns: Vec<(i64, Vec<u8>)> = shelved
                .columns
                .into_iter()
                .filter_map(|kept| Some((metric(kept.series)?, kept.data)))
                .collect();
            blocks.push(day_of(&columns, &mut whole.damaged));
            for piece in shelved.pieces {
                whole.pieces.push(piece.id);
                match Block::from_piece(&piece.data) {
                    Ok(block) => blocks.push(block),
                    Err(damage) => whole.damaged.push((format!("a piece: {damage}"), piece.data)),
                }
            }
            let mut block = Block::merge(blocks);
            // What is left of these are summaries, and they stay as they are.
            block.columns.retain(|(metric, _)| !forgotten.contains(metric));
            // A column that cannot be read is laid aside, and no longer where it was.
            let bad =
                columns.iter().filter(|(metric, _)| block.column(*metric).is_none() && *metric != TIMES);
            whole.columns = bad.map(|(metric, _)| (*metric, Vec::new())).collect();
            if block.len() > 0 || !columns.is_empty() {
                columns_of(&block, &mut whole);
            }
            whole
        })
        .await?;
        for (note, _) in &whole.damaged {
            tracing::error!(
                device.number = whole.device,
                day = whole.day,
                "{note}; it is kept aside, and the rest of the day goes on"
            );
        }
        // Somebody else may have been first: then there is nothing left to do.
        let _mine = self.shelf.put_together(&whole).await?;
        Ok(())
    }

    /// Brings everything into its final place now: seals all readings, puts together every day that is over.
    pub(super) async fn compact(&self, now_ms: i64) -> Result<(), StoreError> {
        let all: Vec<i64> = self.memory().waiting().iter().map(|unsealed| unsealed.device).collect();
        self.seal_devices(&all, 0, now_ms).await?;
        self.put_together_ready(now_ms, true).await?;
        // Each step gives back a part.
        while self.shelf.upkeep(true).await? {}
        Ok(())
    }
}

/// Computes without holding up whoever shares this thread.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Contended)
}

fn sealed(device: &ToSeal) -> Sealed {
    let newest = device.newest.as_ref().map(|newest| newest.t_ms);
    let latest = device
        .newest
        .as_ref()
        .filter(|newest| device.sealed_newest_ms.is_none_or(|t_ms| t_ms <= newest.t_ms));
    Sealed {
        device: device.device,
        sealed: device.last,
        newest_ms: device.sealed_newest_ms.max(newest).unwrap_or(0),
        latest: latest.map(to_blob),
    }
}

/// The pieces that a device's readings make, a piece for each day, and the series they need.
pub(in crate::store) fn pieces_of(
    device: i64,
    records: &[Record],
    now_ms: i64,
) -> (Vec<NewPiece>, Vec<(i64, i64)>) {
    let block = Block::from_records(records);
    let mut series: Vec<(i64, i64)> = block.columns.iter().map(|(metric, _)| (device, *metric)).collect();
    series.push((device, TIMES));
    let mut pieces = Vec::new();
    let mut from = 0;
    for run in block.times.chunk_by(|a, b| day(*a) == day(*b)) {
        let part = block.cut(from, from + run.len());
        from += run.len();
        pieces.push(NewPiece {
            device,
            day: run.first().map_or(0, |t_ms| day(*t_ms)),
            made_ms: now_ms,
            readings: part.len(),
            values: part.values(),
            data: part.to_piece(),
        });
    }
    (pieces, series)
}

/// What was put together of a day before; what cannot be read is told.
fn day_of(columns: &[(i64, Vec<u8>)], damaged: &mut Vec<(String, Vec<u8>)>) -> Block {
    let Some((_, times)) = columns.iter().find(|(metric, _)| *metric == TIMES) else {
        return Block::default();
    };
    let (times, states) = match from_times(times) {
        Ok(both) => both,
        Err(damage) => {
            // Without its times the rest of the day says nothing; all of it is kept.
            damaged.push((format!("the times of a day: {damage}"), times.clone()));
            let others = columns.iter().filter(|(metric, _)| *metric != TIMES);
            damaged.extend(
                others
                    .map(|(metric, data)| (format!("metric {metric} of a day without times"), data.clone())),
            );
            return Block::default();
        }
    };
    let mut block = Block { times, states, columns: Vec::new() };
    for (metric, data) in columns.iter().filter(|(metric, _)| *metric != TIMES) {
        match from_values(data).map(spread) {
            Ok(column) if column.len() == block.times.len() => block.columns.push((*metric, column)),
            Ok(_) => damaged.push((format!("metric {metric} of a day has another length"), data.clone())),
            Err(damage) => damaged.push((format!("metric {metric} of a day: {damage}"), data.clone())),
        }
    }
    block.columns.sort_by_key(|(metric, _)| *metric);
    block
}

fn columns_of(block: &Block, whole: &mut WholeDay) {
    let begin_ms = whole.day.saturating_mul(DAY_MS);
    let times = if block.len() > 0 { block.to_times() } else { Vec::new() };
    whole.columns.push((TIMES, times));
    // Times count as a series whose values are all alike: how many readings there are.
    let there = vec![0.0; block.len()];
    let series = std::iter::once((TIMES, there.as_slice()))
        .chain(block.columns.iter().map(|(metric, column)| (*metric, column.as_slice())));
    for (metric, column) in series {
        if metric != TIMES {
            whole.columns.push((metric, to_values(column)));
        }
        if let Some(mut summary) = Summary::of(begin_ms, &block.times, column) {
            if metric == TIMES {
                summary.merge_hours();
            }
            whole.summaries.push((metric, summary.count(), summary.to_blob(begin_ms)));
        }
    }
}
