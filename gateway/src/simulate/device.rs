//! Drives one virtual device: the firmware's own state machine, queue and upload, with a room in place of the sensor,
//! memory in place of the flash and rustls in place of Mbed TLS.

use super::Totals;
use super::connection::{Gateway, HttpsConnection};
use super::outage::Outages;
use super::room::Room;
use casement_core::queue::{self, Readings};
use casement_core::{Ack, Event, Mark, Memory, Millis, Node, Queue, Region, Settings, UploadError, uplink};
use casement_proto::wire::Batch;
use embedded_svc::http::client::asynch::Client;
use embedded_svc::io::ErrorKind;
use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Readings per upload: the most the firmware allows.
pub(super) const BATCH: u16 = 100;
/// Time between two readings of a backfilled history.
pub(super) const HISTORY_PERIOD_MS: u32 = 60_000;
/// How long a device goes on sending what it has after its time is up.
const DRAIN: Duration = Duration::from_secs(5);
/// How often a device looks at the clock again.
const CLOCK_EVERY: Duration = Duration::from_secs(60);
/// Room for one body: no reading of a virtual device takes more than 200 bytes.
const SCRATCH_BYTES: usize = 200 * BATCH as usize;
/// Readings that fit into the queue beyond the history.
const QUEUE_ROOM: u64 = 1_024;
/// Bytes one reading takes in the queue, generously.
const QUEUE_BYTES_EACH: u64 = 72;

/// What one device is to do.
pub(super) struct Plan {
    pub(super) token: String,
    pub(super) boot: u64,
    pub(super) seed: u64,
    pub(super) room: Room,
    pub(super) speed: f64,
    pub(super) live: Settings,
    pub(super) history: Settings,
    /// Length of the history in milliseconds; 0 for none.
    pub(super) backfill_ms: u64,
    /// When, within the history, the device had no power.
    pub(super) hole_ms: Option<(u64, u64)>,
    pub(super) outages: Outages,
    pub(super) until: Option<Instant>,
}

struct Driver {
    node: Node,
    queue: Queue<Memory<Vec<u8>>>,
    room: Room,
    /// Last reading of the batch on its way.
    mark: Option<Mark>,
    /// Time of the room at the steady time zero, and at the steady time from which on it runs at another speed.
    origin_ms: i64,
    fast_from: Millis,
    speed: f64,
    sampling: bool,
}

/// What an upload needs, handed from one to the next.
struct Courier {
    client: Client<HttpsConnection>,
    /// Boxed: some 160 KB that would otherwise move with every upload.
    readings: Box<Readings<{ BATCH as usize }>>,
    scratch: Vec<u8>,
}

type Upload = Pin<Box<dyn Future<Output = (Courier, Result<Ack, UploadError>)> + Send>>;

/// Runs one device until it is stopped or its time is up. `clock` gives milliseconds since 1970.
pub(super) async fn run(
    plan: Plan,
    gateway: Gateway,
    clock: impl Fn() -> i64 + Send,
    stop: CancellationToken,
    report: mpsc::Sender<(usize, Totals)>,
    index: usize,
) -> Totals {
    let (started, unix_ms) = (Instant::now(), clock());
    let token = plan.token.clone();
    let (live, mut outages, until) = (plan.live, plan.outages.clone(), plan.until);
    let Some((mut driver, uptime)) = Driver::with_history(plan, unix_ms).await else {
        return Totals::default();
    };

    let elapsed_ms = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let now = || uptime.after(elapsed_ms());
    let mut courier = Some(Courier::new(gateway.clone()));
    let mut uploading: Option<(u16, Upload)> = None;
    let mut link = false;
    let mut clock_at = started;
    let mut events =
        VecDeque::from([Event::Settings(live), Event::Clock(clock()), Event::Queue(driver.queue.status())]);
    loop {
        let (up, link_until_ms) = outages.at(elapsed_ms());
        if up != link {
            link = up;
            if let (false, Some((sent, _))) = (up, uploading.take()) {
                // The wire is gone, and with it the exchange on it.
                courier = Some(Courier::new(gateway.clone()));
                let result = Err(UploadError::Connection(ErrorKind::ConnectionReset));
                events.push_back(Event::Uploaded { sent, result });
            }
            events.push_back(Event::Link(up));
        }
        if clock_at.elapsed() >= CLOCK_EVERY {
            clock_at = Instant::now();
            events.push_back(Event::Clock(clock()));
        }
        driver.sampling = until.is_none_or(|until| Instant::now() < until);
        let (wake_at, upload) = driver.settle(std::mem::take(&mut events), now());
        if let Some(limit) = upload
            && let Some(carrier) = courier.take()
        {
            let (sent, future) = driver.upload(carrier, limit, &gateway, &token, now());
            uploading = Some((sent, future));
        }
        let totals = driver.totals();
        let over = until.is_some_and(|until| Instant::now() >= until + DRAIN);
        if over || (!driver.sampling && totals.queued == 0) {
            return totals;
        }
        let wake_ms = wake_at.since(uptime).min(link_until_ms);
        let mut wake = started.checked_add(Duration::from_millis(wake_ms)).unwrap_or(clock_at + CLOCK_EVERY);
        if let Some(until) = until {
            wake = wake.min(if driver.sampling { until } else { until + DRAIN });
        }
        tokio::select! {
            () = stop.cancelled() => return driver.totals(),
            () = sleep_until(wake.min(clock_at + CLOCK_EVERY)) => events.push_back(Event::Due),
            (carrier, result) = arrival(&mut uploading) => {
                let sent = uploading.take().map_or(0, |(sent, _)| sent);
                courier = Some(carrier);
                events.push_back(Event::Uploaded { sent, result });
                // A full channel drops a report; the next one holds everything again.
                let _full = report.try_send((index, driver.totals()));
            }
        }
    }
}

async fn arrival(uploading: &mut Option<(u16, Upload)>) -> (Courier, Result<Ack, UploadError>) {
    match uploading {
        Some((_, upload)) => upload.await,
        None => std::future::pending().await,
    }
}

impl Driver {
    /// A device as it is after its history, and its steady time then. `None` when there is no memory for its queue.
    async fn with_history(plan: Plan, unix_ms: i64) -> Option<(Self, Millis)> {
        let points = plan.backfill_ms / u64::from(HISTORY_PERIOD_MS) + QUEUE_ROOM;
        let bytes = usize::try_from(points.checked_mul(QUEUE_BYTES_EACH)?).ok()?;
        let bytes = bytes.next_multiple_of(Memory::<Vec<u8>>::SECTOR_BYTES);
        let origin_ms = unix_ms.saturating_sub_unsigned(plan.backfill_ms);
        // A start of its own for what was before the hole. Numbers of both starts are never used again.
        let boot = plan.boot.saturating_mul(2);
        let chance = u32::try_from((plan.seed ^ plan.boot) & u64::from(u32::MAX)).unwrap_or(1);
        let mut driver = Self {
            node: Node::new(plan.history, boot, chance),
            queue: Queue::open(Memory::new(vec![0xff; bytes])).ok()?,
            room: plan.room,
            mark: None,
            origin_ms,
            fast_from: Millis(u64::MAX),
            speed: plan.speed,
            sampling: true,
        };
        let mut end_ms = plan.backfill_ms;
        if let Some((from_ms, to_ms)) = plan.hole_ms {
            driver.live_through(from_ms).await;
            driver.node = Node::new(plan.history, boot.saturating_add(1), chance);
            driver.origin_ms = origin_ms.saturating_add_unsigned(to_ms);
            end_ms = end_ms.saturating_sub(to_ms);
        }
        driver.live_through(end_ms).await;
        driver.fast_from = Millis(end_ms);
        Some((driver, Millis(end_ms)))
    }

    /// Goes through a past of this length without a network.
    async fn live_through(&mut self, ms: u64) {
        if ms == 0 {
            return;
        }
        let mut event = Event::Clock(self.origin_ms);
        let mut at = Millis(0);
        for count in 1_u64.. {
            let (wake_at, _) = self.settle(VecDeque::from([event]), at);
            if wake_at.0 >= ms {
                break;
            }
            (event, at) = (Event::Due, wake_at);
            if count % 256 == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Hands over what happened and does what is asked for, until there is nothing more to do. Gives the moment to come
    /// back, and how many readings to send.
    fn settle(&mut self, mut events: VecDeque<Event>, now: Millis) -> (Millis, Option<u16>) {
        let (mut wake_at, mut upload) = (now, None);
        if events.is_empty() {
            events.push_back(Event::Due);
        }
        while let Some(event) = events.pop_front() {
            let actions = self.node.handle(event, now);
            wake_at = actions.wake_at;
            upload = upload.or(actions.upload);
            if actions.acknowledge
                && let Some(mark) = self.mark.take()
            {
                // The queue counts what fails below it, and the state machine reads the counter.
                let _counted = self.queue.acknowledge(mark);
            }
            if let Some(record) = &actions.keep {
                let _counted = self.queue.push(record);
            }
            if actions.acknowledge || actions.keep.is_some() {
                events.push_back(Event::Queue(self.queue.status()));
            }
            if actions.sample && self.sampling {
                self.room.advance(self.room_time(now));
                events.push_back(Event::Sampled(Ok(self.room.sample(now.0))));
            }
        }
        (wake_at, upload)
    }

    fn room_time(&self, now: Millis) -> i64 {
        let fast_ms = now.since(self.fast_from);
        let slow_ms = now.0 - fast_ms;
        let fast_ms = (fast_ms as f64 * self.speed.max(0.0)) as u64;
        self.origin_ms.saturating_add_unsigned(slow_ms).saturating_add_unsigned(fast_ms)
    }

    fn upload(
        &mut self,
        mut courier: Courier,
        limit: u16,
        gateway: &Gateway,
        token: &str,
        now: Millis,
    ) -> (u16, Upload) {
        let timeline = self.node.timeline(now);
        let batch = queue::collect(&mut self.queue, limit, &timeline, &mut courier.readings).ok().flatten();
        self.mark = batch.map(|(_, mark)| mark);
        let boot = batch.map(|(boot, _)| boot);
        let sent = u16::try_from(courier.readings.len()).unwrap_or(u16::MAX);
        let (host, token) = (gateway.host.clone(), token.to_owned());
        let upload = Box::pin(async move {
            if sent == 0 {
                return (courier, Ok(Ack::default()));
            }
            let target = uplink::Target { host: &host, token: &token };
            let batch = Batch { boot, readings: &courier.readings, health: None };
            let result = uplink::post(&mut courier.client, &target, &batch, &mut courier.scratch).await;
            (courier, result)
        });
        (sent, upload)
    }

    fn totals(&self) -> Totals {
        let health = self.node.health();
        let queue = self.queue.status();
        Totals {
            stored: health.stored,
            duplicate: health.duplicate,
            rejected: health.rejected,
            failed_uploads: u64::from(health.uploads_failed),
            dropped: u64::from(queue.dropped) + u64::from(health.poisoned),
            queued: u64::from(queue.queued),
        }
    }
}

impl Courier {
    fn new(gateway: Gateway) -> Self {
        let client = Client::wrap(HttpsConnection::new(gateway));
        Self { client, readings: Box::default(), scratch: vec![0; SCRATCH_BYTES] }
    }
}
