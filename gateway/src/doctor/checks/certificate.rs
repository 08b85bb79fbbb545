//! The certificate and its renewal.

use super::{Finding, list, ok, problem, skipped, together, unknown, warning};
use crate::answer::certificate::span;
use crate::config::TlsSource;
use crate::doctor::facts::{Facts, OnDisk};
use crate::renewal::schedule::{self, Next};
use crate::renewal::{Certificate, Outcome, words};
use crate::telemetry::time;

/// Authorities that browsers know, by the beginning of an issuer's name: their leaves always need an intermediate.
const PUBLIC_ISSUERS: &[&str] = &[
    "Let's Encrypt",
    "Google Trust Services",
    "ZeroSSL",
    "Sectigo",
    "DigiCert",
    "GlobalSign",
    "Buypass",
    "SSL Corp",
    "GoDaddy",
    "Amazon",
    "Actalis",
    "HARICA",
    "Certum",
    "IdenTrust",
    "Entrust",
];

pub(super) fn readable(facts: &Facts) -> Finding {
    match &facts.certificate {
        Err(why) => unknown(why),
        Ok(OnDisk::NotYet) => match facts.config.tls.source {
            TlsSource::Acme(_) => {
                ok("the authority has given none yet; HTTPS shows the gateway's own meanwhile")
            }
            TlsSource::SelfSigned | TlsSource::Files { .. } => ok("will be made by the first start"),
        },
        Ok(OnDisk::Good { facts: certificate, .. }) => {
            ok(format!("{}, {}, issued by {}", list(&certificate.names), certificate.key, certificate.issuer))
        }
        Ok(OnDisk::Unreadable { why }) => {
            // The words of the file system end with the mode that is needed, and the command that gives it.
            match why.split_once("; needed is mode ") {
                Some((what, needed)) => problem(what, format!("Needed is mode {needed}.")),
                None => problem(why.clone(), "Mend tls.files.cert and tls.files.key, or put the files back."),
            }
        }
        Ok(OnDisk::NotAPair(_)) => ok("certificate and key can be read"),
        Ok(OnDisk::Nonsense(why)) => problem(
            why.clone(),
            "Put a PEM file there: certificates begin with -----BEGIN CERTIFICATE-----, keys with -----BEGIN PRIVATE KEY-----.",
        ),
    }
}

pub(super) fn pair(facts: &Facts) -> Finding {
    match &facts.certificate {
        Ok(OnDisk::Good { .. }) => ok("certificate and key belong together"),
        Ok(OnDisk::NotAPair(why)) => problem(
            why.clone(),
            "Put the key in place that the certificate was made for (a renewal may have replaced only one of the two files); the gateway notices by itself.",
        ),
        Ok(OnDisk::NotYet) => skipped("there is none yet"),
        Ok(OnDisk::Unreadable { .. } | OnDisk::Nonsense(_)) => skipped("the files cannot be read"),
        Err(why) => unknown(why),
    }
}

fn good(facts: &Facts) -> Result<&Certificate, Finding> {
    match &facts.certificate {
        Ok(OnDisk::Good { facts, .. }) => Ok(facts),
        Ok(OnDisk::NotYet) => Err(skipped("there is none yet")),
        Ok(OnDisk::Unreadable { .. } | OnDisk::Nonsense(_)) => Err(skipped("the files cannot be read")),
        Ok(OnDisk::NotAPair(_)) => Err(skipped("certificate and key do not belong together")),
        Err(why) => Err(unknown(why)),
    }
}

/// What gets another certificate.
fn renew_fix(facts: &Facts) -> &'static str {
    match facts.config.tls.source {
        TlsSource::Acme(_) => "Run `casement cert renew`: it says what stands in the way.",
        TlsSource::Files { .. } => {
            "Renew it where it is made (for example: sudo certbot renew), or let Casement do it for good: tls.source = \"acme\"."
        }
        TlsSource::SelfSigned => "Start the gateway: it makes itself another one.",
    }
}

pub(super) fn dates(facts: &Facts) -> Finding {
    let certificate = match good(facts) {
        Ok(certificate) => certificate,
        Err(finding) => return finding,
    };
    let now = facts.now_ms;
    if now >= certificate.not_after_ms {
        return problem(
            format!(
                "ended {} ago, on {}",
                span(now - certificate.not_after_ms),
                day(certificate.not_after_ms)
            ),
            renew_fix(facts),
        );
    }
    if now < certificate.not_before_ms {
        return problem(
            format!(
                "begins only in {}, on {}",
                span(certificate.not_before_ms - now),
                day(certificate.not_before_ms)
            ),
            "Check this machine's clock (timedatectl); if that is right, use the certificate that was in force before.",
        );
    }
    ok(format!("{} left, until {}", span(certificate.not_after_ms - now), day(certificate.not_after_ms)))
}

pub(super) fn ends(facts: &Facts) -> Finding {
    let certificate = match good(facts) {
        Ok(certificate) => certificate,
        Err(finding) => return finding,
    };
    let now = facts.now_ms;
    if !certificate.is_in_date(now) {
        return skipped("it is not in date");
    }
    let left = span(certificate.not_after_ms - now);
    let renew = schedule::renew_ms(certificate);
    let overdue = now > renew.saturating_add(certificate.lifetime_ms() / 10);
    match facts.config.tls.source {
        TlsSource::SelfSigned => ok("the gateway makes itself another one in time"),
        _ if !overdue => ok(format!("it is due on {}", day(renew))),
        TlsSource::Files { .. } => {
            let text = format!("ends in {left}; it should have been renewed on {}", day(renew));
            if now > certificate.not_after_ms - certificate.lifetime_ms() / 10 {
                problem(text, renew_fix(facts))
            } else {
                warning(text, renew_fix(facts))
            }
        }
        TlsSource::Acme(_) => {
            let planned = matches!(
                next(facts, certificate),
                Some(Next::Order(_) | Next::AskWhen | Next::Wait { planned: Some(_), .. })
            );
            if planned && facts.gateway().is_some() {
                warning(
                    format!(
                        "ends in {left}; it should have been renewed on {}, and is being tried",
                        day(renew)
                    ),
                    renew_fix(facts),
                )
            } else {
                problem(
                    format!(
                        "ends in {left}; it should have been renewed on {}, and nothing is planned",
                        day(renew)
                    ),
                    renew_fix(facts),
                )
            }
        }
    }
}

fn next(facts: &Facts, certificate: &Certificate) -> Option<Next> {
    facts
        .wanted()
        .filter(|wanted| !wanted.names.is_empty())
        .map(|wanted| schedule::next(&wanted, Some(certificate), &facts.memory, facts.now_ms))
}

pub(super) fn names(facts: &Facts) -> Finding {
    let certificate = match good(facts) {
        Ok(certificate) => certificate,
        Err(finding) => return finding,
    };
    let wanted = facts.wanted_names();
    let missing = certificate.missing(&wanted);
    if missing.is_empty() {
        return ok(format!("covers {}", list(&wanted)));
    }
    let text = format!("is for {}, not for {}", list(&certificate.names), list(&missing));
    match facts.config.tls.source {
        TlsSource::Acme(_) if facts.gateway().is_some() => warning(
            text,
            "The gateway orders one for the new names by itself; `casement cert status` says how that goes.",
        ),
        TlsSource::Acme(_) | TlsSource::SelfSigned => {
            problem(text, "Start the gateway: it gets one for these names.")
        }
        TlsSource::Files { .. } => problem(
            text,
            format!(
                "Get a certificate for {}, or set tls.names to what this one is for: {:?}.",
                list(&missing),
                certificate.names
            ),
        ),
    }
}

pub(super) fn chain(facts: &Facts) -> Finding {
    let (certificate, trusted, oddities) = match &facts.certificate {
        Ok(OnDisk::Good { facts, publicly_trusted, oddities }) => (facts, *publicly_trusted, oddities),
        _ => return good(facts).err().unwrap_or_else(|| skipped("there is none yet")),
    };
    if !oddities.is_empty() {
        return warning(
            together(oddities, "; "),
            "Write the file anew: the leaf first, then each issuer after the one that it issued, nothing else.",
        );
    }
    if certificate.self_issued {
        return ok("it signs itself");
    }
    let public = PUBLIC_ISSUERS.iter().any(|issuer| certificate.issuer.starts_with(issuer));
    if public && !trusted && certificate.chain.is_empty() {
        return problem(
            format!(
                "the certificate of its issuer, {}, is missing: phones and small devices will refuse it",
                certificate.issuer
            ),
            "Use the full chain: certbot's fullchain.pem instead of cert.pem, or append the issuer's certificate to the file.",
        );
    }
    match certificate.chain.as_slice() {
        [] => ok(format!("issued by {} itself", certificate.issuer)),
        links => {
            let ended: Vec<String> = links
                .iter()
                .filter(|link| link.not_after_ms <= facts.now_ms)
                .map(|link| link.subject.clone())
                .collect();
            if ended.is_empty() {
                ok(format!("{} certificate(s) above it, in order", links.len()))
            } else {
                problem(
                    format!("the certificate of {} in the chain has ended", list(&ended)),
                    "Get the chain anew from the authority: its intermediates change.",
                )
            }
        }
    }
}

pub(super) fn trust(facts: &Facts) -> Finding {
    let trusted = match &facts.certificate {
        Ok(OnDisk::Good { publicly_trusted, .. }) => *publicly_trusted,
        _ => return good(facts).err().unwrap_or_else(|| skipped("there is none yet")),
    };
    if trusted {
        return ok("browsers know its authority");
    }
    match &facts.config.tls.source {
        TlsSource::SelfSigned => warning(
            "browsers warn: nobody vouches for a self-signed certificate",
            "Set tls.source = \"acme\" and tls.names to a name that leads here: the certificate then comes by itself.",
        ),
        TlsSource::Acme(acme) if acme.ca_bundle.is_some() => {
            ok("a private authority's, as configured: whoever trusts its root trusts it")
        }
        TlsSource::Acme(acme) if acme.directory.contains("staging") => warning(
            "browsers warn: it comes from a staging directory",
            "Leave tls.acme.directory out; the gateway then orders a real one by itself.",
        ),
        TlsSource::Acme(_) | TlsSource::Files { .. } => warning(
            "browsers warn: they do not know its authority",
            "If that authority is your own, install its root where people read; else get a certificate from a public one: tls.source = \"acme\".",
        ),
    }
}

pub(super) fn renewal(facts: &Facts) -> Finding {
    let Some(wanted) = facts.wanted() else { return super::no_authority(facts) };
    let memory = &facts.memory;
    let certificate = facts.good_certificate();
    let about_this = memory.about.is_empty() || memory.about == wanted.fingerprint();
    let last = memory.attempts.iter().rev().find(|attempt| !attempt.dry_run);
    let failed = last.and_then(|attempt| match &attempt.outcome {
        Outcome::Failed(trouble) => Some((attempt, trouble)),
        Outcome::Issued { .. } => None,
    });
    if let (Some(stopped), Some((_, trouble)), true) = (&memory.stopped, failed, about_this) {
        let said = words::explain(trouble);
        return problem(
            format!("stopped since {}: {} {}", day(stopped.since_ms), said.text, detail(&trouble.detail)),
            said.fix,
        );
    }
    if let (Some((attempt, trouble)), true) = (failed, about_this) {
        let said = words::explain(trouble);
        let age = span(facts.now_ms - attempt.at_ms);
        let text = format!("the last attempt, {age} ago, failed: {} {}", said.text, detail(&trouble.detail));
        // A third of the lifetime is there for failures.
        let plenty = certificate.is_some_and(|certificate| {
            certificate.not_after_ms - facts.now_ms > certificate.lifetime_ms() / 5
        });
        return if plenty { warning(text, said.fix) } else { problem(text, said.fix) };
    }
    if let Some(running) = &memory.running
        && facts.gateway().is_some()
    {
        return ok(format!("under way: {}", running.step));
    }
    let Some(certificate) = certificate else {
        return if facts.gateway().is_some() {
            ok("the first order is about to begin")
        } else {
            skipped("no gateway runs")
        };
    };
    match next(facts, certificate) {
        Some(Next::Wait { planned: Some((at, reason)), .. }) => ok(format!(
            "planned for {}: {}",
            day(at),
            match reason {
                crate::renewal::Reason::Ari => "the authority suggests it",
                crate::renewal::Reason::Renewal => "two thirds of its lifetime, or half of a short one",
                other => words::reason(other),
            }
        )),
        Some(Next::Order(_)) => ok("due now"),
        Some(Next::AskWhen) => ok("the authority is asked next when it would like to"),
        Some(Next::Wait { planned: None, .. }) => problem("nothing is planned", renew_fix(facts)),
        None => skipped("there are no names"),
    }
}

fn detail(text: &str) -> String {
    let short: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    if short.is_empty() { short } else { format!("({short})") }
}

pub(super) fn shown(facts: &Facts) -> Finding {
    let shown = match &facts.scan {
        Err(why) => return unknown(why),
        Ok(scan) => match scan.tls13.as_ref().or(scan.tls12.as_ref()) {
            Ok(handshake) => &handshake.sha256,
            Err(why) => return unknown(why),
        },
    };
    let certificate = match good(facts) {
        Ok(certificate) => certificate,
        Err(finding) => return finding,
    };
    if certificate.sha256 == *shown {
        return ok("the gateway shows the certificate that lies on disk");
    }
    if let Some(why) = facts.gateway().and_then(|running| running.kept_out.as_ref()) {
        let (what, needed) = why.split_once("; needed is ").unwrap_or((why, "mode 0640 and its group"));
        return problem(
            format!("the gateway shows another certificate than the one on disk: {what}"),
            format!("Needed is {needed}."),
        );
    }
    problem(
        "the gateway shows another certificate than the one on disk",
        "Let it read the file again: sudo systemctl reload casement; if it still does not, its log says why (journalctl -u casement).",
    )
}

fn day(unix_ms: i64) -> String {
    time::rfc3339(unix_ms).chars().take(10).collect()
}
