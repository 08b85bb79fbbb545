//! What a device must be given to trust this gateway.

use super::{Keeper, Places, Plan, first};
use crate::config::{Config, TlsSource};
use crate::renewal::Certificate;
use crate::tls::{Origin, TlsError, self_signed};

/// Whose roots the firmware has built in, as the organisation in a certificate's issuer says it
/// (`firmware/net`: ISRG roots X1, X2, YE and YR).
const BUILT_IN: [&str; 3] = ["Let's Encrypt", "Internet Security Research Group", "ISRG"];

/// The directory whose certificates lead to those roots.
const BUILT_IN_DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// How devices come to trust this gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The certificate to give them, as DER; `None` when they know the authority by themselves.
    pub authority: Option<Vec<u8>>,
    /// The names that they will find in the gateway's certificate; none when it is still to come and its names with it.
    pub names: Vec<String>,
    /// When they must be told anew, in unix milliseconds: a certificate in a file that signs itself is its own authority.
    pub until_ms: Option<i64>,
}

impl Trust {
    /// Whether a device finds the name it was told in the certificate.
    pub fn covers(&self, name: &str) -> bool {
        self.names.is_empty() || crate::renewal::names::covered(&self.names, name)
    }
}

/// Why devices cannot be set up now. Each text says what would help.
#[derive(Debug, thiserror::Error)]
pub enum NoTrust {
    /// Made here for the time being; what comes after it is not known yet.
    #[error("the gateway still shows a certificate of its own, because {} has not given one; wait until `casement cert status` shows it", .0)]
    Waiting(String),
    /// The files that are meant to be shown cannot be used.
    #[error(
        "tls.files cannot be used, and what is shown instead is for the time being; `casement check` says what is wrong"
    )]
    BadFiles,
    /// The authority is not public, and its certificate is not at hand.
    #[error("the certificate was issued by {}, whom devices do not know, and that certificate is not in the chain; put it behind the gateway's own in tls.files.cert", .0)]
    Missing(String),
    /// There is no certificate yet.
    #[error("there is no certificate yet: {}; start the gateway once", .0)]
    None(#[from] TlsError),
}

impl Keeper {
    /// What a device must be given to trust what is shown.
    ///
    /// # Errors
    /// [`NoTrust`]
    pub fn trust(&self) -> Result<Trust, NoTrust> {
        let shown = self.0.certificates.shown();
        let chain: Vec<&[u8]> = shown.chain().iter().map(AsRef::as_ref).collect();
        decide(&self.0.plan.load(), &chain, &shown.facts, shown.origin, shown.publicly_trusted)
    }
}

/// What a device must be given to trust the certificate that lies on disk; nothing is written.
///
/// # Errors
/// [`NoTrust`]
pub fn trust(config: &Config) -> Result<Trust, NoTrust> {
    let places = Places::of(config);
    let plan = Plan::of(config, &config.listen.http, &config.listen.https);
    let (pair, origin) = match first(&plan, &places) {
        Some(found) => found,
        None if to_come(&plan) => return Ok(promised(&plan)),
        None => (self_signed::read(&places.certs)?, Origin::SelfSigned),
    };
    let chain: Vec<&[u8]> = pair.certified.cert.iter().map(AsRef::as_ref).collect();
    decide(&plan, &chain, &pair.facts, origin, pair.publicly_trusted)
}

/// Whether an authority is asked that devices know.
fn to_come(plan: &Plan) -> bool {
    matches!(&plan.source, TlsSource::Acme(acme) if acme.directory == BUILT_IN_DIRECTORY)
}

fn promised(plan: &Plan) -> Trust {
    Trust { authority: None, names: plan.names.clone(), until_ms: None }
}

fn host(url: &str) -> String {
    url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default().to_owned()
}

fn decide(
    plan: &Plan,
    chain: &[&[u8]],
    facts: &Certificate,
    origin: Origin,
    publicly_trusted: bool,
) -> Result<Trust, NoTrust> {
    match (&plan.source, origin) {
        (TlsSource::Acme(_), Origin::SelfSigned) if to_come(plan) => return Ok(promised(plan)),
        // A device that was given it would not know the one that comes.
        (TlsSource::Acme(acme), Origin::SelfSigned) => return Err(NoTrust::Waiting(host(&acme.directory))),
        (TlsSource::Files { .. }, Origin::SelfSigned) => return Err(NoTrust::BadFiles),
        (TlsSource::Acme(_) | TlsSource::Files { .. } | TlsSource::SelfSigned, _) => {}
    }
    let given = |authority: Option<&[u8]>, until_ms| Trust {
        authority: authority.map(<[u8]>::to_vec),
        names: facts.names.clone(),
        until_ms,
    };
    let top = facts.chain.last().map_or(&facts.issuer, |link| &link.issuer);
    if publicly_trusted && BUILT_IN.iter().any(|name| facts.issuer.contains(name) || top.contains(name)) {
        return Ok(given(None, None));
    }
    match chain {
        [leaf] if facts.self_issued => Ok(given(Some(leaf), Some(facts.not_after_ms))),
        [_, .., last] => Ok(given(Some(last), None)),
        [_] | [] => Err(NoTrust::Missing(top.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::renewal::Link;

    fn facts(issuer: &str, above: &[&str], self_issued: bool) -> Certificate {
        let link = |issuer: &&str| Link {
            subject: String::new(),
            issuer: (*issuer).to_owned(),
            key: String::new(),
            not_after_ms: 0,
        };
        Certificate {
            names: vec!["air.example.org".to_owned()],
            issuer: issuer.to_owned(),
            subject: String::new(),
            serial: String::new(),
            key: String::new(),
            sha256: String::new(),
            not_before_ms: 0,
            not_after_ms: 7,
            self_issued,
            chain: above.iter().map(link).collect(),
        }
    }

    fn plan(toml: &str) -> Plan {
        let (config, _) = config::parse(None, &format!("[tls]\n{toml}"), &[]).unwrap();
        Plan::of(&config, &[], &[])
    }

    #[test]
    fn devices_are_given_what_they_do_not_know_and_nothing_for_the_time_being() {
        let le = plan("source = \"acme\"\nnames = [\"air.example.org\"]");
        let own = plan(
            "source = \"acme\"\nnames = [\"air.example.org\"]\n[tls.acme]\ndirectory = \"https://ca.home.arpa/d\"",
        );
        let files = plan("source = \"files\"\n[tls.files]\ncert = \"/c.pem\"\nkey = \"/k.pem\"");
        let here = plan("source = \"self-signed\"");
        let (leaf, middle, root) = (&[1_u8][..], &[2_u8][..], &[3_u8][..]);
        let selfish = facts("Casement (self-signed) air", &[], true);
        let given = |trust: Result<Trust, NoTrust>| trust.map(|trust| (trust.authority, trust.until_ms)).ok();

        let public = facts("Let's Encrypt YE1", &["ISRG Root YE"], false);
        assert_eq!(given(decide(&le, &[leaf, middle], &public, Origin::Acme, true)), Some((None, None)));
        assert_eq!(given(decide(&le, &[leaf], &selfish, Origin::SelfSigned, false)), Some((None, None)));
        // Browsers know many authorities that devices do not.
        let other = facts("DigiCert Inc G3", &["DigiCert Global Root"], false);
        assert_eq!(
            given(decide(&files, &[leaf, middle, root], &other, Origin::Files, true)),
            Some((Some(root.to_vec()), None))
        );
        let staging = facts("(STAGING) Let's Encrypt YE1", &["(STAGING) ISRG"], false);
        assert_eq!(
            given(decide(&own, &[leaf, middle], &staging, Origin::Acme, false)),
            Some((Some(middle.to_vec()), None))
        );
        // Made here: the gateway's own authority stays when the certificate goes.
        assert_eq!(
            given(decide(&here, &[leaf, root], &selfish, Origin::SelfSigned, false)),
            Some((Some(root.to_vec()), None))
        );
        assert_eq!(
            given(decide(&files, &[leaf], &selfish, Origin::Files, false)),
            Some((Some(leaf.to_vec()), Some(7)))
        );
        let waiting = decide(&own, &[leaf], &selfish, Origin::SelfSigned, false);
        assert!(matches!(waiting, Err(NoTrust::Waiting(host)) if host == "ca.home.arpa"));
        let broken = decide(&files, &[leaf], &selfish, Origin::SelfSigned, false);
        assert!(matches!(broken, Err(NoTrust::BadFiles)));
        let alone = decide(&files, &[leaf], &facts("Home CA", &[], false), Origin::Files, false);
        assert!(matches!(alone, Err(NoTrust::Missing(issuer)) if issuer == "Home CA"));
    }
}
