//! Who may issue for a name (RFC 8659), to whom and how (RFC 8657).

use super::{Finding, no_authority, ok, problem, skipped, warning, worst};
use crate::doctor::facts::{Caa, CaaRecord, Facts, Target};
use crate::renewal::{Challenge, Outcome, names};

/// Properties that every authority understands, or may pass over.
const KNOWN: &[&str] =
    &["issue", "issuewild", "iodef", "issuemail", "issuevmc", "contactemail", "contactphone"];

/// Hosts of directories whose names in CAA records differ and who do not tell: `meta.caaIdentities` comes first.
const IDENTITIES: &[(&str, &str)] = &[
    ("letsencrypt.org", "letsencrypt.org"),
    ("zerossl.com", "sectigo.com"),
    ("sectigo.com", "sectigo.com"),
    ("pki.goog", "pki.goog"),
    ("buypass.com", "buypass.com"),
    ("ssl.com", "ssl.com"),
    ("digicert.com", "digicert.com"),
    ("globalsign.com", "globalsign.com"),
];

pub(super) fn caa(facts: &Facts) -> Finding {
    let Some(acme) = facts.acme() else { return no_authority(facts) };
    let told = match &facts.authority {
        Ok(Ok(greeting)) => greeting.offer.caa_identities.clone(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    };
    let account = facts.memory.account.as_ref().filter(|account| account.directory == acme.directory);
    let last = facts.memory.attempts.iter().rev().find(|attempt| !attempt.dry_run);
    let applicant = Applicant {
        certain: !told.is_empty() || acme.ca_bundle.is_none(),
        identities: if told.is_empty() { identity(&acme.directory).into_iter().collect() } else { told },
        account: account.map(|account| account.id.as_str()),
        challenges: facts.challenges(),
        issued: matches!(last.map(|attempt| &attempt.outcome), Some(Outcome::Issued { .. })),
    };
    let open: Vec<&str> = facts
        .names
        .iter()
        .filter(|name| matches!(name.target, Target::Dns { caa: Caa::Nobody, .. }))
        .map(|name| name.name.as_str())
        .collect();
    if let [first, _, ..] = open.as_slice()
        && open.len() == facts.names.len()
    {
        return applicant.judge(first, &Caa::Nobody);
    }
    let findings: Vec<Finding> = facts
        .names
        .iter()
        .filter_map(|name| match &name.target {
            Target::Dns { caa, .. } => Some(applicant.judge(&name.name, caa)),
            Target::Address(_) | Target::NotAsked => None,
        })
        .collect();
    worst(findings).unwrap_or_else(|| skipped("there are no DNS names"))
}

/// The name of an authority that does not tell it; `None` when its host cannot be one.
fn identity(directory: &str) -> Option<String> {
    let rest = directory.split_once("://").map_or(directory, |(_, rest)| rest);
    let host = rest.split(['/', ':']).next().unwrap_or_default();
    let known = IDENTITIES
        .iter()
        .find(|(end, _)| host.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')));
    match known {
        Some((_, identity)) => Some((*identity).to_owned()),
        None => Some(host.to_owned()).filter(|host| host.contains('.') && !names::is_address(host)),
    }
}

/// Who wants a certificate, from whom, and how.
struct Applicant<'a> {
    /// The names under which records may mean the authority; none when nobody knows.
    identities: Vec<String>,
    /// Those are its names, and it heeds such records: a private authority that does not tell may have others, or not
    /// look at all.
    certain: bool,
    /// The last order succeeded.
    issued: bool,
    /// URL of the account, once there is one.
    account: Option<&'a str>,
    /// The challenges that may be used.
    challenges: Vec<Challenge>,
}

/// Why a record does not allow it.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Nobody,
    Unreadable,
    OtherAuthority(String),
    /// Another one, or the very same: it does not tell its name.
    Unsure(String),
    OtherAccount(String),
    OtherMethods(String),
}

impl Applicant<'_> {
    fn judge(&self, name: &str, caa: &Caa) -> Finding {
        let publish = format!("Publish this record: {}", self.record(name));
        let (at, records) = match caa {
            Caa::Nobody => {
                let only = if self.identities.is_empty() {
                    String::new()
                } else {
                    format!(". To allow only yours: {}", self.record(name))
                };
                return ok(format!("none, so every authority may issue{only}"));
            }
            Caa::Failed { at, why } => {
                return problem(
                    format!(
                        "{name}: the question for CAA records of {at} fails ({why}); authorities then refuse"
                    ),
                    format!(
                        "Let the DNS servers of {at} answer that question, with \"nothing\" if there is nothing: your DNS host must mend it."
                    ),
                );
            }
            Caa::Records { at, records } => (at, records),
        };
        // RFC 8659 §4.1: who does not understand a critical property must not issue.
        if let Some(odd) = records.iter().find(|record| record.critical && !is_known(&record.tag)) {
            return problem(
                format!(
                    "{name}: CAA of {at} has the critical property \"{}\", which no authority understands",
                    odd.tag
                ),
                format!("Remove the record {at}. CAA 128 {} {:?}, or its critical flag.", odd.tag, odd.value),
            );
        }
        let wild = name.starts_with("*.");
        let of = |tag: &str| {
            records.iter().filter(|record| record.tag.eq_ignore_ascii_case(tag)).collect::<Vec<_>>()
        };
        let relevant = if wild && !of("issuewild").is_empty() { of("issuewild") } else { of("issue") };
        if relevant.is_empty() {
            return ok(format!("{name}: CAA of {at} restricts nobody"));
        }
        let mut refusals = Vec::new();
        for record in relevant {
            match self.refusal(record) {
                None => {
                    return ok(format!(
                        "{name}: {} {} {:?}",
                        if record.critical { 128 } else { 0 },
                        record.tag,
                        record.value
                    ));
                }
                Some(refusal) => refusals.push(refusal),
            }
        }
        // The one that comes closest says most.
        let near = |refusal: &&Refusal| match refusal {
            Refusal::OtherMethods(_) => 0,
            Refusal::OtherAccount(_) => 1,
            Refusal::Unsure(_) => 2,
            Refusal::OtherAuthority(_) => 3,
            Refusal::Unreadable => 4,
            Refusal::Nobody => 5,
        };
        let authority = self.identities.first().map_or("the authority", String::as_str);
        let (text, fix) = match refusals.iter().min_by_key(near) {
            Some(Refusal::OtherMethods(methods)) => (
                format!(
                    "CAA of {at} allows {authority} only by {methods}, and this gateway uses {}",
                    self.methods()
                ),
                publish,
            ),
            Some(Refusal::OtherAccount(account)) if self.account.is_none() => (
                format!(
                    "CAA of {at} allows {authority} only for the account {account}; this gateway has none yet and will get another one"
                ),
                format!(
                    "{publish}; once there is a certificate, `casement doctor` prints it with the account."
                ),
            ),
            Some(Refusal::OtherAccount(account)) => {
                (format!("CAA of {at} allows {authority} only for another account, {account}"), publish)
            }
            Some(Refusal::OtherAuthority(other)) => {
                (format!("CAA of {at} allows {other} and not {authority}"), publish)
            }
            Some(Refusal::Unsure(other)) if !self.issued => {
                return warning(
                    format!(
                        "{name}: CAA of {at} allows {other}; whether the private authority goes by that name is unknown: it does not tell"
                    ),
                    format!("If it does not, publish this record with its name: {}", self.record(name)),
                );
            }
            Some(Refusal::Unsure(other)) => {
                return ok(format!("{name}: CAA of {at} allows {other}, and the authority has issued"));
            }
            Some(Refusal::Unreadable) => {
                (format!("CAA of {at} cannot be understood, and so allows nobody"), publish)
            }
            Some(Refusal::Nobody) | None => (format!("CAA of {at} allows nobody"), publish),
        };
        problem(format!("{name}: {text}"), fix)
    }

    /// Why one record does not allow it; `None` when it does.
    fn refusal(&self, record: &CaaRecord) -> Option<Refusal> {
        let Some(Issue { domain, parameters }) = parse(&record.value) else {
            return Some(Refusal::Unreadable);
        };
        if domain.is_empty() {
            return Some(Refusal::Nobody);
        }
        let same = |identity: &String| identity.eq_ignore_ascii_case(domain);
        let ours = self.identities.iter().any(same);
        let public = IDENTITIES.iter().any(|(_, identity)| identity.eq_ignore_ascii_case(domain));
        if !ours && (self.certain || public) {
            return Some(Refusal::OtherAuthority(domain.to_owned()));
        }
        let values = |tag: &str| {
            parameters
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case(tag))
                .map(|(_, value)| *value)
                .collect::<Vec<_>>()
        };
        // RFC 8657 §3: more than one account is nobody's.
        match values("accounturi").as_slice() {
            [] => {}
            [one] if self.account == Some(*one) => {}
            several => return Some(Refusal::OtherAccount(several.join(" and "))),
        }
        let methods = values("validationmethods");
        let allowed = |value: &&str| {
            value.split(',').any(|method| {
                self.challenges.iter().any(|challenge| challenge.name().eq_ignore_ascii_case(method.trim()))
            })
        };
        // RFC 8657 §4: each of several must be met.
        if !methods.iter().all(allowed) {
            return Some(Refusal::OtherMethods(methods.join(" and ")));
        }
        (!ours).then(|| Refusal::Unsure(domain.to_owned()))
    }

    /// The record that allows this gateway and nobody else.
    fn record(&self, name: &str) -> String {
        let (tag, owner) = match name.strip_prefix("*.") {
            Some(parent) => ("issuewild", parent),
            None => ("issue", name),
        };
        let authority = self.identities.first().map_or("(the authority's name)", String::as_str);
        let account = self.account.map_or_else(String::new, |account| format!("; accounturi={account}"));
        format!(
            "{}. CAA 0 {tag} \"{authority}{account}; validationmethods={}\"",
            owner.trim_end_matches('.'),
            self.methods()
        )
    }

    fn methods(&self) -> String {
        let names: Vec<&str> = self.challenges.iter().map(|challenge| challenge.name()).collect();
        names.join(",")
    }
}

fn is_known(tag: &str) -> bool {
    KNOWN.iter().any(|known| known.eq_ignore_ascii_case(tag))
}

/// The value of `issue` or `issuewild`.
struct Issue<'a> {
    /// The authority; empty for none.
    domain: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

/// RFC 8659 §4.2; `None` when it breaks its rules.
fn parse(value: &str) -> Option<Issue<'_>> {
    let mut parts = value.split(';').map(str::trim);
    let domain = parts.next()?;
    let letters = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    if !letters(domain) {
        return None;
    }
    let mut parameters = Vec::new();
    for part in parts.filter(|part| !part.is_empty()) {
        let (tag, value) = part.split_once('=')?;
        let (tag, value) = (tag.trim(), value.trim());
        if tag.is_empty() || !letters(tag) || !value.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        parameters.push((tag, value));
    }
    Some(Issue { domain, parameters })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::Status;

    const ACCOUNT: &str = "https://acme-v02.api.letsencrypt.org/acme/acct/7";

    fn applicant(account: Option<&str>) -> Applicant<'_> {
        Applicant {
            identities: vec!["letsencrypt.org".to_owned()],
            account,
            challenges: vec![Challenge::Http01],
            certain: true,
            issued: false,
        }
    }

    #[test]
    fn a_private_authority_that_does_not_tell_its_name_is_given_the_benefit_of_the_doubt() {
        let private =
            |issued| Applicant { identities: Vec::new(), certain: false, issued, ..applicant(None) };
        for (value, issued, status) in [
            ("pebble.letsencrypt.org", false, Status::Warning),
            ("pebble.letsencrypt.org", true, Status::Ok),
            ("digicert.com", false, Status::Problem),
            ("digicert.com", true, Status::Problem),
            ("pebble.letsencrypt.org; accounturi=https://x/8", true, Status::Problem),
            ("pebble.letsencrypt.org; validationmethods=dns-01", true, Status::Problem),
            (";", true, Status::Problem),
        ] {
            let record = CaaRecord { critical: false, tag: "issue".to_owned(), value: value.to_owned() };
            let caa = Caa::Records { at: "example".to_owned(), records: vec![record] };
            let finding = private(issued).judge("a.example", &caa);
            assert_eq!(finding.status, status, "{value} {issued}: {finding:?}");
        }
        let open = private(false).judge("a.example", &Caa::Nobody);
        assert!(open.status == Status::Ok && !open.text.contains("CAA 0"), "{open:?}");
    }

    #[test]
    fn records_are_read_as_authorities_read_them() {
        for (name, records, allowed) in [
            ("a.example", &[(0, "issue", "letsencrypt.org")][..], true),
            ("a.example", &[(0, "issue", "LetsEncrypt.org")], true),
            ("a.example", &[(0, "ISSUE", " letsencrypt.org ; ")], true),
            ("a.example", &[(0, "issue", "digicert.com")], false),
            ("a.example", &[(0, "issue", "digicert.com"), (0, "issue", "letsencrypt.org")], true),
            ("a.example", &[(0, "issue", ";")], false),
            ("a.example", &[(0, "issue", "")], false),
            ("a.example", &[(0, "issue", ";"), (0, "issue", "letsencrypt.org")], true),
            ("a.example", &[(0, "issue", "letsencrypt.org; %%")], false),
            ("a.example", &[(0, "issue", "lets encrypt.org")], false),
            ("a.example", &[(0, "iodef", "mailto:me@example.org")], true),
            ("a.example", &[(0, "issuewild", "digicert.com")], true),
            ("*.example", &[(0, "issuewild", "digicert.com"), (0, "issue", "letsencrypt.org")], false),
            ("*.example", &[(0, "issuewild", "letsencrypt.org"), (0, "issue", ";")], true),
            ("*.example", &[(0, "issue", "letsencrypt.org")], true),
            ("a.example", &[(128, "tbs", "x"), (0, "issue", "letsencrypt.org")], false),
            ("a.example", &[(0, "tbs", "x"), (0, "issue", "letsencrypt.org")], true),
            ("a.example", &[(128, "issue", "letsencrypt.org")], true),
            (
                "a.example",
                &[(
                    0,
                    "issue",
                    "letsencrypt.org; accounturi=https://acme-v02.api.letsencrypt.org/acme/acct/7",
                )],
                true,
            ),
            (
                "a.example",
                &[(
                    0,
                    "issue",
                    "letsencrypt.org;accounturi=https://acme-v02.api.letsencrypt.org/acme/acct/8",
                )],
                false,
            ),
            (
                "a.example",
                &[(
                    0,
                    "issue",
                    "letsencrypt.org; accounturi=https://acme-v02.api.letsencrypt.org/acme/acct/7; accounturi=x",
                )],
                false,
            ),
            ("a.example", &[(0, "issue", "letsencrypt.org; validationmethods=http-01")], true),
            ("a.example", &[(0, "issue", "letsencrypt.org; validationmethods=dns-01,http-01")], true),
            ("a.example", &[(0, "issue", "letsencrypt.org; validationmethods=dns-01")], false),
            ("a.example", &[(0, "issue", "letsencrypt.org; validationmethods=")], false),
            ("a.example", &[(0, "issue", "letsencrypt.org; unknown=1")], true),
        ] {
            let record = |(flags, tag, value): &(u8, &str, &str)| CaaRecord {
                critical: flags & 128 != 0,
                tag: (*tag).to_owned(),
                value: (*value).to_owned(),
            };
            let caa =
                Caa::Records { at: "example".to_owned(), records: records.iter().map(record).collect() };
            let finding = applicant(Some(ACCOUNT)).judge(name, &caa);
            assert_eq!(finding.status == Status::Ok, allowed, "{name} {records:?}: {finding:?}");
            assert_eq!(finding.fix.is_none(), allowed);
        }
    }

    #[test]
    fn the_record_to_publish_is_exact() {
        assert_eq!(
            applicant(Some(ACCOUNT)).record("air.example.org"),
            "air.example.org. CAA 0 issue \"letsencrypt.org; accounturi=https://acme-v02.api.letsencrypt.org/acme/acct/7; validationmethods=http-01\""
        );
        assert_eq!(
            applicant(None).record("*.example.org"),
            "example.org. CAA 0 issuewild \"letsencrypt.org; validationmethods=http-01\""
        );
        // What it prints it would accept.
        let record = |applicant: &Applicant<'_>| {
            let text = applicant.record("a.example");
            let value = text.split('"').nth(1).unwrap().to_owned();
            CaaRecord { critical: false, tag: "issue".to_owned(), value }
        };
        for account in [None, Some(ACCOUNT)] {
            assert_eq!(applicant(account).refusal(&record(&applicant(account))), None);
        }
    }

    #[test]
    fn an_authority_that_does_not_tell_is_known_by_its_host() {
        for (directory, expected) in [
            ("https://127.0.0.1:14000/dir", ""),
            ("https://localhost:14000/dir", ""),
            ("https://acme-v02.api.letsencrypt.org/directory", "letsencrypt.org"),
            ("https://acme.zerossl.com/v2/DV90", "sectigo.com"),
            ("https://dv.acme-v02.api.pki.goog/directory", "pki.goog"),
            ("https://ca.example.org:9000/acme/directory", "ca.example.org"),
            ("https://notletsencrypt.org/d", "notletsencrypt.org"),
        ] {
            assert_eq!(identity(directory).unwrap_or_default(), expected);
        }
    }
}
