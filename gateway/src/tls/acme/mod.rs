//! The conversation with an authority (RFC 8555, RFC 8737, RFC 8738, RFC 9773): account, order, proof, certificate.
//! What is ordered and when is decided elsewhere (`renewal`); this does it once and says what became of it.

mod http;
mod talk;
mod trouble;

pub use http::{ANSWER_BYTES_MAX, REQUEST_TIMEOUT};
pub use talk::{ISSUE_TIMEOUT, VALIDATION_TIMEOUT};

use super::challenge::Challenges;
use super::pair::Pair;
use crate::disk;
use crate::renewal::schedule::Suggestion;
use crate::renewal::{Account as KnownAccount, Challenge, Memory, Trouble, Wanted};
use http::{Heard, Http};
use instant_acme::{Account, AccountCredentials, CertificateIdentifier, Error, ExternalAccountKey};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use talk::Talk;
use trouble::trouble;

/// An authority and how to deal with it.
#[derive(Clone, Debug)]
pub struct Authority {
    /// URL of its directory.
    pub directory: String,
    /// Certificates to trust for the directory itself; `None` trusts what browsers trust.
    pub ca_bundle: Option<PathBuf>,
    /// Whom it may write to; empty for nobody.
    pub contact: String,
    /// External account binding: key identifier, and the file that holds the key.
    pub binding: Option<(String, PathBuf)>,
    /// `data_dir/acme`.
    pub dir: PathBuf,
}

/// A certificate that was just issued.
#[derive(Debug)]
pub struct Issued {
    /// Key, then chain, as PEM.
    pub bundle: String,
    /// The same, ready to be shown.
    pub pair: Pair,
}

/// What a conversation tells while it goes on.
pub trait Progress: Send + Sync {
    /// What is being done, for people.
    fn step(&self, text: &str);
    /// The account.
    fn account(&self, account: KnownAccount);
}

/// An order that was placed, as it lies in `data_dir/acme/order.json` until it is done with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Placed {
    /// Its URL.
    pub url: String,
    /// The directory it was placed at.
    pub directory: String,
    /// The names it is for.
    pub names: Vec<String>,
    /// How they are shown to be ours.
    pub challenge: Challenge,
    /// When it was placed, in unix milliseconds.
    pub at_ms: i64,
}

/// Orders older than this are not taken up again, in milliseconds: authorities forget them (Let's Encrypt after 8 hours).
const PLACED_MS_MAX: i64 = 6 * 3_600_000;

impl Authority {
    /// The host of the directory, as the name of a folder and for people.
    pub fn host(&self) -> String {
        let rest = self.directory.split_once("://").map_or(self.directory.as_str(), |(_, rest)| rest);
        let host = rest.split('/').next().unwrap_or_default();
        let safe = |c: char| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '_' };
        let name: String = host.chars().map(safe).take(100).collect();
        // Never "." or "..".
        if name.starts_with('.') || name.is_empty() { format!("_{name}") } else { name }
    }

    /// The directory for rehearsals: Let's Encrypt has one of its own, others rehearse on themselves.
    #[must_use]
    pub fn rehearsal(&self) -> Self {
        Self {
            directory: self
                .directory
                .replace("//acme-v02.api.letsencrypt.org/", "//acme-staging-v02.api.letsencrypt.org/"),
            ..self.clone()
        }
    }

    /// A way of asking it; what comes with its answers is told to `heard`.
    fn http(&self, heard: &Arc<Heard>) -> Result<Http, Trouble> {
        Http::new(self.ca_bundle.as_deref(), Arc::clone(heard))
            .map_err(|error| Trouble::new("local", error.to_string()))
    }

    fn account_file(&self) -> PathBuf {
        self.dir.join(self.host()).join("account.json")
    }

    fn order_file(&self) -> PathBuf {
        self.dir.join("order.json")
    }

    fn key_file(&self) -> PathBuf {
        self.dir.join("order.key")
    }

    /// The order that was under way when the last process ended, if it still makes sense for these names.
    pub fn placed(&self, wanted: &Wanted, now_ms: i64) -> Option<Placed> {
        let placed: Placed = serde_json::from_slice(&std::fs::read(self.order_file()).ok()?).ok()?;
        let fresh = (0..PLACED_MS_MAX).contains(&(now_ms - placed.at_ms));
        let right = placed.directory == self.directory && placed.names == wanted.names;
        if fresh && right {
            return Some(placed);
        }
        self.forget_order();
        None
    }

    /// Forgets the order under way.
    pub fn forget_order(&self) {
        for file in [self.order_file(), self.key_file()] {
            // What is not there is forgotten already.
            let _gone = std::fs::remove_file(file);
        }
    }
}

/// Largest state that is read, in bytes; forty attempts with long details have 80 kB.
const STATE_BYTES_MAX: u64 = 1 << 20;

/// The file in `data_dir/acme` that holds what is remembered of orders.
pub fn state_file(dir: &Path) -> PathBuf {
    dir.join("state.json")
}

/// What is remembered of orders; nothing where there is no file.
///
/// # Errors
/// It cannot be read, is over 1 MiB, or is no such state.
pub fn memory(dir: &Path) -> io::Result<Memory> {
    let open = match File::open(state_file(dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Memory::default()),
        open => open?,
    };
    let mut bytes = Vec::new();
    open.take(STATE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > STATE_BYTES_MAX {
        return Err(io::Error::other(format!("it is larger than {STATE_BYTES_MAX} bytes")));
    }
    Ok(serde_json::from_slice(&bytes)?)
}

/// What to order.
#[derive(Debug)]
pub struct Job<'a> {
    /// What is wanted.
    pub wanted: &'a Wanted,
    /// The names of this order.
    pub names: &'a [String],
    /// How they are shown to be ours.
    pub challenge: Challenge,
    /// The leaf of the certificate that this one replaces.
    pub replaces: Option<CertificateDer<'static>>,
    /// Take up this order instead of placing one.
    pub placed: Option<Placed>,
    /// Throw the certificate away: nothing of the order is kept.
    pub rehearsal: bool,
    /// The time, in unix milliseconds.
    pub now_ms: i64,
}

/// Orders a certificate. Challenges are taken back whatever happens; requests sent are counted into `requests`.
///
/// # Errors
/// [`Trouble`].
pub async fn order(
    authority: &Authority,
    job: Job<'_>,
    challenges: &Challenges,
    progress: &dyn Progress,
    requests: &mut u64,
) -> Result<Issued, Trouble> {
    let heard = Arc::new(Heard::default());
    let talk = Talk { authority, heard: Arc::clone(&heard), challenges, progress };
    let result = talk.order(job).await;
    challenges.clear();
    *requests = heard.requests();
    result.map_err(|mut trouble| {
        let wants_peace = ["rateLimited", "serverInternal", "unreachable", "bad_answer"]
            .contains(&trouble.problem.as_str());
        if wants_peace && trouble.retry_after_ms.is_none() {
            trouble.retry_after_ms = heard.retry_after_ms();
        }
        trouble
    })
}

/// Asks when a certificate should be renewed. An authority without that service says "no window, ask tomorrow".
///
/// # Errors
/// [`Trouble`] when it cannot be asked.
pub async fn suggestion(
    authority: &Authority,
    leaf: &CertificateDer<'_>,
    requests: &mut u64,
) -> Result<Suggestion, Trouble> {
    const DAY_MS: i64 = 24 * 3_600_000;
    let none = |again_ms| Suggestion { window_ms: None, explanation_url: None, again_ms: Some(again_ms) };
    let Ok(id) = CertificateIdentifier::try_from(leaf) else { return Ok(none(DAY_MS)) };
    let heard = Arc::new(Heard::default());
    let http = authority.http(&heard)?;
    let Some(credentials) = read_credentials(authority) else { return Ok(none(DAY_MS)) };
    let asked = async {
        let account = Account::builder_with_http(Box::new(http)).from_credentials(credentials).await?;
        account.renewal_info(&id).await
    };
    let answer = asked.await;
    *requests = heard.requests();
    match answer {
        Ok((info, again)) => {
            let window = &info.suggested_window;
            let ms = |nanos: i128| i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX);
            Ok(Suggestion {
                window_ms: Some((
                    ms(window.start.unix_timestamp_nanos()),
                    ms(window.end.unix_timestamp_nanos()),
                )),
                explanation_url: info.explanation_url.as_ref().map(ToString::to_string),
                again_ms: Some(i64::try_from(again.as_millis()).unwrap_or(DAY_MS)),
            })
        }
        // No such service, or none for a certificate that another authority has issued.
        Err(Error::Unsupported(_) | Error::Api(_)) => Ok(none(heard.retry_after_ms().unwrap_or(DAY_MS))),
        Err(error) => Err(trouble(&error)),
    }
}

/// What an authority offers, for checks: profiles, and its idea of the time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Names of its profiles.
    pub profiles: Vec<String>,
    /// It wants an external account binding.
    pub binding_required: bool,
    /// The host names under which CAA records may name it.
    pub caa_identities: Vec<String>,
    /// Its clock, in unix milliseconds.
    pub date_ms: Option<i64>,
    /// It has renewal information.
    pub renewal_info: bool,
}

/// Reads an authority's directory.
///
/// # Errors
/// [`Trouble`].
pub async fn offer(authority: &Authority) -> Result<Offer, Trouble> {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Meta {
        profiles: std::collections::BTreeMap<String, serde_json::Value>,
        external_account_required: bool,
        caa_identities: Vec<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Directory {
        #[serde(default)]
        meta: Meta,
        renewal_info: Option<String>,
        #[allow(dead_code, reason = "a directory without it is none")]
        new_order: String,
    }
    let heard = Arc::new(Heard::default());
    let http = authority.http(&heard)?;
    let request = hyper::Request::get(&authority.directory)
        .body(instant_acme::BodyWrapper::default())
        .map_err(|error| Trouble::new("bad_answer", format!("tls.acme.directory: {error}")))?;
    let mut answer =
        instant_acme::HttpClient::request(&http, request).await.map_err(|error| trouble(&error))?;
    let bytes =
        answer.body.into_bytes().await.map_err(|error| Trouble::new("bad_answer", error.to_string()))?;
    let directory: Directory = serde_json::from_slice(&bytes)
        .map_err(|error| Trouble::new("bad_answer", format!("no ACME directory: {error}")))?;
    Ok(Offer {
        profiles: directory.meta.profiles.into_keys().collect(),
        binding_required: directory.meta.external_account_required,
        caa_identities: directory.meta.caa_identities,
        date_ms: heard.date_ms(),
        renewal_info: directory.renewal_info.is_some(),
    })
}

fn read_credentials(authority: &Authority) -> Option<AccountCredentials> {
    let bytes = std::fs::read(authority.account_file()).ok()?;
    #[derive(Deserialize)]
    struct Of {
        directory: String,
    }
    let of: Of = serde_json::from_slice(&bytes).ok()?;
    // Two directories on one host are two authorities.
    (of.directory == authority.directory).then(|| serde_json::from_slice(&bytes).ok()).flatten()
}

fn binding_key(kid: &str, file: &Path) -> Result<ExternalAccountKey, Trouble> {
    let wrong = |why: String| {
        Trouble::new("externalAccountRequired", format!("tls.acme.eab_hmac_file {}: {why}", file.display()))
    };
    let text = std::fs::read_to_string(file).map_err(|_| wrong(disk::why_unreadable(file)))?;
    let key =
        base64_url(text.trim()).ok_or_else(|| wrong("it does not hold a key in base64url".to_owned()))?;
    Ok(ExternalAccountKey::new(kid.to_owned(), &key))
}

/// Base64 with either alphabet, padded or not: authorities' websites show all kinds.
fn base64_url(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let plain = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(plain).ok().filter(|bytes| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_binding_are_read_in_every_spelling() {
        assert_eq!(base64_url("aGk_-w"), Some(b"hi?\xfb".to_vec()));
        assert_eq!(base64_url("aGk/+w=="), Some(b"hi?\xfb".to_vec()));
        for nonsense in ["", "=", "ä", "a b"] {
            assert_eq!(base64_url(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn what_is_remembered_is_read_whole_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(memory(dir.path()).unwrap().attempts.is_empty(), "no file, nothing remembered");
        std::fs::write(state_file(dir.path()), serde_json::to_vec(&Memory::default()).unwrap()).unwrap();
        assert!(memory(dir.path()).is_ok());
        std::fs::write(state_file(dir.path()), "half a {").unwrap();
        assert!(memory(dir.path()).is_err());
        let max = usize::try_from(STATE_BYTES_MAX).unwrap();
        std::fs::write(state_file(dir.path()), vec![b' '; max + 1]).unwrap();
        assert!(memory(dir.path()).unwrap_err().to_string().contains("larger than 1048576 bytes"));
    }

    #[test]
    fn rehearsals_of_let_s_encrypt_go_to_staging_and_others_stay() {
        let authority = |directory: &str| Authority {
            directory: directory.to_owned(),
            ca_bundle: None,
            contact: String::new(),
            binding: None,
            dir: PathBuf::new(),
        };
        let real = authority("https://acme-v02.api.letsencrypt.org/directory");
        assert_eq!(real.rehearsal().directory, "https://acme-staging-v02.api.letsencrypt.org/directory");
        assert_eq!(real.host(), "acme-v02.api.letsencrypt.org");
        let own = authority("https://127.0.0.1:14000/dir");
        assert_eq!(own.rehearsal().directory, own.directory);
        assert_eq!(own.host(), "127.0.0.1_14000");
        assert_eq!(authority("https://../../etc/x").host(), "_..");
    }
}
