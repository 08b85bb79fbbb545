//! Drives the core's state machine: a loop that turns wakes into events and does what the actions say.

use crate::flash::{Flash, Partition};
use crate::now;
use crate::sensors::Sensors;
use crate::setup;
use crate::uploads::{BATCH_MAX, Counter, Job};
use casement_core::queue::{self, Queue, next_boot};
use casement_core::{Ack, Event, Mark, Memory, Millis, Node};
use casement_proto::DeviceSettings;
use embassy_futures::select::{Either3, select3};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant, Timer};
use embedded_hal_async::i2c::I2c;
use esp_hal::rtc_cntl::Rwdt;
use heapless::Deque;
use log::{error, info, warn};

/// What other tasks report.
#[derive(Clone, Copy, Debug)]
pub enum News {
    /// The network came or went.
    Link(bool),
    /// The date, in milliseconds since 1970.
    Clock(i64),
}

/// Reports of other tasks. They wait while it is full.
pub static NEWS: Channel<CriticalSectionRawMutex, News, 4> = Channel::new();

/// The core wants the radio built up anew.
pub static RESTART_RADIO: Signal<CriticalSectionRawMutex, ()> = Signal::new();

/// How often the watchdog hears of us, at least.
const LIFE_SIGN: Duration = Duration::from_secs(5);

/// Where readings wait: on flash, or, should that not be there, in a little memory.
enum Store {
    Flash(Queue<Partition>),
    Memory(Queue<Memory<[u8; 2 * 4_096]>>),
}

/// Runs the same on either kind of queue.
macro_rules! with_queue {
    ($store:expr, $queue:ident => $run:expr) => {
        match &mut $store {
            Store::Flash($queue) => $run,
            Store::Memory($queue) => $run,
        }
    };
}

/// One device.
pub struct Driver<I> {
    node: Node,
    store: Store,
    sensors: Sensors<I>,
    watchdog: Rwdt,
    /// Last reading of the batch on its way.
    mark: Option<Mark>,
    sent: u16,
}

impl<I: I2c> Driver<I> {
    pub fn new(
        flash: &'static Flash,
        settings: &DeviceSettings,
        sensors: Sensors<I>,
        watchdog: Rwdt,
        chance: u64,
    ) -> Self {
        let region = Partition::find(flash, "queue");
        let mut store = match region.and_then(|region| Queue::open(region).ok()) {
            Some(queue) => Store::Flash(queue),
            None => {
                error!("the queue's partition cannot be read: readings are kept in memory");
                let Ok(queue) = Queue::open(Memory::new([0xff; 2 * 4_096])) else {
                    unreachable!("memory can be read, and two sectors are enough")
                };
                Store::Memory(queue)
            }
        };
        let boot = with_queue!(store, queue => next_boot(queue.newest_boot(), chance));
        info!("start number {boot}, {:?}", with_queue!(store, queue => queue.status()));
        let node = Node::new(setup::of_node(settings), boot, chance as u32);
        Self { node, store, sensors, watchdog, mark: None, sent: 0 }
    }

    /// Runs for ever; without a counter, without uploads.
    pub async fn run(&mut self, counter: Option<&Counter>) -> ! {
        let mut idle: Option<&'static mut Job> = match counter {
            Some(counter) => Some(counter.take().await.0),
            None => None,
        };
        let status = with_queue!(self.store, queue => queue.status());
        let mut events: Deque<Event, 4> = Deque::new();
        let _fits = events.push_back(Event::Queue(status));
        loop {
            let (wake_at, limit) = self.settle(&mut events).await;
            if let (Some(limit), Some(counter), Some(job)) = (limit, counter, idle.take()) {
                self.fill(job, limit);
                if job.readings.is_empty() {
                    idle = Some(job);
                    let _fits = events.push_back(Event::Uploaded { sent: 0, result: Ok(Ack::default()) });
                    continue;
                }
                counter.send(job);
            }
            self.watchdog.feed();
            let wake = Instant::from_millis(wake_at.0).min(Instant::now() + LIFE_SIGN);
            let back = async {
                match counter {
                    Some(counter) if idle.is_none() => counter.take().await,
                    _ => core::future::pending().await,
                }
            };
            let event = match select3(Timer::at(wake), NEWS.receive(), back).await {
                Either3::First(()) => Event::Due,
                Either3::Second(News::Link(up)) => Event::Link(up),
                Either3::Second(News::Clock(unix_ms)) => Event::Clock(unix_ms),
                Either3::Third((job, result)) => {
                    idle = Some(job);
                    Event::Uploaded { sent: self.sent, result }
                }
            };
            let _fits = events.push_back(event);
        }
    }

    /// Hands over what happened and does what is asked for, until there is nothing more to do. Gives the moment to come
    /// back, and how many readings to send.
    async fn settle(&mut self, events: &mut Deque<Event, 4>) -> (Millis, Option<u16>) {
        let (mut wake_at, mut upload) = (now(), None);
        while let Some(event) = events.pop_front() {
            let actions = self.node.handle(event, now());
            wake_at = actions.wake_at;
            upload = upload.or(actions.upload);
            if actions.acknowledge
                && let Some(mark) = self.mark.take()
            {
                // The queue counts what fails below it, and the state machine reads the counter.
                let _counted = with_queue!(self.store, queue => queue.acknowledge(mark).is_ok());
            }
            if let Some(record) = &actions.keep {
                let _counted = with_queue!(self.store, queue => queue.push(record).is_ok());
            }
            if actions.acknowledge || actions.keep.is_some() {
                let status = with_queue!(self.store, queue => queue.status());
                // At most two events come of one: there is room.
                let _fits = events.push_back(Event::Queue(status));
            }
            if let Some(display) = actions.show {
                // Here come the screen and the light.
                info!("{display:?}");
            }
            if actions.restart_radio {
                RESTART_RADIO.signal(());
            }
            if actions.sample {
                let sample = self.sensors.sample().await;
                let _fits = events.push_back(Event::Sampled(sample));
            }
        }
        (wake_at, upload)
    }

    /// Puts the oldest readings into a job.
    fn fill(&mut self, job: &mut Job, limit: u16) {
        let timeline = self.node.timeline(now());
        let limit = limit.min(BATCH_MAX as u16);
        let batch = with_queue!(self.store, queue => {
            queue::collect(queue, limit, &timeline, &mut job.readings).ok().flatten()
        });
        if batch.is_none() {
            warn!("nothing to send, or the queue cannot be read");
        }
        self.mark = batch.map(|(_, mark)| mark);
        job.boot = batch.map_or(0, |(boot, _)| boot);
        self.sent = u16::try_from(job.readings.len()).unwrap_or(u16::MAX);
    }
}
