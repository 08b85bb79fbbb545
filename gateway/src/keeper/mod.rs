//! Keeps a good certificate on show: loads what there is, watches files, obeys the scheduler (`renewal`), and remembers
//! what became of it in `data_dir/acme/state.json`.
//!
//! One order at a time. Whatever an authority does, what is shown stays until something better is there.

mod orders;
mod pairs;
mod trust;

pub use pairs::doubts;
pub use trust::{NoTrust, Trust, trust};

use crate::answer::certificate::{self as answer, AcmeFacts, CertificateView, Facts};
use crate::config::{Config, Hsts, TlsSource};
use crate::observe::CertificateCounters;
use crate::renewal::schedule::{self, Next};
use crate::renewal::{Attempt, Memory};
use crate::tls::acme;
use crate::tls::{Certificates, Origin, TlsError, self_signed};
use crate::{clock, disk};
use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use orders::{names_of, next, wanted};
use pairs::{first, signature};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How often everything is looked at when nothing happens: names, clock, keys of session tickets.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// How often files are looked at.
const FILES_EVERY: Duration = Duration::from_secs(1);

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
        acme::state_file(&self.acme)
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
    found: Mutex<Found>,
    memory: Mutex<Memory>,
    /// A certificate that could not be written yet.
    unsaved: Mutex<Option<String>>,
    files_seen: Mutex<Signature>,
    asked: Mutex<Option<Request>>,
    reread: AtomicBool,
    poke: Notify,
    counters: CertificateCounters,
}

/// When this machine's addresses were last looked for, and what its interfaces had then.
#[derive(Debug)]
struct Found {
    at_ms: i64,
    interfaces: Vec<IpAddr>,
}

impl Default for Found {
    fn default() -> Self {
        Self { at_ms: i64::MIN, interfaces: Vec::new() }
    }
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
    ) -> Result<Self, TlsError> {
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
            found: Mutex::new(Found::default()),
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
            *lock(&self.0.found) = Found::default();
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

/// Where a certificate lies that is renewed at an authority: key and chain in one file.
pub fn bundle(config: &Config) -> PathBuf {
    Places::of(config).bundle()
}

/// The certificate as people see it, from what lies on disk; nothing is written.
///
/// # Errors
/// When there is no certificate yet, or it cannot be read.
pub async fn peek(config: &Config, now_ms: i64) -> Result<CertificateView, TlsError> {
    let places = Places::of(config);
    let plan = Plan::of(config, &config.listen.http, &config.listen.https);
    let (pair, origin) = match first(&plan, &places) {
        Some(found) => found,
        None => (self_signed::read(&places.certs)?, Origin::SelfSigned),
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

fn remembered(places: &Places) -> Memory {
    acme::memory(&places.acme).unwrap_or_else(|error| {
        tracing::warn!(%error, "{} cannot be read; earlier attempts are forgotten", places.state().display());
        Memory::default()
    })
}

/// A number of 0 to 1.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without chance all gateways come back together; that is no reason to fail.
    let _unlikely = rand::fill(&mut bytes);
    f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
}
