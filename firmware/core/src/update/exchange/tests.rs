//! Answers that are not what was asked for, and connections that break at each point.

use super::*;
use crate::update::SECTOR_BYTES;
use core::pin::pin;
use core::task::{Context, Waker};
use embedded_svc::http::{Headers, Status};
use embedded_svc::io::ErrorKind;
use embedded_svc::io::asynch::{ErrorType, Read, Write};
use std::boxed::Box;
use std::string::{String, ToString};
use std::vec::Vec;

/// What a gateway on paper answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// The connection breaks after so many bytes of the body.
    pub(crate) breaks_after: Option<usize>,
}

impl Answer {
    pub(crate) fn new(status: u16, body: &[u8]) -> Self {
        let headers = std::vec![("Content-Length", body.len().to_string())];
        Self { status, headers, body: body.to_vec(), breaks_after: None }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.retain(|(have, _)| *have != name);
        self.headers.push((name, value.to_string()));
        self
    }
}

/// A part of an image, as the gateway answers it.
pub(crate) fn part(image: &[u8], range: &str) -> Answer {
    let (from, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let (from, last): (usize, usize) = (from.parse().unwrap(), last.parse().unwrap());
    let content = std::format!("bytes {from}-{last}/{}", image.len());
    Answer::new(206, &image[from..=last]).with("Content-Range", content)
}

type Serve<'a> = dyn FnMut(&str, &[(String, String)]) -> Option<Answer> + 'a;

/// A connection to a gateway on paper. Without an answer it breaks.
pub(crate) struct Paper<'a> {
    serve: Box<Serve<'a>>,
    asked: Option<(String, Vec<(String, String)>)>,
    answer: Option<Answer>,
    read: usize,
}

impl<'a> Paper<'a> {
    pub(crate) fn new(serve: impl FnMut(&str, &[(String, String)]) -> Option<Answer> + 'a) -> Client<Self> {
        Client::wrap(Self { serve: Box::new(serve), asked: None, answer: None, read: 0 })
    }
}

impl ErrorType for Paper<'_> {
    type Error = ErrorKind;
}

impl Read for Paper<'_> {
    async fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
        let answer = self.answer.as_ref().unwrap();
        let end = answer.breaks_after.unwrap_or(usize::MAX).min(answer.body.len());
        // Odd amounts, as networks bring them.
        let len = out.len().min(777).min(end - self.read);
        if len == 0 && end < answer.body.len() && !out.is_empty() {
            return Err(ErrorKind::ConnectionReset);
        }
        out[..len].copy_from_slice(&answer.body[self.read..self.read + len]);
        self.read += len;
        Ok(len)
    }
}

impl Write for Paper<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        Ok(bytes.len())
    }
    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl Status for Paper<'_> {
    fn status(&self) -> u16 {
        self.answer.as_ref().unwrap().status
    }
    fn status_message(&self) -> Option<&str> {
        None
    }
}

impl Headers for Paper<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        let headers = &self.answer.as_ref().unwrap().headers;
        headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl Connection for Paper<'_> {
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
        assert_eq!(method, Method::Get);
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        (self.asked, self.answer, self.read) = (Some((uri.to_string(), headers)), None, 0);
        Ok(())
    }
    fn is_request_initiated(&self) -> bool {
        self.asked.is_some()
    }
    async fn initiate_response(&mut self) -> Result<(), ErrorKind> {
        let (uri, headers) = self.asked.take().unwrap();
        self.answer = (self.serve)(&uri, &headers);
        if self.answer.is_some() { Ok(()) } else { Err(ErrorKind::ConnectionReset) }
    }
    fn is_response_initiated(&self) -> bool {
        self.answer.is_some()
    }
    fn split(&mut self) -> (&Self, &mut Self) {
        unreachable!("not used")
    }
    fn raw_connection(&mut self) -> Result<&mut Self, ErrorKind> {
        Ok(self)
    }
}

/// Runs to the end. It only waits for itself.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
    }
}

/// Flash with sectors of the real size; so many operations fail at a place.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) bytes: Vec<u8>,
    /// This erase or write fails, counted from 0.
    pub(crate) fails: Option<usize>,
    pub(crate) done: usize,
}

impl Slot {
    pub(crate) fn new(sectors: usize) -> Self {
        Self { bytes: std::vec![0x55; sectors * 4_096], fails: None, done: 0 }
    }

    fn count(&mut self) -> Result<(), &'static str> {
        self.done += 1;
        if self.fails.is_some_and(|at| at == self.done - 1) { Err("worn") } else { Ok(()) }
    }
}

impl Region for Slot {
    type Error = &'static str;
    const SECTOR_BYTES: usize = 4_096;

    fn sectors(&self) -> usize {
        self.bytes.len() / 4_096
    }
    fn read(&mut self, offset: usize, bytes: &mut [u8]) -> Result<(), Self::Error> {
        bytes.copy_from_slice(self.bytes.get(offset..offset + bytes.len()).ok_or("outside")?);
        Ok(())
    }
    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Self::Error> {
        assert!(offset.is_multiple_of(WORD) && bytes.len().is_multiple_of(WORD));
        self.count()?;
        let there = self.bytes.get_mut(offset..offset + bytes.len()).ok_or("outside")?;
        assert!(there.iter().all(|byte| *byte == 0xff), "written without erasing");
        there.copy_from_slice(bytes);
        Ok(())
    }
    fn erase(&mut self, offset: usize) -> Result<(), Self::Error> {
        assert!(offset.is_multiple_of(4_096));
        self.count()?;
        self.bytes.get_mut(offset..offset + 4_096).ok_or("outside")?.fill(0xff);
        Ok(())
    }
}

const TARGET: Target<'_> = Target { host: "air.example.org", token: "cas_dev_secret" };

pub(crate) fn image(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 31 / 7) as u8).collect()
}

fn release(image: &[u8]) -> Release {
    let sha256 = Sha256::digest(image).into();
    let version = Version { major: 1, minor: 2, patch: 3 };
    Release { board: BoardId::parse("stamp-c3").unwrap(), version, size: image.len() as u32, sha256 }
}

fn fetched(
    range: (u32, u32),
    size: usize,
    slot: &mut Slot,
    answer: Option<Answer>,
) -> (u32, Result<(), FetchError>) {
    let image = image(size);
    let mut client = Paper::new(|_, _| answer.clone());
    run(fetch(&mut client, &TARGET, &release(&image), range, slot))
}

const SECTOR: usize = SECTOR_BYTES as usize;

#[test]
fn a_part_is_asked_for_as_the_contract_says_and_written_where_it_belongs() {
    let image = image(3 * SECTOR + 100);
    let mut asked = std::vec![];
    let mut slot = Slot::new(4);
    let mut client = Paper::new(|uri, headers| {
        asked.push((uri.to_string(), headers.to_vec()));
        Some(part(&image, &headers[2].1))
    });
    let release = release(&image);
    let (first, second) = ((0, 2 * SECTOR_BYTES), (2 * SECTOR_BYTES, release.size));
    for (from, to) in [first, second] {
        assert_eq!(run(fetch(&mut client, &TARGET, &release, (from, to), &mut slot)), (to, Ok(())));
    }
    drop(client);
    assert_eq!(slot.bytes[..image.len()], image);
    assert_eq!(run(hash(&mut slot, release.size)), Some(release.sha256));
    let header = |name: &str, value: &str| (name.to_string(), value.to_string());
    assert_eq!(asked[1].0, "/api/v1/firmware/stamp-c3/1.2.3/image");
    assert_eq!(
        asked[1].1,
        [
            header("Host", "air.example.org"),
            header("Authorization", "Bearer cas_dev_secret"),
            header("Range", "bytes=8192-12387"),
        ]
    );
}

#[test]
fn an_answer_that_is_not_what_was_asked_for_is_not_believed() {
    use FetchError::{Answer as Wrong, Connection, Status};
    let size = 4 * SECTOR;
    let good = || part(&image(size), "bytes=4096-12287");
    let range = (SECTOR_BYTES, 3 * SECTOR_BYTES);
    for (name, answer, upto, error) in [
        ("nothing", None, SECTOR_BYTES, Connection),
        ("gone", Some(Answer::new(404, b"no")), SECTOR_BYTES, Status(404)),
        ("busy", Some(Answer::new(503, b"no")), SECTOR_BYTES, Status(503)),
        ("everything", Some(Answer::new(200, &image(size))), SECTOR_BYTES, Status(200)),
        ("another range", Some(part(&image(size), "bytes=0-8191")), SECTOR_BYTES, Wrong),
        ("a shorter range", Some(part(&image(size), "bytes=4096-8191")), SECTOR_BYTES, Wrong),
        ("of another size", Some(part(&image(size + 1), "bytes=4096-12287")), SECTOR_BYTES, Wrong),
        ("no range", Some(Answer::new(206, &image(2 * SECTOR))), SECTOR_BYTES, Wrong),
        ("several", Some(good().with("Content-Range", "bytes 4096-12287/*")), SECTOR_BYTES, Wrong),
        ("no length", Some(good().with("Content-Length", "")), SECTOR_BYTES, Wrong),
        ("another length", Some(good().with("Content-Length", "8193")), SECTOR_BYTES, Wrong),
        ("cut at once", Some(Answer { breaks_after: Some(0), ..good() }), SECTOR_BYTES, Connection),
        ("cut", Some(Answer { breaks_after: Some(SECTOR + 9), ..good() }), 2 * SECTOR_BYTES, Connection),
        (
            "cut at the end",
            Some(Answer { breaks_after: Some(8_191), ..good() }),
            2 * SECTOR_BYTES,
            Connection,
        ),
    ] {
        let mut slot = Slot::new(4);
        assert_eq!(fetched(range, size, &mut slot, answer), (upto, Err(error)), "{name}");
        let came = upto as usize;
        assert_eq!(slot.bytes[SECTOR..came], image(size)[SECTOR..came], "{name}");
        assert!(
            slot.bytes[..SECTOR].iter().chain(&slot.bytes[3 * SECTOR..]).all(|byte| *byte == 0x55),
            "{name}"
        );
    }
    // A body that ends early without an error, and one that goes on.
    let short = Answer { body: image(size)[SECTOR..2 * SECTOR].to_vec(), ..good() };
    assert_eq!(fetched(range, size, &mut Slot::new(4), Some(short)), (2 * SECTOR_BYTES, Err(Connection)));
    let long = Answer { body: image(size)[SECTOR..].to_vec(), ..good() };
    assert_eq!(fetched(range, size, &mut Slot::new(4), Some(long)), (3 * SECTOR_BYTES, Err(Wrong)));
    // Everything is fine when everything was asked for.
    let all = Answer::new(200, &image(size));
    assert_eq!(fetched((0, size as u32), size, &mut Slot::new(4), Some(all)), (size as u32, Ok(())));
    // And nothing is no part.
    assert_eq!(fetched((SECTOR_BYTES, SECTOR_BYTES), size, &mut Slot::new(4), None).1, Err(Wrong));
}

#[test]
fn flash_that_fails_anywhere_is_said_and_what_is_whole_stays() {
    let size = 2 * SECTOR;
    let mut operations = 0;
    for fails in 0.. {
        let mut slot = Slot { fails: Some(fails), ..Slot::new(2) };
        let answer = part(&image(size), "bytes=0-8191");
        let (upto, came) = fetched((0, size as u32), size, &mut slot, Some(answer));
        if came.is_ok() {
            operations = fails;
            break;
        }
        assert_eq!(
            (came, upto),
            (Err(FetchError::Flash), if fails < 5 { 0 } else { SECTOR_BYTES }),
            "{fails}"
        );
    }
    assert_eq!(operations, 2 + 8, "two erases and eight writes");
    // A slot that is too small is one that fails.
    let answer = part(&image(size), "bytes=0-8191");
    assert_eq!(
        fetched((0, size as u32), size, &mut Slot::new(1), Some(answer)),
        (SECTOR_BYTES, Err(FetchError::Flash))
    );
    assert_eq!(run(hash(&mut Slot::new(1), SECTOR_BYTES + 4)), None);
}

#[test]
fn a_question_has_an_answer_for_each_status() {
    use UploadError::{Busy, Connection, Status, Token};
    let version = Version { major: 1, minor: 2, patch: 3 };
    let board = BoardId::parse("stamp-c3").unwrap();
    for (answer, outcome) in [
        (Some(Answer::new(200, &[7; 90])), Ok(Some(90))),
        (Some(Answer::new(204, b"")), Ok(None)),
        (Some(Answer::new(200, &[7; 200])), Err(UploadError::Answer)),
        (Some(Answer::new(200, b"")), Ok(Some(0))),
        (Some(Answer::new(404, b"{}")), Err(Status(404))),
        (Some(Answer::new(401, b"{}")), Err(Token)),
        (Some(Answer::new(503, b"{}").with("Retry-After", "30")), Err(Busy { retry_after_ms: Some(30_000) })),
        (
            Some(Answer { breaks_after: Some(5), ..Answer::new(200, &[7; 90]) }),
            Err(Connection(ErrorKind::ConnectionReset)),
        ),
        (None, Err(Connection(ErrorKind::ConnectionReset))),
    ] {
        let mut asked = String::new();
        let mut client = Paper::new(|uri, _| {
            asked = uri.to_string();
            answer.clone()
        });
        let mut out = [0; 181];
        let said = run(ask(&mut client, &TARGET, (&board, version), &mut out));
        drop(client);
        assert_eq!(said, outcome, "{answer:?}");
        assert_eq!(asked, "/api/v1/firmware?board=stamp-c3&version=1.2.3");
    }
}
