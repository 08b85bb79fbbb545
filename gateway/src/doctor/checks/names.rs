//! Names, and where DNS says that they lead.

use super::{Finding, list, no_authority, ok, problem, skipped, warning, worst};
use crate::doctor::facts::{Facts, Knock, Lookup, Target, is_local_name};
use crate::renewal::names::is_public;
use std::net::IpAddr;

pub(super) fn names(facts: &Facts) -> Finding {
    if facts.acme().is_none() {
        return no_authority(facts);
    }
    let names = facts.wanted_names();
    match (names.is_empty(), facts.config.tls.names.is_empty()) {
        (true, _) => problem(
            "tls.names is empty, and this machine shows no public address to get a certificate for",
            "Set tls.names to the DNS name that leads to this machine, or to the public address that does.",
        ),
        (false, true) => ok(format!("{}: this machine's addresses, since tls.names is empty", list(&names))),
        (false, false) => ok(list(&names)),
    }
}

pub(super) fn public(facts: &Facts) -> Finding {
    if facts.acme().is_none() {
        return no_authority(facts);
    }
    if !facts.is_public_authority() {
        return skipped("the authority is a private one");
    }
    let judge = |name: &String| {
        let fix =
            "Use a name in a domain of your own, or tls.source = \"self-signed\" in a network of your own.";
        match name.parse::<IpAddr>() {
            Ok(address) if !is_public(address) => {
                problem(format!("{name} is not a public address: no public authority issues for it"), fix)
            }
            Ok(_) => ok(name.as_str()),
            Err(_) if is_local_name(name) => problem(
                format!("{name} is a name of a local network: no public authority issues for it"),
                fix,
            ),
            Err(_) if name.starts_with("*.") => problem(
                format!("{name} needs a DNS-01 challenge, which this version does not have"),
                "List the names one by one in tls.names, or use tls.source = \"files\".",
            ),
            Err(_) => ok(name.as_str()),
        }
    };
    worst(facts.wanted_names().iter().map(judge).collect()).unwrap_or_else(|| skipped("there are no names"))
}

pub(super) fn resolves(facts: &Facts) -> Finding {
    if facts.acme().is_none() {
        return no_authority(facts);
    }
    let mut findings = Vec::new();
    for name in &facts.names {
        let Target::Dns { a, aaaa, .. } = &name.target else { continue };
        let name = &name.name;
        findings.push(match (a, aaaa) {
            (Lookup::NoSuchName, _) | (_, Lookup::NoSuchName) => problem(
                format!("{name} does not exist"),
                format!("Publish it where your domain is hosted: {name}. A {}", address_or_placeholder(facts)),
            ),
            (Lookup::Nothing, Lookup::Nothing) => problem(
                format!("{name} has no address"),
                format!("Publish one where your domain is hosted: {name}. A {}", address_or_placeholder(facts)),
            ),
            (Lookup::Failed(why), Lookup::Failed(_) | Lookup::Nothing) | (Lookup::Nothing, Lookup::Failed(why)) => problem(
                format!("{name} cannot be looked up: {why}"),
                "Check the network and /etc/resolv.conf; if `casement doctor --dns 1.1.1.1` finds it, this machine's DNS server is at fault, else the domain's.",
            ),
            (Lookup::Addresses(_) | Lookup::Failed(_) | Lookup::Nothing, Lookup::Addresses(_))
            | (Lookup::Addresses(_), Lookup::Failed(_) | Lookup::Nothing) => ok(format!("{name} is found")),
        });
    }
    worst(findings).unwrap_or_else(|| skipped("there are no DNS names"))
}

fn address_or_placeholder(facts: &Facts) -> String {
    match facts.addresses(false).first() {
        Some(address) => address.to_string(),
        None => "(this machine's public address)".to_owned(),
    }
}

pub(super) fn a(facts: &Facts) -> Finding {
    lead_here(facts, false)
}

pub(super) fn aaaa(facts: &Facts) -> Finding {
    lead_here(facts, true)
}

/// Whether the addresses of one kind lead to this machine.
fn lead_here(facts: &Facts, six: bool) -> Finding {
    if facts.acme().is_none() {
        return no_authority(facts);
    }
    let mut findings = Vec::new();
    for name in &facts.names {
        let Target::Dns { a, aaaa, .. } = &name.target else { continue };
        let kind = if six { "AAAA" } else { "A" };
        match if six { aaaa } else { a } {
            Lookup::Addresses(addresses) => {
                findings.extend(addresses.iter().map(|address| leads_here(facts, &name.name, *address)));
            }
            // Told by the check before when the name has nothing at all.
            Lookup::NoSuchName => {}
            Lookup::Nothing if six => findings.push(ok(format!("{} has none, which is fine", name.name))),
            Lookup::Nothing if !aaaa.addresses().is_empty() => {
                findings.push(ok(format!("{} has none: IPv6 alone", name.name)));
            }
            Lookup::Nothing => {}
            Lookup::Failed(_) if a.addresses().is_empty() && aaaa.addresses().is_empty() => {}
            Lookup::Failed(why) => findings.push(problem(
                format!("{}: the question for {kind} records fails ({why}); authorities then refuse", name.name),
                "Let the domain's DNS servers answer that question, with \"nothing\" if there is nothing: your DNS host must mend it.",
            )),
        }
    }
    worst(findings).unwrap_or_else(|| skipped("there are no DNS names with such addresses"))
}

fn leads_here(facts: &Facts, name: &str, address: IpAddr) -> Finding {
    let six = address.is_ipv6();
    let kind = if six { "AAAA" } else { "A" };
    let expected = facts.addresses(six);
    let right =
        if expected.is_empty() { "this machine's public address".to_owned() } else { list(&expected) };
    let mend = match (six, expected.is_empty()) {
        (true, true) => format!("Remove the AAAA record of {name}: this machine has no such address."),
        (true, false) => format!("Remove the AAAA record of {name} with {address}, or change it to {right}."),
        (false, _) => format!("Change the A record of {name} from {address} to {right}."),
    };
    if facts.is_public_authority() && !is_public(address) {
        return problem(
            format!(
                "{name} leads to {address}, which the internet cannot reach: no public authority can check it"
            ),
            format!(
                "{mend} If only this machine sees {address} (/etc/hosts), ask a public server: casement doctor --dns 1.1.1.1"
            ),
        );
    }
    if facts.reaches_us(address) {
        return ok(format!("{name} leads to {address}: this gateway"));
    }
    if facts.is_ours(address) {
        let refused = facts
            .doors
            .iter()
            .any(|door| door.address.ip() == address && matches!(door.knock, Knock::Refused));
        if six && refused && facts.gateway().is_some() {
            return problem(
                format!(
                    "{name} leads to {address}, where nothing answers. Let's Encrypt prefers IPv6; validation will fail"
                ),
                format!(
                    "Remove the AAAA record of {name}, or listen there, too: listen.http = [\"[::]:80\"], listen.https = [\"[::]:443\"]."
                ),
            );
        }
        return ok(format!("{name} leads to {address}: this machine"));
    }
    let prefers = if six { ". Let's Encrypt prefers IPv6; validation will fail" } else { "" };
    // A router in front of a machine without a public IPv4 address may well lead here.
    if six || !expected.is_empty() || !facts.is_public_authority() {
        return problem(format!("{name} leads to {address}, which is not this machine{prefers}"), mend);
    }
    warning(
        format!(
            "{name} leads to {address}; this machine has no public address of its own, so whether that leads here cannot be known from here"
        ),
        format!(
            "If {address} is your router: let it forward ports 80 and 443 to this machine; else change the {kind} record of {name} to your router's address."
        ),
    )
}
