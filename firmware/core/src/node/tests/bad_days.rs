//! Bad days: what a person reads, what a program reads, and that no reading is lost and no loop begins.

use super::*;
use crate::queue::{Memory, Queue, Region};
use crate::uplink::Certificate;
use casement_proto::Quantity;
use embedded_svc::io::ErrorKind;
use std::format;
use std::string::ToString;

fn co2(ppm: f64) -> Result<f64, Fault> {
    Ok(ppm)
}

/// After some hours of this, the device says so, keeps every reading and has not restarted.
fn expect(bench: &mut Bench, code: &str, words: &str) {
    let trouble = bench.node.trouble(bench.now).expect("something is wrong");
    assert_eq!(trouble.code(), code);
    let said = trouble.to_string();
    assert!(said.contains(words), "{said:?}");
    assert!(said.len() <= 160, "does not fit a screen: {said:?}");
    assert_eq!(bench.restarts, 0, "{code}");
}

#[test]
fn a_sensor_that_fails_is_named_and_samples_go_on() {
    for (fault, code, words) in [
        (Fault::Bus, "sensor_missing", "plug"),
        (Fault::Crc, "sensor_checksum", "cable"),
        (Fault::Timeout, "sensor_slow", "Unplug"),
        (Fault::Range, "sensor_range", "cannot be true"),
        (Fault::SelfTest, "sensor_broken", "Replace"),
    ] {
        let mut bench = Bench::new(Settings::default());
        bench.run_until(60_000);
        bench.co2 = Err(fault);
        bench.run_until(86_400_000);
        expect(&mut bench, code, words);
        assert!(bench.node.health().faults > 17_000);
        // Plugged in again.
        bench.co2 = co2(700.0);
        bench.run_until(86_410_000);
        assert_eq!(bench.node.trouble(bench.now), Some(Trouble::NoNetwork));
        assert_eq!(bench.display.primary, Some(Primary::Co2(700)));
    }
}

#[test]
fn a_frozen_sensor_is_found_and_its_readings_are_marked() {
    let mut bench = Bench::new(Settings::default());
    (bench.co2, bench.stuck) = (co2(1_812.0), true);
    bench.run_until(3_590_000);
    assert!(bench.kept.iter().all(|record| record.state == State::Ok));
    bench.run_until(3_700_000);
    expect(&mut bench, "sensor_frozen", "same for an hour");
    assert_eq!(bench.kept.last().unwrap().state, State::Suspect);
    bench.co2 = co2(1_811.0);
    bench.run_until(3_710_000);
    assert_eq!(bench.kept.last().unwrap().state, State::Ok);
    // A sensor at its floor at night is not stuck, and neither is an estimate.
    let mut bench = Bench::new(Settings::default());
    (bench.co2, bench.stuck) = (co2(400.0), true);
    bench.run_until(40_000_000);
    assert!(bench.kept.iter().all(|record| record.state == State::Ok));
}

#[test]
fn a_failed_sensor_is_named_though_another_one_has_values() {
    let mut bench = Bench::new(Settings::default());
    bench.run_until(60_000);
    (bench.fault, bench.state) = (Some(Fault::Range), State::Failed);
    bench.run_until(120_000);
    expect(&mut bench, "sensor_range", "cannot be true");
    assert_eq!((bench.display.fault, bench.node.health().faults), (Some(Fault::Range), 12));
    assert_eq!(bench.kept.len(), 24, "what the other one says is kept");
    (bench.fault, bench.state) = (None, State::Ok);
    bench.run_until(130_000);
    assert_eq!(bench.node.trouble(bench.now), Some(Trouble::NoNetwork));
}

#[test]
fn a_lying_sensor_moves_no_light() {
    let mut bench = Bench::new(Settings::default());
    bench.co2 = co2(180.0);
    bench.run_until(60_000);
    expect(&mut bench, "sensor_doubtful", "fresh air");
    assert_eq!((bench.display.band, bench.display.state), (None, State::Suspect));
}

#[test]
fn every_bad_gateway_and_every_bad_network_is_named_and_nothing_is_lost() {
    let lost = |kind| UploadError::Connection(kind);
    let busy = UploadError::Busy { retry_after_ms: Some(30_000) };
    for (error, code, words) in [
        (lost(ErrorKind::TimedOut), "no_answer", "does not answer"),
        (lost(ErrorKind::ConnectionReset), "no_answer", "does not answer"),
        (lost(ErrorKind::NotFound), "no_such_host", "name is not found"),
        (UploadError::Certificate(Certificate::Expired), "certificate_expired", "expired"),
        (UploadError::Certificate(Certificate::NotYet), "certificate_not_yet", "clock lags"),
        (UploadError::Certificate(Certificate::Name), "certificate_name", "another name"),
        (UploadError::Certificate(Certificate::Authority), "certificate_authority", "authority is unknown"),
        (UploadError::Certificate(Certificate::Broken), "certificate_broken", "broken"),
        (UploadError::Token, "token_refused", "new token"),
        (busy, "gateway_busy", "sent later"),
        (UploadError::Full { retry_after_ms: None }, "gateway_full", "disk is full"),
        (UploadError::Answer, "not_the_gateway", "sign in"),
        (UploadError::Status(302), "not_the_gateway", "sign in"),
        (UploadError::Status(500), "gateway_error", "(500)"),
    ] {
        let mut bench = Bench::new(Settings::default()).with_answers(&[Err(error)]);
        bench.event(Event::Link(true));
        bench.run_until(12 * 3_600_000);
        expect(&mut bench, code, words);
        assert_eq!(bench.kept.len(), 8_640, "{code}: it samples on");
        assert_eq!(bench.queued, 8_640, "{code}: and keeps everything");
        bench.answers = std::vec![Ok(Ack::default())];
        bench.run_until(13 * 3_600_000);
        assert_eq!((bench.queued, bench.node.trouble(bench.now)), (0, None), "{code}: until it is over");
    }
}

#[test]
fn a_week_without_wifi_is_survived_without_a_restart() {
    let mut bench = Bench::new(Settings::new(60_000, 100, "common").unwrap());
    bench.event(Event::Link(true));
    bench.event(Event::Clock(T0));
    bench.run_until(600_000);
    assert_eq!(bench.queued, 0);
    bench.event(Event::Link(false));
    bench.run_until(600_000 + 7 * 86_400_000);
    expect(&mut bench, "no_network", "Readings are kept");
    assert_eq!(bench.queued, 7 * 1_440);
    bench.event(Event::Link(true));
    bench.run_until(bench.now.0 + 300_000);
    assert_eq!((bench.queued, bench.display.link), (0, Link::Online));
}

#[test]
fn a_network_that_comes_back_is_no_reason_to_restart() {
    // Whatever the length of the outage, whenever it ends: what was counted meanwhile is told first.
    for minutes in 61..100 {
        let mut bench = Bench::new(Settings::new(30_000, 100, "common").unwrap());
        bench.event(Event::Link(true));
        bench.event(Event::Clock(T0));
        bench.run_until(600_000);
        bench.event(Event::Link(false));
        bench.run_until(600_000 + minutes * 61_000);
        bench.event(Event::Link(true));
        bench.run_until(bench.now.0 + 600_000);
        assert_eq!((bench.restarts, bench.queued), (0, 0), "{minutes}");
    }
}

#[test]
fn an_access_point_that_accepts_and_drops_ends_in_one_restart_and_no_loop() {
    let dead = Err(UploadError::Connection(ErrorKind::TimedOut));
    let mut bench = Bench::new(Settings::default()).with_answers(&[Ok(Ack::default()), dead]);
    bench.event(Event::Link(true));
    bench.run_until(86_400_000);
    assert_eq!(bench.restarts, 1);
    // The start that follows reaches nobody and stays.
    let mut bench = Bench::new(Settings::default()).with_answers(&[dead]);
    bench.event(Event::Link(true));
    bench.run_until(86_400_000);
    assert_eq!((bench.restarts, bench.kept.len()), (0, 17_280));
    // Nor is a sensor disturbed that conditions.
    let mut bench = Bench::new(Settings::default()).with_answers(&[Ok(Ack::default()), dead]);
    bench.state = State::Conditioning;
    bench.event(Event::Link(true));
    bench.run_until(86_400_000);
    assert_eq!(bench.restarts, 0);
}

#[test]
fn a_clock_at_zero_and_a_clock_that_jumps_spoil_no_reading() {
    let mut bench = Bench::new(Settings::default());
    bench.event(Event::Clock(0));
    bench.run_until(60_000);
    assert!(bench.kept.iter().all(|record| record.unix_ms.is_none()));
    // An hour ahead, and back again by a better answer.
    bench.event(Event::Clock(T0 + 3_600_000));
    bench.run_until(120_000);
    bench.event(Event::Clock(T0 + 120_000));
    bench.run_until(180_000);
    let names: std::collections::HashSet<_> =
        bench.kept.iter().map(|record| (record.boot, record.seq)).collect();
    assert_eq!(names.len(), bench.kept.len());
    let times: Vec<_> = bench.kept.iter().filter_map(|record| record.unix_ms).collect();
    assert!(times.iter().all(|ms| ms % 5_000 == 0), "on the grid: {times:?}");
    assert!(times.last().unwrap().abs_diff(T0 + 180_000) <= 5_000);
}

/// Flash of which a share cannot be written.
struct Worn(Memory<Vec<u8>>, usize);

impl Region for Worn {
    type Error = ();
    const SECTOR_BYTES: usize = 4096;
    fn sectors(&self) -> usize {
        self.0.sectors()
    }
    fn read(&mut self, offset: usize, bytes: &mut [u8]) -> Result<(), ()> {
        self.0.read(offset, bytes).map_err(|_| ())
    }
    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), ()> {
        if offset < self.1 { Err(()) } else { self.0.write(offset, bytes).map_err(|_| ()) }
    }
    fn erase(&mut self, offset: usize) -> Result<(), ()> {
        if offset < self.1 { Err(()) } else { self.0.erase(offset).map_err(|_| ()) }
    }
}

#[test]
fn worn_flash_and_full_flash_are_named_and_counted() {
    for (worn_sectors, code, words) in
        [(1, "flash", "refuses to write"), (4, "flash", "refuses"), (0, "queue_full", "oldest")]
    {
        let region = Worn(Memory::new(std::vec![0xff; 4 * 4_096]), worn_sectors * 4_096);
        let mut queue = Queue::open(region).unwrap();
        let mut node = Node::new(Settings::new(1_000, 20, "common").unwrap(), 9, 7);
        let (mut now, mut kept, mut refused) = (Millis(0), 0_u32, 0_u32);
        while kept + refused < 900 {
            let actions = node.handle(Event::Due, now);
            if actions.sample {
                let ppm = 600.0 + f64::from(kept % 7);
                let values = [(Quantity::parse("co2").unwrap(), ppm)].into_iter().collect();
                let record = node
                    .handle(Event::Sampled(Ok(Sample { state: State::Ok, values, fault: None })), now)
                    .keep
                    .unwrap();
                match queue.push(&record) {
                    Ok(()) => kept += 1,
                    Err(_) => refused += 1,
                }
                assert!(!node.handle(Event::Queue(queue.status()), now).restart);
            }
            now = actions.wake_at.max(now.after(1));
        }
        let status = queue.status();
        assert_eq!(status.queued + status.dropped, kept, "{worn_sectors}: {status:?}");
        assert_eq!(kept == 0, worn_sectors == 4);
        let trouble = node.trouble(now).unwrap();
        assert_eq!(trouble.code(), code, "{status:?}");
        assert!(format!("{trouble}").contains(words));
        // Every reading is there or counted.
        assert_eq!(status.refused, refused);
        assert_eq!(node.report(&Vitals::default(), now).dropped + status.queued, kept + refused);
    }
}
