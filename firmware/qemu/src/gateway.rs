//! A gateway on paper, behind the HTTP traits that the core sends through. It reads requests as bytes, remembers which
//! readings it has, and has bad moments.

use core::fmt::Write as _;
use embedded_svc::http::client::asynch::Connection;
use embedded_svc::http::{Headers, Method, Status};
use embedded_svc::io::ErrorKind;
use embedded_svc::io::asynch::{ErrorType, Read, Write};

/// Readings of one start that it can remember.
const SEQS: usize = 4_096;

/// What it does with one request.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    /// Takes the readings.
    Works,
    /// 503 with `Retry-After`.
    Busy,
    /// Takes the readings, and the answer gets lost.
    AnswerLost,
    /// The connection breaks in the middle of the request.
    Breaks,
}

/// The gateway.
pub struct Paper {
    /// Numbers of starts, and a bit for each reading of theirs.
    starts: [(u64, [u32; SEQS / 32]); 2],
    body: heapless::Vec<u8, 4_096>,
    answer: heapless::String<128>,
    answered: usize,
    status: u16,
    phase: Phase,
    /// Requests so far.
    pub requests: u32,
    /// Readings that came again.
    pub twice: u32,
    /// Bytes of the largest request.
    pub largest: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Idle,
    Request,
    Response,
}

impl Default for Paper {
    fn default() -> Self {
        Self {
            starts: [(0, [0; SEQS / 32]); 2],
            body: heapless::Vec::new(),
            answer: heapless::String::new(),
            answered: 0,
            status: 0,
            phase: Phase::Idle,
            requests: 0,
            twice: 0,
            largest: 0,
        }
    }
}

impl Paper {
    /// How many different readings it has.
    pub fn stored(&self) -> u64 {
        self.starts.iter().flat_map(|(_, bits)| bits).map(|bits| u64::from(bits.count_ones())).sum()
    }

    /// Whether it has all readings of a start up to a number.
    pub fn complete(&self, boot: u64, count: u64) -> bool {
        self.starts
            .iter()
            .find(|(have, _)| *have == boot)
            .is_some_and(|(_, bits)| (1..=count as usize).all(|seq| bits[seq / 32] & 1 << (seq % 32) != 0))
    }

    fn mood(&self) -> Mood {
        match self.requests {
            1 => Mood::Busy,
            3 => Mood::Breaks,
            5 | 9 => Mood::AnswerLost,
            _ => Mood::Works,
        }
    }

    fn take(&mut self) {
        let mut body = [0; 4_096];
        let len = self.body.len();
        body[..len].copy_from_slice(&self.body);
        let Ok(text) = core::str::from_utf8(&body[..len]) else { panic!("the request is no text") };
        let Some(boot) = numbers(text, "\"boot\":").next() else {
            panic!("the request names no start: {text}")
        };
        let place = self.starts.iter().position(|(have, _)| *have == boot || *have == 0);
        let Some(place) = place else { panic!("more starts than there were") };
        self.starts[place].0 = boot;
        let (mut stored, mut duplicate) = (0, 0);
        for seq in numbers(text, "\"seq\":") {
            if cfg!(feature = "planted") && seq == 77 {
                continue;
            }
            let bits = &mut self.starts[place].1[seq as usize / 32];
            let bit = 1 << (seq % 32);
            if *bits & bit == 0 {
                stored += 1
            } else {
                duplicate += 1
            }
            *bits |= bit;
        }
        self.twice += duplicate;
        self.answer.clear();
        let fits = write!(self.answer, "{{\"stored\":{stored},\"duplicate\":{duplicate},\"rejected\":[]}}");
        assert!(fits.is_ok());
    }
}

/// The whole numbers after each occurrence of a key.
fn numbers<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = u64> + 'a {
    text.split(key).skip(1).map(move |rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        match rest[..digits].parse() {
            Ok(number) => number,
            Err(_) => panic!("no number after {key}: {rest}"),
        }
    })
}

impl ErrorType for Paper {
    type Error = ErrorKind;
}

impl Read for Paper {
    async fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
        let rest = self.answer.as_bytes().get(self.answered..).unwrap_or_default();
        // A few bytes at a time, as networks do.
        let len = rest.len().min(out.len()).min(11);
        out[..len].copy_from_slice(&rest[..len]);
        self.answered += len;
        Ok(len)
    }
}

impl Write for Paper {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        if self.mood() == Mood::Breaks && self.body.len() > 200 {
            return Err(ErrorKind::ConnectionReset);
        }
        let len = bytes.len().min(97);
        assert!(
            self.body.extend_from_slice(&bytes[..len]).is_ok(),
            "the request is longer than a batch can be"
        );
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
        (self.status == 503 && name.eq_ignore_ascii_case("retry-after")).then_some("30")
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
        assert!(method == Method::Post && uri == uplink_path());
        assert!(headers.contains(&("Authorization", "Bearer cas_dev_secret")));
        self.requests += 1;
        self.body.clear();
        self.answer.clear();
        self.answered = 0;
        self.phase = Phase::Request;
        Ok(())
    }

    fn is_request_initiated(&self) -> bool {
        self.phase == Phase::Request
    }

    async fn initiate_response(&mut self) -> Result<(), ErrorKind> {
        self.phase = Phase::Idle;
        self.largest = self.largest.max(self.body.len());
        self.status = match self.mood() {
            Mood::Busy => 503,
            Mood::AnswerLost => {
                self.take();
                return Err(ErrorKind::ConnectionReset);
            }
            Mood::Breaks => return Err(ErrorKind::ConnectionReset),
            Mood::Works => {
                self.take();
                200
            }
        };
        self.phase = Phase::Response;
        Ok(())
    }

    fn is_response_initiated(&self) -> bool {
        self.phase == Phase::Response
    }

    fn split(&mut self) -> (&Self, &mut Self) {
        unreachable!("the core does not")
    }

    fn raw_connection(&mut self) -> Result<&mut Self, ErrorKind> {
        Ok(self)
    }
}

const fn uplink_path() -> &'static str {
    casement_core::uplink::PATH
}
