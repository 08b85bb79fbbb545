//! Readings through the real intake, writer, store and fan-out, in this process.

use super::generate;
use super::report::Report;
use super::statistics::{Fifths, Latencies};
use super::{BenchError, Progress, Tell, host};
use crate::clock;
use crate::intake::{Intake, IntakeError};
use crate::live::Live;
use crate::observe::Counters;
use crate::reading::{NewBatch, NewReading, Timed};
use crate::store;
use crate::telemetry::time::DAY_MS;
use casement_proto::band::PROFILES;
use casement_proto::{DeviceId, Quantity};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// One way to send.
struct Way {
    /// In names of figures.
    name: &'static str,
    what: &'static str,
    writers: usize,
    /// Readings in each batch.
    readings: u64,
}

const WAYS: [Way; 2] = [
    Way { name: "single", what: "1,000 writers, one reading each", writers: 1_000, readings: 1 },
    Way { name: "batch360", what: "16 writers, batches of 360 readings", writers: 16, readings: 360 },
];

/// How long a writer waits when the queue is full.
const PAUSE: Duration = Duration::from_millis(5);

/// How often somebody hears how far it is.
const TELL_EVERY: Duration = Duration::from_millis(100);

pub(super) async fn measure(
    report: &mut Report,
    folder: &Path,
    span: Duration,
    tell: Tell<'_>,
) -> Result<(), BenchError> {
    for way in &WAYS {
        let folder = folder.join(way.name);
        std::fs::create_dir(&folder).map_err(BenchError::io("a folder cannot be made"))?;
        measure_way(report, way, &folder, span, tell).await?;
        std::fs::remove_dir_all(&folder).map_err(BenchError::io("a folder cannot be removed"))?;
    }
    Ok(())
}

/// What the writers share.
struct Shared {
    intake: Intake,
    /// Values to send, made beforehand: making them is not measured.
    values: Vec<Box<[(Quantity, f64)]>>,
    begin_ms: i64,
    readings: u64,
    latencies: Mutex<Latencies>,
    refused: AtomicU64,
    fifths: Fifths,
}

async fn measure_way(
    report: &mut Report,
    way: &Way,
    folder: &Path,
    span: Duration,
    tell: Tell<'_>,
) -> Result<(), BenchError> {
    let store = store::open("sqlite:casement.db", folder).await?;
    let profile = PROFILES.first().ok_or(BenchError::TooFew)?;
    let counters = Arc::new(Counters::default());
    let live = Arc::new(Live::new(profile));
    let (intake, writer) = Intake::new(Arc::clone(&store), live, Arc::clone(&counters));
    let closing = CancellationToken::new();
    // Dropping the set ends the task, whatever happens here.
    let mut writing = JoinSet::new();
    writing.spawn(writer.run(closing.clone()));
    let sample = generate::plan(generate::VALUES_MIN, 1).ok_or(BenchError::TooFew)?.year;
    let shared = Arc::new(Shared {
        intake,
        values: sample.readings().map(|reading| reading.values).collect(),
        begin_ms: clock::now_ms() - 30 * DAY_MS,
        readings: way.readings,
        latencies: Mutex::default(),
        refused: AtomicU64::new(0),
        fifths: Fifths::new(span),
    });

    // Every writer once: devices are registered, and the log has its size.
    let starting = clock::steady();
    round(&shared, way, 0, starting, Duration::MAX, tell).await?;
    *shared.latencies.lock().unwrap_or_else(PoisonError::into_inner) = Latencies::default();
    shared.refused.store(0, Ordering::Relaxed);
    shared.fifths.clear();

    let own = std::process::id();
    let cpu = || host::cpu_s(own).map_err(BenchError::io("CPU time cannot be read"));
    let (cpu_before, commits_before) = (cpu()?, commits(&counters));
    let begun = clock::steady();
    round(&shared, way, 1, begun, span, tell).await?;
    let took_s = begun.elapsed().as_secs_f64();
    let (cpu_used, committed) = (cpu()? - cpu_before, commits(&counters) - commits_before);

    let latencies = shared.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let acks = latencies.count() as f64;
    let readings = acks * way.readings as f64;
    let name = |figure: &str| format!("ingest.{}.{figure}", way.name);
    if way.readings == 1 {
        report.add(
            name("acks_per_s"),
            format!("{}: durable acknowledgements", way.what),
            acks / took_s,
            "1/s",
        );
    } else {
        report.add(name("readings_per_s"), format!("{}: readings", way.what), readings / took_s, "1/s");
    }
    let (begin, end) = shared.fifths.rates();
    report.add(name("begin_per_s"), "  readings, first fifth of the time", begin, "1/s");
    report.add(name("end_per_s"), "  readings, last fifth", end, "1/s");
    report.add(name("commits_per_s"), "  commits", committed / took_s, "1/s");
    for (figure, share, what) in
        [("p50_ms", 0.5, "  acknowledgement, p50"), ("p99_ms", 0.99, "  p99"), ("p999_ms", 0.999, "  p99.9")]
    {
        report.add(name(figure), what, latencies.percentile_ms(share), "ms");
    }
    report.add(
        name("cpu_s_per_1000"),
        "  CPU per 1,000 readings",
        cpu_used / readings.max(1.0) * 1_000.0,
        "s",
    );
    let refused = shared.refused.load(Ordering::Relaxed) as f64;
    report.add(name("refused"), "  batches refused, sent again", refused, "");

    closing.cancel();
    while writing.join_next().await.is_some() {}
    store.close().await;
    Ok(())
}

/// Lets every writer send at least once, and on until the span is over.
async fn round(
    shared: &Arc<Shared>,
    way: &Way,
    boot: u64,
    begun: Instant,
    span: Duration,
    tell: Tell<'_>,
) -> Result<(), BenchError> {
    let once = span == Duration::MAX;
    let mut writers = JoinSet::new();
    for index in 0..way.writers {
        let device = DeviceId::parse(&format!("bench-{index}")).ok_or(BenchError::TooFew)?;
        let shared = Arc::clone(shared);
        writers.spawn(async move {
            let mut sent = 0;
            loop {
                send(&shared, device, index, boot, sent).await?;
                sent += 1;
                shared.fifths.take(begun.elapsed(), shared.readings);
                if once || begun.elapsed() >= span {
                    return Ok::<_, BenchError>(());
                }
            }
        });
    }
    let mut tick = tokio::time::interval(TELL_EVERY);
    loop {
        tokio::select! {
            ended = writers.join_next() => match ended {
                Some(Ok(done)) => done?,
                Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
                None => return Ok(()),
            },
            _ = tick.tick(), if !once => tell(Progress {
                what: way.what,
                done: u64::try_from(begun.elapsed().min(span).as_millis()).unwrap_or(u64::MAX),
                of: u64::try_from(span.as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }
}

/// Sends one batch until it is taken, and notes how long that took.
async fn send(
    shared: &Shared,
    device: DeviceId,
    writer: usize,
    boot: u64,
    sent: u64,
) -> Result<(), BenchError> {
    let first = sent * shared.readings;
    let reading = |seq: u64| {
        let at = usize::try_from(seq).unwrap_or(0).wrapping_add(writer * 31) % shared.values.len().max(1);
        NewReading {
            name: Some((boot, seq)),
            // Each start of the device a day later.
            t_ms: shared.begin_ms + boot.cast_signed() * DAY_MS + seq.cast_signed() * 10_000,
            timed: Timed::Device,
            state: casement_proto::State::Ok,
            values: shared.values.get(at).cloned().unwrap_or_default(),
        }
    };
    let batch = || NewBatch { device, readings: (first..first + shared.readings).map(reading).collect() };
    let mut next = batch();
    let begun = clock::steady();
    loop {
        match shared.intake.submit(next).await {
            Ok(_) => break,
            Err(IntakeError::Full) => {
                shared.refused.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
                next = batch();
            }
            Err(error) => return Err(error.into()),
        }
    }
    shared.latencies.lock().unwrap_or_else(PoisonError::into_inner).take(begun.elapsed());
    Ok(())
}

/// Commits so far, by the gateway's own counter.
fn commits(counters: &Counters) -> f64 {
    let text = counters.text().unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("casement_commit_seconds_count "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_counted_by_the_gateway() {
        let counters = Counters::default();
        assert_eq!(commits(&counters), 0.0);
        counters.commit_seconds.observe(0.001);
        counters.commit_seconds.observe(0.002);
        assert_eq!(commits(&counters), 2.0);
    }
}
