//! The certificate as people and scripts see it: what is shown, whether that is good, what happens next.

use crate::renewal::schedule::Next;
use crate::renewal::words;
use crate::renewal::{Attempt, Certificate, Memory, Outcome, Trouble, Wanted};
use crate::telemetry::time::{self, DAY_MS};
use serde::Serialize;

/// Attempts that are shown.
const ATTEMPTS_SHOWN: usize = 10;

/// Everything this is made of.
#[derive(Debug)]
pub struct Facts<'a> {
    /// What the configuration asks for: `acme`, `files` or `self-signed`.
    pub source: &'a str,
    /// Names that the certificate should have.
    pub wanted: &'a [String],
    /// The certificate that is shown.
    pub shown: &'a Certificate,
    /// Where it comes from: `acme`, `files` or `self-signed`.
    pub origin: &'a str,
    /// Browsers know its authority.
    pub publicly_trusted: bool,
    /// Browsers are told to insist on HTTPS.
    pub hsts: bool,
    /// With an authority: what is remembered, and what is next.
    pub acme: Option<AcmeFacts<'a>>,
    /// The time, in unix milliseconds.
    pub now_ms: i64,
}

/// What there is to know when an authority gives the certificates.
#[derive(Debug)]
pub struct AcmeFacts<'a> {
    /// What is wanted.
    pub wanted: &'a Wanted,
    /// What is remembered.
    pub memory: &'a Memory,
    /// What is next.
    pub next: &'a Next,
}

/// `GET /api/v1/certificate`.
#[derive(Clone, Debug, Serialize)]
pub struct CertificateView {
    server_time: String,
    server_time_ms: i64,
    source: String,
    /// Whether a browser is content.
    pub verdict: Verdict,
    /// The state in one sentence or two.
    pub headline: String,
    /// The names that it should have.
    pub wanted: Vec<String>,
    /// The certificate that is shown.
    pub shown: ShownView,
    hsts: bool,
    /// Whoever asks may order a certificate.
    pub may_renew: bool,
    /// With an authority: what happened and what is next.
    pub acme: Option<AcmeView>,
}

impl CertificateView {
    /// The state as rows of a name and a value, for where there is no script: a terminal, a plain page.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let shown = &self.shown;
        let mut rows = vec![
            ("names", shown.names.join(", ")),
            ("issuer", shown.issuer.clone()),
            ("key", shown.key.clone()),
            ("ends", format!("{} ({} days left)", shown.not_after, shown.days_left)),
        ];
        let Some(acme) = &self.acme else { return rows };
        rows.push(("authority", acme.ca.clone()));
        let known = [("account", &acme.account), ("thumbprint", &acme.thumbprint)];
        rows.extend(known.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
        if let (Some(at), Some(reason)) = (&acme.next_attempt, &acme.next_reason) {
            rows.push(("next attempt", format!("{at} ({reason})")));
        }
        if let Some(error) = &acme.last_error {
            rows.push(("last error", format!("{} {}", error.text, error.detail)));
            rows.push(("fix", error.fix.clone()));
        }
        rows
    }
}

/// Whether a browser is content with the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is.
    Trusted,
    /// Only one that was told of the authority.
    Private,
    /// It warns: nobody vouches for the certificate.
    SelfSigned,
    /// It warns: the certificate has ended, or not begun.
    Expired,
    /// It warns: the certificate is for other names.
    WrongNames,
}

/// The certificate that is shown.
#[derive(Clone, Debug, Serialize)]
pub struct ShownView {
    origin: String,
    /// Names it is for.
    pub names: Vec<String>,
    /// Who issued it.
    pub issuer: String,
    subject: String,
    serial: String,
    /// Kind of key.
    pub key: String,
    sha256: String,
    not_before: String,
    not_before_ms: i64,
    not_after: String,
    /// End, in unix milliseconds.
    pub not_after_ms: i64,
    /// Days until then; negative when it has ended.
    pub days_left: f64,
    publicly_trusted: bool,
    chain: Vec<LinkView>,
}

#[derive(Clone, Debug, Serialize)]
struct LinkView {
    subject: String,
    issuer: String,
    not_after: String,
    not_after_ms: i64,
    key: String,
}

/// With an authority: what happened and what is next.
#[derive(Clone, Debug, Serialize)]
pub struct AcmeView {
    directory: String,
    /// The authority's host.
    pub ca: String,
    /// URL of the account.
    pub account: Option<String>,
    /// Thumbprint of the account's key.
    pub thumbprint: Option<String>,
    profile: String,
    challenge: String,
    /// The authority's window for renewal.
    pub ari: Option<AriView>,
    next_attempt: Option<String>,
    /// Next attempt, in unix milliseconds.
    pub next_attempt_ms: Option<i64>,
    /// Why then.
    pub next_reason: Option<String>,
    /// What runs.
    pub running: Option<RunningView>,
    /// Set when nothing is tried until somebody mends something.
    pub stopped: Option<StoppedView>,
    last_attempt: Option<String>,
    /// Last attempt, in unix milliseconds.
    pub last_attempt_ms: Option<i64>,
    last_success: Option<String>,
    /// Last success, in unix milliseconds.
    pub last_success_ms: Option<i64>,
    /// Why the last attempt failed, when it did.
    pub last_error: Option<ErrorView>,
    issued_last_7_days: usize,
    /// Newest first.
    pub attempts: Vec<AttemptView>,
}

/// The authority's window for renewal.
#[derive(Clone, Debug, Serialize)]
pub struct AriView {
    start: String,
    start_ms: i64,
    end: String,
    end_ms: i64,
    explanation_url: Option<String>,
}

/// What runs.
#[derive(Clone, Debug, Serialize)]
pub struct RunningView {
    since: String,
    since_ms: i64,
    /// For people.
    pub step: String,
}

/// Why nothing is tried.
#[derive(Clone, Debug, Serialize)]
pub struct StoppedView {
    since: String,
    since_ms: i64,
    problem: String,
    /// For people.
    pub text: String,
    /// What to do.
    pub fix: String,
}

/// Why an attempt failed.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorView {
    at: String,
    at_ms: i64,
    problem: String,
    name: Option<String>,
    /// What the authority wrote.
    pub detail: String,
    /// The same in plain words.
    pub text: String,
    /// What to do.
    pub fix: String,
}

/// An attempt.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptView {
    /// When.
    pub at: String,
    /// When, in unix milliseconds.
    pub at_ms: i64,
    /// How long it took, in milliseconds.
    pub took_ms: i64,
    reason: String,
    /// Which challenge.
    pub challenge: String,
    names: Vec<String>,
    /// Whether there was a certificate.
    pub ok: bool,
    /// A rehearsal.
    pub dry_run: bool,
    issued_until: Option<String>,
    issued_until_ms: Option<i64>,
    problem: Option<String>,
    name: Option<String>,
    /// What the authority wrote.
    pub detail: Option<String>,
    /// In plain words.
    pub text: String,
    /// What to do.
    pub fix: Option<String>,
}

/// Makes the view.
pub fn view(facts: &Facts<'_>) -> CertificateView {
    let verdict = verdict(facts);
    let acme = facts.acme.as_ref().map(|acme| acme_view(acme, facts.now_ms));
    CertificateView {
        server_time: time::rfc3339(facts.now_ms),
        server_time_ms: facts.now_ms,
        source: facts.source.to_owned(),
        verdict,
        headline: headline(facts, verdict, acme.as_ref()),
        wanted: facts.wanted.to_vec(),
        shown: shown(facts),
        hsts: facts.hsts,
        may_renew: false,
        acme,
    }
}

fn verdict(facts: &Facts<'_>) -> Verdict {
    if facts.shown.self_issued {
        Verdict::SelfSigned
    } else if !facts.shown.is_in_date(facts.now_ms) {
        Verdict::Expired
    } else if !facts.shown.missing(facts.wanted).is_empty() {
        Verdict::WrongNames
    } else if facts.publicly_trusted {
        Verdict::Trusted
    } else {
        Verdict::Private
    }
}

/// Days until the end, with one decimal.
pub fn days_left(certificate: &Certificate, now_ms: i64) -> f64 {
    let left = certificate.not_after_ms.saturating_sub(now_ms);
    (left as f64 / DAY_MS as f64 * 10.0).floor() / 10.0
}

fn headline(facts: &Facts<'_>, verdict: Verdict, acme: Option<&AcmeView>) -> String {
    let shown = facts.shown;
    let left = span(shown.not_after_ms - facts.now_ms);
    let state = match verdict {
        Verdict::Trusted => format!("Trusted by every browser. {left} left."),
        Verdict::Private => format!(
            "Issued by {}, which browsers do not know unless they were told. {left} left.",
            shown.issuer
        ),
        Verdict::SelfSigned => "This certificate is the gateway's own: browsers warn.".to_owned(),
        Verdict::Expired if shown.not_before_ms > facts.now_ms => {
            "The certificate is not valid yet: is this machine's clock right? Browsers warn.".to_owned()
        }
        Verdict::Expired => {
            format!("The certificate ended {} ago. Browsers warn.", span(facts.now_ms - shown.not_after_ms))
        }
        Verdict::WrongNames => format!(
            "The certificate does not name {}: browsers warn there.",
            shown.missing(facts.wanted).join(", ")
        ),
    };
    let next = match acme {
        Some(AcmeView { running: Some(running), .. }) => format!(" Working on it: {}.", running.step),
        Some(AcmeView { stopped: Some(stopped), .. }) => format!(" {} {}", stopped.text, stopped.fix),
        Some(AcmeView { last_error: Some(error), next_attempt_ms, .. }) => {
            let again = next_attempt_ms.map_or_else(String::new, |at| {
                format!(" The next attempt is in {}.", span((at - facts.now_ms).max(0)))
            });
            format!(" The last attempt failed: {}{again}", lower(&error.text))
        }
        Some(AcmeView { next_attempt_ms: Some(at), .. }) => {
            format!(" The next one is ordered in {}.", span((at - facts.now_ms).max(0)))
        }
        Some(_) => String::new(),
        None if facts.source == "files" && facts.origin != "files" => {
            " The configured files cannot be used; the log and `casement check` say why.".to_owned()
        }
        None => String::new(),
    };
    state + &next
}

fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// A span in its largest unit: "71 days", "5 hours", "40 seconds".
pub fn span(ms: i64) -> String {
    let (count, unit) = match ms.max(0) / 1000 {
        seconds @ ..120 => (seconds, "second"),
        seconds @ 120..7200 => (seconds / 60, "minute"),
        seconds @ 7200..172_800 => (seconds / 3600, "hour"),
        seconds => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

fn shown(facts: &Facts<'_>) -> ShownView {
    let shown = facts.shown;
    ShownView {
        origin: facts.origin.to_owned(),
        names: shown.names.clone(),
        issuer: shown.issuer.clone(),
        subject: shown.subject.clone(),
        serial: shown.serial.clone(),
        key: shown.key.clone(),
        sha256: shown.sha256.clone(),
        not_before: time::rfc3339(shown.not_before_ms),
        not_before_ms: shown.not_before_ms,
        not_after: time::rfc3339(shown.not_after_ms),
        not_after_ms: shown.not_after_ms,
        days_left: days_left(shown, facts.now_ms),
        publicly_trusted: facts.publicly_trusted,
        chain: shown
            .chain
            .iter()
            .map(|link| LinkView {
                subject: link.subject.clone(),
                issuer: link.issuer.clone(),
                not_after: time::rfc3339(link.not_after_ms),
                not_after_ms: link.not_after_ms,
                key: link.key.clone(),
            })
            .collect(),
    }
}

fn acme_view(facts: &AcmeFacts<'_>, now_ms: i64) -> AcmeView {
    let AcmeFacts { wanted, memory, next } = facts;
    let planned = match next {
        Next::Order(order) => Some((now_ms, order.reason)),
        Next::AskWhen => None,
        Next::Wait { planned, .. } => *planned,
    };
    let real: Vec<&Attempt> = memory.attempts.iter().filter(|attempt| !attempt.dry_run).collect();
    let last_error = real.last().and_then(|attempt| match &attempt.outcome {
        Outcome::Failed(trouble) => Some(error(attempt.at_ms, trouble)),
        Outcome::Issued { .. } => None,
    });
    let account = memory.account.as_ref().filter(|account| account.directory == wanted.directory);
    let retrying = memory.failures > 0 && memory.about == wanted.fingerprint();
    AcmeView {
        directory: wanted.directory.clone(),
        ca: host(&wanted.directory).to_owned(),
        account: account.map(|account| account.id.clone()),
        thumbprint: account.map(|account| account.thumbprint.clone()),
        profile: if wanted.has_address() { "shortlived".to_owned() } else { wanted.profile.clone() },
        challenge: wanted.challenge.map_or("auto", |challenge| challenge.name()).to_owned(),
        ari: memory.ari.as_ref().and_then(|ari| {
            let (start_ms, end_ms) = ari.window_ms?;
            Some(AriView {
                start: time::rfc3339(start_ms),
                start_ms,
                end: time::rfc3339(end_ms),
                end_ms,
                explanation_url: ari.explanation_url.clone(),
            })
        }),
        next_attempt: planned.map(|(at, _)| time::rfc3339(at)),
        next_attempt_ms: planned.map(|(at, _)| at),
        next_reason: planned.map(|(_, reason)| if retrying { "retry".to_owned() } else { plain(&reason) }),
        running: memory.running.as_ref().map(|running| RunningView {
            since: time::rfc3339(running.since_ms),
            since_ms: running.since_ms,
            step: running.step.clone(),
        }),
        stopped: memory.stopped.as_ref().map(|stopped| {
            let about = real.iter().rev().find_map(|attempt| match &attempt.outcome {
                Outcome::Failed(trouble) if trouble.problem == stopped.problem => Some(trouble.clone()),
                Outcome::Failed(_) | Outcome::Issued { .. } => None,
            });
            let said = words::explain(&about.unwrap_or_else(|| Trouble::new(&stopped.problem, "")));
            StoppedView {
                since: time::rfc3339(stopped.since_ms),
                since_ms: stopped.since_ms,
                problem: stopped.problem.clone(),
                text: said.text,
                fix: said.fix,
            }
        }),
        last_attempt: real.last().map(|attempt| time::rfc3339(attempt.at_ms)),
        last_attempt_ms: real.last().map(|attempt| attempt.at_ms),
        last_success: memory.last_success_ms.map(time::rfc3339),
        last_success_ms: memory.last_success_ms,
        last_error,
        issued_last_7_days: memory.issued_ms.iter().filter(|at| now_ms - **at < 7 * DAY_MS).count(),
        attempts: memory.attempts.iter().rev().take(ATTEMPTS_SHOWN).map(attempt).collect(),
    }
}

fn host(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default()
}

/// A plain value as serde writes it.
fn plain(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn error(at_ms: i64, trouble: &Trouble) -> ErrorView {
    let said = words::explain(trouble);
    ErrorView {
        at: time::rfc3339(at_ms),
        at_ms,
        problem: trouble.problem.clone(),
        name: trouble.names.first().cloned(),
        detail: trouble.detail.clone(),
        text: said.text,
        fix: said.fix,
    }
}

fn attempt(attempt: &Attempt) -> AttemptView {
    let (until, trouble) = match &attempt.outcome {
        Outcome::Issued { until_ms } => (Some(*until_ms), None),
        Outcome::Failed(trouble) => (None, Some(trouble)),
    };
    AttemptView {
        at: time::rfc3339(attempt.at_ms),
        at_ms: attempt.at_ms,
        took_ms: attempt.took_ms,
        reason: plain(&attempt.reason),
        challenge: attempt.challenge.name().to_owned(),
        names: attempt.names.clone(),
        ok: trouble.is_none(),
        dry_run: attempt.dry_run,
        issued_until: until.map(time::rfc3339),
        issued_until_ms: until,
        problem: trouble.map(|trouble| trouble.problem.clone()),
        name: trouble.and_then(|trouble| trouble.names.first().cloned()),
        detail: trouble.map(|trouble| trouble.detail.clone()),
        text: words::outcome(&attempt.outcome, attempt.dry_run),
        fix: trouble.map(|trouble| words::explain(trouble).fix),
    }
}
