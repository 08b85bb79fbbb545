//! Everything the doctor found out, as plain data. Checks are given this and nothing else.

use crate::archive::Kept as Backups;
use crate::config::{Acme, Config, Problem, TlsSource};
use crate::reading::Growth;
pub use crate::renewal::names::is_local_name;
use crate::renewal::{Certificate, Challenge, Memory, Trouble, Wanted};
use crate::telemetry::presence::Rhythm;
use crate::tls::acme::Offer;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Why something is unknown, as a sentence without its full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown(pub String);

impl Unknown {
    /// Nobody looked.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// Something that was found out, or why not.
pub type Fact<T> = Result<T, Unknown>;

/// Everything that was found out.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The time, in unix milliseconds.
    pub now_ms: i64,
    /// Where the configuration came from; `None` for the defaults.
    pub file: Option<PathBuf>,
    /// What is odd about it.
    pub warnings: Vec<Problem>,
    /// The configuration.
    pub config: Config,
    /// The machine.
    pub machine: Machine,
    /// The folder with all data.
    pub folder: Fact<Folder>,
    /// The file system below it.
    pub space: Fact<Space>,
    /// The gateway that runs on this folder; `None` when none does.
    pub running: Fact<Option<Running>>,
    /// Where a gateway listens, or would.
    pub listeners: Listeners,
    /// What the gateway answers on this machine, by path.
    pub answers: Fact<BTreeMap<&'static str, Reply>>,
    /// The store.
    pub store: Fact<Store>,
    /// Backups that are made by themselves.
    pub backups: Fact<Backups>,
    /// What the authority says of itself.
    pub authority: Fact<Result<Greeting, Trouble>>,
    /// The key of the external account binding; the error is what is wrong with its file.
    pub binding_key: Fact<()>,
    /// What is remembered of orders.
    pub memory: Memory,
    /// The names of the certificate.
    pub names: Vec<Name>,
    /// What happened at every address that should lead here.
    pub doors: Vec<Door>,
    /// The certificate as it lies on disk.
    pub certificate: Fact<OnDisk>,
    /// How the running gateway speaks TLS.
    pub scan: Fact<Scan>,
}

/// The machine.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Addresses of its interfaces, loopback included.
    pub interfaces: Vec<IpAddr>,
    /// Addresses at which the internet reaches it, as far as it knows.
    pub public: Vec<IpAddr>,
    /// Its memory, and how much of it is to be had, in bytes.
    pub memory: Option<(u64, u64)>,
    /// Who runs this, by number and name.
    pub user: (u32, String),
}

/// The folder with all data.
#[derive(Clone, Debug)]
pub enum Folder {
    /// There is none yet.
    Missing {
        /// The first folder above it that exists.
        above: PathBuf,
        /// This user may make one there.
        possible: bool,
    },
    /// It is there.
    There {
        /// Whose it is.
        owner: String,
        /// Its mode.
        mode: u32,
        /// Whether a file could be written and read back; the error is the system's.
        writable: Result<(), String>,
        /// Private files with their modes.
        private_files: Vec<(PathBuf, u32)>,
    },
    /// It cannot be entered, or is no folder; owner, mode and what is needed.
    Closed(String),
}

/// A file system.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// Bytes that this user may still write.
    pub free: u64,
    /// Bytes altogether.
    pub total: u64,
    /// Files that may still be made.
    pub free_files: u64,
    /// Files altogether; 0 where the file system has no such limit.
    pub files: u64,
}

/// A gateway that runs.
#[derive(Clone, Debug, Default)]
pub struct Running {
    /// Its process.
    pub pid: Option<u32>,
    /// For how long, in milliseconds.
    pub up_ms: Option<i64>,
    /// Memory that it holds, in bytes.
    pub resident: Option<u64>,
    /// Files and connections that it may have open at once.
    pub open_files: Option<u64>,
    /// Why its user may not read the certificate's files, as far as owners and modes tell.
    pub kept_out: Option<String>,
}

/// Where a gateway listens, or would.
#[derive(Clone, Debug, Default)]
pub struct Listeners {
    /// Plain HTTP.
    pub http: Vec<SocketAddr>,
    /// HTTPS.
    pub https: Vec<SocketAddr>,
}

/// An answer over HTTP, as much of it as matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The beginning of the body.
    pub body: String,
}

impl Reply {
    /// The value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Whether this is what a gateway answers to a challenge that nobody offered.
    pub fn is_no_challenge(&self) -> bool {
        self.status == 404 && self.body.starts_with(NO_CHALLENGE)
    }
}

/// What a gateway answers to a challenge that nobody offered.
pub const NO_CHALLENGE: &str = "there is no such challenge";

/// The store.
#[derive(Clone, Debug)]
pub enum Store {
    /// There is none yet.
    NotYet,
    /// It opens and answers.
    Open(Kept),
    /// It does not.
    Fails {
        /// Why.
        why: String,
        /// The disk is full.
        disk_full: bool,
    },
}

/// What a store holds.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Its devices.
    pub devices: Vec<Device>,
    /// Tokens that read and are good.
    pub readers: usize,
    /// Tokens that administer and are good.
    pub admins: usize,
    /// How large it is and how fast it grows.
    pub growth: Growth,
}

/// A device.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its name, and its room.
    pub name: String,
    /// When it measured last, in unix milliseconds.
    pub last_ms: Option<i64>,
    /// How often it usually does.
    pub rhythm: Rhythm,
}

/// What an authority says of itself.
#[derive(Clone, Debug, Default)]
pub struct Greeting {
    /// What it offers.
    pub offer: Offer,
    /// How far this machine's clock is ahead of the authority's, in milliseconds; its clock is told in whole seconds.
    pub ahead_ms: Option<i64>,
}

/// A name of the certificate.
#[derive(Clone, Debug)]
pub struct Name {
    /// The name.
    pub name: String,
    /// What it leads to.
    pub target: Target,
}

/// What a name leads to.
#[derive(Clone, Debug)]
pub enum Target {
    /// It is an address.
    Address(IpAddr),
    /// It was not asked for: nobody but this machine needs to find it.
    NotAsked,
    /// What DNS says of it.
    Dns {
        /// IPv4.
        a: Lookup,
        /// IPv6.
        aaaa: Lookup,
        /// Who may issue for it.
        caa: Caa,
    },
}

/// What DNS says of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// These.
    Addresses(Vec<IpAddr>),
    /// The name exists, but has none.
    Nothing,
    /// There is no such name.
    NoSuchName,
    /// No answer; why.
    Failed(String),
}

impl Lookup {
    /// The addresses.
    pub fn addresses(&self) -> &[IpAddr] {
        match self {
            Self::Addresses(addresses) => addresses,
            Self::Nothing | Self::NoSuchName | Self::Failed(_) => &[],
        }
    }
}

/// Who may issue for a name: the first records on the way up the tree (RFC 8659 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caa {
    /// Everybody: there are none.
    Nobody,
    /// These say.
    Records {
        /// The name that has them.
        at: String,
        /// The records.
        records: Vec<CaaRecord>,
    },
    /// A name on the way up gave no answer.
    Failed {
        /// Which.
        at: String,
        /// Why.
        why: String,
    },
}

/// One CAA record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaaRecord {
    /// Who does not understand it must not issue.
    pub critical: bool,
    /// Its property.
    pub tag: String,
    /// The property's value.
    pub value: String,
}

/// An address that should lead to the gateway.
#[derive(Clone, Debug)]
pub struct Door {
    /// The name that leads there.
    pub host: String,
    /// The address.
    pub address: SocketAddr,
    /// Plain HTTP.
    pub plain: bool,
    /// It is a listener of ours, not where a name leads.
    pub own: bool,
    /// What happened there.
    pub knock: Knock,
}

/// What happened at a door.
#[derive(Clone, Debug)]
pub enum Knock {
    /// Nobody listens.
    Refused,
    /// No answer in time.
    Silent,
    /// There is no way.
    NoWay(String),
    /// Plain HTTP answered.
    Http {
        /// To a challenge that nobody offered.
        challenge: Reply,
        /// To the front page.
        front: Reply,
    },
    /// TLS answered and showed the certificate with this SHA-256.
    Tls(String),
    /// Something answered that speaks another protocol.
    Strange(String),
}

/// The certificate as it lies on disk.
#[derive(Clone, Debug)]
pub enum OnDisk {
    /// There is none yet.
    NotYet,
    /// It can be shown.
    Good {
        /// What it says.
        facts: Certificate,
        /// Browsers know its authority.
        publicly_trusted: bool,
        /// What is odd about it, each with its fix.
        oddities: Vec<String>,
    },
    /// A file is not there or may not be read.
    Unreadable {
        /// Which, and why: owner, mode and mode needed.
        why: String,
    },
    /// Certificate and key do not belong together.
    NotAPair(String),
    /// A file does not hold what it should.
    Nonsense(String),
}

/// How the running gateway speaks TLS.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Where it was asked.
    pub at: SocketAddr,
    /// With TLS 1.3 alone.
    pub tls13: Fact<Handshake>,
    /// With TLS 1.2 alone.
    pub tls12: Fact<Handshake>,
    /// With TLS 1.3, by a client that cannot say a name.
    pub nameless: Fact<Handshake>,
    /// Versions of long ago, and whether they were accepted.
    pub old: Vec<(&'static str, Fact<bool>)>,
}

/// A handshake that succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// The protocol within.
    pub alpn: String,
    /// How keys were exchanged.
    pub group: String,
    /// How is encrypted.
    pub suite: String,
    /// SHA-256 of the certificate shown.
    pub sha256: String,
}

impl Facts {
    /// Facts about this configuration of which nothing else is known yet.
    pub fn unknown(config: Config, now_ms: i64) -> Self {
        let why = || Unknown::new("nobody looked");
        Self {
            now_ms,
            file: None,
            warnings: Vec::new(),
            machine: Machine::default(),
            folder: Err(why()),
            space: Err(why()),
            running: Err(why()),
            listeners: Listeners { http: config.listen.http.clone(), https: config.listen.https.clone() },
            answers: Err(why()),
            store: Err(why()),
            backups: Err(why()),
            authority: Err(why()),
            binding_key: Err(why()),
            memory: Memory::default(),
            names: Vec::new(),
            doors: Vec::new(),
            certificate: Err(why()),
            scan: Err(why()),
            config,
        }
    }

    /// How to deal with the authority, if one is configured.
    pub const fn acme(&self) -> Option<&Acme> {
        match &self.config.tls.source {
            TlsSource::Acme(acme) => Some(acme),
            TlsSource::SelfSigned | TlsSource::Files { .. } => None,
        }
    }

    /// The source of the certificate as the configuration names it.
    pub const fn source(&self) -> &'static str {
        match &self.config.tls.source {
            TlsSource::Acme(_) => "acme",
            TlsSource::SelfSigned => "self-signed",
            TlsSource::Files { .. } => "files",
        }
    }

    /// Whether the authority is one that browsers know: it comes from the internet, to ports 80 and 443.
    pub fn is_public_authority(&self) -> bool {
        self.acme().is_some_and(|acme| acme.ca_bundle.is_none())
    }

    /// The gateway that runs, if one is known to.
    pub fn gateway(&self) -> Option<&Running> {
        self.running.as_ref().ok().and_then(Option::as_ref)
    }

    /// The names that the certificate should have.
    pub fn wanted_names(&self) -> Vec<String> {
        match self.config.tls.source {
            TlsSource::Acme(_) => self.names.iter().map(|name| name.name.clone()).collect(),
            TlsSource::Files { .. } => self.config.tls.names.clone(),
            TlsSource::SelfSigned => self.config.tls.own_names(),
        }
    }

    /// What the scheduler is asked for.
    pub fn wanted(&self) -> Option<Wanted> {
        let acme = self.acme()?;
        Some(Wanted {
            names: self.wanted_names(),
            found: self.config.tls.names.is_empty(),
            directory: acme.directory.clone(),
            profile: acme.profile.clone(),
            binding: acme.binding.as_ref().map_or_else(String::new, |(kid, _)| kid.clone()),
            challenge: acme.challenge,
            http: !self.listeners.http.is_empty(),
        })
    }

    /// The challenges that may be used, the likelier first.
    pub fn challenges(&self) -> Vec<Challenge> {
        match self.acme().and_then(|acme| acme.challenge) {
            Some(challenge) => vec![challenge],
            None if self.listeners.http.is_empty() => vec![Challenge::TlsAlpn01],
            None => vec![Challenge::Http01, Challenge::TlsAlpn01],
        }
    }

    /// The port at which the authority, or a visitor, looks for plain HTTP, and for HTTPS.
    pub fn outside_ports(&self) -> (Option<u16>, Option<u16>) {
        if self.is_public_authority() {
            return (Some(80), Some(443));
        }
        (
            self.listeners.http.first().map(SocketAddr::port),
            self.listeners.https.first().map(SocketAddr::port),
        )
    }

    /// Whether this very gateway answered at a door.
    pub fn is_us(&self, door: &Door) -> bool {
        let shown = self.scan.as_ref().ok().and_then(|scan| scan.tls13.as_ref().or(scan.tls12.as_ref()).ok());
        match &door.knock {
            Knock::Tls(sha256) => shown.is_some_and(|shown| shown.sha256 == *sha256),
            Knock::Http { challenge, .. } => challenge.is_no_challenge(),
            Knock::Refused | Knock::Silent | Knock::NoWay(_) | Knock::Strange(_) => false,
        }
    }

    /// Whether this address led to this very gateway when it was tried.
    pub fn reaches_us(&self, address: IpAddr) -> bool {
        self.doors.iter().any(|door| door.address.ip() == address && self.is_us(door))
    }

    /// The certificate on disk, if it can be shown.
    pub fn good_certificate(&self) -> Option<&Certificate> {
        match &self.certificate {
            Ok(OnDisk::Good { facts, .. }) => Some(facts),
            Ok(OnDisk::NotYet | OnDisk::Unreadable { .. } | OnDisk::NotAPair(_) | OnDisk::Nonsense(_))
            | Err(_) => None,
        }
    }

    /// The addresses of this machine of one kind that count for the authority.
    pub fn addresses(&self, six: bool) -> Vec<IpAddr> {
        let kind = |address: &&IpAddr| address.is_ipv6() == six;
        let list = if self.is_public_authority() { &self.machine.public } else { &self.machine.interfaces };
        let found: Vec<IpAddr> =
            list.iter().filter(kind).filter(|address| !is_link_local(**address)).copied().collect();
        let others: Vec<IpAddr> = found.iter().filter(|address| !address.is_loopback()).copied().collect();
        if others.is_empty() { found } else { others }
    }

    /// Whether an address is on an interface of this machine, or in front of it.
    pub fn is_ours(&self, address: IpAddr) -> bool {
        self.machine.interfaces.contains(&address) || self.machine.public.contains(&address)
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
