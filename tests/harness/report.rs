//! Figures and skips. A test runner hides what a passing test prints, so they are also written to
//! `tests/artifacts/`, and `tests/run` shows them at its end.

use std::fmt::Write as _;
use std::path::PathBuf;

/// Where screenshots, figures and notes about skips go.
#[must_use]
pub fn artifacts() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("artifacts")
}

/// Shows a table of figures and keeps it as `artifacts/figures/<name>.txt`.
pub fn figures(name: &str, title: &str, rows: &[(&str, String)]) {
    let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    let mut text = format!("{title}\n");
    for (label, value) in rows {
        let _infallible = writeln!(text, "  {label:<width$}  {value}");
    }
    eprint!("{text}");
    keep("figures", name, &text);
}

/// Says loudly that a scenario did not run, and why.
pub fn skipped(name: &str, reason: &str) {
    let text = format!("SKIPPED {name}: {reason}\n");
    eprint!("{text}");
    keep("skipped", name, &text);
}

fn keep(folder: &str, name: &str, text: &str) {
    let folder = artifacts().join(folder);
    let written = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(folder.join(format!("{name}.txt")), text));
    if let Err(error) = written {
        eprintln!("cannot keep {name} in {}: {error}", folder.display());
    }
}
