//! HTTP/1.1 over TLS for a virtual device: what a chip does with Mbed TLS, done here with rustls, behind the same
//! [`embedded_svc`] traits. So the upload code of the firmware runs unchanged, against a real certificate.

use embedded_svc::http::client::asynch::Connection;
use embedded_svc::http::{Headers, Method, Status};
use embedded_svc::io::asynch::{ErrorType, Read, Write};
use embedded_svc::io::{self, ErrorKind};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longest time for TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for a whole exchange, from the request to the last byte of the answer.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Longest body of an answer.
const BODY_BYTES_MAX: u64 = 256 * 1024;
/// Longest request.
const REQUEST_BYTES_MAX: usize = 256 * 1024;

/// Which gateway, and how to know that it is the one.
#[derive(Clone)]
pub(super) struct Gateway {
    /// Name and port for the `Host` header.
    pub(super) host: String,
    name: ServerName<'static>,
    port: u16,
    connector: TlsConnector,
}

/// Why a gateway cannot be addressed.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The address is not `https://host` or `https://host:port`.
    #[error("{0:?} is not an address like https://host:port")]
    Url(String),
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

impl Gateway {
    /// Takes `https://host:port` and the certificates to trust.
    pub(super) fn new(url: &str, roots: Arc<RootCertStore>) -> Result<Self, GatewayError> {
        let (host, port, name) = parse(url).ok_or_else(|| GatewayError::Url(url.to_owned()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(GatewayError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { host: host.to_owned(), name, port, connector: TlsConnector::from(Arc::new(config)) })
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, ConnectionError> {
        let name = self.name.to_str();
        let connecting = async {
            let tcp = TcpStream::connect((name.as_ref(), self.port)).await?;
            tcp.set_nodelay(true)?;
            self.connector.connect(self.name.clone(), tcp).await
        };
        Ok(timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| ConnectionError::TimedOut)??)
    }
}

fn parse(url: &str) -> Option<(&str, u16, ServerName<'static>)> {
    let authority = url.strip_prefix("https://")?;
    let host = authority.strip_suffix('/').unwrap_or(authority);
    let (name, port) = match host.rsplit_once(':') {
        // The colons of an IPv6 address are inside brackets.
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()?),
        _ => (host, 443),
    };
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    Some((host, port, ServerName::try_from(bare.to_owned()).ok()?))
}

/// What can go wrong on the wire.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("the gateway did not answer in time")]
    TimedOut,
    #[error("the gateway closed the connection")]
    Closed,
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
    #[error("the answer is not HTTP/1.1 with a known length")]
    Protocol,
    #[error("the request or the answer is too large")]
    TooLarge,
    #[error("called out of order")]
    State,
}

impl io::Error for ConnectionError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::TimedOut => ErrorKind::TimedOut,
            Self::Closed => ErrorKind::ConnectionReset,
            Self::Io(error) => match error.kind() {
                std::io::ErrorKind::ConnectionRefused => ErrorKind::ConnectionRefused,
                std::io::ErrorKind::ConnectionReset => ErrorKind::ConnectionReset,
                std::io::ErrorKind::InvalidData => ErrorKind::InvalidData,
                std::io::ErrorKind::TimedOut => ErrorKind::TimedOut,
                _ => ErrorKind::Other,
            },
            Self::Protocol => ErrorKind::InvalidData,
            Self::TooLarge => ErrorKind::OutOfMemory,
            Self::State => ErrorKind::InvalidInput,
        }
    }
}

/// One exchange at a time over one kept connection, which is opened when first needed and again whenever it broke.
pub(super) struct HttpsConnection {
    head: Head,
    wire: Wire,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Idle,
    Request,
    Response,
}

/// Status line and headers of an answer.
#[derive(Default)]
pub(super) struct Head {
    status: u16,
    reason: String,
    headers: Vec<(String, String)>,
}

/// The bytes: a request on its way out, an answer on its way in.
pub(super) struct Wire {
    gateway: Gateway,
    stream: Option<TlsStream<TcpStream>>,
    deadline: Instant,
    /// The whole request, kept until the answer begins: a kept connection may turn out to be closed, and then the
    /// request goes out once more on a new one.
    request: Vec<u8>,
    /// Bytes that came and were not yet handed out.
    read: Vec<u8>,
    body_left: u64,
    keep: bool,
}

impl HttpsConnection {
    pub(super) fn new(gateway: Gateway) -> Self {
        let wire = Wire {
            gateway,
            stream: None,
            deadline: Instant::now(),
            request: Vec::new(),
            read: Vec::new(),
            body_left: 0,
            keep: false,
        };
        Self { head: Head::default(), wire, phase: Phase::Idle }
    }
}

impl Wire {
    /// Sends the request and reads the head of the answer.
    async fn exchange(&mut self) -> Result<Head, ConnectionError> {
        if let Some(stream) = self.stream.take() {
            match self.exchange_on(stream).await {
                // The gateway closed the connection while it was idle. Nothing of the answer had come.
                Err(ConnectionError::Closed | ConnectionError::Io(_)) if self.read.is_empty() => {}
                other => return other,
            }
        }
        let stream = self.gateway.connect().await?;
        self.exchange_on(stream).await
    }

    async fn exchange_on(&mut self, mut stream: TlsStream<TcpStream>) -> Result<Head, ConnectionError> {
        self.read.clear();
        let sending = async {
            stream.write_all(&self.request).await?;
            stream.flush().await
        };
        timeout_at(self.deadline, sending).await.map_err(|_| ConnectionError::TimedOut)??;
        self.stream = Some(stream);
        let head = loop {
            let head = match Head::parse(&self.read)? {
                None => {
                    if self.read.len() > HEAD_BYTES_MAX {
                        return Err(self.broken(ConnectionError::TooLarge));
                    }
                    self.fill().await?;
                    continue;
                }
                Some((head, len)) => {
                    self.read.drain(..len);
                    head
                }
            };
            // Interim answers (RFC 9110 §15.2) announce the real one.
            if head.status >= 200 {
                break head;
            }
        };
        self.body_left = match (head.status, head.header("Content-Length")) {
            (204 | 304, None) => 0,
            (_, Some(length)) => length.trim().parse().map_err(|_| self.broken(ConnectionError::Protocol))?,
            (_, None) => return Err(self.broken(ConnectionError::Protocol)),
        };
        if self.body_left > BODY_BYTES_MAX {
            return Err(self.broken(ConnectionError::TooLarge));
        }
        self.keep = !head.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        self.request.clear();
        Ok(head)
    }

    async fn fill(&mut self) -> Result<(), ConnectionError> {
        let Some(stream) = &mut self.stream else { return Err(ConnectionError::State) };
        let outcome = match timeout_at(self.deadline, stream.read_buf(&mut self.read)).await {
            Ok(Ok(0)) => ConnectionError::Closed,
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error.into(),
            Err(_) => ConnectionError::TimedOut,
        };
        Err(self.broken(outcome))
    }

    /// A connection on which something went wrong is not used again.
    fn broken(&mut self, error: ConnectionError) -> ConnectionError {
        self.stream = None;
        error
    }
}

impl Head {
    /// The head and its length; `None` while it is not complete.
    fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, ConnectionError> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let text = bytes.get(..end).and_then(|head| std::str::from_utf8(head).ok());
        let mut lines = text.ok_or(ConnectionError::Protocol)?.split("\r\n");
        let mut first = lines.next().unwrap_or_default().splitn(3, ' ');
        if first.next() != Some("HTTP/1.1") {
            return Err(ConnectionError::Protocol);
        }
        let status = first.next().and_then(|status| status.parse().ok()).ok_or(ConnectionError::Protocol)?;
        let reason = first.next().unwrap_or_default().to_owned();
        let headers = lines
            .map(|line| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned())))
            .collect::<Option<_>>()
            .ok_or(ConnectionError::Protocol)?;
        Ok(Some((Self { status, reason, headers }, end + 4)))
    }
}

impl Status for Head {
    fn status(&self) -> u16 {
        self.status
    }

    fn status_message(&self) -> Option<&str> {
        Some(&self.reason)
    }
}

impl Headers for Head {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl ErrorType for Wire {
    type Error = ConnectionError;
}

impl Read for Wire {
    async fn read(&mut self, out: &mut [u8]) -> Result<usize, ConnectionError> {
        if self.body_left == 0 || out.is_empty() {
            return Ok(0);
        }
        if self.read.is_empty() {
            self.fill().await?;
        }
        let left = usize::try_from(self.body_left).unwrap_or(usize::MAX);
        let len = out.len().min(self.read.len()).min(left);
        for (to, from) in out.iter_mut().zip(self.read.drain(..len)) {
            *to = from;
        }
        self.body_left -= len as u64;
        Ok(len)
    }
}

impl Write for Wire {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ConnectionError> {
        if self.request.len() + bytes.len() > REQUEST_BYTES_MAX {
            return Err(ConnectionError::TooLarge);
        }
        self.request.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), ConnectionError> {
        Ok(())
    }
}

impl ErrorType for HttpsConnection {
    type Error = ConnectionError;
}

impl Read for HttpsConnection {
    async fn read(&mut self, out: &mut [u8]) -> Result<usize, ConnectionError> {
        if self.phase == Phase::Response { self.wire.read(out).await } else { Err(ConnectionError::State) }
    }
}

impl Write for HttpsConnection {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ConnectionError> {
        if self.phase == Phase::Request { self.wire.write(bytes).await } else { Err(ConnectionError::State) }
    }

    async fn flush(&mut self) -> Result<(), ConnectionError> {
        self.wire.flush().await
    }
}

impl Status for HttpsConnection {
    fn status(&self) -> u16 {
        self.head.status()
    }

    fn status_message(&self) -> Option<&str> {
        self.head.status_message()
    }
}

impl Headers for HttpsConnection {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }
}

impl Connection for HttpsConnection {
    type Headers = Head;
    type Read = Wire;
    type RawConnectionError = ConnectionError;
    type RawConnection = Wire;

    async fn initiate_request(
        &mut self,
        method: Method,
        uri: &str,
        headers: &[(&str, &str)],
    ) -> Result<(), ConnectionError> {
        let wire = &mut self.wire;
        if !wire.keep || wire.body_left > 0 || !wire.read.is_empty() {
            wire.stream = None;
        }
        wire.deadline = Instant::now() + EXCHANGE_TIMEOUT;
        wire.request.clear();
        wire.read.clear();
        self.phase = Phase::Idle;
        let method = match method {
            Method::Post => "POST",
            Method::Get => "GET",
            _ => return Err(ConnectionError::State),
        };
        let clean = |text: &str| !text.contains(['\r', '\n', '\0']);
        if !clean(uri) || !headers.iter().all(|(name, value)| clean(name) && clean(value)) {
            return Err(ConnectionError::State);
        }
        let mut request = format!("{method} {uri} HTTP/1.1\r\n");
        for (name, value) in headers {
            request.extend([*name, ": ", *value, "\r\n"]);
        }
        request.push_str("\r\n");
        wire.request.extend_from_slice(request.as_bytes());
        self.phase = Phase::Request;
        Ok(())
    }

    fn is_request_initiated(&self) -> bool {
        self.phase == Phase::Request
    }

    async fn initiate_response(&mut self) -> Result<(), ConnectionError> {
        if self.phase != Phase::Request {
            return Err(ConnectionError::State);
        }
        self.phase = Phase::Idle;
        self.head = self.wire.exchange().await?;
        self.phase = Phase::Response;
        Ok(())
    }

    fn is_response_initiated(&self) -> bool {
        self.phase == Phase::Response
    }

    fn split(&mut self) -> (&Head, &mut Wire) {
        (&self.head, &mut self.wire)
    }

    fn raw_connection(&mut self) -> Result<&mut Wire, ConnectionError> {
        Err(ConnectionError::State)
    }
}
