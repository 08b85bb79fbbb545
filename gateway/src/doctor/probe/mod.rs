//! Finding out. Everything at once, every wait with a timeout, nothing decided.
//!
//! | file | asks |
//! |---|---|
//! | `files` | the file system and the kernel |
//! | `dns` | DNS |
//! | `doors` | sockets: plain HTTP, HTTPS, TLS of all versions |

mod dns;
mod doors;
mod files;

use super::facts::{Device, Door, Facts, Greeting, Kept, Listeners, Name, Running, Store, Target, Unknown};
use crate::archive::{Archive, Kept as Backups};
use crate::config::{Acme, BadConfig, Config, Loaded, Sources};
use crate::disk::{Holder, Lock, LockError};
use crate::machine;
use crate::store::{self, Scope, StoreError};
use crate::telemetry::presence::Rhythm;
use crate::telemetry::time::DAY_MS;
use crate::tls::acme::{self, Authority};
use crate::{clock, renewal};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// How long files may take: a network file system whose server is gone takes for ever.
const FILES_TIMEOUT: Duration = Duration::from_secs(4);

/// How long the store may take to open and answer.
const STORE_TIMEOUT: Duration = Duration::from_secs(6);

/// How long the authority may take.
const AUTHORITY_TIMEOUT: Duration = Duration::from_secs(8);

/// How long finding this machine's addresses may take; a cloud is asked for at most 1.5 s.
const MACHINE_TIMEOUT: Duration = Duration::from_secs(3);

/// Names that are looked up; a certificate has at most 25.
const NAMES_MAX: usize = 25;

/// Devices whose rhythm is looked at.
const DEVICES_MAX: usize = 200;

/// Addresses of names that are tried.
const ADDRESSES_MAX: usize = 24;

/// How far back a device's rhythm is looked for, in milliseconds.
const RHYTHM_MS: i64 = 14 * DAY_MS;

/// Readings from which a rhythm is learned.
const RHYTHM_READINGS: u32 = 10;

/// Finds out everything about the gateway of this configuration. `dns` is asked instead of the system's servers;
/// `tell` hears what is being done, for people who wait.
///
/// # Errors
/// [`BadConfig`] when there is no configuration to go by.
pub async fn examine(
    sources: &Sources,
    dns: Option<SocketAddr>,
    tell: &(dyn Fn(&'static str) + Send + Sync),
) -> Result<Facts, BadConfig> {
    tell("reading the configuration");
    Ok(examine_loaded(sources.load()?, dns, None, tell).await)
}

/// The same for a configuration that is at hand, whether it has been written or not; a store that is open already is not
/// opened a second time.
pub async fn examine_loaded(
    Loaded { config, file, warnings }: Loaded,
    dns: Option<SocketAddr>,
    store: Option<&dyn store::Store>,
    tell: &(dyn Fn(&'static str) + Send + Sync),
) -> Facts {
    let mut facts = Facts::unknown(config.clone(), clock::now_ms());
    (facts.file, facts.warnings) = (file, warnings);

    tell("looking at files and the store, asking DNS and the authority");
    let acme = facts.acme().cloned();
    let given: Vec<String> = config.tls.names.iter().take(NAMES_MAX).cloned().collect();
    let (here, place, kept, greeting, names) = tokio::join!(
        this_machine(),
        aside(FILES_TIMEOUT, {
            let config = config.clone();
            move || Place::look(&config)
        }),
        within(STORE_TIMEOUT, "the store", open_store(&config, store)),
        greet(&config, acme.as_ref()),
        async {
            match &acme {
                None => given.into_iter().map(|name| Name { target: Target::NotAsked, name }).collect(),
                Some(acme) => dns::ask(given, dns, acme.ca_bundle.is_some()).await,
            }
        },
    );
    facts.machine = here;
    (facts.store, facts.authority) = (kept, greeting);
    match place {
        Ok(place) => place.tell(&mut facts),
        Err(why) => {
            (facts.folder, facts.space, facts.running) =
                (Err(why.clone()), Err(why.clone()), Err(why.clone()));
            (facts.certificate, facts.binding_key) = (Err(why.clone()), Err(why));
        }
    }
    facts.names = names;
    if let Some(acme) = acme.filter(|_| facts.names.is_empty()) {
        facts.names = found_names(&facts, &acme);
    }

    tell("knocking at ports, speaking TLS");
    let wanted = doors_to_try(&facts);
    let host = facts.names.first().map(|name| name.name.clone());
    let local = facts.listeners.https.first().copied().map(reachable);
    let running = facts.gateway().is_some();
    let (doors, scan) = tokio::join!(doors::knock(wanted), async {
        match local {
            Some(at) if running => Some(doors::scan(at, host.as_deref()).await),
            _ => None,
        }
    });
    facts.doors = doors;
    let none = |why: &str| Unknown::new(why);
    (facts.scan, facts.answers) = match scan {
        Some((scan, answers)) => (Ok(scan), answers),
        None if running => (Err(none("there is no HTTPS listener")), Err(none("there is no HTTPS listener"))),
        None => (Err(none("no gateway runs")), Err(none("no gateway runs"))),
    };
    facts.now_ms = clock::now_ms();
    facts
}

/// Runs something that may block on a thread of its own, which is left behind when it takes too long.
async fn aside<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unknown> {
    let (send, receive) = tokio::sync::oneshot::channel();
    let started = std::thread::Builder::new().name("doctor".to_owned()).spawn(move || {
        // Who waited may be gone.
        let _late = send.send(work());
    });
    if let Err(error) = started {
        return Err(Unknown::new(format!("no thread could be started: {error}")));
    }
    match tokio::time::timeout(limit, receive).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(_)) => Err(Unknown::new("looking at files failed")),
        Err(_) => Err(Unknown::new(format!("files did not answer within {} s", limit.as_secs()))),
    }
}

async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = T>) -> Result<T, Unknown> {
    tokio::time::timeout(limit, work)
        .await
        .map_err(|_| Unknown::new(format!("{what} did not answer within {} s", limit.as_secs())))
}

async fn this_machine() -> super::facts::Machine {
    let public = within(MACHINE_TIMEOUT, "the cloud", machine::public_addresses()).await.unwrap_or_default();
    super::facts::Machine {
        interfaces: machine::interface_addresses(),
        public,
        memory: files::memory(),
        user: files::user(),
    }
}

/// Everything that lies in files.
struct Place {
    folder: super::facts::Folder,
    space: super::facts::Fact<super::facts::Space>,
    running: super::facts::Fact<Option<Running>>,
    listeners: Option<Listeners>,
    backups: Backups,
    memory: renewal::Memory,
    certificate: super::facts::OnDisk,
    binding_key: super::facts::Fact<()>,
}

impl Place {
    fn look(config: &Config) -> Self {
        let (running, listeners) = running(config);
        Self {
            folder: files::folder(config),
            space: files::space(&config.data_dir),
            running,
            listeners,
            backups: Archive { folder: config.backups.folder.clone(), data_dir: config.data_dir.clone() }
                .look(),
            memory: acme::memory(&config.acme_dir()).unwrap_or_default(),
            certificate: files::certificate(config),
            binding_key: files::binding_key(config),
        }
    }

    fn tell(self, facts: &mut Facts) {
        facts.folder = Ok(self.folder);
        facts.space = self.space;
        facts.running = self.running;
        if let Some(listeners) = self.listeners {
            facts.listeners = listeners;
        }
        facts.backups = Ok(self.backups);
        facts.memory = self.memory;
        facts.certificate = Ok(self.certificate);
        facts.binding_key = self.binding_key;
    }
}

/// The gateway that holds the lock, and where it says that it listens.
fn running(config: &Config) -> (super::facts::Fact<Option<Running>>, Option<Listeners>) {
    let lock = &config.lock_file();
    // Taking the lock would make the file; a look must leave nothing behind.
    match lock.try_exists() {
        Ok(true) => {}
        Ok(false) => return (Ok(None), None),
        Err(error) => return (Err(Unknown::new(format!("{}: {error}", lock.display()))), None),
    }
    match Lock::take(lock) {
        Ok(free) => {
            drop(free);
            (Ok(None), None)
        }
        Err(LockError::Held(Some(Holder { pid, https, http }))) => {
            let running = Running { kept_out: files::kept_out(config, pid), ..files::process(pid) };
            (Ok(Some(running)), Some(Listeners { http, https }))
        }
        // It has the lock and is about to listen.
        Err(LockError::Held(None)) => (Ok(Some(Running::default())), None),
        Err(LockError::Unusable(error)) => (Err(Unknown::new(format!("{}: {error}", lock.display()))), None),
    }
}

async fn open_store(config: &Config, open: Option<&dyn store::Store>) -> Store {
    // Opening makes what is not there; a look must leave nothing behind.
    if !store::is_there(&config.store_url, &config.data_dir).await {
        return Store::NotYet;
    }
    let looked = match open {
        Some(store) => look_into(store).await,
        None => look_into_store(config).await,
    };
    match looked {
        Ok(kept) => Store::Open(kept),
        Err(error) => {
            Store::Fails { disk_full: matches!(error, StoreError::DiskFull(_)), why: causes(&error) }
        }
    }
}

async fn look_into_store(config: &Config) -> Result<Kept, StoreError> {
    // Opening would change an older layout; a look does not.
    if let Ok(place) = store::Place::named(&config.store_url, &config.data_dir)
        && let Ok((found, known)) = place.layout().await
        && found < known
    {
        return Err(StoreError::Older { found, known });
    }
    let store = store::open(&config.store_url, &config.data_dir).await?;
    let looked = look_into(&*store).await;
    store.close().await;
    looked
}

async fn look_into(store: &dyn store::Store) -> Result<Kept, StoreError> {
    let now_ms = clock::now_ms();
    store.ping().await?;
    let latest = store.latest().await?;
    let mut devices = Vec::new();
    for device in store.devices().await?.into_iter().take(DEVICES_MAX) {
        let last = latest.iter().find(|reading| reading.device == device.id);
        let mut rhythm = Rhythm::default();
        if let Some((quantity, _)) = last.and_then(|reading| reading.values.first()) {
            let recent = store.recent(&device.id, quantity, now_ms - RHYTHM_MS, RHYTHM_READINGS).await?;
            recent.iter().rev().for_each(|(t_ms, _)| rhythm.seen(*t_ms));
        }
        let name = match device.room {
            Some(room) => format!("{} ({room})", device.id.as_str()),
            None => device.id.as_str().to_owned(),
        };
        devices.push(Device { name, last_ms: last.map(|reading| reading.t_ms), rhythm });
    }
    let tokens = store.tokens().await?;
    let good = tokens
        .iter()
        .filter(|token| token.revoked_ms.is_none() && token.expires_ms.is_none_or(|end| end > now_ms));
    let (mut readers, mut admins) = (0, 0);
    for token in good {
        match token.scope {
            Scope::Read => readers += 1,
            Scope::Admin => admins += 1,
            Scope::Device(_) | Scope::Session { .. } | Scope::Claim => {}
        }
    }
    let growth = store.growth(now_ms).await?;
    Ok(Kept { devices, readers, admins, growth })
}

/// An error with what lies behind it, each said once.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text
}

async fn greet(
    config: &Config,
    acme: Option<&Acme>,
) -> super::facts::Fact<Result<Greeting, renewal::Trouble>> {
    let Some(acme) = acme else { return Err(Unknown::new("there is no authority")) };
    let authority = Authority {
        directory: acme.directory.clone(),
        ca_bundle: acme.ca_bundle.clone(),
        contact: acme.contact.clone(),
        binding: acme.binding.clone(),
        dir: config.acme_dir(),
    };
    let before = clock::now_ms();
    let answer = tokio::time::timeout(AUTHORITY_TIMEOUT, acme::offer(&authority)).await;
    let after = clock::now_ms();
    Ok(match answer {
        Ok(Ok(offer)) => {
            // The authority tells whole seconds, cut off: it meant half a second more, somewhere between the two looks.
            let ahead_ms = offer.date_ms.map(|date| before.midpoint(after) - (date + 500));
            Ok(Greeting { offer, ahead_ms })
        }
        Ok(Err(trouble)) => Err(trouble),
        Err(_) => Err(renewal::Trouble::new(
            "timeout",
            format!("no answer within {} s", AUTHORITY_TIMEOUT.as_secs()),
        )),
    })
}

/// Without names in the configuration a certificate is for this machine's addresses; as the gateway finds them.
fn found_names(facts: &Facts, acme: &Acme) -> Vec<Name> {
    let listening: Vec<IpAddr> =
        facts.listeners.https.iter().chain(&facts.listeners.http).map(SocketAddr::ip).collect();
    let public = facts.machine.public.clone();
    machine::certificate_addresses(public, &listening, acme.ca_bundle.is_some())
        .into_iter()
        .map(|address| Name { name: address.to_string(), target: Target::Address(address) })
        .collect()
}

/// Every address that should lead to this gateway, and its own listeners.
fn doors_to_try(facts: &Facts) -> Vec<Door> {
    let (http, https) = facts.outside_ports();
    let mut doors: Vec<Door> = Vec::new();
    let mut add = |host: &str, address: SocketAddr, plain: bool, own: bool| {
        if !doors.iter().any(|door| door.address == address && door.own == own) {
            let knock = super::facts::Knock::Silent;
            doors.push(Door { host: host.to_owned(), address, plain, own, knock });
        }
    };
    let mut tried = 0;
    for name in &facts.names {
        let addresses: Vec<IpAddr> = match &name.target {
            Target::Address(address) => vec![*address],
            Target::NotAsked => Vec::new(),
            Target::Dns { a, aaaa, .. } => a.addresses().iter().chain(aaaa.addresses()).copied().collect(),
        };
        for address in addresses {
            tried += 1;
            if tried > ADDRESSES_MAX {
                break;
            }
            for (port, plain) in [(http, true), (https, false)] {
                if let Some(port) = port {
                    add(&name.name, SocketAddr::new(address, port), plain, false);
                }
            }
        }
    }
    for (list, plain) in [(&facts.listeners.http, true), (&facts.listeners.https, false)] {
        for address in list {
            let address = reachable(*address);
            add(&address.ip().to_string(), address, plain, true);
        }
    }
    doors
}

/// Where a client on this machine finds a listener.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    };
    SocketAddr::new(ip, address.port())
}
