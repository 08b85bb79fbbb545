//! One conversation: account, order, proof, certificate (RFC 8555 §7.3 to §7.5).

use super::http::Heard;
use super::trouble::{from_problem, is_about_replacing, is_bad_nonce, local, trouble};
use super::{Authority, Issued, Job, Placed, Progress, binding_key, read_credentials};
use crate::disk;
use crate::renewal::schedule;
use crate::renewal::{Account as KnownAccount, Challenge, Trouble};
use crate::tls::challenge::Challenges;
use crate::tls::pair::Pair;
use instant_acme::{
    Account, AccountBuilder, AccountCredentials, AuthorizationStatus, CertificateIdentifier, ChallengeType,
    Error, Identifier, NewAccount, NewOrder, Order, OrderStatus, Problem,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use std::net::IpAddr;
use std::path::Path;
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

/// What a conversation is had with.
pub(super) struct Talk<'a> {
    pub(super) authority: &'a Authority,
    pub(super) heard: Arc<Heard>,
    pub(super) challenges: &'a Challenges,
    pub(super) progress: &'a dyn Progress,
}

impl Talk<'_> {
    /// Orders a certificate, from the account to the chain.
    pub(super) async fn order(&self, job: Job<'_>) -> Result<Issued, Trouble> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
