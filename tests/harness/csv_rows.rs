//! The raw readings of a device, as the CSV answer has them.

use crate::Client;
use crate::wait::parse_rfc3339;
use anyhow::{Context, Result, ensure};

/// The columns of a raw export, in their order.
pub const COLUMNS: [&str; 8] =
    ["time_utc", "time_local", "device", "room", "metric", "value", "unit", "state"];

/// One raw reading of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// When it was taken, in milliseconds since 1970.
    pub time_ms: i64,
    /// The columns as they stand, by the order of [`COLUMNS`].
    pub fields: Vec<String>,
    /// The number.
    pub value: f64,
}

impl Row {
    /// A column by name; empty when there is none of that name.
    #[must_use]
    pub fn field(&self, column: &str) -> &str {
        let at = COLUMNS.iter().position(|name| *name == column);
        at.and_then(|at| self.fields.get(at)).map_or("", String::as_str)
    }
}

/// Reads CSV text with the columns of the contract.
///
/// # Errors
/// When a column is missing or a row cannot be read.
pub fn parse(text: &str) -> Result<Vec<Row>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    ensure!(reader.headers()?.iter().eq(COLUMNS), "columns are {:?}", reader.headers()?);
    reader
        .records()
        .map(|record| {
            let fields: Vec<String> = record?.iter().map(str::to_owned).collect();
            let time_ms = parse_rfc3339(&fields[0])?;
            let value = fields[5].parse().with_context(|| format!("value {:?}", fields[5]))?;
            Ok(Row { time_ms, fields, value })
        })
        .collect()
}

/// Every raw reading of one metric of a device, whenever it was taken.
///
/// # Errors
/// When the gateway does not answer with CSV.
pub async fn all(client: &Client, device: &str, metric: &str) -> Result<Vec<Row>> {
    // From 2000 to 2100: wider than anything a scenario posts.
    let path = format!("/api/v1/readings?device={device}&metric={metric}&from=946684800000&to=4102444800000");
    let answer = client.get(&path).accept("text/csv").send().await?.expect(200)?;
    ensure!(answer.content_type().starts_with("text/csv"), "{}", answer.content_type());
    parse(answer.text()?)
}
