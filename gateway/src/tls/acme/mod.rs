//! The conversation with an authority (RFC 8555, RFC 8737, RFC 8738, RFC 9773): account, order, proof, certificate.
//! What is ordered and when is decided elsewhere (`renewal`); this does it once and says what became of it.

mod http;

pub use http::{ANSWER_BYTES_MAX, REQUEST_TIMEOUT};

use super::challenge::Challenges;
use super::pair::Pair;
use crate::disk;
use crate::renewal::schedule::{self, Suggestion};
use crate::renewal::{Account as KnownAccount, Challenge, Trouble, Wanted};
use http::{Heard, Http, HttpError};
use instant_acme::{
    Account, AccountBuilder, AccountCredentials, AuthorizationStatus, CertificateIdentifier, ChallengeType,
    Error, ExternalAccountKey, Identifier, NewAccount, NewOrder, Order, OrderStatus, Problem,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long an authority may take to check the names.
pub const VALIDATION_TIMEOUT: Duration = Duration::from_secs(180);

/// How long an authority may take to issue.
pub const ISSUE_TIMEOUT: Duration = Duration::from_secs(180);

/// First and longest pause between two looks at an order.
const LOOK_MIN: Duration = Duration::from_secs(1);
const LOOK_MAX: Duration = Duration::from_secs(10);

/// How long after the last of its questions an authority is asked for its verdict: it asks from several places.
const QUIET: Duration = Duration::from_millis(100);

/// First pause after asking for the certificate.
const ISSUE_LOOK_MIN: Duration = Duration::from_millis(200);

/// Calls that are repeated when the authority refuses a nonce; the library itself tries three times in each.
const NONCE_ROUNDS: usize = 6;

/// What a call answers, which is made again while its nonce is refused: the authority has then not looked at it
/// (RFC 8555 §6.5). A macro, because the futures of a closure that borrows an order cannot be shown to be `Send`.
macro_rules! past_nonces {
    ($call:expr) => {{
        let mut round = 1;
        loop {
            match $call {
                Err(Error::Api(problem)) if is_bad_nonce(&problem) && round < NONCE_ROUNDS => round += 1,
                answer => break answer,
            }
        }
    }};
}

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

struct Talk<'a> {
    authority: &'a Authority,
    heard: Arc<Heard>,
    challenges: &'a Challenges,
    progress: &'a dyn Progress,
}

impl Talk<'_> {
    async fn order(&self, job: Job<'_>) -> Result<Issued, Trouble> {
        self.progress.step("speaking to the authority");
        let mut account = self.account(false).await?;
        let taken_up = match &job.placed {
            Some(placed) => self.take_up(&account, placed).await?,
            None => None,
        };
        let mut order = match taken_up {
            Some(order) => order,
            None => {
                self.progress.step("ordering");
                match self.place(&account, &job).await {
                    // The authority has lost its memory; ours is worth nothing.
                    Err(trouble) if trouble.problem == "accountDoesNotExist" => {
                        account = self.account(true).await?;
                        self.place(&account, &job).await?
                    }
                    placed => placed?,
                }
            }
        };
        if !job.rehearsal {
            self.keep_order(&order, &job)?;
        }
        if order.state().status == OrderStatus::Pending {
            self.prove(&mut order, &job).await?;
        }
        let key = self.key(&job)?;
        if order.state().status == OrderStatus::Ready {
            self.progress.step("asking for the certificate");
            let request = signing_request(job.names, &key)?;
            past_nonces!(order.finalize_csr(&request).await).map_err(|error| trouble(&error))?;
        }
        let chain = self.fetch(&mut order).await?;
        let key = key.serialize_pem();
        let bundle = format!("{}\n{}", key.trim_end(), chain);
        let file = Path::new("the authority's answer");
        let pair = Pair::from_pem(chain.as_bytes(), file, key.as_bytes(), file)
            .map_err(|error| Trouble::new("bad_answer", error.to_string()))?;
        let missing = pair.facts.missing(job.names);
        if !missing.is_empty() {
            return Err(Trouble::new(
                "bad_answer",
                format!("the certificate does not name {}", missing.join(", ")),
            ));
        }
        Ok(Issued { bundle, pair })
    }

    /// The account that is kept, or a new one, which is kept at once.
    async fn account(&self, anew: bool) -> Result<Account, Trouble> {
        let account = match read_credentials(self.authority).filter(|_| !anew) {
            Some(credentials) => {
                self.builder()?.from_credentials(credentials).await.map_err(|error| trouble(&error))?
            }
            None => self.new_account().await?,
        };
        self.progress.account(KnownAccount {
            id: account.id().to_owned(),
            thumbprint: account.key_thumbprint().to_owned(),
            directory: self.authority.directory.clone(),
        });
        Ok(account)
    }

    fn builder(&self) -> Result<AccountBuilder, Trouble> {
        Ok(Account::builder_with_http(Box::new(self.authority.http(&self.heard)?)))
    }

    async fn new_account(&self) -> Result<Account, Trouble> {
        self.progress.step("opening an account");
        let contact = [self.authority.contact.as_str()];
        let new = NewAccount {
            contact: if self.authority.contact.is_empty() { &[] } else { &contact },
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let binding =
            self.authority.binding.as_ref().map(|(kid, file)| binding_key(kid, file)).transpose()?;
        let directory = &self.authority.directory;
        let (account, credentials) =
            past_nonces!(self.builder()?.create(&new, directory.clone(), binding.as_ref()).await)
                .map_err(|error| trouble(&error))?;
        self.keep_account(&credentials)?;
        Ok(account)
    }

    fn keep_account(&self, credentials: &AccountCredentials) -> Result<(), Trouble> {
        let file = self.authority.account_file();
        let json = serde_json::to_vec_pretty(credentials)
            .map_err(|error| Trouble::new("local", error.to_string()))?;
        let dir = file.parent().unwrap_or(&self.authority.dir);
        disk::private_dir(dir)
            .and_then(|()| disk::write_private(&file, &json))
            .map_err(|error| local(&file, &error))
    }

    async fn take_up(&self, account: &Account, placed: &Placed) -> Result<Option<Order>, Trouble> {
        self.progress.step("taking up the order that was under way");
        match past_nonces!(account.order(placed.url.clone()).await) {
            Ok(mut order) => {
                let usable =
                    !matches!(order.state().status, OrderStatus::Invalid) && order.state().error.is_none();
                Ok(usable.then_some(order))
            }
            // The authority does not know it any more.
            Err(Error::Api(_)) => Ok(None),
            Err(error) => Err(trouble(&error)),
        }
    }

    async fn place(&self, account: &Account, job: &Job<'_>) -> Result<Order, Trouble> {
        let identifiers: Vec<Identifier> = job
            .names
            .iter()
            .map(|name| {
                name.parse::<IpAddr>()
                    .map_or_else(|_| Identifier::Dns(name.to_ascii_lowercase()), Identifier::Ip)
            })
            .collect();
        let offered: Vec<String> = account.profiles().map(|profile| profile.name.to_owned()).collect();
        let profile = schedule::profile(job.wanted, job.names, &offered);
        if let Some(profile) = &profile
            && !offered.is_empty()
            && !offered.contains(profile)
        {
            return Err(Trouble::new(
                "invalidProfile",
                format!("\"{profile}\" is not among {}", offered.join(", ")),
            ));
        }
        let fresh = || {
            let order = NewOrder::new(&identifiers);
            match &profile {
                Some(profile) => order.profile(profile),
                None => order,
            }
        };
        let replaced = job.replaces.as_ref().and_then(|leaf| CertificateIdentifier::try_from(leaf).ok());
        if let Some(id) = replaced {
            let order = fresh().replaces(id);
            match past_nonces!(account.new_order(&order).await) {
                Ok(order) => return Ok(order),
                // Refused because of what it replaces (RFC 9773 §5), or no such service: an order like any other.
                Err(Error::Unsupported(_)) => {}
                Err(Error::Api(problem)) if is_about_replacing(&problem) => {}
                Err(error) => return Err(trouble(&error)),
            }
        }
        let order = fresh();
        past_nonces!(account.new_order(&order).await).map_err(|error| trouble(&error))
    }

    fn keep_order(&self, order: &Order, job: &Job<'_>) -> Result<(), Trouble> {
        let file = self.authority.order_file();
        let placed = Placed {
            url: order.url().to_owned(),
            directory: self.authority.directory.clone(),
            names: job.names.to_vec(),
            challenge: job.challenge,
            at_ms: job
                .placed
                .as_ref()
                .filter(|placed| placed.url == order.url())
                .map_or(job.now_ms, |placed| placed.at_ms),
        };
        let json =
            serde_json::to_vec_pretty(&placed).map_err(|error| Trouble::new("local", error.to_string()))?;
        disk::private_dir(&self.authority.dir)
            .and_then(|()| disk::write_private(&file, &json))
            .map_err(|error| local(&file, &error))
    }

    /// The key of the order: on disk before the authority hears of it, so that a certificate is never issued for a key
    /// that a power cut has taken.
    fn key(&self, job: &Job<'_>) -> Result<KeyPair, Trouble> {
        let file = self.authority.key_file();
        if job.placed.is_some()
            && let Ok(text) = std::fs::read_to_string(&file)
            && let Ok(key) = KeyPair::from_pem(&text)
        {
            return Ok(key);
        }
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
            .map_err(|error| Trouble::new("local", error.to_string()))?;
        if !job.rehearsal {
            disk::write_private(&file, key.serialize_pem().as_bytes())
                .map_err(|error| local(&file, &error))?;
        }
        Ok(key)
    }

    /// Shows that the names are ours, and waits for the verdict.
    async fn prove(&self, order: &mut Order, job: &Job<'_>) -> Result<(), Trouble> {
        let kind = match job.challenge {
            Challenge::Http01 => ChallengeType::Http01,
            Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        };
        self.load(order).await?;
        let mut open = 0;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| trouble(&error))?;
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                _ => return Err(self.verdict(order).await),
            }
            let name = authorization.identifier().to_string();
            let Some(mut challenge) = authorization.challenge(kind.clone()) else {
                let problem = Trouble::new(
                    "unsupportedIdentifier",
                    format!("the authority does not offer {} for {name}", job.challenge.name()),
                );
                return Err(Trouble { names: vec![name], ..problem });
            };
            let proof = challenge.key_authorization();
            match job.challenge {
                Challenge::Http01 => self.challenges.offer_file(&challenge.token, proof.as_str().to_owned()),
                Challenge::TlsAlpn01 => self
                    .challenges
                    .offer_certificate(&name, proof.digest().as_ref())
                    .map_err(|error| Trouble::new("local", error.to_string()))?,
            }
            // Sent once: a challenge that fails is told by its authorization.
            if challenge.status == instant_acme::ChallengeStatus::Pending {
                past_nonces!(challenge.set_ready().await)
                    .map_err(|error| Trouble { names: vec![name], ..trouble(&error) })?;
            }
            open += 1;
        }
        self.progress.step(&format!("waiting for the authority to check {}", job.names.join(", ")));
        let looks = async {
            let (mut pause, mut own) = (LOOK_MIN, LOOK_MIN);
            loop {
                self.until_asked(open, pause).await;
                past_nonces!(order.refresh().await.map(|_| ())).map_err(|error| Some(trouble(&error)))?;
                let state = order.state();
                match state.status {
                    OrderStatus::Pending if state.error.is_none() => {}
                    OrderStatus::Ready | OrderStatus::Valid | OrderStatus::Processing => return Ok(()),
                    OrderStatus::Pending | OrderStatus::Invalid => return Err(None),
                }
                // The authority has asked, and is not done: from here on it sets the pace.
                open = usize::MAX;
                pause = self.pace(own, LOOK_MIN);
                own = (own * 2).min(LOOK_MAX);
            }
        };
        let verdict: Result<(), Option<Trouble>> =
            tokio::time::timeout(VALIDATION_TIMEOUT, looks).await.unwrap_or_else(|_| {
                Err(Some(Trouble {
                    names: job.names.to_vec(),
                    ..Trouble::new("timeout", "the names were not checked in time")
                }))
            });
        match verdict {
            Ok(()) => Ok(()),
            Err(Some(trouble)) => Err(trouble),
            Err(None) => Err(self.verdict(order).await),
        }
    }

    /// Reads what the authority wants to see of each name. What was read stays with the order.
    async fn load(&self, order: &mut Order) -> Result<(), Trouble> {
        for _ in 0..NONCE_ROUNDS {
            let mut authorizations = order.authorizations();
            loop {
                match authorizations.next().await {
                    None => return Ok(()),
                    Some(Ok(_)) => {}
                    Some(Err(Error::Api(problem))) if is_bad_nonce(&problem) => break,
                    Some(Err(error)) => return Err(trouble(&error)),
                }
            }
        }
        Err(Trouble::new("badNonce", "every nonce was refused"))
    }

    /// Ends a moment after the authority has asked for all challenges, or when the pause is over.
    async fn until_asked(&self, open: usize, pause: Duration) {
        let asked = async {
            while self.challenges.asked() < open {
                self.challenges.wait().await;
            }
            // It asks from several places; each one counts.
            while tokio::time::timeout(QUIET, self.challenges.wait()).await.is_ok() {}
        };
        let _either = tokio::time::timeout(pause, asked).await;
    }

    /// The pause before the next look: what the authority asked for, else our own, within bounds.
    fn pace(&self, own: Duration, least: Duration) -> Duration {
        let told = self.heard.retry_after_ms().and_then(|ms| u64::try_from(ms).ok());
        told.map_or(own, Duration::from_millis).clamp(least, LOOK_MAX * 3)
    }

    /// Which names could not be validated, and why.
    async fn verdict(&self, order: &mut Order) -> Trouble {
        let mut found: Option<Trouble> = None;
        let mut names = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            let Ok(state) = authorization.refresh().await else { continue };
            let errors: Vec<&Problem> =
                state.challenges.iter().filter_map(|challenge| challenge.error.as_ref()).collect();
            if let Some(problem) = errors.first() {
                names.push(state.identifier().to_string());
                found.get_or_insert_with(|| from_problem(problem));
            }
        }
        let order_error = order.state().error.as_ref().map(from_problem);
        let trouble = found
            .or(order_error)
            .unwrap_or_else(|| Trouble::new("order_invalid", "the authority does not say why"));
        Trouble { names, ..trouble }
    }

    async fn fetch(&self, order: &mut Order) -> Result<String, Trouble> {
        self.progress.step("waiting for the certificate");
        let looks = async {
            let mut pause = ISSUE_LOOK_MIN;
            let mut refused = 0;
            loop {
                if order.state().status == OrderStatus::Processing {
                    tokio::time::sleep(self.pace(pause, ISSUE_LOOK_MIN)).await;
                    pause = (pause * 2).min(LOOK_MAX);
                }
                match order.certificate().await {
                    Ok(Some(chain)) => return Ok(chain),
                    Ok(None) => {}
                    Err(Error::Api(problem)) if is_bad_nonce(&problem) && refused < NONCE_ROUNDS => {
                        refused += 1
                    }
                    Err(error) => return Err(trouble(&error)),
                }
            }
        };
        tokio::time::timeout(ISSUE_TIMEOUT, looks)
            .await
            .unwrap_or_else(|_| Err(Trouble::new("timeout", "the certificate was not issued in time")))
    }
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

/// A signing request for these names. No common name: it may not carry an address, and nobody needs it (CA/Browser Forum
/// Baseline Requirements §7.1.4.3).
fn signing_request(names: &[String], key: &KeyPair) -> Result<Vec<u8>, Trouble> {
    let made = CertificateParams::new(names.iter().map(|name| name.to_ascii_lowercase()).collect::<Vec<_>>())
        .and_then(|mut params| {
            params.distinguished_name = DistinguishedName::new();
            params.serialize_request(key)
        });
    made.map(|request| request.der().to_vec()).map_err(|error| Trouble::new("local", error.to_string()))
}

fn local(file: &Path, error: &std::io::Error) -> Trouble {
    Trouble::new("local", format!("{}: {error}", file.display()))
}

fn short(kind: Option<&str>) -> &str {
    kind.and_then(|kind| kind.rsplit(':').next()).filter(|kind| !kind.is_empty()).unwrap_or("unknown")
}

fn is_bad_nonce(problem: &Problem) -> bool {
    short(problem.r#type.as_deref()) == "badNonce"
}

fn is_about_replacing(problem: &Problem) -> bool {
    let about = |text: &str| text.to_ascii_lowercase().contains("replac");
    problem.status == Some(409)
        // "malformed" is what an authority says of a certificate that another one has issued.
        || ["alreadyReplaced", "malformed"].contains(&short(problem.r#type.as_deref()))
        || problem.detail.as_deref().is_some_and(about)
}

fn from_problem(problem: &Problem) -> Trouble {
    // An order as a whole may be refused for the reason of one name (RFC 8555 §6.7.1).
    let inner = problem.subproblems.first();
    let kind = match (short(problem.r#type.as_deref()), inner) {
        ("compound", Some(inner)) => short(inner.r#type.as_deref()),
        (kind, _) => kind,
    };
    let mut detail = problem.detail.clone().unwrap_or_default();
    for inner in &problem.subproblems {
        detail.push_str(&format!(" {inner}"));
    }
    Trouble::new(kind, detail.chars().take(1000).collect::<String>())
}

/// What went wrong, in the scheduler's terms.
fn trouble(error: &Error) -> Trouble {
    match error {
        Error::Api(problem) => from_problem(problem),
        Error::Other(other) => match other.downcast_ref::<HttpError>() {
            Some(HttpError::Timeout) => Trouble::new("timeout", other.to_string()),
            Some(HttpError::Unreachable(_)) => Trouble::new("unreachable", other.to_string()),
            Some(HttpError::Roots(_)) => Trouble::new("local", other.to_string()),
            Some(HttpError::Status(500..)) => Trouble::new("serverInternal", other.to_string()),
            Some(HttpError::Status(429)) => Trouble::new("rateLimited", other.to_string()),
            Some(HttpError::Body | HttpError::Status(_)) | None => {
                Trouble::new("bad_answer", other.to_string())
            }
        },
        Error::Timeout(_) => Trouble::new("timeout", error.to_string()),
        other => Trouble::new("bad_answer", other.to_string()),
    }
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
    fn a_request_names_everything_and_has_no_common_name() {
        let key = KeyPair::generate().unwrap();
        let names = ["Air.example.org".to_owned(), "192.0.2.1".to_owned(), "2001:db8::1".to_owned()];
        let der = signing_request(&names, &key).unwrap();
        use x509_parser::prelude::{FromDer, X509CertificationRequest};
        let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
        assert_eq!(request.certification_request_info.subject.iter().count(), 0);
        let text = format!("{:?}", request.requested_extensions().unwrap().collect::<Vec<_>>());
        assert!(text.contains("air.example.org") && text.contains("IPAddress"), "{text}");
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

    #[test]
    fn problems_are_told_in_the_scheduler_s_terms() {
        let problem: Problem = serde_json::from_str(
            r#"{"type":"urn:ietf:params:acme:error:compound","detail":"several","subproblems":[{"type":"urn:ietf:params:acme:error:caa","detail":"no","identifier":{"type":"dns","value":"a.example"}}]}"#,
        )
        .unwrap();
        let told = trouble(&Error::Api(problem));
        assert_eq!(told.problem, "caa");
        assert!(told.detail.contains("a.example"), "{}", told.detail);
        for (error, expected) in [
            (HttpError::Timeout, "timeout"),
            (HttpError::Unreachable("refused".to_owned()), "unreachable"),
            (HttpError::Status(503), "serverInternal"),
            (HttpError::Status(429), "rateLimited"),
            (HttpError::Status(404), "bad_answer"),
            (HttpError::Body, "bad_answer"),
        ] {
            assert_eq!(trouble(&Error::Other(Box::new(error))).problem, expected);
        }
    }
}
