//! What is reached from outside.

use super::{Finding, list, ok, problem, skipped, unknown, warning, worst};
use crate::doctor::facts::{Door, Facts, Knock, Reply};
use crate::renewal::Challenge;

pub(super) fn listeners(facts: &Facts) -> Finding {
    let (http, https) = (&facts.listeners.http, &facts.listeners.https);
    let at = |list_of: &[std::net::SocketAddr]| {
        if list_of.is_empty() { "nowhere".to_owned() } else { list(list_of) }
    };
    let text = format!("HTTP at {}, HTTPS at {}", at(http), at(https));
    if !facts.is_public_authority() {
        return ok(text);
    }
    let on = |list_of: &[std::net::SocketAddr], port: u16| {
        list_of.iter().any(|address| address.port() == port && !address.ip().is_loopback())
    };
    let usable: Vec<Challenge> = facts
        .challenges()
        .into_iter()
        .filter(|challenge| match challenge {
            Challenge::Http01 => on(http, 80) || reached(facts, true),
            Challenge::TlsAlpn01 => on(https, 443) || reached(facts, false),
        })
        .collect();
    if !usable.is_empty() {
        return if on(https, 443) || reached(facts, false) {
            ok(text)
        } else {
            warning(
                format!("{text}: visitors must write the port into the address"),
                "Set listen.https = [\"[::]:443\"], unless something forwards port 443 to this gateway.",
            )
        };
    }
    let what = format!("{text}; the authority checks at ports 80 and 443 only");
    let fix = "Set listen.http = [\"[::]:80\"] and listen.https = [\"[::]:443\"], unless something forwards these ports to this gateway.";
    if facts.memory.last_success_ms.is_some() {
        return warning(format!("{what}; it has worked before, so something seems to forward them"), fix);
    }
    problem(what, fix)
}

/// Whether a door where a name leads has led to this gateway.
fn reached(facts: &Facts, plain: bool) -> bool {
    facts.doors.iter().any(|door| !door.own && door.plain == plain && facts.is_us(door))
}

pub(super) fn http(facts: &Facts) -> Finding {
    let needed = facts.acme().is_some() && facts.challenges() == [Challenge::Http01];
    if facts.listeners.http.is_empty() && !needed {
        return warning(
            "listen.http is empty: who forgets the https:// finds nobody",
            "Set listen.http = [\"[::]:80\"]; everything there is sent on to HTTPS.",
        );
    }
    knocked(facts, true)
}

pub(super) fn https(facts: &Facts) -> Finding {
    knocked(facts, false)
}

/// The doors that matter: where names lead, else the listeners.
fn doors(facts: &Facts, plain: bool) -> Vec<&Door> {
    let of = |own: bool| {
        facts.doors.iter().filter(move |door| door.plain == plain && door.own == own).collect::<Vec<_>>()
    };
    let outside = of(false);
    if outside.is_empty() { of(true) } else { outside }
}

fn knocked(facts: &Facts, plain: bool) -> Finding {
    match &facts.running {
        Ok(Some(_)) => {}
        Ok(None) => return taken(facts, plain),
        Err(why) => return unknown(why),
    }
    let findings: Vec<Finding> =
        doors(facts, plain).into_iter().filter_map(|door| knocked_at(facts, door)).collect();
    worst(findings).unwrap_or_else(|| skipped("there is no address to try"))
}

/// Without a gateway nothing should answer where it wants to listen.
fn taken(facts: &Facts, plain: bool) -> Finding {
    let answers = |door: &&Door| matches!(door.knock, Knock::Http { .. } | Knock::Tls(_) | Knock::Strange(_));
    let strangers = facts.doors.iter().filter(|door| door.own && door.plain == plain).filter(answers);
    let findings: Vec<Finding> = strangers
        .map(|door| {
            let (address, port) = (door.address, door.address.port());
            problem(
                format!("{address} is taken by another program; the gateway cannot start"),
                format!(
                    "Stop it (sudo ss -ltnp 'sport = :{port}' names it), or set {} to another address.",
                    if door.plain { "listen.http" } else { "listen.https" }
                ),
            )
        })
        .collect();
    worst(findings).unwrap_or_else(|| skipped("no gateway runs, so nothing can answer"))
}

fn knocked_at(facts: &Facts, door: &Door) -> Option<Finding> {
    let here = door.own || facts.machine.interfaces.contains(&door.address.ip());
    // That the name leads elsewhere is another check's finding.
    if !here
        && !facts.is_ours(door.address.ip())
        && !facts.addresses(door.address.is_ipv6()).is_empty()
        && !facts.reaches_us(door.address.ip())
    {
        return None;
    }
    // Told by the check of AAAA records, which names the way out.
    let by_record = !door.own && door.address.is_ipv6() && door.host.parse::<std::net::IpAddr>().is_err();
    if by_record && matches!(door.knock, Knock::Refused) {
        return None;
    }
    let (address, port) = (door.address, door.address.port());
    let key = if door.plain { "listen.http" } else { "listen.https" };
    let elsewhere = format!(
        "Let the router or the provider's firewall pass port {port} to this machine, and try from outside: curl -v {}://{}{}",
        if door.plain { "http" } else { "https" },
        door.host,
        if [80, 443].contains(&port) { String::new() } else { format!(":{port}") }
    );
    Some(match &door.knock {
        Knock::Http { .. } => ok(format!("{address} answers")),
        Knock::Tls(sha256) => {
            let ours = facts
                .scan
                .as_ref()
                .ok()
                .and_then(|scan| scan.tls13.as_ref().ok())
                .is_none_or(|shown| shown.sha256 == *sha256);
            if ours {
                ok(format!("{address} answers with this gateway's certificate"))
            } else {
                problem(
                    format!("{address} answers with another certificate: it is not this gateway"),
                    format!(
                        "Stop what else listens at port {port} (sudo ss -ltnp 'sport = :{port}' names it), or forward the port to this gateway."
                    ),
                )
            }
        }
        Knock::Refused if here => problem(
            format!("{address} is closed: nothing listens there"),
            format!(
                "Listen there: {key} = [\"[::]:{port}\"] (every address, IPv4 and IPv6), then sudo systemctl restart casement."
            ),
        ),
        Knock::Silent if here => problem(
            format!("{address} does not answer"),
            format!(
                "Let the firewall of this machine pass port {port}: sudo ufw allow {port}/tcp, or what takes its place here."
            ),
        ),
        Knock::Refused => warning(
            format!("{address} is closed as seen from here; a router may only refuse its own side"),
            elsewhere,
        ),
        Knock::Silent => warning(
            format!("{address} does not answer as seen from here; a router may only ignore its own side"),
            elsewhere,
        ),
        Knock::NoWay(why) => warning(format!("{address} cannot be tried from here: {why}"), elsewhere),
        Knock::Strange(what) => problem(
            format!("{address} answers, but not as this gateway does: {what}"),
            format!(
                "Stop what else listens at port {port} (sudo ss -ltnp 'sport = :{port}' names it), or forward the port to this gateway."
            ),
        ),
    })
}

/// What plain HTTP answered, door by door.
fn replies(facts: &Facts) -> impl Iterator<Item = (&Door, &Reply, &Reply)> {
    doors(facts, true).into_iter().filter_map(|door| match &door.knock {
        Knock::Http { challenge, front } => Some((door, challenge, front)),
        Knock::Refused | Knock::Silent | Knock::NoWay(_) | Knock::Tls(_) | Knock::Strange(_) => None,
    })
}

pub(super) fn challenge(facts: &Facts) -> Finding {
    let judge = |(door, challenge, _): (&Door, &Reply, &Reply)| {
        let address = door.address;
        if challenge.is_no_challenge() {
            return ok(format!("{address} answers challenges itself"));
        }
        let fix = "Let requests below /.well-known/acme-challenge/ through to this gateway's plain HTTP listener unchanged: no redirect, no other server, no cache in between.";
        let text = match (challenge.status, challenge.header("location")) {
            (300..=399, Some(target)) => format!("{address} sends challenges on to {target}"),
            (status, _) => format!("{address}: something else answers challenges, with status {status}"),
        };
        if facts.acme().is_some() && facts.challenges().contains(&Challenge::Http01) {
            problem(text, fix)
        } else {
            warning(text, fix)
        }
    };
    worst(replies(facts).map(judge).collect()).unwrap_or_else(|| skipped("plain HTTP does not answer"))
}

pub(super) fn redirect(facts: &Facts) -> Finding {
    let judge = |(door, _, front): (&Door, &Reply, &Reply)| {
        let address = door.address;
        match (front.status, front.header("location")) {
            (301 | 302 | 307 | 308, Some(target)) if target.starts_with("https://") => {
                ok(format!("{address} leads to {target}"))
            }
            (status, target) => warning(
                format!(
                    "{address} does not lead to HTTPS: status {status}{}",
                    target.map_or_else(String::new, |to| format!(" to {to}"))
                ),
                "Let this gateway answer plain HTTP (listen.http), or redirect to https:// where it is answered.",
            ),
        }
    };
    worst(replies(facts).map(judge).collect()).unwrap_or_else(|| skipped("plain HTTP does not answer"))
}
