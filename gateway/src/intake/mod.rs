//! The path of a reading: queue → one writer → disk → viewers → acknowledgement.
//!
//! The queue holds [`QUEUE_READINGS`] readings at most. When it is full a batch is refused at once and nothing of it
//! is kept: the device holds its readings and tries again. Whatever waits when the writer becomes free is committed
//! together, so that many devices share one fsync; `pace` says when.

mod pace;

use crate::clock;
use crate::live::Live;
use crate::observe::{Counters, Outcome};
use crate::reading::{Appended, NewBatch};
use crate::store::{Store, StoreError};
use crate::telemetry::condition::{Condition, HISTORY_MS, rank};
use pace::{Pace, Waiting};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Readings that may wait for the writer. Each takes some 200 bytes.
pub const QUEUE_READINGS: usize = 40_000;

/// Batches that may wait for the writer.
const QUEUE_BATCHES: usize = 4_096;

/// Batches that the writer takes out of the queue in one go.
const JOBS_AT_ONCE: usize = 512;

/// Readings committed together at most. More would make others wait for one transaction.
const COMMIT_READINGS: usize = 20_000;

/// Readings of other processes that are told one by one; beyond that viewers look at everything anew.
const FOREIGN_TOLD: i64 = 2_000;

/// Points of history that a device's condition is learned from.
const HISTORY_POINTS: u32 = 4_000;

/// Why a batch was not taken. Nothing of it is stored.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// Too much is waiting.
    #[error("too many readings are waiting to be stored")]
    Full,
    /// The disk is full.
    #[error("the disk is full")]
    DiskFull,
    /// The store failed or the process is stopping.
    #[error("the store cannot take readings")]
    Unavailable,
}

/// The way in.
#[derive(Clone)]
pub struct Intake {
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
    counters: Arc<Counters>,
}

enum Job {
    Append(NewBatch, oneshot::Sender<Result<Appended, IntakeError>>, OwnedSemaphorePermit),
    Follow,
}

impl Intake {
    /// Makes the queue, and the writer that must be run beside it.
    pub fn new(store: Arc<dyn Store>, live: Arc<Live>, counters: Arc<Counters>) -> (Self, Writer) {
        let (jobs, queue) = mpsc::channel(QUEUE_BATCHES);
        let room = Arc::new(Semaphore::new(QUEUE_READINGS));
        let intake = Self { jobs, room, counters: Arc::clone(&counters) };
        (intake, Writer { queue, store, live, counters })
    }

    /// Stores a batch; returns when it is on disk for good.
    ///
    /// # Errors
    /// [`IntakeError`]; nothing of the batch is stored then.
    pub async fn submit(&self, batch: NewBatch) -> Result<Appended, IntakeError> {
        if batch.readings.is_empty() {
            return Ok(Appended::default());
        }
        let wanted = u32::try_from(batch.readings.len()).map_err(|_| IntakeError::Full)?;
        let permit = Arc::clone(&self.room).try_acquire_many_owned(wanted).map_err(|_| IntakeError::Full)?;
        let (done, outcome) = oneshot::channel();
        self.jobs.try_send(Job::Append(batch, done, permit)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => IntakeError::Full,
            mpsc::error::TrySendError::Closed(_) => IntakeError::Unavailable,
        })?;
        self.counters.queued.inc();
        outcome.await.unwrap_or(Err(IntakeError::Unavailable))
    }

    /// Looks whether another process (the command line) has changed the store, and tells viewers.
    pub fn follow(&self) {
        // When the queue is full the writer has better things to do.
        let _full = self.jobs.try_send(Job::Follow);
    }
}

/// Whom to tell what became of a batch, and its place in the queue.
type Answer = (oneshot::Sender<Result<Appended, IntakeError>>, OwnedSemaphorePermit);

/// Batches that the writer has taken and not committed yet. Their readings still count in [`QUEUE_READINGS`].
struct Held {
    batches: VecDeque<(NewBatch, Answer)>,
    readings: usize,
    newest_us: u64,
    pace: Pace,
    /// Where the clock of the pace begins.
    began: Instant,
}

impl Held {
    fn new() -> Self {
        Self {
            batches: VecDeque::new(),
            readings: 0,
            newest_us: 0,
            pace: Pace::default(),
            began: clock::steady(),
        }
    }

    fn us(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX)
    }

    fn take(&mut self, batch: NewBatch, answer: Answer) {
        self.readings += batch.readings.len();
        self.newest_us = self.us(clock::steady());
        self.batches.push_back((batch, answer));
    }

    /// When to commit; `None` when there is nothing. `last` says that nobody else comes.
    fn due(&self, last: bool) -> Option<Instant> {
        if self.batches.is_empty() {
            return None;
        }
        if last || self.readings >= COMMIT_READINGS {
            return Some(self.began);
        }
        let waiting = Waiting { readings: self.readings, newest_us: self.newest_us };
        Some(self.began + Duration::from_micros(self.pace.due_us(waiting)))
    }

    fn hand_over(&mut self) -> (Vec<NewBatch>, Vec<Answer>) {
        let (mut batches, mut answers, mut readings) = (Vec::new(), Vec::new(), 0);
        while readings < COMMIT_READINGS
            && let Some((batch, answer)) = self.batches.pop_front()
        {
            readings += batch.readings.len();
            batches.push(batch);
            answers.push(answer);
        }
        self.readings -= readings;
        (batches, answers)
    }

    fn committed(&mut self, begun: Instant, ended: Instant) {
        let (begun_us, ended_us) = (self.us(begun), self.us(ended));
        self.pace.committed(begun_us, ended_us);
    }
}

/// Ends at this time; never without one.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// The one that writes.
pub struct Writer {
    queue: mpsc::Receiver<Job>,
    store: Arc<dyn Store>,
    live: Arc<Live>,
    counters: Arc<Counters>,
}

impl Writer {
    /// Learns what the store knows, so that the first viewer sees everything.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn learn(&self) -> Result<(), StoreError> {
        let now_ms = clock::now_ms();
        let profile = self.live.profile();
        let newest = self.store.newest().await?;
        let mut latest = self.store.latest().await?;
        let mut conditions = Vec::new();
        for device in self.store.devices().await? {
            let id = device.id;
            let mut condition = Condition::new(device);
            if let Some(at) = latest.iter().position(|reading| reading.device == id) {
                let last = latest.swap_remove(at);
                let quantities = self.store.quantities(&id).await?;
                if let Some(headline) = quantities.into_iter().min_by_key(rank) {
                    // History ends before the last reading, which is taken whole.
                    let since = (now_ms - HISTORY_MS).min(last.t_ms);
                    let mut points = self.store.recent(&id, &headline, since, HISTORY_POINTS).await?;
                    points.retain(|(t_ms, _)| *t_ms < last.t_ms);
                    points.reverse();
                    condition.take_history(headline, &points, profile);
                }
                condition.take(&last, profile);
            }
            conditions.push(condition);
        }
        self.live.learn(conditions, newest);
        Ok(())
    }

    /// Writes until `closing`, then finishes what is in the queue; later batches are refused.
    pub async fn run(mut self, closing: CancellationToken) {
        let mut held = Held::new();
        let mut jobs = Vec::new();
        loop {
            let due = held.due(self.queue.is_closed());
            if due.is_some_and(|due| due <= clock::steady()) {
                self.commit(&mut held).await;
                continue;
            }
            tokio::select! {
                received = self.queue.recv_many(&mut jobs, JOBS_AT_ONCE) => {
                    if received == 0 {
                        return;
                    }
                    let mut follow = false;
                    for job in jobs.drain(..) {
                        match job {
                            Job::Append(batch, answer, permit) => held.take(batch, (answer, permit)),
                            Job::Follow => follow = true,
                        }
                    }
                    if follow {
                        self.follow().await;
                    }
                }
                () = until(due) => {}
                () = closing.cancelled(), if !self.queue.is_closed() => self.queue.close(),
            }
        }
    }

    /// Commits what is held, up to [`COMMIT_READINGS`], and answers.
    async fn commit(&self, held: &mut Held) {
        let (batches, answers) = held.hand_over();
        self.counters.queued.dec_by(i64::try_from(answers.len()).unwrap_or(0));
        let begun = clock::steady();
        let stored = self.store.append(&batches).await;
        held.committed(begun, clock::steady());
        match stored {
            Ok(outcome) => {
                self.counters.commit_seconds.observe(begun.elapsed().as_secs_f64());
                self.publish(&outcome).await;
                for ((answer, _permit), appended) in answers.into_iter().zip(outcome) {
                    self.counters.count(Outcome::Stored, appended.stored.len());
                    self.counters.count(Outcome::Duplicate, appended.duplicate);
                    self.counters.count(Outcome::Conflicting, appended.conflicting);
                    // The client may have hung up; the readings are stored all the same.
                    let _gone = answer.send(Ok(appended));
                }
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    batches = batches.len(),
                    "readings could not be stored; their devices will send them again"
                );
                for (answer, _permit) in answers {
                    let _gone = answer.send(Err(match error {
                        StoreError::DiskFull(_) => IntakeError::DiskFull,
                        _ => IntakeError::Unavailable,
                    }));
                }
            }
        }
    }

    async fn publish(&self, outcome: &[Appended]) {
        let Some(first) = outcome.iter().flat_map(|appended| &appended.stored).next() else {
            return;
        };
        if first.id > self.live.newest() + 1 {
            self.tell_foreign(first.id - 1).await;
        }
        // A device that was registered a moment ago brings its room along.
        if outcome.iter().flat_map(|appended| appended.stored.first()).any(|r| !self.live.knows(&r.device)) {
            self.register().await;
        }
        let now_ms = clock::now_ms();
        for appended in outcome {
            self.live.publish(&appended.stored, now_ms);
        }
    }

    async fn follow(&self) {
        match self.store.newest().await {
            Ok(newest) if newest > self.live.newest() => self.tell_foreign(newest).await,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the store could not be looked at"),
        }
        self.register().await;
    }

    async fn register(&self) {
        match self.store.devices().await {
            Ok(devices) => self.live.register(devices),
            Err(error) => tracing::warn!(%error, "devices could not be read"),
        }
    }

    async fn learn_again(&self) {
        if let Err(error) = self.learn().await {
            tracing::warn!(%error, "the store could not be read");
        }
    }

    /// Tells viewers about readings that another process stored, up to a number.
    async fn tell_foreign(&self, until: i64) {
        if until - self.live.newest() > FOREIGN_TOLD {
            return self.learn_again().await;
        }
        while self.live.newest() < until {
            match self.store.after(self.live.newest(), 500).await {
                // They have left the log: there is no telling them one by one.
                Ok(readings) if readings.first().is_none_or(|first| first.id > self.live.newest() + 1) => {
                    return self.learn_again().await;
                }
                Ok(readings) => self.live.publish(&readings, clock::now_ms()),
                Err(error) => {
                    tracing::warn!(%error, "readings of another process could not be read");
                    return;
                }
            }
        }
    }
}
