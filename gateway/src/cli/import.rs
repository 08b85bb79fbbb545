//! `casement import`: a file of readings in, as they stand.

use super::device::device_id;
use super::{Context, Done, Failure, out, say, watched};
use crate::clock;
use crate::ingest::rows::{self, FileRow, HeaderMap, MappedCsv};
use crate::reading::{Device, NewBatch, NewReading, Timed};
use crate::store::{Store, StoreError};
use crate::telemetry::time::{self, LocalTimes};
use casement_proto::DeviceId;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Readings stored in one step: at least so many, and at most ten times as many when they are of many devices. What has no
/// number is looked up in its device's day, and that is worth it for some of them only.
const CHUNK: usize = 5_000;

/// Readings of each device that such a step waits for.
const CHUNK_OF_EACH: usize = 50;

/// Longest line, in bytes.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Refused rows that are told one by one.
const REFUSED_TOLD: usize = 5;

#[derive(Args)]
pub(super) struct Import {
    /// The file
    file: PathBuf,
    /// Shape of the file [default: by its name and first line]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// For a foreign CSV: the device it is from
    #[arg(long, value_parser = device_id, requires = "map")]
    device: Option<DeviceId>,
    /// For a foreign CSV: the time zone of times without an offset, for example Europe/Brussels
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// For a foreign CSV: its columns, for example "Date=time,CO2=co2,Temperature=temperature"
    #[arg(long, requires = "device")]
    map: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Csv,
    Ndjson,
    /// InfluxDB line protocol
    Line,
}

pub(super) async fn run(command: Import, context: &Context) -> Done {
    let map = match &command.map {
        None => None,
        Some(text) => Some(HeaderMap::parse(text).map_err(|why| {
            Failure::usage(format!("--map: {why}"), "write for example \"Date=time,CO2=co2\"")
        })?),
    };
    let zone_name = command.time_zone.as_deref().unwrap_or_default();
    let zone = time::zone(zone_name).ok_or_else(|| {
        Failure::usage(
            format!("--time-zone \"{zone_name}\" is not a time zone"),
            "use an IANA name such as Europe/Brussels",
        )
    })?;
    let mut source = Source::open(&command.file, command.format)?;
    let mut mapped = match (&map, command.device) {
        (Some(map), Some(device)) => {
            let csv = match &mut source.reader {
                Reader::Csv(csv) => csv,
                Reader::Lines(..) => {
                    return Err(Failure::usage(
                        "--map is for CSV files",
                        "leave it out, or use --format csv",
                    ));
                }
            };
            let head = csv.headers().map_err(|error| unreadable(&command.file, &error))?.clone();
            let columns = MappedCsv::new(map, &head, device, LocalTimes::new(zone))
                .map_err(|why| Failure::usage(format!("{}: {why}", command.file.display()), "mend --map"))?;
            Some(columns)
        }
        _ => {
            if let Reader::Csv(csv) = &mut source.reader
                && !csv
                    .headers()
                    .map_err(|error| unreadable(&command.file, &error))?
                    .iter()
                    .any(|n| n == "time_utc")
            {
                return Err(Failure::usage(
                    format!("{} is not an export of Casement", command.file.display()),
                    "say what its columns are: --device ID --map \"Date=time,CO2=co2\" [--time-zone ZONE]",
                ));
            }
            None
        }
    };
    let (_, store) = context.store().await?;
    let mut import = Importing {
        store: &*store,
        waiting: Vec::new(),
        places: HashMap::new(),
        size: 0,
        totals: Totals::default(),
    };
    let bar = progress(&source);
    loop {
        match source.next(&command.file, mapped.as_mut())? {
            None => break,
            Some((_, Ok(row))) => import.take(row).await?,
            Some((line, Err(why))) => {
                import.totals.refused += 1;
                if import.totals.refused <= REFUSED_TOLD {
                    bar.suspend(|| say(&format!("{}:{line}: {why}", command.file.display())));
                }
            }
        }
        bar.set_position(source.position());
    }
    import.flush().await?;
    bar.set_message("putting it in its place ");
    store.compact().await?;
    bar.finish_and_clear();
    let Totals { rows, stored, duplicate, refused } = import.totals;
    store.close().await;
    out(&format!("{rows} rows: {stored} new, {duplicate} there already, {refused} refused\n"))?;
    if refused > 0 {
        return Err(Failure::new(
            format!("{refused} rows were refused; the others are stored"),
            "mend the rows named above and import again: what is stored stays as it is",
        ));
    }
    Ok(())
}

#[derive(Default)]
struct Totals {
    rows: usize,
    stored: usize,
    duplicate: usize,
    refused: usize,
}

struct Importing<'a> {
    store: &'a dyn Store,
    waiting: Vec<NewBatch>,
    /// Where in `waiting` a device is.
    places: HashMap<DeviceId, usize>,
    size: usize,
    totals: Totals,
}

impl Importing<'_> {
    async fn take(&mut self, row: FileRow) -> Done {
        self.totals.rows += 1;
        let reading = NewReading {
            name: None,
            t_ms: row.t_ms,
            timed: Timed::Device,
            state: row.state,
            values: row.values.into_boxed_slice(),
        };
        match self.places.get(&row.device).and_then(|place| self.waiting.get_mut(*place)) {
            Some(batch) => batch.readings.push(reading),
            None => {
                self.register(row.device, row.room).await?;
                self.places.insert(row.device, self.waiting.len());
                self.waiting.push(NewBatch { device: row.device, readings: vec![reading] });
            }
        }
        self.size += 1;
        let enough = (CHUNK_OF_EACH * self.places.len()).clamp(CHUNK, 10 * CHUNK);
        if self.size >= enough { self.flush().await } else { Ok(()) }
    }

    async fn register(&self, id: DeviceId, room: Option<String>) -> Done {
        let device = Device { id, room, name: None, simulated: false, created_ms: clock::now_ms() };
        match self.store.add_device(&device).await {
            Ok(()) | Err(StoreError::Exists(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn flush(&mut self) -> Done {
        for appended in self.store.append(&self.waiting).await? {
            self.totals.stored += appended.stored.len();
            self.totals.duplicate += appended.duplicate;
        }
        // The devices stay: they are registered.
        self.waiting.iter_mut().for_each(|batch| batch.readings.clear());
        self.size = 0;
        Ok(())
    }
}

struct Source {
    reader: Reader,
    bytes: u64,
    read: u64,
}

enum Reader {
    Csv(csv::Reader<BufReader<Lines>>),
    Lines(BufReader<Lines>, Format, u64),
}

/// A file whose lines are of a sane length; one that is not is not a file of readings.
struct Lines {
    file: File,
    line: u64,
    length: u64,
}

impl Read for Lines {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        for byte in buffer.get(..count).unwrap_or_default() {
            self.length += 1;
            if *byte == b'\n' {
                (self.line, self.length) = (self.line + 1, 0);
            }
            if self.length > LINE_BYTES_MAX {
                let what = format!("line {} is longer than {LINE_BYTES_MAX} bytes", self.line);
                return Err(std::io::Error::other(what));
            }
        }
        Ok(count)
    }
}

type Row = (u64, Result<FileRow, String>);

impl Source {
    fn open(path: &Path, format: Option<Format>) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(
                format!("{} cannot be read: {error}", path.display()),
                "check the path and its permissions",
            )
        };
        let file = File::open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let mut file = BufReader::new(Lines { file, line: 1, length: 0 });
        let format = match format {
            Some(format) => format,
            None => {
                let first = file.fill_buf().map_err(failed)?;
                match path.extension().and_then(|extension| extension.to_str()) {
                    Some("ndjson" | "jsonl") => Format::Ndjson,
                    Some("lp" | "line") => Format::Line,
                    _ if first.first() == Some(&b'{') => Format::Ndjson,
                    _ if first.starts_with(b"casement,device=") => Format::Line,
                    _ => Format::Csv,
                }
            }
        };
        let reader = match format {
            Format::Csv => Reader::Csv(csv::ReaderBuilder::new().flexible(true).from_reader(file)),
            Format::Ndjson | Format::Line => Reader::Lines(file, format, 0),
        };
        Ok(Self { reader, bytes, read: 0 })
    }

    /// The next row and its line; a row that makes no sense is the row's own affair, a file that breaks off is not.
    fn next(&mut self, path: &Path, mapped: Option<&mut MappedCsv>) -> Result<Option<Row>, Failure> {
        match &mut self.reader {
            Reader::Csv(csv) => {
                let head = csv.headers().map_err(|error| unreadable(path, &error))?.clone();
                let line = csv.position().line();
                let mut record = csv::StringRecord::new();
                let more = csv.read_record(&mut record).map_err(|error| unreadable(path, &error))?;
                self.read = csv.position().byte();
                if !more {
                    return Ok(None);
                }
                let line = record.position().map_or(line, csv::Position::line);
                let row = match mapped {
                    Some(mapped) => mapped.row(&record),
                    None => rows::own_csv(&head, &record),
                };
                Ok(Some((line, row)))
            }
            Reader::Lines(file, format, line) => loop {
                let mut text = String::new();
                let taken = file.read_line(&mut text).map_err(|error| {
                    Failure::new(
                        format!("{}:{}: {error}", path.display(), *line + 1),
                        "the file must be UTF-8 text",
                    )
                })?;
                if taken == 0 {
                    return Ok(None);
                }
                *line += 1;
                self.read += taken as u64;
                let text = text.trim();
                if text.is_empty() || text.starts_with('#') {
                    continue;
                }
                let row =
                    if *format == Format::Line { rows::line_protocol(text) } else { rows::own_ndjson(text) };
                return Ok(Some((*line, row)));
            },
        }
    }

    const fn position(&self) -> u64 {
        self.read
    }
}

fn unreadable(path: &Path, error: &csv::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()), "the file must be CSV in UTF-8")
}

fn progress(source: &Source) -> ProgressBar {
    if !watched() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg}{wide_bar} {bytes}/{total_bytes} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(source.bytes).with_style(style)
}
