//! The checks: what was found out → findings. Pure.
//!
//! | file | about |
//! |---|---|
//! | `machine` | data folder, disk, memory, clock |
//! | `gateway` | the process, the store, devices, who may sign in |
//! | `names` | names, DNS |
//! | `caa` | who may issue |
//! | `authority` | the authority and its wishes |
//! | `ports` | what is reached from outside |
//! | `certificate` | the certificate and its renewal |
//! | `tls` | how TLS is spoken |

mod authority;
mod caa;
mod certificate;
mod gateway;
mod machine;
mod names;
mod ports;
mod tls;

#[cfg(test)]
mod tests;

pub use tls::grade;

use super::facts::{Facts, Unknown};
use crate::config::BadConfig;

/// How a check ended, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It does not apply, or could not be found out.
    Skipped,
    /// Good.
    Ok,
    /// It works, but somebody should look.
    Warning,
    /// It does not work, or will not for long.
    Problem,
}

impl Status {
    /// The word for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub status: Status,
    /// What it is, in a line.
    pub text: String,
    /// What to do, in a sentence; for warnings and problems.
    pub fix: Option<String>,
}

fn ok(text: impl Into<String>) -> Finding {
    Finding { status: Status::Ok, text: text.into(), fix: None }
}

fn warning(text: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { status: Status::Warning, text: text.into(), fix: Some(fix.into()) }
}

fn problem(text: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { status: Status::Problem, text: text.into(), fix: Some(fix.into()) }
}

fn skipped(why: impl Into<String>) -> Finding {
    Finding { status: Status::Skipped, text: why.into(), fix: None }
}

fn unknown(why: &Unknown) -> Finding {
    skipped(why.0.clone())
}

/// What checks about the authority say when there is none.
fn no_authority(facts: &Facts) -> Finding {
    skipped(format!("tls.source is \"{}\"", facts.source()))
}

/// Findings of one kind that are shown in a line; the rest is counted.
const TOGETHER_MAX: usize = 3;

/// Many findings as one: the worst status, and what those of that status say.
fn worst(findings: Vec<Finding>) -> Option<Finding> {
    let status = findings.iter().map(|finding| finding.status).max()?;
    let (mut texts, mut fixes): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for finding in findings.into_iter().filter(|finding| finding.status == status) {
        if !texts.contains(&finding.text) {
            texts.push(finding.text);
        }
        fixes.extend(finding.fix.filter(|fix| !fixes.contains(fix)));
    }
    Some(Finding {
        status,
        text: together(&texts, "; "),
        // Each may end with what must be copied, and then has no full stop.
        fix: (!fixes.is_empty()).then(|| together(&fixes, " · ")),
    })
}

fn together(texts: &[String], between: &str) -> String {
    let shown: Vec<&str> = texts.iter().take(TOGETHER_MAX).map(String::as_str).collect();
    let more = texts.len().saturating_sub(TOGETHER_MAX);
    let rest = if more > 0 { format!("{between}and {more} more") } else { String::new() };
    shown.join(between) + &rest
}

fn list<T: ToString>(items: &[T]) -> String {
    let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
    together(&texts, ", ")
}

/// Bytes as people say them.
fn bytes(count: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "shown with one digit")]
    let of = |unit: u64| count as f64 / unit as f64;
    match count {
        0..1_000 => format!("{count} bytes"),
        1_000..1_000_000 => format!("{:.0} kB", of(1_000)),
        1_000_000..1_000_000_000 => format!("{:.0} MB", of(1_000_000)),
        1_000_000_000.. => format!("{:.1} GB", of(1_000_000_000)),
    }
}

/// A check.
pub struct Check {
    /// Its name for programs; stays what it is.
    pub id: &'static str,
    /// The heading it stands under.
    pub group: &'static str,
    /// Its name for people.
    pub title: &'static str,
    check: fn(&Facts) -> Finding,
}

/// Every check, in the order in which they are shown. Adding one is one function and one line here.
pub static CHECKS: &[Check] = &[
    Check { id: "configuration", group: "Configuration", title: "Configuration", check: configuration },
    Check { id: "folder", group: "Machine", title: "Data folder", check: machine::folder },
    Check { id: "folder_mode", group: "Machine", title: "Its mode", check: machine::folder_mode },
    Check { id: "private_files", group: "Machine", title: "Private keys", check: machine::private_files },
    Check { id: "disk", group: "Machine", title: "Disk", check: machine::disk },
    Check { id: "inodes", group: "Machine", title: "Files on it", check: machine::inodes },
    Check { id: "memory", group: "Machine", title: "Memory", check: machine::memory },
    Check { id: "clock", group: "Machine", title: "Clock", check: machine::clock },
    Check { id: "clock_dates", group: "Machine", title: "Date", check: machine::dates },
    Check { id: "gateway", group: "Gateway", title: "Gateway", check: gateway::running },
    Check { id: "gateway_answers", group: "Gateway", title: "Answers", check: gateway::answers },
    Check { id: "gateway_memory", group: "Gateway", title: "Its memory", check: gateway::memory },
    Check { id: "open_files", group: "Gateway", title: "Open files", check: gateway::open_files },
    Check { id: "store", group: "Gateway", title: "Store", check: gateway::store },
    Check { id: "backup", group: "Gateway", title: "Backups", check: gateway::backups },
    Check { id: "devices", group: "Gateway", title: "Devices", check: gateway::devices },
    Check { id: "sign_in", group: "Gateway", title: "Signing in", check: gateway::sign_in },
    Check { id: "names", group: "Names", title: "Names", check: names::names },
    Check { id: "names_public", group: "Names", title: "Public names", check: names::public },
    Check { id: "dns", group: "Names", title: "DNS", check: names::resolves },
    Check { id: "dns_a", group: "Names", title: "DNS A", check: names::a },
    Check { id: "dns_aaaa", group: "Names", title: "DNS AAAA", check: names::aaaa },
    Check { id: "caa", group: "Names", title: "CAA", check: caa::caa },
    Check { id: "authority", group: "Authority", title: "Directory", check: authority::answers },
    Check { id: "profile", group: "Authority", title: "Profile", check: authority::profile },
    Check { id: "binding", group: "Authority", title: "Account binding", check: authority::binding },
    Check { id: "listeners", group: "Ports", title: "Listeners", check: ports::listeners },
    Check { id: "port_http", group: "Ports", title: "HTTP", check: ports::http },
    Check { id: "port_https", group: "Ports", title: "HTTPS", check: ports::https },
    Check { id: "challenge", group: "Ports", title: "HTTP-01 path", check: ports::challenge },
    Check { id: "redirect", group: "Ports", title: "Redirect", check: ports::redirect },
    Check { id: "certificate", group: "Certificate", title: "Files", check: certificate::readable },
    Check { id: "certificate_pair", group: "Certificate", title: "Key", check: certificate::pair },
    Check { id: "certificate_dates", group: "Certificate", title: "In date", check: certificate::dates },
    Check { id: "certificate_ends", group: "Certificate", title: "Its end", check: certificate::ends },
    Check { id: "certificate_names", group: "Certificate", title: "Its names", check: certificate::names },
    Check { id: "certificate_chain", group: "Certificate", title: "Chain", check: certificate::chain },
    Check { id: "certificate_trust", group: "Certificate", title: "Trust", check: certificate::trust },
    Check { id: "renewal", group: "Certificate", title: "Renewal", check: certificate::renewal },
    Check { id: "certificate_shown", group: "Certificate", title: "Shown", check: certificate::shown },
    Check { id: "tls_versions", group: "TLS", title: "Versions", check: tls::versions },
    Check { id: "tls_old", group: "TLS", title: "Old versions", check: tls::old },
    Check { id: "tls_alpn", group: "TLS", title: "HTTP/2", check: tls::alpn },
    Check { id: "tls_key_exchange", group: "TLS", title: "Key exchange", check: tls::key_exchange },
    Check { id: "tls_nameless", group: "TLS", title: "Without a name", check: tls::nameless },
    Check { id: "hsts", group: "TLS", title: "HSTS", check: tls::hsts },
    Check { id: "csp", group: "TLS", title: "Page rules", check: tls::csp },
    Check { id: "tls_grade", group: "TLS", title: "TLS grade", check: tls::graded },
];

/// A check and what it found.
#[derive(Clone, Debug)]
pub struct Told {
    /// The check's name for programs.
    pub id: &'static str,
    /// The heading.
    pub group: &'static str,
    /// The check's name for people.
    pub title: &'static str,
    /// What it found.
    pub finding: Finding,
}

/// What every check says of these facts.
pub fn judge(facts: &Facts) -> Vec<Told> {
    let told = |check: &Check| Told {
        id: check.id,
        group: check.group,
        title: check.title,
        finding: (check.check)(facts),
    };
    CHECKS.iter().map(told).collect()
}

/// What every check says when there is no configuration to go by.
pub fn judge_without(bad: &BadConfig) -> Vec<Told> {
    let told = |check: &Check| Told {
        id: check.id,
        group: check.group,
        title: check.title,
        finding: if check.id == "configuration" {
            bad_configuration(bad)
        } else {
            skipped("the configuration cannot be used")
        },
    };
    CHECKS.iter().map(told).collect()
}

fn bad_configuration(bad: &BadConfig) -> Finding {
    let texts: Vec<String> = bad.problems.iter().map(ToString::to_string).collect();
    problem(
        together(&texts, "; "),
        "Mend these lines; `casement check` shows every problem with its line, and looks again.",
    )
}

fn configuration(facts: &Facts) -> Finding {
    if facts.warnings.is_empty() {
        return ok(match &facts.file {
            Some(file) => format!("{} is good", file.display()),
            None => "no file, so the defaults are in force".to_owned(),
        });
    }
    let texts: Vec<String> = facts
        .warnings
        .iter()
        .map(|warning| match warning.key.as_str() {
            "" => format!("{}: {}", warning.place, warning.what),
            key => format!("{}: {key}: {}", warning.place, warning.what),
        })
        .collect();
    let fixes: Vec<&str> =
        facts.warnings.iter().take(TOGETHER_MAX).map(|warning| warning.fix.as_str()).collect();
    warning(together(&texts, "; "), format!("{}.", upper(&fixes.join("; "))))
}

/// A sentence begins with a capital letter.
fn upper(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
