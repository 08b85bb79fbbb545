//! An HTTPS client that trusts the gateway's own certificate and nothing else.

use crate::events::Events;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme, WantsVerifier,
};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::extensions::GeneralName;

/// Longest wait for a whole answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Which protocol to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1 with keep-alive.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Version {
    const fn protocol(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// One connection to the gateway, opened when needed and kept; with HTTP/2 many requests share it.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    name: ServerName<'static>,
    host: String,
    version: Version,
    tls: Arc<ClientConfig>,
    bearer: Option<String>,
    connection: Mutex<Option<Connection>>,
}

#[derive(Debug)]
enum Connection {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    fn is_closed(&self) -> bool {
        match self {
            Self::One(sender) => sender.is_closed(),
            Self::Two(sender) => sender.is_closed(),
        }
    }
}

impl Client {
    /// A client for the gateway at `address` that keeps its data in `data_dir`.
    ///
    /// # Errors
    /// When the gateway's certificate cannot be read.
    pub fn new(address: SocketAddr, data_dir: &Path, version: Version) -> Result<Self> {
        let tls = trusting(data_dir, &[version.protocol()])?;
        Ok(Self {
            address,
            name: ServerName::IpAddress(address.ip().into()),
            host: address.to_string(),
            version,
            tls,
            bearer: None,
            connection: Mutex::new(None),
        })
    }

    /// A client that asks `address` for `name` (a DNS name or an address, which is asked for without SNI), and trusts
    /// these roots alone.
    ///
    /// # Errors
    /// When `name` or a root is none.
    pub fn trusting(
        address: SocketAddr,
        name: &str,
        roots: &[CertificateDer<'static>],
        version: Version,
    ) -> Result<Self> {
        let tls = with_roots(roots.iter().cloned(), &[version.protocol()])?;
        Ok(Self {
            address,
            name: ServerName::try_from(name.to_owned()).with_context(|| format!("not a name: {name:?}"))?,
            host: if name.contains(':') {
                format!("[{name}]:{}", address.port())
            } else {
                format!("{name}:{}", address.port())
            },
            version,
            tls,
            bearer: None,
            connection: Mutex::new(None),
        })
    }

    /// A client that takes whatever certificate it is shown: for whether there is an answer at all.
    ///
    /// # Errors
    /// When the TLS library refuses.
    pub fn trusting_anything(address: SocketAddr, version: Version) -> Result<Self> {
        let mut tls = careless()?;
        tls.alpn_protocols = vec![version.protocol().to_vec()];
        Ok(Self {
            address,
            name: ServerName::IpAddress(address.ip().into()),
            host: address.to_string(),
            version,
            tls: Arc::new(tls),
            bearer: None,
            connection: Mutex::new(None),
        })
    }

    /// The same client with a connection of its own, and this token on every request.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { bearer: Some(token.to_owned()), ..self.fresh() }
    }

    /// The same client with a connection of its own.
    #[must_use]
    pub fn fresh(&self) -> Self {
        Self {
            address: self.address,
            name: self.name.clone(),
            host: self.host.clone(),
            version: self.version,
            tls: Arc::clone(&self.tls),
            bearer: self.bearer.clone(),
            connection: Mutex::new(None),
        }
    }

    /// Starts a GET.
    #[must_use]
    pub fn get(&self, path: &str) -> Draft<'_> {
        self.request(Method::GET, path)
    }

    /// Starts a POST.
    #[must_use]
    pub fn post(&self, path: &str) -> Draft<'_> {
        self.request(Method::POST, path)
    }

    /// Starts a request.
    #[must_use]
    pub fn request(&self, method: Method, path: &str) -> Draft<'_> {
        let mut headers = HeaderMap::new();
        if let Some(token) = &self.bearer {
            let value = format!("Bearer {token}").parse().expect("a token is printable");
            headers.insert(header::AUTHORIZATION, value);
        }
        Draft { client: self, method, path: path.to_owned(), headers, body: Bytes::new() }
    }

    /// GET that must be answered with 200 and JSON.
    ///
    /// # Errors
    /// When it is not.
    pub async fn json(&self, path: &str) -> Result<Value> {
        self.get(path).send().await?.expect(200)?.json()
    }

    /// Posts a batch of readings.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn ingest(&self, batch: &Value) -> Result<Answer> {
        self.post("/api/v1/readings").json(batch).send().await
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        let mut slot = self.connection.lock().await;
        if slot.as_ref().is_none_or(Connection::is_closed) {
            *slot = Some(self.connect().await?);
        }
        match slot.as_mut() {
            Some(Connection::One(sender)) => {
                sender.ready().await?;
                Ok(sender.send_request(request).await?)
            }
            Some(Connection::Two(sender)) => {
                let mut sender = sender.clone();
                // Others may use the connection while this request is under way.
                drop(slot);
                sender.ready().await?;
                Ok(sender.send_request(request).await?)
            }
            None => bail!("no connection"),
        }
    }

    async fn connect(&self) -> Result<Connection> {
        let stream = handshake_for(self.address, self.name.clone(), Arc::clone(&self.tls)).await?;
        let protocol = stream.get_ref().1.alpn_protocol().unwrap_or_default().to_vec();
        let io = TokioIo::new(stream);
        match self.version {
            Version::Http1 => {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
                Ok(Connection::One(sender))
            }
            Version::Http2 => {
                ensure!(protocol == b"h2", "the gateway does not offer h2 by ALPN");
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                Ok(Connection::Two(sender))
            }
        }
    }
}

/// A request that is not sent yet.
#[derive(Debug)]
pub struct Draft<'a> {
    client: &'a Client,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl<'a> Draft<'a> {
    /// Sets a header field; an earlier one of the same name is replaced.
    ///
    /// # Panics
    /// When name or value cannot stand in a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: header::HeaderName = name.parse().expect("a header name");
        self.headers.insert(name, value.parse().expect("a header value"));
        self
    }

    /// Asks for this kind of answer.
    #[must_use]
    pub fn accept(self, kind: &str) -> Self {
        self.header("accept", kind)
    }

    /// Sends bytes of this kind.
    #[must_use]
    pub fn body(mut self, kind: &str, bytes: impl Into<Bytes>) -> Self {
        self.body = bytes.into();
        self.header("content-type", kind)
    }

    /// Sends JSON.
    #[must_use]
    pub fn json(self, value: &Value) -> Self {
        self.body("application/json", value.to_string())
    }

    /// Sends the fields of an HTML form; names and values must not need escaping.
    #[must_use]
    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        let text: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.body("application/x-www-form-urlencoded", text.join("&"))
    }

    /// Sends the request and reads the whole answer.
    ///
    /// # Errors
    /// When no complete answer comes in time.
    pub async fn send(self) -> Result<Answer> {
        let what = format!("{} {}", self.method, self.path);
        let conversation = async {
            let (client, request) = self.into_request()?;
            let (parts, body) = client.exchange(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
        };
        match tokio::time::timeout(ANSWER_WITHIN, conversation).await {
            Ok(answer) => answer.with_context(|| what),
            Err(_) => bail!("{what}: no answer within {ANSWER_WITHIN:?}"),
        }
    }

    /// Opens a stream of server-sent events.
    ///
    /// # Errors
    /// When the answer is not such a stream.
    pub async fn events(self) -> Result<Events> {
        let what = format!("{} {}", self.method, self.path);
        let (client, request) = self.accept("text/event-stream").into_request()?;
        let answer =
            tokio::time::timeout(ANSWER_WITHIN, client.exchange(request)).await.context(what.clone())??;
        let kind =
            answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
        ensure!(answer.status() == 200, "{what}: {}", answer.status());
        ensure!(kind.starts_with("text/event-stream"), "{what}: content-type {kind:?}");
        Ok(Events::new(answer.into_body()))
    }

    fn into_request(self) -> Result<(&'a Client, Request<Full<Bytes>>)> {
        let host = &self.client.host;
        let mut request = Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.headers_mut() = self.headers;
        let agent = header::HeaderValue::from_static("casement-scenarios");
        request.headers_mut().entry(header::USER_AGENT).or_insert(agent);
        match self.client.version {
            Version::Http1 => {
                *request.uri_mut() = self.path.parse()?;
                request.headers_mut().entry(header::HOST).or_insert(host.to_string().parse()?);
            }
            Version::Http2 => *request.uri_mut() = format!("https://{host}{}", self.path).parse()?,
        }
        Ok((self.client, request))
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The value of a header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The kind of body; empty when the answer does not say.
    #[must_use]
    pub fn content_type(&self) -> &str {
        self.header("content-type").unwrap_or_default()
    }

    /// The body as text.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub fn text(&self) -> Result<&str> {
        Ok(std::str::from_utf8(&self.body)?)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not JSON, or does not say that it is.
    pub fn json(&self) -> Result<Value> {
        let kind = self.content_type();
        ensure!(kind.starts_with("application/") && kind.contains("json"), "content-type {kind:?}: {self}");
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {self}"))
    }

    /// The answer itself, when it has this status.
    ///
    /// # Errors
    /// When it has another one; the error shows the body.
    pub fn expect(self, status: u16) -> Result<Self> {
        ensure!(self.status == status, "expected {status}, got {self}");
        Ok(self)
    }

    /// The problem (RFC 9457) that the answer describes, when it has this status and the shape that small clients
    /// rely on: a length, a stable type, a detail for people.
    ///
    /// # Errors
    /// When it has not.
    pub fn problem(&self, status: u16) -> Result<Value> {
        ensure!(self.status == status, "expected {status}, got {self}");
        ensure!(self.content_type().starts_with("application/problem+json"), "not a problem: {self}");
        self.measured()?;
        let problem = self.json()?;
        for field in ["type", "detail"] {
            let text = problem[field].as_str().unwrap_or_default();
            ensure!(!text.is_empty(), "no {field} in {self}");
        }
        ensure!(problem["status"].is_null() || problem["status"] == status, "status differs in {self}");
        Ok(problem)
    }

    /// Checks that the answer says how long its body is.
    ///
    /// # Errors
    /// When it does not, or says so wrongly.
    pub fn measured(&self) -> Result<()> {
        let length = self.header("content-length").with_context(|| format!("no Content-Length: {self}"))?;
        ensure!(length.parse() == Ok(self.body.len()), "Content-Length {length} of {}", self.body.len());
        Ok(())
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy(&self.body);
        let start: String = text.chars().take(600).collect();
        write!(f, "{} {:?} {start}", self.status, self.content_type())
    }
}

/// What a server shows in a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The chain, leaf first, in DER.
    pub chain: Vec<Vec<u8>>,
    /// The leaf's serial number, in lower-case hex.
    pub serial: String,
    /// Its alternative names: DNS names and addresses, as text.
    pub names: Vec<String>,
    /// Its subject's common name, if it has one.
    pub common_name: Option<String>,
    /// Its issuer.
    pub issuer: String,
    /// Begin of its validity, in milliseconds since 1970.
    pub not_before_ms: i64,
    /// End of its validity, in milliseconds since 1970.
    pub not_after_ms: i64,
}

impl Shown {
    /// Whether its issuer's name contains this.
    #[must_use]
    pub fn is_from(&self, issuer: &str) -> bool {
        self.issuer.contains(issuer)
    }

    /// How long it is good for, in seconds.
    #[must_use]
    pub const fn validity_s(&self) -> i64 {
        (self.not_after_ms - self.not_before_ms) / 1000
    }

    /// The leaf in PEM.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn pem(&self) -> Result<String> {
        let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
        let leaf = self.chain.first().context("an empty chain")?;
        for line in base64(leaf).as_bytes().chunks(64) {
            text.push_str(std::str::from_utf8(line)?);
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
        Ok(text)
    }

    fn read(chain: &[CertificateDer<'_>]) -> Result<Self> {
        let leaf = chain.first().context("no certificate was shown")?;
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf)?;
        let mut names = Vec::new();
        if let Some(listed) = parsed.subject_alternative_name()? {
            for name in &listed.value.general_names {
                names.push(match name {
                    GeneralName::DNSName(name) => (*name).to_owned(),
                    GeneralName::IPAddress(bytes) => {
                        match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
                            (Ok(four), _) => IpAddr::from(four).to_string(),
                            (_, Ok(six)) => IpAddr::from(six).to_string(),
                            _ => bail!("an address of {} bytes", bytes.len()),
                        }
                    }
                    other => bail!("an unexpected kind of name: {other}"),
                });
            }
        }
        names.sort();
        let common_name =
            parsed.subject().iter_common_name().next().map(|name| name.as_str().map(str::to_owned));
        Ok(Self {
            chain: chain.iter().map(|certificate| certificate.to_vec()).collect(),
            serial: format!("{:x}", parsed.serial),
            names,
            common_name: common_name.transpose()?,
            issuer: parsed.issuer().to_string(),
            not_before_ms: parsed.validity().not_before.timestamp() * 1000,
            not_after_ms: parsed.validity().not_after.timestamp() * 1000,
        })
    }
}

/// What `address` shows to a client that asks for `name`, or for no name at all. Every call is a full handshake.
///
/// # Errors
/// When the handshake fails for another reason than trust.
pub async fn shown(address: SocketAddr, name: Option<&str>) -> Result<Shown> {
    let config = careless()?;
    let name = match name {
        Some(name) => ServerName::try_from(name.to_owned())?,
        // Addresses are never sent as SNI.
        None => ServerName::IpAddress(address.ip().into()),
    };
    let stream = handshake_for(address, name, Arc::new(config)).await?;
    Shown::read(stream.get_ref().1.peer_certificates().unwrap_or_default())
}

/// Settings that take any certificate and remember no session.
fn careless() -> Result<ClientConfig> {
    let mut config =
        builder()?.dangerous().with_custom_certificate_verifier(Arc::new(Anything)).with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// Takes whatever it is shown, as long as the other side has the key.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?)
}

/// TLS settings that trust these roots and nothing else, and offer these protocols.
///
/// # Errors
/// When a root is none.
pub fn with_roots(
    roots: impl IntoIterator<Item = CertificateDer<'static>>,
    protocols: &[&[u8]],
) -> Result<Arc<ClientConfig>> {
    let mut trusted = RootCertStore::empty();
    for root in roots {
        trusted.add(root)?;
    }
    let mut config = builder()?.with_root_certificates(trusted).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

/// TLS settings that trust the gateway's own certificate and offer these protocols.
pub(crate) fn trusting(data_dir: &Path, protocols: &[&[u8]]) -> Result<Arc<ClientConfig>> {
    let path = data_dir.join("certs/self-signed.pem");
    let found: Vec<_> = CertificateDer::pem_file_iter(&path)
        .with_context(|| path.display().to_string())?
        .collect::<Result<_, _>>()?;
    ensure!(!found.is_empty(), "no certificate in {}", path.display());
    with_roots(found, protocols)
}

/// Connects and shakes hands, asking for the certificate of the address.
pub(crate) async fn handshake(address: SocketAddr, tls: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>> {
    handshake_for(address, ServerName::IpAddress(address.ip().into()), tls).await
}

/// Connects and shakes hands, asking for the certificate of `name`.
///
/// # Errors
/// When connection or handshake fail, or take too long.
pub async fn handshake_for(
    address: SocketAddr,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>> {
    let conversation = async {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        TlsConnector::from(tls).connect(name, stream).await.with_context(|| format!("TLS with {address}"))
    };
    tokio::time::timeout(ANSWER_WITHIN, conversation).await.context("no TLS handshake in time")?
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().enumerate().fold(0_u32, |group, (i, byte)| group | u32::from(*byte) << (16 - 8 * i));
        for position in 0..4 {
            if position <= chunk.len() {
                text.push(char::from(ALPHABET[(group >> (18 - 6 * position) & 63) as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}
