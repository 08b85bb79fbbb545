//! Sockets: plain HTTP, HTTPS, TLS of all versions.

use crate::doctor::facts::{Door, Fact, Handshake, Knock, Reply, Scan, Unknown};
use crate::tls::challenge;
use crate::tls::pair;
use aws_lc_rs::rand;
use futures_util::StreamExt;
use futures_util::stream;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion, version};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(2500);

/// How long an answer may take once connected.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(2500);

/// How long everything at one door may take.
const DOOR_TIMEOUT: Duration = Duration::from_secs(6);

/// Doors that are tried at once.
const AT_ONCE: usize = 32;

/// How much of an answer is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 32 * 1024;

/// How much of a body is kept, in bytes.
const BODY_KEPT: usize = 200;

/// Tries every door.
pub(super) async fn knock(doors: Vec<Door>) -> Vec<Door> {
    let try_one = |mut door: Door| async move {
        let tried = async { if door.plain { knock_plain(&door).await } else { knock_tls(&door).await } };
        door.knock = tokio::time::timeout(DOOR_TIMEOUT, tried).await.unwrap_or(Knock::Silent);
        door
    };
    stream::iter(doors.into_iter().map(try_one)).buffered(AT_ONCE).collect().await
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Knock> {
    match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Err(Knock::Refused),
        Ok(Err(error)) if error.kind() == ErrorKind::TimedOut => Err(Knock::Silent),
        Ok(Err(error)) => Err(Knock::NoWay(error.to_string())),
        Err(_) => Err(Knock::Silent),
    }
}

/// A token that nobody offers.
fn token() -> String {
    let mut bytes = [0; 16];
    // Without chance it is still nobody's.
    let _unlikely = rand::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn knock_plain(door: &Door) -> Knock {
    let path = format!("{}{}", challenge::PATH, token());
    let mut replies = Vec::with_capacity(2);
    for path in [path.as_str(), "/"] {
        let mut stream = match connect(door.address).await {
            Ok(stream) => stream,
            Err(knock) => return knock,
        };
        match get(&mut stream, &door.host, path).await {
            Ok(reply) => replies.push(reply),
            Err(error) => return Knock::Strange(error.to_string()),
        }
    }
    let (front, challenge) = (replies.pop().unwrap_or_default(), replies.pop().unwrap_or_default());
    Knock::Http { challenge, front }
}

async fn knock_tls(door: &Door) -> Knock {
    match connect(door.address).await {
        Ok(_) => {}
        Err(knock) => return knock,
    }
    match shake(door.address, Some(&door.host), &[&version::TLS13, &version::TLS12], &[b"h2", b"http/1.1"])
        .await
    {
        Ok((handshake, _)) => Knock::Tls(handshake.sha256),
        Err(why) => Knock::Strange(why.0),
    }
}

/// Speaks TLS with a gateway in all ways, and asks what it answers.
pub(super) async fn scan(at: SocketAddr, host: Option<&str>) -> (Scan, Fact<BTreeMap<&'static str, Reply>>) {
    let new: &[&SupportedProtocolVersion] = &[&version::TLS13];
    let old: &[&SupportedProtocolVersion] = &[&version::TLS12];
    let (tls13, tls12, nameless, one, zero, answers) = tokio::join!(
        shake(at, host, new, &[b"h2", b"http/1.1"]),
        shake(at, host, old, &[b"http/1.1"]),
        shake(at, None, new, &[b"h2", b"http/1.1"]),
        accepts(at, [3, 2]),
        accepts(at, [3, 1]),
        async {
            let late = || Err(Unknown::new("no answer in time"));
            tokio::time::timeout(DOOR_TIMEOUT, answers(at, host)).await.unwrap_or_else(|_| late())
        },
    );
    let facts = |shaken: Fact<(Handshake, TlsStream<TcpStream>)>| shaken.map(|(handshake, _)| handshake);
    let scan = Scan {
        at,
        tls13: facts(tls13),
        tls12: facts(tls12),
        nameless: facts(nameless),
        old: vec![("TLS 1.1", one), ("TLS 1.0", zero)],
    };
    (scan, answers)
}

async fn answers(at: SocketAddr, host: Option<&str>) -> Fact<BTreeMap<&'static str, Reply>> {
    let mut answers = BTreeMap::new();
    for path in ["/healthz", "/readyz"] {
        let (_, mut stream) = shake(at, host, &[&version::TLS13, &version::TLS12], &[b"http/1.1"]).await?;
        let name = host.map_or_else(|| at.to_string(), str::to_owned);
        let reply =
            get(&mut stream, &name, path).await.map_err(|error| Unknown::new(format!("{path}: {error}")))?;
        answers.insert(path, reply);
    }
    Ok(answers)
}

async fn shake(
    at: SocketAddr,
    host: Option<&str>,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> Fact<(Handshake, TlsStream<TcpStream>)> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(versions)
        .map_err(|error| Unknown::new(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let address = ServerName::IpAddress(at.ip().into());
    let name = host
        .and_then(|host| ServerName::try_from(host.trim_start_matches("*.").to_owned()).ok())
        .unwrap_or(address);
    let stream = connect(at).await.map_err(|knock| Unknown::new(words(&knock)))?;
    let shaken =
        tokio::time::timeout(ANSWER_TIMEOUT, TlsConnector::from(Arc::new(config)).connect(name, stream))
            .await;
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(Unknown::new(format!("no TLS: {error}"))),
        Err(_) => return Err(Unknown::new("no TLS: no answer in time")),
    };
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().unwrap_or_default();
    let handshake = Handshake {
        alpn: session
            .alpn_protocol()
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .unwrap_or_default(),
        group: session
            .negotiated_key_exchange_group()
            .map(|group| format!("{:?}", group.name()))
            .unwrap_or_default(),
        suite: session
            .negotiated_cipher_suite()
            .map(|suite| format!("{:?}", suite.suite()))
            .unwrap_or_default(),
        sha256: pair::describe(chain).map(|certificate| certificate.sha256).unwrap_or_default(),
    };
    Ok((handshake, stream))
}

fn words(knock: &Knock) -> String {
    match knock {
        Knock::Refused => "nobody listens".to_owned(),
        Knock::NoWay(why) | Knock::Strange(why) => why.clone(),
        Knock::Silent | Knock::Http { .. } | Knock::Tls(_) => "no answer in time".to_owned(),
    }
}

/// Takes whoever answers: this looks at what is shown and sends no secret.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _above: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Asks for a page over HTTP/1.1, and reads as much of the answer as matters.
async fn get<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, host: &str, path: &str) -> io::Result<Reply> {
    let host = if host.contains(':') && !host.starts_with('[') && host.parse::<SocketAddr>().is_err() {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let asked = async {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: casement-doctor\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        match stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await {
            // Who hangs up without a farewell has still answered.
            Err(error) if answer.is_empty() => return Err(error),
            Ok(_) | Err(_) => {}
        }
        reply(&answer).ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "the answer is not HTTP"))
    };
    tokio::time::timeout(ANSWER_TIMEOUT, asked)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(ErrorKind::TimedOut, "no answer in time")))
}

fn reply(answer: &[u8]) -> Option<Reply> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(answer.get(..end)?).into_owned();
    let body = answer.get(end + 4..)?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    if !first.next()?.starts_with("HTTP/1.") {
        return None;
    }
    let clean = |text: &str| text.trim().chars().filter(|c| !c.is_control()).take(500).collect::<String>();
    Some(Reply {
        status: first.next()?.parse().ok()?,
        headers: lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), clean(value)))
            .collect(),
        body: String::from_utf8_lossy(body.get(..BODY_KEPT).unwrap_or(body)).into_owned(),
    })
}

/// Whether a server accepts a version of TLS that rustls does not even speak: a greeting by hand (RFC 4346 §7.4.1.2).
async fn accepts(at: SocketAddr, version: [u8; 2]) -> Fact<bool> {
    let mut stream = connect(at).await.map_err(|knock| Unknown::new(words(&knock)))?;
    let asked = async {
        stream.write_all(&old_hello(version)).await?;
        let mut answer = [0; 11];
        let mut read = 0;
        while let Some(rest) = answer.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match stream.read(rest).await {
                Ok(0) => break,
                Ok(more) => read += more,
                // Hung up on: that is a refusal, too.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => return Err(error),
            }
        }
        Ok(is_server_hello(answer.get(..read).unwrap_or_default(), version))
    };
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(Ok(accepted)) => Ok(accepted),
        Ok(Err(error)) => Err(Unknown::new(error.to_string())),
        Err(_) => Err(Unknown::new("no answer in time")),
    }
}

/// A record of a handshake that holds a server's greeting of this version.
fn is_server_hello(answer: &[u8], version: [u8; 2]) -> bool {
    matches!(answer, [22, _, _, _, _, 2, _, _, _, major, minor, ..] if [*major, *minor] == version)
}

fn old_hello(version: [u8; 2]) -> Vec<u8> {
    // Suites that every server of that time had: ECDHE and RSA with AES and SHA-1, with RSA and ECDSA certificates.
    const SUITES: [u8; 16] =
        [0xc0, 0x09, 0xc0, 0x0a, 0xc0, 0x13, 0xc0, 0x14, 0x00, 0x2f, 0x00, 0x35, 0x00, 0x0a, 0x00, 0xff];
    // supported_groups: P-256, P-384; ec_point_formats: uncompressed.
    const EXTENSIONS: [u8; 16] =
        [0x00, 0x0a, 0x00, 0x06, 0x00, 0x04, 0x00, 0x17, 0x00, 0x18, 0x00, 0x0b, 0x00, 0x02, 0x01, 0x00];
    let mut body = version.to_vec();
    let mut random = [7; 32];
    // Nothing of this is kept secret.
    let _unlikely = rand::fill(&mut random);
    body.extend(random);
    body.push(0);
    body.extend([0, 16]);
    body.extend(SUITES);
    body.extend([1, 0]);
    body.extend([0, 16]);
    body.extend(EXTENSIONS);
    let length = |of: usize| u16::try_from(of).unwrap_or(u16::MAX).to_be_bytes();
    let [high, low] = length(body.len());
    let mut hello = vec![22, 3, 1];
    hello.extend(length(body.len() + 4));
    hello.extend([1, 0, high, low]);
    hello.extend(body);
    hello
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_far_as_it_matters() {
        let found = reply(b"HTTP/1.1 301 Moved\r\nLocation:  https://a/ \r\nX: \x1b[2J\r\n\r\nbody").unwrap();
        assert_eq!(
            (found.status, found.header("location"), found.body.as_str()),
            (301, Some("https://a/"), "body")
        );
        assert_eq!(found.header("x"), Some("[2J"), "a header cannot drive the terminal");
        for nonsense in
            [&b""[..], b"HTTP/1.1 200", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 x\r\n\r\n", b"\xff\xfe\r\n\r\n"]
        {
            assert_eq!(reply(nonsense), None);
        }
    }

    #[test]
    fn an_old_greeting_is_well_formed() {
        for version in [[3, 1], [3, 2]] {
            let hello = old_hello(version);
            let record = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
            assert_eq!(record, hello.len() - 5);
            let handshake = usize::from(u16::from_be_bytes([hello[7], hello[8]]));
            assert_eq!(handshake, hello.len() - 9);
            assert_eq!(hello[9..11], version);
        }
    }

    #[test]
    fn only_a_greeting_of_that_version_is_accepting() {
        let hello = |major, minor| [22, 3, 1, 0, 80, 2, 0, 0, 76, major, minor];
        assert!(is_server_hello(&hello(3, 1), [3, 1]));
        assert!(!is_server_hello(&hello(3, 3), [3, 1]));
        assert!(!is_server_hello(&[21, 3, 1, 0, 2, 2, 70], [3, 1]), "an alert");
        assert!(!is_server_hello(&[], [3, 1]), "closed");
    }
}
