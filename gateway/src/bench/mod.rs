//! Figures of this machine, measured through the gateway's own code: `casement bench`.
//!
//! | file | holds |
//! |---|---|
//! | `generate` | readings to measure with, the same for the same seed; pure |
//! | `statistics` | percentiles, and how a rate changes; pure |
//! | `report` | figures as a table and as JSON; pure |
//! | `host` | the machine, its memory, its disk |
//! | `place` | the folder that is measured in, and its end |
//! | `ingest` | readings through the real intake and store |
//! | `server` | a real gateway as a child |
//! | `https` | readings over the wire |
//! | `queries` | generated data, its size, questions to it |
//!
//! Everything lies in one folder that is removed afterwards. No configuration is read.

pub mod generate;
mod host;
mod https;
mod ingest;
mod place;
mod queries;
pub mod report;
mod server;
pub mod statistics;

pub use place::{Place, PlaceError};

use crate::intake::IntakeError;
use crate::store::StoreError;
use report::Report;
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Part of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Readings through intake and store, in this process.
    Ingest,
    /// Readings over HTTPS.
    Https,
    /// Questions to generated data.
    Queries,
    /// Bytes per value of generated data, and of a file.
    Size,
    /// Memory of a gateway over the generated data.
    Memory,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 5] = [Self::Ingest, Self::Https, Self::Queries, Self::Size, Self::Memory];
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which parts.
    pub parts: BTreeSet<Part>,
    /// Values to generate.
    pub points: u64,
    /// How long each way of ingest is measured.
    pub span: Duration,
    /// A file whose size in the store is measured, too.
    pub real: Option<RealFile>,
}

/// A file of readings, as `casement import` takes it.
#[derive(Clone, Debug)]
pub struct RealFile {
    /// The file.
    pub file: PathBuf,
    /// Its columns.
    pub map: Option<String>,
    /// The time zone of its times.
    pub time_zone: Option<String>,
}

/// How far the run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is being done.
    pub what: &'static str,
    /// How much of it is done.
    pub done: u64,
    /// Of how much.
    pub of: u64,
}

/// Who hears how far the run is.
pub type Tell<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// Why it could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The run would not fit.
    #[error("there is too little room: {need_mb} MB are needed and {free_mb} MB are free")]
    NoRoom {
        /// What may be needed, in MB.
        need_mb: u64,
        /// What is free, in MB.
        free_mb: u64,
    },
    /// The disk became full all the same.
    #[error("the disk became full")]
    DiskFull,
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] StoreError),
    /// The intake refused what it should take.
    #[error("the intake failed")]
    Intake(#[source] IntakeError),
    /// A child process did not do what it should; the end of what it said.
    #[error("{what}\n{said}")]
    Child {
        /// What went wrong.
        what: &'static str,
        /// The end of its log.
        said: String,
    },
    /// The gateway answered otherwise than with 200.
    #[error("the gateway answered {0:?}")]
    Answer(String),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// Data could not be generated.
    #[error("there are too few values to generate")]
    TooFew,
    /// Files or sockets failed.
    #[error("{what}")]
    Io {
        /// Doing what.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl BenchError {
    fn io(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Io { what, source },
        }
    }
}

impl From<StoreError> for BenchError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::DiskFull(_) => Self::DiskFull,
            error => Self::Store(error),
        }
    }
}

impl From<IntakeError> for BenchError {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::DiskFull => Self::DiskFull,
            error => Self::Intake(error),
        }
    }
}

/// Bytes that a generated value may take, whatever the layout, with its log.
const BYTES_PER_VALUE: u64 = 80;

/// Bytes that a second of ingest may write.
const BYTES_PER_SECOND: u64 = 40_000_000;

/// Bytes that are needed for everything else.
const BYTES_BESIDE: u64 = 200_000_000;

impl Settings {
    /// Room that the run may need, in bytes. Parts follow each other, and each takes away what it wrote.
    pub fn bytes(&self) -> u64 {
        let runs = |parts: &[Part]| parts.iter().any(|part| self.parts.contains(part));
        let ingest =
            if runs(&[Part::Ingest, Part::Https]) { self.span.as_secs() * BYTES_PER_SECOND } else { 0 };
        let data =
            if runs(&[Part::Queries, Part::Size, Part::Memory]) { self.points * BYTES_PER_VALUE } else { 0 };
        BYTES_BESIDE + ingest.max(data)
    }
}

/// Measures.
///
/// # Errors
/// [`BenchError`]; figures that were measured before are lost.
pub async fn run(settings: &Settings, place: &Place, tell: Tell<'_>) -> Result<Report, BenchError> {
    let folder = place.path();
    let machine = host::machine(folder).map_err(BenchError::io("the machine does not tell about itself"))?;
    let (need, free) = (settings.bytes(), machine.free_bytes);
    if need > free {
        return Err(BenchError::NoRoom { need_mb: need / 1_000_000, free_mb: free / 1_000_000 });
    }
    let mut report = Report { machine, figures: Vec::new() };
    let has = |part| settings.parts.contains(&part);
    tell(Progress { what: "the disk", done: 0, of: 1 });
    let fsync = host::fsync(folder).map_err(BenchError::io("the disk cannot be written"))?;
    report.add("disk.fsync_4k.p50_ms", "4 KiB made durable (fdatasync), p50", fsync.percentile_ms(0.5), "ms");
    report.add("disk.fsync_4k.p99_ms", "  p99", fsync.percentile_ms(0.99), "ms");
    memory_here(&mut report, "start", "at the start")?;
    // First: a map that does not fit is told at once.
    if let Some(real) = settings.real.as_ref().filter(|_| has(Part::Size)) {
        queries::real(&mut report, folder, real, tell).await?;
    }
    if has(Part::Ingest) {
        ingest::measure(&mut report, folder, settings.span, tell).await?;
        memory_here(&mut report, "ingest", "after ingest")?;
    }
    if has(Part::Https) {
        https::measure(&mut report, folder, settings.span, tell).await?;
        memory_here(&mut report, "https", "after HTTPS")?;
    }
    if has(Part::Queries) || has(Part::Size) || has(Part::Memory) {
        let data = queries::Data::generate(&mut report, folder, settings.points, tell).await?;
        if has(Part::Size) {
            data.size(&mut report)?;
        }
        if has(Part::Queries) {
            data.ask(&mut report, tell).await?;
            memory_here(&mut report, "queries", "after queries")?;
        }
        if has(Part::Memory) {
            data.serve(&mut report, tell).await?;
        }
        data.end()?;
    }
    Ok(report)
}

/// Memory of this process, which holds everything that a gateway does when it measures ingest and queries.
fn memory_here(report: &mut Report, name: &str, when: &str) -> Result<(), BenchError> {
    memory_of(report, std::process::id(), name, &format!("memory of this process {when}"))
}

/// Memory of a process. A gateway that runs as a child shares the program's code with this process: its PSS is some MB less
/// than that of one that runs alone, and its RSS some more.
fn memory_of(report: &mut Report, pid: u32, name: &str, what: &str) -> Result<(), BenchError> {
    let memory = host::memory(pid).map_err(BenchError::io("memory cannot be read"))?;
    report.add(format!("memory.{name}.pss_mb"), format!("{what}, PSS"), memory.pss_mb, "MB");
    report.add(format!("memory.{name}.rss_mb"), "  RSS", memory.rss_mb, "MB");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_that_is_needed_follows_what_is_asked_for() {
        let bytes = |parts: &[Part], points, seconds| {
            let parts = parts.iter().copied().collect();
            Settings { parts, points, span: Duration::from_secs(seconds), real: None }.bytes()
        };
        assert_eq!(bytes(&[Part::Ingest], 1_000_000, 5), BYTES_BESIDE + 5 * BYTES_PER_SECOND);
        assert_eq!(bytes(&[Part::Size], 10_000_000, 5), BYTES_BESIDE + 10_000_000 * BYTES_PER_VALUE);
        assert!(bytes(&Part::ALL, 10_000_000, 5) > bytes(&Part::ALL, 1_000_000, 5));
    }
}
