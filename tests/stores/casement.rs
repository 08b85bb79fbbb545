//! The gateway as people use it: `casement import`, then questions over HTTPS with a token.

use crate::data::{BAD_PPM, BEGIN_MS, Bucket, Data, END_MS, METRICS, STEP_MS, YEAR};
use crate::process;
use crate::store::{Answer, Question, Store};
use anyhow::{Context, Result, ensure};
use harness::gateway::binary;
use harness::{Client, Gateway, Home, csv_rows};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Longest wait for an import.
const IMPORT_WITHIN: Duration = Duration::from_secs(600);

/// The device that writes until it is killed.
const WRITER: &str = "writer";

pub(crate) struct Casement {
    home: Home,
    running: Option<Running>,
    /// The token of the device that writes.
    writer: String,
}

struct Running {
    gateway: Gateway,
    reader: Client,
    writer: Arc<Client>,
}

impl Casement {
    pub(crate) async fn make() -> Result<Self> {
        let home = Home::private()?;
        let writer = home.add_device(WRITER, "Lab").await?;
        let mut made = Self { home, running: None, writer };
        made.restart().await?;
        Ok(made)
    }

    fn running(&self) -> Result<&Running> {
        self.running.as_ref().context("no gateway runs")
    }

    async fn json(&self, path: &str) -> Result<Value> {
        self.running()?.reader.json(path).await
    }

    async fn stop(&mut self) -> Result<()> {
        if let Some(running) = self.running.take() {
            running.gateway.terminate().await?;
        }
        Ok(())
    }
}

fn statistics(device: &str, metric: &str) -> String {
    // The others may reach some seconds over the end.
    let to_ms = if device == YEAR { END_MS } else { END_MS + 86_400_000 };
    format!("/api/v1/statistics?device={device}&metric={metric}&from={BEGIN_MS}&to={to_ms}&percentiles=95")
}

impl Store for Casement {
    async fn version(&mut self) -> Result<String> {
        let output = std::process::Command::new(binary()?).arg("--version").output()?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// No gateway runs meanwhile: it would only keep what is imported in memory, too.
    async fn load(&mut self, data: &Data, again: bool) -> Result<()> {
        self.stop().await?;
        let import = tokio::process::Command::new(binary()?)
            .arg("import")
            .arg(data.lines())
            .arg("--config")
            .arg(self.home.config())
            .env_clear()
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let ran = tokio::time::timeout(IMPORT_WITHIN, import).await.context("the import does not end")??;
        ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        if again { self.restart().await } else { Ok(()) }
    }

    async fn settle(&mut self) -> Result<()> {
        // An import leaves everything in its final form.
        self.stop().await?;
        self.restart().await
    }

    fn folder(&self) -> PathBuf {
        self.home.data_dir()
    }

    async fn payload(&mut self) -> Result<Option<u64>> {
        Ok(Some(std::fs::metadata(self.home.data_dir().join("casement.db"))?.len()))
    }

    async fn ask(&mut self, question: Question) -> Result<String> {
        let path = match question {
            Question::Chart => format!(
                "/api/v1/readings?device={YEAR}&metric=co2&from={BEGIN_MS}&to={END_MS}&max_points=1000"
            ),
            Question::P95 => statistics(YEAR, "co2"),
            Question::Above => format!("{}&above={BAD_PPM}", statistics(YEAR, "co2")),
            Question::Latest => "/api/v1/devices".to_owned(),
        };
        let answer = self.running()?.reader.get(&path).send().await?.expect(200)?;
        Ok(answer.text()?.to_owned())
    }

    fn read(&self, question: Question, text: &str) -> Result<Answer> {
        let json: Value = serde_json::from_str(text)?;
        Ok(match question {
            Question::Chart => {
                ensure!(json["step_s"] == STEP_MS / 1_000, "buckets of {} s", json["step_s"]);
                let points: Vec<(i64, f64, f64, f64, u64)> = serde_json::from_value(json["points"].clone())?;
                let bucket = |(t_ms, min, mean, max, _)| Bucket { t_ms, min, mean, max };
                Answer::Chart(points.into_iter().map(bucket).collect())
            }
            Question::P95 => Answer::P95(json["percentiles"][0][1].as_f64().context("no percentile")?),
            Question::Above => Answer::Above(json["above"]["readings"].as_f64().context("no count")?),
            Question::Latest => {
                let devices = json["devices"].as_array().context("no devices")?;
                let co2 = |device: &Value| device["last"]["values"]["co2"].as_f64();
                let co2: Vec<f64> = devices.iter().filter_map(co2).collect();
                Answer::Latest { devices: co2.len(), co2: co2.iter().sum() }
            }
        })
    }

    async fn count(&mut self, data: &Data) -> Result<u64> {
        let mut count = 0;
        for device in data.names()? {
            for metric in METRICS {
                let found = self.json(&statistics(&device, metric)).await?;
                count += found["count"].as_u64().context("no count")?;
            }
        }
        Ok(count)
    }

    /// It gathers for some milliseconds what comes at the same time: alone, one would wait for each.
    const TOGETHER: u64 = 64;

    async fn put(&mut self, numbers: Range<u64>) -> Vec<u64> {
        let Some(running) = &self.running else { return Vec::new() };
        let mut under_way = JoinSet::new();
        for number in numbers {
            let writer = Arc::clone(&running.writer);
            under_way.spawn(async move {
                let time_ms = END_MS + number.cast_signed() * 1_000;
                let reading = json!({"seq": number, "time": time_ms, "co2": 400 + number % 1_000});
                let answer = writer.ingest(&json!({"boot": 1, "readings": [reading]})).await.ok()?;
                let stored = answer.status == 200 && answer.json().ok()?["stored"] == 1;
                stored.then_some(number)
            });
        }
        under_way.join_all().await.into_iter().flatten().collect()
    }

    async fn kept(&mut self) -> Result<BTreeSet<u64>> {
        let path = format!("/api/v1/readings?device={WRITER}&metric=co2&from={END_MS}");
        let answer = self.running()?.reader.get(&path).accept("text/csv").send().await?.expect(200)?;
        let rows = csv_rows::parse(answer.text()?)?;
        Ok(rows.iter().map(|row| ((row.time_ms - END_MS) / 1_000).cast_unsigned()).collect())
    }

    async fn restart(&mut self) -> Result<()> {
        self.running = None;
        let token = self.home.create_token("read").await?;
        let gateway = self.home.serve().await?;
        let reader = gateway.client()?.with_token(&token);
        // The first question is not to be the first handshake.
        reader.get("/healthz").send().await?.expect(200)?;
        let writer = Arc::new(gateway.client_h2()?.with_token(&self.writer));
        self.running = Some(Running { gateway, reader, writer });
        Ok(())
    }
}

/// The same questions inside `casement bench`, without HTTPS and JSON: its figures by name.
pub(crate) fn in_process(points: u64) -> Result<Value> {
    let ran = std::process::Command::new(binary()?)
        .args(["bench", "--json", "--only", "queries,size,memory", "--points", &points.to_string()])
        .stdin(Stdio::null())
        .output()?;
    ensure!(ran.status.success(), "casement bench: {}", String::from_utf8_lossy(&ran.stderr));
    ensure!(process::is_over(), "casement bench leaves something running");
    let report: Value = serde_json::from_slice(&ran.stdout)?;
    Ok(report["figures"].clone())
}
