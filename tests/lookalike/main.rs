//! A gateway with as little of a machine as an f1-micro has, and what it takes. Not a test: it asserts nothing but that
//! what was acknowledged is there. `tests/lookalike/run` makes the limits and starts this.
//!
//! All of it over TLS, with a token on each request, and one fsync before each answer. Ten dashboards watch live throughout.
#![allow(clippy::disallowed_methods, reason = "a driver at the edge: it times the program from outside")]
#![allow(clippy::print_stdout, reason = "its result is a table")]

use anyhow::{Context, Result, bail, ensure};
use harness::wait::{Stopwatch, unix_ms};
use harness::{Client, Gateway, Home, report};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Devices that send now and then, unless `CASEMENT_LOOKALIKE_DEVICES` says otherwise; a multiple of 1,000.
const DEVICES: usize = 10_000;
/// How often each of them does.
const PERIOD: Duration = Duration::from_secs(10);
/// Connections that they share: the gateway takes 256 from one address, and 1,024 altogether.
const SHARED: usize = 200;
/// Connections that send as fast as they can.
const KEPT: usize = 64;
/// Clients that come anew for each reading.
const COMERS: usize = 24;
/// People who watch.
const DASHBOARDS: usize = 10;

/// What was acknowledged, altogether.
static ACKNOWLEDGED: AtomicU64 = AtomicU64::new(0);

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure())
}

async fn measure() -> Result<()> {
    let variable =
        |name: &str| std::env::var(name).with_context(|| format!("{name}: start tests/lookalike/run"));
    let (cpu, memory) = (variable("CASEMENT_LOOKALIKE_CPU")?, variable("CASEMENT_LOOKALIKE_MEMORY")?);
    let seconds = std::env::var("CASEMENT_LOOKALIKE_SECONDS").unwrap_or_else(|_| "20".to_owned());
    let span = Duration::from_secs(seconds.parse().context("CASEMENT_LOOKALIKE_SECONDS is a number")?);
    let home = Home::public()?;
    // Once for a certificate, which the images of devices hold; they are added while nobody else writes.
    home.serve().await?.terminate().await?;
    let devices = match std::env::var("CASEMENT_LOOKALIKE_DEVICES") {
        Ok(number) => number.parse().context("CASEMENT_LOOKALIKE_DEVICES is a number")?,
        Err(_) => DEVICES,
    };
    eprintln!("adding {devices} devices; for 10,000 that takes minutes");
    let tokens = tokens(&home, devices).await?;
    let gateway = home.serve().await?;
    let started_ms = gateway.ready_after().as_millis();

    let mut dashboards = JoinSet::new();
    let seen = Arc::new(AtomicU64::new(0));
    for _ in 0..DASHBOARDS {
        let (client, seen) = (gateway.client_h2()?, Arc::clone(&seen));
        dashboards.spawn(async move {
            let mut events = client.get("/api/v1/stream").events().await?;
            while let Some(event) = events.within(Duration::from_secs(60)).await? {
                seen.fetch_add(u64::from(event.name == "reading"), Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }

    let mut rows: Vec<(&str, String)> = vec![
        ("limits", if cpu == "0" { "none".into() } else { format!("{cpu} of a core, 480 MB") }),
        ("devices", devices.to_string()),
        ("start to ready", format!("{started_ms} ms")),
    ];
    for (label, per_request) in [
        ("kept connections, 1 reading a request (goal: 6,000/s)", 1),
        ("kept connections, 10 readings a request", 10),
        ("kept connections, 100 readings a request", 100),
    ] {
        eprintln!("{label}");
        let used = Used::begin(&gateway)?;
        let (readings, took) =
            flood(&gateway, tokens.get(..KEPT).unwrap_or_default(), per_request, true, span).await?;
        rows.push((label, format!("{:.0} readings/s, {}", readings as f64 / took, used.share(took)?)));
    }
    eprintln!("new connections");
    let used = Used::begin(&gateway)?;
    let (connections, took) =
        flood(&gateway, tokens.get(..COMERS).unwrap_or_default(), 1, false, span).await?;
    rows.push((
        "a new connection for each reading (goal: 750/s)",
        format!("{:.0} connections/s, {}", connections as f64 / took, used.share(took)?),
    ));
    eprintln!("{devices} devices");
    let used = Used::begin(&gateway)?;
    let clock = Stopwatch::start();
    let (mut latencies, failed) = many(&gateway, &tokens, span.max(PERIOD * 2)).await?;
    let took = clock.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let at = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).copied().unwrap_or(0);
    rows.extend([
        (
            "all devices (goal: 10,000), each every 10 s: acknowledged",
            format!("{:.0} readings/s, {}", latencies.len() as f64 / took, used.share(took)?),
        ),
        ("  from the moment it is due: p50 / p99 (goal: 1 s)", format!("{} ms / {} ms", at(0.5), at(0.99))),
        ("  refused and sent again", failed.to_string()),
        ("events that ten dashboards saw", seen.load(Ordering::Relaxed).to_string()),
        (
            "memory of the process, at most (goal: 200 MB)",
            format!("{} MB", resident_kb(gateway.pid(), "VmHWM")? / 1000),
        ),
        ("memory of its cgroup with the kernel's cache, at most", peak(Path::new(&memory))),
    ]);
    dashboards.shutdown().await;

    let counters = gateway.client()?.get("/metrics").send().await?.expect(200)?;
    let stored: u64 = counters
        .text()?
        .lines()
        .filter(|line| line.starts_with("casement_readings_total{") && line.contains("outcome=\"Stored\""))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum();
    let acknowledged = ACKNOWLEDGED.load(Ordering::Relaxed);
    ensure!(stored >= acknowledged, "{acknowledged} readings were acknowledged and {stored} stored");
    rows.push(("readings acknowledged / stored", format!("{acknowledged} / {stored}")));
    report::figures("lookalike", "a gateway on as little as an f1-micro", &rows);
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}

/// Adds the devices and gives their tokens, which stand in what would be flashed onto them.
async fn tokens(home: &Home, devices: usize) -> Result<Vec<String>> {
    let mut tokens = Vec::with_capacity(devices);
    for first in (0..devices).step_by(1000) {
        let folder = home.path(&format!("images-{first}"));
        std::fs::create_dir(&folder)?;
        let range = format!("d-{:05}..d-{:05}", first + 1, first + 1000);
        let output = folder.to_str().context("a path of text")?;
        home.run(&[
            "device",
            "image",
            "--devices",
            &range,
            "--wifi",
            "none",
            "--wifi-open",
            "--url",
            "https://127.0.0.1",
            "--output",
            output,
        ])
        .await?
        .expect(0)?;
        for entry in std::fs::read_dir(&folder)? {
            let image = std::fs::read(entry?.path())?;
            let Some(at) = image.windows(8).position(|bytes| bytes == b"cas_dev_") else { continue };
            let token = image.get(at..).unwrap_or_default();
            let end = token
                .iter()
                .position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
                .unwrap_or(token.len());
            tokens.push(String::from_utf8(token.get(..end).unwrap_or_default().to_vec())?);
        }
        std::fs::remove_dir_all(&folder)?;
    }
    ensure!(tokens.len() == devices, "{} tokens of {devices} devices", tokens.len());
    Ok(tokens)
}

fn batch(boot: i64, seq: u64, readings: u64) -> Value {
    let now = unix_ms();
    let readings: Vec<_> = (0..readings)
        .map(|n| {
            let n = seq * readings + n;
            json!({"seq": n, "time": now, "co2": 400 + n % 900, "temperature": 20.0 + (n % 60) as f64 / 10.0, "humidity": 40})
        })
        .collect();
    json!({"boot": boot, "readings": readings})
}

/// One batch, until it is acknowledged; gives how often it was refused before.
async fn send(client: &Client, batch: &Value, readings: u64) -> Result<u64> {
    let mut refused = 0;
    loop {
        let answer = client.ingest(batch).await?;
        match answer.status {
            200 => {
                ACKNOWLEDGED.fetch_add(readings, Ordering::Relaxed);
                return Ok(refused);
            }
            503 | 429 => {
                refused += 1;
                let wait = answer.header("retry-after").and_then(|after| after.parse().ok()).unwrap_or(1);
                tokio::time::sleep(Duration::from_secs(wait)).await;
            }
            _ => bail!("{answer}"),
        }
    }
}

/// As fast as they are answered; gives readings and seconds.
async fn flood(
    gateway: &Gateway,
    tokens: &[String],
    readings: u64,
    keep: bool,
    span: Duration,
) -> Result<(u64, f64)> {
    let clock = Stopwatch::start();
    // A number that no other part of the run has used.
    let boot = unix_ms();
    let mut senders = JoinSet::new();
    for token in tokens {
        let client = gateway.client()?.with_token(token);
        senders.spawn(async move {
            let (mut sent, end) = (0, Instant::now() + span);
            while Instant::now() < end {
                let fresh = (!keep).then(|| client.fresh());
                send(fresh.as_ref().unwrap_or(&client), &batch(boot, sent, readings), readings).await?;
                sent += 1;
            }
            anyhow::Ok(sent * readings)
        });
    }
    let mut total = 0;
    while let Some(sent) = senders.join_next().await {
        total += sent??;
    }
    Ok((total, clock.elapsed().as_secs_f64()))
}

/// All devices, each in its turn, whether the one before has been answered or not: what waits counts as waiting. Gives
/// milliseconds from due to acknowledged, and how often something was refused.
async fn many(gateway: &Gateway, tokens: &[String], span: Duration) -> Result<(Vec<u64>, u64)> {
    let boot = unix_ms();
    let begin = Instant::now() + Duration::from_secs(1);
    let mut senders = JoinSet::new();
    for share in 0..SHARED {
        let client = gateway.client()?;
        let tokens: Vec<String> = tokens.iter().skip(share).step_by(SHARED).cloned().collect();
        senders.spawn(async move {
            let (mut latencies, mut refused) = (Vec::new(), 0);
            let pause = PERIOD / u32::try_from(tokens.len())?;
            let offset = pause / u32::try_from(SHARED)? * u32::try_from(share)?;
            for (turn, token) in (0..).zip(tokens.iter().cycle()) {
                let due = begin + offset + pause * turn;
                if due >= begin + span {
                    break;
                }
                sleep_until(due).await;
                let seq = u64::from(turn);
                loop {
                    let request =
                        client.post("/api/v1/readings").header("authorization", &format!("Bearer {token}"));
                    let answer = request.json(&batch(boot, seq, 1)).send().await?;
                    match answer.status {
                        200 => break,
                        503 | 429 => refused += 1,
                        _ => bail!("{answer}"),
                    }
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                ACKNOWLEDGED.fetch_add(1, Ordering::Relaxed);
                latencies.push(u64::try_from(due.elapsed().as_millis())?);
            }
            anyhow::Ok((latencies, refused))
        });
    }
    let (mut latencies, mut refused) = (Vec::new(), 0);
    while let Some(share) = senders.join_next().await {
        let share = share??;
        latencies.extend(share.0);
        refused += share.1;
    }
    Ok((latencies, refused))
}

/// CPU of the gateway since a moment.
struct Used {
    pid: u32,
    before_s: f64,
}

impl Used {
    fn begin(gateway: &Gateway) -> Result<Self> {
        Ok(Self { pid: gateway.pid(), before_s: cpu_s(gateway.pid())? })
    }

    fn share(&self, took_s: f64) -> Result<String> {
        Ok(format!("{:.2} of a core", (cpu_s(self.pid)? - self.before_s) / took_s))
    }
}

/// Seconds of CPU that a process has used: fields 14 and 15 of `/proc/PID/stat`, in hundredths (proc(5)).
fn cpu_s(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, after) = stat.rsplit_once(')').context("a name in parentheses")?;
    let ticks: Vec<f64> =
        after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    ensure!(ticks.len() == 2, "{stat}");
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

fn resident_kb(pid: u32, field: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(field)).with_context(|| field.to_owned())?;
    Ok(line.split_whitespace().nth(1).context("a number")?.parse()?)
}

fn peak(file: &Path) -> String {
    let bytes = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<u64>().ok());
    bytes.map_or_else(|| "this kernel does not say".to_owned(), |bytes| format!("{} MB", bytes / 1_000_000))
}
