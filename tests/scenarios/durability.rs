//! The promise that carries the product: what was acknowledged is there, once, whatever happens to the process.

use anyhow::{Context, Result, bail, ensure};
use harness::wait::{Dice, PATIENCE, Stopwatch, unix_ms};
use harness::{Client, Gateway, Home, csv_rows, report};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// 2026-01-01, so that every reading has a time of its own that the gateway takes as it is.
const EPOCH_MS: i64 = 1_767_225_600_000;

/// A device that posts as fast as it is answered, and remembers what it was told.
struct Device {
    id: String,
    token: String,
    /// With a number for each reading, or named by its time alone.
    numbered: bool,
    acked: u64,
    /// Readings after `acked` whose fate is unknown; they are sent again.
    batch: u64,
    dice: Dice,
}

impl Device {
    fn body(&self) -> Value {
        let readings: Vec<Value> = (self.acked..self.acked + self.batch)
            .map(|n| {
                let mut reading = json!({"time": EPOCH_MS + n as i64 * 1000, "n": n, "co2": 400 + n % 1600});
                if self.numbered {
                    reading["seq"] = n.into();
                }
                reading
            })
            .collect();
        if self.numbered { json!({"boot": 3, "readings": readings}) } else { json!({"readings": readings}) }
    }

    /// Posts until the gateway is gone. A batch without an answer stays as it is, for the next round.
    async fn run(mut self, client: Client, acks: Arc<AtomicU64>, gone: Arc<AtomicBool>) -> Result<Self> {
        let client = client.with_token(&self.token);
        loop {
            if self.batch == 0 {
                self.batch = self.dice.range(1, 25);
            }
            let answer = match client.ingest(&self.body()).await {
                Ok(answer) => answer,
                Err(_) if gone.load(Ordering::SeqCst) => return Ok(self),
                // The connection may break just before the flag is raised.
                Err(error) => {
                    let clock = Stopwatch::start();
                    while !gone.load(Ordering::SeqCst) {
                        ensure!(clock.elapsed() < PATIENCE, "the gateway stopped answering: {error:#}");
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    return Ok(self);
                }
            };
            if answer.status == 503 || answer.status == 429 {
                continue;
            }
            let body = answer.expect(200)?.json()?;
            let (stored, duplicate, rejected) = crate::ack(&body);
            ensure!(stored + duplicate == self.batch && rejected == 0, "{} readings: {body}", self.batch);
            self.acked += self.batch;
            self.batch = 0;
            acks.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// What the gateway has of this device: every acknowledged reading once, and nothing that was never sent.
    async fn audit(&self, reader: &Client) -> Result<()> {
        for (metric, value_of) in
            [("n", (|n| n as f64) as fn(u64) -> f64), ("co2", |n| (400 + n % 1600) as f64)]
        {
            let mut times = BTreeMap::<i64, u32>::new();
            for row in csv_rows::all(reader, &self.id, metric).await? {
                *times.entry(row.time_ms).or_default() += 1;
                let n = u64::try_from((row.time_ms - EPOCH_MS) / 1000)?;
                ensure!(n < self.acked + self.batch, "{} {metric}: reading {n} was never sent", self.id);
                ensure!(row.value == value_of(n), "{} {metric}: reading {n} is {}", self.id, row.value);
            }
            let twice: Vec<_> = times.iter().filter(|(_, count)| **count > 1).collect();
            ensure!(twice.is_empty(), "{} {metric}: stored twice: {twice:?}", self.id);
            let missing: Vec<u64> =
                (0..self.acked).filter(|n| !times.contains_key(&(EPOCH_MS + *n as i64 * 1000))).collect();
            ensure!(missing.is_empty(), "{} {metric}: acknowledged, but missing: {missing:?}", self.id);
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_under_load_loses_and_doubles_nothing() -> Result<()> {
    let rounds: u64 = match std::env::var("CASEMENT_KILL_ROUNDS") {
        Ok(text) => text.parse().context("CASEMENT_KILL_ROUNDS")?,
        Err(_) => 20,
    };
    kill_under_load(&Home::public()?, rounds, "durability", "kill -9 under load").await
}

/// Kills the gateway of a home again and again while devices post, and looks at what is there each time.
pub(crate) async fn kill_under_load(home: &Home, rounds: u64, figures: &str, title: &str) -> Result<()> {
    let seed = std::env::var("CASEMENT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(rounds);
    let mut dice = Dice::new(seed);
    let mut devices = Vec::new();
    for n in 0..6 {
        let id = format!("device-{n}");
        let token = home.add_device(&id, "Lab").await?;
        devices.push(Device {
            id,
            token,
            numbered: n % 3 != 2,
            acked: 0,
            batch: 0,
            dice: Dice::new(seed + n + 1),
        });
    }

    let (mut acked_batches, mut resent) = (0, 0);
    for round in 0..rounds {
        let gateway = home.serve().await?;
        audit(&gateway, &devices).await.with_context(|| format!("round {round}, CASEMENT_SEED={seed}"))?;
        resent += devices.iter().filter(|device| device.batch > 0).count();

        let (acks, gone) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut running = Vec::new();
        for device in devices.drain(..) {
            let client = gateway.client()?;
            running.push(tokio::spawn(device.run(client, Arc::clone(&acks), Arc::clone(&gone))));
        }
        let enough = dice.range(5, 120);
        let clock = Stopwatch::start();
        while acks.load(Ordering::SeqCst) < enough {
            if clock.elapsed() > PATIENCE || running.iter().any(tokio::task::JoinHandle::is_finished) {
                let reached = acks.load(Ordering::SeqCst);
                gone.store(true, Ordering::SeqCst);
                gateway.kill().await?;
                for device in running {
                    device.await??;
                }
                bail!("round {round}: only {reached} of {enough} acknowledgements");
            }
            tokio::time::sleep(Duration::from_micros(dice.range(50, 1500))).await;
        }
        gateway.kill().await?;
        gone.store(true, Ordering::SeqCst);
        for device in running {
            devices.push(device.await??);
        }
        acked_batches += acks.load(Ordering::SeqCst);
    }

    let gateway = home.serve().await?;
    audit(&gateway, &devices).await.with_context(|| format!("at the end, CASEMENT_SEED={seed}"))?;
    // What was never acknowledged is sent once more; then everything is there.
    for device in &mut devices {
        if device.batch > 0 {
            let answer = gateway
                .client()?
                .with_token(&device.token)
                .ingest(&device.body())
                .await?
                .expect(200)?
                .json()?;
            let (stored, duplicate, _) = crate::ack(&answer);
            ensure!(stored + duplicate == device.batch, "{answer}");
            device.acked += std::mem::take(&mut device.batch);
        }
    }
    audit(&gateway, &devices).await?;
    let readings: u64 = devices.iter().map(|device| device.acked).sum();
    report::figures(
        figures,
        title,
        &[
            ("rounds", rounds.to_string()),
            ("acknowledged batches", acked_batches.to_string()),
            ("batches cut off and sent again", resent.to_string()),
            ("readings, all there, none twice", readings.to_string()),
        ],
    );
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}

async fn audit(gateway: &Gateway, devices: &[Device]) -> Result<()> {
    let reader = gateway.client()?;
    for device in devices {
        device.audit(&reader).await?;
    }
    Ok(())
}

/// Rounds in which an import is killed.
const IMPORTS: u64 = 30;

/// Minutes in the file: over three weeks of two metrics, so that readings are appended, sealed, and put together to days.
const MINUTES: i64 = 33_000;

#[tokio::test]
async fn kill_9_while_readings_are_sealed_and_days_put_together_loses_and_doubles_nothing() -> Result<()> {
    let home = Home::public()?;
    let begin = unix_ms() - 40 * 86_400_000;
    let mut csv = String::from("Date,CO2,Temperature\n");
    for n in 0..MINUTES {
        let (co2, temperature) = (400 + (n * 7_919) % 1_200, (n * 31) % 90);
        writeln!(csv, "{},{co2},{}.{}", begin + n * 60_000, 18 + temperature / 10, temperature % 10)?;
    }
    let file = home.path("year.csv");
    std::fs::write(&file, csv)?;
    let file = file.to_str().context("the path is text")?.to_owned();
    let arguments =
        ["import", &file, "--device", "attic", "--map", "Date=time,CO2=co2,Temperature=temperature"];

    // How long one takes on this machine, in a home of its own.
    let clock = Stopwatch::start();
    Home::public()?.run(&arguments).await?.expect(0)?;
    let whole = clock.elapsed();
    let (mut rows, mut cut) = (0, 0);
    for round in 0..IMPORTS {
        let mut child = std::process::Command::new(harness::gateway::binary()?)
            .args(arguments)
            .arg("--config")
            .arg(home.config())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()?;
        // From the first moment to the last: appending, sealing, putting together.
        tokio::time::sleep(whole.mul_f64((round + 1) as f64 / IMPORTS as f64)).await;
        cut += u64::from(child.try_wait()?.is_none());
        child.kill()?;
        child.wait()?;
        let now = exported(&home).await?;
        ensure!(now.len() >= rows, "round {round}: {} rows of {rows} are left", now.len());
        rows = now.len();
        let distinct: BTreeSet<&String> = now.iter().collect();
        ensure!(distinct.len() == rows, "round {round}: {} rows are there twice", rows - distinct.len());
    }
    home.run(&arguments).await?.expect(0)?;
    let all = exported(&home).await?;
    ensure!(all.len() as i64 == 2 * MINUTES, "{} rows", all.len());
    let again = home.run(&arguments).await?.expect(0)?;
    ensure!(again.stdout.contains(": 0 new"), "{}", again.stdout);
    ensure!(exported(&home).await? == all);
    report::figures(
        "durability_import",
        "kill -9 while readings are sealed and days put together",
        &[
            ("rounds", IMPORTS.to_string()),
            ("cut off", cut.to_string()),
            ("values in the end", all.len().to_string()),
            ("lost, doubled", "0, 0".to_owned()),
        ],
    );
    ensure!(cut >= IMPORTS / 3, "only {cut} imports were still running when they were killed");
    Ok(())
}

/// Every row that is there, without its local time.
async fn exported(home: &Home) -> Result<Vec<String>> {
    let ran = home.run(&["export"]).await?.expect(0)?;
    Ok(ran.stdout.lines().skip(1).map(str::to_owned).collect())
}
