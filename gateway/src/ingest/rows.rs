//! Files of readings: a foreign CSV with a header map, and our own CSV, NDJSON and line protocol. Pure.

use crate::telemetry::time::LocalTimes;
use casement_proto::reading::VALUES_MAX;
use casement_proto::{DeviceId, Quantity, State};
use serde::Deserialize;

/// One row of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct FileRow {
    /// Who measured.
    pub device: DeviceId,
    /// Its room, where the file says so.
    pub room: Option<String>,
    /// When, in milliseconds since 1970; as it stands in the file.
    pub t_ms: i64,
    /// How far to trust it.
    pub state: State,
    /// The values.
    pub values: Vec<(Quantity, f64)>,
}

/// Which column of a foreign CSV is which quantity.
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderMap {
    time: String,
    quantities: Vec<(String, Quantity)>,
}

impl HeaderMap {
    /// Reads `Date=time,CO2=co2,Temperature=temperature`.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut time = None;
        let mut quantities = Vec::new();
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (column, name) =
                pair.split_once('=').ok_or_else(|| format!("\"{pair}\" is not COLUMN=metric"))?;
            let (column, name) = (column.trim().to_owned(), name.trim());
            if name == "time" {
                if time.replace(column).is_some() {
                    return Err("two columns are mapped to time".to_owned());
                }
                continue;
            }
            let quantity = Quantity::parse(name)
                .ok_or_else(|| format!("\"{name}\" is not a metric name: [a-z][a-z0-9_]{{0,31}}"))?;
            if quantities.iter().any(|(_, other)| *other == quantity) {
                return Err(format!("two columns are mapped to {name}"));
            }
            quantities.push((column, quantity));
        }
        let time = time.ok_or("no column is mapped to time; add for example Date=time")?;
        if quantities.is_empty() {
            return Err("no column is mapped to a metric; add for example CO2=co2".to_owned());
        }
        if quantities.len() > VALUES_MAX {
            return Err(format!("at most {VALUES_MAX} columns can be mapped"));
        }
        Ok(Self { time, quantities })
    }
}

/// Reads the rows of a foreign CSV, given its head.
pub struct MappedCsv {
    device: DeviceId,
    times: LocalTimes,
    time_at: usize,
    quantities: Vec<(usize, Quantity)>,
}

impl MappedCsv {
    /// Finds the mapped columns.
    ///
    /// # Errors
    /// The columns that are missing, and which there are.
    pub fn new(
        map: &HeaderMap,
        head: &csv::StringRecord,
        device: DeviceId,
        times: LocalTimes,
    ) -> Result<Self, String> {
        let find = |column: &str| {
            head.iter().position(|name| name.trim().trim_start_matches('\u{feff}') == column).ok_or_else(
                || {
                    let there: Vec<&str> = head.iter().collect();
                    format!("there is no column \"{column}\"; the file has {}", there.join(", "))
                },
            )
        };
        let time_at = find(&map.time)?;
        let quantities = map
            .quantities
            .iter()
            .map(|(column, quantity)| Ok((find(column)?, *quantity)))
            .collect::<Result<_, String>>()?;
        Ok(Self { device, times, time_at, quantities })
    }

    /// One row. Empty cells are no values.
    ///
    /// # Errors
    /// What is wrong with the row, for people.
    pub fn row(&mut self, record: &csv::StringRecord) -> Result<FileRow, String> {
        let text = record.get(self.time_at).ok_or("the row is too short")?;
        let t_ms = self.times.parse(text).ok_or_else(|| format!("\"{text}\" is not a time"))?;
        let mut values = Vec::with_capacity(self.quantities.len());
        for (at, quantity) in &self.quantities {
            let cell = record.get(*at).ok_or("the row is too short")?.trim();
            if cell.is_empty() || cell.eq_ignore_ascii_case("nan") || cell.eq_ignore_ascii_case("null") {
                continue;
            }
            values.push((*quantity, value(quantity, cell)?));
        }
        if values.is_empty() {
            return Err("there is no value in the row".to_owned());
        }
        Ok(FileRow { device: self.device, room: None, t_ms, state: State::Ok, values })
    }
}

/// One row of our own CSV or NDJSON.
#[derive(Deserialize)]
struct OwnRow {
    time_utc: String,
    device: String,
    #[serde(default)]
    room: String,
    metric: String,
    value: f64,
    #[serde(default)]
    state: String,
}

impl OwnRow {
    fn check(self) -> Result<FileRow, String> {
        let t_ms = self
            .time_utc
            .parse::<jiff::Timestamp>()
            .map_err(|_| format!("\"{}\" is not a time", self.time_utc))?
            .as_millisecond();
        let quantity = metric(&self.metric)?;
        let state = if self.state.is_empty() { Some(State::Ok) } else { State::parse(&self.state) };
        Ok(FileRow {
            device: device(&self.device)?,
            room: Some(self.room).filter(|room| !room.is_empty()),
            t_ms,
            state: state.ok_or_else(|| format!("\"{}\" is not a state", self.state))?,
            values: vec![(quantity, in_range(&quantity, self.value)?)],
        })
    }
}

/// One row of our own CSV, given its head.
///
/// # Errors
/// What is wrong with the row, for people.
pub fn own_csv(head: &csv::StringRecord, record: &csv::StringRecord) -> Result<FileRow, String> {
    record.deserialize::<OwnRow>(Some(head)).map_err(|error| error.to_string())?.check()
}

/// One line of our own NDJSON.
///
/// # Errors
/// What is wrong with the line, for people.
pub fn own_ndjson(line: &str) -> Result<FileRow, String> {
    serde_json::from_str::<OwnRow>(line).map_err(|error| error.to_string())?.check()
}

/// One line of InfluxDB line protocol: `measurement,device=ID[,room=R][,state=S] metric=1.5[,…] [nanoseconds]`.
///
/// # Errors
/// What is wrong with the line, for people.
pub fn line_protocol(line: &str) -> Result<FileRow, String> {
    let mut parts = split_unescaped(line.trim(), b' ').into_iter();
    let (head, fields) = (parts.next().unwrap_or_default(), parts.next().ok_or("there are no fields")?);
    let nanoseconds: i128 = parts
        .next()
        .ok_or("there is no time")?
        .parse()
        .map_err(|_| "the time is not a number of nanoseconds".to_owned())?;
    let (mut found_device, mut room, mut state) = (None, None, State::Ok);
    for tag in split_unescaped(head, b',').into_iter().skip(1) {
        let (name, text) = tag.split_once('=').ok_or_else(|| format!("\"{tag}\" is not a tag"))?;
        let text = unescape(text);
        match name {
            "device" => found_device = Some(device(&text)?),
            "room" => room = Some(text),
            "state" => state = State::parse(&text).ok_or_else(|| format!("\"{text}\" is not a state"))?,
            _ => {}
        }
    }
    let mut values = Vec::new();
    for field in split_unescaped(fields, b',') {
        let (name, text) = field.split_once('=').ok_or_else(|| format!("\"{field}\" is not a field"))?;
        let quantity = metric(name)?;
        values.push((quantity, value(&quantity, text.trim_end_matches('i'))?));
    }
    if values.len() > VALUES_MAX {
        return Err(format!("a line holds at most {VALUES_MAX} fields"));
    }
    Ok(FileRow {
        device: found_device.ok_or("there is no tag device=ID")?,
        room,
        t_ms: i64::try_from(nanoseconds.div_euclid(1_000_000)).map_err(|_| "the time is out of range")?,
        state,
        values,
    })
}

fn device(text: &str) -> Result<DeviceId, String> {
    DeviceId::parse(text).ok_or_else(|| format!("\"{text}\" cannot be a device"))
}

fn metric(text: &str) -> Result<Quantity, String> {
    Quantity::parse(text).ok_or_else(|| format!("\"{text}\" is not a metric name"))
}

fn value(quantity: &Quantity, text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{} \"{text}\" is not a number", quantity.name()))?;
    in_range(quantity, number)
}

fn in_range(quantity: &Quantity, number: f64) -> Result<f64, String> {
    if quantity.holds(number) {
        Ok(number)
    } else {
        Err(format!("{} {number} cannot be true", quantity.name()))
    }
}

/// Splits at a byte that is not behind a backslash.
fn split_unescaped(text: &str, separator: u8) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut begin, mut escaped) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        if byte == separator && !escaped {
            parts.push(text.get(begin..at).unwrap_or_default());
            begin = at + 1;
        }
        escaped = byte == b'\\' && !escaped;
    }
    parts.push(text.get(begin..).unwrap_or_default());
    parts
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut escaped = false;
    for c in text.chars() {
        escaped = c == '\\' && !escaped;
        if !escaped {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{RowWriter, Shape};
    use crate::reading::{Device, ExportRow};
    use crate::telemetry::time::zone;
    use proptest::prelude::*;

    fn record(cells: &[&str]) -> csv::StringRecord {
        cells.to_vec().into()
    }

    #[test]
    fn a_foreign_csv_is_read_by_its_header_map() {
        let map = HeaderMap::parse("Date=time, CO2=co2,Temperature=temperature").unwrap();
        let head = record(&["\u{feff}Date", "Temperature", "Humidity", "CO2"]);
        let times = LocalTimes::new(zone("Europe/Brussels").unwrap());
        let mut csv = MappedCsv::new(&map, &head, DeviceId::parse("office").unwrap(), times).unwrap();
        let row = csv.row(&record(&["2015-02-02 14:19:00", "23.7", "26.272", "749.2"])).unwrap();
        assert_eq!(row.t_ms, 1_422_883_140_000);
        assert_eq!(
            row.values.iter().map(|(q, v)| (q.name(), *v)).collect::<Vec<_>>(),
            [("co2", 749.2), ("temperature", 23.7)]
        );
        let gap = csv.row(&record(&["2015-02-02 14:20:00", "", "26", "NaN"]));
        assert!(gap.is_err());
        for bad in
            [&["soon", "1", "1", "1"][..], &["2015-02-02 14:19:00", "x", "1", "1"], &["2015-02-02 14:19:00"]]
        {
            assert!(csv.row(&record(bad)).is_err(), "{bad:?}");
        }
        assert!(csv.row(&record(&["2015-02-02 14:19:00", "23.7", "1", "99999"])).is_err());
    }

    #[test]
    fn a_wrong_header_map_says_what_is_wrong() {
        for bad in [
            "",
            "Date",
            "CO2=co2",
            "Date=time",
            "Date=time,CO2=Co2",
            "a=time,b=time,c=co2",
            "d=time,a=co2,b=co2",
        ] {
            assert!(HeaderMap::parse(bad).is_err(), "{bad}");
        }
        let map = HeaderMap::parse("When=time,CO2=co2").unwrap();
        let times = LocalTimes::new(jiff::tz::TimeZone::UTC);
        let missing = MappedCsv::new(&map, &record(&["Date", "CO2"]), DeviceId::parse("d").unwrap(), times);
        assert!(missing.err().unwrap().contains("Date, CO2"));
    }

    proptest! {
        #[test]
        fn what_is_exported_can_be_imported(
            t_ms in -10_000_000_000_000i64..10_000_000_000_000,
            value in any::<f64>().prop_filter("finite", |v| v.is_finite()),
            room in "[ -~]{0,12}",
            state in proptest::sample::select(State::ALL.to_vec()),
        ) {
            let id = DeviceId::parse("lab:1").unwrap();
            let quantity = Quantity::parse("my_own").unwrap();
            let kept = (!room.is_empty()).then_some(room.clone());
            let device = Device { id, room: kept, name: None, simulated: false, created_ms: 0 };
            let row = ExportRow { t_ms, device: id, quantity, value, state };
            for shape in [Shape::Csv, Shape::Ndjson, Shape::Line] {
                let writer = RowWriter::new(shape, jiff::tz::TimeZone::UTC, vec![device.clone()]);
                let text = format!("{}{}", writer.head(), writer.page(std::slice::from_ref(&row)));
                let back = match shape {
                    Shape::Csv => {
                        let mut reader = csv::Reader::from_reader(text.as_bytes());
                        let head = reader.headers().unwrap().clone();
                        own_csv(&head, &reader.records().next().unwrap().unwrap())
                    }
                    Shape::Ndjson => own_ndjson(text.trim_end()),
                    Shape::Line => line_protocol(text.trim_end()),
                }.unwrap();
                prop_assert_eq!(back.t_ms, t_ms);
                prop_assert_eq!(back.state, state);
                prop_assert_eq!(&back.values, &vec![(quantity, value)]);
            }
        }

        #[test]
        fn lines_from_outside_never_panic(line in "\\PC{0,80}") {
            let _ = line_protocol(&line);
            let _ = own_ndjson(&line);
            let _ = HeaderMap::parse(&line);
        }
    }
}
