//! `casement bench`: figures of this machine, through the gateway's own code.

use super::{Context, Done, Failure, Json, out, watched};
use crate::bench::generate::{self, VALUES_MIN};
use crate::bench::{self, BenchError, Part, Place, PlaceError, Progress, RealFile, Settings};
use crate::{clock, export};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Most values that are generated.
const POINTS_MAX: u64 = 100_000_000;

/// Values that make the whole run take about a minute on a small machine.
const POINTS: u64 = 3_000_000;

/// The version that is measured; a debug build is told apart, because its figures say little.
const VERSION: &str = if cfg!(debug_assertions) {
    concat!(env!("CARGO_PKG_VERSION"), " (debug build)")
} else {
    env!("CARGO_PKG_VERSION")
};

/// Exit code of a command that a signal ended (128 and the number of SIGINT).
const INTERRUPTED: u8 = 130;

#[derive(Args)]
pub(super) struct Bench {
    #[command(flatten)]
    json: Json,
    /// Print the generated readings as line protocol and measure nothing: to measure something else with them
    #[arg(long, conflicts_with_all = ["json", "seconds", "only", "dir", "real"])]
    data: bool,
    /// Values to generate for queries, size and memory, 10000 to 100000000
    #[arg(long, value_name = "N", default_value_t = POINTS, value_parser = clap::value_parser!(u64).range(VALUES_MIN..=POINTS_MAX))]
    points: u64,
    /// Seconds that each way of sending readings is measured for, 1 to 600
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Only this part; several with commas
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    only: Vec<Only>,
    /// Empty folder to measure in, so that its disk is the one measured [default: a new one for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// A file of readings whose size in the store is measured, too, as `casement import` reads it
    #[arg(long, value_name = "FILE")]
    real: Option<PathBuf>,
    /// For a foreign CSV in --real: its columns, for example "Date=time,CO2=co2"
    #[arg(long, requires = "real")]
    map: Option<String>,
    /// For a foreign CSV in --real: the time zone of times without an offset
    #[arg(long, value_name = "ZONE", requires = "real")]
    time_zone: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    /// Readings through queue and store, in this process
    Ingest,
    /// Readings over HTTPS, to a gateway of its own
    Https,
    /// Charts, lists and exports of generated data
    Queries,
    /// Bytes per value
    Size,
    /// Memory of a gateway over the generated data
    Memory,
}

impl From<Only> for Part {
    fn from(only: Only) -> Self {
        match only {
            Only::Ingest => Self::Ingest,
            Only::Https => Self::Https,
            Only::Queries => Self::Queries,
            Only::Size => Self::Size,
            Only::Memory => Self::Memory,
        }
    }
}

/// The configuration is not read: what is configured is not touched.
pub(super) async fn run(bench: Bench, _context: &Context) -> Done {
    if bench.data {
        return data(bench.points);
    }
    let settings = settings(&bench)?;
    let place = match &bench.dir {
        Some(dir) => Place::at(dir),
        None => Place::temporary(clock::now_ms()),
    };
    let place = place.map_err(|error| {
        let fix = match &error {
            PlaceError::NotEmpty(_) => "name an empty folder, or one that is not there yet",
            PlaceError::Unusable(..) => "name a folder that this user may write: --dir DIR",
        };
        Failure::usage(error, fix)
    })?;
    let bar = progress();
    let tell = |now: Progress| {
        bar.set_message(now.what);
        bar.set_length(now.of);
        bar.set_position(now.done);
    };
    let stopped =
        |error: std::io::Error| Failure::new(error, "the system does not let this process hear signals");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(stopped)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(stopped)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(stopped)?;
    let outcome = tokio::select! {
        measured = bench::run(&settings, &place, &tell) => measured.map_err(failure),
        _ = interrupt.recv() => Err(interrupted()),
        _ = terminate.recv() => Err(interrupted()),
        _ = hangup.recv() => Err(interrupted()),
    };
    bar.finish_and_clear();
    // Before anything is said: whoever reads the end finds the folder gone.
    drop(place);
    let report = outcome?;
    if !bench.json.json {
        return out(&report.text(VERSION));
    }
    let parts: Vec<&str> = settings.parts.iter().map(|part| name(*part)).collect();
    let asked = json!({ "points": settings.points, "seconds": bench.seconds, "parts": parts });
    let text = serde_json::to_string_pretty(&report.json(VERSION, asked))
        .map_err(|error| Failure::new(error, "report this"))?;
    out(&format!("{text}\n"))
}

fn data(points: u64) -> Done {
    let plan = generate::plan(points, generate::SEED).ok_or_else(|| failure(BenchError::TooFew))?;
    for step in plan.steps() {
        let mut text = String::new();
        for batch in &step {
            batch.readings.iter().for_each(|reading| export::line(&mut text, &batch.device, reading));
        }
        out(&text)?;
    }
    Ok(())
}

const fn name(part: Part) -> &'static str {
    match part {
        Part::Ingest => "ingest",
        Part::Https => "https",
        Part::Queries => "queries",
        Part::Size => "size",
        Part::Memory => "memory",
    }
}

fn settings(bench: &Bench) -> Result<Settings, Failure> {
    let parts = match bench.only.is_empty() {
        true => Part::ALL.into_iter().collect(),
        false => bench.only.iter().copied().map(Part::from).collect::<std::collections::BTreeSet<_>>(),
    };
    if let Some(file) = &bench.real {
        if !parts.contains(&Part::Size) {
            return Err(Failure::usage("--real is measured by the part size", "add it: --only size"));
        }
        std::fs::File::open(file).map_err(|error| {
            Failure::usage(
                format!("{} cannot be read: {error}", file.display()),
                "check the path and its permissions",
            )
        })?;
    }
    let real = bench.real.clone().map(|file| RealFile {
        file,
        map: bench.map.clone(),
        time_zone: bench.time_zone.clone(),
    });
    Ok(Settings { parts, points: bench.points, span: Duration::from_secs(bench.seconds), real })
}

fn interrupted() -> Failure {
    Failure {
        code: INTERRUPTED,
        ..Failure::new("interrupted", "what was written is removed; start it again")
    }
}

fn failure(error: BenchError) -> Failure {
    let fix = match &error {
        BenchError::NoRoom { .. } | BenchError::DiskFull => {
            "make room, name a folder on another disk (--dir), or measure less (--points, --seconds)"
        }
        BenchError::Child { .. } => "mend what it says, and try again",
        BenchError::Io { .. } => "may this user write the folder? Name another: --dir DIR",
        BenchError::Store(_)
        | BenchError::Intake(_)
        | BenchError::Answer(_)
        | BenchError::Tls(_)
        | BenchError::TooFew => "try again; report it when it stays",
    };
    Failure::new(format!("{:#}", anyhow::Error::new(error)), fix)
}

fn progress() -> ProgressBar {
    if !watched() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(1);
    if let Ok(style) = ProgressStyle::with_template("{elapsed:>4} {bar:24} {percent:>3} % {msg}") {
        bar.set_style(style);
    }
    bar
}
