//! One upload over any HTTP connection that implements [`embedded_svc`]'s asynchronous client, and the back-off
//! between uploads.

pub use casement_proto::wire::AckSummary as Ack;
use casement_proto::wire::{self, Batch};
use core::fmt::Write as _;
use embedded_svc::http::Method;
use embedded_svc::http::client::asynch::{Client, Connection, Response};
use embedded_svc::io::ErrorKind;

/// Where readings go.
pub const PATH: &str = "/api/v1/readings";

pub use casement_proto::device_settings::TOKEN_BYTES_MAX;

/// Why the gateway did not take a batch, by what a device does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// No answer: connect, TLS, time-out or a broken connection. Try again later.
    #[error("no answer from the gateway")]
    Connection(ErrorKind),
    /// The batch is at fault: 400, 413, or it does not fit the buffer. Send less at once.
    #[error("the gateway cannot read the batch")]
    Refused,
    /// 401 or 403. Keep everything; a person must act.
    #[error("the gateway does not know the token")]
    Token,
    /// 429 or 503. Come back later.
    #[error("the gateway cannot take it now")]
    Busy {
        /// How long the gateway asked to wait, in milliseconds.
        retry_after_ms: Option<u32>,
    },
    /// 507. Come back later, and tell a person.
    #[error("the gateway's disk is full")]
    Full {
        /// How long the gateway asked to wait, in milliseconds.
        retry_after_ms: Option<u32>,
    },
    /// The gateway's certificate is not to be trusted. Nothing was sent. Connections that know give this instead of
    /// [`UploadError::Connection`]; [`post`] itself cannot tell.
    #[error("the gateway's certificate is not to be trusted: {0}")]
    Certificate(Certificate),
    /// 200, but what came with it is no acknowledgement or does not fit the buffer. Nothing is let go of.
    #[error("the gateway's answer makes no sense")]
    Answer,
    /// Any other status. Try again later.
    #[error("the gateway answered with status {0}")]
    Status(u16),
}

/// Why a certificate is not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Certificate {
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// Its time has not begun: usually the device's clock lags.
    #[error("it is not valid yet, or the clock is wrong")]
    NotYet,
    /// It is for another name.
    #[error("it is for another name")]
    Name,
    /// Nobody whom this device trusts issued it.
    #[error("its authority is unknown")]
    Authority,
    /// Anything else.
    #[error("it is broken")]
    Broken,
}

/// Who sends to whom.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The gateway's `Host` header: name, and port unless it is 443.
    pub host: &'a str,
    /// The device's token.
    pub token: &'a str,
}

impl Target<'_> {
    /// The `Authorization` header.
    pub(crate) fn bearer(&self) -> Result<heapless::String<{ TOKEN_BYTES_MAX + 7 }>, UploadError> {
        let mut bearer = heapless::String::new();
        write!(bearer, "Bearer {}", self.token).map_err(|_| UploadError::Token)?;
        Ok(bearer)
    }
}

/// Sends a batch and waits for the answer. `scratch` holds the body first and the acknowledgement afterwards; 128 bytes
/// for each reading of three values is enough.
///
/// The status decides before the body is read, so that an answer cut short cannot turn a refusal into anything else.
/// There is no time-out in here: the connection has one.
///
/// # Errors
/// See [`UploadError`].
pub async fn post<C: Connection>(
    client: &mut Client<C>,
    target: &Target<'_>,
    batch: &Batch<'_>,
    scratch: &mut [u8],
) -> Result<Ack, UploadError> {
    let len = wire::encode_json(batch, scratch).map_err(|_| UploadError::Refused)?;
    let mut length = heapless::String::<8>::new();
    write!(length, "{len}").map_err(|_| UploadError::Refused)?;
    let bearer = target.bearer()?;
    let headers = [
        ("Host", target.host),
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
        ("Content-Length", length.as_str()),
    ];
    let mut request = client.request(Method::Post, PATH, &headers).await.map_err(|e| lost(&e))?;
    let mut body = scratch.get(..len).unwrap_or_default();
    while !body.is_empty() {
        let written = request.write(body).await.map_err(|e| lost(&e))?;
        body = body
            .get(written..)
            .filter(|_| written > 0)
            .ok_or(UploadError::Connection(ErrorKind::WriteZero))?;
    }
    request.flush().await.map_err(|e| lost(&e))?;
    let mut response = request.submit().await.map_err(|e| lost(&e))?;
    let error = refusal(&response);
    // Read to the end in either case, so that the connection can be used again.
    let read = read_all(&mut response, scratch).await;
    if let Some(error) = error {
        return Err(error);
    }
    let len = read?.ok_or(UploadError::Answer)?;
    wire::decode_ack(scratch.get(..len).unwrap_or_default()).ok_or(UploadError::Answer)
}

/// What an answer means that is no 200; `None` for one.
pub(crate) fn refusal<C: Connection>(response: &Response<C>) -> Option<UploadError> {
    match response.status() {
        200 => None,
        400 | 413 => Some(UploadError::Refused),
        401 | 403 => Some(UploadError::Token),
        429 | 503 => {
            Some(UploadError::Busy { retry_after_ms: retry_after_ms(response.header("Retry-After")) })
        }
        507 => Some(UploadError::Full { retry_after_ms: retry_after_ms(response.header("Retry-After")) }),
        status => Some(UploadError::Status(status)),
    }
}

/// Length of the body; `None` when it is larger than the buffer.
pub(crate) async fn read_all<C: Connection>(
    response: &mut Response<C>,
    buffer: &mut [u8],
) -> Result<Option<usize>, UploadError> {
    let mut len = 0;
    loop {
        let rest = buffer.get_mut(len..).unwrap_or_default();
        if rest.is_empty() {
            let more = response.read(&mut [0]).await.map_err(|e| lost(&e))?;
            return Ok(if more == 0 { Some(len) } else { None });
        }
        match response.read(rest).await.map_err(|e| lost(&e))? {
            0 => return Ok(Some(len)),
            read => len += read,
        }
    }
}

pub(crate) fn lost<E: embedded_svc::io::Error>(error: &E) -> UploadError {
    UploadError::Connection(error.kind())
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3). The form with a date asks for a clock and is not understood.
fn retry_after_ms(value: Option<&str>) -> Option<u32> {
    let seconds: u32 = value?.trim().parse().ok()?;
    Some(seconds.saturating_mul(1_000).min(RETRY_AFTER_MS_MAX))
}

/// How long to wait after each failure in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u8,
}

impl Backoff {
    /// No failure so far.
    pub const fn new() -> Self {
        Self { failures: 0 }
    }

    /// Something worked.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure and gives the milliseconds to wait, from a random number.
    ///
    /// The ceiling doubles from 1 s to 5 min, and the pause is anywhere below it but never under 100 ms (full jitter:
    /// after an outage a fleet comes back spread out). `Retry-After` is honoured up to an hour, with up to a quarter
    /// more so that those told the same do not return together. An unknown token waits two and a half to five minutes
    /// each time: it takes a person.
    pub fn after(&mut self, error: UploadError, random: u32) -> u32 {
        let ceiling = self.count();
        match error {
            UploadError::Token => CEILING_MS / 2 + below(CEILING_MS / 2, random),
            UploadError::Busy { retry_after_ms: Some(asked) }
            | UploadError::Full { retry_after_ms: Some(asked) } => {
                let asked = asked.min(RETRY_AFTER_MS_MAX);
                asked.saturating_add(below(asked / 4, random)).max(below(ceiling, random)).max(FLOOR_MS)
            }
            UploadError::Busy { retry_after_ms: None }
            | UploadError::Full { retry_after_ms: None }
            | UploadError::Certificate(_)
            | UploadError::Connection(_)
            | UploadError::Refused
            | UploadError::Answer
            | UploadError::Status(_) => below(ceiling, random).max(FLOOR_MS),
        }
    }
}

impl Backoff {
    /// Counts a failure that has nothing more to say, and gives the milliseconds to wait.
    pub fn pause(&mut self, random: u32) -> u32 {
        below(self.count(), random).max(FLOOR_MS)
    }

    /// Counts a failure and gives the longest pause.
    fn count(&mut self) -> u32 {
        let doubled = BASE_MS.checked_shl(u32::from(self.failures));
        // 1 s doubled nine times is past the ceiling.
        self.failures = (self.failures + 1).min(9);
        doubled.map_or(CEILING_MS, |ms| ms.min(CEILING_MS))
    }
}

/// A number from 0 to `ceiling`, evenly.
fn below(ceiling: u32, random: u32) -> u32 {
    u32::try_from((u64::from(random) * (u64::from(ceiling) + 1)) >> 32).unwrap_or(ceiling)
}

const BASE_MS: u32 = 1_000;
const FLOOR_MS: u32 = 100;
const CEILING_MS: u32 = 300_000;
const RETRY_AFTER_MS_MAX: u32 = 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;
    use casement_proto::{Quantity, Reading, ReadingTime};
    use core::pin::pin;
    use core::task::{Context, Poll, Waker};
    use embedded_svc::http::{Headers, Status};
    use embedded_svc::io::asynch::{ErrorType, Read, Write};
    use std::string::{String, ToString};
    use std::vec::Vec;

    /// A gateway on paper: takes a request, gives a prepared answer, and breaks where it is told to.
    #[derive(Default)]
    struct Paper {
        request: String,
        status: u16,
        retry_after: Option<&'static str>,
        body: Vec<u8>,
        breaks_at: Option<Part>,
        phase: Phase,
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Part {
        Request,
        Body,
        Response,
        Answer,
    }

    #[derive(Default, PartialEq)]
    enum Phase {
        #[default]
        Idle,
        Request,
        Response,
    }

    impl Paper {
        fn part(&self, part: Part) -> Result<(), ErrorKind> {
            if self.breaks_at == Some(part) { Err(ErrorKind::ConnectionReset) } else { Ok(()) }
        }
    }

    impl ErrorType for Paper {
        type Error = ErrorKind;
    }

    impl Read for Paper {
        async fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
            self.part(Part::Answer)?;
            // A few bytes at a time, as networks do.
            let len = out.len().min(7).min(self.body.len());
            out[..len].copy_from_slice(&self.body[..len]);
            self.body.drain(..len);
            Ok(len)
        }
    }

    impl Write for Paper {
        async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
            self.part(Part::Body)?;
            let len = bytes.len().min(5);
            self.request.push_str(core::str::from_utf8(&bytes[..len]).unwrap());
            Ok(len)
        }
        async fn flush(&mut self) -> Result<(), ErrorKind> {
            Ok(())
        }
    }

    impl Status for Paper {
        fn status(&self) -> u16 {
            self.status
        }
        fn status_message(&self) -> Option<&str> {
            None
        }
    }

    impl Headers for Paper {
        fn header(&self, name: &str) -> Option<&str> {
            self.retry_after.filter(|_| name.eq_ignore_ascii_case("retry-after"))
        }
    }

    impl Connection for Paper {
        type Headers = Self;
        type Read = Self;
        type RawConnectionError = ErrorKind;
        type RawConnection = Self;

        async fn initiate_request(
            &mut self,
            method: Method,
            uri: &str,
            headers: &[(&str, &str)],
        ) -> Result<(), ErrorKind> {
            self.part(Part::Request)?;
            self.request = std::format!("{method:?} {uri}\n");
            for (name, value) in headers {
                self.request.push_str(&std::format!("{name}: {value}\n"));
            }
            self.phase = Phase::Request;
            Ok(())
        }
        fn is_request_initiated(&self) -> bool {
            self.phase == Phase::Request
        }
        async fn initiate_response(&mut self) -> Result<(), ErrorKind> {
            self.part(Part::Response)?;
            self.phase = Phase::Response;
            Ok(())
        }
        fn is_response_initiated(&self) -> bool {
            self.phase == Phase::Response
        }
        fn split(&mut self) -> (&Self, &mut Self) {
            unreachable!("not used")
        }
        fn raw_connection(&mut self) -> Result<&mut Self, ErrorKind> {
            Ok(self)
        }
    }

    fn now_or_never<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("waits for something"),
        }
    }

    fn send(paper: Paper, scratch: &mut [u8]) -> (Result<Ack, UploadError>, Paper) {
        let reading = Reading::new(ReadingTime::Age(1_200)).with(Quantity::parse("co2").unwrap(), 815.0);
        let mut client = Client::wrap(paper);
        let target = Target { host: "air.example.org", token: "cas_dev_secret" };
        let batch = Batch { boot: Some(17), readings: &[reading], health: None };
        let result = now_or_never(post(&mut client, &target, &batch, scratch));
        (result, client.release())
    }

    const ACK: &str = r#"{"stored":1,"duplicate":0,"rejected":[]}"#;

    #[test]
    fn the_request_is_what_the_contract_says() {
        let paper = Paper { status: 200, body: ACK.into(), ..Paper::default() };
        let (result, paper) = send(paper, &mut [0; 256]);
        assert_eq!(result, Ok(Ack { stored: 1, ..Ack::default() }));
        let (head, body) = paper.request.split_once("\n{").unwrap();
        assert_eq!(
            head,
            std::format!(
                "Post /api/v1/readings\nHost: air.example.org\nAuthorization: Bearer cas_dev_secret\n\
                 Content-Type: application/json\nContent-Length: {}",
                body.len() + 1
            )
        );
        assert!(body.contains(r#""boot":17"#) && body.contains(r#""age_ms":1200"#), "{body}");
    }

    #[test]
    fn every_status_has_its_consequence() {
        use UploadError::{Answer, Busy, Full, Refused, Status, Token};
        for (status, retry_after, body, error) in [
            (400, None, "", Refused),
            (413, None, "", Refused),
            (401, None, "", Token),
            (403, None, "", Token),
            (429, Some("7"), "", Busy { retry_after_ms: Some(7_000) }),
            (503, Some("999999999999"), "", Busy { retry_after_ms: None }),
            (503, Some("99999"), "", Busy { retry_after_ms: Some(3_600_000) }),
            (507, None, "", Full { retry_after_ms: None }),
            (503, Some("Sun, 22 Nov 2026 10:00:00 GMT"), "", Busy { retry_after_ms: None }),
            (500, None, "", Status(500)),
            (301, None, "", Status(301)),
            (204, None, "", Status(204)),
            (200, None, "<html>sign in to this hotel</html>", Answer),
            (200, None, "", Answer),
        ] {
            let paper = Paper { status, retry_after, body: body.into(), ..Paper::default() };
            assert_eq!(send(paper, &mut [0; 256]).0, Err(error), "{status} {retry_after:?}");
        }
    }

    #[test]
    fn a_broken_wire_is_no_acknowledgement() {
        let lost = Err(UploadError::Connection(ErrorKind::ConnectionReset));
        for part in [Part::Request, Part::Body, Part::Response, Part::Answer] {
            let paper = Paper { status: 200, body: ACK.into(), breaks_at: Some(part), ..Paper::default() };
            assert_eq!(send(paper, &mut [0; 256]).0, lost, "{part:?}");
        }
        // A refusal stays one, even when the rest of the answer is lost.
        let paper = Paper { status: 401, breaks_at: Some(Part::Answer), ..Paper::default() };
        assert_eq!(send(paper, &mut [0; 256]).0, Err(UploadError::Token));
    }

    #[test]
    fn buffers_have_an_end() {
        let paper = || Paper { status: 200, body: "x".repeat(300).into(), ..Paper::default() };
        assert_eq!(send(paper(), &mut [0; 16]).0, Err(UploadError::Refused));
        assert_eq!(send(paper(), &mut [0; 256]).0, Err(UploadError::Answer));
        let target = Target { host: "h", token: &"x".repeat(TOKEN_BYTES_MAX + 1).to_string() };
        let batch = Batch { boot: None, readings: &[], health: None };
        let result = now_or_never(post(&mut Client::wrap(paper()), &target, &batch, &mut [0; 64]));
        assert_eq!(result, Err(UploadError::Token));
    }

    #[test]
    fn pauses_double_up_to_five_minutes_and_spread_out() {
        let error = UploadError::Status(502);
        let mut backoff = Backoff::new();
        let longest: Vec<_> = (0..11).map(|_| backoff.after(error, u32::MAX)).collect();
        assert_eq!(longest, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300].map(|seconds| seconds * 1_000));
        assert_eq!(backoff.after(error, 0), 100);
        assert_eq!(backoff.after(error, u32::MAX / 2), 150_000);
        backoff.reset();
        assert_eq!(backoff.after(error, u32::MAX), 1_000);
    }

    #[test]
    fn retry_after_is_never_undercut() {
        for random in [0, 1, u32::MAX / 3, u32::MAX] {
            let mut backoff = Backoff::new();
            let pause = backoff.after(UploadError::Busy { retry_after_ms: Some(60_000) }, random);
            assert!((60_000..=75_000).contains(&pause), "{pause}");
            let pause = backoff.after(UploadError::Busy { retry_after_ms: Some(u32::MAX) }, random);
            assert!((3_600_000..=4_500_000).contains(&pause), "{pause}");
            let pause = backoff.after(UploadError::Token, random);
            assert!((150_000..=300_000).contains(&pause), "{pause}");
        }
    }
}
