//! A screen of memory, and every situation that the pictures show.

use casement_core::{Display, Fault, Link, Primary};
use casement_proto::{Band, State};
use casement_screen::{
    About, Air, Check, Clock, Joining, Outcome, Page, Setup, Stage, Step, Theme, Trouble, Update,
    UpdateFault, View, view::History,
};
use embedded_graphics::{Pixel, pixelcolor::Rgb565, prelude::*, primitives::Rectangle};
use std::convert::Infallible;
use std::vec;
use std::vec::Vec;

/// Large as on the Core2 and CoreS3, small as on the AtomS3.
pub(crate) const SIZES: [Size; 2] = [Size::new(320, 240), Size::new(128, 128)];

/// A screen that remembers what was written, and how much.
#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) size: Size,
    pub(crate) pixels: Vec<Rgb565>,
    /// Pixels written so far; one written twice counts twice.
    pub(crate) written: usize,
    /// How often each pixel was written.
    pub(crate) times: Vec<u32>,
    /// Pixels that lay outside.
    pub(crate) outside: usize,
}

impl Frame {
    pub(crate) fn new(size: Size) -> Self {
        let count = (size.width * size.height) as usize;
        Self { size, pixels: vec![Rgb565::CSS_MAGENTA; count], written: 0, times: vec![0; count], outside: 0 }
    }
}

impl OriginDimensions for Frame {
    fn size(&self) -> Size {
        self.size
    }
}

impl DrawTarget for Frame {
    type Color = Rgb565;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb565>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, color) in pixels {
            self.written += 1;
            if Rectangle::new(Point::zero(), self.size).contains(at) {
                let index = (at.y as u32 * self.size.width + at.x as u32) as usize;
                self.pixels[index] = color;
                self.times[index] += 1;
            } else {
                self.outside += 1;
            }
        }
        Ok(())
    }
}

/// A full afternoon: filling up, a break, a gap, and up again.
pub(crate) const AFTERNOON: [Option<u16>; 72] = afternoon(1_262);
/// The same, ending well.
pub(crate) const AIRED: [Option<u16>; 72] = afternoon(640);
/// The same, ending badly.
pub(crate) const STALE: [Option<u16>; 72] = afternoon(2_105);

const fn afternoon(last: u16) -> [Option<u16>; 72] {
    let mut values = [None; 72];
    let mut at = 0;
    while at < 72 {
        let i = at as u16;
        let wave = [0, 9, 4, 13, 2, 11, 6][at % 7];
        values[at] = match i {
            0..26 => Some(520 + i * 22 + wave),
            26..32 => Some(1_070 - (i - 26) * 95 + wave),
            32..37 => None,
            _ => {
                let rest = i as i32 - 37;
                let to = last as i32 - 30;
                Some((560 + (to - 560) * rest * (104 - rest) / (34 * 70) + wave as i32) as u16)
            }
        };
        at += 1;
    }
    values[71] = Some(last);
    values
}

pub(crate) const fn history(ppm: &[Option<u16>]) -> History<'_> {
    History { ppm, minutes: 180, thresholds: (1000, 1400) }
}

/// A room with air in it and a gateway that listens.
pub(crate) fn room(primary: Primary, band: Option<Band>) -> Air<'static> {
    let past: &[Option<u16>] = match band {
        Some(Band::Good) => &AIRED,
        Some(Band::Now) => &STALE,
        Some(Band::Soon) | None => &AFTERNOON,
    };
    Air {
        display: Display {
            band,
            primary: Some(primary),
            state: State::Ok,
            link: Link::Online,
            queued: 0,
            fault: None,
        },
        sensor: Some("SCD41"),
        temperature_dc: Some(214),
        humidity_pct: Some(46),
        history: history(past),
        ..Air::default()
    }
}

/// Without a number yet.
pub(crate) fn empty(state: State) -> Air<'static> {
    Air {
        display: Display { state, link: Link::Online, ..Display::default() },
        sensor: Some("SCD41"),
        ..Air::default()
    }
}

fn with(air: Air<'static>, change: impl Fn(&mut Air<'static>)) -> Air<'static> {
    let mut air = air;
    change(&mut air);
    air
}

pub(crate) fn broken(fault: Fault) -> Air<'static> {
    with(empty(State::Ok), |air| air.display.fault = Some(fault))
}

pub(crate) fn troubled(trouble: Trouble, link: Link, queued: u32) -> Air<'static> {
    with(room(Primary::Co2(812), Some(Band::Good)), |air| {
        air.trouble = Some(trouble);
        air.display.link = link;
        air.display.queued = queued;
    })
}

/// In the words of `src/face.rs`, of a device with a cable that is broken and a gateway that is being renewed.
pub(crate) const CHECKS: [Check<'static>; 6] = [
    Check { name: "SCD41", outcome: Outcome::Passed, detail: "serial 4f3a07be9c21" },
    Check { name: "SGP30", outcome: Outcome::Failed, detail: "sends garbled data" },
    Check { name: "Memory", outcome: Outcome::Passed, detail: "12 readings wait" },
    Check { name: "Wi-Fi", outcome: Outcome::Passed, detail: "−61 dBm" },
    Check { name: "Time", outcome: Outcome::Passed, detail: "is known" },
    Check { name: "Gateway", outcome: Outcome::Failed, detail: "Certificate has expired" },
];

const GOOD_CHECKS: [Check<'static>; 4] = [CHECKS[0], CHECKS[2], CHECKS[3], CHECKS[4]];

const NEW_CHECKS: [Check<'static>; 5] = [
    Check { name: "Sensor", outcome: Outcome::Running, detail: "is looked for" },
    Check { name: "Memory", outcome: Outcome::Passed, detail: "0 readings wait" },
    Check { name: "Wi-Fi", outcome: Outcome::Absent, detail: "not set up" },
    Check { name: "Time", outcome: Outcome::Running, detail: "nobody has said" },
    Check { name: "Gateway", outcome: Outcome::Absent, detail: "not set up" },
];

pub(crate) const SETUP: Setup<'static> =
    Setup { network: "casement-1a2b", password: "k7mq-29xd", url: "http://192.168.4.1/" };

pub(crate) const ABOUT: About<'static> = About {
    url: "http://192.168.178.23/",
    gateway: "air.school.example",
    device: "room-204",
    version: "0.1.0",
    board: "M5Stack Core2",
};

/// Every situation by name, in the order of the contact sheet. Each is drawn light and dark.
pub(crate) fn situations() -> Vec<(&'static str, Page<'static>)> {
    let air = Page::Air;
    let joining = |step, trouble| Page::Joining(Joining { network: "School-Guests", step, trouble });
    let update = |stage| Page::Update(Update { version: "0.2.0", running: "0.1.0", stage });
    vec![
        ("good", air(room(Primary::Co2(640), Some(Band::Good)))),
        ("soon", air(room(Primary::Co2(1_262), Some(Band::Soon)))),
        ("now", air(room(Primary::Co2(2_105), Some(Band::Now)))),
        ("now-five-digits", air(room(Primary::Co2(12_480), Some(Band::Now)))),
        ("estimate", air(with(room(Primary::Eco2(1_187), None), |air| air.sensor = Some("SGP30")))),
        ("estimate-with-band", air(room(Primary::Eco2(1_187), Some(Band::Soon)))),
        ("no-value", air(empty(State::Ok))),
        ("warming-up", air(with(empty(State::WarmingUp), |air| air.remaining_s = Some(45)))),
        (
            "conditioning",
            air(with(room(Primary::Eco2(418), None), |air| {
                air.display.state = State::Conditioning;
                air.remaining_s = Some(39_600);
            })),
        ),
        (
            "calibrating",
            air(with(room(Primary::Co2(431), Some(Band::Good)), |air| {
                air.display.state = State::Calibrating;
                air.remaining_s = Some(170);
            })),
        ),
        ("doubtful", air(with(room(Primary::Co2(347), None), |air| air.display.state = State::Suspect))),
        (
            "offline",
            air(with(room(Primary::Co2(1_262), Some(Band::Soon)), |air| {
                air.display.link = Link::Offline;
                air.display.queued = 1_204;
            })),
        ),
        (
            "waiting",
            air(with(room(Primary::Co2(640), Some(Band::Good)), |air| {
                air.display.link = Link::Waiting;
                air.display.queued = 12;
            })),
        ),
        ("wifi-not-found", air(troubled(Trouble::NetworkMissing, Link::Offline, 86))),
        ("wifi-password", air(troubled(Trouble::NetworkPassword, Link::Offline, 3))),
        ("captive-portal", air(troubled(Trouble::CaptivePortal, Link::Waiting, 40))),
        ("no-answer", air(troubled(Trouble::NoAnswer, Link::Waiting, 212))),
        ("clock-unknown", air(troubled(Trouble::ClockUnknown, Link::Waiting, 17))),
        ("certificate-expired", air(troubled(Trouble::CertificateExpired, Link::Waiting, 5_210))),
        ("certificate-unknown", air(troubled(Trouble::CertificateIssuer, Link::Waiting, 9))),
        (
            "token-refused",
            air(with(room(Primary::Co2(1_262), Some(Band::Soon)), |air| {
                air.display.link = Link::TokenRefused;
                air.display.queued = 388;
            })),
        ),
        (
            "gateway-full",
            air(with(room(Primary::Co2(2_105), Some(Band::Now)), |air| {
                air.trouble = Some(Trouble::DiskFull);
                air.display.link = Link::Waiting;
                air.display.queued = 31_400;
            })),
        ),
        ("queue-full", air(troubled(Trouble::QueueFull, Link::Offline, 120_960))),
        ("fault-no-answer", air(broken(Fault::Bus))),
        (
            "fault-garbled",
            air(with(broken(Fault::Crc), |air| {
                air.display.link = Link::Offline;
                air.display.queued = 44;
            })),
        ),
        ("fault-self-test", air(broken(Fault::SelfTest))),
        ("setup", Page::Setup(SETUP)),
        ("joining", joining(Step::Time, None)),
        ("joined", joining(Step::Done, None)),
        ("joining-password", joining(Step::Network, Some(Trouble::NetworkPassword))),
        ("joining-certificate", joining(Step::Gateway, Some(Trouble::CertificateIssuer))),
        ("update-downloading", update(Stage::Downloading(64))),
        ("update-verifying", update(Stage::Verifying)),
        ("update-trial", update(Stage::Trial)),
        ("update-failed", update(Stage::Failed(UpdateFault::Signature))),
        ("update-crashed", update(Stage::Failed(UpdateFault::Crashed))),
        ("self-test", Page::SelfTest(&GOOD_CHECKS)),
        ("self-test-fault", Page::SelfTest(&CHECKS)),
        ("self-test-new", Page::SelfTest(&NEW_CHECKS)),
        ("about", Page::About(ABOUT)),
    ]
}

pub(crate) fn view(page: Page<'_>, theme: Theme) -> View<'_> {
    let clock = match page {
        Page::Air(Air { trouble: Some(Trouble::ClockUnknown), .. }) => None,
        _ => Some(Clock { hour: 14, minute: 32 }),
    };
    View { name: "Room 204", clock, theme, page }
}
