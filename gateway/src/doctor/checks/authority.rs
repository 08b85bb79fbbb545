//! The authority and its wishes.

use super::{Finding, list, no_authority, ok, problem, skipped, unknown, warning};
use crate::doctor::facts::{Facts, Greeting};
use crate::renewal::{schedule, words};

fn greeting(facts: &Facts) -> Result<&Greeting, Finding> {
    match &facts.authority {
        Ok(Ok(greeting)) => Ok(greeting),
        Ok(Err(_)) => Err(skipped("the authority does not answer")),
        Err(why) => Err(unknown(why)),
    }
}

pub(super) fn answers(facts: &Facts) -> Finding {
    let Some(acme) = facts.acme() else { return no_authority(facts) };
    match &facts.authority {
        Err(why) => unknown(why),
        Ok(Ok(_)) => ok(format!("{} answers", acme.directory)),
        Ok(Err(trouble)) if trouble.problem == "local" => problem(
            trouble.detail.clone(),
            "Set tls.acme.ca_bundle to the PEM file with the private authority's root, or leave it out for a public authority.",
        ),
        Ok(Err(trouble)) => {
            let said = words::explain(trouble);
            let certificate = trouble.detail.contains("certificate");
            let fix = match (certificate, &acme.ca_bundle) {
                (true, None) => "If this authority is a private one, set tls.acme.ca_bundle to the PEM file with its root; else something in between replaces its certificate.".to_owned(),
                (true, Some(file)) => format!("Put the root of {} into {} (tls.acme.ca_bundle); or has its certificate ended?", acme.directory, file.display()),
                (false, _) => format!(
                    "Check tls.acme.directory, and that this machine may open connections to it: curl -sS {}",
                    acme.directory
                ),
            };
            problem(
                format!("{}: {} ({})", acme.directory, said.text.trim_end_matches('.'), trouble.detail),
                fix,
            )
        }
    }
}

pub(super) fn profile(facts: &Facts) -> Finding {
    if facts.acme().is_none() {
        return no_authority(facts);
    }
    let offered = match greeting(facts) {
        Ok(greeting) => &greeting.offer.profiles,
        Err(finding) => return finding,
    };
    let Some(wanted) = facts.wanted() else { return no_authority(facts) };
    let profile = schedule::profile(&wanted, &wanted.names, offered);
    match profile {
        Some(profile) if offered.contains(&profile) => ok(format!("\"{profile}\" is offered")),
        Some(profile) if offered.is_empty() => warning(
            format!("\"{profile}\" is wanted, and the authority tells of no profiles"),
            "Leave tls.acme.profile empty, unless the authority's documentation names it.",
        ),
        Some(profile) => problem(
            format!("\"{profile}\" is wanted, and the authority offers {}", list(offered)),
            format!("Leave tls.acme.profile empty, or use one of: {}.", list(offered)),
        ),
        None if wanted.has_address() && facts.is_public_authority() => warning(
            format!(
                "an address is wanted, which public authorities give with the profile \"{}\" only; this one offers none",
                schedule::SHORT_LIVED
            ),
            "Use a DNS name in tls.names, or Let's Encrypt (leave tls.acme.directory out).",
        ),
        None => ok("the authority's own choice"),
    }
}

pub(super) fn binding(facts: &Facts) -> Finding {
    let Some(acme) = facts.acme() else { return no_authority(facts) };
    let required = greeting(facts).map(|greeting| greeting.offer.binding_required);
    match (&acme.binding, &facts.binding_key, required) {
        (Some((_, file)), Err(why), _) => problem(
            format!("tls.acme.eab_hmac_file {}: {}", file.display(), why.0),
            "Put the key that the authority's website shows (base64url) into that file, readable for Casement's user: mode 0600.",
        ),
        (Some((kid, _)), Ok(()), _) => ok(format!("key \"{kid}\" is there")),
        (None, _, Ok(true))
            if facts.memory.account.as_ref().is_some_and(|account| account.directory == acme.directory) =>
        {
            ok("the authority wants one for new accounts; this gateway has its account")
        }
        (None, _, Ok(true)) => problem(
            "the authority wants an account of its own (external account binding), and none is configured",
            "Set tls.acme.eab_kid and tls.acme.eab_hmac_file to what the authority's website shows.",
        ),
        (None, _, Ok(false)) => ok("not needed"),
        (None, _, Err(finding)) => finding,
    }
}
