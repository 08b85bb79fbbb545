use super::*;
use crate::font::{NOTE, TEXT};
use crate::view::UpdateFault;
use casement_core::Primary;
use casement_proto::Band;
use casement_proto::device_settings::{GatewayUrl, QuietHours, Wifi};
use std::string::{String as Text, ToString};
use std::vec::Vec as List;

/// 2026-11-22 14:32 UTC.
const NOON_MS: i64 = 1_795_357_920_000;
const SECOND: u64 = 1_000;
const MINUTE: u64 = 60_000;

fn set_up() -> DeviceSettings {
    let mut settings = DeviceSettings::default();
    settings.wifi = Wifi::new("School-Guests", "correct horse").ok();
    settings.gateway = GatewayUrl::parse("https://air.school.example").ok();
    settings.room = String::try_from("Room 204").unwrap();
    settings
}

fn face() -> Face {
    Face::new(&set_up(), "0.1.0", "core2")
}

/// A device that works: an SCD41, a network, a gateway.
fn well() -> Facts {
    Facts {
        display: Display {
            band: Some(Band::Good),
            primary: Some(Primary::Co2(640)),
            link: Link::Online,
            ..Display::default()
        },
        started_unix_ms: Some(NOON_MS),
        sensors: Vec::from_iter([SCD41]),
        on_flash: true,
        network: Network::Address([192, 168, 178, 23]),
        rssi: Some(-61),
        ..Facts::default()
    }
}

const LINKS: [Link; 4] = [Link::Offline, Link::Waiting, Link::Online, Link::TokenRefused];

const SCD41: Sensor =
    Sensor { name: "SCD41", serial: Some(0x4f3a_07be_9c21), state: Ok(State::Ok), remaining_ms: None };

/// The page at a moment, in a word.
fn page(face: &mut Face, now: u64) -> Text {
    face.show(Millis(now), |view| match view.page {
        Page::Setup(setup) => std::format!("setup {} {}", setup.network, setup.password),
        Page::Joining(Joining { step, trouble: None, .. }) => std::format!("joining {step:?}"),
        Page::Joining(Joining { step, trouble: Some(it), .. }) => std::format!("joining {step:?} {it:?}"),
        Page::Update(Update { version, stage, .. }) => std::format!("update {version} {stage:?}"),
        other => other.name().to_string(),
    })
}

fn portal() -> Option<Portal> {
    let (network, password) = ("casement-1a2b3c", "k7mq-29xd");
    Some(Portal {
        network: String::try_from(network).unwrap(),
        password: String::try_from(password).unwrap(),
    })
}

/// A face that has been up for two minutes and shows the air.
fn settled() -> Face {
    let mut face = face();
    face.look(&well(), Millis(2 * MINUTE));
    assert_eq!(page(&mut face, 2 * MINUTE), "air");
    face
}

#[test]
fn a_press_turns_the_page_and_time_turns_it_back() {
    let mut face = settled();
    let start = 2 * MINUTE;
    let mut seen = List::new();
    for press in 1..=4 {
        face.turn(Millis(start + press * SECOND));
        seen.push(page(&mut face, start + press * SECOND));
    }
    assert_eq!(seen, ["about", "self-test", "air", "about"]);
    let last = start + 4 * SECOND;
    assert_eq!(page(&mut face, last + 29_999), "about");
    assert_eq!(page(&mut face, last + 30_000), "air");
}

#[test]
fn the_way_to_the_gateway_is_shown_step_by_step() {
    let mut face = face();
    let mut facts = Facts { started_unix_ms: None, ..well() };
    facts.display.link = Link::Offline;
    facts.network = Network::Away;
    let mut steps = List::new();
    let mut at = 1_000;
    let mut step = |face: &mut Face, facts: &Facts| {
        face.look(facts, Millis(at));
        steps.push(page(face, at));
        at += 2_000;
    };
    step(&mut face, &facts);
    facts.trouble = Some(Trouble::NetworkPassword);
    step(&mut face, &facts);
    (facts.network, facts.trouble) = (Network::Joined, None);
    step(&mut face, &facts);
    (facts.network, facts.trouble) = (Network::Away, Some(Trouble::NoAddress));
    step(&mut face, &facts);
    // That the memory is worn is another matter.
    (facts.network, facts.trouble) = (Network::Address([10, 0, 0, 7]), Some(Trouble::Flash));
    facts.display.link = Link::Waiting;
    step(&mut face, &facts);
    (facts.started_unix_ms, facts.trouble) = (Some(NOON_MS), None);
    step(&mut face, &facts);
    facts.trouble = Some(Trouble::CertificateIssuer);
    step(&mut face, &facts);
    facts.trouble = None;
    facts.display.link = Link::Online;
    step(&mut face, &facts);
    assert_eq!(
        steps,
        [
            "joining Network",
            "joining Network NetworkPassword",
            "joining Address",
            "joining Address NoAddress",
            "joining Time",
            "joining Gateway",
            "joining Gateway CertificateIssuer",
            "joining Done",
        ]
    );
    // The last step began at 15 s.
    assert_eq!((page(&mut face, 18_999), page(&mut face, 19_000)), ("joining Done".into(), "air".into()));
    // It does not come again when the network goes and comes.
    facts.display.link = Link::Offline;
    face.look(&facts, Millis(20_000));
    assert_eq!(page(&mut face, 20_000), "air");
}

#[test]
fn joining_gives_way_to_the_air_after_a_minute_or_a_press() {
    let mut facts = well();
    facts.display.link = Link::Waiting;
    facts.trouble = Some(Trouble::NoAnswer);
    let mut one = face();
    one.look(&facts, Millis(SECOND));
    assert_eq!(page(&mut one, MINUTE - 1), "joining Gateway NoAnswer");
    assert_eq!(page(&mut one, MINUTE), "air");
    let trouble = one.show(Millis(MINUTE), |view| match view.page {
        Page::Air(air) => air.trouble,
        _ => None,
    });
    assert_eq!(trouble, Some(Trouble::NoAnswer), "what is wrong stands on the air's page, too");
    // Success after that minute interrupts nobody.
    one.look(&well(), Millis(2 * MINUTE));
    assert_eq!(page(&mut one, 2 * MINUTE), "air");

    let mut other = face();
    other.look(&facts, Millis(SECOND));
    other.turn(Millis(2 * SECOND));
    assert_eq!((page(&mut other, 2 * SECOND), page(&mut other, 40 * SECOND)), ("air".into(), "air".into()));
}

#[test]
fn a_device_that_was_never_set_up_shows_the_air_and_its_network() {
    let mut face = Face::new(&DeviceSettings::default(), "0.1.0", "core2");
    let mut facts = Facts { network: Network::Away, ..well() };
    facts.display.link = Link::Offline;
    face.look(&facts, Millis(SECOND));
    assert_eq!(page(&mut face, SECOND), "air", "there is no way to be shown");
    facts.portal = portal();
    face.look(&facts, Millis(2 * SECOND));
    let setup = "setup casement-1a2b3c k7mq-29xd";
    assert_eq!(page(&mut face, 2 * SECOND), setup);
    assert_eq!(page(&mut face, 10 * MINUTE), setup);
    assert_eq!(page(&mut face, 11 * MINUTE), "air");
    // It can be turned to as long as the network is open.
    let seen: List<_> = (0..4)
        .map(|press| {
            face.turn(Millis(11 * MINUTE + press));
            page(&mut face, 11 * MINUTE + press)
        })
        .collect();
    assert_eq!(seen, ["about", "self-test", setup, "air"]);
    facts.portal = None;
    face.look(&facts, Millis(12 * MINUTE));
    assert_eq!(page(&mut face, 12 * MINUTE), "air");
}

#[test]
fn opening_the_network_comes_before_the_page_one_had_turned_to() {
    let mut face = settled();
    face.turn(Millis(3 * MINUTE));
    face.look(&Facts { portal: portal(), ..well() }, Millis(3 * MINUTE + SECOND));
    assert!(page(&mut face, 3 * MINUTE + SECOND).starts_with("setup"));
    face.turn(Millis(3 * MINUTE + 2 * SECOND));
    assert_eq!(page(&mut face, 3 * MINUTE + 2 * SECOND), "air");
    assert_eq!(page(&mut face, 5 * MINUTE), "air", "it does not come again by itself");
}

#[test]
fn an_update_is_shown_at_each_of_its_steps_and_not_in_between() {
    let version = Version { major: 0, minor: 2, patch: 0 };
    let mut face = settled();
    let mut facts = well();
    let mut seen = List::new();
    for (minute, stage) in [
        (3, Some(Stage::Downloading(0))),
        (4, Some(Stage::Downloading(40))),
        (5, Some(Stage::Verifying)),
        (6, Some(Stage::Trial)),
        (7, None),
        (8, None),
    ] {
        facts.update = stage.map(|stage| (version, stage));
        face.look(&facts, Millis(minute * MINUTE));
        seen.push(page(&mut face, minute * MINUTE + 14_999));
        assert_eq!(page(&mut face, minute * MINUTE + 15_000), "air");
    }
    assert_eq!(
        seen,
        [
            "update 0.2.0 Downloading(0)",
            "air",
            "update 0.2.0 Verifying",
            "update 0.2.0 Trial",
            "update 0.2.0 Installed",
            "air",
        ]
    );
    // One that is refused goes away by a press.
    facts.update = Some((version, Stage::Failed(UpdateFault::Signature)));
    face.look(&facts, Millis(9 * MINUTE));
    assert_eq!(page(&mut face, 9 * MINUTE), "update 0.2.0 Failed(Signature)");
    face.turn(Millis(9 * MINUTE));
    assert_eq!((page(&mut face, 9 * MINUTE), page(&mut face, 10 * MINUTE)), ("air".into(), "air".into()));
}

#[test]
fn the_palette_follows_the_wall_and_the_quiet_hours() {
    let theme = |settings: &DeviceSettings, started: Option<i64>| {
        let mut face = Face::new(settings, "0.1.0", "core2");
        face.look(&Facts { started_unix_ms: started, ..well() }, Millis(0));
        face.show(Millis(2 * MINUTE), |view| (view.theme, view.clock))
    };
    let at = |hour: i64| Some(NOON_MS + ((hour - 14) * 60 - 34) * 60_000);
    let clock = |hour| Some(Clock { hour, minute: 0 });
    let utc = DeviceSettings::default();
    for (hour, expected) in
        [(6, Theme::Dark), (7, Theme::Light), (14, Theme::Light), (19, Theme::Light), (20, Theme::Dark)]
    {
        assert_eq!(theme(&utc, at(i64::from(hour))), (expected, clock(hour)), "{hour}");
    }
    assert_eq!(theme(&utc, None), (Theme::Light, None));
    let east = DeviceSettings::default().with_utc_offset_min(330).unwrap();
    assert_eq!(theme(&east, at(15)), (Theme::Dark, Some(Clock { hour: 20, minute: 30 })));
    let mut napping = DeviceSettings::default();
    napping.quiet = QuietHours::new(13 * 60, 15 * 60).ok();
    assert_eq!(theme(&napping, at(14)), (Theme::Dark, clock(14)));
    assert_eq!(theme(&napping, at(15)), (Theme::Light, clock(15)));
}

#[test]
fn the_air_has_what_is_known_about_it() {
    let mut face = settled();
    let mut facts = Facts { temperature_dc: Some(214), humidity_pct: Some(46), ..well() };
    facts.display.state = State::WarmingUp;
    let warming = Sensor { state: Ok(State::WarmingUp), remaining_ms: Some(44_001), ..SCD41 };
    facts.sensors = Vec::from_iter([warming, Sensor { name: "SHT40", remaining_ms: Some(1), ..SCD41 }]);
    face.look(&facts, Millis(2 * MINUTE));
    face.show(Millis(2 * MINUTE + 20_000), |view| {
        let Page::Air(air) = view.page else { panic!("{:?}", view.page) };
        assert_eq!((air.remaining_s, air.sensor), (Some(45), Some("SCD41")));
        assert_eq!((air.temperature_dc, air.humidity_pct), (Some(214), Some(46)));
        assert_eq!(air.history.thresholds, (1_000, 1_400));
        assert_eq!((air.history.ppm.last(), view.name), (Some(&Some(640)), "Room 204"));
        assert!(air.history.ppm.iter().flatten().count() >= 2, "{:?}", air.history);
    });
    // What a sensor that is broken said before is no longer a number.
    facts.display.fault = Some(Fault::Bus);
    face.look(&facts, Millis(3 * MINUTE));
    face.show(Millis(3 * MINUTE + 20_000), |view| {
        let Page::Air(air) = view.page else { panic!("{:?}", view.page) };
        assert_eq!(air.history.ppm.last(), Some(&None));
    });
}

/// The rows of the self-test.
fn checks(settings: &DeviceSettings, facts: &Facts, now: u64) -> List<(Text, Outcome, Text)> {
    let mut face = Face::new(settings, "0.1.0", "core2");
    face.look(facts, Millis(now));
    face.checks(Millis(now))
        .iter()
        .map(|(name, outcome, detail)| (name.to_string(), *outcome, detail.to_string()))
        .collect()
}

fn row(name: &str, outcome: Outcome, detail: &str) -> (Text, Outcome, Text) {
    (name.to_string(), outcome, detail.to_string())
}

#[test]
fn the_self_test_says_what_was_found_and_what_is_missing() {
    assert_eq!(
        checks(&set_up(), &well(), MINUTE),
        [
            row("SCD41", Outcome::Passed, "serial 4f3a07be9c21"),
            row("Memory", Outcome::Passed, "0 readings wait"),
            row("Wi-Fi", Outcome::Passed, "−61 dBm"),
            row("Time", Outcome::Passed, "is known"),
            row("Gateway", Outcome::Passed, "takes readings"),
        ]
    );
    let nothing = checks(&DeviceSettings::default(), &Facts::default(), MINUTE);
    assert_eq!(
        nothing,
        [
            row("Sensor", Outcome::Failed, "none answers"),
            row("Memory", Outcome::Failed, "readings end with the power"),
            row("Wi-Fi", Outcome::Absent, "not set up"),
            row("Time", Outcome::Running, "nobody has said"),
            row("Gateway", Outcome::Absent, "not set up"),
        ]
    );
    let begun = checks(&set_up(), &Facts::default(), SECOND);
    assert_eq!(begun[0], row("Sensor", Outcome::Running, "is looked for"));
    let broken = Sensor { state: Err(Fault::Crc), ..SCD41 };
    let mut facts = Facts {
        sensors: Vec::from_iter([broken]),
        network: Network::Away,
        trouble: Some(Trouble::NetworkPassword),
        ..well()
    };
    facts.display.link = Link::Offline;
    let rows = checks(&set_up(), &facts, MINUTE);
    assert_eq!(rows[0], row("SCD41", Outcome::Failed, "sends garbled data"));
    assert_eq!(rows[2], row("Wi-Fi", Outcome::Failed, "Wrong Wi-Fi password"));
    assert_eq!(rows[4], row("Gateway", Outcome::Running, "needs the Wi-Fi"));
}

#[test]
fn no_word_of_the_self_test_is_cut() {
    let mut all = List::new();
    let states =
        [State::Ok, State::WarmingUp, State::Conditioning, State::Calibrating, State::Suspect, State::Failed];
    let faults = [Fault::Bus, Fault::Crc, Fault::Timeout, Fault::Range, Fault::SelfTest];
    for state in states.map(Ok).into_iter().chain(faults.map(Err)) {
        for serial in [None, Some(u64::from(u32::MAX) << 16 | 0xffff)] {
            // The longest name of a part.
            all.push(sensor(&Sensor { name: "Senseair S8", serial, state, remaining_ms: None }));
        }
    }
    all.extend(face().checks(Millis(0)));
    let mut about = |facts: Facts| {
        let mut face = face();
        face.look(&facts, Millis(MINUTE));
        all.extend(face.checks(Millis(MINUTE)));
    };
    let troubles = crate::page::tests::TROUBLES.map(Some).into_iter().chain([None]);
    for (trouble, link) in troubles.flat_map(|it| LINKS.map(|link| (it, link))) {
        for network in [Network::Away, Network::Joined, Network::Address([255; 4])] {
            let display = Display { link, ..Display::default() };
            let queue = QueueStatus { queued: 1_000_000, ..QueueStatus::default() };
            about(Facts { display, network, queue, trouble, rssi: Some(i8::MIN), ..well() });
        }
    }
    about(Facts::default());
    about(Facts { queue: QueueStatus { faults: u32::MAX, ..QueueStatus::default() }, ..well() });
    for (name, _, detail) in all {
        // As the page lays it out: the name from column 42, the detail up to column 304, ten columns apart.
        let (from, to) = TEXT.extent(name);
        let (begin, end) = NOTE.extent(&detail);
        assert!(to - from <= 110 && 42 + to - from + 10 + end - begin <= 304, "{name}: {detail}");
        assert!(detail.len() < 48);
    }
}

#[test]
fn it_looks_at_the_node() {
    use casement_core::{Clock, Event, QueueStatus, Sample};
    let quantity = |name, value| (casement_proto::Quantity::parse(name).unwrap(), value);
    let clock = Clock::new(0, None);
    let mut node = Node::new(Settings::default(), 1, 1).with_clock(clock);
    let now = Millis(5_000);
    let values = [quantity("co2", 640.0), quantity("temperature", -3.25), quantity("humidity", 45.5)];
    let _ = node.handle(Event::Clock(NOON_MS + 5_000), now);
    let due = node.handle(Event::Due, Millis(10_000));
    assert!(due.sample);
    let sample = Sample { state: State::Ok, values: values.into_iter().collect(), fault: None };
    let _ = node.handle(Event::Sampled(Ok(sample)), Millis(10_000));
    let _ = node.handle(Event::Queue(QueueStatus { queued: 7, ..QueueStatus::default() }), Millis(10_000));
    let mut facts = Facts::default();
    facts.look(&node, Millis(10_000));
    assert_eq!((facts.temperature_dc, facts.humidity_pct), (Some(-33), Some(46)));
    assert_eq!((facts.started_unix_ms, facts.queue.queued), (Some(NOON_MS), 7));
    assert_eq!(facts.trouble, None, "a missing network is shown as such");
    // Nothing is shown of what is too old.
    facts.look(&node, Millis(10_000 + 3_600_000));
    assert_eq!((facts.temperature_dc, facts.humidity_pct), (None, None));
}

#[test]
fn it_is_small_enough_for_a_chip() {
    // On this computer, whose pointers are twice as long.
    assert!(size_of::<Facts>() <= 512, "{} bytes", size_of::<Facts>());
    assert!(size_of::<Face>() <= 2_048, "{} bytes", size_of::<Face>());
    // What drawing takes of the stack, besides: the parts of a scene, with the code on some.
    let scene = size_of::<crate::scene::Scene<'_>>();
    assert!(scene <= 6 * 1_024, "{scene} bytes");
}
