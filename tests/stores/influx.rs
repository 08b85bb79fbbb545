//! InfluxDB 1.6 as it comes, but that it writes its log into its files after seconds of silence and not after hours: there is
//! no command for it, and its size is that of its files.

use crate::data::{BAD_PPM, BEGIN_MS, Bucket, Data, END_MS, YEAR};
use crate::http::{Http, encoded};
use crate::process::{self, Server};
use crate::store::{Answer, Question, Store};
use anyhow::{Context, Result, ensure};
use harness::ports::Port;
use harness::within;
use serde_json::Value;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(180);

/// Looks without any change after which it is taken to have compacted everything, some five a second.
const QUIET_LOOKS: u32 = 60;

/// Bytes of an empty log: its files are made ahead.
const LOG_EMPTY: u64 = 100_000;

pub(crate) struct Influx {
    program: PathBuf,
    folder: tempfile::TempDir,
    ports: [Port; 2],
    http: Http,
    server: Option<Server>,
}

impl Influx {
    pub(crate) async fn make(peers: &Path) -> Result<Self> {
        let ports = [Port::reserve()?, Port::reserve()?];
        let mut made = Self {
            program: peers.join("usr/bin/influxd"),
            folder: tempfile::Builder::new().prefix("casement-influx-").tempdir()?,
            http: Http::new(ports[0].local()),
            ports,
            server: None,
        };
        made.restart().await?;
        made.http.post("/query?q=CREATE%20DATABASE%20air", "").await?;
        Ok(made)
    }

    async fn query(&mut self, query: &str) -> Result<String> {
        self.http.get(&format!("/query?db=air&epoch=ms&q={}", encoded(query))).await
    }
}

/// The series that an answer consists of.
fn series(text: &str) -> Result<Vec<Value>> {
    let json: Value = serde_json::from_str(text)?;
    let result = &json["results"][0];
    ensure!(result["error"].is_null(), "{}", result["error"]);
    Ok(result["series"].as_array().cloned().unwrap_or_default())
}

impl Store for Influx {
    async fn version(&mut self) -> Result<String> {
        let output = std::process::Command::new(&self.program).arg("version").output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(format!("InfluxDB {}", text.split_whitespace().nth(1).unwrap_or(&text).trim_start_matches('v')))
    }

    async fn load(&mut self, data: &Data, _again: bool) -> Result<()> {
        self.http.post_file("/write?db=air", &data.lines()).await
    }

    async fn settle(&mut self) -> Result<()> {
        let (mut before, mut quiet) = (0, 0);
        let (wal, all) = (self.folder().join("wal"), self.folder());
        within(PATIENCE, "the end of all compactions", async || {
            let now = process::bytes(&all)?;
            quiet = if process::bytes(&wal)? < LOG_EMPTY && now == before { quiet + 1 } else { 0 };
            before = now;
            Ok((quiet >= QUIET_LOOKS).then_some(()))
        })
        .await?;
        if let Some(mut server) = self.server.take() {
            server.stop().await?;
        }
        self.restart().await
    }

    fn folder(&self) -> PathBuf {
        self.folder.path().join("influx")
    }

    async fn payload(&mut self) -> Result<Option<u64>> {
        Ok(Some(process::bytes(&self.folder().join("data"))?))
    }

    async fn ask(&mut self, question: Question) -> Result<String> {
        let year =
            format!("FROM casement WHERE device = '{YEAR}' AND time >= {BEGIN_MS}ms AND time < {END_MS}ms");
        let query = match question {
            Question::Chart => {
                format!("SELECT min(co2), mean(co2), max(co2) {year} GROUP BY time(12h) fill(none)")
            }
            Question::P95 => format!("SELECT percentile(co2, 95) {year}"),
            Question::Above => format!("SELECT count(co2) {year} AND co2 > {BAD_PPM}"),
            Question::Latest => {
                "SELECT last(co2), last(tvoc), last(temperature), last(humidity) FROM casement GROUP BY device"
                    .to_owned()
            }
        };
        self.query(&query).await
    }

    fn read(&self, question: Question, text: &str) -> Result<Answer> {
        let series = series(text)?;
        let rows = || series.first().and_then(|one| one["values"].as_array()).context("no rows");
        let only = || rows()?[0][1].as_f64().context("no number");
        Ok(match question {
            Question::P95 => Answer::P95(only()?),
            Question::Above => Answer::Above(only()?),
            Question::Chart => {
                let row = |row: &Value| {
                    let (t_ms, min, mean, max): (i64, f64, f64, f64) = serde_json::from_value(row.clone())?;
                    Ok(Bucket { t_ms, min, mean, max })
                };
                Answer::Chart(rows()?.iter().map(row).collect::<Result<_>>()?)
            }
            Question::Latest => {
                let co2 = |one: &Value| one["values"][0][1].as_f64();
                let co2: Vec<f64> = series.iter().filter_map(co2).collect();
                Answer::Latest { devices: co2.len(), co2: co2.iter().sum() }
            }
        })
    }

    async fn count(&mut self, _data: &Data) -> Result<u64> {
        let series = series(&self.query("SELECT count(*) FROM casement").await?)?;
        let row = series.first().and_then(|one| one["values"][0].as_array()).context("no row")?;
        Ok(row.iter().skip(1).filter_map(Value::as_u64).sum())
    }

    async fn put(&mut self, numbers: Range<u64>) -> Vec<u64> {
        let number = numbers.start;
        let ns = (i128::from(END_MS) + i128::from(number) * 1_000) * 1_000_000;
        let line = format!("casement,device=writer co2={} {ns}\n", 400 + number % 1_000);
        let said = self.http.post("/write?db=air", line).await;
        said.map_or_else(|_| Vec::new(), |_| vec![number])
    }

    async fn kept(&mut self) -> Result<BTreeSet<u64>> {
        let series = series(&self.query("SELECT co2 FROM casement WHERE device = 'writer'").await?)?;
        let rows = series.first().and_then(|one| one["values"].as_array().cloned()).unwrap_or_default();
        let time = |row: &Value| row[0].as_i64();
        Ok(rows.iter().filter_map(time).map(|t_ms| ((t_ms - END_MS) / 1_000).cast_unsigned()).collect())
    }

    async fn restart(&mut self) -> Result<()> {
        let (folder, config) = (self.folder(), self.folder.path().join("influx.conf"));
        let text = format!(
            "reporting-disabled = true\nbind-address = \"{rpc}\"\n\
             [meta]\ndir = {meta:?}\n\
             [data]\ndir = {data:?}\nwal-dir = {wal:?}\nquery-log-enabled = false\n\
             cache-snapshot-write-cold-duration = \"2s\"\ncompact-full-write-cold-duration = \"4s\"\n\
             [monitor]\nstore-enabled = false\n\
             [http]\nbind-address = \"{http}\"\nlog-enabled = false\n\
             [logging]\nlevel = \"warn\"\n",
            rpc = self.ports[1].local(),
            http = self.ports[0].local(),
            meta = folder.join("meta"),
            data = folder.join("data"),
            wal = folder.join("wal"),
        );
        std::fs::write(&config, text)?;
        let arguments = ["-config".to_owned(), config.display().to_string()];
        let log = self.folder.path().join("log");
        let server = self.server.insert(Server::start(&self.program, &arguments, &log)?);
        let http = &mut self.http;
        within(PATIENCE, "InfluxDB", async || {
            ensure!(!server.has_ended()?, "it has ended: {}", std::fs::read_to_string(&log)?);
            Ok(http.get("/ping").await.ok())
        })
        .await?;
        Ok(())
    }
}
