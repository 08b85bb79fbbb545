//! Rows on their way out: CSV, NDJSON and line protocol. Pure.

use crate::reading::{Device, ExportRow, NewReading};
use crate::telemetry::time;
use crate::telemetry::time::rfc3339;
use casement_proto::{DeviceId, State};
use jiff::tz::TimeZone;
use std::collections::HashMap;
use std::fmt::Write;

/// How rows look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// RFC 4180 with a head: `time_utc,time_local,device,room,metric,value,unit,state`.
    Csv,
    /// One JSON object a line with the same names.
    Ndjson,
    /// InfluxDB line protocol: measurement `casement`, tags device and room, time in nanoseconds.
    Line,
}

/// Turns rows into text, page by page.
pub struct RowWriter {
    shape: Shape,
    zone: TimeZone,
    rooms: HashMap<DeviceId, String>,
}

impl RowWriter {
    /// Local times are in `zone`; rooms come from the devices.
    pub fn new(shape: Shape, zone: TimeZone, devices: Vec<Device>) -> Self {
        let rooms = devices.into_iter().filter_map(|d| d.room.map(|room| (d.id, room))).collect();
        Self { shape, zone, rooms }
    }

    /// What stands before the first row.
    pub fn head(&self) -> String {
        match self.shape {
            Shape::Csv => "time_utc,time_local,device,room,metric,value,unit,state\r\n".to_owned(),
            Shape::Ndjson | Shape::Line => String::new(),
        }
    }

    /// The text of some rows.
    pub fn page(&self, rows: &[ExportRow]) -> String {
        let mut text = String::with_capacity(rows.len() * 96);
        for row in rows {
            self.row(&mut text, row);
        }
        text
    }

    fn row(&self, text: &mut String, row: &ExportRow) {
        let room = self.rooms.get(&row.device).map_or("", String::as_str);
        let local = time::local(row.t_ms, &self.zone);
        let utc = rfc3339(row.t_ms);
        let (metric, unit, state) = (row.quantity.name(), row.quantity.unit(), row.state.as_str());
        // Writing into a String cannot fail.
        let _infallible = match self.shape {
            Shape::Csv => write!(
                text,
                "{utc},{local},{},{},{metric},{},{unit},{state}\r\n",
                row.device,
                quoted(room),
                row.value
            ),
            Shape::Ndjson => {
                let line = serde_json::json!({
                    "time_utc": utc, "time_local": local, "device": row.device.as_str(), "room": room,
                    "metric": metric, "value": row.value, "unit": unit, "state": state,
                });
                writeln!(text, "{line}")
            }
            Shape::Line => {
                let room = if room.is_empty() { String::new() } else { format!(",room={}", escaped(room)) };
                let state = if row.state == State::Ok { String::new() } else { format!(",state={state}") };
                writeln!(
                    text,
                    "casement,device={}{room}{state} {metric}={} {}",
                    escaped(row.device.as_str()),
                    row.value,
                    i128::from(row.t_ms) * 1_000_000
                )
            }
        };
    }
}

/// A reading as one line of line protocol with all its values, without a room: what `casement import` takes.
pub fn line(text: &mut String, device: &DeviceId, reading: &NewReading) {
    let state =
        if reading.state == State::Ok { String::new() } else { format!(",state={}", reading.state.as_str()) };
    // Writing into a String cannot fail.
    let _infallible = write!(text, "casement,device={}{state} ", escaped(device.as_str()));
    for (at, (quantity, value)) in reading.values.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _infallible = write!(text, "{comma}{}={value}", quantity.name());
    }
    let _infallible = writeln!(text, " {}", i128::from(reading.t_ms) * 1_000_000);
}

/// A CSV field. One that a spreadsheet would take for a formula is made harmless with an apostrophe (OWASP, "CSV
/// injection").
fn quoted(field: &str) -> String {
    let formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let field = if formula { format!("'{field}") } else { field.to_owned() };
    if field.contains(['"', ',', '\n', '\r']) {
        return format!("\"{}\"", field.replace('"', "\"\""));
    }
    field
}

fn escaped(tag: &str) -> String {
    tag.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=").replace(' ', "\\ ").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use casement_proto::Quantity;

    fn text(shape: Shape, room: &str, state: State) -> String {
        let device = Device {
            id: DeviceId::parse("lab-1").unwrap(),
            room: Some(room.to_owned()),
            name: None,
            simulated: false,
            created_ms: 0,
        };
        let row = ExportRow {
            t_ms: 1_795_341_600_500,
            device: device.id,
            quantity: Quantity::parse("co2").unwrap(),
            value: 812.5,
            state,
        };
        let writer = RowWriter::new(shape, time::zone("Europe/Brussels").unwrap(), vec![device]);
        format!("{}{}", writer.head(), writer.page(&[row]))
    }

    #[test]
    fn rows_look_as_the_contract_says() {
        assert_eq!(
            text(Shape::Csv, "Lab", State::Ok),
            "time_utc,time_local,device,room,metric,value,unit,state\r\n\
             2026-11-22T10:00:00.5Z,2026-11-22T11:00:00.500+01:00,lab-1,Lab,co2,812.5,ppm,ok\r\n"
        );
        let line: serde_json::Value = serde_json::from_str(&text(Shape::Ndjson, "Lab", State::Ok)).unwrap();
        assert_eq!((&line["value"], &line["unit"]), (&serde_json::json!(812.5), &serde_json::json!("ppm")));
        assert_eq!(
            text(Shape::Line, "Lab 1,x", State::Suspect),
            "casement,device=lab-1,room=Lab\\ 1\\,x,state=suspect co2=812.5 1795341600500000000\n"
        );
    }

    #[test]
    fn a_line_holds_a_whole_reading_and_is_read_again() {
        let device = DeviceId::parse("lab-1").unwrap();
        let values = [("co2", 812.0), ("temperature", 21.25)];
        let values = values.map(|(name, value)| (Quantity::parse(name).unwrap(), value));
        for (state, head) in [(State::Ok, ""), (State::Suspect, ",state=suspect")] {
            let values = Box::new(values);
            let reading = NewReading {
                name: None,
                t_ms: 1_795_341_600_500,
                timed: crate::reading::Timed::Device,
                state,
                values,
            };
            let mut text = String::new();
            line(&mut text, &device, &reading);
            assert_eq!(
                text,
                format!("casement,device=lab-1{head} co2=812,temperature=21.25 1795341600500000000\n")
            );
            let again = crate::ingest::rows::line_protocol(&text).unwrap();
            assert_eq!((again.device, again.t_ms, again.state), (device, reading.t_ms, state));
            assert_eq!(again.values, *reading.values);
        }
    }

    #[test]
    fn a_room_cannot_break_the_table_or_become_a_formula() {
        for (room, field) in [
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=1+1", "'=1+1"),
            ("two\nlines", "\"two\nlines\""),
            ("plain", "plain"),
        ] {
            assert_eq!(quoted(room), field);
        }
    }
}
