//! Two days of a device on the instruction set of its chip: 32-bit, no operating system, no allocator, software floats.
//!
//! The device samples once a minute. There is no network for half a day, then a gateway that is busy, one whose answers
//! get lost, and one that works; in between the power fails and the device starts again from what is on its flash. At the
//! end the gateway must have every reading exactly once. The exit code says so.
#![no_std]
#![no_main]

mod gateway;
mod machine;

use casement_core::queue::{self, Queue, Readings, next_boot};
use casement_core::record::Values;
use casement_core::{Ack, Event, Mark, Memory, Millis, Node, Sample, Settings, UploadError, Vitals, uplink};
use casement_proto::wire::Batch;
use casement_proto::{Quantity, State};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use embedded_svc::http::client::asynch::Client;
use gateway::Paper;
use heapless::Deque;
use machine::print;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
/// 22 November 2026, 10:00 UTC.
const BEGAN_UNIX_MS: i64 = 1_795_341_600_000;
const BATCH: usize = 20;
/// As large as the queue on a board with 4 MB of flash.
const FLASH_BYTES: usize = 47 * 4_096;

type Flash = Memory<&'static mut [u8]>;

struct Device {
    node: Node,
    queue: Queue<Flash>,
    mark: Option<Mark>,
    boot: u64,
    sampled: u64,
}

impl Device {
    fn start(flash: Flash, random: u32) -> Self {
        let Ok(queue) = Queue::open(flash) else { panic!("the flash cannot be read") };
        let boot = next_boot(queue.newest_boot(), u64::from(random));
        let Ok(settings) = Settings::new(60_000, BATCH as u16, "common") else {
            panic!("settings are in bounds")
        };
        Self { node: Node::new(settings, boot, random), queue, mark: None, boot, sampled: 0 }
    }

    /// Hands events over and does what is asked for; gives the moment to come back and how many readings to send.
    fn settle(&mut self, first: Event, now: Millis) -> (Millis, Option<u16>) {
        let mut events: Deque<Event, 4> = Deque::new();
        let mut upload = None;
        let mut wake_at = now;
        let mut next = Some(first);
        while let Some(event) = next {
            let actions = self.node.handle(event, now);
            wake_at = actions.wake_at;
            upload = upload.or(actions.upload);
            if actions.acknowledge
                && let Some(mark) = self.mark.take()
            {
                assert!(self.queue.acknowledge(mark).is_ok());
            }
            if let Some(record) = &actions.keep {
                assert!(self.queue.push(record).is_ok());
                self.sampled += 1;
            }
            if actions.acknowledge || actions.keep.is_some() {
                assert!(events.push_back(Event::Queue(self.queue.status())).is_ok());
            }
            if actions.sample {
                assert!(events.push_back(Event::Sampled(Ok(air(now)))).is_ok());
            }
            next = events.pop_front();
        }
        (wake_at, upload)
    }

    fn upload(
        &mut self,
        limit: u16,
        client: &mut Client<Paper>,
        now: Millis,
    ) -> (u16, Result<Ack, UploadError>) {
        let mut readings: Readings<BATCH> = Readings::new();
        let timeline = self.node.timeline(now);
        let Ok(batch) = queue::collect(&mut self.queue, limit, &timeline, &mut readings) else {
            panic!("the flash cannot be read")
        };
        self.mark = batch.map(|(_, mark)| mark);
        let Some((boot, _)) = batch else { return (0, Ok(Ack::default())) };
        let target = uplink::Target { host: "air.example.org", token: "cas_dev_secret" };
        let mut body = [0; 128 * BATCH + 768];
        let health = self.node.report(&Vitals::default(), now);
        let batch = Batch { boot: Some(boot), readings: &readings, health: Some(&health) };
        let result = ready(uplink::post(client, &target, &batch, &mut body));
        (readings.len() as u16, result)
    }

    /// Lives from one moment to another; gives the moment it came to.
    fn live(&mut self, first: Event, from: Millis, until: Millis, client: &mut Client<Paper>) {
        let mut event = first;
        let mut now = from;
        loop {
            let (wake_at, limit) = self.settle(event, now);
            event = match limit {
                Some(limit) => {
                    let (sent, result) = self.upload(limit, client, now);
                    Event::Uploaded { sent, result }
                }
                None => {
                    now = wake_at.max(Millis(now.0 + 1));
                    Event::Due
                }
            };
            if now >= until {
                return;
            }
        }
    }
}

/// The air at a moment: between 420 and 1,419 ppm, up and down.
fn air(now: Millis) -> Sample {
    let wave = (now.0 / MINUTE_MS * 37) % 1_000;
    let mut values = Values::new();
    for (name, value) in [("co2", 420.0 + wave as f64), ("temperature", 21.5), ("humidity", 40.2)] {
        let Some(quantity) = Quantity::parse(name) else { panic!("{name} is a quantity") };
        assert!(values.push((quantity, value)).is_ok());
    }
    Sample { state: State::Ok, values, fault: None }
}

/// The value of a future that never waits: nothing here does.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("waits for something"),
    }
}

fn run() {
    assert!(size_of::<usize>() == 4, "this is no 32-bit machine");
    static mut FLASH: [u8; FLASH_BYTES] = [0; FLASH_BYTES];
    // SAFETY: this function runs once, and nobody else knows the static.
    let flash: &'static mut [u8] = unsafe { &mut *&raw mut FLASH };
    flash.fill(0xff);
    let flash = Memory::new(flash);
    let mut client = Client::wrap(Paper::default());

    // Half a day without a network, and without a date.
    let mut first = Device::start(flash, 0x9e37_79b9);
    first.live(Event::Due, Millis(0), Millis(12 * HOUR_MS), &mut client);
    let (first_boot, first_sampled) = (first.boot, first.sampled);
    assert!(first_sampled >= 12 * 60 && u64::from(first.queue.status().queued) == first_sampled);

    // The power fails. The flash stays.
    let mut second = Device::start(first.queue.into_region(), 0x7f4a_7c15);
    assert!(second.boot == first_boot + 1, "a start must have a number of its own");
    assert!(u64::from(second.queue.status().queued) == first_sampled, "readings were lost with the power");
    second.live(Event::Queue(second.queue.status()), Millis(0), Millis(HOUR_MS), &mut client);

    // The network comes, and the date with it.
    let now = Millis(HOUR_MS);
    let _actions = second.node.handle(Event::Clock(BEGAN_UNIX_MS), now);
    second.live(Event::Link(true), now, Millis(36 * HOUR_MS), &mut client);

    let health = second.node.health();
    let paper = client.release();
    let sampled = first_sampled + second.sampled;
    print!(
        "{sampled} readings sampled in two starts, {} requests, {} of them busy or lost\n",
        paper.requests, health.uploads_failed
    );
    print!("gateway: {} stored, {} seen twice; queue: {:?}\n", paper.stored(), paper.twice, health.queue);
    print!("largest request: {} bytes\n", paper.largest);
    assert!(health.uploads_failed >= 3 && paper.twice > 0, "the bad days did not happen");
    // The last one may still wait for its turn.
    assert!(health.queue.queued <= 1 && health.queue.dropped == 0 && health.queue.damaged == 0);
    assert!(paper.stored() + u64::from(health.queue.queued) == sampled, "a reading was lost");
    assert!(paper.complete(first_boot, first_sampled), "a reading of the first start is missing");
    print!("ok: every reading is in the gateway exactly once\n");
}
