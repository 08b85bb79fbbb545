//! Configuration: file and environment → checked values.
//!
//! [`keys`] is the one table of keys, [`starter`] the file that a new gateway gets; [`file`] reads a TOML file against it and finds every problem, not just the
//! first; this module turns what is left into [`Config`].

mod file;
pub mod keys;
#[cfg(test)]
mod page;
pub mod starter;

pub use file::{Problem, Severity};

use crate::reading::Retention;
use crate::renewal::Challenge;
use crate::telemetry::time;
use casement_proto::Quantity;
use casement_proto::band::{self, Profile};
use file::Found;
use jiff::tz::TimeZone;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// Everything that can be set, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Where to listen.
    pub listen: Listen,
    /// Which certificate to show.
    pub tls: Tls,
    /// Whether anybody may read without signing in.
    pub dashboard_public: bool,
    /// The store, for example `sqlite:casement.db`; it may carry a password.
    pub store_url: String,
    /// How long raw readings are kept.
    pub retention: Retention,
    /// Backups that are made by themselves.
    pub backups: Backups,
    /// Name, time zone and bands of the place.
    pub site: Site,
}

/// Backups that are made by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backups {
    /// How often, in milliseconds; `None` for never.
    pub every_ms: Option<i64>,
    /// How many are kept.
    pub keep: u32,
    /// The folder they are kept in.
    pub folder: PathBuf,
}

impl Config {
    /// Where the account at the authority and the history of orders are kept.
    pub fn acme_dir(&self) -> PathBuf {
        self.data_dir.join("acme")
    }

    /// Held by the process that keeps its data there.
    pub fn lock_file(&self) -> PathBuf {
        self.data_dir.join("casement.lock")
    }

    /// Where certificates and their keys are kept.
    pub fn certs_dir(&self) -> PathBuf {
        self.data_dir.join("certs")
    }
}

/// Addresses to listen at; port 0 is any free one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Plain HTTP, which redirects.
    pub http: Vec<SocketAddr>,
    /// HTTPS.
    pub https: Vec<SocketAddr>,
}

/// Which certificate to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Where it comes from.
    pub source: TlsSource,
    /// DNS names and IP addresses that it is for; with an authority, none means this machine's public addresses.
    pub names: Vec<String>,
    /// Whether browsers are told to insist on HTTPS.
    pub hsts: Hsts,
    /// Clients that do not speak HTTP/2 are shown the chain without its last certificate.
    pub short_device_chain: bool,
}

impl Tls {
    /// The names that a certificate made here is for.
    pub fn own_names(&self) -> Vec<String> {
        if self.names.is_empty() { LOCAL_NAMES.map(str::to_owned).to_vec() } else { self.names.clone() }
    }
}

/// What a certificate made here is for when no name is given.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Whether browsers are told to insist on HTTPS (RFC 6797).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hsts {
    /// Once the certificate that is shown is publicly trusted.
    Auto,
    /// With a private authority, too.
    Always,
    /// Never.
    Never,
}

/// How to deal with a certificate authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// URL of its directory.
    pub directory: String,
    /// Whom it may write to: `mailto:…`; empty for nobody.
    pub contact: String,
    /// The challenge to use; `None` chooses.
    pub challenge: Option<Challenge>,
    /// The profile to ask for; empty for none.
    pub profile: String,
    /// PEM to trust for the directory itself; `None` trusts what browsers trust.
    pub ca_bundle: Option<PathBuf>,
    /// External account binding: key identifier and the file with the key.
    pub binding: Option<(String, PathBuf)>,
    /// Thumbprint of another machine's account whose HTTP-01 challenges are answered, too.
    pub thumbprint: Option<String>,
}

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsSource {
    /// A certificate authority.
    Acme(Acme),
    /// Made here.
    SelfSigned,
    /// A pair of PEM files.
    Files {
        /// The chain, leaf first; or the folder of a certbot lineage.
        cert: PathBuf,
        /// The leaf's private key; may be empty with a folder.
        key: PathBuf,
    },
}

/// The place that is measured.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// IANA name of its time zone.
    pub zone_name: String,
    /// The time zone itself.
    pub zone: TimeZone,
    /// When air is good.
    pub bands: &'static Profile,
}

/// A configuration that cannot be used: every problem of it.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} problem(s)", problems.len())]
pub struct BadConfig {
    /// What is wrong, in order of lines. Warnings are among them.
    pub problems: Vec<Problem>,
}

/// A configuration and what is odd about it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file it came from; `None` when these are the defaults.
    pub file: Option<PathBuf>,
    /// Keys that have no effect, and the like.
    pub warnings: Vec<Problem>,
}

/// What a process was given to find its configuration.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`.
    pub argument: Option<PathBuf>,
    /// The environment, as pairs.
    pub environment: Vec<(String, String)>,
    /// Leave out `/etc/casement/casement.toml`.
    pub without_system_file: bool,
}

/// Where the configuration lies when nobody says otherwise.
pub const SYSTEM_FILE: &str = "/etc/casement/casement.toml";

/// Largest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

impl Sources {
    /// The file that somebody named: `--config`, else `$CASEMENT_CONFIG`.
    pub fn named(&self) -> Option<PathBuf> {
        let variable = || self.environment.iter().find(|(key, _)| key == "CASEMENT_CONFIG");
        let named = || variable().map(|(_, value)| PathBuf::from(value));
        self.argument.clone().or_else(named).filter(|path| !path.as_os_str().is_empty())
    }

    /// Reads and checks the configuration: `--config`, else `$CASEMENT_CONFIG`, else `/etc/casement/casement.toml`
    /// where it exists, else the defaults; then `CASEMENT_SECTION__KEY` from the environment.
    ///
    /// # Errors
    /// [`BadConfig`] with every problem.
    pub fn load(&self) -> Result<Loaded, BadConfig> {
        let file = self.named().or_else(|| {
            Some(PathBuf::from(SYSTEM_FILE)).filter(|path| !self.without_system_file && path.exists())
        });
        let text = match &file {
            None => String::new(),
            Some(path) => read(path).map_err(|why| BadConfig { problems: vec![why] })?,
        };
        let (mut config, warnings) = parse(file.as_deref(), &text, &self.environment)?;
        // A relative data_dir in a file is relative to that file's place only if it says so; the working directory
        // is what a shell user expects.
        for path in [&mut config.data_dir, &mut config.backups.folder] {
            if let Ok(absolute) = std::path::absolute(&*path) {
                *path = absolute;
            }
        }
        Ok(Loaded { config, file, warnings })
    }
}

/// The machine's own time zone, as far as it has one that can be configured.
pub fn system_zone() -> Option<String> {
    let zone = TimeZone::try_system().ok()?;
    zone.iana_name().filter(|name| time::zone(name).is_some()).map(str::to_owned)
}

fn read(path: &Path) -> Result<String, Problem> {
    let problem = |what: String, fix: &str| Problem {
        severity: Severity::Error,
        place: path.display().to_string(),
        key: String::new(),
        what,
        fix: fix.to_owned(),
    };
    let size = std::fs::metadata(path).map(|meta| meta.len()).map_err(|error| {
        problem(format!("cannot be read: {error}"), "check the path and that this user may read it")
    })?;
    if size > FILE_BYTES_MAX {
        return Err(problem(
            format!("has {size} bytes; at most {FILE_BYTES_MAX} are read"),
            "is this the right file?",
        ));
    }
    std::fs::read_to_string(path).map_err(|error| {
        problem(format!("cannot be read: {error}"), "it must be UTF-8 text that this user may read")
    })
}

/// Text of a file and environment → configuration. Pure.
///
/// # Errors
/// [`BadConfig`] with every problem.
pub fn parse(
    file: Option<&Path>,
    text: &str,
    environment: &[(String, String)],
) -> Result<(Config, Vec<Problem>), BadConfig> {
    let mut found = Found::read(file, text);
    found.override_from(environment);
    let config = build(&mut found);
    let (errors, warnings): (Vec<_>, Vec<_>) =
        found.into_problems().into_iter().partition(|problem| problem.severity == Severity::Error);
    match config {
        Some(config) if errors.is_empty() => Ok((config, warnings)),
        _ => Err(BadConfig { problems: errors.into_iter().chain(warnings).collect() }),
    }
}

fn build(found: &mut Found) -> Option<Config> {
    let data_dir = PathBuf::from(found.text("data_dir"));
    let listen = Listen { http: addresses(found, "listen.http"), https: addresses(found, "listen.https") };
    if listen.https.is_empty() {
        found.problem("listen.https", "is empty", "give at least one address, for example [\"[::]:443\"]");
    }
    if !addresses(found, "listen.mqtts").is_empty() {
        found.no_effect("listen.mqtts");
    }
    let tls = tls(found);
    let public = match found.text("access.dashboard").as_str() {
        "public" => Some(true),
        "private" => Some(false),
        other => found.not_one_of("access.dashboard", other, &["private", "public"]),
    };
    let store_url = found.text("store.url");
    let file = store_url.strip_prefix("sqlite:").is_some_and(|file| !file.is_empty());
    if !file && !["postgres://", "postgresql://"].iter().any(|scheme| store_url.starts_with(scheme)) {
        let fix = "use \"sqlite:casement.db\" or \"postgres://USER@HOST/DATABASE\"";
        found.problem("store.url", "is not a store of this version", fix);
    }
    let retention = retention(found);
    let backups = backups(found, &data_dir);
    let zone_name = found.text("site.time_zone");
    let zone = time::zone(&zone_name);
    if zone.is_none() {
        let what = format!("\"{zone_name}\" is not a time zone");
        found.problem("site.time_zone", &what, "use an IANA name such as \"Europe/Brussels\"");
    }
    let bands_id = found.text("site.bands");
    let bands = match band::profile(&bands_id) {
        Some(profile) => Some(profile),
        None => {
            let known: Vec<&str> = band::PROFILES.iter().map(|profile| profile.id).collect();
            found.not_one_of("site.bands", &bands_id, &known)
        }
    };
    let name = found.text("site.name");
    if name.chars().count() > 80 {
        found.problem("site.name", "is longer than 80 characters", "shorten it");
    }
    Some(Config {
        data_dir,
        listen,
        tls: tls?,
        dashboard_public: public?,
        store_url,
        retention,
        backups,
        site: Site {
            name,
            zone_name: if zone_name.is_empty() { "UTC".to_owned() } else { zone_name },
            zone: zone?,
            bands: bands?,
        },
    })
}

/// Most names in one certificate: what Let's Encrypt puts into a `tlsserver` or `shortlived` one.
const NAMES_MAX: usize = 25;

/// Most days that raw readings can be kept: a hundred years.
const RAW_DAYS_MAX: i64 = 36_500;

/// Most metrics with a number of days of their own.
const RAW_DAYS_OF_MAX: usize = 200;

/// How long raw readings are kept.
fn retention(found: &mut Found) -> Retention {
    let days = |number: i64| u32::try_from(number).unwrap_or(0);
    let mut retention =
        Retention { days: days(found.number("store.raw_days", 0, RAW_DAYS_MAX)), of: Vec::new() };
    let list = found.list("store.raw_days_of");
    if list.len() > RAW_DAYS_OF_MAX {
        found.problem("store.raw_days_of", "has too many entries", &format!("use at most {RAW_DAYS_OF_MAX}"));
    }
    for entry in list.iter().take(RAW_DAYS_OF_MAX) {
        let parsed = entry.split_once('=').and_then(|(metric, number)| {
            let number = number.trim().parse().ok().filter(|number| (0..=RAW_DAYS_MAX).contains(number))?;
            Some((Quantity::parse(metric.trim())?, days(number)))
        });
        match parsed {
            Some(of) => retention.of.push(of),
            None => found.problem(
                "store.raw_days_of",
                &format!("\"{entry}\" is not METRIC=DAYS"),
                "write for example \"rssi=30\", with 0 to 36500 days",
            ),
        }
    }
    retention
}

/// Shortest and longest time between two backups, in milliseconds: a minute, a year.
const BACKUP_EVERY_MS: (i64, i64) = (60_000, 366 * time::DAY_MS);

/// Most backups that are kept.
const BACKUPS_MAX: i64 = 1_000;

/// Backups that are made by themselves; their folder is relative to the data folder.
fn backups(found: &mut Found, data_dir: &Path) -> Backups {
    let every = found.text("backup.every");
    let span = time::parse_span_ms(&every).filter(|ms| (BACKUP_EVERY_MS.0..=BACKUP_EVERY_MS.1).contains(ms));
    if span.is_none() && every != "off" {
        let what = format!("\"{every}\" is not possible");
        found.problem("backup.every", &what, "use 1m to 366d, for example \"1d\" or \"6h\"; or \"off\"");
    }
    let folder = found.text("backup.folder");
    if folder.is_empty() {
        found.problem("backup.folder", "is empty", "name a folder; \"backups\" is one below data_dir");
    }
    let keep = u32::try_from(found.number("backup.keep", 1, BACKUPS_MAX)).unwrap_or(1);
    Backups { every_ms: span, keep, folder: data_dir.join(folder) }
}

fn tls(found: &mut Found) -> Option<Tls> {
    let kind = found.text("tls.source");
    let mut names = found.list("tls.names");
    if kind == "acme" && !found.is_set("tls.names") {
        // The default is for a certificate made here; an authority never gives one for "localhost".
        names.clear();
    }
    if names.len() > NAMES_MAX {
        found.problem(
            "tls.names",
            &format!("has {} names", names.len()),
            "at most 25 fit into one certificate",
        );
    }
    for name in &names {
        if !is_name(name) {
            let what = format!("\"{name}\" is neither a DNS name nor an IP address");
            found.problem(
                "tls.names",
                &what,
                "write names without scheme, port or path: \"air.example.org\"",
            );
        } else if kind == "acme" && name.starts_with("*.") {
            found.problem(
                "tls.names",
                &format!("\"{name}\" needs a DNS-01 challenge, which this version does not have"),
                "list the names one by one, or use tls.source = \"files\"",
            );
        }
    }
    // One spelling from here on: a certificate has its own, and must not seem to lack "2001:DB8:0::1".
    let names = names.iter().map(|name| canonical(name)).collect();
    let acme = acme(found);
    let source = match kind.as_str() {
        "acme" => Some(TlsSource::Acme(acme?)),
        "self-signed" => Some(TlsSource::SelfSigned),
        "files" => {
            let cert = found.file("tls.files.cert");
            let key = found.text("tls.files.key");
            // The folder of a lineage holds its key. Its name is a domain's; a file ends otherwise.
            let ending = cert.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            let folder = key.is_empty() && !["pem", "crt", "cer", "cert", "key"].contains(&ending);
            let key = if folder { PathBuf::new() } else { found.file("tls.files.key") };
            Some(TlsSource::Files { cert, key })
        }
        other => found.not_one_of("tls.source", other, &["acme", "files", "self-signed"]),
    };
    let hsts = match found.text("tls.hsts").as_str() {
        "auto" => Some(Hsts::Auto),
        "always" => Some(Hsts::Always),
        "never" => Some(Hsts::Never),
        other => found.not_one_of("tls.hsts", other, &["auto", "always", "never"]),
    };
    let short_device_chain = match found.text("tls.device_chain").as_str() {
        "full" => Some(false),
        "short" => Some(true),
        other => found.not_one_of("tls.device_chain", other, &["full", "short"]),
    };
    Some(Tls { source: source?, names, hsts: hsts?, short_device_chain: short_device_chain? })
}

fn acme(found: &mut Found) -> Option<Acme> {
    let directory = found.text("tls.acme.directory");
    if !directory.starts_with("https://") || directory.len() > 300 {
        found.problem("tls.acme.directory", "is not an https:// address", "leave it out for Let's Encrypt");
    }
    let contact = found.text("tls.acme.contact");
    if !contact.is_empty()
        && (!contact.starts_with("mailto:") || !contact.contains('@') || contact.len() > 300)
    {
        found.problem(
            "tls.acme.contact",
            "is not an address to write to",
            "write \"mailto:me@example.org\", or leave it empty",
        );
    }
    let challenge = match found.text("tls.acme.challenge").as_str() {
        "auto" => Some(None),
        "http-01" => Some(Some(Challenge::Http01)),
        "tls-alpn-01" => Some(Some(Challenge::TlsAlpn01)),
        other => found.not_one_of("tls.acme.challenge", other, &["auto", "http-01", "tls-alpn-01"]),
    };
    let profile = found.text("tls.acme.profile");
    if !profile.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') || profile.len() > 64 {
        found.problem(
            "tls.acme.profile",
            "is not the name of a profile",
            "for example \"tlsserver\", or leave it empty",
        );
    }
    let (kid, hmac) = (found.text("tls.acme.eab_kid"), found.text("tls.acme.eab_hmac_file"));
    let binding = match (kid.is_empty(), hmac.is_empty()) {
        (true, true) => None,
        (false, false) => Some((kid, PathBuf::from(hmac))),
        (false, true) => {
            found.problem(
                "tls.acme.eab_hmac_file",
                "is missing",
                "eab_kid and eab_hmac_file belong together",
            );
            None
        }
        (true, false) => {
            found.problem("tls.acme.eab_kid", "is missing", "eab_kid and eab_hmac_file belong together");
            None
        }
    };
    let thumbprint = found.text("tls.acme.thumbprint");
    // SHA-256 in base64url (RFC 7638 §3).
    let letters = thumbprint.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !thumbprint.is_empty() && (thumbprint.len() != 43 || !letters) {
        found.problem(
            "tls.acme.thumbprint",
            &format!("\"{thumbprint}\" is not a thumbprint"),
            "`casement cert status` on the other machine shows its thumbprint: 43 letters, digits, - and _",
        );
    }
    let thumbprint = Some(thumbprint).filter(|text| !text.is_empty());
    let ca_bundle = Some(found.text("tls.acme.ca_bundle")).filter(|text| !text.is_empty()).map(PathBuf::from);
    Some(Acme { directory, contact, challenge: challenge?, profile, ca_bundle, binding, thumbprint })
}

/// Most addresses of one kind.
const ADDRESSES_MAX: usize = 16;

fn addresses(found: &mut Found, key: &'static str) -> Vec<SocketAddr> {
    let texts = found.list(key);
    if texts.len() > ADDRESSES_MAX {
        found.problem(key, &format!("has {} addresses", texts.len()), "at most 16 are possible");
    }
    let mut addresses = Vec::with_capacity(texts.len());
    for text in texts {
        match text.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => found.problem(
                key,
                &format!("\"{text}\" is not an address with a port"),
                "write \"0.0.0.0:443\", \"[::]:443\" or \"127.0.0.1:0\"",
            ),
        }
    }
    addresses
}

/// A name as certificates write it: addresses in their shortest form (RFC 5952), DNS names in lower case.
fn canonical(name: &str) -> String {
    match name.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => name.to_ascii_lowercase(),
    }
}

/// A DNS name (RFC 1123 §2.1, a leading `*.` allowed) or an IP address.
fn is_name(name: &str) -> bool {
    if name.parse::<IpAddr>().is_ok() {
        return true;
    }
    let host = name.strip_prefix("*.").unwrap_or(name);
    !host.is_empty()
        && host.len() <= 253
        && host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
        let environment: Vec<_> =
            environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        match parse(Some(Path::new("c.toml")), text, &environment) {
            Ok((_, warnings)) => warnings.iter().map(ToString::to_string).collect(),
            Err(bad) => bad.problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_store_is_a_file_or_a_database() {
        for good in ["sqlite:x.db", "postgres://me:secret@db/x", "postgresql:///x?host=/run/postgresql"] {
            assert_eq!(problems(&format!("[store]\nurl = {good:?}"), &[]), [""; 0], "{good}");
        }
        for bad in ["sqlite:", "postgres:x", "mysql://me:secret@db/x", ""] {
            let told = problems(&format!("[store]\nurl = {bad:?}"), &[]).join("\n");
            assert!(told.contains("store.url") && !told.contains("secret"), "{told}");
        }
    }

    #[test]
    fn the_defaults_are_what_the_contract_says() {
        let (config, warnings) = parse(None, "", &[]).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(config.data_dir, Path::new("./casement-data"));
        assert_eq!(config.listen.http, ["127.0.0.1:8080".parse().unwrap()]);
        assert_eq!(config.listen.https, ["127.0.0.1:8443".parse().unwrap()]);
        assert_eq!(config.tls.source, TlsSource::SelfSigned);
        assert_eq!(config.tls.names, ["localhost", "127.0.0.1", "::1"]);
        assert!(!config.dashboard_public);
        assert_eq!(config.store_url, "sqlite:casement.db");
    }

    #[test]
    fn the_example_is_a_good_configuration_and_names_every_key() {
        let text = include_str!("../../casement.example.toml");
        parse(Some(Path::new("casement.example.toml")), text, &[]).unwrap();
        for key in keys::KEYS {
            let name = key.path.rsplit('.').next().unwrap();
            assert!(
                text.lines().any(|line| line.trim_start_matches(['#', ' ']).starts_with(&format!("{name} "))
                    || line.trim_start_matches(['#', ' ']).starts_with(&format!("{name}="))),
                "{} is missing in casement.example.toml",
                key.path
            );
        }
    }

    #[test]
    fn every_problem_is_told_with_its_line_and_its_fix() {
        let text = "data_dir = 7\n[listen]\nhttps = [\"nonsense\"]\nhtps = []\n[access]\ndashboard = \"publick\"\n[site]\ntime_zone = \"Mars/Olympus\"\n[stroe]\nurl = \"x\"\n";
        let found = problems(text, &[]);
        let expect = [
            "c.toml:1: data_dir",
            "c.toml:3: listen.https",
            "c.toml:4: listen.htps: there is no such key; did you mean \"https\"?",
            "c.toml:6: access.dashboard: \"publick\" is not possible; use \"private\" or \"public\"",
            "c.toml:8: site.time_zone",
            "c.toml:9: stroe: there is no such section; did you mean \"store\"?",
        ];
        for expected in expect {
            assert!(found.iter().any(|line| line.starts_with(expected)), "{expected}\n{found:#?}");
        }
    }

    #[test]
    fn broken_toml_says_where() {
        let found = problems("data_dir = \"x\"\nnope nope\n", &[]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("c.toml:2: "), "{found:?}");
    }

    #[test]
    fn names_have_one_spelling() {
        let text = "[tls]\nnames = [\"Air.Example.org\", \"2001:DB8:0:0::1\", \"192.0.2.1\"]";
        let (config, _) = parse(None, text, &[]).unwrap();
        assert_eq!(config.tls.names, ["air.example.org", "2001:db8::1", "192.0.2.1"]);
    }

    #[test]
    fn the_environment_beats_the_file() {
        let environment = [
            ("CASEMENT_LISTEN__HTTPS".to_owned(), r#"["127.0.0.1:0"]"#.to_owned()),
            ("CASEMENT_ACCESS__DASHBOARD".to_owned(), "public".to_owned()),
            ("CASEMENT_DATA_DIR".to_owned(), "/tmp/x".to_owned()),
            ("CASEMENT_CONFIG".to_owned(), "ignored here".to_owned()),
        ];
        let (config, _) = parse(None, "[access]\ndashboard = \"private\"", &environment).unwrap();
        assert_eq!(config.listen.https, ["127.0.0.1:0".parse().unwrap()]);
        assert!(config.dashboard_public);
        assert_eq!(config.data_dir, Path::new("/tmp/x"));
        let found = problems("", &[("CASEMENT_LISTEN__HTPS", "[]"), ("CASEMENT_STORE__RAW_DAYS", "many")]);
        assert!(
            found.iter().any(|line| line.starts_with("environment CASEMENT_LISTEN__HTPS: ")),
            "{found:?}"
        );
        assert!(
            found.iter().any(|line| line.starts_with("environment CASEMENT_STORE__RAW_DAYS: ")),
            "{found:?}"
        );
    }

    #[test]
    fn sections_of_later_versions_are_told_to_have_no_effect() {
        let found =
            problems("[guard]\n[mqtt.bridge]\n[[route]]\npath = \"/zm/\"\nupstream = \"http://x\"\n", &[]);
        assert!(found.iter().any(|line| line.contains("route") && line.contains("no effect")), "{found:?}");
        assert!(parse(None, "[guard]\n[mqtt.bridge]\n", &[]).is_ok());
    }

    #[test]
    fn names_are_names() {
        for good in ["localhost", "air.example.org", "*.example.org", "127.0.0.1", "::1", "2001:db8::1"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "https://x", "a b", "a..b", "-a.org", "x:443", "a_b.org"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
