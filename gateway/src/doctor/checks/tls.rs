//! How TLS is spoken, and a grade for it.

use super::{Finding, list, ok, problem, skipped, unknown, warning};
use crate::config::Hsts;
use crate::doctor::facts::{Facts, Handshake, OnDisk, Reply, Scan};

/// What an upgrade would mend: these are properties of the program, not of the configuration.
const UPGRADE: &str = "Something between here and the gateway changes TLS, or the program is damaged: install it again (sudo apt-get install --reinstall casement).";

fn scan(facts: &Facts) -> Result<&Scan, Finding> {
    facts.scan.as_ref().map_err(unknown)
}

pub(super) fn versions(facts: &Facts) -> Finding {
    let scan = match scan(facts) {
        Ok(scan) => scan,
        Err(finding) => return finding,
    };
    match (&scan.tls13, &scan.tls12) {
        (Ok(new), Ok(old)) => ok(format!("TLS 1.3 ({}) and TLS 1.2 ({})", new.suite, old.suite)),
        (Err(why), Err(_)) => problem(
            format!("TLS fails at {}: {}", scan.at, why.0),
            "Look at the gateway's log (journalctl -u casement -n 50), and start it again: sudo systemctl restart casement.",
        ),
        (Err(why), Ok(_)) => problem(format!("TLS 1.3 fails: {}", why.0), UPGRADE),
        (Ok(_), Err(why)) => {
            problem(format!("TLS 1.2 fails, so small devices cannot talk: {}", why.0), UPGRADE)
        }
    }
}

pub(super) fn old(facts: &Facts) -> Finding {
    let scan = match scan(facts) {
        Ok(scan) => scan,
        Err(finding) => return finding,
    };
    let accepted: Vec<&str> =
        scan.old.iter().filter(|(_, accepted)| *accepted == Ok(true)).map(|(name, _)| *name).collect();
    let refused: Vec<&str> =
        scan.old.iter().filter(|(_, accepted)| *accepted == Ok(false)).map(|(name, _)| *name).collect();
    match (accepted.is_empty(), refused.is_empty()) {
        (false, _) => problem(format!("{} accepted (RFC 8996 forbids it)", list(&accepted)), UPGRADE),
        (true, false) => ok(format!("{} refused", list(&refused))),
        (true, true) => skipped("they could not be tried"),
    }
}

pub(super) fn alpn(facts: &Facts) -> Finding {
    let scan = match scan(facts) {
        Ok(scan) => scan,
        Err(finding) => return finding,
    };
    let (Ok(new), Ok(old)) = (&scan.tls13, &scan.tls12) else { return skipped("TLS fails") };
    if (new.alpn.as_str(), old.alpn.as_str()) == ("h2", "http/1.1") {
        return ok("browsers speak HTTP/2, devices HTTP/1.1");
    }
    let or_none = |text: &str| if text.is_empty() { "nothing".to_owned() } else { text.to_owned() };
    problem(
        format!("who offers h2 gets {}, who offers http/1.1 gets {}", or_none(&new.alpn), or_none(&old.alpn)),
        UPGRADE,
    )
}

pub(super) fn key_exchange(facts: &Facts) -> Finding {
    let scan = match scan(facts) {
        Ok(scan) => scan,
        Err(finding) => return finding,
    };
    match &scan.tls13 {
        Err(why) => unknown(why),
        Ok(handshake) if is_post_quantum(handshake) => {
            ok(format!("{}: safe from tomorrow's machines", handshake.group))
        }
        Ok(handshake) => warning(
            format!("{}: what is recorded today may be read by tomorrow's machines", handshake.group),
            UPGRADE,
        ),
    }
}

fn is_post_quantum(handshake: &Handshake) -> bool {
    handshake.group.contains("MLKEM")
}

pub(super) fn nameless(facts: &Facts) -> Finding {
    let scan = match scan(facts) {
        Ok(scan) => scan,
        Err(finding) => return finding,
    };
    match (&scan.nameless, &scan.tls13) {
        (Ok(without), Ok(with)) if without.sha256 == with.sha256 => {
            ok("clients that cannot say a name (an address in the URL) get the same certificate")
        }
        (Ok(_), Ok(_)) => problem("clients that cannot say a name get another certificate", UPGRADE),
        (Err(why), _) => problem(format!("clients that cannot say a name get none: {}", why.0), UPGRADE),
        (Ok(_), Err(why)) => unknown(why),
    }
}

fn page(facts: &Facts) -> Option<&Reply> {
    facts.answers.as_ref().ok().and_then(|answers| answers.get("/healthz"))
}

pub(super) fn hsts(facts: &Facts) -> Finding {
    let Some(reply) = page(facts) else { return skipped("no page was answered") };
    let header = reply.header("strict-transport-security");
    let trusted = shows_trusted(facts);
    let wanted = match (facts.config.tls.hsts, trusted) {
        (Hsts::Always, _) => true,
        (Hsts::Never, _) => false,
        (Hsts::Auto, Some(trusted)) => trusted,
        (Hsts::Auto, None) => {
            return skipped("whether browsers trust the certificate that is shown is unknown");
        }
    };
    let reload = "Let the gateway read its configuration: sudo systemctl reload casement.";
    match (header, wanted) {
        (Some(value), true) if max_age(value) >= 15_552_000 => ok(value.to_owned()),
        (Some(value), true) => problem(format!("{value}: less than half a year"), UPGRADE),
        (None, true) => problem("browsers are not told to insist on HTTPS, though tls.hsts wants it", reload),
        (Some(_), false) => problem(
            "browsers are told to insist on HTTPS, though the certificate is not publicly trusted or tls.hsts = \"never\": they could lock their users out",
            reload,
        ),
        (None, false) if facts.config.tls.hsts == Hsts::Never && trusted == Some(true) => warning(
            "off, as tls.hsts = \"never\" says, though the certificate is publicly trusted",
            "Leave tls.hsts out: \"auto\" turns it on for a trusted certificate.",
        ),
        (None, false) => ok("off until the certificate is publicly trusted"),
    }
}

fn max_age(value: &str) -> u64 {
    let part = value.split(';').find_map(|part| part.trim().strip_prefix("max-age="));
    part.and_then(|age| age.trim_matches('"').parse().ok()).unwrap_or(0)
}

/// Whether browsers trust what the gateway shows; `None` when that is not what lies on disk, so that nobody can say.
fn shows_trusted(facts: &Facts) -> Option<bool> {
    let shown = facts.scan.as_ref().ok().and_then(|scan| scan.tls13.as_ref().or(scan.tls12.as_ref()).ok())?;
    match &facts.certificate {
        Ok(OnDisk::Good { facts, publicly_trusted, .. }) if shown.sha256 == facts.sha256 => {
            Some(*publicly_trusted)
        }
        // Then it shows its own.
        Ok(OnDisk::NotYet) => Some(false),
        Ok(OnDisk::Good { .. } | OnDisk::Unreadable { .. } | OnDisk::NotAPair(_) | OnDisk::Nonsense(_))
        | Err(_) => None,
    }
}

pub(super) fn csp(facts: &Facts) -> Finding {
    let Some(reply) = page(facts) else { return skipped("no page was answered") };
    let missing: Vec<&str> =
        ["content-security-policy", "x-content-type-options", "x-frame-options", "referrer-policy"]
            .into_iter()
            .filter(|name| reply.header(name).is_none())
            .collect();
    if missing.is_empty() {
        return ok("Content-Security-Policy and the like are there");
    }
    problem(
        format!("{} missing", list(&missing)),
        "Let what stands in front of the gateway pass its header fields on unchanged.",
    )
}

/// The rules behind the grade, each with its name. The last two are about trust: without them there is no letter.
fn rules(facts: &Facts, scan: &Scan) -> Vec<(&'static str, bool)> {
    let new = scan.tls13.as_ref().ok();
    let old = scan.tls12.as_ref().ok();
    let certificate = facts.good_certificate();
    let key = certificate.map_or("", |certificate| certificate.key.as_str());
    let header = |name| page(facts).and_then(|reply| reply.header(name));
    let refused =
        |version| scan.old.iter().any(|(name, accepted)| *name == version && *accepted == Ok(false));
    vec![
        ("TLS 1.3", new.is_some()),
        ("TLS 1.2", old.is_some()),
        ("TLS 1.1 refused", refused("TLS 1.1")),
        ("TLS 1.0 refused", refused("TLS 1.0")),
        ("forward secrecy with TLS 1.2", old.is_some_and(|old| old.suite.contains("ECDHE"))),
        (
            "authenticated encryption",
            old.is_some_and(|old| old.suite.contains("GCM") || old.suite.contains("CHACHA20")),
        ),
        ("post-quantum key exchange", new.is_some_and(is_post_quantum)),
        ("HTTP/2", new.is_some_and(|new| new.alpn == "h2")),
        (
            "a strong key",
            key.starts_with("ECDSA")
                || key == "Ed25519"
                || key
                    .strip_prefix("RSA ")
                    .and_then(|bits| bits.parse().ok())
                    .is_some_and(|bits: u32| bits >= 2048),
        ),
        (
            "the same without a name",
            new.zip(scan.nameless.as_ref().ok()).is_some_and(|(a, b)| a.sha256 == b.sha256),
        ),
        ("Content-Security-Policy", header("content-security-policy").is_some()),
        ("HSTS", header("strict-transport-security").is_some_and(|value| max_age(value) >= 15_552_000)),
        (
            "in date, for the right names",
            certificate.is_some_and(|certificate| {
                certificate.is_in_date(facts.now_ms) && certificate.missing(&facts.wanted_names()).is_empty()
            }),
        ),
        ("publicly trusted", shows_trusted(facts) == Some(true)),
    ]
}

/// The grade, the rules kept, and all rules: `A+` all of them, `A` all but HSTS, `T` not trusted, then `B`, and `F` for
/// protocols that are broken.
pub fn grade(facts: &Facts) -> Option<(&'static str, usize, usize)> {
    let scan = facts.scan.as_ref().ok()?;
    if (scan.tls13.is_err() && scan.tls12.is_err()) || page(facts).is_none() {
        return None;
    }
    let rules = rules(facts, scan);
    let kept = rules.iter().filter(|(_, kept)| *kept).count();
    let broken = |name: &str| rules.iter().any(|(rule, kept)| *rule == name && !kept);
    let letter = if scan.old.iter().any(|(_, accepted)| *accepted == Ok(true)) {
        "F"
    } else if broken("publicly trusted") || broken("in date, for the right names") {
        "T"
    } else if kept == rules.len() {
        "A+"
    } else if kept + 1 == rules.len() && broken("HSTS") {
        "A"
    } else {
        "B"
    };
    Some((letter, kept, rules.len()))
}

pub(super) fn graded(facts: &Facts) -> Finding {
    let scan = match scan(facts) {
        Ok(scan) => scan,
        Err(finding) => return finding,
    };
    let Some((letter, kept, all)) = grade(facts) else {
        return skipped("TLS fails, or no page was answered");
    };
    let rules = rules(facts, scan);
    let broken: Vec<&str> = rules.iter().filter(|(_, kept)| !kept).map(|(name, _)| *name).collect();
    let text = format!("{letter} (local rules: {kept} of {all})");
    match letter {
        "A+" => ok(text),
        "A" => ok(format!("{text}; {} would make it A+", list(&broken))),
        // Who chose a certificate of their own was told above.
        "T" => ok(format!("{text}; missing: {}", list(&broken))),
        "B" => warning(format!("{text}; missing: {}", list(&broken)), "Mend the TLS findings above."),
        _ => problem(format!("{text}; missing: {}", list(&broken)), "Mend the TLS findings above."),
    }
}
