//! The connection against a real TLS server on this host: what works, and everything that must be refused.
//!
//! Mbed TLS keeps global state, so the tests take turns; see [`with_tls`].

mod server;

use casement_core::{UploadError, uplink};
use casement_net::{CertificateFault, Fault, Gateway, HttpsConnection, Limits, Network, Trust, clock};
use casement_proto::device_settings::GatewayUrl;
use casement_proto::wire::Batch;
use casement_proto::{Quantity, Reading, ReadingTime};
use core::net::IpAddr;
use edge_nal::AddrType;
use embassy_time::Duration;
use embedded_svc::http::client::asynch::Client;
use embedded_svc::io::ErrorKind;
use futures_lite::future::block_on;
use mbedtls_rs::TlsReference;
use server::{Authority, Leaf, NOW_S, Server, Talk, Version, with_tls};

/// Mbed TLS got an alert: the server has no protocol or suite in common with the offer.
const REFUSED: Fault = Fault::Tls(-0x7780);

/// A name service that knows one name.
struct Names;

impl edge_nal::Dns for Names {
    type Error = ErrorKind;

    async fn get_host_by_name(&self, host: &str, _kind: AddrType) -> Result<IpAddr, ErrorKind> {
        if host.ends_with("example.org") { Ok(IpAddr::from([127, 0, 0, 1])) } else { Err(ErrorKind::Other) }
    }

    async fn get_host_by_address(&self, _address: IpAddr, _name: &mut [u8]) -> Result<usize, ErrorKind> {
        Err(ErrorKind::Unsupported)
    }
}

struct Device {
    tcp: edge_nal_std::Stack,
    trust: Trust,
    gateway: Gateway,
    limits: Limits,
}

impl Device {
    fn new(url: &str, authority: &Authority) -> Self {
        Self {
            tcp: edge_nal_std::Stack::new(),
            trust: Trust::own(authority.der()).expect("a certificate"),
            gateway: Gateway::new(&GatewayUrl::parse(url).expect("an address")),
            limits: Limits { connect: Duration::from_secs(5), exchange: Duration::from_secs(5) },
        }
    }

    fn connection<'a>(&'a self, tls: TlsReference<'a>) -> HttpsConnection<'a, edge_nal_std::Stack, Names> {
        let network = Network { tcp: &self.tcp, dns: &Names, tls, trust: &self.trust };
        HttpsConnection::new(network, &self.gateway, self.limits)
    }
}

fn readings(count: u64) -> Vec<Reading> {
    let reading = |seq| {
        let mut reading = Reading::new(ReadingTime::At(1_795_341_600_000))
            .with(Quantity::parse("co2").expect("known"), 815.0);
        reading.seq = Some(seq);
        reading
    };
    (1..=count).map(reading).collect()
}

/// Sends a batch the way the firmware does.
fn post(
    client: &mut Client<HttpsConnection<'_, edge_nal_std::Stack, Names>>,
    host: &str,
    count: u64,
) -> Result<uplink::Ack, UploadError> {
    let readings = readings(count);
    let batch = Batch { boot: Some(7), readings: &readings, health: None };
    let target = uplink::Target { host, token: "cas_dev_secret" };
    let mut scratch = vec![0; 128 * readings.len() + 256];
    block_on(uplink::post(client, &target, &batch, &mut scratch))
}

/// One upload to a server, and why it failed.
fn attempt(
    server: &Server,
    host: &str,
    authority: &Authority,
) -> (Result<uplink::Ack, UploadError>, Option<Fault>) {
    attempt_within(server, host, authority, Duration::from_secs(5))
}

fn attempt_within(
    server: &Server,
    host: &str,
    authority: &Authority,
    limit: Duration,
) -> (Result<uplink::Ack, UploadError>, Option<Fault>) {
    with_tls(|tls| {
        let mut device = Device::new(&format!("https://{host}:{}", server.port), authority);
        device.limits = Limits { connect: limit, exchange: limit };
        let mut client = Client::wrap(device.connection(tls));
        let mut result = post(&mut client, device.gateway.host(), 1);
        if server.version == Version::Tls13 {
            // Without TLS 1.2 it refuses what is offered first, and 1.3 is offered next.
            let connection = client.release();
            assert_eq!(connection.last_fault(), Some(REFUSED), "{result:?}");
            client = Client::wrap(connection);
            result = post(&mut client, device.gateway.host(), 1);
        }
        let fault = client.release().last_fault();
        (result, fault)
    })
}

#[test]
fn a_good_gateway_gets_the_readings_whatever_its_key_and_version() {
    let authority = Authority::new();
    for version in [Version::Tls12, Version::Tls13] {
        for leaf in
            [Leaf::good("air.example.org"), Leaf::good("air.example.org").rsa(), Leaf::good("127.0.0.1")]
        {
            let host = leaf.name.clone();
            let server = Server::start(&authority.sign(leaf), version, Talk::Gateway);
            let (result, fault) = attempt(&server, &host, &authority);
            let ack = result.unwrap_or_else(|error| panic!("{version:?} {host}: {error} {fault:?}"));
            assert_eq!((ack.stored, fault), (1, None), "{version:?} {host}");
        }
    }
}

#[test]
fn every_wrong_certificate_is_refused_by_its_name_and_nothing_is_sent() {
    use CertificateFault::{Expired, NotYetValid, UnknownAuthority, WrongHost};
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = || Leaf::good("air.example.org");
    for version in [Version::Tls12, Version::Tls13] {
        for (chain, host, fault) in [
            (authority.sign(good()), "other.example.org", WrongHost),
            (authority.sign(good()), "127.0.0.1", WrongHost),
            (authority.sign(Leaf::good("*.example.org")), "a.b.example.org", WrongHost),
            (stranger.sign(good()), "air.example.org", UnknownAuthority),
            (authority.sign(good().valid(2020, 2026)), "air.example.org", Expired),
            (authority.sign(good().valid(2027, 2030)), "air.example.org", NotYetValid),
        ] {
            let server = Server::start(&chain, version, Talk::Gateway);
            let (result, why) = attempt(&server, host, &authority);
            assert_eq!(why, Some(Fault::Certificate(fault)), "{version:?} {host}");
            assert_eq!(
                result,
                Err(UploadError::Connection(ErrorKind::PermissionDenied)),
                "{version:?} {host}"
            );
            let told = result.map_err(|error| Fault::tell(why, error));
            assert!(matches!(told, Err(UploadError::Certificate(_))), "{version:?} {host}: {told:?}");
            assert_eq!(server.requests(), 0, "{version:?} {host}");
        }
    }
}

#[test]
fn without_a_date_nothing_is_even_tried() {
    let authority = Authority::new();
    let server = Server::start(&authority.sign(Leaf::good("air.example.org")), Version::Both, Talk::Gateway);
    with_tls(|tls| {
        clock::set(0);
        let device = Device::new(&format!("https://air.example.org:{}", server.port), &authority);
        let mut client = Client::wrap(device.connection(tls));
        let result = post(&mut client, device.gateway.host(), 1);
        assert_eq!(result, Err(UploadError::Connection(ErrorKind::PermissionDenied)));
        let connection = client.release();
        assert_eq!(connection.last_fault(), Some(Fault::Clock));
        assert_eq!((connection.handshakes().done, server.connections()), (0, 0));
        // The date came: the same connection works.
        clock::set(NOW_S);
        let mut client = Client::wrap(connection);
        assert_eq!(post(&mut client, device.gateway.host(), 1).map(|ack| ack.stored), Ok(1));
    });
}

#[test]
fn what_is_no_gateway_ends_in_an_error_and_in_time() {
    let authority = Authority::new();
    let chain = authority.sign(Leaf::good("air.example.org"));
    let quick = Duration::from_millis(700);
    for (talk, faults) in [
        (Talk::Garbage, &[Fault::Tls(-0x7200)][..]),
        (Talk::HangUp, &[Fault::Closed]),
        (Talk::Silence, &[Fault::TimedOut]),
        (Talk::SilenceAfterHandshake, &[Fault::TimedOut]),
        (Talk::CutAnswer, &[Fault::Closed]),
        (Talk::EndlessHead, &[Fault::TooLarge]),
        (Talk::NoHttp, &[Fault::Protocol]),
    ] {
        let server = Server::start(&chain, Version::Both, talk);
        let began = embassy_time::Instant::now();
        let (result, fault) = attempt_within(&server, "air.example.org", &authority, quick);
        assert!(fault.is_some_and(|fault| faults.contains(&fault)), "{talk:?}: {fault:?} {result:?}");
        assert!(matches!(result, Err(UploadError::Connection(_))), "{talk:?}: {result:?}");
        assert!(began.elapsed().as_secs() < 5, "{talk:?} took {} ms", began.elapsed().as_millis());
    }
    // Nobody there, and nobody of that name.
    let server = Server::start(&chain, Version::Both, Talk::Gateway);
    let (_, fault) = attempt(&server, "unknown.test", &authority);
    assert_eq!(fault, Some(Fault::Name));
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    with_tls(|tls| {
        let device = Device::new(&format!("https://127.0.0.1:{port}"), &authority);
        let mut client = Client::wrap(device.connection(tls));
        assert!(post(&mut client, device.gateway.host(), 1).is_err());
        assert_eq!(client.release().last_fault(), Some(Fault::Connect(ErrorKind::ConnectionRefused)));
    });
}

#[test]
fn a_connection_is_kept_and_a_new_one_resumes() {
    let authority = Authority::new();
    let chain = authority.sign(Leaf::good("air.example.org"));
    for version in [Version::Tls12, Version::Both] {
        let server = Server::start(&chain, version, Talk::Gateway);
        with_tls(|tls| {
            let device = Device::new(&format!("https://air.example.org:{}", server.port), &authority);
            let mut client = Client::wrap(device.connection(tls));
            for _ in 0..3 {
                assert_eq!(post(&mut client, device.gateway.host(), 1).map(|ack| ack.stored), Ok(1));
            }
            assert_eq!((server.connections(), server.resumed()), (1, 0), "{version:?}");
            let mut connection = client.release();
            block_on(connection.close());
            let mut client = Client::wrap(connection);
            for _ in 0..2 {
                assert_eq!(post(&mut client, device.gateway.host(), 1).map(|ack| ack.stored), Ok(1));
            }
            assert_eq!((server.connections(), server.resumed()), (2, 1), "{version:?}");
        });
    }
}

#[test]
fn a_connection_the_gateway_closed_meanwhile_costs_no_upload() {
    let authority = Authority::new();
    let chain = authority.sign(Leaf::good("air.example.org"));
    for (version, talk) in [
        (Version::Tls12, Talk::GatewayOnce),
        (Version::Tls13, Talk::GatewayOnce),
        (Version::Tls13, Talk::GatewayOnceRudely),
    ] {
        let server = Server::start(&chain, version, talk);
        with_tls(|tls| {
            let device = Device::new(&format!("https://air.example.org:{}", server.port), &authority);
            let mut client = Client::wrap(device.connection(tls));
            let refused = usize::from(version == Version::Tls13);
            if version == Version::Tls13 {
                assert!(post(&mut client, device.gateway.host(), 1).is_err());
            }
            for round in 1..=3 {
                let result = post(&mut client, device.gateway.host(), 1);
                assert_eq!(result.map(|ack| ack.stored), Ok(1), "{version:?} {talk:?} {round}");
                server.wait_for_closed(refused + round);
            }
            assert_eq!(server.connections(), 3);
        });
    }
}

#[test]
fn a_batch_larger_than_a_record_arrives_whole() {
    let authority = Authority::new();
    for version in [Version::Tls12, Version::Tls13] {
        let server = Server::start(&authority.sign(Leaf::good("air.example.org")), version, Talk::Gateway);
        with_tls(|tls| {
            let device = Device::new(&format!("https://air.example.org:{}", server.port), &authority);
            let mut client = Client::wrap(device.connection(tls));
            if version == Version::Tls13 {
                assert!(post(&mut client, device.gateway.host(), 1).is_err());
            }
            assert_eq!(post(&mut client, device.gateway.host(), 100).map(|ack| ack.stored), Ok(100));
        });
    }
}

#[test]
fn an_answer_of_many_small_records_is_read_to_its_end() {
    let authority = Authority::new();
    let server =
        Server::start(&authority.sign(Leaf::good("air.example.org")), Version::Both, Talk::LargeAnswer);
    with_tls(|tls| {
        let device = Device::new(&format!("https://air.example.org:{}", server.port), &authority);
        let mut client = Client::wrap(device.connection(tls));
        block_on(async {
            let headers = [("Host", device.gateway.host())];
            let request =
                client.request(embedded_svc::http::Method::Get, "/", &headers).await.expect("opens");
            let mut response = request.submit().await.expect("answers");
            assert_eq!((response.status(), response.header("x-part")), (200, Some("1")));
            let (mut total, mut buffer) = (0, [0; 700]);
            loop {
                match response.read(&mut buffer).await.expect("reads") {
                    0 => break,
                    len => total += len,
                }
            }
            assert_eq!(total, server::LARGE_BYTES);
        });
    });
}

#[test]
fn records_larger_than_the_buffers_are_named() {
    let authority = Authority::new();
    let chain = authority.sign(Leaf::good("air.example.org"));
    for version in [Version::Tls12, Version::Tls13] {
        let server = Server::start(&chain, version, Talk::LargeRecords);
        let (result, fault) = attempt(&server, "air.example.org", &authority);
        assert_eq!(fault, Some(Fault::Record), "{version:?}: {result:?}");
        // A chain that does not fit is one message too large, in whatever records it comes.
        let server = Server::start(
            &authority.sign(Leaf::good("air.example.org").of_bytes(4_000)),
            version,
            Talk::Gateway,
        );
        let (result, fault) = attempt(&server, "air.example.org", &authority);
        assert_eq!(fault, Some(Fault::Record), "{version:?}: {result:?}");
    }
}
