//! HTTP as a device serves it: one request for each connection, and an answer whose length is known. The set-up portal and
//! the page in the local network both come through here.
//!
//! Everything has an end: a head has [`HEAD_BYTES_MAX`], a body the rest of the buffer. Time-outs belong to the driver, which
//! gives a whole connection [`EXCHANGE_MS`]; so somebody who sends a byte a minute keeps nobody else out for long.

use crate::page::{Answer, HEADERS, TEXT};
use core::fmt::Write as _;
use embedded_svc::io::asynch::{Read, Write};

/// Longest head of a request, in bytes. Browsers send some 500; cookies of other pages on the same address come on top.
pub const HEAD_BYTES_MAX: usize = 2_048;

/// Room for the largest request: a head, and the form of the portal.
pub const REQUEST_BYTES_MAX: usize = HEAD_BYTES_MAX + crate::portal::FORM_BYTES_MAX;

/// How long one connection may take, from its first byte to its last.
pub const EXCHANGE_MS: u64 = 8_000;

/// How long somebody who has connected may say nothing at all: browsers open connections in advance, and there is one
/// socket for all of them.
pub const SILENT_MS: u64 = 1_000;

/// Most headers of a request or an answer.
pub const HEADERS_MAX: usize = 32;

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// `GET`, `POST` …
    pub method: &'a str,
    /// What is asked for: a path, and maybe a question.
    pub target: &'a str,
    /// What came with it.
    pub body: &'a [u8],
}

/// Why a request is not looked at any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no HTTP/1 (400).
    #[error("this is no HTTP request\n")]
    Unreadable,
    /// A page of somebody else sent the form (403).
    #[error("only this device's own page may send this form\n")]
    Foreign,
    /// The body comes without its length (411).
    #[error("a body needs its Content-Length\n")]
    NoLength,
    /// The body is longer than any form of ours (413).
    #[error("this is too much\n")]
    TooLong,
    /// The head is longer than this device reads (431).
    #[error("the headers are too long\n")]
    HeadTooLong,
}

impl Refusal {
    /// The status that goes with it.
    pub const fn status(self) -> u16 {
        match self {
            Self::Unreadable => 400,
            Self::Foreign => 403,
            Self::NoLength => 411,
            Self::TooLong => 413,
            Self::HeadTooLong => 431,
        }
    }

    /// The answer; its body is written to `out`.
    pub fn answer(self, out: &mut [u8]) -> Answer {
        let mut body = crate::page::Body::new(out);
        match write!(body, "{self}") {
            Ok(()) => body.answer(self.status(), TEXT),
            Err(core::fmt::Error) => Answer { status: self.status(), content_type: TEXT, len: 0 },
        }
    }
}

/// A head, as far as the connection is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// `GET`, `POST` …
    pub method: &'a str,
    /// What is asked for.
    pub target: &'a str,
    /// Bytes of the head.
    pub len: usize,
    /// Bytes of the body behind it.
    pub body: usize,
}

/// Looks for a whole head at the beginning of what came; `None` while it is not whole.
///
/// # Errors
/// See [`Refusal`].
pub fn head(bytes: &[u8]) -> Result<Option<Head<'_>>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let seen = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
    let len = match request.parse(seen) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::HeadTooLong);
        }
        Err(_) => return Err(Refusal::Unreadable),
    };
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(Refusal::Unreadable);
    };
    let body = match length(request.headers) {
        Ok(Some(body)) => usize::try_from(body).map_err(|_| Refusal::TooLong)?,
        Ok(None) if header(request.headers, "Transfer-Encoding").is_some() => return Err(Refusal::NoLength),
        Ok(None) if method == "POST" => return Err(Refusal::NoLength),
        Ok(None) => 0,
        Err(Unclear) => return Err(Refusal::Unreadable),
    };
    if method == "POST" && foreign(request.headers) {
        return Err(Refusal::Foreign);
    }
    Ok(Some(Head { method, target, len, body }))
}

/// The length of a body is said twice, or in no number, or in two ways at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unclear;

/// The length that headers of a request or an answer give the body; `None` when they give none.
///
/// # Errors
/// Two lengths, or a length and a transfer coding, are an attempt to make two readers see two messages
/// (RFC 9112 §6.3).
pub fn length(headers: &[httparse::Header<'_>]) -> Result<Option<u64>, Unclear> {
    let mut lengths = headers.iter().filter(|it| it.name.eq_ignore_ascii_case("Content-Length"));
    let Some(first) = lengths.next() else { return Ok(None) };
    if lengths.next().is_some() || header(headers, "Transfer-Encoding").is_some() {
        return Err(Unclear);
    }
    let digits = core::str::from_utf8(first.value).map_err(|_| Unclear)?.trim();
    // `parse` alone would take a sign.
    let number = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
    number.map(Some).ok_or(Unclear)
}

/// The value of a header, by its name in whatever case; the first one. Empty when it is no text.
pub fn header<'a>(headers: &[httparse::Header<'a>], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|it| it.name.eq_ignore_ascii_case(name))?;
    Some(core::str::from_utf8(found.value).unwrap_or_default().trim())
}

/// Whether the page that sends a form is not of this device: browsers name its origin (RFC 6454 §7). A phone's sign-in
/// window may keep it to itself (`null`).
fn foreign(headers: &[httparse::Header<'_>]) -> bool {
    let origin = header(headers, "Origin").filter(|it| *it != "null");
    let host = header(headers, "Host").unwrap_or_default();
    origin.is_some_and(|origin| origin.strip_prefix("http://") != Some(host))
}

/// Why there is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRequest<E> {
    /// The connection broke.
    Broken(E),
    /// It was closed before the request was whole. Browsers open connections that they never use.
    Closed,
    /// Answer this.
    Refused(Refusal),
}

/// Reads one request into `buffer`, of which [`REQUEST_BYTES_MAX`] bytes are enough.
///
/// # Errors
/// See [`NoRequest`].
pub async fn receive<'b, S: Read>(
    socket: &mut S,
    buffer: &'b mut [u8],
) -> Result<Request<'b>, NoRequest<S::Error>> {
    let mut filled = 0;
    let (head_bytes, whole) = loop {
        let read = match buffer.get_mut(filled..) {
            None | Some([]) => return Err(NoRequest::Refused(Refusal::HeadTooLong)),
            Some(rest) => socket.read(rest).await.map_err(NoRequest::Broken)?,
        };
        if read == 0 {
            return Err(NoRequest::Closed);
        }
        filled += read;
        let so_far = buffer.get(..filled).unwrap_or_default();
        if let Some(head) = head(so_far).map_err(NoRequest::Refused)? {
            let whole = head.len.checked_add(head.body).filter(|whole| *whole <= buffer.len());
            break (head.len, whole.ok_or(NoRequest::Refused(Refusal::TooLong))?);
        }
    };
    while filled < whole {
        let rest = buffer.get_mut(filled..whole).unwrap_or_default();
        match socket.read(rest).await.map_err(NoRequest::Broken)? {
            0 => return Err(NoRequest::Closed),
            read => filled += read,
        }
    }
    let (first, body) = buffer.split_at_checked(head_bytes).unwrap_or_default();
    // The same bytes as above.
    match head(first) {
        Ok(Some(Head { method, target, .. })) => {
            Ok(Request { method, target, body: body.get(..whole - head_bytes).unwrap_or_default() })
        }
        Ok(None) => Err(NoRequest::Refused(Refusal::Unreadable)),
        Err(refusal) => Err(NoRequest::Refused(refusal)),
    }
}

/// Sends an answer, whose body is at the beginning of `out`. `HEAD` gets the head alone.
///
/// # Errors
/// The connection broke.
pub async fn send<S: Write>(
    socket: &mut S,
    method: &str,
    answer: &Answer,
    out: &[u8],
) -> Result<(), S::Error> {
    let mut head = heapless::String::<ANSWER_HEAD_BYTES_MAX>::new();
    // A test holds that the longest fits.
    let _fits = write!(
        head,
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n",
        answer.status,
        reason(answer.status),
        answer.content_type,
        answer.len
    );
    for (name, value) in HEADERS {
        let _fits = write!(head, "{name}: {value}\r\n");
    }
    let _fits = head.push_str("\r\n");
    let body = out.get(..answer.len).filter(|_| method != "HEAD").unwrap_or_default();
    write_all(socket, head.as_bytes()).await?;
    write_all(socket, body).await?;
    socket.flush().await
}

async fn write_all<S: Write>(socket: &mut S, mut bytes: &[u8]) -> Result<(), S::Error> {
    while !bytes.is_empty() {
        match socket.write(bytes).await? {
            // Nothing can be written any more, and reading will say so.
            0 => return Ok(()),
            written => bytes = bytes.get(written..).unwrap_or_default(),
        }
    }
    Ok(())
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        411 => "Length Required",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        _ => "Bad Request",
    }
}

const ANSWER_HEAD_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::HTML;
    use core::pin::pin;
    use core::task::{Context, Poll, Waker};
    use embedded_svc::io::ErrorKind;
    use embedded_svc::io::asynch::ErrorType;
    use proptest::prelude::*;
    use std::string::String;
    use std::vec::Vec;

    /// A connection on paper, that carries a few bytes at a time.
    #[derive(Default)]
    struct Wire {
        coming: Vec<u8>,
        step: usize,
        sent: Vec<u8>,
    }

    impl ErrorType for Wire {
        type Error = ErrorKind;
    }

    impl Read for Wire {
        async fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
            let len = out.len().min(self.step).min(self.coming.len());
            out[..len].copy_from_slice(&self.coming[..len]);
            self.coming.drain(..len);
            Ok(len)
        }
    }

    impl Write for Wire {
        async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
            let len = bytes.len().min(self.step);
            self.sent.extend_from_slice(&bytes[..len]);
            Ok(len)
        }
        async fn flush(&mut self) -> Result<(), ErrorKind> {
            Ok(())
        }
    }

    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(it) => it,
            Poll::Pending => panic!("paper does not wait"),
        }
    }

    fn ask<'b>(text: &[u8], step: usize, buffer: &'b mut [u8]) -> Result<Request<'b>, NoRequest<ErrorKind>> {
        now(receive(&mut Wire { coming: text.to_vec(), step, ..Wire::default() }, buffer))
    }

    #[test]
    fn requests_arrive_in_whatever_pieces() {
        let text = b"POST /?a=1 HTTP/1.1\r\nHost: 192.168.4.1\r\ncontent-length: 6\r\n\r\nssid=aGET / ";
        for step in [1, 2, 7, 61, 4_096] {
            let mut buffer = [0; REQUEST_BYTES_MAX];
            let request = ask(text, step, &mut buffer).unwrap();
            assert_eq!(request, Request { method: "POST", target: "/?a=1", body: b"ssid=a" }, "{step}");
        }
        let mut buffer = [0; REQUEST_BYTES_MAX];
        let request = ask(b"GET /json HTTP/1.0\r\n\r\n", 5, &mut buffer).unwrap();
        assert_eq!(request, Request { method: "GET", target: "/json", body: b"" });
    }

    #[test]
    fn what_cannot_be_served_is_refused_by_its_name() {
        let long = std::format!("GET / HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
        let many = std::format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(HEADERS_MAX + 1));
        let post = |headers: &str| std::format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\nssid=a");
        for (text, refusal) in [
            ("\x16\x03\x01\x02\x00", Refusal::Unreadable),
            ("GET / HTTP/3\r\n\r\n", Refusal::Unreadable),
            (&long, Refusal::HeadTooLong),
            (&many, Refusal::HeadTooLong),
            (&post("A: b"), Refusal::NoLength),
            (&post("Transfer-Encoding: chunked"), Refusal::NoLength),
            (&post("Content-Length: 6\r\nTransfer-Encoding: chunked"), Refusal::Unreadable),
            (&post("Content-Length: 6\r\nContent-Length: 7"), Refusal::Unreadable),
            (&post("Content-Length: +6"), Refusal::Unreadable),
            (&post("Content-Length: 4096"), Refusal::TooLong),
            (&post("Content-Length: 18446744073709551615"), Refusal::TooLong),
            (&post("Content-Length: 6\r\nOrigin: http://evil.example"), Refusal::Foreign),
            (&post("Content-Length: 6\r\nOrigin: https://a"), Refusal::Foreign),
        ] {
            let mut buffer = [0; REQUEST_BYTES_MAX];
            assert_eq!(ask(text.as_bytes(), 512, &mut buffer), Err(NoRequest::Refused(refusal)), "{text}");
            let mut out = [0; 128];
            let answer = refusal.answer(&mut out);
            assert!(answer.status >= 400 && answer.len > 10);
        }
        for fine in ["Origin: http://a", "origin: null"] {
            let text = post(&std::format!("Content-Length: 6\r\n{fine}"));
            let mut buffer = [0; REQUEST_BYTES_MAX];
            assert!(ask(text.as_bytes(), 512, &mut buffer).is_ok(), "{fine}");
        }
        // Cut anywhere, it is no request; and a browser that only looked is no fault.
        let whole = post("Content-Length: 6");
        for cut in 0..whole.len() {
            let mut buffer = [0; REQUEST_BYTES_MAX];
            assert_eq!(ask(&whole.as_bytes()[..cut], 512, &mut buffer), Err(NoRequest::Closed), "{cut}");
        }
    }

    #[test]
    fn an_answer_has_its_length_and_its_policy() {
        let mut wire = Wire { step: 9, ..Wire::default() };
        let answer = Answer { status: 200, content_type: HTML, len: 5 };
        now(send(&mut wire, "GET", &answer, b"hello, and more")).unwrap();
        let text = String::from_utf8(core::mem::take(&mut wire.sent)).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=UTF-8\r\n"), "{head}");
        for part in ["Content-Length: 5", "Connection: close", "default-src 'none'", "no-store", "nosniff"] {
            assert!(head.contains(part), "{part} in {head}");
        }
        assert_eq!(body, "hello");
        let longest = Answer { status: 431, content_type: HTML, len: usize::MAX };
        now(send(&mut wire, "HEAD", &longest, b"hello")).unwrap();
        assert!(wire.sent.ends_with(b"\r\n\r\n"), "the longest head fits, and nothing follows it");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_a_request_or_not(
            bytes in prop::collection::vec(any::<u8>(), 0..600),
            text in "(GET|POST|PUT) /[a-z?=]{0,9} HTTP/1.[01]\r\n((Host|Content-Length|Origin): [0-9a]{0,4}\r\n){0,4}\r\n[a-z=]{0,40}",
            step in 1_usize..64,
        ) {
            for bytes in [bytes.as_slice(), text.as_bytes()] {
                let mut buffer = [0; 256];
                if let Ok(request) = ask(bytes, step, &mut buffer) {
                    prop_assert!(request.body.len() < 256 && !request.method.is_empty());
                }
            }
        }
    }
}
