//! What a store must be able to do to be measured, and how it is measured.

use crate::data::{Bucket, Data};
use crate::process::{self, Watch};
use anyhow::{Context, Result};
use harness::wait::{Dice, Stopwatch};
use harness::within;
use serde::Serialize;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

/// Runs of each question after the first, and how long they may take together; [`RUNS_MIN`] in any case.
const RUNS: usize = 15;
const RUNS_TIME: Duration = Duration::from_secs(6);
const RUNS_MIN: usize = 3;

/// How long readings are written until everything is killed, in milliseconds.
const KILL_MS: (u64, u64) = (200, 600);

/// The first of so many rounds takes this long: some keep what is new in memory for seconds.
const LONG_EVERY: u64 = 5;
const LONG_MS: (u64, u64) = (15_000, 20_000);

/// What every store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Least, mean and greatest CO2 of each 12 hours of the year.
    Chart,
    /// The exact 95th percentile of CO2 over the year.
    P95,
    /// How many values of CO2 of the year lie above 1,000 ppm.
    Above,
    /// The newest reading of every device.
    Latest,
}

impl Question {
    pub(crate) const ALL: [Self; 4] = [Self::Chart, Self::P95, Self::Above, Self::Latest];
}

/// What it says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Chart(Vec<Bucket>),
    P95(f64),
    Above(f64),
    Latest {
        devices: usize,
        /// CO2 of all of them together.
        co2: f64,
    },
}

/// A store that can be measured. It begins empty and running.
#[allow(async_fn_in_trait, reason = "nobody outside this program uses it")]
pub(crate) trait Store {
    /// Name and version.
    async fn version(&mut self) -> Result<String>;
    /// Brings in the whole file, so that a question would find all of it. `again`: it is there already.
    async fn load(&mut self, data: &Data, again: bool) -> Result<()>;
    /// Makes it as small as it gets without being asked for more than its manual says, ends it cleanly and starts it again.
    async fn settle(&mut self) -> Result<()>;
    /// Everything that it keeps.
    fn folder(&self) -> PathBuf;
    /// Bytes of values, times and what finds them alone, where that can be told.
    async fn payload(&mut self) -> Result<Option<u64>>;
    /// Asks, and gives the whole answer as it comes.
    async fn ask(&mut self, question: Question) -> Result<String>;
    /// Reads such an answer.
    fn read(&self, question: Question, text: &str) -> Result<Answer>;
    /// How many values there are.
    async fn count(&mut self, data: &Data) -> Result<u64>;
    /// The same, where a switch makes it forget what was sent twice; and which switch. It stays on.
    async fn count_once(&mut self, _data: &Data) -> Result<Option<(u64, &'static str)>> {
        Ok(None)
    }
    /// Readings that are written at the same time while it waits for its end.
    const TOGETHER: u64 = 1;
    /// Stores these readings of one more device, and gives those of which the store has said that they are stored: none when
    /// it has ended.
    async fn put(&mut self, numbers: Range<u64>) -> Vec<u64>;
    /// Which of them are there.
    async fn kept(&mut self) -> Result<BTreeSet<u64>>;
    /// Starts it again after its processes were killed.
    async fn restart(&mut self) -> Result<()>;
}

/// What was measured. Memory in MB (10⁶ bytes).
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures {
    pub(crate) version: String,
    pub(crate) load_s: f64,
    pub(crate) load_cpu_s: f64,
    pub(crate) load_peak_pss_mb: f64,
    pub(crate) load_peak_rss_mb: f64,
    pub(crate) settle_s: f64,
    pub(crate) bytes_per_value: f64,
    pub(crate) payload_bytes_per_value: Option<f64>,
    pub(crate) start_pss_mb: f64,
    pub(crate) asked_peak_pss_mb: f64,
    pub(crate) chart_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) above_ms: f64,
    pub(crate) latest_ms: f64,
    /// The first of each question after the start, in the same order.
    pub(crate) first_ms: [f64; 4],
    pub(crate) values: u64,
    pub(crate) again_s: f64,
    pub(crate) values_again: u64,
    pub(crate) values_once: Option<(u64, &'static str)>,
    pub(crate) kill_rounds: u64,
    pub(crate) acknowledged: u64,
    pub(crate) lost: u64,
    /// Most time that was lost at once, in seconds.
    pub(crate) lost_s: f64,
    /// Where its answers are not those that the file has; empty when all agree.
    pub(crate) differs: Vec<String>,
    pub(crate) load_average: f64,
}

/// Measures one store with the data, and another one, empty at first, by killing it.
pub(crate) async fn measure<S: Store>(
    make: impl AsyncFn() -> Result<S>,
    data: &Data,
    rounds: u64,
) -> Result<Figures> {
    let mut figures = Figures { load_average: process::load_average(), ..Figures::default() };
    with_data(&mut make().await?, data, &mut figures).await?;
    gone().await?;
    survives(&mut make().await?, rounds, &mut figures).await?;
    gone().await?;
    Ok(figures)
}

async fn gone() -> Result<()> {
    within(Duration::from_secs(60), "the end of a store", async || Ok(process::is_over().then_some(()))).await
}

async fn with_data<S: Store>(store: &mut S, data: &Data, figures: &mut Figures) -> Result<()> {
    let truth = &data.truth;
    figures.version = store.version().await.context("version")?;
    let (watch, clock) = (Watch::begin(), Stopwatch::start());
    store.load(data, false).await.context("load")?;
    figures.load_s = clock.elapsed().as_secs_f64();
    let used = watch.end()?;
    (figures.load_cpu_s, figures.load_peak_pss_mb, figures.load_peak_rss_mb) =
        (used.cpu_s, used.pss_mb, used.rss_mb);
    let clock = Stopwatch::start();
    store.settle().await.context("settle")?;
    figures.settle_s = clock.elapsed().as_secs_f64();
    let values = truth.values as f64;
    figures.bytes_per_value = process::bytes(&store.folder())? as f64 / values;
    figures.payload_bytes_per_value =
        store.payload().await.context("payload")?.map(|bytes| bytes as f64 / values);
    figures.start_pss_mb = process::memory().pss_mb;
    let watch = Watch::begin();
    for (n, question) in Question::ALL.into_iter().enumerate() {
        let (first, usual) = timed(store, question, data, &mut figures.differs).await?;
        figures.first_ms[n] = first;
        *match question {
            Question::Chart => &mut figures.chart_ms,
            Question::P95 => &mut figures.p95_ms,
            Question::Above => &mut figures.above_ms,
            Question::Latest => &mut figures.latest_ms,
        } = usual;
    }
    figures.asked_peak_pss_mb = watch.end()?.pss_mb;
    figures.values = store.count(data).await.context("count")?;
    if figures.values != truth.values {
        figures.differs.push(format!("{} values instead of {}", figures.values, truth.values));
    }
    let clock = Stopwatch::start();
    store.load(data, true).await.context("the same again")?;
    figures.again_s = clock.elapsed().as_secs_f64();
    figures.values_again = store.count(data).await.context("count of the same again")?;
    figures.values_once = store.count_once(data).await.context("count once")?;
    Ok(())
}

/// The first time and the median of the others, in milliseconds. What comes after the answer is not measured.
async fn timed<S: Store>(
    store: &mut S,
    question: Question,
    data: &Data,
    differs: &mut Vec<String>,
) -> Result<(f64, f64)> {
    let mut all = Vec::new();
    let whole = Stopwatch::start();
    for run in 0..=RUNS {
        if run > RUNS_MIN && whole.elapsed() > RUNS_TIME {
            break;
        }
        let clock = Stopwatch::start();
        let text = store.ask(question).await.with_context(|| format!("{question:?}"))?;
        all.push(clock.ms());
        if run == 0 {
            let answer = store.read(question, &text).with_context(|| format!("{question:?}: {text:.300}"))?;
            differs.extend(difference(&answer, data));
        }
    }
    let first = all.remove(0);
    all.sort_by(f64::total_cmp);
    Ok((first, all[all.len() / 2]))
}

/// Where an answer is not what the file says.
fn difference(answer: &Answer, data: &Data) -> Option<String> {
    let truth = &data.truth;
    let number = |what: &str, found: f64, expected: f64| {
        (found != expected).then(|| format!("{what}: {found} instead of {expected}"))
    };
    match answer {
        Answer::Chart(found) if found.len() != truth.chart.len() => {
            Some(format!("{} buckets instead of {}", found.len(), truth.chart.len()))
        }
        Answer::Chart(found) => {
            let same = |(a, b): &(&Bucket, &Bucket)| {
                (a.t_ms, a.min, a.max) == (b.t_ms, b.min, b.max)
                    && (a.mean - b.mean).abs() < 1e-6 * b.mean.abs()
            };
            let (found, expected) = found.iter().zip(&truth.chart).find(|pair| !same(pair))?;
            Some(format!("bucket {found:?} instead of {expected:?}"))
        }
        Answer::P95(found) => number("p95", *found, truth.p95),
        Answer::Above(found) => number("values above 1,000 ppm", *found, truth.above as f64),
        Answer::Latest { devices, co2 } => {
            let same = *devices == truth.devices && (co2 - truth.latest_co2).abs() < 1e-3;
            (!same).then(|| {
                format!("latest: {devices} devices, {co2} instead of {}, {}", truth.devices, truth.latest_co2)
            })
        }
    }
}

/// Writes readings one after the other until everything is killed at some moment, and looks what is there afterwards.
async fn survives<S: Store>(store: &mut S, rounds: u64, figures: &mut Figures) -> Result<()> {
    let mut dice = Dice::new(20_261_122);
    let mut number = 0;
    for round in 0..rounds {
        let (low, high) = if round % LONG_EVERY == 0 { LONG_MS } else { KILL_MS };
        let until = Duration::from_millis(dice.range(low, high));
        let mut acknowledged: Vec<(u64, Duration)> = Vec::new();
        let clock = Stopwatch::start();
        // The moment must not depend on what the writer does just then.
        let killer = std::thread::spawn(move || {
            std::thread::sleep(until);
            process::kill();
            clock.elapsed()
        });
        loop {
            let stored = store.put(number..number + S::TOGETHER).await;
            // Whether the others are there nobody was told.
            number += S::TOGETHER;
            if stored.is_empty() {
                break;
            }
            acknowledged.extend(stored.into_iter().map(|number| (number, clock.elapsed())));
        }
        let killed = killer.join().map_err(|_| anyhow::anyhow!("the killer has panicked"))?;
        gone().await?;
        store.restart().await.context("restart")?;
        let kept = store.kept().await.context("kept")?;
        let lost: Vec<_> = acknowledged.iter().filter(|(number, _)| !kept.contains(number)).collect();
        figures.kill_rounds += 1;
        figures.acknowledged += acknowledged.len() as u64;
        figures.lost += lost.len() as u64;
        if let Some((_, at)) = lost.first() {
            figures.lost_s = figures.lost_s.max(killed.saturating_sub(*at).as_secs_f64());
        }
    }
    anyhow::ensure!(rounds == 0 || figures.acknowledged > 0, "nothing was acknowledged");
    Ok(())
}
