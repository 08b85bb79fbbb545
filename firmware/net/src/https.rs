//! One kept HTTPS connection to one gateway, behind the HTTP client traits of [`embedded_svc`].
//!
//! It is opened when first needed, and again whenever it broke; reopening resumes the TLS session where the gateway
//! allows. One exchange at a time, HTTP/1.1, bodies of known length. A request goes out as it is written and is not kept,
//! so a connection that breaks under it is an error, and whoever sent it tries again: readings carry numbers, and twice
//! sent is once stored. Before a kept connection is used again it is looked at, so that one the gateway closed meanwhile
//! costs nothing.

use crate::clock;
use crate::fault::{CertificateFault, Fault};
use crate::head::{HEAD_BYTES_MAX, Head};
use crate::roots::Trust;
use casement_proto::device_settings::{GatewayUrl, URL_BYTES_MAX};
use core::fmt::Write as _;
use core::future::poll_fn;
use core::net::IpAddr;
use core::pin::pin;
use core::task::Poll;
use edge_nal::{AddrType, Dns, TcpConnect};
use embassy_time::{Duration, Instant, with_deadline};
use embedded_svc::http::client::asynch::Connection;
use embedded_svc::http::{Headers, Method, Status};
use embedded_svc::io::asynch::{ErrorType, Read, Write};
use embedded_svc::io::{Error as _, ErrorKind};
use heapless::c_string::CString;
use mbedtls_rs::sys;
use mbedtls_rs::{
    ClientSessionConfig, SavedSession, Session, SessionConfig, SessionError, TlsReference, TlsVersion,
};

/// Longest host name in bytes: as much of an address as is not `https://`, and the zero that C wants.
const NAME_BYTES_MAX: usize = URL_BYTES_MAX - 7;
/// Longest head of a request.
const REQUEST_BYTES_MAX: usize = 768;

/// Where the gateway is. The certificate must be for the name, or the address, in it.
#[derive(Clone, Debug)]
pub struct Gateway {
    url: GatewayUrl,
    name: CString<NAME_BYTES_MAX>,
}

impl Gateway {
    /// Takes an address.
    pub fn new(url: &GatewayUrl) -> Self {
        let mut name = CString::new();
        // An address is longer than the name in it, and holds no zero. Were it otherwise, no certificate would fit.
        let _fits = name.extend_from_bytes(url.name_and_port().0.as_bytes());
        Self { url: url.clone(), name }
    }

    /// For the `Host` header: name, and port if there is one.
    pub fn host(&self) -> &str {
        self.url.host()
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Name, TCP and TLS together. A chip needs seconds for a handshake with RSA.
    pub connect: Duration,
    /// A whole exchange on an open connection, from the first byte of the request to the last of the answer.
    pub exchange: Duration,
}

impl Default for Limits {
    /// 20 s and 30 s.
    fn default() -> Self {
        Self { connect: Duration::from_secs(20), exchange: Duration::from_secs(30) }
    }
}

/// What a connection is made of, besides its gateway.
pub struct Network<'a, T, D> {
    /// Opens TCP connections.
    pub tcp: &'a T,
    /// Finds addresses of names.
    pub dns: &'a D,
    /// Mbed TLS, of which there is one in a program.
    pub tls: TlsReference<'a>,
    /// Whom to believe.
    pub trust: &'a Trust,
}

/// One exchange at a time with one gateway.
pub struct HttpsConnection<'a, T: TcpConnect, D> {
    head: Head,
    wire: Wire<'a, T, D>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Request,
    Response,
}

/// The bytes of the answer's body.
pub struct Wire<'a, T: TcpConnect, D> {
    network: Network<'a, T, D>,
    gateway: &'a Gateway,
    limits: Limits,
    session: Option<Session<'a, T::Socket<'a>>>,
    /// What to resume from, used once.
    saved: Option<SavedSession>,
    deadline: Instant,
    /// What came with the head: bytes from `start` to `end` are not handed out yet.
    buffer: [u8; HEAD_BYTES_MAX],
    start: usize,
    end: usize,
    body_left: u64,
    keep: bool,
    /// Whether TLS 1.3 is offered, too; see [`Wire::connect`].
    tls13: bool,
    handshakes: Handshakes,
    last_fault: Option<Fault>,
}

/// How often TLS was set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshakes {
    /// Handshakes that ended well.
    pub done: u32,
    /// Those that began with an earlier session. Whether the gateway took it up is its business.
    pub offered: u32,
}

impl<'a, T: TcpConnect, D: Dns> HttpsConnection<'a, T, D> {
    /// A connection that is opened with the first request.
    pub fn new(network: Network<'a, T, D>, gateway: &'a Gateway, limits: Limits) -> Self {
        clock::install();
        let wire = Wire {
            network,
            gateway,
            limits,
            session: None,
            saved: None,
            deadline: Instant::MIN,
            buffer: [0; HEAD_BYTES_MAX],
            start: 0,
            end: 0,
            body_left: 0,
            keep: false,
            tls13: false,
            handshakes: Handshakes::default(),
            last_fault: None,
        };
        Self { head: Head::default(), wire, phase: Phase::Idle }
    }

    /// Why the last exchange failed; `None` after one that did not. The traits only pass on its kind.
    pub fn last_fault(&self) -> Option<Fault> {
        self.wire.last_fault
    }

    /// How often TLS was set up so far.
    pub fn handshakes(&self) -> Handshakes {
        self.wire.handshakes
    }

    /// Says goodbye and closes, before the network goes or the device sleeps. What is needed to resume is kept.
    pub async fn close(&mut self) {
        self.phase = Phase::Idle;
        if let Some(mut session) = self.wire.session.take() {
            // Whether the gateway hears it changes nothing.
            let until = Instant::now() + Duration::from_secs(2);
            let _lost = with_deadline(until, session.close()).await;
        }
    }
}

impl<'a, T: TcpConnect, D: Dns> Wire<'a, T, D> {
    /// Makes sure of a connection that can take a request.
    async fn open(&mut self) -> Result<(), Fault> {
        if let Some(session) = self.session.take()
            && self.keep
            && self.body_left == 0
            && self.start == self.end
            && let Some(session) = quiet(session).await
        {
            self.session = Some(session);
            return Ok(());
        }
        if clock::unix_s().is_none() {
            return Err(Fault::Clock);
        }
        let until = Instant::now() + self.limits.connect;
        let session = with_deadline(until, self.connect()).await.map_err(|_| Fault::TimedOut)??;
        self.handshakes.done = self.handshakes.done.saturating_add(1);
        self.session = Some(session);
        Ok(())
    }

    /// Opens a connection. TLS 1.2 comes first: its sessions can be resumed, while Mbed TLS passes over the tickets of
    /// TLS 1.3 unless told otherwise, and its bindings have no way to tell it. A gateway that refuses 1.2 is offered both
    /// the next time.
    async fn connect(&mut self) -> Result<Session<'a, T::Socket<'a>>, Fault> {
        let Network { tcp, dns, tls, trust } = self.network;
        let gateway = self.gateway;
        let (name, port) = gateway.url.name_and_port();
        let address = match name.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => dns.get_host_by_name(name, AddrType::IPv4).await.map_err(|_| Fault::Name)?,
        };
        let socket =
            tcp.connect((address, port).into()).await.map_err(|error| Fault::Connect(error.kind()))?;
        let mut config = ClientSessionConfig::new();
        config.ca_chain = Some(trust.anchors());
        config.server_name = Some(gateway.name.as_c_str());
        config.max_version = (!self.tls13).then_some(TlsVersion::Tls1_2);
        let mut session =
            Session::new(tls, socket, &SessionConfig::Client(config)).map_err(|error| lost(&error))?;
        let shaken = match self.saved.take() {
            Some(saved) => {
                self.handshakes.offered = self.handshakes.offered.saturating_add(1);
                session.connect_with_session(&saved).await
            }
            None => session.connect().await,
        };
        match shaken {
            Ok(()) => Ok(session),
            // A refused certificate shows in the flags, whatever the handshake ended with. They are all ones before any
            // certificate came.
            Err(error) => Err(match CertificateFault::from_flags(session.tls_verification_details()) {
                Some(fault) if is(&error, sys::MBEDTLS_ERR_X509_CERT_VERIFY_FAILED) => {
                    Fault::Certificate(fault)
                }
                _ => {
                    self.tls13 ^= is(&error, sys::MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE);
                    lost(&error)
                }
            }),
        }
    }

    /// Waits for the whole head of the answer.
    async fn answer(&mut self, head: &mut Head) -> Result<(), Fault> {
        (self.start, self.end) = (0, 0);
        loop {
            let came = self.buffer.get(self.start..self.end).unwrap_or_default();
            let Some(follows) = head.take(came)? else {
                self.fill().await?;
                continue;
            };
            self.start += follows.head;
            self.body_left = follows.body;
            self.keep = follows.keep;
            if head.status() >= 200 {
                break;
            }
        }
        if self.saved.is_none() {
            // By now a ticket has come, if the gateway gives any.
            self.saved = self.session.as_ref().and_then(|session| session.save().ok());
        }
        Ok(())
    }

    async fn fill(&mut self) -> Result<(), Fault> {
        let room = self.buffer.get_mut(self.end..).filter(|room| !room.is_empty()).ok_or(Fault::TooLarge)?;
        let session = self.session.as_mut().ok_or(Fault::State)?;
        let len = with_deadline(self.deadline, session.read(room)).await.map_err(|_| Fault::TimedOut)?;
        match len.map_err(|error| lost(&error))? {
            0 => Err(Fault::Closed),
            len => {
                self.end += len;
                Ok(())
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let session = self.session.as_mut().ok_or(Fault::State)?;
        let sent = with_deadline(self.deadline, session.write(bytes)).await.map_err(|_| Fault::TimedOut)?;
        sent.map_err(|error| lost(&error))
    }

    async fn send_all(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let sent = self.send(bytes).await?;
            bytes = bytes.get(sent..).filter(|_| sent > 0).ok_or(Fault::Closed)?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        let session = self.session.as_mut().ok_or(Fault::State)?;
        let flushed = with_deadline(self.deadline, session.flush()).await.map_err(|_| Fault::TimedOut)?;
        flushed.map_err(|error| lost(&error))
    }

    async fn body(&mut self, out: &mut [u8]) -> Result<usize, Fault> {
        if self.body_left == 0 || out.is_empty() {
            return Ok(0);
        }
        let left = usize::try_from(self.body_left).unwrap_or(usize::MAX);
        let room = out.len().min(left);
        let out = out.get_mut(..room).unwrap_or_default();
        let came = self.buffer.get(self.start..self.end).unwrap_or_default();
        let len = if came.is_empty() {
            let session = self.session.as_mut().ok_or(Fault::State)?;
            let read = with_deadline(self.deadline, session.read(out)).await.map_err(|_| Fault::TimedOut)?;
            match read.map_err(|error| lost(&error))? {
                // A body that ends early is no body.
                0 => return Err(Fault::Closed),
                len => len,
            }
        } else {
            let len = came.len().min(room);
            out.iter_mut().zip(came).for_each(|(to, from)| *to = *from);
            self.start += len;
            len
        };
        self.body_left = self.body_left.saturating_sub(len as u64);
        Ok(len)
    }

    /// Notes how something ended. A connection on which something went wrong is not used again.
    fn note<V>(&mut self, result: Result<V, Fault>) -> Result<V, Fault> {
        if let Err(fault) = &result {
            self.session = None;
            self.last_fault = Some(*fault);
        }
        result
    }
}

/// Gives the session back if it is open and nothing came on it: a goodbye would be waiting there.
async fn quiet<S: Read + Write>(mut session: Session<'_, S>) -> Option<Session<'_, S>> {
    let mut byte = [0];
    let is_quiet = {
        let mut reading = pin!(session.read(&mut byte));
        poll_fn(|context| Poll::Ready(reading.as_mut().poll(context).is_pending())).await
    };
    is_quiet.then_some(session)
}

fn is(error: &SessionError, code: i32) -> bool {
    matches!(error, SessionError::MbedTls(error) if error.code() == code)
}

fn lost(error: &SessionError) -> Fault {
    match error {
        SessionError::Io(ErrorKind::TimedOut) => Fault::TimedOut,
        SessionError::Io(_) => Fault::Closed,
        SessionError::MbedTls(error) => match error.code() {
            sys::MBEDTLS_ERR_SSL_CONN_EOF | sys::MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY => Fault::Closed,
            // Mbed TLS calls it bad input when asked for more than its buffer takes.
            sys::MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL | sys::MBEDTLS_ERR_SSL_BAD_INPUT_DATA => Fault::Record,
            sys::MBEDTLS_ERR_SSL_ALLOC_FAILED | sys::MBEDTLS_ERR_X509_ALLOC_FAILED => Fault::Memory,
            code => Fault::Tls(code),
        },
    }
}

impl<T: TcpConnect, D> ErrorType for Wire<'_, T, D> {
    type Error = Fault;
}

impl<T: TcpConnect, D: Dns> Read for Wire<'_, T, D> {
    async fn read(&mut self, out: &mut [u8]) -> Result<usize, Fault> {
        let read = self.body(out).await;
        self.note(read)
    }
}

impl<T: TcpConnect, D: Dns> Write for Wire<'_, T, D> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let sent = self.send(bytes).await;
        self.note(sent)
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        let flushed = Self::flush(self).await;
        self.note(flushed)
    }
}

impl<T: TcpConnect, D> ErrorType for HttpsConnection<'_, T, D> {
    type Error = Fault;
}

impl<T: TcpConnect, D: Dns> Read for HttpsConnection<'_, T, D> {
    async fn read(&mut self, out: &mut [u8]) -> Result<usize, Fault> {
        if self.phase == Phase::Response { self.wire.read(out).await } else { Err(Fault::State) }
    }
}

impl<T: TcpConnect, D: Dns> Write for HttpsConnection<'_, T, D> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        if self.phase == Phase::Request { self.wire.write(bytes).await } else { Err(Fault::State) }
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        if self.phase == Phase::Request { Write::flush(&mut self.wire).await } else { Err(Fault::State) }
    }
}

impl<T: TcpConnect, D> Status for HttpsConnection<'_, T, D> {
    fn status(&self) -> u16 {
        self.head.status()
    }

    fn status_message(&self) -> Option<&str> {
        self.head.status_message()
    }
}

impl<T: TcpConnect, D> Headers for HttpsConnection<'_, T, D> {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }
}

impl<'a, T: TcpConnect, D: Dns> Connection for HttpsConnection<'a, T, D> {
    type Headers = Head;
    type Read = Wire<'a, T, D>;
    type RawConnectionError = Fault;
    type RawConnection = Wire<'a, T, D>;

    async fn initiate_request(
        &mut self,
        method: Method,
        uri: &str,
        headers: &[(&str, &str)],
    ) -> Result<(), Fault> {
        self.phase = Phase::Idle;
        self.wire.last_fault = None;
        let request = request(method, uri, headers);
        let request = self.wire.note(request)?;
        let opened = self.wire.open().await;
        self.wire.note(opened)?;
        self.wire.deadline = Instant::now() + self.wire.limits.exchange;
        // Until the answer says otherwise.
        self.wire.keep = false;
        let sent = self.wire.send_all(request.as_bytes()).await;
        self.wire.note(sent)?;
        self.phase = Phase::Request;
        Ok(())
    }

    fn is_request_initiated(&self) -> bool {
        self.phase == Phase::Request
    }

    async fn initiate_response(&mut self) -> Result<(), Fault> {
        if self.phase != Phase::Request {
            return Err(Fault::State);
        }
        self.phase = Phase::Idle;
        let answered = self.wire.answer(&mut self.head).await;
        self.wire.note(answered)?;
        self.phase = Phase::Response;
        Ok(())
    }

    fn is_response_initiated(&self) -> bool {
        self.phase == Phase::Response
    }

    fn split(&mut self) -> (&Head, &mut Wire<'a, T, D>) {
        (&self.head, &mut self.wire)
    }

    fn raw_connection(&mut self) -> Result<&mut Wire<'a, T, D>, Fault> {
        Err(Fault::State)
    }
}

/// The head of a request. A caller names its own `Host` and `Content-Length`.
fn request(
    method: Method,
    uri: &str,
    headers: &[(&str, &str)],
) -> Result<heapless::String<REQUEST_BYTES_MAX>, Fault> {
    let method = match method {
        Method::Post => "POST",
        Method::Get => "GET",
        _ => return Err(Fault::State),
    };
    // A line break in a token from outside would begin a header of its own.
    let clean = |text: &str| !text.contains(|c: char| c.is_control());
    if !clean(uri) || uri.contains(' ') || !headers.iter().all(|(name, value)| clean(name) && clean(value)) {
        return Err(Fault::State);
    }
    let mut head = heapless::String::new();
    let mut write = || {
        write!(head, "{method} {uri} HTTP/1.1\r\n")?;
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n")?;
        }
        head.write_str("\r\n")
    };
    write().map_err(|_| Fault::TooLarge)?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_of_an_address_fits() {
        let longest = std::format!("https://{}", "a".repeat(URL_BYTES_MAX - 8));
        for (url, name, host) in [
            ("https://air.example.org", "air.example.org", "air.example.org"),
            ("https://10.0.0.7:8443", "10.0.0.7", "10.0.0.7:8443"),
            ("https://[::1]:8443", "::1", "[::1]:8443"),
            (&longest, &longest[8..], &longest[8..]),
        ] {
            let gateway = Gateway::new(&GatewayUrl::parse(url).unwrap());
            assert_eq!((gateway.name.to_str(), gateway.host()), (Ok(name), host), "{url}");
        }
    }

    #[test]
    fn a_request_cannot_smuggle_headers() {
        let sent = request(Method::Post, "/x", &[("Host", "h"), ("A", "b")]).unwrap();
        assert_eq!(sent, "POST /x HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n");
        for (uri, value) in [("/x y", "v"), ("/x\r\nA: b", "v"), ("/x", "v\r\nA: b"), ("/x", "v\0")] {
            assert_eq!(request(Method::Get, uri, &[("A", value)]), Err(Fault::State), "{uri:?} {value:?}");
        }
        assert_eq!(request(Method::Get, &"/x".repeat(400), &[]), Err(Fault::TooLarge));
        assert_eq!(request(Method::Delete, "/", &[]), Err(Fault::State));
    }
}
