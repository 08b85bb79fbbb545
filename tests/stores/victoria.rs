//! VictoriaMetrics, single node, as it comes but for a retention that holds the year.

use crate::data::{BAD_PPM, Bucket, Data, END_MS, STEP_MS, YEAR};
use crate::http::{Http, encoded};
use crate::process::{self, Server};
use crate::store::{Answer, Question, Store};
use anyhow::{Context, Result, ensure};
use harness::ports::Port;
use harness::within;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

/// Looks without any change after which a merge is taken to be over.
const QUIET_LOOKS: u32 = 15;

/// Some devices' clocks are that far ahead at the end, and more.
const LATEST_AFTER_S: i64 = 60;

const DEDUPLICATION: &str = "-dedup.minScrapeInterval=1ms";

pub(crate) struct Victoria {
    program: PathBuf,
    folder: tempfile::TempDir,
    port: Port,
    http: Http,
    server: Option<Server>,
    switches: Vec<String>,
    /// See [`crate::data::Truth`].
    silent_since_ms: i64,
}

impl Victoria {
    pub(crate) async fn make(peers: &Path) -> Result<Self> {
        let port = Port::reserve()?;
        let mut made = Self {
            program: peers.join("usr/bin/victoria-metrics"),
            folder: tempfile::Builder::new().prefix("casement-vm-").tempdir()?,
            http: Http::new(port.local()),
            port,
            server: None,
            switches: Vec::new(),
            silent_since_ms: END_MS,
        };
        made.restart().await?;
        Ok(made)
    }

    async fn stop(&mut self) -> Result<()> {
        match self.server.take() {
            Some(mut server) => server.stop().await,
            None => Ok(()),
        }
    }

    /// What it says of itself: the sum over all lines of this name.
    async fn metric(&mut self, name: &str) -> Result<f64> {
        let text = self.http.get("/metrics").await?;
        let lines = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// A question at the end of the year. `nocache`: the same question is asked many times here.
    async fn at_end(&mut self, query: &str, after_s: f64) -> Result<String> {
        let time = END_MS as f64 / 1e3 + after_s;
        self.http.get(&format!("/api/v1/query?nocache=1&time={time:.3}&query={}", encoded(query))).await
    }
}

impl Store for Victoria {
    /// Debian's program does not know its own version; its package does.
    async fn version(&mut self) -> Result<String> {
        let packages = self.program.ancestors().nth(3).context("a folder of packages")?.join("packages");
        for entry in std::fs::read_dir(packages)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Some(rest) = name.strip_prefix("victoria-metrics_") {
                let version = rest.split(['+', '-', '_']).next().unwrap_or(rest);
                return Ok(format!("VictoriaMetrics {version}"));
            }
        }
        Ok("VictoriaMetrics".to_owned())
    }

    async fn load(&mut self, data: &Data, _again: bool) -> Result<()> {
        self.silent_since_ms = data.truth.silent_since_ms;
        self.http.post_file("/write", &data.lines()).await?;
        self.http.get("/internal/force_flush").await?;
        Ok(())
    }

    async fn settle(&mut self) -> Result<()> {
        self.http.get("/internal/force_merge").await?;
        // It does not say when it begins.
        let (mut before, mut quiet) = (0, 0);
        within(PATIENCE, "the end of a merge", async || {
            let active =
                self.metric("vm_active_merges").await? + self.metric("vm_active_force_merges").await?;
            let now = process::bytes(self.folder.path())?;
            quiet = if active == 0.0 && now == before { quiet + 1 } else { 0 };
            before = now;
            Ok((quiet >= QUIET_LOOKS).then_some(()))
        })
        .await?;
        self.stop().await?;
        self.restart().await
    }

    fn folder(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    async fn payload(&mut self) -> Result<Option<u64>> {
        Ok(Some(process::bytes(&self.folder().join("data"))?))
    }

    async fn ask(&mut self, question: Question) -> Result<String> {
        let year = format!("casement_co2{{device=\"{YEAR}\"}}");
        match question {
            // A window reaches from after its start to its end: that of a bucket ends with its last millisecond.
            Question::Chart => {
                let step_s = STEP_MS / 1_000;
                let first = END_MS - 365 * 86_400_000 + STEP_MS;
                let query = encoded(&format!("rollup({year}[{step_s}s])"));
                let at = |ms: i64| (ms - 1) as f64 / 1e3;
                let (start, end) = (at(first), at(END_MS));
                self.http
                    .get(&format!(
                        "/api/v1/query_range?nocache=1&start={start:.3}&end={end:.3}&step={step_s}s&query={query}"
                    ))
                    .await
            }
            Question::P95 => self.at_end(&format!("quantile_over_time(0.95, {year}[365d])"), -0.001).await,
            Question::Above => {
                self.at_end(&format!("count_gt_over_time({year}[365d], {BAD_PPM})"), -0.001).await
            }
            // It must be told how far to look back; this is as little as it takes.
            Question::Latest => {
                let back_s = (END_MS - self.silent_since_ms) / 1_000 + 2 * LATEST_AFTER_S;
                let all = "__name__=~\"casement_(co2|tvoc|temperature|humidity)\"";
                self.at_end(&format!("last_over_time({{{all}}}[{back_s}s])"), LATEST_AFTER_S as f64).await
            }
        }
    }

    fn read(&self, question: Question, text: &str) -> Result<Answer> {
        let json: Value = serde_json::from_str(text)?;
        let result = json["data"]["result"].as_array().context("no result")?;
        let number = |value: &Value| -> Result<f64> { Ok(value.as_str().context("no value")?.parse()?) };
        let only = || number(&result.first().context("nothing")?["value"][1]);
        Ok(match question {
            Question::P95 => Answer::P95(only()?),
            Question::Above => Answer::Above(only()?),
            Question::Chart => {
                let mut buckets: BTreeMap<i64, Bucket> = BTreeMap::new();
                for line in result {
                    let which = line["metric"]["rollup"].as_str().context("no rollup")?;
                    for pair in line["values"].as_array().context("no values")? {
                        let end_ms = (pair[0].as_f64().context("no time")? * 1e3).round() as i64;
                        let t_ms = end_ms + 1 - STEP_MS;
                        let bucket =
                            buckets.entry(t_ms).or_insert(Bucket { t_ms, min: 0.0, mean: 0.0, max: 0.0 });
                        *match which {
                            "min" => &mut bucket.min,
                            "avg" => &mut bucket.mean,
                            _ => &mut bucket.max,
                        } = number(&pair[1])?;
                    }
                }
                Answer::Chart(buckets.into_values().collect())
            }
            Question::Latest => {
                let (mut devices, mut co2) = (HashSet::new(), 0.0);
                for line in result {
                    devices.insert(line["metric"]["device"].as_str().context("no device")?.to_owned());
                    if line["metric"]["__name__"] == "casement_co2" {
                        co2 += number(&line["value"][1])?;
                    }
                }
                ensure!(result.len() == 4 * devices.len(), "{} series", result.len());
                Answer::Latest { devices: devices.len(), co2 }
            }
        })
    }

    async fn count(&mut self, _data: &Data) -> Result<u64> {
        let query = "sum(count_over_time({__name__=~\"casement_.+\"}[366d]))";
        let text = self.at_end(query, 3_600.0).await?;
        let json: Value = serde_json::from_str(&text)?;
        Ok(json["data"]["result"][0]["value"][1].as_str().context(text.clone())?.parse::<f64>()? as u64)
    }

    async fn count_once(&mut self, data: &Data) -> Result<Option<(u64, &'static str)>> {
        self.stop().await?;
        self.switches.push(DEDUPLICATION.to_owned());
        self.restart().await?;
        Ok(Some((self.count(data).await?, DEDUPLICATION)))
    }

    async fn put(&mut self, numbers: Range<u64>) -> Vec<u64> {
        let number = numbers.start;
        let ns = (i128::from(END_MS) + i128::from(number) * 1_000) * 1_000_000;
        let line = format!("casement,device=writer co2={} {ns}\n", 400 + number % 1_000);
        let said = self.http.post("/write", line).await;
        said.map_or_else(|_| Vec::new(), |_| vec![number])
    }

    async fn kept(&mut self) -> Result<BTreeSet<u64>> {
        let query = encoded("casement_co2{device=\"writer\"}");
        let text = self.http.get(&format!("/api/v1/export?match%5B%5D={query}")).await?;
        let mut kept = BTreeSet::new();
        for line in text.lines() {
            let block: Value = serde_json::from_str(line)?;
            let times: Vec<i64> = serde_json::from_value(block["timestamps"].clone())?;
            kept.extend(times.into_iter().map(|t_ms| ((t_ms - END_MS) / 1_000).cast_unsigned()));
        }
        Ok(kept)
    }

    async fn restart(&mut self) -> Result<()> {
        let mut arguments = vec![
            format!("-storageDataPath={}", self.folder().display()),
            format!("-httpListenAddr={}", self.port.local()),
            "-retentionPeriod=100y".to_owned(),
            "-loggerLevel=WARN".to_owned(),
        ];
        arguments.extend_from_slice(&self.switches);
        let log = self.folder.path().join("log");
        let server = self.server.insert(Server::start(&self.program, &arguments, &log)?);
        let http = &mut self.http;
        within(PATIENCE, "VictoriaMetrics", async || {
            ensure!(!server.has_ended()?, "it has ended: {}", std::fs::read_to_string(&log)?);
            Ok(http.get("/health").await.ok())
        })
        .await?;
        Ok(())
    }
}
