//! `casement doctor`: what is wrong, and how to mend it.

use super::{Context, Done, Failure, Json, out, watched};
use crate::answer::certificate::span;
use crate::doctor::checks::{Finding, Status, Told};
use crate::doctor::facts::Facts;
use crate::doctor::{Report, probe};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Exit code of a gateway with problems.
pub(super) const TROUBLED: u8 = 3;

/// Width of the column with the names of checks.
const TITLE_WIDTH: usize = 15;

/// How far a fix is indented.
const INDENT: &str = "     ";

#[derive(Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    json: Json,
    /// Ask this DNS server instead of the system's: 1.1.1.1, or with a port 127.0.0.1:5353
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = server)]
    dns: Option<SocketAddr>,
}

/// An address with or without a port; 53 without.
pub(super) fn server(text: &str) -> Result<SocketAddr, String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    match (text.parse::<SocketAddr>(), bare.parse::<IpAddr>()) {
        (Ok(address), _) => Ok(address),
        (Err(_), Ok(ip)) => Ok(SocketAddr::new(ip, 53)),
        (Err(_), Err(_)) => {
            Err("write an address, for example 1.1.1.1, 127.0.0.1:5353 or [2606:4700:4700::1111]:53"
                .to_owned())
        }
    }
}

pub(super) async fn run(doctor: Doctor, context: &Context) -> Done {
    let bar = progress();
    let tell = |text: &'static str| bar.set_message(text);
    let examined = probe::examine(&context.sources, doctor.dns, &tell).await;
    bar.finish_and_clear();
    let (report, facts) = match &examined {
        Ok(facts) => (Report::of(facts), Some(facts)),
        Err(bad) => (Report::without(bad), None),
    };
    if doctor.json.json {
        let json = serde_json::to_string_pretty(&report.json())
            .map_err(|error| Failure::new(error, "report this"))?;
        out(&format!("{json}\n"))?;
    } else {
        out(&page(&report, facts, &Paint::when(std::io::stdout().is_terminal())))?;
    }
    if report.count(Status::Problem) > 0 {
        // A file system that does not answer must not keep the process, and there is nothing left to say.
        std::process::exit(TROUBLED.into());
    }
    Ok(())
}

/// A sign of life on a terminal.
pub(super) fn progress() -> ProgressBar {
    if !watched() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// Colours, where somebody sees them; never the only thing that tells.
pub(super) struct Paint {
    colour: bool,
}

impl Paint {
    /// For a stream that is a terminal or not.
    pub(super) fn when(terminal: bool) -> Self {
        Self { colour: terminal && std::env::var_os("NO_COLOR").is_none() }
    }

    pub(super) fn mark(&self, status: Status) -> String {
        let (mark, code) = match status {
            Status::Ok => ("✓", "32"),
            Status::Warning => ("!", "33"),
            Status::Problem => ("✗", "31"),
            Status::Skipped => ("–", "2"),
        };
        self.paint(mark, code)
    }

    pub(super) fn paint(&self, text: &str, code: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// The report for people. The first line answers the question.
fn page(report: &Report, facts: Option<&Facts>, paint: &Paint) -> String {
    let (warnings, problems) = (report.count(Status::Warning), report.count(Status::Problem));
    let name = facts
        .and_then(|facts| facts.wanted_names().first().cloned())
        .unwrap_or_else(|| "casement".to_owned());
    let up = match facts.and_then(Facts::gateway) {
        Some(running) => running.up_ms.map_or_else(|| "runs".to_owned(), |ms| format!("up {}", span(ms))),
        None => "not running".to_owned(),
    };
    let verdict = match (problems, warnings) {
        (0, 0) => "everything is well".to_owned(),
        (0, _) => "works; somebody should look at the warnings".to_owned(),
        (_, _) => {
            let bad: Vec<&str> = report
                .told
                .iter()
                .filter(|told| told.finding.status == Status::Problem)
                .map(|told| told.title)
                .collect();
            format!("something is wrong: {}", bad.join(", "))
        }
    };
    let mut text =
        paint.paint(&format!("{name} · casement {} · {up} · {verdict}", env!("CARGO_PKG_VERSION")), "1");
    text.push('\n');
    let mut group = "";
    let mut skipped: Vec<&Told> = Vec::new();
    for told in &report.told {
        if told.group != group {
            flush(&mut text, &mut skipped, paint);
            group = told.group;
            let _infallible = writeln!(text, "\n{}", paint.paint(group, "1"));
        }
        if told.finding.status == Status::Skipped {
            // Neighbours that are skipped for the same reason share a line.
            if skipped.first().is_some_and(|first| first.finding.text != told.finding.text) {
                flush(&mut text, &mut skipped, paint);
            }
            skipped.push(told);
            continue;
        }
        flush(&mut text, &mut skipped, paint);
        line(&mut text, told.title, &told.finding, paint);
    }
    flush(&mut text, &mut skipped, paint);
    let exit = if problems > 0 { TROUBLED } else { 0 };
    let count = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let _infallible =
        writeln!(text, "\n{}, {} · exit {exit}", count(warnings, "warning"), count(problems, "problem"));
    text
}

pub(super) fn line(text: &mut String, title: &str, finding: &Finding, paint: &Paint) {
    // Lines are as long as they are: a record or a command must be copied as a whole.
    let said = printable(&finding.text);
    let _infallible = writeln!(text, " {} {title:<TITLE_WIDTH$} {said}", paint.mark(finding.status));
    if let Some(fix) = &finding.fix {
        let _infallible = writeln!(text, "{INDENT}Fix: {}", printable(fix));
    }
}

fn flush(text: &mut String, skipped: &mut Vec<&Told>, paint: &Paint) {
    if let Some(first) = skipped.first() {
        let titles: Vec<&str> = skipped.iter().map(|told| told.title).collect();
        let said = format!("{}: skipped, {}", titles.join(", "), printable(&first.finding.text));
        let _infallible = writeln!(text, " {} {}", paint.mark(Status::Skipped), said);
    }
    skipped.clear();
}

/// What a name server or a file says must not move the cursor of a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_come_with_a_port() {
        for (text, expected) in [
            ("1.1.1.1", Some("1.1.1.1:53")),
            ("127.0.0.1:5353", Some("127.0.0.1:5353")),
            ("::1", Some("[::1]:53")),
            ("[::1]", Some("[::1]:53")),
            ("[::1]:5353", Some("[::1]:5353")),
            ("dns.example", None),
            ("", None),
        ] {
            assert_eq!(server(text).ok(), expected.map(|text| text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn the_page_answers_first_and_counts_last() {
        let told = |title, status, text: &str, fix: Option<&str>| Told {
            id: title,
            group: "Names",
            title,
            finding: Finding { status, text: text.to_owned(), fix: fix.map(str::to_owned) },
        };
        let report = Report {
            told: vec![
                told("DNS A", Status::Ok, "34.12.8.7", None),
                told(
                    "DNS AAAA",
                    Status::Problem,
                    "2600:1900::7 is not\u{1b}[2J this machine",
                    Some("Remove the AAAA record."),
                ),
                told("CAA", Status::Skipped, "no reason", None),
                told("Profile", Status::Skipped, "no reason", None),
                told("Clock", Status::Warning, "8 s ahead", Some("Set it.")),
            ],
            grade: None,
        };
        let plain = page(&report, None, &Paint { colour: false });
        let lines: Vec<&str> = plain.lines().collect();
        assert!(lines[0].contains("something is wrong: DNS AAAA"), "{plain}");
        assert!(plain.contains(" ✓ DNS A           34.12.8.7\n"), "{plain}");
        assert!(
            plain.contains(
                " ✗ DNS AAAA        2600:1900::7 is not [2J this machine\n     Fix: Remove the AAAA record.\n"
            ),
            "{plain}"
        );
        assert!(plain.contains(" – CAA, Profile: skipped, no reason\n"), "{plain}");
        assert_eq!(lines.last(), Some(&"1 warning, 1 problem · exit 3"));
        assert!(!plain.contains('\u{1b}'));
        assert!(page(&report, None, &Paint { colour: true }).contains("\u{1b}[31m✗\u{1b}[0m DNS AAAA"));
    }
}
