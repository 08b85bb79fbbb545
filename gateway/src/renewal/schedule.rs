//! The scheduler: given what is wanted, what is there, what is remembered and the time, it says what to do next, and
//! given what became of it, what to remember. It never looks at a clock and rolls no dice of its own.
//!
//! Limits that it keeps, whatever an authority does: one order per attempt, [`VALIDATIONS_PER_HOUR`] failed validations
//! an hour per name (Let's Encrypt allows five), a back-off of [`BACKOFF_MIN_MS`] to [`BACKOFF_MAX_MS`], and no
//! certificate sooner than [`gap_ms`] after the last.

use super::{
    ATTEMPTS_KEPT, Ari, Attempt, Certificate, Challenge, Memory, Outcome, Reason, Stopped, Trouble, Wanted,
    names,
};

/// Shortest pause after a failed attempt, in milliseconds.
pub const BACKOFF_MIN_MS: i64 = 60_000;

/// Longest pause after a failed attempt, in milliseconds.
pub const BACKOFF_MAX_MS: i64 = 6 * HOUR_MS;

/// Failed validations of one name in an hour. Let's Encrypt allows five per account.
pub const VALIDATIONS_PER_HOUR: usize = 4;

/// Longest `Retry-After` that is kept, in milliseconds: the longest limit of a public authority lasts a week.
pub const RETRY_AFTER_MAX_MS: i64 = 7 * DAY_MS;

/// Attempts after a hopeless problem, one a day, until somebody mends something and says so.
pub const HOPELESS_LOOKS: u32 = 7;

/// How long an authority's answer to "when should I renew" may be believed, in milliseconds.
const ARI_AGE_MAX_MS: i64 = DAY_MS;

/// How soon it may be asked again, in milliseconds.
const ARI_AGE_MIN_MS: i64 = 60_000;

/// How long after issuing it is asked first, at most, in milliseconds; a tenth of the lifetime when that is less.
const ARI_FIRST_MS: i64 = 10 * 60_000;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// A lifetime below this is renewed at half of it, in milliseconds.
const SHORT_MS: i64 = 10 * DAY_MS;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Order a certificate.
    Order(Order),
    /// Ask the authority when to renew the certificate at hand.
    AskWhen,
    /// Nothing before this time, in unix milliseconds; then this reason will hold.
    Wait {
        /// When to look again.
        until_ms: i64,
        /// When the next order is planned, and why; `None` when there is none in sight.
        planned: Option<(i64, Reason)>,
    },
}

/// An order to place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Why.
    pub reason: Reason,
    /// For which names.
    pub names: Vec<String>,
    /// How to show that they are ours.
    pub challenge: Challenge,
    /// Say which certificate this one replaces.
    pub replaces: bool,
}

/// What to do now.
pub fn next(wanted: &Wanted, there: Option<&Certificate>, memory: &Memory, now_ms: i64) -> Next {
    let relevant = memory.about == wanted.fingerprint();
    let (due_ms, reason) = due(wanted, there, memory, now_ms);
    let mut at_ms = due_ms;
    if relevant {
        let stop = memory.stopped.as_ref().filter(|stopped| stopped.looks >= HOPELESS_LOOKS);
        if stop.is_some() {
            return Next::Wait { until_ms: i64::MAX, planned: None };
        }
        // A clock that was far ahead when the pause was decided must not silence us for years.
        if memory.not_before_ms <= now_ms.saturating_add(RETRY_AFTER_MAX_MS + DAY_MS) {
            at_ms = at_ms.max(memory.not_before_ms);
        }
    }
    let names = orderable(wanted, memory, now_ms);
    at_ms = at_ms.max(allowed_ms(&names, memory, now_ms)).max(gap_end_ms(wanted, there, memory, now_ms));
    if at_ms > now_ms {
        let ask_ms = ask_ms(there, memory);
        if ask_ms <= now_ms {
            return Next::AskWhen;
        }
        return Next::Wait { until_ms: at_ms.min(ask_ms), planned: Some((at_ms, reason)) };
    }
    Next::Order(Order {
        reason,
        challenge: challenge(wanted, &names, memory),
        // The names may differ from those of the certificate that goes; the authority decides (RFC 9773 §5).
        replaces: there.is_some_and(|there| !there.self_issued)
            && matches!(reason, Reason::Renewal | Reason::Ari | Reason::Asked),
        names,
    })
}

/// An order that somebody asked for: at once, but for the hourly limit. The error is when it will be possible.
///
/// # Errors
/// The time, in unix milliseconds, from which the limits allow it.
pub fn asked(
    wanted: &Wanted,
    there: Option<&Certificate>,
    memory: &Memory,
    now_ms: i64,
) -> Result<Order, i64> {
    let names = orderable(wanted, memory, now_ms);
    let allowed = allowed_ms(&names, memory, now_ms);
    if allowed > now_ms {
        return Err(allowed);
    }
    let challenge = challenge(wanted, &names, memory);
    let replaces = there.is_some_and(|there| !there.self_issued);
    Ok(Order { reason: Reason::Asked, challenge, replaces, names })
}

/// When an order is due by the certificate alone, and why.
fn due(wanted: &Wanted, there: Option<&Certificate>, memory: &Memory, now_ms: i64) -> (i64, Reason) {
    let Some(there) = there else { return (now_ms, Reason::First) };
    let missing = there.missing(&wanted.names);
    // A found address that could not be validated lately is left out for a while.
    if missing.iter().any(|name| !wanted.found || !failed_lately(memory, name, now_ms)) {
        return (now_ms, Reason::Names);
    }
    if memory.issued_by.as_ref().is_some_and(|directory| *directory != wanted.directory) {
        return (now_ms, Reason::Names);
    }
    let renewal = by_age(there, memory);
    let again = missing.iter().filter_map(|name| failed_at(memory, name, now_ms)).map(|at| at + DAY_MS).min();
    match again {
        Some(again) if again < renewal.0 => (again, Reason::Names),
        _ => renewal,
    }
}

fn by_age(there: &Certificate, memory: &Memory) -> (i64, Reason) {
    if let Some(ari) = memory.ari.as_ref().filter(|ari| ari.serial == there.serial && ari.window_ms.is_some())
    {
        // However late the authority's wish, a tenth of the lifetime is left for failures.
        let latest = there.not_after_ms - there.lifetime_ms() / 10;
        return (ari.chosen_ms.min(latest), Reason::Ari);
    }
    (renew_ms(there), Reason::Renewal)
}

/// When a certificate is renewed if its authority says nothing: at two thirds of its lifetime, at half when that is
/// under ten days. Never a fixed number of days: lifetimes shrink (CA/Browser Forum ballot SC-081).
pub fn renew_ms(certificate: &Certificate) -> i64 {
    let lifetime = certificate.lifetime_ms();
    let share = if lifetime < SHORT_MS { lifetime / 2 } else { lifetime / 3 * 2 };
    certificate.not_before_ms.saturating_add(share)
}

/// The least time between two certificates, so that an authority that always says "renew now" is not obeyed in a loop:
/// a tenth of the lifetime, at most an hour.
pub fn gap_ms(certificate: &Certificate) -> i64 {
    (certificate.lifetime_ms() / 10).min(HOUR_MS)
}

fn gap_end_ms(wanted: &Wanted, there: Option<&Certificate>, memory: &Memory, now_ms: i64) -> i64 {
    let (Some(there), Some(last)) = (there, memory.last_success_ms) else { return i64::MIN };
    // Other names by configuration are a person's wish; addresses that come and go are not.
    let elsewhere = memory.issued_by.as_ref().is_some_and(|directory| *directory != wanted.directory);
    let by_hand = elsewhere || (!wanted.found && !there.missing(&wanted.names).is_empty());
    if by_hand || last > now_ms { i64::MIN } else { last.saturating_add(gap_ms(there)) }
}

/// When the authority is to be asked about the certificate at hand.
fn ask_ms(there: Option<&Certificate>, memory: &Memory) -> i64 {
    let Some(there) = there.filter(|there| !there.self_issued) else { return i64::MAX };
    match &memory.ari {
        Some(ari) if ari.serial == there.serial => ari.ask_again_ms,
        // Not at once: what was just issued needs no renewal.
        _ => match memory.last_success_ms {
            Some(last) => last.saturating_add((there.lifetime_ms() / 10).min(ARI_FIRST_MS)),
            None => there.not_before_ms,
        },
    }
}

/// The names to order: all, but those found addresses that could not be validated lately, as long as one is left.
fn orderable(wanted: &Wanted, memory: &Memory, now_ms: i64) -> Vec<String> {
    if wanted.found {
        let good: Vec<String> =
            wanted.names.iter().filter(|name| !failed_lately(memory, name, now_ms)).cloned().collect();
        if !good.is_empty() {
            return good;
        }
    }
    wanted.names.clone()
}

fn failed_lately(memory: &Memory, name: &str, now_ms: i64) -> bool {
    failed_at(memory, name, now_ms).is_some()
}

/// When a name could not be validated, if that was its last attempt and within a day.
fn failed_at(memory: &Memory, name: &str, now_ms: i64) -> Option<i64> {
    let lately = |attempt: &&Attempt| (0..DAY_MS).contains(&(now_ms - attempt.at_ms)) && !attempt.dry_run;
    let about =
        memory.attempts.iter().rev().filter(lately).find(|attempt| attempt.names.iter().any(|n| n == name));
    about.filter(|attempt| failures_of(attempt).any(|failed| failed == name)).map(|attempt| attempt.at_ms)
}

fn failures_of(attempt: &Attempt) -> impl Iterator<Item = &str> {
    match &attempt.outcome {
        Outcome::Failed(trouble) => trouble.names.as_slice(),
        Outcome::Issued { .. } => &[],
    }
    .iter()
    .map(String::as_str)
}

/// From when on none of the names has too many failed validations behind it.
fn allowed_ms(names: &[String], memory: &Memory, now_ms: i64) -> i64 {
    let ends = |name: &String| {
        let mut failed: Vec<i64> = memory
            .attempts
            .iter()
            .filter(|attempt| (0..HOUR_MS).contains(&(now_ms - attempt.at_ms)))
            .filter(|attempt| failures_of(attempt).any(|failed| failed == name))
            .map(|attempt| attempt.at_ms + attempt.took_ms)
            .collect();
        failed.sort_unstable();
        let oldest = failed.len().checked_sub(VALIDATIONS_PER_HOUR)?;
        Some(failed.get(oldest)? + HOUR_MS)
    };
    names.iter().filter_map(ends).max().unwrap_or(i64::MIN)
}

/// The one that is configured; else the one that worked last; after a failed validation the other one.
fn challenge(wanted: &Wanted, names: &[String], memory: &Memory) -> Challenge {
    if let Some(challenge) = wanted.challenge {
        return challenge;
    }
    if !wanted.http {
        return Challenge::TlsAlpn01;
    }
    let about = |attempt: &&Attempt| attempt.names.iter().any(|name| names.contains(name));
    match memory.attempts.iter().rev().filter(about).find(|attempt| says_something(attempt)) {
        None => Challenge::Http01,
        Some(Attempt { outcome: Outcome::Issued { .. }, challenge, .. }) => *challenge,
        Some(Attempt { outcome: Outcome::Failed(_), challenge, .. }) => challenge.other(),
    }
}

/// Whether an attempt's outcome says something about its challenge.
fn says_something(attempt: &Attempt) -> bool {
    match &attempt.outcome {
        Outcome::Issued { .. } => true,
        Outcome::Failed(trouble) => !trouble.names.is_empty(),
    }
}

/// Takes note of the certificate at hand. One that did not come from here was imported: what was known of the one before
/// does not apply to it.
pub fn at_hand(memory: &mut Memory, there: Option<&Certificate>) {
    let serial = there.map(|there| there.serial.clone());
    if memory.serial != serial {
        memory.serial = serial;
        memory.issued_by = None;
        memory.last_success_ms = None;
        memory.ari = None;
    }
}

/// Forgets what does not apply any more when something else is wanted: the pause and the stop, not the attempts.
pub fn about(memory: &mut Memory, wanted: &Wanted) {
    let fingerprint = wanted.fingerprint();
    if memory.about != fingerprint {
        memory.about = fingerprint;
        memory.failures = 0;
        memory.not_before_ms = 0;
        memory.stopped = None;
    }
}

/// Remembers an attempt. `chance` is a number of 0 to 1 that spreads the pause, so that a thousand gateways that failed
/// together do not come back together.
pub fn remember(memory: &mut Memory, attempt: Attempt, chance: f64, now_ms: i64) {
    let real = !attempt.dry_run;
    match &attempt.outcome {
        Outcome::Issued { .. } if real => {
            memory.failures = 0;
            memory.not_before_ms = 0;
            memory.stopped = None;
            memory.ari = None;
            memory.last_success_ms = Some(now_ms);
            memory.issued_ms.retain(|at| now_ms - at < 7 * DAY_MS);
            memory.issued_ms.push(now_ms);
        }
        Outcome::Failed(trouble) if real => {
            memory.failures = memory.failures.saturating_add(1);
            memory.not_before_ms = now_ms + pause_ms(memory.failures, trouble, chance);
            memory.stopped = trouble.is_hopeless().then(|| {
                let before = memory.stopped.as_ref().filter(|stopped| stopped.problem == trouble.problem);
                Stopped {
                    since_ms: before.map_or(now_ms, |stopped| stopped.since_ms),
                    problem: trouble.problem.clone(),
                    looks: before.map_or(0, |stopped| stopped.looks) + 1,
                }
            });
        }
        // An authority that wants to be left alone wants that of rehearsals, too.
        Outcome::Failed(Trouble { retry_after_ms: Some(wait), .. }) => {
            memory.not_before_ms = memory.not_before_ms.max(now_ms + (*wait).clamp(0, RETRY_AFTER_MAX_MS));
        }
        Outcome::Issued { .. } | Outcome::Failed(_) => {}
    }
    memory.attempts.push(attempt);
    let surplus = memory.attempts.len().saturating_sub(ATTEMPTS_KEPT);
    memory.attempts.drain(..surplus);
}

fn pause_ms(failures: u32, trouble: &Trouble, chance: f64) -> i64 {
    let doubled = BACKOFF_MIN_MS.saturating_mul(1 << failures.saturating_sub(1).min(16));
    #[allow(clippy::cast_possible_truncation, reason = "at most six hours of milliseconds, times 1.5")]
    let spread = (doubled.min(BACKOFF_MAX_MS) as f64 * (1.0 + 0.5 * chance.clamp(0.0, 1.0))) as i64;
    let backoff = spread.clamp(BACKOFF_MIN_MS, BACKOFF_MAX_MS);
    let backoff = match trouble.problem.as_str() {
        // Nobody but this machine is asked for anything.
        "local" | "no_names" => BACKOFF_MIN_MS,
        _ if trouble.is_hopeless() => DAY_MS,
        _ => backoff,
    };
    backoff.max(trouble.retry_after_ms.unwrap_or(0).clamp(0, RETRY_AFTER_MAX_MS))
}

/// What an authority said about when to renew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// The window, in unix milliseconds; `None` when the authority has no such service or does not know the
    /// certificate.
    pub window_ms: Option<(i64, i64)>,
    /// Why.
    pub explanation_url: Option<String>,
    /// When to ask again, from now, in milliseconds; `None` when it could not be asked.
    pub again_ms: Option<i64>,
}

/// Remembers what an authority said. `chance` of 0 to 1 chooses the moment within the window (RFC 9773 §4.2); a window
/// that stays the same keeps its moment.
pub fn remember_suggestion(memory: &mut Memory, serial: &str, said: Suggestion, chance: f64, now_ms: i64) {
    let before = memory.ari.take().filter(|ari| ari.serial == serial);
    let again = said.again_ms.unwrap_or(HOUR_MS).clamp(ARI_AGE_MIN_MS, ARI_AGE_MAX_MS);
    // An authority that does not answer today has not taken back what it said yesterday.
    let window_ms = match said.again_ms {
        Some(_) => said.window_ms.filter(|(start, end)| start < end),
        None => before.as_ref().and_then(|ari| ari.window_ms),
    };
    let chosen_ms = match (window_ms, &before) {
        (Some(window), Some(ari)) if ari.window_ms == Some(window) => ari.chosen_ms,
        (Some((start, end)), _) => {
            #[allow(clippy::cast_possible_truncation, reason = "a share of a span that fits")]
            let share = (end.saturating_sub(start) as f64 * chance.clamp(0.0, 1.0)) as i64;
            start.saturating_add(share)
        }
        (None, _) => i64::MAX,
    };
    memory.ari = Some(Ari {
        serial: serial.to_owned(),
        window_ms,
        chosen_ms,
        explanation_url: said.explanation_url.or_else(|| before.and_then(|ari| ari.explanation_url)),
        ask_again_ms: now_ms.saturating_add(again),
    });
}

/// The profile to ask for. An address is only given short lives (Let's Encrypt profile `shortlived`).
pub fn profile(wanted: &Wanted, names: &[String], offered: &[String]) -> Option<String> {
    let address = names.iter().any(|name| names::is_address(name));
    if address && offered.iter().any(|name| name == SHORT_LIVED) {
        return Some(SHORT_LIVED.to_owned());
    }
    // Where nothing is offered a wish is still sent: the authority may not list what it has.
    Some(wanted.profile.clone()).filter(|profile| !profile.is_empty() && !address)
}

/// The profile that Let's Encrypt gives addresses.
pub const SHORT_LIVED: &str = "shortlived";

#[cfg(test)]
mod tests;
