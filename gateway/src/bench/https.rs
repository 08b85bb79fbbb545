//! Readings over the wire: kept connections, one reading a request, a token with each, and somebody who watches live. The gateway is a child, so that its
//! CPU can be told from that of the clients.

use super::generate;
use super::report::Report;
use super::server::{Gateway, Home};
use super::statistics::{Fifths, Latencies};
use super::{BenchError, Progress, Tell, host, memory_of};
use crate::clock;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;

/// Connections, each a device of its own. The gateway takes 256 from one address.
const CONNECTIONS: usize = 128;

/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How long a client waits after a refusal.
const PAUSE: Duration = Duration::from_millis(20);

/// How often somebody hears how far it is.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// What is being done, for people.
const WHAT: &str = "128 connections over HTTPS, one reading a request";

struct Shared {
    latencies: Mutex<Latencies>,
    refused: AtomicU64,
    fifths: Fifths,
    values: Vec<String>,
}

pub(super) async fn measure(
    report: &mut Report,
    folder: &Path,
    span: Duration,
    tell: Tell<'_>,
) -> Result<(), BenchError> {
    tell(Progress { what: WHAT, done: 0, of: 1 });
    let home = Home::make(folder.join("https"))?;
    let store = home.store().await?;
    let mut tokens = Vec::new();
    for n in 0..CONNECTIONS {
        tokens.push(Home::device(&*store, &format!("bench-{n}")).await?);
    }
    let reader = Home::reader(&*store).await?;
    store.close().await;
    let gateway = home.serve().await?;
    memory_of(report, gateway.pid(), "gateway_start", "memory of a gateway at its start")?;
    let shared = Arc::new(Shared {
        latencies: Mutex::default(),
        refused: AtomicU64::new(0),
        fifths: Fifths::new(span),
        values: bodies()?,
    });

    let mut connections = Vec::new();
    for token in &tokens {
        let stream = gateway.connect().await?;
        connections.push((stream, token.reveal().to_owned()));
    }
    let watching = watch(&gateway, reader.reveal()).await?;
    // Every connection once: handshakes and first steps are not measured.
    let warm = clock::steady();
    let connections = round(&shared, connections, 1, warm, Duration::ZERO, tell).await?;
    *shared.latencies.lock().unwrap_or_else(PoisonError::into_inner) = Latencies::default();
    shared.refused.store(0, Ordering::Relaxed);
    shared.fifths.clear();

    let cpu = |pid| host::cpu_s(pid).map_err(BenchError::io("CPU time cannot be read"));
    let (own, theirs) = (std::process::id(), gateway.pid());
    let (own_before, theirs_before) = (cpu(own)?, cpu(theirs)?);
    let begun = clock::steady();
    let connections = round(&shared, connections, 2, begun, span, tell).await?;
    let took_s = begun.elapsed().as_secs_f64();
    let (own_used, theirs_used) = (cpu(own)? - own_before, cpu(theirs)? - theirs_before);

    let latencies = shared.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let readings = latencies.count() as f64;
    report.add("https.readings_per_s", format!("{WHAT}: readings"), readings / took_s, "1/s");
    let (begin, end) = shared.fifths.rates();
    report.add("https.begin_per_s", "  readings, first fifth of the time", begin, "1/s");
    report.add("https.end_per_s", "  readings, last fifth", end, "1/s");
    for (figure, share, what) in
        [("p50_ms", 0.5, "  answer, p50"), ("p99_ms", 0.99, "  p99"), ("p999_ms", 0.999, "  p99.9")]
    {
        report.add(format!("https.{figure}"), what, latencies.percentile_ms(share), "ms");
    }
    let per_1000 = |used: f64| used / readings.max(1.0) * 1_000.0;
    report.add(
        "https.server_cpu_s_per_1000",
        "  CPU of the gateway per 1,000 readings",
        per_1000(theirs_used),
        "s",
    );
    report.add(
        "https.client_cpu_s_per_1000",
        "  CPU of the clients per 1,000 readings",
        per_1000(own_used),
        "s",
    );
    let refused = shared.refused.load(Ordering::Relaxed) as f64;
    report.add("https.refused", "  requests refused, sent again", refused, "");
    memory_of(report, gateway.pid(), "gateway_https", "memory of the gateway with 128 connections")?;
    let watched = watching.await.map_err(|_| BenchError::TooFew);
    report.add(
        "https.watched_mb",
        "  live events that one viewer got meanwhile",
        watched? as f64 / 1e6,
        "MB",
    );
    drop((connections, gateway));
    home.remove()
}

/// Watches live, as a browser does: what is told to viewers costs the gateway something, too. Ends when nothing has come
/// for a while, and gives how many bytes came.
async fn watch(gateway: &Gateway, token: &str) -> Result<tokio::task::JoinHandle<u64>, BenchError> {
    const QUIET: Duration = Duration::from_secs(1);
    let failed = BenchError::io("a viewer was not let in");
    let mut stream = gateway.connect().await?;
    let head = format!(
        "GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nAccept: text/event-stream\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.map_err(&failed)?;
    stream.flush().await.map_err(&failed)?;
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.map_err(&failed)?;
    if &first != b"HTTP/1.1 200" {
        return Err(failed(std::io::ErrorKind::PermissionDenied.into()));
    }
    Ok(tokio::spawn(async move {
        let (mut buffer, mut bytes) = (vec![0; 64 * 1024], 0u64);
        while let Ok(Ok(read @ 1..)) = tokio::time::timeout(QUIET, stream.read(&mut buffer)).await {
            bytes += read as u64;
        }
        bytes
    }))
}

/// The values of readings as JSON, made beforehand.
fn bodies() -> Result<Vec<String>, BenchError> {
    let sample = generate::plan(generate::VALUES_MIN, 1).ok_or(BenchError::TooFew)?.year;
    let bodies = sample.readings().map(|reading| {
        reading.values.iter().fold(String::new(), |mut text, (quantity, value)| {
            // Writing into a String cannot fail.
            let _infallible = write!(text, ",\"{}\":{value}", quantity.name());
            text
        })
    });
    Ok(bodies.collect())
}

/// Lets every connection send at least once, and on until the span is over; gives the connections back.
async fn round<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    shared: &Arc<Shared>,
    connections: Vec<(S, String)>,
    boot: u64,
    begun: Instant,
    span: Duration,
    tell: Tell<'_>,
) -> Result<Vec<(S, String)>, BenchError> {
    let mut clients = JoinSet::new();
    for (index, (mut stream, token)) in connections.into_iter().enumerate() {
        let shared = Arc::clone(shared);
        clients.spawn(async move {
            let mut buffer = Vec::new();
            for seq in 0_u64.. {
                let at =
                    usize::try_from(seq).unwrap_or(0).wrapping_add(index * 31) % shared.values.len().max(1);
                let values = shared.values.get(at).map(String::as_str).unwrap_or_default();
                let body = format!(
                    "{{\"boot\":{boot},\"readings\":[{{\"seq\":{seq},\"time\":{}{values}}}]}}",
                    clock::now_ms()
                );
                let request = format!(
                    "POST /api/v1/readings HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\
                     Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let one = clock::steady();
                loop {
                    let status = exchange(&mut stream, request.as_bytes(), &mut buffer).await?;
                    match status {
                        200 => break,
                        429 | 503 => {
                            shared.refused.fetch_add(1, Ordering::Relaxed);
                            tokio::time::sleep(PAUSE).await;
                        }
                        507 => return Err(BenchError::DiskFull),
                        _ => return Err(BenchError::Answer(String::from_utf8_lossy(&buffer).into_owned())),
                    }
                }
                shared.latencies.lock().unwrap_or_else(PoisonError::into_inner).take(one.elapsed());
                shared.fifths.take(begun.elapsed(), 1);
                if begun.elapsed() >= span {
                    break;
                }
            }
            Ok((stream, token))
        });
    }
    let mut back = Vec::new();
    let mut tick = tokio::time::interval(TELL_EVERY);
    loop {
        tokio::select! {
            ended = clients.join_next() => match ended {
                Some(Ok(done)) => back.push(done?),
                Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
                None => return Ok(back),
            },
            _ = tick.tick(), if !span.is_zero() => tell(Progress {
                what: WHAT,
                done: u64::try_from(begun.elapsed().min(span).as_millis()).unwrap_or(u64::MAX),
                of: u64::try_from(span.as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }
}

/// Sends a request and reads its answer to the end; `answer` holds it afterwards.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &[u8],
    answer: &mut Vec<u8>,
) -> Result<u16, BenchError> {
    let failed = BenchError::io("the connection to the gateway failed");
    stream.write_all(request).await.map_err(&failed)?;
    stream.flush().await.map_err(&failed)?;
    answer.clear();
    loop {
        if let Some((status, length)) = whole(answer)
            && answer.len() >= length
        {
            return Ok(status);
        }
        let read = stream.read_buf(answer).await.map_err(&failed)?;
        if read == 0 || answer.len() > ANSWER_BYTES_MAX {
            return Err(BenchError::Answer(String::from_utf8_lossy(answer).into_owned()));
        }
    }
}

/// Status of an answer and how long all of it is, once its head is there.
fn whole(answer: &[u8]) -> Option<(u16, usize)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    })?;
    Some((status, end + 4 + length))
}

/// Asks once and throws the answer away; gives its length in bytes.
pub(super) async fn get(gateway: &Gateway, path: &str, token: &str) -> Result<usize, BenchError> {
    let mut stream = gateway.connect().await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    let failed = BenchError::io("the connection to the gateway failed");
    stream.write_all(request.as_bytes()).await.map_err(&failed)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.map_err(failed)?;
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        let begin = answer.get(..answer.len().min(400)).unwrap_or_default();
        return Err(BenchError::Answer(String::from_utf8_lossy(begin).into_owned()));
    }
    Ok(answer.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is_there() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Type: x\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(whole(answer), Some((200, answer.len())));
        assert_eq!(whole(&answer[..20]), None);
        assert_eq!(whole(b"HTTP/1.1 200 OK\r\n\r\n"), None, "of an unknown length");
        assert_eq!(whole(b"nonsense\r\n\r\n"), None);
    }

    #[test]
    fn bodies_are_json() {
        let bodies = bodies().unwrap();
        let reading: serde_json::Value =
            serde_json::from_str(&format!("{{\"seq\":1{}}}", bodies[0])).unwrap();
        assert!(generate::METRICS.iter().all(|metric| reading[metric].is_number()), "{reading}");
    }
}
