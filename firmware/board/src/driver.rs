//! Drives the core's state machine: a loop that turns wakes into events and does what the actions say.

use crate::baselines::Baselines;
use crate::flash::{Flash, Partition};
use crate::sensors::Sensors;
use crate::uploads::{BATCH_MAX, Counter, Job};
use crate::web::{Sheet, WRITTEN};
use crate::{carry, face, now, radio, updates};
use casement_core::clock::Source;
use casement_core::keep::Keep;
use casement_core::queue::{self, Queue, next_boot};
use casement_core::{
    Ack, Clock, Display, Event, Mark, Memory, Millis, Node, NotJoined, Press, Settings, Vitals, page,
};
use casement_proto::DeviceSettings;
use casement_proto::wire::DeviceHealth;
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
pub enum News {
    /// The network came or went.
    Link(bool),
    /// The date, in milliseconds since 1970.
    Clock(i64),
    /// The network was not joined.
    NotJoined(NotJoined),
    /// Somebody looks at the device's page: it is to be written, and to go to [`WRITTEN`].
    Visit(&'static mut Sheet),
    /// New settings are kept, and count from the next start on.
    StartAnew,
    /// A person pressed the button.
    Button(Press),
}

/// Reports of other tasks. They wait while it is full.
pub static NEWS: Channel<CriticalSectionRawMutex, News, 4> = Channel::new();

/// The core wants the radio built up anew.
pub static RESTART_RADIO: Signal<CriticalSectionRawMutex, ()> = Signal::new();

/// The core wants the network left and joined again.
pub static REJOIN: Signal<CriticalSectionRawMutex, ()> = Signal::new();

/// When this firmware was made, in milliseconds since 1970: no date before it can be true. `firmware/tools/image` says it.
const BUILT_UNIX_MS: i64 = built_unix_ms(option_env!("CASEMENT_BUILT_UNIX_S"));

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
    settings: &'static DeviceSettings,
    /// What a person sees.
    shown: Display,
    node: Node,
    store: Store,
    kit: Sensors<I>,
    baselines: Baselines,
    /// Where the last good time is kept.
    time: Option<Keep<Partition>>,
    watchdog: Rwdt,
    /// What people see.
    face: face::Teller,
    vitals: Vitals<'static>,
    heap_free_min: u32,
    /// Last reading of the batch on its way.
    mark: Option<Mark>,
    sent: u16,
}

impl<I: I2c> Driver<I> {
    pub fn new(
        flash: &'static Flash,
        settings: &'static DeviceSettings,
        mut kit: Sensors<I>,
        watchdog: Rwdt,
        vitals: Vitals<'static>,
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
        let baselines = Baselines::load(flash);
        baselines.all().iter().for_each(|baseline| kit.remember(*baseline));
        let mut time = Partition::find(flash, "time").and_then(|region| Keep::open(region).ok());
        let mut good = [0; 8];
        let good =
            time.as_mut().and_then(|time| time.load(&mut good).ok()?).map(|_| i64::from_le_bytes(good));
        let mut clock = Clock::new(BUILT_UNIX_MS, good);
        if let Some(unix_ms) = carry::take(crate::silent_ms(vitals.reset)) {
            info!("the date came through the restart: {:?}", clock.hear(Source::Carried, unix_ms, Millis(0)));
        }
        let node = Node::new(Settings::from(settings), boot, chance as u32).with_clock(clock);
        Self {
            settings,
            shown: Display::default(),
            node,
            store,
            kit,
            baselines,
            time,
            watchdog,
            face: face::Teller::new(settings.brightness_percent()),
            vitals,
            heap_free_min: u32::MAX,
            mark: None,
            sent: 0,
        }
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
            let unix_ms = self.node.unix_ms(now());
            self.kit.work(now(), unix_ms).await;
            if let Some(baseline) = self.kit.take_baseline() {
                self.baselines.save(baseline);
            }
            let (wake_at, limit) = self.settle(&mut events);
            // Before a batch goes out: certificates are held against the date that it sets.
            updates::look(&self.node);
            let on_flash = matches!(self.store, Store::Flash(_));
            self.face.tell(&self.node, self.kit.fitted(now()), on_flash);
            if let (Some(limit), Some(counter), Some(job)) = (limit, counter, idle.take()) {
                self.fill(job, limit);
                if job.readings.is_empty() {
                    idle = Some(job);
                    let _fits = events.push_back(Event::Uploaded { sent: 0, result: Ok(Ack::default()) });
                    continue;
                }
                let health = self.health();
                counter.send(job, health);
            }
            self.watchdog.feed();
            let wake_at = wake_at.min(self.kit.wake_at());
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
                Either3::Second(News::NotJoined(why)) => Event::NotJoined(why),
                Either3::Second(News::Visit(sheet)) => {
                    self.write_page(sheet);
                    Event::Due
                }
                Either3::Second(News::StartAnew) => self.restart(),
                Either3::Second(News::Button(press)) => Event::Button(press),
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
    fn settle(&mut self, events: &mut Deque<Event, 4>) -> (Millis, Option<u16>) {
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
            if actions.provision {
                radio::open_portal();
            }
            self.face.obey(&actions);
            if let Some(display) = actions.show {
                self.shown = display;
                info!("{display:?}");
            }
            if actions.reconnect {
                REJOIN.signal(());
            }
            if actions.restart_radio {
                RESTART_RADIO.signal(());
            }
            if let Some(unix_ms) = actions.keep_time {
                self.keep_time(unix_ms);
            }
            if actions.restart {
                self.restart();
            }
            if actions.sample {
                let _fits = events.push_back(Event::Sampled(self.kit.sample(now())));
            }
        }
        (wake_at, upload)
    }

    /// How the chip is.
    fn vitals(&mut self) -> Vitals<'static> {
        let free = u32::try_from(esp_alloc::HEAP.free()).unwrap_or(u32::MAX);
        self.heap_free_min = self.heap_free_min.min(free);
        Vitals { heap_free: Some((free, self.heap_free_min)), rssi: radio::rssi(), ..self.vitals }
    }

    /// How the device is.
    fn health(&mut self) -> DeviceHealth<'static> {
        let vitals = self.vitals();
        self.node.report(&vitals, now())
    }

    /// The page in the local network.
    fn write_page(&mut self, sheet: &'static mut Sheet) {
        let (now, vitals) = (now(), self.vitals());
        let view = page::View {
            device: self.settings.device.as_ref().map_or(self.vitals.board, |device| device.as_str()),
            room: &self.settings.room,
            display: self.shown,
            values: self.node.latest(now),
            trouble: self.node.trouble(now),
            unix_ms: self.node.unix_ms(now),
            uptime: now,
            vitals,
        };
        sheet.fill(|method, target, out| page::answer(method, target, &view, out));
        let _room = WRITTEN.try_send(sheet);
    }

    fn restart(&mut self) -> ! {
        if let Some(unix_ms) = self.node.unix_ms(now()) {
            self.keep_time(unix_ms);
        }
        esp_hal::system::software_reset()
    }

    fn keep_time(&mut self, unix_ms: i64) {
        let kept = self.time.as_mut().map(|time| time.store(&unix_ms.to_le_bytes()));
        if !matches!(kept, Some(Ok(()))) {
            warn!("the time could not be kept");
        }
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

/// The digits of a number of seconds, as milliseconds; 0 without any.
const fn built_unix_ms(seconds: Option<&str>) -> i64 {
    let Some(digits) = seconds else { return 0 };
    let digits = digits.as_bytes();
    let mut number = 0;
    let mut at = 0;
    while at < digits.len() {
        assert!(digits[at].is_ascii_digit(), "CASEMENT_BUILT_UNIX_S is a number of seconds");
        number = number * 10 + (digits[at] - b'0') as i64;
        at += 1;
    }
    number * 1_000
}
