//! `casement export`: everything out, in constant memory.

use super::device::device_id;
use super::{Context, Done, Failure, out, watched};
use crate::clock;
use crate::export::{RowWriter, Shape};
use crate::reading::ExportFilter;
use crate::telemetry::time;
use casement_proto::{DeviceId, Quantity};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

/// Rows read at once.
const PAGE: u32 = 4_000;

#[derive(Args)]
pub(super) struct Export {
    /// Shape of the rows
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
    /// First instant: RFC 3339, unix milliseconds, now-30d
    #[arg(long)]
    from: Option<String>,
    /// First instant after
    #[arg(long)]
    to: Option<String>,
    /// Only this device
    #[arg(long, value_parser = device_id)]
    device: Option<DeviceId>,
    /// Only this metric
    #[arg(long)]
    metric: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Csv,
    Ndjson,
    /// InfluxDB line protocol
    Line,
}

pub(super) async fn run(command: Export, context: &Context) -> Done {
    let (config, store) = context.store().await?;
    let now_ms = clock::now_ms();
    let instant = |name: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => time::parse_query(text, now_ms).map(Some).ok_or_else(|| {
            Failure::usage(
                format!("--{name} \"{text}\" is not a time"),
                "use RFC 3339, unix milliseconds or now-24h",
            )
        }),
    };
    let metric = match &command.metric {
        None => None,
        Some(name) => Some(Quantity::parse(name).ok_or_else(|| {
            Failure::usage(format!("--metric \"{name}\" is not a metric name"), "for example co2")
        })?),
    };
    let devices = store.devices().await?;
    if let Some(id) = command.device
        && !devices.iter().any(|device| device.id == id)
    {
        return Err(Failure::new(format!("there is no device {id}"), "`casement device list` shows all"));
    }
    let filter = ExportFilter {
        device: command.device,
        metric,
        from_ms: instant("from", &command.from)?,
        to_ms: instant("to", &command.to)?,
    };
    let shape = match command.format {
        Format::Csv => Shape::Csv,
        Format::Ndjson => Shape::Ndjson,
        Format::Line => Shape::Line,
    };
    let bar = progress(&*store, &filter).await?;
    let writer = RowWriter::new(shape, config.site.zone.clone(), devices);
    out(&writer.head())?;
    let mut cursor = None;
    loop {
        let (rows, next) = store.export(&filter, cursor, PAGE).await?;
        out(&writer.page(&rows))?;
        bar.inc(rows.len() as u64);
        match next {
            Some(_) => cursor = next,
            None => break,
        }
    }
    bar.finish_and_clear();
    store.close().await;
    Ok(())
}

async fn progress(store: &dyn crate::store::Store, filter: &ExportFilter) -> Result<ProgressBar, Failure> {
    if !watched() {
        return Ok(ProgressBar::hidden());
    }
    let bar = ProgressBar::new(store.count(filter).await?);
    let style = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} values {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    Ok(bar.with_style(style))
}
