//! Keeps a good certificate on show: loads what there is, watches files, obeys the scheduler (`renewal`), and remembers
//! what became of it in `data_dir/acme/state.json`.
//!
//! One order at a time. Whatever an authority does, what is shown stays until something better is there.

use crate::answer::certificate::{self as answer, AcmeFacts, CertificateView, Facts};
use crate::config::{Config, Hsts, TlsSource};
use crate::observe::{AttemptLabel, CertificateCounters};
use crate::renewal::schedule::{self, Next, Order};
use crate::renewal::{
    Account, Attempt, Certificate, Memory, Outcome, Reason, Running, Trouble, Wanted, words,
};
use crate::tls::acme::{self, Authority, Job, Progress};
use crate::tls::pair::{self, Pair};
use crate::tls::{Certificates, Origin, self_signed};
use crate::{clock, disk, machine};
use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How often everything is looked at when nothing happens: names, clock, keys of session tickets.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How often files are looked at.
const FILES_EVERY: Duration = Duration::from_secs(1);

/// How often the cloud is asked for this machine's address.
const ADDRESSES_EVERY_MS: i64 = 5 * 60_000;

/// A self-signed certificate is made anew when fewer days are left, in milliseconds.
const OWN_LEFT_MIN_MS: i64 = 30 * 86_400_000;

/// Largest file of state that is read, in bytes; forty attempts with long details have 80 kB.
const STATE_BYTES_MAX: u64 = 1 << 20;

/// The file through which a command asks a running gateway for a certificate.
pub const REQUEST_FILE: &str = "request.json";

/// What a command asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// A name by which the command recognises the attempt.
    pub id: String,
    /// A rehearsal.
    pub dry_run: bool,
}

/// Where everything lies.
#[derive(Clone, Debug)]
struct Places {
    certs: PathBuf,
    acme: PathBuf,
}

impl Places {
    fn of(config: &Config) -> Self {
        Self { certs: config.certs_dir(), acme: config.acme_dir() }
    }

    fn bundle(&self) -> PathBuf {
        self.certs.join("acme.pem")
    }

    fn state(&self) -> PathBuf {
        self.acme.join("state.json")
    }

    fn request(&self) -> PathBuf {
        self.acme.join(REQUEST_FILE)
    }
}

/// What the configuration asks for.
#[derive(Clone, Debug)]
struct Plan {
    source: TlsSource,
    names: Vec<String>,
    own_names: Vec<String>,
    hsts: Hsts,
    listening: Vec<IpAddr>,
    http: bool,
}

impl Plan {
    fn of(config: &Config, http: &[SocketAddr], https: &[SocketAddr]) -> Self {
        Self {
            source: config.tls.source.clone(),
            names: config.tls.names.clone(),
            own_names: config.tls.own_names(),
            hsts: config.tls.hsts,
            listening: https.iter().chain(http).map(SocketAddr::ip).collect(),
            http: !http.is_empty(),
        }
    }

    const fn source_name(&self) -> &'static str {
        match self.source {
            TlsSource::Acme(_) => Origin::Acme.name(),
            TlsSource::Files { .. } => Origin::Files.name(),
            TlsSource::SelfSigned => Origin::SelfSigned.name(),
        }
    }
}

/// Keeps the certificate. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Keeper(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    certificates: Arc<Certificates>,
    places: Places,
    plan: ArcSwap<Plan>,
    /// The names that are wanted at the moment: those of the plan, or the addresses that were found.
    names: ArcSwap<Vec<String>>,
    names_found_ms: Mutex<i64>,
    memory: Mutex<Memory>,
    /// A certificate that could not be written yet.
    unsaved: Mutex<Option<String>>,
    files_seen: Mutex<Signature>,
    asked: Mutex<Option<Request>>,
    reread: AtomicBool,
    poke: Notify,
    counters: CertificateCounters,
}

/// What a pair of files looks like from outside: times of change and sizes.
type Signature = Option<[(SystemTime, u64); 2]>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keeper {
    /// Finds the best certificate there is, without asking anybody: the authority's, else the one made here. Files that
    /// cannot be used are told, and HTTPS answers with the one made here until they can.
    ///
    /// # Errors
    /// When no certificate can be made at all.
    pub fn open(
        config: &Config,
        http: &[SocketAddr],
        https: &[SocketAddr],
        counters: CertificateCounters,
        now_ms: i64,
    ) -> Result<Self, crate::tls::TlsError> {
        let places = Places::of(config);
        let plan = Plan::of(config, http, https);
        if let Err(error) = disk::private_dir(&places.certs) {
            tracing::warn!(%error, "{} cannot be made", places.certs.display());
        }
        let (pair, origin) = match first(&plan, &places) {
            Some(found) => found,
            None => (self_signed::keep(&places.certs, &plan.own_names, now_ms)?, Origin::SelfSigned),
        };
        let mut memory = remembered(&places);
        memory.running = None;
        schedule::at_hand(&mut memory, (origin == Origin::Acme).then_some(&pair.facts));
        let certificates = Certificates::new(pair, origin, &places.certs, now_ms);
        let keeper = Self(Arc::new(Inner {
            certificates,
            places,
            names: ArcSwap::from_pointee(plan.names.clone()),
            files_seen: Mutex::new(signature(&plan)),
            plan: ArcSwap::from_pointee(plan),
            names_found_ms: Mutex::new(i64::MIN),
            memory: Mutex::new(memory),
            unsaved: Mutex::new(None),
            asked: Mutex::new(None),
            reread: AtomicBool::new(false),
            poke: Notify::new(),
            counters,
        }));
        keeper.answer_for();
        keeper.count(now_ms);
        Ok(keeper)
    }

    /// The certificate on show.
    pub fn certificates(&self) -> Arc<Certificates> {
        Arc::clone(&self.0.certificates)
    }

    /// Whether browsers are told to insist on HTTPS: never for a certificate that would lock their users out.
    pub fn hsts(&self) -> bool {
        hsts(self.0.plan.load().hsts, self.0.certificates.shown().publicly_trusted)
    }

    /// Takes over a configuration that was read again, and looks at files and requests.
    pub fn reload(&self, config: &Config) {
        let old = self.0.plan.load();
        let new = Plan {
            source: config.tls.source.clone(),
            names: config.tls.names.clone(),
            own_names: config.tls.own_names(),
            hsts: config.tls.hsts,
            ..Plan::clone(&old)
        };
        if new.names != old.names || new.source != old.source {
            *lock(&self.0.names_found_ms) = i64::MIN;
            self.0.names.store(Arc::new(new.names.clone()));
        }
        self.0.plan.store(Arc::new(new));
        self.answer_for();
        self.0.reread.store(true, Ordering::Release);
        self.reread(clock::now_ms());
        self.0.poke.notify_one();
    }

    fn answer_for(&self) {
        let thumbprint = match &self.0.plan.load().source {
            TlsSource::Acme(acme) => acme.thumbprint.clone(),
            TlsSource::Files { .. } | TlsSource::SelfSigned => None,
        };
        self.0.certificates.challenges.answer_for(thumbprint);
    }

    /// Asks for a certificate now. The error says why that makes no sense.
    ///
    /// # Errors
    /// When no authority is configured.
    pub fn ask(&self, request: Request) -> Result<(), &'static str> {
        match self.0.plan.load().source {
            TlsSource::Acme(_) => {
                *lock(&self.0.asked) = Some(request);
                self.0.poke.notify_one();
                Ok(())
            }
            TlsSource::Files { .. } | TlsSource::SelfSigned => {
                Err("tls.source is not \"acme\": there is no authority to ask")
            }
        }
    }

    /// The certificate as people see it.
    pub fn view(&self, now_ms: i64) -> CertificateView {
        let plan = self.0.plan.load();
        let shown = self.0.certificates.shown();
        let names = self.0.names.load();
        let wanted = wanted(&plan, self.0.names.load().to_vec());
        let memory = lock(&self.0.memory).clone();
        let there = (shown.origin == Origin::Acme).then_some(&shown.facts);
        let next = wanted.as_ref().map(|wanted| next(wanted, there, &memory, now_ms));
        answer::view(&Facts {
            source: plan.source_name(),
            wanted: if names.is_empty() && wanted.is_none() { &plan.own_names } else { &names },
            shown: &shown.facts,
            origin: shown.origin.name(),
            publicly_trusted: shown.publicly_trusted,
            hsts: self.hsts(),
            acme: wanted.as_ref().zip(next.as_ref()).map(|(wanted, next)| AcmeFacts {
                wanted,
                memory: &memory,
                next,
            }),
            now_ms,
        })
    }

    /// Runs until `shutdown`. An order under way is taken up by the next process.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut resume = true;
        loop {
            let turn = async {
                let pause = self.turn(std::mem::take(&mut resume)).await;
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.0.poke.notified() => {}
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = turn => {}
            }
        }
    }

    /// One look at everything; says how long to rest.
    async fn turn(&self, resume: bool) -> Duration {
        let now_ms = clock::now_ms();
        self.0.certificates.rotate_tickets(now_ms);
        self.save();
        let plan = self.0.plan.load_full();
        let pause = match &plan.source {
            TlsSource::SelfSigned => {
                self.freshen_own(&plan, now_ms);
                LOOK_EVERY
            }
            TlsSource::Files { .. } => {
                self.watch_files(&plan, now_ms);
                FILES_EVERY
            }
            TlsSource::Acme(_) => self.turn_acme(&plan, resume, now_ms).await,
        };
        self.count(clock::now_ms());
        pause
    }

    async fn turn_acme(&self, plan: &Plan, resume: bool, now_ms: i64) -> Duration {
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
        if resume && let Some(placed) = authority.placed(&wanted, now_ms) {
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
            Next::Order(order) => {
                // An order that the authority has taken and not answered yet is asked after, not placed again.
                let placed = authority.placed(&wanted, now_ms).filter(|placed| placed.names == order.names);
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
        {
            let mut found_ms = lock(&self.0.names_found_ms);
            let fresh = (0..ADDRESSES_EVERY_MS).contains(&now_ms.saturating_sub(*found_ms));
            let known = !self.0.names.load().is_empty();
            if fresh && known && machine_unchanged(&self.0.names.load()) {
                return;
            }
            *found_ms = now_ms;
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
            challenge: crate::renewal::Challenge::Http01,
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
            challenge: placed.as_ref().map_or(order.challenge, |placed| placed.challenge),
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
        self.0.certificates.show(issued.pair, Origin::Acme);
        *lock(&self.0.unsaved) = Some(issued.bundle);
        if self.save() {
            authority.forget_order();
        }
    }

    /// Writes a certificate that is shown and not kept yet. Says whether everything is kept.
    fn save(&self) -> bool {
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

    fn remember(&self, attempt: Attempt, now_ms: i64) {
        {
            let mut memory = lock(&self.0.memory);
            memory.running = None;
            schedule::remember(&mut memory, attempt, chance(), now_ms);
        }
        self.persist();
    }

    fn persist(&self) {
        if let Err(error) = self.try_persist() {
            tracing::warn!(%error, "{} could not be written", self.0.places.state().display());
        }
    }

    fn try_persist(&self) -> std::io::Result<()> {
        let json = serde_json::to_vec_pretty(&*lock(&self.0.memory)).map_err(std::io::Error::other)?;
        disk::private_dir(&self.0.places.acme)?;
        disk::write_private(&self.0.places.state(), &json)
    }

    /// Makes the certificate of our own anew before it ends, when that is what is shown.
    fn freshen_own(&self, plan: &Plan, now_ms: i64) {
        let shown = self.0.certificates.shown();
        let ours = shown.origin == Origin::SelfSigned;
        let old = shown.facts.not_after_ms.saturating_sub(now_ms) < OWN_LEFT_MIN_MS;
        let other = !shown.facts.missing(&plan.own_names).is_empty();
        if ours && (old || other) {
            match self_signed::keep(&self.0.places.certs, &plan.own_names, now_ms) {
                Ok(pair) => self.0.certificates.show(pair, Origin::SelfSigned),
                Err(error) => tracing::error!(%error, "the self-signed certificate could not be made anew"),
            }
        }
    }

    /// Takes over files that have changed and rest: a pair is two files, and one is written before the other.
    fn watch_files(&self, plan: &Plan, now_ms: i64) {
        let seen = signature(plan);
        let mut known = lock(&self.0.files_seen);
        if *known == seen {
            return;
        }
        let young = seen.iter().flatten().any(|(changed, _)| {
            let age = changed.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis());
            (0..1000).contains(&(i128::from(now_ms) - i128::try_from(age).unwrap_or(0)))
        });
        if !young {
            *known = seen;
            drop(known);
            self.0.reread.store(true, Ordering::Release);
            self.reread(now_ms);
        }
    }

    /// Reads what lies on disk again, when somebody said that it has changed.
    fn reread(&self, now_ms: i64) {
        if !self.0.reread.swap(false, Ordering::AcqRel) {
            return;
        }
        let plan = self.0.plan.load();
        let shown = self.0.certificates.shown();
        let read = match &plan.source {
            TlsSource::Files { cert, key } => {
                *lock(&self.0.files_seen) = signature(&plan);
                Pair::from_files(cert, key).map(|pair| (pair, Origin::Files))
            }
            TlsSource::Acme(_) if self.0.places.bundle().exists() => {
                Pair::from_bundle(&self.0.places.bundle()).map(|pair| (pair, Origin::Acme))
            }
            // Somebody has removed the file. What is shown is good; after a restart another one is ordered.
            TlsSource::Acme(_) if shown.origin == Origin::Acme => return,
            TlsSource::Acme(_) | TlsSource::SelfSigned => {
                self_signed::keep(&self.0.places.certs, &plan.own_names, now_ms)
                    .map(|pair| (pair, Origin::SelfSigned))
            }
        };
        match read {
            Ok((pair, origin)) => {
                // Nothing better is thrown away: an authority's certificate that is not written yet.
                let unsaved = lock(&self.0.unsaved).is_some();
                if unsaved || (pair.facts.sha256 == shown.facts.sha256 && origin == shown.origin) {
                    return;
                }
                for oddity in &pair.oddities {
                    tracing::warn!("{oddity}");
                }
                warn_of(&pair, &plan.names, now_ms);
                tracing::info!(
                    origin = origin.name(),
                    issuer = pair.facts.issuer,
                    "another certificate is shown"
                );
                schedule::at_hand(&mut lock(&self.0.memory), (origin == Origin::Acme).then_some(&pair.facts));
                self.0.certificates.show(pair, origin);
                self.count(now_ms);
            }
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the certificate was not read again; the one that is shown stays"
            ),
        }
    }

    /// Brings the gauges up to date.
    fn count(&self, now_ms: i64) {
        let counters = &self.0.counters;
        let shown = self.0.certificates.shown();
        counters.not_after.set(shown.facts.not_after_ms.div_euclid(1000));
        counters.days_left.set(answer::days_left(&shown.facts, now_ms));
        counters.publicly_trusted.set(i64::from(shown.publicly_trusted));
        let plan = self.0.plan.load();
        let memory = lock(&self.0.memory).clone();
        let there = (shown.origin == Origin::Acme).then_some(&shown.facts);
        let next =
            wanted(&plan, self.0.names.load().to_vec()).map(|wanted| next(&wanted, there, &memory, now_ms));
        let next_ms = match next {
            Some(Next::Order(_) | Next::AskWhen) => now_ms,
            Some(Next::Wait { planned: Some((at, _)), .. }) => at,
            Some(Next::Wait { planned: None, .. }) | None => 0,
        };
        counters.next_attempt.set(next_ms.div_euclid(1000));
        let last = memory.attempts.iter().rev().find(|attempt| !attempt.dry_run);
        counters.last_attempt.set(last.map_or(0, |attempt| attempt.at_ms.div_euclid(1000)));
        counters.last_success.set(memory.last_success_ms.map_or(0, |at| at.div_euclid(1000)));
        counters.stopped.set(i64::from(memory.stopped.is_some()));
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

/// Where a certificate lies that is renewed at an authority: key and chain in one file.
pub fn bundle(config: &Config) -> PathBuf {
    Places::of(config).bundle()
}

/// The certificate as people see it, from what lies on disk; nothing is written.
///
/// # Errors
/// When there is no certificate yet, or it cannot be read.
pub async fn peek(config: &Config, now_ms: i64) -> Result<CertificateView, crate::tls::TlsError> {
    let places = Places::of(config);
    let plan = Plan::of(config, &config.listen.http, &config.listen.https);
    let (pair, origin) = match first(&plan, &places) {
        Some(found) => found,
        None => {
            let own = self_signed::certificate(&places.certs);
            (Pair::from_files(&own, &own.with_extension("key"))?, Origin::SelfSigned)
        }
    };
    let mut memory = remembered(&places);
    let there = (origin == Origin::Acme).then_some(&pair.facts);
    if !disk::Lock::is_held(&config.lock_file()) {
        memory.running = None;
    }
    schedule::at_hand(&mut memory, there);
    let names = names_of(&plan).await.unwrap_or_else(|| plan.names.clone());
    let wanted = wanted(&plan, names.clone());
    let next = wanted.as_ref().map(|wanted| next(wanted, there, &memory, now_ms));
    Ok(answer::view(&Facts {
        source: plan.source_name(),
        wanted: if names.is_empty() && wanted.is_none() { &plan.own_names } else { &names },
        shown: &pair.facts,
        origin: origin.name(),
        publicly_trusted: pair.publicly_trusted,
        hsts: hsts(plan.hsts, pair.publicly_trusted),
        acme: wanted.as_ref().zip(next.as_ref()).map(|(wanted, next)| AcmeFacts {
            wanted,
            memory: &memory,
            next,
        }),
        now_ms,
    }))
}

const fn hsts(policy: Hsts, publicly_trusted: bool) -> bool {
    match policy {
        Hsts::Always => true,
        Hsts::Never => false,
        Hsts::Auto => publicly_trusted,
    }
}

fn wanted(plan: &Plan, names: Vec<String>) -> Option<Wanted> {
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

fn next(wanted: &Wanted, there: Option<&Certificate>, memory: &Memory, now_ms: i64) -> Next {
    if wanted.names.is_empty() {
        return Next::Wait { until_ms: now_ms.saturating_add(60_000), planned: None };
    }
    schedule::next(wanted, there, memory, now_ms)
}

/// This machine's addresses, when the configuration leaves the names to them.
async fn names_of(plan: &Plan) -> Option<Vec<String>> {
    let TlsSource::Acme(acme) = &plan.source else { return None };
    if !plan.names.is_empty() {
        return None;
    }
    let mut addresses = machine::public_addresses().await;
    if addresses.is_empty() && acme.ca_bundle.is_some() {
        // A private authority may vouch for private addresses.
        addresses = machine::private_addresses(&plan.listening);
    }
    Some(addresses.iter().map(IpAddr::to_string).collect())
}

/// The best certificate there is, but for the one made here.
fn first(plan: &Plan, places: &Places) -> Option<(Pair, Origin)> {
    let read = match &plan.source {
        TlsSource::Files { cert, key } => Pair::from_files(cert, key).map(|pair| (pair, Origin::Files)),
        TlsSource::Acme(_) if places.bundle().exists() => {
            Pair::from_bundle(&places.bundle()).map(|pair| (pair, Origin::Acme))
        }
        TlsSource::Acme(_) | TlsSource::SelfSigned => return None,
    };
    match read {
        Ok((pair, origin)) => {
            for oddity in &pair.oddities {
                tracing::warn!("{oddity}");
            }
            warn_of(&pair, &plan.names, clock::now_ms());
            Some((pair, origin))
        }
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the certificate cannot be used; HTTPS answers with the gateway's own until it can"
            );
            None
        }
    }
}

fn warn_of(pair: &Pair, names: &[String], now_ms: i64) {
    for doubt in doubts(pair, names, now_ms) {
        tracing::warn!("{doubt}");
    }
}

/// What browsers will not like about a pair, each with its fix.
pub fn doubts(pair: &Pair, names: &[String], now_ms: i64) -> Vec<String> {
    let facts = &pair.facts;
    let mut doubts = Vec::new();
    if now_ms >= facts.not_after_ms {
        doubts.push(format!(
            "the certificate ended {} ago; put a new one in its place",
            answer::span(now_ms - facts.not_after_ms)
        ));
    } else if now_ms < facts.not_before_ms {
        doubts.push("the certificate is not valid yet; is this machine's clock right?".to_owned());
    }
    let missing = facts.missing(names);
    if !missing.is_empty() {
        doubts.push(format!(
            "the certificate is for {}, not for {}; get one for these names, or change tls.names",
            facts.names.join(", "),
            missing.join(", ")
        ));
    }
    doubts
}

fn signature(plan: &Plan) -> Signature {
    let TlsSource::Files { cert, key } = &plan.source else { return None };
    let (cert, key) = pair::lineage(cert, key);
    let look = |file: &Path| {
        let meta = std::fs::metadata(file).ok();
        meta.map_or((SystemTime::UNIX_EPOCH, 0), |meta| {
            (meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), meta.len())
        })
    };
    Some([look(&cert), look(&key)])
}

fn remembered(places: &Places) -> Memory {
    let file = places.state();
    let size = std::fs::metadata(&file).map_or(0, |meta| meta.len());
    if size > STATE_BYTES_MAX {
        tracing::warn!("{} is far too large and is not read", file.display());
        return Memory::default();
    }
    match std::fs::read(&file) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(%error, "{} cannot be read; earlier attempts are forgotten", file.display());
            Memory::default()
        }),
        Err(_) => Memory::default(),
    }
}

/// Whether the found addresses that this machine itself can see are still the same.
fn machine_unchanged(names: &[String]) -> bool {
    let own = machine::interface_addresses();
    let public = |address: &&IpAddr| crate::renewal::names::is_public(**address);
    let seen: Vec<String> = own.iter().filter(public).map(IpAddr::to_string).collect();
    // One that the cloud has in front of the machine is on no interface.
    seen.iter().all(|address| names.contains(address))
        && names.iter().all(|name| {
            seen.contains(name) || !seen.iter().any(|other| other.contains(':') == name.contains(':'))
        })
}

/// A number of 0 to 1.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without chance all gateways come back together; that is no reason to fail.
    let _unlikely = rand::fill(&mut bytes);
    f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
}
