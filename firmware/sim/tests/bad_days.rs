//! Bad days through the whole device: real sensors' driver, core, TLS and screen against servers that do what servers and
//! networks do. A device that has been at work lives through hours of each; then the day is a good one again. What it
//! said, and what it cost, is the table of `docs/bad-days.md`: the test makes it, and fails when the two differ.
//!
//! `CASEMENT_BLESS=1` writes the table, and `docs/bad-days.png` with what the screen shows on each of these days.

mod proxy;
#[path = "../../net/tests/server/mod.rs"]
mod server;
mod sheet;
mod table;

use casement_proto::device_settings::GatewayUrl;
use casement_screen::said;
use casement_sim::flash::{Place, QUEUE};
use casement_sim::scd41::Ill;
use casement_sim::wire::Answer;
use mbedtls_rs::TlsReference;
use proxy::{Proxy, Road};
use server::{Authority, Leaf, NOW_S, Server, Talk, Version, with_tls};
use std::cell::RefCell;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use table::{Desk, Table, Turn, settings};

const MINUTE_MS: i64 = 60_000;
const NOW_MS: i64 = NOW_S as i64 * 1_000;
/// 2025-01-01: a firmware that is older than the certificates.
const BUILT_MS: i64 = 1_735_689_600_000;
/// Some minutes of a good day come first.
const GOOD_MS: i64 = 5 * MINUTE_MS;

/// What is bad.
enum Harm {
    /// This answers in the gateway's place, with a certificate of its authority or of another one.
    Gateway { leaf: Leaf, talk: Talk, known: bool },
    /// The way there.
    Road(Road),
    /// The name service.
    Names(Answer),
    /// The name service leads everything to something that is not the gateway.
    Portal { leaf: Leaf, talk: Talk },
    /// No network.
    NoLink,
    /// The network comes and goes.
    Flaps(i64, i64),
    /// No time server, and a device that never had the time.
    NoTime { leaf: Leaf },
    /// The sensor.
    Sensor(Ill),
    /// The flash takes nothing any more.
    Worn,
}

struct Day {
    name: &'static str,
    harm: Harm,
    minutes: i64,
    period_ms: u32,
    queue: Place,
    /// The word in reports while it is bad; none where nothing can be sent, or nothing is wrong.
    code: Option<&'static str>,
    /// Restarts that help, at most.
    restarts: u32,
    /// What is lost, for the table; none where that is empty.
    loses: &'static str,
}

fn day(name: &'static str, harm: Harm, code: &'static str) -> Day {
    Day { name, harm, minutes: 90, period_ms: 30_000, queue: QUEUE, code: Some(code), restarts: 0, loses: "" }
}

/// One after another, in the order of the table.
fn days() -> Vec<Day> {
    let good = || Leaf::good("localhost");
    let gateway = |leaf, talk| Harm::Gateway { leaf, talk, known: true };
    let status = |name, status, code| day(name, gateway(Leaf::good("localhost"), Talk::Status(status)), code);
    // Nothing comes back for an hour: then a restart is tried, once.
    let rescued = |it: Day| Day { restarts: 1, ..it };
    // Each attempt takes real time.
    let silent = |it: Day| Day { restarts: 1, minutes: 63, ..it };
    vec![
        day("Sensor unplugged, and plugged in again", Harm::Sensor(Ill::Unplugged), "sensor_missing"),
        day("Sensor with checksum errors", Harm::Sensor(Ill::Noisy), "sensor_checksum"),
        day("Sensor that lies", Harm::Sensor(Ill::Lying), "sensor_range"),
        day("Sensor that is never ready", Harm::Sensor(Ill::Busy), "sensor_slow"),
        day("Sensor frozen", Harm::Sensor(Ill::Frozen), "sensor_frozen"),
        Day {
            minutes: 7 * 24 * 60,
            period_ms: 300_000,
            code: None,
            ..day("Wi-Fi gone for a week", Harm::NoLink, "")
        },
        rescued(day("Access point that accepts and drops", Harm::Flaps(20_000, 40_000), "no_answer")),
        silent(day("Connections are taken, and nothing is ever said", Harm::Road(Road::Silent), "no_answer")),
        day(
            "Captive portal: plain HTTP on port 443",
            Harm::Portal { leaf: good(), talk: Talk::PlainSignIn },
            "not_the_gateway",
        ),
        day(
            "Captive portal: HTTPS with its own certificate",
            Harm::Gateway { leaf: Leaf::good("login.hotel.example"), talk: Talk::SignIn, known: false },
            "certificate_authority",
        ),
        day("Captive portal: a page that breaks TLS open", gateway(good(), Talk::SignIn), "not_the_gateway"),
        status("Captive portal: a redirect (302)", 302, "not_the_gateway"),
        rescued(day("DNS: no such name", Harm::Names(Answer::Unknown), "no_such_host")),
        silent(day("DNS: no answer", Harm::Names(Answer::Silence), "no_answer")),
        rescued(day("Gateway down", Harm::Road(Road::Drops), "no_answer")),
        status("Gateway refuses the token (401)", 401, "token_refused"),
        status("Gateway asks for patience (429)", 429, "gateway_busy"),
        status("Gateway is busy (503)", 503, "gateway_busy"),
        status("Gateway's disk is full (507)", 507, "gateway_full"),
        status("Gateway has a fault (500)", 500, "gateway_error"),
        day("Certificate expired", gateway(good().valid(2020, 2026), Talk::Gateway), "certificate_expired"),
        day(
            "Certificate from the future",
            gateway(good().valid(2027, 2028), Talk::Gateway),
            "certificate_not_yet",
        ),
        day(
            "Certificate for another host",
            gateway(Leaf::good("other.example.org"), Talk::Gateway),
            "certificate_name",
        ),
        day(
            "Certificate of an unknown authority",
            Harm::Gateway { leaf: good(), talk: Talk::Gateway, known: false },
            "certificate_authority",
        ),
        day("Clock at zero, no time server", Harm::NoTime { leaf: good() }, "certificate_not_yet"),
        Day {
            code: None,
            ..day(
                "The same, and a certificate older than the firmware",
                Harm::NoTime { leaf: good().wide() },
                "",
            )
        },
        Day { loses: "those of the day, counted", ..day("Flash worn", Harm::Worn, "flash") },
        Day {
            minutes: 24 * 60,
            queue: Place { sectors: 4, ..QUEUE },
            loses: "the oldest, counted",
            ..day("Flash full, after a day without Wi-Fi", Harm::NoLink, "queue_full")
        },
    ]
}

/// What it was like when it was worst, and when it was over.
struct Lived {
    at_worst: Desk,
    codes: Vec<&'static str>,
    after: Desk,
    restarts: u32,
    sent_to_others: usize,
}

fn live(tls: TlsReference<'_>, day: &Day, authority: &Authority, stranger: &Authority) -> Lived {
    let home = |leaf: Leaf| Server::start(&authority.sign(leaf), Version::Both, Talk::Gateway);
    let gateway = home(match &day.harm {
        Harm::NoTime { leaf } => leaf.clone(),
        _ => Leaf::good("localhost"),
    });
    let proxy = Rc::new(Proxy::start(Road::To(gateway.port)));
    let mut table = Table::new(NOW_MS, BUILT_MS);
    table.queue = day.queue;
    if matches!(day.harm, Harm::Road(Road::Silent) | Harm::Names(Answer::Silence)) {
        table.patience_ms = 200;
    }
    let url = GatewayUrl::parse(&format!("https://localhost:{}", proxy.port)).expect("an address");
    table.flash(&settings(url, authority.der(), day.period_ms));

    let mut other = None;
    let (names, flash, sensor) = (table.names.clone(), table.flash.clone(), table.sensor.clone());
    let road = Rc::clone(&proxy);
    let (bad, good): (Turn, Turn) = match &day.harm {
        Harm::Gateway { leaf, talk, known } => {
            let signer = if *known { authority } else { stranger };
            let port = other.insert(Server::start(&signer.sign(leaf.clone()), Version::Both, *talk)).port;
            (Box::new(move |_| road.lead(Road::To(port))), back(&proxy, gateway.port))
        }
        Harm::Portal { leaf, talk } => {
            // It answers for every name, on the port that is asked for.
            let port = other.insert(Server::start(&stranger.sign(leaf.clone()), Version::Both, *talk)).port;
            let (liar, names_again, home) = (names.clone(), names, back(&proxy, gateway.port));
            (
                Box::new(move |_| {
                    liar.answer(Answer::Always(IpAddr::V4(Ipv4Addr::LOCALHOST)));
                    road.lead(Road::To(port));
                }),
                Box::new(move |desk: &mut Desk| {
                    names_again.answer(Answer::Right);
                    home(desk);
                }),
            )
        }
        Harm::Road(way) => {
            let way = *way;
            (Box::new(move |_| road.lead(way)), back(&proxy, gateway.port))
        }
        Harm::Names(answer) => {
            let (answer, again, home) = (*answer, names.clone(), back(&proxy, gateway.port));
            // A connection that is open needs no name.
            (
                Box::new(move |_| {
                    names.answer(answer);
                    road.lead(Road::Drops);
                }),
                Box::new(move |desk: &mut Desk| {
                    again.answer(Answer::Right);
                    home(desk);
                }),
            )
        }
        Harm::NoLink => (Box::new(|desk| desk.link = false), Box::new(|desk| desk.link = true)),
        Harm::Flaps(there, gone) => {
            let (there, gone) = (*there, *gone);
            let bad = Box::new(move |desk: &mut Desk| {
                desk.flaps = Some((there, gone));
                road.lead(Road::Drops);
            });
            let home = back(&proxy, gateway.port);
            (
                bad,
                Box::new(move |desk: &mut Desk| {
                    desk.flaps = None;
                    home(desk);
                }),
            )
        }
        Harm::NoTime { .. } => {
            table.desk.time_server = false;
            // It is found by joining again, as on a board.
            (Box::new(|_| ()), Box::new(|desk| (desk.time_server, desk.link) = (true, false)))
        }
        Harm::Sensor(ill) => {
            let (ill, well) = (*ill, sensor.clone());
            (Box::new(move |_| sensor.fall(ill)), Box::new(move |_| well.fall(Ill::Well)))
        }
        Harm::Worn => {
            let again = flash.clone();
            (Box::new(move |_| flash.wear_out(true)), Box::new(move |_| again.wear_out(false)))
        }
    };
    let start_ms = if matches!(day.harm, Harm::NoTime { .. }) { 0 } else { GOOD_MS };
    let over_ms = NOW_MS + start_ms + day.minutes * MINUTE_MS;
    let at_worst = Rc::new(RefCell::new(Desk::default()));
    let seen = Rc::clone(&at_worst);
    table.desk.turns = [
        (NOW_MS + start_ms, bad),
        (
            over_ms,
            Box::new(move |desk: &mut Desk| {
                *seen.borrow_mut() = desk.snapshot();
                good(desk);
            }) as Turn,
        ),
        (over_ms + MINUTE_MS, Box::new(|desk: &mut Desk| desk.link = true) as Turn),
    ]
    .into();
    let restarts = table.run(tls, over_ms + 70 * MINUTE_MS - NOW_MS);
    let at_worst = at_worst.take();
    let sent_to_others = other.map_or(0, |other| other.requests());
    Lived { codes: at_worst.codes.clone(), at_worst, after: table.desk, restarts, sent_to_others }
}

/// Leads the way back to the gateway.
fn back(proxy: &Rc<Proxy>, port: u16) -> Turn {
    let proxy = Rc::clone(proxy);
    Box::new(move |_| proxy.lead(Road::To(port)))
}

#[test]
fn every_bad_day_has_its_words_costs_no_reading_and_ends() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let mut rows = String::new();
    let (mut screens, mut broken) = (vec![], vec![]);
    with_tls(|tls| {
        for day in days() {
            let name = day.name;
            let lived = live(tls, &day, &authority, &stranger);
            let Lived { at_worst, after, .. } = &lived;
            let words = match at_worst.seen.cause {
                Some(cause) => {
                    let clock = at_worst.seen.trouble != Some(casement_screen::Trouble::ClockUnknown);
                    said(cause, clock).join(" · ").trim_end_matches(" · ").to_owned()
                }
                None => String::new(),
            };
            // What could not be said while it was bad is said as soon as something gets through.
            let first_after = after.codes.get(lived.codes.len());
            let code = lived.codes.last().or(first_after).copied();
            let lost = u64::from(after.lost());
            writeln!(
                rows,
                "| {name} | {} | {} | {} | {} |",
                if words.is_empty() { "–" } else { &words },
                code.map_or("–".to_owned(), |code| format!("`{code}`")),
                lived.restarts,
                if day.loses.is_empty() { "none" } else { day.loses },
            )
            .expect("writes");
            eprintln!("{}", rows.lines().last().unwrap_or_default());
            screens.push((name, at_worst.seen.clone()));

            // Over: nothing is wrong, everything that was kept has arrived.
            let samples = day.minutes * MINUTE_MS / i64::from(day.period_ms);
            let samples =
                if matches!(day.harm, Harm::Sensor(ill) if ill != Ill::Frozen) { 0 } else { samples };
            let secret = day.code.is_some_and(|code| code.starts_with("certificate_"));
            for (holds, promise) in [
                (code == day.code, "the word in the report"),
                (lived.restarts <= day.restarts, "no restart that cannot help"),
                (after.seen.cause.is_none(), "it gets well"),
                (after.queue.queued <= 1, "everything arrives"),
                ((lost > 0) != day.loses.is_empty(), "what is lost is expected"),
                (after.stored + lost + 1 >= after.taken, "what is taken is stored, or counted"),
                (after.taken >= samples.unsigned_abs(), "it samples on"),
                (!secret || lived.sent_to_others == 0, "nothing is sent to whom it does not trust"),
            ] {
                if !holds {
                    broken.push(format!(
                        "{name}: {promise}: {:?} {:?} {:?}",
                        lived.codes.last(),
                        after.queue,
                        after.seen.cause
                    ));
                    broken.push(format!(
                        "  {} taken, {} kept, {} stored",
                        after.taken, after.kept, after.stored
                    ));
                }
            }
        }
    });
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    sheet::write(&screens);
    sheet::held_against_the_document(&rows);
}

#[test]
fn flash_that_is_worn_from_the_first_start_on_still_finds_its_settings() {
    let authority = Authority::new();
    let gateway = Server::start(&authority.sign(Leaf::good("localhost")), Version::Both, Talk::Gateway);
    let mut table = Table::new(NOW_MS, BUILT_MS);
    let url = GatewayUrl::parse(&format!("https://localhost:{}", gateway.port)).expect("an address");
    table.flash(&settings(url, authority.der(), 10_000));
    table.flash.wear_out(true);
    with_tls(|tls| {
        assert_eq!(table.run(tls, 3 * MINUTE_MS), 0);
        assert_eq!(table.desk.seen.cause, Some(casement_core::Trouble::Flash));
        // A power cut later it is as good as new.
        table.flash.wear_out(false);
        assert_eq!(table.run(tls, 3 * MINUTE_MS), 0);
        assert!(table.desk.seen.cause.is_none() && table.desk.stored > 10, "{}", table.desk.stored);
    });
}
