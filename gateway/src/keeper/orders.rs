//! Orders: when the scheduler says so, or somebody asks.

use super::{Found, Keeper, LOOK_EVERY, Plan, Request, chance, lock};
use crate::answer::certificate as answer;
use crate::config::TlsSource;
use crate::observe::AttemptLabel;
use crate::renewal::schedule::{self, Next, Order};
use crate::renewal::{
    Account, Attempt, Certificate, Challenge, Memory, Outcome, Reason, Running, Trouble, Wanted, words,
};
use crate::tls::Origin;
use crate::tls::acme::{self, Authority, Job, Progress};
use crate::{clock, disk, machine};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How often the cloud is asked for this machine's address; at once when an interface has got another one.
const ADDRESSES_EVERY_MS: i64 = 5 * 60_000;

impl Keeper {
    pub(super) async fn turn_acme(&self, plan: &Plan, resume: bool, now_ms: i64) -> Duration {
        self.freshen_own(plan, now_ms);
        self.reread(now_ms);
        self.find_names(plan, now_ms).await;
        let (Some(wanted), Some(authority)) =
            (wanted(plan, self.0.names.load().to_vec()), self.authority(plan))
        else {
            return LOOK_EVERY;
        };
        let request = self.take_request();
        let shown = self.0.certificates.shown();
        let there = (shown.origin == Origin::Acme).then_some(&shown.facts);
        let memory = {
            let mut memory = lock(&self.0.memory);
            schedule::about(&mut memory, &wanted);
            memory.clone()
        };
        if wanted.names.is_empty() {
            self.without_names(request.as_ref(), now_ms);
            return LOOK_EVERY;
        }
        if let Some(request) = request {
            match schedule::asked(&wanted, there, &memory, now_ms) {
                Ok(order) => self.order(&wanted, &authority, order, None, Some(request), now_ms).await,
                Err(until_ms) => self.decline(&request, until_ms, now_ms),
            }
            return Duration::ZERO;
        }
        // An order that was cut off is taken up at once; after a failure its pause counts, restart or not.
        let rested = memory.failures == 0 || memory.not_before_ms <= now_ms;
        if resume
            && rested
            && let Some(placed) = authority.placed(&wanted, now_ms)
        {
            let order = Order {
                reason: Reason::Resume,
                names: placed.names.clone(),
                challenge: placed.challenge,
                replaces: false,
            };
            self.order(&wanted, &authority, order, Some(placed), None, now_ms).await;
            return Duration::ZERO;
        }
        match next(&wanted, there, &memory, now_ms) {
            Next::Order(mut order) => {
                // An order that the authority has taken and not answered yet is asked after, not placed again.
                let placed = authority.placed(&wanted, now_ms).filter(|placed| placed.names == order.names);
                if let Some(placed) = &placed {
                    order.challenge = placed.challenge;
                }
                self.order(&wanted, &authority, order, placed, None, now_ms).await;
                Duration::ZERO
            }
            Next::AskWhen => {
                self.ask_when(&authority, now_ms).await;
                Duration::ZERO
            }
            Next::Wait { until_ms, .. } => {
                let wait = u64::try_from(until_ms.saturating_sub(now_ms)).unwrap_or(0);
                Duration::from_millis(wait).min(LOOK_EVERY)
            }
        }
    }

    fn authority(&self, plan: &Plan) -> Option<Authority> {
        let TlsSource::Acme(acme) = &plan.source else { return None };
        Some(Authority {
            directory: acme.directory.clone(),
            ca_bundle: acme.ca_bundle.clone(),
            contact: acme.contact.clone(),
            binding: acme.binding.clone(),
            dir: self.0.places.acme.clone(),
        })
    }

    /// Without names in the configuration the certificate is for this machine's addresses, whatever they are by now.
    async fn find_names(&self, plan: &Plan, now_ms: i64) {
        if !plan.names.is_empty() {
            return;
        }
        let seen = machine::interface_addresses();
        {
            let mut found = lock(&self.0.found);
            let fresh = (0..ADDRESSES_EVERY_MS).contains(&now_ms.saturating_sub(found.at_ms));
            if fresh && found.interfaces == seen && !self.0.names.load().is_empty() {
                return;
            }
            *found = Found { at_ms: now_ms, interfaces: seen };
        }
        let names = names_of(plan).await.unwrap_or_default();
        if !names.is_empty() && names != **self.0.names.load() {
            tracing::info!(names = names.join(", "), "this machine's addresses");
            self.0.names.store(Arc::new(names));
        }
    }

    fn take_request(&self) -> Option<Request> {
        let file = self.0.places.request();
        let written = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if file.exists()
            && let Err(error) = std::fs::remove_file(&file)
        {
            // It would be followed again and again.
            tracing::warn!(%error, "{} cannot be removed and is not followed", file.display());
            return lock(&self.0.asked).take();
        }
        written.or_else(|| lock(&self.0.asked).take())
    }

    fn without_names(&self, request: Option<&Request>, now_ms: i64) {
        let told = lock(&self.0.memory).attempts.last().is_some_and(
            |attempt| matches!(&attempt.outcome, Outcome::Failed(trouble) if trouble.problem == "no_names"),
        );
        if told && request.is_none() {
            return;
        }
        let trouble = Trouble::new("no_names", "neither its interfaces nor its cloud show a public address");
        tracing::error!("{}", words::explain(&trouble).text);
        let attempt = Attempt {
            at_ms: now_ms,
            took_ms: 0,
            reason: Reason::First,
            challenge: Challenge::Http01,
            names: Vec::new(),
            dry_run: request.is_some_and(|request| request.dry_run),
            request: request.map(|request| request.id.clone()),
            outcome: Outcome::Failed(trouble),
        };
        self.remember(attempt, now_ms);
    }

    fn decline(&self, request: &Request, until_ms: i64, now_ms: i64) {
        let text = format!(
            "a name has failed {} times within the hour, and the authority would lock it; it is possible again in {}",
            schedule::VALIDATIONS_PER_HOUR,
            answer::span(until_ms - now_ms)
        );
        tracing::warn!("no certificate was ordered: {text}");
        lock(&self.0.memory).declined = Some((request.id.clone(), text));
        self.persist();
    }

    async fn order(
        &self,
        wanted: &Wanted,
        authority: &Authority,
        order: Order,
        placed: Option<acme::Placed>,
        request: Option<Request>,
        now_ms: i64,
    ) {
        let dry_run = request.as_ref().is_some_and(|request| request.dry_run);
        let names = order.names.join(", ");
        lock(&self.0.memory).running =
            Some(Running { since_ms: now_ms, reason: order.reason, step: "beginning".to_owned() });
        // No order before it is sure that its outcome can be kept.
        let writable = self.try_persist();
        tracing::info!(
            names,
            directory = authority.directory,
            challenge = order.challenge.name(),
            dry_run,
            "ordering a certificate: {}",
            words::reason(order.reason)
        );
        let outcome = match writable {
            Err(error) => Err(Trouble::new("local", format!("{}: {error}", self.0.places.state().display()))),
            Ok(()) => self.converse(wanted, authority, &order, placed, dry_run, now_ms).await,
        };
        let done_ms = clock::now_ms();
        let outcome = match outcome {
            Ok(issued) => {
                let until_ms = issued.pair.facts.not_after_ms;
                if dry_run {
                    tracing::info!(names, "the rehearsal succeeded");
                } else {
                    tracing::info!(
                        names,
                        issuer = issued.pair.facts.issuer,
                        "a certificate was issued and is shown"
                    );
                    self.take_over(issued, authority);
                }
                self.0.counters.attempts.get_or_create(&AttemptLabel { outcome: "issued" }).inc();
                Outcome::Issued { until_ms }
            }
            Err(trouble) => {
                let said = words::explain(&trouble);
                tracing::error!(
                    names,
                    problem = trouble.problem,
                    detail = trouble.detail,
                    "no certificate was issued: {} {}",
                    said.text,
                    said.fix
                );
                self.0.counters.attempts.get_or_create(&AttemptLabel { outcome: "failed" }).inc();
                Outcome::Failed(trouble)
            }
        };
        let attempt = Attempt {
            at_ms: now_ms,
            took_ms: done_ms.saturating_sub(now_ms).max(0),
            reason: order.reason,
            challenge: order.challenge,
            names: order.names,
            dry_run,
            request: request.map(|request| request.id),
            outcome,
        };
        self.remember(attempt, done_ms);
    }

    async fn converse(
        &self,
        wanted: &Wanted,
        authority: &Authority,
        order: &Order,
        placed: Option<acme::Placed>,
        dry_run: bool,
        now_ms: i64,
    ) -> Result<acme::Issued, Trouble> {
        let shown = self.0.certificates.shown();
        let replaces =
            (order.replaces && !dry_run && shown.origin == Origin::Acme).then(|| shown.leaf()).flatten();
        let job = Job {
            wanted,
            names: &order.names,
            challenge: order.challenge,
            replaces,
            placed,
            rehearsal: dry_run,
            now_ms,
        };
        let rehearsal = dry_run.then(|| authority.rehearsal());
        let mut requests = 0;
        let challenges = &self.0.certificates.challenges;
        let issued =
            acme::order(rehearsal.as_ref().unwrap_or(authority), job, challenges, self, &mut requests).await;
        self.0.counters.requests.inc_by(requests);
        if let Err(trouble) = &issued
            && !dry_run
            && trouble.is_final()
        {
            // The order is spent; the next attempt places its own.
            authority.forget_order();
        }
        issued
    }

    /// Shows a new certificate, then keeps it. A full disk does not keep it from being shown.
    fn take_over(&self, issued: acme::Issued, authority: &Authority) {
        {
            let mut memory = lock(&self.0.memory);
            memory.serial = Some(issued.pair.facts.serial.clone());
            memory.issued_by = Some(authority.directory.clone());
        }
        // First, so that nobody who reads the files again puts the old one back.
        *lock(&self.0.unsaved) = Some(issued.bundle);
        self.0.certificates.show(issued.pair, Origin::Acme);
        if self.save() {
            authority.forget_order();
        }
    }

    /// Writes a certificate that is shown and not kept yet. Says whether everything is kept.
    pub(super) fn save(&self) -> bool {
        let mut unsaved = lock(&self.0.unsaved);
        let Some(bundle) = unsaved.as_deref() else { return true };
        let file = self.0.places.bundle();
        match disk::private_dir(&self.0.places.certs)
            .and_then(|()| disk::write_private(&file, bundle.as_bytes()))
        {
            Ok(()) => {
                *unsaved = None;
                true
            }
            Err(error) => {
                tracing::error!(%error, "{} could not be written; the certificate is shown and will be written later", file.display());
                false
            }
        }
    }

    async fn ask_when(&self, authority: &Authority, now_ms: i64) {
        let shown = self.0.certificates.shown();
        let Some(leaf) = shown.leaf() else { return };
        let mut requests = 0;
        let said = acme::suggestion(authority, &leaf, &mut requests).await;
        self.0.counters.requests.inc_by(requests);
        let said = said.unwrap_or_else(|trouble| {
            tracing::warn!(
                problem = trouble.problem,
                detail = trouble.detail,
                "the authority did not say when to renew"
            );
            schedule::Suggestion { window_ms: None, explanation_url: None, again_ms: None }
        });
        if let Some(url) = &said.explanation_url {
            tracing::info!(url, "the authority explains its wish to renew");
        }
        schedule::remember_suggestion(&mut lock(&self.0.memory), &shown.facts.serial, said, chance(), now_ms);
        self.persist();
    }
}

impl Progress for Keeper {
    fn step(&self, text: &str) {
        if let Some(running) = &mut lock(&self.0.memory).running {
            text.clone_into(&mut running.step);
        }
        self.persist();
    }

    fn account(&self, account: Account) {
        let mut memory = lock(&self.0.memory);
        let real = matches!(&self.0.plan.load().source, TlsSource::Acme(acme) if acme.directory == account.directory);
        if real {
            memory.account = Some(account);
        }
    }
}

pub(super) fn wanted(plan: &Plan, names: Vec<String>) -> Option<Wanted> {
    let TlsSource::Acme(acme) = &plan.source else { return None };
    Some(Wanted {
        names,
        found: plan.names.is_empty(),
        directory: acme.directory.clone(),
        profile: acme.profile.clone(),
        binding: acme.binding.as_ref().map_or_else(String::new, |(kid, _)| kid.clone()),
        challenge: acme.challenge,
        http: plan.http,
    })
}

pub(super) fn next(wanted: &Wanted, there: Option<&Certificate>, memory: &Memory, now_ms: i64) -> Next {
    if wanted.names.is_empty() {
        return Next::Wait { until_ms: now_ms.saturating_add(60_000), planned: None };
    }
    schedule::next(wanted, there, memory, now_ms)
}

/// This machine's addresses, when the configuration leaves the names to them.
pub(super) async fn names_of(plan: &Plan) -> Option<Vec<String>> {
    let TlsSource::Acme(acme) = &plan.source else { return None };
    if !plan.names.is_empty() {
        return None;
    }
    let public = machine::public_addresses().await;
    let addresses = machine::certificate_addresses(public, &plan.listening, acme.ca_bundle.is_some());
    Some(addresses.iter().map(IpAddr::to_string).collect())
}
