//! Batches to a broker over real TLS: what is promised, and every way in which a broker can be bad.

mod broker;
mod server;

use broker::{Broker, Script, Told};
use casement_core::{Ack, Certificate, UploadError};
use casement_net::{CertificateFault, Fault, Limits, MqttConnection, Network, Trust};
use casement_proto::device_settings::{self, BrokerUrl};
use casement_proto::wire::Batch;
use casement_proto::{DeviceId, Quantity, Reading, ReadingTime};
use edge_nal_std::Stack;
use embassy_time::Duration;
use embedded_svc::io::ErrorKind;
use futures_lite::future::block_on;
use server::{Authority, Leaf, Version, with_tls};

const BUSY: UploadError = UploadError::Busy { retry_after_ms: None };
const GOOD: Script = Script::Good { session: false };

/// A device that talks to a broker on paper.
struct Device<'a> {
    connection: MqttConnection<'a, Stack, Stack>,
    body: Vec<u8>,
}

impl Device<'_> {
    fn send(&mut self, seqs: std::ops::RangeInclusive<u64>) -> Result<Ack, UploadError> {
        let readings: Vec<_> = seqs.map(|seq| reading(seq, ReadingTime::At(1_795_341_600_000))).collect();
        self.send_readings(&readings)
    }

    fn send_readings(&mut self, readings: &[Reading]) -> Result<Ack, UploadError> {
        let batch = Batch { boot: Some(7), readings, health: None };
        block_on(self.connection.send(&batch, &mut self.body))
    }
}

fn reading(seq: u64, time: ReadingTime) -> Reading {
    let mut reading = Reading::new(time).with(Quantity::parse("co2").expect("known"), 815.0);
    reading.seq = Some(seq);
    reading
}

fn stored(count: u32) -> Result<Ack, UploadError> {
    Ok(Ack { stored: count, ..Ack::default() })
}

/// Runs with a device and a broker that follows the scripts, one for each connection.
fn with_broker(scripts: &'static [Script], run: impl FnOnce(Device<'_>, &Broker)) {
    with_broker_of(Version::Both, Leaf::good("localhost"), scripts, run);
}

fn with_broker_of(
    version: Version,
    leaf: Leaf,
    scripts: &'static [Script],
    run: impl FnOnce(Device<'_>, &Broker),
) {
    let authority = Authority::new();
    let paper = Broker::start(&authority.sign(leaf), version, scripts);
    with_tls(|tls| {
        let (stack, trust) = (Stack::new(), Trust::own(authority.der()).expect("a certificate"));
        let url = BrokerUrl::parse(&format!("mqtts://localhost:{}", paper.port)).expect("an address");
        let token = device_settings::token("cas_dev_secret").expect("a token");
        let broker = casement_net::Broker::new(&url, DeviceId::parse("lab").expect("a name"), &token);
        let network = Network { tcp: &stack, dns: &stack, tls, trust: &trust };
        let limits = Limits { connect: Duration::from_secs(5), exchange: Duration::from_millis(700) };
        let connection = MqttConnection::new(network, &broker, limits);
        run(Device { connection, body: vec![0; 4_096] }, &paper);
    });
}

#[test]
fn a_good_broker_gets_the_readings_on_one_connection() {
    with_broker(&[GOOD], |mut device, paper| {
        assert_eq!(device.send(1..=2), stored(2));
        block_on(device.connection.ping());
        assert_eq!(device.send(3..=3), stored(1));
        assert_eq!(device.connection.last_fault(), None);
        block_on(device.connection.close());
        let body = |seqs: std::ops::RangeInclusive<u64>| {
            let readings: Vec<_> =
                seqs.map(|seq| format!(r#"{{"seq":{seq},"time":1795341600000,"co2":815.0}}"#)).collect();
            format!(r#"{{"boot":7,"readings":[{}]}}"#, readings.join(","))
        };
        let publish =
            |id, body| Told::Publish { again: false, id, topic: "casement/lab/readings".to_owned(), body };
        let connect = Told::Connect {
            clean: true,
            device: "lab".to_owned(),
            user: "lab".to_owned(),
            password: "cas_dev_secret".to_owned(),
        };
        let told = paper.told();
        assert_eq!(
            told[..4],
            [connect.clone(), publish(1, body(1..=2)), Told::Ping, publish(2, body(3..=3))]
        );
        assert_eq!(device.send(4..=4), stored(1));
        assert_eq!(paper.told()[4..], [Told::Goodbye, connect, publish(3, body(4..=4))]);
    });
}

#[test]
fn no_bad_broker_gets_a_reading_let_go_of() {
    let connection = UploadError::Connection;
    let cases: [(&'static [Script], UploadError, Fault); 19] = [
        // Refused at the door: password, not authorised, too many, an unknown reason.
        (&[Script::Hello(b"\x20\x03\x00\x86\x00"), GOOD], UploadError::Token, Fault::Broker(0x86)),
        (&[Script::Hello(b"\x20\x03\x00\x87\x00"), GOOD], UploadError::Token, Fault::Broker(0x87)),
        (&[Script::Hello(b"\x20\x03\x00\x97\x00"), GOOD], BUSY, Fault::Broker(0x97)),
        (&[Script::Hello(b"\x20\x03\x00\x9d\x00"), GOOD], UploadError::Status(0x9d), Fault::Broker(0x9d)),
        // Knows MQTT 3.1.1 alone; takes no acknowledged messages; has a session that nobody has.
        (&[Script::Hello(b"\x20\x02\x00\x01"), GOOD], UploadError::Status(0x84), Fault::Broker(0x84)),
        (
            &[Script::Hello(b"\x20\x05\x00\x00\x02\x24\x00"), GOOD],
            UploadError::Status(0x9b),
            Fault::Broker(0x9b),
        ),
        (&[Script::Hello(b"\x20\x03\x01\x00\x00"), GOOD], UploadError::Answer, Fault::Protocol),
        // No broker at all.
        (&[Script::Hello(b"HTTP/1.1 400 Bad Request\r\n\r\n"), GOOD], UploadError::Answer, Fault::Protocol),
        (&[Script::Hello(b"\x40\x02\x00\x01"), GOOD], UploadError::Answer, Fault::Protocol),
        // The message: nobody subscribes, quota, not authorised, another packet's number.
        (&[Script::Answer(b"\x40\x03\xff\xff\x10"), GOOD], UploadError::Status(0x10), Fault::Broker(0x10)),
        (&[Script::Answer(b"\x40\x03\xff\xff\x97"), GOOD], BUSY, Fault::Broker(0x97)),
        (&[Script::Answer(b"\x40\x03\xff\xff\x87"), GOOD], UploadError::Token, Fault::Broker(0x87)),
        (&[Script::Answer(b"\x40\x02\x12\x34"), GOOD], UploadError::Answer, Fault::Protocol),
        // Says nothing, is larger than agreed, is garbage, sends a message of its own, says goodbye.
        (&[Script::Silence, GOOD], connection(ErrorKind::TimedOut), Fault::TimedOut),
        (&[Script::Answer(b"\x40\xff\x7f"), GOOD], UploadError::Answer, Fault::TooLarge),
        (&[Script::Answer(b"\x00\x01\x02\x03"), GOOD], UploadError::Answer, Fault::Protocol),
        (&[Script::Answer(b"\x30\x05\x00\x01a\x00x"), GOOD], UploadError::Answer, Fault::Protocol),
        (&[Script::Answer(b"\xe0\x01\x8b"), GOOD], BUSY, Fault::Broker(0x8b)),
        (&[Script::Answer(b"\xe0\x01\x8e"), GOOD], connection(ErrorKind::ConnectionReset), Fault::Closed),
    ];
    for (scripts, error, fault) in cases {
        with_broker(scripts, |mut device, paper| {
            assert_eq!(device.send(1..=2), Err(error), "{scripts:?}");
            assert_eq!(device.connection.last_fault(), Some(fault), "{scripts:?}");
            // Whoever was refused by a message's acknowledgement alone keeps the connection; the script goes on there.
            if matches!(scripts[0], Script::Answer([0x40, 3, ..])) {
                assert_eq!(device.send(1..=2), Err(error), "{scripts:?}");
                assert_eq!(paper.connects(), 1, "{scripts:?}");
                block_on(device.connection.close());
            }
            assert_eq!(device.send(1..=2), stored(2), "{scripts:?}");
            assert_eq!(device.connection.last_fault(), None, "{scripts:?}");
        });
    }
}

#[test]
fn what_was_cut_off_is_sent_again_word_for_word() {
    const SESSION: Script = Script::Good { session: true };
    // The broker still has the session: the same bytes, the same number, marked.
    with_broker(&[Script::Cut, SESSION], |mut device, paper| {
        assert!(matches!(device.send(1..=2), Err(UploadError::Connection(_))));
        assert_eq!(device.send(1..=2), stored(2));
        let messages = paper.messages();
        assert_eq!(messages.len(), 2);
        assert_eq!((messages[0].0, messages[1].0), (false, true));
        assert_eq!((messages[0].1, &messages[0].2), (messages[1].1, &messages[1].2));
        assert_eq!(device.send(3..=3), stored(1));
        assert_eq!(paper.connects(), 2);
        let clean: Vec<_> = paper
            .told()
            .iter()
            .filter_map(|told| match told {
                Told::Connect { clean, .. } => Some(*clean),
                _ => None,
            })
            .collect();
        assert_eq!(clean, [true, false]);
    });
    // More readings wait by now: what was begun is ended first, and does not stand for what was not in it.
    with_broker(&[Script::Cut, SESSION], |mut device, paper| {
        assert!(device.send(1..=2).is_err());
        assert_eq!(device.send(1..=3), stored(3));
        let messages = paper.messages();
        let marks: Vec<_> = messages.iter().map(|message| (message.0, message.1)).collect();
        assert_eq!(marks, [(false, 1), (true, 1), (false, 2)]);
        assert!(messages[2].2.contains(r#""seq":3"#) && !messages[1].2.contains(r#""seq":3"#));
    });
    // The session is gone: a new message with the same names.
    with_broker(&[Script::Cut, GOOD], |mut device, paper| {
        assert!(device.send(1..=2).is_err());
        assert_eq!(device.send(1..=2), stored(2));
        let messages = paper.messages();
        assert_eq!((messages[1].0, &messages[0].2), (false, &messages[1].2));
    });
    // The bytes are gone: the broker is told to forget its half, too.
    with_broker(&[Script::Cut, GOOD], |mut device, paper| {
        assert!(device.send(1..=2).is_err());
        device.body.fill(0);
        assert_eq!(device.send(1..=2), stored(2));
        assert!(!paper.messages()[1].0);
        assert!(paper.told().iter().all(|told| !matches!(told, Told::Connect { clean: false, .. })));
    });
}

#[test]
fn a_broker_that_takes_little_gets_less_at_once_and_nothing_is_thrown_away() {
    // At most 150 bytes: one reading fits, two do not.
    with_broker(&[Script::Hello(b"\x20\x08\x00\x00\x05\x27\x00\x00\x00\x96")], |mut device, paper| {
        assert_eq!(device.send(1..=2), Err(UploadError::Refused));
        assert_eq!(device.send(1..=1), stored(1));
        assert_eq!((paper.messages().len(), paper.connects()), (1, 1));
    });
    // At most 60: not even one. That is no reason to give it up as unreadable.
    with_broker(&[Script::Hello(b"\x20\x08\x00\x00\x05\x27\x00\x00\x00\x3c")], |mut device, paper| {
        assert_eq!(device.send(1..=1), Err(UploadError::Status(0x95)));
        assert_eq!(paper.messages().len(), 0);
    });
}

#[test]
fn nothing_is_sent_before_the_date_is_known() {
    with_broker(&[GOOD], |mut device, paper| {
        let readings = [reading(1, ReadingTime::At(1_795_341_600_000)), reading(2, ReadingTime::Age(1_200))];
        assert_eq!(device.send_readings(&readings), Err(UploadError::Certificate(Certificate::NotYet)));
        assert_eq!(device.connection.last_fault(), Some(Fault::Clock));
        assert_eq!(paper.told(), []);
    });
}

#[test]
fn a_broker_that_gives_no_sign_of_life_is_left() {
    with_broker(&[Script::Silence, GOOD], |mut device, paper| {
        assert_eq!(block_on(device.connection.knock()), Ok(()));
        assert!(device.connection.ping_at().is_some());
        block_on(device.connection.ping());
        assert_eq!(device.connection.ping_at(), None);
        assert_eq!(device.send(1..=1), stored(1));
        assert_eq!(paper.connects(), 2);
    });
}

#[test]
fn a_broker_is_verified_as_a_gateway_is() {
    for (leaf, error, fault) in [
        (Leaf::good("localhost").valid(2020, 2026), Certificate::Expired, CertificateFault::Expired),
        (Leaf::good("other.example.org"), Certificate::Name, CertificateFault::WrongHost),
    ] {
        with_broker_of(Version::Both, leaf, &[GOOD], |mut device, paper| {
            assert_eq!(device.send(1..=1), Err(UploadError::Certificate(error)));
            assert_eq!(device.connection.last_fault(), Some(Fault::Certificate(fault)));
            assert_eq!(paper.told(), [], "the token was sent");
        });
    }
}

#[test]
fn a_broker_that_speaks_tls_1_3_alone_is_offered_it_the_second_time() {
    with_broker_of(Version::Tls13, Leaf::good("localhost").rsa(), &[GOOD], |mut device, paper| {
        assert!(matches!(device.send(1..=1), Err(UploadError::Connection(_))));
        for seq in 1..=3 {
            assert_eq!(device.send(seq..=seq), stored(1));
        }
        assert_eq!(paper.connects(), 1, "a ticket that comes late is no reason to connect again");
    });
}
