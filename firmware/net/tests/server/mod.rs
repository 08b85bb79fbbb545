//! A TLS server for tests, set up as the gateway is: rustls, records of at most 4 KiB, one ticket. And a certificate
//! authority with it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use casement_net::clock;
use mbedtls_rs::{Tls, TlsReference};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, RsaKeySize, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// 22 November 2026, 10:00 UTC.
pub const NOW_S: u64 = 1_795_341_600;

/// Length of the body of [`Talk::LargeAnswer`] and [`Talk::LargeRecords`].
pub const LARGE_BYTES: usize = 20_000;

/// Runs with Mbed TLS set up and the date known. There is one Mbed TLS in a program, so tests take turns.
pub fn with_tls<V>(run: impl FnOnce(TlsReference<'_>) -> V) -> V {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    clock::set(NOW_S);
    let random = Box::leak(Box::new(StdRng::from_rng(&mut rand::rng())));
    let tls = Tls::new(random).expect("the only one");
    run(tls.reference())
}

/// What a leaf certificate says.
#[derive(Clone)]
pub struct Leaf {
    pub name: String,
    rsa: bool,
    years: (i32, i32),
    more_names: usize,
}

impl Leaf {
    pub fn good(name: &str) -> Self {
        Self { name: name.to_owned(), rsa: false, years: (2026, 2027), more_names: 0 }
    }

    pub fn rsa(self) -> Self {
        Self { rsa: true, ..self }
    }

    /// With so many other names that it has at least this many bytes.
    pub fn of_bytes(self, bytes: usize) -> Self {
        Self { more_names: bytes / 32, ..self }
    }

    /// Good for decades: for tests that go by the real date.
    pub fn wide(self) -> Self {
        self.valid(2017, 2044)
    }

    /// From the first day of one year to the first day of another.
    pub fn valid(self, from: i32, to: i32) -> Self {
        Self { years: (from, to), ..self }
    }
}

/// A root and an intermediate, both on P-384, as Let's Encrypt's are.
pub struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

/// Leaf and intermediate, and the leaf's key.
pub struct Chain {
    pub certificates: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

fn authority(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::new(Vec::<String>::new()).expect("no names");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (parameters.not_before, parameters.not_after) = (date_time_ymd(2015, 1, 1), date_time_ymd(2045, 1, 1));
    parameters
}

impl Authority {
    pub fn new() -> Self {
        let key = || KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
        let root = CertifiedIssuer::self_signed(authority("Test Root"), key()).expect("a root");
        let intermediate =
            CertifiedIssuer::signed_by(authority("Test E1"), key(), &root).expect("an intermediate");
        Self { root, intermediate }
    }

    pub fn der(&self) -> &[u8] {
        self.root.der()
    }

    pub fn sign(&self, leaf: Leaf) -> Chain {
        let key = if leaf.rsa {
            KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key")
        } else {
            KeyPair::generate().expect("a key")
        };
        let more = (0..leaf.more_names).map(|number| format!("name-{number:03}-with-30-bytes.example.org"));
        let names: Vec<_> = std::iter::once(leaf.name).chain(more).collect();
        let mut parameters = CertificateParams::new(names).expect("names");
        (parameters.not_before, parameters.not_after) =
            (date_time_ymd(leaf.years.0, 1, 1), date_time_ymd(leaf.years.1, 1, 1));
        if leaf.years == (2020, 2026) {
            // The day before.
            parameters.not_after = date_time_ymd(2026, 11, 21);
        }
        let certificate = parameters.signed_by(&key, &self.intermediate).expect("signs");
        Chain {
            certificates: vec![certificate.der().clone(), self.intermediate.der().clone()],
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Version {
    Tls12,
    Tls13,
    Both,
}

/// What the server does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Talk {
    /// Takes readings, on a kept connection.
    Gateway,
    /// Takes readings once, says goodbye and closes.
    GatewayOnce,
    /// Takes readings once and closes without a word.
    GatewayOnceRudely,
    /// Answers everything with a status, and asks to come back in 30 seconds.
    Status(u16),
    /// A page to sign in on, in TLS with the right certificate.
    SignIn,
    /// The same without TLS.
    PlainSignIn,
    /// No TLS.
    Garbage,
    /// Accepts and drops.
    HangUp,
    /// Accepts and says nothing.
    Silence,
    /// Shakes hands, takes the request and says nothing.
    SilenceAfterHandshake,
    /// Half an answer.
    CutAnswer,
    /// A head without an end.
    EndlessHead,
    /// TLS, but something else in it.
    NoHttp,
    /// A body of many records.
    LargeAnswer,
    /// The same in records of 16 KiB, as other servers send them.
    LargeRecords,
    /// Takes readings, and offers this as the manifest of new firmware.
    Offers(&'static [u8]),
}

#[derive(Default)]
struct Counts {
    connections: usize,
    resumed: usize,
    requests: usize,
    closed: usize,
}

#[derive(Default)]
struct Seen {
    counts: Mutex<Counts>,
    changed: Condvar,
}

impl Seen {
    fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn read<V>(&self, look: impl FnOnce(&Counts) -> V) -> V {
        look(&self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub struct Server {
    pub port: u16,
    pub version: Version,
    seen: Arc<Seen>,
}

impl Server {
    pub fn start(chain: &Chain, version: Version, talk: Talk) -> Self {
        let mut config = tls_config(chain, version);
        if talk != Talk::LargeRecords {
            config.max_fragment_size = Some(4096);
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let seen = Arc::new(Seen::default());
        let (shared, config) = (Arc::clone(&seen), Arc::new(config));
        std::thread::spawn(move || {
            for tcp in listener.incoming().flatten() {
                let (seen, config) = (Arc::clone(&shared), Arc::clone(&config));
                std::thread::spawn(move || {
                    tcp.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
                    // A client that goes away is what many of these tests are about.
                    let _gone = serve(tcp, config, talk, &seen);
                    seen.count(|counts| counts.closed += 1);
                });
            }
        });
        Self { port, version, seen }
    }

    pub fn connections(&self) -> usize {
        self.seen.read(|counts| counts.connections)
    }

    pub fn resumed(&self) -> usize {
        self.seen.read(|counts| counts.resumed)
    }

    pub fn requests(&self) -> usize {
        self.seen.read(|counts| counts.requests)
    }

    /// Waits until this many connections are closed.
    pub fn wait_for_closed(&self, count: usize) {
        let counts = self.seen.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let waited =
            self.seen.changed.wait_timeout_while(counts, Duration::from_secs(10), |it| it.closed < count);
        assert!(!waited.expect("not poisoned").1.timed_out(), "the server still has a connection open");
    }
}

/// How the gateway sets TLS up, but for the size of its records.
pub fn tls_config(chain: &Chain, version: Version) -> ServerConfig {
    let versions = match version {
        Version::Tls12 => &[&rustls::version::TLS12][..],
        Version::Tls13 => &[&rustls::version::TLS13],
        Version::Both => &[&rustls::version::TLS12, &rustls::version::TLS13],
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain.certificates.clone(), chain.key.clone_key())
        .expect("a pair");
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().expect("a ticketer");
    config.send_tls13_tickets = 1;
    config.ignore_client_order = true;
    config
}

fn serve(mut tcp: TcpStream, config: Arc<ServerConfig>, talk: Talk, seen: &Seen) -> std::io::Result<()> {
    match talk {
        Talk::HangUp => return Ok(()),
        Talk::Garbage => {
            tcp.write_all(b"220 mail.example.org ESMTP ready, this is no TLS at all\r\n")?;
            return wait_for_end(&mut tcp);
        }
        Talk::PlainSignIn => {
            tcp.write_all(sign_in().as_bytes())?;
            return wait_for_end(&mut tcp);
        }
        Talk::Silence => return wait_for_end(&mut tcp),
        _ => {}
    }
    tcp.set_nodelay(true)?;
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut tls = StreamOwned::new(connection, tcp);
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock)?;
    }
    seen.count(|counts| {
        counts.connections += 1;
        counts.resumed += usize::from(tls.conn.handshake_kind() == Some(HandshakeKind::Resumed));
    });
    loop {
        let (asks_for_firmware, readings) = request(&mut tls)?;
        seen.count(|counts| counts.requests += 1);
        if let (Talk::Offers(manifest), true) = (talk, asks_for_firmware) {
            write!(tls, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", manifest.len())?;
            tls.write_all(manifest)?;
            tls.flush()?;
            continue;
        }
        let answer = match talk {
            Talk::SilenceAfterHandshake => return wait_for_end(&mut tls),
            Talk::CutAnswer => "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{\"stored\"".to_owned(),
            Talk::EndlessHead => format!("HTTP/1.1 200 OK\r\nX-Endless: {}", "a".repeat(3_000)),
            Talk::Status(status) => {
                format!("HTTP/1.1 {status} As Told\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n")
            }
            Talk::SignIn => sign_in(),
            Talk::NoHttp => "SSH-2.0-OpenSSH_9.2p1\r\n\r\n".to_owned(),
            Talk::LargeAnswer | Talk::LargeRecords => {
                let body = "x".repeat(LARGE_BYTES);
                format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE_BYTES}\r\nX-Part: 1\r\n\r\n{body}")
            }
            _ => {
                let body = format!(r#"{{"stored":{readings},"duplicate":0,"rejected":[]}}"#);
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            }
        };
        tls.write_all(answer.as_bytes())?;
        tls.flush()?;
        match talk {
            Talk::GatewayOnce => {
                tls.conn.send_close_notify();
                return tls.conn.complete_io(&mut tls.sock).map(|_| ());
            }
            Talk::GatewayOnceRudely | Talk::CutAnswer => return Ok(()),
            Talk::EndlessHead | Talk::NoHttp => return wait_for_end(&mut tls),
            _ => {}
        }
    }
}

/// What a hotel's Wi-Fi answers instead of anybody.
fn sign_in() -> String {
    let page = "<!doctype html><title>Welcome</title><form>Room number <input name=room></form>";
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}", page.len())
}

fn wait_for_end(stream: &mut impl Read) -> std::io::Result<()> {
    let mut buffer = [0; 512];
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}

/// Reads one request; says whether it is for firmware, and gives the number of readings in it.
fn request(stream: &mut impl Read) -> std::io::Result<(bool, usize)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 2048];
    let mut more = |bytes: &mut Vec<u8>| match stream.read(&mut buffer)? {
        0 => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
        len => {
            bytes.extend_from_slice(&buffer[..len]);
            Ok(())
        }
    };
    let (head, from) = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break (String::from_utf8_lossy(&bytes[..end]).into_owned(), end + 4);
        }
        more(&mut bytes)?;
    };
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
    while bytes.len() < from + length {
        more(&mut bytes)?;
    }
    assert_eq!(bytes.len(), from + length, "more than was announced");
    let readings = String::from_utf8_lossy(&bytes[from..]).matches("\"seq\"").count();
    Ok((head.starts_with("GET /api/v1/firmware"), readings))
}
