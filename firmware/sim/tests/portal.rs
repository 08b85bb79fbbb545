//! The set-up portal and the page, through the program itself and real connections; and what a device shows and does when a
//! network does not let it in, or when somebody opens the portal by a long press.

#[path = "../../net/tests/server/mod.rs"]
mod server;
mod table;

use casement_core::improv::{PACKET_BYTES_MAX, Parser, encode};
use casement_core::{Millis, NotJoined, Press};
use casement_proto::DeviceSettings;
use casement_proto::device_settings::{GatewayUrl, Wifi};
use casement_screen::Trouble;
use server::{Authority, Leaf, NOW_S, Server, Talk, Version, with_tls};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use table::{Table, settings};

const MINUTE_MS: i64 = 60_000;
const NOW_MS: i64 = NOW_S as i64 * 1_000;
/// 2025-01-01
const BUILT_MS: i64 = 1_735_689_600_000;

/// The program, and what it says.
struct Program {
    child: Child,
    said: Receiver<String>,
    address: SocketAddr,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Program {
    fn start(folder: &std::path::Path, networks: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_casement-sim"));
        command.arg("--flash").arg(folder.join("flash.bin")).args(["--page", "127.0.0.1:0"]);
        command.args(networks.iter().flat_map(|network| ["--network", network]));
        let mut child = command.stderr(Stdio::piped()).spawn().expect("starts");
        let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let (sender, said) = channel();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).try_for_each(|line| sender.send(line)).ok();
        });
        let mut program = Self { child, said, address: ([127, 0, 0, 1], 0).into() };
        let line = program.hears("pages at http://");
        let address = line.split("http://").nth(1).and_then(|rest| rest.trim_end_matches('/').parse().ok());
        program.address = address.expect("an address");
        program
    }

    /// Waits until the program says this.
    fn hears(&self, words: &str) -> String {
        loop {
            let line = self.said.recv_timeout(Duration::from_secs(30)).expect("says it");
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Status, headers and body of an answer.
    fn asks(&self, request: &str) -> (u16, String, String) {
        let mut wire = TcpStream::connect(self.address).expect("is open");
        wire.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
        wire.write_all(request.as_bytes()).expect("sends");
        let mut answer = String::new();
        wire.read_to_string(&mut answer).expect("a whole answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let length = head.split("Content-Length: ").nth(1).and_then(|rest| rest.lines().next());
        assert_eq!(length.and_then(|it| it.parse().ok()), Some(body.len()), "{head}");
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).expect("a status");
        (status, head.to_owned(), body.to_owned())
    }

    fn gets(&self, path: &str) -> (u16, String, String) {
        self.asks(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address))
    }

    fn posts(&self, form: &str) -> (u16, String, String) {
        let origin = self.address;
        self.asks(&format!(
            "POST / HTTP/1.1\r\nHost: {origin}\r\nOrigin: http://{origin}\r\nContent-Length: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}",
            form.len()
        ))
    }
}

#[test]
fn a_phone_sets_a_device_up_and_is_told_when_the_password_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = Program::start(folder.path(), &["School=correct horse", "Guest"]);
    // Whatever a phone asks for after joining, the form comes.
    for path in ["/", "/generate_204", "/hotspot-detect.html", "/connecttest.txt"] {
        let (status, head, body) = program.gets(path);
        assert!(status == 200 && body.contains("<form") && body.contains("<b>School</b>"), "{path}: {body}");
        assert!(head.contains("default-src 'none'") && !head.contains("Location"), "{head}");
    }
    let (status, _, body) = program.posts("ssid=School&password=short");
    assert!(status == 400 && body.contains("8 to 63 characters"), "{body}");
    for (form, words) in [
        ("ssid=School&password=wrong+horse", "“School” did not work: the network refuses the password."),
        ("other=Attic&password=correct+horse", "“Attic” did not work: no network of this name is in reach."),
    ] {
        let (status, _, body) = program.posts(form);
        assert!(status == 200 && body.contains("goes away now"), "{body}");
        program.hears("do not work");
        let (_, _, body) = program.gets("/");
        assert!(body.contains(words) && !body.contains("horse"), "{words} in {body}");
    }
    // Somebody else's page may not.
    let (status, _, _) = program.asks(
        "POST / HTTP/1.1\r\nHost: a\r\nOrigin: http://evil.example\r\nContent-Length: 9\r\n\r\nssid=Home",
    );
    assert_eq!(status, 403);
    let (status, _, body) = program.posts("ssid=School&password=correct+horse");
    assert!(status == 200 && body.contains("Connecting to “School”"), "{body}");
    program.hears("new settings work");
    // The next start has them, and shows the page in the local network instead.
    program.hears("start");
    let (status, _, body) = program.gets("/json");
    assert!(status == 200 && body.starts_with("{\"timestamp\":"), "{body}");
    let (status, head, body) = program.gets("/");
    assert!(status == 200 && body.contains("<h1>") && !body.contains("<form"), "{body}");
    assert!(head.contains("text/html"), "{head}");
    assert_eq!((program.gets("/nothing").0, program.posts("ssid=Guest").0), (404, 405));
}

#[test]
fn callers_who_stall_or_babble_keep_nobody_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = Program::start(folder.path(), &["Guest"]);
    let babble = "x".repeat(6_000);
    for (request, expected) in [
        ("\u{16}\u{3}\u{1}\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nCookie: {babble}\r\n\r\n"), 431),
        (format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{babble}", babble.len()), 413),
        ("POST / HTTP/1.1\r\n\r\n".to_owned(), 411),
        ("BREW / HTTP/1.1\r\n\r\n".to_owned(), 405),
    ] {
        assert_eq!(program.asks(&request).0, expected, "{request:.40}");
    }
    // One who opens a connection and says nothing, and one who leaves in the middle.
    let silent = TcpStream::connect(program.address).expect("is open");
    drop(TcpStream::connect(program.address).and_then(|mut it| it.write_all(b"GET / HT")));
    assert_eq!(program.gets("/").0, 200);
    drop(silent);
}

fn with_wifi(mut settings: DeviceSettings) -> DeviceSettings {
    settings.wifi = Wifi::new("School", "correct horse").ok();
    settings
}

#[test]
fn every_bad_network_has_its_words_and_costs_no_reading() {
    let authority = Authority::new();
    let kind = Server::start(&authority.sign(Leaf::good("localhost")), Version::Both, Talk::Gateway);
    let url = || GatewayUrl::parse(&format!("https://localhost:{}", kind.port)).expect("an address");
    with_tls(|tls| {
        for (why, shown) in [
            (NotJoined::Missing, Trouble::NetworkMissing),
            (NotJoined::Password, Trouble::NetworkPassword),
            (NotJoined::Address, Trouble::NoAddress),
        ] {
            let mut table = Table::new(NOW_MS, BUILT_MS);
            table.flash(&with_wifi(settings(url(), authority.der(), 10_000)));
            table.desk.not_joined = Some(why);
            assert_eq!(table.run(tls, 20 * MINUTE_MS), 0, "{why:?}");
            assert_eq!(table.desk.seen.trouble, Some(shown), "{why:?}");
            let waiting = u64::from(table.desk.queue.queued);
            assert!(
                waiting > 100 && waiting == table.desk.kept && table.desk.stored == 0,
                "{why:?}: {waiting}"
            );
            table.desk.not_joined = None;
            assert_eq!(table.run(tls, 5 * MINUTE_MS), 0, "{why:?}");
            assert_eq!((table.desk.seen.trouble, table.desk.lost()), (None, 0), "{why:?}");
            assert!(table.desk.queue.queued <= 1 && table.desk.stored + 1 >= table.desk.kept, "{why:?}");
        }
    });
}

#[test]
fn a_long_press_opens_the_portal_for_ten_minutes_and_no_reading_is_lost() {
    let authority = Authority::new();
    let kind = Server::start(&authority.sign(Leaf::good("localhost")), Version::Both, Talk::Gateway);
    with_tls(|tls| {
        let mut table = Table::new(NOW_MS, BUILT_MS);
        let url = GatewayUrl::parse(&format!("https://localhost:{}", kind.port)).expect("an address");
        table.flash(&with_wifi(settings(url, authority.der(), 10_000)));
        table.desk.presses = vec![(NOW_MS + 5 * MINUTE_MS, Press::Long)];
        assert_eq!(table.run(tls, 14 * MINUTE_MS), 0);
        assert!(table.desk.seen.is_portal(), "it is open still");
        let (before, waiting) = (table.desk.stored, table.desk.queue.queued);
        assert!((28..=31).contains(&before) && (52..=55).contains(&waiting), "{before} {waiting}");
        // It is closed again after ten minutes, with no start in between.
        let mut table = Table::new(NOW_MS, BUILT_MS);
        let url = GatewayUrl::parse(&format!("https://localhost:{}", kind.port)).expect("an address");
        table.flash(&with_wifi(settings(url, authority.der(), 10_000)));
        table.desk.presses = vec![(NOW_MS + 5 * MINUTE_MS, Press::Long)];
        assert_eq!(table.run(tls, 18 * MINUTE_MS), 0);
        assert!(!table.desk.seen.is_portal());
        assert!(table.desk.queue.queued <= 1 && table.desk.lost() == 0, "{:?}", table.desk.queue);
        assert!(table.desk.stored + 1 >= table.desk.kept);
    });
}

/// A command of Improv.
fn improv(command: u8, value: &[u8]) -> Vec<u8> {
    let len = u8::try_from(value.len()).expect("fits");
    let data = [&[command, len], value].concat();
    let mut packet = [0; PACKET_BYTES_MAX];
    let len = encode(3, &data, &mut packet).expect("fits");
    packet[..len].to_vec()
}

fn wifi(ssid: &str, password: &str) -> Vec<u8> {
    let counted = |text: &str| [&[u8::try_from(text.len()).expect("fits")], text.as_bytes()].concat();
    improv(1, &[counted(ssid), counted(password)].concat())
}

/// The packets in what was said, as kind and data.
fn packets(said: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut parser = Parser::new();
    let mut found = vec![];
    for byte in said {
        parser.push(*byte, Millis(0));
        found.extend(parser.packet().map(|packet| (packet.kind, packet.data.to_vec())));
    }
    found
}

#[test]
fn improv_tries_what_it_is_given_and_keeps_only_what_works() {
    with_tls(|tls| {
        let mut table = Table::new(NOW_MS, BUILT_MS);
        table.flash(&with_wifi(DeviceSettings::default()));
        // The list of networks ends with an empty result.
        table.desk.typed = improv(4, &[]);
        assert_eq!(table.run(tls, MINUTE_MS), 0);
        let told = packets(&table.desk.serial);
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0].1[..12], *b"\x04\x12\x09Simulated");
        assert_eq!(told[1], (4, vec![4, 0]));
        // It refuses: cannot connect (3), and the state that it had; nothing starts anew.
        table.desk.serial.clear();
        table.desk.typed = wifi("Attic", "wrong horse");
        table.desk.not_joined = Some(NotJoined::Password);
        assert_eq!(table.run(tls, MINUTE_MS), 0);
        let told = packets(&table.desk.serial);
        let refused = [(2, vec![0]), (1, vec![3]), (2, vec![3])];
        assert_eq!(told[..3], refused, "{told:?}");
        // The next start knows the old network still.
        table.run(tls, MINUTE_MS);
        assert_eq!(table.desk.seen.network(), "School");
        // It works: connected, kept, and one start anew.
        table.desk.serial.clear();
        table.desk.typed = wifi("Attic", "right horse");
        table.desk.not_joined = None;
        assert_eq!(table.run(tls, MINUTE_MS), 1);
        let told = packets(&table.desk.serial);
        assert!(told.contains(&(1, vec![4])) && told.iter().any(|it| it.0 == 4 && it.1[0] == 1), "{told:?}");
        assert_eq!(table.desk.seen.network(), "Attic");
    });
}

#[test]
fn a_device_makes_its_own_password_once_and_keeps_it() {
    with_tls(|tls| {
        let mut said = vec![];
        let mut table = Table::new(NOW_MS, BUILT_MS);
        for _ in 0..3 {
            table.desk.serial.clear();
            table.run(tls, MINUTE_MS);
            let text = String::from_utf8_lossy(&table.desk.serial).into_owned();
            said.push(text.split("password ").nth(1).expect("is told").trim().to_owned());
        }
        assert!(said[0].len() == 10 && said.iter().all(|it| *it == said[0]), "{said:?}");
        // Settings for thirty devices take none of it away.
        table.flash(&with_wifi(DeviceSettings::default()));
        table.desk.serial.clear();
        table.run(tls, MINUTE_MS);
        assert!(String::from_utf8_lossy(&table.desk.serial).contains(&said[0]));
    });
}
