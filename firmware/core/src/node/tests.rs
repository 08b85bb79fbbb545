//! Promises of the node, told event by event.

mod bad_days;
mod week;

use super::*;
use casement_proto::Quantity;
use std::vec::Vec;

const T0: i64 = 1_795_000_000_000;

struct Bench {
    node: Node,
    now: Millis,
    queued: u32,
    display: Display,
    kept: Vec<Record>,
    /// The gateway's answer to each upload in turn; the last one repeats.
    answers: Vec<Result<Ack, UploadError>>,
    uploads: Vec<(u64, u16)>,
    radio_restarts: u32,
    restarts: u32,
    sounds: Vec<Band>,
    ambience: Option<Ambience>,
    times_kept: Vec<i64>,
    co2: Result<f64, Fault>,
    /// The sensor that counts is faulty, and another one gives something.
    fault: Option<Fault>,
    /// The sensor is stuck: nothing it says changes, the temperature neither.
    stuck: bool,
    state: State,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        Self {
            node: Node::new(settings, 9, 12_345),
            now: Millis(0),
            queued: 0,
            display: Display::default(),
            kept: Vec::new(),
            answers: std::vec![Ok(Ack::default())],
            uploads: Vec::new(),
            radio_restarts: 0,
            restarts: 0,
            sounds: Vec::new(),
            ambience: None,
            times_kept: Vec::new(),
            co2: Ok(600.0),
            fault: None,
            stuck: false,
            state: State::Ok,
        }
    }

    /// The driver: does what it is told, then comes back with what happened.
    fn event(&mut self, event: Event) -> Millis {
        let mut events = std::collections::VecDeque::from([event]);
        let mut wake_at = self.now;
        while let Some(event) = events.pop_front() {
            let actions = self.node.handle(event, self.now);
            wake_at = actions.wake_at;
            self.display = actions.show.unwrap_or(self.display);
            self.radio_restarts += u32::from(actions.restart_radio);
            self.restarts += u32::from(actions.restart);
            self.sounds.extend(actions.sound);
            self.ambience = actions.ambience.or(self.ambience);
            self.times_kept.extend(actions.keep_time);
            if actions.acknowledge {
                self.queued -= u32::from(self.uploads.last().unwrap().1);
            }
            if let Some(record) = actions.keep.clone() {
                self.kept.push(record);
                self.queued += 1;
            }
            if actions.acknowledge || actions.keep.is_some() {
                events.push_back(Event::Queue(QueueStatus { queued: self.queued, ..QueueStatus::default() }));
            }
            if actions.sample {
                let result = self.sample();
                events.push_back(Event::Sampled(result));
            }
            if let Some(limit) = actions.upload {
                let sent = limit.min(u16::try_from(self.queued).unwrap_or(u16::MAX));
                self.uploads.push((self.now.0, sent));
                let result = if self.answers.len() > 1 { self.answers.remove(0) } else { self.answers[0] };
                events.push_back(Event::Uploaded { sent, result });
            }
        }
        wake_at
    }

    fn sample(&self) -> Result<Sample, Fault> {
        let ppm = self.co2?;
        let temperature = if self.stuck { 21.0 } else { 21.0 + f64::from(self.queued % 7) / 10.0 };
        // What cannot be true comes alone, so that nothing of it is left.
        let real = Quantity::parse("co2").unwrap().holds(ppm);
        let other = real.then_some((Quantity::parse("temperature").unwrap(), temperature));
        let values = [(Quantity::parse("co2").unwrap(), ppm)].into_iter().chain(other).collect();
        Ok(Sample { state: self.state, values, fault: self.fault })
    }

    fn run_until(&mut self, ms: u64) {
        while self.now.0 < ms {
            let wake_at = self.event(Event::Due);
            assert!(wake_at > self.now, "does not come to rest at {:?}", self.now);
            self.now = wake_at.min(Millis(ms));
        }
    }

    fn with_answers(mut self, answers: &[Result<Ack, UploadError>]) -> Self {
        self.answers = answers.to_vec();
        self
    }
}

#[test]
fn readings_lie_on_the_grid_of_the_clock() {
    let mut bench = Bench::new(Settings::default());
    bench.run_until(7_000);
    bench.event(Event::Clock(T0 + 1_234));
    bench.run_until(30_000);
    let stamps: Vec<_> = bench.kept.iter().map(|record| (record.uptime.0, record.unix_ms)).collect();
    assert_eq!(
        stamps,
        [
            (0, None),
            (5_000, None),
            (10_766, Some(T0 + 5_000)),
            (15_766, Some(T0 + 10_000)),
            (20_766, Some(T0 + 15_000)),
            (25_766, Some(T0 + 20_000)),
        ]
    );
    assert_eq!(bench.kept.iter().map(|record| record.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn small_corrections_of_the_clock_neither_lose_nor_repeat_a_reading() {
    let mut bench = Bench::new(Settings::default());
    bench.event(Event::Clock(T0));
    for step in 1..=200_u64 {
        bench.run_until(step * 1_700);
        let wobble = i64::try_from(step * 37 % 800).unwrap() - 400;
        bench.event(Event::Clock(T0 + wobble + i64::try_from(bench.now.0).unwrap()));
    }
    let stamps: Vec<_> = bench.kept.iter().filter_map(|record| record.unix_ms).collect();
    assert!(stamps.len() > 60, "{}", stamps.len());
    for pair in stamps.windows(2) {
        assert_eq!(pair[1] - pair[0], 5_000, "{stamps:?}");
    }
}

#[test]
fn a_new_period_begins_at_once_and_keeps_counting() {
    let mut bench = Bench::new(Settings::new(60_000, 20, "common").unwrap());
    bench.event(Event::Clock(T0));
    bench.run_until(130_000);
    bench.event(Event::Settings(Settings::new(10_000, 20, "common").unwrap()));
    bench.run_until(151_000);
    let seen: Vec<_> = bench.kept.iter().filter_map(|it| Some((it.seq, it.unix_ms? - T0))).collect();
    assert_eq!(seen, [(1, 20_000), (2, 80_000), (3, 140_000), (4, 150_000)]);
}

#[test]
fn a_clock_nobody_set_is_not_believed() {
    let mut bench = Bench::new(Settings::default());
    for wrong in [0, -1, i64::MIN, i64::MAX, 1_704_067_199_999] {
        bench.event(Event::Clock(wrong));
        assert_eq!(bench.node.timeline(bench.now).started_unix_ms, None, "{wrong}");
    }
}

#[test]
fn the_gateways_time_sets_a_clock_that_is_unknown() {
    let ack = |ms| Ok(Ack { stored: 1, server_time_ms: Some(ms), ..Ack::default() });
    // What a later answer took on its way does not move it.
    let mut bench = Bench::new(Settings::default()).with_answers(&[ack(T0), ack(T0 + 9_000)]);
    bench.event(Event::Link(true));
    bench.run_until(20_000);
    let first = i64::try_from(bench.uploads[0].0).unwrap();
    assert_eq!(bench.node.timeline(bench.now).started_unix_ms, Some(T0 - first));
    assert_eq!(bench.times_kept, [T0]);
}

#[test]
fn offline_is_a_normal_state() {
    let mut bench = Bench::new(Settings::default());
    bench.run_until(3_600_000);
    assert_eq!(bench.kept.len(), 720);
    assert_eq!((bench.display.link, bench.display.queued), (Link::Offline, 720));
    assert_eq!(bench.display.band, Some(Band::Good));
    // The network comes: everything goes out in order, a full batch at a time.
    bench.event(Event::Link(true));
    bench.run_until(3_603_000);
    assert_eq!((bench.queued, bench.uploads.len()), (0, 37));
    assert_eq!((bench.display.link, bench.display.queued), (Link::Online, 0));
}

#[test]
fn a_radio_that_went_deaf_is_restarted_and_the_device_is_not() {
    let mut bench = Bench::new(Settings::default()).with_answers(&[Err(UploadError::Connection(TIMED_OUT))]);
    bench.event(Event::Link(true));
    bench.run_until(3_600_000);
    assert_eq!((bench.radio_restarts, bench.restarts), (5, 0));
    assert_eq!(bench.kept.len(), 720);
    // An answer, even an unfriendly one, means that the radio works.
    let mut bench = Bench::new(Settings::default()).with_answers(&[Err(UploadError::Status(500))]);
    bench.event(Event::Link(true));
    bench.run_until(3_600_000);
    assert_eq!((bench.radio_restarts, bench.restarts), (0, 0));
}

const TIMED_OUT: embedded_svc::io::ErrorKind = embedded_svc::io::ErrorKind::TimedOut;

#[test]
fn a_gateway_that_is_down_is_asked_ever_less_often() {
    let mut bench = Bench::new(Settings::default()).with_answers(&[Err(UploadError::Status(502))]);
    bench.event(Event::Link(true));
    bench.run_until(6 * 3_600_000);
    // The mean pause is half of five minutes.
    assert!((100..220).contains(&bench.uploads.len()), "{}", bench.uploads.len());
    assert_eq!(bench.queued as usize, bench.kept.len());
}

#[test]
fn one_unreadable_reading_is_found_and_given_up_alone() {
    let refused = Err(UploadError::Refused);
    let mut bench = Bench::new(Settings::default());
    bench.run_until(95_000);
    bench = bench.with_answers(&[refused, refused, refused, refused, refused, Ok(Ack::default())]);
    bench.event(Event::Link(true));
    bench.run_until(600_000);
    let sent: Vec<_> = bench.uploads.iter().map(|upload| upload.1).take(8).collect();
    assert_eq!(sent[1..5], [sent[0] / 2, sent[0] / 4, sent[0] / 8, 1]);
    assert_eq!(bench.node.health().poisoned, 1);
    assert_eq!(bench.queued, 0);
    // And the batches grow back.
    assert_eq!(sent[5..8], [1, 2, 4]);
}

#[test]
fn a_gateway_that_refuses_everything_does_not_empty_the_queue() {
    let mut bench = Bench::new(Settings::default()).with_answers(&[Err(UploadError::Refused)]);
    bench.event(Event::Link(true));
    bench.run_until(3_600_000);
    assert!(bench.node.health().poisoned < 60, "{}", bench.node.health().poisoned);
    assert!(bench.queued > 660);
}

#[test]
fn an_unknown_token_loses_nothing_and_is_shown() {
    let mut bench = Bench::new(Settings::default()).with_answers(&[Err(UploadError::Token)]);
    bench.event(Event::Link(true));
    bench.run_until(3_600_000);
    assert_eq!(bench.display.link, Link::TokenRefused);
    assert_eq!(bench.queued as usize, bench.kept.len());
    assert!(bench.uploads.len() < 30, "{}", bench.uploads.len());
    bench.answers = std::vec![Ok(Ack::default())];
    bench.run_until(4_200_000);
    assert_eq!((bench.display.link, bench.queued), (Link::Online, 0));
}

#[test]
fn retry_after_holds_even_when_the_network_comes_back() {
    let busy = Err(UploadError::Busy { retry_after_ms: Some(120_000) });
    let mut bench = Bench::new(Settings::default()).with_answers(&[busy, Ok(Ack::default())]);
    bench.event(Event::Link(true));
    bench.run_until(10_000);
    bench.event(Event::Link(false));
    bench.event(Event::Link(true));
    bench.run_until(300_000);
    let (first, second) = (bench.uploads[0].0, bench.uploads[1].0);
    assert!(second - first >= 120_000, "{}", second - first);
}

#[test]
fn a_warming_sensor_is_shown_and_kept_but_moves_no_light() {
    let mut bench = Bench::new(Settings::default());
    (bench.co2, bench.state) = (Ok(3_000.0), State::WarmingUp);
    bench.run_until(60_000);
    assert_eq!((bench.display.band, bench.display.state), (None, State::WarmingUp));
    assert_eq!(bench.display.primary, Some(Primary::Co2(3_000)));
    assert!(bench.kept.iter().all(|record| record.state == State::WarmingUp));
    bench.state = State::Ok;
    bench.run_until(66_000);
    assert_eq!((bench.display.band, bench.display.state), (Some(Band::Now), State::Ok));
}

#[test]
fn a_sensor_without_a_first_value_is_shown_as_warming_up_and_is_no_fault() {
    let mut node = Node::new(Settings::default(), 1, 1);
    for second in 0..30 {
        let now = Millis(second * 5_000);
        let _asked = node.handle(Event::Due, now);
        let nothing = Sample { state: State::WarmingUp, values: Values::new(), fault: None };
        let actions = node.handle(Event::Sampled(Ok(nothing)), now);
        assert_eq!(actions.keep, None);
        let shown = actions.show.map(|display| (display.state, display.fault));
        assert_eq!(shown, (second == 0).then_some((State::WarmingUp, None)));
    }
    assert_eq!((node.health().faults, node.health().samples), (0, 0));
}

#[test]
fn a_hiccup_is_counted_and_a_lasting_fault_is_shown_and_reported() {
    let mut bench = Bench::new(Settings::default());
    bench.run_until(9_000);
    bench.co2 = Err(Fault::Crc);
    bench.run_until(19_000);
    assert_eq!((bench.display.fault, bench.kept.len()), (None, 2));
    bench.run_until(340_000);
    assert_eq!(bench.display.fault, Some(Fault::Crc));
    assert_eq!((bench.display.primary, bench.display.band), (None, None));
    assert_eq!(bench.node.latest(bench.now), None);
    let failed = bench.kept.iter().filter(|record| record.state == State::Failed).count();
    assert_eq!(failed, 2);
    bench.co2 = Ok(700.0);
    bench.run_until(350_000);
    assert_eq!((bench.display.fault, bench.display.primary), (None, Some(Primary::Co2(700))));
}

#[test]
fn values_that_cannot_be_true_are_left_out() {
    for (ppm, kept) in [(40_001.0, 0), (-1.0, 0), (f64::NAN, 0), (40_000.0, 1)] {
        let mut bench = Bench::new(Settings::default());
        bench.co2 = Ok(ppm);
        bench.run_until(1_000);
        assert_eq!((bench.kept.len(), bench.node.health().out_of_range), (kept, 1 - kept as u32), "{ppm}");
    }
}

#[test]
fn an_estimate_moves_the_light_only_when_asked_to() {
    for (asked, band) in [(false, None), (true, Some(Band::Now))] {
        let mut node = Node::new(Settings::default().light_from_estimate(asked), 1, 1);
        assert!(node.handle(Event::Due, Millis(0)).sample);
        let values = [(Quantity::parse("eco2").unwrap(), 2_500.0)].into_iter().collect();
        let actions =
            node.handle(Event::Sampled(Ok(Sample { state: State::Ok, values, fault: None })), Millis(1));
        let show = actions.show.unwrap();
        assert_eq!((show.band, show.primary), (band, Some(Primary::Eco2(2_500))));
    }
}

#[test]
fn a_device_that_overslept_does_not_make_up_for_it() {
    let mut bench = Bench::new(Settings::default());
    bench.event(Event::Clock(T0));
    bench.run_until(11_000);
    bench.now = Millis(63_000);
    bench.run_until(66_000);
    let stamps: Vec<_> = bench.kept.iter().filter_map(|it| it.unix_ms).map(|ms| ms - T0).collect();
    assert_eq!(stamps, [5_000, 10_000, 60_000, 65_000]);
}

#[test]
fn devices_on_one_grid_do_not_all_send_at_once() {
    let mut moments: Vec<_> = (1..=20_u32)
        .map(|seed| {
            let mut bench = Bench::new(Settings::default());
            bench.node = Node::new(Settings::default(), 1, seed.wrapping_mul(0x9e37_79b9));
            bench.event(Event::Clock(T0));
            bench.event(Event::Link(true));
            bench.run_until(9_000);
            bench.uploads.last().unwrap().0
        })
        .collect();
    moments.sort_unstable();
    moments.dedup();
    assert!(moments.len() > 10, "{moments:?}");
}

fn settings(change: impl FnOnce(&mut casement_proto::DeviceSettings)) -> Settings {
    let mut all = casement_proto::DeviceSettings::default().with_brightness_percent(60).unwrap();
    change(&mut all);
    Settings::from(&all)
}

#[test]
fn in_quiet_hours_lights_are_out_until_somebody_presses() {
    let hours = casement_proto::device_settings::QuietHours::new(0, 1).unwrap();
    let mut bench = Bench::new(settings(|all| all.quiet = Some(hours)));
    // Without a clock nobody knows whether it is night.
    bench.run_until(1_000);
    assert_eq!(bench.ambience, Some(Ambience { brightness_percent: 60, quiet: false }));
    let midnight = T0 - T0 % 86_400_000;
    bench.event(Event::Clock(midnight));
    assert_eq!(bench.ambience, Some(Ambience { brightness_percent: 0, quiet: true }));
    let pressed = bench.node.handle(Event::Button(Press::Short), bench.now);
    assert!(!pressed.next_screen && pressed.ambience.is_some_and(|it| it.brightness_percent == 60));
    bench.run_until(31_001);
    assert_eq!(bench.ambience, Some(Ambience { brightness_percent: 0, quiet: true }));
    bench.run_until(66_000);
    assert_eq!(bench.ambience, Some(Ambience { brightness_percent: 60, quiet: false }));
    assert!(bench.node.handle(Event::Button(Press::Short), bench.now).next_screen);
    assert!(bench.node.handle(Event::Button(Press::Long), bench.now).provision);
    let levels = [0, 60, 100].map(|percent| Ambience { brightness_percent: percent, quiet: false }.level());
    assert_eq!(levels, [0, 153, 255]);
}

#[test]
fn a_sound_tells_once_that_the_air_got_worse() {
    for (sound, heard) in
        [(Sound::Off, &[][..]), (Sound::Now, &[Band::Now]), (Sound::SoonAndNow, &[Band::Soon, Band::Now])]
    {
        let mut bench = Bench::new(settings(|all| all.sound = sound));
        for (until, ppm) in [(300_000, 600.0), (600_000, 1_200.0), (900_000, 1_600.0), (1_500_000, 600.0)] {
            bench.co2 = Ok(ppm);
            bench.run_until(until);
        }
        assert_eq!(bench.sounds, heard, "{sound:?}");
    }
}

#[test]
fn an_update_waits_until_the_sensors_have_settled() {
    let mut bench = Bench::new(Settings::default());
    assert!(!bench.node.calm(), "nobody knows yet");
    for (state, calm) in [
        (State::WarmingUp, false),
        (State::Conditioning, false),
        (State::Calibrating, false),
        (State::Suspect, true),
        (State::Ok, true),
    ] {
        bench.state = state;
        bench.run_until(bench.now.0 + 6_000);
        assert_eq!(bench.node.calm(), calm, "{state:?}");
    }
}

#[test]
fn a_report_says_how_the_device_is() {
    let mut bench = Bench::new(Settings::default());
    bench.co2 = Err(Fault::Bus);
    bench.run_until(61_000);
    let vitals = Vitals {
        firmware: "1.4.0",
        board: "stamp-c3",
        reset: "power",
        heap_free: Some((90_000, 61_000)),
        rssi: Some(-61),
        update: None,
    };
    let report = bench.node.report(&vitals, bench.now);
    let expected = DeviceHealth {
        firmware: "1.4.0",
        board: "stamp-c3",
        reset: "power",
        uptime_s: 61,
        heap_free: Some(90_000),
        heap_free_min: Some(61_000),
        rssi: Some(-61),
        queued: 1,
        faults: 13,
        trouble: Some("sensor_missing"),
        ..DeviceHealth::default()
    };
    assert_eq!(report, expected);
}
