//! What an authority's problem means, in plain words, and what to do about it.

use super::{Outcome, Reason, Trouble};

/// What happened, and the fix in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// What happened.
    pub text: String,
    /// What to do.
    pub fix: String,
}

/// Explains a trouble.
pub fn explain(trouble: &Trouble) -> Words {
    let name = trouble.names.first().map_or("the name", String::as_str);
    let (text, fix) = match trouble.problem.as_str() {
        "connection" => (
            format!("The authority could not connect to {name}."),
            format!("Make {name} point to this machine and open port 80 and 443 to the internet, in the provider's firewall, too."),
        ),
        "dns" => (
            format!("The authority found no usable address for {name}."),
            format!("Publish an A record (and AAAA only if IPv6 works) for {name} with this machine's address."),
        ),
        "unauthorized" | "incorrectResponse" => (
            format!("The authority reached {name}, but something else than this gateway answered."),
            format!("Make {name} point to this machine alone; remove AAAA records or proxies that lead elsewhere."),
        ),
        "tls" => (
            format!("The authority reached {name}, but TLS did not work on port 443."),
            "Let port 443 reach this gateway without another TLS proxy in between, or set tls.acme.challenge = \"http-01\".".to_owned(),
        ),
        "caa" => (
            format!("A CAA record forbids this authority to issue for {name}."),
            "Add the authority to the CAA records (`casement doctor` prints the exact line), then run `casement cert renew`.".to_owned(),
        ),
        "rejectedIdentifier" | "unsupportedIdentifier" => (
            format!("The authority will never issue for {name}."),
            "Use a public DNS name or a public address in tls.names; private addresses and local names get none.".to_owned(),
        ),
        "externalAccountRequired" => (
            "The authority wants an account of its own (external account binding).".to_owned(),
            "Set tls.acme.eab_kid and tls.acme.eab_hmac_file to what the authority's website shows.".to_owned(),
        ),
        "userActionRequired" => (
            "The authority wants a person to do something first.".to_owned(),
            "Open the address in the detail, then run `casement cert renew`.".to_owned(),
        ),
        "unsupportedContact" | "invalidContact" => (
            "The authority refuses the contact address.".to_owned(),
            "Set tls.acme.contact to \"mailto:\" and an address that exists, or leave it empty.".to_owned(),
        ),
        "invalidProfile" => (
            "The authority does not have the wanted profile.".to_owned(),
            "Leave tls.acme.profile empty, or use one that the detail lists.".to_owned(),
        ),
        "rateLimited" => (
            "The authority has given too many certificates for this name lately, or was asked too often.".to_owned(),
            "Nothing to do: the gateway tries again when the authority allows it.".to_owned(),
        ),
        "badNonce" => (
            "The authority kept refusing requests as replays.".to_owned(),
            "Nothing to do: this passes; the gateway tries again.".to_owned(),
        ),
        "serverInternal" => (
            "The authority has a fault of its own.".to_owned(),
            "Nothing to do: the gateway tries again.".to_owned(),
        ),
        "unreachable" => (
            "The authority could not be reached.".to_owned(),
            "Check that this machine can open connections to the internet and resolve names; the gateway tries again.".to_owned(),
        ),
        "timeout" => (
            "The authority did not answer in time.".to_owned(),
            "Nothing to do: the gateway tries again.".to_owned(),
        ),
        "bad_answer" => (
            "The authority answered with something that is not ACME.".to_owned(),
            "Check tls.acme.directory and whether a proxy sits in between; the gateway tries again.".to_owned(),
        ),
        "no_names" => (
            "This machine has no public address to get a certificate for.".to_owned(),
            "Set tls.names to its DNS name, or to the public address that leads to it.".to_owned(),
        ),
        "order_invalid" => (
            "The authority gave up the order.".to_owned(),
            "Nothing to do: the gateway places another one.".to_owned(),
        ),
        "local" => (
            "The certificate could not be kept on this machine.".to_owned(),
            "Make room on the disk and let Casement's user write data_dir.".to_owned(),
        ),
        "accountDoesNotExist" => (
            "The authority does not know this gateway's account.".to_owned(),
            "Nothing to do: the gateway makes a new account.".to_owned(),
        ),
        _ => (
            "The authority refused.".to_owned(),
            "Read the detail; the gateway tries again.".to_owned(),
        ),
    };
    Words { text, fix }
}

/// An outcome in one sentence.
pub fn outcome(outcome: &Outcome, dry_run: bool) -> String {
    match outcome {
        Outcome::Issued { .. } if dry_run => "The rehearsal succeeded; nothing was changed.".to_owned(),
        Outcome::Issued { .. } => "A certificate was issued.".to_owned(),
        Outcome::Failed(trouble) => explain(trouble).text,
    }
}

/// A reason, as a part of a sentence.
pub const fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::First => "there was none",
        Reason::Names => "the names or the authority had changed",
        Reason::Renewal => "it was time to renew",
        Reason::Ari => "the authority suggested it",
        Reason::Asked => "somebody asked",
        Reason::Resume => "an order was under way",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_has_words_of_its_own() {
        let problems = [
            "connection",
            "dns",
            "unauthorized",
            "tls",
            "caa",
            "rejectedIdentifier",
            "externalAccountRequired",
            "userActionRequired",
            "invalidContact",
            "invalidProfile",
            "rateLimited",
            "badNonce",
            "serverInternal",
            "unreachable",
            "timeout",
            "bad_answer",
            "no_names",
            "order_invalid",
            "local",
            "accountDoesNotExist",
        ];
        let unknown = explain(&Trouble::new("else", ""));
        let mut seen = std::collections::BTreeSet::new();
        for problem in problems {
            let words = explain(&Trouble::new(problem, ""));
            assert_ne!(words, unknown, "{problem}");
            assert!(words.text.ends_with('.') && words.fix.ends_with('.'), "{problem}");
            assert!(seen.insert(words.text), "{problem} says what another one says");
        }
    }
}
