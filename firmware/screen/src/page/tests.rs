//! Whatever there is to say, it has its place.

use super::scene;
use crate::gallery::{ABOUT, CHECKS, SETUP, broken, empty, history, room, situations, troubled, view};
use crate::qr::Code;
use crate::scene::{Area, PARTS_MAX, Scene, What};
use crate::view::{
    About, Air, Check, Clock, Joining, Outcome, Page, Setup, Stage, Step, Theme, Trouble, Update,
    UpdateFault, View,
};
use casement_core::{Display, Fault, Link, Primary};
use casement_proto::{Band, State};
use embedded_graphics::geometry::Size;
use std::string::String;
use std::vec;
use std::vec::Vec;

/// Boards' sizes, and some that other boards have.
const SIZES: [Size; 5] =
    [Size::new(320, 240), Size::new(128, 128), Size::new(135, 240), Size::new(240, 240), Size::new(480, 320)];

pub(crate) const TROUBLES: [Trouble; 19] = [
    Trouble::NetworkMissing,
    Trouble::NetworkPassword,
    Trouble::NoAddress,
    Trouble::CaptivePortal,
    Trouble::NameUnknown,
    Trouble::NoAnswer,
    Trouble::ClockUnknown,
    Trouble::CertificateExpired,
    Trouble::CertificateNotYet,
    Trouble::CertificateBroken,
    Trouble::CertificateName,
    Trouble::CertificateIssuer,
    Trouble::TokenRefused,
    Trouble::Busy,
    Trouble::DiskFull,
    Trouble::GatewayFault,
    Trouble::QueueFull,
    Trouble::Flash,
    Trouble::SensorStuck,
];
const FAULTS: [Fault; 5] = [Fault::Bus, Fault::Crc, Fault::Timeout, Fault::Range, Fault::SelfTest];
const LINKS: [Link; 4] = [Link::Offline, Link::Waiting, Link::Online, Link::TokenRefused];
const BANDS: [Option<Band>; 4] = [None, Some(Band::Good), Some(Band::Soon), Some(Band::Now)];
const STAGES: [Stage; 16] = [
    Stage::Downloading(0),
    Stage::Downloading(3),
    Stage::Downloading(255),
    Stage::Verifying,
    Stage::Trial,
    Stage::Installed,
    Stage::Failed(UpdateFault::Incomplete),
    Stage::Failed(UpdateFault::TooLarge),
    Stage::Failed(UpdateFault::WrongBoard),
    Stage::Failed(UpdateFault::Hash),
    Stage::Failed(UpdateFault::Unreadable),
    Stage::Failed(UpdateFault::NotStarted),
    Stage::Failed(UpdateFault::Flash),
    Stage::Failed(UpdateFault::Signature),
    Stage::Failed(UpdateFault::Crashed),
    Stage::Failed(UpdateFault::Unconfirmed),
];

/// Every combination of what is ours to say, with the largest numbers there are.
fn everything() -> Vec<Page<'static>> {
    let mut pages: Vec<_> = situations().into_iter().map(|(_, page)| page).collect();
    // Charts take long to draw and have a test of their own.
    let room = |primary, band| Air { history: history(&[]), ..room(primary, band) };
    for state in State::ALL {
        for band in BANDS {
            for primary in
                [Primary::Co2(40_000), Primary::Co2(4_444), Primary::Eco2(u32::MAX), Primary::Eco2(6_666)]
            {
                for remaining_s in [None, Some(0), Some(5_400), Some(356_400), Some(u32::MAX)] {
                    let mut air = room(primary, band);
                    air.display.state = state;
                    air.remaining_s = remaining_s;
                    pages.push(Page::Air(air));
                }
            }
        }
        pages.push(Page::Air(empty(state)));
    }
    for link in LINKS {
        for queued in [0, 1, 9_999, 999_999, u32::MAX] {
            let mut air = room(Primary::Co2(4_444), Some(Band::Now));
            air.temperature_dc = Some(-384);
            air.humidity_pct = Some(100);
            air.display.link = link;
            air.display.queued = queued;
            pages.push(Page::Air(air));
            pages.extend(TROUBLES.map(|trouble| Page::Air(troubled(trouble, link, queued))));
            for fault in FAULTS {
                for sensor in [None, Some("PMS5003"), Some("Senseair S8")] {
                    let mut air = broken(fault);
                    air.sensor = sensor;
                    air.display.link = link;
                    air.display.queued = queued;
                    pages.push(Page::Air(air));
                    air.trouble = Some(Trouble::CertificateName);
                    pages.push(Page::Air(air));
                }
            }
        }
    }
    for step in [Step::Network, Step::Address, Step::Time, Step::Gateway, Step::Done] {
        let joining = |trouble| Page::Joining(Joining { network: "School-Guests", step, trouble });
        pages.push(joining(None));
        pages.extend(TROUBLES.map(|trouble| joining(Some(trouble))));
    }
    for stage in STAGES {
        pages.push(Page::Update(Update { version: "0.12.0", running: "0.11.9", stage }));
    }
    pages
}

/// The pixels that a part inks, tints left out.
fn ink(what: &What<'_>, area: &Area, code: Option<&Code>) -> Vec<(i32, i32)> {
    let every = || (area.top..area.bottom).flat_map(|y| (area.left..area.right).map(move |x| (x, y)));
    match what {
        What::Text { font, pen, baseline, label, .. } => {
            let mut inked = vec![];
            for row in -font.ascent..=font.descent {
                font.row(label, row, |x, _| inked.push((pen + x, baseline + row)));
            }
            inked
        }
        What::Shape(shape) => {
            let covers =
                |at: &(i32, i32)| shape.coverage(at.0 - area.left, at.1 - area.top, area.width()) > 0;
            every().filter(covers).collect()
        }
        What::Spark(spark) => every().filter(|(x, y)| spark.coverage(area, *x, *y) > 0).collect(),
        // A code's quiet zone may lie under text as long as no module does.
        What::Code(_) => every().filter(|(x, y)| code.is_some_and(|code| code.dark(area, *x, *y))).collect(),
        What::Panel { .. } => vec![],
    }
}

/// Complains about parts that reach out of the screen or out of their box, and about those that touch another.
fn check(view: &View<'_>, size: Size) {
    let scene = scene(view, size);
    let screen = scene.area();
    let mut owner = vec![None; (size.width * size.height) as usize];
    for (index, part) in scene.parts.iter().enumerate() {
        let about = || std::format!("{size}: {:?} in {:?}", part.what, view.page);
        // The quiet zone of a code may lie beyond the edge; its modules may not.
        if !matches!(part.what, What::Code(_)) {
            assert_eq!(part.area.common(&screen), Some(part.area), "out of the screen: {}", about());
        }
        for (x, y) in ink(&part.what, &part.area, scene.code.as_ref()) {
            let pixel = Area::new(x, y, 1, 1);
            let inside = [part.area, screen].iter().all(|area| area.common(&pixel).is_some());
            assert!(inside, "out of its box at {x}, {y}: {}", about());
            let before = owner[(y * screen.right + x) as usize].replace(index);
            if let Some(other) = before.filter(|other| *other != index) {
                panic!("touches {:?} at {x}, {y}: {}", scene.parts[other].what, about());
            }
        }
    }
}

#[test]
fn nothing_reaches_out_of_its_box_or_touches_its_neighbour() {
    for page in everything() {
        for size in &SIZES[..2] {
            check(&view(page, Theme::Light), *size);
        }
    }
    for (_, page) in situations() {
        for size in &SIZES[2..] {
            check(&view(page, Theme::Light), *size);
        }
    }
}

#[test]
fn our_own_words_are_never_cut() {
    for page in everything() {
        for size in SIZES {
            let view = view(page, Theme::Dark);
            for part in &scene(&view, size).parts {
                if let What::Text { label, .. } = &part.what {
                    assert!(!label.ends_with(['…', '.']) || !cut(label), "{size}: {label:?} in {page:?}");
                }
            }
        }
    }
}

/// A sentence may end in a full stop, not in three.
fn cut(label: &str) -> bool {
    label.ends_with('…') || label.ends_with("...")
}

#[test]
fn the_longest_strings_from_outside_stay_in_their_boxes() {
    let wide = String::from("W").repeat(90);
    let thin = String::from("i").repeat(90);
    let words = String::from("Raum mit Übergröße ").repeat(6);
    for text in [wide.as_str(), &thin, &words, "中文教室中文教室中文教室中文教室中文教室中文教室", "", " "]
    {
        let clip = |bytes: usize| {
            let end = (0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            &text[..end]
        };
        let checks = [Check { name: text, outcome: Outcome::Failed, detail: text }; 9];
        let about = About { url: text, gateway: text, device: text, version: text, board: text };
        let mut broken = broken(Fault::Timeout);
        broken.sensor = Some(text);
        let pages = [
            Page::Air(room(Primary::Co2(4_444), Some(Band::Now))),
            Page::Air(broken),
            Page::Setup(Setup { network: clip(32), password: clip(63), url: text }),
            Page::Setup(Setup { password: "", ..SETUP }),
            Page::Joining(Joining { network: clip(32), step: Step::Time, trouble: None }),
            Page::Joining(Joining { network: clip(32), step: Step::Time, trouble: Some(Trouble::Busy) }),
            Page::Update(Update { version: text, running: text, stage: Stage::Downloading(50) }),
            Page::Update(Update { version: text, running: text, stage: Stage::Failed(UpdateFault::Hash) }),
            Page::SelfTest(&checks),
            Page::SelfTest(&checks[..1]),
            Page::SelfTest(&[]),
            Page::About(about),
            Page::About(About { url: "", ..ABOUT }),
        ];
        for page in pages {
            for size in SIZES {
                let clock = Some(Clock { hour: 200, minute: 200 });
                check(&View { name: text, clock, theme: Theme::Light, page }, size);
            }
        }
    }
}

#[test]
fn any_history_stays_in_its_box() {
    let full: Vec<_> = (0..300).map(|at| (at % 7 != 0).then_some(at * 200)).collect();
    let histories: [&[Option<u16>]; 8] = [
        &[],
        &[None],
        &[Some(500)],
        &[Some(500), None, Some(500)],
        &[Some(0), Some(u16::MAX)],
        &[Some(u16::MAX); 96],
        &[Some(380); 2],
        &full,
    ];
    for ppm in histories {
        for thresholds in [(1000, 1400), (0, 0), (u16::MAX, u16::MAX), (1400, 1000), (401, 402)] {
            let mut air = room(Primary::Co2(640), Some(Band::Good));
            air.history = history(ppm);
            air.history.thresholds = thresholds;
            check(&view(Page::Air(air), Theme::Light), SIZES[0]);
        }
    }
}

/// The words and shapes of a page, without colours.
fn said(page: Page<'_>, size: Size) -> Vec<String> {
    let view = View { name: "", clock: None, theme: Theme::Light, page };
    let say = |what: &What<'_>| match what {
        What::Text { label, .. } => Some(String::from(label.as_str())),
        What::Shape(shape) => Some(std::format!("{shape:?}")),
        What::Panel { .. } | What::Spark(_) | What::Code(_) => None,
    };
    scene(&view, size).parts.iter().filter_map(|part| say(&part.what)).collect()
}

#[test]
fn bands_differ_in_word_and_shape() {
    for size in SIZES {
        let of = |band| {
            let mut air = room(Primary::Co2(1_000), Some(band));
            air.history = history(&[]);
            said(Page::Air(air), size)
        };
        let wanted = [
            (Band::Good, "Disc", "Good"),
            (Band::Soon, "Triangle", "Air soon"),
            (Band::Now, "Square", "Air now"),
        ];
        for (band, shape, word) in wanted {
            let said = of(band);
            assert!(said.iter().any(|one| one == shape) && said.iter().any(|one| one == word), "{said:?}");
            for (_, other_shape, other_word) in wanted.iter().filter(|(other, ..)| *other != band) {
                assert!(!said.iter().any(|one| one == other_shape || one == other_word), "{said:?}");
            }
        }
    }
}

#[test]
fn an_estimate_is_named_and_hatched_and_measured_co2_is_neither() {
    for size in SIZES {
        for band in BANDS {
            for state in State::ALL.into_iter().filter(|state| *state != State::Failed) {
                for (primary, unit) in [(Primary::Eco2(1_234), "eCO₂"), (Primary::Co2(1_234), "CO₂")] {
                    let mut air = room(primary, band);
                    air.display.state = state;
                    let page = Page::Air(air);
                    let units: Vec<_> =
                        said(page, size).into_iter().filter(|one| one.ends_with("CO₂")).collect();
                    assert_eq!(units, [unit], "{size} {state:?}");
                    let hatched: Vec<_> = scene(&view(page, Theme::Light), size)
                        .parts
                        .iter()
                        .filter_map(|part| match &part.what {
                            What::Text { label, hatched, .. } if label.len() == 1 => Some(*hatched),
                            _ => None,
                        })
                        .collect();
                    assert_eq!(hatched, [unit == "eCO₂"; 4], "{size} {state:?}");
                }
            }
        }
    }
}

#[test]
fn a_failed_sensor_shows_no_number_and_no_verdict() {
    for size in SIZES {
        for fault in FAULTS {
            let mut air = room(Primary::Co2(1_234), Some(Band::Good));
            air.display.fault = Some(fault);
            let said = said(Page::Air(air), size);
            assert!(!said.iter().any(|one| one == "Good" || one == "1"), "{said:?}");
            assert!(said.iter().any(|one| one.contains("fault") || one == "Fault"), "{said:?}");
        }
    }
}

#[test]
fn what_keeps_readings_from_getting_through_is_always_said() {
    for size in SIZES {
        let mut seen = Vec::new();
        for link in [Link::Offline, Link::Waiting, Link::TokenRefused] {
            let display = Display { link, queued: 77, ..room(Primary::Co2(640), Some(Band::Good)).display };
            let said = said(Page::Air(Air { display, ..Air::default() }), size);
            assert!(!said.iter().any(|one| one == "Online"), "{said:?}");
            if link != Link::TokenRefused || size.width > 300 {
                assert!(said.iter().any(|one| one.contains("77 kept")), "{said:?}");
            }
            assert!(!seen.contains(&said), "{said:?}");
            seen.push(said);
        }
    }
}

#[test]
fn what_failed_stands_first_in_a_self_test() {
    for size in SIZES {
        let said = said(Page::SelfTest(&CHECKS), size);
        let at = |word: &str| said.iter().position(|one| one == word).expect(word);
        assert!(at("Gateway") < at("SCD41"), "{said:?}");
    }
}

#[test]
fn a_screen_needs_little_memory() {
    let most = everything()
        .into_iter()
        .flat_map(|page| SIZES.map(|size| scene(&view(page, Theme::Light), size).parts.len()))
        .max();
    // Room for a few more before somebody has to think.
    assert!(most.is_some_and(|most| most + 4 <= PARTS_MAX), "{most:?} of {PARTS_MAX} parts");
    assert!(
        size_of::<Scene<'_>>() <= 5 * 1024,
        "{} bytes on the stack while drawing",
        size_of::<Scene<'_>>()
    );
    assert!(size_of::<crate::Panel>() <= 1024, "{} bytes for ever", size_of::<crate::Panel>());
}
