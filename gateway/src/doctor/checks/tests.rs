//! Seeded faults: each one is named by its check, with its fix, and by no other check as a problem.

use super::*;
use crate::archive::{self, Last};
use crate::config;
use crate::doctor::Report;
use crate::doctor::facts::*;
use crate::reading::Growth;
use crate::renewal::{
    Account, Ari, Attempt, Certificate, Challenge, Memory, Outcome, Reason, Stopped, Trouble,
};
use crate::telemetry::presence::Rhythm;
use crate::tls::acme::Offer;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

const NOW: i64 = 1_795_341_600_000; // 2026-11-22T10:00:00Z
const DAY: i64 = 86_400_000;
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
const ACCOUNT: &str = "https://acme-v02.api.letsencrypt.org/acme/acct/7";
const PUBLIC: &str = "data_dir = \"/var/lib/casement\"\n[listen]\nhttp = [\"[::]:80\"]\nhttps = [\"[::]:443\"]\n\
                      [tls]\nsource = \"acme\"\nnames = [\"air.example.org\"]\n";
const FILES: &str = "data_dir = \"/var/lib/casement\"\n[listen]\nhttp = [\"[::]:80\"]\nhttps = [\"[::]:443\"]\n\
                     [tls]\nsource = \"files\"\nnames = [\"air.example.org\"]\n[tls.files]\ncert = \"/c.pem\"\nkey = \"/k.pem\"\n";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

fn certificate() -> Certificate {
    Certificate {
        names: vec!["air.example.org".to_owned()],
        issuer: "Let's Encrypt YE1".to_owned(),
        subject: String::new(),
        serial: "03a1".to_owned(),
        key: "ECDSA P-256".to_owned(),
        sha256: "aa".to_owned(),
        not_before_ms: NOW - 10 * DAY,
        not_after_ms: NOW + 80 * DAY,
        self_issued: false,
        chain: vec![crate::renewal::Link {
            subject: "YE1".to_owned(),
            issuer: "ISRG Root YE".to_owned(),
            key: "ECDSA P-384".to_owned(),
            not_after_ms: NOW + 900 * DAY,
        }],
    }
}

fn attempt(outcome: Outcome) -> Attempt {
    Attempt {
        at_ms: NOW - 3_600_000,
        took_ms: 3000,
        reason: Reason::Renewal,
        challenge: Challenge::Http01,
        names: vec!["air.example.org".to_owned()],
        dry_run: false,
        request: None,
        outcome,
    }
}

fn door(address: &str, plain: bool, knock: Knock) -> Door {
    Door { host: "air.example.org".to_owned(), address: address.parse().unwrap(), plain, own: false, knock }
}

fn http_here() -> Knock {
    let challenge = Reply { status: 404, headers: Vec::new(), body: format!("{NO_CHALLENGE}\n") };
    let location = ("location".to_owned(), "https://air.example.org/".to_owned());
    Knock::Http { challenge, front: Reply { status: 301, headers: vec![location], body: String::new() } }
}

fn rhythm() -> Rhythm {
    let mut rhythm = Rhythm::default();
    (0..20).for_each(|i| rhythm.seen(NOW - 1_200_000 + i * 60_000));
    rhythm
}

fn failed_backup(newest_ms: i64) -> archive::Kept {
    let outcome = archive::Outcome::Failed {
        why: "/var/lib/casement/backups needs 90.0 MB and has 12.0 MB".to_owned(),
        fix: "make room, or use another disk".to_owned(),
    };
    let last = Some(Last { at_ms: NOW - 600_000, took_ms: 12, outcome });
    archive::Kept { made_ms: vec![newest_ms], bytes: 41_000_000, last }
}

/// A gateway with which everything is well.
fn well(text: &str) -> Facts {
    let (config, warnings) = config::parse(None, text, &[]).unwrap();
    let mut facts = Facts::unknown(config, NOW);
    facts.warnings = warnings;
    facts.machine = Machine {
        interfaces: ips(&["127.0.0.1", "::1", "34.12.8.7", "2600:1900::7"]),
        public: ips(&["34.12.8.7", "2600:1900::7"]),
        memory: Some((614_000_000, 400_000_000)),
        user: (101, "casement".to_owned()),
    };
    facts.folder = Ok(Folder::There {
        owner: "casement".to_owned(),
        mode: 0o700,
        writable: Ok(()),
        private_files: vec![(PathBuf::from("/var/lib/casement/certs/acme.pem"), 0o600)],
    });
    facts.space =
        Ok(Space { free: 18_000_000_000, total: 30_000_000_000, free_files: 1_000_000, files: 2_000_000 });
    facts.running = Ok(Some(Running {
        pid: Some(42),
        up_ms: Some(3 * DAY),
        resident: Some(38_000_000),
        open_files: Some(4096),
        kept_out: None,
    }));
    let headers = [
        ("strict-transport-security", "max-age=31536000"),
        ("content-security-policy", "default-src 'none'"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "same-origin"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let answer = |body: &str| Reply { status: 200, headers: headers.clone(), body: body.to_owned() };
    facts.answers = Ok(BTreeMap::from([("/healthz", answer("ok")), ("/readyz", answer("ready"))]));
    facts.store = Ok(Store::Open(Kept {
        devices: vec![Device {
            name: "atom-3f2a (101)".to_owned(),
            last_ms: Some(NOW - 12_000),
            rhythm: rhythm(),
        }],
        readers: 1,
        admins: 1,
        growth: Growth { bytes: 40_000_000, per_day: 200_000 },
    }));
    facts.backups = Ok(archive::Kept {
        made_ms: vec![NOW - 30 * 3_600_000, NOW - 6 * 3_600_000],
        bytes: 82_000_000,
        last: None,
    });
    let offer = Offer {
        profiles: vec!["classic".to_owned(), "shortlived".to_owned()],
        caa_identities: vec!["letsencrypt.org".to_owned()],
        date_ms: Some(NOW),
        renewal_info: true,
        ..Offer::default()
    };
    facts.authority = Ok(Ok(Greeting { offer, ahead_ms: Some(200) }));
    facts.memory = Memory {
        attempts: vec![attempt(Outcome::Issued { until_ms: NOW + 80 * DAY })],
        account: Some(Account {
            id: ACCOUNT.to_owned(),
            thumbprint: "x".to_owned(),
            directory: DIRECTORY.to_owned(),
        }),
        serial: Some("03a1".to_owned()),
        last_success_ms: Some(NOW - 10 * DAY),
        ari: Some(Ari {
            serial: "03a1".to_owned(),
            window_ms: None,
            chosen_ms: i64::MAX,
            explanation_url: None,
            ask_again_ms: NOW + DAY,
        }),
        ..Memory::default()
    };
    let target = Target::Dns {
        a: Lookup::Addresses(ips(&["34.12.8.7"])),
        aaaa: Lookup::Addresses(ips(&["2600:1900::7"])),
        caa: Caa::Nobody,
    };
    facts.names = vec![Name { name: "air.example.org".to_owned(), target }];
    facts.doors = vec![
        door("34.12.8.7:80", true, http_here()),
        door("34.12.8.7:443", false, Knock::Tls("aa".to_owned())),
        door("[2600:1900::7]:80", true, http_here()),
        door("[2600:1900::7]:443", false, Knock::Tls("aa".to_owned())),
    ];
    facts.certificate =
        Ok(OnDisk::Good { facts: certificate(), publicly_trusted: true, oddities: Vec::new() });
    let handshake = |alpn: &str, group: &str, suite: &str| {
        Ok(Handshake {
            alpn: alpn.to_owned(),
            group: group.to_owned(),
            suite: suite.to_owned(),
            sha256: "aa".to_owned(),
        })
    };
    facts.scan = Ok(Scan {
        at: "127.0.0.1:443".parse().unwrap(),
        tls13: handshake("h2", "X25519MLKEM768", "TLS13_AES_256_GCM_SHA384"),
        tls12: handshake("http/1.1", "X25519", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
        nameless: handshake("h2", "X25519MLKEM768", "TLS13_AES_256_GCM_SHA384"),
        old: vec![("TLS 1.1", Ok(false)), ("TLS 1.0", Ok(false))],
    });
    if facts.acme().is_none() {
        facts.authority = Err(Unknown::new("there is no authority"));
        facts.memory = Memory::default();
        facts.names.iter_mut().for_each(|name| name.target = Target::NotAsked);
        facts.doors.iter_mut().for_each(|door| door.own = true);
    }
    facts
}

fn dns(facts: &mut Facts, change: impl FnOnce(&mut Lookup, &mut Lookup, &mut Caa)) {
    let Target::Dns { a, aaaa, caa } = &mut facts.names[0].target else { panic!("no DNS name") };
    change(a, aaaa, caa);
}

fn set_caa(facts: &mut Facts, records: &[(bool, &str, &str)]) {
    let record = |(critical, tag, value): &(bool, &str, &str)| CaaRecord {
        critical: *critical,
        tag: (*tag).to_owned(),
        value: (*value).to_owned(),
    };
    let records = records.iter().map(record).collect();
    dns(facts, |_, _, caa| *caa = Caa::Records { at: "example.org".to_owned(), records });
}

fn on_disk(facts: &mut Facts, change: impl FnOnce(&mut Certificate, &mut bool, &mut Vec<String>)) {
    let Ok(OnDisk::Good { facts, publicly_trusted, oddities }) = &mut facts.certificate else { panic!() };
    change(facts, publicly_trusted, oddities);
}

fn folder(
    facts: &mut Facts,
    change: impl FnOnce(&mut u32, &mut Result<(), String>, &mut Vec<(PathBuf, u32)>),
) {
    let Ok(Folder::There { mode, writable, private_files, .. }) = &mut facts.folder else { panic!() };
    change(mode, writable, private_files);
}

fn greeting(facts: &mut Facts) -> &mut Greeting {
    let Ok(Ok(greeting)) = &mut facts.authority else { panic!() };
    greeting
}

fn scan(facts: &mut Facts) -> &mut Scan {
    facts.scan.as_mut().unwrap()
}

fn header(facts: &mut Facts, name: &str, value: Option<&str>) {
    let reply = facts.answers.as_mut().unwrap().get_mut("/healthz").unwrap();
    reply.headers.retain(|(found, _)| found != name);
    reply.headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
}

fn knock_at(facts: &mut Facts, plain: bool, knock: Knock) {
    facts
        .doors
        .iter_mut()
        .filter(|door| door.plain == plain && door.address.is_ipv4())
        .for_each(|door| door.knock = knock.clone());
}

fn failed(problem: &str, detail: &str) -> Outcome {
    Outcome::Failed(Trouble::new(problem, detail))
}

/// The facts that have this fault, the check that must name it, and parts of what it says and of its fix.
type Fault = (&'static str, &'static str, fn(&mut Facts), &'static str, Status, &'static str, &'static str);

/// Checks that may join in when this one finds something: the same fault seen from another side.
const COMPANIONS: &[(&str, &[&str])] = &[
    ("tls_old", &["tls_grade"]),
    ("tls_versions", &["tls_nameless", "tls_alpn"]),
    ("disk", &["store"]),
    ("clock_dates", &["certificate_dates"]),
    ("certificate_ends", &["renewal"]),
    ("port_http", &["gateway"]),
];

const FAULTS: &[Fault] = &[
    (
        "wrong A record",
        PUBLIC,
        |f| dns(f, |a, _, _| *a = Lookup::Addresses(ips(&["8.8.8.8"]))),
        "dns_a",
        Status::Problem,
        "8.8.8.8, which is not this machine",
        "Change the A record of air.example.org from 8.8.8.8 to 34.12.8.7.",
    ),
    (
        "A record of a router, maybe",
        PUBLIC,
        |f| {
            f.machine.public.clear();
            f.machine.interfaces = ips(&["127.0.0.1", "192.168.1.5"]);
            dns(f, |a, aaaa, _| (*a, *aaaa) = (Lookup::Addresses(ips(&["8.8.8.8"])), Lookup::Nothing));
            f.doors =
                vec![door("8.8.8.8:80", true, Knock::Silent), door("8.8.8.8:443", false, Knock::Silent)];
        },
        "dns_a",
        Status::Warning,
        "cannot be known from here",
        "forward ports 80 and 443",
    ),
    (
        "A record that is private",
        PUBLIC,
        |f| dns(f, |a, _, _| *a = Lookup::Addresses(ips(&["192.168.1.5"]))),
        "dns_a",
        Status::Problem,
        "the internet cannot reach",
        "to 34.12.8.7",
    ),
    (
        "AAAA elsewhere",
        PUBLIC,
        |f| dns(f, |_, aaaa, _| *aaaa = Lookup::Addresses(ips(&["2600:1900::8"]))),
        "dns_aaaa",
        Status::Problem,
        "Let's Encrypt prefers IPv6; validation will fail",
        "Remove the AAAA record of air.example.org with 2600:1900::8, or change it to 2600:1900::7.",
    ),
    (
        "AAAA on a machine without IPv6",
        PUBLIC,
        |f| {
            f.machine.interfaces.retain(IpAddr::is_ipv4);
            f.machine.public.retain(IpAddr::is_ipv4);
            f.doors.retain(|door| door.address.is_ipv4());
        },
        "dns_aaaa",
        Status::Problem,
        "not this machine",
        "Remove the AAAA record of air.example.org: this machine has no such address.",
    ),
    (
        "AAAA where nothing listens",
        PUBLIC,
        |f| {
            f.doors
                .iter_mut()
                .filter(|door| door.address.is_ipv6())
                .for_each(|door| door.knock = Knock::Refused);
        },
        "dns_aaaa",
        Status::Problem,
        "nothing answers",
        "listen there, too",
    ),
    (
        "AAAA question that fails",
        PUBLIC,
        |f| dns(f, |_, aaaa, _| *aaaa = Lookup::Failed("SERVFAIL".to_owned())),
        "dns_aaaa",
        Status::Problem,
        "AAAA records fails (SERVFAIL)",
        "your DNS host must mend it",
    ),
    (
        "name that does not exist",
        PUBLIC,
        |f| dns(f, |a, aaaa, _| (*a, *aaaa) = (Lookup::NoSuchName, Lookup::NoSuchName)),
        "dns",
        Status::Problem,
        "air.example.org does not exist",
        "air.example.org. A 34.12.8.7",
    ),
    (
        "name without addresses",
        PUBLIC,
        |f| dns(f, |a, aaaa, _| (*a, *aaaa) = (Lookup::Nothing, Lookup::Nothing)),
        "dns",
        Status::Problem,
        "has no address",
        "air.example.org. A 34.12.8.7",
    ),
    (
        "DNS server that is silent",
        PUBLIC,
        |f| {
            dns(f, |a, aaaa, _| {
                (*a, *aaaa) = (Lookup::Failed("silence".to_owned()), Lookup::Failed("silence".to_owned()));
            })
        },
        "dns",
        Status::Problem,
        "cannot be looked up: silence",
        "--dns 1.1.1.1",
    ),
    (
        "no names at all",
        PUBLIC,
        |f| {
            f.config.tls.names.clear();
            f.names.clear();
            f.doors.clear();
        },
        "names",
        Status::Problem,
        "no public address",
        "Set tls.names",
    ),
    (
        "a local name",
        PUBLIC,
        |f| {
            f.config.tls.names = vec!["gateway.local".to_owned()];
            f.names[0].name = "gateway.local".to_owned();
            on_disk(f, |certificate, _, _| certificate.names = vec!["gateway.local".to_owned()]);
        },
        "names_public",
        Status::Problem,
        "name of a local network",
        "domain of your own",
    ),
    (
        "a private address",
        PUBLIC,
        |f| {
            f.names = vec![Name { name: "10.0.0.5".to_owned(), target: Target::Address(ip("10.0.0.5")) }];
            on_disk(f, |certificate, _, _| certificate.names = vec!["10.0.0.5".to_owned()]);
        },
        "names_public",
        Status::Problem,
        "not a public address",
        "self-signed",
    ),
    (
        "CAA that forbids",
        PUBLIC,
        |f| set_caa(f, &[(false, "issue", "digicert.com")]),
        "caa",
        Status::Problem,
        "allows digicert.com and not letsencrypt.org",
        "air.example.org. CAA 0 issue \"letsencrypt.org; accounturi=https://acme-v02.api.letsencrypt.org/acme/acct/7; validationmethods=http-01,tls-alpn-01\"",
    ),
    (
        "CAA for another account",
        PUBLIC,
        |f| set_caa(f, &[(false, "issue", "letsencrypt.org; accounturi=https://x/8")]),
        "caa",
        Status::Problem,
        "another account, https://x/8",
        "accounturi=https://acme-v02.api.letsencrypt.org/acme/acct/7",
    ),
    (
        "CAA for an account before there is one",
        PUBLIC,
        |f| {
            f.memory.account = None;
            set_caa(f, &[(false, "issue", "letsencrypt.org; accounturi=https://x/8")]);
        },
        "caa",
        Status::Problem,
        "has none yet",
        "CAA 0 issue \"letsencrypt.org; validationmethods=http-01,tls-alpn-01\"",
    ),
    (
        "CAA for another method",
        PUBLIC,
        |f| set_caa(f, &[(false, "issue", "letsencrypt.org; validationmethods=dns-01")]),
        "caa",
        Status::Problem,
        "only by dns-01",
        "validationmethods=http-01,tls-alpn-01",
    ),
    (
        "CAA with an unknown critical property",
        PUBLIC,
        |f| set_caa(f, &[(true, "tbs", "x"), (false, "issue", "letsencrypt.org")]),
        "caa",
        Status::Problem,
        "critical property \"tbs\"",
        "Remove the record example.org. CAA 128 tbs",
    ),
    (
        "CAA that cannot be asked",
        PUBLIC,
        |f| {
            dns(f, |_, _, caa| {
                *caa = Caa::Failed { at: "example.org".to_owned(), why: "SERVFAIL".to_owned() };
            })
        },
        "caa",
        Status::Problem,
        "authorities then refuse",
        "DNS servers of example.org",
    ),
    (
        "closed port 80",
        PUBLIC,
        |f| knock_at(f, true, Knock::Refused),
        "port_http",
        Status::Problem,
        "34.12.8.7:80 is closed",
        "listen.http = [\"[::]:80\"]",
    ),
    (
        "closed port 443",
        PUBLIC,
        |f| knock_at(f, false, Knock::Refused),
        "port_https",
        Status::Problem,
        "34.12.8.7:443 is closed",
        "listen.https = [\"[::]:443\"]",
    ),
    (
        "port 443 behind a firewall",
        PUBLIC,
        |f| knock_at(f, false, Knock::Silent),
        "port_https",
        Status::Problem,
        "does not answer",
        "firewall",
    ),
    (
        "port 80 closed on the router's own side",
        PUBLIC,
        |f| {
            f.machine.interfaces = ips(&["127.0.0.1", "10.0.0.2", "2600:1900::7"]);
            knock_at(f, true, Knock::Refused);
        },
        "port_http",
        Status::Warning,
        "as seen from here",
        "try from outside",
    ),
    (
        "somebody else at port 443",
        PUBLIC,
        |f| knock_at(f, false, Knock::Tls("bb".to_owned())),
        "port_https",
        Status::Problem,
        "another certificate",
        "Stop what else listens at port 443",
    ),
    (
        "no TLS at port 443",
        PUBLIC,
        |f| knock_at(f, false, Knock::Strange("no TLS".to_owned())),
        "port_https",
        Status::Problem,
        "not as this gateway does",
        "ss -ltnp",
    ),
    (
        "listeners where no authority looks",
        PUBLIC,
        |f| {
            f.listeners = Listeners {
                http: vec!["0.0.0.0:8080".parse().unwrap()],
                https: vec!["0.0.0.0:8443".parse().unwrap()],
            };
            f.doors.clear();
            f.memory.last_success_ms = None;
        },
        "listeners",
        Status::Problem,
        "ports 80 and 443 only",
        "Set listen.http = [\"[::]:80\"]",
    ),
    (
        "no plain HTTP",
        PUBLIC,
        |f| {
            f.listeners.http.clear();
            f.doors.retain(|door| !door.plain);
        },
        "port_http",
        Status::Warning,
        "listen.http is empty",
        "Set listen.http",
    ),
    (
        "intercepted challenges",
        PUBLIC,
        |f| {
            let Knock::Http { front, .. } = http_here() else { panic!() };
            knock_at(
                f,
                true,
                Knock::Http {
                    challenge: Reply { status: 200, body: "nginx".to_owned(), ..Reply::default() },
                    front,
                },
            );
        },
        "challenge",
        Status::Problem,
        "something else answers challenges, with status 200",
        "/.well-known/acme-challenge/",
    ),
    (
        "redirected challenges",
        PUBLIC,
        |f| {
            let Knock::Http { front, .. } = http_here() else { panic!() };
            knock_at(f, true, Knock::Http { challenge: front.clone(), front });
        },
        "challenge",
        Status::Problem,
        "sends challenges on to https://",
        "no redirect",
    ),
    (
        "plain HTTP that does not redirect",
        PUBLIC,
        |f| {
            let Knock::Http { challenge, .. } = http_here() else { panic!() };
            knock_at(f, true, Knock::Http { challenge, front: Reply { status: 200, ..Reply::default() } });
        },
        "redirect",
        Status::Warning,
        "does not lead to HTTPS: status 200",
        "redirect to https://",
    ),
    (
        "clock a minute and a half ahead",
        PUBLIC,
        |f| greeting(f).ahead_ms = Some(90_000),
        "clock",
        Status::Problem,
        "90.0 s ahead of the authority's",
        "timedatectl set-ntp true",
    ),
    (
        "clock hours behind",
        PUBLIC,
        |f| greeting(f).ahead_ms = Some(-7_300_000),
        "clock",
        Status::Problem,
        "2 hours behind",
        "timedatectl set-ntp true",
    ),
    (
        "clock eight seconds ahead",
        PUBLIC,
        |f| greeting(f).ahead_ms = Some(8_000),
        "clock",
        Status::Warning,
        "8.0 s ahead",
        "timedatectl",
    ),
    (
        "clock in another decade",
        FILES,
        |f| f.now_ms = 946_684_800_000,
        "clock_dates",
        Status::Problem,
        "2000-01-01 00:00 UTC: before this program was written",
        "Set the clock",
    ),
    (
        "authority unreachable",
        PUBLIC,
        |f| f.authority = Ok(Err(Trouble::new("unreachable", "connection refused"))),
        "authority",
        Status::Problem,
        "could not be reached (connection refused)",
        "Check tls.acme.directory",
    ),
    (
        "private authority without its root",
        PUBLIC,
        |f| {
            f.authority = Ok(Err(Trouble::new("unreachable", "invalid peer certificate: UnknownIssuer")));
        },
        "authority",
        Status::Problem,
        "UnknownIssuer",
        "tls.acme.ca_bundle",
    ),
    (
        "profile that is not offered",
        PUBLIC,
        |f| {
            let config::TlsSource::Acme(acme) = &mut f.config.tls.source else { panic!() };
            acme.profile = "tlsserver".to_owned();
        },
        "profile",
        Status::Problem,
        "the authority offers classic, shortlived",
        "Leave tls.acme.profile empty",
    ),
    (
        "binding missing",
        PUBLIC,
        |f| {
            greeting(f).offer.binding_required = true;
            f.memory.account = None;
        },
        "binding",
        Status::Problem,
        "external account binding",
        "Set tls.acme.eab_kid and tls.acme.eab_hmac_file",
    ),
    (
        "binding's key unreadable",
        PUBLIC,
        |f| {
            let config::TlsSource::Acme(acme) = &mut f.config.tls.source else { panic!() };
            acme.binding = Some(("kid".to_owned(), PathBuf::from("/eab")));
            f.binding_key = Err(Unknown::new("there is no such file (/eab is missing)"));
        },
        "binding",
        Status::Problem,
        "/eab is missing",
        "base64url",
    ),
    (
        "order stopped",
        PUBLIC,
        |f| {
            f.memory
                .attempts
                .push(attempt(failed("caa", "CAA record for air.example.org prevents issuance")));
            f.memory.stopped = Some(Stopped { since_ms: NOW - DAY, problem: "caa".to_owned(), looks: 1 });
        },
        "renewal",
        Status::Problem,
        "stopped since 2026-11-21: A CAA record forbids",
        "Add the authority to the CAA records",
    ),
    (
        "renewal failing with time left",
        PUBLIC,
        |f| f.memory.attempts.push(attempt(failed("connection", "timeout during connect"))),
        "renewal",
        Status::Warning,
        "failed: The authority could not connect",
        "open port 80",
    ),
    (
        "renewal failing and no certificate",
        PUBLIC,
        |f| {
            f.memory.attempts.push(attempt(failed("connection", "timeout during connect")));
            f.certificate = Ok(OnDisk::NotYet);
            header(f, "strict-transport-security", None);
        },
        "renewal",
        Status::Problem,
        "failed: The authority could not connect",
        "open port 80",
    ),
    (
        "key unreadable",
        FILES,
        |f| {
            f.certificate = Ok(OnDisk::Unreadable { why: "/k.pem cannot be read: /k.pem belongs to root (uid 0) with mode 0600 and cannot be read by casement (uid 101), who runs this; needed is mode 0640: sudo chown casement /k.pem".to_owned() });
        },
        "certificate",
        Status::Problem,
        "/k.pem belongs to root (uid 0) with mode 0600",
        "Needed is mode 0640: sudo chown casement /k.pem",
    ),
    (
        "file missing",
        FILES,
        |f| {
            f.certificate =
                Ok(OnDisk::Unreadable { why: "/c.pem cannot be read: there is no such file".to_owned() })
        },
        "certificate",
        Status::Problem,
        "no such file",
        "tls.files.cert",
    ),
    (
        "no PEM",
        FILES,
        |f| f.certificate = Ok(OnDisk::Nonsense("/c.pem does not hold a certificate in PEM form".to_owned())),
        "certificate",
        Status::Problem,
        "does not hold a certificate",
        "-----BEGIN CERTIFICATE-----",
    ),
    (
        "key of another certificate",
        FILES,
        |f| f.certificate = Ok(OnDisk::NotAPair("/c.pem and /k.pem are not a pair".to_owned())),
        "certificate_pair",
        Status::Problem,
        "not a pair",
        "Put the key in place",
    ),
    (
        "expired file",
        FILES,
        |f| on_disk(f, |certificate, _, _| certificate.not_after_ms = NOW - 2 * DAY),
        "certificate_dates",
        Status::Problem,
        "ended 2 days ago, on 2026-11-20",
        "certbot renew",
    ),
    (
        "certificate from the future",
        FILES,
        |f| on_disk(f, |certificate, _, _| certificate.not_before_ms = NOW + DAY),
        "certificate_dates",
        Status::Problem,
        "begins only in",
        "clock",
    ),
    (
        "certificate that ends soon",
        FILES,
        |f| {
            on_disk(f, |certificate, _, _| {
                (certificate.not_before_ms, certificate.not_after_ms) = (NOW - 87 * DAY, NOW + 3 * DAY);
            })
        },
        "certificate_ends",
        Status::Problem,
        "ends in 3 days",
        "certbot renew",
    ),
    (
        "certificate overdue for renewal",
        FILES,
        |f| {
            on_disk(f, |certificate, _, _| {
                (certificate.not_before_ms, certificate.not_after_ms) = (NOW - 75 * DAY, NOW + 15 * DAY);
            })
        },
        "certificate_ends",
        Status::Warning,
        "should have been renewed",
        "certbot renew",
    ),
    (
        "renewal overdue and nobody at it",
        PUBLIC,
        |f| {
            on_disk(f, |certificate, _, _| {
                (certificate.not_before_ms, certificate.not_after_ms) = (NOW - 80 * DAY, NOW + 10 * DAY)
            });
            f.memory.about = f.wanted().unwrap().fingerprint();
            f.memory.attempts.clear();
            f.memory.stopped = Some(Stopped { since_ms: NOW - DAY, problem: "caa".to_owned(), looks: 7 });
        },
        "certificate_ends",
        Status::Problem,
        "nothing is planned",
        "casement cert renew",
    ),
    (
        "wrong names",
        FILES,
        |f| on_disk(f, |certificate, _, _| certificate.names = vec!["old.example.org".to_owned()]),
        "certificate_names",
        Status::Problem,
        "is for old.example.org, not for air.example.org",
        "Get a certificate for air.example.org",
    ),
    (
        "chain out of order",
        FILES,
        |f| on_disk(f, |_, _, oddities| oddities.push("the chain is out of order in the file".to_owned())),
        "certificate_chain",
        Status::Warning,
        "out of order",
        "the leaf first",
    ),
    (
        "intermediate missing",
        FILES,
        |f| {
            on_disk(f, |certificate, trusted, _| {
                certificate.chain.clear();
                *trusted = false;
            });
            header(f, "strict-transport-security", None);
        },
        "certificate_chain",
        Status::Problem,
        "Let's Encrypt YE1, is missing",
        "fullchain.pem",
    ),
    (
        "staging certificate",
        PUBLIC,
        |f| {
            let config::TlsSource::Acme(acme) = &mut f.config.tls.source else { panic!() };
            acme.directory = "https://acme-staging-v02.api.letsencrypt.org/directory".to_owned();
            on_disk(f, |_, trusted, _| *trusted = false);
            header(f, "strict-transport-security", None);
        },
        "certificate_trust",
        Status::Warning,
        "staging directory",
        "Leave tls.acme.directory out",
    ),
    (
        "another certificate shown than on disk",
        FILES,
        |f| on_disk(f, |certificate, _, _| certificate.sha256 = "cc".to_owned()),
        "certificate_shown",
        Status::Problem,
        "another certificate than the one on disk",
        "systemctl reload casement",
    ),
    (
        "full disk",
        PUBLIC,
        |f| {
            f.space =
                Ok(Space { free: 4096, total: 30_000_000_000, free_files: 1_000_000, files: 2_000_000 });
            f.store = Ok(Store::Fails { why: "the disk is full".to_owned(), disk_full: true });
        },
        "disk",
        Status::Problem,
        "the disk is full",
        "Make room",
    ),
    (
        "disk nearly full",
        PUBLIC,
        |f| {
            f.space =
                Ok(Space { free: 150_000_000, total: 1_000_000_000, free_files: 1_000_000, files: 2_000_000 })
        },
        "disk",
        Status::Warning,
        "150 MB of 1.0 GB free",
        "Make room",
    ),
    (
        "a store that outgrows its disk",
        PUBLIC,
        |f| {
            if let Ok(Store::Open(kept)) = &mut f.store {
                kept.growth = Growth { bytes: 9_000_000_000, per_day: 500_000_000 };
            }
        },
        "disk",
        Status::Warning,
        "grows by 500 MB a day, which lasts 36 days",
        "Make room",
    ),
    (
        "no inodes",
        PUBLIC,
        |f| {
            f.space =
                Ok(Space { free: 18_000_000_000, total: 30_000_000_000, free_files: 3, files: 2_000_000 })
        },
        "inodes",
        Status::Problem,
        "3 of 2000000",
        "Remove files",
    ),
    (
        "little memory",
        PUBLIC,
        |f| f.machine.memory = Some((614_000_000, 20_000_000)),
        "memory",
        Status::Warning,
        "20 MB of 614 MB",
        "add swap",
    ),
    (
        "a gateway that eats memory",
        PUBLIC,
        |f| {
            f.running = Ok(Some(Running { pid: Some(42), resident: Some(500_000_000), ..Running::default() }))
        },
        "gateway_memory",
        Status::Warning,
        "500 MB",
        "restart casement",
    ),
    (
        "data folder open to everybody",
        PUBLIC,
        |f| folder(f, |mode, _, _| *mode = 0o755),
        "folder_mode",
        Status::Problem,
        "0755: everybody on this machine",
        "chmod 0700 /var/lib/casement",
    ),
    (
        "data folder open to the group",
        PUBLIC,
        |f| folder(f, |mode, _, _| *mode = 0o750),
        "folder_mode",
        Status::Warning,
        "0750",
        "chmod 0700 /var/lib/casement",
    ),
    (
        "data folder that cannot be written",
        PUBLIC,
        |f| folder(f, |_, writable, _| *writable = Err("Read-only file system".to_owned())),
        "folder",
        Status::Problem,
        "cannot be written: Read-only file system",
        "chown -R casement /var/lib/casement",
    ),
    (
        "data folder that cannot be made",
        PUBLIC,
        |f| f.folder = Ok(Folder::Missing { above: PathBuf::from("/var/lib"), possible: false }),
        "folder",
        Status::Problem,
        "may not make it in /var/lib",
        "install -d -m 0700",
    ),
    (
        "data folder of somebody else",
        PUBLIC,
        |f| f.folder = Ok(Folder::Closed("/var/lib/casement belongs to root".to_owned())),
        "folder",
        Status::Problem,
        "belongs to root",
        "sudo -u casement casement doctor",
    ),
    (
        "world-readable key",
        PUBLIC,
        |f| folder(f, |_, _, files| files[0].1 = 0o644),
        "private_files",
        Status::Problem,
        "everybody on this machine may read /var/lib/casement/certs/acme.pem",
        "chmod 0600 /var/lib/casement/certs/acme.pem",
    ),
    (
        "gateway not running",
        PUBLIC,
        |f| {
            f.running = Ok(None);
            f.scan = Err(Unknown::new("no gateway runs"));
            f.answers = Err(Unknown::new("no gateway runs"));
            f.doors.iter_mut().for_each(|door| door.knock = Knock::Refused);
        },
        "gateway",
        Status::Problem,
        "none runs on /var/lib/casement",
        "systemctl enable --now casement",
    ),
    (
        "somebody else at port 80 before the start",
        FILES,
        |f| {
            f.running = Ok(None);
            f.scan = Err(Unknown::new("no gateway runs"));
            f.answers = Err(Unknown::new("no gateway runs"));
            f.doors.retain(|door| door.plain);
        },
        "port_http",
        Status::Problem,
        "34.12.8.7:80 is taken by another program",
        "ss -ltnp",
    ),
    (
        "gateway that hangs",
        PUBLIC,
        |f| f.answers = Err(Unknown::new("no answer in time")),
        "gateway_answers",
        Status::Problem,
        "does not answer",
        "systemctl restart casement",
    ),
    (
        "store that fails behind the gateway",
        PUBLIC,
        |f| {
            f.answers.as_mut().unwrap().get_mut("/readyz").unwrap().status = 503;
        },
        "gateway_answers",
        Status::Problem,
        "its store does not",
        "restart casement",
    ),
    (
        "store that does not open",
        PUBLIC,
        |f| {
            f.store = Ok(Store::Fails {
                why: "the store failed: file is not a database".to_owned(),
                disk_full: false,
            })
        },
        "store",
        Status::Problem,
        "file is not a database",
        "backup",
    ),
    (
        "backups fail",
        PUBLIC,
        |f| f.backups = Ok(failed_backup(NOW - 6 * 3_600_000)),
        "backup",
        Status::Warning,
        "needs 90.0 MB and has 12.0 MB; the newest good one is",
        "Make room",
    ),
    (
        "backups have failed for days",
        PUBLIC,
        |f| f.backups = Ok(failed_backup(NOW - 4 * DAY)),
        "backup",
        Status::Problem,
        "the last one failed",
        "Make room",
    ),
    (
        "nobody made backups for days",
        PUBLIC,
        |f| {
            f.backups = Ok(archive::Kept { made_ms: vec![NOW - 9 * DAY], bytes: 1, last: None });
        },
        "backup",
        Status::Warning,
        "is 9 days old",
        "Start the gateway",
    ),
    (
        "few open files",
        PUBLIC,
        |f| f.running.as_mut().unwrap().as_mut().unwrap().open_files = Some(1024),
        "open_files",
        Status::Warning,
        "at most 1024",
        "LimitNOFILE=4096",
    ),
    (
        "silent device",
        PUBLIC,
        |f| {
            let Ok(Store::Open(kept)) = &mut f.store else { panic!() };
            kept.devices[0].last_ms = Some(NOW - 7_200_000);
        },
        "devices",
        Status::Warning,
        "1 of 1 silent: atom-3f2a (101) 2 h",
        "power and Wi-Fi",
    ),
    (
        "nobody can sign in",
        PUBLIC,
        |f| {
            let Ok(Store::Open(kept)) = &mut f.store else { panic!() };
            (kept.readers, kept.admins) = (0, 0);
        },
        "sign_in",
        Status::Warning,
        "no token to sign in with",
        "casement token create --scope read",
    ),
    (
        "old TLS accepted",
        PUBLIC,
        |f| scan(f).old[0].1 = Ok(true),
        "tls_old",
        Status::Problem,
        "TLS 1.1 accepted",
        "install it again",
    ),
    (
        "no TLS 1.3",
        PUBLIC,
        |f| scan(f).tls13 = Err(Unknown::new("no TLS: alert")),
        "tls_versions",
        Status::Problem,
        "TLS 1.3 fails",
        "in between|between here",
    ),
    (
        "no HTTP/2",
        PUBLIC,
        |f| scan(f).tls13.as_mut().unwrap().alpn.clear(),
        "tls_alpn",
        Status::Problem,
        "who offers h2 gets nothing",
        "install it again",
    ),
    (
        "key exchange of yesterday",
        PUBLIC,
        |f| scan(f).tls13.as_mut().unwrap().group = "X25519".to_owned(),
        "tls_key_exchange",
        Status::Warning,
        "X25519:",
        "install it again",
    ),
    (
        "another certificate without a name",
        PUBLIC,
        |f| scan(f).nameless.as_mut().unwrap().sha256 = "zz".to_owned(),
        "tls_nameless",
        Status::Problem,
        "another certificate",
        "install it again",
    ),
    (
        "HSTS missing",
        PUBLIC,
        |f| header(f, "strict-transport-security", None),
        "hsts",
        Status::Problem,
        "not told to insist",
        "reload casement",
    ),
    (
        "HSTS for a certificate that nobody trusts",
        FILES,
        |f| {
            on_disk(f, |certificate, trusted, _| {
                certificate.issuer = "Our own CA".to_owned();
                *trusted = false;
            })
        },
        "hsts",
        Status::Problem,
        "lock their users out",
        "reload casement",
    ),
    (
        "page rules missing",
        PUBLIC,
        |f| header(f, "content-security-policy", None),
        "csp",
        Status::Problem,
        "content-security-policy missing",
        "pass its header fields on",
    ),
];

#[test]
fn a_gateway_that_is_well_gets_no_finding() {
    for text in [PUBLIC, FILES] {
        let report = Report::of(&well(text));
        let bad: Vec<&Told> =
            report.told.iter().filter(|told| told.finding.status >= Status::Warning).collect();
        assert!(bad.is_empty(), "{bad:#?}");
        assert_eq!(report.grade, Some("A+"));
    }
    let skipped: Vec<&str> = judge(&well(PUBLIC))
        .iter()
        .filter(|told| told.finding.status == Status::Skipped)
        .map(|told| told.id)
        .collect();
    assert_eq!(skipped, [""; 0], "with an authority everything applies");
}

#[test]
fn every_seeded_fault_is_named_with_its_fix() {
    for (fault, text, seed, id, status, what, mend) in FAULTS {
        let mut facts = well(text);
        seed(&mut facts);
        let told = judge(&facts);
        let found =
            told.iter().find(|told| told.id == *id).unwrap_or_else(|| panic!("{fault}: no check {id}"));
        let finding = &found.finding;
        assert_eq!(finding.status, *status, "{fault}: {finding:?}");
        assert!(finding.text.contains(what), "{fault}: {what:?} is not in {:?}", finding.text);
        let fix = finding.fix.as_deref().unwrap_or_else(|| panic!("{fault}: no fix"));
        assert!(mend.split('|').any(|mend| fix.contains(mend)), "{fault}: {mend:?} is not in {fix:?}");
        let companions =
            COMPANIONS.iter().find(|(of, _)| of == id).map_or(&[][..], |(_, companions)| companions);
        for other in told.iter().filter(|told| told.finding.status == Status::Problem && told.id != *id) {
            assert!(
                companions.contains(&other.id),
                "{fault}: {} complains, too: {:?}",
                other.id,
                other.finding
            );
        }
    }
}

#[test]
fn every_finding_that_is_not_good_has_a_fix_in_a_sentence() {
    let mut seen = BTreeSet::new();
    for (fault, text, seed, ..) in FAULTS {
        let mut facts = well(text);
        seed(&mut facts);
        for told in judge(&facts) {
            let Finding { status, text, fix } = told.finding;
            assert!(!text.is_empty() && !text.contains('\n'), "{fault}: {}: {text:?}", told.id);
            assert_eq!(fix.is_some(), status >= Status::Warning, "{fault}: {}", told.id);
            if let Some(fix) = fix {
                assert!(fix.starts_with(char::is_uppercase) && !fix.contains('\n'), "{fault}: {fix}");
                seen.insert(told.id);
            }
        }
    }
    let never: Vec<&str> = CHECKS
        .iter()
        .map(|check| check.id)
        .filter(|id| !seen.contains(id) && !["configuration", "tls_grade"].contains(id))
        .collect();
    assert!(never.is_empty(), "no fault is seeded for {never:?}");
    assert!(FAULTS.len() >= 20 && CHECKS.len() >= 25);
}

#[test]
fn ids_are_names_for_programs_and_groups_stay_together() {
    let ids: BTreeSet<&str> = CHECKS.iter().map(|check| check.id).collect();
    assert_eq!(ids.len(), CHECKS.len());
    assert!(ids.iter().all(|id| id.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    let mut groups: Vec<&str> = CHECKS.iter().map(|check| check.group).collect();
    groups.dedup();
    assert_eq!(groups.iter().collect::<BTreeSet<_>>().len(), groups.len());
}

#[test]
fn without_an_authority_its_checks_are_skipped() {
    let told = judge(&well(FILES));
    for id in [
        "names",
        "names_public",
        "dns",
        "dns_a",
        "dns_aaaa",
        "caa",
        "authority",
        "profile",
        "binding",
        "clock",
        "renewal",
    ] {
        let found = told.iter().find(|told| told.id == id).unwrap();
        assert_eq!(
            (found.finding.status, found.finding.text.as_str()),
            (Status::Skipped, "tls.source is \"files\""),
            "{id}"
        );
    }
}

#[test]
fn nothing_known_is_nothing_wrong() {
    let (config, _) = config::parse(None, PUBLIC, &[]).unwrap();
    let report = Report::of(&Facts::unknown(config, NOW));
    let bad: Vec<&Told> = report.told.iter().filter(|told| told.finding.status == Status::Problem).collect();
    // Without names and doors it can be said that an authority would find nothing.
    assert!(bad.iter().all(|told| ["names"].contains(&told.id)), "{bad:#?}");
}

#[test]
fn a_configuration_that_cannot_be_used_is_a_problem_with_everything_else_skipped() {
    let bad = config::parse(None, "nonsense = 1\n[tls]\nsource = \"acmee\"\n", &[]).unwrap_err();
    let report = Report::without(&bad);
    assert_eq!((report.count(Status::Problem), report.count(Status::Ok)), (1, 0));
    let first = &report.told[0].finding;
    assert!(
        first.text.contains("nonsense") && first.fix.as_deref().unwrap().contains("casement check"),
        "{first:?}"
    );
    let json = serde_json::to_value(report.json()).unwrap();
    assert_eq!(json["problems"], 1);
    assert_eq!(json["checks"][0]["status"], "problem");
    assert_eq!(json["checks"][1]["status"], "skipped");
    assert!(json["checks"][1]["fix"].is_null() && json["grade"].is_null());
}

#[test]
fn warnings_of_the_configuration_are_told() {
    let facts = well(&PUBLIC.replace("[tls]", "mqtts = [\"[::]:8883\"]\n[tls]"));
    let told = judge(&facts);
    let finding = &told[0].finding;
    assert_eq!(finding.status, Status::Warning, "{finding:?}");
    assert!(finding.text.contains("listen.mqtts"), "{finding:?}");
}

#[test]
fn grades_are_those_that_people_know() {
    let grade_of = |seed: fn(&mut Facts)| {
        let mut facts = well(PUBLIC);
        seed(&mut facts);
        grade(&facts).map(|(letter, kept, all)| (letter, all - kept))
    };
    assert_eq!(grade_of(|_| {}), Some(("A+", 0)));
    assert_eq!(grade_of(|f| header(f, "strict-transport-security", None)), Some(("A", 1)));
    assert_eq!(grade_of(|f| header(f, "content-security-policy", None)), Some(("B", 1)));
    assert_eq!(grade_of(|f| on_disk(f, |_, trusted, _| *trusted = false)), Some(("T", 1)));
    assert_eq!(grade_of(|f| scan(f).old[1].1 = Ok(true)), Some(("F", 1)));
    assert_eq!(
        grade_of(|f| (scan(f).tls13, scan(f).tls12) = (Err(Unknown::new("")), Err(Unknown::new("")))),
        None
    );
    assert_eq!(grade_of(|f| f.scan = Err(Unknown::new(""))), None);
}

#[test]
fn local_names_are_told_from_public_ones() {
    for (name, local) in [
        ("localhost", true),
        ("gateway", true),
        ("gateway.local", true),
        ("air.fritz.box", true),
        ("air.home.arpa.", true),
        ("Air.LAN", true),
        ("air.example.org", false),
        ("mylocal.org", false),
        ("lan.org", false),
        ("8.8.8.8", false),
        ("2600::1", false),
    ] {
        assert_eq!(is_local_name(name), local, "{name}");
    }
}

#[test]
fn a_bare_machine_before_its_first_start_is_only_told_to_start() {
    let mut facts = well("data_dir = \"/var/lib/casement\"\n");
    facts.folder = Ok(Folder::Missing { above: PathBuf::from("/var/lib"), possible: true });
    facts.running = Ok(None);
    facts.store = Ok(Store::NotYet);
    facts.certificate = Ok(OnDisk::NotYet);
    facts.scan = Err(Unknown::new("no gateway runs"));
    facts.answers = Err(Unknown::new("no gateway runs"));
    facts.doors.clear();
    let bad: Vec<&str> = judge(&facts)
        .iter()
        .filter(|told| told.finding.status == Status::Problem)
        .map(|told| told.id)
        .collect();
    assert_eq!(bad, ["gateway"]);
}
