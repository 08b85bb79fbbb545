//! The readings that every store is given, and what is true of them: read from the file itself, with nobody's code but this.

use anyhow::{Context, Result, ensure};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// When the generated year ends and begins, in milliseconds since 1970: 2026-01-01 and 2025-01-01, UTC.
pub(crate) const END_MS: i64 = 1_767_225_600_000;
pub(crate) const BEGIN_MS: i64 = END_MS - 365 * 86_400_000;

/// The device that was there for all of it.
pub(crate) const YEAR: &str = "bench-year";

pub(crate) const METRICS: [&str; 4] = ["co2", "tvoc", "temperature", "humidity"];

/// Length of a bucket of the chart: what Casement draws a year in when it is asked for at most 1,000 points.
pub(crate) const STEP_MS: i64 = 12 * 3_600_000;

/// Above this many ppm the air is bad.
pub(crate) const BAD_PPM: f64 = 1_000.0;

/// One bucket of a chart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) t_ms: i64,
    pub(crate) min: f64,
    pub(crate) mean: f64,
    pub(crate) max: f64,
}

/// What every store should answer.
#[derive(Debug)]
pub(crate) struct Truth {
    /// Values in the file.
    pub(crate) values: u64,
    /// Values of CO2 of the year.
    pub(crate) year: u64,
    pub(crate) chart: Vec<Bucket>,
    pub(crate) p95: f64,
    pub(crate) above: u64,
    pub(crate) devices: usize,
    /// The newest CO2 of all devices, together.
    pub(crate) latest_co2: f64,
    /// When the device that is silent for longest was heard last.
    pub(crate) silent_since_ms: i64,
}

/// The generated readings in a folder of their own.
#[derive(Debug)]
pub(crate) struct Data {
    folder: tempfile::TempDir,
    pub(crate) truth: Truth,
}

impl Data {
    /// Lets the gateway's own generator write them.
    pub(crate) fn generate(casement: &Path, points: u64) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("casement-stores-").tempdir()?;
        let lines = File::create(folder.path().join("readings.lp"))?;
        let made = Command::new(casement)
            .args(["bench", "--data", "--points", &points.to_string()])
            .stdin(Stdio::null())
            .stdout(lines)
            .status()?;
        ensure!(made.success(), "casement bench --data: {made}");
        let truth = read(folder.path())?;
        Ok(Self { folder, truth })
    }

    /// As InfluxDB line protocol, four values a line.
    pub(crate) fn lines(&self) -> PathBuf {
        self.folder.path().join("readings.lp")
    }

    /// The same as CSV: number of the device, milliseconds, four values.
    pub(crate) fn rows(&self) -> PathBuf {
        self.folder.path().join("readings.csv")
    }

    /// Numbers and names of the devices as CSV.
    pub(crate) fn devices(&self) -> PathBuf {
        self.folder.path().join("devices.csv")
    }

    /// The names of the devices.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let text = std::fs::read_to_string(self.devices())?;
        Ok(text.lines().filter_map(|line| Some(line.split_once(',')?.1.to_owned())).collect())
    }
}

/// Reads the lines, writes them as CSV, and works out the answers.
fn read(folder: &Path) -> Result<Truth> {
    let mut rows = BufWriter::new(File::create(folder.join("readings.csv"))?);
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut names = Vec::new();
    let mut latest: Vec<(i64, f64)> = Vec::new();
    let mut readings = 0;
    // CO2 of the year, in whole ppm.
    let mut spread: Vec<u64> = Vec::new();
    let mut buckets: Vec<(Bucket, u64)> = Vec::new();
    for line in BufReader::new(File::open(folder.join("readings.lp"))?).lines() {
        let line = line?;
        let (head, fields, time) = parts(&line).with_context(|| format!("not a reading: {line:?}"))?;
        let t_ms = time.parse::<i64>()? / 1_000_000;
        let device = head.strip_prefix("casement,device=").context("no device")?;
        let number = match numbers.get(device) {
            Some(number) => *number,
            None => {
                numbers.insert(device.to_owned(), names.len());
                names.push(device.to_owned());
                latest.push((i64::MIN, 0.0));
                names.len() - 1
            }
        };
        write!(rows, "{number},{t_ms}")?;
        let mut co2 = None;
        for (field, metric) in fields.split(',').zip(METRICS) {
            let value = field.strip_prefix(metric).and_then(|rest| rest.strip_prefix('='));
            let value = value.with_context(|| format!("no {metric} in {line:?}"))?;
            write!(rows, ",{value}")?;
            if metric == "co2" {
                co2 = Some(value.parse::<f64>()?);
            }
        }
        writeln!(rows)?;
        ensure!(fields.split(',').count() == METRICS.len(), "not four values: {line:?}");
        readings += 1;
        let co2 = co2.context("no co2")?;
        if t_ms > latest[number].0 {
            latest[number] = (t_ms, co2);
        }
        if device == YEAR {
            ensure!((BEGIN_MS..END_MS).contains(&t_ms) && co2.fract() == 0.0, "{line:?}");
            let ppm = co2 as usize;
            if spread.len() <= ppm {
                spread.resize(ppm + 1, 0);
            }
            spread[ppm] += 1;
            let start = t_ms - t_ms.rem_euclid(STEP_MS);
            if buckets.last().is_none_or(|(bucket, _)| bucket.t_ms != start) {
                buckets.push((Bucket { t_ms: start, min: co2, mean: 0.0, max: co2 }, 0));
            }
            if let Some((bucket, count)) = buckets.last_mut() {
                (bucket.min, bucket.max) = (bucket.min.min(co2), bucket.max.max(co2));
                // A sum until the end.
                bucket.mean += co2;
                *count += 1;
            }
        }
    }
    rows.flush()?;
    let devices: Vec<String> = names.iter().enumerate().map(|(n, name)| format!("{n},{name}\n")).collect();
    std::fs::write(folder.join("devices.csv"), devices.concat())?;
    ensure!(numbers.get(YEAR) == Some(&0), "the year comes first");
    let year: u64 = spread.iter().sum();
    // Nearest rank.
    let rank = (year as f64 * 0.95).ceil() as u64;
    let mut seen = 0;
    let p95 = spread.iter().position(|count| {
        seen += count;
        seen >= rank
    });
    Ok(Truth {
        values: readings * METRICS.len() as u64,
        year,
        chart: buckets
            .into_iter()
            .map(|(bucket, count)| Bucket { mean: bucket.mean / count as f64, ..bucket })
            .collect(),
        p95: p95.context("no values")? as f64,
        above: spread.iter().skip(BAD_PPM as usize + 1).sum(),
        devices: names.len(),
        latest_co2: latest.iter().map(|(_, co2)| co2).sum(),
        silent_since_ms: latest.iter().map(|(t_ms, _)| *t_ms).min().context("no devices")?,
    })
}

fn parts(line: &str) -> Option<(&str, &str, &str)> {
    let (head, rest) = line.split_once(' ')?;
    let (fields, time) = rest.split_once(' ')?;
    Some((head, fields, time))
}
