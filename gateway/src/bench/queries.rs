//! Generated data: how fast it goes in, how much room it takes, how fast questions are answered, and what a gateway over it
//! needs.

use super::generate::{self, END_MS, Plan, YEAR_MS};
use super::report::Report;
use super::server::Home;
use super::{BenchError, Progress, RealFile, Tell, host, https, memory_of, statistics};
use crate::clock;
use crate::export::{RowWriter, Shape};
use crate::reading::{ExportFilter, NewBatch};
use crate::store::Store;
use crate::telemetry::series::{Data as Drawn, Window};
use crate::telemetry::time::DAY_MS;
use casement_proto::{DeviceId, Quantity};
use jiff::tz::TimeZone;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

/// Runs of each question after the first.
const RUNS: usize = 20;

/// Fewer runs are made when they take longer than this together, but [`RUNS_MIN`] in any case.
const RUNS_TIME: Duration = Duration::from_secs(6);
const RUNS_MIN: usize = 5;

/// Rows of an export read at once, as `casement export` does.
const PAGE: u32 = 4_000;

/// Points on a chart.
const CHART_POINTS: u32 = 1_000;

/// More points than a day has.
const RAW_POINTS: u32 = 10_000;

/// Days in the month that is exported.
const MONTH_DAYS: i64 = 30;

/// Rounds of reading from the gateway whose memory is measured.
const PAGE_VIEWS: u64 = 20;

/// The generated data, on disk.
pub(super) struct Data {
    home: Home,
    plan: Plan,
    values: u64,
}

impl Data {
    /// Generates it and brings it into a store through the store's port.
    pub(super) async fn generate(
        report: &mut Report,
        folder: &Path,
        points: u64,
        tell: Tell<'_>,
    ) -> Result<Self, BenchError> {
        let plan = generate::plan(points, generate::SEED).ok_or(BenchError::TooFew)?;
        let home = Home::make(folder.join("generated"))?;
        let store = home.store().await?;
        let mut load = Load { store: &*store, values: 0, of: points, tell, took: Duration::ZERO };
        for step in plan.steps() {
            load.append(step).await?;
        }
        let (values, took_s) = (load.values, load.took.as_secs_f64());
        let begun = clock::steady();
        store.compact().await?;
        let compacted_s = begun.elapsed().as_secs_f64();
        // The last one to close a store writes its log back into it.
        store.close().await;
        report.add("load.values", "generated values stored", values as f64, "values");
        report.add(
            "load.values_per_s",
            "  values stored, in steps of 5,000 readings",
            values as f64 / took_s,
            "1/s",
        );
        report.add(
            "load.compact_s",
            "  and the last of them brought into their final form",
            compacted_s,
            "s",
        );
        Ok(Self { home, plan, values })
    }

    /// Bytes of the store after a checkpoint.
    pub(super) fn size(&self, report: &mut Report) -> Result<(), BenchError> {
        size(report, "generated", "generated data", &self.home, self.values)
    }

    /// Asks the store. The first run of each question comes after this system's page cache was dropped; what lies below a
    /// virtual disk may still hold everything, and it is one run only.
    pub(super) async fn ask(&self, report: &mut Report, tell: Tell<'_>) -> Result<(), BenchError> {
        let co2 = Quantity::parse("co2").ok_or(BenchError::TooFew)?;
        let (day, year) = (self.plan.day.device, self.plan.year.device);
        let window = |days: i64, max_points| Window {
            from_ms: END_MS - days * DAY_MS,
            to_ms: END_MS,
            max_points,
            now_ms: END_MS,
        };
        let questions = [
            Question {
                name: "day",
                what: "24 h of one series, raw",
                unit: "points",
                counted: "  points in it",
                ask: Ask::Series(day, co2, window(1, RAW_POINTS)),
            },
            Question {
                name: "year",
                what: "a year of one series in 1,000 buckets",
                unit: "points",
                counted: "  readings behind it",
                ask: Ask::Series(year, co2, window(YEAR_MS / DAY_MS, CHART_POINTS)),
            },
            Question {
                name: "p95",
                what: "exact p95 and time above 1,000 ppm of a year",
                unit: "points",
                counted: "  readings behind it",
                ask: Ask::Spread(year, co2),
            },
            Question {
                name: "latest",
                what: "latest of all devices",
                unit: "devices",
                counted: "  devices",
                ask: Ask::Latest,
            },
            Question {
                name: "export",
                what: "a month of one device as CSV",
                unit: "rows",
                counted: "  rows in it",
                ask: Ask::Export(ExportFilter {
                    device: Some(year),
                    from_ms: Some(END_MS - MONTH_DAYS * DAY_MS),
                    to_ms: Some(END_MS),
                    metric: None,
                }),
            },
        ];
        for question in &questions {
            self.one(report, question, tell).await?;
        }
        Ok(())
    }

    async fn one(&self, report: &mut Report, question: &Question, tell: Tell<'_>) -> Result<(), BenchError> {
        let of = RUNS as u64 + 1;
        tell(Progress { what: question.what, done: 0, of });
        host::forget(&self.home.data()).map_err(BenchError::io("the store's files cannot be read"))?;
        let store = self.home.store().await?;
        let begun = clock::steady();
        let answered = question.ask.ask(&*store).await?;
        let cold_ms = begun.elapsed().as_secs_f64() * 1_000.0;
        let (mut runs_ms, begun) = (Vec::new(), clock::steady());
        for run in 0..RUNS {
            if run >= RUNS_MIN && begun.elapsed() > RUNS_TIME {
                break;
            }
            tell(Progress { what: question.what, done: run as u64 + 1, of });
            let one = clock::steady();
            question.ask.ask(&*store).await?;
            runs_ms.push(one.elapsed().as_secs_f64() * 1_000.0);
        }
        store.close().await;
        let p50_ms = statistics::median(&runs_ms);
        let name = |figure: &str| format!("query.{}.{figure}", question.name);
        report.add(name("p50_ms"), format!("{}, p50 of {}", question.what, runs_ms.len()), p50_ms, "ms");
        report.add(name("cold_ms"), "  first run, page cache dropped", cold_ms, "ms");
        report.add(name(question.unit), question.counted, answered as f64, question.unit);
        if let Ask::Export(_) = question.ask {
            report.add(name("rows_per_s"), "  rows", answered as f64 / p50_ms * 1_000.0, "1/s");
        }
        Ok(())
    }

    /// Runs a gateway over the data and reads from it, for its memory.
    pub(super) async fn serve(&self, report: &mut Report, tell: Tell<'_>) -> Result<(), BenchError> {
        const WHAT: &str = "a gateway over the generated data";
        tell(Progress { what: WHAT, done: 0, of: PAGE_VIEWS });
        let store = self.home.store().await?;
        let token = Home::reader(&*store).await?;
        store.close().await;
        let gateway = self.home.serve().await?;
        memory_of(report, gateway.pid(), "gateway_data", "memory of a gateway over the generated data")?;
        let chart = |device: &DeviceId, days: i64| {
            format!(
                "/api/v1/readings?device={device}&metric=co2&from={}&to={END_MS}&max_points={CHART_POINTS}",
                END_MS - days * DAY_MS
            )
        };
        let (day, year) = (chart(&self.plan.day.device, 1), chart(&self.plan.year.device, 365));
        for view in 0..PAGE_VIEWS {
            tell(Progress { what: WHAT, done: view, of: PAGE_VIEWS });
            https::get(&gateway, "/api/v1/devices", token.reveal()).await?;
            https::get(&gateway, &day, token.reveal()).await?;
            // A chart of a year is rare, and may be slow.
            if view % 5 == 0 {
                https::get(&gateway, &year, token.reveal()).await?;
            }
        }
        memory_of(report, gateway.pid(), "gateway_read", "memory of it after lists and charts")
    }

    pub(super) fn end(self) -> Result<(), BenchError> {
        self.home.remove()
    }
}

/// What it takes to bring data in.
struct Load<'a> {
    store: &'a dyn Store,
    values: u64,
    of: u64,
    tell: Tell<'a>,
    /// Time in the store; making readings is not measured.
    took: Duration,
}

impl Load<'_> {
    async fn append(&mut self, batches: Vec<NewBatch>) -> Result<(), BenchError> {
        let begun = clock::steady();
        let appended = self.store.append(&batches).await?;
        self.took += begun.elapsed();
        let stored = appended.iter().flat_map(|appended| &appended.stored);
        self.values += stored.map(|reading| reading.values.len() as u64).sum::<u64>();
        (self.tell)(Progress { what: "generating data", done: self.values, of: self.of });
        Ok(())
    }
}

struct Question {
    /// In names of figures.
    name: &'static str,
    what: &'static str,
    /// What the answer is counted in, and how that is told.
    unit: &'static str,
    counted: &'static str,
    ask: Ask,
}

enum Ask {
    Series(DeviceId, Quantity, Window),
    Spread(DeviceId, Quantity),
    Latest,
    Export(ExportFilter),
}

impl Ask {
    /// Asks, and gives how many points, devices or rows the answer is made from.
    async fn ask(&self, store: &dyn Store) -> Result<u64, BenchError> {
        match self {
            Self::Series(device, quantity, window) => {
                Ok(match store.series(device, quantity, *window).await?.data {
                    Drawn::Raw(points) => points.len() as u64,
                    Drawn::Buckets { buckets, .. } => {
                        buckets.iter().map(|bucket| bucket.count.unsigned_abs()).sum()
                    }
                })
            }
            Self::Spread(device, quantity) => {
                let year =
                    store.distribution(device, quantity, END_MS - YEAR_MS, END_MS, Some(1_000.0)).await?;
                debug_assert!(year.percentiles(&[95.0]).len() == 1);
                Ok(year.count())
            }
            Self::Latest => Ok(store.latest().await?.len() as u64),
            Self::Export(filter) => {
                let writer = RowWriter::new(Shape::Csv, TimeZone::UTC, store.devices().await?);
                let (mut rows_written, mut bytes, mut cursor) = (0, writer.head().len(), None);
                loop {
                    let (rows, next) = store.export(filter, cursor, PAGE).await?;
                    rows_written += rows.len() as u64;
                    bytes += writer.page(&rows).len();
                    match next {
                        Some(_) => cursor = next,
                        None => break,
                    }
                }
                // Every row has at least its separators.
                debug_assert!(bytes as u64 >= rows_written * 8);
                Ok(rows_written)
            }
        }
    }
}

/// Brings a file in as `casement import` does, in a process of its own, and looks how much room it takes.
pub(super) async fn real(
    report: &mut Report,
    folder: &Path,
    real: &RealFile,
    tell: Tell<'_>,
) -> Result<(), BenchError> {
    let home = Home::make(folder.join("real"))?;
    let file = std::path::absolute(&real.file).map_err(BenchError::io("the file cannot be found"))?;
    let no_text =
        || BenchError::Io { what: "the file's path is not text", source: ErrorKind::InvalidInput.into() };
    let file = file.to_str().ok_or_else(no_text)?;
    let mut arguments = vec!["import", file];
    if let Some(map) = &real.map {
        arguments.extend(["--device", "real", "--map", map]);
    }
    if let Some(zone) = &real.time_zone {
        arguments.extend(["--time-zone", zone]);
    }
    home.run(&arguments, || tell(Progress { what: "importing the file", done: 0, of: 1 })).await?;
    let bytes = host::size(&home.data()).map_err(BenchError::io("the store's files cannot be read"))?;
    let store = home.store().await?;
    let values = store.count(&ExportFilter::default()).await?;
    store.close().await;
    sized(report, "real", "the file", bytes, values);
    home.remove()
}

fn size(report: &mut Report, name: &str, what: &str, home: &Home, values: u64) -> Result<(), BenchError> {
    let bytes = host::size(&home.data()).map_err(BenchError::io("the store's files cannot be read"))?;
    sized(report, name, what, bytes, values);
    Ok(())
}

fn sized(report: &mut Report, name: &str, what: &str, bytes: u64, values: u64) {
    let (bytes, values) = (bytes as f64, values as f64);
    report.add(
        format!("size.{name}.bytes_per_value"),
        format!("size of the whole store, {what}"),
        bytes / values.max(1.0),
        "B/value",
    );
    report.add(format!("size.{name}.mb"), "  all its files", bytes / 1e6, "MB");
    report.add(format!("size.{name}.values"), "  values", values, "values");
}
