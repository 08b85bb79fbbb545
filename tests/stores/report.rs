//! What was measured, as a table in Markdown and as JSON.

use crate::store::{Figures, Question};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What one column shows.
type Cell = fn(&Figures) -> String;

const ROWS: &[(&str, Cell)] = &[
    ("bytes per value, whole folder", |it| digits(it.bytes_per_value)),
    ("bytes per value, without logs and caches", |it| {
        it.payload_bytes_per_value.map_or_else(|| "–".to_owned(), digits)
    }),
    ("a year of one series in buckets of 12 h, median", |it| ms(it.chart_ms, it.first_ms[0])),
    ("exact p95 over that year", |it| ms(it.p95_ms, it.first_ms[1])),
    ("values above 1,000 ppm in that year", |it| ms(it.above_ms, it.first_ms[2])),
    ("latest reading of every device", |it| ms(it.latest_ms, it.first_ms[3])),
    ("time to load · CPU", |it| format!("{} s · {} s", digits(it.load_s), digits(it.load_cpu_s))),
    ("memory while loading, most PSS", |it| format!("{} MB", digits(it.load_peak_pss_mb))),
    ("memory after a start", |it| format!("{} MB", digits(it.start_pss_mb))),
    ("memory while answering, most PSS", |it| format!("{} MB", digits(it.asked_peak_pss_mb))),
    ("the same file again: values before and after", |it| {
        let once = it
            .values_once
            .map_or_else(String::new, |(values, switch)| format!("; with `{switch}` {}", thousands(values)));
        match it.values_again == it.values {
            true => format!("{}, unchanged{once}", thousands(it.values)),
            false => format!("{} → {}{once}", thousands(it.values), thousands(it.values_again)),
        }
    }),
    ("time for the same file again", |it| format!("{} s", digits(it.again_s))),
    ("kill -9: acknowledged readings lost", |it| match it.lost {
        _ if it.kill_rounds == 0 => "not tried".to_owned(),
        0 => format!("0 of {} in {} rounds", thousands(it.acknowledged), it.kill_rounds),
        lost => format!(
            "{} of {} in {} rounds, up to the last {} s",
            thousands(lost),
            thousands(it.acknowledged),
            it.kill_rounds,
            digits(it.lost_s)
        ),
    }),
    ("answers that differ from the file", |it| match it.differs.is_empty() {
        true => "none".to_owned(),
        false => it.differs.join("; "),
    }),
    ("load average at its begin", |it| digits(it.load_average)),
];

/// The questions of `casement bench`, by the names of its figures, and the rows above that they belong to.
const IN_PROCESS: &[(&str, &str, &str)] = &[
    ("bytes per value, whole folder", "size.generated.bytes_per_value", ""),
    ("a year of one series in buckets of 12 h, median", "query.year.p50_ms", " ms"),
    ("exact p95 over that year", "query.p95.p50_ms", " ms"),
    ("values above 1,000 ppm in that year", "query.p95.p50_ms", " ms, the same question"),
    ("latest reading of every device", "query.latest.p50_ms", " ms"),
];

/// A table with a column for each store.
pub(crate) fn table(all: &[(String, Figures)], in_process: Option<&Value>) -> String {
    let mut text = String::from("| |");
    for (_, figures) in all {
        let _infallible = write!(text, " {} |", figures.version);
    }
    if in_process.is_some() {
        text.push_str(" `casement bench`, in process |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(all.len() + usize::from(in_process.is_some())));
    text.push('\n');
    for (what, cell) in ROWS {
        let _infallible = write!(text, "| {what} |");
        for (_, figures) in all {
            let _infallible = write!(text, " {} |", cell(figures));
        }
        if let Some(known) = in_process {
            let found = IN_PROCESS.iter().find(|(row, ..)| row == what);
            let shown =
                found.and_then(|(_, name, unit)| Some(format!("{}{unit}", digits(known[*name].as_f64()?))));
            let _infallible = write!(text, " {} |", shown.unwrap_or_default());
        }
        text.push('\n');
    }
    text
}

/// The same for programs.
pub(crate) fn json(all: &[(String, Figures)], in_process: Option<&Value>, machine: &Value) -> Value {
    let stores: serde_json::Map<String, Value> =
        all.iter().map(|(name, figures)| (name.clone(), json!(figures))).collect();
    json!({
        "machine": machine,
        "questions": Question::ALL.map(|question| format!("{question:?}").to_lowercase()),
        "stores": stores,
        "casement_bench": in_process,
    })
}

fn ms(usual: f64, first: f64) -> String {
    format!("{} ms, first {}", digits(usual), digits(first))
}

/// Three digits that count.
fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        100.0.. => return thousands(value.round() as u64),
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
