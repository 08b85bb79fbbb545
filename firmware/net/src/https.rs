//! One kept HTTPS connection to one gateway, behind the HTTP client traits of [`embedded_svc`].
//!
//! It is opened when first needed, and again whenever it broke; reopening resumes the TLS session where the gateway
//! allows. One exchange at a time, HTTP/1.1, bodies of known length. A request goes out as it is written and is not kept,
//! so a connection that breaks under it is an error, and whoever sent it tries again: readings carry numbers, and twice
//! sent is once stored. Before a kept connection is used again it is looked at, so that one the gateway closed meanwhile
//! costs nothing.

use crate::fault::Fault;
use crate::head::{HEAD_BYTES_MAX, Head};
pub use crate::secure::{Handshakes, Limits, Network};
use crate::secure::{Place, Secure};
use casement_proto::device_settings::{GatewayUrl, URL_BYTES_MAX};
use core::fmt::Write as _;
use edge_nal::{Dns, TcpConnect};
use embassy_time::Instant;
use embedded_svc::http::client::asynch::Connection;
use embedded_svc::http::{Headers, Method, Status};
use embedded_svc::io::asynch::{ErrorType, Read, Write};
use heapless::c_string::CString;

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

    fn place(&self) -> Place<'_> {
        Place { name: self.name.as_c_str(), port: self.url.name_and_port().1 }
    }
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
    secure: Secure<'a, T, D>,
    limits: Limits,
    /// What came with the head: bytes from `start` to `end` are not handed out yet.
    buffer: [u8; HEAD_BYTES_MAX],
    start: usize,
    end: usize,
    body_left: u64,
    keep: bool,
    last_fault: Option<Fault>,
}

impl<'a, T: TcpConnect, D: Dns> HttpsConnection<'a, T, D> {
    /// A connection that is opened with the first request.
    pub fn new(network: Network<'a, T, D>, gateway: &'a Gateway, limits: Limits) -> Self {
        let wire = Wire {
            secure: Secure::new(network, gateway.place()),
            limits,
            buffer: [0; HEAD_BYTES_MAX],
            start: 0,
            end: 0,
            body_left: 0,
            keep: false,
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
        self.wire.secure.handshakes
    }

    /// Says goodbye and closes, before the network goes or the device sleeps. What is needed to resume is kept.
    pub async fn close(&mut self) {
        self.phase = Phase::Idle;
        self.wire.secure.close().await;
    }
}

impl<T: TcpConnect, D: Dns> Wire<'_, T, D> {
    /// Makes sure of a connection that can take a request.
    async fn open(&mut self) -> Result<(), Fault> {
        // What is left of an answer would be taken for the next one.
        let usable = self.keep && self.body_left == 0 && self.start == self.end;
        if usable && self.secure.is_quiet().await {
            return Ok(());
        }
        self.secure.deadline = Instant::now() + self.limits.connect;
        self.secure.open().await
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
        self.secure.remember();
        Ok(())
    }

    async fn fill(&mut self) -> Result<(), Fault> {
        let room = self.buffer.get_mut(self.end..).filter(|room| !room.is_empty()).ok_or(Fault::TooLarge)?;
        self.end += self.secure.read(room).await?;
        Ok(())
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
            // A body that ends early is no body.
            self.secure.read(out).await?
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
            self.secure.drop_it();
            self.last_fault = Some(*fault);
        }
        result
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
        let sent = self.secure.write(bytes).await;
        self.note(sent)
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        let flushed = self.secure.flush().await;
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
        self.wire.secure.deadline = Instant::now() + self.wire.limits.exchange;
        // Until the answer says otherwise.
        self.wire.keep = false;
        let sent = self.wire.secure.write_all(request.as_bytes()).await;
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
