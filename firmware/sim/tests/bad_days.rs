//! Bad days through the whole device: real sensors' driver, core, TLS and screen against servers that do what servers and
//! networks do. Each has its own words, none costs a reading, none restarts the device.

#[path = "../../net/tests/server/mod.rs"]
mod server;
mod table;

use casement_proto::device_settings::GatewayUrl;
use casement_screen::Trouble;
use casement_sim::scd41::Ill;
use server::{Authority, Leaf, NOW_S, Server, Talk, Version, with_tls};
use table::{Table, settings};

const MINUTE_MS: i64 = 60_000;
const NOW_MS: i64 = NOW_S as i64 * 1_000;
/// 2025-01-01: a firmware that is older than the certificates.
const BUILT_MS: i64 = 1_735_689_600_000;

struct Day {
    name: &'static str,
    leaf: Leaf,
    talk: Talk,
    known: bool,
    time_server: bool,
    code: &'static str,
    shown: Option<Trouble>,
}

fn day(name: &'static str, leaf: Leaf, talk: Talk, code: &'static str, shown: Trouble) -> Day {
    Day { name, leaf, talk, known: true, time_server: true, code, shown: Some(shown) }
}

#[test]
fn every_bad_gateway_has_its_words_and_costs_no_reading() {
    let good = || Leaf::good("localhost");
    let answers = |status, code, shown| day("status", good(), Talk::Status(status), code, shown);
    let days = [
        day(
            "expired",
            good().valid(2020, 2026),
            Talk::Gateway,
            "certificate_expired",
            Trouble::CertificateExpired,
        ),
        day(
            "another host",
            Leaf::good("other.example.org"),
            Talk::Gateway,
            "certificate_name",
            Trouble::CertificateName,
        ),
        day(
            "from the future",
            good().valid(2027, 2028),
            Talk::Gateway,
            "certificate_not_yet",
            Trouble::CertificateNotYet,
        ),
        Day {
            known: false,
            ..day(
                "unknown authority",
                good(),
                Talk::Gateway,
                "certificate_authority",
                Trouble::CertificateIssuer,
            )
        },
        Day {
            time_server: false,
            ..day("clock at zero", good(), Talk::Gateway, "certificate_not_yet", Trouble::ClockUnknown)
        },
        day("page to sign in on", good(), Talk::SignIn, "not_the_gateway", Trouble::CaptivePortal),
        day("the same without TLS", good(), Talk::PlainSignIn, "not_the_gateway", Trouble::CaptivePortal),
        day("accepts and drops", good(), Talk::HangUp, "no_answer", Trouble::NoAnswer),
        day("accepts and says nothing", good(), Talk::Silence, "no_answer", Trouble::NoAnswer),
        answers(401, "token_refused", Trouble::TokenRefused),
        answers(429, "gateway_busy", Trouble::Busy),
        answers(503, "gateway_busy", Trouble::Busy),
        answers(507, "gateway_full", Trouble::DiskFull),
        answers(500, "gateway_error", Trouble::GatewayFault),
        answers(302, "not_the_gateway", Trouble::CaptivePortal),
    ];
    let (authority, stranger) = (Authority::new(), Authority::new());
    with_tls(|tls| {
        for day in days {
            let name = format!("{} {:?}", day.name, day.talk);
            let signer = if day.known { &authority } else { &stranger };
            let bad = Server::start(&signer.sign(day.leaf), Version::Both, day.talk);
            let kind = Server::start(&authority.sign(Leaf::good("localhost")), Version::Both, Talk::Gateway);
            let mut table = Table::new(NOW_MS, BUILT_MS);
            let at = |port: u16| GatewayUrl::parse(&format!("https://localhost:{port}")).expect("an address");
            table.flash(&settings(at(bad.port), authority.der(), 10_000));
            table.desk.time_server = day.time_server;
            let restarts = table.run(tls, 8 * MINUTE_MS);
            assert_eq!(restarts, 0, "{name}");
            assert!(table.desk.codes.contains(&day.code), "{name}: {:?}", table.desk.codes);
            assert_eq!(table.desk.seen.trouble, day.shown, "{name}: {:?}", table.desk.seen);
            if matches!(day.talk, Talk::Gateway) {
                assert_eq!(bad.requests(), 0, "{name}: something was sent");
            }
            let waiting = u64::from(table.desk.queue.queued);
            assert!(waiting > 30 && table.desk.stored == 0, "{name}: {waiting} wait");
            assert_eq!(table.desk.kept, waiting, "{name}: none may be lost");
            // The next day is a good one.
            table.flash(&settings(at(kind.port), authority.der(), 10_000));
            table.desk.time_server = true;
            table.desk.link = false;
            table.run(tls, MINUTE_MS);
            table.desk.link = true;
            table.run(tls, 3 * MINUTE_MS);
            assert!(table.desk.queue.queued <= 1 && table.desk.lost() == 0, "{name}: {:?}", table.desk.queue);
            assert!(table.desk.stored + 1 >= table.desk.kept, "{name}");
            assert_eq!(table.desk.seen.trouble, None, "{name}");
        }
    });
}

#[test]
fn every_bad_sensor_has_its_words_and_gets_well() {
    let authority = Authority::new();
    let kind = Server::start(&authority.sign(Leaf::good("localhost")), Version::Both, Talk::Gateway);
    with_tls(|tls| {
        for (ill, minutes, code) in [
            (Ill::Unplugged, 5, "sensor_missing"),
            (Ill::Noisy, 5, "sensor_checksum"),
            (Ill::Busy, 5, "sensor_slow"),
            (Ill::Frozen, 90, "sensor_frozen"),
        ] {
            let mut table = Table::new(NOW_MS, BUILT_MS);
            let url = GatewayUrl::parse(&format!("https://localhost:{}", kind.port)).expect("an address");
            table.flash(&settings(url, authority.der(), 10_000));
            let (ill_ms, well_ms) = (NOW_MS + 5 * MINUTE_MS, NOW_MS + (5 + minutes) * MINUTE_MS);
            let sensor = || table.sensor.clone();
            table.desk.fates = vec![(ill_ms, sensor(), ill), (well_ms, sensor(), Ill::Well)];
            assert_eq!(table.run(tls, (15 + minutes) * MINUTE_MS), 0, "{ill:?}");
            assert!(
                !table.desk.codes.is_empty() && table.desk.codes.iter().all(|it| *it == code),
                "{ill:?}: {:?}",
                table.desk.codes
            );
            assert_eq!(table.desk.seen.cause, None, "{ill:?}");
            assert_eq!((table.desk.lost(), table.desk.queue.queued), (0, 0), "{ill:?}");
        }
    });
}

#[test]
fn what_a_person_sees_becomes_a_picture() {
    let authority = Authority::new();
    let bad = Server::start(&authority.sign(Leaf::good("localhost")), Version::Both, Talk::PlainSignIn);
    with_tls(|tls| {
        let mut table = Table::new(NOW_MS, BUILT_MS);
        let url = GatewayUrl::parse(&format!("https://localhost:{}", bad.port)).expect("an address");
        table.flash(&settings(url, authority.der(), 10_000));
        table.run(tls, 5 * MINUTE_MS);
        let path = table.folder.path().join("now.png");
        table.desk.seen.write(&path).expect("writes");
        let decoder =
            png::Decoder::new(std::io::BufReader::new(std::fs::File::open(path).expect("is there")));
        let mut picture = decoder.read_info().expect("is a PNG");
        let mut bytes = vec![0; picture.output_buffer_size().expect("has a size")];
        picture.next_frame(&mut bytes).expect("is whole");
        let colours: std::collections::BTreeSet<_> = bytes.chunks(3).collect();
        assert_eq!(bytes.len(), 320 * 240 * 3);
        assert!(colours.len() > 8 && !colours.contains(&[0, 0, 0][..]), "{} colours", colours.len());
    });
}
