//! What was measured, for people and for programs. Pure.

use serde_json::{Map, Value, json};

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Its name for programs; stable, with the unit at its end: `ingest.single.p99_ms`.
    pub name: String,
    /// What it is, for people.
    pub what: String,
    /// How much.
    pub value: f64,
    /// The unit, for people.
    pub unit: &'static str,
}

/// The machine that was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    /// Model of its processor.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// The folder that was measured in.
    pub folder: String,
    /// Kind and device of the file system it lies in.
    pub file_system: String,
    /// Room in it, in bytes.
    pub free_bytes: u64,
}

/// Everything that was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// What, in order.
    pub figures: Vec<Figure>,
}

impl Report {
    /// Adds a figure.
    pub fn add(&mut self, name: impl Into<String>, what: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure { name: name.into(), what: what.into(), value, unit });
    }

    /// The report for programs. `settings` is what the run was asked for.
    pub fn json(&self, version: &str, settings: Value) -> Value {
        let machine = &self.machine;
        let figures: Map<String, Value> =
            self.figures.iter().map(|figure| (figure.name.clone(), json!(rounded(figure.value)))).collect();
        json!({
            "casement": version,
            "machine": {
                "cpu": machine.cpu,
                "cores": machine.cores,
                "memory_bytes": machine.memory_bytes,
                "folder": machine.folder,
                "file_system": machine.file_system,
                "free_bytes": machine.free_bytes,
            },
            "settings": settings,
            "figures": figures,
        })
    }

    /// The report for people: the machine, then a table.
    pub fn text(&self, version: &str) -> String {
        let machine = &self.machine;
        let mut text = format!(
            "Casement {version} on {}, {} core{}, {:.1} GiB\nin {}, {}, {:.1} GiB free\n\n",
            plain(&machine.cpu),
            machine.cores,
            if machine.cores == 1 { "" } else { "s" },
            machine.memory_bytes as f64 / GIB,
            plain(&machine.folder),
            plain(&machine.file_system),
            machine.free_bytes as f64 / GIB,
        );
        if machine.file_system.starts_with("tmpfs") {
            text.push_str(
                "This is memory, not a disk: nothing here waits for one. --dir measures another folder.\n\n",
            );
        }
        let rows: Vec<Row> =
            self.figures.iter().map(|it| (plain(&it.what), shown(it.value), it.unit)).collect();
        let width = |cell: fn(&Row) -> &str, head: &str| {
            rows.iter().map(|row| cell(row).chars().count()).chain([head.len()]).max().unwrap_or(0)
        };
        let (what, figure) = (width(|row| &row.0, "WHAT"), width(|row| &row.1, "FIGURE"));
        let mut line = |a: &str, b: &str, c: &str| {
            text.push_str(format!("{a:<what$}  {b:>figure$}  {c}").trim_end());
            text.push('\n');
        };
        line("WHAT", "FIGURE", "UNIT");
        rows.iter().for_each(|(a, b, c)| line(a, b, c));
        text
    }
}

/// What, how much, unit.
type Row = (String, String, &'static str);

const GIB: f64 = 1_073_741_824.0;

/// A path or a name must not move the cursor of the terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Six decimals: a microsecond in seconds.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// A number for people: three digits that count, thousands apart.
fn shown(value: f64) -> String {
    let size = value.abs();
    if size >= 1_000.0 {
        let digits = format!("{size:.0}");
        let mut text = if value < 0.0 { "-".to_owned() } else { String::new() };
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        return text;
    }
    if (value - value.round()).abs() < 1e-9 {
        return format!("{value:.0}");
    }
    let decimals = match size {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        0.1.. => 3,
        _ => 4,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report {
            machine: Machine {
                cpu: "Some \u{1b}CPU".into(),
                cores: 2,
                memory_bytes: 4 << 30,
                folder: "/tmp/x".into(),
                file_system: "ext4 on /dev/vda".into(),
                free_bytes: 1 << 30,
            },
            figures: Vec::new(),
        };
        report.add("ingest.single.acks_per_s", "acknowledgements", 12_345.678_901_2, "1/s");
        report.add("query.day.p50_ms", "a day, raw", 0.123_456_7, "ms");
        report
    }

    #[test]
    fn a_table_is_aligned() {
        let text = report().text("0.1.0");
        assert_eq!(
            text,
            "Casement 0.1.0 on Some \u{fffd}CPU, 2 cores, 4.0 GiB\nin /tmp/x, ext4 on /dev/vda, 1.0 GiB free\n\n\
             WHAT              FIGURE  UNIT\n\
             acknowledgements  12,346  1/s\n\
             a day, raw         0.123  ms\n"
        );
    }

    #[test]
    fn memory_is_not_taken_for_a_disk() {
        let mut report = report();
        assert!(!report.text("0.1.0").contains("not a disk"));
        report.machine.file_system = "tmpfs on tmpfs".into();
        assert!(report.text("0.1.0").contains("not a disk"));
    }

    #[test]
    fn json_has_stable_names() {
        let json = report().json("0.1.0", json!({"points": 10}));
        assert_eq!(json["figures"]["ingest.single.acks_per_s"], 12_345.678_901);
        assert_eq!(json["figures"]["query.day.p50_ms"], 0.123_457);
        assert_eq!(json["settings"]["points"], 10);
        assert_eq!(json["machine"]["cores"], 2);
    }

    #[test]
    fn numbers_are_shown_as_people_read_them() {
        for (value, text) in [
            (0.0, "0"),
            (0.001_234, "0.0012"),
            (0.56, "0.560"),
            (1.5, "1.50"),
            (12.34, "12.3"),
            (123.4, "123"),
            (999.0, "999"),
            (1_000.0, "1,000"),
            (1_234_567.8, "1,234,568"),
            (-1_234.0, "-1,234"),
        ] {
            assert_eq!(shown(value), text);
        }
    }
}
